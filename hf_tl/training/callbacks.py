"""What happens around the steps: the log file, lines for a person, stages of unfreezing, a clean stop on a signal."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_tl.errors import InputError
from hf_tl.files import write_text
from hf_tl.io.console import duration, say
from hf_tl.io.json_text import parse_json
from hf_tl.models.methods import UnfreezeStep, first_step
from hf_tl.training.checkpoints import fault
from hf_tl.training.sampler import EpochSampler
from hf_tl.training.trainer import loss_at


class SetEpoch(TrainerCallback):
    """Tells the sampler its epoch (Trainer does not reach a sampler that Accelerate has sharded)."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        sampler: EpochSampler | None = self.trainer.sampler
        if sampler is not None:
            sampler.set_epoch(int((state.epoch or 0.0) + 1e-6))


class OwnCycle(TrainerCallback):
    """When to log, evaluate and save is what the configuration says, and not what a checkpoint does."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        state.compute_steps(args, state.max_steps)


class Clock(TrainerCallback, ExportableState):
    """Seconds of training, those before a kill included: Trainer keeps them in its checkpoints."""

    def __init__(self, start: float | None = None) -> None:
        self.before = 0.0
        self.start = time.monotonic() if start is None else start

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"before": self.seconds}}


class LogFile(TrainerCallback):
    """Every logged value as a line of `log.jsonl`, written at once; a resumed run drops what it will say again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        text = self.path.read_bytes().decode("utf-8", "replace") if self.path.is_file() else ""
        kept = []
        for line in text.splitlines():
            try:
                if parse_json(line, "log.jsonl", nan=True)["step"] <= state.global_step and state.global_step > 0:
                    kept.append(line)
            except (InputError, KeyError, TypeError):
                continue
        write_text(self.path, "".join(line + "\n" for line in kept))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        shown = {key: round(value, 6) if isinstance(value, float) else value for key, value in logs.items()}
        if "learning_rate" in logs:
            shown["learning_rate"] = logs["learning_rate"]
        record = {"step": state.global_step, **shown}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")


class BestBeside(TrainerCallback):
    """The best checkpoint so far is the one in this run's folder, wherever that was when its path was written; one that
    is not whole is no longer the best."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        named = state.best_model_checkpoint
        if not named:
            return
        best = self.folder / Path(named).name
        wrong = fault(best) if best.is_dir() else "it is not there"
        if wrong is None:
            state.best_model_checkpoint = str(best)
            return
        state.best_model_checkpoint = state.best_metric = state.best_global_step = None
        if state.is_world_process_zero:
            say(f"{best.name}, the best so far, is skipped: {wrong}. The best of those to come is taken.")


class ProgressPrinter(TrainerCallback):
    """One line now and then on stderr: reads the same in a terminal, a log file and a notebook.

    Args:
        metric: the metric that picks the best checkpoint.
        every: least seconds between two lines about training steps.
    """

    def __init__(self, metric: str, every: float = 15.0) -> None:
        self.metric, self.every = metric, every
        self.start = self.last = time.monotonic()
        self.first_step, self.loss = 0, float("nan")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.start = self.last = time.monotonic()
        self.first_step = state.global_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        now = time.monotonic()
        if now - self.last >= self.every and state.is_world_process_zero:
            self.last = now
            done = state.global_step - self.first_step
            left = (now - self.start) / max(1, done) * (state.max_steps - state.global_step)
            loss = "" if math.isnan(self.loss) else f"loss {self.loss:.3f}  "
            self._say(
                f"step {state.global_step}/{state.max_steps}  epoch {state.epoch or 0:.2f}  {loss}{duration(left)} left"
            )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or not state.is_world_process_zero:
            return
        if "loss" in logs and state.global_step:
            self.loss = logs["loss"]
        value = logs.get(f"eval_{self.metric}")
        if value is not None and not state.global_step:
            self._say(
                f"before training  validation loss {logs.get('eval_loss', math.nan):.3f}  {self.metric} {value:.3f}"
            )
        elif value is not None:
            mark = "  best so far" if self._best(args, state, value, logs) else ""
            trained = "" if math.isnan(self.loss) else f"training loss {self.loss:.3f}  "
            self._say(
                f"epoch {state.epoch or 0:.4g}  {trained}validation loss "
                f"{logs.get('eval_loss', float('nan')):.3f}  {self.metric} {value:.3f}{mark}"
            )

    @staticmethod
    def _best(args: TrainingArguments, state: TrainerState, value: float, logs: dict[str, Any]) -> bool:
        """As `TransferTrainer` decides, right after this line."""
        best = state.best_metric
        if best is None or value == best:
            return best is None or bool(logs.get("eval_loss", math.inf) < loss_at(state, state.best_global_step))
        return bool(value > best) == bool(args.greater_is_better)

    @staticmethod
    def _say(text: str) -> None:
        say(text)


class Unfreeze(TrainerCallback):
    """`method.unfreeze`: which parameters train follows from the step alone, so it survives a resume."""

    def __init__(self, model: nn.Module, schedule: Sequence[UnfreezeStep], steps_per_epoch: int) -> None:
        self.parameters = dict(model.named_parameters())
        self.schedule, self.steps_per_epoch = schedule, steps_per_epoch
        self.apply(0)

    def apply(self, step: int) -> None:
        for each in self.schedule:
            reached = step >= first_step(each, self.steps_per_epoch)
            for name in each.names:
                self.parameters[name].requires_grad_(reached)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.apply(state.global_step)


class StopOnSignal(TrainerCallback):
    """SIGINT or SIGTERM: finish the step, save a checkpoint, stop. A second one stops at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._old: dict[int, Any] = {}

    def install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)

    def remove(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old.clear()

    def _handle(self, number: int, frame: Any) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        say(f"{signal.Signals(number).name}: saving a checkpoint, then stopping.")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.received is not None:
            control.should_save = True
            control.should_training_stop = True
