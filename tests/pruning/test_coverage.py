"""Coverage is the objective of its docstring, and its greedy choice is the greedy choice."""

import dataclasses
import itertools
import warnings

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mlff_curate.pruning.coverage import Coverage


def rng():
    return np.random.default_rng(0)


def costs_by_loops(pool, demanding):
    """The (F, M) costs of the docstring; M = environments, then frames, that demand."""
    sizes, frames = np.diff(pool.first), np.flatnonzero(demanding)
    rows = np.flatnonzero(demanding[pool.owner])
    to_environment = np.array(
        [
            [cdist(pool.X[e : e + 1], pool.X[pool.first[f] : pool.first[f + 1]]).min() ** 2 for e in rows]
            for f in range(pool.frames)
        ]
    )
    to_frame = cdist(pool.frame_vectors, pool.frame_vectors[frames]) ** 2
    # within a group all environments, and all frames, weigh the same; all groups weigh the same
    w = np.array([1.0 / sizes[demanding & (pool.group == pool.group[f])].sum() for f in pool.owner[rows]])
    v = np.array([1.0 / (demanding & (pool.group == pool.group[f])).sum() for f in frames])
    parts = [c * weight / (2 * (c.mean(axis=0) @ weight)) for c, weight in ((to_environment, w), (to_frame, v))]
    return np.concatenate(parts, axis=1)


def objective(cost, kept):
    return cost[list(kept)].min(axis=0).sum()


@pytest.mark.parametrize("seed", range(4))
def test_costs_are_those_of_the_docstring(make_pool, seed):
    pool = make_pool(25, seed=seed)
    np.testing.assert_allclose(Coverage(pool, rng()).cost, costs_by_loops(pool, pool.eligible), rtol=1e-4, atol=1e-8)


def test_blocks_of_the_distance_matrix_do_not_show(make_pool, monkeypatch):
    pool = make_pool(60)
    whole = Coverage(pool, rng()).cost
    monkeypatch.setattr("mlff_curate.pruning.coverage._BLOCK_ELEMENTS", 1000)
    np.testing.assert_allclose(Coverage(pool, rng()).cost, whole, rtol=1e-4, atol=1e-8)


def test_a_common_offset_does_not_blur_the_costs(make_pool):
    pool = make_pool(30)
    moved = dataclasses.replace(pool, X=pool.X + np.float32(64))
    np.testing.assert_allclose(Coverage(moved, rng()).cost, Coverage(pool, rng()).cost, rtol=1e-2, atol=1e-6)


def test_environments_and_frames_count_alike(make_pool):
    pool = make_pool(40)
    cost = Coverage(pool, rng()).cost
    environments = len(pool.X)
    for half in (cost[:, :environments], cost[:, environments:]):
        assert half.mean(axis=0).sum() == pytest.approx(0.5, rel=1e-5)


def test_every_group_weighs_the_same(make_pool):
    """However many frames and atoms it has."""
    pool = make_pool(60, groups=1)
    group = np.repeat([0, 1, 2], [50, 8, 2])
    pool = dataclasses.replace(pool, group=group)
    same_distances = dataclasses.replace(pool, X=np.zeros_like(pool.X))
    same_distances.X[:] = np.random.default_rng(0).choice([-1.0, 1.0], len(pool.X))[:, None]
    cost = Coverage(same_distances, rng()).cost
    # a cost is weight x squared distance; all distances of environments are 0 or the same
    weight = cost[:, : len(pool.X)].max(axis=0)
    sums = [weight[group[pool.owner] == g].sum() for g in range(3)]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("given", [(), (0, 5)])
