"""Information is the objective of its docstring, and what is chosen is what is best for it."""

import dataclasses
import warnings

import numpy as np
import pytest

from mlff_curate.pruning import information
from mlff_curate.pruning.floor import Floor
from mlff_curate.pruning.information import ENERGY_NOISE, FORCE_NOISE, LIKENESS, OFFSET, SKETCHES, Information, _State
from mlff_curate.pruning.problem import Pool


def rng():
    return np.random.default_rng(0)


class Dense:
    """The objective of the docstring by loops over frames and plain inverses; the features are taken as they are."""

    def __init__(self, pool):
        average, combined = (part.astype(np.float64) for part in Information._features(pool, rng()))
        sizes = np.diff(pool.first)
        wanted = np.flatnonzero(pool.demanding)
        groups = np.unique(pool.group[wanted])
        weight = np.zeros(pool.frames)
        for f in wanted:
            weight[f] = 1.0 / (pool.group[wanted] == pool.group[f]).sum() / len(groups)
        self.away = average - weight @ average
        self.pool, self.sizes = pool, sizes
        species = np.zeros(len(pool.X)) if pool.species is None else pool.species
        shares = [[np.mean(species[pool.owner == f] == z) for z in np.unique(species)] for f in range(pool.frames)]
        a = np.column_stack([self.away, OFFSET * np.array(shares)])
        d = np.pad(combined, ((0, 0), (0, 0), (0, a.shape[1] - self.away.shape[1])))
        self.told = [
            np.outer(a[f], a[f]) / ENERGY_NOISE**2 + d[f].T @ d[f] / SKETCHES / FORCE_NOISE**2
            for f in range(pool.frames)
        ]
        energies = sum(weight[f] * np.outer(a[f], a[f]) for f in wanted)
        forces = sum(weight[f] * d[f].T @ d[f] / SKETCHES / sizes[f] for f in wanted)
        known = self.covariance(np.flatnonzero(pool.given | pool.eligible | pool.demanding))
        # without noise, where no frame has deviations, nothing is left of the forces
        left = [np.sum(known * part) for part in (energies, forces)]
        self.moment = energies / left[0] + (forces / left[1] if left[1] > 0 else 0.0)

    def covariance(self, kept):
        return np.linalg.inv(np.eye(len(self.told[0])) + sum((self.told[f] for f in kept), np.zeros(1)))

    def uncertainty(self, kept):
        return float(np.sum(self.covariance(kept) * self.moment))

    def unlike(self, kept):
        """About 1 for a single frame; 1 if nothing is kept."""
        wanted = self.pool.demanding
        share = np.array([(wanted & (self.pool.group == g)).sum() for g in self.pool.group])
        weight = np.where(wanted, 1.0 / np.maximum(share, 1), 0.0)
        unit = weight @ np.sum(self.away**2, axis=1) / weight.sum()
        if not len(kept):
            return 1.0
        kept = np.asarray(kept)
        mean = self.sizes[kept] @ self.away[kept] / self.sizes[kept].sum()
        return float(mean @ mean / unit) + 1e-9

    def score(self, kept):
        return np.log(self.uncertainty(kept)) + LIKENESS * np.log(self.unlike(kept))


@pytest.mark.parametrize("elements", [0, 3])
@pytest.mark.parametrize("options", [{}, {"given": (0, 5)}, {"excluded": (3, 4)}, {"given": (1,), "excluded": (2,)}])
def test_the_uncertainty_is_the_formula_of_the_docstring(make_pool, options, elements):
    pool = make_pool(14, **options)
    if elements:
        pool = dataclasses.replace(pool, species=np.random.default_rng(1).integers(0, elements, len(pool.X)))
    dense, state = Dense(pool), _State(Information(pool, rng()))
    kept = list(np.flatnonzero(pool.given))
    assert state.uncertainty == pytest.approx(dense.uncertainty(kept), rel=1e-4)
    for frame in (9, 6, 13, 7):
        state.take(frame)
        kept.append(frame)
        assert state.uncertainty == pytest.approx(dense.uncertainty(kept), rel=1e-4)
        assert float(state.unlike) == pytest.approx(dense.unlike(kept), rel=1e-3)


