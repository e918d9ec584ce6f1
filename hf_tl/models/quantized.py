"""QLoRA (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314): adapters on a base in 4 or 8 bits.

`model.quantization_config` goes to `from_pretrained` as it is; here is what has to be there for it, and how the adapter
comes back onto whole weights, so that what is shared needs no special package.
"""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import torch
from transformers import PreTrainedModel

from hf_tl.config import ModelConfig
from hf_tl.errors import ConfigError


def check_quantization(model: ModelConfig, method: str) -> None:
    """Raises ConfigError where a quantized model cannot be trained here, before anything is downloaded."""
    given = model.passed_through.get("quantization_config")
    if given is None:
        return
    if not isinstance(given, dict):
        raise ConfigError(
            f"model.quantization_config: found {given!r}, expected a mapping such as {{load_in_4bit: true}}."
        )
    if method != "lora":
        raise ConfigError(
            f"model.quantization_config: quantized weights cannot be trained themselves; use method lora, not {method}."
        )
    bits = any(given.get(key) for key in ("load_in_4bit", "load_in_8bit"))
    if not bits and given.get("quant_method") not in (None, "bitsandbytes"):
        return
    missing = [
        what
        for what, there in (
            ("the package bitsandbytes (pip install bitsandbytes)", importlib.util.find_spec("bitsandbytes")),
            ("a GPU", torch.accelerator.is_available()),
        )
        if not there
    ]
    if missing:
        raise ConfigError(
            f"model.quantization_config: loading in 4 or 8 bits needs {' and '.join(missing)}, which this machine does "
            "not have; leave it out to adapt the model in full precision."
        )


def is_quantized(model: Any) -> bool:
    return bool(getattr(model, "is_quantized", False))


def full_precision(model: PreTrainedModel, revision: str | None) -> PreTrainedModel:
    """The same pretrained model, not quantized: an adapter is merged into these without rounding.

    Its configuration is the one that was trained with, so that a new head, which the adapter brings, has its labels.
    """
    config = copy.deepcopy(model.config)
    config.__dict__.pop("quantization_config", None)
    fresh: PreTrainedModel = type(model).from_pretrained(
        model.name_or_path,
        revision=revision or "main",
        config=config,
        ignore_mismatched_sizes=True,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
    )
    if hasattr(model, "generation_config"):  # models that write have one
        fresh.generation_config = model.generation_config
    return fresh
