"""Who stands for whom."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mlff_curate.pruning.evidence import represent
from mlff_curate.pruning.problem import species_columns


@pytest.mark.parametrize("frames", [1, 7, 200, 2500])
def test_the_nearest_kept_frame_stands_for_each(make_pool, frames):
    pool = make_pool(frames, seed=frames)
    kept = np.random.default_rng(0).random(frames) < 0.2
    kept[0] = True
    found = represent(pool, kept)
    distance = cdist(pool.frame_vectors.astype(np.float64), pool.frame_vectors[kept].astype(np.float64))
    np.testing.assert_array_equal(found.frame, np.flatnonzero(kept)[distance.argmin(axis=1)])
    np.testing.assert_allclose(found.distance, distance.min(axis=1), rtol=1e-9, atol=1e-12)


def test_a_kept_frame_stands_for_itself(make_pool):
    pool = make_pool(50)
    kept = np.arange(50) % 3 == 0
    found = represent(pool, kept)
    np.testing.assert_array_equal(found.frame[kept], np.flatnonzero(kept))
    assert not found.distance[kept].any()


def test_a_copy_is_at_no_distance(make_pool):
    pool = make_pool(20, atoms=1)
    X = pool.X + np.float32(100)
    X[13] = X[4]
    kept = np.zeros(20, bool)
    kept[[2, 4]] = True
    found = represent(dataclasses.replace(pool, X=X), kept)
    assert (found.frame[13], found.distance[13]) == (4, 0.0)


def test_nothing_kept_nothing_stands(make_pool):
    found = represent(make_pool(5), np.zeros(5, bool))
    np.testing.assert_array_equal(found.frame, -1)
    assert np.isinf(found.distance).all()


def environments(n=4000, size=6, elements=(41, 73, 74)):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, size)).astype(np.float32) + np.float32(3), rng.choice(elements, n)


def test_one_element_needs_no_columns():
    X, _ = environments()
    assert species_columns(X, np.full(len(X), 73)) is X


def test_elements_are_as_far_apart_as_random_environments():
    X, species = environments()
    out = species_columns(X, species)
    assert out.shape == (4000, 9)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out[:, :6], X)
    extra = out[:, 6:].astype(np.float64)
    between = cdist(extra, extra)[species[:, None] != species]
    pairs = np.random.default_rng(1).integers(0, 4000, (20_000, 2))
    random_pairs = ((X[pairs[:, 0]] - X[pairs[:, 1]]).astype(np.float64) ** 2).sum(axis=1).mean() ** 0.5
    np.testing.assert_allclose(between, random_pairs, rtol=0.02)


def test_an_environment_is_nearer_to_its_own_element():
    X, species = environments(n=600)
    out = species_columns(X, species).astype(np.float64)
    distance = cdist(out, out)
    np.fill_diagonal(distance, np.inf)
    assert (species[distance.argmin(axis=1)] == species).mean() > 0.98


def test_columns_within_an_element_change_no_distance():
    X, species = environments(n=300)
    out = species_columns(X, species)
    for z in np.unique(species):
        rows = species == z
        np.testing.assert_allclose(cdist(out[rows], out[rows]), cdist(X[rows], X[rows]), rtol=1e-6, atol=1e-6)


def test_the_order_of_environments_does_not_matter():
    X, species = environments(n=300)
    order = np.random.default_rng(2).permutation(300)
    np.testing.assert_allclose(species_columns(X[order], species[order]), species_columns(X, species)[order], rtol=1e-5)


def test_elements_with_the_same_descriptor_are_still_apart():
    out = species_columns(np.ones((4, 2), np.float32), np.array([1, 1, 8, 8]))
    assert np.linalg.norm(out[0] - out[2]) > 0
    np.testing.assert_array_equal(out[0], out[1])
