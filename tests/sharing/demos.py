"""Runs for the tests of `demo`, served, and opened in headless Chromium."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hf_tl
from tests.anything import tiny_data, tiny_model


def tiny_run(name: str, folder: Path, **changed: Any) -> Path:
    """Two steps of a tiny model on tiny data."""
    task = hf_tl.get_task(name)
    run = hf_tl.finetune(
        task=name,
        model=str(tiny_model(task, folder / "model")),
        data={"path": str(tiny_data(task, folder / "data")), "preprocessing": {"augment": "none"}},
        method="full",
        output=str(folder / "run"),
        training={"max_steps": 2, "per_device_train_batch_size": 4, "bf16": False},
        **changed,
    )
    return run.folder


def chromium() -> str:
    """Where the browser is; the test is skipped where there is none."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if found is None:
        pytest.skip("needs Chromium (set CHROMIUM to where it is)")
    return found


@contextlib.contextmanager
def served(model: object, *words: str) -> Iterator[str]:
    """The address of `hf-tl demo MODEL`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hf_tl", "demo", str(model), "--no-browser", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    alarm = threading.Timer(120, process.kill)
    alarm.start()
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + process.stderr.read()
        yield line.split()[0]
    finally:
        alarm.cancel()
        process.terminate()
        process.wait(120)
        process.stdout.close()
        process.stderr.close()


@contextlib.contextmanager
def opened(url: str) -> Iterator[Any]:
    """Playwright's page of `url`. Afterwards: nothing went wrong in it, and it asked no other machine for anything."""
    sync_api = pytest.importorskip("playwright.sync_api")
    wrong: list[str] = []
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(90_000)
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith((url, "data:", "blob:")) else wrong.append(request.url),
        )
        page.goto(url)
        yield page
        browser.close()
    assert not wrong
