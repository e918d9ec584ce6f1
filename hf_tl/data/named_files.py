"""Image files that data name. A person's own tables may name any file of theirs; an archive or data of the Hub, which
somebody else wrote, name files of their own alone. Addresses are opened for nobody."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset, Image

from hf_tl.errors import DataError, shortened
from hf_tl.files import instead_of_a_file

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:")
"""How an address begins; a single letter is a drive of Windows."""
MAX_PATH = 4096
"""Characters of a path; what is longer names no file."""


@dataclass
class Reach:
    """Where the image files that local data name may lie."""

    folder: Path
    """The folder of the data, or of the table where it was given alone."""
    own: bool = True
    """Whether the person gave the very files; what was in an archive is somebody else's."""
    packed: int = 0
    """Bytes of the archive that they were in."""
    outside: list[str] = field(default_factory=list)
    """The names that led out of a person's own folder."""
    notes: list[str] = field(default_factory=list)
    """What else is to be said of the files that were read."""

    def find(self, name: str, beside: Path, place: str, what: str) -> Path:
        """The file that `what` (a column or key) of the row at `place` names, which need not be there.

        Args:
            beside: the folder of the file that names it.

        Raises:
            DataError: an address, or from an archive a file outside of it.
        """
        if is_address(name):
            raise DataError(
                f"{place}: {what} is {shortened(name)}, an address; only files are read: download it, and name the "
                "file."
            )
        path = beside / name
        if self.own:
            if not _below(os.path.normpath(path), os.path.normpath(self.folder)):
                self.outside.append(name)
        elif is_absolute(name) or not all(_leads_into(each, self.folder) for each in (path, beside / _posix(name))):
            raise DataError(
                f"{place}: {what} is {shortened(name)}, which leads out of the archive; expected a path below it, "
                "relative to the file that names it."
            )
        return path

    def locate(self, name: str, beside: Path, place: str, what: str) -> Path:
        """As `find`; where there is no such file, one whose name is written as Windows does, with backslashes or in
        other letter case, takes its place."""
        path = self.find(name, beside, place, what)
        if is_there(path) or len(name) > MAX_PATH:
            return path
        try:
            other = _in_any_case(beside, _posix(name))
        except (OSError, ValueError):  # a name that no file can have
            other = None
        for each in dict.fromkeys((beside / _posix(name), other)):
            if each is not None and is_there(each) and (self.own or _leads_into(each, self.folder)):
                return each
        return path

    def note(self) -> list[str]:
        """That files outside were read, without saying which: notes stand on the card."""
        count = len(self.outside)
        said = [f"{count} images that the data name lie outside of their folder; they are read there."] if count else []
        return [*self.notes, *said]


def _in_any_case(beside: Path, name: str) -> Path | None:
    """The file below a folder of this path but for the case of its letters, where there is one alone."""
    place = beside
    for part in PurePosixPath(name).parts:
        if part in ("/", "..") or not place.is_dir():
            return None
        if (place / part).exists():
            place = place / part
            continue
        alike = [entry for entry in _names_in(place, place.stat().st_mtime_ns) if entry.lower() == part.lower()]
        if len(alike) != 1:
            return None
        place = place / alike[0]
    return place


@lru_cache(maxsize=64)
def _names_in(folder: Path, changed: int) -> tuple[str, ...]:
    """What a folder holds that was last changed then."""
    try:
        return tuple(os.listdir(folder))
    except OSError:
        return ()


def _posix(name: str) -> str:
    return name.replace("\\", "/")


def _leads_into(path: Path, folder: Path) -> bool:
    """Whether a path, its links followed, is below a folder."""
    try:
        return _below(os.path.realpath(path), os.path.realpath(folder))
    except (OSError, ValueError):  # no path at all
        return False


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def hub_file(name: str, id: str, place: str, what: str) -> Path:
    """The file that rows of a dataset of the Hub name: one of its own in the cache.

    Raises:
        DataError: any other.
    """
    path = Path(name)
    if is_address(name) or not path.is_absolute() or not any(_leads_into(path, home) for home in _homes(id)):
        raise DataError(
            f"{place}: {what} is {shortened(name)}, which is no file of the dataset; only its own are read."
        )
    return path


@cache
def _homes(id: str) -> tuple[Path, ...]:
    """Where the files of a dataset of the Hub are, and its archives when they are unpacked."""
    from datasets import config
    from datasets.utils.extract import ExtractManager
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    own = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=id, repo_type="dataset")
    manager = ExtractManager(config.HF_DATASETS_CACHE)
    unpacked = (Path(manager._get_output_path(str(file))) for file in own.rglob("*") if file.is_file())
    return own, *(folder for folder in unpacked if folder.is_dir())


def is_address(name: str) -> bool:
    """Whether a name is a URL of any kind, or one of fsspec's chains such as `zip://a.png::/home/b.zip`."""
    return ADDRESS.match(name.strip()) is not None or "://" in name or "::" in name


def is_absolute(name: str) -> bool:
    """Whether a name stands for the same file wherever it is read, on this system or on another."""
    windows = PureWindowsPath(name)
    return PurePosixPath(name).is_absolute() or bool(windows.drive or windows.root) or name.startswith("~")


def check_plain(path: Path) -> None:
    """Raises DataError unless a path, its links followed, is a plain file: a pipe or a device may have no end, and a
    reader waits for it for ever."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"{path}: the link is broken; fix or remove it.") from None
    except (OSError, ValueError) as error:
        raise unreadable_file(path, error) from None
    if found := instead_of_a_file(mode):
        raise DataError(f"{path}: expected a file, found {found}; remove it.")


def unreadable_file(path: Path, error: Exception) -> DataError:
    said = getattr(error, "strerror", None) or str(error)
    return DataError(f"{path}: the file cannot be read ({said}); fix or remove it.")


def is_there(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is none."""
    try:
        return len(str(path)) <= MAX_PATH and path.is_file()
    except (OSError, ValueError):
        return False


def with_full_paths(rows: Dataset, place: str, find: Callable[[str, str, str], Path]) -> Dataset:
    """Images that stand as paths in a table (Parquet and Arrow may hold them so), each as a file that may be read.

    Args:
        place: the column that says where a row is from.
        find: (path as it stands, place, column) -> the file.

    Raises:
        DataError: of `find`, or there is no such file.
    """
    for name, feature in rows.features.items():
        if not isinstance(feature, Image) or not _has_paths(rows, name):
            continue
        values: list[Any] = []
        for row in rows.select_columns([name, place]):
            value = row[name]
            if value is not None and value.get("bytes") is None and value.get("path") is not None:
                path = find(value["path"], str(row[place]), f"the path in column {name!r}")
                if not is_there(path):
                    raise DataError(
                        f"{row[place]}: column {name!r} names {shortened(value['path'])}, which is not there."
                    )
                value = {"bytes": None, "path": str(path)}
            values.append(value)
        rows = rows.remove_columns(name).add_column(name, values, feature=Image(decode=False))
    return rows


def _has_paths(rows: Dataset, name: str) -> bool:
    """Whether any value is a path alone."""
    for batch in rows.select_columns([name]).with_format("arrow").iter(1000):
        column = batch[name].combine_chunks()
        alone = pc.and_(pc.is_valid(pc.struct_field(column, "path")), pc.is_null(pc.struct_field(column, "bytes")))
        if pc.any(alone).as_py():
            return True
    return False
