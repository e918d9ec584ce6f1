"""The processes of a run that `accelerate` or `torchrun` started."""

from __future__ import annotations

import torch
from accelerate import PartialState


def process_state() -> PartialState:
    """Accelerate's view of the processes. Without an accelerator it must be told `cpu`, or processes that `torchrun`
    started each take themselves for the only one."""
    return PartialState(cpu=not torch.accelerator.is_available())
