"""Files of one split put together: columns by name, and values of types that mean the same as one type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from datasets import ClassLabel, Dataset, Features, Json, List, Value, concatenate_datasets

from hf_tl.data.annotations import FILE
from hf_tl.data.objects import written
from hf_tl.errors import DataError, listing
from hf_tl.task import usual_names

NUMBERS = ("int", "uint", "float", "bool")


def joined(split: str, parts: Sequence[Dataset], notes: list[str]) -> Dataset:
    """The rows of several files; a column that only some have is missing in the others, which is said.

    Raises:
        DataError: they share no column, only some have one that a task looks for by its name, or one of them has
            values of a kind that the others' cannot be joined with.
    """
    if len(parts) == 1:
        return parts[0]
    names = list({name: None for part in parts for name in part.column_names if name != FILE})
    usual = usual_names()
    for part in parts[1:]:
        apart = set(parts[0].column_names) ^ set(part.column_names)
        if any(name.lower() in usual for name in apart) or _own(part) == sorted(apart & set(_own(part))):
            raise DataError(
                f"data.path: the files of {split} have different columns: {_file(part)} has "
                f"{listing(_own(part))}, {_file(parts[0])} {listing(_own(parts[0]))}."
            )
    for name in names:
        lacking = [part for part in parts if name not in part.column_names]
        if lacking:
            first = next(part for part in parts if name in part.column_names)
            more = f" and {len(lacking) - 1} more files" if len(lacking) > 1 else ""
            notes.append(f"Column {name!r} of {_file(first)} is missing in {_file(lacking[0])}{more}.")
    for name in names:
        parts = _alike(parts, name)
    try:
        return concatenate_datasets([part.select_columns([*names, FILE]) for part in parts])
    except (ValueError, TypeError, pa.ArrowException):
        name = next(name for name in names if not _joins([part.select_columns([name]) for part in parts]))
        odd = next(part for part in parts if part.features[name] != parts[0].features[name])
        raise DataError(
            f"data.path: the files of {split} do not fit together: column {name!r} is {_shown(odd, name)} in "
            f"{_file(odd)}, {_shown(parts[0], name)} in {_file(parts[0])}."
        ) from None


def _own(part: Dataset) -> list[str]:
    return sorted(set(part.column_names) - {FILE})


def _file(part: Dataset) -> str:
    place: str = part[0][FILE]
    return place.partition(", line ")[0].partition(", row ")[0]


def _shown(part: Dataset, name: str) -> str:
    return getattr(part.features[name], "dtype", None) or type(part.features[name]).__name__


def _joins(parts: Sequence[Dataset]) -> bool:
    try:
        concatenate_datasets(list(parts))
    except (ValueError, TypeError, pa.ArrowException):
        return False
    return True


def _alike(parts: Sequence[Dataset], name: str) -> list[Dataset]:
    """The parts with a column of one type, as far as there is one that all values fit into."""
    features = [part.features[name] for part in parts if name in part.features]
    wanted = _common([feature for feature in features if getattr(feature, "dtype", None) != "null"])
    return [_as(part, name, wanted) for part in parts]


def _common(features: list[Any]) -> Any:
    """The type for all; None where there is none, or they are alike."""
    if not features:
        return Value("null")
    if all(feature == features[0] for feature in features):
        return features[0]
    if all(isinstance(feature, (Value, ClassLabel)) for feature in features):
        kinds = [feature.dtype if isinstance(feature, Value) else "string" for feature in features]
        if all(kind.startswith(("int", "uint")) for kind in kinds):
            return Value("int64")
        if all(kind.startswith(("int", "uint", "float")) for kind in kinds):
            return Value("float64")
        if all(kind.startswith((*NUMBERS, "string", "large_string", "date", "time")) for kind in kinds):
            return Value("string")
    lists = [feature for feature in features if isinstance(feature, List)]
    if len(lists) == len(features):
        inner = _common([each.feature for each in lists if getattr(each.feature, "dtype", None) != "null"])
        return None if inner is None else List(inner)
    plain = [isinstance(each, (Value, Json, dict, List)) for each in features]
    return Json() if all(plain) else None


def _as(part: Dataset, name: str, wanted: Any) -> Dataset:
    if wanted is None or (name in part.features and part.features[name] == wanted):
        return part
    if name not in part.features:
        return part.add_column(name, [None] * len(part), feature=wanted)
    if wanted == Value("string"):
        return part.remove_columns(name).add_column(name, _texts(part, name), feature=wanted)
    if isinstance(wanted, Json):
        values = Dataset.from_dict({name: part.with_format(None)[name][:]}, features=Features({name: wanted}))
        return concatenate_datasets([part.remove_columns(name), values], axis=1)
    return part.cast_column(name, wanted)


def _texts(part: Dataset, name: str) -> list[str | None]:
    feature, values = part.features[name], part.with_format(None)[name]
    if isinstance(feature, ClassLabel):
        return [feature.names[value] if value is not None and value >= 0 else None for value in values]
    return [None if value is None else written(value) for value in values]
