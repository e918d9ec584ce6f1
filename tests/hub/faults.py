"""Faults on demand: the next requests that match answer with an error instead."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

PAGE = "<!DOCTYPE html><html><head><title>Welcome</title></head><body>Log in to the network of the hotel.</body></html>"
KINDS = ("no answer", "drip", "web page", "empty", "half a JSON", "no object", "lost answer", "reset")
"""`no answer` accepts and is silent; `drip` sends a byte every half second; `web page` is a login page with status 200;
`half a JSON` breaks off with right headers; `no object` answers `{}`; `lost answer` does what was asked and cuts the
connection; `reset` cuts it at once."""


@dataclass
class Fault:
    """The next `times` requests whose `METHOD path` matches `pattern` answer `status`, or as one of KINDS; status 0
    cuts the connection in the middle of the body, -1 changes its bytes."""

    pattern: str
    status: int | str
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


class Faults:
    def __init__(self) -> None:
        self.planned: list[Fault] = []
        self.seen: list[str] = []
        """`METHOD path` of every request, in order."""

    def plan(self, pattern: str, status: int | str, times: int = 1, **headers: str) -> None:
        assert isinstance(status, int) or status in KINDS, status
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.planned.append(Fault(pattern, status, times, named))

    def take(self, method: str, path: str) -> Fault | None:
        request = f"{method} {path}"
        self.seen.append(request)
        for fault in self.planned:
            if fault.times > 0 and re.search(fault.pattern, request):
                fault.times -= 1
                return fault
        return None

    def clear(self) -> None:
        self.planned.clear()
        self.seen.clear()


async def cut(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise ConnectionResetError("cut")


async def answer(kind: str, request: Request) -> Response:
    """The answer of a fault of `kind`."""
    if kind == "no answer":
        await request.body()
        while not await request.is_disconnected():
            await asyncio.sleep(0.1)
        return Response(status_code=499)
    if kind == "drip":

        async def drops() -> AsyncIterator[bytes]:
            for _ in range(10_000):
                yield b" "
                await asyncio.sleep(0.5)

        return StreamingResponse(drops(), media_type="application/json")
    if kind == "web page":
        return HTMLResponse(PAGE)
    if kind in ("empty", "half a JSON", "no object"):
        body = {"empty": b"", "half a JSON": b'{"name": "ali', "no object": b"{}"}[kind]
        return Response(body, media_type="application/json")
    await request.body()
    return StreamingResponse(cut([]), headers={"Content-Length": "100"})
