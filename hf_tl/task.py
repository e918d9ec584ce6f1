"""The frozen Task record, and how tasks are found: by file name under `hf_tl/tasks/`.

A task file holds one `TASK = Task(...)` and a few pure functions, and imports heavy libraries only inside them, so
that listing every task costs no torch. The engine calls a task's functions and never asks which task it is.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_tl.errors import ConfigError, did_you_mean, listing

if TYPE_CHECKING:
    from hf_tl.protocols import (
        CheckLoss,
        Collect,
        Configure,
        CountItems,
        EncodeTargets,
        Loss,
        MakeCollator,
        Measure,
        Postprocess,
        Preprocess,
        ReferenceRows,
        RenderHtml,
        SaveExtras,
    )

OPTIONS = (
    "data.problem",
    "data.boxes",
    "data.preprocessing.max_length",
    "data.preprocessing.max_target_length",
    "data.preprocessing.prefix",
    "data.preprocessing.source_lang",
    "data.preprocessing.target_lang",
    "data.preprocessing.long_samples",
    "data.preprocessing.packing",
    "data.preprocessing.chat_template",
    "data.preprocessing.image_size",
    "data.preprocessing.augment",
    "data.preprocessing.mask_ratio",
    "data.preprocessing.mask_patch_size",
    "model.head",
    "model.pooling",
    "loss.name",
    "loss.class_weights",
    "loss.focal_gamma",
    "training.label_smoothing_factor",
    "generation",
)
"""Options of the configuration that only some tasks read (`Task.reads`)."""


@dataclass(frozen=True)
class Column:
    """A role that a column of the data plays: inside hf_tl the column carries the role's name."""

    role: str
    """Name inside hf_tl: `text`, `image`, `label`, ..."""
    kind: str
    """What its values are; the kinds are `hf_tl.data.kinds.KINDS`."""
    names: tuple[str, ...]
    """Usual names in datasets, best first; compared without case and surrounding space."""
    required: bool = True
    target: bool = False
    """Whether it is what the model learns to give, and so missing when one predicts."""


@dataclass(frozen=True)
class Targets:
    """What the target columns hold, once checked and encoded."""

    labels: tuple[str, ...] = ()
    """Names of the model's outputs, in order."""
    problem: str | None = None
    """Transformers' `problem_type`, where the task has several."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Further fields for the model's configuration, which travel with it."""
    class_column: str | None = None
    """The role that holds one class id a row, where there is one: what splits are stratified by."""


@dataclass(frozen=True)
class Demo:
    """An app of `hf-tl demo`, in the words that `hf_tl.sharing.demo` knows: what goes in, what comes out, and the lines
    between, which are written into its `app.py`."""

    takes: tuple[tuple[str, str], ...]
    """(name, kind) of each input, in order. Kinds: those of `hf_tl.data.kinds.KINDS` that have a widget (`text`,
    `image`: PIL, RGB), `line` (a short text), `score` (a number from 0 to 1, 0.5 at first). An app
    that gives `chat` takes `messages`, which it keeps itself."""
    gives: str
    """What the lines leave in `found`: `labels` ([{label, score}]), `highlights` ([{entity_group, start, end}] of the
    last text), `boxes` ([{label, score, box}] of the image), `masks` ([{label, mask}] of the image), `number`, `text`,
    or `chat` (the answer to `messages`)."""
    answer: str
    """Python lines that make `found` of the inputs, by name, with `pipe`; with `model`, `processor` and what
    `snippet` defines where the task has one; or with what `load` makes."""
    load: str = ""
    """Python lines that load `{model}` (the id and its arguments) where Transformers alone cannot."""
    imports: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    """What is needed beside torch, transformers and gradio."""
    needs: str = ""
    """What the model has to have: a role of its data, or `chat_template`."""
    result: str = "Answer"
    """What is written above the answer."""


@dataclass(frozen=True)
class Form:
    """One shape that data for a task may have."""

    roles: tuple[str, ...]
    """All of them have to be there."""
    inferred: bool = True
    """Whether data may suggest the task by it; otherwise the task is asked for: half of all datasets would fit."""
    by_name: tuple[str, ...] = ()
    """Roles whose columns must have one of their usual names for data to suggest the task."""


