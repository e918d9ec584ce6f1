"""What a card may say of a run. Somebody else wrote it: it names the Hub's models and data, and settings that matter
for the result; it names no file of this machine, and nothing that says where anything goes or what runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_tl.config import REVISION
from hf_tl.data.archives import is_archive
from hf_tl.data.formats import is_data_file
from hf_tl.errors import ConfigError
from hf_tl.io.console import visible

TOP = ("task", "model", "data", "method", "training", "loss", "generation", "seed")
MODEL = (
    "id", "revision", "head", "head_hidden", "pooling", "config", "trust_remote_code", "dtype", "torch_dtype",
    "attn_implementation", "quantization_config", "ignore_mismatched_sizes",
)  # fmt: skip
TRAINING = (
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "num_train_epochs",
    "max_steps", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim", "optim_args",
    "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "label_smoothing_factor", "bf16",
    "fp16", "tf32", "bf16_full_eval", "fp16_full_eval", "gradient_checkpointing", "gradient_checkpointing_kwargs",
    "neftune_noise_alpha", "use_liger_kernel", "torch_compile", "train_sampling_strategy", "data_seed",
    "full_determinism", "average_tokens_across_devices", "auto_find_batch_size", "dataloader_drop_last", "use_cpu",
    "eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "save_strategy", "save_steps",
    "load_best_model_at_end", "metric_for_best_model", "greater_is_better", "logging_strategy", "logging_steps",
    "early_stopping_patience", "early_stopping_threshold",
)  # fmt: skip
"""Fields of `TrainingArguments` that change what is learned or which checkpoint is kept, with plain values."""
NAMES_FILES = re.compile(r"path|dir$|_file|folder|tokenizer|auto_map|cache_(dir|file)|custom_generate|_config$")
"""Keys of other sections whose values are files, or are read from them."""
FREE = {"prefix", "stop_strings", "columns", "splits", "class_weights", "target_modules", "exclude_modules"}
"""Keys below which any text may stand: none is opened."""
ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
PATH = re.compile(r"^[/~\\.]|[/\\]|:|\.(json|jinja2?|ya?ml|txt|py|csv|bin|pt|pth|pkl|ckpt|safetensors)$")
"""Where a text may be a path, or an address."""


def allowed(values: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """(what of a card's configuration is taken, the keys that are left out).

    `model.id` and `data.path` are taken as they are: `hub_id` judges them.

    Raises:
        ConfigError: a value that names a file, or a revision that is none.
    """
    out: dict[str, Any] = {}
    left = [str(key) for key in values if key not in TOP]
    for key in TOP:
        value = values.get(key)
        known = {"model": MODEL, "training": TRAINING}.get(key)
        if known is not None and isinstance(value, Mapping):
            left += [f"{key}.{name}" for name in value if name not in known]
            value = {name: item for name, item in value.items() if name in known}
        if key in values:
            out[key] = value
            judged = {name: item for name, item in value.items() if name not in ("id", "path", "revision")} if (
                key in ("model", "data") and isinstance(value, Mapping)
            ) else value  # fmt: skip
            if key not in ("model", "data") or isinstance(value, Mapping):
                _check(judged, key, where)
    for section in ("model", "data"):
        found = out.get(section)
        revision = found.get("revision") if isinstance(found, Mapping) else None
        if revision is not None and (not REVISION.fullmatch(str(revision)) or ".." in str(revision)):
            raise ConfigError(f"{where}: {section}.revision of its card is {_short(revision)}, which is no revision.")
    return out, [key for key in left if key.partition(".")[0] not in ("output", "on_change", "hub", "proof")]


def _check(value: Any, place: str, where: str) -> None:
    """Raises ConfigError at what may be a file."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if str(key) in FREE:
                continue
            wrong = item is not None and not isinstance(item, (bool, int, float))
            if place != "training" and wrong and NAMES_FILES.search(str(key)) and str(key) != "quantization_config":
                raise ConfigError(_sentence(f"{place}.{visible(key)}", item, where))
            if str(key) == "chat_template" and item is not None:
                raise ConfigError(_sentence(f"{place}.chat_template", item, where))
            _check(item, f"{place}.{visible(key)}", where)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check(item, place, where)
    elif isinstance(value, str) and PATH.search(value):
        raise ConfigError(_sentence(place, value, where))


def _sentence(place: str, value: Any, where: str) -> str:
    return (
        f"{where}: {place} of its card is {_short(value)}, which may be a file; no file of this machine is read "
        "because a card names it. Run hf-tl train with a configuration of your own."
    )


def _short(value: Any) -> str:
    text = repr(visible(value))
    return text if len(text) <= 80 else f"{text[:79]}…"


def hub_id(name: object, where: str, what: str, instead: str) -> str:
    """An id of the Hub that a card names as its `what`, `model` or `data`.

    Args:
        instead: the option by which a person gives another.

    Raises:
        ConfigError: it may be a file, or a folder of that name lies here, which would be read in its place.
    """
    text = str(name)
    looks = ID.fullmatch(text) is not None and ".." not in text
    if not looks or is_data_file(Path(text)) or is_archive(Path(text)):
        raise ConfigError(
            f"{where}: its card names {_short(name)} as its {what}, which is no id of the Hub; no file of this machine "
            f"is read because a card names it. Give yours with {instead}."
        )
    if Path(text).exists():
        raise ConfigError(
            f"{where}: its card names {_short(name)} of the Hub as its {what}, and {Path.cwd() / text} has that name, "
            f"too, and would be read in its place. Give it with {instead}, or start in another folder."
        )
    return text
