"""The log, the lines for a person, unfreezing, the clock and the signal: step by step, on made states."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_tl.models.methods import UnfreezeStep
from hf_tl.training import callbacks
from hf_tl.training.callbacks import Clock, LogFile, ProgressPrinter, SetEpoch, StopOnSignal, Unfreeze
from hf_tl.training.sampler import EpochSampler


@pytest.fixture(scope="module")
def args(tmp_path_factory: pytest.TempPathFactory) -> TrainingArguments:
    return TrainingArguments(output_dir=str(tmp_path_factory.mktemp("out")), use_cpu=True, greater_is_better=True)


CONTROL = TrainerControl()


def state(step: int = 0, first: bool = True, **fields: Any) -> TrainerState:
    return TrainerState(global_step=step, is_world_process_zero=first, **fields)


# The epoch of the order


@pytest.mark.parametrize(("epoch", "told"), [(None, 0), (0.0, 0), (0.5, 0), (1.9999999999, 2), (2.0, 2), (2.25, 2)])
def test_the_sampler_is_told_its_epoch(epoch: float | None, told: int, args: TrainingArguments) -> None:
    trainer = SimpleNamespace(sampler=EpochSampler(range(4), 1, 0))
    SetEpoch(trainer).on_epoch_begin(args, state(epoch=epoch), CONTROL)
    assert trainer.sampler.epoch == told
    SetEpoch(SimpleNamespace(sampler=None)).on_epoch_begin(args, state(), CONTROL)


# The clock


def test_the_clock_counts_what_was_before_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: 107.0)
    clock = Clock(100.0)
    assert clock.seconds == 7 and clock.state() == {"args": {}, "attributes": {"before": 7.0}}
    clock.before = 5.0  # as Trainer sets it from its checkpoint
    assert clock.seconds == 12 and clock.state()["attributes"]["before"] == 12
    assert Clock().seconds == 0


# The log file


def log(path: Path, args: TrainingArguments, *records: tuple[int, dict[str, Any]], first: bool = True) -> list[Any]:
    file = LogFile(path)
    for step, logs in records:
        file.on_log(args, state(step, first), CONTROL, logs)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_each_log_is_a_line(tmp_path: Path, args: TrainingArguments) -> None:
    found = log(
        tmp_path / "log.jsonl", args, (1, {"loss": 0.12345678, "learning_rate": 1.23456789e-5, "epoch": 1}),
        (2, {"train_runtime": 3.0}), (2, {}), (3, {"eval_loss": 0.5}),
    )  # fmt: skip
    assert found == [
        {"step": 1, "loss": 0.123457, "learning_rate": 1.23456789e-5, "epoch": 1},
        {"step": 3, "eval_loss": 0.5},
    ]
    assert log(tmp_path / "other.jsonl", args, (1, {"loss": 1.0}), first=False) == []


def test_a_resumed_run_drops_what_it_will_say_again(tmp_path: Path, args: TrainingArguments) -> None:
    path = tmp_path / "log.jsonl"
    steps = [{"step": step, "loss": 1.0} for step in (2, 4, 6)]
    text = "".join(json.dumps(each) + "\n" for each in steps) + "broken\n" + '{"no": 1}\n' + "3\n"
    path.write_text(text)
    LogFile(path).on_train_begin(args, state(4, first=False), CONTROL)
    assert path.read_text() == text
    LogFile(path).on_train_begin(args, state(4), CONTROL)
    assert [json.loads(line) for line in path.read_text().splitlines()] == steps[:2]
    path.write_text('{"step": 0, "eval_loss": 1.0}\n')
    LogFile(path).on_train_begin(args, state(0), CONTROL)  # a fresh start
    assert path.read_text() == ""
    path.unlink()
    LogFile(path).on_train_begin(args, state(0), CONTROL)
    assert path.read_text() == ""


# Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    now = SimpleNamespace(time=1000.0)
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now.time)
    return now


def test_steps_are_said_now_and_then(clock: Any, args: TrainingArguments, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressPrinter("accuracy", every=15.0)
    clock.time = 2000.0
    lines.on_train_begin(args, state(10), CONTROL)  # resumed at step 10
    lines.on_log(args, state(15), CONTROL, {"loss": 0.5})
    for seconds, step in ((14.9, 15), (15.0, 20), (29.0, 25), (45.0, 40)):
        clock.time = 2000.0 + seconds
        lines.on_step_end(args, state(step, max_steps=100, epoch=step / 50), CONTROL)
    assert capsys.readouterr().err.splitlines() == [
        "step 20/100  epoch 0.40  loss 0.500  2 min left",  # 10 steps took 15 s, 80 are left: 120 s
        "step 40/100  epoch 0.80  loss 0.500  2 min left",  # 30 steps took 45 s, 60 are left: 90 s
    ]
    clock.time = 3000.0
    lines.on_step_end(args, state(50, first=False, max_steps=100), CONTROL)
    assert capsys.readouterr().err == ""
    fresh = ProgressPrinter("accuracy")
    clock.time += 15
    fresh.on_step_end(args, state(0, max_steps=2), CONTROL)
    assert capsys.readouterr().err == "step 0/2  epoch 0.00  30 s left\n"


def test_evaluations_are_said(args: TrainingArguments, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressPrinter("accuracy")
    before = {"eval_accuracy": 0.25, "eval_loss": 1.5, "loss": 9.0}
    lines.on_log(args, state(0), CONTROL, before)
    assert capsys.readouterr().err == "before training  validation loss 1.500  accuracy 0.250\n"
    lines.on_log(args, state(5, epoch=0.5), CONTROL, {"eval_accuracy": 0.5, "eval_loss": 1.0})
    assert capsys.readouterr().err == "epoch 0.5  validation loss 1.000  accuracy 0.500  best so far\n"
    lines.on_log(args, state(5), CONTROL, {"loss": 0.75})
    later = state(10, epoch=1.0, best_metric=0.5, best_global_step=5, log_history=[{"step": 5, "eval_loss": 1.0}])
    lines.on_log(args, later, CONTROL, {"eval_accuracy": 0.25, "eval_loss": 0.5})
    assert capsys.readouterr().err == "epoch 1  training loss 0.750  validation loss 0.500  accuracy 0.250\n"
    for logs in ({"loss": 1.0}, {"eval_f1": 1.0}, {}, None):
        lines.on_log(args, later, CONTROL, logs)
    lines.on_log(args, state(10, first=False), CONTROL, before)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("greater", "value", "loss", "best"),
    [
        (True, 0.6, 9.0, True), (True, 0.4, 0.1, False), (False, 0.6, 0.1, False), (False, 0.4, 9.0, True),
        (True, 0.5, 0.9, True), (True, 0.5, 1.0, False), (False, 0.5, 0.9, True), (True, 0.5, None, False),
    ],
)  # fmt: skip
def test_the_best_so_far_is_marked(
    greater: bool, value: float, loss: float | None, best: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an evaluation at step 5 with 0.5 and loss 1."""
    seen = state(10, epoch=1.0, best_metric=0.5, best_global_step=5, log_history=[{"step": 5, "eval_loss": 1.0}])
    logs = {"eval_accuracy": value} if loss is None else {"eval_accuracy": value, "eval_loss": loss}
    ProgressPrinter("accuracy").on_log(SimpleNamespace(greater_is_better=greater), seen, CONTROL, logs)  # type: ignore[arg-type]
    assert ("best so far" in capsys.readouterr().err) == best