@dataclass(frozen=True)
class Inference:
    """How others run the result, without hf_tl."""

    snippet: str | None = None
    """Where Transformers has no pipeline for the task: Python lines that, given `model` and `processor`, define what
    answers; with `{model}` (the id and its arguments) in them they load it too. The card, the clean process of the
    proof and the app of `hf-tl demo` run these very lines."""
    example: str = ""
    """Lines after `snippet` that print an answer, for the card."""
    pipeline_kwargs: str = ""
    """Further arguments with which the stock pipeline gives what was measured, as Python."""
    proof: str | None = None
    """Python lines that a process without hf_tl runs to prove what is shared: given `rows` (a list of role -> value,
    images as PIL images) and `pipe`, or what `snippet` defines, they set `found`, a list: of each row those parts of
    its prediction that have to come out the same. None: the model only has to load."""
    reference_rows: ReferenceRows | None = None
    """Held-out rows as `proof` can ask them, such as texts that need not be cut; None: the inputs as they are."""
    demo: tuple[Demo, ...] = ()
    """Apps of `hf-tl demo`, of which the first is shown whose needs the model meets; none: there is no demo."""
    widget: tuple[Mapping[str, Any], ...] = ()
    """Examples for the model card's widget."""

    @property
    def snippet_with_example(self) -> str | None:
        return None if self.snippet is None else join_lines(self.snippet, self.example)


@dataclass(frozen=True)
class Library:
    """What loads the result."""

    name: str = "transformers"
    """By the Hub's name."""
    marker_files: tuple[str, ...] = ()
    """Files by which a finished model is known, where its architecture does not tell the task."""
    save: SaveExtras | None = None
    """Writes what the library reads beside the weights."""


@dataclass(frozen=True)
class Defaults:
    """What is taken where the configuration says nothing."""

    batch_sizes: tuple[int, int] | None = None
    """(training, evaluation), where it is not the engine's."""
    validation_rows: int | None = None
    """Rows of validation that are looked at during training, where looking at one is slow; None: all."""
    models: tuple[str, ...] = ()
    """Well-known Hub models to start from, smallest first."""


