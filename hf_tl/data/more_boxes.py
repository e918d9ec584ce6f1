"""Boxes as other tools write them: LabelMe (a json for each image), and of many images in one file CreateML (json),
CVAT (xml), TensorFlow and Roboflow (csv)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hf_tl.data.annotations import FILE, Annotated, finite, fit, number_of, objects_of, size_said
from hf_tl.data.coco import ImagePaths
from hf_tl.data.named_files import Reach
from hf_tl.data.tables import MAX_JSON, read_table
from hf_tl.data.xml_text import WrongXml, read_xml
from hf_tl.errors import DataError
from hf_tl.io.json_text import read_json

CORNERS = ("xmin", "ymin", "xmax", "ymax")
NAMES, CLASSES = ("filename", "image", "file", "image_id"), ("class", "label", "name", "category")
HEAD = 4000
"""Bytes by which a kind of file is told."""
Described = tuple[str, str, tuple[float, float] | None, list[list[float]], list[str], str | None]
"""Name of an image, where that stands, size that is said, boxes, their classes, what is wrong."""


def _head(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.read(HEAD).decode("utf-8-sig", "replace")


def is_labelme(file: Path) -> bool:
    if file.suffix.lower() != ".json":
        return False
    head = _head(file)
    if not re.match(r"\s*\{", head) or '"shapes"' not in head:
        return False
    try:
        found = read_json(file, error=DataError, nan=True, most=MAX_JSON)
    except DataError:
        return False
    return isinstance(found, dict) and isinstance(found.get("shapes"), list) and "imagePath" in found


def labelme_image(file: Path, reach: Reach) -> str:
    """Name, without its ending, of the image that a file says that it describes."""
    said = read_json(file, error=DataError, nan=True, most=MAX_JSON).get("imagePath")
    if not isinstance(said, str) or not said.strip():
        return ""
    reach.find(said, file.parent, str(file), "imagePath")
    return Path(said.replace("\\", "/")).stem


def read_labelme(file: Path) -> tuple[dict[str, Any], tuple[float, float] | None]:
    """The boxes around its rectangles, circles and polygons; points and lines are no boxes."""
    found = read_json(file, error=DataError, nan=True, most=MAX_JSON)
    boxes, names = [], []
    for index, each in enumerate(found["shapes"]):
        kind = each.get("shape_type") or "polygon" if isinstance(each, dict) else None
        if kind in ("point", "line", "linestrip", "points"):
            continue
        points = [finite(point) for point in each["points"]] if kind and _are_points(each.get("points")) else []
        label = each.get("label") if kind else None
        if len(points) < 2 or any(point is None for point in points) or not isinstance(label, str) or not label.strip():
            return objects_of([], [], f"shapes[{index}]: expected a label and the points of a shape"), None
        xs, ys = ([point[axis] for point in points if point is not None] for axis in (0, 1))
        if kind == "circle":
            radius = ((xs[1] - xs[0]) ** 2 + (ys[1] - ys[0]) ** 2) ** 0.5
            xs, ys = [xs[0] - radius, xs[0] + radius], [ys[0] - radius, ys[0] + radius]
        boxes.append([min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)])
        names.append(label.strip())
    return objects_of(boxes, names), size_said(found.get("imageWidth"), found.get("imageHeight"))


def _are_points(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(point, list) and len(point) == 2 for point in value)


def reader_of(file: Path) -> Callable[[Path], Iterator[Described]] | None:
    """What reads a file about many images; None where it is none of these."""
    ending = file.suffix.lower()
    if ending == ".csv" and _is_box_table(_head(file)):
        return _csv
    if ending == ".json" and re.match(r"\s*\[\s*\{", head := _head(file)) and '"coordinates"' in head:
        return _createml
    if ending == ".xml" and re.search(r"<annotations[\s>]", head := _head(file)) and "<annotation>" not in head:
        return _cvat
    return None


def _is_box_table(head: str) -> bool:
    names = {name.strip().strip('"').lower() for name in re.split(r"[,;\t]", head.partition("\n")[0])}
    return set(CORNERS) <= names and bool(names & set(NAMES)) and bool(names & set(CLASSES))


def _csv(file: Path) -> Iterator[Described]:
    rows = read_table(file)
    columns = {name.lower(): name for name in rows.column_names}
    image = next(columns[name] for name in NAMES if name in columns)
    label = next(columns[name] for name in CLASSES if name in columns)
    said: dict[str, tuple[str, tuple[float, float] | None, list[list[float]], list[str], list[str]]] = {}
    for index, row in enumerate(rows):
        name, place = str(row[image] or "").strip(), f"{file}, line {index + 2}"
        size = size_said(row.get(columns.get("width", "")), row.get(columns.get("height", "")))
        _, _, boxes, classes, wrong = said.setdefault(name, (place, size, [], [], []))
        values = [number_of(str(row[columns[key]])) for key in CORNERS]
        kind = str(row[label] if row[label] is not None else "").strip()
        if None in values or not kind:
            if any(row[columns[key]] is not None for key in CORNERS):  # else an image with nothing on it
                wrong.append(f"line {index + 2}: expected a class and four numbers")
            continue
        left, top, right, bottom = (value or 0.0 for value in values)
        boxes.append([left, top, right - left, bottom - top])
        classes.append(kind)
    for name, (place, size, boxes, classes, wrong) in said.items():
        yield name, place, size, boxes, classes, wrong[0] if wrong else None


def _createml(file: Path) -> Iterator[Described]:
    found = read_json(file, error=DataError, nan=True, most=MAX_JSON)
    for index, each in enumerate(found):
        place = f"{file}, [{index}]"
        if not isinstance(each, dict) or not isinstance(each.get("annotations"), list):
            raise DataError(f"{place}: expected an object with image and annotations.")
        name = str(each.get("image") or each.get("imagefilename") or "")
        boxes, classes, wrong = [], [], None
        for number, one in enumerate(each["annotations"]):
            at = one.get("coordinates") if isinstance(one, dict) else None
            values = finite([at.get(key) for key in ("x", "y", "width", "height")]) if isinstance(at, dict) else None
            if values is None or not str(one.get("label") or "").strip():
                wrong = f"annotations[{number}]: expected a label and coordinates x, y, width, height"
                break
            x, y, width, height = values  # of the middle
            boxes.append([x - width / 2, y - height / 2, width, height])
            classes.append(str(one["label"]).strip())
        yield name, place, None, boxes, classes, wrong


def _cvat(file: Path) -> Iterator[Described]:
    try:
        root = read_xml(file)
    except WrongXml as error:
        raise DataError(f"{file}: {error}.") from None
    for index, each in enumerate(root.iter("image")):
        boxes, classes, wrong = [], [], None
        for number, one in enumerate(each, 1):
            if one.tag == "box":
                values = [number_of(one.get(key) or "") for key in ("xtl", "ytl", "xbr", "ybr")]
                xs, ys = values[::2], values[1::2]
            elif one.tag == "polygon":
                pairs = [point.partition(",")[::2] for point in (one.get("points") or "").split(";")]
                xs, ys = ([number_of(pair[axis]) for pair in pairs] for axis in (0, 1))
            else:
                continue
            if None in [*xs, *ys] or not one.get("label"):
                wrong = f"object {number}: expected a label and the corners of a {one.tag}"
                break
            left, top = min(x or 0.0 for x in xs), min(y or 0.0 for y in ys)
            boxes.append([left, top, max(x or 0.0 for x in xs) - left, max(y or 0.0 for y in ys) - top])
            classes.append(str(one.get("label")))
        size = size_said(each.get("width"), each.get("height"))
        yield each.get("name") or "", f"{file}, image {index + 1}", size, boxes, classes, wrong


def read_many(files: list[Path], found: Annotated) -> dict[str, list[dict[str, Any]]]:
    """Records of files about many images, by split.

    Raises:
        DataError: two of them are about the same image.
    """
    places = ImagePaths(found)
    out: dict[str, list[dict[str, Any]]] = {}
    owner: dict[Path, str] = {}
    for file in files:
        reader = reader_of(file)
        split = found.split_of_table(file.relative_to(found.folder))
        if reader is None or (split is None and found.named_splits):
            continue
        for name, place, size, boxes, classes, wrong in reader(file):
            if not name.strip():
                raise DataError(f"{place}: the name of the image is missing.")
            meant = places.find(file, name, place)
            if len(meant) > 1:
                wrong = f"{json.dumps(name)} may be any of {len(meant)} images"
            image = meant[0] if meant else file.parent / name
            if image in owner:
                raise DataError(f"{owner[image]} and {place} are about the same image, {name}; expected one of them.")
            owner[image] = place
            own = split or (found.split_of(image.relative_to(found.folder)) if found.folder in image.parents else None)
            objects = fit(objects_of(boxes, classes, wrong), size, image, found.fits)
            out.setdefault(own or "train", []).append({"image": str(image), "objects": objects, FILE: place})
    if len(found.files) > len(files):
        unused = len(set(found.list_images()) - set(owner))
        if unused:
            found.notes.append(f"{unused} images are left out: no annotation file names them.")
    return out
