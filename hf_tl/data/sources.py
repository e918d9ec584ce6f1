"""Where rows come from: Hub ids, folders of images or tables, files, archives."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset

from hf_tl.config import DataConfig
from hf_tl.data import hub_data
from hf_tl.data.annotations import FILE as PLACE
from hf_tl.data.archives import is_archive
from hf_tl.data.card_file import languages_of, license_of
from hf_tl.data.formats import is_data_file
from hf_tl.data.images import EXTENSIONS, MOST_PIXELS
from hf_tl.data.joined import joined
from hf_tl.data.local_data import Reading, read_local
from hf_tl.data.named_files import check_plain, hub_file, with_full_paths
from hf_tl.data.split_column import by_column
from hf_tl.data.split_names import split_of
from hf_tl.data.tables import plain_types
from hf_tl.data.undecoded import undecoded
from hf_tl.errors import DataError, HubError, did_you_mean, listing
from hf_tl.task import get_task

FILE = PLACE
"""Column with the place of a row (file, and for tables the line) while data is read."""


@dataclass
class Source:
    """Rows as found: original column names, images not decoded, and FILE."""

    splits: dict[str, Dataset]
    metadata: dict[str, Any]
    """`path`, `name`, `revision`, `sha256`."""
    notes: list[str] = field(default_factory=list)


def cache_folder() -> Path:
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("HF_TL_CACHE") or Path(HF_HOME) / "hf_tl") / "data"


def read_source(config: DataConfig, task: str | None = None) -> Source:
    """Reads `data.path`, split by split.

    Args:
        task: the one that was given; where there is none, what the data are says it.

    Raises:
        DataError: missing, empty or unreadable; in one sentence.
        HubError: the Hub cannot be reached.
    """
    MOST_PIXELS.set(config.max_pixels)
    paths = [Path(path).expanduser() for path in config.paths]
    if len(paths) == 1 and not paths[0].exists():
        if _like_hub_id(config.paths[0]):
            try:
                return _from_hub(config)
            except (DataError, HubError) as error:
                near = did_you_mean(paths[0].name, [entry.name for entry in Path().iterdir()])
                if near and "/" not in config.paths[0]:
                    error.args = (f"{error} There is no file {config.paths[0]!r} here{near}",)
                raise
        raise DataError(f"data.path: {config.paths[0]}: there is no such file or folder{_neighbour(paths[0])}")
    for path in paths:
        if not path.exists():
            raise DataError(f"data.path: {path}: there is no such file or folder{_neighbour(path)}")
        if not path.is_dir():
            check_plain(path)
    roles = None if task is None else frozenset(column.role for column in get_task(task).columns)
    reading = Reading(config, hashlib.sha256(), cache_folder(), task, roles)
    found: dict[str, list[Dataset]] = {}
    for path in paths:
        own = split_of(path.name, config, str(path)) if len(paths) > 1 else None
        rows = read_local(path, reading)
        if own is not None and set(rows) == {"train"}:  # folders of splits, given one by one
            rows = {own: rows["train"]}
        for split, part in rows.items():
            found.setdefault(split, []).append(part)
    splits = {split: joined(split, parts, reading.notes) for split, parts in found.items()}
    splits = by_column(splits, config, split_of, reading.notes)
    metadata: dict[str, Any] = {"path": config.path, "sha256": reading.digest.hexdigest()}
    if len(paths) == 1 and paths[0].is_dir():  # what lies beside a single file may be about something else
        metadata |= {"license": license_of(paths[0]), "language": languages_of(paths[0])}
    return Source(splits, metadata, reading.notes)


def _like_hub_id(text: str) -> bool:
    looks = re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", text) is not None
    return looks and not is_data_file(Path(text)) and not is_archive(Path(text)) and Path(text).suffix not in EXTENSIONS


def _neighbour(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"; there is no folder {parent} either."
    return did_you_mean(path.name, [entry.name for entry in parent.iterdir()]) or "."


def _from_hub(config: DataConfig) -> Source:
    """A dataset of the Hub."""
    id = config.paths[0]
    found = hub_data.read(id, config.name, config.revision)
    loaded, notes = found.rows, found.notes
    splits: dict[str, Dataset] = {}
    for own, rows in loaded.items():
        split = split_of(str(own), config)
        if split and split not in splits:
            splits[split] = _hub_rows(rows, id, str(own))
        elif config.splits or len(loaded) > 1:
            notes.append(f"Split {own!r} of {id} is not used.")
        else:
            splits["train"] = _hub_rows(rows, id, str(own))
    for split, name in config.splits.items():
        if split not in splits:
            hint = did_you_mean(name, loaded) or f"; it has {listing(loaded)}."
            raise DataError(f"data.splits.{split}: {id} has no split {name!r}{hint}")
    metadata = {**found.metadata, "fingerprint": {str(own): rows._fingerprint for own, rows in loaded.items()}}
    return Source(by_column(splits, config, split_of, notes), metadata, notes)


def _hub_rows(rows: Dataset, id: str, split: str) -> Dataset:
    if FILE in rows.column_names:
        raise DataError(f"data.path: {id} has a column {FILE!r}, which hf_tl keeps for itself.")
    rows = plain_types(undecoded(rows)).add_column(FILE, [f"{id} {split}, row {index}" for index in range(len(rows))])
    return with_full_paths(rows, FILE, lambda name, place, what: hub_file(name, id, place, what))
