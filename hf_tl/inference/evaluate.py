"""Measuring any run folder, model folder, adapter or Hub id, on any data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hf_tl.config import DataConfig, RunConfig, load_config
from hf_tl.data import load_rows
from hf_tl.inference.held_out import answering, finished, outputs_on, results, targets_of
from hf_tl.run_folder import RunFolder, is_run_folder


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
    loaded, task, context = finished(model, revision, preprocessing=preprocessing_of(model), trust=trust_remote_code)
    rows = load_rows(data_config(data), task, targets_of(task, context), split=split, need_labels=True, seed=seed)
    ((name, chosen),) = rows.splits.items()
    with answering(model):
        outputs, samples = outputs_on(loaded, task, context, chosen, batch_size)
        found = results(task, context, outputs, samples, chosen, str(name), seed)
    return {"model": model, **found, "notes": list(rows.notes)}


def data_config(data: DataConfig | str | Sequence[str] | dict[str, Any]) -> DataConfig:
    if isinstance(data, DataConfig):
        return data
    given = data if isinstance(data, dict) else {"path": data if isinstance(data, str) else list(data)}
    # validated as part of a configuration, for the same sentences
    return load_config({"model": "-", "data": given}).data


def preprocessing_of(model: str) -> Any:
    """How a run prepared its inputs: a run folder says, other models have their processor."""
    if is_run_folder(model):
        config: RunConfig = RunFolder(model).config
        return config.data.preprocessing
    return None
