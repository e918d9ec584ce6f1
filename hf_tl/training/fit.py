"""Training proper: datasets for the model, arguments, the trainer, resume, and the best checkpoint back."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, send_to_device
from torch import nn
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainingArguments, set_seed

from hf_tl.config import RunConfig
from hf_tl.data import Data
from hf_tl.errors import HfTlError, Stopped
from hf_tl.inference.outputs import model_inputs
from hf_tl.inference.processes import process_state
from hf_tl.io.console import duration, say
from hf_tl.io.quiet import quiet
from hf_tl.models.layers import adapter_targets, count_parameters, output_layer, rescale
from hf_tl.models.methods import Adapted, Method
from hf_tl.models.pretrained import Loaded
from hf_tl.run_folder import RunFolder
from hf_tl.task import Task, TaskContext
from hf_tl.training.arguments import ChosenDefault, Workload, build_arguments
from hf_tl.training.callbacks import (
    BestBeside,
    Clock,
    LogFile,
    OwnCycle,
    ProgressPrinter,
    SetEpoch,
    StopOnSignal,
    Unfreeze,
)
from hf_tl.training.checkpoints import can_go_on, fitting, last_checkpoint, steps_done
from hf_tl.training.environment import peak_memory_bytes
from hf_tl.training.head import head_on_features
from hf_tl.training.precision import choose_precision, eager_attention
from hf_tl.training.trainer import TransferTrainer


@dataclasses.dataclass
class Fitted:
    """A trained model and what there is to say about its training."""

    adapted: Adapted
    """What `Method.finish` takes, with the best checkpoint's weights."""
    statistics: dict[str, Any]
    """`train` of metrics.json."""
    choices: list[ChosenDefault]
    precision: ChosenDefault
    architecture: str
    processes: int


@dataclasses.dataclass
class Prepared:
    """What is trained on and looked at."""

    train: Any
    validation: Any
    rows: Any
    """The validation rows that `validation` was made of."""
    collators: tuple[Any, Any]
    """(for training, for evaluation)."""
    lengths: np.ndarray | None
    """Tokens of each training sample, where samples of like length may share a batch."""


def fit(
    run: RunFolder,
    config: RunConfig,
    data: Data,
    task: Task,
    context: TaskContext,
    method: Method,
    loaded: Loaded,
    callbacks: Sequence[TrainerCallback] = (),
) -> Fitted:
    """Trains and returns the model at its best checkpoint.

    Args:
        callbacks: further ones.

    Raises:
        Stopped: on SIGINT or SIGTERM, after a checkpoint was saved.
        ConfigError: arguments that do not go together.
    """
    set_seed(config.seed)
    start = time.monotonic()
    prepared = _prepare_datasets(config, data, task, context)
    workload = _workload(prepared, data, task, loaded)
    adapted = _adapt(method, loaded, task, workload)
    model = adapted.module
    scale = _scale_targets(model, loaded, data)
    context = dataclasses.replace(context, scale=scale)
    counts = count_parameters(model)
    batch = _first_batch(prepared, task)
    precision = _precision(run, config, loaded.model, batch, task, context)
    workload = dataclasses.replace(workload, precision=precision)
    trained: nn.Module = model
    if method.caches_features:
        trained, prepared, workload = _on_features(
            config, data, task, context, loaded, model, prepared, workload, batch
        )
    args, choices = build_arguments(config, workload, method, task, run.folder / "checkpoints")
    own = [Clock(start), *_callbacks(run, config, task), *callbacks]
    trainer = _build_trainer(config, data, task, context, adapted, trained, args, prepared, own)
    _say_plan(method, counts, len(prepared.train), args, workload.precision.reason)
    with _attention(config, loaded, precision.value), quiet():
        resumed = _train(run, trainer)
    if scale is not None:
        layer = output_layer(model, loaded.heads, 1)
        assert layer is not None
        rescale(layer, *scale)
    return Fitted(
        adapted=adapted,
        statistics=_outcome(trainer, counts, resumed),
        choices=choices,
        precision=precision,  # of the backbone, also where its features are cached: `hf-tl reproduce` sets it
        architecture=type(loaded.model).__name__,
        processes=process_state().num_processes,
    )


def _prepare_datasets(config: RunConfig, data: Data, task: Task, context: TaskContext) -> Prepared:
    train = task.preprocess(data.splits["train"], context, True)
    rows = some_rows(data.splits["validation"], config.data.validation_rows or task.defaults.validation_rows, context)
    validation = task.preprocess(rows, context, False)
    collators = (task.collator(context, True), task.collator(context, False))
    for note in context.notes:
        if note not in data.notes:  # those were said when the data had been read
            _say(note)
    lengths = np.asarray(train["length"]) if "length" in getattr(train, "column_names", ()) else None
    return Prepared(train, validation, rows, collators, lengths)