def test_what_is_left_of_energies_and_of_forces_when_all_is_known_counts_alike(make_pool):
    pool = make_pool(20)
    objective = Information(pool, rng())
    assert objective.everything_known == pytest.approx(2.0)
    single = make_pool(20, atoms=1)
    assert Information(single, rng()).everything_known == pytest.approx(1.0), "frames of one atom have no deviations"


def test_updates_agree_with_inverting_anew_after_many_steps(make_pool):
    pool = make_pool(150, given=(4,))
    objective = Information(pool, rng())
    state = _State(objective)
    order = np.random.default_rng(3).permutation(np.arange(5, 150))[:120]
    for frame in order:
        state.take(int(frame))
    covariance = np.linalg.inv(objective.prior + objective.precision(np.append(order, 4)))
    for found, wanted in (
        (state.covariance, covariance),
        (state.spread, covariance @ objective.moment @ covariance),
        (state.uncertainty, np.sum(covariance * objective.moment)),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())
    assert state.kept_size == objective.sizes[[*order, 4]].sum()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{}, {"given": (3, 7)}, {"excluded": (1, 2)}, {"atoms": 1}])
def test_every_choice_is_the_best_that_there_is_or_nearly_so(make_pool, seed, options, monkeypatch):
    """By trying them all. Old gains are no strict bounds: one choice of some hundred is second best, by little."""
    monkeypatch.setattr(information, "_REFRESHED", 4)
    pool = make_pool(20, seed=seed, **options)
    dense = Dense(pool)
    kept = list(np.flatnonzero(pool.given))
    for frame in Information(pool, rng()).greedy(8)[0]:
        score = {f: dense.score([*kept, f]) for f in pool.candidates if f not in kept}
        assert score[frame] <= min(score.values()) + 0.02, "2 % of the expected error"
        kept.append(frame)


def test_few_candidates_are_computed_anew(make_pool, monkeypatch):
    computed = []
    monkeypatch.setattr(information, "_REFRESHED", 4)
    refresh = _State._refresh
    monkeypatch.setattr(_State, "_refresh", lambda self, f: computed.append(len(f)) or refresh(self, f))
    Information(make_pool(200), rng()).greedy(20)
    assert computed[0] == 200
    assert sum(computed) < 200 + 19 * 100


