"""Annotations of boxes in the three formats that tools write (COCO json, Pascal VOC xml, YOLO txt), as one: a column
`objects` with `bbox` (left, top, width, height in pixels) and `category`, beside the images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset

from hf_tl.data.annotations import FILE, Split, finite, objects_of, rows_of
from hf_tl.data.coco import ImagePaths, is_coco, read_coco
from hf_tl.data.named_files import Reach, unreadable_file
from hf_tl.data.xml_text import WrongXml, read_xml
from hf_tl.errors import DataError, listing, shortened
from hf_tl.io.json_text import read_bytes, read_text
from hf_tl.io.yaml_text import parse_yaml

CLASS_FILES = ("classes.txt", "obj.names", "predefined_classes.txt")
MAX_BYTES = 2_000_000
"""Of a text of boxes of one image: some ten thousand."""
LISTS = ("train", "val", "test")
"""Pascal VOC's lists of the images of each split, in ImageSets/Main."""


def read_boxes(
    folder: Path, files: list[Path], images: Callable[[], list[Path]], split_of: Split, reach: Reach
) -> dict[str, list[Dataset]] | None:
    """The rows of a folder by split; None where it holds no annotations of boxes.

    Args:
        files: all that the folder holds.
        images: gives the images below the folder.
        split_of: the split that a path below the folder says.
        reach: where the images may lie that the annotations name.

    Raises:
        DataError: a file of which no row can be made; what is wrong in a single row is kept under WRONG.
    """
    coco = [file for file in files if is_coco(file)]
    # COCO's own folder holds keypoints of the same images as well
    coco = [file for file in coco if file.name.startswith("instances")] or coco
    if coco:
        places = ImagePaths(folder, images, split_of, reach)
        return _by_split((split_of(file.relative_to(folder)) or "train", read_coco(file, places)) for file in coco)
    stems: dict[str, list[Path]] = {}
    for image in images():
        stems.setdefault(image.stem, []).append(image)
    xml = [file for file in files if file.suffix.lower() == ".xml" and _is_voc(file)]
    if xml:
        return _one_per_image(folder, xml, stems, split_of, lambda file, image: _voc(file), _voc_lists(files), reach)
    texts = [file for file in files if file.suffix.lower() == ".txt" and file.stem in stems]
    # one that is not is a mistake among many, and is named as such
    if texts and 2 * sum(_is_yolo(file) for file in texts[:50]) > len(texts[:50]):
        names = yolo_names(folder, files)
        return _one_per_image(folder, texts, stems, split_of, lambda file, image: _yolo(file, image, names), {}, reach)
    return None


def _by_split(found: Iterable[tuple[str, Dataset]]) -> dict[str, list[Dataset]]:
    out: dict[str, list[Dataset]] = {}
    for split, rows in found:
        out.setdefault(split, []).append(rows)
    return out


def _one_per_image(
    folder: Path,
    files: list[Path],
    stems: dict[str, list[Path]],
    split_of: Split,
    read: Callable[[Path, Path], dict[str, Any]],
    lists: dict[str, str],
    reach: Reach,
) -> dict[str, list[Dataset]]:
    """Rows of files that describe one image each, the image of the same name nearest to it.

    Args:
        lists: name of an image -> its split; where there are any, each image has to be in one.
    """
    used: set[Path] = set()
    records: dict[str, list[dict[str, Any]]] = {}

    def add(image: Path | None, where: Path, objects: dict[str, Any]) -> None:
        below = [path.relative_to(folder) for path in (image, where) if path is not None]
        split = lists.get(where.stem) or next(filter(None, map(split_of, below)), None) or "train"
        if lists and where.stem not in lists:
            objects = objects_of([], [], f"in none of the lists {listing(LISTS)} of ImageSets/Main")
        path = None if image is None else str(image)
        records.setdefault(split, []).append({"image": path, "objects": objects, FILE: str(where)})

    for file in files:
        named = _voc_image(file, reach)
        own = stems.get(file.stem) or stems.get(named, [])
        if not own:
            add(None, file, objects_of([], []))  # said to be missing where images are checked
            continue
        image = min(own, key=lambda path: len(set(path.parts) ^ set(file.parts)))
        used.add(image)
        add(image, file, read(file, image))
    for image in sorted({path for paths in stems.values() for path in paths} - used):
        add(image, image, objects_of([], []))  # an image with nothing on it
    return {split: [rows_of(found)] for split, found in records.items()}


