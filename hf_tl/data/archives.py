"""Zip and tar archives, extracted so that nothing leaves the target and nothing half-done looks whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from hf_tl.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MOST_BYTES = 200 * 1024**3
MOST_FILES = 5_000_000
MOST_RATIO = 200
"""Unpacked bytes for each packed one, above the first GiB: a bomb rather than data."""


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def safe_parts(name: str) -> tuple[str, ...] | None:
    """The parts of a member's relative path; None when it would leave the target folder (absolute, `..`, a drive)."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or "\0" in name or any(part == ".." or ":" in part for part in path.parts):
        return None
    parts = tuple(part for part in path.parts if part not in ("", "."))
    return parts or None


def extract(archive: Path, cache: Path) -> Path:
    """Folder with the archive's files, under `cache`, named by the archive's content; done once.

    Raises:
        DataError: not a readable archive, a member that leaves the folder, a link or a device, or far too large.
    """
    digest = hashlib.sha256()
    with archive.open("rb") as packed:
        while block := packed.read(1 << 20):
            digest.update(block)
    target = cache / digest.hexdigest()[:32]
    if target.is_dir():
        return target
    temporary = cache / f".{target.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    allowed = max(1024**3, archive.stat().st_size * MOST_RATIO)
    written, files = 0, 0
    try:
        for name, size, stream in _members(archive):
            parts = safe_parts(name)
            if parts is None:
                raise DataError(
                    f"{archive}: member {name!r} would be written outside the folder; nothing is extracted."
                )
            files += 1
            written += size
            if files > MOST_FILES or written > min(MOST_BYTES, allowed):
                raise DataError(
                    f"{archive}: unpacks to more than {min(MOST_BYTES, allowed):,} bytes; extract it by hand."
                )
            path = temporary.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                shutil.copyfileobj(stream, out)
        try:
            os.replace(temporary, target)
        except OSError:
            if not target.is_dir():  # another process was not faster
                raise
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """(name, size in bytes, content) of each file in the archive."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise DataError(f"{archive}: member {info.filename!r} is a link, which is not extracted.")
                if not info.is_dir():
                    with packed.open(info) as stream:
                        yield info.filename, info.file_size, stream
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isdir():
                continue
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise DataError(f"{archive}: member {member.name!r} is a link or a device, which is not extracted.")
            yield member.name, member.size, content
