"""What an answer of the Hub may be: how large, how packed, and of which form. Anything else is the answer of something
that stands between, or of a Hub that is broken, and another try or the cache may help."""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextvars import ContextVar
from urllib.parse import urljoin

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status

PASSING = (408, 429, 500, 502, 503, 504)
MAX_ANSWER = 64 << 20
"""Bytes of an answer, unpacked, that is no file: it is held in memory."""
PIECE = 1 << 16
PACKINGS = ("gzip", "x-gzip", "deflate")
"""Asked for, and unpacked here, piece by piece: a kilobyte can hold a megabyte, with other packings a gigabyte."""
REPO = r"/api/(?:models|datasets|spaces)/.+"
FORMS: tuple[tuple[str, str, type, tuple[str, ...]], ...] = (
    ("GET", r"/api/whoami-v2", dict, ("name",)),
    ("GET", rf"{REPO}/tree/.+", list, ("type", "path")),
    ("GET", rf"{REPO}/refs", dict, ("branches",)),
    ("GET", rf"{REPO}/commits/.+", list, ("id",)),
    ("GET", rf"{REPO}/revision/[^/]+", dict, ("id",)),
    ("GET", r"/api/(?:models|datasets|spaces)/[^/]+/(?!(?:parquet|croissant|auth-check)$)[^/]+", dict, ("id",)),
    ("GET", r"/api/.*", object, ()),
    ("POST", r"/api/repos/create", dict, ("url",)),
    ("POST", r"/api/validate-yaml", dict, ()),
    ("POST", r"/api/collections(?:/.*)?", dict, ()),
    ("POST", rf"{REPO}/paths-info/.+", list, ("type", "path")),
    ("POST", rf"{REPO}/preupload/.+", dict, ("files",)),
    ("POST", rf"{REPO}/commit/.+", dict, ("commitOid", "commitUrl")),
    ("POST", r"/.+/info/lfs/objects/batch", dict, ("objects",)),
)
"""Method, path, and what the JSON is: an object, or a list of objects, with these keys."""
SHAPES: dict[str, type] = {"files": list, "objects": list, "branches": list, **dict.fromkeys(
    ("name", "id", "url", "type", "path", "commitOid", "commitUrl"), str)}  # fmt: skip

late: ContextVar[threading.Event | None] = ContextVar("hf_tl_late", default=None)
"""Of the request under way: set once nobody waits for its answer."""


class NotOfAHub(httpx2.TransportError):
    """An answer that no Hub gives: the login page of a network, a gateway's page, half of a JSON."""


