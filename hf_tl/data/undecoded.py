"""Columns of another type, wherever in lists and records it is: images that stay files or bytes, texts of one kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from datasets import Dataset, Json


def undecoded(rows: Dataset) -> Dataset:
    """Rows of which reading one opens no file, wherever in a column it is named."""
    return converted(rows, kept_undecoded)


def kept_undecoded(feature: Any) -> Any:
    """A feature whose images, sounds and films are kept as they are written; any other as it is."""
    if getattr(feature, "decode", None) is True and not isinstance(feature, Json):
        return dataclasses.replace(feature, decode=False)
    return feature


def converted(rows: Dataset, change: Callable[[Any], Any]) -> Dataset:
    """Rows whose columns are cast where `change` gives another feature for one, or for a part of it."""
    for name, feature in rows.features.items():
        new = changed(feature, change)
        if new is not feature:
            rows = rows.cast_column(name, new)
    return rows


def changed(feature: Any, change: Callable[[Any], Any]) -> Any:
    """A feature with `change` made to each of its parts, inner ones first; the very same where nothing changes."""
    if isinstance(feature, dict):
        parts = {key: changed(each, change) for key, each in feature.items()}
        return parts if any(parts[key] is not each for key, each in feature.items()) else feature
    if isinstance(feature, (list, tuple)):
        items = [changed(each, change) for each in feature]
        return items if any(a is not b for a, b in zip(items, feature, strict=True)) else feature
    if hasattr(feature, "feature"):
        inner = changed(feature.feature, change)
        feature = feature if inner is feature.feature else dataclasses.replace(feature, feature=inner)
    return change(feature)
