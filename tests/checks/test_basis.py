"""Which frames the checks' force field is fitted to."""

import numpy as np

from mlff_curate.checks.basis import sample_of


def test_small_frames_are_all_taken_and_large_ones_share_the_rest():
    n_atoms = np.array([2] * 300 + [54] * 200 + [128] * 100)
    group = np.repeat([0, 1, 2], [300, 200, 100])
    taken = sample_of(n_atoms, group, 8_000, seed=0)
    count = np.bincount(group[taken])
    assert count[0] == 300
    assert n_atoms[taken].sum() <= 8_000
    atoms = np.bincount(group[taken], n_atoms[taken])
    assert atoms[1] > 3_000
    assert atoms[2] > 3_000


def test_of_a_rare_group_of_large_frames_the_first_few_are_there():
    n_atoms = np.array([4] * 1_000 + [100] * 20)
    group = np.repeat([0, 1], [1_000, 20])
    assert np.sum(sample_of(n_atoms, group, 3_000, seed=0) >= 1_000) >= 12


def test_what_fits_is_taken_whole():
    np.testing.assert_array_equal(sample_of(np.full(10, 7), np.zeros(10, dtype=int), 70, seed=0), np.arange(10))


def test_a_frame_larger_than_the_limit_is_taken_alone():
    assert len(sample_of(np.array([500, 600]), np.array([0, 0]), 100, seed=0)) == 1
