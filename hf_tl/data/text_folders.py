"""Folders of texts: `[split/]class/text.txt`, a file for each text, as the folder of images for each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from datasets import Dataset

from hf_tl.data.annotations import FILE
from hf_tl.errors import DataError
from hf_tl.io.json_text import read_text

FEWEST = 3
"""Files that a class has at least on average: fewer are tables of one text on each line."""


def read_text_folder(
    folder: Path, files: Sequence[Path], split_of: Callable[[str], str | None]
) -> dict[str, Dataset] | None:
    """Rows of `text` and `label` by split; None where the files are anything else.

    Args:
        split_of: (name of a folder) -> the split that it says, if any.
    """
    found: dict[str, list[tuple[str, Path]]] = {}
    for file in files:
        parts = file.relative_to(folder).parts[:-1]
        split = split_of(parts[0]) if parts else None
        rest = parts[1:] if split else parts
        if file.suffix.lower() != ".txt" or len(rest) != 1:
            return None
        found.setdefault(split or "train", []).append((rest[0], file))
    classes = Counter(name for rows in found.values() for name, _ in rows)
    if len(classes) < 2 or len(files) < FEWEST * len(classes):
        return None
    return {split: _rows(rows) for split, rows in found.items()}


def _rows(found: Sequence[tuple[str, Path]]) -> Dataset:
    texts = [read_text(file, error=DataError).strip() for _, file in found]
    empty = next((file for text, (_, file) in zip(texts, found, strict=True) if not text), None)
    if empty is not None:
        raise DataError(f"{empty}: the text is empty; remove the file.")
    return Dataset.from_dict(
        {"text": texts, "label": [name for name, _ in found], FILE: [str(file) for _, file in found]}
    )
