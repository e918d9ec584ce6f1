"""Percentile bootstrap (Efron 1979, https://doi.org/10.1214/aos/1176344552; Efron & Tibshirani 1993, chapter 13).

A resample of n samples is a vector of n counts: how often each sample was drawn. Sums over a resample are then matrix
products, and a metric that is a function of sums needs no loop over samples.

Of few samples, and where no resample differs, the bootstrap knows nothing of what it did not see: 6 of 6 right would be
1.000 for certain. There the interval also reaches as far as theory goes: for a share to Clopper's and Pearson's (1934,
https://doi.org/10.1093/biomet/26.4.404), exact for right and wrong, wide enough for any other mean between two ends;
for other metrics to Student's t with the jackknife's error (Tukey 1958). tests/metrics/test_few_rows.py draws samples
and counts how often intervals hold the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse, stats

CHUNK = 4_000_000
"""Most draws held at once: 32 MB as int64."""
FEW = 30
"""Up to so many samples are few."""
INFINITE = float("inf")
RANGES = {
    **dict.fromkeys(("loss", "mse", "mae", "perplexity", "generated_tokens"), (0.0, INFINITE)),
    **dict.fromkeys(("bleu", "chrf"), (0.0, 100.0)),
    **dict.fromkeys(("pearson", "spearman"), (-1.0, 1.0)),
    "r2": (-INFINITE, 1.0),
}
"""Metrics that are no share, and what they may be."""
SHARE = (0.0, 1.0)


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
    within: tuple[float, float] | None = None
    """The least and the greatest that the metric may be; None: as `RANGES` has it, and else a share."""


def with_intervals(
    scores: Mapping[str, Score], samples: int, *, resamples: int = 1000, seed: int = 42, confidence: float = 0.95
) -> dict[str, dict[str, float]]:
    """Name -> `value`, `low`, `high`; all metrics on the same resamples. With no resamples, `value` alone.

    Metrics that have to be computed anew are taken on a fifth of the resamples. Where no interval can be given, as of
    one sample for a metric that has no bounds, `low` and `high` are not numbers.
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
    for name, values in drawn.items() if resamples else ():
        found = np.concatenate(values) if values else np.array([])
        within = scores[name].within or RANGES.get(name, SHARE)
        out[name]["low"], out[name]["high"] = _interval(
            scores[name], found[np.isfinite(found)], samples, within, confidence
        )
    return out


def _interval(
    score: Score, drawn: np.ndarray, samples: int, within: tuple[float, float], confidence: float
) -> tuple[float, float]:
    """(low, high) of a metric; not numbers where there is none.

    Args:
        drawn: its values on the resamples, float (resamples,).
    """
    value = float(score.value)
    if not np.isfinite(value):
        return value, value
    low, high = percentiles(drawn, confidence) if drawn.size else (value, value)
    if samples > FEW and low < high:
        return low, high
    least, most = within
    inside = least <= min(value, low) and max(value, high) <= most
    if inside and np.isfinite([least, most]).all():
        theory = share_interval((value - least) / (most - least), samples, confidence)
        wide = tuple(least + (most - least) * end for end in theory)
    else:
        wide = _jackknife(score, samples, confidence, positive=least == 0)
        if not np.isfinite(wide).all():
            return float("nan"), float("nan")
    low, high = min(low, wide[0], value), max(high, wide[1], value)
    return (max(low, least), min(high, most)) if inside else (low, high)


def share_interval(share: float, samples: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper's and Pearson's interval of a share of so many samples; `share * samples` need not be whole."""
    right, tail = share * samples, (1 - confidence) / 2
    low = 0.0 if right <= 0 else float(stats.beta.ppf(tail, right, samples - right + 1))
    high = 1.0 if right >= samples else float(stats.beta.ppf(1 - tail, right + 1, samples - right))
    return low, high


def _jackknife(score: Score, samples: int, confidence: float, *, positive: bool) -> tuple[float, float]:
    """The value, and on both sides Student's t times the error that leaving out one sample after the other shows; not
    numbers where there is none to see.

    Args:
        positive: whether it is so much times the value, as fits what cannot be below 0 and has a long tail above.
    """
    nothing = (float("nan"), float("nan"))
    if samples < 2 or (score.per_sample is None and score.recompute is None):
        return nothing
    if score.per_sample is not None:
        table: Any = score.per_sample
        rows = table.toarray() if sparse.issparse(table) else np.asarray(table)
        rows = rows.reshape(samples, -1).astype(np.float64)
        sums = rows.sum(0) - rows
        without = sums[:, 0] / (samples - 1) if score.from_sums is None else np.asarray(score.from_sums(sums))
    else:
        assert score.recompute is not None
        every = np.arange(samples)
        without = np.array([score.recompute(np.delete(every, at)) for at in every])
    error = np.sqrt((samples - 1) / samples * ((without - without.mean()) ** 2).sum())
    if not error > 0:  # none, or not a number
        return nothing
    value, reach = float(score.value), float(stats.t.ppf((1 + confidence) / 2, samples - 1) * error)
    return value - reach, value * float(np.exp(min(reach / value, 50.0))) if positive and value > 0 else value + reach


def too_few(samples: int, split: str, metric: str, found: Mapping[str, float]) -> str | None:
    """A sentence where a split is too small to tell how good a model is; None where it is not.

    Args:
        metric: the title of the metric that is looked at.
        found: its `value`, `low` and `high`.
    """
    if samples > FEW:
        return None
    told = (
        f"{metric} {found['value']:.3f} here may be anything from {found['low']:.3f} to {found['high']:.3f} elsewhere"
    )
    known = np.isfinite([found["low"], found["high"]]).all()
    rows = "row" if samples == 1 else "rows"
    return (
        f"The {split} split has {samples} {rows}, too few to tell how good the model is: "
        f"{told if known else f'no interval of {metric} can be given'}."
    )
