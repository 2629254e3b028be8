"""The floor represents whatever can be represented, with few frames."""

import itertools

import numpy as np
import pytest

from mlff_curate.pruning.floor import Floor
from mlff_curate.pruning.problem import Pool


def pool_of(clusters_of_frames, group=None, given=(), excluded=()):
    """One environment per (frame, cluster)."""
    frames = len(clusters_of_frames)
    first = np.concatenate([[0], np.cumsum([len(clusters) for clusters in clusters_of_frames])])
    cluster = np.array(list(itertools.chain.from_iterable(clusters_of_frames)))
    kept, may = np.zeros(frames, bool), np.ones(frames, bool)
    kept[list(given)] = True
    may[[*given, *excluded]] = False
    group = np.zeros(frames, int) if group is None else np.asarray(group)
    return Pool(np.zeros((len(cluster), 2), np.float32), first, group, cluster, kept, may)


def fewest(pool, represented):
    """By trying all sets of frames."""
    candidates = np.flatnonzero(pool.eligible)
    base = list(np.flatnonzero(pool.given))
    wanted = represented(pool, base + list(candidates))
    for size in range(len(candidates) + 1):
        if any(represented(pool, base + list(some)) == wanted for some in itertools.combinations(candidates, size)):
            return size
    raise AssertionError


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("options", [{}, {"given": (0, 3)}, {"excluded": (1, 2, 5)}, {"given": (4,), "excluded": (0,)}])
def test_every_cluster_and_group_that_can_be_is_represented(make_pool, missed, seed, options):
    pool = make_pool(25, clusters=12, groups=4, seed=seed, **options)
    chosen = Floor(pool).fill(pool.given)
    assert len(set(chosen)) == len(chosen)
    assert pool.eligible[chosen].all()
    assert not missed(pool, chosen)


@pytest.mark.parametrize("seed", range(15))
def test_few_frames_are_taken(make_pool, represented, seed):
    """Greedy set cover: at most 1 + 1/2 + ... + 1/m times the fewest, m the most that one frame represents."""
    pool = make_pool(10, clusters=7, groups=2, seed=seed, given=(2,) if seed % 3 == 0 else ())
    found, best = len(Floor(pool).fill(pool.given)), fewest(pool, represented)
    most = max(len(represented(pool, [f])) for f in range(10))
    assert best <= found <= best * sum(1 / i for i in range(1, most + 1))
    assert found <= best + 1, "on small pools"


@pytest.mark.parametrize(
    ("clusters", "wanted"),
    [
        ([[0], [1], [2], [0, 1, 2]], [3]),
        ([[0, 1], [2, 3], [1, 2]], [0, 1]),
        ([[0], [0], [0]], [0]),
        ([[-1], [-1]], [0]),
        ([[-1], [0]], [1]),
    ],
)
def test_the_frames_that_represent_most_are_taken(clusters, wanted):
    np.testing.assert_array_equal(Floor(pool_of(clusters)).fill(np.zeros(len(clusters), bool)), wanted)


def test_every_group_has_a_frame():
    pool = pool_of([[0]] * 6, group=[0, 0, 0, 1, 1, 2])
    np.testing.assert_array_equal(pool.group[Floor(pool).fill(pool.given)], [0, 1, 2])


def test_what_only_excluded_frames_hold_is_not_wanted():
    pool = pool_of([[0], [0, 1], [2]], group=[0, 1, 0], excluded=(1,))
    np.testing.assert_array_equal(np.sort(Floor(pool).fill(pool.given)), [0, 2])


def test_what_is_given_need_not_be_filled():
    pool = pool_of([[0, 1], [0], [1], [2]], given=(0,))
    np.testing.assert_array_equal(Floor(pool).fill(pool.given), [3])
    everything = pool_of([[0, 1, 2], [0], [1], [2]], given=(0,))
    assert len(Floor(everything).fill(everything.given)) == 0


@pytest.mark.parametrize("limit", range(6))
def test_the_limit_is_kept_and_cuts_the_same_list(make_pool, limit):
    pool = make_pool(25, clusters=14, groups=4, atoms=2, seed=3)
    floor = Floor(pool)
    every = floor.fill(pool.given)
    assert len(every) > 5
    np.testing.assert_array_equal(floor.fill(pool.given, limit), every[:limit])


def test_what_is_missing_is_followed_while_frames_are_taken():
    pool = pool_of([[0, 2], [1], [2], [-1], [1]], group=[0, 0, 0, 1, 0])
    missing = Floor(pool).missing(np.zeros(5, bool))
    assert missing.helped().all()
    missing.take(0)  # clusters 0 and 2, group 0
    assert missing.helped().tolist() == [False, True, False, True, True]
    missing.take(1)
    assert missing.helped().tolist() == [False, False, False, True, False]
    missing.take(3)
    assert not missing.helped().any()


def test_what_given_frames_hold_is_not_missing():
    pool = pool_of([[0, 1], [0], [1], [2]], given=(0,))
    missing = Floor(pool).missing(pool.given)
    assert missing.helped().tolist() == [False, False, False, True]


def test_among_equals_the_preferred_are_taken():
    pool = pool_of([[0], [0], [1], [1]])
    floor = Floor(pool)
    np.testing.assert_array_equal(floor.fill(pool.given), [0, 2])
    np.testing.assert_array_equal(np.sort(floor.fill(pool.given, prefer=np.array([3, 1, 2, 0]))), [1, 3])


def test_a_cluster_in_many_environments_of_a_frame_counts_once():
    pool = pool_of([[0, 0, 0, 0], [1, 2]])
    np.testing.assert_array_equal(Floor(pool).fill(pool.given, 1), [1])