def _is_voc(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return b"<annotation" in stream.read(2000).replace(b"\0", b"")  # as well in UTF-16
    except OSError as error:
        raise unreadable_file(file, error) from None


def _voc_image(file: Path, reach: Reach) -> str:
    """Name, without its ending, of the image that a file says that it describes. It is looked for in the folder alone,
    by that; `path`, which is of the machine that annotated, is not looked at.

    Raises:
        DataError: it names what it may not.
    """
    if file.suffix.lower() != ".xml":
        return ""
    try:
        said = (read_xml(file).findtext("filename") or "").strip()
    except WrongXml:
        return ""
    if said:
        reach.find(said, file.parent, str(file), "filename")
    return Path(said.replace("\\", "/")).stem


def _voc_lists(files: list[Path]) -> dict[str, str]:
    """Name of an image -> its split, from ImageSets/Main."""
    out: dict[str, str] = {}
    for file in files:
        if file.suffix == ".txt" and file.stem in LISTS and file.parent.parts[-2:] == ("ImageSets", "Main"):
            split = "validation" if file.stem == "val" else file.stem
            lines = read_bytes(file, error=DataError).decode("utf-8", "replace").split("\n")
            out |= {line.split()[0]: split for line in lines if line.strip()}
    return out


def _voc(file: Path) -> dict[str, Any]:
    """The objects of a file of Pascal VOC's kind, which has corners."""
    try:
        root = read_xml(file)
    except WrongXml as error:
        return objects_of([], [], str(error))
    boxes, names = [], []
    for index, each in enumerate(root.iter("object"), 1):
        name, box = each.findtext("name"), each.find("bndbox")
        if not name or not name.strip() or box is None:
            return objects_of([], [], f"object {index}: expected a name and a bndbox")
        corners = []
        for key in ("xmin", "ymin", "xmax", "ymax"):
            number = _number(box.findtext(key) or "")
            if number is None:
                said = shortened(box.findtext(key) or "")
                return objects_of([], [], f"object {index}: {key} is {said}, expected a number")
            corners.append(number)
        left, top, right, bottom = corners
        boxes.append([left, top, right - left, bottom - top])
        names.append(name.strip())
    return objects_of(boxes, names)


def _number(text: str) -> float | None:
    """A number that can be counted with."""
    try:
        return next(iter(finite([float(text)]) or ()), None)
    except ValueError:
        return None


def _is_yolo(file: Path) -> bool:
    lines = [line.split() for line in _lines(file) if line.strip()]
    return all(len(parts) >= 5 and re.fullmatch(r"\d+", parts[0]) for parts in lines)


def _lines(file: Path) -> list[str]:
    """Of a text that describes one image."""
    return read_bytes(file, error=DataError, most=MAX_BYTES).decode("utf-8", "replace").splitlines()


def yolo_names(folder: Path, files: list[Path]) -> dict[int, str] | None:
    """Class names from `data.yaml` (or any yaml with `names`) or a list of names, one a line; None where neither is."""
    for file in files:
        if file.suffix.lower() in (".yaml", ".yml"):
            found = parse_yaml(read_text(file, error=DataError), str(file))
            names = found.get("names") if isinstance(found, dict) else None
            if isinstance(names, (list, dict)):
                return _named(file, dict(enumerate(names)) if isinstance(names, list) else names)
    for file in files:
        if file.name in CLASS_FILES:
            return dict(enumerate(line.strip() for line in read_text(file, error=DataError).splitlines()))
    return None


def _named(file: Path, given: dict[Any, Any]) -> dict[int, str]:
    names: dict[int, str] = {}
    for index, name in given.items():
        if (
            not re.fullmatch(r"[0-9]{1,9}", str(index))
            or not isinstance(name, (str, int, float))
            or not str(name).strip()
        ):
            raise DataError(
                f"{file}: names has {shortened(str(name))} under {shortened(str(index))}, "
                "expected the name of a class for each number."
            )
        names[int(index)] = str(name).strip()
    return names


def _yolo(file: Path, image: Path, names: dict[int, str] | None) -> dict[str, Any]:
    """Class, middle, width and height, as shares of the image; a polygon's enclosing box."""
    from hf_tl.data.images import unreadable, upright_size

    if unreadable(image):
        return objects_of([], [])  # said where images are checked
    width, height = upright_size(image)
    boxes, categories = [], []
    for number, line in enumerate(_lines(file), 1):
        parts, wrong = line.split(), None
        if not parts:
            continue
        values = [value for value in map(_number, parts[1:]) if value is not None]
        if not re.fullmatch(r"[0-9]{1,9}", parts[0]) or len(values) < len(parts) - 1:
            wrong = f"line {number}: found {shortened(line.strip())}, expected a class and four numbers"
            return objects_of([], [], wrong)
        index = int(parts[0])
        if len(values) == 4:
            x, y, w, h = values
            left, top = x - w / 2, y - h / 2
        elif len(values) % 2 == 0 and len(values) >= 6:
            left, top = min(values[::2]), min(values[1::2])
            w, h = max(values[::2]) - left, max(values[1::2]) - top
        else:
            return objects_of([], [], f"line {number}: {len(values)} numbers after the class, expected four")
        if names is not None and index not in names:
            wrong = f"class {index} has no name; there are {listing(names.values())}"
        elif min(left, top) < -0.05 or max(left + w, top + h) > 1.05:
            wrong = "the box reaches beyond the image; YOLO coordinates are normalized, 0 to 1"
        if wrong:
            return objects_of([], [], f"line {number}: {wrong}")
        # what is up to 0.05 over the edge is how tools round
        right, bottom, left, top = min(left + w, 1), min(top + h, 1), max(left, 0), max(top, 0)
        boxes.append([left * width, top * height, (right - left) * width, (bottom - top) * height])
        categories.append(names[index] if names is not None else str(index))
    return objects_of(boxes, categories)
