"""Rows as they are written, and the parts of a split as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from datasets import Dataset, Json, concatenate_datasets

from hf_tl.data.annotations import FILE
from hf_tl.errors import DataError, listing


def joined(split: str, parts: Sequence[Dataset]) -> Dataset:
    if len(parts) == 1:
        return parts[0]
    names = [set(part.column_names) for part in parts]
    if any(other != names[0] for other in names):
        odd = next(part for part, other in zip(parts, names, strict=True) if other != names[0])
        raise DataError(
            f"data.path: the files of {split} have different columns: {odd[0][FILE].partition(', line')[0]} has "
            f"{listing(sorted(set(odd.column_names) - {FILE}))}, others {listing(sorted(names[0] - {FILE}))}."
        )
    try:
        return concatenate_datasets(list(parts))
    except (ValueError, TypeError) as error:
        raise DataError(f"data.path: the files of {split} do not fit together ({error}).") from error


def as_written(rows: Dataset) -> Dataset:
    """Rows of which reading one opens no file, wherever in a column it is named."""
    for name, feature in rows.features.items():
        plain = _plain(feature)
        if plain is not feature:
            rows = rows.cast_column(name, plain)
    return rows


def _plain(feature: Any) -> Any:
    """A feature whose images are kept as they are written; the same where it has none."""
    if isinstance(feature, dict):
        inner = {key: _plain(each) for key, each in feature.items()}
        return inner if any(inner[key] is not each for key, each in feature.items()) else feature
    if isinstance(feature, (list, tuple)):
        inside = [_plain(each) for each in feature]
        return inside if any(a is not b for a, b in zip(inside, feature, strict=True)) else feature
    if getattr(feature, "decode", None) is True and not isinstance(feature, Json):
        return dataclasses.replace(feature, decode=False)
    if hasattr(feature, "feature"):
        inner = _plain(feature.feature)
        return feature if inner is feature.feature else dataclasses.replace(feature, feature=inner)
    return feature
