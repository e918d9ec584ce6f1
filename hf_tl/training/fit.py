"""Training proper: datasets for the model, arguments, the trainer, resume, and the best checkpoint back."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from torch import nn
from transformers import EarlyStoppingCallback, PrinterCallback, TrainingArguments, set_seed

from hf_tl.config import RunConfig
from hf_tl.data import Data
from hf_tl.errors import HfTlError, Stopped
from hf_tl.models.features import HeadModel, better_pooling, cached_features, content_key, feature_model
from hf_tl.models.layers import adapter_targets, count_parameters
from hf_tl.models.methods import Method
from hf_tl.models.pretrained import Loaded, Pretrained, quiet
from hf_tl.run import Run
from hf_tl.task import Setting, Task
from hf_tl.training.arguments import Choice, Facts, build_arguments, prediction_arguments
from hf_tl.training.callbacks import Lines, LogFile, SetEpoch, StopOnSignal, Unfreeze, duration
from hf_tl.training.checkpoints import last_checkpoint, steps_done
from hf_tl.training.environment import peak_memory_bytes, process_state
from hf_tl.training.precision import choose_precision, eager_attention
from hf_tl.training.trainer import FeatureRows, TransferTrainer, collate_features, predict_outputs

Score = Callable[[np.ndarray, np.ndarray], dict[str, float]]


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


@dataclasses.dataclass
class Rows:
    """What the trainer reads."""

    train: Any
    validation: Any
    collators: tuple[Any, Any]
    lengths: Any = None


def fit(
    run: Run,
    config: RunConfig,
    data: Data,
    task: Task,
    setting: Setting,
    method: Method,
    loaded: Loaded,
    pretrained: Pretrained,
    score: Score,
) -> Fitted:
    """Trains and returns the model at its best checkpoint.

    `score` maps (logits, references) to metrics by name, for the evaluations on the validation split.

    Raises:
        Stopped: on SIGINT or SIGTERM, after a checkpoint was saved.
        ConfigError: arguments that do not go together.
    """
    state = process_state()
    set_seed(config.seed)
    start = time.monotonic()
    rows = Rows(
        task.preprocess(data.splits["train"], setting, True),
        task.preprocess(data.splits["validation"], setting, False),
        (task.collator(setting, True), task.collator(setting, False)),
    )
    for note in setting.notes:
        _say(note)
    convolutional = _convolutional(loaded)
    model = method.prepare(loaded, task)
    if convolutional and state.device.type in ("cpu", "cuda"):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.3 to 1.7 times as fast
    batch = rows.collators[0]([rows.train[index] for index in range(min(16, len(rows.train)))])
    precision = _precision(run, config, loaded.model, batch, task, setting)
    attention = contextlib.ExitStack()
    if (
        precision[0] == "bf16"
        and state.device.type == "cpu"
        and "attn_implementation" not in config.model.passed_through
    ):
        attention.enter_context(eager_attention(loaded.model))
    facts = Facts(
        samples=len(data.splits["train"]),
        classes=max(1, len(data.labels)),
        convolutional=convolutional,
        hidden=getattr(loaded.model.config, "hidden_size", None),
        has_lengths="length" in getattr(rows.train, "column_names", ()),
        processes=state.num_processes,
        precision=precision,
    )
    trainable, total = count_parameters(model)
    if facts.has_lengths:
        rows.lengths = np.asarray(rows.train["length"])

    trained: nn.Module = model
    if method.caches_features:
        cached = _cache_features(run, config, data, task, setting, method, loaded, pretrained, batch, facts)
        if cached is None:
            _say("The head of this model is more than one module, so its backbone runs at every step.")
        else:
            trained, rows = cached
            facts = dataclasses.replace(
                facts,
                features=max(1e-6, float(rows.train.features.std(0).mean())),
                has_lengths=False,
                precision=("fp32", "only a head trains"),
            )
    args, choices = build_arguments(config, facts, method, task, run.folder / "checkpoints")
    trainer = _trainer(run, config, data, task, setting, method, trained, rows, args, score)
    _say(
        f"{method.config.name}: {trainable:,} of {total:,} parameters train ({trainable / total:.1%}), "
        f"{len(rows.train)} samples, {args.num_train_epochs:g} epochs, learning rate {args.learning_rate:g}, "
        f"{'bf16' if args.bf16 else 'fp16' if args.fp16 else 'fp32'} ({precision[1]})."
    )
    with attention, quiet():
        resumed = _train(run, trainer)
    if state.is_main_process and trainer.state.best_model_checkpoint:
        _say(f"Best checkpoint: step {Path(trainer.state.best_model_checkpoint).name.split('-')[-1]}.")
    seconds = time.monotonic() - start
    _say(f"Trained in {duration(seconds)}.")
    best = trainer.state.best_model_checkpoint
    return Fitted(
        model=model,
        facts={
            "seconds": round(seconds + float(run.state.get("seconds_before", 0.0)), 1),
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
        moved = {key: value.to(device) for key, value in batch.items()}
        answer = [choose_precision(model.to(device), moved, lambda o, y: task.loss(o, y, setting, None))]
        run.reach(run.stage, precision=list(answer[0]))
    if state.num_processes > 1:
        broadcast_object_list(answer)
    return str(answer[0][0]), str(answer[0][1])


def _cache_features(
    run: Run,
    config: RunConfig,
    data: Data,
    task: Task,
    setting: Setting,
    method: Method,
    loaded: Loaded,
    pretrained: Pretrained,
    batch: Any,
    facts: Facts,
) -> tuple[nn.Module, Rows] | None:
    """The head as a model of its own, with the features of both splits; None where the head is not that simple."""
    inputs = {key: value.to(loaded.model.device) for key, value in batch.items() if key not in task.label_fields}
    whole = feature_model(loaded.model, loaded.heads, inputs)
    if whole is None:
        return None
    size = config.training.passed_through.get("per_device_eval_batch_size")
    args = prediction_arguments(size, bf16=facts.precision[0] == "bf16")
    state = process_state()
    arrays = {}
    for split in ("train", "validation"):
        rows = task.preprocess(data.splits[split], setting, False)
        lengths = np.asarray(rows["length"]) if facts.has_lengths else None
        about = {
            "data": data.source,
            "split": split,
            "preprocessing": config.data.preprocessing.model_dump(),
            "processor": repr(setting.processor),
            "precision": facts.precision[0],
            "head": [loaded.heads, config.model.pooling, whole.first_only],
            "torch": torch.__version__,
        }

        def compute(rows: Any = rows, lengths: Any = lengths) -> dict[str, np.ndarray]:
            return predict_outputs(
                whole, task, setting, rows, args, lengths=lengths, names=("features", "logits", "mean")
            )

        key = content_key(about, loaded.model, loaded.heads, data.splits[split])
        arrays[split] = cached_features(key, compute, write=state.is_main_process)
    whole.close()
    labels = {split: np.asarray(data.splits[split]["label"]) for split in arrays}
    if "mean" in arrays["train"] and not config.model.pooling:
        found = better_pooling(arrays["train"]["features"], arrays["train"]["mean"], labels["train"], config.seed)
        if found:
            setting.notes.append(
                f"The mean of the tokens would serve better than what this model's stock head reads: a logistic "
                f"regression on training samples reaches {found[1]:.3f} instead of {found[0]:.3f}. "
                "Try model.pooling=mean (the result then needs trust_remote_code)."
            )
            _say(setting.notes[-1])
    head = loaded.model.get_submodule(loaded.heads[0])
    datasets = {split: FeatureRows(arrays[split]["features"], labels[split]) for split in arrays}
    return HeadModel(head), Rows(datasets["train"], datasets["validation"], (collate_features, collate_features))


def _trainer(
    run: Run,
    config: RunConfig,
    data: Data,
    task: Task,
    setting: Setting,
    method: Method,
    model: nn.Module,
    rows: Rows,
    args: TrainingArguments,
    score: Score,
) -> TransferTrainer:
    classes = np.asarray(data.splits["train"]["label"]) if config.data.sampling == "balanced" else None
    callbacks: list[Any] = [LogFile(run.folder / "log.jsonl"), Lines(task.best_metric)]
    if config.training.early_stopping_patience:
        callbacks.append(
            EarlyStoppingCallback(config.training.early_stopping_patience, config.training.early_stopping_threshold)
        )
    trainer = TransferTrainer(
        task=task,
        setting=setting,
        method=method,
        model=model,
        args=args,
        train_dataset=rows.train,
        eval_dataset=rows.validation,
        collators=rows.collators,
        lengths=rows.lengths,
        classes=classes,
        measure=score,
        callbacks=callbacks,
    )
    trainer.add_callback(SetEpoch(trainer))
    trainer.remove_callback(PrinterCallback)
    stages = method.stages(model)
    if stages:
        per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        trainer.add_callback(Unfreeze(model, stages, -(-len(rows.train) // per_step)))
    return trainer


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
    if trainer.state.best_model_checkpoint and Path(trainer.state.best_model_checkpoint).exists():
        trainer._load_best_model()
    else:
        trainer._load_from_checkpoint(str(checkpoint))
