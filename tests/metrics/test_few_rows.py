"""Of few rows an interval is as wide as what is not known: drawn anew, it holds the truth as often as it says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hf_tl.metrics.classification import measure
from hf_tl.metrics.intervals import FEW, Score, share_interval, too_few, with_intervals
from hf_tl.metrics.paired import paired_bootstrap
from hf_tl.metrics.regression import measure_regression

ROUNDS = 120


def coverage(
    rows: int, draw: Callable[[np.random.Generator], dict[str, dict[str, float]]], truth: dict[str, float]
) -> Any:
    """Of how many of the intervals of drawn rows the truth is inside, by metric."""
    random = np.random.default_rng(rows)
    inside = dict.fromkeys(truth, 0)
    for _ in range(ROUNDS):
        found = draw(random)
        for name, value in truth.items():
            inside[name] += found[name]["low"] <= value <= found[name]["high"]
    return {name: count / ROUNDS for name, count in inside.items()}


@pytest.mark.parametrize("rows", [5, 10, 30])
@pytest.mark.parametrize("right", [0.7, 0.97])
def test_classification(rows: int, right: float) -> None:
    """Two classes, equally often, both predicted rightly as often: then that is every metric's truth."""

    def draw(random: np.random.Generator) -> dict[str, dict[str, float]]:
        true = random.integers(0, 2, rows)
        said = np.where(random.random(rows) < right, true, 1 - true)
        return measure(["accuracy", "f1_macro", "balanced_accuracy"], said, true, ["a", "b"], resamples=60).metrics

    found = coverage(rows, draw, dict.fromkeys(("accuracy", "f1_macro", "balanced_accuracy"), right))
    assert found["accuracy"] >= 0.93 and found["f1_macro"] >= 0.9 and found["balanced_accuracy"] >= 0.9


@pytest.mark.parametrize("rows", [5, 10, 30])
def test_regression_and_losses(rows: int) -> None:
    def draw(random: np.random.Generator) -> dict[str, dict[str, float]]:
        true = random.normal(0, 2, rows)
        said = true + random.normal(0, 1, rows)
        found = measure_regression(said, true, (said - true) ** 2, resamples=60).metrics
        loss = random.exponential(1, rows)
        return {**found, **with_intervals({"loss": Score(float(loss.mean()), loss)}, rows, resamples=60)}

    found = coverage(rows, draw, {"mae": math.sqrt(2 / math.pi), "mse": 1.0, "pearson": 2 / math.sqrt(5), "loss": 1.0})
    assert found["mae"] >= 0.9 and found["mse"] >= 0.85 and found["loss"] >= 0.9 and found["pearson"] >= 0.9, found


def test_six_of_six_right_is_not_certain() -> None:
    found = measure(["accuracy", "f1_macro"], [0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0, 1], ["a", "b"]).metrics
    low = stats.binomtest(6, 6).proportion_ci(method="exact").low
    assert low == pytest.approx(0.5407, abs=1e-4)
    for name in ("accuracy", "f1_macro"):
        assert found[name] == {"value": 1.0, "low": pytest.approx(low), "high": 1.0}


@pytest.mark.parametrize(("right", "rows"), [(0, 5), (3, 7), (29, 30), (30, 30), (400, 400)])
def test_a_share_has_the_exact_interval(right: int, rows: int) -> None:
    expected = stats.binomtest(right, rows).proportion_ci(method="exact")
    assert share_interval(right / rows, rows) == pytest.approx((expected.low, expected.high))


def test_all_right_of_many_is_not_certain_either() -> None:
    found = with_intervals({"accuracy": Score(1.0, np.ones(400))}, 400)["accuracy"]
    assert found["low"] == pytest.approx(0.025 ** (1 / 400)) and found["high"] == 1


def test_a_mean_has_students_interval() -> None:
    losses = np.array([0.5, 1.0, 1.25, 3.0, 2.0])
    found = with_intervals({"loss": Score(float(losses.mean()), losses)}, 5)["loss"]
    low, high = stats.t.interval(0.95, 4, losses.mean(), stats.sem(losses))
    high = losses.mean() * np.exp(high / losses.mean() - 1)  # a loss has a long tail
    assert (found["low"], found["high"]) == pytest.approx((max(0.0, low), high))
    columns = np.stack([losses, np.ones(5)], axis=1)
    of_sums = Score(float(losses.mean()), columns, lambda sums: sums[:, 0] / sums[:, 1])
    anew = Score(float(losses.mean()), recompute=lambda rows: float(losses[rows].mean()))
    for score in (of_sums, anew):
        again = with_intervals({"loss": score}, 5)["loss"]
        assert (again["low"], again["high"]) == pytest.approx((max(0.0, low), high))


def test_where_no_interval_can_be_given_none_is() -> None:
    found = measure(["accuracy", "loss"], [1], [1], ["a", "b"], sample_losses=[0.3]).metrics
    assert found["accuracy"] == {"value": 1.0, "low": pytest.approx(0.025), "high": 1.0}
    assert found["loss"]["value"] == 0.3 and math.isnan(found["loss"]["low"]) and math.isnan(found["loss"]["high"])
    unknown = with_intervals({"of_somebody": Score(1.0, np.ones(6), within=(-math.inf, math.inf))}, 6)["of_somebody"]
    assert math.isnan(unknown["low"])  # all alike, and nobody knows what it may be


def test_many_rows_have_the_percentile_bootstrap_alone() -> None:
    values = np.random.default_rng(0).random(FEW + 1)
    wide, narrow = (
        with_intervals({"rouge1": Score(float(part.mean()), part)}, len(part))["rouge1"]
        for part in (values[1:], values)
    )
    assert wide["high"] - wide["low"] > 1.4 * (narrow["high"] - narrow["low"])  # as of right and wrong


def test_a_difference_of_few_pairs_is_not_certain() -> None:
    same = paired_bootstrap(np.ones(6), np.ones(6))
    assert same.value == 0 and same.low == pytest.approx(-same.high) and 0.7 < same.high < 0.8 and not same.clear
    all_won = paired_bootstrap(np.ones(6), np.zeros(6))
    assert (all_won.low, all_won.high) == (pytest.approx(2 * 0.5407 - 1, abs=1e-3), 1.0) and all_won.clear


def test_too_few_to_tell_is_said() -> None:
    found = {"value": 1.0, "low": 0.541, "high": 1.0}
    assert too_few(6, "test", "accuracy", found) == (
        "The test split has 6 rows, too few to tell how good the model is: accuracy 1.000 here may be anything "
        "from 0.541 to 1.000 elsewhere."
    )
    assert too_few(FEW + 1, "test", "accuracy", found) is None
    none = {"value": 1.0, "low": math.nan, "high": math.nan}
    assert str(too_few(1, "all", "R²", none)).endswith(
        "has 1 row, too few to tell how good the model is: no interval of R² can be given."
    )
