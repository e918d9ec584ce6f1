"""Confusion matrix: how often each class was taken for which."""

from typing import Any

import datasets
import evaluate
from sklearn.metrics import confusion_matrix

DESCRIPTION = """How often each class was taken for which: rows are true classes, columns predicted ones."""

INPUTS = """
Args:
    predictions (`list` of `int`): predicted class of every sample.
    references (`list` of `int`): true class of every sample.
    labels (`list` of `int`): the classes, in the order of rows and columns; those that occur when not given.

Returns:
    `confusion_matrix`: list of rows of counts.
"""


class ConfusionMatrix(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html"],
        )

    def _compute(self, predictions: Any, references: Any, labels: Any = None) -> dict[str, Any]:
        return {"confusion_matrix": confusion_matrix(references, predictions, labels=labels).tolist()}
