"""Training proper: datasets for the model, arguments, the trainer, resume, and the best checkpoint back."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, send_to_device
from torch import nn
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, set_seed

from hf_tl.config import RunConfig
from hf_tl.data import Data
from hf_tl.errors import HfTlError, Stopped
from hf_tl.models.layers import adapter_targets, count_parameters, output_layer, rescale
from hf_tl.models.methods import Method
from hf_tl.models.pretrained import Loaded, Pretrained, quiet
from hf_tl.run import Run
from hf_tl.task import Setting, Task
from hf_tl.training.arguments import Choice, Facts, build_arguments
from hf_tl.training.callbacks import Clock, Lines, LogFile, SetEpoch, StopOnSignal, Unfreeze, duration
from hf_tl.training.checkpoints import last_checkpoint, steps_done
from hf_tl.training.environment import peak_memory_bytes, process_state
from hf_tl.training.head import head_on_features
from hf_tl.training.outputs import model_inputs
from hf_tl.training.precision import choose_precision, eager_attention
from hf_tl.training.trainer import TransferTrainer


@dataclasses.dataclass
class Fitted:
    """A trained model and what there is to say about its training."""

    model: nn.Module
    """What `Method.finish` takes: the best checkpoint's weights."""
    facts: dict[str, Any]
    """`train` of metrics.json."""
    choices: list[Choice]
    precision: tuple[str, str]
    architecture: str
    processes: int


