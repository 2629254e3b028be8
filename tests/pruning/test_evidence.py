"""Who stands for whom, and what each kept frame alone brings."""

import dataclasses

import faiss
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mlff_curate.graphs.similarity import CloseSearch
from mlff_curate.pruning import evidence as module
from mlff_curate.pruning.evidence import gather_evidence
from mlff_curate.pruning.problem import species_columns


def gather(pool, kept, asking=None, seed=0):
    return gather_evidence(pool, kept, pool.eligible if asking is None else asking, np.random.default_rng(seed))


def some(frames, seed=0):
    kept = np.random.default_rng(seed).random(frames) < 0.3
    kept[:2] = True
    return kept


def by_loops(pool, kept, asking):
    """Unit, owner and distance of the nearest kept environment of every asking one, and the uncovered share."""
    rows = np.flatnonzero(asking[pool.owner])
    X = pool.X.astype(np.float64)
    squares = ((X[rows] - X[rows].mean(axis=0)) ** 2).sum(axis=1)
    supply = np.flatnonzero(kept[pool.owner])
    distance = cdist(X[rows], X[supply])
    near = pool.owner[supply[distance.argmin(axis=1)]]
    nearest = distance.min(axis=1) / squares.mean() ** 0.5
    return pool.owner[rows], near, nearest, (nearest**2).mean()


POOLS = {
    "plain": {},
    "large frames": {"atoms": 15},
    "single atoms": {"atoms": 1},
    "given": {"given": (0, 1, 5)},
    "excluded": {"excluded": (3, 4)},
}


@pytest.mark.parametrize("options", POOLS.values(), ids=POOLS)
def test_frames_are_represented_by_those_nearest_to_most_of_their_environments(make_pool, options):
    pool = make_pool(40, **options)
    kept = some(40) & (pool.given | pool.eligible)
    found = gather(pool, kept)
    frame, near, distance, uncovered = by_loops(pool, kept, pool.eligible)
    assert found.uncovered == pytest.approx(uncovered, rel=1e-5)
    for f in np.flatnonzero(pool.eligible):
        mine = frame == f
        shares = {k: (near[mine] == k).mean() for k in set(near[mine])}
        wanted = sorted(shares, key=lambda k: (-shares[k], distance[mine & (near == k)].mean(), k))[:3]
        assert found.representatives[f].tolist() == (wanted + [-1] * 3)[:3]
        np.testing.assert_allclose(found.share[f], ([shares[k] for k in wanted] + [0] * 3)[:3])
        assert found.distance[f] == pytest.approx(distance[mine].mean(), rel=1e-4, abs=1e-9)
        assert found.farthest[f] == pytest.approx(distance[mine].max(), rel=1e-4, abs=1e-9)
    assert np.isnan(found.distance[~pool.eligible]).all()


@pytest.mark.parametrize("options", POOLS.values(), ids=POOLS)
def test_what_a_frame_alone_brings_is_what_is_lost_without_it(make_pool, options):
    pool = make_pool(40, **options)
    kept = some(40) & (pool.given | pool.eligible)
    found = gather(pool, kept)
    frame, near, _, uncovered = by_loops(pool, kept, pool.eligible)
    for k in np.flatnonzero(kept):
        without = kept.copy()
        without[k] = False
        lost = by_loops(pool, without, pool.eligible)[3] - uncovered
        assert found.brings[k] == pytest.approx(lost, rel=1e-4, abs=1e-9)
        assert found.stands_for[k] == ((near == k) & (frame != k)).sum()
    assert np.isnan(found.brings[~kept]).all()
    assert np.isnan(found.stands_for[~kept]).all()


def test_a_kept_frame_stands_for_itself(make_pool):
    pool = make_pool(50)
    kept = np.arange(50) % 3 == 0
    found = gather(pool, kept)
    np.testing.assert_array_equal(found.representatives[kept, 0], np.flatnonzero(kept))
    assert not found.distance[kept].any()
    assert (found.brings[kept] > 0).all()


def test_a_copy_is_at_no_distance_and_makes_the_other_worthless(make_pool):
    pool = make_pool(20, atoms=1)
    X = pool.X + np.float32(100)
    X[13] = X[4]
    kept = np.zeros(20, bool)
    kept[[2, 4]] = True
    pool = dataclasses.replace(pool, X=X)
    found = gather(pool, kept)
    assert (found.representatives[13, 0], found.distance[13]) == (4, 0.0)
    kept[13] = True
    assert gather(pool, kept).brings[[4, 13]].tolist() == [0.0, 0.0]


def test_when_all_is_kept_nothing_is_uncovered(make_pool):
    found = gather(make_pool(30), np.ones(30, bool))
    assert found.uncovered == 0.0
    assert not found.farthest.any()
    assert not found.stands_for.any()


def test_without_the_only_kept_frame_all_is_uncovered(make_pool):
    pool = make_pool(30)
    found = gather(pool, np.arange(30) == 7)
    assert found.brings[7] == pytest.approx(1 - found.uncovered)


def test_nothing_kept_nothing_stands(make_pool):
    found = gather(make_pool(5), np.zeros(5, bool))
    assert (found.representatives == -1).all()
    assert np.isinf(found.distance).all()
    assert np.isnan(found.uncovered)


