"""SIGTERM, SIGHUP and Ctrl-C: exit code 3, one line, the command that continues, and nothing half done."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

import hf_tl
from hf_tl.cli.exit_codes import stopping
from hf_tl.run_folder import RunFolder
from tests.hub.server import RunningHub
from tests.security.test_push_private import hashes
from tests.tiny import sentiment_csv, tiny_bert

TOKEN = "hf_test_alice"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    options = {"max_steps": 2, "bf16": False}
    base, data = tiny_bert(folder / "base"), sentiment_csv(folder / "reviews.csv")
    return hf_tl.finetune(model=str(base), data=str(data), output=str(folder / "run"), training=options).folder


def stopped(words: list[object], env: dict[str, str], hub: RunningHub, route: str, number: int) -> tuple[int, str]:
    """Exit code and what was said by a command that gets a signal while the Hub does not answer on a route."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hf_tl", *map(str, words)], env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    ends = time.monotonic() + 90
    while (
        not any(route in request for request in hub.faults.seen) and process.poll() is None and time.monotonic() < ends
    ):
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGHUP))]
)
def test_a_push_that_is_stopped(number: int, original: Path, tmp_path: Path, hub: RunningHub) -> None:
    run = Path(shutil.copytree(original, tmp_path / "run"))
    before = hashes(run)
    hub.faults.plan("POST .*/commit/", "no answer", 1000)
    words: list[object] = ["push", run, "alice/x", "--revision", "v 2", "--no-proof", "--examples"]
    code, said = stopped(words, hub.env(TOKEN), hub, "/commit/", number)
    assert code == 3 and "Traceback" not in said, said
    (line,) = [line for line in said.splitlines() if line.startswith("hf-tl: stopped.")]
    assert line.endswith(
        f"Everything is safe in {run}; continue with: hf-tl push {run} alice/x --revision 'v 2' --examples --no-proof"
    ), line
    assert hashes(run) == before and not list(run.glob(".pushed-*"))


def test_reading_is_stopped(tmp_path: Path, hub: RunningHub) -> None:
    hub.seed_model("bob/base", tiny_bert(tmp_path / "base"))
    hub.faults.plan("GET /api/models/bob/base", "no answer", 1000)
    code, said = stopped(["predict", "bob/base", "a text"], hub.env(TOKEN), hub, "/api/models/bob/base", signal.SIGTERM)
    assert code == 3 and [line for line in said.splitlines() if line.startswith("hf-tl")] == [
        "hf-tl: stopped. Everything that was done is kept; continue with: hf-tl predict bob/base 'a text'"
    ], said


def children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def in_training(run: Path, _: psutil.Process) -> bool:
    return (run / "checkpoints" / "checkpoint-2" / "trainer_state.json").exists()


def in_the_proof(run: Path, process: psutil.Process) -> bool:
    return any("-c" in each.cmdline() for each in children(process))


def while_measuring(run: Path, _: psutil.Process) -> bool:
    return (run / "state.json").exists() and RunFolder(run).stage == "saved"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("when", [in_training, while_measuring, in_the_proof], ids=lambda each: each.__name__)
def test_a_run_that_is_stopped(when: Callable[[Path, psutil.Process], bool], number: int, tmp_path: Path) -> None:
    """The line that continues goes on to the bits of a run that nobody stopped; no process is left."""
    base, data = tiny_bert(tmp_path / "base"), sentiment_csv(tmp_path / "reviews.csv")
    env = {**os.environ, "HF_TL_PROOF": "1"}

    def words(run: Path) -> list[str]:
        steps = ["training.max_steps=8", "training.eval_strategy=steps", "training.eval_steps=2", "training.bf16=false"]
        return ["train", "--model", str(base), "--data", str(data), "--output", str(run), *steps]

    def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "hf_tl", *arguments]
        return subprocess.Popen(command, env=env, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    run = tmp_path / "my run"
    process = start(words(run))
    watched, ends = psutil.Process(process.pid), time.monotonic() + 120
    while process.poll() is None and not when(run, watched) and time.monotonic() < ends:
        time.sleep(0.01)
    left = children(watched)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 3 and "Traceback" not in said, said
    assert not [each for each in left if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert not list(run.rglob(".*")) and RunFolder(run).stage in ("started", "saved", "measured")
    program, *again = shlex.split(said.strip().splitlines()[-1].partition("continue with: ")[2])
    assert program == "hf-tl" and again == words(run), said
    for arguments in (again, words(tmp_path / "whole")):
        process = start(arguments)
        assert process.communicate(timeout=240) and process.returncode == 0
    assert RunFolder(run).stage == "reported"
    files = [folder / "model" / "model.safetensors" for folder in (run, tmp_path / "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_further_signals_change_nothing() -> None:
    """While it is left in order, and while the process ends."""
    program = """if True:
        import atexit, sys, time
        from hf_tl.cli.exit_codes import guarded
        atexit.register(time.sleep, 1)

        def run():
            print("ready", file=sys.stderr, flush=True)
            try:
                time.sleep(60)
            finally:
                time.sleep(0.3)

        sys.exit(guarded(run, debug=False, last=True))
    """
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None and process.stderr.readline() == "ready\n"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.05)
    assert process.stderr.readline() == "hf-tl: stopped.\n"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 3 and process.stderr.read() == ""


def test_signals_are_as_before_afterwards_and_what_is_ignored_stays_so() -> None:
    old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        with stopping():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
