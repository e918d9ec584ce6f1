"""Where output goes: a pipe that nobody reads, a full disk, a stream that is closed, a link that waits under the name
of a temporary file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_tl.cli.exit_codes import guarded
from hf_tl.files import replacing_file, replacing_folder, write_text
from hf_tl.io.console import write_rows

TASKS = [sys.executable, "-m", "hf_tl", "recipes", "list"]


def test_a_reader_that_has_seen_enough() -> None:
    """Quiet, and with the exit code of the work: `verify | head -1` still says whether the metrics hold."""
    for words in (["recipes", "list"], ["--help"], ["--version"]):
        program = f"import sys, time; time.sleep(.3); from hf_tl.cli import main; sys.exit(main({words}))"
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(60) == 0, words


def test_an_exit_code_outlives_a_broken_pipe() -> None:
    program = """if True:
        import sys, typer
        from hf_tl.io.console import show
        from hf_tl.cli.exit_codes import guarded

        def run():
            sys.stdin.read()  # until nobody reads
            for _ in range(3):
                show({}, "x" * 100_000, False)
            raise typer.Exit(1)

        def command():
            try:
                run()
            except typer.Exit as error:
                return error.exit_code

        sys.exit(guarded(command, debug=False))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == b"" and process.wait(60) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_a_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(TASKS, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "No space left on device; make room there" in done.stderr and "report it" not in done.stderr


def test_a_closed_stream() -> None:
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *TASKS], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""


def test_what_the_machine_does_not_allow(capsys: pytest.CaptureFixture[str]) -> None:
    def denied() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/mnt/model")

    def wrapped() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise ValueError("An error occurred while generating the dataset") from error

    def other() -> None:
        try:
            denied()
        except PermissionError:
            raise ValueError("a fault of ours")  # noqa: B904

    assert guarded(denied, debug=False) == 2
    assert "/mnt/model: Permission denied; choose another" in capsys.readouterr().err
    assert guarded(wrapped, debug=False) == 2
    assert "make room" in capsys.readouterr().err
    assert guarded(other, debug=False) == 1
    assert "a fault of ours" in capsys.readouterr().err


def test_no_link_waits_for_a_temporary_file(tmp_path: Path) -> None:
    """In a run folder of somebody else: what is written there must not arrive where the link leads."""
    mine = tmp_path / "mine"
    mine.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    names = [f"{name}{middle}" for name in ("state.json", "predictions.parquet", "curves.png", "out.csv", "model")
             for middle in (".tmp", f".{os.getpid()}.tmp", ".old")]  # fmt: skip
    for name in names:
        (folder / f".{name}").symlink_to(mine)
    (folder / "README.md").symlink_to(mine)
    write_text(folder / "state.json", "{}")
    write_text(folder / "README.md", "ours")
    write_rows([{"label": "a"}], folder / "out.csv")
    with replacing_folder(folder / "model") as fresh:
        (fresh / "config.json").write_text("{}")
    with replacing_folder(folder / "model") as fresh:
        (fresh / "config.json").write_text("[]")
    assert mine.read_text() == "mine"
    assert (folder / "README.md").read_text() == "ours" and not (folder / "README.md").is_symlink()
    assert (folder / "model" / "config.json").read_text() == "[]"


def test_no_temporary_name_of_a_run_can_be_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_tl.reporting import plots

    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / ".curves.png.tmp").symlink_to(mine)
    plots.png(tmp_path / "curves.png", [lambda axes, theme: None], 2, 1)
    assert mine.read_text() == "mine" and (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_a_file_that_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    old = os.umask(0o027)
    try:
        write_text(file, "new")
    finally:
        os.umask(old)
    assert file.read_text() == "new" and file.stat().st_mode & 0o777 == 0o640
    with pytest.raises(ZeroDivisionError), replacing_file(file) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert file.read_text() == "new" and list(tmp_path.iterdir()) == [file]
