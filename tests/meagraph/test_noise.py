"""Noise units: a distance of 1 is a standard deviation of the noise, whatever the units of the descriptor."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from mlff_curate.meagraph import noise as module
from mlff_curate.meagraph.noise import NoiseUnits, _differences, _shrunk

K = 30


def classes(count=20, members=K + 1, size=16, condition=10.0, separation=10.0, seed=0):
    """Gaussian classes with one noise covariance, whose eigenvalues have a ratio, in axes of no special direction."""
    rng = np.random.default_rng(seed)
    root = np.linalg.qr(rng.normal(size=(size, size)))[0] * np.geomspace(1.0, condition**0.5, size)
    label = np.repeat(np.arange(count), members)
    means = separation * rng.normal(size=(count, size)) @ root.T
    X = means[label] + rng.normal(size=(len(label), size)) @ root.T
    return X, label, root @ root.T


def fit(X, neighbours=K):
    return NoiseUnits.fit(X, np.full(len(X), 26), neighbours)


def mean_of(X, label):
    return np.array([X[label == c].mean(axis=0) for c in range(label.max() + 1)])


def noise_of(T, label):
    """Standard deviation within classes along each axis."""
    return np.sqrt(np.mean([T[label == c].var(axis=0, ddof=1) for c in range(label.max() + 1)], axis=0))


@pytest.mark.parametrize("condition", [1.0, 10.0])
@pytest.mark.parametrize("size", [6, 16, 30])
def test_the_noise_along_each_axis_is_one(size, condition):
    X, label, _ = classes(size=size, condition=condition)
    found = noise_of(fit(X).transform(X), label)
    assert len(found) >= min(size, 16) - 1, "means in so many directions"
    np.testing.assert_allclose(found, 1.0, atol=0.12)


@pytest.mark.parametrize("members", [100, 300])
def test_the_unit_is_too_small_by_a_factor_where_classes_are_large(members):
    """The mean of the nearest k in a large class follows the environment: part of its noise goes unseen."""
    X, label, _ = classes(members=members, count=8)
    found = noise_of(fit(X).transform(X), label)
    assert np.all(found > 0.95)
    assert np.all(found < 2.6)


@pytest.mark.parametrize("condition", [1.0, 10.0])
def test_distances_between_classes_are_mahalanobis_distances(condition):
    X, label, covariance = classes(count=10, condition=condition)
    found = pdist(mean_of(fit(X).transform(X), label))
    wanted = pdist(mean_of(X, label), "mahalanobis", VI=np.linalg.inv(covariance))
    np.testing.assert_allclose(found, wanted, rtol=0.1)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_turning_shifting_and_scaling_the_descriptor_changes_nothing(scale):
    X = classes()[0]
    turned = scale * X @ np.linalg.qr(np.random.default_rng(5).normal(size=(16, 16)))[0] + 3.0
    np.testing.assert_allclose(pdist(fit(turned).transform(turned)), pdist(fit(X).transform(X)), rtol=1e-3)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_invertible_linear_map_keeps_distances_between_classes_nearly(seed):
    """Nearly: the shrinkage is towards the unit matrix of the descriptor as it comes."""
    X, label, _ = classes()
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(16, 16)))[0] for _ in range(2))
    mapped = X @ (left * np.geomspace(1.0, 5.0, 16)) @ right
    before, after = (pdist(mean_of(fit(data).transform(data), label)) for data in (X, mapped))
    np.testing.assert_allclose(after, before, rtol=0.1)
    assert not np.allclose(pdist(mean_of(X, label)), pdist(mean_of(mapped, label)), rtol=0.3), "the map does something"


def test_the_order_of_environments_does_not_matter():
    X = classes()[0]
    order = np.random.default_rng(0).permutation(len(X))
    units, other = fit(X), fit(X[order])
    np.testing.assert_allclose(other.axes, units.axes, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(other.ratio, units.ratio, rtol=1e-6)


def test_the_axes_are_those_of_the_attributes():
    """In descending order, with the variance over the noise as ratio, the largest entry positive."""
    X, label, _ = classes(count=5)
    units = fit(X)
    assert np.all(np.diff(units.ratio) <= 0)
    T = units.transform(X)
    assert T.dtype == np.float32
    np.testing.assert_allclose(T.mean(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(T.var(axis=0), units.ratio, rtol=1e-4)
    assert np.all(units.axes[np.abs(units.axes).argmax(axis=0), np.arange(units.axes.shape[1])] > 0)
    assert units.axes.shape == (16, 4), "five classes differ in four directions"
    assert label.max() == 4


@pytest.mark.parametrize(("size", "most"), [(40, 16), (16, 16), (5, 5)])
def test_at_most_sixteen_axes_are_kept(size, most):
    X, _, _ = classes(count=60, size=size)
    assert fit(X).axes.shape == (size, most)


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_two_axes_are_kept_at_least_if_there_are_two(size):
    """Of one Gaussian cloud no direction has more than noise."""
    X = np.random.default_rng(0).normal(size=(600, size))
    assert fit(X, neighbours=599).axes.shape[1] == min(2, size)


def test_rare_environments_make_an_axis_of_a_sample_in_which_they_are_not_rare():
    """C may be taken from another sample than the noise, which stays."""
    X = np.random.default_rng(0).normal(size=(400, 8))
    far = np.concatenate([X[:100], X[:20] + 30.0 * np.eye(8)[3]])
    before = fit(X, neighbours=399)
    units = before.spread_over(far)
    assert abs(units.axes[3, 0]) > 10 * np.abs(np.delete(units.axes[:, 0], 3)).max()
    assert units.ratio[0] > 50 > before.ratio[0]
    np.testing.assert_allclose(units.mean, far.mean(axis=0))
    np.testing.assert_array_equal(units.noise, before.noise)
    assert units.transform(X).std(axis=0)[0] == pytest.approx(1.0, abs=0.1)


def test_axes_solve_the_eigenvalue_problem():
    X, _, _ = classes(count=5)
    units = fit(X)
    np.testing.assert_allclose(units.axes.T @ units.noise @ units.axes, np.eye(4), atol=1e-3)
    covariance = np.cov(X.T, bias=True)
    wanted = units.noise @ units.axes * units.ratio
    np.testing.assert_allclose(covariance @ units.axes, wanted, atol=1e-3 * np.abs(wanted).max())
    again = units.spread_over(X)
    np.testing.assert_array_equal(again.axes, units.axes)


@pytest.mark.parametrize("neighbours", [1, 3, 10])
@pytest.mark.parametrize("element", [26, 74])
def test_differences_are_those_from_the_mean_of_the_neighbours_of_the_same_element(neighbours, element):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 5))
    species = np.repeat([26, 74], [33, 7])
    found = _differences(X, X.astype(np.float32), species, neighbours)
    assert len(found) == len(X)
    for i in np.flatnonzero(species == element):
        others = np.array([j for j in range(40) if j != i and species[j] == element])
        near = others[np.linalg.norm(X[others] - X[i], axis=1).argsort()[:neighbours]]
        k = len(near)
        np.testing.assert_allclose(found[i], (X[i] - X[near].mean(axis=0)) * (k / (k + 1)) ** 0.5, atol=1e-12)


def test_differences_have_the_variance_of_one_environment():
    X = np.random.default_rng(0).normal(size=(4000, 12))
    far = X + 1e3 * np.repeat(np.arange(800), 5)[:, None]  # groups of five: four neighbours, all at random
    away = _differences(far, far.astype(np.float32), np.zeros(4000, int), 4)
    # environments of a group share their mean: (x - mean) has 4/5 of the variance, as the scaled difference must not
    np.testing.assert_allclose(away.var(axis=0), 1.0, atol=0.08)


def test_what_is_alone_has_no_differences():
    X = np.random.default_rng(0).normal(size=(5, 3))
    species = np.array([26, 26, 26, 74, 26])
    assert len(_differences(X, X.astype(np.float32), species, 2)) == 4


def test_differences_do_not_depend_on_the_parts_in_which_they_are_made():
    X = np.random.default_rng(0).normal(size=(5000, 3))
    species = np.arange(5000) % 2
    all_at_once = _differences(X, X.astype(np.float32), species, 4)
    one = _differences(X[1::2], X[1::2].astype(np.float32), species[1::2], 4)
    np.testing.assert_allclose(all_at_once[1::2], one, atol=1e-12)


def test_elements_that_differ_do_not_count_as_noise():
    """Two elements far apart; without the element their environments would be the same."""
    X = np.random.default_rng(0).normal(size=(62, 4))
    X[31:] += 40.0
    apart = NoiseUnits.fit(X, np.repeat([26, 74], 31), 40)
    mixed = NoiseUnits.fit(X, np.full(62, 26), 40)
    assert apart.ratio[0] > 200
    assert mixed.ratio[0] < 10, "with 40 neighbours of 61 the other element is among them"


def by_hand(S, n):
    """Chen et al. (2010), eq. 23, entry by entry."""
    p = len(S)
    trace = sum(S[i, i] for i in range(p))
    trace_of_square = sum(S[i, j] * S[j, i] for i in range(p) for j in range(p))
    rho = ((1 - 2 / p) * trace_of_square + trace**2) / ((n + 1 - 2 / p) * (trace_of_square - trace**2 / p))
    rho = min(rho, 1.0)
    return np.array([[(1 - rho) * S[i, j] + (rho * trace / p if i == j else 0.0) for j in range(p)] for i in range(p)])


@pytest.mark.parametrize(("size", "samples"), [(2, 3), (5, 4), (5, 100), (20, 8), (20, 2000)])
def test_the_shrinkage_is_its_formula(size, samples):
    X = np.random.default_rng([size, samples]).normal(size=(samples, size)) * np.geomspace(1, 9, size)
    S = X.T @ X / samples
    found = _shrunk(S, samples)
    np.testing.assert_allclose(found, by_hand(S, samples), rtol=1e-10)
    assert np.trace(found) == pytest.approx(np.trace(S))


@pytest.mark.parametrize("S", [np.eye(4), np.zeros((4, 4)), np.eye(1) * 7])
@pytest.mark.parametrize("samples", [0, 1, 10])
def test_what_has_no_structure_is_left_as_it_is(S, samples):
    np.testing.assert_allclose(_shrunk(S, samples), S)


@pytest.mark.parametrize(("members", "size"), [(20, 60), (40, 60), (100, 60), (10, 120)])
@pytest.mark.parametrize("neighbours", [5, K])
def test_few_environments_in_many_dimensions_do_not_look_free_of_noise(members, size, neighbours):
    """Unshrunk, the covariance of the noise would have directions without any."""
    units = fit(np.random.default_rng(0).normal(size=(members, size)), neighbours)
    assert units.ratio[0] < 20
    assert np.linalg.norm(units.axes, axis=0).max() < 5


def test_shrinkage_is_what_keeps_them_noisy(monkeypatch):
    monkeypatch.setattr(module, "_shrunk", lambda S, _samples: S)
    assert fit(np.random.default_rng(0).normal(size=(40, 60)), neighbours=5).ratio[0] > 50


DEGENERATE = {
    "one": np.ones((1, 5)),
    "one of one column": np.ones((1, 1)),
    "two": np.array([[0.0, 1, 2], [3, 1, 0]]),
    "one column": np.random.default_rng(0).normal(size=(50, 1)),
    "constant": np.full((60, 5), 0.3),
    "zero": np.zeros((60, 5)),
    "duplicates": np.repeat(np.random.default_rng(0).normal(size=(3, 4)), 40, axis=0),
    "constant columns": np.random.default_rng(0).normal(size=(50, 4)) * [1, 0, 0, 0],
    "tiny": 1e-4 * np.random.default_rng(0).normal(size=(50, 4)),
    "huge": 1e6 * np.random.default_rng(0).normal(size=(50, 4)),
    "far from zero": 1e4 + np.random.default_rng(0).normal(size=(50, 4)),
}


@pytest.mark.parametrize("X", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_data_have_units(X):
    units = fit(X.astype(np.float32))
    for values in (units.mean, units.axes, units.ratio, units.transform(X)):
        assert np.isfinite(values).all()
    assert units.axes.shape[1] >= min(2, X.shape[1])


def test_environments_each_alone_of_their_element_have_units():
    X = np.random.default_rng(0).normal(size=(4, 5))
    assert np.isfinite(NoiseUnits.fit(X, np.arange(4), K).transform(X)).all()


def test_fitting_leaves_the_data_alone():
    X = classes()[0]
    before = X.copy()
    fit(X).transform(X)
    np.testing.assert_array_equal(X, before)
