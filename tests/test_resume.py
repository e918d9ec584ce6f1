"""Killed runs continue to the same bits; broken checkpoints are left aside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hf_tl
from hf_tl.files import replacing_folder, write_text
from hf_tl.training.checkpoints import fault, last_checkpoint
from tests.tiny import colour_folder, sentiment_csv, tiny_bert, tiny_mobilenet

STEPS = {"max_steps": 24, "eval_strategy": "steps", "eval_steps": 4, "save_steps": 4, "save_total_limit": 8}


def words(model: Path, data: Path, output: Path, *extra: str) -> list[str]:
    training = [f"training.{key}={value}" for key, value in STEPS.items()]
    return [sys.executable, "-m", "hf_tl", "train", "--model", str(model), "--data", str(data), "--output",
            str(output), *training, "training.bf16=false", *extra]  # fmt: skip


def run_once(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def stop_at_checkpoint(command: list[str], output: Path, number: int, signal_number: int) -> int:
    """Starts the command, sends the signal once checkpoint `number` is there, and returns the exit code."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if (output / "checkpoints" / f"checkpoint-{number}" / "trainer_state.json").exists():
            os.kill(process.pid, signal_number)
            break
        time.sleep(0.01)
    return process.wait(120)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "image"])
def test_killed_run_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    if kind == "text":
        model, data = tiny_bert(tmp_path / "m", dropout=0.1), sentiment_csv(tmp_path / "d.csv", rows=120)
    else:  # random crops and flips, dropout before the head
        model, data = tiny_mobilenet(tmp_path / "m"), colour_folder(tmp_path / "d", each=60)
    run_once(words(model, data, tmp_path / "whole"))
    code = stop_at_checkpoint(words(model, data, tmp_path / "cut"), tmp_path / "cut", 8, signal.SIGKILL)
    assert code == -signal.SIGKILL
    run_once(words(model, data, tmp_path / "cut"))
    whole, cut = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "cut")]
    assert len(logs[0]) == len(logs[1])


@pytest.mark.slow
def test_a_polite_stop_leaves_a_checkpoint_and_exit_code_3(tmp_path: Path) -> None:
    model, data = tiny_bert(tmp_path / "m"), sentiment_csv(tmp_path / "d.csv", rows=120)
    output = tmp_path / "run"
    assert stop_at_checkpoint(words(model, data, output), output, 4, signal.SIGTERM) == 3
    checkpoint, notes = last_checkpoint(output / "checkpoints")
    assert checkpoint is not None and not notes
    run_once(words(model, data, output))
    assert hf_tl.Run(output).metrics["train"]["steps"] == 24


def test_early_stopping_and_the_clock_go_on(tmp_path: Path) -> None:
    def run() -> hf_tl.Run:
        return hf_tl.finetune(
            model=str(tiny_bert(tmp_path / "m")) if not (tmp_path / "m").exists() else str(tmp_path / "m"),
            data=str(sentiment_csv(tmp_path / "d.csv"))
            if not (tmp_path / "d.csv").exists()
            else str(tmp_path / "d.csv"),
            output=str(tmp_path / "run"),
            # no gain is ever enough: the first evaluation stays the best, and the fourth is the last
            training={**STEPS, "early_stopping_patience": 3, "early_stopping_threshold": 10.0},
        )

    first = run()
    assert first.metrics["train"]["steps"] == 16
    shutil.rmtree(first.folder / "checkpoints" / "checkpoint-16")
    shutil.rmtree(first.model)
    (first.folder / "metrics.json").unlink()
    write_text(first.folder / "state.json", '{"stage": "started"}')
    kept = json.loads((first.folder / "checkpoints" / "checkpoint-12" / "trainer_state.json").read_text())
    before = kept["stateful_callbacks"]["Clock"]["attributes"]["before"]
    again = run().metrics["train"]
    assert (again["resumed_from_step"], again["steps"]) == (12, 16)
    assert again["seconds"] >= round(before, 1)  # of the whole run, not of its end


def test_broken_checkpoints_are_left_aside(tmp_path: Path) -> None:
    run = hf_tl.finetune(
        model=str(tiny_bert(tmp_path / "m")),
        data=str(sentiment_csv(tmp_path / "d.csv")),
        output=str(tmp_path / "run"),
        training={**STEPS, "max_steps": 12},
    )
    folder = run.folder / "checkpoints"
    newest, notes = last_checkpoint(folder)
    assert newest is not None and newest.name == "checkpoint-12" and not notes
    (folder / "checkpoint-12" / "optimizer.pt").write_bytes(b"")
    (folder / "checkpoint-8" / "rng_state.pth").unlink()
    older, notes = last_checkpoint(folder)
    assert older is not None and older.name == "checkpoint-4"
    assert [note.partition(" is")[0] for note in notes] == ["checkpoint-12", "checkpoint-8"]
    weights = folder / "checkpoint-4" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "cannot be read" in (fault(folder / "checkpoint-4") or "")
    assert last_checkpoint(folder)[0] is None
    shutil.rmtree(folder)
    assert last_checkpoint(folder) == (None, [])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("old")
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "model") as new:
        (new / "a").write_text("new")
        raise RuntimeError
    assert (tmp_path / "model" / "a").read_text() == "old"
    with replacing_folder(tmp_path / "model") as new:
        (new / "b").write_text("new")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["b"]
    write_text(tmp_path / "t", "ü")
    assert (tmp_path / "t").read_text(encoding="utf-8") == "ü" and len(list(tmp_path.iterdir())) == 2
