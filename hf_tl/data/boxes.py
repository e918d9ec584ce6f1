"""Annotations of boxes in the three formats that tools write (COCO json, Pascal VOC xml, YOLO txt), as one: a column
`objects` with `bbox` (left, top, width, height in pixels) and `category`, beside the pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from datasets import Dataset, Image, List, Value

from hf_tl.errors import DataError, did_you_mean, listing

FILE = "__file__"
OBJECTS = {"bbox": List(List(Value("float64"))), "category": List(Value("string"))}
CLASS_FILES = ("classes.txt", "obj.names", "predefined_classes.txt")
Split = Callable[[Path], str | None]


def is_coco(file: Path) -> bool:
    """Whether a json file is an annotation file of COCO's kind."""
    if file.suffix.lower() != ".json":
        return False
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError):
        return False
    return isinstance(found, dict) and {"images", "annotations", "categories"} <= set(found)


def read_boxes(folder: Path, files: list[Path], images: list[Path], split_of: Split) -> dict[str, list[Dataset]] | None:
    """The rows of a folder by split; None where it holds no annotations of boxes.

    Args:
        files, images: all that the folder holds, and the pictures among it.
        split_of: the split that a path below the folder says.
    """
    coco = [file for file in files if is_coco(file)]
    if coco:
        return _by_split((split_of(file.relative_to(folder)) or "train", read_coco(file, images)) for file in coco)
    stems: dict[str, list[Path]] = {}
    for image in images:
        stems.setdefault(image.stem, []).append(image)
    xml = [file for file in files if file.suffix.lower() == ".xml" and _is_voc(file)]
    if xml:
        return _one_a_picture(folder, xml, stems, split_of, lambda file, image: _voc(file))
    texts = [file for file in files if file.suffix.lower() == ".txt" and file.stem in stems]
    if texts and all(_is_yolo(file) for file in texts[:50]):
        names = yolo_names(folder, files)
        return _one_a_picture(folder, texts, stems, split_of, lambda file, image: _yolo(file, image, names))
    return None


def _by_split(found: Iterable[tuple[str, Dataset]]) -> dict[str, list[Dataset]]:
    out: dict[str, list[Dataset]] = {}
    for split, rows in found:
        out.setdefault(split, []).append(rows)
    return out


def _rows(records: list[dict[str, Any]]) -> Dataset:
    rows = Dataset.from_dict({name: [each[name] for each in records] for name in ("image", "objects", FILE)})
    return rows.cast_column("image", Image(decode=False)).cast_column("objects", OBJECTS)


def read_coco(file: Path, images: list[Path]) -> Dataset:
    """Rows of a COCO file, one a picture; category ids may be sparse and begin anywhere, since names are what counts.

    Raises:
        DataError: a picture that is not there, or an annotation of an unknown picture or category.
    """
    found = json.loads(file.read_text(encoding="utf-8-sig"))
    names = {each.get("id"): str(each.get("name")) for each in found["categories"]}
    known: dict[Any, dict[str, Any]] = {}
    for index, each in enumerate(found["images"]):
        wanted = Path(str(each.get("file_name")))
        path = next((place for place in (file.parent / wanted, *_named(images, wanted)) if place.is_file()), None)
        if path is None:
            raise DataError(f"{file}, images[{index}]: file_name {str(wanted)!r} is not there.")
        known[each.get("id")] = {
            "image": str(path),
            "objects": {"bbox": [], "category": []},
            FILE: f"{file}, images[{index}] ({wanted.name})",
        }
    for index, each in enumerate(found["annotations"]):
        where = f"{file}, annotations[{index}]"
        if each.get("image_id") not in known:
            raise DataError(f"{where}: image_id {each.get('image_id')!r} is none of the file's images.")
        if each.get("category_id") not in names:
            raise DataError(f"{where}: category_id {each.get('category_id')!r} is none of the file's categories.")
        if each.get("iscrowd"):
            continue  # a region of many things, which is no thing to find
        objects = known[each["image_id"]]["objects"]
        objects["bbox"].append(_numbers(each.get("bbox"), where))
        objects["category"].append(names[each["category_id"]])
    if not known:
        raise DataError(f"{file}: has no images.")
    return _rows(list(known.values()))


def _numbers(values: Any, where: str) -> list[float]:
    if not isinstance(values, list) or len(values) != 4 or not all(isinstance(each, (int, float)) for each in values):
        raise DataError(f"{where}: bbox is {values!r}, expected four numbers.")
    return [float(each) for each in values]


def _named(images: list[Path], wanted: Path) -> list[Path]:
    return [image for image in images if image.name == wanted.name]


