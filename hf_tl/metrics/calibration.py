"""Whether a model's confidence can be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy, in bins of equal width (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""

    edges: tuple[float, ...]
    """Bounds of the bins, from 0 to 1: one more than there are bins."""
    counts: tuple[int, ...]
    """Samples in each bin."""
    confidence: tuple[float, ...]
    """Mean confidence of each bin; nan where it is empty."""
    accuracy: tuple[float, ...]
    """Share of right predictions in each bin; nan where it is empty."""
    error: float
    """Expected calibration error: mean distance of the two, weighted by the samples."""

    @property
    def overconfident(self) -> float:
        """Mean confidence minus accuracy over all samples."""
        full = np.array(self.counts) > 0
        gap = np.array(self.confidence)[full] - np.array(self.accuracy)[full]
        return float(np.average(gap, weights=np.array(self.counts)[full]))


def calibration(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Calibration:
    """Calibration of the predicted classes.

    Args:
        confidence: probability of the predicted class, float (samples,), at least one sample.
        correct: whether it is the true class, bool (samples,).
    """
    edges = np.linspace(0, 1, bins + 1)
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # bins are (low, high]
    counts = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(which, confidence, bins) / counts
        right = np.bincount(which, correct, bins) / counts
    gap = np.nan_to_num(np.abs(mean - right))
    return Calibration(
        tuple(edges.tolist()),
        tuple(counts.tolist()),
        tuple(mean.tolist()),
        tuple(right.tolist()),
        float((gap * counts).sum() / counts.sum()),
    )
