"""Which further keys of `model` there are: arguments of `from_pretrained` and fields of the configuration."""

from __future__ import annotations

import inspect

from transformers import PreTrainedConfig, PreTrainedModel

from hf_tl.config import ModelConfig
from hf_tl.errors import ConfigError, did_you_mean

PASSED = {
    "attn_implementation", "cache_dir", "device_map", "dtype", "force_download", "local_files_only",
    "low_cpu_mem_usage", "max_memory", "offload_folder", "quantization_config", "subfolder", "tp_plan", "variant",
}  # fmt: skip
"""`from_pretrained` arguments that hide in its **kwargs; the others are read from its signature."""
SECRET = {"token", "use_auth_token"}


def check_options(model: ModelConfig, config: PreTrainedConfig) -> None:
    """Each further key of `model` is a `from_pretrained` argument or a field of the configuration."""
    signature = inspect.signature(PreTrainedModel.from_pretrained).parameters
    own = set(type(model).model_fields)
    known = {name for name in signature if name not in ("kwargs", "model_args", "config")} | PASSED
    fields = set(config.to_dict())
    for key in model.passed_through:
        if key in SECRET:
            raise ConfigError(
                f"model.{key}: tokens are never read from a configuration; set HF_TOKEN or `hf auth login`."
            )
        if key not in known and key not in fields:
            hint = did_you_mean(key, known | fields | own) or "."
            raise ConfigError(f"model.{key}: neither an argument of from_pretrained nor a field of its config{hint}")
    for key in model.config:
        if key not in fields:
            raise ConfigError(
                f"model.config.{key}: {type(config).__name__} has no such field{did_you_mean(key, fields) or '.'}"
            )
