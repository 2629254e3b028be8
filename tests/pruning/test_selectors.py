"""Every selector keeps to the budget; the default one represents every cluster and group for as long as it can."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mlff_curate.errors import UsageError
from mlff_curate.pruning.problem import Pool
from mlff_curate.pruning.selectors import SELECTORS, quests
from mlff_curate.pruning.selectors.draws import frame_clusters


def select(name, pool, count, seed=0):
    return SELECTORS[name](count, seed=seed).fit(pool).selection_


def coverage(pool, count, seed=0):
    return select("coverage", pool, count, seed)


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
        selection = select(name, pool, count)
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
        needed = coverage(pool, 1).floor
        for count in range(max(1, needed - 1), min(needed + 3, pool.frames) + 1):
            assert len(coverage(pool, count).chosen) == count, pool_seed


def test_ties_in_the_floor_do_not_break_the_budget():
    """The frame in the middle, {b, c}, is the best choice for the coverage and a wrong start for the set cover."""
    a, b, c, d = range(4)
    clusters = [[a, b], [c, d], [b, c]]
    X = np.array([[-1, 0], [-1, 0], [1, 0], [1, 0], [0, 0], [0, 0]], np.float32)
    pool = Pool(
        X, np.array([0, 2, 4, 6]), np.zeros(3, int), np.concatenate(clusters), np.zeros(3, bool), np.ones(3, bool)
    )
    selection = coverage(pool, 2)
    assert selection.floor == 2
    assert set(selection.chosen) == {0, 1}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("options", [{}, {"given": (0, 4)}, {"excluded": (1, 2)}])
def test_all_is_represented_from_the_floor_on_and_a_larger_budget_loses_no_cluster(make_pool, missed, seed, options):
    pool = make_pool(24, clusters=9, groups=3, seed=seed, **options)
    before = missed(pool, [])
    for count in range(int(pool.eligible.sum()) + 1):
        selection = coverage(pool, count)
        missing = missed(pool, selection.chosen)
        assert missing <= before, "what a smaller budget represents, a larger one does"
        before = missing
        if count >= selection.floor:
            assert not missing


@pytest.mark.parametrize("seed", range(6))
def test_every_choice_of_a_budget_below_the_floor_represents_something_new(make_pool, missed, seed):
    pool = make_pool(40, clusters=25, atoms=2, groups=2, seed=seed, given=(0,))
    selection = coverage(pool, 5)
    assert selection.floor > 5
    for k in range(5):
        assert missed(pool, selection.chosen[: k + 1]) < missed(pool, selection.chosen[:k])


def test_what_was_chosen_for_the_floor_is_marked(make_pool, missed):
    pool = make_pool(40, clusters=15, seed=2)
    selection = coverage(pool, 12)
    assert selection.for_floor.shape == (12,)
    assert selection.for_floor.any()
    assert not selection.for_floor.all()
    assert missed(pool, selection.chosen[~selection.for_floor])
    assert not missed(pool, selection.chosen)


@pytest.mark.parametrize("seed", range(5))
def test_auto_represents_every_cluster_and_stops_before_the_end(make_pool, missed, seed):
    pool = make_pool(80, atoms=5, size=2, clusters=6, seed=seed)
    selection = coverage(pool, None)
    assert 0 < len(selection.chosen) < 80
    assert len(set(selection.chosen)) == len(selection.chosen)
    assert not missed(pool, selection.chosen)


def test_auto_stops_where_a_frame_brings_less_than_the_average(make_pool):
    pool = make_pool(80, atoms=5, size=2, clusters=1, groups=1)
    chosen = coverage(pool, None).chosen
    longer = coverage(pool, len(chosen) + 5)
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
    assert set(coverage(pool, None).chosen // copies) == {0, 1, 2}
    assert len(coverage(pool, None).chosen) == 3


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
    assert len(coverage(pool, None).chosen) == 0


def test_auto_keeps_only_what_a_curated_set_does_not_cover(make_pool):
    """The curated set holds all but one phase, far from the others."""
    scale = np.ones(40)
    plain = make_pool(40, groups=1, clusters=1, scale=scale)
    X = plain.X.copy()
    new = np.arange(34, 40)
    X[np.isin(plain.owner, new)] += 40
    pool = doubled(dataclasses.replace(plain, X=X), np.arange(34))
    chosen = coverage(pool, None).chosen
    assert len(chosen) > 0
    assert set(chosen) <= set(new)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lacking", range(3))
def test_auto_adds_a_phase_that_the_curated_set_lacks_and_no_other(make_pool, seed, lacking):
    """Of three phases, none of which is the odd one; and no cluster or group tells them apart."""
    plain = make_pool(60, groups=1, clusters=1, seed=seed)
    phase = np.arange(60) % 3
    X = plain.X + 12 * np.eye(4, dtype=np.float32)[phase[plain.owner]]
    pool = doubled(dataclasses.replace(plain, X=X), np.flatnonzero(phase != lacking))
    chosen = coverage(pool, None).chosen
    assert 0 < len(chosen) < 20
    assert set(phase[chosen]) == {lacking}


def test_auto_adds_the_cluster_that_the_curated_set_lacks(make_pool):
    plain = make_pool(40, clusters=3)
    cluster = plain.cluster.copy()
    cluster[plain.owner == 11] = 3
    pool = doubled(dataclasses.replace(plain, cluster=cluster))
    pool.cluster[len(cluster) :][pool.cluster[len(cluster) :] == 3] = -1
    np.testing.assert_array_equal(coverage(pool, None).chosen, [11])


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
    assert len(set(select(name, pool, count).chosen)) == count


def test_auto_keeps_one_of_equal_frames():
    pool = Pool(
        np.ones((20, 3), np.float32),
        np.arange(0, 21, 2),
        np.zeros(10, int),
        np.zeros(20, int),
        np.zeros(10, bool),
        np.ones(10, bool),
    )
    assert len(coverage(pool, None).chosen) == 1


@pytest.mark.parametrize("count", [1, None])
def test_a_single_frame_is_kept(make_pool, count):
    np.testing.assert_array_equal(coverage(make_pool(1), count).chosen, [0])


@pytest.mark.parametrize("name", SELECTORS)
def test_nothing_to_choose_from(make_pool, name):
    pool = make_pool(5, given=range(5))
    assert len(select(name, pool, 0).chosen) == 0


@pytest.mark.parametrize("name", SELECTORS)
def test_the_same_seed_chooses_the_same_frames(make_pool, name):
    pool = make_pool(60)
    a, b = (select(name, pool, 20, seed=5).chosen for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["random", "stratified", "fps", "cluster-quota"])
def test_another_seed_chooses_others(make_pool, name):
    pool = make_pool(60)
    assert len({tuple(select(name, pool, 3, seed).chosen) for seed in range(8)}) > 1


@pytest.mark.parametrize("name", sorted(set(SELECTORS) - {"coverage"}))
def test_only_coverage_can_tell_when_it_is_enough(make_pool, name):
    with pytest.raises(UsageError, match=f"--keep: auto needs --selector coverage: {name} cannot tell"):
        select(name, make_pool(10), None)


def test_random_is_even(make_pool):
    pool = make_pool(10)
    counts = np.bincount(np.concatenate([select("random", pool, 3, seed).chosen for seed in range(2000)]), minlength=10)
    np.testing.assert_allclose(counts, 600, atol=5 * 600**0.5)


@pytest.mark.parametrize("count", [3, 7, 12])
def test_stratified_spreads_over_groups_evenly_for_as_long_as_they_last(make_pool, count):
    pool = dataclasses.replace(make_pool(60), group=np.repeat([0, 1, 2], [50, 8, 2]))
    taken = np.bincount(pool.group[select("stratified", pool, count).chosen], minlength=3)
    assert taken.sum() == count
    assert taken[2] == min(2, -(-count // 3), taken[2])
    assert abs(int(taken[0]) - int(taken[1])) <= 1
    assert taken[2] >= min(2, count // 3)


def test_farthest_points_are_farthest(make_pool):
    pool = make_pool(40, seed=4)
    chosen = select("fps", pool, 10).chosen
    mean = pool.frame_vectors[:, :4].astype(np.float64)
    for k in range(1, 10):
        distance = np.linalg.norm(mean[:, None] - mean[chosen[:k]], axis=2).min(axis=1)
        assert distance[chosen[k]] == pytest.approx(distance.max(), rel=1e-12)


def test_farthest_points_start_far_from_what_is_given(make_pool):
    pool = make_pool(40, given=(3, 9))
    mean = pool.frame_vectors[:, :4].astype(np.float64)
    distance = np.linalg.norm(mean[:, None] - mean[[3, 9]], axis=2).min(axis=1)
    for seed in range(3):
        assert select("fps", pool, 1, seed).chosen[0] == distance.argmax()


def test_progress_is_told(make_pool):
    pool = make_pool(80)
    for name in ("coverage", "fps", "quests"):
        told = []
        SELECTORS[name](70).fit(pool, lambda *step, told=told: told.append(step))
        assert told
        assert all(0 < done <= total == 70 for done, total, _ in told)


# Manners.


@pytest.mark.parametrize("name", SELECTORS)
def test_parameters_are_kept_as_given_and_judged_by_fit(make_pool, name):
    wrong = SELECTORS[name](-1, seed=3)
    assert (wrong.count, wrong.seed, wrong.name) == (-1, 3, name)
    assert not hasattr(wrong, "selection_")
    with pytest.raises(UsageError, match=r"^count must be a number of frames from 0 on, or None, got -1$"):
        wrong.fit(make_pool(5))
    with pytest.raises(UsageError, match=r"^count must be a number of frames from 0 on, or None, got 2\.5$"):
        SELECTORS[name](2.5).fit(make_pool(5))
    with pytest.raises(UsageError, match=r"^--seed: must be a whole number from 0 on, got -2$"):
        SELECTORS[name](1, seed=-2).fit(make_pool(5))
    assert repr(wrong) == f"{type(wrong).__name__}(count=-1, seed=3)"


@pytest.mark.parametrize("name", SELECTORS)
def test_parameters_are_read_and_set_by_name_as_scikit_learn_does(make_pool, name):
    selector = SELECTORS[name](5)
    assert selector.get_params() == {"count": 5, "seed": 0}
    assert selector.set_params(count=7, seed=2) is selector
    twin = type(selector)(**selector.get_params())
    np.testing.assert_array_equal(selector.fit(make_pool(30)).chosen_, twin.fit(make_pool(30)).chosen_)
    assert len(twin.chosen_) == 7
    with pytest.raises(ValueError, match=r"^unknown parameter 'counts'; available: count, seed$"):
        selector.set_params(counts=3)


@pytest.mark.parametrize("name", SELECTORS)
def test_fit_returns_the_selector_and_anew_for_another_pool(make_pool, name):
    selector = SELECTORS[name](4)
    assert selector.fit(make_pool(30)) is selector
    np.testing.assert_array_equal(selector.chosen_, selector.selection_.chosen)
    assert set(selector.fit(make_pool(4)).chosen_) == set(range(4))


@pytest.mark.parametrize("name", SELECTORS)
def test_more_than_there_is_means_all_there_is(make_pool, name):
    pool = make_pool(12, given=(3,), excluded=(5, 6))
    assert sorted(select(name, pool, 1000).chosen) == [0, 1, 2, 4, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("name", SELECTORS)
def test_one_frame_is_the_one(make_pool, name):
    np.testing.assert_array_equal(select(name, make_pool(1), 1).chosen, [0])


# These may change with a version, but not by chance: the same input, options and seed give the same bytes.
ORDER = {
    "coverage": [0, 25, 14, 12, 9, 37],
    "random": [32, 1, 2, 27, 18, 23],
    "stratified": [32, 0, 1, 2, 19, 27],
    "fps": [11, 32, 5, 31, 36, 12],
    "cluster-quota": [8, 23, 27, 34, 1, 32],
    "quests": [0, 22, 25, 33, 16, 15],
}


@pytest.mark.parametrize("name", SELECTORS)
def test_the_order_of_choice_is_pinned(make_pool, name):
    assert select(name, make_pool(40), 6, seed=7).chosen.tolist() == ORDER[name]


@pytest.mark.parametrize("name", SELECTORS)
def test_a_smaller_budget_takes_the_first_of_a_larger_one(make_pool, name):
    """For coverage while no floor has its word."""
    pool = make_pool(40, groups=1, clusters=0)
    whole = select(name, pool, 15).chosen
    for count in (1, 4, 11):
        np.testing.assert_array_equal(select(name, pool, count).chosen, whole[:count])


@pytest.mark.parametrize("name", ["coverage", "fps", "quests"])
@pytest.mark.parametrize("first", [1, 5])
def test_a_warm_start_is_one_run(make_pool, name, first):
    """The first frames chosen, given, lead to the rest, if they ask for as much as before."""
    pool = make_pool(40, groups=1, clusters=0)
    whole = select(name, pool, 12).chosen
    given = pool.given.copy()
    given[whole[:first]] = True
    warm = dataclasses.replace(pool, given=given, eligible=~given, asking=pool.eligible)
    np.testing.assert_array_equal(select(name, warm, 12 - first).chosen, whole[first:])


@pytest.mark.parametrize("seed", range(4))
def test_auto_adds_nothing_to_what_auto_kept(make_pool, seed):
    """Whatever the given frames cover counts as a first part of the way from nothing to all."""
    pool = make_pool(80, atoms=5, size=2, clusters=6, seed=seed)
    given = pool.given.copy()
    given[coverage(pool, None).chosen] = True
    again = dataclasses.replace(pool, given=given, eligible=~given, asking=pool.eligible)
    assert len(coverage(again, None).chosen) == 0


def test_what_given_frames_lack_is_added_up_to_where_one_run_would_stop(make_pool):
    """Unless it brings hardly more than it takes: the last frame before the knee alone is not worth a new start."""
    pool = make_pool(80, atoms=5, size=2, clusters=1, groups=1)
    whole = coverage(pool, None)
    for count in range(1, len(whole.chosen)):
        given = np.isin(np.arange(80), whole.chosen[:count])
        part = dataclasses.replace(pool, given=given, eligible=~given, asking=pool.eligible)
        lacking = len(whole.chosen) - count
        worth = whole.coverage[-1] - whole.coverage[count] >= (lacking + 1) / 80
        np.testing.assert_array_equal(coverage(part, None).chosen, whole.chosen[count:] if worth else [])
    assert not worth, "both happen"
    assert len(whole.chosen) > 3


# Quotas of clusters.


@pytest.mark.parametrize("seed", range(3))
def test_a_frame_belongs_to_the_cluster_of_most_of_its_environments(make_pool, seed):
    pool = make_pool(60, clusters=3, atoms=4, seed=seed)
    wanted = []
    for f in range(60):
        inside = [c for c in pool.cluster[pool.owner == f].tolist() if c >= 0]
        wanted.append(min(inside, key=lambda c, inside=inside: (-inside.count(c), c)) if inside else -1)
    np.testing.assert_array_equal(frame_clusters(pool), wanted)
    assert -1 in wanted


def by_cluster(sizes, given=()):
    """A pool of single environments; the last cluster is that of the outliers."""
    cluster = np.repeat([*range(len(sizes) - 1), -1], sizes)
    F = len(cluster)
    X = np.random.default_rng(0).normal(size=(F, 2)).astype(np.float32)
    kept = np.isin(np.arange(F), given)
    return Pool(X, np.arange(F + 1), np.zeros(F, int), cluster, kept, ~kept)


@pytest.mark.parametrize(
    ("count", "quota"), [(4, [1, 1, 1, 1]), (8, [2, 2, 2, 2]), (12, [5, 3, 2, 2]), (13, [6, 3, 2, 2])]
)
def test_clusters_have_equal_quotas_while_they_last_and_outliers_are_one(count, quota):
    pool = by_cluster([50, 3, 2, 2])
    for seed in range(5):
        taken = pool.cluster[select("cluster-quota", pool, count, seed).chosen]
        assert [(taken == c).sum() for c in (0, 1, 2, -1)] == quota


@pytest.mark.parametrize("name", ["cluster-quota", "stratified"])
def test_given_frames_count_in_the_quota(name):
    pool = by_cluster([20, 20, 20], given=[0, 1, 2, 20])
    pool = dataclasses.replace(pool, group=np.repeat([0, 1, 2], 20))
    for seed in range(5):
        taken = pool.group[select(name, pool, 5, seed).chosen]
        assert [(taken == c).sum() for c in range(3)] == [0, 2, 3]


def test_a_budget_of_less_than_a_round_favours_no_cluster():
    pool = by_cluster([5, 5, 5])
    first = [pool.cluster[select("cluster-quota", pool, 1, seed).chosen[0]] for seed in range(300)]
    assert min(np.unique(first, return_counts=True)[1]) > 60


# Set cover in the manner of quests.


def kernel_by_loops(pool):
    """The (F, M) sums of the Gaussian kernel between frames and asking environments, h as the docstring says."""
    asking = pool.eligible[pool.owner]
    distance = cdist(pool.X, pool.X[asking])
    other = pool.owner[:, None] != pool.owner[asking]
    h = np.median(np.where(other, distance, np.inf).min(axis=0))
    K = np.exp(-(distance**2) / (2 * h**2))
    return np.add.reduceat(K, pool.first[:-1], axis=0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("given", [(), (2, 9)])
def test_quests_takes_the_frame_that_covers_most_of_what_is_uncovered(make_pool, seed, given):
    pool = make_pool(30, seed=seed, given=given, size=2)
    sums = kernel_by_loops(pool)
    chosen = select("quests", pool, 6).chosen
    have = sums[list(given)].sum(axis=0)
    for frame in chosen:
        gain = (np.minimum(have + sums, 1) - np.minimum(have, 1)).sum(axis=1)
        gain[~pool.eligible] = -1
        if gain.max() < 1e-3:
            break  # a cover is complete
        assert gain[frame] == pytest.approx(gain.max(), rel=1e-4)
        have = have + sums[frame]
        pool.eligible[frame] = False


def test_quests_is_not_led_by_an_outlier(make_pool):
    scale = np.ones(40)
    scale[17] = 300.0
    pool = make_pool(40, scale=scale)
    assert select("quests", pool, 1).chosen[0] != 17
    assert select("fps", pool, 2, seed=1).chosen[1] == 17


def test_after_a_complete_cover_quests_begins_another():
    """Two phases, four copies of each: one of each phase per round."""
    X = np.repeat(np.array([[0, 0], [100, 0]], np.float32), 4, axis=0)
    pool = Pool(X, np.arange(9), np.zeros(8, int), np.zeros(8, int), np.zeros(8, bool), np.ones(8, bool))
    phase = select("quests", pool, 8).chosen // 4
    assert phase.reshape(4, 2).sum(axis=1).tolist() == [1, 1, 1, 1]


def test_quests_measures_a_bounded_sample(make_pool, monkeypatch):
    pool = make_pool(200)
    seen = []
    covers = quests._covers
    monkeypatch.setattr(quests, "_DEMANDS", 50)
    monkeypatch.setattr(quests, "_covers", lambda *given: seen.append(covers(*given)) or seen[-1])
    a, b = select("quests", pool, 20, seed=1).chosen, select("quests", pool, 20, seed=2).chosen
    assert [cover.shape for cover in seen] == [(200, 50), (200, 50)]
    assert set(a) != set(b)


def test_blocks_of_the_kernel_do_not_show(make_pool, monkeypatch):
    pool = make_pool(60)
    rows = np.arange(len(pool.X))
    whole = quests._covers(pool, rows, 1.0)
    monkeypatch.setattr(quests, "_BLOCK_ELEMENTS", 1000)
    np.testing.assert_allclose(quests._covers(pool, rows, 1.0), whole, rtol=1e-4, atol=1e-6)
