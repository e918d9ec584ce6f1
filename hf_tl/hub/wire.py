"""The client with which every library here talks to the Hub: each request has its limits, whoever makes it.

`huggingface_hub` waits without limit for an answer to a write, and tries other requests again for minutes; its own
retries never come to pass here, because what reaches it is an error that it does not try again on.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import _http, _xet, set_client_factory

from hf_tl.errors import redact
from hf_tl.hub.answers import MAX_ANSWER, PACKINGS, PIECE, Sizes, bounded, fault_of, late, may_be, misled
from hf_tl.hub.patience import LIMITS, GivenUp, Patience, current, endpoint, reason


class Unreachable(OfflineModeIsEnabled):
    """The Hub was given up. The client and `datasets` take it as they take offline mode: they look into their caches,
    and do not try again."""


class XetStalled(ConnectionError):
    """A transfer by Xet that did not get on."""


class Client(httpx2.Client):
    """Bounds each request in time and size, and tries those again that only read."""

    sizes = Sizes()

    def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: Any = httpx2.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx2.USE_CLIENT_DEFAULT,
    ) -> httpx2.Response:
        file = stream or is_file(request)
        # what is no file and not at the Hub is no need of ours, such as a count of downloads: one try, which counts not
        own = current() if file or at_hub(request) else Patience(0.0)
        reads = request.method in ("GET", "HEAD")
        bound(request, file, reads)
        request.extensions |= {"hf_tl_file": file, "hf_tl_stream": stream}
        own.begins(time.monotonic())
        while True:
            began = time.monotonic()
            fault: Exception | None
            response = None
            try:
                response = self._sent(
                    request, own, None if file and reads else LIMITS.total, stream, auth, follow_redirects
                )
                fault = fault_of(request, response, stream)
            except httpx2.HTTPError as error:
                fault = misled(error)
            if fault is None and response is not None:
                self.sizes.learn(request, response)
            if fault is None and response is not None:
                own.moved = time.monotonic()
                if stream:
                    response.stream = Body(response.stream, own)
                return response
            assert fault is not None
            own.failed(began)
            if reads and not own.spent and own.again(fault):
                continue
            if request.method == "PUT" and file and not own.spent:  # a part of a file, which the client sends again
                if isinstance(fault, HfHubHTTPError) and response is not None:
                    return response
                raise fault
            if reads:
                own.unanswered = fault
            raise fault if isinstance(fault, HfHubHTTPError) else unreachable(fault, own)

    def _sent(
        self, request: httpx2.Request, own: Patience, total: float | None, stream: bool, auth: Any, follow: Any
    ) -> httpx2.Response:
        """Sent from a thread of its own, so that it can be given up whatever holds it."""
        if not isinstance(request.stream, Sent):
            request.stream = Sent(request.stream, own)
        sent: Sent = request.stream
        sent.last = time.monotonic()
        found: list[httpx2.Response | BaseException] = []
        done, given_up = threading.Event(), threading.Event()

        def work() -> None:
            late.set(given_up)
            try:
                response = super(Client, self).send(request, stream=stream, auth=auth, follow_redirects=follow)
                if stream and response.status_code >= 400:
                    response.read()
                found.append(response)
                if given_up.is_set():
                    response.close()
            except BaseException as error:
                found.append(error)
            finally:
                done.set()

        began = time.monotonic()
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(work,), name="hub-request", daemon=True).start()
        while not done.wait(min(0.5, LIMITS.say_after / 4, (total or 9.0) / 4)):
            now = time.monotonic()
            if own.cancelled.is_set():
                given_up.set()
                raise GivenUp("broken off")
            own.waits(max(began, sent.last), now)
            if total is not None and now - sent.last > total:
                given_up.set()
                raise httpx2.ReadTimeout(f"no whole answer within {total:.0f} s", request=request)
        result = found[0]
        if isinstance(result, BaseException):
            raise result
        return result

    def _send_single_request(self, request: httpx2.Request) -> httpx2.Response:
        """Each answer, redirections too, is read within bounds."""
        response = super()._send_single_request(request)
        if response.is_redirect:
            return bounded(response, MAX_ANSWER)
        streams = bool(request.extensions.get("hf_tl_stream")) and response.status_code < 400
        return bounded(response, may_be(request, bool(request.extensions.get("hf_tl_file")), streams, self.sizes))


class Sent(httpx2.SyncByteStream):
    """What a request sends, in pieces whose time is known."""

    def __init__(self, inner: Any, own: Patience) -> None:
        self.inner, self.own, self.last = inner, own, time.monotonic()

    def __iter__(self) -> Iterator[bytes]:
        for block in self.inner:
            for at in range(0, len(block), PIECE):
                if self.own.cancelled.is_set():
                    raise GivenUp("broken off")
                yield block[at : at + PIECE]
                self.last = self.own.moved = time.monotonic()

    def close(self) -> None:
        if hasattr(self.inner, "close"):
            self.inner.close()


class Body(httpx2.SyncByteStream):
    """What a file's answer brings."""

    def __init__(self, inner: Any, own: Patience) -> None:
        self.inner, self.own = inner, own

    def __iter__(self) -> Iterator[bytes]:
        last = window = time.monotonic()
        size = 0
        try:
            for block in self.inner:
                last = time.monotonic()
                size += len(block)
                self.own.arrived(len(block))
                if self.own.cancelled.is_set():
                    raise GivenUp("broken off")
                if last - window > LIMITS.pace:
                    if size < 6000 * LIMITS.pace / 60:
                        raise httpx2.ReadTimeout(f"{size} bytes in {last - window:.0f} s")
                    window, size = last, 0
                yield block
        except httpx2.TransportError as error:
            self.own.failed(last)
            if self.own.spent:
                raise unreachable(error, self.own) from error
            raise

    def close(self) -> None:
        self.inner.close()


