"""A head that is kept with its labels: its outputs are put in the order of the new labels, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn


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


def put_in_order(model: nn.Module, heads: Sequence[str], order: Sequence[int]) -> bool:
    """Reorders the outputs of head modules in place; an output beyond the labels, such as a detector's for nothing,
    stays the last. Returns whether any was found."""
    count, found = len(order), False
    for head in heads:
        leaves = [
            module
            for module in model.get_submodule(head).modules()
            if isinstance(getattr(module, "weight", None), torch.Tensor)
            and module.weight.shape[0] in (count, count + 1)
        ]
        for module in leaves[-1:]:
            rows = [*order, *range(count, module.weight.shape[0])]
            index = torch.tensor(rows, device=module.weight.device)
            with torch.no_grad():
                module.weight.copy_(module.weight[index].clone())
                bias = getattr(module, "bias", None)
                if isinstance(bias, torch.Tensor) and bias.shape[0] == len(rows):
                    bias.copy_(bias[index].clone())
            found = True
    return found
