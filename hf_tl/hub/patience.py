"""How long the Hub is waited for: limits of every request, one way of trying again, and what is said meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from hf_tl.errors import redact
from hf_tl.io.console import shown

SECONDS = "HF_TL_HUB_SECONDS"
"""In the environment: how long failed tries and the waits between them may take in all, per operation."""
CREDIT = 10 << 20
"""Bytes of a file after which earlier failures of the same operation are forgiven: it gets on."""


@dataclass
class Limits:
    """Seconds."""

    connect: float = 10.0
    answer: float = 10.0
    """Without a byte, while something is read; `HF_HUB_ETAG_TIMEOUT` where that is set."""
    stall: float = 10.0
    """The same in the middle of a file; `HF_HUB_DOWNLOAD_TIMEOUT` where that is set."""
    effect: float = 30.0
    """Without a byte, while the Hub does something: a commit takes its time."""
    total: float = 30.0
    """Of a request in all, from when it was sent; files excepted."""
    in_all: float = 40.0
    """Of failed tries and the waits between them, per operation."""
    retry_after: float = 300.0
    """What the Hub may ask for by `Retry-After`, in all."""
    first: float = 1.0
    longest: float = 8.0
    """Of the waits between tries: 1, 2, 4, 8, 8, ..."""
    say_after: float = 10.0
    quiet: float = 5.0
    """The longest wait between tries that is not announced."""
    xet: float = 30.0
    """Of a transfer by Xet without progress."""
    pace: float = 60.0
    """A file of which less than 6 kB come in this time has stalled."""


def _limits() -> Limits:
    from huggingface_hub import constants

    answer, stall = float(constants.HF_HUB_ETAG_TIMEOUT), float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
    out = Limits(answer=answer, stall=stall, effect=max(30.0, answer), total=max(30.0, 3 * answer))
    out.xet = max(out.xet, stall)
    with contextlib.suppress(ValueError):
        out.in_all = float(os.environ.get(SECONDS, ""))
        for name in ("connect", "answer", "stall", "effect", "total", "xet", "pace"):
            setattr(out, name, max(0.1, min(getattr(out, name), out.in_all)))
    return out


LIMITS = _limits()


class GivenUp(Exception):
    """The operation was broken off from outside."""


class Patience:
    """Of one operation, such as a push or the download of a model, whatever requests it consists of."""

    def __init__(self, seconds: float | None = None) -> None:
        self.limit = LIMITS.in_all if seconds is None else min(seconds, LIMITS.in_all)
        self.tries = 0
        """That failed."""
        self.lost = 0.0
        """Seconds of failed tries and waits."""
        self.retry_after = 0.0
        """Seconds that the Hub asked for."""
        self.demand: float | None = None
        """Seconds that it asked for and did not get."""
        self.unanswered: BaseException | None = None
        """Why the Hub was given up, if it was."""
        self.moved = time.monotonic()
        """When something last arrived or was sent."""
        self.over = False
        """Whether there will be no further try."""
        self.cancelled = threading.Event()
        self._counted = 0.0
        self._bytes = 0
        self._said = False
        self._lock = threading.Lock()

    def begins(self, now: float) -> None:
        """A request; after a failed one the client has waited by itself, which counts."""
        with self._lock:
            if self._counted and 0 < now - self._counted < 2 * LIMITS.longest:
                self.lost += now - self._counted
                self._counted = now

    def failed(self, since: float) -> None:
        """A try that began at `since`; of tries at the same time each second counts once."""
        with self._lock:
            now = time.monotonic()
            self.tries += 1
            self.lost += now - max(since, self._counted)
            self._counted = now
        self.waits(now, now)

    def arrived(self, size: int) -> None:
        """Bytes of a file."""
        self.moved = time.monotonic()
        self._bytes += size
        if self._bytes >= CREDIT:
            self._bytes, self.tries, self.lost, self._counted, self._said = 0, 0, 0.0, 0.0, False

    def waits(self, since: float, now: float) -> None:
        """Says once that the Hub is waited for; a request is under way since `since`."""
        lost = self.lost + max(0.0, now - max(since, self._counted))
        if lost >= LIMITS.say_after and not self._said and not self.cancelled.is_set():
            self._said = True
            say(f"Waiting for the Hub at {endpoint()} ({lost:.0f} s without an answer) ...")

    @property
    def spent(self) -> bool:
        return self.over or self.cancelled.is_set() or self.lost >= self.limit

    def again(self, error: BaseException) -> bool:
        """Waits for the next try.

        Returns:
            Whether there is to be one.
        """
        retry_after = retry_after_of(error)
        if retry_after is not None:
            retry_after = min(retry_after, 1e9)  # a generation
            if self.retry_after + retry_after > LIMITS.retry_after:
                self.demand, self.over = retry_after, True
                return False
            self.retry_after += retry_after
            wait = retry_after
        else:
            wait = min(LIMITS.first * 2.0 ** max(0, self.tries - 1), LIMITS.longest)
            silent = "Timeout" in type(error).__name__  # the next try may take as long as this one
            if self.lost + wait + (self.lost / max(1, self.tries) if silent else 0.0) > self.limit:
                self.over = True
                return False
        if wait > LIMITS.quiet:
            wish = "asks for it" if retry_after is not None else reason(error)
            say(f"Trying the Hub again in {wait:.0f} s ({wish}).")
        began = time.monotonic()
        if self.cancelled.wait(wait):
            return False
        with self._lock:
            if retry_after is None:
                self.lost += time.monotonic() - max(began, self._counted)
            self._counted = time.monotonic()
        self.waits(began, began)
        return True

    def said(self) -> str:
        """`3 tries in 20 s`."""
        return f"{self.tries} {'try' if self.tries == 1 else 'tries'} in {self.lost + self.retry_after:.0f} s"


_CURRENT: ContextVar[Patience | None] = ContextVar("hf_tl_patience", default=None)
_ACTIVE: list[Patience] = []
"""For requests from threads that the client starts, which know no context."""


def current() -> Patience:
    """That of the operation under way; else a new one, for a single request."""
    own = _CURRENT.get()
    return own if own is not None else _ACTIVE[-1] if _ACTIVE else Patience()


@contextlib.contextmanager
def operation(seconds: float | None = None, patience: Patience | None = None) -> Iterator[Patience]:
    """All requests within have one patience; inside of another operation they have that one's."""
    outer = _CURRENT.get()
    if outer is not None and patience is None:
        with _marked(outer):
            yield outer
        return
    own = patience or Patience(seconds)
    token = _CURRENT.set(own)
    _ACTIVE.append(own)
    try:
        with _marked(own):
            yield own
    finally:
        _ACTIVE.remove(own)
        _CURRENT.reset(token)


