"""`mlff-curate md` as a user calls it: outputs that are whole, runs that go on, and one line on what went wrong."""

import csv
import fcntl
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write

from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.labels import Labels
from mlff_curate.workflows import md as workflow

SHORT = ["--timestep", "2", "--every", "10", "--thermo", "5", "--checkpoint", "20"]


def make_crystal(seed=0, size=2, element="Cu"):
    atoms = bulk(element, cubic=True) * size
    atoms.rattle(0.05, seed=seed)
    return atoms


def train_small(seed):
    frames = [make_crystal(k, 1) for k in range(20)]
    for k, atoms in enumerate(frames):
        atoms.set_cell(atoms.cell.array * (0.96 + 0.004 * k), scale_atoms=True)
        atoms.calc = EMT()
    labels = [Labels(energy=a.get_potential_energy(), forces=a.get_forces(), stress=a.get_stress()) for a in frames]
    size = {"channels": 8, "radial": 5, "angular": 4, "degree": 2, "convolutions": 1, "cutoff": 3.8}
    return Potential(**size, epochs=30, seed=seed).fit(frames, labels)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for seed in (0, 1):
        train_small(seed).save(folder / f"{seed}.model")
    return folder


@pytest.fixture
def md(command, models, here):
    """Run `md cu.model cu.extxyz`, with a crystal there to start from."""
    shutil.copy(models / "0.model", here / "cu.model")
    write(here / "cu.extxyz", make_crystal())
    return lambda *words: command("md", "cu.model", "cu.extxyz", *words)


def _break(_):
    raise RuntimeError("the machine went down")


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def files(here):
    return sorted(path.name for path in here.iterdir())


def test_a_run_leaves_a_trajectory_with_labels_and_a_log(md, here):
    done = md(*SHORT, "--steps", "45", "--json")
    assert done.code == 0
    assert files(here) == ["cu.extxyz", "cu.md.extxyz", "cu.md.thermo.csv", "cu.model"]
    said = done.json
    assert (said["steps"], said["frames"], said["atoms"], said["time_ps"]) == (45, 6, 32, 0.09)
    assert (said["stopped"], said["resumed_from"], said["drift_mev_per_atom_per_ps"]) == (None, None, None)
    assert said["us_per_atom_step"] > 0
    assert "disagreement_mean" not in said
    frames = read("cu.md.extxyz", ":")
    assert [frame.info["step"] for frame in frames] == [0, 10, 20, 30, 40, 45]
    assert [frame.info["time"] for frame in frames] == [0, 20, 40, 60, 80, 90]
    found = Potential.load("cu.model").predict(frames)
    np.testing.assert_allclose([frame.get_potential_energy() for frame in frames], found.energy, atol=1e-4)
    np.testing.assert_allclose(np.concatenate([frame.get_forces() for frame in frames]), found.forces, atol=1e-4)
    np.testing.assert_allclose([frame.get_stress() for frame in frames], found.stress, atol=1e-5)
    rows = rows_of(here / "cu.md.thermo.csv")
    assert [int(row["step"]) for row in rows] == list(range(0, 46, 5))
    assert [float(row["time_fs"]) for row in rows] == list(range(0, 91, 10))
    assert float(rows[-1]["total_eV"]) == said["total_energy"]
    assert rows[-1]["forces_std_eV_per_A"] == ""
    for frame in frames:
        (row,) = [row for row in rows if int(row["step"]) == frame.info["step"]]
        assert float(row["kinetic_eV"]) == pytest.approx(frame.get_kinetic_energy(), rel=1e-12)
        assert float(row["temperature_K"]) == pytest.approx(frame.get_temperature(), rel=1e-6)
        assert float(row["potential_eV"]) == frame.get_potential_energy()
    half = [float(row["temperature_K"]) for row in rows if int(row["step"]) >= 22.5]
    assert said["temperature_mean"] == pytest.approx(np.mean(half))


def test_what_a_person_reads(md):
    done = md(*SHORT, "--ensemble", "nve", "--steps", "20", "-o", "a.extxyz")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "a.extxyz: 3 frames of 32 atoms"
    assert lines[1] == "a.thermo.csv: 20 steps, 0.04 ps"
    assert "drift of the total energy: " in done.out
    assert "us/atom/step with ase" in lines[-1]


