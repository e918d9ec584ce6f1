"""Measuring regression and several labels a sample. Values by scikit-learn and SciPy, intervals from sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics

from hf_tl.evaluation.intervals import Score, with_intervals
from hf_tl.evaluation.measure import Measurement


def measure(predictions: np.ndarray, references: np.ndarray, losses: np.ndarray, **options: Any) -> Measurement:
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
            _correlation(stats.spearmanr, p, r), again=lambda index: _correlation(stats.spearmanr, p[index], r[index])
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


def measure_several(
    predictions: np.ndarray, references: np.ndarray, labels: Sequence[str], losses: np.ndarray, **options: Any
) -> Measurement:
    """Several labels a sample: F1 over all decisions and as a mean over labels, samples with every label right,
    and wrong decisions.

    Args:
        predictions, references: bool or 0/1 (samples, labels).
        losses: float (samples,).
    """
    p, r = np.asarray(predictions, dtype=np.int64), np.asarray(references).astype(np.int64)
    counts = np.concatenate([p * r, p, r], axis=1).astype(np.float64)  # right, predicted, true; each (samples, labels)
    exact = (p == r).all(1).astype(np.float64)
    wrong = (p != r).mean(1)
    average = {"zero_division": 0.0}
    scores = {
        "f1_micro": Score(float(metrics.f1_score(r, p, average="micro", **average)), counts, _micro),
        "f1_macro": Score(float(metrics.f1_score(r, p, average="macro", **average)), counts, _macro),
        "exact_match": Score(float(metrics.accuracy_score(r, p)), exact),
        "hamming_loss": Score(float(metrics.hamming_loss(r, p)), wrong),
        "loss": Score(float(losses.mean()), losses),
    }
    precision, recall, f1, support = metrics.precision_recall_fscore_support(r, p, average=None, **average)
    per_class = [
        {"label": name, "precision": float(a), "recall": float(b), "f1": float(c), "support": int(d)}
        for name, a, b, c, d in zip(labels, precision, recall, f1, support, strict=True)
    ]
    always = float(metrics.f1_score(r, np.tile(r.mean(0) >= 0.5, (len(r), 1)), average="micro", **average))
    return Measurement(with_intervals(scores, len(r), **options), per_class=per_class, baseline={"f1_micro": always})


def _f1(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    right, predicted, true = np.split(sums, 3, axis=1)
    return 2 * right, predicted + true


def _micro(sums: np.ndarray) -> np.ndarray:
    above, below = _f1(sums)
    out: np.ndarray = above.sum(1) / np.maximum(below.sum(1), 1)
    return out


def _macro(sums: np.ndarray) -> np.ndarray:
    above, below = _f1(sums)
    out: np.ndarray = (above / np.maximum(below, 1)).mean(1)
    return out
