"""What a run ran on: versions, hardware, git. Nothing here identifies a person or holds a secret."""

from __future__ import annotations

import datetime
import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

PACKAGES = (
    "torch", "transformers", "datasets", "accelerate", "peft", "evaluate", "huggingface_hub", "safetensors",
    "tokenizers", "numpy", "scikit-learn", "torchvision", "timm", "pillow",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Package -> installed version, for those that are installed."""
    out = {}
    for name in PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def hardware() -> dict[str, Any]:
    """Device, its name, cores, threads and memory in bytes."""
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        device = {"device": "cuda", "name": properties.name, "devices": torch.cuda.device_count()}
        return {**device, "memory_bytes": properties.total_memory}
    device = {"device": "mps" if torch.backends.mps.is_available() else "cpu", "name": _processor()}
    return {
        **device,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """The commit of the working directory's repository, where there is one."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def environment() -> dict[str, Any]:
    import hf_tl

    return {
        "hf_tl": hf_tl.__version__,
        "python": platform.python_version(),
        "platform": sys.platform,
        "packages": versions(),
        "hardware": hardware(),
        "git": git_commit(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def peak_memory_bytes() -> int:
    """Peak memory that this process has held: of the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
