"""The order of training samples: a function of (seed, epoch) alone, so that a resumed run continues it exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler

MEGA = 50
"""Batches that are sorted by length together: long enough to save padding, short enough to stay random."""


class EpochSampler(Sampler[int]):
    """Shuffled, length-grouped or class-balanced indices.

    Args:
        dataset: what is sampled; its `set_epoch` is called too, where it has one.
        group: samples of one optimiser step, over all processes and accumulated batches, so that the grouping does
            not depend on how a step is cut.
        lengths: tokens of each sample; batches then hold similar lengths, the longest group first (so that memory
            that does not suffice is noticed at once).
        classes: class id of each sample; then every class is drawn equally often, with replacement.
    """

    def __init__(
        self,
        dataset: Any,
        group: int,
        seed: int,
        lengths: Sequence[int] | None = None,
        classes: Sequence[int] | None = None,
    ) -> None:
        self.dataset, self.group, self.seed, self.epoch = dataset, max(1, group), seed, 0
        self.lengths = None if lengths is None else np.asarray(lengths)
        self.classes = None if classes is None else np.asarray(classes)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        count = len(self)
        if self.classes is not None:
            frequency = np.bincount(self.classes)
            share = 1 / frequency[self.classes]
            order = random.choice(count, size=count, p=share / share.sum())
        else:
            order = random.permutation(count)
        if self.lengths is not None:
            order = self._grouped(order, random)
        return iter(order.tolist())

    def _grouped(self, order: np.ndarray, random: np.random.Generator) -> np.ndarray:
        assert self.lengths is not None
        size = self.group * MEGA
        batches = []
        for start in range(0, len(order), size):
            mega = order[start : start + size]
            mega = mega[np.argsort(-self.lengths[mega], kind="stable")]
            batches += [mega[at : at + self.group] for at in range(0, len(mega), self.group)]
        # The short last batch stays last; the longest comes first; the others are shuffled.
        tail = [batches.pop()] if len(batches[-1]) < self.group and len(batches) > 1 else []
        lengths = self.lengths
        longest = max(range(len(batches)), key=lambda index: int(lengths[batches[index]].max()))
        rest = [batch for index, batch in enumerate(batches) if index != longest]
        shuffled = [rest[index] for index in random.permutation(len(rest))]
        return np.concatenate([batches[longest], *shuffled, *tail])
