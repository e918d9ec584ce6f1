"""What is reported of a regression equals scikit-learn and SciPy, on the whole split and on every resample."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from hf_tl.metrics.intervals import resamples_of
from hf_tl.metrics.regression import measure_regression

LIBRARIES = {
    "r2": lambda p, r: sk.r2_score(r, p),
    "mse": lambda p, r: sk.mean_squared_error(r, p),
    "mae": lambda p, r: sk.mean_absolute_error(r, p),
    "pearson": lambda p, r: stats.pearsonr(p, r).statistic,
    "spearman": lambda p, r: stats.spearmanr(p, r).statistic,
}


@pytest.mark.parametrize("mean", [0.0, 1e6])  # sums of squares lose digits far from zero
def test_values_and_intervals(mean: float) -> None:
    drawn = np.random.default_rng(0)
    truth = drawn.normal(mean, 5, 80)
    guess = 0.8 * truth + 0.2 * mean + drawn.normal(1, 3, 80)
    found = measure_regression(guess, truth, (guess - truth) ** 2, resamples=200)
    assert set(found.metrics) == set(LIBRARIES)
    rows = [np.repeat(np.arange(80), row) for counts in resamples_of(80, 200, 42) for row in counts]
    for name, of in LIBRARIES.items():
        assert found.values[name] == pytest.approx(of(guess, truth), rel=1e-9)
        few = rows[:40] if name == "spearman" else rows  # ranks are no sums: a fifth of the resamples
        low, high = np.quantile([of(guess[at], truth[at]) for at in few], [0.025, 0.975])
        assert found.metrics[name]["low"] == pytest.approx(low, rel=1e-6)
        assert found.metrics[name]["high"] == pytest.approx(high, rel=1e-6)
    assert found.baseline == pytest.approx(
        {"r2": 0.0, "mse": truth.var(), "mae": np.abs(truth - np.median(truth)).mean()}
    )


def test_a_constant_has_no_correlation() -> None:
    found = measure_regression(np.ones(5), np.arange(5.0), (1 - np.arange(5.0)) ** 2)
    assert math.isnan(found.values["pearson"]) and math.isnan(found.values["spearman"])
    assert found.values["mae"] == pytest.approx(1.4)
    assert math.isnan(measure_regression(np.arange(5.0), np.ones(5), np.zeros(5)).values["r2"])


def test_targets_that_lie_close_together() -> None:
    truth = np.array([0.1, 0.2, 0.3, 0.4])
    found = measure_regression(truth + 0.05, truth, np.full(4, 0.0025))
    assert found.values["r2"] == pytest.approx(1 - 4 * 0.0025 / 0.05)
    assert found.values["pearson"] == pytest.approx(1) and found.values["spearman"] == pytest.approx(1)
    two = measure_regression(np.array([0.0, 2.0]), np.array([0.0, 1.0]), np.array([0.0, 1.0]), resamples=0)
    assert two.values["pearson"] == pytest.approx(1) and two.values["r2"] == pytest.approx(-1)
