"""Every selector keeps to the budget; the default one represents every cluster and group for as long as it can."""

import dataclasses

import numpy as np
import pytest

from mlff_curate.errors import UsageError
from mlff_curate.pruning.problem import Pool
from mlff_curate.pruning.selectors import SELECTORS, coverage, fps, random, stratified


def rng(seed=0):
    return np.random.default_rng(seed)


POOLS = {
    "plain": {},
    "given": {"given": (0, 7, 8)},
    "excluded": {"excluded": (1, 2, 3)},
    "given and excluded": {"given": (5,), "excluded": (6, 9)},
    "many clusters": {"clusters": 25, "groups": 6},
    "no clusters": {"clusters": 0},
    "one group": {"groups": 1},
    "single atoms": {"atoms": 1},
}


@pytest.mark.parametrize("name", SELECTORS)
@pytest.mark.parametrize("options", POOLS.values(), ids=POOLS)
def test_the_count_is_met_without_repeats_or_what_may_not_be_chosen(make_pool, name, options):
    pool = make_pool(30, **options)
    candidates = int(pool.eligible.sum())
    for count in (0, 1, 2, 5, 13, candidates):
        selection = SELECTORS[name](pool, count, rng())
        assert len(selection.chosen) == len(set(selection.chosen)) == count
        assert pool.eligible[selection.chosen].all()
        assert not pool.given[selection.chosen].any()
        assert selection.gain.shape == (count,)
        assert selection.coverage.shape == (count + 1,)


@pytest.mark.parametrize("seed", range(12))
def test_the_count_is_met_whatever_ties_the_floor_has(make_pool, seed):
    """Few frames, many clusters: budgets at and around the floor."""
    for pool_seed in range(25 * seed, 25 * seed + 25):
        pool = make_pool(
            5 + pool_seed % 18, atoms=3, clusters=3 + pool_seed % 11, groups=1 + pool_seed % 3, seed=pool_seed
        )
        needed = coverage(pool, 1, rng()).floor
        for count in range(max(1, needed - 1), min(needed + 3, pool.frames) + 1):
            assert len(coverage(pool, count, rng()).chosen) == count, pool_seed


def test_ties_in_the_floor_do_not_break_the_budget():
    """The frame in the middle, {b, c}, is the best choice for the coverage and a wrong start for the set cover."""
    a, b, c, d = range(4)
    clusters = [[a, b], [c, d], [b, c]]
    X = np.array([[-1, 0], [-1, 0], [1, 0], [1, 0], [0, 0], [0, 0]], np.float32)
    pool = Pool(
        X, np.array([0, 2, 4, 6]), np.zeros(3, int), np.concatenate(clusters), np.zeros(3, bool), np.ones(3, bool)
    )
    selection = coverage(pool, 2, rng())
    assert selection.floor == 2
    assert set(selection.chosen) == {0, 1}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("options", [{}, {"given": (0, 4)}, {"excluded": (1, 2)}])
def test_all_is_represented_from_the_floor_on_and_a_larger_budget_loses_no_cluster(make_pool, missed, seed, options):
    pool = make_pool(24, clusters=9, groups=3, seed=seed, **options)
    before = missed(pool, [])
    for count in range(int(pool.eligible.sum()) + 1):
        selection = coverage(pool, count, rng())
        missing = missed(pool, selection.chosen)
        assert missing <= before, "what a smaller budget represents, a larger one does"
        before = missing
        if count >= selection.floor:
            assert not missing


@pytest.mark.parametrize("seed", range(6))
def test_every_choice_of_a_budget_below_the_floor_represents_something_new(make_pool, missed, seed):
    pool = make_pool(40, clusters=25, atoms=2, groups=2, seed=seed, given=(0,))
    selection = coverage(pool, 5, rng())
    assert selection.floor > 5
    for k in range(5):
        assert missed(pool, selection.chosen[: k + 1]) < missed(pool, selection.chosen[:k])


def test_what_was_chosen_for_the_floor_is_marked(make_pool, missed):
    pool = make_pool(40, clusters=15, seed=2)
    selection = coverage(pool, 12, rng())
    assert selection.for_floor.shape == (12,)
    assert selection.for_floor.any()
    assert not selection.for_floor.all()
    assert missed(pool, selection.chosen[~selection.for_floor])
    assert not missed(pool, selection.chosen)


