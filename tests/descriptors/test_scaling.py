"""Scaled descriptors keep distances among ordinary environments, and draw in the extremes."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from mlff_curate.descriptors.scaling import Scaling


def correlated(n=400, size=40, rank=40, seed=0):
    """Columns of very different scale and offset; singular values falling by 0.8; no extremes."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(rank, size)) * 0.8 ** np.arange(rank)[:, None]
    return ((rng.uniform(-1, 1, (n, rank)) @ mix) * np.logspace(-2, 1, size) + 5.0).astype(np.float32)


def standardised(X):
    X = X.astype(np.float64)
    return (X - X.mean(axis=0)) / X.std(axis=0)


def test_squared_distances_are_kept_but_for_a_ten_thousandth():
    X = correlated()
    before, after = pdist(standardised(X)) ** 2, pdist(Scaling.fit(X).transform(X).astype(np.float64)) ** 2
    assert np.all(after <= before * (1 + 1e-5)), "a projection never draws points apart"
    lost = 1 - after.sum() / before.sum()
    assert -1e-6 < lost <= 1e-4


def test_fewer_axes_than_columns_where_columns_depend_on_each_other():
    X = correlated(rank=6)
    scaling = Scaling.fit(X)
    assert scaling.axes.shape == (40, 6)
    np.testing.assert_allclose(pdist(scaling.transform(X)), pdist(standardised(X)), rtol=1e-3)


def test_never_more_than_64_axes():
    X = np.random.default_rng(0).normal(size=(500, 90)).astype(np.float32)
    scaling = Scaling.fit(X)
    assert scaling.axes.shape == (90, 64)
    assert scaling.transform(X).shape == (500, 64)


def test_the_spread_along_the_axes_falls():
    variance = Scaling.fit(correlated()).transform(correlated()).astype(np.float64).var(axis=0)
    assert np.all(np.diff(variance) <= 0)
    assert variance.sum() == pytest.approx(40, rel=1e-3), "standardised columns have 1 each"


def test_the_unit_of_a_column_does_not_matter():
    X = correlated()
    other = (X * np.logspace(-1, 1, X.shape[1])[::-1]).astype(np.float32)
    np.testing.assert_allclose(
        pdist(Scaling.fit(other).transform(other)), pdist(Scaling.fit(X).transform(X)), rtol=1e-3
    )


def test_columns_that_do_not_vary_are_left_out():
    X = correlated(size=10, rank=10)
    with_constants = np.insert(X, [0, 4, 10], np.float32([3.7, 0.0, -1e3]), axis=1)
    # float32 rounding of a constant must not be blown up to unit variance
    with_constants[::2, 0] = np.nextafter(np.float32(3.7), np.float32(4))
    plain, padded = Scaling.fit(X), Scaling.fit(with_constants)
    np.testing.assert_allclose(pdist(padded.transform(with_constants)), pdist(plain.transform(X)), rtol=1e-4)
    moved = with_constants.copy()
    moved[:, [0, 5, 12]] += np.float32(9)
    np.testing.assert_array_equal(padded.transform(moved), padded.transform(with_constants))


def with_extremes(count=8):
    """A crystal and a few crushed cells, a hundred times farther out."""
    X = correlated(n=400)
    X[:count] = X.mean(axis=0) + 100 * (X[:count] - X.mean(axis=0))
    return X, count


def test_a_few_extremes_do_not_set_the_scale():
    X, count = with_extremes()
    ordinary = X[count:]
    found = pdist(Scaling.fit(X).transform(ordinary))
    np.testing.assert_allclose(found, pdist(standardised(ordinary)), rtol=0.05)


def test_extremes_are_drawn_in_but_stay_outside():
    X, count = with_extremes()
    out = Scaling.fit(X).transform(X).astype(np.float64)
    length = np.linalg.norm(out, axis=1)
    median = np.median(length)
    assert length[:count].min() > 1.5 * length[count:].max(), "still outliers"
    assert length[:count].max() < 3 * median * (1 + np.log(300)), "but no longer a hundred times as far"


def test_the_farther_the_farther():
    """Shortening keeps the order of lengths, and directions."""
    scaling = Scaling.fit(correlated(size=6, rank=6))
    middle = correlated(size=6, rank=6).mean(axis=0, dtype=np.float64)
    ray = middle + np.linspace(0, 1000, 500)[:, None] * (correlated(size=6, rank=6)[0] - middle)
    out = scaling.transform(ray.astype(np.float32)).astype(np.float64)
    out -= out[0]
    length = np.linalg.norm(out, axis=1)
    assert np.all(np.diff(length) > 0)
    assert np.abs(np.diff(length, 2)).max() <= length[1] * 1.01, "no jump"
    np.testing.assert_allclose(out[1:] / length[1:, None], np.tile(out[-1] / length[-1], (499, 1)), atol=0.02)


def test_shortening_is_the_formula():
    X = correlated(size=6, rank=6)
    scaling = Scaling.fit(X)
    z = standardised(X)
    out = scaling.transform((X.mean(axis=0) + 50 * (X - X.mean(axis=0))).astype(np.float32))
    radius, far = 3 * np.median(np.linalg.norm(z, axis=1)), 50 * np.linalg.norm(z, axis=1)
    wanted = np.where(far > radius, radius * (1 + np.log(np.maximum(far / radius, 1))), far)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), wanted, rtol=0.02)