@contextlib.contextmanager
def _marked(own: Patience) -> Iterator[None]:
    """Errors know how long the Hub was waited for."""
    try:
        yield
    except Exception as error:
        error.hf_tl_patience = own  # type: ignore[attr-defined]
        raise


def causes(error: BaseException) -> list[BaseException]:
    """The error and what it came from, outermost first."""
    out: list[BaseException] = []
    seen: BaseException | None = error
    while seen is not None and seen not in out:
        out.append(seen)
        seen = seen.__cause__ or seen.__context__
    return out


def retry_after_of(error: BaseException) -> float | None:
    """Seconds that the Hub asks to wait: its `Retry-After` in seconds or as a date, or its rate limit's reset."""
    for each in causes(error):
        response: Any = getattr(each, "response", None)
        headers = getattr(response, "headers", None) or {}
        retry_after = headers.get("Retry-After") or ""
        if re.fullmatch(r"\d+(\.\d+)?", retry_after):
            return float(retry_after)
        if retry_after:
            with contextlib.suppress(ValueError, TypeError):
                return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
        limited = re.search(r"\br=0\b.*\bt=(\d+)", headers.get("RateLimit") or "")
        if limited and getattr(response, "status_code", 0) == 429:
            return float(limited[1])
    return None


def reason(error: BaseException) -> str:
    """Why a try failed, in a few words."""
    found = causes(error)
    if any(type(each).__name__ == "NotOfAHub" for each in found):
        return next(str(each) for each in found if type(each).__name__ == "NotOfAHub")
    for each in found:
        status = getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(status, int):
            return f"it answered {status}"
    text = str(found[-1]).strip().splitlines()[:1]
    names = {cls.__name__ for each in found for cls in type(each).__mro__}
    if "ConnectTimeout" in names:
        return "no connection"
    if "TimeoutException" in names:
        return "it does not answer"
    return redact(text[0]) if text else type(found[-1]).__name__


def endpoint() -> str:
    """The Hub's address without a name or password in it."""
    from huggingface_hub.constants import ENDPOINT

    return redact(ENDPOINT)


def say(line: str) -> None:
    print(shown(redact(line)), file=sys.stderr, flush=True)
