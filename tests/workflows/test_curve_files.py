"""From labelled files to held-out errors: `learning-curve`, and the proof of `prune --prove`."""

import dataclasses
import html
import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from mlff_curate.errors import DataError, OutputError, UsageError
from mlff_curate.pruning.selectors import SELECTORS, ours
from mlff_curate.validation import learning_curve as validation
from mlff_curate.validation.flatness import Flat
from mlff_curate.validation.learning_curve import ALL
from mlff_curate.workflows import decide as decide_module
from mlff_curate.workflows import learning_curve as module
from mlff_curate.workflows import prove as prove_module
from mlff_curate.workflows import prune_files as prune_files_module
from mlff_curate.workflows import survey as survey_module
from mlff_curate.workflows.learning_curve import (
    CurveOptions,
    curve_of,
    learning_curve_files,
    read_labelled,
)
from mlff_curate.workflows.prune import PruneOptions, prune
from mlff_curate.workflows.prune_files import prune_files
from mlff_curate.workflows.prune_outputs import manifest_text
from mlff_curate.workflows.survey import SurveyOptions

pytestmark = pytest.mark.lammps

F = 60
FEW = CurveOptions(fractions=(0.2,), selectors=("coverage", "random"), seeds=2)


def copper_frames():
    """Forty displaced fcc and twenty bcc frames of copper, labelled by effective medium theory."""
    rng = np.random.default_rng(0)
    frames = []
    for i in range(F):
        kind, a = ("fcc", rng.uniform(3.5, 3.75)) if i % 3 else ("bcc", rng.uniform(2.75, 2.95))
        atoms = bulk("Cu", kind, a=a, cubic=True)
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        atoms.info["config_type"] = kind
        atoms.calc = EMT()
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def copper(tmp_path_factory):
    """A file of these frames."""
    path = tmp_path_factory.mktemp("copper") / "copper.extxyz"
    write(path, copper_frames())
    return path


@pytest.fixture
def bare(tmp_path):
    """The same file without labels, in a folder of its own."""
    frames = copper_frames()
    for atoms in frames:
        atoms.calc = None
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "bare.extxyz", frames)
    return tmp_path / "in" / "bare.extxyz"


