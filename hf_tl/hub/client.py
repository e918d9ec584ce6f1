"""Reading from the Hub: one way of trying again, downloads compared with the Hub's hashes, and every refusal as one
sentence."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from hf_tl.config import REVISION
from hf_tl.errors import DataError, HfTlError, HubError, ModelError, did_you_mean
from hf_tl.files import sha256
from hf_tl.hub.patience import Patience, causes, endpoint, operation, reason, say

T = TypeVar("T")
TRIES = 5
"""Of an operation as a whole, on top of the tries of single requests; all within one patience."""
HELD = 3.0
"""Seconds of failed tries and waits for what the cache holds anyway."""
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.py", "*.jinja", "README.md", "*.tiktoken"]
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
STATUSES = (408, 429, 500, 502, 503, 504)
NETWORK = {"TransportError", "ConnectionError", "IncompleteRead", "JSONDecodeError", "TooManyRedirects"}
CUT = "Consistency check failed"
"""In the client's error where a file came with another length than was said."""
UNREADABLE = (KeyError, TypeError, AttributeError, AssertionError, IndexError, UnicodeDecodeError)
"""What the client raises where an answer is not of the form that it expects."""


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error."""
    for each in causes(error):
        code = getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(code, int):
            return code
    return None


def of_xet(error: BaseException) -> bool:
    """Whether it came from Xet's client, whose errors are of no class of their own."""
    return any("xet" in f"{type(each).__module__} {type(each).__name__} {each}".lower() for each in causes(error))


def transient(error: BaseException) -> bool:
    """Whether another try may help, or a copy in the cache: the Hub's own troubles, or those of the way to it."""
    names = {cls.__name__ for each in causes(error) for cls in type(each).__mro__}
    if names & {"Unreachable", "NotOfAHub"}:
        return True
    status = status_of(error)
    if status is not None and not (status < 400 and names & {"FileMetadataError", "JSONDecodeError"}):
        return status in STATUSES
    if names & {"OfflineModeIsEnabled", "GivenUp"}:  # a ConnectionError, but asked for
        return False
    cut = any(CUT in str(each) for each in causes(error))
    return cut or bool(names & (NETWORK | {"FileMetadataError"}))


def retried(call: Callable[[], T], also: Sequence[int] = (), seconds: float | None = None) -> T:
    """`call()`, tried again on 408, 429, 5xx, network faults and answers that are no Hub's, with back-off and the
    server's `Retry-After`. All that it asks of the Hub, by whatever library, shares one patience.

    Args:
        also: further HTTP statuses to try again on.
        seconds: of failed tries and waits in all, where less than usual is worth it.
    """
    import hf_tl.hub.wire  # noqa: F401  # from here on every request has its limits

    with operation(seconds) as own:
        for last in (*[False] * (TRIES - 1), True):
            began, tries = time.monotonic(), own.tries
            try:
                return call()
            except Exception as error:
                passing = transient(error) or status_of(error) in also
                if passing and own.tries == tries:  # its requests succeeded, but what came is of no use
                    own.failed(began)
                if last or not passing or own.spent or not own.again(error):
                    raise
    raise AssertionError("the last try returns or raises")


def offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def without_xet(call: Callable[[], T], then: str) -> T:
    """`call()`, and once more by plain HTTP where Xet's storage cannot be used."""
    from huggingface_hub import constants

    try:
        return call()
    except Exception as error:
        if constants.HF_HUB_DISABLE_XET or not of_xet(error):
            raise
        say(f"The Hub's Xet storage could not be used; {then}.")
        constants.HF_HUB_DISABLE_XET = True
        return call()


def fetch_model(id: str, revision: str | None = None) -> tuple[Path, str | None]:
    """(local folder, commit sha) of a model: a folder as it is (sha None), a Hub id from the Hub or its cache.

    Pickles are never downloaded.

    Raises:
        ModelError: no such folder, or the Hub says no (unknown, private, gated, no such revision).
        HubError: the Hub cannot be reached and the cache does not hold it.
    """
    try:
        path = Path(id).expanduser()
        if path.is_dir():
            return path, None
        there = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, nobody's home
        raise ModelError(f"model: {id[:80]!r} is neither a folder nor a Hub id ({str(error)[:60]}).") from None
    if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision):
        raise ModelError(f"model: {id}: {revision[:80]!r} is no revision; expected a branch, tag or commit.")
    if there:
        raise ModelError(f"model: {id} is a file; expected a folder with config.json and weights, or a Hub id.")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", id):
        parent = path.parent
        near = did_you_mean(path.name, [p.name for p in parent.iterdir()]) if parent.is_dir() else ""
        raise ModelError(f"model: there is no folder {id}{near or ', and it is not a Hub id (name or owner/name).'}")
    what = f"model: {id}" + (f" at revision {revision}" if revision else "")
    folder = fetch(id, revision, what, patterns=PATTERNS)
    return folder, folder.name


