"""Replays a folder of cases and prints a table: `python -m tests.replay FOLDER [NAME ...]`.

A case is a folder with `cmd.sh`, what a person would type, and `expect.txt`, what is right. `cmd.sh` finds the
command under test in `$HFTL`, Python in `$PY`, and writes below `$OUT`. What is right is for a reader to judge; what
never is right is judged here: a traceback, exit code 1, a case that does not end. The whole output of each case stays
in the folder that `--output` names, beside its `expect.txt`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

EXIT_CODE = re.compile(r"\brc=(\d+)")
OF_SCRIPT = re.compile(r"\bpy rc=")
"""Of a script of the case, which is no command of ours."""
TRACEBACK = "Traceback (most recent call last)"


@dataclass
class Replayed:
    """What a case gave: its exit codes (printed as `rc=N`), and its faults, whatever it expects."""

    name: str
    seconds: float
    codes: list[int]
    faults: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.faults


def cases(folder: Path, names: list[str]) -> list[Path]:
    """The folders below `folder` that hold a `cmd.sh`, in order; with `names` those whose path holds one of them."""
    found = sorted(path.parent for path in folder.rglob("cmd.sh"))
    return [case for case in found if not names or any(name in str(case.relative_to(folder)) for name in names)]


def judge(output: str, code: int | None) -> tuple[list[int], list[str]]:
    """The exit codes in an output, and its faults. `code` is the script's own, None where it was stopped."""
    own, part = [], []
    for line in output.splitlines():
        part.append(line)
        if EXIT_CODE.search(line):
            own += [] if OF_SCRIPT.search(line) else part  # a script that looks at what is not there says nothing
            part = []
    output = "\n".join([*own, *part])
    codes = [int(found) for found in EXIT_CODE.findall(output)]
    faults = []
    if code is None:
        faults.append("does not end")
    if TRACEBACK in output:
        faults.append("traceback")
    if 1 in codes:
        faults.append("exit code 1")
    return codes, faults


def replay(case: Path, name: str, output: Path, seconds: float) -> Replayed:
    """Runs one case with the interpreter that runs this, leaving `log.txt` and a copy of `expect.txt` in `output`."""
    output.mkdir(parents=True, exist_ok=True)
    command = Path(sys.executable).with_name("hf-tl")
    home = {"HFTL": str(command), "PY": sys.executable, "HFTL_HOME": str(Path(__file__).parents[1])}
    environment = {**home, **os.environ, "OUT": str(output / "out")}
    (output / "out").mkdir(exist_ok=True)
    start = time.monotonic()
    with (output / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            ["bash", "cmd.sh"],
            cwd=case,
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            code = None
    if (case / "expect.txt").is_file():
        shutil.copy(case / "expect.txt", output / "expect.txt")
    codes, faults = judge((output / "log.txt").read_text(encoding="utf-8", errors="replace"), code)
    return Replayed(name, time.monotonic() - start, codes, faults)


def table(replayed: list[Replayed]) -> str:
    """A Markdown table, a line a case."""
    lines = ["| case | seconds | exit codes | faults |", "|---|---|---|---|"]
    for one in replayed:
        lines.append(
            f"| {one.name} | {one.seconds:.0f} | {' '.join(map(str, one.codes))} | {', '.join(one.faults) or '-'} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.replay", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder of cases")
    parser.add_argument("names", nargs="*", help="only cases whose path holds one of these")
    parser.add_argument("--output", type=Path, help="where outputs go (default: a new temporary folder)")
    parser.add_argument("--seconds", type=float, default=600, help="time limit of a case (default: 600)")
    options = parser.parse_args(arguments)
    output = options.output or Path(tempfile.mkdtemp(prefix="replayed-"))
    replayed = []
    for case in cases(options.folder, options.names):
        name = str(case.relative_to(options.folder))
        replayed.append(replay(case, name, output / name, options.seconds))
        print(f"{name}: {'; '.join(replayed[-1].faults) or 'ran'}", file=sys.stderr, flush=True)
    print(table(replayed))
    print(f"\nOutputs: {output}", file=sys.stderr)
    return int(not replayed or any(not one.ok for one in replayed))


if __name__ == "__main__":
    sys.exit(main())
