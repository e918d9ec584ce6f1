"""Folders that `Dataset.save_to_disk` and `DatasetDict.save_to_disk` wrote: which of their files hold rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_tl.errors import DataError, shortened
from hf_tl.io.json_text import read_json

STATE, SPLITS, INFO = "state.json", "dataset_dict.json", "dataset_info.json"


def rows_of_saved(files: list[Path]) -> tuple[list[Path], set[Path]]:
    """(`files` without those of saved datasets that hold no rows: what `datasets` tells of them, and the leavings of
    its cache; those that hold rows).

    Raises:
        DataError: a saved dataset lacks a file of its own.
    """
    there = set(files)
    kept: dict[Path, set[Path]] = {}
    for file in files:
        if file.name == STATE and (names := _named(file)) is not None:
            kept[file.parent] = {_checked(file, name, there) for name in names}
    dicts = {file for file in files if file.name == SPLITS and isinstance(_value(file), dict)}
    rest = [
        file
        for file in files
        if (file not in dicts and (file.parent not in kept or file.suffix not in (".arrow", ".json")))
        or file in kept.get(file.parent, ())
    ]
    return rest, {file for own in kept.values() for file in own}


def _value(file: Path) -> Any:
    try:
        return read_json(file, error=DataError)
    except DataError:  # a file of that name that somebody else wrote
        return None


def _named(file: Path) -> list[Any] | None:
    """The files of rows that a `state.json` names; None where it is another's."""
    value = _value(file)
    found = value.get("_data_files") if isinstance(value, dict) else None
    if not isinstance(found, list):
        return None
    return [each.get("filename") if isinstance(each, dict) else None for each in found]


def _checked(file: Path, name: Any, there: set[Path]) -> Path:
    path = file.parent / name if isinstance(name, str) and "/" not in name and "\\" not in name else None
    if path is None or path not in there:
        raise DataError(f"{file}: names the file {shortened(name)}, which is not beside it; save the dataset again.")
    return path
