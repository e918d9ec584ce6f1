"""What the tasks share that give a score to each label, or a number: one label a sample, several, or regression. Not a
task (leading underscore).

The three problems carry Transformers' `problem_type` names, which the stock models and pipelines follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.task import Targets

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.metrics.intervals import Measurement
    from hf_tl.task import TaskContext

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
LABEL_NAMES = (
    "label_text", "label_name", "label", "labels", "class", "category", "intent", "sentiment", "target", "coarse_label",
    "fine_label", "y", "score", "rating", "similarity_score",
)  # fmt: skip
METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "loss")
_ALWAYS = ("data.problem", "model.head", "model.pooling")
READS = (*_ALWAYS, "loss.class_weights", "loss.focal_gamma", "training.label_smoothing_factor")
PROBLEMS = {
    MULTI: {
        "summary": "any number of labels for each input",
        "metrics": ("f1_micro", "f1_macro", "exact_match", "hamming_loss", "loss"),
        "best_metric": "f1_micro",
        "reads": (*_ALWAYS, "loss.focal_gamma", "training.label_smoothing_factor"),
    },
    REGRESSION: {
        "summary": "a number for each input",
        "metrics": ("r2", "mse", "mae", "pearson", "spearman"),
        "best_metric": "r2",
        "reads": _ALWAYS,
    },
}


def targets(splits: Any, config: Any, known: Any, notes: list[str]) -> Targets:
    from hf_tl.data.label_values import say_numbers, settle_labels
    from hf_tl.data.rows import encode_label_sets, encode_labels, encode_numbers, problem_of

    labels = getattr(known, "labels", None)
    asked = config.problem or getattr(known, "problem", None)
    settle_labels(splits, "label", config, asked, labels, notes)
    problem = problem_of(splits, "label", config, getattr(known, "problem", None))
    if problem == REGRESSION:
        encode_numbers(splits, "label", config, notes)
        if known is None:
            said = "" if config.problem else f" (data.problem={SINGLE} takes each number as a class)"
            notes.append(f"The labels are numbers: regression{said}.")
        return Targets(tuple(labels or ("value",)), problem)
    if problem == MULTI:
        return Targets(encode_label_sets(splits, "label", config, labels, notes), problem)
    if asked is None and known is None:
        say_numbers(splits, "label", notes)
    return Targets(encode_labels(splits, "label", config, labels, notes), problem, class_column="label")


def loss(outputs: Any, batch: Any, context: TaskContext, items: torch.Tensor | int | None) -> torch.Tensor:
    """Cross-entropy of one label, with class weights, label smoothing and the focal factor `(1 - p)^gamma` (Lin et al.
    2017, https://arxiv.org/abs/1708.02002) where the context asks for them; binary cross-entropy of several, with the
    same; squared error of a number, in standard deviations.

    Args:
        outputs: has `logits`, shape (batch, labels).
        batch: `labels`: int64 (batch,) for one label or float32 (batch, labels) for mixed ones, float32 (batch, labels)
            for several, float32 (batch,) for a number.
        items: samples over all accumulated batches and processes, so that the gradient does not depend on how the
            batch was cut; None outside training.
    """
    import torch
    from torch.nn import functional as f

    logits, labels = outputs["logits"].float(), batch["labels"]  # (batch, labels)
    gamma = context.loss.focal_gamma if context.loss is not None else 0.0
    weights = None if context.class_weights is None else context.class_weights.to(logits)
    if context.problem == REGRESSION:
        mean, deviation = context.scale or (0.0, 1.0)
        losses = (logits.squeeze(-1) - (labels - mean) / deviation) ** 2
    elif context.problem == MULTI:
        wanted = labels * (1 - context.label_smoothing) + 0.5 * context.label_smoothing
        each = f.binary_cross_entropy_with_logits(logits, wanted, weight=weights, reduction="none")
        if gamma:
            each = each * (labels - logits.sigmoid()).abs().clamp(min=torch.finfo(each.dtype).tiny) ** gamma
        losses = each.mean(-1)
    else:
        losses = f.cross_entropy(
            logits, labels, weight=weights, reduction="none", label_smoothing=context.label_smoothing
        )  # (batch,)
        if gamma:
            probabilities = logits.softmax(-1)
            true = (
                (probabilities * labels).sum(1)
                if labels.is_floating_point()
                else probabilities.gather(1, labels[:, None])[:, 0]
            )
            losses = losses * (1 - true).clamp(min=torch.finfo(true.dtype).tiny) ** gamma
    total: torch.Tensor = losses.sum() / (len(labels) if items is None else items)
    return total


def collect(model: Any, out: Any, batch: Any, context: TaskContext) -> list[np.ndarray]:
    """float32 (labels,) of each sample; a number in the data's own unit."""
    logits = out["logits"].float()
    if context.problem == REGRESSION and context.scale is not None:
        logits = logits * context.scale[1] + context.scale[0]
    return list(logits.cpu().numpy())


def probabilities(outputs: list[np.ndarray], context: TaskContext) -> np.ndarray:
    """float64 (samples, labels): softmax of one label, sigmoid of several, the number itself."""
    import numpy as np
    from scipy.special import expit, softmax

    logits = np.asarray(outputs, dtype=np.float64).reshape(len(outputs), -1)
    if context.problem == REGRESSION:
        return logits
    scores: np.ndarray = expit(logits) if context.problem == MULTI else softmax(logits, axis=-1)
    return scores


def postprocess(outputs: list[np.ndarray], samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """One `{"label", "score", "scores"}` a row; `labels`, those of at least 0.5, where there can be several, and then
    `label` is the likeliest of these, None where none applies."""
    out = []
    for row in probabilities(outputs, context):
        best = int(row.argmax())
        scores = {name: float(score) for name, score in zip(context.labels, row, strict=True)}
        found: dict[str, Any] = {"label": context.labels[best], "score": float(row[best]), "scores": scores}
        if context.problem == MULTI:
            found["labels"] = [name for name, score in scores.items() if score >= 0.5]
            found["label"] = found["label"] if found["labels"] else None
        out.append(found)
    return out


def sample_losses(outputs: list[np.ndarray], references: np.ndarray, context: TaskContext) -> np.ndarray:
    """Plain loss of each sample, float64 (samples,)."""
    import numpy as np
    from scipy.special import log_softmax

    logits = np.asarray(outputs, dtype=np.float64).reshape(len(outputs), -1)
    if context.problem == REGRESSION:
        losses: np.ndarray = (logits[:, 0] - references) ** 2
    elif context.problem == MULTI:
        losses = (np.logaddexp(0, logits) - logits * references).mean(-1)
    else:
        losses = -log_softmax(logits, axis=-1)[np.arange(len(logits)), references]
    return losses


def measure(outputs: list[np.ndarray], samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    import numpy as np

    from hf_tl.metrics.classification import measure as measure_classes
    from hf_tl.metrics.classification import measure_multi_label
    from hf_tl.metrics.regression import measure_regression

    references = np.asarray(rows["label"])
    losses = sample_losses(outputs, references, context)
    scores = probabilities(outputs, context)
    names = PROBLEMS.get(context.problem or "", {}).get("metrics", METRICS)
    if context.problem == REGRESSION:
        return measure_regression(scores[:, 0], references, losses, **options)
    if context.problem == MULTI:
        return measure_multi_label(scores >= 0.5, references, context.labels, losses, **options)
    return measure_classes(names, scores.argmax(-1), references, context.labels, sample_losses=losses, **options)


def render_html(row: Any, prediction: dict[str, Any], context: TaskContext) -> str:
    """What is right and what was predicted, with its score."""
    from markupsafe import escape

    if context.problem == REGRESSION:
        return str(escape(f"{row['label']:.4g}, predicted {prediction['score']:.4g}"))
    if context.problem == MULTI:
        true = [name for name, there in zip(context.labels, row["label"], strict=True) if there]
        return str(escape(f"{', '.join(true) or 'none'}; predicted {', '.join(prediction['labels']) or 'none'}"))
    return str(escape(f"{context.labels[row['label']]}, predicted {prediction['label']}"))