def test_gains_are_what_taking_the_frame_brings(make_pool):
    pool = make_pool(30, given=(2,))
    objective = Information(pool, rng())
    state = _State(objective)
    state.take(8)
    state._refresh(np.arange(9, 30))
    for frame in (9, 15, 29):
        after = _State(objective)
        after.take(8)
        after.take(frame)
        assert state.bound[frame] == pytest.approx(state.uncertainty - after.uncertainty, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_share_rises_from_nothing_to_everything(make_pool, seed):
    pool = make_pool(30, seed=seed)
    objective = Information(pool, rng())
    shares = objective.shares(np.random.default_rng(seed).permutation(30))
    assert shares[0] == 0.0
    assert shares[-1] == pytest.approx(1.0, abs=1e-6)
    assert np.all(np.diff(shares) >= -1e-9)
    assert shares[10] < 0.999, "not all at once"


def test_the_mean_energy_is_not_known_for_nothing(make_pool):
    """Of two phases far from each other, whole labels of one tell nothing of the other: two labels tell it."""
    pool = make_pool(20, groups=1, size=2)
    X = pool.X * np.float32(0.01)
    X[pool.owner >= 10] += 50
    objective = Information(dataclasses.replace(pool, X=X), rng())
    assert objective.shares(np.arange(10))[-1] < 0.05
    assert objective.shares(np.array([0, 10]))[-1] > 0.9


def test_the_energy_of_an_element_is_not_known_from_another(make_pool):
    """Frames that lie in one place: labels of one element tell the other nothing."""
    pool = make_pool(20, groups=1, size=2)
    alike = dataclasses.replace(pool, X=pool.X * np.float32(1e-3))
    species = np.where(pool.owner >= 10, 41, 73)
    apart = Information(dataclasses.replace(alike, species=species), rng())
    first = apart.rows[:, 0, -2:]
    assert set(map(tuple, first.tolist())) == {(OFFSET / ENERGY_NOISE, 0.0), (0.0, OFFSET / ENERGY_NOISE)}
    told = [_State(objective) for objective in (Information(alike, rng()), apart)]
    for state in told:
        for frame in range(10):
            state.take(frame)
    one, two = (state.uncertainty / state.objective.everything_known for state in told)
    assert one < 10
    assert two > 1000
    told[1].take(10)
    assert told[1].uncertainty / apart.everything_known < 10


def test_given_frames_count_as_known(make_pool):
    pool = make_pool(30)
    whole = Information(pool, rng())
    chosen, shares = whole.greedy(12)
    given = np.isin(np.arange(30), chosen[:8])
    part = Information(dataclasses.replace(pool, given=given, eligible=~given, asking=pool.eligible), rng())
    rest, after = part.greedy(4)
    np.testing.assert_allclose(after, shares[8:], rtol=1e-6)
    np.testing.assert_array_equal(rest, chosen[8:])


def test_what_is_asked_for_does_not_depend_on_what_may_be_chosen(make_pool):
    """A near copy of a curated frame asks as all do, and cannot be chosen."""
    pool = make_pool(30, given=(0, 1))
    asking = pool.eligible
    fewer = asking & (np.arange(30) % 3 > 0)
    a, b = (Information(dataclasses.replace(pool, eligible=e, asking=asking), rng()) for e in (asking, fewer))
    assert (a.everything_known, a.mean_known) == (b.everything_known, b.mean_known)
    assert fewer[b.greedy(30)[0]].all()


def test_shares_agree_with_greedy_and_greedy_goes_on_where_it_stopped(make_pool):
    objective = Information(make_pool(30, given=(2, 3)), rng())
    chosen, shares = objective.greedy(10)
    np.testing.assert_allclose(objective.shares(chosen), shares, rtol=1e-12)
    more, after = objective.greedy(4, after=chosen[:6])
    np.testing.assert_array_equal(more, chosen[6:])
    np.testing.assert_allclose(after, shares[6:], rtol=1e-12)


def test_excluded_frames_have_no_say_in_what_is_kept(make_pool):
    """They move neither units nor means; float32 products over all rows may differ in the last bit."""
    scale = np.ones(30)
    scale[[4, 9]] = 50.0
    wild, tame = make_pool(30, excluded=(4, 9), scale=scale), make_pool(30, excluded=(4, 9))
    a, b = Information(wild, rng()), Information(tame, rng())
    np.testing.assert_allclose(a.moment, b.moment, rtol=1e-4, atol=1e-4 * np.abs(b.moment).max())
    np.testing.assert_array_equal(a.greedy(8)[0], b.greedy(8)[0])


def repeated(pool, frames, times):
    """The pool and these frames so many times more behind it."""
    again = np.concatenate([np.arange(pool.frames), *[frames] * times])
    rows = np.concatenate([np.arange(pool.first[f], pool.first[f + 1]) for f in again])
    first = np.concatenate([[0], np.cumsum(np.diff(pool.first)[again])])
    no = np.zeros(len(again), bool)
    return Pool(pool.X[rows], first, pool.group[again], pool.cluster[rows], no, ~no, same=again)


def test_every_group_weighs_the_same_however_often_its_frames_are_there(make_pool):
    """Features are in units of all environments, hence a comparison of moments in the same features."""
    pool = make_pool(30, groups=1)
    pool = dataclasses.replace(pool, group=np.repeat([0, 1], [24, 6]))
    plain, more = Information(pool, rng()), Information(repeated(pool, np.arange(24, 30), 9), rng())
    for objective in (plain, more):
        ours = objective.pool.group == 1
        mean = np.array([objective.average[part].mean(axis=0) for part in (ours, ~ours)], np.float64)
        assert np.abs(mean.sum(axis=0)).max() < 1e-5, "the origin is half way, whatever the numbers of frames"
    without = Information(dataclasses.replace(more.pool, group=np.zeros(84, int)), rng())
    off = np.abs(without.average[:24].mean(axis=0) + without.average[24:30].mean(axis=0)).max()
    assert off > 0.01, "and would not be there if all were one group"


# Frames over again.


def test_a_frame_over_again_tells_nothing_and_is_chosen_last(make_pool):
    scale = np.repeat([1.0, 0.01], 6)  # looking twice at the first ones would tell more than once at the others
    pool = repeated(make_pool(12, scale=scale), np.arange(12), 2)
    objective = Information(pool, rng())
    chosen, shares = objective.greedy(36)
    assert sorted(chosen[:12] % 12) == list(range(12))
    assert sorted(chosen) == list(range(36))
    assert shares[12] == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_array_equal(shares[12:], shares[12])


def test_a_curated_copy_is_the_frame(make_pool):
    """Order of the files included."""
    pool = repeated(make_pool(12), np.arange(4), 1)
    curated = np.arange(16) >= 12
    with_copies = dataclasses.replace(pool, given=curated, eligible=~curated)
    by_itself = make_pool(12)
    given = np.arange(12) < 4
    alone = dataclasses.replace(by_itself, given=given, eligible=~given, asking=np.ones(12, bool))
    a, b = Information(with_copies, rng()), Information(alone, rng())
    chosen, shares = a.greedy(8)
    assert not set(chosen) & set(range(4))
    np.testing.assert_allclose(shares[0], b.shares(np.zeros(0, int))[0], atol=0.02)
    assert shares[-1] == pytest.approx(1.0, abs=1e-6)


def test_a_copy_that_is_not_known_for_one_gains_less_than_something_new(make_pool):
    """By its energy: forces have so much noise of their own that looking twice tells nearly as much as once."""
    pool = make_pool(20, atoms=1, given=(0,))
    twin = dataclasses.replace(repeated(pool, np.array([0]), 1), given=np.arange(21) == 0, same=None)
    twin = dataclasses.replace(twin, eligible=~twin.given)
    state = _State(Information(twin, rng()))
    state._refresh(np.arange(21))
    assert state.bound[20] < 0.1 * state.bound[1:20].min()


def test_a_frame_over_again_is_taken_where_only_it_represents_what_is_missing(make_pool):
    """Below the floor: it is in a group of its own."""
    pool = repeated(make_pool(6, groups=1, clusters=0), np.array([2]), 1)
    pool = dataclasses.replace(pool, group=np.array([0] * 6 + [1]), given=np.arange(7) == 2)
    pool = dataclasses.replace(pool, eligible=~pool.given)
    chosen, _ = Information(pool, rng()).greedy(3, missing=Floor(pool).missing(pool.given))
    np.testing.assert_array_equal(chosen, [6])


# The knee.


def test_it_ends_at_the_highest_point_above_the_line(make_pool):
    objective = Information(make_pool(80, atoms=5, size=2), rng())
    every, shares = objective.greedy(80)
    for slope in (1 / 80, 1 / 40, 1 / 400):
        chosen, told = objective.greedy(80, slope)
        highest = int(np.argmax(shares - slope * np.arange(81)))
        assert 0 < highest < 80
        np.testing.assert_array_equal(chosen, every[:highest])
        np.testing.assert_array_equal(told, shares[: highest + 1])


def test_it_does_not_go_on_to_the_end_to_find_the_knee(make_pool, monkeypatch):
    taken = []
    take = _State.take
    monkeypatch.setattr(_State, "take", lambda self, f: taken.append(f) or take(self, f))
    chosen, _ = Information(make_pool(200, atoms=5, size=2), rng()).greedy(200, 1 / 200)
    assert len(chosen) + 16 <= len(taken) < 100


def test_less_than_an_average_frame_is_no_reason_to_begin_anew(make_pool, monkeypatch):
    pool = make_pool(40)
    for gain, kept in ((0.5, 0), (0.99, 0), (1.01, 1), (3.0, 1)):
        shares = iter([0.5, *[0.5 + (1 + gain) * 0.01] * 40])
        monkeypatch.setattr(Information, "share", lambda *_, shares=shares: next(shares))
        assert len(Information(pool, rng()).greedy(40, 0.01)[0]) == kept, gain


def test_progress_is_told(make_pool):
    told = []
    Information(make_pool(40), rng()).greedy(32, progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == [16, 32]
    assert all(total == 32 and words.startswith("coverage 0.") for _, total, words in told)


# Whatever comes.


def test_the_same_seed_makes_the_same_choice_and_another_looks_with_other_waves(make_pool):
    pool = make_pool(60)
    a, b, other = (Information(pool, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert a.rows.tobytes() == b.rows.tobytes()
    np.testing.assert_array_equal(a.greedy(20)[0], b.greedy(20)[0])
    assert a.rows.tobytes() != other.rows.tobytes()


@pytest.mark.parametrize("block", [1, 7, 50])
def test_blocks_do_not_show(make_pool, monkeypatch, block):
    pool = make_pool(60, atoms=5)
    whole = Information(pool, rng()).rows
    monkeypatch.setattr(information, "_BLOCK", block)
    np.testing.assert_allclose(Information(pool, rng()).rows, whole, rtol=1e-3, atol=1e-4)


def test_a_common_offset_of_the_descriptors_does_not_show(make_pool):
    pool = make_pool(30)
    moved = dataclasses.replace(pool, X=pool.X + np.float32(64))
    a, b = Information(moved, rng()), Information(pool, rng())
    np.testing.assert_allclose(a.moment, b.moment, atol=1e-2 * np.abs(b.moment[:-1, :-1]).max())
    np.testing.assert_array_equal(a.greedy(8)[0], b.greedy(8)[0])


def test_a_second_view_is_looked_at(make_pool):
    pool = make_pool(30)
    X = np.ones_like(pool.X)
    blind = dataclasses.replace(pool, X=X, detail=X)
    seeing = dataclasses.replace(pool, X=X, detail=pool.X)
    assert np.abs(Information(blind, rng()).average).max() < 1e-6
    assert np.abs(Information(seeing, rng()).average).max() > 0.1


DEGENERATE = {
    "all alike": ({}, 0.0),
    "one atom each": ({"atoms": 1}, 1.0),
    "one atom each, all alike": ({"atoms": 1}, 0.0),
    "alike but for rounding": ({}, 1e-9),
    "huge": ({}, 1e6),
    "tiny": ({}, 1e-12),
}


@pytest.mark.parametrize(("options", "scale"), DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("given", [(), (0, 3)])
@pytest.mark.parametrize("frames", [5, 12])
def test_degenerate_pools_give_numbers_and_distinct_picks(make_pool, options, scale, given, frames):
    pool = make_pool(frames, given=given, **options)
    X = pool.X * np.float32(scale) + np.float32(scale < 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective = Information(dataclasses.replace(pool, X=X), rng())
        chosen, shares = objective.greedy(frames)
    assert sorted(chosen) == list(pool.candidates)
    assert np.isfinite(shares).all()
    assert np.all((shares >= 0) & (shares <= 1))


def test_a_single_frame(make_pool):
    chosen, shares = Information(make_pool(1), rng()).greedy(3, 0.5)
    assert len(chosen) <= 1
    assert np.isfinite(shares).all()


def test_nothing_left_to_choose_and_nothing_asked_for(make_pool):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective = Information(make_pool(10, given=range(10)), rng())
        chosen, shares = objective.greedy(5)
    assert len(chosen) == 0
    assert shares.tolist() == [1.0]