def test_the_same_seed_gives_the_same_bytes(md, here):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert md(*SHORT, "--steps", "20", "-o", f"{name}.extxyz", "--seed", seed, "-q").code == 0
    assert (here / "a.extxyz").read_bytes() == (here / "b.extxyz").read_bytes()
    assert (here / "a.thermo.csv").read_bytes() == (here / "b.thermo.csv").read_bytes()
    assert (here / "a.extxyz").read_bytes() != (here / "c.extxyz").read_bytes()


@pytest.mark.lammps
def test_lammps_does_the_same(md, here):
    words = [*SHORT, "--ensemble", "nve", "--temperature", "300", "--steps", "30", "-q", "-o"]
    assert md(*words, "a.extxyz").code == 0
    assert md(*words, "l.extxyz", "--engine", "lammps").code == 0
    for ase, lammps in zip(rows_of(here / "a.thermo.csv"), rows_of(here / "l.thermo.csv"), strict=True):
        for name in ("potential_eV", "kinetic_eV", "pressure_GPa", "volume_A3"):
            assert float(lammps[name]) == pytest.approx(float(ase[name]), rel=1e-5, abs=1e-4)


KILLED = """
import os, signal, sys
from mlff_curate.workflows import md_files
save, after = md_files.UnfinishedRun.add_row, int(sys.argv[1])
def slow(self, sample):
    save(self, sample)
    if sample.step == after:
        with (self.places.unfinished / "trajectory.extxyz").open("ab") as file:
            file.write(b"32\\nhalf a fra")
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
md_files.UnfinishedRun.add_row = slow
from mlff_curate_cli.main import main
main(sys.argv[3:])
"""


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("ase", "SIGKILL"),
        ("ase", "SIGTERM"),
        ("ase", "SIGINT"),
        pytest.param("lammps", "SIGKILL", marks=pytest.mark.lammps),
    ],
)
def test_a_run_that_was_ended_goes_on_to_the_same_bytes(md, here, engine, name):
    words = [*SHORT, "--steps", "60", "--engine", engine, "--ensemble", "nose-hoover", "--damping", "40"]
    assert md(*words, "-o", "whole.extxyz", "-q").code == 0
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, "35", name, "md", "cu.model", "cu.extxyz", *words, "-o", "cut.extxyz"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143, "SIGINT": 130}[name]
    if name != "SIGKILL":
        assert ended.stderr.strip().splitlines() == [
            "mlff-curate: error: cut.extxyz.unfinished: interrupted at step 35; --resume goes on from step 20"
        ]
    assert not (here / "cut.extxyz").exists()
    refused = md(*words, "-o", "cut.extxyz")
    assert refused.code == 1
    assert "cut.extxyz.unfinished: holds an unfinished run: --resume goes on with it, --overwrite begins" in refused.err
    done = md(*words, "-o", "cut.extxyz", "--resume", "--json")
    assert (done.code, done.json["resumed_from"]) == (0, 20)
    assert (here / "cut.extxyz").read_bytes() == (here / "whole.extxyz").read_bytes()
    assert (here / "cut.thermo.csv").read_bytes() == (here / "whole.thermo.csv").read_bytes()
    assert not (here / "cut.extxyz.unfinished").exists()


def test_a_run_that_was_ended_before_its_first_checkpoint_begins_once(md, here):
    words = [*SHORT, "--steps", "60", "--checkpoint", "1000"]
    assert md(*words, "-o", "whole.extxyz", "-q").code == 0
    ended = [sys.executable, "-c", KILLED, "35", "SIGKILL", "md", "cu.model", "cu.extxyz", *words, "-o", "cut.extxyz"]
    assert subprocess.run(ended, capture_output=True, check=False).returncode == -signal.SIGKILL
    done = md(*words, "-o", "cut.extxyz", "--resume", "--json")
    assert (done.code, done.json["resumed_from"]) == (0, 0)
    assert (here / "cut.extxyz").read_bytes() == (here / "whole.extxyz").read_bytes()
    assert (here / "cut.thermo.csv").read_bytes() == (here / "whole.thermo.csv").read_bytes()


def test_only_extxyz_is_written(md):
    done = md(*SHORT, "-o", "out.traj")
    assert done.code == 2
    assert "-o: out.traj: a trajectory is written as extxyz: end its name in .extxyz or .xyz" in done.err


