"""Rows checked and labels made ids: what is missing, unreadable or not learnable is said before anything expensive."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Image, Value

from hf_tl.config import DataConfig
from hf_tl.data.images import unreadable
from hf_tl.data.sources import FILE
from hf_tl.errors import DataError, did_you_mean, listing
from hf_tl.task import Task

Splits = dict[str, Dataset]


def to_roles(rows: Dataset, columns: Mapping[str, str]) -> Dataset:
    """Only the columns that play a role, under the roles' names, and FILE."""
    chosen = rows.select_columns([*columns.values(), FILE])
    away = {old: f"\0{role}" for role, old in columns.items()}
    chosen = chosen.rename_columns(away)
    return chosen.rename_columns({f"\0{role}": role for role in columns})


def check_inputs(rows: Dataset, task: Task, config: DataConfig, notes: list[str]) -> Dataset:
    """Rows whose texts are there and whose pictures can be decoded; others stop the run or are left out.

    Raises:
        DataError: the first bad row, with `data.on_error=skip` as the way to leave such rows out.
    """
    for column in task.columns:
        if column.kind not in ("text", "image") or column.role not in rows.column_names:
            continue
        bad: dict[int, str] = {}
        values = rows.with_format(None)[column.role]
        for index, value in enumerate(values):
            wrong = _wrong_text(value) if column.kind == "text" else _wrong_image(value)
            if wrong:
                if config.on_error == "stop":
                    raise DataError(
                        f"{rows[index][FILE]}: {wrong}; repair or remove it, or leave such rows out with "
                        "data.on_error=skip."
                    )
                bad[index] = wrong
        if bad:
            places = [str(rows[index][FILE]) for index in bad]
            notes.append(f"{len(bad)} rows are left out ({next(iter(bad.values()))}): {listing(places, most=5)}.")
            rows = rows.select([index for index in range(len(rows)) if index not in bad])
    return rows


def _wrong_text(value: Any) -> str | None:
    if value is None:
        return "the text is missing"
    return None if str(value).strip() else "the text is empty"


def _wrong_image(value: Any) -> str | None:
    if value is None or not (value.get("bytes") or value.get("path")):
        return "the picture is missing"
    wrong = unreadable(value["bytes"] if value.get("bytes") else Path(value["path"]))
    return f"the picture cannot be read ({wrong})" if wrong else None


def label_name(value: Any) -> str | None:
    """A label as people write it: stripped, whole numbers without a point; None when it is missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return str(value).strip() or None


def _natural(name: str) -> tuple[Any, ...]:
    """Sorts numbers by value and words by letters: 2 before 10, `a2` before `a10`."""
    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part
    )


def _sort_key(name: str) -> tuple[Any, ...]:
    number = re.fullmatch(r"-?\d+", name)
    return ((0, int(name)), name) if number else ((1, 0), _natural(name), name)


def named_labels(rows: Dataset, role: str) -> list[str | None]:
    """The label of each row as a name."""
    feature = rows.features[role]
    values = rows.with_format(None)[role]
    if isinstance(feature, ClassLabel):
        return [None if value is None or value < 0 else feature.names[value] for value in values]
    return [label_name(value) for value in values]


def encode_labels(
    splits: Splits, role: str, config: DataConfig, known: Sequence[str] | None, notes: list[str]
) -> tuple[Splits, tuple[str, ...]]:
    """Labels as int64 ids into the returned names.

    Order: the data's own (ClassLabel), else numbers by value and words by letters. With `known`, a model's own names
    and order.

    Raises:
        DataError: a missing label, a label that train lacks, one class only, a class with too few examples.
    """
    names = {split: named_labels(rows, role) for split, rows in splits.items()}
    for split in list(splits):
        missing = [index for index, name in enumerate(names[split]) if name is None]
        if missing and len(missing) == len(names[split]) and split != "train" and len(splits) > 1:
            notes.append(f"The {split} split has no labels and is set aside.")
            del splits[split], names[split]
            continue
        if missing and config.on_error == "stop":
            raise DataError(
                f"{splits[split][missing[0]][FILE]}: the label is missing; add it, or leave such rows out with "
                "data.on_error=skip."
            )
        if missing:
            notes.append(f"{len(missing)} rows of {split} are left out: the label is missing.")
            left = set(missing)
            keep = [index for index in range(len(names[split])) if index not in left]
            splits[split] = splits[split].select(keep)
            names[split] = [names[split][index] for index in keep]
        if not names[split]:
            raise DataError(f"data.path: the {split} split has no rows with a label.")
    feature = next(iter(splits.values())).features[role]
    if known is not None:
        labels = tuple(known)
    elif isinstance(feature, ClassLabel):
        labels = tuple(feature.names)
    else:
        labels = tuple(sorted({str(name) for name in names["train"]}, key=_sort_key))
    ids = {name: index for index, name in enumerate(labels)}
    for split, found in names.items():
        for index, name in enumerate(found):
            if name not in ids:
                where = splits[split][index][FILE]
                if known is not None:
                    hint = did_you_mean(name, labels) or f"; its labels are {listing(labels)}."
                    raise DataError(f"{where}: label {name!r} is not one of the model's{hint}")
                hint = did_you_mean(name, labels) or "."
                raise DataError(f"{where}: label {name!r} is in the {split} split but not in train{hint}")
    encoded = {
        split: rows.remove_columns(role)
        .add_column(role, [ids[str(name)] for name in names[split]])
        .cast_column(role, Value("int64"))
        for split, rows in splits.items()
    }
    if known is None:
        _check_classes(names["train"], labels, config, notes)
    return encoded, labels


def _check_classes(found: Sequence[str | None], labels: Sequence[str], config: DataConfig, notes: list[str]) -> None:
    counts = Counter(found)
    present = [name for name in labels if counts[name]]
    if len(present) < 2:
        raise DataError(f"data.path: train has one class only ({listing(present)}); a classifier needs at least two.")
    few = [name for name in present if counts[name] < config.min_per_class]
    if few:
        raise DataError(
            f"data.path: {listing(few)}: fewer than {config.min_per_class} examples "
            "in train; add some, remove the class, or allow it with data.min_per_class=1."
        )
    empty = [name for name in labels if not counts[name]]
    if empty:
        notes.append(f"{listing(empty)} have no example in train.")
    alike: dict[str, list[str]] = {}
    for name in present:
        alike.setdefault(re.sub(r"[\s_-]+", " ", name.lower()), []).append(name)
    for group in alike.values():
        if len(group) > 1:
            notes.append(
                f"Labels {listing(group)} differ only in case or punctuation and are kept as different classes."
            )


def decoded(rows: Dataset) -> Dataset:
    """Pictures decoded when read; FILE as `file`."""
    for name, feature in rows.features.items():
        if isinstance(feature, Image):
            rows = rows.cast_column(name, Image(decode=True))
    return rows.rename_column(FILE, "file")
