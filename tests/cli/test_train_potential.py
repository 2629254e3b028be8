"""`train` and `evaluate` of a potential, as a user calls them."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from mlff_curate.cgcnn.potential import Potential

SMALL = [
    "--epochs",
    "3",
    "--channels",
    "8",
    "--angular",
    "4",
    "--degree",
    "2",
    "--cutoff",
    "3.5",
    "--convolutions",
    "1",
]


@pytest.fixture
def frames(here):
    made = []
    for k in range(12):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=k)
        atoms.calc = EMT()
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
        atoms.info["config_type"] = "ab"[k % 2]
        made.append(atoms)
    write(here / "cu.extxyz", made)
    return "cu.extxyz"


def test_train_writes_a_potential_and_evaluate_tells_its_errors(command, frames):
    done = command("train", frames, "-o", "cu.model", *SMALL, "--json")
    assert done.code == 0
    said = done.json
    assert (said["task"], said["frames"], said["validation_frames"], said["epochs"]) == ("potential", 12, 1, 3)
    assert "energy is read from energy (12 of 12 frames)" in said["notes"]
    done = command("evaluate", "cu.model", frames, "--json")
    assert done.code == 0
    errors = done.json
    assert set(errors["groups"]) == {"a", "b"}
    truth = read(frames, ":")
    found = Potential.load("cu.model").predict(truth)
    off = found.forces - np.concatenate([atoms.get_forces() for atoms in truth])
    assert errors["all"]["force_mae"] == pytest.approx(np.abs(off).mean(), rel=1e-6)
    assert errors["all"]["force_rmse"] == pytest.approx(np.sqrt(np.mean(off**2)), rel=1e-6)
    energy = (found.energy - [atoms.get_potential_energy() for atoms in truth]) / 4
    assert errors["all"]["energy_mae"] == pytest.approx(np.abs(energy).mean(), rel=1e-6)
    done = command("evaluate", "cu.model", frames)
    assert "mean absolute errors of 12 frames: energy" in done.out
    assert "a, 6 frames: energy" in done.out


def test_the_same_seed_gives_the_same_file(command, frames, here):
    for name in ("one.model", "two.model"):
        assert command("train", frames, "-o", name, *SMALL, "-q").code == 0
    assert (here / "one.model").read_bytes() == (here / "two.model").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--target", "gap"], 2, "--target: means nothing to --task potential"),
        (["--degree", "9"], 2, "--degree: at most 6, got 9"),
        (["--forces-key", "f"], 1, "--forces-key names a key that none of the 12 frames has"),
        (["--task", "regression", "--target", "x", "--cutoff", "5"], 2, "--cutoff: means nothing to --task regression"),
    ],
)
def test_what_means_nothing_is_refused(command, frames, here, words, code, message):
    done = command("train", frames, "-o", "m", *words)
    assert done.code == code
    assert message in done.err
    assert not (here / "m").exists()


def test_frames_without_labels_and_strange_elements_are_refused(command, frames):
    write("bare.extxyz", [bulk("Cu")])
    done = command("train", "bare.extxyz", "-o", "m")
    assert (done.code, "no frame has an energy, forces or a stress" in done.err) == (1, True)
    command("train", frames, "-o", "m", *SMALL, "-q")
    write("ag.extxyz", [bulk("Cu"), bulk("Ag")])
    done = command("evaluate", "m", "ag.extxyz")
    assert done.code == 1
    assert "ag.extxyz: frame 1: the model never saw Ag" in done.err
    done = command("evaluate", "m", frames, "--target", "energy")
    assert (done.code, "--target: means nothing to" in done.err) == (2, True)
