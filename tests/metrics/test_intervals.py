"""The bootstrap itself: what is drawn, and how a metric of each kind is taken on it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from hf_tl.metrics.intervals import Measurement, Score, percentiles, resamples_of, with_intervals


@pytest.fixture(autouse=True)
def no_rows_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added for few rows has its own tests: test_few_rows.py."""
    monkeypatch.setattr("hf_tl.metrics.intervals.FEW", 0)


def test_resamples_are_drawn_evenly() -> None:
    counts = np.concatenate(list(resamples_of(20, 3000, 0)))
    assert counts.shape == (3000, 20) and (counts.sum(1) == 20).all() and counts.min() == 0
    assert np.abs(counts.mean(0) - 1).max() < 0.1  # every sample as often as any other
    assert counts.var() == pytest.approx(0.95, abs=0.03)  # binomial: 20 draws of 1 in 20
    again, other = (np.concatenate(list(resamples_of(20, 3000, seed))) for seed in (0, 1))
    assert np.array_equal(counts, again) and not np.array_equal(counts, other)
    assert np.abs(np.corrcoef(counts[:-1].ravel(), counts[1:].ravel())[0, 1]) < 0.02  # each drawn anew


def test_no_more_is_drawn_at_once_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_tl.metrics.intervals.CHUNK", 100)
    assert [len(chunk) for chunk in resamples_of(50, 5, 0)] == [2, 2, 1]
    assert [len(chunk) for chunk in resamples_of(101, 2, 0)] == [1, 1]  # never none
    assert [len(chunk) for chunk in resamples_of(1, 3, 0)] == [3]


def test_percentiles() -> None:
    values = np.random.default_rng(0).permutation(1001) / 10
    low, high = percentiles(values)
    assert (low, high) == pytest.approx((2.5, 97.5)) and type(low) is type(high) is float
    assert percentiles(values, 0.5) == pytest.approx((25, 75))


def drawn(samples: int, resamples: int, seed: int = 42) -> list[np.ndarray]:
    """Of each resample the indices that were drawn."""
    return [np.repeat(np.arange(samples), row) for row in np.concatenate(list(resamples_of(samples, resamples, seed)))]


VALUES = np.random.default_rng(1).normal(size=30)


def bounds(values: list[float], confidence: float = 0.95) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    return tuple(np.quantile(values, [tail, 1 - tail]))  # type: ignore[return-value]


def test_the_mean_is_that_of_the_first_column() -> None:
    wide = np.stack([VALUES, -VALUES], axis=1)
    for per_sample in (VALUES, wide, sparse.csc_array(wide)):
        found = with_intervals({"a": Score(7.0, per_sample)}, 30, resamples=200)["a"]
        assert found["value"] == 7.0  # as it was given
        assert (found["low"], found["high"]) == pytest.approx(bounds([VALUES[at].mean() for at in drawn(30, 200)]))


def test_a_metric_of_sums_and_the_defaults() -> None:
    columns = np.stack([VALUES, np.ones(30)], axis=1)
    score = Score(0.0, columns, lambda sums: sums[:, 0] ** 2 / sums[:, 1])
    found = with_intervals({"a": score}, 30)["a"]
    wanted = bounds([VALUES[at].sum() ** 2 / 30 for at in drawn(30, 1000)])
    assert (found["low"], found["high"]) == pytest.approx(wanted)
    narrow = with_intervals({"a": score}, 30, resamples=100, seed=3, confidence=0.5)["a"]
    wanted = bounds([VALUES[at].sum() ** 2 / 30 for at in drawn(30, 100, 3)], 0.5)
    assert (narrow["low"], narrow["high"]) == pytest.approx(wanted)


def test_what_is_computed_anew_is_so_on_a_fifth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_tl.metrics.intervals.CHUNK", 30 * 15)  # chunks of 15 resamples
    asked: list[np.ndarray] = []

    def median(rows: np.ndarray) -> float:
        asked.append(rows)
        return float(np.median(VALUES[rows]))

    found = with_intervals({"a": Score(0.0, recompute=median)}, 30, resamples=100)["a"]
    few = drawn(30, 100)[:20]
    assert len(asked) == 20 and all(np.array_equal(a, b) for a, b in zip(asked, few, strict=True))
    assert (found["low"], found["high"]) == pytest.approx(bounds([float(np.median(VALUES[at])) for at in few]))


def test_what_is_not_defined_on_a_resample_is_left_out() -> None:
    values = iter([np.nan, 1.0, np.inf, 3.0] * 5)
    found = with_intervals({"a": Score(9.0, recompute=lambda rows: next(values))}, 4, resamples=100, confidence=0.999)
    assert (found["a"]["low"], found["a"]["high"]) == pytest.approx((1, 3), abs=0.01)
    never = with_intervals({"a": Score(9.0, recompute=lambda rows: float("nan"))}, 4, resamples=100)["a"]
    assert never["value"] == 9.0 and np.isnan([never["low"], never["high"]]).all()
    bare = with_intervals({"a": Score(9.0)}, 4, resamples=100)["a"]  # nothing says how it is taken anew
    assert bare["value"] == 9.0 and np.isnan([bare["low"], bare["high"]]).all()


@pytest.mark.parametrize("score", [Score(2.0, VALUES), Score(2.0, recompute=lambda rows: 1.0), Score(np.float32(2.0))])
def test_without_resamples_the_value_alone(score: Any) -> None:
    found = with_intervals({"a": score}, 30, resamples=0)
    assert found == {"a": {"value": 2.0}}
    json.dumps(found)


def test_all_metrics_are_taken_on_the_same_resamples_and_are_json() -> None:
    scores = {"a": Score(0.0, VALUES), "b": Score(0.0, VALUES[:, None] * 2)}
    found = with_intervals(scores, 30, resamples=50)
    assert found["b"]["low"] == pytest.approx(2 * found["a"]["low"])
    json.dumps(found)
    assert Measurement({"a": {"value": 1.0, "low": 0.0, "high": 2.0}}).values == {"a": 1.0}
