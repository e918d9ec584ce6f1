"""Files and folders that are written at once or not at all, and the hash of one.

Each is written under another name, flushed and renamed. The other name of a file cannot be foreseen: in a folder of
somebody else, a link may wait under one that can.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A fresh file to write; it takes the place of `path` when the block ends without an error."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        if os.name == "posix":  # as any new file; `mkstemp` gives it to its owner alone
            temporary.chmod(0o666 & ~_umask())
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    with contextlib.suppress(OSError, ValueError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(next(line for line in status.splitlines() if line.startswith("Umask:")).split()[1], 8)
    found = os.umask(0o077)  # for a moment that of all threads
    os.umask(found)
    return found


def remove(path: Path) -> None:
    """Whatever is there; of a link the link alone."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replaces a file by `text` (UTF-8) at once or not at all."""
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A fresh folder to fill; it takes the place of `path` when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.tmp")
    remove(temporary)
    temporary.mkdir(parents=True)
    yield temporary
    for file in temporary.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
    old = path.with_name(f".{path.name}.old")
    remove(old)
    if os.path.lexists(path):
        os.replace(path, old)
    os.replace(temporary, path)
    remove(old)


def sha256(file: Path) -> str:
    """Computed once while the file stays as it is."""
    found = file.stat()
    return _sha256(file.resolve(), found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _sha256(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


NOT_FILES = {
    stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
}  # fmt: skip


def instead_of_a_file(mode: int) -> str | None:
    """What a path's `st_mode` says that it is, if not a plain file: a pipe or a device may have no end."""
    if stat.S_ISREG(mode):
        return None
    return next((name for check, name in NOT_FILES.items() if check(mode)), "something else")
