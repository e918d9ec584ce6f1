"""A column that says to which split each row belongs, as tables of Kaggle and others have it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Value

from hf_tl.config import DataConfig
from hf_tl.errors import ConfigError, DataError, did_you_mean, listing

NAMES = {"split", "set", "fold", "subset", "partition", "dataset", "usage", "phase", "datasplit", "splitname", "splits",
         "traintest", "trainvaltest", "istrain", "mode"}  # fmt: skip
"""What such a column is called, without case, spaces and underscores."""
BESIDE = {"public", "private", "set", "split", "data"}
"""Words that may stand beside a split's name."""
MAX_VALUES = 50
"""Different values that it may have."""


def by_column(splits: dict[str, Dataset], config: DataConfig, split_of: Any, notes: list[str]) -> dict[str, Dataset]:
    """The splits that a column says, where the data come as one.

    Args:
        split_of: `(name, config) -> split or None`.

    Raises:
        ConfigError, DataError: `data.split_column` names no column, or one whose values name no splits.
    """
    if config.split_column is False or not splits:
        return splits
    first = next(iter(splits.values()))
    if isinstance(config.split_column, str):
        name: str | None = config.split_column
        if name not in first.column_names:
            raise ConfigError(
                f"data.split_column: there is no column {name!r}{did_you_mean(name, first.column_names) or '.'}"
            )
    elif len(splits) > 1 or list(splits) != ["train"]:
        return splits
    else:
        used = {each for given in config.columns.values() for each in ([given] if isinstance(given, str) else given)}
        usual = [each for each in first.column_names if re.sub(r"[\W_]+", "", each.lower()) in NAMES - used]
        name = next((each for each in usual if each not in used and _says_splits(first, each, config, split_of)), None)
    if name is None or len(splits) > 1:
        return splits
    return _cut(first, name, config, split_of, notes)


def _values(rows: Dataset, name: str) -> list[str | None]:
    feature, values = rows.features[name], rows.with_format(None)[name]
    if isinstance(feature, ClassLabel):
        values = [feature.names[value] if value is not None and value >= 0 else None for value in values]
    return [None if value is None else str(value).strip() for value in values]


def _split(value: str | None, config: DataConfig, split_of: Any) -> str | None:
    """Of a value such as `train`, `TEST`, `PublicTest` or `val_1`; one of several words that are no split is none."""
    if not value:
        return None
    if config.splits:
        named: str | None = split_of(value, config)
        return named
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", value).lower())
    rest = [word for word in words if word not in BESIDE]
    found: str | None = split_of(rest[0], config) if len(rest) == 1 else None
    return found


def _says_splits(rows: Dataset, name: str, config: DataConfig, split_of: Any) -> bool:
    if not isinstance(rows.features[name], (Value, ClassLabel)):
        return False
    different = set(_values(rows, name)) - {None, ""}
    found = {value: _split(value, config, split_of) for value in different} if len(different) <= MAX_VALUES else {}
    return "train" in found.values() and len(set(found.values()) - {None}) > 1


def _cut(rows: Dataset, name: str, config: DataConfig, split_of: Any, notes: list[str]) -> dict[str, Dataset]:
    values = _values(rows, name)
    counts = Counter(values)
    if len(counts) > MAX_VALUES:
        raise DataError(f"data.split_column: column {name!r} has {len(counts)} different values, no names of splits.")
    split = {value: _split(value, config, split_of) for value in counts}
    if not any(split.values()):
        raise DataError(
            f"data.split_column: column {name!r} holds {listing(str(each) for each in counts)}; name the splits with "
            "data.splits.train=... and data.splits.test=..."
        )
    out = {}
    for ours in ("train", "validation", "test"):
        index = np.flatnonzero([split[value] == ours for value in values])
        if len(index):
            out[ours] = rows.select(index).remove_columns(name)
    said = ", ".join(f"{len(part)} rows of {ours}" for ours, part in out.items())
    notes.append(f"Column {name!r} says the split of each row: {said} (data.split_column=false leaves it alone).")
    other = {str(value): count for value, count in counts.items() if not split[value]}
    if other:
        notes.append(f"{sum(other.values())} rows of which {name!r} is {listing(other)} are of no split and not used.")
    return out
