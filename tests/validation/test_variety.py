"""Entropy, diversity and coverage count what they say they count."""

import numpy as np
import pytest

from mlff_curate.validation import variety
from mlff_curate.validation.variety import bandwidth, covered, entropy_and_diversity


def rng():
    return np.random.default_rng(0)


APART = 100.0 * np.eye(8, 3, dtype=np.float32) + 50.0 * np.arange(8, dtype=np.float32)[:, None]


def test_environments_that_are_all_the_same_have_no_entropy_and_count_as_one():
    entropy, diversity = entropy_and_diversity(np.ones((50, 3), np.float32), 1.0, rng())
    assert entropy == pytest.approx(0.0, abs=1e-9)
    assert diversity == pytest.approx(0.0, abs=1e-9)


def test_environments_that_all_differ_count_each():
    assert entropy_and_diversity(APART, 1.0, rng()) == pytest.approx((np.log(8), np.log(8)))


def test_copies_lower_the_entropy_but_not_the_diversity():
    many = np.concatenate([APART, np.repeat(APART[:1], 92, axis=0)])
    entropy, diversity = entropy_and_diversity(many, 1.0, rng())
    assert entropy < 0.5
    assert diversity == pytest.approx(np.log(8))


def test_by_hand_for_two_environments_at_one_bandwidth():
    K = np.exp(-0.5)
    entropy, diversity = entropy_and_diversity(np.array([[0.0], [3.0]], np.float32), 3.0, rng())
    assert entropy == pytest.approx(-np.log((1 + K) / 2))
    assert diversity == pytest.approx(np.log(2 / (1 + K)))


def test_a_sample_estimates_what_all_environments_give(monkeypatch):
    X = np.random.default_rng(1).normal(size=(3000, 2)).astype(np.float32)
    everything = entropy_and_diversity(X, 0.2, rng())
    monkeypatch.setattr(variety, "SAMPLE", 500)
    assert entropy_and_diversity(X, 0.2, rng()) == pytest.approx(everything, rel=0.05)


def test_the_bandwidth_is_the_usual_distance_to_the_nearest_different_environment():
    line = np.arange(0.0, 40.0, 2.0, dtype=np.float32)[:, None]
    assert bandwidth(line, rng()) == pytest.approx(2.0)
    assert bandwidth(np.concatenate([line, line, line]), rng()) == pytest.approx(2.0)  # copies are not neighbours
    assert bandwidth(np.ones((9, 2), np.float32), rng()) == 1.0


def test_coverage_is_a_share_of_what_lies_within_the_radius():
    demands = np.array([[0.0], [0.9], [1.1], [5.0]], np.float32)
    assert covered(demands, np.zeros((1, 1), np.float32), 1.0) == 0.5
    assert covered(demands, demands, 1e-6) == 1.0
    assert covered(demands, np.zeros((0, 1), np.float32), 1.0) == 0.0