def is_file(request: httpx2.Request) -> bool:
    path = request.url.path
    return "/resolve/" in path or (request.method == "PUT" and "/api/" not in path)


def at_hub(request: httpx2.Request) -> bool:
    return request.url.host == httpx2.URL(constants.ENDPOINT).host


def bound(request: httpx2.Request, file: bool, reads: bool) -> None:
    """Gives a request its limits; what it brings with it may only be shorter."""
    most = LIMITS.stall if file and reads else LIMITS.answer if reads else LIMITS.effect
    brought = request.extensions.get("timeout") or {}

    def shorter(name: str, limit: float) -> float:
        value = brought.get(name)
        return limit if value is None else min(float(value), limit)

    request.extensions["timeout"] = {
        "connect": shorter("connect", LIMITS.connect),
        "pool": shorter("pool", LIMITS.connect),
        "read": shorter("read", most),
        "write": shorter("write", max(LIMITS.stall, most)),
    }


def unreachable(error: Exception, own: Patience) -> Unreachable:
    out = Unreachable(f"The Hub at {endpoint()} was given up after {own.said()}: {redact(reason(error))}")
    out.__cause__ = error
    return out


class Session:
    """Xet's session, whose transfers are given up where they do not get on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def new_upload_commit(self, **named: Any) -> Watched:
        return Watched(self.inner.new_upload_commit, named)

    def new_file_download_group(self, **named: Any) -> Watched:
        return Watched(self.inner.new_file_download_group, named)


class Watched:
    """A group of Xet's transfers, and a thread that looks whether their counters change."""

    def __init__(self, make: Callable[..., Any], named: dict[str, Any]) -> None:
        self.make, self.named, self.own = make, named, current()
        self.told = named.get("progress_callback")
        self.counters: Any = None
        self.began = self.last = time.monotonic()
        self.over = threading.Event()
        self.stalled = False

    def __enter__(self) -> Any:
        threading.Thread(target=self._watch, name="xet-watch", daemon=True).start()
        try:
            self.group = self.make(**{**self.named, "progress_callback": self._progress})
            return self.group.__enter__()
        except BaseException as error:
            self.over.set()
            self._raise(error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        try:
            return self.group.__exit__(kind, error, trace)
        except BaseException as raised:
            self._raise(raised)
            raise
        finally:
            self.over.set()

    def _raise(self, error: BaseException) -> None:
        if self.own.cancelled.is_set():
            raise GivenUp("broken off") from error
        if self.stalled:
            self.own.failed(self.last)
            raise XetStalled(f"the Xet transfer did not get on for {LIMITS.xet:.0f} s") from error

    def _progress(self, report: Any, items: Any = None) -> None:
        counters = [repr(getattr(report, name)) for name in dir(report) if name[0] != "_" and "rate" not in name]
        if counters != self.counters:
            self.counters, self.last = counters, time.monotonic()
            self.own.moved = self.last
        if self.told is not None:
            self.told(report, items)

    def _watch(self) -> None:
        while not self.over.wait(min(0.5, LIMITS.xet / 4)):
            now = time.monotonic()
            self.own.waits(self.last, now)
            if now - self.last > LIMITS.xet or self.own.cancelled.is_set():
                self.stalled = True
                _xet.abort_xet_session()
                return


class _Redacted(logging.Filter):
    """The client's warnings name addresses, and those may hold a password."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


def install() -> None:
    """Once, for all libraries; somebody's own client, set before, stays."""
    if _http._GLOBAL_CLIENT_FACTORY is _http.default_client_factory:
        set_client_factory(
            lambda: Client(
                event_hooks={"request": [_http.hf_request_event_hook]},
                follow_redirects=True,
                timeout=None,
                headers={"Accept-Encoding": ", ".join(PACKINGS[::2])},
            )
        )
    for handler in logging.getLogger("huggingface_hub").handlers:
        handler.addFilter(_Redacted())
    inner = _xet.get_xet_session
    _xet.get_xet_session = lambda: Session(inner())


install()
