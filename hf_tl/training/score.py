"""The metrics of an evaluation during training: values only, intervals come at the end."""

from __future__ import annotations

import numpy as np
from sklearn import metrics as sk

from hf_tl.task import Setting, Task

SCORES = {
    "accuracy": lambda y, p: sk.accuracy_score(y, p),
    "balanced_accuracy": lambda y, p: sk.recall_score(y, p, average="macro", zero_division=0, labels=np.unique(y)),
    "f1_macro": lambda y, p: sk.f1_score(y, p, average="macro", zero_division=0),
    "f1_weighted": lambda y, p: sk.f1_score(y, p, average="weighted", zero_division=0),
}


def quick_metrics(task: Task, setting: Setting, logits: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """The task's metrics by name, and `loss`: the plain loss over all samples, each counted once."""
    predicted = task.decode(logits, setting)
    out = {name: float(SCORES[name](references, predicted)) for name in task.metrics if name in SCORES}
    out["loss"] = float(task.sample_losses(logits, references).mean())
    return out
