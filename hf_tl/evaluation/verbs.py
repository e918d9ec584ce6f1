"""`evaluate` and `predict`: any run folder, model folder, adapter or Hub id, on any data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, Value

from hf_tl.config import DataConfig, RunConfig
from hf_tl.data import load_rows
from hf_tl.errors import ConfigError, DataError, listing
from hf_tl.evaluation.held_out import finished, outputs_on, results, targets_of
from hf_tl.run import Run
from hf_tl.task import Task


def evaluate(
    model: str,
    data: DataConfig | str | Sequence[str] | dict[str, Any],
    *,
    split: str | None = None,
    revision: str | None = None,
    batch_size: int | None = None,
    trust_remote_code: bool = False,
    seed: int = 42,
) -> dict[str, Any]:
    """Measures a finished model on `split` of `data` (its test split, else its validation split, else all of it).

    Returns:
        The object of `metrics.json`: values with 95 % intervals, per class, confusion matrix, baseline.

    Raises:
        DataError, ModelError, HubError: in one sentence.
    """
    loaded, task, context = finished(model, revision, preprocessing=_preprocessing(model), trust=trust_remote_code)
    rows = load_rows(_data(data), task, targets_of(task, context), split=split, need_labels=True, seed=seed)
    ((name, chosen),) = rows.splits.items()
    outputs, samples = outputs_on(loaded, task, context, chosen, batch_size)
    found = results(task, context, outputs, samples, chosen, str(name), seed)
    return {"model": model, **found, "notes": list(rows.notes)}


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
        inputs: texts, or image files or PIL images, one or a list; mappings of the task's roles to values for tasks
            that read several (`{"question": ..., "context": ...}`); or a `DataConfig` or `{"path": ...}`, for a data
            set.

    Returns:
        One object per input: `label`, `score` and `scores` by label, equal to the stock pipeline's within 1e-5.
    """
    loaded, task, context = finished(
        model, revision, preprocessing=_preprocessing(model), trust=trust_remote_code, mode="predicting"
    )
    if isinstance(inputs, DataConfig) or (isinstance(inputs, dict) and "path" in inputs):
        found = load_rows(_data(inputs), task, targets_of(task, context), need_labels=False, seed=seed)
        ((_, rows),) = found.splits.items()
    else:
        rows = _rows(inputs, task)
    if len(rows) == 0:
        return []
    outputs, samples = outputs_on(loaded, task, context, rows, batch_size)
    out: list[dict[str, Any]] = task.postprocess(outputs, samples, rows, context)
    return out


def _data(data: DataConfig | str | Sequence[str] | dict[str, Any]) -> DataConfig:
    if isinstance(data, DataConfig):
        return data
    given = data if isinstance(data, dict) else {"path": data if isinstance(data, str) else list(data)}
    # validated as part of a configuration, for the same sentences
    from hf_tl.config import load_config

    return load_config({"model": "-", "data": given}).data


def _preprocessing(model: str) -> Any:
    """How a run prepared its inputs: a run folder says, other models have their processor."""
    if (Path(model) / "config.yaml").exists():
        config: RunConfig = Run(model).config
        return config.data.preprocessing
    return None


def _records(items: list[dict[str, Any]], task: Task) -> Dataset:
    """Texts by role."""
    needed = [column.role for column in task.columns if column.required and not column.target]
    known = list(task.input_roles)
    for index, item in enumerate(items):
        for role in {*needed, *item}:
            if role not in known:
                raise DataError(f"input {index}: {task.name} reads {listing(known)}, not {role!r}.")
            text = next(column.kind == "text" for column in task.columns if column.role == role)
            if text and (not isinstance(item.get(role), str) or not item[role].strip()):
                raise DataError(f"input {index}: {role} is {item.get(role)!r}, expected a text.")
    roles = [role for role in known if any(role in item for item in items)]
    kinds = {column.role: column.kind for column in task.columns}
    if any(kinds[role] != "text" for role in roles):
        return Dataset.from_dict({role: [item.get(role) for item in items] for role in roles})
    features = Features({role: Value("string") for role in roles})
    return Dataset.from_dict({role: [item.get(role) for item in items] for role in roles}, features=features)


def _rows(inputs: Any, task: Task) -> Dataset:
    """Bare inputs as rows of the task's first role."""
    items = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    role = next(column.role for column in task.columns if not column.target and column.kind in ("text", "image"))
    if items and all(isinstance(item, dict) for item in items):
        return _records(items, task)
    needed = [column.role for column in task.columns if column.required and not column.target]
    if items and len(needed) > 1:
        raise DataError(f"input 0: {task.name} reads {listing(needed)} together: a mapping of them, or a data set.")
    if task.modality == "text":
        for index, item in enumerate(items):
            if not isinstance(item, str) or not item.strip():
                raise DataError(f"input {index}: found {item!r}, expected a text.")
        return Dataset.from_dict({role: items}, features=Features({role: Value("string")}))
    pictures = [_picture(item) for item in items]
    return Dataset.from_dict({role: pictures}, features=Features({role: Image()}))


def _picture(item: Any) -> Any:
    from PIL.Image import Image as PillowImage

    from hf_tl.data.images import WrongImage, read_image, to_rgb
    from hf_tl.data.named_files import is_there, shortened

    if isinstance(item, PillowImage):
        return to_rgb(item)
    if not isinstance(item, (str, Path)):
        raise ConfigError(f"{shortened(repr(item))}: expected the path of an image or a PIL image.")
    if not is_there(Path(item)):
        raise DataError(f"{shortened(str(item))}: there is no such image file.")
    try:
        return to_rgb(read_image(Path(item)))
    except WrongImage as error:
        raise DataError(f"{item}: cannot be read as an image ({error}).") from None


__all__ = ["evaluate", "predict"]
