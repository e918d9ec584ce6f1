"""Precision: share of the predictions of a class that are right; 0 where it is not defined."""

from typing import Any

import datasets
import evaluate
from sklearn.metrics import precision_score

DESCRIPTION = """Share of the predictions of a class that are right; 0 where it is not defined."""

INPUTS = """
Args:
    predictions (`list` of `int`): predicted class of every sample.
    references (`list` of `int`): true class of every sample.
    average (`str`): `macro` (mean over the classes that occur in predictions or references), `weighted` (mean weighted
        by support), `micro`, or None for one value per class.
    labels (`list` of `int`): the classes to report; those that occur when not given.

Returns:
    `precision`: float in [0, 1], or one for each class.
"""


class Precision(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html"],
        )

    def _compute(self, predictions: Any, references: Any, average: Any = "macro", labels: Any = None) -> dict[str, Any]:
        score = precision_score(references, predictions, labels=labels, average=average, zero_division=0)
        return {"precision": score.tolist() if average is None else float(score)}
