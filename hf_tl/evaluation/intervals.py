"""Percentile bootstrap (Efron 1979, https://doi.org/10.1214/aos/1176344552; Efron & Tibshirani 1993, chapter 13).

A resample of n samples is a vector of n counts: how often each sample was drawn. Sums over a resample are then matrix
products, and every metric that is a function of class counts needs no loop over samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

CHUNK = 4_000_000
"""Most draws held at once: 32 MB as int64."""


def resamples_of(samples: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Chunks of bootstrap resamples as counts, int64 (resamples in this chunk, samples); each row sums to `samples`."""
    drawn = np.random.default_rng(seed)
    size = max(1, min(resamples, CHUNK // max(1, samples)))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        indices = drawn.integers(0, samples, (rows, samples)) + samples * np.arange(rows)[:, None]
        yield np.bincount(indices.ravel(), minlength=rows * samples).reshape(rows, samples)


def percentiles(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high): what the middle `confidence` of `values` (resamples,) lies between."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Score:
    """A metric's value and how it is taken on a resample."""

    value: float
    parts: np.ndarray | None = None
    """float (samples, k): what of each sample the metric is a function of, by its sums."""
    formula: Callable[[np.ndarray], np.ndarray] | None = None
    """Sums (resamples, k) -> values (resamples,); None: the mean over samples of `parts`' first column."""
    again: Callable[[np.ndarray], float] | None = None
    """Where no sums do: indices of a resample (samples,) -> value."""


def with_intervals(
    scores: Mapping[str, Score], samples: int, *, resamples: int = 1000, seed: int = 42, confidence: float = 0.95
) -> dict[str, dict[str, float]]:
    """Name -> `value`, `low`, `high`; all metrics on the same resamples. With no resamples, `value` alone.

    Metrics that have to be computed anew are taken on a fifth of the resamples.
    """
    out = {name: {"value": float(score.value)} for name, score in scores.items()}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in scores}
    done = 0
    for counts in resamples_of(samples, resamples, seed) if resamples else ():
        weights = counts.astype(np.float64)
        for name, score in scores.items():
            if score.parts is not None:
                sums = weights @ score.parts.reshape(samples, -1)
                drawn[name].append(sums[:, 0] / samples if score.formula is None else score.formula(sums))
            elif score.again is not None:
                few = counts[: max(0, resamples // 5 - done)]
                drawn[name].append(np.array([score.again(np.repeat(np.arange(samples), row)) for row in few]))
        done += len(counts)
    for name, values in drawn.items():
        found = np.concatenate(values) if values else np.array([])
        found = found[np.isfinite(found)]
        if found.size:
            out[name]["low"], out[name]["high"] = percentiles(found, confidence)
        elif resamples:
            out[name]["low"] = out[name]["high"] = float(scores[name].value)
    return out


class ClassCounts:
    """Class counts of resamples: all that accuracy, recall, precision and F1 depend on.

    Args:
        predictions: int (samples,).
        references: int (samples,).
        classes: number of classes.
    """

    def __init__(self, predictions: np.ndarray, references: np.ndarray, classes: int) -> None:
        rows = np.arange(len(references))
        ones = np.ones(len(references))
        shape = (len(references), classes)
        self._true = sparse.csc_array((ones, (rows, references)), shape=shape)
        self._predicted = sparse.csc_array((ones, (rows, predictions)), shape=shape)
        right = rows[predictions == references]
        self._right = sparse.csc_array((np.ones(len(right)), (right, references[right])), shape=shape)

    def __call__(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(right, true, predicted), each float64 (resamples, classes), from counts (resamples, samples)."""
        weights = counts.astype(np.float64)
        return weights @ self._right, weights @ self._true, weights @ self._predicted


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """0 where it is not defined, as scikit-learn's `zero_division=0`."""
    out: np.ndarray = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return out


def _average(scores: np.ndarray, true: np.ndarray, predicted: np.ndarray, average: str) -> np.ndarray:
    """Over the classes that occur in the resample; (resamples, classes) -> (resamples,)."""
    weights = true if average == "weighted" else ((true > 0) | (predicted > 0)).astype(np.float64)
    out: np.ndarray = (scores * weights).sum(1) / weights.sum(1)
    return out


def _f1(right: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _ratio(2 * right, true + predicted)


def _precision(right: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _ratio(right, predicted)


def _recall(right: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _ratio(right, true)


def _accuracy(right: np.ndarray, true: np.ndarray, predicted: np.ndarray, **_: Any) -> np.ndarray:
    out: np.ndarray = right.sum(1) / true.sum(1)
    return out


def _balanced_accuracy(right: np.ndarray, true: np.ndarray, predicted: np.ndarray, **_: Any) -> np.ndarray:
    out: np.ndarray = _ratio(right, true).sum(1) / (true > 0).sum(1)
    return out


def _averaged(score: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def averaged(right: np.ndarray, true: np.ndarray, predicted: np.ndarray, average: str = "macro") -> np.ndarray:
        if average == "micro":
            return _accuracy(right, true, predicted)
        return _average(score(right, true, predicted), true, predicted, average)

    return averaged


FROM_COUNTS: dict[str, Callable[..., np.ndarray]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "f1": _averaged(_f1),
    "precision": _averaged(_precision),
    "recall": _averaged(_recall),
}
"""Metric module -> `(right, true, predicted, **arguments) -> (resamples,)`, equal to the module on each resample."""
