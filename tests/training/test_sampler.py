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


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    """What NumPy's generator of (seed, epoch) permutes, so it is the same on every machine and after a resume."""
    sampler = EpochSampler(range(20), 4, seed=3)
    assert list(sampler) == np.random.default_rng((3, 0)).permutation(20).tolist()
    sampler.set_epoch(2)
    assert list(sampler) == np.random.default_rng((3, 2)).permutation(20).tolist()
    assert list(EpochSampler(range(20), 4, seed=4)) != list(EpochSampler(range(20), 4, seed=3))


def test_the_epoch_reaches_a_dataset_that_has_one() -> None:
    class Rows(list[int]):
        epoch = -1

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    rows = Rows(range(4))
    sampler = EpochSampler(rows, 2, seed=0)
    sampler.set_epoch(5)
    assert rows.epoch == sampler.epoch == 5 and len(sampler) == 4
    EpochSampler(range(4), 2, seed=0).set_epoch(1)


def test_groups_are_sorted_within_fifty_groups() -> None:
    """230 samples in groups of 2: megabatches of 100, 100 and 30, each sorted from long to short and cut in twos."""
    lengths = np.random.default_rng(1).integers(1, 1000, 230)
    sampler = EpochSampler(range(230), 2, seed=7, lengths=lengths)
    random = np.random.default_rng((7, 0))
    drawn = random.permutation(230)
    pairs = []
    for start, stop in ((0, 100), (100, 200), (200, 230)):
        mega = sorted(drawn[start:stop], key=lambda index: -lengths[index])
        pairs += [mega[at : at + 2] for at in range(0, len(mega), 2)]
    found = np.array(list(sampler)).reshape(-1, 2).tolist()
    assert sorted(found) == sorted([list(map(int, pair)) for pair in pairs])
    assert max(lengths[found[0]]) == max(lengths)  # what does not fit the memory is noticed at once
    rest = [list(map(int, pair)) for pair in pairs if list(map(int, pair)) != found[0]]
    assert found[1:] == [rest[index] for index in random.permutation(len(rest))]


def test_the_short_last_batch_stays_last() -> None:
    lengths = [5, 1, 9, 3, 7, 2, 8]
    for epoch in range(4):
        sampler = EpochSampler(range(7), 3, seed=0, lengths=lengths)
        sampler.set_epoch(epoch)
        found = [lengths[index] for index in sampler]
        # sorted 9 8 7 | 5 3 2 | 1: the longest first, the rest of one in the end
        assert found == [9, 8, 7, 5, 3, 2, 1]
    assert [lengths[index] for index in EpochSampler(range(7), 9, seed=0, lengths=lengths)] == sorted(lengths)[::-1]


def test_balanced_draws_are_weighed_by_class_and_with_replacement() -> None:
    classes = [0] * 6 + [1] * 2 + [2]
    share = np.array([1 / 6] * 6 + [1 / 2] * 2 + [1.0]) / 3
    wanted = np.random.default_rng((1, 0)).choice(9, size=9, p=share)
    assert list(EpochSampler(range(9), 2, seed=1, classes=classes)) == wanted.tolist()


def test_balanced_draws_are_grouped_by_length_too() -> None:
    lengths = list(range(40))
    found = list(EpochSampler(range(40), 4, seed=1, lengths=lengths, classes=[0, 1] * 20))
    assert sorted(found) == sorted(EpochSampler(range(40), 4, seed=1, classes=[0, 1] * 20))
    assert all(found[at : at + 4] == sorted(found[at : at + 4], reverse=True) for at in range(0, 40, 4))
    assert found[0] == max(found)


def test_a_group_has_at_least_one_sample() -> None:
    assert EpochSampler(range(3), 0, seed=0).group == 1
