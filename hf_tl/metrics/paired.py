"""Is one model better than another on the same samples?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_tl.errors import DataError
from hf_tl.metrics.intervals import FEW, percentiles, resamples_of, share_interval


@dataclass(frozen=True)
class Difference:
    """Mean of a minus mean of b, with its interval."""

    value: float
    low: float
    high: float
    samples: int
    confidence: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def paired_bootstrap(
    correct_a: Any, correct_b: Any, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 42
) -> Difference:
    """The difference of two models' mean scores on the same samples, with its percentile-bootstrap interval (Efron
    1979), pairs kept together: what is hard for both does not blur the difference.

    Args:
        correct_a: score of every sample, 0/1 or any number, (samples,), or (runs, samples) for several seeds; with
            several runs each side's runs are resampled too, so that the interval holds for a new seed. Of few samples
            whose scores lie in 0 to 1, the interval is as wide as that of any share.
        correct_b: the same for the other model, in the same order of samples; it may have another number of runs.

    Raises:
        DataError: no samples, or not the same number of them.
    """
    a, b = (np.atleast_2d(np.asarray(scores, dtype=np.float64)) for scores in (correct_a, correct_b))
    samples = a.shape[1]
    if a.ndim != 2 or b.ndim != 2 or samples != b.shape[1]:
        raise DataError(f"paired bootstrap: the scores {a.shape} and {b.shape} are not of the same samples.")
    if samples == 0:
        raise DataError("paired bootstrap: there are no samples.")
    runs = np.random.default_rng([seed, 1])
    found = []
    for counts in resamples_of(samples, resamples, seed):
        found.append(_of_runs(counts, a, runs) - _of_runs(counts, b, runs))
    low, high = percentiles(np.concatenate(found), confidence)
    value = float(a.mean() - b.mean())
    if (samples <= FEW or low == high) and 0 <= min(a.min(), b.min()) and max(a.max(), b.max()) <= 1:
        # as of any share: of few pairs the bootstrap has not seen what differs, or agrees, but rarely
        ends = share_interval((value + 1) / 2, samples, confidence)
        low, high = min(low, 2 * ends[0] - 1), max(high, 2 * ends[1] - 1)
    return Difference(value, low, high, samples, confidence)


def _of_runs(counts: np.ndarray, scores: np.ndarray, drawn: np.random.Generator) -> np.ndarray:
    """Mean score on each resample of the samples and, when there are several, of the runs; (resamples,)."""
    means = counts @ scores.T / scores.shape[1]  # (resamples, runs)
    chosen = drawn.integers(0, means.shape[1], means.shape)
    out: np.ndarray = np.take_along_axis(means, chosen, 1).mean(1)
    return out
