"""Where rows come from: Hub ids, folders of images or tables, files, archives."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, Image, Json, Value

from hf_tl.config import DataConfig
from hf_tl.data import hub_data
from hf_tl.data.archives import extract, is_archive
from hf_tl.data.boxes import read_boxes
from hf_tl.data.card_file import languages_of, license_of
from hf_tl.data.coco import is_coco
from hf_tl.data.formats import OTHERS, is_data_file, is_table_text, read_file, unread
from hf_tl.data.images import EXTENSIONS
from hf_tl.data.joined import joined
from hf_tl.data.named_files import Reach, check_plain, hub_file, is_there, unreadable_file, with_full_paths
from hf_tl.data.saved import rows_of_saved
from hf_tl.data.split_column import by_column
from hf_tl.data.tables import check_density, plain_types
from hf_tl.data.text_folders import read_text_folder
from hf_tl.errors import DataError, HubError, did_you_mean, listing, shortened

SPLITS = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "val", "dev", "devel"),
    "test": ("test", "testing", "tst", "heldout", "held_out"),
}
"""Our split -> the names that people give it."""
JUNK = {".ds_store", "thumbs.db", "desktop.ini", "__macosx", ".git", ".ipynb_checkpoints"}
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
FILE = "__file__"
"""Column with the place of a row (file, and for tables the line) while data is read."""


@dataclass
class Source:
    """Rows as found: original column names, images not decoded, and FILE."""

    splits: dict[str, Dataset]
    metadata: dict[str, Any]
    """`path`, `name`, `revision`, `sha256`."""
    notes: list[str] = field(default_factory=list)


def cache_folder() -> Path:
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("HF_TL_CACHE") or Path(HF_HOME) / "hf_tl") / "data"


def read_source(config: DataConfig) -> Source:
    """Reads `data.path`, split by split.

    Raises:
        DataError: missing, empty or unreadable; in one sentence.
        HubError: the Hub cannot be reached.
    """
    paths = [Path(path).expanduser() for path in config.paths]
    if len(paths) == 1 and not paths[0].exists():
        if _like_hub_id(config.paths[0]):
            try:
                return _from_hub(config)
            except (DataError, HubError) as error:
                near = did_you_mean(paths[0].name, [entry.name for entry in Path().iterdir()])
                if near and "/" not in config.paths[0]:
                    error.args = (f"{error} There is no file {config.paths[0]!r} here{near}",)
                raise
        raise DataError(f"data.path: {config.paths[0]}: there is no such file or folder{_neighbour(paths[0])}")
    for path in paths:
        if not path.exists():
            raise DataError(f"data.path: {path}: there is no such file or folder{_neighbour(path)}")
        if not path.is_dir():
            check_plain(path)
    digest = hashlib.sha256()
    found: dict[str, list[Dataset]] = {}
    notes: list[str] = []
    for path in paths:
        for split, rows in _local(path, config, digest, notes).items():
            found.setdefault(split, []).append(rows)
    splits = {split: joined(split, parts, notes) for split, parts in found.items()}
    splits = by_column(splits, config, split_of, notes)
    metadata: dict[str, Any] = {"path": config.path, "sha256": digest.hexdigest()}
    if len(paths) == 1 and paths[0].is_dir():  # what lies beside a single file may be about something else
        metadata |= {"license": license_of(paths[0]), "language": languages_of(paths[0])}
    return Source(splits, metadata, notes)


def _like_hub_id(text: str) -> bool:
    looks = re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", text) is not None
    return looks and not is_data_file(Path(text)) and not is_archive(Path(text)) and Path(text).suffix not in EXTENSIONS


def _neighbour(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"; there is no folder {parent} either."
    return did_you_mean(path.name, [entry.name for entry in parent.iterdir()]) or "."


def split_of(name: str, config: DataConfig, own_name: str | None = None) -> str | None:
    """The split that a folder or file name says: by `data.splits`, else by usual names as a whole word of it."""
    for ours, given in config.splits.items():
        if given in (name, own_name):
            return ours
    if config.splits:
        return None
    words = re.split(r"[^a-z]+", name.lower())
    for split, names in SPLITS.items():
        if any(word in names for word in words):
            return split
    return None


def _local(path: Path, config: DataConfig, digest: Any, notes: list[str]) -> dict[str, Dataset]:
    if path.is_dir():
        reach = Reach(path)
        out = _folder(path, config, digest, reach)
    elif is_archive(path):
        folder = top = extract(path, cache_folder())
        inside = [entry for entry in folder.iterdir() if entry.name.lower() not in JUNK]
        while len(inside) == 1 and inside[0].is_dir() and split_of(inside[0].name, config) is None:
            folder = inside[0]
            inside = [entry for entry in folder.iterdir() if entry.name.lower() not in JUNK]
        reach = Reach(top, own=False, packed=path.stat().st_size)
        out = _folder(folder, config, digest, reach, shown=path)
    elif is_data_file(path):
        folder = path.parent.parent if path.parent.name.lower() == "annotations" else path.parent
        reach = Reach(folder)
        out = _file(path, folder, config, digest, reach)
    else:
        raise DataError(f"data.path: {path}: {unread(path)}.")
    notes += reach.note()
    return out


def _file(path: Path, folder: Path, config: DataConfig, digest: Any, reach: Reach) -> dict[str, Dataset]:
    split = split_of(path.stem, config, path.name) or "train"
    if is_coco(path):
        _hash(path, digest)
        rows = read_boxes(
            folder,
            [path],
            lambda: _image_files(_files(folder)),
            lambda place: _split_of_path(place, config) or split,
            reach,
        )
        return {each: joined(each, parts, reach.notes) for each, parts in (rows or {}).items()}
    return {split: _table(path, path.parent, config, digest, reach)}


def _files(folder: Path) -> list[Path]:
    out = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name.lower() not in JUNK and not name.startswith("."))
        out += [Path(root) / name for name in sorted(names) if name.lower() not in JUNK and not name.startswith(".")]
    for file in out:
        try:
            str(file).encode()
        except UnicodeEncodeError:
            raise DataError(f"{str(file)!r}: the name is not UTF-8; rename the file.") from None
        check_plain(file)
    return out


def _image_files(files: list[Path]) -> list[Path]:
    return [file for file in files if file.suffix.lower() in EXTENSIONS]


def _folder(
    folder: Path, config: DataConfig, digest: Any, reach: Reach, shown: Path | None = None
) -> dict[str, Dataset]:
    files = _files(folder)
    shown = shown or folder
    if not reach.own:
        for file in filter(is_table_text, files):
            check_density(file, reach.packed)
    files, saved = rows_of_saved(files)
    if not files:
        raise DataError(f"data.path: {shown}: the folder is empty.")
    metadata = [file for file in files if file.name in METADATA]
    images = _image_files(files)
    tables = [file for file in files if is_data_file(file) and file not in metadata]
    out: dict[str, list[Dataset]] = {}
    if metadata:
        for file in metadata:
            split = _split_of_path(file.relative_to(folder), config) or "train"
            rows = _table(file, file.parent, config, digest, reach)
            out.setdefault(split, []).append(rows)
    elif images and (
        boxes := read_boxes(folder, files, lambda: images, lambda path: _split_of_path(path, config), reach)
    ):
        for file in files:
            _hash(file, digest)
        out = boxes
    elif images:
        return _image_folder(folder, images, config, digest, shown)
    elif texts := read_text_folder(folder, tables, lambda name: split_of(name, config)):
        for file in tables:
            _hash(file, digest)
            digest.update(file.relative_to(folder).as_posix().encode())
        out = {split: [rows] for split, rows in texts.items()}
    elif tables:
        named = {file: _split_of_path(file.relative_to(folder), config) for file in tables}
        if config.splits:
            named = {file: split for file, split in named.items() if split}
        alone = set(named) <= saved and len({file.parent for file in named}) == 1
        if len(named) > 1 and not all(named.values()) and not alone:
            unknown = [(file.parent if file in saved else file).name for file, split in named.items() if not split]
            raise DataError(
                f"data.path: {shown} holds {listing(sorted(file.name for file in named))}; which split is "
                f"{listing(unknown)}? Name it with data.splits.train={unknown[0]}, or give the files one by one."
            )
        for file, found in named.items():
            rows = _table(file, file.parent, config, digest, reach)
            out.setdefault(found or "train", []).append(rows)
    else:
        kinds = sorted({file.suffix or file.name for file in files})
        other = next((f" {file.name} is {unread(file)}." for file in files if file.suffix.lower() in OTHERS), "")
        raise DataError(f"data.path: {shown} holds no images or tables, only {listing(kinds)}.{other}")
    _check_splits(config, out, shown)
    return {split: joined(split, parts, reach.notes) for split, parts in out.items()}


def _split_of_path(path: Path, config: DataConfig) -> str | None:
    """The split said by the file's name, else by its nearest folder that says one."""
    for name, own in ((path.stem, path.name), *((parent.name, parent.as_posix()) for parent in path.parents)):
        split = split_of(name, config, own)
        if split:
            return split
    return None