def test_resume_begins_where_there_is_nothing_and_may_go_further(md, here, monkeypatch):
    assert md(*SHORT, "--steps", "50", "-o", "whole.extxyz", "--resume", "-q").code == 0
    monkeypatch.setattr(workflow.UnfinishedRun, "finish", _break)
    assert md(*SHORT, "--steps", "40", "-o", "more.extxyz", "-q").code == 1
    monkeypatch.undo()
    monkeypatch.chdir(here)
    # its last state is of step 40, and nothing that only the end of a run writes stands behind it
    assert md(*SHORT, "--steps", "50", "-o", "more.extxyz", "--resume", "-q").code == 0
    assert (here / "more.extxyz").read_bytes() == (here / "whole.extxyz").read_bytes()
    done = md(*SHORT, "-o", "more.extxyz", "--resume")
    assert done.code == 1
    assert "more.extxyz: exists already, and no unfinished run lies beside it: it is done; --overwrite" in done.err


@pytest.fixture
def unfinished(md, here, monkeypatch):
    """A run of 40 steps that did not come to its end, as `run.extxyz.unfinished`."""
    with monkeypatch.context() as patch:
        patch.setattr(workflow.UnfinishedRun, "finish", _break)
        assert md(*SHORT, "--steps", "40", "-o", "run.extxyz", "-q").code == 1
    return here / "run.extxyz.unfinished"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--timestep", "1"],
            "--timestep: was 2.0 when the run in run.extxyz.unfinished was begun: --overwrite",
        ),
        (["--supercell", "1", "1", "2"], "--supercell: was 1 1 1 when"),
        (["--committee", "other.model"], "--committee: was none when"),
        (["--ensemble", "nve"], "--ensemble: was langevin when"),
        (["--steps", "30"], "--steps: the run in run.extxyz.unfinished is at step 40 already"),
    ],
)
@pytest.mark.usefixtures("unfinished")
def test_a_run_goes_on_as_it_was_begun(md, models, here, words, message):
    shutil.copy(models / "1.model", here / "other.model")
    done = md(*SHORT, "--steps", "60", "-o", "run.extxyz", "--resume", *words)
    assert (done.code, message in done.err) == (2, True), done.err


@pytest.mark.usefixtures("unfinished")
def test_a_run_does_not_go_on_with_another_model_or_start(md, models, here):
    write(here / "cu.extxyz", make_crystal(1))
    done = md(*SHORT, "--steps", "60", "-o", "run.extxyz", "--resume")
    assert "START: has changed since the run in run.extxyz.unfinished was begun" in done.err
    write(here / "cu.extxyz", make_crystal(0))
    shutil.copy(models / "1.model", here / "cu.model")
    done = md(*SHORT, "--steps", "60", "-o", "run.extxyz", "--resume")
    assert "MODEL: has changed since the run in run.extxyz.unfinished was begun" in done.err


def test_a_damaged_checkpoint_is_refused_and_overwrite_begins_anew(md, unfinished):
    contents = (unfinished / "checkpoint").read_bytes()
    assert not contents.startswith(b"\x80")  # no pickle
    (unfinished / "checkpoint").write_bytes(contents[:-100])
    words = [*SHORT, "--steps", "60", "-o", "run.extxyz"]
    done = md(*words, "--resume")
    assert done.code == 1
    assert "run.extxyz.unfinished/checkpoint: cannot be gone on from (the file is truncated" in done.err
    (unfinished / "checkpoint").write_bytes(contents)
    (unfinished / "thermo.csv").write_bytes(b"step\n")
    assert "thermo.csv: is shorter than its checkpoint says" in md(*words, "--resume").err
    (unfinished / "notes.txt").write_text("mine")
    assert "run.extxyz.unfinished: holds notes.txt, which was not written here" in md(*words, "--overwrite").err
    (unfinished / "notes.txt").unlink()
    assert md(*words, "--overwrite", "-q").code == 0
    assert not unfinished.exists()


