"""What of a pretrained network is of another size than in the one to be made, and is carried over rather than drawn:
the table of positions, for images of another size, and the first layer of a network for grey images.

The result is a plain model whose configuration says its size, so that it works in every stock pipeline.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedConfig

from hf_tl.errors import ModelError
from hf_tl.task import Task

LUMINANCE = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey image, as Pillow makes one."""
PARTS = ("vision_config",)
"""Parts of a configuration that may say what images are read."""


def _parts(config: PreTrainedConfig) -> list[Any]:
    found = [getattr(config, name, None) for name in PARTS]
    return [config, *(part for part in found if part is not None)]


def expect_size(config: PreTrainedConfig, task: Task, size: int) -> None:
    """Changes `config` in place to images of `size` pixels, for a network that takes others only on request; the rest
    take any."""
    cls = getattr(transformers, task.auto_class)._model_mapping.get(type(config), None)
    cls = cls[0] if isinstance(cls, tuple) else cls
    if cls is None or not _asks(cls):
        return
    for part in _parts(config):
        given = getattr(part, "image_size", None)
        if given is not None:
            part.image_size = [size, size] if isinstance(given, (list, tuple)) else size


def _asks(cls: type) -> bool:
    """Whether a network's layers interpolate positions only when they are asked to, by an argument."""
    layers = [each for each in vars(sys.modules[cls.__module__]).values() if isinstance(each, type)]
    return any(
        "interpolate_pos_encoding" in inspect.signature(layer.forward).parameters
        for layer in layers
        if issubclass(layer, nn.Module) and layer.__module__ == cls.__module__
    )


def expect_colours(config: PreTrainedConfig, processor: Any, id: str) -> None:
    """Changes `config` and the image processor of a network for grey images, in place, to images in colour, which is
    what every pipeline gives.

    Raises:
        ModelError: a network for images of other channels.
    """
    for part in _parts(config):
        channels = getattr(part, "num_channels", 3)
        if channels not in (1, 3):
            raise ModelError(f"model: {id} reads images of {channels} channels, expected 3, or 1 for grey ones.")
        if channels == 1:
            part.num_channels = 3
    for name in ("image_mean", "image_std"):
        values = getattr(processor, name, None)
        if isinstance(values, (list, tuple)) and len(values) == 1:
            setattr(processor, name, list(values) * 3)


def carry_over(
    model: nn.Module,
    info: Mapping[str, Any],
    before: Callable[[], PreTrainedConfig],
    load: Callable[..., nn.Module],
) -> set[str]:
    """Fills those of the parameters that were made anew, because their shape is another than the weights', that can be
    made of the weights.

    Args:
        info: what `from_pretrained` says of the loading.
        before: reads the configuration that the weights are for.
        load: loads a model by a `config`.

    Returns:
        The names of those that were filled.

    Raises:
        ModelError: a table of positions that cannot be carried over.
    """
    made = dict(model.named_parameters(remove_duplicate=False))
    names = sorted(key[0] for key in info["mismatched_keys"] if key[0] in made)
    wanted = {name: made[name] for name in names if _may_be(name, made[name])}
    if not wanted:
        return set()
    config, done = before(), set()
    old = dict(load(config=config).named_parameters(remove_duplicate=False))
    for name, new in wanted.items():
        found = _carried(old[name], new, config, model.config) if name in old else None
        if found is None and "position" in name and name in old:
            raise ModelError(
                f"model: {name} is of shape {list(new.shape)} by the configuration and {list(old[name].shape)} in the "
                "weights, and would be drawn anew; leave model.config as the weights are."
            )
        if found is not None:
            with torch.no_grad():
                new.copy_(found)
            done.add(name)
    return done


def _may_be(name: str, new: torch.Tensor) -> bool:
    return "pos" in name.lower() or (new.ndim == 4 and new.shape[1] == 3)


def _carried(old: torch.Tensor, new: torch.Tensor, before: Any, after: Any) -> torch.Tensor | None:
    if old.ndim != new.ndim:
        return None
    if new.ndim == 4 and old.shape[1] == 1 and new.shape[1] == 3 and old.shape[2:] == new.shape[2:]:
        return old * torch.tensor(LUMINANCE, dtype=old.dtype, device=old.device)[None, :, None, None]
    if new.ndim not in (2, 3) or old.shape[-1] != new.shape[-1] or old.shape[:-2] != new.shape[:-2]:
        return None
    for was, is_now in zip(_parts(before), _parts(after), strict=True):
        grids = [grid for grid in (_grid(was), _grid(is_now)) if grid is not None]
        if len(grids) < 2:
            continue
        first = old.shape[-2] - grids[0][0] * grids[0][1]  # what stands before the patches, such as a class token
        if 0 <= first == new.shape[-2] - grids[1][0] * grids[1][1]:
            return _interpolated(old, first, grids[0], grids[1])
        tables = [(2 * rows - 1, 2 * columns - 1) for rows, columns in grids]  # of differences of places, BEiT's
        last = old.shape[-2] - tables[0][0] * tables[0][1]
        if 0 <= last == new.shape[-2] - tables[1][0] * tables[1][1]:
            swapped = old.roll(last, dims=-2)  # what is about the class token stands at the end
            return _interpolated(swapped, last, tables[0], tables[1], mode="bilinear").roll(-last, dims=-2)
    return None


def _grid(config: Any) -> tuple[int, int] | None:
    """(rows, columns) of patches."""
    sides, patch = getattr(config, "image_size", None), getattr(config, "patch_size", None)
    if sides is None or patch is None:
        return None
    height, width = sides if isinstance(sides, (list, tuple)) else (sides, sides)
    tall, wide = patch if isinstance(patch, (list, tuple)) else (patch, patch)
    return height // tall, width // wide


def _interpolated(
    table: torch.Tensor, first: int, old: tuple[int, int], new: tuple[int, int], mode: str = "bicubic"
) -> torch.Tensor:
    """`table` (..., tokens, width) for another grid, as Transformers' `interpolate_pos_encoding` makes it; the `first`
    tokens stay as they are."""
    rest = table[..., first:, :].reshape(1, *old, table.shape[-1]).permute(0, 3, 1, 2)
    rest = nn.functional.interpolate(rest, size=new, mode=mode, align_corners=False)
    rest = rest.permute(0, 2, 3, 1).reshape(*table.shape[:-2], new[0] * new[1], table.shape[-1])
    return torch.cat([table[..., :first, :], rest], dim=-2)
