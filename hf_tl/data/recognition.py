"""Whether a column can hold values of a kind, from its type and, where that does not tell, from its values."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset, Image, Value
from datasets.features import ClassLabel

from hf_tl.data.annotations import FILE
from hf_tl.data.image_folders import no_class
from hf_tl.data.texts import STRINGS
from hf_tl.task import usual_names

MAX_CLASSES = 1000


def is_text(rows: Dataset, name: str) -> bool:
    feature = rows.features[name]
    return isinstance(feature, Value) and feature.dtype in STRINGS


def is_image(rows: Dataset, name: str) -> bool:
    return isinstance(rows.features[name], Image)


def is_label(rows: Dataset, name: str) -> bool:
    """One class a row: a ClassLabel, booleans, or strings and whole numbers of which there are few."""
    feature = rows.features[name]
    if isinstance(feature, ClassLabel):
        return True
    if not isinstance(feature, Value):
        return False
    if feature.dtype == "bool":
        return True
    values = pd.Series(rows.with_format(None)[name]).dropna()
    distinct = values.nunique()
    if feature.dtype.startswith("float") and not (values == values.round()).all():
        return False
    return bool(0 < distinct <= min(MAX_CLASSES, max(20, len(values) // 2)))


LABEL_WORDS = {"label", "labels", "class", "category", "intent", "sentiment"}
"""What a column of labels, and nothing else, is called: one word of its name, of several the first or last."""


def is_target(rows: Dataset, name: str) -> bool:
    """What can be learned, once it is called a label: as `is_label`, numbers, lists of labels, or of a column that is
    called a label plainly any number of short names, some of which occur again."""
    feature = rows.features[name]
    if _is_number_or_list(feature) or is_label(rows, name):
        return True
    words = re.split(r"[\W_]+", name.strip().lower())
    if not is_text(rows, name) or not {words[0], words[-1]} & LABEL_WORDS:
        return False
    return _names(rows, name)[0] > 0


def _names(rows: Dataset, name: str) -> tuple[int, int]:
    """(different values, all) of a text column of short names, some of which occur again; else no different ones."""
    values = pd.Series(rows.with_format(None)[name]).dropna()
    different = values.unique()
    short = sum(len(str(each).split()) for each in different) <= 5 * len(different)
    return (len(different) if short and len(different) < len(values) else 0), len(values)


def is_given_target(rows: Dataset, name: str) -> bool:
    """What can be learned, where the configuration says that it is the label."""
    feature = rows.features[name]
    return _is_number_or_list(feature) or (isinstance(feature, (ClassLabel, Value)) and feature.dtype != "null")


def _is_number_or_list(feature: Any) -> bool:
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return isinstance(inner, (ClassLabel, Value))
    return isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "float"))


def is_list_of(*types: str) -> Callable[[Dataset, str], bool]:
    """Whether values are lists of one of `types` (`int`: classes too)."""

    def check(rows: Dataset, name: str) -> bool:
        inner = getattr(rows.features[name], "feature", None)
        if isinstance(inner, ClassLabel):
            return "int" in types
        return isinstance(inner, Value) and inner.dtype.startswith(types)

    return check


def is_record(*keys: str) -> Callable[[Dataset, str], bool]:
    """Whether values are mappings, or lists of mappings, that have at least `keys`."""

    def check(rows: Dataset, name: str) -> bool:
        feature = rows.features[name]
        inner = getattr(feature, "feature", feature)
        return isinstance(inner, dict) and set(keys) <= set(inner)

    return check


def is_texts(rows: Dataset, name: str) -> bool:
    """A mapping of at least two texts, such as language -> sentence."""
    feature = rows.features[name]
    return (
        isinstance(feature, dict)
        and len(feature) > 1
        and all(isinstance(each, Value) and each.dtype in STRINGS for each in feature.values())
    )


def wordy(rows: Dataset, names: list[str]) -> list[str]:
    """Of several text columns those with several words a row, since ids and file names have one."""
    if len(names) < 2:
        return names
    sample = rows[:100]
    words = {name: sum(len(str(value).split()) for value in sample[name]) / len(sample[name]) for name in names}
    many = [name for name in names if words[name] >= 3]
    return many or names


def are_flags(rows: Dataset, names: list[str]) -> bool:
    """Several columns of nothing but 0 and 1, or booleans: one a label."""
    return len(names) > 1 and all(set(rows.with_format(None)[name]) <= {0, 1, None} for name in names)


def no_label(rows: Dataset) -> str | None:
    """What is wrong with a folder of images that lie in no folder of their class, or with a column of more names than
    are taken for classes without a word."""
    if [name for name in rows.column_names if name != FILE] == ["image"]:
        first = Path(str(rows[0][FILE]))
        return f"{first}: {no_class(first.parent)}"
    usual = usual_names()
    for name in rows.column_names:
        if name != FILE and name.lower() not in usual and is_text(rows, name) and not is_label(rows, name):
            different, count = _names(rows, name)
            if different:
                return (
                    f"data.columns.label: column {name!r} has {different:,} different values in {count:,} rows, more "
                    f"than are taken for classes by themselves; data.columns.label={name} says that they are."
                )
    return None
