"""Which split a name means, and of the folders on the way to a file which one says it."""

from __future__ import annotations

import re
from pathlib import Path

from hf_tl.config import DataConfig

SPLITS = {
    "train": ("train", "training", "trn", "trainval"),
    "validation": ("validation", "valid", "val", "dev", "devel"),
    "test": ("test", "testing", "tst", "heldout", "held_out"),
}
"""Our split -> the names that people give it."""
FILLERS = {"set", "sets", "data", "dataset", "split", "folder", "dir", "images", "image", "imgs", "img", "photos",
           "pictures", "labels", "label", "masks", "mask", "annotations", "annotation", "annot", "part"}  # fmt: skip
"""Words beside a split's name that leave its folder nothing but a split."""


def words_of(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z]+", name.lower()) if word]


def split_of(name: str, config: DataConfig, own_name: str | None = None) -> str | None:
    """The split that a folder or file name says: by `data.splits`, else by usual names as a whole word of it."""
    for ours, given in config.splits.items():
        if given.rstrip("/") in (name, own_name):
            return ours
    if config.splits:
        return None
    words = words_of(name)
    for split, names in SPLITS.items():
        if any(word in names for word in words):
            return split
    return None


def is_plain_split(name: str, config: DataConfig) -> bool:
    """Whether a name says a split and nothing else: `train_images`, but no `train_station`."""
    if config.splits:
        return split_of(name, config) is not None
    every = {each for names in SPLITS.values() for each in names}
    words = set(words_of(name))
    return bool(words & every) and words <= every | FILLERS


def split_of_path(path: Path, config: DataConfig) -> str | None:
    """The split of a table: said by its name, else by its nearest folder that says one."""
    for name, own in ((path.stem, path.name), *((parent.name, parent.as_posix()) for parent in path.parents)):
        split = split_of(name, config, own)
        if split:
            return split
    return None


def split_of_folders(path: Path, config: DataConfig) -> str | None:
    """The split of an image, or of what describes one: said by its folders, of which one that says nothing else comes
    first, then the outermost. File names say nothing: COCO's own `val2014_...jpg` may well be trained on."""
    parents = list(path.parents)[::-1]
    found = [(parent, split) for parent in parents if (split := split_of(parent.name, config, parent.as_posix()))]
    plain = [split for parent, split in found if is_plain_split(parent.name, config)]
    return next(iter([*plain, *(split for _, split in found)]), None)