def test_nobody_asks(make_pool):
    found = gather(make_pool(5), np.ones(5, bool), np.zeros(5, bool))
    assert np.isnan(found.distance).all()
    assert np.isnan(found.brings).all()


def test_equal_environments_are_all_covered(make_pool):
    pool = make_pool(8)
    found = gather(dataclasses.replace(pool, X=np.ones_like(pool.X)), some(8))
    assert (found.uncovered, np.nanmax(found.brings), found.farthest.max()) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("factor", "offset"), [(7, 0), (1, 30), (1e-3, 0)])
def test_the_unit_is_the_spread_of_the_environments(make_pool, factor, offset):
    pool = make_pool(30)
    other = dataclasses.replace(pool, X=pool.X * np.float32(factor) + np.float32(offset))
    a, b = gather(pool, some(30)), gather(other, some(30))
    np.testing.assert_array_equal(a.representatives, b.representatives)
    np.testing.assert_allclose(b.distance, a.distance, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(b.brings, a.brings, rtol=1e-2, atol=1e-6)


def test_curated_frames_stand_for_others_and_ask_for_nothing(make_pool):
    """Their environments are far away: were they asked for, the unit and the uncovered share would change."""
    pool = make_pool(30, given=(0, 1))
    far = pool.X.copy()
    far[np.isin(pool.owner, [0])] += 1000
    asking = ~pool.given
    kept = some(30)
    found = gather(dataclasses.replace(pool, X=far), kept, asking)
    without = kept.copy()
    without[0] = False
    plain = gather(pool, without, asking)
    np.testing.assert_allclose(found.distance[asking], plain.distance[asking], rtol=1e-4, atol=1e-6)
    assert found.stands_for[0] == 0
    assert found.brings[0] == 0


@pytest.mark.parametrize("seed", range(4))
def test_clusters_and_groups_of_one_kept_frame_are_its_alone(make_pool, represented, seed):
    pool = make_pool(30, clusters=12, groups=5, seed=seed)
    kept = some(30, seed)
    found = gather(pool, kept)
    for f in np.flatnonzero(kept):
        others = represented(pool, np.setdiff1d(np.flatnonzero(kept), [f]))
        mine = represented(pool, [f]) - others
        assert set(found.clusters_alone.get(f, ())) == {number for kind, number in mine if kind == "cluster"}
        assert found.group_alone[f] == any(kind == "group" for kind, _ in mine)


def test_large_frames_are_judged_by_a_sample(make_pool, monkeypatch):
    pool = make_pool(12, atoms=150, size=2, seed=1)
    kept = np.arange(12) < 3
    every = gather(pool, kept)
    monkeypatch.setattr(module, "_PER_FRAME", 40)
    a, b, other = gather(pool, kept), gather(pool, kept), gather(pool, kept, seed=1)
    assert a.uncovered == b.uncovered != other.uncovered != every.uncovered
    assert a.uncovered == pytest.approx(every.uncovered, rel=0.5)
    assert np.nansum(a.stands_for) == pytest.approx(np.diff(pool.first)[3:].sum()), "the sample counts for all"


def test_where_very_many_are_kept_each_is_judged_by_a_few(make_pool, monkeypatch):
    pool = make_pool(60, atoms=20, size=2)
    kept = some(60)
    every = gather(pool, kept)
    monkeypatch.setattr(module, "_MANY_KEPT", 10)
    few = gather(pool, kept)
    np.testing.assert_allclose(few.distance[~kept], every.distance[~kept], rtol=0.2)
    assert few.brings[kept].sum() == pytest.approx(every.brings[kept].sum(), rel=0.5)
    assert (few.brings != every.brings)[kept].any()


@pytest.fixture
def lists(monkeypatch):
    monkeypatch.setattr(CloseSearch, "_EXACT_PAIRS", 0)


@pytest.mark.usefixtures("lists")
def test_inverted_lists_hardly_miss_and_do_not_depend_on_threads(make_pool, monkeypatch):
    pool = make_pool(900, atoms=5, size=6)
    kept = some(900)
    monkeypatch.setattr(CloseSearch, "_LISTS_LOOKED_AT", 12)
    threads = faiss.omp_get_max_threads()
    found = []
    for count in (1, 2):
        faiss.omp_set_num_threads(count)
        found.append(gather(pool, kept))
    faiss.omp_set_num_threads(threads)
    for field in dataclasses.fields(found[0]):
        np.testing.assert_equal(getattr(found[0], field.name), getattr(found[1], field.name))
    monkeypatch.setattr(CloseSearch, "_EXACT_PAIRS", 2**40)
    exact = gather(pool, kept)
    assert (found[0].distance[~kept] >= exact.distance[~kept] - 1e-6).all()
    assert exact.uncovered < found[0].uncovered < 1.02 * exact.uncovered
    assert (found[0].representatives[:, 0] == exact.representatives[:, 0]).mean() > 0.95
    assert np.corrcoef(found[0].brings[kept], exact.brings[kept])[0, 1] > 0.99


@pytest.mark.usefixtures("lists")
def test_inverted_lists_of_few_vectors_find_all_there_is(make_pool):
    pool = make_pool(6, atoms=2)
    found = gather(pool, np.arange(6) < 2)
    assert np.isfinite(found.distance).all()
    assert np.isfinite(found.brings[:2]).all()


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
