"""Faults on demand: the next requests that match answer with an error instead."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass
class Fault:
    """The next `times` requests whose `METHOD path` matches `pattern` answer `status`; status 0 cuts the connection
    in the middle of the body, -1 changes its bytes."""

    pattern: str
    status: int
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


class Faults:
    def __init__(self) -> None:
        self.planned: list[Fault] = []
        self.seen: list[str] = []
        """`METHOD path` of every request, in order."""

    def plan(self, pattern: str, status: int, times: int = 1, **headers: str) -> None:
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
