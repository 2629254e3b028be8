"""A learning curve is fair: nothing leaks into training, nothing is left out in silence, and it tells good from bad."""

import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read

from mlff_curate.data.labels import Labels, labels_of_frames
from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.errors import DataError, UsageError
from mlff_curate.validation import learning_curve as module
from mlff_curate.validation import splitting
from mlff_curate.validation.learning_curve import (
    ALL,
    RANDOM,
    WIDEST,
    CurvePoint,
    Estimate,
    LearningCurve,
    learning_curve,
    percent,
    short,
)
from mlff_curate.validation.splitting import CLOSE, TooFewFramesError

pytestmark = pytest.mark.lammps

CUTOFF = 4.0


def at_random(selector, training, count, seed):
    # another draw for another name: two random selectors differ by chance alone
    seed = [seed, sum(map(ord, selector))]
    return np.random.default_rng(seed).choice(training, count, replace=False)


def copper(n_fcc=40, n_bcc=20, seed=0):
    """Displaced fcc and bcc copper with labels of ASE's effective medium theory; -> frames, labels, group."""
    rng = np.random.default_rng(seed)
    frames, labels = [], []
    for i in range(n_fcc + n_bcc):
        a = rng.uniform(3.5, 3.75) if i < n_fcc else rng.uniform(2.75, 2.95)
        atoms = bulk("Cu", "fcc" if i < n_fcc else "bcc", a=a, cubic=True)
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        atoms.calc = EMT()
        frames.append(atoms)
        labels.append(Labels(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    return frames, labels, np.repeat([7, 3], [n_fcc, n_bcc])


FRAMES, LABELS, GROUP = copper()
F = len(FRAMES)
DISTINCT = np.arange(F)
NAMES = {7: "fcc", 3: "bcc"}


def run(choose=at_random, frames=FRAMES, labels=LABELS, group=GROUP, same=None, X=None, **options) -> LearningCurve:
    same = np.arange(len(frames)) if same is None else same
    X = np.zeros((sum(map(len, frames)), 1), np.float32) if X is None else X
    group = np.array([NAMES.get(g, str(g)) for g in group])
    defaults = {"fractions": [0.3], "selectors": ["ours", RANDOM], "cutoff": CUTOFF, "seeds": 2}
    return learning_curve(frames, labels, group, choose, X, same, **{**defaults, **options})


def by_name(choose_ours):
    """Ours as given, the others at random."""

    def choose(selector, training, count, seed):
        return (choose_ours if selector == "ours" else at_random)(selector, training, count, seed)

    return choose


class Recorder:
    """Chooses at random and remembers what it was offered."""

    def __init__(self):
        self.offered = []

    def __call__(self, selector, training, count, seed):
        if selector == "ours":
            self.offered.append(training.copy())
        return at_random(selector, training, count, seed)


def point(result, selector, fraction=None) -> CurvePoint:
    return next(p for p in result.points if p.selector == selector and fraction in (None, p.fraction))


def errors_of(result, selector):
    found = point(result, selector)
    return found.energy.group_mean.mean, found.forces.group_mean.mean


class TestSplit:
    def test_a_fifth_of_each_group_is_never_offered(self):
        recorder = Recorder()
        run(recorder, seeds=3)
        assert len(recorder.offered) == 3
        for training in recorder.offered:
            hidden = np.setdiff1d(DISTINCT, training)
            assert [(GROUP[hidden] == g).sum() for g in (7, 3)] == [8, 4]
        assert len({tuple(training) for training in recorder.offered}) == 3  # another split for every seed

    def test_copies_of_held_out_frames_are_not_trained_on(self):
        frames = [atoms for atoms in FRAMES for _ in range(2)]
        same = np.repeat(DISTINCT, 2)
        recorder = Recorder()
        run(recorder, frames=frames, labels=np.repeat(LABELS, 2), group=np.repeat(GROUP, 2), same=same)
        for training in recorder.offered:
            numbers, counts = np.unique(same[training], return_counts=True)
            assert (counts == 2).all()
            assert len(numbers) == 48  # families are held out whole, so no training frame is lost

    def test_copies_in_another_group_are_left_out_and_counted(self):
        # every bcc frame comes a second time under the name of a third group that is never held out whole
        frames, labels = [*FRAMES, *FRAMES[40:]], [*LABELS, *LABELS[40:]]
        group, same = np.r_[GROUP, np.full(20, 9)], np.r_[DISTINCT, DISTINCT[40:]]
        recorder = Recorder()
        result = run(recorder, frames=frames, labels=labels, group=group, same=same)
        lost = [80 - 16 - len(training) for training in recorder.offered]
        assert min(lost) >= 1
        note = next(note for note in result.notes if "Near copies" in note)
        assert all(str(count) in note for count in lost)

    def test_a_frame_as_near_as_a_copy_to_a_held_out_one_is_not_trained_on(self):
        """Its neighbours' neighbours are: chains do not count."""
        line = np.zeros((F, 3), np.float32)
        line[:, 0] = DISTINCT  # far apart by frame
        line[1::2, 0] = line[::2, 0] + 1.5 * CLOSE * DISTINCT.std()  # but in pairs that are near, though not too near
        near = line.copy()
        near[1::2, 0] = line[::2, 0] + 0.5 * CLOSE * DISTINCT.std()
        apart, close = Recorder(), Recorder()
        run(apart, vectors=line)
        result = run(close, vectors=near)
        for training in apart.offered:
            assert len(training) == 48
        for before, training in zip(apart.offered, close.offered, strict=True):
            held_out = np.setdiff1d(DISTINCT, before)
            assert set(training) == set(before) - set(held_out ^ 1)
            assert len(training) < 48
        assert any("Near copies of held-out frames left out of training" in note for note in result.notes)

    def test_small_groups_are_only_trained_on(self):
        group = GROUP.copy()
        group[:4] = 1
        recorder = Recorder()
        result = run(recorder, group=group)
        assert all(set(range(4)) <= set(training) for training in recorder.offered)
        assert any("4 frames of 1 group with fewer than 5 frames" in note for note in result.notes)

    def test_groups_that_are_all_small_are_held_out_as_one(self):
        recorder = Recorder()
        run(recorder, group=DISTINCT // 4)
        assert {len(training) for training in recorder.offered} == {48}

    def test_nothing_but_copies_is_no_proof(self):
        with pytest.raises(TooFewFramesError, match="near copies of held-out frames"):
            run(same=np.zeros(F, dtype=int))


class TestErrors:
    def test_equal_seed_gives_equal_numbers_and_another_seed_others(self):
        assert repr(run(seed=5)) == repr(run(seed=5))
        assert run(seed=5).points != run(seed=6).points

    def test_there_is_a_point_for_each_selector_and_fraction_and_one_for_all_frames(self):
        result = run(selectors=["ours", "other", RANDOM], fractions=[0.5, 0.2])
        assert [(p.selector, p.fraction) for p in result.points] == [
            *((name, f) for name in ("ours", "other", RANDOM) for f in (0.2, 0.5)),
            (ALL, 1.0),
        ]
        assert [p.frames for p in result.of("ours")] == [10, 24, 48]
        assert result.selectors == ("ours", "other", RANDOM)

    def test_all_frames_are_fitted_once_whether_asked_for_or_not(self):
        assert run(fractions=[0.3, 1.0]).points == run(fractions=[0.3]).points

    def test_fractions_may_depend_on_the_number_of_frames_to_train_on(self):
        asked = []

        def fractions(training):
            asked.append(training)
            return [12 / training]

        assert point(run(fractions=fractions), "ours").frames == 12
        assert asked == [48]

    def test_the_errors_of_each_split_are_kept(self):
        for p in run(seeds=3).points:
            assert len(p.energy.by_split) == 3
            assert Estimate.of(np.array(p.energy.by_split)) == p.energy.group_mean

    def test_all_frames_but_one_are_about_as_good_as_all(self):
        result = run(fractions=[0.98])
        assert point(result, "ours").frames == 47
        assert errors_of(result, "ours")[0] == pytest.approx(errors_of(result, ALL)[0], rel=0.3)

    def test_energies_forces_and_stresses_get_better_with_more_frames(self):
        result = run(fractions=[0.15], seeds=3)
        few, all_of_them = point(result, RANDOM), point(result, ALL)
        for name in ("energy", "forces", "stress"):
            assert getattr(all_of_them, name).group_mean.mean < getattr(few, name).group_mean.mean

    def test_the_worst_group_is_named_and_no_better_than_the_mean(self):
        def fcc_alone(_selector, training, count, _seed):
            return training[GROUP[training] == 7][:count]

        ours = point(run(by_name(fcc_alone), seeds=3), "ours").energy
        assert ours.worst_group == "bcc"
        assert ours.worst.mean > ours.group_mean.mean
        assert ours.group_mean.mean != pytest.approx(ours.pooled.mean)  # 40 fcc frames, 20 bcc

    def test_frames_without_forces_and_stress_give_energy_errors_alone(self):
        labels = [Labels(energy=label.energy) for label in LABELS]
        result = run(labels=labels)
        assert [q.name for q in result.known] == ["energy"]
        assert all(np.isnan(p.forces.group_mean.mean) and p.energy.group_mean.mean > 0 for p in result.points)
        assert any("no frame with forces, no frame with a stress" in note for note in result.notes)

    def test_one_split_has_no_error_bars(self):
        assert all(np.isnan(p.energy.group_mean.error) for p in run(seeds=1).points)

    def test_error_bars_allow_for_splits_that_share_frames(self):
        # five values of standard deviation 1: Nadeau and Bengio's 1/5 + 0.2/0.8 instead of 1/5
        values = np.array([-1.0, 1.0, 0.0, -1.0, 1.0])
        assert values.std(ddof=1) == 1.0
        assert Estimate.of(values) == Estimate(0.0, pytest.approx(np.sqrt(0.45)))

    def test_splits_that_hold_out_no_such_label_are_passed_over(self):
        assert Estimate.of(np.array([np.nan, 3.0, 5.0])) == Estimate.of(np.array([3.0, 5.0]))
        assert repr(Estimate.of(np.array([np.nan, 3.0]))) == repr(Estimate(3.0, np.nan))
        assert repr(Estimate.of(np.full(2, np.nan))) == repr(Estimate(np.nan, np.nan))

    def test_a_label_of_few_frames_is_measured_in_the_splits_that_hold_one_out(self):
        labels = [dataclasses.replace(label, stress=None) if i % 12 else label for i, label in enumerate(LABELS)]
        recorder = Recorder()
        result = run(recorder, labels=labels, seeds=5)
        held = [len(np.setdiff1d(DISTINCT[::12], training)) for training in recorder.offered]
        assert min(held) == 0 < max(held)
        assert [q.name for q in result.known] == ["energy", "forces", "stress"]
        stress = point(result, "ours").stress
        assert stress.group_mean.mean > 0
        assert stress.worst_group in ("fcc", "bcc")


def verdict_of(errors):
    """The verdict on energies, errors (J, 2) being random's and ours."""
    table = np.full((len(errors), 2, 10), np.nan)  # no group
    table[:, :, 1] = errors
    points = [SimpleNamespace(frames=10)] * 2
    return module._verdicts(points, table, [(RANDOM, 0.3), ("ours", 0.3)])[0]


class TestVerdict:
    def words(self, result):
        return {v.quantity: v.word for v in result.verdicts}

    def test_a_choice_blind_to_one_phase_is_called_worse(self):
        def fcc_alone(_selector, training, count, _seed):
            return training[GROUP[training] == 7][:count]

        result = run(by_name(fcc_alone), seeds=4)
        assert errors_of(result, "ours")[0] > 1.5 * errors_of(result, RANDOM)[0]
        assert self.words(result)["energy"] == "worse"
        assert "energies: random is better (" in result.sentences()[0]

    def test_a_choice_that_balances_the_phases_is_called_better_where_one_is_rare(self):
        frames, labels, group = copper(n_fcc=90, n_bcc=10)

        def balanced(selector, training, count, seed):
            rare = training[group[training] == 3][: count // 2]
            return np.r_[rare, at_random(selector, np.setdiff1d(training, rare), count - len(rare), seed)]

        result = run(by_name(balanced), frames, labels, group, fractions=[0.15], seeds=5)
        assert self.words(result)["energy"] == "better"
        assert "ours at 15 % (12 frames), mean over groups: energies: ours is better (" in result.sentences()[0]
        (headline,) = result.headlines()
        better = sum(v.word == "better" for v in result.verdicts)
        assert headline.startswith(f"ours against random, mean over groups: better in {better} of 3 comparison")

    def test_random_under_another_name_is_as_good_and_is_called_so(self):
        result = run(seeds=12, fractions=[0.97])
        assert set(self.words(result).values()) == {"as good"}
        assert result.sentences()[0] == "Random is as good as ours at every fraction, within the error bars."
        assert "forces: random is as good, x " in result.sentences()[1]

    def test_where_much_could_be_hidden_random_is_not_called_as_good(self):
        result = run(seeds=5, fractions=[0.1])
        assert self.words(result)["energy"] == "open"
        low, high = result.verdicts[0].ratio
        assert low < 1 < high
        assert max(high, 1 / low) > WIDEST
        assert f"energies: no difference shown, x {low:.3g} to {high:.3g} (" in result.sentences()[-1]
        assert not any("Random is as good as" in said for said in result.sentences())

    def test_two_splits_cannot_tell(self):
        result = run(seeds=2)
        assert set(self.words(result).values()) == {"unknown"}
        assert result.sentences() == ["Ours cannot be told from random with 2 splits."]

    def test_the_t_quantile_is_that_of_the_splits_that_know_the_quantity(self):
        errors = np.array([[2.0, 1.0], [2.2, 1.0], [1.8, 1.0]])
        whole = verdict_of(errors)
        with_gap = verdict_of(np.vstack([errors, [np.nan, 1.0]]))
        assert (whole, whole.splits, whole.word) == (with_gap, 3, "better")

    def test_one_split_proves_nothing(self):
        result = run(seeds=1)
        assert set(self.words(result).values()) == {"unknown"}
        assert result.sentences() == ["One split tells nothing about chance: whether ours beats random stays open."]

    def test_without_random_there_is_no_verdict(self):
        result = run(selectors=["ours"])
        assert result.verdicts == ()
        assert result.sentences() == result.headlines() == []


class TestVariety:
    def test_more_frames_cover_more_and_are_more_diverse(self):
        result = run(X=PowerSpectrum([29], CUTOFF).compute(FRAMES), fractions=[0.1, 0.4])
        few, more, everything = result.of(RANDOM)
        assert few.coverage.mean < more.coverage.mean < everything.coverage.mean == 1.0
        assert few.diversity.mean < more.diversity.mean < everything.diversity.mean

    def test_every_environment_needs_a_descriptor(self):
        with pytest.raises(ValueError, match="a row for each of the"):
            run(X=np.zeros((3, 2), np.float32))


def test_numbers_in_sentences():
    assert percent(0.05) == "5 %"
    assert percent(0.2011) == "20.1 %"
    assert short(Estimate(12.345, 1.0)) == "12.3 ± 1.0"
    assert short(Estimate(0.012345, np.nan)) == "0.0123"
    assert short(Estimate(np.nan, np.nan)) == "-"


class TestWhatIsLeftOut:
    def test_frames_without_labels_are_not_offered_and_counted(self):
        labels = [Labels() if i < 5 else label for i, label in enumerate(LABELS)]
        recorder = Recorder()
        result = run(recorder, labels=labels)
        assert all(training.min() >= 5 for training in recorder.offered)
        assert any("5 frames without labels not used" in note for note in result.notes)

    def test_extreme_frames_are_set_aside_and_counted(self):
        labels = list(LABELS)
        labels[0] = dataclasses.replace(labels[0], energy=labels[0].energy + 4 * 4.0)  # 4 eV/atom up
        labels[1] = dataclasses.replace(labels[1], forces=np.full((4, 3), 20.0))  # norm 35
        recorder = Recorder()
        result = run(recorder, labels=labels)
        assert all(training.min() >= 2 for training in recorder.offered)
        assert any("2 extreme frames set aside" in note for note in result.notes)

    def test_the_lowest_energy_is_that_of_the_same_composition(self):
        frames = [*FRAMES, *[Atoms("Au", cell=[2.9, 2.9, 2.9], pbc=True) for _ in range(6)]]
        labels = [*LABELS, *[Labels(energy=50.0, forces=np.zeros((1, 3)))] * 6]
        result = run(frames=frames, labels=labels, group=np.r_[GROUP, [8] * 6])
        assert not any("extreme" in note for note in result.notes)

    def test_atoms_on_top_of_each_other_are_set_aside_and_counted(self):
        frames = [atoms.copy() for atoms in FRAMES]
        frames[0].positions[1] = frames[0].positions[0]
        frames[1].positions[1] = frames[1].positions[0] + [1e-5, 0, 0]
        recorder = Recorder()
        result = run(recorder, frames=frames)
        assert all(training.min() >= 2 for training in recorder.offered)
        assert any("2 frames with atoms nearly on top of each other" in note for note in result.notes)
        assert all(p.energy.group_mean.mean < 200 for p in result.points)

    def test_a_sample_takes_frames_of_every_group_and_says_so(self, monkeypatch):
        monkeypatch.setitem(module.MOST_ENVIRONMENTS, "snap", 60)
        recorder = Recorder()
        result = run(recorder)
        seen = np.unique(np.concatenate(recorder.offered))
        assert sum(len(FRAMES[i]) for i in seen) <= 60
        assert (GROUP[seen] == 3).sum() >= 8
        assert any("limited to 60 environments" in note for note in result.notes)
        assert result.sample_of == F

    def test_all_usable_frames_are_no_sample(self):
        assert run().sample_of == 0

    def test_memory_limits_the_sample_where_rows_are_long(self, monkeypatch):
        monkeypatch.setattr(splitting, "MOST_MEGABYTES", 1.0)
        assert any("limited to 20000 environments and 1 MB" in note for note in run().notes)


class TestKeptInAnyCase:
    ALWAYS = np.isin(DISTINCT, [0, 1, 2, 3, 45, 46])

    def with_them(self, selector, training, count, seed):
        fixed = training[self.ALWAYS[training]]
        others = np.setdiff1d(training, fixed)
        return np.r_[fixed, at_random(selector, others, count - len(fixed), seed)]

    def test_they_count_and_no_choice_is_smaller(self):
        counts = []

        def choose(selector, training, count, seed):
            counts.append((count, int(self.ALWAYS[training].sum())))
            return self.with_them(selector, training, count, seed)

        result = run(choose, always=self.ALWAYS, fractions=[0.02, 0.3], seeds=3)
        assert [count for count, _ in counts] == [fixed if i % 2 == 0 else 14 for i, (_, fixed) in enumerate(counts)]
        held = sorted({fixed for _, fixed in counts})
        shown = f"{held[0]} to {held[-1]}" if len(held) > 1 else f"{held[0]}"
        assert any(note.startswith("Of 6 frames kept in any case (isolated") and shown in note for note in result.notes)

    def test_a_choice_without_them_is_refused(self):
        with pytest.raises(ValueError, match="frames that are kept in any case"):
            run(lambda _, training, count, __: training[-count:], always=self.ALWAYS)

    def test_where_there_are_none_nothing_is_said(self):
        assert not any("kept in any case" in note for note in run().notes)


class TestRefusals:
    def test_too_few_labels(self):
        labels = [label if i < 19 else Labels() for i, label in enumerate(LABELS)]
        with pytest.raises(DataError, match=r"at least 20 labelled frames, there are 19 \(41 frames without labels"):
            run(labels=labels)

    def test_no_labels(self):
        with pytest.raises(DataError, match="there are 0"):
            run(labels=[Labels()] * F)

    @pytest.mark.parametrize(
        "choose",
        [
            lambda _, training, count, __: training[: count - 1],
            lambda _, training, count, __: np.repeat(training[:1], count),
            lambda _, training, count, __: np.setdiff1d(DISTINCT, training)[:count],
        ],
        ids=["too few", "one frame again and again", "held-out frames"],
    )
    def test_a_choice_that_breaks_the_rules(self, choose):
        with pytest.raises(ValueError, match="distinct indices"):
            run(choose)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"fractions": [0.0]}, r"--fractions: must be numbers in \(0, 1\]"),
            ({"fractions": [0.1, 1.5]}, "got 0.1, 1.5"),
            ({"fractions": []}, "got none"),
            ({"seeds": 0}, "--seeds: must be at least 1, got 0"),
            ({"selectors": ["ours", "ours"]}, "--selectors: must be different names, got ours, ours"),
            ({"model": "ace"}, "--model: 'ace' is unknown"),
        ],
    )
    def test_impossible_options(self, options, words):
        with pytest.raises(UsageError, match=words):
            run(**options)

    def test_a_frame_lammps_refuses_keeps_its_own_index(self):
        frames = [atoms.copy() for atoms in FRAMES]
        frames[30].set_cell([[1, 0, 0], [2, 0, 0], [0, 0, 3]])
        labels = [Labels() if i < 5 else label for i, label in enumerate(LABELS)]
        with pytest.raises(DataError, match=r"^frame 30: "):
            run(frames=frames, labels=labels)