def _check_splits(config: DataConfig, found: Any, shown: Path) -> None:
    for split, name in config.splits.items():
        if split not in found:
            raise DataError(f"data.splits.{split}: {shown} has no {name!r}.")


def _table(file: Path, beside: Path, config: DataConfig, digest: Any, reach: Reach) -> Dataset:
    _hash(file, digest)
    table = read_file(file, config, cache_folder(), None if reach.own else reach.packed)
    reach.notes += [f"{file.name}: {note}" for note in table.notes]
    rows = _undecoded(table.rows).add_column(FILE, [f"{file}, {place}" for place in table.places])
    rows = with_full_paths(rows, FILE, lambda name, place, what: reach.find(name, beside, place, what))
    return _with_images(rows, beside, reach)


def _with_images(rows: Dataset, beside: Path, reach: Reach) -> Dataset:
    """Columns of image file names become images, looked up beside the table. A column `file_name` or
    `..._file_name` may leave some out, which are missing images then."""
    for name in list(rows.column_names):
        feature = rows.features[name]
        if name == FILE or not isinstance(feature, Value) or feature.dtype not in ("string", "large_string"):
            continue
        first = rows[:50][name]
        texts = [value for value in first if value is not None]
        gaps = name.lower().endswith("file_name")
        if (len(texts) < len(first) and not gaps) or not texts:
            continue
        if all(Path(value).suffix.lower() in EXTENSIONS for value in texts):
            column: list[str | None] = []
            for value, place in zip(rows[name], rows[FILE], strict=True):
                if not value and gaps:
                    column.append(None)
                    continue
                path = reach.find(value or "", beside, place, f"column {name!r}")
                if not is_there(path):
                    raise DataError(f"{place}: column {name!r} names {shortened(value or '')}, which is not there.")
                column.append(str(path))
            rows = rows.remove_columns(name).add_column(name, column)
            rows = rows.cast_column(name, Image(decode=False))
    return rows


