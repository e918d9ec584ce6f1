"""From a configuration to checked, labelled splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from hf_tl.config import DataConfig
from hf_tl.data.columns import Columns, infer_task, match, remembered, roles_sentence
from hf_tl.data.rows import Splits, check_inputs, decoded, to_roles
from hf_tl.data.shapes import shaped
from hf_tl.data.sources import FILE, Source, read_source
from hf_tl.data.split_names import split_of
from hf_tl.data.splits import at_most, content_hashes, cut_validation
from hf_tl.data.understood import CUT, origin, unused_columns
from hf_tl.errors import DataError, listing, shortened
from hf_tl.task import Targets, Task, get_task

MAX_LABEL = 1000


@dataclass(frozen=True)
class Data:
    """Data ready for a task."""

    task: Task
    splits: DatasetDict
    """`train`, `validation` and, where there is one, `test`. Columns carry the names of their roles; targets are as
    `Task.targets` encodes them; images are decoded when read; `file` says where a row is from."""
    columns: Columns
    """Role -> original column name."""
    targets: Targets
    held_out: str
    """`test`, or `validation` where there is no test split: what is measured at the end."""
    notes: tuple[str, ...]
    """What was inferred, dropped and split, and why."""
    source: dict[str, Any]
    """JSON-ready: path, revision, content hash, rows and classes of each split."""
    as_found: Dataset | None = None
    """The rows with all columns that the data have, where they were read to predict."""

    @property
    def labels(self) -> tuple[str, ...]:
        return self.targets.labels


def load_data(config: DataConfig, task: str | None = None, *, seed: int = 42) -> Data:
    """Data for training: found, its task and columns settled, every row checked, validation cut where there is none.

    Raises:
        ConfigError, DataError: one sentence with file, row, column or key.
        HubError: the Hub cannot be reached.
    """
    source = read_source(config, task)
    notes = list(source.notes)
    if "train" not in source.splits:
        raise DataError(
            f"data.path: there is no train split, only {listing(source.splits)}; data.splits.train names it."
        )
    chosen, columns = _understood(source, task, config, notes)
    first = source.splits["train"]
    if unused := unused_columns(first, columns):
        notes.append(f"Columns that are not used: {listing(unused, most=20)}.")
    splits = _with_roles(source.splits, columns, chosen)
    origins = {split: origin(rows) for split, rows in splits.items()}
    splits = {split: check_inputs(rows, chosen, config, notes) for split, rows in splits.items()}
    targets = chosen.targets(splits, config, None, notes) if chosen.targets else Targets()
    _check_labels(targets.labels)
    chosen = chosen.of_problem(targets.problem)
    role = targets.class_column
    if "validation" not in splits:
        ids = np.asarray(splits["train"][role]) if role else None
        splits["train"], splits["validation"] = cut_validation(splits["train"], ids, config.validation, seed)
        origins["validation"] = CUT
        notes.append(
            f"There is no validation split: {_cut_sentence(splits, config.validation, stratified=role is not None)}"
        )
    for split, rows in splits.items():
        ids = np.asarray(rows[role]) if role else None
        splits[split] = at_most(rows, ids, config.max_samples, seed)
    if config.max_samples:
        notes.append(f"At most {config.max_samples} rows of each split are used (data.max_samples).")
    held_out = "test" if "test" in splits else "validation"
    if held_out == "validation":
        notes.append(
            "There is no test split: the final metrics are measured on the validation split, which also selected the "
            "checkpoint."
        )
    content = _say_leaks(splits, chosen, held_out, notes)
    order: tuple[str, ...] = ("train", "validation", "test")
    ordered = {split: decoded(splits[split], chosen) for split in order if split in splits}
    return Data(
        chosen,
        DatasetDict(ordered),
        columns,
        targets,
        held_out,
        tuple(notes),
        {
            **source.metadata,
            **_counts(ordered, targets),
            "content_sha256": content,
            "origins": {split: origins[split] for split in ordered},
            "unused_columns": unused,
        },
    )


def _cut_sentence(splits: Splits, share: float, *, stratified: bool) -> str:
    """How many rows were cut off as validation, and what share that came to: of few rows not what was asked for."""
    held = len(splits["validation"])
    total = held + len(splits["train"])
    kind = ", each class in proportion" if stratified else ""
    said = f"{held} of the {total} training rows ({held / total:.0%}{kind}) are held out as one"
    if f"{held / total:.0%}" == f"{share:.0%}":
        return f"{said}."
    return f"{said}: {share:.0%} of so few is not whole rows{' of every class' if stratified else ''}."


def _understood(source: Source, task: str | None, config: DataConfig, notes: list[str]) -> tuple[Task, Columns]:
    """The task and its columns, of data in any of the shapes that are known."""
    asked = get_task(task) if task is not None else None
    source.splits = shaped(source.splits, asked, config.columns, notes)
    first = source.splits["train"]
    if asked is None:
        chosen, columns, why = infer_task(first, config.columns)
        notes.append(why)
        return chosen, columns
    columns = match(asked, first, config.columns)
    notes.append(f"Task {asked.name}, as given: {roles_sentence(columns)}.")
    return asked, columns


def _check_labels(labels: Sequence[str]) -> None:
    """They stand in the model's configuration, on its card, and beside every prediction."""
    long = next((name for name in labels if len(name) > MAX_LABEL), None)
    if long is not None:
        raise DataError(
            f"data.path: label {shortened(long)} has {len(long):,} characters, expected at most {MAX_LABEL:,}; "
            "is it a text? data.columns says which column is the label."
        )


