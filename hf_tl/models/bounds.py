"""What a model of somebody else may cost: its configurations are checked before a library reads them, and building it
may take no more than its weights are worth."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from hf_tl.errors import HfTlError, ModelError
from hf_tl.io.json_text import kind_of, read_bytes, read_object
from hf_tl.models.tokenizer_bounds import BYTES, check_tokenizer_json
from hf_tl.models.weights import check_weights, read_header

LAYERS = 2_000
LABELS = 100_000
SIDE = 4_096
"""Pixels of an image's side that a processor may ask for."""
BEAMS = 64
TOKENS = 1_000_000
ADDED_TOKENS = 50_000
PIXELS = SIDE**2
DIVISOR = 1_024
"""What sides may have to be multiples of."""
TILES = 64
"""Pieces that an image may be cut into."""
FREE = 64_000_000
"""Numbers that a model may have beyond twice its weights: new heads, tables of positions."""
FREE_TENSORS = 4_000
_COUNTS = re.compile(r"(^|_)(layers?|depths?|blocks|stages|num_experts)($|_)")
_NUMBERS: tuple[tuple[str, float, float], ...] = (
    (r"token|_ids?$|length|(^|_)(mean|std)$|rescale", -math.inf, math.inf),  # have rules of their own, or cost nothing
    (r"crop_pct|ratio|scale", 0.1, 1_000),
    (r"pixels", 1, PIXELS),
    (r"divis|multiple|patch_size|merge_size", 0, DIVISOR),
    (r"tiles|crops|max_\w*patches|splits", 0, TILES),
    (r"", -SIDE, SIDE),
)
"""Pattern of a key -> the least and the most that it may be in an image processor; the first that fits."""
_KINDS: dict[str, tuple[type, ...]] = {
    "model_type": (str,),
    "architectures": (list,),
    "auto_map": (dict,),
    "id2label": (dict,),
    "label2id": (dict,),
    "task_specific_params": (dict,),
    "problem_type": (str,),
    "num_labels": (int,),
    "vocab_size": (int,),
}


def check_files(folder: Path) -> None:
    """The configurations in a model's folder, before Transformers reads them.

    Raises:
        ModelError: one is damaged, or asks for more than can be meant; names file, key and value.
    """
    check_configuration(folder / "config.json")
    for name in ("preprocessor_config.json", "processor_config.json"):
        _check_processor(folder / name)
    _check_tokenizer_files(folder)
    file = folder / "generation_config.json"
    for key, value in (read_object(file, error=ModelError, nan=True) if file.exists() else {}).items():
        most = {"num_beams": BEAMS, "num_return_sequences": BEAMS, "num_beam_groups": BEAMS}.get(key)
        most = most or (TOKENS if re.fullmatch(r"(min|max)_(new_)?(length|tokens)", key) else None)
        if most and value is not None and not _between(value, 0, most):
            raise ModelError(f"{file}: {key} is {_shown(value)}, expected at most {most:,}.")


def check_configuration(file: Path) -> None:
    """A `config.json`: its known fields of their kinds, and no number of layers or labels that nothing has.

    Raises:
        ModelError: names file, key and value.
    """
    if not file.exists():
        return
    found = read_object(file, error=ModelError, nan=True)
    opened: list[tuple[str, Any]] = [("", found)]
    while opened:
        place, value = opened.pop()
        if isinstance(value, Mapping):
            for key, each in value.items():
                where = f"{place}.{key}".lstrip(".")
                _check_field(file, where, key, each)
                if key not in ("id2label", "label2id"):
                    opened.append((where, each))
        elif isinstance(value, list):
            opened += [(place, each) for each in value if isinstance(each, dict)]


def _check_field(file: Path, where: str, key: str, value: Any) -> None:
    kinds = _KINDS.get(key)
    if kinds and value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
        raise ModelError(f"{file}: {where} is {_shown(value)}, expected {kind_of(kinds[0]())}.")
    if key == "architectures" and not all(isinstance(each, str) for each in value or ()):
        raise ModelError(f"{file}: architectures is {_shown(value)}, expected the names of classes.")
    if key in ("num_labels", "num_classes") and value is not None and not _between(value, 0, LABELS):
        raise ModelError(f"{file}: {where} is {_shown(value)}, expected at most {LABELS:,}.")
    if key == "id2label" and value and len(value) > LABELS:
        raise ModelError(f"{file}: {where} has {len(value):,} labels, expected at most {LABELS:,}.")
    sides = value if isinstance(value, list) else [value]
    if key == "image_size" and not all(each is None or _between(each, 1, SIDE) for each in sides):
        raise ModelError(f"{file}: {where} is {_shown(value)}, expected a side of 1 to {SIDE:,} pixels.")
    numbers = [each for each in (value if isinstance(value, list) else [value]) if type(each) is int]
    if _COUNTS.search(key) and sum(map(abs, numbers)) > (LAYERS if type(value) is int else LAYERS**2):
        raise ModelError(f"{file}: {where} is {_shown(value)}, more layers than any model has.")
    if isinstance(value, list) and len(value) > 100_000:
        raise ModelError(f"{file}: {where} is a list of {len(value):,}, expected at most 100,000.")


