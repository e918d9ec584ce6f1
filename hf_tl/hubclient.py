"""Reading from the Hub: the retries that the client lacks, and every refusal as one sentence."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from hf_tl.errors import HfTlError, HubError, ModelError, did_you_mean

T = TypeVar("T")
ATTEMPTS = 5
FIRST, LONGEST = 1.0, 300.0
"""Seconds: of the first wait, where the Hub asks for none, and at most."""
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.py", "*.jinja", "README.md", "*.tiktoken"]
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")


def causes(error: BaseException) -> list[BaseException]:
    """The error and what it came from, outermost first."""
    out: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and seen not in out:
        out.append(seen)
        seen = seen.__cause__ or seen.__context__
    return out


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error."""
    for each in causes(error):
        code = getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(code, int):
            return code
    return None


def of_xet(error: BaseException) -> bool:
    """Whether it came from Xet's client, whose errors are of no class of their own."""
    return any("xet" in f"{type(each).__module__} {each}".lower() for each in causes(error))


def _transient(error: BaseException) -> bool:
    status = status_of(error)
    if status is not None:
        return status in (408, 429, 500, 502, 503, 504)
    names = {cls.__name__ for each in causes(error) for cls in type(each).__mro__}
    if "OfflineModeIsEnabled" in names:  # a ConnectionError, but asked for
        return False
    return bool(names & {"TransportError", "ConnectError", "ConnectionError", "TimeoutException", "IncompleteRead"})


def _wait(state: Any) -> float:
    """Seconds before the next try: what the server asks for, else 1, 2, 4, 8."""
    error = state.outcome.exception()
    for each in causes(error):
        headers = getattr(getattr(each, "response", None), "headers", None) or {}
        asked = headers.get("Retry-After") or ""
        if re.fullmatch(r"\d+(\.\d+)?", asked):
            return min(float(asked), LONGEST)
        if asked:  # or the time from which on it may be tried
            with contextlib.suppress(ValueError, TypeError):
                return min(max(0.0, parsedate_to_datetime(asked).timestamp() - time.time()), LONGEST)
    return float(FIRST * 2 ** (state.attempt_number - 1))


def retried(call: Callable[[], T], also: Sequence[int] = ()) -> T:
    """`call()`, tried again on 408, 429, 5xx and network faults, with back-off and the server's `Retry-After`.

    Args:
        also: further HTTP statuses to try again on.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    passing = retry_if_exception(lambda error: _transient(error) or status_of(error) in also)
    again = Retrying(stop=stop_after_attempt(ATTEMPTS), wait=_wait, retry=passing, reraise=True)
    return again(call)


def fetch_model(id: str, revision: str | None = None) -> tuple[Path, str | None]:
    """(local folder, commit sha) of a model: a folder as it is (sha None), a Hub id from the Hub or its cache.

    Pickles are never downloaded.

    Raises:
        ModelError: no such folder, or the Hub says no (unknown, private, gated, no such revision).
        HubError: the Hub cannot be reached and the cache does not hold it.
    """
    path = Path(id).expanduser()
    if path.is_dir():
        return path, None
    if path.exists():
        raise ModelError(f"model: {id} is a file; expected a folder with config.json and weights, or a Hub id.")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", id):
        parent = path.parent
        near = did_you_mean(path.name, [p.name for p in parent.iterdir()]) if parent.is_dir() else ""
        raise ModelError(f"model: there is no folder {id}{near or ', and it is not a Hub id (name or owner/name).'}")
    from huggingface_hub import snapshot_download

    what = f"model: {id}" + (f" at revision {revision}" if revision else "")

    def fetch() -> Path:
        try:
            return Path(retried(lambda: snapshot_download(id, revision=revision, allow_patterns=PATTERNS)))
        except Exception as error:
            raise explain(error, what) from error

    folder = fetch()
    for last in (False, True):
        damaged = damaged_files(folder)
        if not damaged:
            break
        names = ", ".join(file.relative_to(folder).as_posix() for file in damaged)
        for file in damaged:
            file.resolve().unlink()
            file.unlink()
        if last:
            raise HubError(f"{what}: {names} came with other bytes than the Hub's hash says, twice; try again later.")
        folder = fetch()
    return folder, folder.name


def damaged_files(folder: Path) -> list[Path]:
    """Files of a snapshot whose bytes do not have the Hub's hash, by which the cache names them: the client compares
    sizes alone."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_symlink() and file.is_file() and hub_hash(file, len(file.resolve().name)) != file.resolve().name
    ]


def hub_hash(file: Path, digits: int) -> str:
    """What the Hub calls a file: its sha256 (64 digits) where it is stored by LFS or Xet, else git's (40)."""
    if digits == 64:
        return sha256(file)
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def sha256(file: Path) -> str:
    """Computed once while the file stays as it is."""
    found = file.stat()
    return _sha256(file.resolve(), found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _sha256(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def explain(error: BaseException, what: str) -> HfTlError:
    """The error to raise for what the Hub's client raised: a `ModelError` or `DataError` (exit code 2) where the user's
    id is at fault, a `HubError` (4) where the Hub is."""
    from huggingface_hub.constants import ENDPOINT

    from hf_tl.errors import DataError

    fault = DataError if what.startswith("data") else ModelError
    names = {cls.__name__ for each in causes(error) for cls in type(each).__mro__}
    status = status_of(error)
    name = what.split()[-1] if "revision" not in what else what.split()[1]
    if "GatedRepoError" in names:
        return fault(f"{what}: the repository is gated; ask for access at {ENDPOINT}/{name}, then log in.")
    if "DisabledRepoError" in names:
        return fault(f"{what}: the Hub has disabled this repository.")
    if "RevisionNotFoundError" in names:
        return fault(f"{what}: there is no such revision.")
    if "RepositoryNotFoundError" in names or (
        "DatasetNotFoundError" in names and status is None and not _transient(error)
    ):
        return fault(
            f"{what}: not on the Hub, or private; check the spelling, or log in with `hf auth login` or HF_TOKEN. "
            "(It is no local path either.)"
        )
    if status == 401:
        return HubError(
            f"{what}: the Hub does not accept the token; log in again with `hf auth login`, or mend HF_TOKEN."
        )
    if status in (402, 413, 507):
        return HubError(f"{what}: the Hub has no room for it (status {status}); free some storage, or ask for more.")
    if status == 412:
        return HubError(f"{what}: others keep committing there at the same time; try again.")
    if status == 403:
        return HubError(f"{what}: the token may not do this; it needs the right to write there.")
    if of_xet(error):
        return HubError(f"{what}: the Xet transfer failed; set HF_HUB_DISABLE_XET=1 and try again.")
    if status is not None:
        return HubError(f"{what}: the Hub answered {status}, also after {ATTEMPTS} tries; try again later.")
    if "OfflineModeIsEnabled" in names:
        return HubError(f"{what}: offline mode is on (HF_HUB_OFFLINE), and the cache does not hold it.")
    if "LocalEntryNotFoundError" in names or _transient(error):
        return HubError(
            f"{what}: the Hub at {ENDPOINT} cannot be reached and the cache does not hold it; "
            "a local folder or file works offline."
        )
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return HubError(f"{what}: {first}")