def _workload(prepared: Prepared, data: Data, task: Task, loaded: Loaded) -> Workload:
    """What the defaults depend on, of the model as it was loaded."""
    batch, eval_batch = task.defaults.batch_sizes or (None, 64)
    return Workload(
        samples=len(prepared.train),
        classes=max(1, len(data.labels)),
        convolutional=_convolutional(loaded),
        hidden=getattr(loaded.model.config, "hidden_size", None),
        has_lengths=prepared.lengths is not None,
        processes=process_state().num_processes,
        batch=batch,
        eval_batch=eval_batch,
    )


def _adapt(method: Method, loaded: Loaded, task: Task, workload: Workload) -> Adapted:
    """What trains of the model."""
    adapted = method.prepare(loaded, task)
    if workload.convolutional and process_state().device.type in ("cpu", "cuda"):
        adapted.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.3 to 1.7 times as fast
    return adapted


def _first_batch(prepared: Prepared, task: Task) -> Any:
    """A batch for trying the model out."""
    size = min(task.defaults.batch_sizes[0] if task.defaults.batch_sizes else 16, len(prepared.train))
    return prepared.collators[0]([prepared.train[index] for index in range(size)])


def _attention(config: RunConfig, loaded: Loaded, precision: str) -> contextlib.AbstractContextManager[None]:
    """Eager attention where that is faster, and nothing else was asked for."""
    given = "attn_implementation" in config.model.passed_through
    slow = precision == "bf16" and process_state().device.type == "cpu"
    return eager_attention(loaded.model) if slow and not given else contextlib.nullcontext()


def _on_features(
    config: RunConfig,
    data: Data,
    task: Task,
    context: TaskContext,
    loaded: Loaded,
    model: nn.Module,
    prepared: Prepared,
    workload: Workload,
    batch: Any,
) -> tuple[nn.Module, Prepared, Workload]:
    """(the head alone, its features to train on, the workload); all as they are where features cannot be kept."""
    with _attention(config, loaded, workload.precision.value):
        cached = head_on_features(config, data, task, context, loaded, batch, workload.precision.value)
    for note in cached.notes:
        _say(note)
    if cached.model is None:
        return model, prepared, workload
    collators = (cached.collate, cached.collate)
    workload = dataclasses.replace(
        workload,
        features=cached.spread,
        has_lengths=False,
        precision=ChosenDefault("precision", "fp32", f"only a head trains; features in {workload.precision.told}"),
    )
    return cached.model, Prepared(cached.train, cached.validation, prepared.rows, collators, None), workload