def _image_folder(folder: Path, images: list[Path], config: DataConfig, digest: Any, shown: Path) -> dict[str, Dataset]:
    """`[split/]class/image`: the class is the folder that an image lies in."""
    out: dict[str, dict[str, list[Any]]] = {}
    for file in images:
        _hash(file, digest)
        digest.update(file.relative_to(folder).as_posix().encode())
        parts = file.relative_to(folder).parts[:-1]
        split = split_of(parts[0], config) if parts else None
        rest = parts[1:] if split else parts
        if config.splits and not split:
            continue
        rows = out.setdefault(split or "train", {"image": [], "label": [], FILE: []})
        rows["image"].append(str(file))
        rows["label"].append("/".join(rest))
        rows[FILE].append(str(file))
    named = {split_of(path.name, config) for path in folder.iterdir() if path.is_dir()}
    if None in named and named - {None}:
        odd = [path.name for path in folder.iterdir() if path.is_dir() and split_of(path.name, config) is None]
        odd = [name for name in odd if not name.startswith(".") and name.lower() not in JUNK]
        if odd and not config.splits:
            raise DataError(
                f"data.path: {shown} mixes split folders with {listing(sorted(odd))}; name the splits with data.splits."
            )
    _check_splits(config, out, shown)
    unlabelled = [rows[FILE][rows["label"].index("")] for rows in out.values() if "" in rows["label"]]
    if any(name for rows in out.values() for name in rows["label"]):
        if unlabelled:
            raise DataError(f"{unlabelled[0]}: {no_class(shown)}")
    else:  # images without classes
        for rows in out.values():
            del rows["label"]
    return {split: Dataset.from_dict(rows).cast_column("image", Image(decode=False)) for split, rows in out.items()}


