"""The script that replays a folder of cases judges what can not be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import replay


def _case(folder: Path, name: str, script: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "cmd.sh").write_text(script)
    (folder / name / "expect.txt").write_text("Right: what is right.")


def test_cases_are_replayed_into_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = tmp_path / "cases"
    _case(cases, "text/01-good", '"$PY" -c "print(6 * 7)"; echo "[rc=0]"; echo x > $OUT/x; echo rc=2')
    _case(cases, "text/02-bad", "echo rc=1; echo 'Traceback (most recent call last):'")
    _case(cases, "vision/03-endless", "sleep 60")
    _case(cases, "vision/04-looked-at", "echo '[rc=2]'; echo 'Traceback (most recent call last):'; echo '[py rc=1]'")
    assert replay.main([str(cases), "--output", str(tmp_path / "out"), "--seconds", "2"]) == 1
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(row[0], row[2], row[3]) for row in rows] == [
        ("text/01-good", "0 2", "-"),
        ("text/02-bad", "1", "traceback, exit code 1"),
        ("vision/03-endless", "", "does not end"),
        ("vision/04-looked-at", "2", "-"),
    ]
    assert (tmp_path / "out/text/01-good/log.txt").read_text().splitlines()[0] == "42"
    assert (tmp_path / "out/text/01-good/expect.txt").read_text() == "Right: what is right."
    assert (tmp_path / "out/text/01-good/out/x").is_file()

    assert replay.main([str(cases), "01", "--output", str(tmp_path / "out2")]) == 0
    assert "02-bad" not in capsys.readouterr().out
    assert replay.main([str(tmp_path / "out"), "--output", str(tmp_path / "out3")]) == 1  # no case at all
