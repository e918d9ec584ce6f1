"""The fixture `hub`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.server import RunningHub

__all__ = ["hub"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path / "test-hub")
    yield running
    running.stop()
