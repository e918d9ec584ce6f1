"""A head that is kept: its outputs follow the names of the labels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hf_tl.models.kept_head import label_order, put_in_order


@pytest.mark.parametrize(
    ("old", "new", "order"),
    [
        (["red", "blue"], ["blue", "red"], [1, 0]),
        (["red", "blue"], ["red", "blue"], None),
        (["a", "b", "c"], ["c", "a", "b"], [2, 0, 1]),
        (["Cat", "dog"], ["dog", "cat"], [1, 0]),
        (["a", "b", "c"], ["b", "c", "d"], [1, 2, 0]),  # what is gone serves what is new
        (["LABEL_0", "LABEL_1"], ["b", "a"], None),
        (["a", "b"], ["a", "b", "c"], None),
        (["a", "A"], ["A", "a"], None),  # which is which nobody can know
    ],
)
def test_the_order_of_labels(old: list[str], new: list[str], order: list[int] | None) -> None:
    assert label_order(dict(enumerate(old)), new) == order
    assert label_order({str(index): name for index, name in enumerate(old)}, new) == order


def test_outputs_are_put_in_order() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "one": nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)),
            "detector": nn.Linear(4, 4),  # classes, and nothing
            "bbox_head": nn.Linear(4, 4),
            "inner": nn.ModuleDict({"class_embed": nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)])}),
            "map": nn.Conv2d(4, 3, 1),
            "other": nn.Linear(4, 7),
        }
    )
    x, order = torch.randn(2, 4), [2, 0, 1]
    image = torch.randn(2, 4, 5, 5)

    def outputs() -> list[torch.Tensor]:
        inner = model["inner"]["class_embed"]
        heads = [model[name](x) for name in ("one", "detector", "other", "bbox_head")]
        return [*heads[:2], model["map"](image), *heads[2:], *(each(x) for each in inner)]

    before = outputs()
    assert put_in_order(model, ["one", "detector", "bbox_head", "map"], order)
    after = outputs()
    assert torch.equal(after[0], before[0][:, order]) and torch.equal(after[1], before[1][:, [*order, 3]])
    assert torch.equal(after[2], before[2][:, order]) and torch.equal(after[3], before[3])
    assert torch.equal(after[4], before[4])
    assert all(torch.equal(one, other[:, order]) for one, other in zip(after[5:], before[5:], strict=True))
    assert not put_in_order(nn.ModuleDict({"other": nn.Linear(4, 7)}), ["other"], order)
