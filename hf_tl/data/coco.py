"""Annotation files of COCO's kind: one JSON object with images, annotations and categories."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_tl.data.annotations import FILE, WRONG, Annotated, finite, fit, objects_of, size_said
from hf_tl.data.named_files import is_there
from hf_tl.data.tables import MAX_JSON
from hf_tl.errors import DataError, listing
from hf_tl.io.json_text import read_json

PARTS = ("images", "annotations", "categories")


def is_coco(file: Path) -> bool:
    """Whether a json file is an annotation file of COCO's kind."""
    if file.suffix.lower() != ".json":
        return False
    try:
        found = read_json(file, error=DataError, nan=True, most=MAX_JSON)
    except DataError:  # said where it is read as a table
        return False
    return isinstance(found, dict) and set(PARTS) <= set(found)


class ImagePaths:
    """Where the images are that annotation files name."""

    def __init__(self, found: Annotated) -> None:
        self.folder, self.images, self.reach = found.folder, found.list_images, found.reach
        self.split_of, self.split_of_table = found.split_of, found.split_of_table

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        """Name in lower case -> images."""
        out: dict[str, list[Path]] = {}
        for image in self.images():
            out.setdefault(image.name.lower(), []).append(image)
        return out

    def find(self, file: Path, name: str, place: str) -> list[Path]:
        """The images that `file` may mean by `name`: where it says, else of the most of that path, of its split, and
        nearest to it.

        Raises:
            DataError: it names what it may not.
        """
        said = self.reach.locate(name, file.parent, place, "file_name")
        wanted = Path(name.replace("\\", "/"))
        for beside in dict.fromkeys((said, file.parent / wanted)):
            if is_there(beside):
                return [beside]
        found = self._by_name.get(wanted.name.lower(), [])
        found = [path for path in found if path.name == wanted.name] or found
        split = self.split_of_table(file.relative_to(self.folder))
        for fits in (
            lambda path: path.parts[-len(wanted.parts) :] == wanted.parts,
            lambda path: self.split_of(path.relative_to(self.folder)) == split,
        ):
            found = [path for path in found if fits(path)] or found
        apart = {path: len(set(path.parts) ^ set(file.parts)) for path in found}
        return [path for path in found if apart[path] == min(apart.values())]


def read_coco(file: Path, paths: ImagePaths, fits: Counter[str]) -> list[dict[str, Any]]:
    """Records of a COCO file, one an image; category ids may be sparse and begin anywhere, since names are what counts.

    Raises:
        DataError: it has no images, or a part of it is not built as COCO's are; what is wrong with the box of a single
            annotation is kept under WRONG.
    """
    found = read_json(file, error=DataError, nan=True, most=MAX_JSON)
    names = _categories(file, found["categories"])
    known = _images(file, found["images"], paths)
    if not known:
        raise DataError(f"{file}: has no images.")
    for index, each in _objects(file, "annotations", found["annotations"]):
        place = f"{file}, annotations[{index}]"
        if each.get("iscrowd"):
            continue  # a region of many things, which is no thing to find
        image, category = _as_id(each.get("image_id")), _as_id(each.get("category_id"))
        if image not in known:
            where = f"{place} (image_id {_shown(each, 'image_id')} is none of the file's images)"
            image = f"of annotation {index}" if image is None else image
            known[image] = {"image": None, "objects": objects_of([], []), FILE: where}
        objects, box = known[image]["objects"], each.get("bbox")
        values = finite(box) if isinstance(box, list) and len(box) == 4 else None
        wrong = None
        if category not in names:
            wrong = f"category_id {_shown(each, 'category_id')} is none of the file's categories"
        elif values is None:
            wrong = f"bbox is {_shown(each, 'bbox')}, expected four numbers"
        if wrong or values is None:
            objects[WRONG] = objects[WRONG] or f"annotations[{index}]: {wrong}"
            continue
        objects["bbox"].append(values)
        objects["category"].append(names[category])
    for each in known.values():
        if each["image"]:
            each["objects"] = fit(each["objects"], each.pop("size", None), Path(each["image"]), fits)
    return list(known.values())


def _categories(file: Path, given: Any) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for index, each in _objects(file, "categories", given):
        place = f"{file}, categories[{index}]"
        id, name = _id(place, each, "id"), each.get("name")
        if isinstance(name, bool) or not isinstance(name, (str, int)) or not str(name).strip():
            raise DataError(f"{place}: name is {_shown(each, 'name')}, expected a text.")
        if names.setdefault(id, str(name)) != str(name):
            raise DataError(f"{place}: id {id!r} is that of {names[id]!r} already.")
    return names


def _images(file: Path, given: Any, paths: ImagePaths) -> dict[Any, dict[str, Any]]:
    known: dict[Any, dict[str, Any]] = {}
    for index, each in _objects(file, "images", given):
        place = f"{file}, images[{index}]"
        id, name = _id(place, each, "id"), each.get("file_name")
        if not isinstance(name, str) or not name.strip():
            raise DataError(f"{place}: file_name is {_shown(each, 'file_name')}, expected the name of an image.")
        if id in known:
            raise DataError(f"{place}: id {id!r} stands twice among the images.")
        places = paths.find(file, name, place)
        wrong = f"file_name {name!r} may be {listing(map(str, places))}" if len(places) > 1 else None
        known[id] = {
            "image": str(places[0] if places else file.parent / name),  # one that is not there cannot be read
            "objects": objects_of([], [], wrong),
            FILE: f"{place} ({Path(name).name})",
            "size": size_said(each.get("width"), each.get("height")),
        }
    return known


def _objects(file: Path, part: str, given: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """(index, object) of a part of the file."""
    if not isinstance(given, list):
        raise DataError(f"{file}: {part} is {_kind(given)}, expected a list of objects.")
    for index, each in enumerate(given):
        if not isinstance(each, dict):
            raise DataError(f"{file}, {part}[{index}]: found {_kind(each)}, expected an object.")
        yield index, each


def _id(place: str, each: dict[str, Any], key: str) -> int | str:
    found = _as_id(each.get(key))
    if found is None:
        raise DataError(f"{place}: {key} is {_shown(each, key)}, expected a whole number.")
    return found


def _as_id(value: Any) -> int | str | None:
    """An id, a whole number or a text; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _shown(each: dict[str, Any], key: str) -> str:
    """A value as a sentence quotes it."""
    if key not in each:
        return "missing"
    text = json.dumps(each[key], ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")