def test_two_runs_do_not_write_to_the_same_place(md, unfinished):
    with (unfinished / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = md(*SHORT, "--steps", "60", "-o", "run.extxyz", "--resume")
    assert (done.code, "run.extxyz.unfinished: another run is writing there now" in done.err) == (1, True)


def test_a_run_that_explodes_keeps_what_there_is(md, here):
    done = md("--ensemble", "nve", "--timestep", "100", "--thermo", "1", "--every", "1000", "--steps", "500", "--json")
    assert done.code == 1
    said = done.json
    assert said["stopped"].startswith(f"stopped at step {said['steps']} (")
    assert any(words in said["stopped"] for words in ("collided", "exploded"))
    assert said["stopped"] in done.err
    assert len(rows_of(here / "cu.md.thermo.csv")) == said["steps"] + 1
    assert [frame.info["step"] for frame in read("cu.md.extxyz", ":")] == [0, said["steps"]]
    assert not (here / "cu.md.extxyz.unfinished").exists()


def test_a_committee_is_averaged_and_may_stop_the_run(md, models, here):
    other = ["--committee", models / "1.model"]
    done = md(*SHORT, "--steps", "10", *other, "--json")
    assert done.code == 0
    spread = [float(row["forces_std_eV_per_A"]) for row in rows_of(here / "cu.md.thermo.csv")]
    assert min(spread) > 0
    assert (done.json["disagreement_mean"], done.json["disagreement_max"]) == (np.mean(spread), max(spread))
    assert (
        f"committee: the largest standard deviation of an atom's force was {np.mean(spread):.3g} eV/A on average, "
        f"{max(spread):.3g} at most\n"
    ) in done.err
    frame = read("cu.md.extxyz", 0)
    assert frame.arrays["forces_std"].max() == pytest.approx(spread[0])
    pair = [Potential.load(name).predict([frame]).forces for name in ("cu.model", models / "1.model")]
    np.testing.assert_allclose(frame.get_forces(), np.mean(pair, axis=0), atol=1e-4)
    most = 1.0001 * spread[0]
    done = md(
        "--thermo", "1", "--steps", "400", "--temperature", "900", *other, "--max-disagreement", most, "--overwrite"
    )
    assert done.code == 1
    assert "the committee disagrees on the force on atom " in done.out
    assert f"more than {most:g}" in done.out


def test_a_committee_member_that_never_saw_an_element_is_named(md, here):
    nickel = bulk("Ni", cubic=True)
    labels = [Labels(energy=0.0, forces=np.zeros((4, 3)))] * 2
    size = {"channels": 4, "radial": 4, "angular": 2, "degree": 1, "convolutions": 1, "cutoff": 3.5}
    Potential(**size, epochs=1).fit([nickel] * 2, labels).save(here / "ni.model")
    done = md("--committee", "ni.model")
    assert (done.code, done.err) == (
        1, "mlff-curate: error: cu.extxyz: frame 0: ni.model: the model never saw Cu\n",
    )  # fmt: skip


def test_the_next_run_takes_the_velocities_along(md, command):
    assert md(*SHORT, "--steps", "20", "-q").code == 0
    last = read("cu.md.extxyz", -1)
    done = command(
        "md", "cu.model", "cu.md.extxyz", *SHORT, "--ensemble", "nose-hoover", "--steps", "10", "-o", "b.extxyz"
    )
    assert "note: started from the last of 4 frames" not in done.out
    assert "note: started from the last of 3 frames" in done.out
    assert "note: velocities are those of START" in done.out
    np.testing.assert_array_equal(read("b.extxyz", 0).get_momenta(), last.get_momenta())
    np.testing.assert_array_equal(read("b.extxyz", 0).positions, last.positions)
    done = command(
        "md", "cu.model", "cu.md.extxyz", *SHORT, "--frame", "1", "--new-velocities", "--steps", "1", "-o", "c"
    )
    assert "velocities" not in done.out
    np.testing.assert_array_equal(read("c", 0, format="extxyz").positions, read("cu.md.extxyz", 1).positions)


def test_npt_of_a_supercell(md):
    done = md(*SHORT, "--ensemble", "npt", "--pressure", "5", "--supercell", "1", "1", "2", "--steps", "20", "--json")
    assert done.code == 0
    assert done.json["atoms"] == 64
    frames = read("cu.md.extxyz", ":")
    assert frames[-1].get_volume() != frames[0].get_volume()
    assert done.json["volume"] == pytest.approx(frames[-1].get_volume())


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--ensemble", "nve", "--damping", "5"], 2, "--damping: means nothing to --ensemble nve"),
        (["--pressure", "5"], 2, "--pressure: means nothing to --ensemble langevin"),
        (["--steps", "0"], 2, "--steps: a whole number of at least 1, got 0"),
        (["--timestep", "-1"], 2, "--timestep: a time above 0 fs, got -1"),
        (["--supercell", "1", "0", "1"], 2, "--supercell: a whole number of at least 1, got 0"),
        (["--max-disagreement", "1"], 2, "--max-disagreement: one model cannot disagree: name others by --committee"),
        (["--frame", "3"], 1, "cu.extxyz: --frame: there is no frame 3: it has 1 frame"),
        (["--frame", "-2"], 1, "cu.extxyz: --frame: there is no frame -2: it has 1 frame"),
        (["--committee", "none.model"], 1, "none.model: no such file"),
        (["--committee", "cu.model"], 2, "--committee: cu.model is given twice: a model cannot disagree with itself"),
        (["-o", "cu.extxyz"], 1, "cu.extxyz: is an input: an input is never replaced"),
        (["-o", "there.extxyz"], 1, "there.extxyz: exists already: say --overwrite to replace it"),
        (["-o", "no/a.extxyz"], 1, "no/a.extxyz: its folder does not exist"),
        (["-o", "a.extxyz.gz"], 2, "-o: a.extxyz.gz: a trajectory is written as it grows, and is not compressed"),
        (["--engine", "gromacs"], 2, "'gromacs' is not one of"),
        (["--device", "abacus"], 2, "--device: 'abacus' is not supported"),
    ],
)
def test_what_cannot_be_is_refused(md, here, words, code, message):
    (here / "there.extxyz").write_bytes(b"")
    before = files(here)
    done = md(*words)
    assert (done.code, message in done.err) == (code, True), done.err
    assert len(done.err.strip().splitlines()) == 1 or code == 2
    assert files(here) == before


