"""What the clean process gets to see of a model: its data files, and as code no more than is trusted."""

from __future__ import annotations

import shutil
from pathlib import Path

from hf_tl.errors import ConfigError, ProofError, listing
from hf_tl.hub.client import PICKLES
from hf_tl.models.custom import FILE, own_source
from hf_tl.models.trusted import code_references, has_own_head, not_ours, trusted_code

LEFT_OUT = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", *PICKLES)
"""Endings of files that run, or can when they are loaded."""


def allowed_code(folder: Path, *, what: str, trust: bool, pinned: bool = False) -> dict[str, str] | None:
    """The code that a clean process may run: path -> sha256 of files of others that the user trusts, or None where it
    is the installed package's own file for one of our heads.

    Args:
        what: the model, as sentences call it.
        pinned: whether the folder is a commit in the Hub's cache.

    Raises:
        ConfigError: it brings code that is not trusted.
        ProofError: it has one of our heads, and what lies beside it is not ours.
        ModelError: it brings code of another repository.
    """
    if has_own_head(folder):
        wrong = not_ours(folder)
        if wrong is None:
            return None
        if not trust:
            raise ProofError(f"{what}: {wrong}, so it is neither proved nor shared; nothing of it was run.")
    named = sorted({name for name, _ in code_references(what, folder)})
    if named and not trust:
        raise ConfigError(
            f"{what}: {listing(named)} name{'s' * (len(named) < 2)} code of its own, which the proof would run; "
            "--trust-remote-code allows it, --no-proof leaves the proof out."
        )
    return trusted_code(what, folder, pinned=pinned) if named else {}


def stage(folder: Path, into: Path, code: dict[str, str] | None) -> bool:
    """Links the data files of a model into `into`, and copies the code that is allowed.

    Args:
        code: what `allowed_code` found.

    Returns:
        Whether it has to be loaded with `trust_remote_code=True`.
    """
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if not file.is_file() or name.as_posix().endswith(LEFT_OUT) or any(part.startswith(".") for part in name.parts):
            continue
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).symlink_to(file.resolve())
    for path in code or ():
        (into / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / path, into / path)
    if code is None:
        (into / FILE).write_bytes(own_source())
    return code is None or bool(code)
