"""Folders of images whose class is the folder that they lie in, below folders of splits and whatever is around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, Image, Value

from hf_tl.config import DataConfig
from hf_tl.data.annotations import FILE
from hf_tl.data.mask_folders import IMAGE_WORDS, MASK_WORDS
from hf_tl.data.split_names import is_plain_split, split_of, words_of
from hf_tl.errors import DataError, listing

CONTAINERS = IMAGE_WORDS | MASK_WORDS
"""Words of folders that hold a kind of file, and are no class."""


@dataclass
class Node:
    """A folder with images somewhere below it."""

    name: str
    own: str = ""
    """Its path below the folder of the data."""
    inside: dict[str, Node] = field(default_factory=dict)
    images: list[Path] = field(default_factory=list)

    def walk(self) -> Iterator[tuple[tuple[str, ...], Path]]:
        """(folders below this one, image) of every image below it."""
        yield from (((), image) for image in self.images)
        for name, child in self.inside.items():
            yield from (((name, *folders), image) for folders, image in child.walk())


def tree_of(folder: Path, images: Iterable[Path]) -> Node:
    top = Node(folder.name)
    for image in images:
        node = top
        for part in image.relative_to(folder).parts[:-1]:
            node = node.inside.setdefault(part, Node(part, f"{node.own}/{part}".lstrip("/")))
        node.images.append(image)
    return top


@dataclass
class Layout:
    """Split -> (class or "", image); class folders are kept with their path below the split's folder."""

    splits: dict[str, list[tuple[str, Path]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, split: str, found: Iterable[tuple[tuple[str, ...], Path]]) -> None:
        self.splits.setdefault(split, []).extend(("/".join(folders), image) for folders, image in found)

    @property
    def has_classes(self) -> bool:
        return any(name for rows in self.splits.values() for name, _ in rows)


def layout_of(folder: Path, images: list[Path], config: DataConfig, shown: Path) -> Layout:
    """How a folder of images is laid out.

    Raises:
        DataError: splits and other folders are mixed, or a class would be a split.
    """
    out = Layout()
    top = _unwrapped(tree_of(folder, images), config, None)
    named = _splits(top, config)
    if not _are_splits(top, config):
        _of_classes(top, config, shown, out)
        return out
    odd = [name for name, split in named.items() if split is None]
    left = odd if config.splits else [name for name in odd if _is_flat(_unwrapped(top.inside[name], config, None))]
    several = len({split for split in named.values() if split}) > 1
    apart = several and any(
        _unwrapped(top.inside[name], config, split).inside for name, split in named.items() if split
    )
    if top.images or len(left) < len(odd) or (left and not config.splits and not apart):
        raise DataError(
            f"data.path: {shown} mixes split folders with {listing(sorted(odd) or [top.images[0].name])}; name the "
            "splits with data.splits."
        )
    if left:
        count = sum(1 for name in left for _ in top.inside[name].walk())
        why = "data.splits names no split for" if config.splits else "there are no class folders in"
        out.notes.append(f"{count} images are left out: {why} {listing(sorted(left))}.")
    for name, child in top.inside.items():
        split = named[name]
        if split is not None:
            out.add(split, _unwrapped(child, config, split).walk())
    return out


def _splits(node: Node, config: DataConfig) -> dict[str, str | None]:
    """The folders inside of one, and the split that each says."""
    return {name: split_of(name, config, child.own) for name, child in node.inside.items()}


def _is_flat(node: Node) -> bool:
    return not node.inside


def _unwrapped(node: Node, config: DataConfig, split: str | None) -> Node:
    """A folder without the single folders around what it holds: `dataset/`, `PetImages/`, or a split's own name once
    more.

    Args:
        split: of which the folder is, where it is one.
    """
    while not node.images and len(node.inside) == 1:
        (child,) = node.inside.values()
        said = split_of(child.name, config, child.own)
        if split is None and said is not None and is_plain_split(child.name, config):
            break
        again = split is None and child.name == node.name
        if _is_flat(child) and not (again or _is_container(child.name)):
            break
        node = child
    return node


def _are_splits(node: Node, config: DataConfig) -> bool:
    """Whether the folders of one are its splits. A class may be called `train` (CIFAR-100 has it) or `test_tube`."""
    named = _splits(node, config)
    said = [name for name, split in named.items() if split]
    if not said or config.splits:
        return bool(said)
    others = [name for name in named if name not in said]
    flat = all(_is_flat(node.inside[name]) for name in said)
    plain = [name for name in said if is_plain_split(name, config)]
    if flat and others and all(_is_flat(node.inside[name]) for name in others):
        return bool(plain) and (len(plain) > 1 or len(others) < 2)
    return True


def _is_container(name: str) -> bool:
    """Whether a folder's name says what kind of file it holds, and nothing else."""
    words = words_of(name)
    return bool(words) and all(word in CONTAINERS for word in words)


def _of_classes(top: Node, config: DataConfig, shown: Path, out: Layout) -> None:
    """Folders of classes, of which each may have folders of splits: `bottle/train/good`."""
    inner = {name: _are_splits(child, config) for name, child in top.inside.items() if child.inside}
    if inner and all(inner.values()) and len(inner) == len(top.inside) and not top.images:
        for name, child in top.inside.items():
            for own, split in _splits(child, config).items():
                if split is None:
                    raise DataError(
                        f"data.path: {shown}: {name}/ holds folders of splits and {own!r}; name the splits with "
                        "data.splits, or move it away."
                    )
                out.add(split, (((name, *folders), image) for folders, image in child.inside[own].walk()))
        return
    odd = next((name for name, splits in inner.items() if splits), None)
    if odd is not None and any(is_plain_split(name, config) for name in top.inside[odd].inside):
        raise DataError(
            f"data.path: {shown}: {listing(f'{odd}/{name}' for name in top.inside[odd].inside)} would be classes, and "
            "these are names of splits; expected SPLIT/CLASS/image, or CLASS/SPLIT/image for every class."
        )
    if not config.splits:
        out.add("train", top.walk())


def check_classes(classes: Iterable[str], shown: Path) -> None:
    """Raises DataError where folders that hold kinds of files would be taken for classes."""
    names = sorted(set(classes))
    if not names:
        return
    last = {name: name.rpartition("/")[2] for name in names}
    odd = [name for name in names if _is_container(last[name])]
    odd = [] if all(set(words_of(last[name])) <= {"mask"} for name in odd) and len(odd) < len(names) else odd
    parts = [name for name in names if CONTAINERS & set(words_of(last[name]))]
    if not odd and (len(parts) < len(names) or len({_bare(last[name]) for name in names}) > 1):
        return
    raise DataError(
        f"data.path: {shown}: {listing(odd or parts)} would be taken for classes, and these are names of folders that "
        "hold kinds of files. Expected CLASS/image or SPLIT/CLASS/image; a table beside the images that names each and "
        "its class; or for segmentation images/NAME and masks/NAME, or masks/NAME_mask. Rename the folders if they are "
        "classes."
    )


def _bare(name: str) -> str:
    """A name without what counts its parts."""
    return " ".join(words_of(name))


def as_rows(layout: Layout) -> dict[str, Dataset]:
    """Rows of `image`, `label` where there are classes (null in a split without), and FILE."""
    out = {}
    classes = layout.has_classes
    for split, rows in layout.splits.items():
        columns: dict[str, Any] = {"image": [str(image) for _, image in rows]}
        if classes:
            columns["label"] = [name or None for name, _ in rows]
        columns[FILE] = [str(image) for _, image in rows]
        made = Dataset.from_dict(columns).cast_column("image", Image(decode=False))
        out[split] = made.cast_column("label", Value("string")) if classes else made
    return out


def no_class(folder: object) -> str:
    return (
        f"lies in no class folder; expected {folder}/CLASS/image or {folder}/train/CLASS/image, or a "
        "metadata.jsonl beside the images."
    )


def check_unlabelled(layout: Layout, shown: Path) -> None:
    """Raises DataError where some images of a split lie in no class folder. A split without any, as competitions hand
    out their test images, is not used where labels are."""
    if not layout.has_classes:
        return
    for split, rows in layout.splits.items():
        bare = [image for name, image in rows if not name]
        if bare and (len(bare) < len(rows) or split == "train"):
            raise DataError(f"{bare[0]}: {no_class(shown)}")
