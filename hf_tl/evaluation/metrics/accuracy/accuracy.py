"""Accuracy: share of samples whose predicted class is the true one."""

from typing import Any

import datasets
import evaluate
from sklearn.metrics import accuracy_score

DESCRIPTION = """Share of samples whose predicted class is the true one."""

INPUTS = """
Args:
    predictions (`list` of `int`): predicted class of every sample.
    references (`list` of `int`): true class of every sample.

Returns:
    `accuracy`: float in [0, 1].
"""


class Accuracy(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html"],
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
        return {"accuracy": float(accuracy_score(references, predictions))}
