"""`train` and `evaluate` of a potential, as a user calls them."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from mlff_curate import __version__
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data import checkpoints
from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint

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


NONE_HELD_OUT = (
    "no frame was held out: errors on other frames are told by evaluate, on those that prune dropped, or by "
    "--validation"
)


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
    assert (said["task"], said["frames"], said["validation_frames"], said["epochs"]) == ("potential", 12, 0, 3)
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
    assert "ag.extxyz: frame 1: m: the model never saw Ag" in done.err
    done = command("evaluate", "m", frames, "--target", "energy")
    assert (done.code, "--target: means nothing to" in done.err) == (2, True)


def test_stresses_of_open_frames_are_not_used_and_that_is_said(command, frames):
    slabs = read(frames, ":")
    for slab in slabs:
        slab.pbc = (True, True, False)
    write("slabs.extxyz", slabs)
    for words in (["train", "slabs.extxyz", "-o", "cu.model", *SMALL], ["evaluate", "cu.model", "slabs.extxyz"]):
        notes = command(*words, "--json").json["notes"]
        assert "the stress of 12 frames is not used: they are not periodic in three directions" in notes
        assert not any("12 of 12" in note for note in notes if note.startswith("stress is read"))
    for slab in slabs:
        stress = slab.calc.results["stress"]
        slab.calc = SinglePointCalculator(slab, stress=stress)
    write("stress.extxyz", slabs)
    done = command("evaluate", "cu.model", "stress.extxyz")
    assert done.code == 1
    assert done.err == (
        "mlff-curate: error: stress.extxyz: no frame has an energy, forces or a stress to compare with: the stress of "
        "12 frames is not used: they are not periodic in three directions\n"
    )


def test_one_frame_trains_and_says_what_is_not_known(command, frames):
    write("one.extxyz", read(frames, "0"))
    done = command("train", "one.extxyz", "-o", "one.model", *SMALL, "--json")
    assert done.code == 0
    assert (done.json["frames"], done.json["validation_frames"], done.json["best_epoch"]) == (1, 0, 3)
    assert NONE_HELD_OUT in done.json["notes"]
    assert "validation_force_mae" not in done.json
    done = command("evaluate", "one.model", frames, "--json")
    assert (done.code, done.json["frames"]) == (0, 12)


def test_nothing_held_out_keeps_the_last_epoch(command, frames):
    done = command("train", frames, "-o", "cu.model", *SMALL, "--json")
    assert (done.json["validation_frames"], done.json["best_epoch"]) == (0, 3)
    assert NONE_HELD_OUT in done.json["notes"]
    done = command("train", frames, "-o", "cu.model", *SMALL, "--validation", "0.1", "--overwrite", "--json")
    assert done.json["validation_frames"] == 1
    assert NONE_HELD_OUT not in done.json["notes"]


def test_a_potential_that_is_worse_than_a_guess_is_warned_of(command, frames):
    wild = read(frames, ":") * 4
    for k, atoms in enumerate(wild):  # labels of no potential
        rng = np.random.default_rng(k)
        atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=rng.normal(size=(4, 3)))
    write("wild.extxyz", wild)
    # enough epochs to learn noise by heart, which serves no other frame
    line = ["train", "wild.extxyz", "-o", "cu.model", *SMALL, "--epochs", "20", "--overwrite", "--validation", "0.5"]
    said = command(*line, "--learning-rate", "0.1", "--json").json["warnings"]
    assert any(
        warning.startswith("forces of the frames held out are predicted worse than by zeros (") for warning in said
    )
    done = command(*line, "--learning-rate", "0.1")
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"warning: {said[-1]}"
    assert said[-1].endswith(
        "more --epochs or another --learning-rate may help, and mlff-curate check finds wrong labels and units"
    )
    said = command(*line[:-1], "0", "--learning-rate", "0.1", "--energy-weight", "0", "--json").json
    assert said["warnings"][0].startswith("energies of the frames learned from are predicted worse than by what")
    good = ["train", frames, "-o", "cu.model", *SMALL, "--epochs", "60", "--validation", "0.5", "--overwrite"]
    assert command(*good, "--json").json["warnings"] == []
    said = command(*good, "--energy-weight", "0", "--json").json["warnings"]
    assert [warning.rpartition(": ")[2] for warning in said] == ["--energy-weight is 0"]
    assert said[0].startswith("energies of the frames held out are predicted worse than by what elements alone tell (")
    few = ["train", frames, "-o", "few.model", *SMALL, "--validation", "0.1"]
    assert command(*few, "--json").json["warnings"] == []


def test_an_element_in_few_frames_is_learned_and_another_is_refused_by_frame(command, frames):
    write("more.extxyz", [*read(frames, ":"), bulk("Cu"), bulk("Fe", cubic=True)])
    command("train", frames, "-o", "cu.model", *SMALL, "-q")
    done = command("evaluate", "cu.model", "more.extxyz")
    assert done.code == 1
    assert done.err == "mlff-curate: error: more.extxyz: frame 13: cu.model: the model never saw Fe\n"


def test_without_labels_there_is_nothing_to_compare(command, frames):
    write("bare.extxyz", [bulk("Cu")])
    command("train", frames, "-o", "cu.model", *SMALL, "-q")
    done = command("evaluate", "cu.model", "bare.extxyz")
    assert done.code == 1
    assert done.err == "mlff-curate: error: bare.extxyz: no frame has an energy, forces or a stress to compare with\n"
    done = command("train", "bare.extxyz", "-o", "x.model")
    assert done.code == 1
    assert "no frame has an energy, forces or a stress that a potential could be trained on" in done.err
    only_energies = read(frames, ":")
    for atoms in only_energies:
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy())
    write("energies.extxyz", only_energies)
    done = command("evaluate", "cu.model", "energies.extxyz", "--json")
    assert set(done.json["all"]) == {"energy_mae", "energy_rmse"}
    assert {"no frame has forces", "no frame has a stress"} <= set(done.json["notes"])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda whole: whole[:-100], "the model file is truncated"),
        (lambda whole: whole[:5], "is no model file"),
        (lambda _: b"", "the file is empty"),
        (lambda whole: whole[:-4] + b"\0\0\0\0", "the model file is damaged: its contents do not match its checksum"),
        (
            lambda _: b"PK\x03\x04" + bytes(200),
            "is no model file but a zip archive, as torch.save writes: such a file",
        ),
    ],
)
def test_damaged_models_are_refused(command, frames, here, make, words):
    command("train", frames, "-o", "cu.model", *SMALL, "-q")
    (here / "bad.model").write_bytes(make((here / "cu.model").read_bytes()))
    done = command("evaluate", "bad.model", frames)
    assert done.code == 1
    assert f"bad.model: {words}" in done.err
    done = command("train", frames, "-o", "x", "--encoder", "bad.model")
    assert (done.code, words in done.err) == (1, True)


def test_models_of_other_kinds_are_refused(command, frames, here):
    labelled = read(frames, ":")
    for k, atoms in enumerate(labelled):
        atoms.info["gap"] = float(k)
    write("gaps.extxyz", labelled)
    gap = ["--task", "regression", "--target", "gap", "--epochs", "1"]
    assert command("train", "gaps.extxyz", "-o", "gap.model", *gap, "-q").code == 0
    done = command("train", frames, "-o", "x", "--encoder", "gap.model")
    assert done.code == 1
    assert done.err == (
        "mlff-curate: error: gap.model: is a model of a property (of train --task regression or classification): "
        "a potential (of train) or an encoder (of pretrain) is wanted\n"
    )
    (here / "x.model").write_bytes(checkpoint_bytes("meagraph", {}, {}))
    done = command("evaluate", "x.model", frames)
    assert done.code == 1
    assert done.err == (
        "mlff-curate: error: x.model: is a model of embeddings (of embed --save-model): a potential (of train) or "
        "a model of a property (of train --task regression or classification) is wanted\n"
    )
    (here / "cu.model.checkpoint").write_bytes(checkpoint_bytes("cgcnn-potential-training", {}, {}))
    done = command("evaluate", "cu.model.checkpoint", frames)
    assert "is the checkpoint of a training (train --resume makes a potential of it): a potential" in done.err
    done = command("evaluate", frames, frames)
    assert "cu.extxyz: is no model file but frames, as in extxyz: a potential (of train) or a model of a p" in done.err
    done = command("md", "gap.model", frames)
    assert "gap.model: is a model of a property (of train --task regression or classification): a pot" in done.err
    done = command("evaluate", "gap.model", "gap.model", "--target", "gap")
    assert done.err == "mlff-curate: error: gap.model: is a model file: frames are wanted\n"


def test_a_model_of_another_version_is_told_as_such(command, frames, here, monkeypatch):
    command("train", frames, "-o", "cu.model", *SMALL, "-q")
    stored = read_checkpoint("cu.model", "cgcnn-potential")
    parameters = {key: value for key, value in stored.settings["parameters"].items() if key != "patience"}
    older = {**stored.settings, "parameters": parameters}
    (here / "same.model").write_bytes(checkpoint_bytes("cgcnn-potential", stored.arrays, older))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "__version__", "0.0.3")
        (here / "old.model").write_bytes(checkpoint_bytes("cgcnn-potential", stored.arrays, older))
    done = command("evaluate", "old.model", frames)
    assert done.code == 1
    assert done.err == (
        f"mlff-curate: error: old.model: was written by mlff-curate 0.0.3; this is {__version__}: make it again with "
        "this one, or use that one; what does not fit: the parameter patience is missing\n"
    )
    done = command("evaluate", "same.model", frames)
    assert f"same.model: was written by another state of mlff-curate {__version__}: make it again" in done.err
