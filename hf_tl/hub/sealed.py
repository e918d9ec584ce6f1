"""Files as they are sent: each read once, not through a link, and looked through for credentials."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_tl.errors import ConfigError, secrets
from hf_tl.hub.client import PICKLES
from hf_tl.io.console import visible

FORBIDDEN = {"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}
SMALL = 8 << 20
"""Bytes up to which a file is held in memory, so that what was looked through is what is sent."""
BLOCK = 1 << 20
OVERLAP = 512
"""Bytes of a block that are looked through with the next one: a credential may lie across."""
KINDS = (
    ("a token of the Hub", rb"(?:hf|api_org)_[A-Za-z0-9]{16,}"),
    ("an access key of AWS", rb"(?:AKIA|ASIA)[0-9A-Z]{16}"),
    ("a token of GitHub", rb"(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40})"),
    ("a token of GitLab", rb"glpat-[A-Za-z0-9_-]{20}"),
    ("a key of OpenAI or Anthropic", rb"sk-(?:proj-|ant-)[A-Za-z0-9_-]{32}"),
    ("a token of Slack", rb"xox[abprs]-[0-9]{8,}-[A-Za-z0-9-]{10}"),
    ("a key of Google", rb"AIza[A-Za-z0-9_-]{35}"),
    ("a private key", rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
)
PATTERN = re.compile(b"|".join(b"(%s)" % pattern for _, pattern in KINDS))
MARKS = (b"hf_", b"api_org_", b"AKIA", b"ASIA", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-",
         b"sk-", b"xox", b"AIza", b"-----BEGIN ")  # fmt: skip
"""What they begin with: to look for these is a hundred times as fast."""
ESCAPE = re.compile(rb"\\u00([0-7][0-9a-fA-F])")
"""A letter as JSON may write it."""


@dataclass(frozen=True)
class Sealed:
    """One file, as it was when it was read."""

    content: bytes | Path
    """What is sent: the bytes, or where so many of them lie."""
    sha256: str
    git: str
    """What git calls it."""

    @property
    def hashes(self) -> tuple[str, str]:
        return self.sha256, self.git


def sealed(files: Mapping[str, Path], expected: Mapping[str, str] | None = None) -> dict[str, Sealed]:
    """`files` (path in the repository -> local file), read.

    Args:
        expected: path in the repository -> sha256 that a file has to have.

    Raises:
        ConfigError: a file that must not be shared: a link, no file, another than expected, a pickle, or one with a
            credential in it.
    """
    known, out = [token.encode() for token in secrets()], {}
    for name, path in files.items():
        base = name.rpartition("/")[2]
        if base in FORBIDDEN or base.endswith(PICKLES):
            raise ConfigError(f"{visible(name)}: pickles and optimiser states are never uploaded.")
        if PATTERN.search(name.encode("utf-8", "surrogateescape")):
            raise ConfigError("hub.id: the name of a file looks like a credential, so nothing is uploaded.")
        found, secret = _read(path, known)
        if expected is not None and name in expected and found.sha256 != expected[name]:
            raise ConfigError(f"{path}: has changed since it was looked at, so nothing is uploaded; try again.")
        if secret is not None:
            raise ConfigError(
                f"{visible(name)}: holds what looks like {secret}, so nothing is uploaded. It is in {path}: where the "
                "pretrained model or the data brought it, remove it there and train again."
            )
        out[name] = found
    return out


def _read(path: Path, known: list[bytes]) -> tuple[Sealed, str | None]:
    with open_plain(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        digest = hashlib.sha256()
        git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        held, secret, last = [], None, b""
        for block in _blocks(stream):
            digest.update(block)
            git.update(block)
            if size <= SMALL:
                held.append(block)
            secret = secret or credential(last + block, known)
            last = (last + block)[-OVERLAP:]
    content: bytes | Path = b"".join(held) if size <= SMALL else path
    if isinstance(content, bytes) and secret is None and not path.name.endswith(".safetensors"):
        plain = ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), content.replace(b"\0", b""))
        secret = credential(plain, known)  # as JSON may write it, or as text of two bytes a letter
    return Sealed(content, digest.hexdigest(), git.hexdigest()), secret


def _blocks(stream: Any) -> Iterator[bytes]:
    while block := stream.read(BLOCK):
        yield block


def credential(content: bytes, known: list[bytes] = []) -> str | None:  # noqa: B006  # never changed
    """What the first credential in `content` is, in words.

    Args:
        known: the environment's and the login's, whatever their form.
    """
    if any(token in content for token in known):
        return "the login's token"
    found = PATTERN.search(content) if any(mark in content for mark in MARKS) else None
    return None if found is None else KINDS[(found.lastindex or 1) - 1][0]


def open_plain(path: Path) -> Any:
    """A file opened for reading, unless it is a link, a folder, a pipe or a device.

    Raises:
        ConfigError: it is no plain file, or is not there.
    """
    try:
        if path.is_symlink():
            raise ConfigError(f"{visible(path)}: is a link, and what it leads to is not shared; put the file there.")
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except OSError as error:
        raise ConfigError(f"{visible(path)}: cannot be read ({error.strerror}).") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigError(f"{visible(path)}: is no plain file, so it is not shared.")
    return os.fdopen(descriptor, "rb")


def sha256_plain(path: Path) -> str:
    """The sha256 of a plain file, read now.

    Raises:
        ConfigError: it is no plain file.
    """
    with open_plain(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