def fetch(
    id: str,
    revision: str | None,
    what: str,
    *,
    patterns: Sequence[str] | None = None,
    kind: str = "model",
    cache: str | Path | None = None,
) -> Path:
    """A repository's files as the Hub holds them, from its cache where it cannot be asked (which is said).

    Args:
        what: how sentences begin.
        patterns: of the files wanted; default: all.
        cache: another cache folder than the login's.

    Raises:
        ModelError: the Hub says no.
        HubError: it cannot be reached and the cache does not hold the files, or they come damaged, twice.
    """
    from huggingface_hub import snapshot_download

    get = functools.partial(
        snapshot_download, id, repo_type=kind, revision=revision, allow_patterns=patterns, cache_dir=cache
    )

    def download(seconds: float | None) -> Path:
        with operation(seconds) as own:
            folder = Path(retried(lambda: without_xet(get, "downloading by HTTP")))
        if own.unanswered is not None:
            _cached_is_used(what, own)
        return folder

    def held() -> Path | None:
        with contextlib.suppress(Exception):
            folder = Path(get(local_files_only=True))
            if kind != "model" or any((folder / name).exists() for name in ("config.json", "adapter_config.json")):
                return folder
        return None

    have = held()
    seconds = HELD if have else None
    if have and (_lately_silent() or offline()):
        folder = have
    else:
        try:
            folder = download(seconds)
        except Exception as error:
            if not transient(error) or (have := held()) is None:
                raise explain(error, what, looked=True) from error
            _cached_is_used(what, getattr(error, "hf_tl_patience", None))
            folder = have
    return checked(folder, lambda: damaged_files(folder), lambda: download(None), what)


def checked(folder: Path, damaged: Callable[[], list[Path]], again: Callable[[], object], what: str) -> Path:
    """`folder`, without files whose bytes are not the Hub's: those are removed and fetched `again`, once."""
    for last in (False, True):
        found = damaged()
        if not found:
            break
        names = ", ".join(file.relative_to(folder).as_posix() for file in found[:4])
        names += f" and {len(found) - 4} more" if len(found) > 4 else ""
        for file in found:
            file.resolve().unlink(missing_ok=True)
            file.unlink(missing_ok=True)
        if last:
            raise HubError(f"{what}: {names} came with other bytes than the Hub's hash says, twice; try again later.")
        try:
            again()
        except HfTlError:
            raise
        except Exception as error:
            told = str(explain(error, what, looked=True))
            raise HubError(f"{told} (In the cache {names} had other bytes than the Hub's hash says.)") from error
    return folder


class Damaged(ConnectionError):
    """A file that did not come as the Hub holds it."""


def complete(download: Callable[[], str]) -> Path:
    """A single file of the cache, as the Hub holds it; for `retried`.

    Raises:
        Damaged: it came with other bytes, and is no longer in the cache.
    """
    file = Path(download())
    if damaged_files(file.parent, [file]):
        file.resolve().unlink(missing_ok=True)
        file.unlink(missing_ok=True)
        raise Damaged(f"{file.name} came with other bytes than the Hub's hash says")
    return file


_silent_since: list[float] = []
SILENCE = 120.0
"""Seconds for which a Hub that did not answer is not asked again for what the cache holds."""


def _lately_silent() -> bool:
    return bool(_silent_since) and time.monotonic() - _silent_since[-1] < SILENCE


def silent() -> None:
    """Remembers that the Hub did not answer."""
    _silent_since[:] = [time.monotonic()]


def _cached_is_used(what: str, own: Patience | None) -> None:
    silent()
    why = f": {reason(own.unanswered)}" if own is not None and own.unanswered is not None else ""
    tries = f" after {own.said()}" if own is not None else ""
    say(f"{what}: the Hub at {endpoint()} could not be used{tries}{why}; the copy in the cache is used.")


def damaged_files(folder: Path, files: Iterable[Path] | None = None) -> list[Path]:
    """Files of a snapshot whose bytes do not have the Hub's hash, by which the cache names them: the client compares
    sizes alone.

    Args:
        files: of the snapshot; default: all.
    """
    return [
        file
        for file in (sorted(folder.rglob("*")) if files is None else files)
        if file.is_symlink() and file.is_file() and hub_hash(file, len(file.resolve().name)) != file.resolve().name
    ]


