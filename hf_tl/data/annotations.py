"""What the formats of annotated boxes have in common once they are read: a column `objects`, beside the images."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset, Image, List, Value

FILE, NEW = "__file__", "__new__"
WRONG = "__wrong__"
"""Field of `objects` with what is wrong in an annotation, or null: said, or left out, where rows are checked."""
OBJECTS = {"bbox": List(List(Value("float64"))), "category": List(Value("string")), WRONG: Value("string")}
Split = Callable[[Path], str | None]


def objects_of(boxes: list[Any], categories: list[Any], wrong: str | None = None) -> dict[str, Any]:
    """A value of the column `objects`; of an annotation that is wrong nothing else is kept."""
    return {"bbox": [] if wrong else boxes, "category": [] if wrong else categories, WRONG: wrong}


def rows_of(records: list[dict[str, Any]]) -> Dataset:
    """Rows of `image` (a path or null), `objects` and FILE."""
    rows = Dataset.from_dict({name: [each[name] for each in records] for name in ("image", "objects", FILE)})
    return rows.cast_column("image", Image(decode=False)).cast_column("objects", OBJECTS)


def put_in_place(rows: Dataset, columns: list[str], name: str, values: list[Any], feature: Any = None) -> Dataset:
    """Rows with a column `name` of `values` in place of `columns`, and of another that was called so."""
    new = rows.add_column(NEW, values, feature=feature)  # first, since rows without columns are none
    return new.remove_columns(sorted({*columns, name} & set(rows.column_names))).rename_column(NEW, name)


def finite(values: Any) -> list[float] | None:
    """Numbers as floats; None where any is no number, or none that can be counted with."""
    out = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        try:
            number = float(value)
        except OverflowError:
            return None
        if not math.isfinite(number):
            return None
        out.append(number)
    return out
