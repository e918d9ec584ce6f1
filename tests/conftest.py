"""What all tests share: a cache and a login of their own, and the real data and models where they are present."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time, on machines of any speed; `--hypothesis-profile=default` draws anew.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

# Before any Hugging Face library is imported: the tests neither read nor fill the cache and login of whoever runs them.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf_tl-tests-")
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_TL_PROOF"] = (
    "0"  # a clean process after every short run would take longer than the run; tests ask for it
)
for name in (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "RANK",
    "WORLD_SIZE",
):
    os.environ.pop(name, None)

from hf_tl.compat import declare_torchvision_operators  # noqa: E402
from tests import complete  # noqa: E402

declare_torchvision_operators()  # before a test module imports transformers or peft itself

try:
    from tests.hub.fixture import *  # noqa: F403  # the test Hub: `hub`
except ModuleNotFoundError as error:
    if error.name not in ("tests.hub", "tests.hub.fixture"):
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return complete.judged(report) if complete.expected() else report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return complete.judged(report) if complete.expected() else report


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real datasets (`text/`, `vision/`): HF_TL_TEST_DATA, or ../shared/data beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("HF_TL_TEST_DATA", default)).resolve()
    if not folder.is_dir():
        pytest.skip(f"needs the real data: there is no folder {folder} (set HF_TL_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def models_dir(data_dir: Path) -> Path:
    """Folder of the real pretrained models."""
    folder = data_dir / "models"
    if not folder.is_dir():
        pytest.skip(f"needs the real models: there is no folder {folder}")
    return folder