def test_progress_counts_up_to_its_total():
    steps = []
    run(progress=lambda *step: steps.append(step))
    for stage, total in (("rows", F), ("fits", 2 * 3)):
        done = [step[1] for step in steps if step[0] == stage]
        assert done == sorted(done)
        assert done[-1] == total
        assert {step[2] for step in steps if step[0] == stage} == {total}


@pytest.mark.data
def test_tantalum_takes_seconds_and_more_frames_fit_better(real_data):
    frames = read(real_data / "ta_jcp2014.extxyz", ":")
    group = np.array([atoms.info["config_type"] for atoms in frames])
    start = time.perf_counter()
    result = run(frames=frames, labels=labels_of_frames(frames), group=group, fractions=[0.1], cutoff=None)
    assert time.perf_counter() - start < 60
    few, many = errors_of(result, RANDOM), errors_of(result, ALL)
    assert many[0] < 10.0  # meV/atom
    assert many[0] < few[0]
    assert many[1] < few[1]
    assert any("34 extreme frames set aside" in note for note in result.notes)


class TestWithoutLammps:
    def test_a_power_spectrum_makes_the_same_kind_of_curve(self):
        frames, labels, group = copper(n_fcc=16, n_bcc=10)
        result = run(frames=frames, labels=labels, group=group, model="power-spectrum", seeds=2, fractions=[0.4])
        assert [q.name for q in result.known] == ["energy", "forces", "stress"]
        assert "power spectrum" in result.notes[0]
        assert errors_of(result, ALL)[0] < errors_of(result, RANDOM)[0]