def no_class(folder: object) -> str:
    return (
        f"lies in no class folder; expected {folder}/CLASS/image or {folder}/train/CLASS/image, or a "
        "metadata.jsonl beside the images."
    )


def _hash(file: Path, digest: Any) -> None:
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise unreadable_file(file, error) from None


def _from_hub(config: DataConfig) -> Source:
    """A dataset of the Hub."""
    id = config.paths[0]
    found = hub_data.read(id, config.name, config.revision)
    loaded, notes = found.rows, found.notes
    splits: dict[str, Dataset] = {}
    for own, rows in loaded.items():
        split = split_of(str(own), config)
        if split and split not in splits:
            splits[split] = _hub_rows(rows, id, str(own))
        elif config.splits or len(loaded) > 1:
            notes.append(f"Split {own!r} of {id} is not used.")
        else:
            splits["train"] = _hub_rows(rows, id, str(own))
    for split, name in config.splits.items():
        if split not in splits:
            hint = did_you_mean(name, loaded) or f"; it has {listing(loaded)}."
            raise DataError(f"data.splits.{split}: {id} has no split {name!r}{hint}")
    metadata = {**found.metadata, "fingerprint": {str(own): rows._fingerprint for own, rows in loaded.items()}}
    return Source(by_column(splits, config, split_of, notes), metadata, notes)


def _hub_rows(rows: Dataset, id: str, split: str) -> Dataset:
    if FILE in rows.column_names:
        raise DataError(f"data.path: {id} has a column {FILE!r}, which hf_tl keeps for itself.")
    rows = plain_types(_undecoded(rows)).add_column(FILE, [f"{id} {split}, row {index}" for index in range(len(rows))])
    return with_full_paths(rows, FILE, lambda name, place, what: hub_file(name, id, place, what))


def _undecoded(rows: Dataset) -> Dataset:
    """Rows of which reading one opens no file, wherever in a column it is named."""
    for name, feature in rows.features.items():
        plain = _as_written(feature)
        if plain is not feature:
            rows = rows.cast_column(name, plain)
    return rows


def _as_written(feature: Any) -> Any:
    """A feature whose images are kept as they are written; the same where it has none."""
    if isinstance(feature, dict):
        inner = {key: _as_written(each) for key, each in feature.items()}
        return inner if any(inner[key] is not each for key, each in feature.items()) else feature
    if isinstance(feature, (list, tuple)):
        inside = [_as_written(each) for each in feature]
        return inside if any(a is not b for a, b in zip(inside, feature, strict=True)) else feature
    if getattr(feature, "decode", None) is True and not isinstance(feature, Json):
        return dataclasses.replace(feature, decode=False)
    if hasattr(feature, "feature"):
        inner = _as_written(feature.feature)
        return feature if inner is feature.feature else dataclasses.replace(feature, feature=inner)
    return feature
