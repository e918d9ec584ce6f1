"""Measuring a finished model on rows that it has not seen: the metrics with intervals, and every prediction."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset

from hf_tl.config import Preprocessing
from hf_tl.data import Data
from hf_tl.data.kinds import Kind, kinds_of
from hf_tl.data.splits import example_rows
from hf_tl.data.texts import as_text
from hf_tl.errors import DataError, HfTlError, ModelError, listing, panicked
from hf_tl.files import replacing_file, write_json
from hf_tl.inference.finished import load_finished
from hf_tl.inference.outputs import outputs_of
from hf_tl.inference.processes import process_state
from hf_tl.inference.reference import measured, write_reference
from hf_tl.inference.reloaded import check_reloaded
from hf_tl.models.context import make_context
from hf_tl.run_folder import RunFolder
from hf_tl.task import Targets, Task, TaskContext


def outputs_on(
    model: Any, task: Task, context: TaskContext, rows: Dataset, batch_size: int | None = None
) -> tuple[list[Any], Any]:
    """(outputs, samples) of `rows`, in float32, in the rows' order, on every process."""
    samples = task.preprocess(rows, context, False)
    return outputs_of(model, task, context, samples, batch_size=batch_size).items, samples


@contextlib.contextmanager
def answering(id: str) -> Iterator[None]:
    """While a finished model, which somebody else may have made, is asked.

    Raises:
        ModelError: its files load and do not work together; says what a library made of that.
    """
    try:
        yield
    except (HfTlError, MemoryError, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not panicked(error):
            raise
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(". ")
        raise ModelError(f"model: {id} loads, and cannot answer: {said} (--debug shows where).") from error


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


def with_labels(given: Data, split: str, labels: Sequence[str], where: str) -> Dataset:
    """The rows of a split, their classes numbered as the model `where` numbers them.

    Raises:
        DataError: its labels are others.
    """
    rows, role = given.splits[split], given.targets.class_column
    if not role or tuple(labels) == given.labels:
        return rows
    if set(labels) != set(given.labels):
        raise DataError(
            f"{where}: the model's labels are {listing(labels)}, those of the data {listing(given.labels)}."
        )
    numbers = [list(labels).index(name) for name in given.labels]
    values = [numbers[index] for index in rows[role]]
    return rows.remove_columns(role).add_column(role, values)


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


def measure_saved(run: RunFolder, data: Data, *, trust: bool = False) -> None:
    """Loads `model/` from disk as anybody would, measures it on the held-out split, and writes `metrics.json`,
    `predictions.parquet` and `proof/`.

    Args:
        trust: whether the code in `model/` is that of a pretrained model which the configuration trusts.
    """
    model, task, context = finished(str(run.model), preprocessing=run.config.data.preprocessing, trust=trust)
    check_reloaded(run, model, task, context, data.splits.get("validation"))
    rows = data.splits[data.held_out]
    size = run.config.training.passed_through.get("per_device_eval_batch_size")
    outputs, samples = outputs_on(model, task, context, rows, size)
    write_reference(run.folder, run.model, model, task, context, rows)
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
    """One line a row: the input (and its thumbnail, where there is one), what is right, the prediction; for one label a
    row also its score, all scores and the loss. `shown` is the report's HTML, for some of the rows."""
    kinds = kinds_of(task, [role for role in task.input_roles if role in rows.column_names])
    files = rows["file"] if "file" in rows.column_names else [f"row {index}" for index in range(len(rows))]
    columns: dict[str, Any] = {
        "row": list(range(len(rows))),
        "input": [_input(row, kinds, file) for row, file in zip(rows, files, strict=True)],
        "image": pa.array([_thumbnail(row, kinds) for row in rows], pa.binary()),
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
        there = kinds_of(task, [role for role in task.target_roles if role in rows.column_names])
        targets = [role for role, kind in there.items() if kind.text is not None]
        columns |= {
            "label": [as_text(row) for row in rows.select_columns(targets)] if targets else [""] * len(rows),
            "prediction": [json.dumps(each, ensure_ascii=False, default=str) for each in predictions],
        }
        if task.render_html is not None:
            chosen = example_rows(len(rows))
            columns["shown"] = [
                task.render_html(rows[index], predictions[index], context) if index in chosen else None
                for index in range(len(rows))
            ]
    with replacing_file(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def _input(row: Mapping[str, Any], kinds: Mapping[str, Kind], file: str) -> str:
    """What a person reads of a row: its texts, and where it is from if that is not all."""
    lines = [kind.text(row[role]) for role, kind in kinds.items() if kind.text is not None]
    return "\n".join(lines if len(lines) == len(kinds) else [str(file), *lines])


def _thumbnail(row: Mapping[str, Any], kinds: Mapping[str, Kind]) -> bytes | None:
    """The first of its values that has one."""
    return next((kind.thumbnail(row[role]) for role, kind in kinds.items() if kind.thumbnail is not None), None)
