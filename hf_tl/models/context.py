"""The one place where a `TaskContext` is made: what a task's functions may look at, for training or afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from hf_tl.config import Preprocessing, RunConfig
from hf_tl.models.layers import position_limit
from hf_tl.models.pretrained import Pretrained
from hf_tl.task import Targets, Task, TaskContext


def labels_of(config: Any) -> tuple[str, ...]:
    """Label names of a model, in the order of its outputs."""
    return tuple(str(config.id2label[index]) for index in sorted(config.id2label))


def make_context(
    task: Task,
    pretrained: Pretrained,
    processor: Any,
    model: Any = None,
    *,
    config: RunConfig | None = None,
    targets: Targets | None = None,
    preprocessing: Preprocessing | None = None,
    mode: str = "training",
    class_weights: Any = None,
    notes: Sequence[str] = (),
) -> TaskContext:
    """What there is to know, with `Task.configure` called: nothing in model or processor changes for the task after it.

    Args:
        model: as loaded; None where nothing runs (`hf-tl preview`).
        config: of a training run.
        targets: what the data hold; None: what the finished `model` says of its labels.
        preprocessing: of a finished model; that of `config` in training.
        class_weights: float32 (labels,).
        notes: the first sentences for the user.

    Raises:
        ConfigError, ModelError: as `Task.configure`.
    """
    model_config = pretrained.config if model is None else model.config
    if targets is None:
        targets = Targets(
            labels_of(model_config) if task.targets and task.new_head else (),
            getattr(model_config, "problem_type", None) if task.problems else None,
        )
    context = TaskContext(
        labels=targets.labels,
        problem=targets.problem,
        processor=processor,
        preprocessing=preprocessing or (config.data.preprocessing if config else Preprocessing(augment="none")),
        model_config=model_config,
        positions=position_limit(model) if isinstance(model, nn.Module) else None,
        folder=(pretrained.adapter if config is None else None) or pretrained.path,
        mode=mode,
        class_weights=class_weights,
        notes=list(notes),
        **({} if config is None else _configured(config)),
    )
    if task.configure is not None:
        task.configure(model, context)
    return context


def _configured(config: RunConfig) -> dict[str, Any]:
    return {
        "loss": config.loss,
        "pooling": config.model.pooling,
        "label_smoothing": float(config.training.passed_through.get("label_smoothing_factor", 0.0)),
        "generation": config.generation.passed_through,
        "seed": config.seed,
    }
