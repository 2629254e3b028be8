"""The proof is fair: nothing leaks into training, nothing is left out in silence, and it can tell good from bad."""

import dataclasses
import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read

from mlff_curate.data.labels import Labels, labels_of_frames
from mlff_curate.errors import DataError, UsageError
from mlff_curate.linear import proof
from mlff_curate.linear.proof import METHODS, Proof, prove

pytestmark = pytest.mark.lammps

CUTOFF = 4.0


def at_random(training, count, seed):
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
        labels.append(Labels(energy=atoms.get_potential_energy(), forces=atoms.get_forces()))
    return frames, labels, np.repeat([7, 3], [n_fcc, n_bcc])


FRAMES, LABELS, GROUP = copper()
F = len(FRAMES)
DISTINCT = np.arange(F)


def run(choose=at_random, fraction=0.3, frames=FRAMES, labels=LABELS, group=GROUP, same=None, **options) -> Proof:
    same = np.arange(len(frames)) if same is None else same
    return prove(frames, labels, group, choose, fraction, same, **{"cutoff": CUTOFF, "seeds": 2, **options})


class Recorder:
    """Chooses at random and remembers what it was offered."""

    def __init__(self):
        self.offered = []

    def __call__(self, training, count, seed):
        self.offered.append(training.copy())
        return at_random(training, count, seed)


def errors_of(result, method):
    return next((row.energy_mae, row.force_mae) for row in result.rows if row.method == method)


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
        with pytest.raises(DataError, match="near copies of held-out frames"):
            run(same=np.zeros(F, dtype=int))


class TestErrors:
    def test_equal_seed_gives_equal_numbers_and_another_seed_others(self):
        assert run(seed=5) == run(seed=5)
        assert run(seed=5).rows != run(seed=6).rows

    def test_all_frames_kept_is_the_same_for_every_method(self):
        rows = run(fraction=1.0).rows
        assert {dataclasses.replace(row, method="") for row in rows} == {dataclasses.replace(rows[0], method="")}
        assert rows[0].frames == 48

    def test_counts_are_equal_for_ours_and_random(self):
        rows = run(fraction=0.3).rows
        assert [(row.method, row.frames) for row in rows] == list(zip(METHODS, (14, 14, 48), strict=True))

    def test_a_choice_blind_to_one_phase_is_worse_than_random(self):
        def fcc_alone(training, count, _seed):
            return training[GROUP[training] == 7][:count]

        result = run(fcc_alone, seeds=3)
        ours, random = errors_of(result, "ours"), errors_of(result, "random")
        assert ours[0] > 1.5 * random[0]
        assert any("energies in 0 of 3 splits" in note for note in result.notes)

    def test_a_choice_that_balances_the_phases_beats_random_where_one_is_rare(self):
        frames, labels, group = copper(n_fcc=90, n_bcc=10)

        def balanced(training, count, seed):
            rare = training[group[training] == 3][: count // 2]
            return np.r_[rare, at_random(np.setdiff1d(training, rare), count - len(rare), seed)]

        result = run(balanced, 0.15, frames, labels, group, seeds=4)
        assert errors_of(result, "ours")[0] < errors_of(result, "random")[0]

    def test_frames_without_forces_give_energy_errors_alone(self):
        labels = [Labels(energy=label.energy) for label in LABELS]
        result = run(labels=labels)
        assert all(np.isnan(row.force_mae) and row.energy_mae > 0 for row in result.rows)
        assert any("60 frames with energy but without forces" in note for note in result.notes)

    def test_one_split_has_no_standard_deviation(self):
        assert all(np.isnan(row.energy_std) for row in run(seeds=1).rows)

    def test_there_is_a_row_for_each_method(self):
        assert [row.method for row in run().rows] == list(METHODS)


class TestWhatIsLeftOut:
    def test_frames_without_labels_are_not_offered_and_counted(self):
        labels = [Labels() if i < 5 else label for i, label in enumerate(LABELS)]
        recorder = Recorder()
        result = run(recorder, labels=labels)
        assert all(training.min() >= 5 for training in recorder.offered)
        assert any("5 frames without energy and forces" in note for note in result.notes)

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
        assert all(row.energy_mae < 100 for row in result.rows)

    def test_a_sample_takes_frames_of_every_group_and_says_so(self, monkeypatch):
        monkeypatch.setattr(proof, "MOST_ENVIRONMENTS", 60)
        recorder = Recorder()
        result = run(recorder)
        seen = np.unique(np.concatenate(recorder.offered))
        assert sum(len(FRAMES[i]) for i in seen) <= 60
        assert (GROUP[seen] == 3).sum() >= 8
        assert any("limited to 60 environments" in note for note in result.notes)

    def test_memory_limits_the_sample_where_rows_are_long(self, monkeypatch):
        monkeypatch.setattr(proof, "MOST_MEGABYTES", 100 * 12 * 30 / 1e6)
        assert any("limited to 100 environments" in note for note in run().notes)


class TestRefusals:
    def test_too_few_labels(self):
        labels = [label if i < 19 else Labels() for i, label in enumerate(LABELS)]
        with pytest.raises(DataError, match=r"at least 20 labelled frames, there are 19 \(41 frames without"):
            run(labels=labels)

    def test_no_labels(self):
        with pytest.raises(DataError, match="there are 0"):
            run(labels=[Labels()] * F)

    @pytest.mark.parametrize(
        "choose",
        [
            lambda training, count, _: training[: count - 1],
            lambda training, count, _: np.repeat(training[:1], count),
            lambda training, count, _: np.setdiff1d(DISTINCT, training)[:count],
        ],
        ids=["too few", "one frame again and again", "held-out frames"],
    )
    def test_a_choice_that_breaks_the_rules(self, choose):
        with pytest.raises(ValueError, match="distinct indices"):
            run(choose)

    @pytest.mark.parametrize("options", [{"fraction": 0.0}, {"fraction": 1.5}, {"seeds": 0}])
    def test_impossible_options(self, options):
        with pytest.raises(UsageError, match=r"fraction|split"):
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
    done = [step[0] for step in steps]
    assert done == sorted(done)
    assert steps[-1][:2] == (F + 2, F + 2)
    assert {step[2] for step in steps} == {"bispectrum rows", "fits"}


@pytest.mark.data
def test_tantalum_takes_seconds_and_more_frames_fit_better(real_data):
    frames = read(real_data / "ta_jcp2014.extxyz", ":")
    group = np.unique([atoms.info["config_type"] for atoms in frames], return_inverse=True)[1]
    start = time.perf_counter()
    result = prove(frames, labels_of_frames(frames), group, at_random, 0.1, np.arange(len(frames)))
    assert time.perf_counter() - start < 30
    few, many = errors_of(result, "random"), errors_of(result, "all data")
    assert many[0] < 25.0  # meV/atom
    assert many[0] < few[0]
    assert any("34 extreme frames set aside" in note for note in result.notes)