def _check_processor(file: Path) -> None:
    if not file.exists():
        return
    found = read_object(file, error=ModelError, nan=True)
    _check_numbers(file, "", found)
    for name, part in ((None, found), *((key, value) for key, value in found.items() if key.endswith("processor"))):
        for key, value in part.items() if isinstance(part, dict) else ():
            where = f"{file}: {name + '.' if name else ''}{key} is {_shown(value)}, expected"
            if re.fullmatch(r"(\w+_)?size", key) and value is not None:
                sides = list(value.values()) if isinstance(value, dict) else [value] if type(value) is int else value
                if not isinstance(sides, list) or not all(each is None or _between(each, 1, SIDE) for each in sides):
                    raise ModelError(f"{where} sides of 1 to {SIDE:,} pixels.")
            elif key in ("image_mean", "image_std") and value is not None:
                numbers = value if isinstance(value, list) else [value] * 3
                plain = all(type(each) in (int, float) and abs(each) < 1e6 for each in numbers)
                if not plain or len(numbers) not in (1, 3) or (key == "image_std" and 0 in numbers):
                    raise ModelError(f"{where} a number for each colour.")
            elif key == "rescale_factor" and value is not None and type(value) not in (int, float):
                raise ModelError(f"{where} a number.")
            elif key == "resample" and value is not None and not _between(value, 0, 5):
                raise ModelError(f"{where} a filter of Pillow, 0 to 5.")
            elif key.startswith("do_") and not isinstance(value, (bool, type(None))):
                raise ModelError(f"{where} true or false.")


def _check_numbers(file: Path, place: str, value: Any) -> None:
    """Every number of an image processor, at any depth: one that no rule is for may be a number of pixels."""
    if isinstance(value, (Mapping, list)):
        for key, each in value.items() if isinstance(value, Mapping) else ((None, each) for each in value):
            _check_numbers(file, place if key is None else f"{place}.{key}".lstrip("."), each)
    elif type(value) in (int, float):
        key = place.rpartition(".")[2]
        for pattern, least, most in _NUMBERS:
            if re.search(pattern, key):
                if not least <= value <= most:
                    raise ModelError(f"{file}: {place} is {_shown(value)}, expected {least:g} to {most:,}.")
                return


def _check_tokenizer_files(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    found = read_object(file, error=ModelError, nan=True) if file.exists() else {}
    added = found.get("added_tokens_decoder")
    if added is not None and (not isinstance(added, dict) or len(added) > ADDED_TOKENS):
        what = f"{len(added):,} tokens" if isinstance(added, dict) else kind_of(added)
        raise ModelError(f"{file}: added_tokens_decoder holds {what}, expected at most {ADDED_TOKENS:,} tokens.")
    length = found.get("model_max_length")
    if length is not None and (type(length) not in (int, float) or length < 1):
        raise ModelError(f"{file}: model_max_length is {_shown(length)}, expected a number of tokens.")
    file = folder / "tokenizer.json"
    # each added token is an object, and little else in it is
    if file.exists() and read_bytes(file, error=ModelError, most=BYTES).count(b"{") > 2 * ADDED_TOKENS:
        raise ModelError(f"{file}: more than {ADDED_TOKENS:,} added tokens.")
    if file.exists():
        check_tokenizer_json(file)
    for name in ("special_tokens_map.json", "added_tokens.json"):
        if (folder / name).exists() and len(read_object(folder / name, error=ModelError)) > ADDED_TOKENS:
            raise ModelError(f"{folder / name}: more than {ADDED_TOKENS:,} added tokens.")


def _between(value: Any, least: int, most: int) -> bool:
    return type(value) in (int, float) and least <= value <= most


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


class _Made(TorchFunctionMode):
    """Tensors that are made while it is active have at most `most` numbers: some are filled before they belong to a
    module."""

    FACTORIES = (torch.zeros, torch.ones, torch.empty, torch.rand, torch.randn, torch.full, torch.eye)

    def __init__(self, most: int, refused: Callable[[str], ModelError]) -> None:
        super().__init__()
        self.most, self.refused = most, refused

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self.FACTORIES:
            size = kwargs.get("size", args[0] if args and not isinstance(args[0], int) else args)
            sides = [each for each in size if isinstance(each, int)] if isinstance(size, Iterable) else []
            if math.prod(sides) > self.most:
                raise self.refused(f"more than {self.most:,} numbers")
        return func(*args, **kwargs)


@contextlib.contextmanager
def building(what: str, files: list[Path], base: nn.Module | None = None) -> Iterator[None]:
    """While a model is built from weights `files`, it may have about twice as many numbers as they hold.

    Transformers builds a model, without memory, before it looks at the weights: what is too large stops there.

    Args:
        what: the model, for sentences.
        base: of an adapter, the model that it is applied to.

    Raises:
        ModelError: it would be larger; or whatever else kept it from loading.
    """
    most = 2 * check_weights(files) + FREE
    tensors = 4 * sum(len(read_header(file)) for file in files) + FREE_TENSORS
    if base is not None:
        tensors += 4 * len(list(base.parameters()))
        most += 2 * sum(parameter.numel() for parameter in base.parameters())
    sizes: dict[tuple[int, str], int] = {}  # what is registered again is loaded into the place of what was built
    seen = 0

    def hold(module: nn.Module, name: str, value: torch.Tensor | None) -> None:
        nonlocal seen
        place, size = (id(module), name), 0 if value is None else value.numel()
        seen, sizes[place] = seen + size - sizes.get(place, 0), size
        if seen > most or len(sizes) > tensors:
            extent = f"more than {most:,} numbers" if seen > most else f"more than {tensors:,} tensors"
            raise refused(extent)

    def refused(extent: str) -> ModelError:
        return ModelError(
            f"model: the configuration of {what} describes a network of {extent}, far more than its weights hold."
        )

    hooks = [register_module_parameter_registration_hook(hold), register_module_buffer_registration_hook(hold)]
    try:
        with _Made(most, refused):
            yield
    except (HfTlError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever Transformers, PEFT and safetensors raise
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if "ignore_mismatched_sizes" in said:
            said = "its weights have other shapes than its configuration says"
        raise ModelError(f"model: {what} cannot be loaded: {said}") from error
    finally:
        for hook in hooks:
            hook.remove()
