"""What was understood of the data, as it is said before anything waits: splits and where each is from, and classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset

from hf_tl.data.sources import FILE
from hf_tl.errors import listing
from hf_tl.io.console import plain, table

MAX_FILES = 3
"""Files of a split that are named; of more the number and the folder are."""
MAX_CLASSES = 10
"""Classes whose rows are told."""
PLACE = r"(, (line|row|paragraph) \d+(, question \d+)?| \([^/()]*\))$"
"""What follows the file in the place of a row."""
CUT = "held out from train"


def origin(rows: Dataset) -> str:
    """Where the rows of a split are from: a few file names, or how many files below which folder; of a dataset of
    the Hub its id and split."""
    places = rows.with_format("arrow")[FILE]
    places = places.combine_chunks() if hasattr(places, "combine_chunks") else places
    files = pc.unique(pc.replace_substring_regex(places, PLACE, "")).to_pylist()
    if len(files) <= MAX_FILES:
        return ", ".join(Path(file).name if "/" in file and Path(file).is_absolute() else str(file) for file in files)
    folders = [Path(file).parent.parts for file in files]
    shared = Path(*_common(folders)).name if _common(folders) else ""
    return f"{len(files):,} files" + (f" in {shared}/" if shared else "")


def _common(folders: list[tuple[str, ...]]) -> list[str]:
    out = []
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        out.append(parts[0])
    return out


def unused_columns(rows: Dataset, columns: Mapping[str, str | list[str]]) -> list[str]:
    """The columns of the data that play no role, in their order."""
    used = {each for names in columns.values() for each in ([names] if isinstance(names, str) else names)}
    return [name for name in rows.column_names if name != FILE and name not in used]


def as_text(labels: tuple[str, ...], source: Mapping[str, Any]) -> str:
    """A table of the splits and a line on the classes, from `Data.labels` and `Data.source`."""
    origins, counts = source.get("origins", {}), source.get("class_counts", {}).get("train", {})
    rows = [(split, f"{count:,}", plain(origins.get(split, ""))) for split, count in source["rows"].items()]
    lines = [table(rows, ("split", "rows", "from"))]
    if counts:
        shown = ", ".join(f"{plain(name)} {counts[name]:,}" for name in labels[:MAX_CLASSES])
        if len(labels) > MAX_CLASSES:
            least, most = min(labels, key=counts.__getitem__), max(labels, key=counts.__getitem__)
            shown += f" and {len(labels) - MAX_CLASSES} more"
            shown += f"; fewest {plain(least)} {counts[least]:,}, most {plain(most)} {counts[most]:,}"
        lines.append(f"{len(labels)} classes, rows in train: {shown}")
    elif labels:
        lines.append(f"{len(labels)} labels: {listing(labels, most=MAX_CLASSES)}")
    return "\n".join(lines)
