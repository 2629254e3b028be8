"""Frames among others, and frames beyond them."""

import numpy as np
import pytest

from mlff_curate.checks.look_alikes import AMONG, LOOK_ALIKES, beyond, crowding, nearest, outermost


@pytest.fixture(scope="module")
def series():
    """A crowd at the origin, and a series that leads away from it along the first axis."""
    rng = np.random.default_rng(0)
    crowd = 0.01 * rng.normal(size=(60, 3))
    steps = np.zeros((12, 3))
    steps[:, 0] = 0.2 * 1.25 ** np.arange(12)
    return np.vstack([crowd, steps])


def judged(features):
    distance, index = nearest(features, features, LOOK_ALIKES, own=True)
    return beyond(features, features, index, distance, crowding(features)[index])


def test_a_frame_is_no_look_alike_of_itself_even_if_it_has_copies():
    features = np.repeat(np.arange(10.0)[:, None], 2, axis=0)
    distance, index = nearest(features, features, 3, own=True)
    assert not (index == np.arange(20)[:, None]).any()
    assert (distance[:, 0] == 0).all()


def test_fewer_frames_than_look_alikes_are_all_of_them():
    features = np.arange(4.0)[:, None]
    distance, index = nearest(features, features, LOOK_ALIKES, own=True)
    assert index.shape == distance.shape == (4, 3)


def test_what_ends_a_series_is_beyond_and_what_is_within_it_is_not(series):
    far, end = judged(series)
    assert end[-1]
    assert far[-1] > 2
    inner = slice(61, 70)
    assert not end[inner].any()
    assert (far[inner] <= AMONG).all()


def test_copies_far_apart_from_all_others_make_finite_distances():
    features = np.vstack([np.zeros((20, 2)), np.ones((1, 2))])
    far, _ = judged(features)
    assert np.isfinite(far).all()


def test_the_smallest_and_largest_volumes_are_outermost_and_no_others():
    volume = np.concatenate([np.full(30, 18.0), [5.0, 6.0, 9.0, 14.0, 25.0, 40.0, np.nan]])
    features = np.nan_to_num(volume, nan=18.0)[:, None]
    _, index = nearest(features, features, LOOK_ALIKES, own=True)
    assert outermost(volume, volume, index).tolist() == [False] * 30 + [True, True, True, False, True, True, False]


def test_a_crowd_at_an_end_is_not_outermost():
    volume = np.concatenate([np.full(30, 5.0), np.full(30, 18.0)])
    _, index = nearest(volume[:, None], volume[:, None], LOOK_ALIKES, own=True)
    assert not outermost(volume, volume, index).any()