def fit(
    run: Run,
    config: RunConfig,
    data: Data,
    task: Task,
    setting: Setting,
    method: Method,
    loaded: Loaded,
    pretrained: Pretrained,
    callbacks: Sequence[TrainerCallback] = (),
) -> Fitted:
    """Trains and returns the model at its best checkpoint.

    Args:
        callbacks: further ones.

    Raises:
        Stopped: on SIGINT or SIGTERM, after a checkpoint was saved.
        ConfigError: arguments that do not go together.
    """
    state = process_state()
    set_seed(config.seed)
    start = time.monotonic()
    train = task.preprocess(data.splits["train"], setting, True)
    looked_at = some_rows(data.splits["validation"], config.data.validation_rows or task.validation_rows, setting)
    validation = task.preprocess(looked_at, setting, False)
    collators = (task.collator(setting, True), task.collator(setting, False))
    for note in setting.notes:
        _say(note)
    convolutional = _convolutional(loaded)
    model = method.prepare(loaded, task)
    _scale_targets(model, method, loaded, data, setting)
    if convolutional and state.device.type in ("cpu", "cuda"):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.3 to 1.7 times as fast
    batch = collators[0](
        [train[index] for index in range(min(task.batch_sizes[0] if task.batch_sizes else 16, len(train)))]
    )
    precision = _precision(run, config, loaded.model, batch, task, setting)
    attention = contextlib.ExitStack()
    if (
        precision[0] == "bf16"
        and state.device.type == "cpu"
        and "attn_implementation" not in config.model.passed_through
    ):
        attention.enter_context(eager_attention(loaded.model))
    facts = Facts(
        samples=len(train),
        classes=max(1, len(data.labels)),
        convolutional=convolutional,
        hidden=getattr(loaded.model.config, "hidden_size", None),
        has_lengths="length" in getattr(train, "column_names", ()),
        processes=state.num_processes,
        precision=precision,
        batch=task.batch_sizes[0] if task.batch_sizes else None,
        eval_batch=task.batch_sizes[1] if task.batch_sizes else 64,
    )
    trainable, total = count_parameters(model)
    lengths = np.asarray(train["length"]) if facts.has_lengths else None
    trained: nn.Module = model
    if method.caches_features:
        cached = head_on_features(config, data, task, setting, loaded, batch, facts.precision[0])
        for note in cached.notes:
            _say(note)
        if cached.model is not None:
            trained, train, validation, lengths = cached.model, cached.train, cached.validation, None
            collators = (cached.collate, cached.collate)
            facts = dataclasses.replace(
                facts, features=cached.spread, has_lengths=False, precision=("fp32", "only a head trains")
            )
    args, choices = build_arguments(config, facts, method, task, run.folder / "checkpoints")

    def measured(outputs: list[Any], samples: Any) -> dict[str, float]:
        found: dict[str, float] = task.measure(outputs, samples, looked_at, setting, resamples=0).values
        return found

    classes = data.targets.classes
    trainer = TransferTrainer(
        task=task,
        setting=setting,
        method=method,
        model=trained,
        args=args,
        train_dataset=train,
        eval_dataset=validation,
        collators=collators,
        lengths=lengths,
        classes=np.asarray(data.splits["train"][classes]) if config.data.sampling == "balanced" else None,
        measure=measured,
        callbacks=[Clock(start), *_callbacks(run, config, task), *callbacks],
    )
    trainer.add_callback(SetEpoch(trainer))
    trainer.remove_callback(PrinterCallback)
    stages = method.stages(trained)
    if stages:
        per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        trainer.add_callback(Unfreeze(trained, stages, -(-len(train) // per_step)))
    planned = f"{args.max_steps} steps" if args.max_steps > 0 else f"{args.num_train_epochs:g} epochs"
    _say(
        f"{method.config.name}: {trainable:,} of {total:,} parameters train ({trainable / total:.1%}), "
        f"{len(train)} samples, {planned}, learning rate {args.learning_rate:g}, "
        f"{'bf16' if args.bf16 else 'fp16' if args.fp16 else 'fp32'} ({precision[1]})."
    )
    with attention, quiet():
        resumed = _train(run, trainer)
    if setting.scale is not None:
        layer = output_layer(model, loaded.heads, 1)
        assert layer is not None
        rescale(layer, *setting.scale)
        setting.scale = None
    if trainer.state.best_model_checkpoint:
        _say(f"Best checkpoint: step {Path(trainer.state.best_model_checkpoint).name.split('-')[-1]}.")
    seconds = next(each for each in trainer.callback_handler.callbacks if isinstance(each, Clock)).seconds
    _say(f"Trained in {duration(seconds)}.")
    best = trainer.state.best_model_checkpoint
    return Fitted(
        model=model,
        facts={
            "seconds": round(seconds, 1),
            "steps": trainer.state.global_step,
            "epochs": round(trainer.state.epoch or 0.0, 3),
            "best_step": int(Path(best).name.split("-")[-1]) if best else trainer.state.global_step,
            "trainable_parameters": trainable,
            "total_parameters": total,
            "peak_memory_bytes": peak_memory_bytes(),
            "resumed_from_step": resumed,
        },
        choices=choices,
        precision=precision,
        architecture=type(loaded.model).__name__,
        processes=state.num_processes,
    )


def some_rows(rows: Any, most: int | None, setting: Setting) -> Any:
    """At most so many rows, evenly spaced."""
    if most is None or len(rows) <= most:
        return rows
    setting.notes.append(
        f"Checkpoints are compared on {most} of the {len(rows)} validation rows (data.validation_rows)."
    )
    return rows.select(np.linspace(0, len(rows) - 1, most).round().astype(int))


def _say(text: str) -> None:
    if process_state().is_main_process:
        print(text, file=sys.stderr, flush=True)


def _convolutional(loaded: Loaded) -> bool:
    targets = adapter_targets(loaded.model, loaded.heads)
    modules = dict(loaded.model.named_modules())
    return sum(isinstance(modules[name], nn.Conv2d) for name in targets) * 2 > len(targets)


def _precision(
    run: Run, config: RunConfig, model: nn.Module, batch: Any, task: Task, setting: Setting
) -> tuple[str, str]:
    """Measured once a run and kept, so that a resumed run computes the same bits; one answer for all processes."""
    given = config.training.passed_through
    if "bf16" in given or "fp16" in given:
        return ("bf16" if given.get("bf16") else "fp16" if given.get("fp16") else "fp32"), "as configured"
    answer: list[Any] = [run.state.get("precision")]
    state = process_state()
    if answer[0] is None and state.is_main_process:
        device = state.device
        moved = send_to_device(batch, device)
        answer = [
            choose_precision(model.to(device), model_inputs(task, moved), lambda o: task.loss(o, moved, setting, None))
        ]
        run.reach(run.stage, precision=list(answer[0]))
    if state.num_processes > 1:
        broadcast_object_list(answer)
    return str(answer[0][0]), str(answer[0][1])


def _callbacks(run: Run, config: RunConfig, task: Task) -> list[Any]:
    callbacks: list[Any] = [LogFile(run.folder / "log.jsonl"), Lines(task.best_metric)]
    if config.training.early_stopping_patience:
        callbacks.append(
            EarlyStoppingCallback(config.training.early_stopping_patience, config.training.early_stopping_threshold)
        )
    return callbacks


def _scale_targets(model: nn.Module, method: Method, loaded: Loaded, data: Data, setting: Setting) -> None:
    """Regression trains on targets of mean 0 and deviation 1, whatever their unit; the head is scaled back after."""
    if data.targets.problem != "regression" or "label" not in data.columns:
        return
    layer = output_layer(model, loaded.heads, 1)
    values = np.asarray(data.splits["train"]["label"], dtype=np.float64)
    if layer is None or values.std() == 0:
        return
    setting.scale = (float(values.mean()), float(values.std()))
    if loaded.kept_head:
        mean, deviation = setting.scale
        rescale(layer, -mean / deviation, 1 / deviation)


def _train(run: Run, trainer: TransferTrainer) -> int:
    """Runs or resumes training; a run whose steps are all done is only brought back to its best checkpoint.

    Returns:
        The step that was resumed from, 0 for a fresh start.
    """
    checkpoint, notes = last_checkpoint(run.folder / "checkpoints")
    for note in notes:
        _say(note)
    done, planned = steps_done(checkpoint) if checkpoint else (0, 0)
    stop = StopOnSignal()
    trainer.add_callback(stop)
    stop.install()
    try:
        if checkpoint and done >= planned:
            _bring_back(trainer, checkpoint)
        else:
            if checkpoint:
                trainer.args.eval_on_start = False
                _say(f"Resuming from step {done} of {planned}.")
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except KeyboardInterrupt:
        raise Stopped(f"Stopped at once; the same command resumes {run.folder} from its last checkpoint.") from None
    except torch.OutOfMemoryError as error:
        raise HfTlError(
            "The device's memory does not suffice; try training.per_device_train_batch_size="
            f"{max(1, trainer.args.per_device_train_batch_size // 2)} training.gradient_accumulation_steps="
            f"{2 * trainer.args.gradient_accumulation_steps}, or training.gradient_checkpointing=true."
        ) from error
    finally:
        stop.remove()
    if stop.received is not None and trainer.state.global_step < trainer.state.max_steps:
        raise Stopped(
            f"Stopped at step {trainer.state.global_step} of {trainer.state.max_steps} with a checkpoint; "
            f"the same command resumes {run.folder}."
        )
    if process_state().is_main_process:
        run.reach("trained")
    return done


def _bring_back(trainer: TransferTrainer, checkpoint: Path) -> None:
    """State and best weights of a finished training, without stepping it again."""
    from transformers import TrainerState

    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    trainer._load_callback_state()
    if trainer.state.best_model_checkpoint and Path(trainer.state.best_model_checkpoint).exists():
        trainer._load_best_model()
    else:
        trainer._load_from_checkpoint(str(checkpoint))
