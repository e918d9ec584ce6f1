"""Columns of a table that name images: by path, by name, or by what a name is without its ending."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Dataset, Image, Value

from hf_tl.config import DataConfig
from hf_tl.data.annotations import FILE
from hf_tl.data.images import EXTENSIONS
from hf_tl.data.named_files import Reach, is_there
from hf_tl.data.split_names import split_of, split_of_folders
from hf_tl.errors import DataError, listing, shortened

SAMPLE = 50
FILLED, DISTINCT = 0.6, 0.9
"""Shares of the sample: values that are there in a column of file names, different ones in a column of ids."""
LABELS = {"label", "labels", "class", "classes", "target", "category", "y", "score"}
"""Columns that are no ids of images, whatever images are called."""
DEEP, MOST = 2, 100_000
"""Folders below a table given alone in which its images are looked for, and files that are looked at."""


class Beside:
    """The images that may be meant by a name, and how to find one."""

    def __init__(self, images: Callable[[], Sequence[Path]]) -> None:
        self.images = images

    @classmethod
    def of_table(cls, file: Path) -> Beside:
        """Those in the folder of a table and just below."""

        def look() -> list[Path]:
            out: list[Path] = []
            places, left = [(file.parent, 0)], MOST
            while places and left > 0:
                place, depth = places.pop()
                try:
                    entries = sorted(place.iterdir())
                except OSError:
                    continue
                for entry in entries[:left]:
                    left -= 1
                    if entry.name.startswith("."):
                        continue
                    if entry.suffix.lower() in EXTENSIONS:
                        out.append(entry)
                    elif depth < DEEP and not entry.suffix and entry.is_dir() and not entry.is_symlink():
                        places.append((entry, depth + 1))
            return sorted(out)

        return cls(look)

    @cached_property
    def _by(self) -> dict[str, list[Path]]:
        """Name in lower case, with and without its ending -> images."""
        out: dict[str, list[Path]] = {}
        for image in self.images():
            for key in {image.name.lower(), image.stem.lower()}:
                out.setdefault(key, []).append(image)
        return out

    def find(self, name: str, near: Path) -> list[Path]:
        """The images that a name may mean: those with most of its path, then the nearest to `near`."""
        wanted = Path(name.replace("\\", "/"))
        key = wanted.name.lower()
        found = self._by.get(key, []) or self._by.get(wanted.stem.lower() if _is_image(name) else key, [])
        if len(found) > 1:
            parts = tuple(part.lower() for part in wanted.parts)
            exact = [path for path in found if tuple(each.lower() for each in path.parts[-len(parts) :]) == parts]
            found = exact or found
        if len(found) > 1:
            apart = {path: len(set(path.parent.parts) ^ set(near.parts)) for path in found}
            found = [path for path in found if apart[path] == min(apart.values())]
        return found


def _is_image(name: str) -> bool:
    return Path(name.replace("\\", "/")).suffix.lower() in EXTENSIONS


def _sample(rows: Dataset, name: str) -> tuple[list[str], float]:
    """(first values that are there, as texts; share of the first that are there)."""
    first = rows[:SAMPLE][name]
    values = [str(value).strip() for value in first if value is not None and str(value).strip()]
    return values, len(values) / max(1, len(first))


def _plain(rows: Dataset, name: str) -> bool:
    feature = rows.features[name]
    return isinstance(feature, Value) and (
        feature.dtype in ("string", "large_string") or feature.dtype.startswith(("int", "uint"))
    )


def naming_columns(rows: Dataset, beside: Beside, near: Path, given: str | list[str] | None = None) -> list[str]:
    """The columns that name images: by their endings, or all of them by ids of images that are there.

    Args:
        given: the column that the configuration says.
    """
    out = []
    columns = [name for name in rows.column_names if name != FILE and _plain(rows, name)]
    for name in columns:
        values, share = _sample(rows, name)
        enough = name.lower().endswith("file_name") or share >= FILLED
        if values and enough and all(_is_image(value) for value in values):
            out.append(name)
    for name in [] if out else (name for name in columns if name == given or name.lower() not in LABELS):
        values, share = _sample(rows, name)
        distinct = len(set(values)) >= DISTINCT * len(values) and len(values) > 1
        short = all(len(value) < 200 and len(value.split()) < 4 for value in values)
        if name == given or (values and share >= FILLED and distinct and short):
            if all(len(beside.find(value, near)) == 1 for value in values):
                out.append(name)
                break
    return out


def with_images(rows: Dataset, file: Path, reach: Reach, beside: Beside, config: DataConfig) -> Dataset:
    """Columns that name images become images. An empty cell is a missing image, which is said where rows are checked.

    Raises:
        DataError: an address, a name that may not be read, that names nothing, or may name several.
    """
    names = naming_columns(rows, beside, file.parent, config.columns.get("image"))
    found: dict[str, list[str | None]] = {}
    absent: dict[str, DataError] = {}
    for name in names:
        column: list[str | None] = []
        texts = ["" if value is None else str(value).strip() for value in rows[name]]
        said = [
            reach.locate(text, file.parent, place, f"column {name!r}") if text else None
            for text, place in zip(texts, rows[FILE], strict=True)
        ]
        # where paths lead to images, one that leads nowhere is a mistake, and no name to look for elsewhere
        search = not any(path is not None and is_there(path) for path in said)
        for text, path, place in zip(texts, said, rows[FILE], strict=True):
            if search and text:
                path = _sought(text, place, f"column {name!r}", file, beside, config) or path
            if text and not is_there(path or Path()):
                error = DataError(f"{place}: column {name!r} names {shortened(text)}, which is not there.")
                absent.setdefault(name, error)
            column.append(None if path is None else str(path))
        found[name] = column
    for name, column in found.items():
        there = any(path and is_there(Path(path)) for path in column)
        if name in absent and config.on_error == "stop" and (there or len(absent) == len(found)):
            raise absent[name]
        if name in absent and not there and len(absent) < len(found):
            continue  # another column names the images
        rows = rows.remove_columns(name).add_column(name, column)
        rows = rows.cast_column(name, Image(decode=False))
    return rows


def _sought(text: str, place: str, what: str, file: Path, beside: Beside, config: DataConfig) -> Path | None:
    """The image of that name below the folder of a table, in a folder of the table's split where there are several."""
    found = beside.find(text, file.parent)
    if len(found) > 1:
        split = split_of(file.stem, config, file.name)
        below = [path for path in found if file.parent in path.parents]
        found = [path for path in below if split_of_folders(path.relative_to(file.parent), config) == split] or found
    if len(found) > 1:
        raise DataError(f"{place}: {what} names {shortened(text)}, which may be {listing(found, most=3)}.")
    return found[0] if found else None


def named_by(rows: Dataset) -> Iterable[Path]:
    """The files that rows name as images, each once."""
    seen: dict[str, None] = {}
    for name, feature in rows.features.items():
        if isinstance(feature, Image):
            values: Any = rows.with_format(None)[name]
            for value in values:
                if value is not None and value.get("bytes") is None and value.get("path"):
                    seen[value["path"]] = None
    return map(Path, seen)
