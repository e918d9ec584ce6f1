"""Measuring a finished model on rows that it has not seen: the metrics with intervals, and every prediction."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from hf_tl.config import Preprocessing
from hf_tl.data import Data
from hf_tl.data.images import to_rgb
from hf_tl.evaluation.measure import measure, scores
from hf_tl.models.finished import load_finished
from hf_tl.run import Run, write_json
from hf_tl.task import Setting, Task
from hf_tl.training.arguments import prediction_arguments
from hf_tl.training.environment import process_state
from hf_tl.training.trainer import predict_outputs

THUMBNAIL = 160
"""Longest side in pixels of the pictures kept beside predictions."""


def predict_rows(model: Any, task: Task, setting: Setting, rows: Dataset, batch_size: int | None = None) -> np.ndarray:
    """Logits, float32 (rows, ...), in the rows' order, on every process."""
    ready = task.preprocess(rows, setting, False)
    lengths = np.asarray(ready["length"]) if "length" in getattr(ready, "column_names", ()) else None
    args = prediction_arguments(batch_size)
    return predict_outputs(model, task, setting, ready, args, lengths=lengths)["logits"]


def labels_of(config: Any) -> tuple[str, ...]:
    """Label names of a model, in the order of its outputs."""
    return tuple(str(config.id2label[index]) for index in sorted(config.id2label))


def finished(
    id: str, revision: str | None = None, *, preprocessing: Preprocessing | None = None, trust: bool = False
) -> tuple[Any, Task, Setting]:
    """(model, task, setting) of a run folder, model folder, adapter or Hub id, for prediction."""
    model, processor, task, _ = load_finished(id, revision, trust=trust)
    setting = Setting(
        labels=labels_of(model.config),
        processor=processor,
        preprocessing=preprocessing or Preprocessing(augment="none"),
        model_config=model.config,
    )
    return model, task, setting


def scorer(task: Task, setting: Setting) -> Callable[[np.ndarray, np.ndarray], dict[str, float]]:
    """(logits, references) -> the task's metrics by name, each sample counted once; what picks the best checkpoint."""

    def score(logits: np.ndarray, references: np.ndarray) -> dict[str, float]:
        losses = task.sample_losses(logits, references)
        return scores(task.metrics, task.decode(logits, setting), references, sample_losses=losses)

    return score


def results(task: Task, setting: Setting, logits: np.ndarray, rows: Dataset, split: str, seed: int) -> dict[str, Any]:
    """metrics.json without its `train` part.

    `rows` has the references in the column of the task's label role.
    """
    references = np.asarray(rows[task.label_role])
    found = measure(
        task.metrics,
        task.decode(logits, setting),
        references,
        setting.labels,
        sample_losses=task.sample_losses(logits, references),
        seed=seed,
    )
    return {
        "split": split,
        "samples": len(rows),
        "metrics": found.metrics,
        "labels": list(setting.labels),
        "per_class": found.per_class,
        "confusion_matrix": found.confusion_matrix,
        "baseline": found.baseline,
    }


def measure_saved(run: Run, data: Data, task: Task, setting: Setting) -> None:
    """Loads `model/` from disk as a stranger would, measures it on the held-out split, and writes `metrics.json` and
    `predictions.parquet`."""
    model, task, fresh = finished(str(run.model), preprocessing=setting.preprocessing)
    rows = data.splits[data.held_out]
    size = run.config.training.passed_through.get("per_device_eval_batch_size")
    logits = predict_rows(model, task, fresh, rows, size)
    if not process_state().is_main_process:
        return
    found = results(task, fresh, logits, rows, data.held_out, run.config.seed)
    write_predictions(run.folder / "predictions.parquet", task, fresh, logits, rows)
    write_json(run.folder / "metrics.json", {**found, "train": run.state.get("train", {})})
    run.reach("measured")


def write_predictions(path: Path, task: Task, setting: Setting, logits: np.ndarray, rows: Dataset) -> None:
    """One row a sample: input, thumbnail (images), label, prediction, score, scores, loss."""
    predicted = task.postprocess(logits, setting)
    references = np.asarray(rows[task.label_role])
    first = task.input_roles[0]
    pictures = task.modality == "image"
    columns: dict[str, Any] = {
        "row": list(range(len(rows))),
        "input": list(rows["file"])
        if pictures and "file" in rows.column_names
        else [str(v) for v in rows[first]]
        if not pictures
        else [f"row {index}" for index in range(len(rows))],
        "image": pa.array([_thumbnail(row[first]) for row in rows] if pictures else [None] * len(rows), pa.binary()),
        "label": [setting.labels[index] for index in references],
        "prediction": [each["label"] for each in predicted],
        "score": [each["score"] for each in predicted],
        "scores": [[each["scores"][name] for name in setting.labels] for each in predicted],
        "loss": task.sample_losses(logits, references),
    }
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.table(columns), temporary)
    os.replace(temporary, path)


def _thumbnail(image: Any) -> bytes:
    small = to_rgb(image)
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return stream.getvalue()
