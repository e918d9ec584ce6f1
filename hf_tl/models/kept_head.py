"""A head that is kept with its labels: its outputs are put in the order of the new labels, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from hf_tl.models.layers import head_modules
from hf_tl.task import Task

CLASSES = re.compile(r"class_embed|score_head|class_labels_classifier")
"""Modules of detectors that give or take classes."""
BOXES = re.compile("box")
"""Modules that give the sides of boxes, which may be as many as classes."""


def label_order(old: Mapping[Any, str], new: Sequence[str]) -> list[int] | None:
    """For each new label the old output that is of it; outputs of names that are gone serve names that are new. None:
    no name is the same, or each is in its place already."""
    names = [str(old[key]) for key in sorted(old, key=int)]
    if len(names) != len(new):
        return None
    places = {name.strip().casefold(): index for index, name in enumerate(names)}
    known = {label: places[label.strip().casefold()] for label in new if label.strip().casefold() in places}
    rest = iter(sorted(set(range(len(names))) - set(known.values())))
    if not known or len(set(known.values())) < len(known):
        return None
    # what keeps its place first, so that as little as may be moves
    order = [known[label] if label in known else next(rest) for label in new]
    return order if order != list(range(len(names))) else None


def kept_note(model: nn.Module, old: Any, labels: Sequence[str], id: str, task: Task) -> list[str]:
    """Puts the outputs of a kept head in the order of the data's labels, and says what was done.

    Args:
        old: index -> name of the labels that it had.
    """
    if not task.new_head or not labels or dict(old or {}) == dict(enumerate(labels)):
        return []
    order = label_order(old or {}, labels)
    if order is not None and put_in_order(model, head_modules(model, ()), order):
        return [f"The head of {id} is kept; its outputs are put in the order of the data's labels, by their names."]
    return [f"The head of {id} has {len(labels)} labels as well and is kept as the initialization."]


def put_in_order(model: nn.Module, heads: Sequence[str], order: Sequence[int]) -> bool:
    """Reorders the outputs of head modules in place; an output beyond the labels, such as a detector's for nothing,
    stays the last. Detectors have heads inside of their backbone, known by their names. Returns whether any was found.
    """
    count, found = len(order), False
    inner = [name for name, module in model.named_modules() if CLASSES.search(name) and _weight(module) is not None]
    for head in dict.fromkeys([*heads, *inner]):
        leaves = [
            module
            for name, module in model.get_submodule(head).named_modules(prefix=head)
            if (weight := _weight(module)) is not None
            and weight.shape[0] in (count, count + 1)
            and not BOXES.search(name)
            and (head in heads or not any(name == each or name.startswith(each + ".") for each in heads))
        ]
        for module in leaves[-1:]:
            weight, bias = _weight(module), getattr(module, "bias", None)
            assert weight is not None
            rows = [*order, *range(count, weight.shape[0])]
            index = torch.tensor(rows, device=weight.device)
            with torch.no_grad():
                weight.copy_(weight[index].clone())
                if isinstance(bias, torch.Tensor) and bias.shape[0] == len(rows):
                    bias.copy_(bias[index].clone())
            found = True
    return found


def _weight(module: nn.Module) -> torch.Tensor | None:
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, torch.Tensor) else None
