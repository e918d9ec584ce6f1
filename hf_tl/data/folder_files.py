"""The files below a folder that are data: links are followed where the folder is a person's own, what hf_tl itself left
there is not data, and images are known by what they are rather than by their names."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hf_tl.data.images import EXTENSIONS, looks_like_image
from hf_tl.data.named_files import check_plain, unreadable_file
from hf_tl.errors import DataError, listing

JUNK = {".ds_store", "thumbs.db", "desktop.ini", "__macosx", ".git", ".ipynb_checkpoints"}
OTHER = {
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xml", ".yaml", ".yml", ".parquet", ".arrow", ".md", ".html",
    ".py", ".ipynb", ".pdf", ".doc", ".docx", ".xlsx", ".xls", ".zip", ".tar", ".gz", ".tgz", ".mat", ".npy", ".npz",
    ".pkl", ".h5", ".names", ".data", ".cfg", ".toml", ".log", ".rst", ".sh", ".cache", ".safetensors", ".pt", ".pth",
}  # fmt: skip
"""Endings of files that are looked at as images by nobody."""
MOST_TIMES = 4
"""Times that one folder is read by way of links."""
OWN = b"hf_tl preview"
"""What stands at the beginning of an image that `hf-tl preview` wrote."""


@dataclass
class Found:
    """What lies below a folder."""

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def images(self) -> list[Path]:
        return [file for file in self.files if is_image_file(file)]


def is_image_file(file: Path) -> bool:
    """Whether a file is to be read as an image: by its ending, or where that is of no known kind, by its content."""
    ending = file.suffix.lower()
    if ending in EXTENSIONS:
        return True
    return ending not in OTHER and looks_like_image(file)


def files_below(folder: Path, *, own: bool = True) -> Found:
    """Every file that may be data, in order.

    Args:
        own: whether the folder is a person's own, of which linked folders are read.

    Raises:
        DataError: a name that is no text, or something that is no plain file.
    """
    found = Found()
    top = os.path.realpath(folder)
    times: Counter[str] = Counter()
    runs: list[str] = []
    circular: list[str] = []

    def walk(place: Path, chain: tuple[str, ...]) -> None:
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            raise unreadable_file(place, error) from None
        inside = []
        for entry in entries:
            if entry.name.lower() in JUNK or entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                found.files.append(Path(entry.path))
            elif _is_run(entry.path):
                runs.append(entry.name)
            elif not entry.is_symlink():
                inside.append((Path(entry.path), chain))
            elif own:
                real = os.path.realpath(entry.path)
                times[real] += 1
                if _loops(real, (*chain, top)) or times[real] > MOST_TIMES:
                    circular.append(entry.name)
                else:
                    inside.append((Path(entry.path), (*chain, real)))
        for path, way in inside:
            walk(path, way)

    walk(folder, ())
    for file in found.files:
        try:
            str(file).encode()
        except UnicodeEncodeError:
            raise DataError(f"{str(file)!r}: the name is not UTF-8; rename the file.") from None
        check_plain(file)  # before any is opened: a pipe has no end
    found.files = [file for file in found.files if not _is_preview(file)]
    if runs:
        found.notes.append(f"{listing(runs, most=3)}: folders of runs, which are not data, are left out.")
    if circular:
        found.notes.append(
            f"{listing(circular, most=3)}: links to a folder that holds them, or is read at its own place, are not "
            "followed."
        )
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a ring, which are said where files are checked
        return False


def _loops(real: str, chain: tuple[str, ...]) -> bool:
    """Whether a linked folder holds a folder that is being read, or lies in one."""
    return any(real == each or _below(each, real) or _below(real, each) for each in chain)


def _below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_run(folder: str) -> bool:
    """Whether a folder is one that a run wrote."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in ("config.yaml", "state.json"))


def _is_preview(file: Path) -> bool:
    if file.suffix.lower() != ".png":
        return False
    try:
        with file.open("rb") as stream:
            return OWN in stream.read(200)
    except OSError:
        return False


def left_out(files: list[Path], used: set[Path]) -> list[str]:
    """A note on the files of a folder of images that are no images, by kind: a class of which every image is of an
    unknown kind would vanish without a word."""
    kinds = Counter(file.suffix.lower() or "no ending" for file in files if file not in used)
    odd = {kind: count for kind, count in kinds.items() if kind not in OTHER}
    if not odd:
        return []
    said = ", ".join(f"{kind} ({count})" for kind, count in sorted(odd.items(), key=lambda each: (-each[1], each[0])))
    return [f"{sum(odd.values())} files are left out, since they are not images that can be read: {said}."]