def load_rows(
    config: DataConfig,
    task: Task,
    known: Targets,
    *,
    split: str | None = None,
    need_labels: bool,
    usual: Mapping[str, str] | None = None,
    seed: int = 42,
) -> Data:
    """One split for `evaluate` or `predict` with a model's own labels: `split`, else test, else validation, else the
    only one. Rows of data that name no split are called `all`.

    Args:
        usual: role -> the column that the model learned from, which is taken where the data have it and `data.columns`
            does not say otherwise.

    Raises:
        ConfigError, DataError, HubError: as `load_data`.
    """
    if not need_labels and split is None and config.split_column is None:
        config = config.model_copy(update={"split_column": False})  # every row of a table gets its prediction
    source = read_source(config, task.name)
    notes = list(source.notes)
    name = split or next((each for each in ("test", "validation", "train") if each in source.splits), "train")
    if name not in source.splits:
        raise DataError(f"split: the data have no {name!r} split; they have {listing(source.splits)}.")
    there = list(source.splits)
    if split is None and len(there) > 1:
        count = len(source.splits[name])
        notes.append(f"Of the splits {listing(there)}, {name} is read ({count} rows); --split names another.")
    left = {**(usual or {}), **config.columns}  # what the model learned from is read as it was then
    found = shaped({name: source.splits[name]}, task, left, notes, need_labels)[name]
    columns = match(task, found, remembered(task, found, config.columns, usual or {}, need_labels), need_labels)
    if not need_labels:
        columns = {role: column for role, column in columns.items() if role not in task.target_roles}
    splits = _with_roles({name: found}, columns, task)
    splits = {name: check_inputs(splits[name], task, config, notes)}
    if need_labels and task.targets:
        task.targets(splits, config, known, notes)
    rows = splits[name]
    role = known.class_column if need_labels else None
    rows = at_most(rows, np.asarray(rows[role]) if role else None, config.max_samples, seed)
    if len(rows) == 0:
        raise DataError(f"data.path: the {name} split has no rows left.")
    if there == ["train"] and not split and not _says_train(found, config):
        name = "all"
    ordered = {name: decoded(rows, task)}
    metadata = {**source.metadata, **_counts(ordered, known if need_labels else Targets())}
    return Data(task, DatasetDict(ordered), columns, known, name, tuple(notes), metadata, found)


def _says_train(rows: Dataset, config: DataConfig) -> bool:
    """Whether a file, a folder or the Hub calls these rows train, and not only we."""
    place = Path(str(rows[0][FILE]).partition(", line ")[0].partition(", row ")[0])
    return bool(config.splits) or any(split_of(part, config) == "train" for part in (place.stem, *place.parts[-4:-1]))


def _with_roles(splits: Splits, columns: Columns, task: Task) -> Splits:
    out = {}
    for split, rows in splits.items():
        wanted = {
            each: role for role, names in columns.items() for each in ([names] if isinstance(names, str) else names)
        }
        missing = [name for name in wanted if name not in rows.column_names]
        if missing and split != "train" and all(wanted[name] in task.target_roles for name in missing):
            continue  # a split without labels is of no use here
        if missing:
            raise DataError(f"data.path: the {split} split has no column {listing(missing)}, which train has.")
        out[split] = to_roles(rows, columns)
    return out


def _say_leaks(splits: Splits, task: Task, held_out: str, notes: list[str]) -> str:
    """Counts held-out rows that stand in train as well: they are kept, but they flatter the metrics.

    Returns:
        The hash of what all rows hold, in their order: two runs of one hash learn from the same.
    """
    digest = hashlib.sha256()
    roles = tuple(role for role in task.input_roles if role in splits["train"].column_names)
    trained: set[str] = set()
    for split in dict.fromkeys(("train", "validation", held_out)):
        targets = tuple(role for role in task.target_roles if role in splits[split].column_names)
        found = content_hashes(splits[split], roles)
        for line in (split, *found, *(content_hashes(splits[split], targets) if targets else ())):
            digest.update(f"{line}\n".encode())
        trained = trained or set(found)
        same = sum(each in trained for each in found) if split != "train" else 0
        if same:
            notes.append(
                f"{same} of {len(splits[split])} {split} rows also occur in train, so the scores are optimistic."
            )
    return digest.hexdigest()


def _counts(splits: dict[str, Any], targets: Targets) -> dict[str, Any]:
    out: dict[str, Any] = {"rows": {split: len(rows) for split, rows in splits.items()}}
    if targets.class_column:
        out["class_counts"] = {}
        for split, rows in splits.items():
            counts = Counter(rows[targets.class_column])
            out["class_counts"][split] = {name: counts.get(index, 0) for index, name in enumerate(targets.labels)}
    return out
