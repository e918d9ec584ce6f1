"""Balanced accuracy: mean recall over the classes that occur in the references."""

from typing import Any

import datasets
import evaluate
from sklearn.metrics import recall_score

DESCRIPTION = """Mean recall over the classes that occur in the references: every class counts the same."""

INPUTS = """
Args:
    predictions (`list` of `int`): predicted class of every sample.
    references (`list` of `int`): true class of every sample.

Returns:
    `balanced_accuracy`: float in [0, 1].
"""


class BalancedAccuracy(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html"],
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, Any]:
        # As `sklearn.metrics.balanced_accuracy_score`, which warns when a prediction is of a class without references.
        present = sorted(set(references))
        recall = recall_score(references, predictions, labels=present, average="macro", zero_division=0)
        return {"balanced_accuracy": float(recall)}
