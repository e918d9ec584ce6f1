"""Metrics of predictions with their uncertainty: values from the metric modules, intervals by the bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hf_tl.errors import DataError
from hf_tl.evaluation.intervals import FROM_COUNTS, ClassCounts, percentiles, resamples_of
from hf_tl.evaluation.metrics import load_metric, split_name


@dataclass(frozen=True)
class Measurement:
    """What was measured on one split; all of it is JSON-ready."""

    metrics: dict[str, dict[str, float]]
    """Name -> `value`, `low`, `high`."""
    per_class: list[dict[str, Any]] = field(default_factory=list)
    """`label`, `precision`, `recall`, `f1`, `support`, in the order of the labels."""
    confusion_matrix: list[list[int]] = field(default_factory=list)
    """Rows are true classes, columns predicted ones."""
    baseline: dict[str, float] = field(default_factory=dict)
    """Metric -> what a model would reach that answers without looking: always the commonest class, or the mean."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What else belongs into metrics.json."""

    @property
    def values(self) -> dict[str, float]:
        return {name: found["value"] for name, found in self.metrics.items()}


def measure(
    names: Sequence[str],
    predictions: Any,
    references: Any,
    labels: Sequence[str],
    *,
    sample_losses: Any = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 42,
) -> Measurement:
    """Measures predictions against references.

    Args:
        names: `accuracy`, `balanced_accuracy`, `f1_macro`, ... (`hf_tl.evaluation.metrics`), the id of any Hub metric,
            or `loss`, the mean of `sample_losses`.
        predictions: class ids (samples,); for a Hub metric anything that it takes.
        references: as `predictions`.
        labels: names of the classes in the order of their ids; empty where there are no classes, and then only
            `metrics` is filled.
        sample_losses: float (samples,), or None, and then `loss` is left out.
        resamples: of the bootstrap; with 0 there are values only.
        confidence: of the percentile-bootstrap intervals; every metric is taken on the same resamples of the samples.

    Raises:
        DataError: no samples, lengths that differ, or ids that are no class.
        ConfigError: an unknown metric.
    """
    samples = len(references)
    if samples == 0:
        raise DataError("there are no samples to measure on.")
    if len(predictions) != samples:
        raise DataError(f"found {len(predictions)} predictions for {samples} references.")
    if labels:
        predictions, references = _ids(predictions, labels), _ids(references, labels)
    losses = None if sample_losses is None else np.asarray(sample_losses, dtype=np.float64)
    asked = {name: split_name(name) for name in names if name != "loss" or losses is not None}

    values: dict[str, float] = {}
    for name, (module, arguments) in asked.items():
        if name == "loss":
            assert losses is not None
            values[name] = float(losses.mean())
        else:
            # `_compute` is what a module defines; `compute` around it locks a file, and several processes may score.
            found = load_metric(module)._compute(predictions=predictions, references=references, **arguments)
            values[name] = float(found[_key(found, module)])

    if not resamples:
        return Measurement({name: {"value": value} for name, value in values.items()})
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in asked}
    fast = bool(labels) and any(module in FROM_COUNTS for module, _ in asked.values())
    class_counts = ClassCounts(predictions, references, len(labels)) if fast else None
    for counts in resamples_of(samples, resamples, seed):
        of_classes = class_counts(counts) if class_counts else ()
        for name, (module, arguments) in asked.items():
            if name == "loss":
                assert losses is not None
                drawn[name].append(counts @ losses / samples)
            elif fast and module in FROM_COUNTS:
                drawn[name].append(FROM_COUNTS[module](*of_classes, **arguments))
            else:
                drawn[name].append(_recomputed(module, arguments, predictions, references, counts))

    metrics = {}
    for name, value in values.items():
        low, high = percentiles(np.concatenate(drawn[name]), confidence)
        metrics[name] = {"value": value, "low": low, "high": high}
    if not labels:
        return Measurement(metrics)
    return Measurement(metrics, *_by_class(predictions, references, labels))


def _ids(values: Any, labels: Sequence[str]) -> np.ndarray:
    ids = np.asarray(values)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0 or ids.max() >= len(labels):
        raise DataError(f"expected class ids from 0 to {len(labels) - 1}, one per sample; found {ids.tolist()[:5]}...")
    return ids.astype(np.int64)


def _key(found: dict[str, Any], module: str) -> str:
    """The entry of a module's result that is the metric itself: of its own name, or else the first."""
    name = module.rpartition("/")[2]
    return name if name in found else next(iter(found))


def _recomputed(
    module: str, arguments: dict[str, Any], predictions: Any, references: Any, counts: np.ndarray
) -> np.ndarray:
    """A metric on each resample, by its own code: for metrics that are no function of class counts."""
    metric = load_metric(module)
    out = []
    for row in counts:
        indices = np.repeat(np.arange(len(row)), row)
        found = metric._compute(
            predictions=[predictions[index] for index in indices],
            references=[references[index] for index in indices],
            **arguments,
        )
        out.append(float(found[_key(found, module)]))
    return np.array(out)


def _by_class(
    predictions: np.ndarray, references: np.ndarray, labels: Sequence[str]
) -> tuple[list[dict[str, Any]], list[list[int]], dict[str, float]]:
    """(per_class, confusion_matrix, baseline)."""
    both = {"predictions": predictions, "references": references, "labels": list(range(len(labels)))}
    scores = {
        name: load_metric(name).compute(**both, average=None)[name] for name in ("precision", "recall", "f1")
    }  # each (labels,)
    matrix = load_metric("confusion_matrix").compute(**both)["confusion_matrix"]
    support = np.bincount(references, minlength=len(labels))
    per_class: list[dict[str, Any]] = []
    for index, label in enumerate(labels):
        of_class = {name: float(score[index]) for name, score in scores.items()}
        per_class.append({"label": label, **of_class, "support": int(support[index])})
    return per_class, matrix, {"accuracy": float(support.max() / len(references))}
