"""Percentile bootstrap (Efron 1979, https://doi.org/10.1214/aos/1176344552; Efron & Tibshirani 1993, chapter 13).

A resample of n samples is a vector of n counts: how often each sample was drawn. Sums over a resample are then matrix
products, and a metric that is a function of sums needs no loop over samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Score:
    """A metric's value and how it is taken on a resample."""

    value: float
    per_sample: np.ndarray | sparse.csc_array | None = None
    """float (samples, k) or (samples,): what of each sample the metric is a function of, by its sums."""
    from_sums: Callable[[np.ndarray], np.ndarray] | None = None
    """Sums (resamples, k) -> values (resamples,); None: the mean over samples of `per_sample`'s first column."""
    recompute: Callable[[np.ndarray], float] | None = None
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
        products: dict[int, np.ndarray] = {}  # metrics of the same counts share their sums
        for name, score in scores.items():
            if score.per_sample is not None:
                if id(score.per_sample) not in products:
                    per_sample = score.per_sample if score.per_sample.ndim == 2 else score.per_sample[:, None]
                    products[id(score.per_sample)] = weights @ per_sample
                sums = products[id(score.per_sample)]
                drawn[name].append(sums[:, 0] / samples if score.from_sums is None else score.from_sums(sums))
            elif score.recompute is not None:
                few = counts[: max(0, resamples // 5 - done)]
                drawn[name].append(np.array([score.recompute(np.repeat(np.arange(samples), row)) for row in few]))
        done += len(counts)
    for name, values in drawn.items():
        found = np.concatenate(values) if values else np.array([])
        found = found[np.isfinite(found)]
        if found.size:
            out[name]["low"], out[name]["high"] = percentiles(found, confidence)
        elif resamples:
            out[name]["low"] = out[name]["high"] = float(scores[name].value)
    return out
