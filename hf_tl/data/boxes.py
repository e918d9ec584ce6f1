"""Annotations of boxes in the formats that tools write, as one: a column `objects` with `bbox` (left, top, width and
height in pixels of the upright image) and `category`, beside the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset

from hf_tl.data.annotations import FILE, Annotated, fit, objects_of, rows_of
from hf_tl.data.coco import ImagePaths, is_coco, read_coco
from hf_tl.data.mask_folders import set_lists
from hf_tl.data.more_boxes import is_labelme, labelme_image, read_labelme, read_many, reader_of
from hf_tl.data.voc import is_voc, read_voc, voc_image
from hf_tl.data.yolo import is_yolo, pose_numbers, read_setup, read_yolo, splits_said
from hf_tl.errors import DataError, listing

Objects = tuple[dict[str, Any], tuple[float, float] | None]


def read_boxes(found: Annotated, setup: Path | None = None) -> dict[str, Dataset] | None:
    """The rows of a folder by split; None where it holds no annotations of boxes.

    Args:
        setup: the YOLO yaml that was given itself.

    Raises:
        DataError: a file of which no row can be made; what is wrong in a single row is kept under WRONG.
    """
    out = _read_boxes(found, setup)
    found.say_fits()
    return {split: rows_of(records) for split, records in out.items() if records} if out else None


def _read_boxes(found: Annotated, setup: Path | None) -> dict[str, list[dict[str, Any]]] | None:
    coco = [file for file in found.files if is_coco(file)]
    # COCO's own folder holds keypoints of the same images as well
    coco = [file for file in coco if file.name.startswith("instances")] or coco
    if coco and setup is None:
        return _of_coco(coco, found)
    images = found.list_images()
    many = [file for file in found.files if reader_of(file) is not None]
    if many and setup is None:
        return read_many(many, found)
    own = [file for file in found.files if is_labelme(file)]
    if own and setup is None:
        names = {file: labelme_image(file, found.reach) for file in own}
        return _one_per_image(found, own, images, lambda file, _: read_labelme(file), lambda path: None, False, names)
    xml = [file for file in found.files if file.suffix.lower() == ".xml" and is_voc(file)]
    if xml and setup is None:
        lists = set_lists(found.files, "Main")
        named = {file: voc_image(file, found.reach) for file in xml}
        return _one_per_image(
            found, xml, images, lambda file, _: read_voc(file), lambda path: lists.get(path.stem), bool(lists), named
        )
    stems = {image.stem.lower() for image in images}
    texts = [file for file in found.files if file.suffix.lower() == ".txt" and file.stem.lower() in stems]
    # one that is not is a mistake among many, and is named as such
    if not texts or 2 * sum(is_yolo(file) for file in texts[:50]) <= len(texts[:50]):
        return None
    said = read_setup(found.files, setup)
    splits = {} if found.named_splits else splits_said(said, found.folder, images, found.notes)
    pose = pose_numbers(texts, said)

    def read(file: Path, image: Path) -> Objects:
        return read_yolo(file, image, said.names, pose), None

    return _one_per_image(found, texts, images, read, splits.get, bool(splits), {})


def _of_coco(files: list[Path], found: Annotated) -> dict[str, list[dict[str, Any]]]:
    places = ImagePaths(found)
    out: dict[str, list[dict[str, Any]]] = {}
    owner: dict[str, Path] = {}
    for file in files:
        split = found.split_of_table(file.relative_to(found.folder))
        if split is None and found.named_splits:
            found.notes.append(f"{file.name} is left out: data.splits names no split for it.")
            continue
        records = read_coco(file, places, found.fits)
        for each in records:
            other = owner.setdefault(each["image"], file) if each["image"] else file
            if other != file:
                raise DataError(
                    f"{other} and {file} are about the same images, such as {Path(each['image']).name}; give the one "
                    "that counts as data.path, or move the other away."
                )
        out.setdefault(split or "train", []).extend(records)
    if len(found.files) > 1:
        unused = sum(str(image) not in owner for image in found.list_images())
        if unused:
            found.notes.append(f"{unused} images are left out: no annotation file names them.")
    return out


def _one_per_image(
    found: Annotated,
    files: list[Path],
    images: list[Path],
    read: Callable[[Path, Path], Objects],
    listed: Callable[[Path], str | None],
    lists: bool,
    named: dict[Path, str],
) -> dict[str, list[dict[str, Any]]]:
    """Records of files that describe one image each, the image of the same name nearest to it.

    Args:
        listed: the split that lists of images say.
        lists: whether there are such lists; what is in none of them, and in no folder of a split, is left out then.
        named: file -> name of the image that it says itself.
    """
    records: dict[str, list[dict[str, Any]]] = {}
    unlisted: Counter[str] = Counter()

    def add(image: Path | None, where: Path, objects: dict[str, Any]) -> None:
        path = image if image is not None else where
        split = listed(path) or listed(where)
        if split is None and not (lists and named):
            below = [each.relative_to(found.folder) for each in (image, where) if each is not None]
            split = next(filter(None, map(found.split_of, below)), None)
        if split is None and (lists or found.named_splits):
            unlisted["lists" if lists else "splits"] += 1
            return
        records.setdefault(split or "train", []).append(
            {"image": None if image is None else str(image), "objects": objects, FILE: str(where)}
        )

    described = _described(files, images, named)
    for file in files:
        image = described.get(file)
        if image is None:
            add(None, file, objects_of([], []))  # said to be missing where images are checked
            continue
        objects, said = read(file, image)
        add(image, file, fit(objects, said, image, found.fits))
    for image in sorted(set(images) - set(described.values())):
        add(image, image, objects_of([], []))  # an image with nothing on it
    for why, count in unlisted.items():
        what = "the lists of images name no split for them" if why == "lists" else "data.splits names none for them"
        found.notes.append(f"{count} images are left out: {what}.")
    return records


def _described(files: list[Path], images: list[Path], named: dict[Path, str]) -> dict[Path, Path]:
    """File -> the image that it describes: of its name, or of the name that it says, and nearest to it. An image of two
    files is the nearer one's.

    Raises:
        DataError: two files are as near.
    """
    stems: dict[str, list[Path]] = {}
    for image in images:
        stems.setdefault(image.stem, []).append(image)
    alike: dict[str, list[Path]] = {}
    for image in images:
        alike.setdefault(image.stem.lower(), []).append(image)

    def apart(one: Path, other: Path) -> int:
        return len(set(one.parent.parts) ^ set(other.parent.parts))

    owners: dict[Path, list[Path]] = {}
    for file in files:
        said = named.get(file, "")
        own = stems.get(file.stem) or stems.get(said) or alike.get(file.stem.lower()) or alike.get(said.lower(), [])
        if own:
            owners.setdefault(min(own, key=lambda path: apart(path, file)), []).append(file)
    out = {}
    for image, claims in owners.items():
        nearest = min(apart(image, file) for file in claims)
        near = [file for file in claims if apart(image, file) == nearest]
        if len(near) > 1:
            raise DataError(f"{image}: is described by {listing(near, most=3)}; expected one file an image.")
        out[near[0]] = image
    return out
