"""SIGTERM, SIGHUP and Ctrl-C: exit code 3, one line, the command that continues, and nothing half done."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hf_tl
from hf_tl.cli.exit_codes import stopping
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
    assert code == 3 and [line for line in said.splitlines() if line.startswith("hf-tl")] == ["hf-tl: stopped."], said


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