def bad_start(name):
    atoms = make_crystal()
    if name == "element":
        atoms.numbers[3] = 47
    elif name == "overlap":
        atoms.positions[5] = atoms.positions[4] + (0.3, 0, 0)
    elif name == "cluster":
        atoms.pbc = False
    elif name == "sheared":
        atoms.cell.array[1, 0] = 1.0
    return [make_crystal(), atoms]


@pytest.mark.parametrize(
    ("start", "words", "message"),
    [
        ("element", [], "start.extxyz: frame 1: cu.model: the model never saw Ag"),
        (
            "overlap",
            [],
            "start.extxyz: frame 1: cannot be started from: atom 4 (Cu) and atom 5 (Cu) have collided: 0.300 Angstrom",
        ),
        ("cluster", ["--ensemble", "npt"], "start.extxyz: frame 1: --ensemble npt needs a frame that is periodic in"),
        ("cluster", ["--supercell", "2", "1", "1"], "frame 1: --supercell repeats a direction that is not periodic"),
        ("sheared", ["--ensemble", "npt", "--shape", "axes"], "frame 1: --shape axes needs perpendicular cell vectors"),
    ],
)
@pytest.mark.usefixtures("md")
def test_a_frame_that_cannot_be_started_from_is_named(command, here, start, words, message):
    write("start.extxyz", bad_start(start))
    before = files(here)
    done = command("md", "cu.model", "start.extxyz", *words)
    assert (done.code, message in done.err) == (1, True), done.err
    assert len(done.err.strip().splitlines()) == 1
    assert files(here) == before


@pytest.mark.usefixtures("md")
def test_files_that_are_none(command, here, put):
    assert "none.extxyz: no such file" in command("md", "cu.model", "none.extxyz").err
    put("empty.extxyz", b"")
    assert "empty.extxyz: the file " in command("md", "cu.model", "empty.extxyz").err
    put("no-atoms.extxyz", b'0\npbc="F F F" Properties=species:S:1:pos:R:3\n')
    assert "no-atoms.extxyz: frame 0: the frame has no atoms" in command("md", "cu.model", "no-atoms.extxyz").err
    (here / "cut.model").write_bytes((here / "cu.model").read_bytes()[:-50])
    done = command("md", "cut.model", "cu.extxyz")
    assert (done.code, "cut.model: the model file is truncated" in done.err) == (1, True)
    assert "cu.extxyz: is no model file" in command("md", "cu.extxyz", "cu.extxyz").err


def test_help_ends_with_examples(command):
    done = command("md", "--help")
    assert done.code == 0
    assert "mlff-curate md ta.model crystal.extxyz --supercell 4 4 4" in done.out
