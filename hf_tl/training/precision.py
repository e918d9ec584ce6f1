"""float32 or bfloat16 autocast, by measurement on the model and batch at hand; master weights are float32 always."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

WORTH = 1.15
"""bf16 must be this much faster to be chosen."""


def multiply_seconds(dtype: torch.dtype, size: int = 512, repeats: int = 3) -> float:
    """Best time in seconds of one square matrix product: a few milliseconds that tell whether bf16 is worth a try."""
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).to(dtype)  # the global one stays
    a @ a
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return min(times)


def choose_precision(
    model: nn.Module, inputs: Mapping[str, Any], loss: Callable[[Any], torch.Tensor]
) -> tuple[str, str]:
    """(`bf16` or `fp32`, the reason), leaving weights, gradients, statistics and random state as they were.

    On a GPU that has bf16, bf16. On a CPU, matrix products first; where bf16 wins there, one step of the model itself
    in both precisions (networks of many small convolutions can be slower in bf16).

    Args:
        inputs: of the model's `forward`.
        loss: `(outputs) -> scalar`.
    """
    if torch.cuda.is_available():
        good = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bf16", "the GPU has bfloat16 units") if good else ("fp32", "the GPU has no bfloat16 units")
    if torch.backends.mps.is_available():
        return "fp32", "Apple GPU"
    ratio = multiply_seconds(torch.float32) / multiply_seconds(torch.bfloat16)
    if ratio < WORTH:
        return "fp32", f"a matrix product in bf16 is {ratio:.1f} times as fast as in fp32 on this CPU"
    times = {"fp32": _step_seconds(model, inputs, loss, False)}
    with eager_attention(model):
        times["bf16"] = _step_seconds(model, inputs, loss, True)
    ratio = times["fp32"] / times["bf16"]
    choice = "bf16" if ratio >= WORTH else "fp32"
    return choice, f"a step of this model in bf16 was {ratio:.1f} times as fast as in fp32 on this CPU"


@contextlib.contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Plain matrix products for attention inside the block: on CPUs the backward of torch's fused bf16 attention takes
    nine times as long as in fp32, which would eat all that bf16 gains."""
    change: Any = getattr(model, "set_attn_implementation", None)
    config = getattr(model, "config", None)
    old = getattr(config, "_attn_implementation", None)
    if old not in ("sdpa", None) or change is None:
        yield
        return
    try:
        change("eager")
    except ValueError:  # the architecture has one implementation only
        yield
        return
    try:
        yield
    finally:
        # a part that knows eager only (a convolutional backbone) refuses to be set; eager computes the same
        with contextlib.suppress(ValueError):
            change(old)


def _step_seconds(
    model: nn.Module, inputs: Mapping[str, Any], loss: Callable[[Any], torch.Tensor], bf16: bool
) -> float:
    """Best of two forward and backward passes, after one to warm up."""
    training = model.training
    model.eval()  # no statistics or dropout masks are touched
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            value = loss(model(**inputs))
        if value.requires_grad:
            value.backward()
        best = min(best, time.perf_counter() - start)
    model.zero_grad(set_to_none=True)
    model.train(training)
    return best
