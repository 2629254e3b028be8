"""Errors of predicted properties."""

import math

import numpy as np
import pytest

from mlff_curate.validation.property_errors import area_under_curve, classification_errors, regression_errors


def test_mean_absolute_and_root_mean_square():
    assert regression_errors(np.array([1.0, 2.0]), np.array([2.0, 5.0])) == pytest.approx({"mae": 2.0, "rmse": 5**0.5})


def test_accuracy_is_at_one_half():
    found = classification_errors(np.array([0.1, 0.6, 0.5, 0.9]), np.array([0, 1, 1, 0]))
    assert found == pytest.approx({"accuracy": 0.5, "auc": 0.5})


def test_area_is_the_share_of_pairs_in_the_right_order_ties_half():
    rng = np.random.default_rng(0)
    probability, true = rng.integers(0, 5, 40) / 5, rng.integers(0, 2, 40)
    pairs = [(p > q) + 0.5 * (p == q) for p in probability[true == 1] for q in probability[true == 0]]
    assert area_under_curve(probability, true) == pytest.approx(np.mean(pairs))


def test_one_class_has_no_area():
    assert math.isnan(area_under_curve(np.array([0.1, 0.2]), np.array([1, 1])))