def _build_trainer(
    config: RunConfig,
    data: Data,
    task: Task,
    context: TaskContext,
    adapted: Adapted,
    trained: nn.Module,
    args: TrainingArguments,
    prepared: Prepared,
    callbacks: list[TrainerCallback],
) -> TransferTrainer:
    classes = data.targets.class_column if config.data.sampling == "balanced" else None

    def measured(outputs: list[Any], samples: Any) -> dict[str, float]:
        found: dict[str, float] = task.measure(outputs, samples, prepared.rows, context, resamples=0).values
        return found

    trainer = TransferTrainer(
        task=task,
        context=context,
        adapted=adapted,
        model=trained,
        args=args,
        train_dataset=prepared.train,
        eval_dataset=prepared.validation,
        collators=prepared.collators,
        lengths=prepared.lengths,
        classes=np.asarray(data.splits["train"][classes]) if classes else None,
        measure=measured,
        callbacks=callbacks,
    )
    trainer.add_callback(SetEpoch(trainer))
    trainer.remove_callback(PrinterCallback)
    if adapted.unfreeze:
        per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        trainer.add_callback(Unfreeze(trained, adapted.unfreeze, -(-len(prepared.train) // per_step)))
    return trainer


def _say_plan(method: Method, counts: tuple[int, int], samples: int, args: TrainingArguments, reason: str) -> None:
    trainable, total = counts
    planned = f"{args.max_steps} steps" if args.max_steps > 0 else f"{args.num_train_epochs:g} epochs"
    _say(
        f"{method.config.name}: {trainable:,} of {total:,} parameters train ({trainable / total:.1%}), "
        f"{samples} samples, {planned}, learning rate {args.learning_rate:g}, "
        f"{'bf16' if args.bf16 else 'fp16' if args.fp16 else 'fp32'} ({reason})."
    )


def _outcome(trainer: TransferTrainer, counts: tuple[int, int], resumed: int) -> dict[str, Any]:
    """`train` of metrics.json."""
    best = trainer.state.best_model_checkpoint
    best_step = int(Path(best).name.split("-")[-1]) if best else trainer.state.global_step
    if best:
        _say(f"Best checkpoint: step {best_step}.")
    seconds = next(each for each in trainer.callback_handler.callbacks if isinstance(each, Clock)).seconds
    _say(f"Trained in {duration(seconds)}.")
    trainable, total = counts
    return {
        "seconds": round(seconds, 1),
        "steps": trainer.state.global_step,
        "epochs": round(trainer.state.epoch or 0.0, 3),
        "best_step": best_step,
        "trainable_parameters": trainable,
        "total_parameters": total,
        "peak_memory_bytes": peak_memory_bytes(),
        "resumed_from_step": resumed,
    }


def some_rows(rows: Any, most: int | None, context: TaskContext) -> Any:
    """At most so many rows, evenly spaced."""
    if most is None or len(rows) <= most:
        return rows
    context.notes.append(
        f"Checkpoints are compared on {most} of the {len(rows)} validation rows (data.validation_rows)."
    )
    return rows.select(np.linspace(0, len(rows) - 1, most).round().astype(int))


def _say(text: str) -> None:
    if process_state().is_main_process:
        say(text)


def _convolutional(loaded: Loaded) -> bool:
    targets = adapter_targets(loaded.model, loaded.heads)
    modules = dict(loaded.model.named_modules())
    return sum(isinstance(modules[name], nn.Conv2d) for name in targets) * 2 > len(targets)


def _precision(
    run: RunFolder, config: RunConfig, model: nn.Module, batch: Any, task: Task, context: TaskContext
) -> ChosenDefault:
    """Measured once a run and kept, so that a resumed run computes the same bits; one answer for all processes."""
    given = config.training.passed_through
    if "bf16" in given or "fp16" in given:
        value = "bf16" if given.get("bf16") else "fp16" if given.get("fp16") else "fp32"
        return ChosenDefault("precision", value, "as configured")
    answer: list[Any] = [run.state.get("precision")]
    state = process_state()
    if answer[0] is None and state.is_main_process:
        device = state.device
        moved = send_to_device(batch, device)
        answer = [
            choose_precision(model.to(device), model_inputs(task, moved), lambda o: task.loss(o, moved, context, None))
        ]
        run.reach(run.stage, precision=list(answer[0]))
    if state.num_processes > 1:
        broadcast_object_list(answer)
    return ChosenDefault("precision", str(answer[0][0]), str(answer[0][1]))


def _callbacks(run: RunFolder, config: RunConfig, task: Task) -> list[Any]:
    callbacks: list[Any] = [
        OwnCycle(), BestBeside(run.folder / "checkpoints"), LogFile(run.folder / "log.jsonl"),
        ProgressPrinter(task.best_metric),
    ]  # fmt: skip
    if config.training.early_stopping_patience:
        callbacks.append(
            EarlyStoppingCallback(config.training.early_stopping_patience, config.training.early_stopping_threshold)
        )
    return callbacks


def _scale_targets(model: nn.Module, loaded: Loaded, data: Data) -> tuple[float, float] | None:
    """(mean, deviation) of the targets in regression, which trains on targets of mean 0 and deviation 1 whatever their
    unit; the head is scaled back after."""
    if data.targets.problem != "regression" or "label" not in data.columns:
        return None
    layer = output_layer(model, loaded.heads, 1)
    values = np.asarray(data.splits["train"]["label"], dtype=np.float64)
    if layer is None or values.std() == 0:
        return None
    mean, deviation = float(values.mean()), float(values.std())
    if loaded.kept_head:
        rescale(layer, -mean / deviation, 1 / deviation)
    return mean, deviation


def _train(run: RunFolder, trainer: TransferTrainer) -> int:
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
            with fitting(checkpoint, lambda: trainer.state.global_step <= done):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except KeyboardInterrupt:
        raise Stopped(f"Stopped at once; the same command resumes {run.folder} from its last checkpoint.") from None
    except torch.OutOfMemoryError as error:
        raise HfTlError(
            "Out of device memory; try training.per_device_train_batch_size="
            f"{max(1, trainer.args.per_device_train_batch_size // 2)} training.gradient_accumulation_steps="
            f"{2 * trainer.args.gradient_accumulation_steps}, or training.gradient_checkpointing=true."
        ) from error
    finally:
        stop.remove()
    step, steps = trainer.state.global_step, trainer.state.max_steps
    if stop.received is not None and can_go_on(run.folder / "checkpoints", step, steps):
        raise Stopped(f"Stopped at step {step} of {steps} with a checkpoint; the same command resumes {run.folder}.")
    if process_state().is_main_process:
        run.reach("trained")
    return done


def _bring_back(trainer: TransferTrainer, checkpoint: Path) -> None:
    """State and best weights of a finished training, without stepping it again."""
    from transformers import TrainerState

    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    trainer._load_callback_state()
    BestBeside(checkpoint.parent).on_train_begin(trainer.args, trainer.state, trainer.control)
    if trainer.state.best_model_checkpoint:
        trainer._load_best_model()
    else:
        trainer._load_from_checkpoint(str(checkpoint))
