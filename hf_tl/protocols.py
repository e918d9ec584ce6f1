"""What the functions of a task have to do, as types: `hf_tl.task.Task` names one for each of its functions.

All arguments are positional, so a task may call them as it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hf_tl.task import Targets, TaskContext

if TYPE_CHECKING:
    from hf_tl.metrics.intervals import Measurement


class EncodeTargets(Protocol):
    """Checks the target columns and replaces them in `splits`, each error naming file and row."""

    def __call__(self, splits: Any, config: Any, known: Targets | None, notes: list[str], /) -> Targets:
        """`config`: `DataConfig`; `known`: of a finished model; `notes`: sentences for the user are added."""


class Configure(Protocol):
    """The one function that changes the loaded model and its processor, in place and before anything is prepared: what
    has to travel with them, such as how texts are written."""

    def __call__(self, model: Any, context: TaskContext, /) -> None:
        """A finished model (`context.mode` is not `training`) answers as it was saved; `model` is None where only the
        processor is looked at (`hf-tl preview`)."""


class Preprocess(Protocol):
    """Makes samples of rows: a map-style dataset for the collator."""

    def __call__(self, rows: Any, context: TaskContext, training: bool, /) -> Any:
        """A `label` column becomes `labels`, and a `length` column lets batches be grouped."""


class MakeCollator(Protocol):
    """Gives what turns a list of samples into a batch."""

    def __call__(self, context: TaskContext, training: bool, /) -> Callable[[list[Any]], dict[str, Any]]: ...


class Loss(Protocol):
    """The loss of a batch, a scalar tensor."""

    def __call__(self, outputs: Any, batch: Any, context: TaskContext, items: Any, /) -> Any:
        """The sum over items divided by `items` (the number over all accumulated batches and processes), or by the
        batch's own number when that is None."""


class CountItems(Protocol):
    """What the loss of a batch is a mean over."""

    def __call__(self, batch: Any, /) -> int: ...


class CheckLoss(Protocol):
    """Raises ConfigError for a `loss.name` that is none."""

    def __call__(self, name: str, /) -> Any: ...


class Collect(Protocol):
    """What is kept of each sample of a batch, small and on the CPU, so that an evaluation does not pile up logits."""

    def __call__(self, model: Any, outputs: Any, batch: Any, context: TaskContext, /) -> list[Any]: ...


class Postprocess(Protocol):
    """One JSON-ready prediction a row, as the stock pipeline gives it."""

    def __call__(self, outputs: Any, samples: Any, rows: Any, context: TaskContext, /) -> list[dict[str, Any]]: ...


class Measure(Protocol):
    """The metrics of a split."""

    def __call__(
        self, outputs: Any, samples: Any, rows: Any, context: TaskContext, /, *, resamples: int = ..., seed: int = ...
    ) -> Measurement:
        """With intervals by `resamples` draws; 0: without."""


class RenderHtml(Protocol):
    """One prediction beside what is right, for the report: HTML, escaped."""

    def __call__(self, row: Any, prediction: Any, context: TaskContext, /) -> str: ...


class SaveExtras(Protocol):
    """Writes beside the weights in `folder`."""

    def __call__(self, model: Any, context: TaskContext, folder: Path, /) -> None: ...


class ReferenceRows(Protocol):
    """Held-out rows as the lines of the proof can ask them."""

    def __call__(self, rows: Any, context: TaskContext, /) -> Any: ...


__all__ = [
    "CheckLoss", "Collect", "Configure", "CountItems", "EncodeTargets", "Loss", "MakeCollator", "Measure",
    "Postprocess", "Preprocess", "ReferenceRows", "RenderHtml", "SaveExtras",
]  # fmt: skip
