"""Zip and tar archives, extracted so that nothing leaves the target and nothing half-done looks whole."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from hf_tl.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_BYTES = 200 * 1024**3
FREE_BYTES = 64 * 1024**2
MAX_RATIO = 200
"""Unpacked bytes for each packed one, above FREE_BYTES: a bomb rather than data."""
FREE_FILES, BYTES_A_FILE = 20_000, 64
"""Members that an archive may have, and one more for so many of its bytes: a member takes more than that."""
MAX_HEADER = 256 * 1024
"""Bytes of what stands before a member of a tar: long names, a map of holes. It is held in memory."""
MAX_DIRECTORY = 512 * 1024**2
"""Bytes of the list of members at the end of a zip."""
MAX_NAME, MAX_PARTS = 1000, 64
"""Characters of a member's path, and folders in it."""
MAX_DICTIONARY = 256 * 1024**2
"""Bytes of memory for the decoder of xz, whose dictionary is as large as its file says."""
BLOCK = 1 << 16
KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How members of a zip may be packed; others are rare, and unpack as much at once as their file says."""
DIGITS = re.compile(rb"[0-9]{200}")
"""In a header, what takes the tarfile of some Pythons the square of its length to read (CVE-2024-6232)."""
BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, RuntimeError, ValueError,
    OverflowError, struct.error, IndexError, KeyError,
)  # fmt: skip
"""What is raised at archives that are not as their format says; RuntimeError has NotImplementedError and RecursionError
below it, and comes where a member is encrypted."""


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
    limits = _Limits(archive)
    try:
        for name, size, stream in _members(archive, limits):
            limits.add(name, size)
            path = temporary.joinpath(*_checked_parts(archive, name))
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                while block := stream.read(BLOCK):
                    out.write(block)
        try:
            os.replace(temporary, target)
        except OSError:
            if not target.is_dir():  # another process was not faster
                raise
    except BROKEN as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        said = next(iter(text.splitlines()), "") or type(error).__name__
        raise DataError(f"{archive}: cannot be unpacked ({said}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def unpack(path: Path, cache: Path, name: str, size: int) -> Path:
    """The file `name` under `cache` that a compressed file (gz, bz2, xz, zst) holds; done once.

    Args:
        size: bytes by which is judged how much it may hold.

    Raises:
        DataError: not compressed as its ending says, or far too large.
    """
    digest = hashlib.sha256()
    with path.open("rb") as packed:
        while block := packed.read(1 << 20):
            digest.update(block)
    target = cache / f"{digest.hexdigest()[:32]}-file" / name
    if target.is_file():
        return target
    temporary = cache / f".{target.parent.name}.{os.getpid()}"
    limits = _Limits(path, size)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as packed, temporary.open("wb") as out:
            stream = _decompressed(path, packed)
            while block := stream.read(BLOCK):
                limits.add(name, len(block), count=0)
                out.write(block)
        os.replace(temporary, target)
    except (*BROKEN, pa.ArrowException) as error:
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"{path}: cannot be unpacked ({said}).") from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _decompressed(path: Path, packed: IO[bytes]) -> Any:
    ending = path.suffix.lower()
    if ending == ".zst":
        return pa.CompressedInputStream(packed, "zstd")
    if ending == ".gz":
        return gzip.GzipFile(fileobj=packed)
    return bz2.BZ2File(packed) if ending == ".bz2" else _Xz(packed)


def _checked_parts(archive: Path, name: str) -> tuple[str, ...]:
    parts = safe_parts(name)
    if parts is None:
        raise DataError(f"{archive}: member {name[:200]!r} would be written outside the folder; nothing is extracted.")
    if len(name) > MAX_NAME or len(parts) > MAX_PARTS:
        raise DataError(
            f"{archive}: member {name[:60]!r}... has a path of {len(name)} characters and {len(parts)} parts, "
            f"expected at most {MAX_NAME} and {MAX_PARTS}."
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{archive}: the name of member {name[:200]!r} is not UTF-8; rename it.") from None
    return parts


class _Limits:
    """What an archive may unpack to, by its size; asked before a member is written."""

    def __init__(self, archive: Path, size: int | None = None) -> None:
        size = archive.stat().st_size if size is None else size
        self.archive = archive
        self.bytes = min(MAX_BYTES, max(FREE_BYTES, size * MAX_RATIO))
        self.files = FREE_FILES + size // BYTES_A_FILE
        self.written = self.count = 0

    def add(self, name: str, size: int, count: int = 1) -> None:
        self.count += count
        self.written += max(0, size)
        if self.count > self.files:
            raise DataError(f"{self.archive}: has more than {self.files:,} members, too many for its size.")
        if size < 0 or self.written > self.bytes:
            raise DataError(f"{self.archive}: unpacks to more than {self.bytes:,} bytes; extract it by hand.")


class _Held(io.RawIOBase):
    """A file of which single reads are bounded, so that nothing takes memory because a header says so.

    `left` is what may still be read, None for no limit on the sum.
    """

    def __init__(self, inner: Any, most: int) -> None:
        self.inner, self.most = inner, most
        self.left: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        everything = size is None or size < 0
        wanted = self.most + 1 if everything or size is None else size
        if wanted > self.most and not everything:
            raise ValueError(f"a header says that it is longer than {self.most:,} bytes")
        found: bytes = self.inner.read(wanted)
        if len(found) > self.most:
            raise ValueError(f"more than {self.most:,} bytes where a header should be")
        if self.left is not None:
            self.left -= len(found)
            if self.left < 0 or DIGITS.search(found):
                raise ValueError("the headers of a member are too long")
        return found

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self.inner.seekable())

    def seek(self, *where: Any) -> int:
        return int(self.inner.seek(*where))

    def tell(self) -> int:
        return int(self.inner.tell())


class _Xz(io.RawIOBase):
    """An xz file unpacked, with a limit on the memory of its decoder."""

    def __init__(self, inner: IO[bytes]) -> None:
        self.inner, self.decoder = inner, self._new()

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(memlimit=MAX_DICTIONARY)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes, none at the end."""
        while True:
            if self.decoder.eof:  # files may be several, one after the other
                rest = self.decoder.unused_data or self.inner.read(BLOCK)
                if not rest.strip(b"\0"):
                    return b""
                self.decoder = self._new()
            else:
                rest = self.inner.read(BLOCK) if self.decoder.needs_input else b""
                if self.decoder.needs_input and not rest:
                    raise EOFError("the file ends in the middle")
            if found := self.decoder.decompress(rest, BLOCK if size is None or size < 0 else size):
                return found


