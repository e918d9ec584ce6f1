"""Predictions of any run folder, model folder, adapter or Hub id, on any inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, Features

from hf_tl.config import DataConfig
from hf_tl.data import load_rows
from hf_tl.data.kinds import Kind, kinds_of
from hf_tl.errors import DataError, listing
from hf_tl.inference.held_out import answering, finished, outputs_on, targets_of
from hf_tl.inference.inputs import asked, read_words, with_places
from hf_tl.io.console import say
from hf_tl.task import Task


def predict(
    model: str,
    inputs: Any,
    *,
    revision: str | None = None,
    batch_size: int | None = None,
    trust_remote_code: bool = False,
    seed: int = 42,
) -> list[dict[str, Any]]:
    """Predictions of a finished model.

    Args:
        inputs: texts, or image files or PIL images (as `Kind.given` of the task's input reads them), one or a list;
            mappings of the task's roles to values for tasks that read several (`{"question": ..., "context": ...}`);
            or data: the path of a table, an archive or a folder, a `DataConfig`, or `{"path": ...}` with any key of
            `data`; what that leaves open is as in the model's own run.

    Returns:
        One object per input: `label`, `score` and `scores` by label, equal to the stock pipeline's within 1e-5; of data
        also `row`, `file` and the data's own columns.
    """
    if isinstance(inputs, (str, Path)):
        inputs = read_words([inputs])
    data = isinstance(inputs, DataConfig) or (isinstance(inputs, dict) and "path" in inputs)
    wanted = asked(model, inputs if data else {"path": "-"}, columns=data)
    loaded, task, context = finished(
        model, revision, preprocessing=wanted.preprocessing, trust=trust_remote_code, mode="predicting"
    )
    found = None
    if data:
        targets = targets_of(task, context)
        found = load_rows(wanted.config, task, targets, need_labels=False, usual=wanted.usual, seed=seed)
        ((_, rows),) = found.splits.items()
        for note in found.notes:
            say(note)
    else:
        rows = _rows(inputs, task)
    if len(rows) == 0:
        return []
    with answering(model):
        outputs, samples = outputs_on(loaded, task, context, rows, batch_size)
        out: list[dict[str, Any]] = task.postprocess(outputs, samples, rows, context)
    return out if found is None else with_places(found, rows, out)


def _records(items: list[dict[str, Any]], task: Task) -> Dataset:
    """Values by role."""
    needed = [column.role for column in task.columns if column.required and not column.target]
    known = list(task.input_roles)
    kinds = kinds_of(task, known)
    records: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        record = {}
        for role in dict.fromkeys([*needed, *item]):
            if role not in known:
                raise DataError(f"input {index}: {task.name} reads {listing(known)}, not {role!r}.")
            given, value = kinds[role].given, item.get(role)
            record[role] = value if given is None else given(value, f"input {index}: {role} is")
        records.append(record)
    roles = [role for role in known if any(role in record for record in records)]
    return _dataset({role: [record.get(role) for record in records] for role in roles}, kinds)


def _rows(inputs: Any, task: Task) -> Dataset:
    """What a person gives as rows: mappings by role, or bare inputs of the first role whose values come bare."""
    items = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if items and all(isinstance(item, dict) for item in items):
        return _records(items, task)
    needed = [column.role for column in task.columns if column.required and not column.target]
    if items and len(needed) > 1:
        raise DataError(f"input 0: {task.name} reads {listing(needed)} together: a mapping of them, or a dataset.")
    kinds = kinds_of(task, task.input_roles)
    role, given = next((role, kind.given) for role, kind in kinds.items() if kind.given is not None)
    return _dataset({role: [given(item, f"input {index}: found") for index, item in enumerate(items)]}, kinds)


def _dataset(columns: dict[str, list[Any]], kinds: Mapping[str, Kind]) -> Dataset:
    types = {role: feature() for role in columns if (feature := kinds[role].feature) is not None}
    features = Features(types) if len(types) == len(columns) else None  # those of the others are inferred
    return Dataset.from_dict(columns, features=features)
