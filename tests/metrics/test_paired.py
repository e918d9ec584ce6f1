"""Comparing two models on the same samples."""

from __future__ import annotations

import numpy as np
import pytest

from hf_tl.errors import DataError
from hf_tl.metrics.paired import paired_bootstrap


def test_pairs_see_what_two_intervals_would_not() -> None:
    random = np.random.default_rng(0)
    b = (random.random(500) < 0.8).astype(float)
    a = b.copy()
    a[np.flatnonzero(b == 0)[:15]] = 1  # a is right wherever b is, and on 15 samples more
    found = paired_bootstrap(a, b)
    assert found.value == pytest.approx(15 / 500)
    assert found.clear and 0.014 < found.low < 0.03 < found.high < 0.047
    assert str(found).startswith("+0.030 (+0.01")
    # the two accuracies on their own overlap
    assert a.mean() - 1.96 * a.std() / np.sqrt(500) < b.mean() + 1.96 * b.std() / np.sqrt(500)


def test_no_difference_is_not_clear() -> None:
    random = np.random.default_rng(1)
    pairs = random.random((200, 2, 300)) < 0.7  # 200 pairs of models that are equally good
    wrongly = sum(paired_bootstrap(a, b, resamples=500).clear for a, b in pairs)
    assert 2 <= wrongly <= 20  # 95 % intervals: about ten
    same = paired_bootstrap([1, 0, 1], [1, 0, 1])
    assert same.value == 0 and not same.clear


def test_the_interval_is_that_of_the_mean_of_differences() -> None:
    random = np.random.default_rng(2)
    difference = random.normal(0.1, 1, 900)
    found = paired_bootstrap(difference, np.zeros(900), resamples=4000)
    half = 1.96 * difference.std() / 30
    assert found.high - found.low == pytest.approx(2 * half, rel=0.06)


def test_runs_that_differ_widen_the_interval() -> None:
    random = np.random.default_rng(3)
    b = random.random((1, 400)) < 0.7
    alike = np.repeat(random.random((1, 400)) < 0.75, 3, axis=0)
    unlike = np.stack([random.random(400) < p for p in (0.65, 0.75, 0.85)])
    narrow, wide = paired_bootstrap(alike, b), paired_bootstrap(unlike, b)
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1, 0], [1])])
def test_scores_of_other_samples_are_refused(a: list[int], b: list[int]) -> None:
    with pytest.raises(DataError, match="samples"):
        paired_bootstrap(a, b)
