"""Records as people's programs write them (JSON): values of a column made of one kind, and none of them lost."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
from datasets import Dataset

INT64 = 2**63


def from_objects(rows: list[dict[str, Any]]) -> Dataset:
    """A column for every key that any row has; numbers beyond int64 and scalars of several kinds as texts, NaN as
    missing, and what differs in shape from row to row as it is (`datasets.Json`)."""
    names = list({name: None for row in rows for name in row})
    columns = {name: alike([row.get(name) for row in rows]) for name in names}
    try:
        return Dataset.from_dict(columns)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        odd = [name for name in names if not _fits(columns[name])]
    columns |= {name: [_bounded(value) for value in columns[name]] for name in odd}
    return Dataset.from_dict(columns, on_mixed_types="use_json")


def _fits(values: list[Any]) -> bool:
    try:
        Dataset.from_dict({"": values})
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    return True


def alike(values: list[Any]) -> list[Any]:
    """The values of one column, scalars of one type."""
    values = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float} and any(isinstance(value, int) and abs(value) > 2**53 for value in values):
        return [None if value is None else str(value) for value in values]
    if kinds == {int}:
        beyond = any(value is not None and not -INT64 <= value < INT64 for value in values)
        return [None if value is None else str(value) for value in values] if beyond else values
    if len(kinds) > 1 and kinds <= {str, int, float, bool} and kinds != {int, float}:
        return [None if value is None else written(value) for value in values]
    if kinds == {str, list} and all(
        isinstance(each, str) or each is None for value in values if isinstance(value, list) for each in value
    ):
        return [[value] if isinstance(value, str) else value for value in values]  # one label, or several
    return values


def written(value: Any) -> str:
    """A scalar as a text: whole numbers without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _bounded(value: Any) -> Any:
    """A value in which whole numbers beyond int64 are texts, however deep they lie."""
    if isinstance(value, int) and not isinstance(value, bool) and not -INT64 <= value < INT64:
        return str(value)
    if isinstance(value, dict):
        return {key: _bounded(each) for key, each in value.items()}
    return [_bounded(each) for each in value] if isinstance(value, list) else value
