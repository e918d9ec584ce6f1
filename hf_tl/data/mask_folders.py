"""Segmentation by folders: an image and its mask have the same name in parallel folders, or names that say so."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, Image

from hf_tl.config import DataConfig
from hf_tl.data.annotations import FILE
from hf_tl.data.images import EXTENSIONS
from hf_tl.data.split_names import FILLERS, SPLITS, split_of_folders, words_of
from hf_tl.errors import DataError, listing
from hf_tl.io.json_text import read_bytes

IMAGE_WORDS = {"images", "image", "imgs", "img", "jpegimages"}
"""Words of folders that hold images of every class."""
MASK_WORDS = {"masks", "mask", "labels", "label", "annotations", "annotation", "annot", "segmentationclass",
              "segmentationobject", "gt", "groundtruth", "ground", "truth"}  # fmt: skip
"""Words of folders that hold masks or annotations."""
ONLY_HERE = {"photos", "frames", "inputs", "input", "rgb", "leftimg", "bit", "original"}
MASKS_ONLY_HERE = {"segmentation", "segmentations", "trimaps", "gtfine", "gtcoarse", "targets", "labelstr", "png"}
"""Words that say so where the files pair, and may be classes elsewhere."""
MASK_END = re.compile(
    r"[_\-. ](?:masks?|seg|segmentation|labels?|lbl|gt|ground_?truth|annot|annotation|l|m|p|manual1"
    r"|gt(?:fine|coarse)_label(?:train)?ids)$"
)
SURE_END = re.compile(r"[_\-. ](?:masks?|segmentation|ground_?truth|gt)$")
IMAGE_END = re.compile(r"[_\-. ](?:image|img|rgb|sat|leftimg8bit|training|test)$")
BEGIN = re.compile(r"^(?:masks?|labels?|seg|gt|images?|img|photo)[_\-. ]*(?=\d)")
LISTS = {"trainval": "train", "train": "train", "val": "validation", "test": "test"}
"""Pascal VOC's lists of images, those that say more last."""
FLAG = re.compile(r"\s+-?[01]$")
HOW = "a mask is called as its image, in folders such as images/ and masks/, or has _mask after the name"


@dataclass
class Pairs:
    """Images and their masks."""

    found: list[tuple[Path, Path]] = field(default_factory=list)
    lonely: list[Path] = field(default_factory=list)
    """Masks without an image."""
    bare: list[Path] = field(default_factory=list)
    """Images without a mask."""


def _kind(name: str) -> str:
    """What a folder holds by its name: `image`, `mask` or nothing that is said."""
    words = set(words_of(re.sub(r"(?<=[a-z])annot$", "_annot", name.lower())))
    own = {each for names in SPLITS.values() for each in names} | FILLERS
    for kind, these in (("mask", MASK_WORDS | MASKS_ONLY_HERE), ("image", IMAGE_WORDS | ONLY_HERE)):
        if words & these and words <= these | IMAGE_WORDS | own:
            return kind
    return ""


