"""The order of samples is a function of seed and epoch."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_tl.training.sampler import EpochSampler


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 3))
def test_grouped_order_holds_every_sample_once(lengths: list[int], group: int, epoch: int) -> None:
    sampler = EpochSampler(range(len(lengths)), group, seed=1, lengths=lengths)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(len(lengths)))
    assert order == list(sampler)


def test_epochs_differ_and_groups_have_like_lengths() -> None:
    lengths = np.random.default_rng(0).integers(3, 100, 1000)
    sampler = EpochSampler(range(1000), 10, seed=1, lengths=lengths)
    first = list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)
    spread = [np.ptp(lengths[first[at : at + 10]]) for at in range(0, 1000, 10)]
    assert np.mean(spread) < 10
    assert lengths[first[0]] == lengths[:500].max() or lengths[first[0]] >= np.sort(lengths)[-20]


def test_balanced_sampling_draws_rare_classes_as_often() -> None:
    classes = [0] * 900 + [1] * 100
    drawn = np.asarray(classes)[list(EpochSampler(range(1000), 10, seed=1, classes=classes))]
    assert 430 < (drawn == 1).sum() < 570
