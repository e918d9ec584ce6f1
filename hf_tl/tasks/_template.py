"""A task to copy: name the file after the Hub's pipeline tag (with underscores), and the record's `name` the same.

It gives one label to each text, with everything in plain sight; tasks that are like others share modules with a leading
underscore, such as `_classification.py`. What each function has to do is written in `hf_tl/protocols.py`, each field of
the record in `hf_tl/task.py`. Heavy libraries are imported inside functions, so that `hf-tl tasks` stays instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_tl.task import Column, Defaults, Form, Inference, Targets, Task, TaskContext
from hf_tl.tasks._texts import TEXT_NAMES, text_limit, untruncated_texts

if TYPE_CHECKING:
    import numpy as np
    import torch

    from hf_tl.metrics.intervals import Measurement


def targets(splits: Any, config: Any, known: Targets | None, notes: list[str]) -> Targets:
    """Labels as ids, in place of their names. Another target: `hf_tl.data.rows.encode_rows`."""
    from hf_tl.data.rows import encode_labels

    labels = encode_labels(splits, "label", config, known.labels if known else None, notes)
    return Targets(labels, class_column="label")


def preprocess(rows: Any, context: TaskContext, training: bool) -> Any:
    """Token ids; rows without labels are to be predicted."""

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        out = dict(context.processor(batch["text"], truncation=True, max_length=text_limit(context)))
        out["length"] = [len(ids) for ids in out["input_ids"]]  # texts of like length share a batch
        if "label" in batch:
            out["labels"] = batch["label"]
        return out

    return rows.map(encode, batched=True, remove_columns=rows.column_names, load_from_cache_file=False)


def collator(context: TaskContext, training: bool) -> Any:
    """`input_ids` and `attention_mask` int64 (batch, tokens); `labels` int64 (batch,)."""
    names = {*context.processor.model_input_names, "labels"}

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = [{name: sample[name] for name in sample if name in names} for sample in samples]
        return dict(context.processor.pad(batch, return_tensors="pt"))

    return collate


def loss(outputs: Any, batch: Any, context: TaskContext, items: Any) -> torch.Tensor:
    """Cross-entropy; `logits` (batch, labels)."""
    from torch.nn.functional import cross_entropy

    labels = batch["labels"]
    total = cross_entropy(outputs["logits"].float(), labels, reduction="sum")
    mean: torch.Tensor = total / (len(labels) if items is None else items)
    return mean


def collect(model: Any, outputs: Any, batch: Any, context: TaskContext) -> list[np.ndarray]:
    """Probabilities of each sample, float32 (labels,)."""
    return list(outputs["logits"].float().softmax(-1).cpu().numpy())


def postprocess(outputs: Any, samples: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """`label` and `score` of the likeliest, `scores` of all: where there is a class column, the engine reads these."""
    return [
        {
            "label": context.labels[int(each.argmax())],
            "score": float(each.max()),
            "scores": dict(zip(context.labels, map(float, each), strict=True)),
        }
        for each in outputs
    ]


def measure(outputs: Any, samples: Any, rows: Any, context: TaskContext, **options: Any) -> Measurement:
    """Accuracy, the mean of a number a row; its interval draws rows."""
    import numpy as np

    from hf_tl.metrics.intervals import Measurement, Score, with_intervals

    right = np.stack(outputs).argmax(-1) == np.asarray(rows["label"])
    scores = {"accuracy": Score(float(right.mean()), right.astype(float))}
    return Measurement(with_intervals(scores, len(rows), **options))


TASK = Task(
    name="template",
    summary="one label for each text: a task to copy",
    columns=(Column("text", "text", TEXT_NAMES), Column("label", "label", ("label",), target=True)),
    forms=(Form(("text", "label"), inferred=False),),  # leave this out where data may suggest the task
    auto_class="AutoModelForSequenceClassification",
    peft_task_type="SEQ_CLS",
    metrics=("accuracy",),
    best_metric="accuracy",
    greater_is_better=True,
    targets=targets,
    preprocess=preprocess,
    collator=collator,
    loss=loss,
    collect=collect,
    postprocess=postprocess,
    measure=measure,
    inference=Inference(
        proof="""found = [
    {"scores": {each["label"]: each["score"] for each in pipe(row["text"], top_k=None)}} for row in rows
]""",
        reference_rows=untruncated_texts,
    ),
    reads=("data.preprocessing.max_length",),
    defaults=Defaults(models=("distilbert/distilbert-base-uncased",)),
)