@dataclass(frozen=True)
class TaskContext:
    """What a task's functions may look at: everything that the data, model and configuration have settled. Made by
    `hf_tl.models.context.make_context` and not changed afterwards; functions only add to `notes`."""

    labels: tuple[str, ...] = ()
    """Label names, in the order of the model's outputs."""
    problem: str | None = None
    """Transformers' `problem_type`, where the task has several."""
    processor: Any = None
    """Tokenizer or image processor, as Transformers loads it."""
    preprocessing: Any = None
    """`hf_tl.config.Preprocessing`."""
    model_config: Any = None
    """`PreTrainedConfig` of the model."""
    positions: int | None = None
    """Tokens that the model has positions for, where its configuration says more (RoBERTa, MPNet)."""
    loss: Any = None
    """`hf_tl.config.LossConfig`."""
    class_weights: Any = None
    """float32 tensor of shape (labels,), mean 1 over the training samples, or None."""
    scale: tuple[float, float] | None = None
    """Regression while training: (mean, standard deviation) of the targets, which the model's outputs are measured
    in; folded into the head before it is saved."""
    label_smoothing: float = 0.0
    pooling: str | None = None
    """`model.pooling`, for a task that pools itself."""
    folder: Path | None = None
    """Where the pretrained or finished model is."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """`generation` of the configuration: fields of `GenerationConfig`."""
    mode: str = "training"
    """What is going on: `training`, `measuring` a finished model, or `predicting` with one. Writing a text takes many
    steps of the model, so it is not done in each evaluation while training."""
    seed: int = 42
    notes: list[str] = field(default_factory=list)
    """Sentences for the user, in order."""


@dataclass(frozen=True)
class Task:
    """All that hf_tl knows about one task. `hf-tl tasks` prints straight from it.

    The functions work on `rows` (the data, a `datasets.Dataset` whose columns carry the roles' names), `samples` (what
    `preprocess` made of them: one a row, or several with a column `row`) and `outputs` (a list, one a sample); what
    each has to do is said by its type in `hf_tl.protocols`.
    """

    name: str
    """The Hub's pipeline tag."""
    summary: str
    columns: tuple[Column, ...]
    auto_class: str
    """Name in `transformers` of the class that the result is loaded with."""
    peft_task_type: str | None
    """PEFT's `TaskType`, or None where PEFT has none."""
    metrics: tuple[str, ...]
    """What is reported."""
    best_metric: str
    """The metric that picks the best checkpoint."""
    greater_is_better: bool
    preprocess: Preprocess = field(repr=False)
    collator: MakeCollator = field(repr=False)
    loss: Loss = field(repr=False)
    collect: Collect = field(repr=False)
    postprocess: Postprocess = field(repr=False)
    measure: Measure = field(repr=False)
    targets: EncodeTargets | None = field(default=None, repr=False)
    """None: the inputs are all there is."""
    items: CountItems | None = field(default=None, repr=False)
    """None: the entries of `labels` that are not -100."""
    configure: Configure | None = field(default=None, repr=False)
    render_html: RenderHtml | None = field(default=None, repr=False)
    check_loss: CheckLoss | None = field(default=None, repr=False)
    """Where `loss.name` may choose."""
    forms: tuple[Form, ...] = ()
    """Where data come in several shapes, or not every shape suggests the task; none: the required columns."""
    inference: Inference = Inference()
    library: Library = Library()
    defaults: Defaults = Defaults()
    methods: tuple[str, ...] = ("full", "lora", "frozen", "scratch")
    reads: tuple[str, ...] = ()
    """Those of `OPTIONS` that have an effect on it; any other that is set is refused."""
    problems: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`problem_type` -> the fields that it changes, `metrics` and `best_metric` first."""
    new_head: bool = True
    """Whether the head is made for the data's labels; otherwise the pretrained one goes on."""
    cacheable_features: bool = False
    """Whether the head maps one vector a sample to its outputs, so that `frozen` can keep vectors."""
    model_computes_loss: bool = False
    """Whether the model computes the loss, and so gets the label fields too."""
    label_fields: tuple[str, ...] = ("labels",)
    """Batch keys that hold what is to be predicted: the model gets them where it computes the loss."""
    extra_fields: tuple[str, ...] = ()
    """Further batch keys that the task's functions need, which the model never gets."""
    support_unit: str = "rows"
    """What the `support` of a class counts."""
    defers_to: tuple[str, ...] = ()
    """Tasks that are meant rather than this one where the data fit both."""

    @property
    def inferred(self) -> bool:
        """Whether data may suggest it."""
        return not self.forms or any(form.inferred for form in self.forms)

    @property
    def pools_itself(self) -> bool:
        """Whether `model.pooling` is the task's own to apply, not that of a head."""
        return "model.pooling" in self.reads and not self.new_head

    def column(self, role: str) -> Column | None:
        return next((column for column in self.columns if column.role == role), None)

    def of_problem(self, problem: str | None) -> Task:
        """This task for a `problem_type` of it."""
        return replace(self, **self.problems.get(problem or "", {}))

    @property
    def input_roles(self) -> tuple[str, ...]:
        """The roles that the model reads, in order."""
        return tuple(column.role for column in self.columns if not column.target)

    @property
    def target_roles(self) -> tuple[str, ...]:
        """The roles that the model learns to give."""
        return tuple(column.role for column in self.columns if column.target)


def join_lines(first: str, then: str) -> str:
    """Python lines and what follows them, two empty lines after a function."""
    return f"{first}\n\n\n{then}" if first.splitlines()[-1].startswith(" ") else f"{first}\n\n{then}"


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


def usual_names() -> set[str]:
    """The names by which any task knows its columns, in lower case."""
    return {name.lower() for task in all_tasks() for column in task.columns for name in column.names}


def about(task: Task) -> dict[str, Any]:
    """What `hf-tl tasks` tells of a task."""
    required = tuple(column.role for column in task.columns if column.required)
    return {
        "name": task.name,
        "summary": task.summary,
        "columns": {column.role: list(column.names) for column in task.columns},
        "forms": [list(form.roles) for form in task.forms or (Form(required),)],
        "methods": list(task.methods),
        "metrics": list(task.metrics),
        "best_metric": task.best_metric,
        "options": list(task.reads),
        "models": list(task.defaults.models),
    }
