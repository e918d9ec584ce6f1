"""Rows of what lies on this machine: folders of images or tables, files, archives."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset

from hf_tl.config import DataConfig
from hf_tl.data import foreign
from hf_tl.data.annotations import FILE, Annotated
from hf_tl.data.archives import extract, is_archive
from hf_tl.data.boxes import read_boxes
from hf_tl.data.coco import is_coco
from hf_tl.data.folder_files import JUNK, Found, files_below, left_out
from hf_tl.data.formats import OTHERS, is_data_file, is_table_text, read_file, unread
from hf_tl.data.image_folders import Layout, as_rows, check_classes, check_unlabelled, layout_of
from hf_tl.data.joined import joined
from hf_tl.data.mask_folders import pairs_of, read_masks
from hf_tl.data.more_boxes import reader_of
from hf_tl.data.named_files import Reach, unreadable_file, with_full_paths
from hf_tl.data.named_images import Beside, named_by, naming_columns, with_images
from hf_tl.data.saved import rows_of_saved
from hf_tl.data.split_names import is_plain_split, split_of, split_of_folders, split_of_path
from hf_tl.data.tables import check_density
from hf_tl.data.text_folders import read_text_folder
from hf_tl.data.undecoded import undecoded
from hf_tl.data.yolo import read_setup
from hf_tl.errors import DataError, listing

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
MANY = 20
"""More tables than this beside images are something else: one an image."""
MASK, OBJECTS = "mask", "objects"
"""Roles of what a folder may hold of the same images."""


@dataclass
class Reading:
    """What reading local data takes along."""

    config: DataConfig
    digest: Any
    """Of hashlib: everything that is read."""
    cache: Path
    """Where archives are unpacked."""
    task: str | None = None
    """The one that was given."""
    roles: frozenset[str] | None = None
    """What it reads: a folder may have masks and boxes of the same images."""
    notes: list[str] = field(default_factory=list)

    def hash(self, file: Path, place: str = "") -> None:
        try:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    self.digest.update(block)
        except OSError as error:
            raise unreadable_file(file, error) from None
        self.digest.update(place.encode())


def read_local(path: Path, reading: Reading) -> dict[str, Dataset]:
    """The rows of a folder, file or archive by split.

    Raises:
        DataError: empty, unreadable, or of no known kind.
    """
    if path.is_dir():
        reach = Reach(path)
        out = _folder(path, reading, reach)
    elif is_archive(path):
        folder = top = extract(path, reading.cache)
        inside = [entry for entry in folder.iterdir() if entry.name.lower() not in JUNK]
        while len(inside) == 1 and inside[0].is_dir() and split_of(inside[0].name, reading.config) is None:
            folder = inside[0]
            inside = [entry for entry in folder.iterdir() if entry.name.lower() not in JUNK]
        reach = Reach(top, own=False, packed=path.stat().st_size)
        out = _folder(folder, reading, reach, shown=path)
    elif is_data_file(path) or reader_of(path) is not None:
        folder = path.parent.parent if path.parent.name.lower() == "annotations" else path.parent
        reach = Reach(folder)
        out = _file(path, folder, reading, reach)
    elif path.suffix.lower() in (".yaml", ".yml"):
        reach = Reach(_yolo_root(path))
        out = _folder(reach.folder, reading, reach, setup=path)
    else:
        raise DataError(f"data.path: {path}: {unread(path)}.")
    reading.notes += reach.note()
    return out


def _yolo_root(file: Path) -> Path:
    """The folder that a YOLO yaml is about."""
    setup = read_setup([file], file)
    if setup.splits is None:
        raise DataError(f"data.path: {file}: {unread(file)}.")
    return setup.root if setup.root is not None and setup.root.is_dir() else file.parent


def _file(path: Path, folder: Path, reading: Reading, reach: Reach) -> dict[str, Dataset]:
    config = reading.config
    split = split_of(path.stem, config, path.name) or "train"
    if is_coco(path) or reader_of(path) is not None:
        reading.hash(path)
        annotated = Annotated(
            folder,
            [path],
            lambda: files_below(folder).images,
            lambda place: split_of_folders(place, config),
            lambda place: split_of_path(place, config) or split,
            reach,
            notes=reading.notes,
        )
        out = read_boxes(annotated) or {}
        _hash_named(out.values(), reading)
        return out
    return {split: _table(path, reading, reach, Beside.of_table(path))}


def _folder(
    folder: Path, reading: Reading, reach: Reach, shown: Path | None = None, setup: Path | None = None
) -> dict[str, Dataset]:
    found = files_below(folder, own=reach.own)
    shown = shown or folder
    if not reach.own:
        for file in filter(is_table_text, found.files):
            check_density(file, reach.packed)
    found.files, saved = rows_of_saved(found.files)
    if not found.files:
        raise DataError(f"data.path: {shown}: the folder is empty.")
    reading.notes += found.notes
    images, tables = found.images, _tables_of(found)
    out = _described(folder, found, images, reading, reach, shown, setup)
    if out is None and images:
        out = _of_images(folder, found, images, reading, reach, shown)
    elif out is None and (texts := read_text_folder(folder, tables, lambda name: split_of(name, reading.config))):
        for file in tables:
            reading.hash(file, file.relative_to(folder).as_posix())
        out = texts
    elif out is None:
        if not tables:
            kinds = sorted({file.suffix or file.name for file in found.files})
            other = next((f" {file.name} is {unread(file)}." for file in found.files if _is_other(file)), "")
            raise DataError(f"data.path: {shown} holds no images or tables, only {listing(kinds)}.{other}")
        out = _tables(folder, tables, reading, reach, shown, Beside(lambda: []), saved)
    for split, name in reading.config.splits.items():
        if split not in out:
            raise DataError(f"data.splits.{split}: {shown} has no {name!r}.")
    return out


def _is_other(file: Path) -> bool:
    return file.suffix.lower() in OTHERS


def _described(
    folder: Path, found: Found, images: list[Path], reading: Reading, reach: Reach, shown: Path, setup: Path | None
) -> dict[str, Dataset] | None:
    """Rows of images that metadata, annotations of boxes or masks are about; None where there are none of these."""
    config = reading.config
    metadata = [file for file in found.files if file.name in METADATA]
    if metadata and setup is None:
        parts: dict[str, list[Dataset]] = {}
        for file in metadata:
            split = split_of_path(file.relative_to(folder), config) or "train"
            parts.setdefault(split, []).append(_table(file, reading, reach, Beside(lambda: images)))
        _say_unnamed(images, [rows for found_rows in parts.values() for rows in found_rows], "metadata", reading)
        return {split: joined(split, rows, reading.notes) for split, rows in parts.items()}
    if not images:
        return None

    def boxes() -> dict[str, Dataset] | None:
        annotated = Annotated(
            folder, found.files, lambda: images,
            lambda place: split_of_folders(place, config), lambda place: split_of_path(place, config),
            reach, bool(config.splits), reading.notes,
        )  # fmt: skip
        return read_boxes(annotated, setup)

    def masks() -> dict[str, Dataset] | None:
        return read_masks(folder, found.files, images, config, reading.notes)

    ways: list[Callable[[], dict[str, Dataset] | None]] = [boxes, masks]
    if reading.roles is not None and MASK in reading.roles and setup is None:
        ways = [masks, boxes]
    elif reading.roles is not None or setup is not None:
        ways = [boxes]
    out = next((rows for way in ways if (rows := way()) is not None), None)
    if out is not None and MASK in (reading.roles or ()) and MASK not in next(iter(out.values())).column_names:
        raise DataError(
            f"data.path: {shown} holds annotations of objects, and {reading.task} reads masks: PNG files with a class "
            "for each pixel, in a folder masks/ beside images/. Export masks from the tool that annotated (LabelMe: "
            "labelme2voc; CVAT: Segmentation mask), or choose a task that reads objects."
        )
    if out is not None:
        for file in found.files:
            reading.hash(file, file.relative_to(folder).as_posix())
        _say_left_out(found, images, reading)
    return out


def _of_images(
    folder: Path, found: Found, images: list[Path], reading: Reading, reach: Reach, shown: Path
) -> dict[str, Dataset]:
    """Classes by folders, or by a table that names the images."""
    if MASK not in (reading.roles or {MASK}) and (pairs := pairs_of(folder, images)) is not None:
        masks = {mask for _, mask in pairs.found}
        images = [image for image in images if image not in masks]
        reading.notes.append(f"{len(masks)} masks beside their images are left out: {reading.task} reads none.")
    naming = _naming_tables(_tables_of(found), images, reading, reach)
    error = layout = None
    try:
        layout = layout_of(folder, images, reading.config, shown)
        check_classes({name for rows in layout.splits.values() for name, _ in rows if name}, shown)
    except DataError as wrong:
        error = wrong
    splitting = {file: rows for file, rows in naming.items() if _says_splits(rows, reading.config)}
    if splitting and not reading.config.splits and layout is not None and len(layout.splits) == 1:
        naming, layout = splitting, None  # classes by folders are in the table as well, their splits in it alone
    if naming and (error is not None or layout is None or not layout.has_classes):
        return _by_tables(folder, naming, images, reading, reach, shown)
    if (error is not None or not (layout and layout.has_classes)) and (said := foreign.named(found.files)):
        raise DataError(said)
    if error is not None:
        raise error
    assert layout is not None
    check_unlabelled(layout, shown)
    for file, rows in naming.items():
        _check_agrees(file, rows, layout, Beside(lambda: images), reading.notes)
    reading.notes += layout.notes
    for split, each in layout.splits.items():
        for name, file in each:
            reading.hash(file, f"{split}/{name}/{file.name}")
    _say_left_out(found, found.images, reading)
    return as_rows(layout)


def _say_left_out(found: Found, images: Sequence[Path], reading: Reading) -> None:
    reading.notes += left_out(found.files, set(images))


def _naming_tables(tables: Iterable[Path], images: list[Path], reading: Reading, reach: Reach) -> dict[Path, Dataset]:
    """The tables beside images that name them, with their rows; what cannot be read as one is none."""
    beside, out = Beside(lambda: images), {}
    chosen = [file for file in tables if file.suffix.lower() != ".txt"]  # texts beside images are captions
    for file in chosen if len(chosen) <= MANY else ():
        try:
            rows = read_file(file, reading.config, reading.cache, None if reach.own else reach.packed).rows
        except DataError:
            continue
        for column in naming_columns(rows, beside, file.parent):
            sample = [str(value) for value in rows[:50][column] if value is not None and str(value).strip()]
            if sample and sum(bool(beside.find(value, file.parent)) for value in sample) >= 0.9 * len(sample):
                out[file] = rows
                break
    return out


def _says_splits(rows: Dataset, config: DataConfig) -> bool:
    """Whether a column says the split of each row."""
    for column in rows.column_names:
        values = {str(value) for value in rows.with_format(None)[column] if value is not None}
        if 1 < len(values) < 6 and all(is_plain_split(value, config) for value in values):
            return True
    return False


def _by_tables(
    folder: Path, naming: Mapping[Path, Any], images: list[Path], reading: Reading, reach: Reach, shown: Path
) -> dict[str, Dataset]:
    drop = [file for file in naming if "submission" in file.stem.lower()]
    tables = [file for file in naming if file not in drop] or list(naming)
    out = _tables(folder, tables, reading, reach, shown, Beside(lambda: images))
    reading.notes.append(f"The images are named by {listing(file.name for file in tables)}.")
    _say_unnamed(images, out.values(), listing(file.name for file in tables), reading)
    return out


def _say_unnamed(images: list[Path], parts: Iterable[Dataset], name: str, reading: Reading) -> None:
    used = {os.path.normpath(path) for rows in parts for path in named_by(rows)}
    unused = sum(os.path.normpath(image) not in used for image in images)
    if unused:
        reading.notes.append(f"{unused} images are left out: {name} names none of them.")


def _check_agrees(file: Path, rows: Dataset, layout: Layout, beside: Beside, notes: list[str]) -> None:
    """Raises DataError where a table beside folders of classes names the images, and none of its columns says the
    classes that the folders do."""
    classes = {image: name for found in layout.splits.values() for name, image in found}
    column = naming_columns(rows, beside, file.parent)[0]
    named = [beside.find(str(value), file.parent) for value in rows[column]]
    known = {index: classes[found[0]] for index, found in enumerate(named) if len(found) == 1 and found[0] in classes}
    for other in rows.column_names:
        values = rows.with_format(None)[other] if other != column else []
        if values and known and all(str(values[index]).strip() == name for index, name in known.items()):
            notes.append(f"The classes are the folders; {file.name} says the same and is not read.")
            return
    raise DataError(
        f"{file}: names the images, and the folders that they lie in would be their classes "
        f"({listing(sorted(set(known.values())), most=3)}). Which is meant? Give the table itself as data.path, or "
        "move it away."
    )


def _tables_of(found: Found) -> list[Path]:
    return [file for file in found.files if is_data_file(file) and file.name not in METADATA]


def _tables(
    folder: Path,
    tables: list[Path],
    reading: Reading,
    reach: Reach,
    shown: Path,
    beside: Beside,
    saved: Collection[Path] = (),
) -> dict[str, Dataset]:
    """Rows of tables by split; `saved` are those of datasets that were saved."""
    config = reading.config
    named = {file: split_of_path(file.relative_to(folder), config) for file in tables}
    if config.splits:
        named = {file: split for file, split in named.items() if split}
    alone = set(named) <= set(saved) and len({file.parent for file in named}) == 1
    if len(named) > 1 and not all(named.values()) and not alone:
        unknown = [(file.parent if file in saved else file).name for file, split in named.items() if not split]
        raise DataError(
            f"data.path: {shown} holds {listing(sorted(file.name for file in named))}; which split is "
            f"{listing(unknown)}? Name it with data.splits.train={unknown[0]}, or give the files one by one."
        )
    out: dict[str, list[Dataset]] = {}
    for file, split in named.items():
        out.setdefault(split or "train", []).append(_table(file, reading, reach, beside))
    return {split: joined(split, parts, reading.notes) for split, parts in out.items()}


def _table(file: Path, reading: Reading, reach: Reach, beside: Beside) -> Dataset:
    reading.hash(file)
    table = read_file(file, reading.config, reading.cache, None if reach.own else reach.packed)
    reading.notes += [f"{file.name}: {note}" for note in table.notes]
    rows = undecoded(table.rows).add_column(FILE, [f"{file}, {place}" for place in table.places])
    rows = with_full_paths(rows, FILE, lambda name, place, what: reach.locate(name, file.parent, place, what))
    rows = with_images(rows, file, reach, beside, reading.config)
    _hash_named([rows], reading)
    return rows


def _hash_named(parts: Iterable[Dataset], reading: Reading) -> None:
    """Images that are named are data as well: what was made of them is not to be used once they are others."""
    for rows in parts:
        for file in named_by(rows):
            if file.is_file():
                reading.hash(file)
