"""Metrics of regression: values by scikit-learn and SciPy, intervals from sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics

from hf_tl.metrics.intervals import Measurement, Score, with_intervals


def measure_regression(
    predictions: np.ndarray, references: np.ndarray, losses: np.ndarray, **options: Any
) -> Measurement:
    """Regression: coefficient of determination, squared and absolute error, Pearson's and Spearman's correlation.

    Args:
        predictions, references: float (samples,).
        losses: float (samples,), squared errors.
        options: of `with_intervals`.
    """
    p, r = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.float64)
    centred_p, centred_r = p - p.mean(), r - r.mean()  # sums of squares lose digits far from zero
    ones = np.ones_like(p)
    moments = np.stack([ones, centred_p, centred_r, centred_p**2, centred_r**2, centred_p * centred_r], axis=1)
    squares = np.stack([ones, losses, centred_r, centred_r**2], axis=1)
    scores = {
        "r2": Score(_r2(r, p), squares, _r2_of_sums),
        "mse": Score(float(metrics.mean_squared_error(r, p)), losses),
        "mae": Score(float(metrics.mean_absolute_error(r, p)), np.abs(p - r)),
        "pearson": Score(_correlation(stats.pearsonr, p, r), moments, _pearson_of_sums),
        "spearman": Score(
            _correlation(stats.spearmanr, p, r),
            recompute=lambda index: _correlation(stats.spearmanr, p[index], r[index]),
        ),
    }
    baseline = {"r2": 0.0, "mse": float(r.var()), "mae": float(np.abs(r - np.median(r)).mean())}
    return Measurement(with_intervals(scores, len(r), **options), baseline=baseline)


def _r2(references: np.ndarray, predictions: np.ndarray) -> float:
    return float(metrics.r2_score(references, predictions)) if np.ptp(references) > 0 else float("nan")


def _r2_of_sums(sums: np.ndarray) -> np.ndarray:
    """From (samples, squared errors, references, squared references), the references centred anywhere."""
    n, errors, r, rr = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        out: np.ndarray = 1 - errors / (rr - r * r / n)
    return out


def _pearson_of_sums(sums: np.ndarray) -> np.ndarray:
    n, p, r, pp, rr, pr = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        out: np.ndarray = (pr - p * r / n) / np.sqrt((pp - p * p / n) * (rr - r * r / n))
    return out


def _correlation(of: Any, p: np.ndarray, r: np.ndarray) -> float:
    """Not a number where one of them is constant."""
    if len(p) < 2 or np.ptp(p) == 0 or np.ptp(r) == 0:
        return float("nan")
    return float(of(p, r).statistic)
