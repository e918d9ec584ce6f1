"""Rows whose images, sounds and films stay files or bytes."""

from __future__ import annotations

import dataclasses
from typing import Any

from datasets import Dataset, Json


def undecoded(rows: Dataset) -> Dataset:
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
