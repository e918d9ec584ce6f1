"""Image embeddings: one vector an image, near to those of its class, for search and nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Form, Inference, Targets, Task, TaskContext
from hf_tl.tasks._classification import LABEL_NAMES
from hf_tl.tasks._embeddings import loss_of, unit
from hf_tl.tasks._images import IMAGE, collator, preprocess

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.metrics.intervals import Measurement

LOSS = "BatchHardSoftMarginTripletLoss"
NEAREST = 5
"""Neighbours that vote, and that a prediction on labelled images names."""


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """Classes, of which the held-out images may have others than the training images."""
    from hf_tl.data.rows import encode_labels, named_labels

    names = {name for rows in splits.values() for name in named_labels(rows, "label") if name is not None}
    labels = encode_labels(splits, "label", config, sorted(names), notes)
    return Targets(labels, class_column="label")


def embed(out: Any) -> torch.Tensor:
    """float32 (images, hidden): the model's own pooled output; without one the class token, or the mean of a map."""

    pooled = out.get("pooler_output")
    if pooled is None:
        hidden = out["last_hidden_state"]  # (images, tokens, hidden) or (images, hidden, height, width)
        pooled = hidden[:, 0] if hidden.ndim == 3 else hidden.mean((2, 3))
    vectors: torch.Tensor = pooled.flatten(1).float()
    return vectors


def loss(outputs: Any, batch: Any, context: TaskContext, items: Any) -> torch.Tensor:
    """`loss.name`, or of each image's hardest positive and negative within its batch (Hermans et al. 2017,
    https://arxiv.org/abs/1703.07737), on vectors of length 1."""
    from torch.nn.functional import normalize

    labels = batch["labels"]
    of = loss_of(getattr(context.loss, "name", None) or LOSS)
    mean: torch.Tensor = of.compute_loss_from_embeddings([normalize(embed(outputs), dim=-1)], labels)
    return mean if items is None else mean * len(labels) / items


def collect(model: Any, out: Any, batch: Any, context: TaskContext) -> list[np.ndarray]:
    """float32 (hidden,) of each image."""
    return list(embed(out).cpu().numpy())


def nearest(vectors: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(indices, cosines), each (n, count): of each vector the others that are nearest, nearest first."""
    import numpy as np

    scaled = unit(np.stack(vectors))
    count = min(count, len(scaled) - 1)
    indices, found = np.empty((len(scaled), count), dtype=np.int64), np.empty((len(scaled), count), dtype=np.float32)
    for start in range(0, len(scaled), 1024):  # a block of the similarities at a time
        near = scaled[start : start + 1024] @ scaled.T
        own = np.arange(len(near))
        near[own, start + own] = -np.inf
        best = np.argsort(-near, axis=1, kind="stable")[:, :count]
        indices[start : start + 1024], found[start : start + 1024] = best, np.take_along_axis(near, best, 1)
    return indices, found


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """`embedding`, as the stock pipeline gives it with `pool=True`; among labelled images also the `neighbours`."""
    out = [{"embedding": [float(value) for value in vector]} for vector in outputs]
    if "label" in rows.column_names and len(out) > 1:
        indices, found = nearest(outputs, NEAREST)
        for each, near, scores in zip(out, indices.tolist(), found.tolist(), strict=True):
            each["neighbours"] = [{"row": a, "score": b} for a, b in zip(near, scores, strict=True)]  # type: ignore[misc]
    return out


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    """Each image of the split is a query against all others: whether the nearest is of its class (`recall_at_1`),
    whether the majority of the nearest are (`knn_accuracy`, the nearest decides a tie), and the mean average precision
    at R (Musgrave et al. 2020, https://arxiv.org/abs/2003.08505). Images alone in their class are no queries."""
    import numpy as np

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    labels = np.asarray(rows["label"])
    counts = np.bincount(labels)
    order, _ = nearest(outputs, max(NEAREST, int(counts.max()) - 1))
    same = labels[order] == labels[:, None]  # (images, neighbours)
    queries = counts[labels] > 1
    if not queries.any():
        nothing = dict.fromkeys(("value", "low", "high"), float("nan"))
        return Measurement({name: dict(nothing) for name in TASK.metrics})
    others = counts[labels] - 1
    within = np.arange(same.shape[1])[None] < others[:, None]
    precision = np.cumsum(same, axis=1) / np.arange(1, same.shape[1] + 1)
    parts = {
        "map_at_r": (precision * same * within).sum(1) / np.maximum(others, 1),
        "recall_at_1": same[:, 0] * 1.0,
        "knn_accuracy": (_vote(labels[order[:, :NEAREST]]) == labels) * 1.0,
    }

    def mean(sums: np.ndarray) -> np.ndarray:
        out: np.ndarray = sums[:, 0] / np.maximum(sums[:, 1], 1)
        return out

    scores = {
        name: Score(float(values[queries].mean()), np.stack([values * queries, queries * 1.0], axis=1), mean)
        for name, values in parts.items()
    }
    by_chance = float((others[queries] / (len(labels) - 1)).mean())
    baseline = {"recall_at_1": by_chance, "knn_accuracy": float(counts.max() / len(labels))}
    return Measurement(with_intervals(scores, len(rows), **options), baseline=baseline)


def _vote(found: np.ndarray) -> np.ndarray:
    """The commonest of each row (n, neighbours); of equally common ones the one that comes first."""
    import numpy as np

    votes = (found[:, :, None] == found[:, None, :]).sum(2)  # how many agree with each
    winner: np.ndarray = np.take_along_axis(found, votes.argmax(1)[:, None], 1)[:, 0]
    return winner


TASK = Task(
    name="image-feature-extraction",
    summary="an embedding for each image, close to those of its class: search, duplicates, nearest neighbours",
    columns=(
        IMAGE,
        Column("label", "label", LABEL_NAMES, target=True),
    ),
    forms=(Form(("image", "label"), inferred=False),),
    auto_class="AutoModel",
    peft_task_type="FEATURE_EXTRACTION",
    metrics=("map_at_r", "recall_at_1", "knn_accuracy"),
    best_metric="map_at_r",
    greater_is_better=True,
    preprocess=preprocess,
    collator=collator,
    targets=targets,
    loss=loss,
    check_loss=loss_of,
    collect=collect,
    postprocess=postprocess,
    measure=measure,
    inference=Inference(
        pipeline_kwargs="pool=True",
        proof="""import numpy as np

# of a convolutional network the stock pipeline gives each number in lists of its own
found = [{"embedding": np.ravel(pipe(row["image"], pool=True)).tolist()} for row in rows]""",
    ),
    new_head=False,
    methods=("full", "lora", "scratch"),
    defaults=Defaults(
        batch_sizes=(32, 64),
        models=("google/mobilenet_v2_1.0_224", "google/vit-base-patch16-224-in21k", "facebook/dinov2-small"),
    ),
    reads=("data.preprocessing.image_size", "data.preprocessing.augment", "loss.name"),
)
