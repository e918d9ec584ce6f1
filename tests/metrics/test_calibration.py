"""Reliability diagram and expected calibration error."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from hf_tl.metrics.calibration import calibration


def test_the_error_by_hand() -> None:
    found = calibration(np.array([0.95, 0.95, 0.6, 0.6]), np.array([True, False, True, True]))
    assert found.counts == (0, 0, 0, 0, 0, 2, 0, 0, 0, 2)
    assert found.error == pytest.approx(0.5 * 0.45 + 0.5 * 0.4)
    assert found.overconfident == pytest.approx(0.5 * 0.45 - 0.5 * 0.4)


def test_bins_weigh_by_their_samples() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # empty bins are no fault
        found = calibration(np.array([0.9, 0.8, 1.0, 0.1]), np.array([True, False, False, True]), bins=2)
    assert found.edges == (0.0, 0.5, 1.0) and found.counts == (1, 3)
    assert found.confidence == pytest.approx((0.1, 0.9)) and found.accuracy == pytest.approx((1, 1 / 3))
    assert found.error == pytest.approx((0.9 + 3 * (0.9 - 1 / 3)) / 4)
    assert found.overconfident == pytest.approx((0.9 + 0.8 + 1.0 + 0.1) / 4 - 2 / 4)  # whatever the bins
    json.dumps(asdict(found))
    assert type(found.error) is type(found.overconfident) is float


def test_a_confidence_on_an_edge_is_in_the_bin_below() -> None:
    found = calibration(np.array([0.25, 0.5, 0.5, 0.75, 0.76]), np.ones(5, dtype=bool), bins=4)
    assert found.counts == (1, 2, 1, 1)
    assert calibration(np.array([0.0, 1.0]), np.array([False, True])).counts == (1, 0, 0, 0, 0, 0, 0, 0, 0, 1)
    above = calibration(np.array([1.0 + 1e-7]), np.array([True]))  # rounding of a softmax
    assert above.counts[-1] == 1 and len(above.counts) == 10


def test_empty_bins_are_no_numbers_and_do_not_count() -> None:
    found = calibration(np.array([0.05]), np.array([True]))
    assert all(map(math.isnan, (*found.confidence[1:], *found.accuracy[1:])))
    assert found.error == pytest.approx(0.95) and found.overconfident == pytest.approx(-0.95)
    assert found.edges == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])


def test_the_curve_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    confidence = random.random(500)
    correct = random.random(500) < confidence
    found = calibration(confidence, correct)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=10)
    np.testing.assert_allclose(found.accuracy, accuracy)
    np.testing.assert_allclose(found.confidence, mean)
    assert found.error < 0.06  # it is calibrated by construction
