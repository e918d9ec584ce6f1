"""Reading from the Hub: the retries that the client lacks, and every refusal as one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hf_tl.errors import HfTlError, HubError, ModelError, did_you_mean

T = TypeVar("T")
ATTEMPTS = 5
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


def _transient(error: BaseException) -> bool:
    status = status_of(error)
    if status is not None:
        return status in (408, 429, 500, 502, 503, 504)
    names = {cls.__name__ for each in causes(error) for cls in type(each).__mro__}
    return bool(names & {"TransportError", "ConnectError", "ConnectionError", "TimeoutException", "IncompleteRead"})


def _wait(state: Any) -> float:
    """Seconds before the next try: what the server asks for, else 1, 2, 4, 8."""
    error = state.outcome.exception()
    for each in causes(error):
        headers = getattr(getattr(each, "response", None), "headers", None) or {}
        asked = headers.get("Retry-After") or ""
        if re.fullmatch(r"\d+(\.\d+)?", asked):
            return min(float(asked), 300.0)
    return float(2 ** (state.attempt_number - 1))


def retried(call: Callable[[], T]) -> T:
    """`call()`, tried again on 408, 429, 5xx and network faults, with back-off and the server's `Retry-After`."""
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    again = Retrying(stop=stop_after_attempt(ATTEMPTS), wait=_wait, retry=retry_if_exception(_transient), reraise=True)
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

    try:
        folder = Path(retried(lambda: snapshot_download(id, revision=revision, allow_patterns=PATTERNS)))
    except Exception as error:
        raise explain(error, f"model: {id}" + (f" at revision {revision}" if revision else "")) from error
    return folder, folder.name


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
    if status == 403:
        return HubError(f"{what}: the token may not do this; it needs the right to write there.")
    if any("xet" in str(each).lower() for each in causes(error)):
        return HubError(f"{what}: the Xet transfer failed; set HF_HUB_DISABLE_XET=1 and try again.")
    if status is not None:
        return HubError(f"{what}: the Hub answered {status}, also after {ATTEMPTS} tries; try again later.")
    if "OfflineModeIsEnabled" in names or "LocalEntryNotFoundError" in names or _transient(error):
        return HubError(
            f"{what}: the Hub at {ENDPOINT} cannot be reached and the cache does not hold it; "
            "a local folder or file works offline."
        )
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return HubError(f"{what}: {first}")
