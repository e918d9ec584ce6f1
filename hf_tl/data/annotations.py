"""What the formats of annotated boxes have in common once they are read: a column `objects`, beside the images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset, Image, List, Value

if TYPE_CHECKING:
    from hf_tl.data.named_files import Reach

FILE, NEW = "__file__", "__new__"
WRONG = "__wrong__"
"""Field of `objects` with what is wrong in an annotation, or null: said, or left out, where rows are checked."""
OBJECTS = {"bbox": List(List(Value("float64"))), "category": List(Value("string")), WRONG: Value("string")}
SAME_RATIO, ROUNDING = 0.02, 1.5
"""How far the ratios of two sides may differ for an image to be the same at another size: as a share, and in pixels."""


@dataclass
class Annotated:
    """A folder with annotations, or the folder of an annotation file that was given alone."""

    folder: Path
    files: list[Path]
    """All that it holds, or the file that was given alone."""
    list_images: Callable[[], list[Path]]
    split_of: Callable[[Path], str | None]
    """Path below the folder -> the split that it says, by its folders."""
    split_of_table: Callable[[Path], str | None]
    """The same of a file about many images, whose own name counts."""
    reach: Reach
    named_splits: bool = False
    """Whether `data.splits` says the splits, so that what is in none is left out."""
    notes: list[str] = field(default_factory=list)
    fits: Counter[str] = field(default_factory=Counter)
    """How often boxes were made to fit an image of another size, by how."""

    def say_fits(self) -> None:
        for how, count in self.fits.items():
            self.notes.append(f"{count} images {how}.")


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


def number_of(text: str) -> float | None:
    """A number that can be counted with."""
    try:
        return next(iter(finite([float(text)]) or ()), None)
    except ValueError:
        return None


def size_said(width: Any, height: Any) -> tuple[float, float] | None:
    """The size that annotations say their image has; None where they say none."""
    sides = [number_of(str(side).strip()) if isinstance(side, (int, float, str)) else None for side in (width, height)]
    if None in sides or min(side or 0 for side in sides) < 1:
        return None
    return float(sides[0] or 0), float(sides[1] or 0)


def fit(objects: dict[str, Any], said: tuple[float, float] | None, image: Path, fits: Counter[str]) -> dict[str, Any]:
    """Boxes in pixels of the upright image: annotations are of the pixels as they are stored where their size is that,
    and of the image at another size where both its sides are by the same factor.

    Args:
        said: width and height that the annotations say.
        fits: counts what was done.
    """
    from hf_tl.data.images import WrongImage, stored_size

    if said is None or objects[WRONG] or not objects["bbox"]:
        return objects
    try:
        stored, orientation = stored_size(image)
    except WrongImage:
        return objects  # said where images are checked
    upright = stored[::-1] if orientation >= 5 else stored
    if said == upright:
        return objects
    for size, turn in ((upright, 1), (stored, orientation)):
        across, down = size[0] / said[0], size[1] / said[1]
        rounded = abs(said[0] * down - size[0]) <= ROUNDING * max(1.0, down)
        if said == size or abs(across / down - 1) <= SAME_RATIO or rounded:
            boxes = [[x * across, y * down, w * across, h * down] for x, y, w, h in objects["bbox"]]
            if said != size:
                fits["have another size than their annotations say; boxes are scaled to them"] += 1
            if turn != 1:
                boxes = [turned(box, stored, turn) for box in boxes]
                fits["are turned by their EXIF data, which their annotations do not know of; boxes are turned too"] += 1
            return {**objects, "bbox": boxes}
    wrong = (
        f"the annotations are of an image of {said[0]:g} x {said[1]:g} pixels, and this one has "
        f"{upright[0]} x {upright[1]}"
    )
    return objects_of([], [], wrong)


def turned(box: list[float], size: tuple[int, int], orientation: int) -> list[float]:
    """A box (left, top, width, height) on an image of `size` as it is stored, once an EXIF orientation is applied."""
    left, top, wide, high = box
    width, height = size
    right, bottom = width - left - wide, height - top - high  # distances from the other sides
    return {
        2: [right, top, wide, high],
        3: [right, bottom, wide, high],
        4: [left, bottom, wide, high],
        5: [top, left, high, wide],
        6: [bottom, left, high, wide],
        7: [bottom, right, high, wide],
        8: [top, right, high, wide],
    }.get(orientation, box)
