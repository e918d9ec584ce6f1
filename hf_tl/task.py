"""The frozen Task record, and how tasks are found: by file name under `hf_tl/tasks/`.

A task file holds one `TASK = Task(...)` and a few pure functions, and imports heavy libraries only inside them, so
that listing every task costs no torch. The engine calls a task's functions and never asks which task it is.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_tl.errors import ConfigError, did_you_mean, listing


@dataclass(frozen=True)
class Column:
    """A role that a column of the data plays: inside hf_tl the column carries the role's name."""

    role: str
    """Name inside hf_tl: `text`, `image`, `label`, ..."""
    kind: str
    """What its values are: `text`, `image` or `label` (one class per row, as string, integer or boolean)."""
    names: tuple[str, ...]
    """Usual names in data sets, best first; compared without case and surrounding space."""
    required: bool = True


@dataclass
class Setting:
    """What a task's functions may look at: everything that the data, model and configuration have settled."""

    labels: tuple[str, ...] = ()
    """Label names, in the order of the model's outputs."""
    processor: Any = None
    """Tokenizer or image processor, as Transformers loads it."""
    preprocessing: Any = None
    """`hf_tl.config.Preprocessing`."""
    model_config: Any = None
    """`PreTrainedConfig` of the model."""
    loss: Any = None
    """`hf_tl.config.LossConfig`."""
    class_weights: Any = None
    """float32 tensor of shape (labels,), mean 1 over the training samples, or None."""
    label_smoothing: float = 0.0
    seed: int = 42
    notes: list[str] = field(default_factory=list)
    """Sentences for the user, in order."""


@dataclass(frozen=True)
class Task:
    """All that hf_tl knows about one task. `hf-tl tasks` prints straight from it."""

    name: str
    """The Hub's pipeline tag."""
    summary: str
    columns: tuple[Column, ...]
    modality: str
    """`text` or `image`: what a person sees of an input."""
    auto_class: str
    """Name in `transformers` of the class that the result is loaded with."""
    processor_class: str
    """Name in `transformers` of the processor's auto class."""
    peft_task_type: str | None
    """PEFT's `TaskType`, or None where PEFT has none."""
    metrics: tuple[str, ...]
    """What is reported, by the names that `hf_tl.evaluation` measures."""
    best_metric: str
    """The metric that picks the best checkpoint."""
    greater_is_better: bool
    preprocess: Callable[..., Any] = field(repr=False)
    """`(rows: datasets.Dataset, setting, training: bool) -> map-style dataset` of samples for the collator; a `label`
    column becomes `labels`, and a `length` column lets batches be grouped."""
    collator: Callable[..., Any] = field(repr=False)
    """`(setting, training: bool) -> callable` that turns a list of samples into a batch of tensors."""
    loss: Callable[..., Any] = field(repr=False)
    """`(outputs, labels, setting, items) -> scalar tensor`: the sum over items divided by `items` (the number over all
    accumulated batches and processes), or by the batch's own number when `items` is None."""
    decode: Callable[..., Any] = field(repr=False)
    """`(logits: array, setting) -> array` of predicted ids, what the metrics compare with the references."""
    sample_losses: Callable[..., Any] = field(repr=False)
    """`(logits: array, references: array) -> float64 array (samples,)`: plain loss of every sample."""
    postprocess: Callable[..., Any] = field(repr=False)
    """`(logits: array, setting) -> list[dict]`: one JSON-ready prediction a sample, as the stock pipeline gives it."""
    widget: tuple[Mapping[str, Any], ...] = ()
    """Examples for the model card's widget."""
    models: tuple[str, ...] = ()
    """Well-known Hub models to start from, smallest first."""
    label_fields: tuple[str, ...] = ("labels",)
    """Batch keys that hold what is to be predicted."""

    def column(self, role: str) -> Column | None:
        return next((column for column in self.columns if column.role == role), None)

    @property
    def input_roles(self) -> tuple[str, ...]:
        """The roles that the model reads, in order."""
        return tuple(column.role for column in self.columns if column.kind != "label")

    @property
    def label_role(self) -> str | None:
        return next((column.role for column in self.columns if column.kind == "label"), None)


def task_names() -> list[str]:
    """Names of all tasks, sorted."""
    modules = pkgutil.iter_modules(importlib.import_module("hf_tl.tasks").__path__)
    return sorted(module.name.replace("_", "-") for module in modules if not module.name.startswith("_"))


def get_task(name: str) -> Task:
    """The task called `name`.

    Raises:
        ConfigError: no such task.
    """
    if name not in task_names():
        raise ConfigError(
            f"task: {name!r} is not a task of hf_tl{did_you_mean(name, task_names()) or '.'} "
            f"Known tasks: {listing(task_names(), most=30)}."
        )
    module = importlib.import_module(f"hf_tl.tasks.{name.replace('-', '_')}")
    task: Task = module.TASK
    return task


def all_tasks() -> list[Task]:
    return [get_task(name) for name in task_names()]
