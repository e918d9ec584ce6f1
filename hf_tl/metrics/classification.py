"""Metrics of classifiers: values by scikit-learn, intervals from class counts.

Accuracy, precision, recall and F1 are functions of how often each class was predicted, true, and predicted rightly. All
three are sums over samples, so that no resample needs a loop over them (`hf_tl.metrics.intervals`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import metrics as sk

from hf_tl.errors import DataError
from hf_tl.metrics import AVERAGES
from hf_tl.metrics.hub_metrics import score_of
from hf_tl.metrics.intervals import Measurement, Score, with_intervals

Counts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""How often each class was (right, true, predicted), each float64 (resamples, classes)."""


def measure(
    names: Sequence[str],
    predictions: Any,
    references: Any,
    labels: Sequence[str],
    *,
    sample_losses: Any = None,
    **options: Any,
) -> Measurement:
    """Measures predictions against references.

    Args:
        names: of `METRICS`, the id of any Hub metric or the folder of one, or `loss`, the mean of `sample_losses`.
        predictions: class ids (samples,); for a Hub metric anything that it takes.
        references: as `predictions`.
        labels: names of the classes in the order of their ids; empty where there are no classes, and then only
            `metrics` is filled.
        sample_losses: float (samples,), or None, and then `loss` is left out.
        options: of `with_intervals`; every metric is taken on the same resamples of the samples.

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
    counts = class_counts(predictions, references, len(labels)) if labels else None
    scores: dict[str, Score] = {}
    for name in names:
        if name == "loss":
            if sample_losses is not None:
                losses = np.asarray(sample_losses, dtype=np.float64)
                scores[name] = Score(float(losses.mean()), losses)
        elif name in METRICS and labels:
            value, from_counts = METRICS[name]
            scores[name] = Score(value(references, predictions), counts, partial(_from_sums, from_counts))
        else:
            scores[name] = score_of(name, predictions, references, METRICS)
    found = with_intervals(scores, samples, **options)
    return Measurement(found, *_by_class(predictions, references, labels)) if labels else Measurement(found)


def _ids(values: Any, labels: Sequence[str]) -> np.ndarray:
    ids = np.asarray(values)
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0 or ids.max() >= len(labels):
        raise DataError(f"expected class ids from 0 to {len(labels) - 1}, one per sample; found {ids.tolist()[:5]}...")
    return ids.astype(np.int64)


def class_counts(predictions: np.ndarray, references: np.ndarray, classes: int) -> sparse.csc_array:
    """Of each sample: its class where it is predicted rightly, its true class, its predicted class; float64
    (samples, 3 * classes)."""
    rows = np.arange(len(references))
    right = rows[predictions == references]
    place = (
        np.concatenate([right, rows, rows]),
        np.concatenate([references[right], classes + references, 2 * classes + predictions]),
    )
    return sparse.csc_array((np.ones(len(place[0])), place), shape=(len(rows), 3 * classes))


def _from_sums(from_counts: Callable[[Counts], np.ndarray], sums: np.ndarray) -> np.ndarray:
    right, true, predicted = np.split(sums, 3, axis=1)
    return from_counts((right, true, predicted))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """0 where it is not defined, as scikit-learn's `zero_division=0`."""
    out: np.ndarray = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return out


def _accuracy(counts: Counts) -> np.ndarray:
    right, true, _ = counts
    out: np.ndarray = right.sum(1) / true.sum(1)
    return out


def _balanced_accuracy(counts: Counts) -> np.ndarray:
    right, true, _ = counts
    out: np.ndarray = _ratio(right, true).sum(1) / (true > 0).sum(1)
    return out


def _f1(counts: Counts) -> np.ndarray:
    right, true, predicted = counts
    return _ratio(2 * right, true + predicted)


def _precision(counts: Counts) -> np.ndarray:
    return _ratio(counts[0], counts[2])


def _recall(counts: Counts) -> np.ndarray:
    return _ratio(counts[0], counts[1])


def _averaged(of_classes: Callable[[Counts], np.ndarray], average: str, counts: Counts) -> np.ndarray:
    """Over the classes that occur in the resample; of one label a sample the micro average is the accuracy."""
    if average == "micro":
        return _accuracy(counts)
    _, true, predicted = counts
    weights = true if average == "weighted" else ((true > 0) | (predicted > 0)).astype(np.float64)
    out: np.ndarray = (of_classes(counts) * weights).sum(1) / weights.sum(1)
    return out