# Unfreezing


def test_a_stage_trains_from_the_first_step_of_its_epoch(args: TrainingArguments) -> None:
    model = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("head", "high", "low", "other")})
    stages = [
        UnfreezeStep(0.0, ("head.weight",), None),
        UnfreezeStep(1.0, ("high.weight",), None),
        UnfreezeStep(1.5, ("low.weight",), None),
    ]
    callback = Unfreeze(model, stages, steps_per_epoch=5)

    def training() -> list[str]:
        return [name for name, parameter in model.named_parameters() if parameter.requires_grad]

    assert training() == ["head.weight", "other.weight"]  # at once, before the optimiser is made
    for step, names in (
        (0, []), (4, []), (5, ["high.weight"]), (7, ["high.weight"]), (8, ["high.weight", "low.weight"]),
        (3, []),  # a run resumed earlier
    ):  # fmt: skip
        callback.on_step_begin(args, state(step), CONTROL)
        assert training() == ["head.weight", *names, "other.weight"]


# Signals


def test_a_signal_saves_and_stops_after_the_step_and_a_second_at_once(
    args: TrainingArguments, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stop, control = StopOnSignal(), TrainerControl()
    stop.install()
    try:
        stop.on_step_end(args, state(), control)
        assert not control.should_save and not control.should_training_stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == signal.SIGTERM
        assert capsys.readouterr().err == "SIGTERM: saving a checkpoint, then stopping.\n"
        stop.on_step_end(args, state(), control)
        assert control.should_save and control.should_training_stop
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        stop.remove()
    assert {number: signal.getsignal(number) for number in before} == before


def test_signals_belong_to_the_main_thread() -> None:
    stop = StopOnSignal()
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=stop.install)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    stop.remove()