class Sizes:
    """How large files are, as the Hub said when it was asked about them."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, int] = OrderedDict()

    def learn(self, request: httpx2.Request, response: httpx2.Response) -> None:
        """From the answer to HEAD, for where it redirects to, too."""
        said = response.headers.get("X-Linked-Size") or response.headers.get("Content-Length") or ""
        if request.method != "HEAD" or not re.fullmatch(r"\d{1,18}", said) or response.status_code >= 400:
            return
        where = {str(request.url), urljoin(str(request.url), response.headers.get("Location") or "")}
        if "X-Linked-Size" not in response.headers and len(where) > 1:
            return  # the size of the redirection itself
        for url in where:
            self._known[url] = int(said)
        while len(self._known) > 10_000:
            self._known.popitem(last=False)

    def most(self, request: httpx2.Request) -> int | None:
        return self._known.get(str(request.url))


class Received(httpx2.SyncByteStream):
    """The bytes of an answer, unpacked, of which no more come than may."""

    def __init__(self, inner: httpx2.SyncByteStream, packed: bool, most: int | None) -> None:
        self.inner, self.packed, self.most = inner, packed, most
        self.late = late.get()

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for block in self._unpacked() if self.packed else self.inner:
            size += len(block)
            if self.most is not None and size > self.most:
                raise NotOfAHub(f"it sent more than the {self.most} bytes that may come")
            if self.late is not None and self.late.is_set():
                raise NotOfAHub("nobody waits for it")
            yield block

    def _unpacked(self) -> Iterator[bytes]:
        unpack = zlib.decompressobj(wbits=47)  # gzip or zlib, as it says
        try:
            for block in self.inner:
                while block:
                    yield unpack.decompress(block, PIECE)
                    block = unpack.unconsumed_tail
            yield unpack.flush()
        except zlib.error as error:
            raise NotOfAHub("it answered with something that cannot be unpacked") from error

    def close(self) -> None:
        self.inner.close()


def bounded(response: httpx2.Response, most: int | None) -> httpx2.Response:
    """The answer, whose body is unpacked as it is read, and is no larger than `most`."""
    packing = response.headers.get("Content-Encoding", "").strip().lower()
    if packing not in ("", "identity", *PACKINGS):
        response.close()
        raise NotOfAHub("its answer is packed in a way that was not asked for")
    assert isinstance(response.stream, httpx2.SyncByteStream)
    if packing in PACKINGS:
        for name in ("Content-Encoding", "Content-Length"):  # of the packed bytes
            response.headers.pop(name, None)
    response.stream = Received(response.stream, packing in PACKINGS, most)
    return response


def may_be(request: httpx2.Request, file: bool, stream: bool, sizes: Sizes) -> int | None:
    """Bytes that the answer to a request may have."""
    if file and stream:
        return sizes.most(request)
    span = re.fullmatch(r"bytes=(\d{1,18})-(\d{1,18})", request.headers.get("Range", ""))
    return max(MAX_ANSWER, int(span[2]) - int(span[1]) + 1) if file and span else MAX_ANSWER


def fault_of(request: httpx2.Request, response: httpx2.Response, stream: bool) -> Exception | None:
    """What is wrong with an answer so that another try may help; None where nothing is."""
    if response.status_code in PASSING:
        try:
            hf_raise_for_status(response)
        except HfHubHTTPError as error:
            refused: Exception = error
        except Exception:  # the client reads the body for a message, and may not understand it
            refused = HfHubHTTPError(f"status {response.status_code}", response=response)
        return refused
    try:
        urljoin(str(request.url), response.headers.get("Location") or "")
    except ValueError:
        return NotOfAHub("it redirects to no valid address")
    path = request.url.path
    form = next((each for each in FORMS if each[0] == request.method and re.fullmatch(each[1], path)), None)
    if stream or form is None or "resolve-cache" in path or not (response.is_success or response.is_redirect):
        return None
    if response.has_redirect_location:  # not followed, as was asked for
        return None
    try:
        parsed = json.loads(response.content)
    except ValueError:
        page = "html" in response.headers.get("Content-Type", "").lower() or b"<html" in response.content[:500].lower()
        what = "with a web page, as the login page of a network does" if page else "with something that is no JSON"
        return NotOfAHub(f"it answered {what}")
    except RecursionError:
        return NotOfAHub("it answered with JSON of a thousand levels")
    return None if _fits(parsed, form[2], form[3]) else NotOfAHub("it answered with something that no Hub says")


def misled(error: httpx2.HTTPError) -> httpx2.TransportError:
    """The error where a request came to nothing; of redirections to no valid address in words of ours."""
    if isinstance(error, httpx2.TooManyRedirects):
        out = NotOfAHub("it redirects in circles")
    elif isinstance(error, httpx2.UnsupportedProtocol) or "location header" in str(error):
        out = NotOfAHub("it redirects to no valid address")
    elif isinstance(error, httpx2.TransportError):
        return error
    else:
        out = NotOfAHub("its answer cannot be read")
    out.__cause__ = error
    return out


def _fits(parsed: object, kind: type, keys: tuple[str, ...]) -> bool:
    if kind is object:
        return isinstance(parsed, (dict, list))
    if not isinstance(parsed, kind):
        return False
    return all(
        isinstance(one, dict) and all(isinstance(one.get(key), SHAPES[key]) for key in keys)
        for one in (parsed if isinstance(parsed, list) else [parsed])
    )