def _place(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Folders without the words that say what they hold."""
    out = []
    for name in folders:
        if not _kind(name):
            out.append(name.lower())
            continue
        words = words_of(re.sub(r"(?<=[a-z])annot$", "_annot", name.lower()))
        drop = MASK_WORDS | MASKS_ONLY_HERE | IMAGE_WORDS | ONLY_HERE
        out += [" ".join(word for word in words if word not in drop)]
    return tuple(name for name in out if name)


def _stems(stem: str, end: re.Pattern[str]) -> list[str]:
    """What a name may stand for, the name itself first."""
    stem = stem.lower()
    out = [stem, end.sub("", stem)]
    return list(dict.fromkeys([*out, *(BEGIN.sub("", each) for each in out)]))


def pairs_of(folder: Path, images: list[Path]) -> Pairs | None:
    """Images with their masks; None where the folder is not laid out so.

    Raises:
        DataError: an image has several masks.
    """
    below = {image: image.relative_to(folder).parts[:-1] for image in images}
    masks = [image for image in images if any(_kind(name) == "mask" for name in below[image])]
    if not masks:
        masks = [image for image in images if SURE_END.search(image.stem.lower())]
    masks = _of_one_kind(masks)
    aside = set(masks)
    places: dict[tuple[tuple[str, ...], str], list[Path]] = {}
    for image in images:
        if image not in aside and not any(_kind(name) == "mask" for name in below[image]):
            for stem in _stems(image.stem, IMAGE_END):
                places.setdefault((_place(below[image]), stem), []).append(image)
    out, taken = Pairs(), dict[Path, Path]()
    for mask in masks:
        place = _place(below[mask])
        own = next((found for stem in _stems(mask.stem, MASK_END) if (found := places.get((place, stem)))), None)
        if own is None:
            out.lonely.append(mask)
            continue
        if len(own) > 1:
            raise DataError(f"{mask}: may be the mask of {listing(own, most=3)}; {HOW}.")
        if own[0] in taken:
            raise DataError(
                f"{own[0]}: has several masks, {taken[own[0]].name} and {mask.name}; expected one mask an image, with "
                "a value for each class."
            )
        taken[own[0]] = mask
        out.found.append((own[0], mask))
    if not out.found or len(out.found) < len(out.lonely):
        return None
    out.bare = [image for found in places.values() for image in found if image not in taken]
    out.bare = sorted(set(out.bare))
    return out


def _of_one_kind(masks: list[Path]) -> list[Path]:
    """Of the several masks of an image that Cityscapes and Pascal VOC have, those of classes."""
    for said in ("labelids", "labeltrainids"):
        if chosen := [mask for mask in masks if mask.stem.lower().endswith(said)]:
            return chosen
    if any("segmentationclass" in (part.lower() for part in mask.parts) for mask in masks):
        return [mask for mask in masks if "segmentationclass" in (part.lower() for part in mask.parts)]
    return masks


def read_masks(
    folder: Path, files: list[Path], images: list[Path], config: DataConfig, notes: list[str]
) -> dict[str, Dataset] | None:
    """Rows of `image`, `mask` and FILE by split; None where the folder holds no masks beside its images.

    Raises:
        DataError: a mask without an image, or several of one image.
    """
    pairs = pairs_of(folder, images)
    if pairs is None:
        return None
    if pairs.lonely:
        if config.on_error == "stop":
            raise DataError(
                f"{pairs.lonely[0]}: there is no image of this mask's name; {HOW}. data.on_error=skip leaves such "
                "masks out."
            )
        notes.append(f"{len(pairs.lonely)} masks are left out: there is no image of their name.")
    if pairs.bare:
        notes.append(f"{len(pairs.bare)} images are left out: they have no mask ({listing(pairs.bare, most=2)}).")
    lists = set_lists(files, "Segmentation")
    out: dict[str, dict[str, list[str]]] = {}
    unlisted = 0
    for image, mask in sorted(pairs.found):
        split = lists.get(image.stem) or split_of_folders(image.relative_to(folder), config)
        if (lists and image.stem not in lists) or (config.splits and split is None):
            unlisted += 1
            continue
        rows = out.setdefault(split or "train", {"image": [], "mask": [], FILE: []})
        rows["image"].append(str(image))
        rows["mask"].append(str(mask))
        rows[FILE].append(str(image))
    if unlisted:
        why = "no list of ImageSets/Segmentation" if lists else "no folder of data.splits"
        notes.append(f"{unlisted} images are left out: they are in {why}.")
    return {split: _rows(columns) for split, columns in out.items()}


def _rows(columns: dict[str, Any]) -> Dataset:
    made = Dataset.from_dict(columns)
    return made.cast_column("image", Image(decode=False)).cast_column("mask", Image(decode=False))


def set_lists(files: list[Path], kind: str) -> dict[str, str]:
    """Name of an image -> its split, from Pascal VOC's ImageSets/`kind`."""
    out: dict[str, str] = {}
    for name, split in LISTS.items():
        for file in files:
            if file.name == f"{name}.txt" and file.parent.parts[-2:] == ("ImageSets", kind):
                for line in read_bytes(file, error=DataError).decode("utf-8-sig", "replace").split("\n"):
                    # whether it is in the class follows the name; names may have spaces, endings and folders
                    for name in {line.strip(), FLAG.sub("", line.strip())} - {""}:
                        out[name] = split
                        if Path(name).suffix.lower() in EXTENSIONS:
                            out[Path(name.replace("\\", "/")).stem] = split
    return out
