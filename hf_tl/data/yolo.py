"""YOLO's annotations: a text file for each image, with a line for each box, polygon or pose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_tl.data.annotations import number_of, objects_of
from hf_tl.errors import DataError, listing, shortened
from hf_tl.io.json_text import read_bytes, read_text
from hf_tl.io.yaml_text import parse_yaml

CLASS_FILES = ("classes.txt", "obj.names", "predefined_classes.txt", "_darknet.labels")
MAX_BYTES = 2_000_000
"""Of a text of boxes of one image: some ten thousand."""
ID = re.compile(r"([0-9]{1,9})(?:\.0*)?")
"""A class; tools that keep tables of numbers write it with a point."""
POSE_FILES = 200
"""Files by which poses are told from polygons."""


@dataclass(frozen=True)
class Yolo:
    """What the files about a folder say."""

    names: dict[int, str] | None = None
    splits: dict[str, list[str]] | None = None
    """Our split -> folders, lists of images or images, as they are written."""
    root: Path | None = None
    """What these are relative to, where that is said."""
    file: Path | None = None
    keypoints: tuple[int, int] | None = None
    """Points of a pose, and numbers of each."""


def read_setup(files: Sequence[Path], given: Path | None = None) -> Yolo:
    """From `data.yaml` (or any yaml with `names` or `train`), `obj.data` or a list of names, one a line.

    Args:
        given: the yaml that counts, where one was given.

    Raises:
        DataError: names that are none.
    """
    names = _listed_names(files)
    for file in [given] if given is not None else files:
        if file.suffix.lower() in (".yaml", ".yml"):
            found = parse_yaml(read_text(file, error=DataError), str(file))
        elif file.suffix.lower() == ".data":
            found = _darknet(file)
        else:
            continue
        if not isinstance(found, dict) or not (isinstance(found.get("names"), (list, dict)) or _entries(found)):
            continue
        own = found.get("names")
        if isinstance(own, (list, dict)):
            names = _named(file, dict(enumerate(own)) if isinstance(own, list) else own)
        shape = found.get("kpt_shape")
        keypoints = None
        if isinstance(shape, list) and len(shape) == 2 and all(isinstance(each, int) and each >= 0 for each in shape):
            keypoints = (shape[0], shape[1])
        root = found.get("path")
        at = (file.parent / root) if isinstance(root, str) and root else None
        return Yolo(names, _entries(found) or None, at, file, keypoints)
    return Yolo(names)


def _entries(found: dict[Any, Any]) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for key, split in (("train", "train"), ("val", "validation"), ("valid", "validation"), ("test", "test")):
        value = found.get(key)
        entries = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        entries = [each for each in entries if isinstance(each, str) and each.strip()]
        if entries:
            out.setdefault(split, []).extend(entries)
    return out


def _darknet(file: Path) -> dict[str, Any]:
    pairs = (line.partition("=") for line in read_text(file, error=DataError).splitlines())
    return {key.strip(): value.strip() for key, mark, value in pairs if mark and key.strip() in ("train", "valid")}


def _listed_names(files: Sequence[Path]) -> dict[int, str] | None:
    for file in files:
        if file.name in CLASS_FILES:
            lines = read_text(file, error=DataError).strip().splitlines()
            return dict(enumerate(line.strip() for line in lines))
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


def splits_said(setup: Yolo, folder: Path, images: Sequence[Path], notes: list[str]) -> dict[Path, str]:
    """Image -> split, as the yaml says by folders, lists of images and images; empty where that says nothing about
    these. Only what lies below the folder is looked at.

    Returns:
        No entry for an image in none of them.
    """
    if setup.splits is None or setup.file is None:
        return {}
    roots = [root for root in (setup.root, setup.file.parent, folder) if root is not None]
    by_name: dict[str, list[Path]] = {}
    for image in images:
        by_name.setdefault(image.name.lower(), []).append(image)
    out: dict[Path, str] = {}
    twice, lost = 0, []
    for split, entries in setup.splits.items():
        for entry in entries:
            found = _meant(entry, roots, folder, images, by_name)
            if not found:
                lost.append(entry)
            for image in found:
                twice += image in out and out[image] != split
                out.setdefault(image, split)
    name = setup.file.name
    if lost:
        notes.append(f"{name} names {listing(lost, most=3)}, where no images of the folder are.")
    if twice:
        notes.append(f"{twice} images are in more than one split of {name}; they are used in the first of them.")
    return out


def _meant(
    entry: str, roots: list[Path], folder: Path, images: Sequence[Path], by_name: dict[str, list[Path]]
) -> list[Path]:
    top = folder.resolve()
    plain = re.sub(r"^(?:\.\.?/)+", "", entry.replace("\\", "/")).strip("/")  # Roboflow: ../train/images
    for place in dict.fromkeys(root / way for root in roots for way in (entry, plain)):
        try:
            real = place.resolve()
            inside = real == top or top in real.parents
            if not inside or not place.exists():
                continue
        except (OSError, ValueError):
            continue
        if place.is_dir():
            found = [image for image in images if real in image.resolve().parents or real == top]
        elif place.suffix.lower() == ".txt":
            lines = read_bytes(place, error=DataError).decode("utf-8-sig", "replace").splitlines()
            found = [image for line in lines if line.strip() for image in _named_image(line.strip(), by_name)]
        else:
            found = _named_image(entry, by_name)
        if found:
            return found
    return []


def _named_image(name: str, by_name: dict[str, list[Path]]) -> list[Path]:
    """The one image of that name of which most of the path is the same; lists are often of another machine."""
    wanted = Path(name.replace("\\", "/")).parts
    found = by_name.get(wanted[-1].lower() if wanted else "", [])

    def shared(path: Path) -> int:
        count = 0
        for one, other in zip(reversed(path.parts), reversed(wanted), strict=False):
            if one.lower() != other.lower():
                break
            count += 1
        return count

    most = max(map(shared, found), default=0)
    best = [path for path in found if shared(path) == most]
    return best if len(best) == 1 else []


def is_yolo(file: Path) -> bool:
    lines = [line.split() for line in lines_of(file) if line.strip()]
    return all(len(parts) >= 5 and ID.fullmatch(parts[0]) for parts in lines)


def lines_of(file: Path) -> list[str]:
    """Of a text that describes one image."""
    return read_bytes(file, error=DataError, most=MAX_BYTES).decode("utf-8-sig", "replace").splitlines()


def pose_numbers(files: Sequence[Path], setup: Yolo) -> int | None:
    """How many numbers follow the class where lines are poses: a box, and then points. None: they are boxes or
    polygons.

    Without `kpt_shape` they are poses where every line is as long, and each third number after the box is a visibility.

    Raises:
        DataError: they may be poses and polygons alike.
    """
    if setup.keypoints is not None:
        count, each = setup.keypoints
        return 4 + count * each if count else None
    lines = [found for file in files[:POSE_FILES] for line in lines_of(file) if (found := _numbers(line)) is not None]
    lengths = {len(line) for line in lines}
    if len(lengths) != 1 or (length := lengths.pop()) <= 8:
        return None  # eight: the corners of a box that is turned
    if (length - 4) % 3 == 0 and all(value in (0, 1, 2) for line in lines for value in line[6::3]):
        return length
    points = [(line, list(zip(line[4::2], line[5::2], strict=False))) for line in lines]
    inside = [all(_holds(line, point) for point in found) for line, found in points if length % 2 == 0]
    if len(lines) > 5 and inside and sum(inside) >= 0.95 * len(lines):
        raise DataError(
            f"{files[0].parent}: every line has {length} numbers after the class, which may be a box with "
            f"{(length - 4) // 2} keypoints or a polygon; say it in data.yaml, kpt_shape: [{(length - 4) // 2}, 2] or "
            "kpt_shape: [0, 2] for polygons."
        )
    return None


def _numbers(line: str) -> list[float] | None:
    values = [number_of(part) for part in line.split()[1:]]
    return [value for value in values if value is not None] if values and None not in values else None


def _holds(line: list[float], point: tuple[float, float]) -> bool:
    x, y, width, height = line[:4]
    right = abs(point[0] - x) <= width / 2 + 0.02 and abs(point[1] - y) <= height / 2 + 0.02
    return right or point == (0, 0)


def read_yolo(file: Path, image: Path, names: dict[int, str] | None, pose: int | None) -> dict[str, Any]:
    """Class, middle, width and height, as shares of the image; a polygon's enclosing box, a pose's own."""
    from hf_tl.data.images import unreadable, upright_size

    if unreadable(image):
        return objects_of([], [])  # said where images are checked
    width, height = upright_size(image)
    boxes, categories = [], []
    for number, line in enumerate(lines_of(file), 1):
        parts, wrong = line.split(), None
        if not parts:
            continue
        values, id = _numbers(line), ID.fullmatch(parts[0])
        if values is None or id is None:
            wrong = f"line {number}: found {shortened(line.strip())}, expected a class and four numbers"
            return objects_of([], [], wrong)
        index = int(id[1])
        if pose is not None and len(values) not in (4, pose):
            return objects_of([], [], f"line {number}: {len(values)} numbers after the class, expected {pose}")
        if len(values) == 4 or pose is not None:
            x, y, w, h = values[:4]
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
