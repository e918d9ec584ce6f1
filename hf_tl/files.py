"""Files that are whole or not there: each is written under another name, flushed and renamed.

The other name cannot be foreseen: in a folder of somebody else, a link may wait under one that can.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


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