def test_gains_are_positive_and_diminish(make_pool, seed, given):
    pool = make_pool(40, seed=seed, given=given)
    chosen, gain = Coverage(pool, rng()).greedy(40)
    assert len(chosen) == 40 - len(given)
    assert np.all(gain >= 0)
    assert np.all(np.diff(gain) <= 1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("given", [(), (3, 7, 11)])
def test_the_lazy_choice_is_the_greedy_choice(make_pool, seed, given):
    pool = make_pool(30, seed=seed, given=given, excluded=(1, 2))
    coverage = Coverage(pool, rng())
    current = coverage.start()
    left = set(np.flatnonzero(pool.eligible))
    wanted = []
    for _ in range(12):
        saved = {f: np.maximum(current - coverage.cost[f], 0).sum(dtype=np.float64) for f in left}
        best = max(sorted(left), key=saved.get)
        wanted.append(best)
        left.remove(best)
        current = np.minimum(current, coverage.cost[best])
    np.testing.assert_array_equal(coverage.greedy(12)[0], wanted)


@pytest.mark.parametrize("seed", range(5))
def test_the_greedy_choice_is_near_the_best_there_is(make_pool, seed):
    """Nemhauser's bound, 1 - 1/e of the best possible saving, by trying all sets of three."""
    pool = make_pool(12, seed=seed)
    coverage = Coverage(pool, rng())
    start = coverage.start().sum()
    best = min(objective(coverage.cost, kept) for kept in itertools.combinations(range(12), 3))
    ours = objective(coverage.cost, coverage.greedy(3)[0])
    assert start - ours >= (1 - 1 / np.e) * (start - best)


@pytest.mark.parametrize("seed", range(5))
def test_share_is_between_the_best_single_frame_and_everything(make_pool, seed):
    pool = make_pool(30, seed=seed)
    coverage = Coverage(pool, rng())
    shares = [coverage.share(coverage.cost[[f]].min(axis=0)) for f in range(30)]
    assert max(shares) == pytest.approx(0.0, abs=1e-6), "the best single frame has none"
    assert coverage.share(coverage.cost.min(axis=0)) == pytest.approx(1.0, abs=1e-5)
    _, along = coverage.after(coverage.greedy(30)[0])
    assert np.all((along >= 0) & (along <= 1))
    assert np.all(np.diff(along) >= 0)


def test_keeping_all_that_may_be_kept_covers_everything(make_pool):
    """Frames that the user excludes are no demand: nothing has to stand for them."""
    scale = np.ones(30)
    scale[[4, 9]] = 50.0
    for options in ({"excluded": (4, 9)}, {"given": (4, 9)}, {"given": (4,), "excluded": (9,)}):
        pool = make_pool(30, scale=scale, **options)
        coverage = Coverage(pool, rng())
        _, along = coverage.after(np.flatnonzero(pool.eligible))
        assert along[-1] == pytest.approx(1.0, abs=1e-4), options


def test_excluded_frames_have_no_say_in_what_is_kept(make_pool):
    scale = np.ones(30)
    scale[[4, 9]] = 50.0
    wild = make_pool(30, excluded=(4, 9), scale=scale)
    tame = make_pool(30, excluded=(4, 9))
    np.testing.assert_array_equal(Coverage(wild, rng()).greedy(8)[0], Coverage(tame, rng()).greedy(8)[0])


def test_gains_are_the_differences_of_the_coverage(make_pool):
    """`gain` is the share of the coverage that each frame brought, so the gains add up to the coverage."""
    pool = make_pool(30)
    coverage = Coverage(pool, rng())
    gain, along = coverage.after(coverage.greedy(10)[0])
    assert along.shape == (11,)
    np.testing.assert_allclose(gain, np.diff(along), atol=1e-9)
    assert gain.sum() <= 1 + 1e-9


def test_after_agrees_with_greedy(make_pool):
    """From the second frame on: the first may bring more than all coverage is, the best single frame being its zero."""
    pool = make_pool(30, given=(2, 3))
    coverage = Coverage(pool, rng())
    chosen, gain = coverage.greedy(10)
    np.testing.assert_allclose(coverage.after(chosen)[0][1:], gain[1:], rtol=1e-6)


def test_given_frames_are_covered_from_the_start(make_pool):
    pool = make_pool(30, given=(0, 1, 2))
    coverage = Coverage(pool, rng())
    np.testing.assert_array_equal(coverage.start(), coverage.cost[:3].min(axis=0))
    assert not set(coverage.greedy(30)[0]) & {0, 1, 2}


def test_what_is_given_twice_brings_nothing(make_pool):
    """A frame that repeats a given one is chosen last."""
    pool = make_pool(20, atoms=1, given=(0,))
    X = pool.X.copy()
    X[7] = X[0]
    chosen, gain = Coverage(dataclasses.replace(pool, X=X), rng()).greedy(19)
    assert chosen[-1] == 7
    assert gain[-1] == pytest.approx(0.0, abs=1e-6)


def test_a_curated_set_does_not_demand(make_pool):
    pool = make_pool(30, given=range(10))
    demands = int(np.diff(pool.first)[10:].sum()) + 20
    assert Coverage(pool, rng()).cost.shape == (30, demands)


def test_groups_that_only_the_curated_set_has_are_no_trouble(make_pool):
    pool = make_pool(30, given=range(10))
    group = pool.group.copy()
    group[:10] = 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coverage = Coverage(dataclasses.replace(pool, group=group), rng())
    assert np.isfinite(coverage.cost).all()


def test_nothing_left_to_choose(make_pool):
    pool = make_pool(10, given=range(10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coverage = Coverage(pool, rng())
    assert len(coverage.greedy(5)[0]) == 0
    assert coverage.share(coverage.start()) == 1.0


def test_equal_frames_cost_nothing(make_pool):
    pool = make_pool(10)
    coverage = Coverage(dataclasses.replace(pool, X=np.ones_like(pool.X)), rng())
    assert not coverage.cost.any()
    assert coverage.share(coverage.start()) == 1.0
    assert len(set(coverage.greedy(4)[0])) == 4


def test_a_sample_of_demands_measures_what_all_would(make_pool, monkeypatch):
    """Beyond the cap: the coverage of a choice, measured on a tenth of the demands, is that on all of them."""
    pool = make_pool(400, atoms=4, seed=1)
    exact = Coverage(pool, rng())
    kept = exact.greedy(20)[0]
    monkeypatch.setattr("mlff_curate.pruning.coverage._DEMANDS", 150)
    truth = objective(exact.cost, kept)
    estimates = []
    for seed in range(20):
        sampled = Coverage(pool, np.random.default_rng(seed))
        assert sampled.cost.shape == (400, 300)
        estimates.append(objective(sampled.cost, kept))
    assert np.mean(estimates) == pytest.approx(truth, rel=0.05)


def test_a_rare_far_phase_keeps_its_weight_in_the_sample(make_pool, monkeypatch):
    """Ten far frames of four hundred: what it costs to leave them out is the same on a sample of the demands."""
    scale = np.ones(400)
    scale[:10] = 30.0
    pool = make_pool(400, atoms=4, groups=1, seed=1, scale=scale)
    near_only = np.arange(50, 100)
    near_and_far = np.concatenate([np.arange(10), near_only])

    def worth_of_the_rest(coverage):
        """How much of the cost that near frames have among themselves."""
        far_kept = objective(coverage.cost, near_and_far)
        return far_kept / objective(coverage.cost, near_only)

    truth = worth_of_the_rest(Coverage(pool, rng()))
    monkeypatch.setattr("mlff_curate.pruning.coverage._DEMANDS", 200)
    found = [worth_of_the_rest(Coverage(pool, np.random.default_rng(seed))) for seed in range(10)]
    assert np.mean(found) == pytest.approx(truth, rel=0.2)


def test_a_sample_is_drawn_by_the_seed_alone(make_pool, monkeypatch):
    monkeypatch.setattr("mlff_curate.pruning.coverage._DEMANDS", 50)
    pool = make_pool(100)
    a, b, other = (Coverage(pool, np.random.default_rng(seed)).cost for seed in (1, 1, 2))
    assert a.tobytes() == b.tobytes()
    assert a.tobytes() != other.tobytes()


def test_it_stops_before_gains_below_the_limit(make_pool):
    pool = make_pool(40)
    coverage = Coverage(pool, rng())
    every, gain = coverage.greedy(40)
    limit = gain[9]
    chosen, _ = coverage.greedy(40, stop_below=limit * (1 + 1e-9))
    np.testing.assert_array_equal(chosen, every[:9])


def test_progress_is_told(make_pool):
    told = []
    Coverage(make_pool(40), rng()).greedy(32, progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == [16, 32]
    assert all(total == 32 and words.startswith("coverage 0.") for _, total, words in told)


def test_what_given_frames_cover_is_asked_for_all_the_same(make_pool):
    """The zero and the unit of the coverage are those of the whole set, however much of it is given."""
    pool = make_pool(40)
    whole = Coverage(pool, rng())
    chosen, _ = whole.greedy(12)
    given = np.isin(np.arange(40), chosen[:8])
    part = Coverage(dataclasses.replace(pool, given=given, eligible=~given, asking=pool.eligible), rng())
    np.testing.assert_allclose(part.cost, whole.cost, rtol=1e-5)
    assert part.reference == pytest.approx(whole.reference)
    assert part.share(part.start()) == pytest.approx(whole.after(chosen)[1][8])
