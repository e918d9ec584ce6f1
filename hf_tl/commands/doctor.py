"""`hf-tl doctor`: versions, hardware, Hub and cache, each checked by itself: a broken part does not hide the others."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_tl import __version__
from hf_tl.io.project_files import project_file

LOW_DISK = 10 * 2**30
"""Bytes free in the cache below which doctor warns: about two base-size models with their checkpoints."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    about: str
    status: str
    """`ok`, `note` (works, could be better) or `fail`."""
    found: str


def doctor() -> dict[str, Any]:
    """Checks the installation and the hardware.

    Returns:
        `healthy` (no check failed), `findings` ({about, status, found}), `lines` (the same as text).
    """
    findings: list[Finding] = []
    for check in (_python, _versions, _torchvision, _device, _memory, _speed, _hub, _cache):
        try:
            findings.extend(check())
        except Exception as error:  # a check that breaks is a finding
            first = next(iter(str(error).splitlines()), "")
            findings.append(Finding(check.__name__.strip("_"), "fail", f"{type(error).__name__}: {first}"))
    width = max(len(finding.about) for finding in findings)
    return {
        "hf_tl": __version__,
        "healthy": all(finding.status != "fail" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
        "lines": [f"{finding.status:4}  {finding.about:{width}}  {finding.found}" for finding in findings],
    }


def _python() -> Iterator[Finding]:
    yield Finding(
        "python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.prefix}"
    )


def tested_versions() -> dict[str, str]:
    """Package -> the version that the tests ran on, from constraints.txt; empty where that is not there."""
    file = project_file("constraints.txt")
    if not file.exists():
        return {}
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", file.read_text(encoding="utf-8"), re.M))


def _versions() -> Iterator[Finding]:
    tested = tested_versions()
    main = ("torch", "transformers", "datasets", "accelerate", "peft", "evaluate", "huggingface_hub", "safetensors")
    for name in main:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "fail", f"not installed; pip install {name}")
            continue
        known = tested.get(name)
        same = known is None or version.split("+")[0] == known
        yield Finding(name, "ok" if same else "note", version if same else f"{version}; tested with {known}")


def _torchvision() -> Iterator[Finding]:
    if importlib.util.find_spec("torchvision") is None:
        yield Finding("torchvision", "note", "not installed; images go through Pillow. pip install 'hf_tl[vision]'")
        return
    import torch

    from hf_tl.compat import declare_torchvision_operators, has_torchvision

    declared = declare_torchvision_operators()
    version = importlib.metadata.version("torchvision")
    wanted = matching_torchvision(torch.__version__)
    flavour = (
        (torch.__version__.partition("+")[2] or "cpu") if torch.version.cuda is None else _cuda(torch.version.cuda)
    )
    install = f"pip install 'torchvision=={wanted}.*' --index-url https://download.pytorch.org/whl/{flavour}"
    if not version.startswith(f"{wanted}."):
        yield Finding(
            "torchvision", "note", f"{version} beside torch {torch.__version__}, whose own is {wanted}: {install}"
        )
    elif declared:
        yield Finding(
            "torchvision",
            "note",
            f"{version}: its compiled operators are not built for torch {torch.__version__}; transforms work all the "
            f"same, box operators do not. The matching build: {install}",
        )
    elif not has_torchvision():
        yield Finding("torchvision", "note", f"{version} does not import; images go through Pillow. {install}")
    else:
        yield Finding("torchvision", "ok", version)


def matching_torchvision(torch_version: str) -> str:
    """`2.13.0+cpu` -> `0.28`: torchvision's minor version runs 15 ahead of torch 2's."""
    major, minor = (int(part) for part in torch_version.split("+")[0].split(".")[:2])
    if major != 2:
        raise ValueError(f"torch {torch_version}: only the pairing of torch 2 is known")
    return f"0.{minor + 15}"


def _cuda(version: str) -> str:
    return "cu" + "".join(version.split(".")[:2])


def _device() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Finding(f"gpu {index}", "ok", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    elif torch.backends.mps.is_available():
        yield Finding("gpu", "ok", "Apple GPU (mps)")
    else:
        yield Finding("gpu", "note", "none; training runs on the CPU")
    cores = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    limit = os.environ.get("OMP_NUM_THREADS")
    said = f", OMP_NUM_THREADS={limit}" if limit else ""
    yield Finding(
        "cpu", "ok", f"{_cpu_name()}, {allowed} of {cores} cores usable, {torch.get_num_threads()} threads{said}"
    )


def _cpu_name() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    yield Finding("memory", "ok", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free")


def _speed() -> Iterator[Finding]:
    """A few matrix products in both precisions: what decides whether training looks at bf16 at all."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    rates = {dtype: _product_rate(dtype, device) for dtype in (torch.float32, torch.bfloat16)}
    ratio = rates[torch.bfloat16] / rates[torch.float32]
    verdict = "bf16 is worth a try" if ratio >= 1.15 else "fp32"
    yield Finding(
        "precision",
        "ok",
        f"matrix product fp32 {rates[torch.float32]:.0f}, bf16 {rates[torch.bfloat16]:.0f} GFLOP/s "
        f"({ratio:.1f} times): {verdict}",
    )


def _product_rate(dtype: Any, device: str, size: int = 1024, repeats: int = 3) -> float:
    """GFLOP/s of a square matrix product, best of `repeats`."""
    import time

    import torch

    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    a = torch.ones(size, size, device=device, dtype=dtype)
    a @ a
    best = float("inf")
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        a @ a
        wait()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def _hub() -> Iterator[Finding]:
    import huggingface_hub
    from huggingface_hub import constants

    from hf_tl.hub.patience import operation

    endpoint = _without_user(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE:
        yield Finding("hub", "note", f"{endpoint} is not asked: HF_HUB_OFFLINE is set")
    else:
        try:
            with operation(0.0):  # asked once: that it cannot be reached is an answer here
                status = huggingface_hub.get_session().head(constants.ENDPOINT, timeout=5).status_code
            answered = status < 500
            yield Finding(
                "hub", "ok" if answered else "note", f"{endpoint} answers" + ("" if answered else f" with {status}")
            )
        except Exception as error:
            yield Finding(
                "hub",
                "note",
                f"{endpoint} cannot be reached ({type(error).__name__}); local models and data still work",
            )
    if huggingface_hub.get_token():
        yield Finding("token", "ok", "present")
    else:
        yield Finding("token", "note", "none; needed to push and for private models: hf auth login, or HF_TOKEN")


def _without_user(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)


def _cache() -> Iterator[Finding]:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing):
            pass
    except OSError as error:
        yield Finding(
            "cache", "fail", f"{folder} cannot be written ({error.strerror}); set HF_HOME to a folder that can"
        )
        return
    free = shutil.disk_usage(existing).free
    yield Finding("cache", "ok" if free >= LOW_DISK else "note", f"{folder}, {free / 2**30:.0f} GiB free")
