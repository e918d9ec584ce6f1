"""A PEFT adapter of somebody else, read as data: what it names is known, literal, and no larger than its weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from hf_tl.errors import ModelError, listing
from hf_tl.models.layers import names_embeddings
from hf_tl.models.trusted import read_adapter
from hf_tl.models.weights import read_header

WEIGHTS = "adapter_model.safetensors"
LITERAL = re.compile(r"\^?(?:[\w.\-]|\\[.d])+\$?", re.A)
"""A name, or a pattern without anything that repeats: PEFT takes each for a regular expression."""
REFUSED = ("megatron_config", "layer_replication", "eva_config", "corda_config", "loftq_config", "lora_ga_config")
"""They import a module that the file names, multiply layers, or are computed from data."""
RANK = 65_536
MAX_LIST = 10_000
"""Entries of a list."""


def check_adapter_config(folder: Path) -> dict[str, Any]:
    """What `adapter_config.json` says, checked before PEFT reads it.

    Raises:
        ModelError: it is damaged, of a type that PEFT does not know, or holds what an adapter of others may not: names
            file, key and value.
    """
    from peft import TaskType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING as known

    file = folder / "adapter_config.json"
    found = read_adapter(folder)

    def refused(key: str, expected: str) -> ModelError:
        text = repr(found.get(key))
        return ModelError(f"{file}: {key} is {text if len(text) <= 80 else text[:79] + '…'}, expected {expected}.")

    types = [each.value for each in known]
    if found.get("peft_type") not in types:
        raise refused("peft_type", f"one of {listing(types, most=5)}, which the installed PEFT knows")
    tasks = [each.value for each in TaskType]
    if found.get("task_type") not in (None, *tasks):
        raise refused("task_type", f"null or one of {listing(tasks)}")
    for key in REFUSED:
        if found.get(key):
            raise refused(key, "nothing: hf_tl loads no adapter that has it")
    for key in ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern", "target_parameters"):
        value = found.get(key)
        if value is None or (isinstance(value, str) and key in ("target_modules", "exclude_modules")):
            continue  # a regular expression: `peft_config` reads the names from the weights instead
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) and LITERAL.fullmatch(name) for name in names):
            raise refused(key, "a list of names")
    for key, value in found.items():
        if isinstance(value, list) and len(value) > MAX_LIST:
            raise ModelError(f"{file}: {key} is a list of {len(value):,}, expected at most {MAX_LIST:,}.")
    for key in ("rank_pattern", "alpha_pattern"):
        value = found.get(key) or {}
        if not isinstance(value, dict) or not all(LITERAL.fullmatch(name) and _rank(value[name]) for name in value):
            raise refused(key, "a number for each of some names")
    if found.get("r") is not None and not (type(found["r"]) is int and _rank(found["r"])):
        raise refused("r", f"a whole number of 1 to {RANK:,}")
    for key in ("lora_alpha", "lora_dropout"):
        if found.get(key) is not None and type(found[key]) not in (int, float):
            raise refused(key, "a number")
    return found


def _rank(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= RANK


def peft_config(folder: Path) -> Any:
    """The adapter's configuration as PEFT's own record; in the place of regular expressions stand the modules that its
    weights are for, which are the same.

    Raises:
        ModelError: as `check_adapter_config`, or PEFT refuses it.
    """
    from peft import PeftConfig

    found = check_adapter_config(folder)
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # TypeError, ValueError, KeyError: whatever its dataclasses raise
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{folder / 'adapter_config.json'}: PEFT refuses it: {first[:300]}") from error
    patterns = [found.get(key) for key in ("target_modules", "exclude_modules")]
    if any(isinstance(each, str) and each != "all-linear" for each in patterns):
        names = adapted_modules(read_header(folder / WEIGHTS), found["peft_type"])
        if not names:
            raise ModelError(
                f"{folder / 'adapter_config.json'}: target_modules is a regular expression, and no module can be told "
                f"from {WEIGHTS}; write the modules as a list."
            )
        config.target_modules, config.exclude_modules = set(names), None
    return config


def adapted_modules(names: Iterable[str], peft_type: str) -> list[str]:
    """The modules that weights called `names` belong to: `base_model.model.X.lora_A.weight` is for X."""
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING as prefixes

    mark = f".{prefixes.get(peft_type, 'lora_')}"
    found = {name.removeprefix("base_model.model.").partition(mark)[0] for name in names if mark in name}
    return sorted(found)


def laid_upon(base: nn.Module, folder: Path) -> Any:
    """The adapter in `folder` on `base`, merged into plain weights."""
    from peft import PeftModel, get_peft_model_state_dict

    from hf_tl.models.bounds import building

    config = peft_config(folder)
    config.inference_mode = True
    if not names_embeddings(base):
        base.get_input_embeddings = nn.Module  # type: ignore[assignment]  # PEFT asks networks that read no tokens as well
    with building(f"the adapter {folder}", [folder / WEIGHTS], base):
        model: Any = PeftModel.from_pretrained(base, folder, config=config)
        wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
        lacking = sorted(set(wanted) - set(read_header(folder / WEIGHTS)))
        if lacking:  # PEFT would go on with random ones
            raise ModelError(
                f"{folder / WEIGHTS}: lacks {len(lacking)} of the {len(wanted)} tensors that adapter_config.json "
                f"describes ({listing(lacking, most=2)}), so it is another adapter's."
            )
        return model.merge_and_unload(safe_merge=True)
