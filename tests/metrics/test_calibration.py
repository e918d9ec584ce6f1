"""Reliability diagram and expected calibration error."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from hf_tl.metrics.calibration import calibration


def test_the_error_by_hand() -> None:
    found = calibration(np.array([0.95, 0.95, 0.6, 0.6]), np.array([True, False, True, True]))
    assert found.counts == (0, 0, 0, 0, 0, 2, 0, 0, 0, 2)
    assert found.error == pytest.approx(0.5 * 0.45 + 0.5 * 0.4)
    assert found.overconfident == pytest.approx(0.5 * 0.45 - 0.5 * 0.4)


def test_the_curve_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    confidence = random.random(500)
    correct = random.random(500) < confidence
    found = calibration(confidence, correct)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=10)
    np.testing.assert_allclose(found.accuracy, accuracy)
    np.testing.assert_allclose(found.confidence, mean)
    assert found.error < 0.06  # it is calibrated by construction


def test_edges_belong_to_the_first_and_last_bin() -> None:
    assert calibration(np.array([0.0, 1.0]), np.array([False, True])).counts[0::9] == (1, 1)
