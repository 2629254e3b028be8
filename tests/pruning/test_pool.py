"""A pool's derived arrays are what plain loops say."""

import dataclasses

import numpy as np
import pytest

from mlff_curate.pruning.problem import Selection


@pytest.mark.parametrize("frames", [1, 2, 30, 1024, 1025, 2500])
def test_frame_vectors_are_mean_and_deviation_of_each_frame(make_pool, frames):
    pool = make_pool(frames, seed=frames)
    wanted = []
    for f in range(frames):
        rows = pool.X[pool.first[f] : pool.first[f + 1]].astype(np.float64)
        wanted.append([*rows.mean(axis=0), *rows.std(axis=0)])
    assert pool.frame_vectors.shape == (frames, 8)
    assert pool.frame_vectors.dtype == np.float32
    np.testing.assert_allclose(pool.frame_vectors, wanted, rtol=1e-6, atol=1e-7)


def test_a_frame_of_one_environment_has_no_deviation(make_pool):
    pool = make_pool(20, atoms=1)
    np.testing.assert_array_equal(pool.frame_vectors[:, :4], pool.X)
    assert not pool.frame_vectors[:, 4:].any()


def test_a_frame_and_its_supercell_are_the_same_frame(make_pool):
    pool = make_pool(1, atoms=4, seed=3)
    twice = type(pool)(np.tile(pool.X, (5, 1)), pool.first * 5, pool.group, np.tile(pool.cluster, 5), *[pool.given] * 2)
    np.testing.assert_allclose(twice.frame_vectors, pool.frame_vectors, atol=1e-6)


def test_every_environment_has_its_owner(make_pool):
    pool = make_pool(40)
    assert pool.frames == 40
    for f in range(40):
        assert set(pool.owner[pool.first[f] : pool.first[f + 1]]) == {f}
    assert len(pool.owner) == len(pool.X)


def test_a_selection_says_nothing_of_the_floor_unless_told():
    selection = Selection(np.arange(2), np.zeros(2), np.zeros(3))
    assert selection.floor == 0
    assert len(selection.for_floor) == 0


def test_frames_that_may_be_chosen_ask_unless_told_otherwise(make_pool):
    pool = make_pool(10, given=(0,), excluded=(1, 2))
    assert np.flatnonzero(pool.demanding).tolist() == pool.candidates.tolist() == [3, 4, 5, 6, 7, 8, 9]
    told = dataclasses.replace(pool, asking=np.arange(10) < 5)
    assert np.flatnonzero(told.demanding).tolist() == [0, 1, 2, 3, 4]
    assert told.candidates.tolist() == [3, 4, 5, 6, 7, 8, 9]


def test_composition_is_the_share_of_each_element(make_pool):
    pool = make_pool(12)
    np.testing.assert_array_equal(pool.composition, np.ones((12, 1)))
    species = np.random.default_rng(0).choice([13, 28, 40], len(pool.X))
    alloy = dataclasses.replace(pool, species=species)
    wanted = [[np.mean(species[pool.owner == f] == z) for z in (13, 28, 40)] for f in range(12)]
    np.testing.assert_allclose(alloy.composition, wanted, atol=1e-15)


def test_a_part_has_all_that_its_frames_had(make_pool):
    pool = make_pool(9)
    rng = np.random.default_rng(0)
    everything = {"detail": rng.normal(size=(len(pool.X), 2)), "species": rng.integers(1, 9, len(pool.X))}
    pool = dataclasses.replace(pool, same=np.arange(9) // 2, **everything)
    frames = np.array([1, 4, 5])
    part, rows = pool.part(frames), np.isin(pool.owner, frames)
    np.testing.assert_array_equal(np.diff(part.first), np.diff(pool.first)[frames])
    np.testing.assert_array_equal(part.same, [0, 2, 2])
    for name in ("X", "cluster", *everything):
        np.testing.assert_array_equal(getattr(part, name), getattr(pool, name)[rows])