class TestLearningCurve:
    def test_the_page_the_lines_and_the_summary_say_the_same(self, copper, tmp_path):
        done = learning_curve_files([copper], tmp_path / "out.html", settings=FEW)
        values = json.loads(json.dumps(done.summary(1.0)))
        assert [(p["selector"], p["fraction"]) for p in values["points"]] == [
            ("coverage", 0.2),
            ("random", 0.2),
            ("all data", 1.0),
        ]
        assert values["frames"] == F
        energy = values["points"][2]["energy"]["group_mean"]["mean"]
        assert 0 < energy < 100
        page = html.unescape((tmp_path / "out.html").read_text())
        for said in (f"{energy:.3g}"[:3], *done.curve.headlines(), *done.curve.notes[:1]):
            assert any(said in line for line in done.lines())
            assert said in page

    def test_the_same_seed_gives_the_same_page(self, copper, tmp_path):
        first, second, other = (
            learning_curve_files([copper], tmp_path / f"{i}.html", PruneOptions(seed=seed), FEW).curve
            for i, seed in enumerate((3, 3, 4))
        )
        assert repr(first) == repr(second) != repr(other)

    def test_several_selectors_stand_in_one_table(self, copper, tmp_path):
        settings = CurveOptions((0.2,), ("coverage", "stratified", "fps", "random"), 1)
        lines = learning_curve_files([copper], tmp_path / "out.html", settings=settings).lines()
        assert [line.split()[0] for line in lines[1:6]] == ["coverage", "stratified", "fps", "random", "all"]

    def test_the_page_is_named_after_the_input(self, copper, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert str(learning_curve_files([copper], settings=FEW).output) == "copper.learning-curve.html"

    def test_an_existing_page_is_kept_unless_told_otherwise(self, copper, tmp_path):
        page = tmp_path / "out.html"
        page.write_text("mine")
        with pytest.raises(OutputError, match="exists already: say --overwrite"):
            learning_curve_files([copper], page, settings=FEW)
        assert page.read_text() == "mine"
        learning_curve_files([copper], page, settings=FEW, overwrite=True)
        assert page.read_text() != "mine"

    def test_frames_that_the_user_excludes_are_not_fitted(self, copper, tmp_path):
        options = PruneOptions(exclude=("config_type=bcc",))
        curve = learning_curve_files([copper], tmp_path / "out.html", options, FEW).curve
        assert curve.points[-1].frames == 32  # of 40 fcc frames
        assert curve.points[-1].energy.worst_group == "fcc"

    def test_frames_without_labels_make_no_curve_and_no_page(self, bare, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "survey", None)  # refused before the work
        with pytest.raises(DataError, match="at least 20 labelled frames, there are 0"):
            learning_curve_files([bare], tmp_path / "out.html", settings=FEW)
        assert not (tmp_path / "out.html").exists()

    def test_a_misspelt_key_is_found_before_the_work(self, copper, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "survey", None)
        with pytest.raises(DataError, match="forcs: --forces-key names a key that none of the 60 frames has"):
            learning_curve_files([copper], tmp_path / "o.html", PruneOptions(label_keys={"forces": "forcs"}), FEW)

    def test_labels_that_contradict_each_other_name_file_and_frame(self, copper, tmp_path, monkeypatch):
        frames = read(copper, ":30")
        frames[7].info["REF_energy"] = 1.0
        write(tmp_path / "two.extxyz", frames)
        monkeypatch.setattr(module, "survey", None)  # refused before the work
        monkeypatch.setattr(prune_files_module, "survey", None)
        refused = r"two.extxyz: frame 7: several labels could be the energy"
        with pytest.raises(DataError, match=refused):
            learning_curve_files([tmp_path / "two.extxyz"], tmp_path / "out.html", settings=FEW)
        with pytest.raises(DataError, match=refused):
            prune_files([tmp_path / "two.extxyz"], tmp_path / "out.extxyz", prove=True)

    def test_it_says_under_which_names_labels_were_found_and_warns_of_two_for_one_kind(self, bare, tmp_path):
        frames = read(bare, ":")
        for i, atoms in enumerate(frames):
            atoms.info["REF_energy" if i % 2 else "dft_energy"] = -3.0 * len(atoms)
        write(tmp_path / "mixed.extxyz", frames)
        *_, said, warning = read_labelled([tmp_path / "mixed.extxyz"], PruneOptions()).notes
        assert said == "Labels read: energy from REF_energy, dft_energy."
        assert warning == (
            "WARNING: energy is read from several names, REF_energy (30 frames), dft_energy (30 frames): if they do "
            "not mean the same, choose one with --energy-key."
        )
        one = read_labelled([tmp_path / "mixed.extxyz"], PruneOptions(label_keys={"energy": "REF_energy"}))
        assert one.notes == ["Labels read: energy from REF_energy."]

    def test_an_unknown_selector_lists_those_there_are(self, copper, tmp_path):
        with pytest.raises(UsageError, match=r"--selectors: 'best' is unknown; available: coverage, random"):
            learning_curve_files([copper], tmp_path / "o.html", settings=CurveOptions(selectors=("best",)))


def test_held_out_frames_take_no_part_in_a_selection(copper, monkeypatch):
    surveyed = prune(copper, keep=0.3, seed=5).survey
    offered = []

    class Spy(SELECTORS["coverage"]):
        def fit(self, pool, progress=None):
            offered.append(pool.frames)
            return super().fit(pool, progress)

    monkeypatch.setattr(module, "SELECTORS", {**SELECTORS, "coverage": Spy})
    curve_of(surveyed, read_labelled([copper], PruneOptions()), CurveOptions((0.1, 0.3), seeds=3), seed=5)
    assert len(offered) == 6
    assert max(offered) <= 48  # a fifth of each group is out


def counting(monkeypatch, owner, name):
    """Count the calls of a function of a module."""
    calls, function = [], getattr(owner, name)

    def counted(*arguments, **options):
        calls.append(name)
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_a_learning_curve_surveys_and_prunes_nothing(copper, tmp_path, monkeypatch):
    described = counting(monkeypatch, survey_module, "describe")
    gathered = counting(monkeypatch, decide_module, "gather_evidence")
    done = learning_curve_files([copper], tmp_path / "out.html", settings=FEW)
    assert (len(described), len(gathered)) == (1, 0)
    assert list(done.seconds) == ["read", "describe", "embed", "fits"]


def test_mandatory_frames_are_in_every_choice_of_every_selector(copper, tmp_path, monkeypatch):
    frames = read(copper, ":")
    for i in (4, 9, 14, 19):
        frames[i].info["mine"] = True
    for energy in (1.0, 1.1):
        atom = Atoms("Cu", cell=[20, 20, 20], pbc=True, info={"config_type": "isolated"})
        atom.calc = SinglePointCalculator(atom, energy=energy)
        frames.append(atom)
    write(tmp_path / "in.extxyz", frames)
    chosen, positions = [], validation._positions

    def record(choice, used, split, *rest):
        chosen.append((set(choice), set(used[split.training])))
        return positions(choice, used, split, *rest)

    monkeypatch.setattr(validation, "_positions", record)
    settings = CurveOptions((0.05, 0.2), ("coverage", "random", "fps"), 2)
    options = SurveyOptions(must_keep=("mine",))
    curve = learning_curve_files([tmp_path / "in.extxyz"], tmp_path / "out.html", options, settings).curve
    assert len(chosen) == 2 * (3 * 2 + 1)
    mandatory = {4, 9, 14, 19, F, F + 1}
    for choice, training in chosen:
        assert mandatory & training <= choice
        assert {F, F + 1} <= choice
    assert any(note.startswith("Of 6 frames kept in any case (isolated atoms, --must-keep)") for note in curve.notes)


def test_frames_rejected_for_their_labels_are_counted(copper, tmp_path):
    frames = read(copper, ":")
    for i in (3, 7):
        frames[i].calc.results["energy"] = np.nan
    write(tmp_path / "nan.extxyz", frames)
    done = learning_curve_files([tmp_path / "nan.extxyz"], tmp_path / "out.html", settings=FEW)
    said = (
        "2 frames with a label that is not finite, no number or of a wrong shape left out (the manifest of prune names"
    )
    assert any(note.startswith(said) for note in done.curve.notes)


def test_a_label_that_is_nan_everywhere_is_said_to_be_missing(copper, tmp_path):
    frames = read(copper, ":")
    for atoms in frames:
        atoms.calc.results["stress"] = np.full(6, np.nan)
    write(tmp_path / "nan.extxyz", frames)
    done = learning_curve_files([tmp_path / "nan.extxyz"], tmp_path / "out.html", settings=FEW)
    assert "no frame has a usable label under stress: taken as missing" in done.curve.notes


class TestProve:
    def test_the_curve_stands_in_the_summary_the_lines_and_the_report(self, copper, tmp_path):
        done = prune_files([copper], tmp_path / "out.extxyz", PruneOptions(keep=0.3), prove=True)
        points = done.summary(1.0)["proof"]["points"]
        # as many frames as are kept, of the 48 that may be trained on
        assert {(p["selector"], p["frames"]) for p in points} >= {("coverage", 18), ("random", 18), (ALL, 48)}
        assert done.result.count("kept") == 18  # a number that the user gave stays
        page = (tmp_path / "out.report.html").read_text()
        assert "Proof by fit" in page
        for said in done.proof.headlines():
            assert f"proof: {said}" in done.lines()
            assert said in page

    def test_more_frames_than_can_be_trained_on_are_said(self, copper, tmp_path):
        done = prune_files([copper], tmp_path / "out.extxyz", PruneOptions(keep=50), prove=True)
        assert done.result.notes[-1] == "--prove: 50 frames are kept, but a fit has at most 48 to train on"

    def test_curated_frames_are_said_to_be_unknown_to_the_curve(self, copper, tmp_path):
        write(tmp_path / "curated.extxyz", read(copper, ":10"))
        options = PruneOptions(against=(tmp_path / "curated.extxyz",), keep=10)
        done = prune_files([copper], tmp_path / "out.extxyz", options, prove=True)
        assert "--prove: the curve does not know the curated frames" in done.result.notes[-1]

    def test_unlabelled_frames_prove_nothing_and_nothing_is_written(self, bare, tmp_path):
        with pytest.raises(DataError, match="at least 20 labelled frames"):
            prune_files([bare], tmp_path / "out.extxyz", PruneOptions(keep=10), prove=True)
        assert [p.name for p in tmp_path.iterdir()] == ["in"]


def extreme_frames(path):
    """Six frames far above the others in energy, and pressed together."""
    extreme = [atoms.copy() for atoms in read(path, ":6")]
    for i, atoms in enumerate(extreme):
        atoms.set_cell(atoms.cell * (0.75 + 0.01 * i), scale_atoms=True)
        atoms.calc = SinglePointCalculator(atoms, energy=50.0 * len(atoms), forces=np.zeros((len(atoms), 3)))
    return extreme


class TestAuto:
    def proved(self, path, tmp_path, monkeypatch, flat):
        monkeypatch.setattr(prove_module, "smallest_flat", lambda *_: flat)
        return prune_files([path], tmp_path / "out.extxyz", prove=True)

    def test_as_many_frames_are_kept_as_the_flat_part_of_the_curve_needs(self, copper, tmp_path, monkeypatch):
        done = self.proved(copper, tmp_path, monkeypatch, Flat(30, "with 30 it is flat"))
        assert done.result.count("kept") == len(read(tmp_path / "out.extxyz", ":")) == 30
        assert "note: --prove: --keep auto stopped at 30 frames: with 30 it is flat" in done.lines()
        assert sum("--keep auto stopped" in line for line in done.lines()) == 1
        assert "--keep auto stopped at 30 frames" in (tmp_path / "out.report.html").read_text()

    def test_the_second_decision_is_made_on_the_same_survey(self, copper, tmp_path, monkeypatch):
        read_once, described, gathered = (
            counting(monkeypatch, *place)
            for place in (
                (survey_module, "collect"),
                (survey_module, "describe"),
                (decide_module, "gather_evidence"),
            )
        )
        done = self.proved(copper, tmp_path, monkeypatch, Flat(30, "flat"))
        assert (len(read_once), len(described), len(gathered)) == (1, 1, 1)
        alone = prune(copper, keep=done.result.count("kept"))
        assert manifest_text(alone) == (tmp_path / "out.manifest.csv").read_text()

    def test_a_number_of_frames_and_not_a_share_is_what_a_sample_asks_for(self, copper, tmp_path, monkeypatch):
        monkeypatch.setitem(validation.MOST_ENVIRONMENTS, "snap", 100)
        seen = []

        def flat(curve, _selector):
            seen.append(curve)
            return Flat(curve.points[-2].frames, "flat")

        monkeypatch.setattr(prove_module, "smallest_flat", flat)
        done = prune_files([copper], tmp_path / "out.extxyz", prove=True)
        (curve,) = seen
        assert curve.sample_of == F
        assert curve.points[-1].frames < 0.8 * F
        least = done.result.selection.floor
        assert done.result.count("kept") == max(curve.points[-2].frames, least)

    def test_every_cluster_and_group_stays_represented(self, copper, tmp_path, monkeypatch):
        done = self.proved(copper, tmp_path, monkeypatch, Flat(1, "with 1 it is flat"))
        least = done.result.selection.floor
        assert done.result.count("kept") == least > 1
        assert done.result.selection.unrepresented == 0
        assert (
            f"stopped at {least} frames; raised from 1, too few for what must be kept and for every"
            in done.result.notes[-1]
        )

    def test_frames_that_fits_set_aside_are_kept_besides_those_that_count(self, copper, tmp_path, monkeypatch):
        """Extreme frames are unlike all others and chosen early, and the curve was made without them."""
        write(tmp_path / "extreme.extxyz", [*read(copper, ":"), *extreme_frames(copper)])
        done = self.proved(tmp_path / "extreme.extxyz", tmp_path, monkeypatch, Flat(30, "flat"))
        kept = [d.record.index for d in done.result.decisions if d.decision == "kept"]
        odd = sum(i >= F for i in kept)
        assert odd > 0
        assert len(kept) - odd == 30
        assert f"--prove: {odd} kept frame" in done.result.notes[-1]
        assert f"--keep auto stopped at {30 + odd} frames: flat" in done.result.notes[-2]

    def test_a_curve_that_cannot_tell_leaves_the_knee(self, copper, tmp_path, monkeypatch):
        knee = prune(copper)
        done = self.proved(copper, tmp_path, monkeypatch, Flat(None, "one split has no error bars"))
        assert [d.decision for d in done.result.decisions] == [d.decision for d in knee.decisions]
        assert done.result.notes[-1] == "--keep auto stays at the knee of the coverage: one split has no error bars"
        assert done.proof is not None

    def test_where_errors_fall_up_to_all_frames_all_that_differ_are_kept(self, copper, tmp_path, monkeypatch):
        frames = read(copper, ":")
        write(tmp_path / "twice.extxyz", [*frames, *frames[:7]])
        flat = Flat(None, "errors still fall", falls=True)
        done = self.proved(tmp_path / "twice.extxyz", tmp_path, monkeypatch, flat)
        assert done.result.count("kept") == F
        assert done.result.notes[-1] == f"--prove: --keep auto keeps all {F} frames that differ: errors still fall"

    def test_repeats_do_not_stand_in_for_frames_that_fits_set_aside(self, copper, tmp_path, monkeypatch):
        frames = read(copper, ":")
        write(tmp_path / "both.extxyz", [*frames, *frames[:7], *extreme_frames(copper)])
        flat = Flat(None, "errors still fall", falls=True)
        done = self.proved(tmp_path / "both.extxyz", tmp_path, monkeypatch, flat)
        assert done.result.count("kept") == F + 6
        assert f"keeps all {F + 6} frames that differ: errors still fall" in done.result.notes[-2]

    def test_where_errors_fall_up_to_all_of_a_sample_that_many_are_kept(self, copper, tmp_path, monkeypatch):
        monkeypatch.setitem(validation.MOST_ENVIRONMENTS, "snap", 100)
        knee = prune(copper).count("kept")
        done = self.proved(copper, tmp_path, monkeypatch, Flat(None, "errors still fall", falls=True))
        assert done.result.count("kept") == max(knee, done.proof.points[-1].frames)
        assert "as many as the largest fit had: errors still fall" in done.result.notes[-1]

    def test_without_labels_it_stays_label_free_and_says_so(self, bare, tmp_path):
        done = prune_files([bare], tmp_path / "out.extxyz", prove=True)
        assert done.result.count("kept") == prune(bare).count("kept")
        assert "there are 0" in done.result.notes[-1]
        assert done.result.notes[-1].endswith("--keep auto stays at the knee")
        assert done.proof is None

    def test_curated_frames_leave_the_knee_since_the_curve_does_not_know_them(self, copper, tmp_path):
        write(tmp_path / "curated.extxyz", read(copper, ":10"))
        options = PruneOptions(against=(tmp_path / "curated.extxyz",))
        done = prune_files([copper], tmp_path / "out.extxyz", options, prove=True)
        assert "does not know the curated frames" in done.result.notes[-1]


def test_a_label_that_cannot_be_read_stops_the_curve_unless_its_frame_is_rejected(copper, tmp_path):
    frames = read(copper, ":")
    for atoms in frames:
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
    frames[3].info["REF_energy"] = [1.0, 2.0]
    path, rule = tmp_path / "bad.extxyz", tmp_path / "bad.txt"
    write(path, frames)
    rule.write_text("3\n")
    labelled = read_labelled([path], PruneOptions())
    assert list(labelled.refused) == [3]
    surveyed = prune(path, keep=0.5, exclude=(str(rule),)).survey
    assert ALL in {point.selector for point in curve_of(surveyed, labelled, FEW).points}
    refused = dataclasses.replace(labelled, refused={0: labelled.refused[3]})
    with pytest.raises(DataError, match="one number per frame"):
        curve_of(surveyed, refused, FEW)


def test_the_curve_sees_what_prune_sees(copper, monkeypatch):
    views = []

    class Seen(ours.Information):
        def __init__(self, pool, rng):
            views.append(len(pool.views))
            super().__init__(pool, rng)

    monkeypatch.setattr(ours, "Information", Seen)
    learning_curve_files([copper], copper.with_name("views.html"), settings=FEW)
    prune(copper, keep=0.5)
    assert set(views) == {2}
