"""Xet without Xet's server: the client writes its chunks to a folder, from which whole files are read back.

A `local://` address for the chunk store is no documented part of hf_xet; the version is pinned in constraints.txt, and
tests skip where it does not work. The layout of a shard (its file records of 48 bytes each) is that of
https://github.com/huggingface/xet-core.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

RECORD = 48
END = b"\xff" * 32
VERIFIED, DESCRIBED = 1 << 31, 1 << 30
"""Flags of a file: whether its segments have verification records, and whether it has a sha256."""


def swapped(hash: bytes) -> bytes:
    """Hashes are kept as four little-endian words."""
    return b"".join(hash[at : at + 8][::-1] for at in range(0, len(hash), 8))


def files_of(shard: bytes) -> Iterator[tuple[str, str]]:
    """(sha256, Xet's own hash) of each file in a shard."""
    at = RECORD
    while at + RECORD <= len(shard) and shard[at : at + 32] != END:
        own, flags, segments = (
            shard[at : at + 32],
            int.from_bytes(shard[at + 32 : at + 36], "little"),
            int.from_bytes(shard[at + 36 : at + 40], "little"),
        )
        at += RECORD * (1 + segments * (2 if flags & VERIFIED else 1))
        if flags & DESCRIBED:
            yield swapped(shard[at : at + 32]).hex(), swapped(own).hex()
            at += RECORD


def rebuilt(folder: Path, sha256: str, size: int) -> bytes | None:
    """The bytes of a file that was uploaded into `folder`; None where it was not."""
    import hf_xet

    known = dict(
        found for shard in (folder / "xet" / "xorbs" / "shards").glob("*.mdb") for found in files_of(shard.read_bytes())
    )
    if sha256 not in known:
        return None
    with tempfile.TemporaryDirectory() as temporary:
        # the client that has just written holds the folder's lock
        shutil.copytree(folder, Path(temporary) / "copy")
        target = Path(temporary) / "file"
        with hf_xet.XetSession().new_file_download_group(endpoint=f"local://{temporary}/copy") as group:
            group.start_download_file(hf_xet.XetFileInfo(known[sha256], size), str(target))
        return target.read_bytes()