@pytest.mark.parametrize("share", [0.6, 0.9, 0.99])
@pytest.mark.parametrize("value", [0.1, 1.0, 0.0])
def test_beside_a_perfect_crystal_what_differs_stays_visible(share, value):
    """Most rows are one and the same: no median distance to speak of."""
    rng = np.random.default_rng(0)
    same = int(1000 * share)
    X = np.full((1000, 5), value, np.float32)
    X[same:] += rng.normal(size=(1000 - same, 5)).astype(np.float32)
    out = Scaling.fit(X).transform(X).astype(np.float64)
    assert np.isfinite(out).all()
    assert np.ptp(out[:same], axis=0).max() < 1e-5
    distance = pdist(out[same:])
    assert np.median(distance) > 0.1
    assert distance.min() > 1e-3 * np.median(distance)
    assert np.linalg.norm(out[same:] - out[0], axis=1).min() > 0.05


def test_nothing_varies():
    X = np.full((20, 5), 2.5, np.float32)
    out = Scaling.fit(X).transform(X)
    assert out.shape[0] == 20
    assert not out.any()


@pytest.mark.parametrize("X", [np.ones((1, 5)), np.arange(5.0)[None], np.zeros((1, 5)), np.full((3, 5), 0.1)])
def test_one_row_or_one_and_the_same(X):
    scaling = Scaling.fit(X.astype(np.float32))
    assert np.isfinite(scaling.axes).all()
    assert not scaling.transform(X.astype(np.float32)).any()
    assert np.isfinite(scaling.transform(X.astype(np.float32) + 1)).all()


def test_two_rows_are_apart():
    X = np.array([[0, 1, 2], [1, 1, 4]], np.float32)
    out = Scaling.fit(X).transform(X)
    assert np.linalg.norm(out[0] - out[1]) == pytest.approx(8**0.5, rel=1e-5), "two columns, 2 standard deviations each"


def test_the_same_data_give_the_same_bits():
    a, b = Scaling.fit(correlated()), Scaling.fit(correlated())
    assert a.transform(correlated()).tobytes() == b.transform(correlated()).tobytes()


def test_an_axis_that_could_point_either_way_does_not():
    """Mirrored data have mirrored coordinates along the very same axes."""
    X = correlated()
    np.testing.assert_allclose(Scaling.fit(-X).axes, Scaling.fit(X).axes, atol=1e-3)


def test_a_row_alone_is_scaled_as_among_many():
    X, _ = with_extremes()
    scaling = Scaling.fit(X)
    out = scaling.transform(X)
    assert out.dtype == np.float32
    for row in (0, 7, 200):
        np.testing.assert_allclose(scaling.transform(X[row : row + 1])[0], out[row], rtol=0, atol=1e-5)


def test_blocks_do_not_show():
    X = np.random.default_rng(0).uniform(-1, 1, (70_000, 3)).astype(np.float32)
    scaling = Scaling.fit(X[:100])
    out = scaling.transform(X)
    np.testing.assert_allclose(out[-5000:], scaling.transform(X[-5000:]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(out[:5000], scaling.transform(X[:5000]), rtol=0, atol=1e-6)


def test_a_large_offset_costs_no_precision():
    """Float64 inside: a column that varies by 1 % around a large value keeps its distances."""
    X = (1.0 + 0.01 * np.random.default_rng(0).uniform(-1, 1, (300, 4))).astype(np.float32)
    np.testing.assert_allclose(pdist(Scaling.fit(X).transform(X)), pdist(standardised(X)), rtol=1e-4)


def test_fitting_and_scaling_leave_the_data_alone():
    X = correlated()
    before = X.copy()
    Scaling.fit(X).transform(X)
    np.testing.assert_array_equal(X, before)


# Without drawing in.


def test_without_drawing_in_all_columns_have_unit_variance_and_nothing_is_shortened():
    X, count = with_extremes()
    out = Scaling.fit(X, draw_in=False).transform(X).astype(np.float64)
    wanted = standardised(X)
    before, after = pdist(wanted) ** 2, pdist(out) ** 2
    assert np.all(after <= before * (1 + 1e-5))
    assert -1e-6 < 1 - after.sum() / before.sum() <= 1e-4, "lost with the axes left out"
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), np.linalg.norm(wanted, axis=1), rtol=1e-2, atol=0.02)
    assert np.linalg.norm(out[:count], axis=1).min() > 10 * np.linalg.norm(out[count:], axis=1).max()
    assert out.var(axis=0).sum() == pytest.approx(X.shape[1], rel=1e-3), "standardised columns have 1 each"


def test_without_drawing_in_what_is_twice_as_far_is_twice_as_far():
    X = correlated(size=6, rank=6)
    scaling = Scaling.fit(X, draw_in=False)
    middle = X.mean(axis=0, dtype=np.float64)
    a, b = (scaling.transform((middle + t * (X - middle)).astype(np.float32)) for t in (1000, 2000))
    np.testing.assert_allclose(b, 2 * a, rtol=1e-3, atol=1e-2)


def test_without_drawing_in_columns_that_do_not_vary_are_left_out():
    X = np.insert(correlated(size=6, rank=6), 2, np.float32(3.7), axis=1)
    scaling = Scaling.fit(X, draw_in=False)
    moved = X.copy()
    moved[:, 2] += 9
    np.testing.assert_array_equal(scaling.transform(moved), scaling.transform(X))


def test_a_stored_scaling_is_remade_from_its_constants():
    X, _ = with_extremes()
    for draw_in in (True, False):
        one = Scaling.fit(X, draw_in=draw_in)
        again = Scaling(one.mean, one.inverse, one.radius, one.axes)
        assert (one.radius > 0) is draw_in
        assert again.transform(X).tobytes() == one.transform(X).tobytes()
