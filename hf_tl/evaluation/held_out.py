"""Measuring a finished model on rows that it has not seen: the metrics with intervals, and every prediction."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from hf_tl.config import Preprocessing
from hf_tl.data import Data
from hf_tl.data.images import to_rgb
from hf_tl.evaluation.witness import measured, write_witness
from hf_tl.models.context import make_context
from hf_tl.models.finished import load_finished
from hf_tl.run import Run, write_json
from hf_tl.task import Targets, Task, TaskContext
from hf_tl.training.environment import process_state
from hf_tl.training.outputs import outputs_of

THUMBNAIL = 160
"""Longest side in pixels of the pictures kept beside predictions."""
EXAMPLES = 12
"""Rows that the report shows with what was predicted."""


def outputs_on(
    model: Any, task: Task, context: TaskContext, rows: Dataset, batch_size: int | None = None
) -> tuple[list[Any], Any]:
    """(outputs, samples) of `rows`, in float32, in the rows' order, on every process."""
    samples = task.preprocess(rows, context, False)
    return outputs_of(model, task, context, samples, batch_size=batch_size).items, samples


def finished(
    id: str,
    revision: str | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    trust: bool = False,
    mode: str = "measuring",
) -> tuple[Any, Task, TaskContext]:
    """(model, task, context) of a run folder, model folder, adapter or Hub id, to be measured or to predict with."""
    model, processor, task, found = load_finished(id, revision, trust=trust)
    return model, task, make_context(task, found, processor, model, preprocessing=preprocessing, mode=mode)


def targets_of(task: Task, context: TaskContext) -> Targets:
    """A finished model's own labels, for reading data with them."""
    one = (
        task.new_head and task.column("label") is not None and context.problem in (None, "single_label_classification")
    )
    config = context.model_config.to_dict() if context.model_config is not None else {}
    return Targets(context.labels, context.problem, config, class_column="label" if one else None)


def results(
    task: Task, context: TaskContext, outputs: list[Any], samples: Any, rows: Dataset, split: str, seed: int
) -> dict[str, Any]:
    """metrics.json without its `train` part."""
    found = task.measure(outputs, samples, rows, context, seed=seed)
    return {
        "split": split,
        "samples": len(rows),
        "metrics": found.metrics,
        "labels": list(context.labels),
        "per_class": found.per_class,
        "confusion_matrix": found.confusion_matrix,
        "baseline": found.baseline,
        **found.extra,
    }


def measure_saved(run: Run, data: Data, *, trust: bool = False) -> None:
    """Loads `model/` from disk as a stranger would, measures it on the held-out split, and writes `metrics.json`,
    `predictions.parquet` and `proof/`.

    Args:
        trust: whether the code in `model/` is that of a pretrained model which the configuration trusts.
    """
    model, task, context = finished(str(run.model), preprocessing=run.config.data.preprocessing, trust=trust)
    rows = data.splits[data.held_out]
    size = run.config.training.passed_through.get("per_device_eval_batch_size")
    outputs, samples = outputs_on(model, task, context, rows, size)
    write_witness(run.folder, run.model, model, task, context, rows)
    if not process_state().is_main_process:
        return
    found = results(task, context, outputs, samples, rows, data.held_out, run.config.seed)
    predictions = task.postprocess(outputs, samples, rows, context)
    write_predictions(run.folder / "predictions.parquet", task, context, predictions, outputs, rows)
    write_json(run.folder / "metrics.json", {**found, "train": run.state.get("train", {})})
    run.reach("measured", measured=measured(run.folder, run.state.get("written", [])))


def write_predictions(
    path: Path, task: Task, context: TaskContext, predictions: list[dict[str, Any]], outputs: list[Any], rows: Dataset
) -> None:
    """One line a row: the input (and a thumbnail of a picture), what is right, the prediction; for one label a row
    also its score, all scores and the loss. `shown` is the report's HTML, for some of the rows."""
    roles = [role for role in task.input_roles if role in rows.column_names]
    first = roles[0]
    pictures = task.modality == "image"
    if not pictures:
        inputs = ["\n".join(_text(row[role]) for role in roles) for row in rows]
    else:
        inputs = list(rows["file"]) if "file" in rows.column_names else [f"row {index}" for index in range(len(rows))]
    columns: dict[str, Any] = {
        "row": list(range(len(rows))),
        "input": inputs,
        "image": pa.array([_thumbnail(row[first]) for row in rows] if pictures else [None] * len(rows), pa.binary()),
    }
    classes = targets_of(task, context).class_column
    if classes:
        scores = np.array([[each["scores"][name] for name in context.labels] for each in predictions])
        references = np.asarray(rows[classes])
        columns |= {
            "label": [context.labels[index] for index in references],
            "prediction": [each["label"] for each in predictions],
            "score": [each["score"] for each in predictions],
            "scores": list(scores),
            "loss": -np.log(np.maximum(scores[np.arange(len(rows)), references], np.finfo(np.float64).tiny)),
        }
    else:
        targets = [role for role in task.target_roles if role in rows.column_names and task.modality == "text"]
        columns |= {
            "label": [_text(row) for row in rows.select_columns(targets)] if targets else [""] * len(rows),
            "prediction": [json.dumps(each, ensure_ascii=False, default=str) for each in predictions],
        }
        if task.render_html is not None:
            chosen = set(np.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows))).astype(int).tolist())
            columns["shown"] = [
                task.render_html(rows[index], predictions[index], context) if index in chosen else None
                for index in range(len(rows))
            ]
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.table(columns), temporary)
    os.replace(temporary, path)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _thumbnail(image: Any) -> bytes:
    small = to_rgb(image)
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return stream.getvalue()
