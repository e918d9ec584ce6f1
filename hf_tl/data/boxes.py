"""Annotations of boxes in the three formats that tools write (COCO json, Pascal VOC xml, YOLO txt), as one: a column
`objects` with `bbox` (left, top, width, height in pixels) and `category`, beside the pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from datasets import Dataset, Image, List, Value

from hf_tl.errors import DataError, listing

FILE = "__file__"
WRONG = "__wrong__"
"""Field of `objects` with what is wrong in an annotation, or null: said, or left out, where rows are checked."""
OBJECTS = {"bbox": List(List(Value("float64"))), "category": List(Value("string")), WRONG: Value("string")}
CLASS_FILES = ("classes.txt", "obj.names", "predefined_classes.txt")
LISTS = ("train", "val", "test")
"""Pascal VOC's lists of the pictures of each split, in ImageSets/Main."""
Split = Callable[[Path], str | None]


def objects_of(boxes: list[Any], categories: list[Any], wrong: str | None = None) -> dict[str, Any]:
    """A value of the column `objects`; of an annotation that is wrong nothing else is kept."""
    return {"bbox": [] if wrong else boxes, "category": [] if wrong else categories, WRONG: wrong}


def is_coco(file: Path) -> bool:
    """Whether a json file is an annotation file of COCO's kind."""
    if file.suffix.lower() != ".json":
        return False
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError):
        return False
    return isinstance(found, dict) and {"images", "annotations", "categories"} <= set(found)


def read_boxes(
    folder: Path, files: list[Path], images: Callable[[], list[Path]], split_of: Split
) -> dict[str, list[Dataset]] | None:
    """The rows of a folder by split; None where it holds no annotations of boxes.

    Args:
        files: all that the folder holds.
        images: gives the pictures below the folder.
        split_of: the split that a path below the folder says.

    Raises:
        DataError: a file of which no row can be made; what is wrong in a single row is kept under WRONG.
    """
    coco = [file for file in files if is_coco(file)]
    # COCO's own folder holds keypoints of the same pictures as well
    coco = [file for file in coco if file.name.startswith("instances")] or coco
    if coco:
        places = _Pictures(folder, images, split_of)
        return _by_split((split_of(file.relative_to(folder)) or "train", read_coco(file, places)) for file in coco)
    stems: dict[str, list[Path]] = {}
    for image in images():
        stems.setdefault(image.stem, []).append(image)
    xml = [file for file in files if file.suffix.lower() == ".xml" and _is_voc(file)]
    if xml:
        return _one_a_picture(folder, xml, stems, split_of, lambda file, image: _voc(file), _voc_lists(files))
    texts = [file for file in files if file.suffix.lower() == ".txt" and file.stem in stems]
    # one that is not is a mistake among many, and is named as such
    if texts and 2 * sum(_is_yolo(file) for file in texts[:50]) > len(texts[:50]):
        names = yolo_names(folder, files)
        return _one_a_picture(folder, texts, stems, split_of, lambda file, image: _yolo(file, image, names), {})
    return None


def _by_split(found: Iterable[tuple[str, Dataset]]) -> dict[str, list[Dataset]]:
    out: dict[str, list[Dataset]] = {}
    for split, rows in found:
        out.setdefault(split, []).append(rows)
    return out


def _rows(records: list[dict[str, Any]]) -> Dataset:
    rows = Dataset.from_dict({name: [each[name] for each in records] for name in ("image", "objects", FILE)})
    return rows.cast_column("image", Image(decode=False)).cast_column("objects", OBJECTS)


class _Pictures:
    """Where the pictures are that annotation files name."""

    def __init__(self, folder: Path, images: Callable[[], list[Path]], split_of: Split) -> None:
        self.folder, self.images, self.split_of = folder, images, split_of

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        out: dict[str, list[Path]] = {}
        for image in self.images():
            out.setdefault(image.name, []).append(image)
        return out

    def find(self, file: Path, name: str) -> list[Path]:
        """The pictures that `file` may mean by `name`: beside it, else of the most of that path, of its split, and
        nearest to it."""
        wanted = Path(name.replace("\\", "/"))
        beside = file.parent / wanted
        if beside.is_file():
            return [beside]
        found = self._by_name.get(wanted.name, [])
        split = self.split_of(file.relative_to(self.folder))
        for fits in (
            lambda path: path.parts[-len(wanted.parts) :] == wanted.parts,
            lambda path: self.split_of(path.relative_to(self.folder)) == split,
        ):
            found = [path for path in found if fits(path)] or found
        apart = {path: len(set(path.parts) ^ set(file.parts)) for path in found}
        return [path for path in found if apart[path] == min(apart.values())]


