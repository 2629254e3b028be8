"""`mlff-curate learning-curve` as typed."""

import json

import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_curate import lammps_session
from mlff_curate.errors import MissingDependencyError
from mlff_curate.workflows.learning_curve import CurveOptions


@pytest.fixture
def curve(command):
    """Run ``mlff-curate learning-curve`` in the current folder; -> exit status, stdout, stderr."""
    return lambda *arguments: command("learning-curve", *arguments)


@pytest.fixture
def labelled(put, iron):
    """Thirty frames whose labels are a spring to the crystal's sites."""
    frames = []
    for i in range(30):
        atoms = iron(i)
        off = atoms.positions - iron(0, amplitude=0.0).positions
        atoms.calc = SinglePointCalculator(atoms, energy=float((off**2).sum()) - 8.0, forces=-2 * off)
        frames.append(atoms)
    return put("spring.extxyz", frames)


@pytest.mark.lammps
def test_one_json_object_on_stdout_and_everything_else_on_stderr(curve, labelled, here):
    code, out, err = curve(labelled, "--fractions", "0.3", "--seeds", "2", "--json")
    values = json.loads(out)
    assert code == 0
    assert {"points", "verdicts", "notes", "model", "splits", "said", "seconds", "output"} <= set(values)
    assert {p["selector"] for p in values["points"]} == {*CurveOptions.selectors, "all data"}
    assert CurveOptions.selectors == ("coverage", "random", "fps", "quests")  # ours, random, peers
    assert values["points"][0]["stress"]["group_mean"]["mean"] is None  # no stress in the file
    assert "mean over groups" in err
    assert (here / values["output"]).is_file()


@pytest.mark.lammps
def test_the_table_and_the_verdict_are_printed(curve, labelled):
    code, out, err = curve(labelled, "--fractions", "0.3", "--seeds", "2")
    assert (code, err) == (0, "")
    assert "worst group" in out
    assert "30 %" in out
    assert "random" in out
    assert "plots: spring.learning-curve.html" in out


def test_without_lammps_the_power_spectrum_takes_over_with_a_note(curve, labelled, monkeypatch):
    def refuse():
        raise MissingDependencyError("LAMMPS cannot be loaded")

    monkeypatch.setattr(lammps_session, "import_lammps", refuse)
    code, out, _ = curve(labelled, "--fractions", "0.3", "--seeds", "1")
    assert code == 0
    assert "note: LAMMPS cannot be loaded: the fits are made on a small power spectrum instead of SNAP." in out
    code, _, err = curve(labelled, "--model", "snap", "--overwrite")
    assert code == 1
    assert err == "mlff-curate: error: LAMMPS cannot be loaded\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--fractions", "a,b"], 2, "--fractions: must be numbers with commas between, such as 0.1,0.5, got 'a,b'"),
        (["--fractions", "0.1,2"], 2, "--fractions: must be numbers in (0, 1] with commas between, got 0.1, 2.0"),
        (["--fractions", "nan"], 2, "--fractions: must be numbers in (0, 1]"),
        (["--selectors", "coverage,best"], 2, "--selectors: 'best' is unknown; available: coverage, random"),
        (["--seeds", "0"], 2, "--seeds: must be at least 1, got 0"),
        (["--model", "ace"], 2, "--model: 'ace' is unknown; available: snap, power-spectrum"),
        (["--energy-key", "enrgy"], 1, "enrgy: --energy-key names a key that none of the 30 frames has"),
        (["-o", "nowhere/out.html"], 1, "nowhere/out.html: its folder does not exist"),
    ],
)
def test_wrong_usage_and_unfit_data_are_one_line_and_an_exit_status(curve, labelled, here, arguments, code, words):
    found, out, err = curve(labelled, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith("mlff-curate: error: ")
    assert words in err
    assert err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == [labelled]


def test_files_without_labels_or_without_frames(curve, trajectory, put):
    code, _, err = curve(trajectory)
    assert code == 1
    assert "a learning curve needs at least 20 labelled frames, there are 0 (12 frames without labels not used.)" in err
    code, _, err = curve(put("broken.extxyz", b"2\nLattice=\nFe 0 0\n"))
    assert code == 1
    assert err.startswith("mlff-curate: error: broken.extxyz")
    code, _, err = curve("missing.extxyz")
    assert code == 1
    assert "missing.extxyz" in err


@pytest.mark.lammps
def test_frames_that_lack_a_label_are_used_for_what_they_have(curve, put, iron):
    frames = []
    for i in range(30):
        atoms = iron(i)
        labels = {} if i < 5 else {"forces": atoms.positions * 0.1}
        atoms.calc = SinglePointCalculator(atoms, energy=-8.0 + 0.01 * i, **labels)
        frames.append(atoms)
    code, out, _ = curve(put("some.extxyz", frames), "--fractions", "0.5", "--seeds", "1")
    assert code == 0
    assert "Labels are used where they are: 5 frames without forces, no frame with a stress." in out