def _members(archive: Path, limits: _Limits) -> Iterator[tuple[str, int, IO[bytes]]]:
    """(name, size in bytes, content) of each file in the archive."""
    with archive.open("rb") as stream:
        if archive.name.lower().endswith(".zip"):
            yield from _in_zip(archive, stream, limits)
        else:
            yield from _in_tar(archive, _unpacked(stream), limits)


def _in_zip(archive: Path, stream: IO[bytes], limits: _Limits) -> Iterator[tuple[str, int, IO[bytes]]]:
    # a member takes 46 bytes of the directory, and some hundred of memory
    most = min(MAX_DIRECTORY, 100 * limits.files)
    held: Any = _Held(stream, max(most, BLOCK))
    with zipfile.ZipFile(held) as packed:
        members = [info for info in packed.infolist() if not info.is_dir()]
        held.most = BLOCK  # the directory is read
        _check_overlaps(archive, members, packed.start_dir)
        unpacked = _Limits(archive)
        for info in members:  # before anything is written
            unpacked.add(info.filename, info.file_size)
        for info in members:
            if stat.S_ISLNK(info.external_attr >> 16):
                raise DataError(f"{archive}: member {info.filename!r} is a link, which is not extracted.")
            if info.compress_type not in KINDS:
                raise DataError(
                    f"{archive}: member {info.filename[:200]!r} is packed in a way that is not read; "
                    "pack it again as usual (deflate)."
                )
            with packed.open(info) as content:
                yield info.filename, info.file_size, content


def _check_overlaps(archive: Path, members: list[zipfile.ZipInfo], end: int) -> None:
    """Raises DataError where members share bytes, as bombs do that unpack one content many times."""
    following = end
    for info in sorted(members, key=lambda each: each.header_offset, reverse=True):
        if info.header_offset + info.compress_size > following:
            raise DataError(f"{archive}: member {info.filename[:200]!r} overlaps another one; nothing is extracted.")
        following = info.header_offset


def _in_tar(archive: Path, stream: Any, limits: _Limits) -> Iterator[tuple[str, int, IO[bytes]]]:
    held: Any = _Held(stream, MAX_HEADER)
    held.left = MAX_HEADER
    # one block after the other: in the other mode a header's size alone makes it read as much at once
    opened: Any = tarfile.open(fileobj=held, mode="r|", bufsize=512)
    with opened as tar:
        while True:
            held.left = MAX_HEADER
            member = tar.next()
            if member is None:
                return
            tar.members = []  # it would keep them all
            if member.isdir():
                limits.add(member.name, 0)
                continue
            content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
            if content is None:
                raise DataError(
                    f"{archive}: member {member.name[:200]!r} is a link or a device or has holes, "
                    "which is not extracted."
                )
            held.left = None
            yield member.name, member.size, content


def _unpacked(stream: IO[bytes]) -> Any:
    """The tar inside, by the first bytes of the file."""
    first = stream.read(6)
    stream.seek(0)
    if first.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream)
    if first.startswith(b"BZh"):
        return bz2.BZ2File(stream)
    return _Xz(stream) if first == b"\xfd7zXZ\0" else stream