def read_coco(file: Path, pictures: _Pictures) -> Dataset:
    """Rows of a COCO file, one a picture; category ids may be sparse and begin anywhere, since names are what counts.

    Raises:
        DataError: it has no images.
    """
    found = json.loads(file.read_text(encoding="utf-8-sig"))
    names = {each.get("id"): str(each.get("name")) for each in found["categories"]}
    known: dict[Any, dict[str, Any]] = {}
    for index, each in enumerate(found["images"]):
        name = str(each.get("file_name"))
        places = pictures.find(file, name)
        wrong = f"file_name {name!r} may be {listing(map(str, places))}" if len(places) > 1 else None
        known[each.get("id")] = {
            "image": str(places[0] if places else file.parent / name),  # one that is not there cannot be read
            "objects": objects_of([], [], wrong),
            FILE: f"{file}, images[{index}] ({Path(name).name})",
        }
    if not known:
        raise DataError(f"{file}: has no images.")
    for index, each in enumerate(found["annotations"]):
        image, box, category = each.get("image_id"), each.get("bbox"), each.get("category_id")
        if each.get("iscrowd"):
            continue  # a region of many things, which is no thing to find
        if image not in known:
            where = f"{file}, annotations[{index}] (image_id {image!r} is none of the file's images)"
            known[image] = {"image": None, "objects": objects_of([], []), FILE: where}
        objects, wrong = known[image]["objects"], None
        if category not in names:
            wrong = f"category_id {category!r} is none of the file's categories"
        elif not isinstance(box, list) or len(box) != 4 or not all(isinstance(each, (int, float)) for each in box):
            wrong = f"bbox is {box!r}, expected four numbers"
        if wrong:
            objects[WRONG] = objects[WRONG] or f"annotations[{index}]: {wrong}"
            continue
        objects["bbox"].append([float(value) for value in box])
        objects["category"].append(names[category])
    return _rows(list(known.values()))


def _one_a_picture(
    folder: Path,
    files: list[Path],
    stems: dict[str, list[Path]],
    split_of: Split,
    read: Callable[[Path, Path], dict[str, Any]],
    lists: dict[str, str],
) -> dict[str, list[Dataset]]:
    """Rows of files that describe one picture each, the picture of the same name nearest to it.

    Args:
        lists: name of a picture -> its split; where there are any, each picture has to be in one.
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
        own = stems.get(file.stem) or stems.get(_voc_picture(file), [])
        if not own:
            add(None, file, objects_of([], []))  # said to be missing where pictures are checked
            continue
        image = min(own, key=lambda path: len(set(path.parts) ^ set(file.parts)))
        used.add(image)
        add(image, file, read(file, image))
    for image in sorted({path for paths in stems.values() for path in paths} - used):
        add(image, image, objects_of([], []))  # a picture with nothing on it
    return {split: [_rows(found)] for split, found in records.items()}


def _is_voc(file: Path) -> bool:
    with file.open("rb") as stream:
        return b"<annotation" in stream.read(2000)


def _voc_picture(file: Path) -> str:
    """Name, without its ending, of the picture that a file says that it describes."""
    if file.suffix.lower() != ".xml":
        return ""
    try:
        said = ElementTree.fromstring(file.read_bytes()).findtext("filename") or ""
    except ElementTree.ParseError:
        return ""
    return Path(said.strip().replace("\\", "/")).stem


def _voc_lists(files: list[Path]) -> dict[str, str]:
    """Name of a picture -> its split, from ImageSets/Main."""
    out: dict[str, str] = {}
    for file in files:
        if file.suffix == ".txt" and file.stem in LISTS and file.parent.parts[-2:] == ("ImageSets", "Main"):
            split = "validation" if file.stem == "val" else file.stem
            lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
            out |= {line.split()[0]: split for line in lines if line.strip()}
    return out


def _voc(file: Path) -> dict[str, Any]:
    """The objects of a file of Pascal VOC's kind, which has corners."""
    try:
        root = ElementTree.fromstring(file.read_bytes())
    except ElementTree.ParseError as error:
        return objects_of([], [], f"not valid XML ({error})")
    boxes, names = [], []
    for index, each in enumerate(root.iter("object"), 1):
        name, box = each.findtext("name"), each.find("bndbox")
        if not name or not name.strip() or box is None:
            return objects_of([], [], f"object {index}: expected a name and a bndbox")
        corners = []
        for key in ("xmin", "ymin", "xmax", "ymax"):
            try:
                corners.append(float(box.findtext(key) or ""))
            except ValueError:
                return objects_of([], [], f"object {index}: {key} is {box.findtext(key)!r}, expected a number")
        left, top, right, bottom = corners
        boxes.append([left, top, right - left, bottom - top])
        names.append(name.strip())
    return objects_of(boxes, names)


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
    from hf_tl.data.images import unreadable, upright_size

    if unreadable(image):
        return objects_of([], [])  # said where pictures are checked
    width, height = upright_size(image)
    boxes, categories = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        parts, wrong = line.split(), None
        if not parts:
            continue
        try:
            index, values = int(parts[0]), [float(part) for part in parts[1:]]
        except ValueError:
            wrong = f"line {number}: found {line.strip()!r}, expected a class and four numbers"
            return objects_of([], [], wrong)
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
            wrong = "the box reaches beyond the picture; YOLO's numbers are shares of it, 0 to 1"
        if wrong:
            return objects_of([], [], f"line {number}: {wrong}")
        # what is up to 0.05 over the edge is how tools round
        right, bottom, left, top = min(left + w, 1), min(top + h, 1), max(left, 0), max(top, 0)
        boxes.append([left * width, top * height, (right - left) * width, (bottom - top) * height])
        categories.append(names[index] if names is not None else str(index))
    return objects_of(boxes, categories)
