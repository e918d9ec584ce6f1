"""What the single-label classification tasks share: loss, decoding and predictions. Not a task (leading underscore)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.task import Setting

LABEL_NAMES = (
    "label_text", "label_name", "label", "labels", "class", "category", "intent", "sentiment", "target", "coarse_label", "fine_label", "y",
)  # fmt: skip
METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "loss")


def loss(outputs: Any, labels: torch.Tensor, setting: Setting, items: torch.Tensor | int | None) -> torch.Tensor:
    """Cross-entropy, with class weights, label smoothing and the focal factor `(1 - p)^gamma` (Lin et al. 2017,
    https://arxiv.org/abs/1708.02002) where the setting asks for them.

    Args:
        outputs: has `logits`, shape (batch, labels).
        labels: int64, shape (batch,).
        items: samples over all accumulated batches and processes, so that the gradient does not depend on how the
            batch was cut; None outside training.
    """
    import torch
    from torch.nn.functional import cross_entropy

    logits = outputs["logits"].float()  # (batch, labels)
    weights = None if setting.class_weights is None else setting.class_weights.to(logits)
    losses = cross_entropy(
        logits, labels, weight=weights, reduction="none", label_smoothing=setting.label_smoothing
    )  # (batch,)
    gamma = setting.loss.focal_gamma if setting.loss is not None else 0.0
    if gamma:
        true = logits.log_softmax(-1).gather(1, labels[:, None]).squeeze(1).exp()  # probability of the true class
        losses = losses * (1 - true).clamp(min=torch.finfo(true.dtype).tiny) ** gamma
    return losses.sum() / (len(labels) if items is None else items)


def decode(logits: np.ndarray, setting: Setting) -> np.ndarray:
    """(samples, labels) -> (samples,) int64."""
    predicted: np.ndarray = logits.argmax(-1)
    return predicted


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, float64."""
    import numpy as np
    from scipy.special import softmax

    scores: np.ndarray = softmax(logits.astype(np.float64), axis=-1)
    return scores


def sample_losses(logits: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Cross-entropy of each sample, float64 (samples,)."""
    import numpy as np
    from scipy.special import log_softmax

    losses: np.ndarray = -log_softmax(logits.astype(np.float64), axis=-1)[np.arange(len(logits)), references]
    return losses


def postprocess(logits: np.ndarray, setting: Setting) -> list[dict[str, Any]]:
    """One `{"label", "score", "scores"}` per sample; the scores are softmax probabilities."""
    out = []
    for row in probabilities(logits):
        best = int(row.argmax())
        scores = {name: float(score) for name, score in zip(setting.labels, row, strict=True)}
        out.append({"label": setting.labels[best], "score": float(row[best]), "scores": scores})
    return out
