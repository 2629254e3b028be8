"""Fits and lines find what most labels say, whatever a few of them say."""

import numpy as np
import pytest

from mlff_curate.checks.robust import Block, robust_fit, robust_line, spread


def block(wrong, factor, rows=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 5))
    truth = np.arange(1.0, 6.0)
    y = X @ truth + 0.01 * rng.normal(size=rows)
    y[:wrong] *= factor
    return Block(X, y, np.arange(rows) // 4), truth


@pytest.mark.parametrize("factor", [-1.0, 23.06, 1e3, 1e11])
def test_labels_in_another_unit_do_not_drag_a_fit(factor):
    data, truth = block(40, factor)
    coefficients, _, (scale,) = robust_fit([data])
    np.testing.assert_allclose(coefficients, truth, atol=0.01)
    assert scale == pytest.approx(0.01, rel=0.3)


def test_kinds_of_label_are_weighted_by_their_own_scatter():
    good, truth = block(0, 1.0)
    rng = np.random.default_rng(1)
    poor = Block(good.rows, good.labels + 10 * rng.normal(size=400), good.frame)
    coefficients, _, scales = robust_fit([poor, good])
    np.testing.assert_allclose(coefficients, truth, atol=0.01)
    assert scales[0] > 500 * scales[1]


@pytest.mark.parametrize("factor", [-1.0, 1e6, 1e11])
def test_a_line_and_its_correlation_are_those_of_the_many(factor):
    rng = np.random.default_rng(2)
    x = rng.normal(size=300)
    y = 23.06 * x + 0.1 * rng.normal(size=300)
    y[:15] *= factor
    line = robust_line(x, y)
    assert line.slope == pytest.approx(23.06, rel=1e-3)
    assert line.r > 0.999


def test_no_line_without_points():
    line = robust_line(np.zeros(5), np.ones(5))
    assert (line.slope, line.r) == (0.0, 0.0)


def test_the_spread_is_that_of_the_values_which_are_not_zero_where_most_are():
    values = np.concatenate([np.zeros(100), np.random.default_rng(0).normal(size=50)])
    assert spread(values) == pytest.approx(1.0, rel=0.3)
    assert spread(np.zeros(3)) == 0.0
