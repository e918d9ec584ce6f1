"""What a run ran on, against what the machine says itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
import transformers

import hf_tl
from hf_tl.inference.processes import process_state
from hf_tl.training import environment as module
from hf_tl.training.environment import environment, git_commit, hardware, peak_memory_bytes, versions

cpu_only = pytest.mark.skipif(torch.accelerator.is_available(), reason="a machine without accelerator")


def test_versions_are_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = versions()
    assert found["transformers"] == transformers.__version__ and found["torch"].split("+")[0] in torch.__version__
    assert {"datasets", "accelerate", "peft", "safetensors", "numpy"} <= set(found)
    monkeypatch.setattr(module, "PACKAGES", ("torch", "no-such-package"))
    assert list(versions()) == ["torch"]


@cpu_only
def test_hardware_of_a_cpu() -> None:
    found = hardware()
    assert found["device"] == "cpu" and found["name"]
    assert (found["cores"], found["threads"]) == (os.cpu_count(), torch.get_num_threads())
    assert found["memory_bytes"] == psutil.virtual_memory().total
    assert process_state().device.type == "cpu"


def test_hardware_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: 77)
    properties = SimpleNamespace(name="A card", total_memory=9)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: properties)
    assert hardware() == {"device": "cuda", "name": "A card", "devices": 3, "memory_bytes": 9}
    assert peak_memory_bytes() == 77


@cpu_only
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_memory_is_what_the_kernel_says() -> None:
    """In bytes, and still there when the memory has been given back."""

    def kernel() -> int:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found
        return int(found[1]) * 1024

    assert peak_memory_bytes() == pytest.approx(kernel(), rel=0.02)
    size = max(0, peak_memory_bytes() - psutil.Process().memory_info().rss) + (64 << 20)
    before = peak_memory_bytes()
    block = bytearray(os.urandom(1)) * size
    del block
    assert peak_memory_bytes() >= before + (32 << 20) and peak_memory_bytes() == pytest.approx(kernel(), rel=0.02)


def test_the_commit_is_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert git_commit() == commit and len(commit) == 40
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None


def test_the_environment_of_a_run() -> None:
    found = environment()
    assert found["hf_tl"] == hf_tl.__version__ and found["platform"] == sys.platform
    assert found["python"] == ".".join(map(str, sys.version_info[:3])) and found["packages"] == versions()
    assert found["hardware"] == hardware() and found["git"] == git_commit()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["created"])
