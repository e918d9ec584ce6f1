"""What numbers and patterns in somebody else's card may cost: what cannot be meant is refused before it is tried."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hf_tl.errors import ConfigError
from hf_tl.io.console import visible
from hf_tl.models.adapters import REFUSED
from hf_tl.models.trusted import OTHER_MODELS

STEPS = 10_000_000
TOKENS = 131_072
LIMITS: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "training.data_seed": (0, 2**32 - 1),
    "training.per_device_train_batch_size": (1, 4096),
    "training.per_device_eval_batch_size": (1, 4096),
    "training.gradient_accumulation_steps": (1, 4096),
    "training.num_train_epochs": (0, 1000),
    "training.max_steps": (-1, STEPS),
    "training.warmup_steps": (0, STEPS),
    "training.logging_steps": (0, STEPS),
    "training.eval_steps": (0, STEPS),
    "training.save_steps": (0, STEPS),
    "training.early_stopping_patience": (0, STEPS),
    "data.preprocessing.image_size": (8, 4096),
    "data.preprocessing.mask_patch_size": (1, 4096),
    "data.preprocessing.max_length": (1, TOKENS),
    "data.preprocessing.max_target_length": (1, TOKENS),
    "model.head_hidden": (1, 65_536),
    "method.r": (1, 4096),
    "generation.num_beams": (1, 64),
    "generation.num_beam_groups": (1, 64),
    "generation.num_return_sequences": (1, 64),
    "generation.max_length": (0, TOKENS),
    "generation.min_length": (0, TOKENS),
    "generation.max_new_tokens": (0, TOKENS),
    "generation.min_new_tokens": (0, TOKENS),
}
PATTERNS = ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern", "target_parameters")
"""Keys of `method` whose texts PEFT takes for regular expressions."""
KEYED = ("rank_pattern", "alpha_pattern")
"""The same of their keys."""
QUANTIFIER = re.compile(r"[*+?]\??|\{[\d,]*\}\??")
WIDTH, ROUNDS = 65_536, 1_000
"""Of a number of `method`, and of the rounds by which its weights are drawn."""
COUNTS = re.compile(r"seed|prng|step|[^.]*[._](tinit|tfinal|deltaT)$")
"""Places in `method` where a number is no size."""
THREADS = 1024
PROCESSES = 1024


def check_numbers(values: Mapping[str, Any], where: str) -> None:
    """The configuration of a card.

    Raises:
        ConfigError: a number that cannot be meant, or a regular expression that may take for ever; names its place.
    """
    for place, (least, most) in LIMITS.items():
        value: Any = values
        for key in place.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, (int, float)) and not (math.isfinite(value) and least <= value <= most):
            raise ConfigError(
                f"{where}: {place} of its card is {str(value)[:40]}, expected {_number(least)} to {_number(most)}."
            )
    method = values.get("method")
    if isinstance(method, Mapping):
        _check_method(method, where)


def _check_method(method: Mapping[str, Any], where: str) -> None:
    """What goes to PEFT, in whose configurations nearly every number is a size of something."""
    for key in (*REFUSED, *OTHER_MODELS, "auto_mapping", "megatron_core"):
        if method.get(key):
            raise ConfigError(
                f"{where}: method.{key} of its card is not taken from others; run hf-tl train with a configuration of "
                "your own."
            )
    for place, value in _numbers(method, "method"):
        most = STEPS if COUNTS.search(place) else WIDTH
        if not (math.isfinite(value) and abs(value) <= most):
            raise ConfigError(
                f"{where}: {visible(place)} of its card is {str(value)[:40]}, expected at most {_number(most)}."
            )
    rounds = re.search(r"_niter_(\d+)", str(method.get("init_lora_weights")))
    if rounds and int(rounds[1][:9]) > ROUNDS:
        raise ConfigError(f"{where}: method.init_lora_weights of its card takes more than {ROUNDS} rounds.")
    for key in (*PATTERNS, *KEYED):
        given = method.get(key)
        for text in given if isinstance(given, (list, Mapping)) else [given]:
            if isinstance(text, str) and not is_quick(text):
                shown = visible(text if len(text) <= 60 else f"{text[:59]}…")
                raise ConfigError(
                    f"{where}: method.{key} of its card is the regular expression {shown!r}, which may take for ever; "
                    "run hf-tl train with a configuration of your own."
                )


def _numbers(value: Any, place: str) -> Iterator[tuple[str, int | float]]:
    """(place, number) at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{place}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, place)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield place, value


def is_quick(pattern: str) -> bool:
    """Whether a regular expression is of a kind that takes little time on any name: few parts that repeat or choose,
    none inside another, and none that refer back or look around."""
    if len(pattern) > 1000:
        return False
    plain = re.sub(r"\\[^\d]", "x", pattern)  # without \. and the like
    plain = re.sub(r"\[[^\]]*\]", "x", plain).replace("(?:", "(")
    repeats, groups = len(QUANTIFIER.findall(plain)), plain.count("(")
    nested = re.search(r"\)\s*(?:[*+?]|\{)", plain)
    few = repeats <= 3 and repeats + groups <= 4 and plain.count("|") <= 24  # each more takes the length of a name
    return few and not nested and "(?" not in plain and "\\" not in plain


def _number(value: float) -> str:
    return f"{value:,.0f}"