def _one_a_picture(
    folder: Path,
    files: list[Path],
    stems: dict[str, list[Path]],
    split_of: Split,
    read: Callable[[Path, Path], dict[str, Any]],
) -> dict[str, list[Dataset]]:
    """Rows of files that describe one picture each, the picture of the same name nearest to it."""
    used: set[Path] = set()
    records: dict[str, list[dict[str, Any]]] = {}

    def add(image: Path, where: Path, objects: dict[str, Any]) -> None:
        split = split_of(image.relative_to(folder)) or split_of(where.relative_to(folder)) or "train"
        records.setdefault(split, []).append({"image": str(image), "objects": objects, FILE: str(where)})

    for file in files:
        own = stems.get(file.stem, [])
        if not own:
            hint = did_you_mean(file.stem, stems) or "."
            raise DataError(f"{file}: there is no picture of this name{hint}")
        image = min(own, key=lambda path: len(set(path.parts) ^ set(file.parts)))
        used.add(image)
        add(image, file, read(file, image))
    for image in sorted({path for paths in stems.values() for path in paths} - used):
        add(image, image, {"bbox": [], "category": []})  # a picture with nothing on it
    return {split: [_rows(found)] for split, found in records.items()}


def _is_voc(file: Path) -> bool:
    with file.open("rb") as stream:
        return b"<annotation" in stream.read(2000)


def _voc(file: Path) -> dict[str, Any]:
    """The objects of a file of Pascal VOC's kind, which has corners."""
    try:
        root = ElementTree.fromstring(file.read_bytes())
    except ElementTree.ParseError as error:
        raise DataError(f"{file}: not valid XML ({error}).") from None
    boxes, names = [], []
    for index, each in enumerate(root.iter("object")):
        where = f"{file}, object {index + 1}"
        name, box = each.findtext("name"), each.find("bndbox")
        if not name or not name.strip() or box is None:
            raise DataError(f"{where}: expected a name and a bndbox.")
        corners = []
        for key in ("xmin", "ymin", "xmax", "ymax"):
            try:
                corners.append(float(box.findtext(key) or ""))
            except ValueError:
                raise DataError(f"{where}: {key} is {box.findtext(key)!r}, expected a number.") from None
        left, top, right, bottom = corners
        boxes.append([left, top, right - left, bottom - top])
        names.append(name.strip())
    return {"bbox": boxes, "category": names}


def _is_yolo(file: Path) -> bool:
    lines = [line.split() for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return all(len(parts) >= 5 and re.fullmatch(r"\d+", parts[0]) for parts in lines)


def yolo_names(folder: Path, files: list[Path]) -> dict[int, str] | None:
    """Class names from `data.yaml` (or any yaml with `names`) or a list of names, one a line; None where neither is."""
    for file in files:
        if file.suffix.lower() in (".yaml", ".yml"):
            try:
                found = yaml.safe_load(file.read_text(encoding="utf-8"))
            except yaml.YAMLError as error:
                raise DataError(f"{file}: not valid YAML ({str(error).splitlines()[0]}).") from None
            names = found.get("names") if isinstance(found, dict) else None
            if isinstance(names, list):
                return {index: str(name) for index, name in enumerate(names)}
            if isinstance(names, dict):
                return {int(index): str(name) for index, name in names.items()}
    for file in files:
        if file.name in CLASS_FILES:
            return dict(enumerate(line.strip() for line in file.read_text(encoding="utf-8").splitlines()))
    return None


def _yolo(file: Path, image: Path, names: dict[int, str] | None) -> dict[str, Any]:
    """Class, middle, width and height, as shares of the picture; a polygon's enclosing box."""
    from hf_tl.data.images import upright_size

    width, height = upright_size(image)
    boxes, categories = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        where = f"{file}, line {number}"
        try:
            index, values = int(parts[0]), [float(part) for part in parts[1:]]
        except ValueError:
            raise DataError(f"{where}: found {line.strip()!r}, expected a class and four numbers.") from None
        if names is not None and index not in names:
            raise DataError(f"{where}: class {index} has no name; there are {listing(names.values())}.")
        if len(values) == 4:
            x, y, w, h = values
            left, top = x - w / 2, y - h / 2
        elif len(values) % 2 == 0 and len(values) >= 6:
            left, top = min(values[::2]), min(values[1::2])
            w, h = max(values[::2]) - left, max(values[1::2]) - top
        else:
            raise DataError(f"{where}: {len(values)} numbers after the class, expected four.")
        if min(left, top) < -0.05 or max(left + w, top + h) > 1.05:
            raise DataError(f"{where}: the box reaches beyond the picture; YOLO's numbers are shares of it, 0 to 1.")
        boxes.append([left * width, top * height, w * width, h * height])
        categories.append(names[index] if names is not None else str(index))
    return {"bbox": boxes, "category": categories}
