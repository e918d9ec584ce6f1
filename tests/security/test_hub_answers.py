"""Answers of the Hub, or of what stands between: too large, oddly packed, of another form, or redirections in vain."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import httpx2
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from hf_tl.hub import answers
from hf_tl.hub.answers import NotOfAHub, fault_of
from hf_tl.hub.patience import LIMITS, Patience, operation
from hf_tl.hub.wire import Body, Client, Unreachable, bound

HUB = constants.ENDPOINT
MODEL = {"id": "bob/base", "sha": "0" * 40}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"in_all": 0.2, "first": 0.01, "longest": 0.02, "total": 1.0}.items():
        monkeypatch.setattr(LIMITS, name, value)
    monkeypatch.setattr(answers, "MAX_ANSWER", 100_000)
    monkeypatch.setattr("hf_tl.hub.wire.MAX_ANSWER", 100_000)


def asked(
    handler: Callable[[httpx2.Request], httpx2.Response], path: str = "/api/models/bob/base", method: str = "GET"
) -> httpx2.Response:
    client = Client(transport=httpx2.MockTransport(handler), follow_redirects=True)
    with operation(patience=Patience(0.2)):
        return client.request(method, HUB + path)


def refused(handler: Callable[[httpx2.Request], httpx2.Response], **options: str) -> str:
    with pytest.raises((Unreachable, NotOfAHub)) as caught:
        asked(handler, **options)
    return str(caught.value)


LIMITED = {
    (False, True): LIMITS.answer,
    (True, True): LIMITS.stall,
    (False, False): LIMITS.effect,
    (True, False): LIMITS.effect,
}


@pytest.mark.parametrize(("file", "reads"), LIMITED)
def test_every_request_has_its_limits(file: bool, reads: bool) -> None:
    """What it brings along may be shorter, and none at all is not."""
    request = httpx2.Request("GET", HUB, extensions={"timeout": {"connect": None, "read": None, "pool": 10**6}})
    bound(request, file, reads)
    most = LIMITED[file, reads]
    assert request.extensions["timeout"] == {
        "connect": LIMITS.connect, "pool": LIMITS.connect, "read": most, "write": max(LIMITS.stall, most)
    }  # fmt: skip
    request = httpx2.Request(
        "GET", HUB, extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), 0.5)}
    )
    bound(request, file, reads)
    assert set(request.extensions["timeout"].values()) == {0.5}
    assert 0 < LIMITS.connect <= 60 and 0 < most <= 60


class Slow(httpx2.SyncByteStream):
    """A file that comes in pieces, one every 30 ms."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(20):
            time.sleep(0.03)
            yield b"x" * self.size


@pytest.mark.parametrize(("size", "comes"), [(1, False), (200, True)])
def test_a_file_that_drips_is_given_up(size: int, comes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than 100 bytes a second, as a file has to bring over a minute."""
    monkeypatch.setattr(LIMITS, "pace", 0.2)
    body = Body(Slow(size), Patience(0.2))
    if comes:
        assert len(b"".join(body)) == 20 * size
        return
    with pytest.raises(httpx2.ReadTimeout, match=r"^[1-9] bytes in "):
        b"".join(body)


class Endless(httpx2.SyncByteStream):
    def __init__(self) -> None:
        self.sent = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.sent += 1 << 16
            yield b" " * (1 << 16)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_a_packed_answer_is_unpacked_within_bounds(pack: Callable[[bytes], bytes]) -> None:
    name = "gzip" if pack is gzip.compress else "deflate"
    text = json.dumps({**MODEL, "more": "x" * 50_000}).encode()
    found = asked(lambda _: httpx2.Response(200, headers={"Content-Encoding": name}, stream=Whole(pack(text))))
    assert found.json()["more"] == "x" * 50_000
    bomb = pack(b" " * 50_000_000)
    assert len(bomb) < 100_000
    said = refused(lambda _: httpx2.Response(200, headers={"Content-Encoding": name}, stream=Whole(bomb)))
    assert "it sent more than the 100000 bytes that may come" in said
    said = refused(lambda _: httpx2.Response(200, headers={"Content-Encoding": name}, stream=Whole(b"{}")))
    assert "cannot be unpacked" in said


class Whole(httpx2.SyncByteStream):
    def __init__(self, content: bytes) -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self.content


@pytest.mark.parametrize("packing", ["br", "zstd", "gzip, gzip", "nonsense"])
def test_packings_that_were_not_asked_for(packing: str) -> None:
    """A kilobyte of them may hold gigabytes."""
    said = refused(lambda _: httpx2.Response(200, headers={"Content-Encoding": packing}, stream=Whole(b"x")))
    assert "packed in a way that was not asked for" in said


@pytest.mark.parametrize("status", [200, 302, 404, 503])
def test_an_answer_without_an_end(status: int) -> None:
    """Of a redirection and a refusal, too."""
    streams: list[Endless] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        streams.append(Endless())
        return httpx2.Response(status, headers={"Location": f"{request.url}x"}, stream=streams[-1])

    assert "bytes that may come" in refused(handler)
    assert all(each.sent <= 1 << 18 for each in streams)


def test_what_nobody_waits_for_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "total", 0.1)
    stopped = threading.Event()

    class Slow(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            try:
                while True:
                    time.sleep(0.01)
                    yield b" "
            finally:
                stopped.set()

    assert "does not answer" in refused(lambda _: httpx2.Response(200, stream=Slow()))
    assert stopped.wait(5)


def test_a_file_is_no_larger_than_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client writes to the disk as long as something comes, and compares at the end."""
    endless = Endless()
    large = Whole(b"x" * 300_000)

    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.method == "HEAD":
            size = "300000" if "large" in str(request.url) else "27"
            return httpx2.Response(302, headers={"X-Linked-Size": size, "Location": f"{request.url}?cdn"})
        return httpx2.Response(200, stream=large if "large" in str(request.url) else endless)

    client = Client(transport=httpx2.MockTransport(handler))
    for name, said in (("large", None), ("small", "more than the 27 bytes")):
        url = f"{HUB}/bob/base/resolve/main/{name}"
        head = client.request("HEAD", url, follow_redirects=False)
        with client.stream("GET", head.headers["Location"]) as response:
            if said is None:
                assert len(b"".join(response.iter_bytes())) == 300_000  # more than an answer may have
            else:
                with pytest.raises((Unreachable, NotOfAHub), match=said):
                    response.read()
    assert endless.sent <= 1 << 17


@pytest.mark.parametrize(("method", "tries"), [("GET", 3), ("HEAD", 3), ("POST", 1)])
def test_what_only_reads_is_tried_again(method: str, tries: int) -> None:
    """A request that does something is not sent twice by itself: its answer may have been lost after it was done."""
    seen: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.method)
        return httpx2.Response(200, json=MODEL) if len(seen) == 3 else httpx2.Response(503)

    if tries == 1:
        with pytest.raises(HfHubHTTPError):
            asked(handler, method=method)
    else:
        assert asked(handler, method=method).status_code == 200
    assert seen == [method] * tries


