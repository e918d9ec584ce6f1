"""Guards of the first line of a table: a row that is taken for names costs a row, names taken for a row cost all."""

from __future__ import annotations

import re
from pathlib import Path

from datasets import Dataset, Value

from hf_tl.config import DataConfig
from hf_tl.errors import DataError, listing, shortened
from hf_tl.task import usual_names

LOOKED_AT = 20_000
"""Rows that the first line is compared with."""
NUMBER = re.compile(r"-?\d+(\.\d+)?")
"""Its group: what no name of a column has."""


def check_header(path: Path, rows: Dataset, places: list[str], config: DataConfig) -> None:
    """Raises DataError where the first line is a row, or the first row the names; not where `data.columns` names a
    column of it."""
    names = rows.column_names
    given = {each for value in config.columns.values() for each in ([value] if isinstance(value, str) else value)}
    usual = usual_names()
    place, first = places[0], [str(value).strip().lower() for value in rows[0].values() if value is not None]
    if config.column_names:
        if any(value in usual for value in first):
            raise DataError(
                f"{path}, {place}: looks like the names of the columns ({listing(first)}); data.column_names is "
                "for files that have none."
            )
        return
    if given & set(names):
        return
    if len(names) > 1 and sum(value in usual for value in first) > 1 and not any(n.lower() in usual for n in names):
        raise DataError(
            f"{path}, {place}: looks like the names of the columns ({listing(first)}), and the first line like "
            "none; remove what stands above it."
        )
    numbered = [name for name in names if not name.startswith("Unnamed: ")]
    counted = any(numbered == [str(each) for each in range(start, start + len(numbered))] for start in (0, 1))
    if counted or any(name.lower() in usual for name in names):
        return
    for at, name in enumerate(names):
        if _is_value(rows, name):
            raise DataError(
                f"{path}: the first line looks like a row, not like names of columns: {shortened(name)} is also "
                f"a value of column {at + 1}. Give the names with data.column_names=[{_example(len(names))}], or add a "
                "first line with them; if they are names, say which is which with data.columns."
            )


def _example(count: int) -> str:
    return ",".join(["text", "label", *(f"c{index}" for index in range(3, count + 1))][:count])


def _is_value(rows: Dataset, name: str) -> bool:
    """Whether what stands above a column is one of its values, of which there are few, or a number above numbers."""
    feature = rows.features[name]
    if not isinstance(feature, Value) or name.startswith("Unnamed: "):
        return False
    values = [value for value in rows[:LOOKED_AT][name] if value is not None]
    again = re.fullmatch(r"(.+)\.\d+", name)  # the second of a name is told apart by a number
    name = again[1] if again and again[1] in rows.column_names else name
    if feature.dtype.startswith(("int", "float")):
        found = NUMBER.fullmatch(name)
        return found is not None and (float(name) in values or bool(found[1]))
    found_again = sum(str(value).strip() == name for value in values)
    return found_again > 0 and len(set(values)) <= max(2, len(values) // 2)