def hub_hash(file: Path, digits: int) -> str:
    """What the Hub calls a file: its sha256 (64 digits) where it is stored by LFS or Xet, else git's (40)."""
    if digits == 64:
        return sha256(file)
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def explain(error: BaseException, what: str, *, writing: bool = False, looked: bool = False) -> HfTlError:
    """The error to raise for what the Hub's client raised: a `ModelError` or `DataError` (exit code 2) where the user's
    id is at fault, a `HubError` (4) where the Hub is.

    Args:
        writing: whether it was to be written to.
        looked: whether it was looked for in the cache, where it is not.
    """
    fault = DataError if what.startswith("data") else ModelError
    found = causes(error)
    names = {cls.__name__ for each in found for cls in type(each).__mro__}
    status = status_of(error)
    name = what.split()[-1] if "revision" not in what else what.split(" at revision")[0].split()[-1]
    own: Patience | None = next((each.hf_tl_patience for each in found if hasattr(each, "hf_tl_patience")), None)
    cache = " and the cache does not hold it" if looked else ""
    tries = f" after {own.said()}" if own is not None and own.tries else ""
    if "GatedRepoError" in names:
        return fault(f"{what}: the repository is gated; ask for access at {endpoint()}/{name}, then log in.")
    if "DisabledRepoError" in names:
        return fault(f"{what}: the Hub has disabled this repository.")
    if "RevisionNotFoundError" in names:
        return fault(f"{what}: there is no such revision.")
    passing = transient(error)
    if "RepositoryNotFoundError" in names or ("DatasetNotFoundError" in names and status is None and not passing):
        return fault(
            f"{what}: not on the Hub, or private; check the spelling, or log in with `hf auth login` or HF_TOKEN. "
            "(It is no local path either.)"
        )
    refused = _refused(status, writing)
    if refused:
        return HubError(f"{what}: {refused}")
    if own is not None and own.demand is not None:
        return HubError(
            f"{what}: the Hub asks to come back in {own.demand:.0f} s{cache and ',' + cache}; try again then."
        )
    if of_xet(error):
        return HubError(f"{what}: the Xet transfer failed; set HF_HUB_DISABLE_XET=1 and try again.")
    if "OfflineModeIsEnabled" in names and "Unreachable" not in names:
        return HubError(f"{what}: offline mode is on (HF_HUB_OFFLINE){cache and ',' + cache}.")
    if "IncompleteSnapshotError" in names:
        return HubError(f"{what}: the Hub at {endpoint()} cannot be reached{tries}, and the cache holds a part of it.")
    if passing and names & {"NotOfAHub", "JSONDecodeError", "FileMetadataError", "TooManyRedirects"}:
        page = "it redirects in circles" if "TooManyRedirects" in names else "its answer is not what a Hub says"
        page = reason(error) if "NotOfAHub" in names else page
        return HubError(
            f"{what}: what answers at {endpoint()} is not the Hub ({page}){cache}; look at the network's login page, "
            "proxy or HF_ENDPOINT."
        )
    if passing and status is not None:
        also = f", also{tries}" if own is not None and own.tries > 1 else ""
        return HubError(f"{what}: the Hub answered {status}{also}{cache and ',' + cache}; try again later.")
    if passing and any(CUT in str(each) for each in found):
        return HubError(
            f"{what}: files came with another length than the Hub says{tries}{cache}; try again later, or look at the "
            "network's login page or proxy."
        )
    if passing or ("LocalEntryNotFoundError" in names and status is None):
        return HubError(
            f"{what}: the Hub at {endpoint()} cannot be reached{tries} ({reason(error)}){cache}; "
            + ("try again later." if writing else "try again later; a local folder or file works offline.")
        )
    if status is not None:
        return HubError(f"{what}: the Hub answered {status}{cache and ',' + cache}; it may not know this request.")
    if any(isinstance(each, UNREADABLE) for each in found):
        return HubError(f"{what}: what {endpoint()} answers cannot be understood; is it a Hub? Try again later.")
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return HubError(f"{what}: {first}")


def _refused(status: int | None, writing: bool) -> str | None:
    """What the Hub means by a status with which it refuses; None for any other."""
    if status == 401:
        return "the Hub does not accept the token; log in again with `hf auth login`, or fix HF_TOKEN."
    if status in (402, 413, 507):
        return f"the Hub has no room for it (status {status}); free some storage, or ask for more."
    if status == 412 and writing:
        return "others keep committing there at the same time; try again."
    if status == 403 and writing:
        return "the token may not do this; it needs the right to write there."
    return "the Hub refuses it to this login (status 403)." if status == 403 else None