def test_redirections_to_no_address() -> None:
    numbers = itertools.count()

    def to(address: str) -> Callable[[httpx2.Request], httpx2.Response]:
        return lambda request: httpx2.Response(302, headers={"Location": address.format(next(numbers))})

    assert "it redirects in circles" in refused(to(HUB + "/api/models/bob/x{}"))
    assert "it redirects to no valid address" in refused(to("http://[::1/"))
    assert "no Hub says" in refused(lambda _: httpx2.Response(301, json={}))  # without saying where to


def test_a_token_goes_to_no_other_host() -> None:
    seen: list[tuple[str, str | None]] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.url.host, request.headers.get("Authorization")))
        if request.url.host != "elsewhere.example":
            return httpx2.Response(307, headers={"Location": "http://elsewhere.example/api/models/bob/base"})
        return httpx2.Response(200, json=MODEL)

    client = Client(transport=httpx2.MockTransport(handler), follow_redirects=True)
    client.get(f"{HUB}/api/models/bob/base", headers={"Authorization": "Bearer hf_x"})
    assert seen[0][1] == "Bearer hf_x" and seen[1] == ("elsewhere.example", None)


GOOD = {
    "GET /api/whoami-v2": {"name": "alice"},
    "GET /api/models/bob/base": MODEL,
    "GET /api/datasets/bob/data/revision/main": {"id": "bob/data"},
    "GET /api/datasets/bob/data/tree/main/a": [{"type": "file", "path": "a", "oid": "0", "size": 1}],
    "GET /api/models/bob/base/refs": {"branches": [], "tags": []},
    "POST /api/repos/create": {"url": "https://x"},
    "POST /api/models/bob/base/paths-info/main": [],
    "POST /api/models/bob/base/preupload/main": {"files": []},
    "POST /api/models/bob/base/commit/main": {"commitOid": "0", "commitUrl": "https://x"},
    "POST /bob/base.git/info/lfs/objects/batch": {"objects": []},
}
BAD = [{}, [], None, 5, "x", [1], [{}], {"name": 5, "id": 7, "files": {}, "objects": "x", "url": [], "branches": 1}]


@pytest.mark.parametrize("route", GOOD)
def test_answers_of_another_form(route: str) -> None:
    """Each that the client would take for what it is not."""
    method, path = route.split()
    request = httpx2.Request(method, HUB + path)
    assert fault_of(request, httpx2.Response(200, json=GOOD[route]), False) is None
    for bad in BAD:
        if bad != [] or not isinstance(GOOD[route], list):
            fault = fault_of(request, httpx2.Response(200, json=bad), False)
            assert isinstance(fault, NotOfAHub), (route, bad)
    deep = httpx2.Response(200, content=b"[" * 100_000)
    assert isinstance(fault_of(request, deep, False), NotOfAHub)
