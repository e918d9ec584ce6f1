"""Measuring any run folder, model folder, adapter or Hub id, on any data."""

from __future__ import annotations

from typing import Any

from hf_tl.data import Data, load_data, load_rows
from hf_tl.errors import DataError, listing
from hf_tl.inference.held_out import answering, finished, outputs_on, results, targets_of, with_labels
from hf_tl.inference.inputs import Asked, Given, asked
from hf_tl.run_folder import RunFolder, changes
from hf_tl.task import Task


def evaluate(
    model: str,
    data: Given = None,
    *,
    split: str | None = None,
    revision: str | None = None,
    batch_size: int | None = None,
    trust_remote_code: bool = False,
    seed: int = 42,
) -> dict[str, Any]:
    """Measures a finished model on `split` of `data` (its test split, else its validation split, else all of it).

    Args:
        data: paths, or what `data` of a configuration takes; what it leaves open is as in the model's own run. None:
            the held-out rows of that run.

    Returns:
        The object of `metrics.json`: values with 95 % intervals, per class, confusion matrix, baseline.

    Raises:
        DataError, ModelError, HubError: in one sentence.
    """
    wanted = asked(model, data)
    loaded, task, context = finished(model, revision, preprocessing=wanted.preprocessing, trust=trust_remote_code)
    if wanted.own:
        name, chosen, notes = _held_out(model, wanted, task, context.labels, split)
    else:
        targets = targets_of(task, context)
        rows = load_rows(wanted.config, task, targets, split=split, need_labels=True, usual=wanted.usual, seed=seed)
        ((name, chosen),) = rows.splits.items()
        notes = list(rows.notes)
    with answering(model):
        outputs, samples = outputs_on(loaded, task, context, chosen, batch_size)
        found = results(task, context, outputs, samples, chosen, str(name), seed)
    return {"model": model, **found, "notes": notes}


def _held_out(
    model: str, wanted: Asked, task: Task, labels: tuple[str, ...], split: str | None
) -> tuple[str, Any, list[str]]:
    """(split, rows, notes) of a run's own data, cut as the run cut them."""
    run = RunFolder(model)
    found: Data = load_data(wanted.config, task.name, seed=run.config.seed)
    if split is not None and split not in found.splits:
        raise DataError(f"split: the run has no {split!r} split; it has {listing(found.splits)}.")
    name = split or found.held_out
    now = {"labels": list(found.labels), "rows": {str(key): len(rows) for key, rows in found.splits.items()},
           **{key: found.source[key] for key in ("sha256", "content_sha256") if found.source.get(key)}}  # fmt: skip
    changed = changes({key: value for key, value in run.made_of.items() if key != "model"}, now)
    notes = [f"The data are no longer those of the run: {'; '.join(changed)}."] if changed else []
    return name, with_labels(found, name, labels, model), [*found.notes, *notes]
