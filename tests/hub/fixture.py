"""The fixture `hub`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.server import RunningHub

__all__ = ["any_hub", "hub"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path / "test-hub")
    yield running
    running.stop()


@pytest.fixture(params=["lfs", "xet"])
def any_hub(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningHub]:
    """A Hub for clients that upload by LFS, and one for those that upload by Xet."""
    running = RunningHub(tmp_path / "test-hub", xet=request.param == "xet")
    yield running
    running.stop()
