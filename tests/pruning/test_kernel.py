"""Products of the features are the kernel of the docstring."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mlff_curate.pruning import kernel
from mlff_curate.pruning.kernel import KernelFeatures


def rng(seed=0):
    return np.random.default_rng(seed)


def sample(n=60, size=5, seed=0):
    return (3.0 + 2.0 * rng(seed).normal(size=(n, size))).astype(np.float32)


def exact(views):
    parts = []
    for X in views:
        y = X - X.mean(axis=0, dtype=np.float64)
        y /= np.sqrt((y**2).sum(axis=1).mean())
        parts.append(y @ y.T + np.exp(-cdist(y, y, "sqeuclidean") / 2))
    return np.mean(parts, axis=0)


def error(views, waves, monkeypatch, seeds=8):
    """Root mean square error of the products."""
    monkeypatch.setattr(kernel, "WAVES", waves)
    wanted, squares = exact(views), []
    for seed in range(seeds):
        phi = KernelFeatures.fit(views, rng(seed)).transform(views).astype(np.float64)
        squares.append((phi @ phi.T - wanted) ** 2)
    return np.sqrt(np.mean(squares))


@pytest.mark.parametrize("views", [[sample()], [sample(), sample(size=9, seed=1)]], ids=["one", "two"])
def test_products_tend_to_the_kernel_as_the_root_of_the_number_of_waves(views, monkeypatch):
    few, many = error(views, 100, monkeypatch), error(views, 6400, monkeypatch)
    assert many < 0.02
    assert few / many == pytest.approx(8.0, rel=0.3)


def test_the_unit_and_the_origin_of_the_descriptors_do_not_matter():
    X = sample()
    phi = KernelFeatures.fit([X], rng()).transform([X])
    other = (7.0 * X - 20.0).astype(np.float32)
    np.testing.assert_allclose(KernelFeatures.fit([other], rng()).transform([other]), phi, atol=1e-4)


def test_views_weigh_alike_and_share_the_waves():
    a, b = sample(), 100.0 * sample(size=9, seed=1)
    features = KernelFeatures.fit([a, b], rng())
    assert features.size == 5 + 9 + 2 * (kernel.WAVES // 2)
    phi = features.transform([a, b])
    assert phi.shape == (60, features.size)
    assert phi.dtype == np.float32
    first = 5 + kernel.WAVES // 2
    for part in (phi[:, :5], phi[:, first : first + 9]):
        assert (part.astype(np.float64) ** 2).sum(axis=1).mean() == pytest.approx(0.5, rel=1e-4)


def test_what_was_not_fitted_is_seen_in_the_same_units():
    X = sample()
    features = KernelFeatures.fit([X], rng())
    np.testing.assert_allclose(features.transform([X])[:7], features.transform([X[:7]]), atol=1e-5)
    far = features.transform([X + np.float32(1000)])
    assert np.isfinite(far).all()
    assert np.abs(far[:, :5]).max() > 100, "the linear part goes on"
    assert np.abs(far[:, 5:]).max() <= np.sqrt(2 / kernel.WAVES) * 1.0001, "waves do not"


@pytest.mark.parametrize("value", [0.0, 1.0, -1e4])
def test_equal_descriptors_have_equal_features(value):
    X = np.full((10, 3), value, np.float32)
    phi = KernelFeatures.fit([X], rng()).transform([X])
    assert np.isfinite(phi).all()
    np.testing.assert_array_equal(phi, np.tile(phi[0], (10, 1)))
    assert not phi[:, :3].any()


def test_rounding_of_equal_descriptors_is_not_blown_up():
    X = np.full((10, 3), 3.7, np.float32)
    X[::2] = np.nextafter(np.float32(3.7), np.float32(4))
    phi = KernelFeatures.fit([X], rng()).transform([X])
    np.testing.assert_array_equal(phi, np.tile(phi[0], (10, 1)))


def test_the_seed_alone_draws_the_waves():
    X = sample()
    a, b, other = (KernelFeatures.fit([X], rng(seed)).transform([X]) for seed in (1, 1, 2))
    assert a.tobytes() == b.tobytes()
    np.testing.assert_array_equal(a[:, :5], other[:, :5])
    assert np.abs(a[:, 5:] - other[:, 5:]).max() > 0.01