@pytest.mark.parametrize("seed", range(5))
def test_auto_represents_every_cluster_and_stops_before_the_end(make_pool, missed, seed):
    pool = make_pool(80, atoms=5, size=2, clusters=6, seed=seed)
    selection = coverage(pool, None, rng())
    assert 0 < len(selection.chosen) < 80
    assert len(set(selection.chosen)) == len(selection.chosen)
    assert not missed(pool, selection.chosen)


def test_auto_stops_where_a_frame_brings_less_than_the_average(make_pool):
    pool = make_pool(80, atoms=5, size=2, clusters=1, groups=1)
    chosen = coverage(pool, None, rng()).chosen
    longer = coverage(pool, len(chosen) + 5, rng())
    np.testing.assert_array_equal(longer.chosen[: len(chosen)], chosen)
    gains = np.diff(longer.coverage)
    assert np.all(gains[1 : len(chosen)] >= 1 / 80)
    assert np.all(gains[len(chosen) :] < 1 / 80)


@pytest.mark.parametrize("copies", [3, 20])
def test_auto_keeps_one_of_each_of_many_copies(copies):
    """Three phases, copied over and over: three frames are enough."""
    X = np.repeat(np.array([[0, 0], [9, 0], [0, 9]], np.float32), copies, axis=0)
    F = 3 * copies
    pool = Pool(
        X, np.arange(F + 1), np.zeros(F, int), np.repeat([0, 1, 2], copies), np.zeros(F, bool), np.ones(F, bool)
    )
    assert set(coverage(pool, None, rng()).chosen // copies) == {0, 1, 2}
    assert len(coverage(pool, None, rng()).chosen) == 3


def doubled(pool, covered=None):
    """The pool's frames, and a curated copy of those in ``covered`` (default: all) behind them."""
    covered = np.arange(pool.frames) if covered is None else np.asarray(covered)
    rows = np.concatenate([np.arange(pool.first[f], pool.first[f + 1]) for f in covered])
    sizes = np.concatenate([np.diff(pool.first), np.diff(pool.first)[covered]])
    return Pool(
        np.concatenate([pool.X, pool.X[rows]]),
        np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate([pool.group, pool.group[covered]]),
        np.concatenate([pool.cluster, pool.cluster[rows]]),
        np.concatenate([np.zeros(pool.frames, bool), np.ones(len(covered), bool)]),
        np.concatenate([np.ones(pool.frames, bool), np.zeros(len(covered), bool)]),
    )


def test_auto_keeps_nothing_that_a_curated_set_covers(make_pool):
    pool = doubled(make_pool(40))
    assert len(coverage(pool, None, rng()).chosen) == 0


def test_auto_keeps_only_what_a_curated_set_does_not_cover(make_pool):
    """The curated set holds all but one phase, far from the others."""
    scale = np.ones(40)
    plain = make_pool(40, groups=1, clusters=1, scale=scale)
    X = plain.X.copy()
    new = np.arange(34, 40)
    X[np.isin(plain.owner, new)] += 40
    pool = doubled(dataclasses.replace(plain, X=X), np.arange(34))
    chosen = coverage(pool, None, rng()).chosen
    assert len(chosen) > 0
    assert set(chosen) <= set(new)


def test_auto_adds_the_cluster_that_the_curated_set_lacks(make_pool):
    plain = make_pool(40, clusters=3)
    cluster = plain.cluster.copy()
    cluster[plain.owner == 11] = 3
    pool = doubled(dataclasses.replace(plain, cluster=cluster))
    pool.cluster[len(cluster) :][pool.cluster[len(cluster) :] == 3] = -1
    np.testing.assert_array_equal(coverage(pool, None, rng()).chosen, [11])


@pytest.mark.parametrize("count", [1, 4, 10])
@pytest.mark.parametrize("name", SELECTORS)
def test_equal_frames_are_still_distinct_picks(name, count):
    pool = Pool(
        np.ones((20, 3), np.float32),
        np.arange(0, 21, 2),
        np.zeros(10, int),
        np.zeros(20, int),
        np.zeros(10, bool),
        np.ones(10, bool),
    )
    assert len(set(SELECTORS[name](pool, count, rng()).chosen)) == count


def test_auto_keeps_one_of_equal_frames():
    pool = Pool(
        np.ones((20, 3), np.float32),
        np.arange(0, 21, 2),
        np.zeros(10, int),
        np.zeros(20, int),
        np.zeros(10, bool),
        np.ones(10, bool),
    )
    assert len(coverage(pool, None, rng()).chosen) == 1


@pytest.mark.parametrize("count", [1, None])
def test_a_single_frame_is_kept(make_pool, count):
    np.testing.assert_array_equal(coverage(make_pool(1), count, rng()).chosen, [0])


@pytest.mark.parametrize("name", SELECTORS)
def test_nothing_to_choose_from(make_pool, name):
    pool = make_pool(5, given=range(5))
    assert len(SELECTORS[name](pool, 0, rng()).chosen) == 0


@pytest.mark.parametrize("name", SELECTORS)
def test_the_same_seed_chooses_the_same_frames(make_pool, name):
    pool = make_pool(60)
    a, b = (SELECTORS[name](pool, 20, rng(5)).chosen for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("select", [random, stratified, fps])
def test_another_seed_chooses_others(make_pool, select):
    pool = make_pool(60)
    assert len({tuple(select(pool, 3, rng(seed)).chosen) for seed in range(8)}) > 1


@pytest.mark.parametrize("name", sorted(set(SELECTORS) - {"coverage"}))
def test_only_coverage_can_tell_when_it_is_enough(make_pool, name):
    with pytest.raises(UsageError, match=f"--keep: auto needs --selector coverage: {name} cannot tell"):
        SELECTORS[name](make_pool(10), None, rng())


def test_random_is_even(make_pool):
    pool = make_pool(10)
    counts = np.bincount(np.concatenate([random(pool, 3, rng(seed)).chosen for seed in range(2000)]), minlength=10)
    np.testing.assert_allclose(counts, 600, atol=5 * 600**0.5)


@pytest.mark.parametrize("count", [3, 7, 12])
def test_stratified_spreads_over_groups_evenly_for_as_long_as_they_last(make_pool, count):
    pool = dataclasses.replace(make_pool(60), group=np.repeat([0, 1, 2], [50, 8, 2]))
    taken = np.bincount(pool.group[stratified(pool, count, rng()).chosen], minlength=3)
    assert taken.sum() == count
    assert taken[2] == min(2, -(-count // 3), taken[2])
    assert abs(int(taken[0]) - int(taken[1])) <= 1
    assert taken[2] >= min(2, count // 3)


def test_farthest_points_are_farthest(make_pool):
    pool = make_pool(40, seed=4)
    chosen = fps(pool, 10, rng()).chosen
    mean = pool.frame_vectors[:, :4].astype(np.float64)
    for k in range(1, 10):
        distance = np.linalg.norm(mean[:, None] - mean[chosen[:k]], axis=2).min(axis=1)
        assert distance[chosen[k]] == pytest.approx(distance.max(), rel=1e-12)


def test_farthest_points_start_far_from_what_is_given(make_pool):
    pool = make_pool(40, given=(3, 9))
    mean = pool.frame_vectors[:, :4].astype(np.float64)
    distance = np.linalg.norm(mean[:, None] - mean[[3, 9]], axis=2).min(axis=1)
    for seed in range(3):
        assert fps(pool, 1, rng(seed)).chosen[0] == distance.argmax()


def test_a_warm_start_is_one_run(make_pool):
    """The first frames chosen, given, lead to the rest."""
    pool = make_pool(40, groups=1, clusters=0)
    whole = fps(pool, 12, rng()).chosen
    given = pool.given.copy()
    given[whole[:5]] = True
    warm = dataclasses.replace(pool, given=given, eligible=~given)
    np.testing.assert_array_equal(fps(warm, 7, rng()).chosen, whole[5:])


def test_progress_is_told(make_pool):
    pool = make_pool(80)
    for name in ("coverage", "fps"):
        told = []
        SELECTORS[name](pool, 70, rng(), lambda *step, told=told: told.append(step))
        assert told
        assert all(0 < done <= total == 70 for done, total, _ in told)