def _balanced(references: np.ndarray, predictions: np.ndarray) -> float:
    # As `balanced_accuracy_score`, which warns when a prediction is of a class without references.
    present = sorted(set(references.tolist()))
    return float(sk.recall_score(references, predictions, labels=present, average="macro", zero_division=0))


def _by_scikit_learn(of: Any, average: str, references: np.ndarray, predictions: np.ndarray) -> float:
    return float(of(references, predictions, average=average, zero_division=0))


METRICS: dict[str, tuple[Callable[[np.ndarray, np.ndarray], float], Callable[[Counts], np.ndarray]]] = {
    "accuracy": (lambda references, predictions: float(sk.accuracy_score(references, predictions)), _accuracy),
    "balanced_accuracy": (_balanced, _balanced_accuracy),
    **{
        f"{name}_{average}": (partial(_by_scikit_learn, of, average), partial(_averaged, of_classes, average))
        for name, of, of_classes in (
            ("f1", sk.f1_score, _f1),
            ("precision", sk.precision_score, _precision),
            ("recall", sk.recall_score, _recall),
        )
        for average in AVERAGES
    },
}
"""Name -> (value of references and predictions, the same of class counts). Classes that occur in neither have no part
in a mean; what is not defined is 0."""


def _by_class(
    predictions: np.ndarray, references: np.ndarray, labels: Sequence[str]
) -> tuple[list[dict[str, Any]], list[list[int]], dict[str, float]]:
    """(per_class, confusion_matrix, baseline)."""
    ids = range(len(labels))
    scores = sk.precision_recall_fscore_support(references, predictions, labels=ids, zero_division=0)
    per_class = [
        {"label": label, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for label, p, r, f, s in zip(labels, *scores, strict=True)
    ]
    matrix = sk.confusion_matrix(references, predictions, labels=ids).tolist()
    return per_class, matrix, {"accuracy": float(np.bincount(references).max() / len(references))}


def measure_multi_label(
    predictions: np.ndarray, references: np.ndarray, labels: Sequence[str], losses: np.ndarray, **options: Any
) -> Measurement:
    """Several labels a sample: F1 over all decisions and as a mean over labels, samples with every label right,
    and wrong decisions.

    Args:
        predictions, references: bool or 0/1 (samples, labels).
        losses: float (samples,).
        options: of `with_intervals`.
    """
    p, r = np.asarray(predictions, dtype=np.int64), np.asarray(references).astype(np.int64)
    counts = np.concatenate([p * r, r, p], axis=1).astype(np.float64)  # right, true, predicted; each (samples, labels)
    average = {"zero_division": 0.0}
    scores = {
        "f1_micro": Score(float(sk.f1_score(r, p, average="micro", **average)), counts, _micro),
        "f1_macro": Score(float(sk.f1_score(r, p, average="macro", **average)), counts, partial(_from_sums, _macro)),
        "exact_match": Score(float(sk.accuracy_score(r, p)), (p == r).all(1).astype(np.float64)),
        "hamming_loss": Score(float(sk.hamming_loss(r, p)), (p != r).mean(1)),
        "loss": Score(float(losses.mean()), losses),
    }
    precision, recall, f1, support = sk.precision_recall_fscore_support(r, p, average=None, **average)
    per_class = [
        {"label": name, "precision": float(a), "recall": float(b), "f1": float(c), "support": int(d)}
        for name, a, b, c, d in zip(labels, precision, recall, f1, support, strict=True)
    ]
    always = float(sk.f1_score(r, np.tile(r.mean(0) >= 0.5, (len(r), 1)), average="micro", **average))
    return Measurement(with_intervals(scores, len(r), **options), per_class=per_class, baseline={"f1_micro": always})


def _micro(sums: np.ndarray) -> np.ndarray:
    right, true, predicted = np.split(sums, 3, axis=1)
    return _ratio(2 * right.sum(1), (true + predicted).sum(1))


def _macro(counts: Counts) -> np.ndarray:
    out: np.ndarray = _f1(counts).mean(1)
    return out
