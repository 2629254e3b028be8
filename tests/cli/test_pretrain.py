"""`pretrain`, and `train` from what it wrote, as a user calls them."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from mlff_curate import CGCNN
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.checkpoints import kind_of
from mlff_curate.pretraining.model import Pretraining
from mlff_curate.workflows.training_checkpoint import TrainingCheckpoint

SIZES = ["--channels", 8, "--angular", 4, "--degree", 2, "--cutoff", 4, "--convolutions", 1]
SMALL = [*SIZES, "--epochs", 3, "--batch-size", 4]
LONGER = [*SIZES, "--epochs", 20, "--batch-size", 4]
"""On a busy machine a short one is over before it is killed."""
PROGRAM = "from mlff_curate_cli.main import main; main()"


def copper(n, *, labelled=False, second="Cu"):
    made = []
    for k in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols[1] = second
        atoms.rattle(0.1, seed=k)
        if labelled:
            atoms.calc = EMT()
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        made.append(atoms)
    return made


@pytest.fixture
def frames(here):
    write(here / "cu.extxyz", copper(12))
    return "cu.extxyz"


def test_pretrain_writes_an_encoder_and_tells_how_well_it_learned(command, frames, here):
    tasks = ["--tasks", "cohesion,distance,coordination"]
    done = command("pretrain", frames, "-o", "cu.encoder", *SMALL, *tasks, "--json")
    assert done.code == 0
    said = done.json
    assert (said["task"], said["tasks"]) == ("pretraining", ["cohesion", "distance", "coordination"])
    assert (said["frames"], said["atoms"], said["validation_frames"], said["epochs"]) == (12, 48, 1, 3)
    assert 0.3 < said["guess_cohesion_loss"] < 2
    model = Pretraining.load("cu.encoder")
    best = said["best_epoch"] - 1
    for name in said["tasks"]:
        assert said[f"validation_{name}_loss"] == pytest.approx(model.training_.held_out[name][best])
        assert said[f"guess_{name}_loss"] == pytest.approx(model.training_.guesses[name])
    assert model.representation(copper(2)).shape == (8, 16)
    assert not (here / "cu.encoder.checkpoint").exists()
    blind = [name for name in said["tasks"] if said[f"validation_{name}_loss"] >= said[f"guess_{name}_loss"]]
    assert blind, "three epochs teach no class"
    assert any(
        note.startswith(f"{', '.join(blind)} ") and note.endswith("more frames or more --epochs may help")
        for note in said["notes"]
    )
    done = command("pretrain", frames, "-o", "two.encoder", *SMALL, *tasks)
    assert (here / "two.encoder").read_bytes() == (here / "cu.encoder").read_bytes()
    assert done.out.startswith("two.encoder: encoder, trained on 11 frames\nvalidation: cohesion ")
    assert done.out.endswith("next: mlff-curate train LABELLED -o MODEL --encoder two.encoder\n")
    assert "guess: cohesion 0." in done.out


def test_labels_are_not_looked_at(command, frames, here):
    write("labelled.extxyz", copper(12, labelled=True))
    for name, file in (("without", frames), ("with", "labelled.extxyz")):
        assert command("pretrain", file, "-o", name, *SMALL, "-q").code == 0
    assert (here / "with").read_bytes() == (here / "without").read_bytes()


def test_tasks_and_weights_are_the_users(command, frames):
    line = ["pretrain", frames, "-o", "cu.encoder", *SMALL, "--tasks", "distance, denoise", "--weights", "distance=0.5"]
    done = command(*line, "--noise", 0.05, 0.1, "--strain", 0, "--json")
    assert (done.code, done.json["tasks"]) == (0, ["denoise", "distance"])
    model = Pretraining.load("cu.encoder")
    assert (model.weights, model.noise, model.strain) == ({"distance": 0.5}, (0.05, 0.1), 0.0)
    write("alloy.extxyz", copper(12, second="Au"))
    done = command("pretrain", "alloy.extxyz", "-o", "alloy.encoder", *SMALL, "--json")
    assert done.json["tasks"] == ["cohesion"]


@contextmanager
def ending_after_two_epochs(monkeypatch):
    """As Ctrl-C would."""
    keep = TrainingCheckpoint.keep

    def until(self, state):
        keep(self, state)
        if state.epochs == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingCheckpoint, "keep", until)
        yield


def begun(*arguments):
    line = [sys.executable, "-c", PROGRAM, "pretrain", *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def test_a_killed_pretraining_goes_on_to_the_same_file(command, frames, here):
    assert command("pretrain", frames, "-o", "whole.encoder", *LONGER, "-q").code == 0
    for number, words in (
        (signal.SIGKILL, ""),
        (signal.SIGINT, "mlff-curate: interrupted: --resume goes on from cu.encoder.checkpoint\n"),
    ):
        process = begun(frames, "-o", "cu.encoder", *LONGER, "--checkpoint-every", 0, "-q")
        until = time.monotonic() + 60
        while not (here / "cu.encoder.checkpoint").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(number)
        assert words in process.communicate(timeout=60)[1]
        assert kind_of("cu.encoder.checkpoint") == "cgcnn-encoder-training"
        done = command("pretrain", frames, "-o", "cu.encoder", *LONGER)
        assert (
            done.code,
            "cu.encoder.checkpoint: is the checkpoint of a training that was broken off" in done.err,
        ) == (
            1,
            True,
        )
        done = command("pretrain", frames, "-o", "cu.encoder", *LONGER, "--seed", 4, "--resume")
        assert "cu.encoder.checkpoint: --seed: was 0 there and is 4 now: only the same training can go on" in done.err
        done = command("pretrain", frames, "-o", "cu.encoder", *LONGER, "--tasks", "denoise", "--resume")
        assert "cu.encoder.checkpoint: --tasks: was None there and is ['denoise'] now" in done.err
        done = command("pretrain", frames, "-o", "cu.encoder", *LONGER, "--resume", "--json")
        assert done.code == 0
        assert any("training went on after epoch" in note for note in done.json["notes"])
        assert (here / "cu.encoder").read_bytes() == (here / "whole.encoder").read_bytes()
        assert not (here / "cu.encoder.checkpoint").exists()
        (here / "cu.encoder").unlink()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--tasks", "dance"], 2, "--tasks: 'dance' is unknown; available: cohesion, denoise"),
        (["--tasks", "element"], 1, "--tasks: element says nothing of frames of one element: leave it out"),
        (["--weights", "denoise"], 2, "--weights: TASK=NUMBER is expected, with commas between, got 'denoise'"),
        (["--weights", "element=2"], 2, "--weights: element is none of the tasks: cohesion"),
        (["--steps", 5], 2, "--steps: means nothing beside --epochs: say one of them"),
        (["--checkpoint-every", -1], 2, "--checkpoint-every: a number of seconds of at least 0"),
        (["--learning-rate", 1e30], 1, "training diverged in its first epoch: a smaller --learning-rate may help"),
        (["missing.extxyz"], 1, "missing.extxyz: no such file"),
        (["--workers", 2], 2, "--workers: one process learns an encoder, not 2: leave this out"),
    ],
)
def test_what_cannot_be_done_is_refused(command, frames, here, words, code, message):
    done = command("pretrain", frames, "-o", "cu.encoder", *SMALL, *words)
    assert (done.code, message in done.err) == (code, True), done.err
    assert [path.name for path in here.iterdir()] == ["cu.extxyz"]


def test_inputs_that_teach_nothing_are_told_apart(command, here):
    write("alone.extxyz", [Atoms("Cu", cell=[20] * 3, pbc=True), Atoms("Cu2", [[0, 0, 0], [0, 0, 9.0]])])
    done = command("pretrain", "alone.extxyz", "-o", "x", *SMALL)
    assert (done.code, "no atom of 2 frames has a neighbour inside 4 Angstrom" in done.err) == (1, True)
    (here / "empty.extxyz").write_bytes(b"")
    done = command("pretrain", "empty.extxyz", "-o", "x", *SMALL)
    assert (done.code, "empty.extxyz: the file is empty" in done.err) == (1, True), done.err
    write("cut.extxyz", copper(3))
    (here / "cut.extxyz").write_bytes((here / "cut.extxyz").read_bytes()[:-60])
    done = command("pretrain", "cut.extxyz", "-o", "x", *SMALL)
    assert done.code == 1
    assert "cut.extxyz: frame 2: " in done.err
    two = Atoms("Cu2", [[0, 0, 0], [0, 0, 0]])
    write("one.extxyz", [*copper(2), two])
    done = command("pretrain", "one.extxyz", "-o", "x", *SMALL)
    assert "one.extxyz: frame 2: positions: atoms 0 and 1 are in one place" in done.err
    write("mixed.extxyz", [*copper(5), Atoms("Cu")])
    done = command("pretrain", "mixed.extxyz", "-o", "x", *SMALL, "--json")
    assert "1 frame has no neighbours inside 4 Angstrom, and taught nothing" in done.json["notes"]
    done = command("pretrain", "mixed.extxyz", "-o", "x", *SMALL)
    assert "x: exists already: say --overwrite to replace it" in done.err


def test_a_frame_held_out_that_asks_nothing_is_told(command, frames):
    done = command("pretrain", frames, "-o", "x", *SMALL, "--tasks", "contrastive", "--workers", 1, "--json")
    assert (done.code, done.json["validation_frames"]) == (0, 1)
    assert "1 frame held out asks nothing: nothing is known of losses on other frames" in done.json["notes"]
    assert not [key for key in done.json if key.startswith(("guess", "validation_con"))]
    assert not [note for note in done.json["notes"] if "guess" in note]


def test_a_potential_begins_from_an_encoder(command, frames, here):
    assert command("pretrain", frames, "-o", "cu.encoder", *SMALL, "-q").code == 0
    write("labelled.extxyz", copper(8, labelled=True))
    done = command("train", "labelled.extxyz", "-o", "cu.model", "--encoder", "cu.encoder", "--epochs", 2, "--json")
    assert done.code == 0
    assert Potential.load("cu.model").channels == 8  # the sizes are the file's
    frozen = ["train", "labelled.extxyz", "-o", "frozen.model", "--encoder", "cu.encoder", "--epochs", 2]
    assert command(*frozen, "--freeze-encoder", "--json").code == 0
    weights = [
        Potential.load("frozen.model").fitted_.network.convolutions[0].centre.weight,
        Pretraining.load("cu.encoder").fitted_.network.convolutions[0].centre.weight,
    ]
    np.testing.assert_array_equal(*(value.detach().numpy() for value in weights))
    line = ["pretrain", frames, "-o", "blind.encoder", *SMALL, "--tasks", "distance", "-q"]
    assert command(*line).code == 0
    done = command("train", "labelled.extxyz", "-o", "b.model", "--encoder", "blind.encoder", "--epochs", 1, "--json")
    note = "the encoder learned neither energies nor forces: the layers behind its states began at random"
    assert note in done.json["notes"]
    done = command("train", "labelled.extxyz", "-o", "x", "--encoder", "cu.encoder", "--channels", 16)
    assert (done.code, "--channels: the encoder has 8, got 16" in done.err) == (2, True)
    done = command("train", "labelled.extxyz", "-o", "x", "--freeze-encoder")
    assert (done.code, "--freeze-encoder: means nothing without --encoder" in done.err) == (2, True)
    (here / "cu.encoder").write_bytes((here / "cu.encoder").read_bytes()[:-9])
    done = command("train", "labelled.extxyz", "-o", "x", "--encoder", "cu.encoder")
    assert (done.code, "cu.encoder: the model file is truncated" in done.err) == (1, True)


def test_a_frozen_training_goes_on_only_as_frozen(command, frames, here, monkeypatch):
    assert command("pretrain", frames, "-o", "cu.encoder", *SMALL, "-q").code == 0
    write("labelled.extxyz", copper(8, labelled=True))
    line = ["train", "labelled.extxyz", "--encoder", "cu.encoder", "--epochs", 3, "-q"]
    assert command(*line, "-o", "whole.model", "--freeze-encoder").code == 0
    with ending_after_two_epochs(monkeypatch):
        done = command(*line, "-o", "cu.model", "--freeze-encoder", "--checkpoint-every", 0)
        assert "mlff-curate: interrupted: --resume goes on from cu.model.checkpoint\n" in done.err
    done = command(*line, "-o", "cu.model", "--resume")
    assert (done.code, "--freeze-encoder: is not as it was there: only the same training can go on" in done.err) == (
        2,
        True,
    )
    assert command(*line, "-o", "cu.model", "--resume", "--freeze-encoder").code == 0
    assert (here / "cu.model").read_bytes() == (here / "whole.model").read_bytes()


@pytest.fixture
def gaps(here):
    """Frames with a target that their atoms' surroundings tell."""
    made = copper(12)
    for k, atoms in enumerate(made):
        atoms.set_cell(atoms.cell * (1 + 0.01 * k), scale_atoms=True)
        atoms.info["gap"] = 0.1 * k
    write(here / "gaps.extxyz", made)
    return "gaps.extxyz"


PROPERTY = ["--task", "regression", "--target", "gap", "--hidden", 8, "--epochs", 2]


def test_a_property_is_learned_from_the_states_of_an_encoder(command, frames, gaps, here):
    assert command("pretrain", frames, "-o", "cu.encoder", *SMALL, "-q").code == 0
    line = ["train", gaps, *PROPERTY, "--encoder", "cu.encoder"]
    done = command(*line, "-o", "frozen.model", "--freeze-encoder", "--layers", "1", "--encoding", "none")
    assert done.code == 0
    said = "frozen.model: regression of gap, gated convolution, encoder frozen, trained on 11 frames\n"
    assert done.out.startswith(said)
    done = command(*line, "-o", "tuned.model", "--encoder-rate", 0.5)
    assert ", encoder trained too, trained on 11 frames\n" in done.out
    models = [CGCNN.load(name).fitted_.encoder for name in ("frozen.model", "tuned.model")]
    assert [model.layers for model in models] == ["1", "01"]
    begun = Pretraining.load("cu.encoder").fitted_.network.state_dict()
    same = [torch.equal(model.trunk.state_dict()["embedding.weight"], begun["embedding.weight"]) for model in models]
    assert same == [True, False]
    (here / "cu.encoder").unlink()  # the models have all that they need
    for name in ("frozen.model", "tuned.model"):
        done = command("evaluate", name, gaps, "--predictions", f"{name}.csv", "--json")
        found = CGCNN.load(name).predict(read(gaps, ":"))
        assert done.json["all"]["mae"] == pytest.approx(np.abs(found - 0.1 * np.arange(12)).mean())


def test_a_property_is_learned_from_the_states_of_a_potential(command, gaps):
    write("labelled.extxyz", copper(8, labelled=True))
    assert command("train", "labelled.extxyz", "-o", "cu.model", *SMALL, "-q").code == 0
    assert command("train", gaps, *PROPERTY, "--encoder", "cu.model", "-o", "gap.model", "-q").code == 0
    assert CGCNN.load("gap.model").fitted_.encoder.size == 16


def test_the_training_of_a_property_goes_on_to_the_same_file(command, frames, gaps, here, monkeypatch):
    assert command("pretrain", frames, "-o", "cu.encoder", *SMALL, "-q").code == 0
    line = ["train", gaps, *PROPERTY, "--epochs", 4, "--encoder", "cu.encoder"]
    assert command(*line, "-o", "whole.model", "-q").code == 0
    with ending_after_two_epochs(monkeypatch):
        done = command(*line, "-o", "gap.model", "--checkpoint-every", 0)
    assert "mlff-curate: interrupted: --resume goes on from gap.model.checkpoint\n" in done.err
    assert kind_of("gap.model.checkpoint") == "cgcnn-property-training"
    for words, message in [
        ([], "gap.model.checkpoint: is the checkpoint of a training that was broken off: say --resume"),
        (["--resume", "--freeze-encoder"], "--freeze-encoder: is not as it was there: only the same training can go"),
        (["--resume", "--encoder-rate", 1], "--encoder-rate: was 0.1 there and is 1.0 now"),
    ]:
        assert message in command(*line, "-o", "gap.model", *words).err
    labelled = read(gaps, ":")
    labelled[3].info["gap"] = 7.0
    write("other.extxyz", labelled)
    done = command("train", "other.extxyz", *line[2:], "-o", "gap.model", "--resume")
    assert "gap.model.checkpoint: is of a training on other labels: only the same training can go on" in done.err
    done = command(*line, "-o", "gap.model", "--resume")
    assert "training goes on after epoch 2, from gap.model.checkpoint\n" in done.err
    assert "note: training went on after epoch 2, from gap.model.checkpoint\n" in done.out
    assert (here / "gap.model").read_bytes() == (here / "whole.model").read_bytes()
    assert not (here / "gap.model.checkpoint").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--freeze-encoder"], "--freeze-encoder: means nothing without --encoder"),
        (["--layers", "1"], "--layers: means nothing without --encoder"),
        (["--encoder-rate", "1"], "--encoder-rate: means nothing without --encoder"),
        (["--encoding", "none"], "--encoding: none leaves nothing to tell atoms by without --encoder"),
        (
            ["--encoder", "cu.encoder", "--freeze-encoder", "--encoder-rate", "1"],
            "--encoder-rate: means nothing beside --freeze-encoder",
        ),
        (["--encoder", "cu.encoder", "--layers", "2"], "--layers: there is no layer 2: the encoder's are 0 to 1"),
        (["--encoder", "gaps.extxyz"], "gaps.extxyz: is no model file but frames, as in extxyz: a potential"),
        (["--encoder", "cu.encoder", "-o", "cu.encoder", "--overwrite"], "cu.encoder: is an input: an input is never"),
    ],
)
def test_what_means_nothing_to_a_property_is_refused(command, frames, gaps, here, words, message):
    assert command("pretrain", frames, "-o", "cu.encoder", *SMALL, "-q").code == 0
    done = command("train", gaps, *PROPERTY, "-o", "m", *words)
    assert done.code in (1, 2)
    assert message in done.err
    assert sorted(path.name for path in here.iterdir()) == ["cu.encoder", "cu.extxyz", "gaps.extxyz"]


def test_options_of_property_models_mean_nothing_to_a_potential(command, frames):
    done = command("train", frames, "-o", "m", "--encoder", "x", "--encoder-rate", "1")
    assert (done.code, "--encoder-rate: means nothing to --task potential" in done.err) == (2, True)


def test_one_frame_at_least_is_learned_from(command, frames):
    done = command("pretrain", frames, "-o", "one.encoder", *SIZES, "--steps", 2, "--validation", 0.99, "--json")
    assert (done.code, done.json["frames"] - done.json["validation_frames"]) == (0, 1)


def test_frames_that_steps_do_not_come_to_are_counted(command):
    write("many.extxyz", copper(30))
    done = command("pretrain", "many.extxyz", "-o", "m.encoder", *SIZES, "--steps", 2, "--batch-size", 4, "--json")
    assert (done.json["frames"], done.json["validation_frames"], done.json["undrawn_frames"]) == (11, 3, 19)
    assert "training ended before 19 frames were drawn: more --steps go through all" in done.json["notes"]


def test_energies_are_made_from_the_layers_asked_for(command, frames):
    assert command("pretrain", frames, "-o", "cu.encoder", *SMALL, "--convolutions", 2, "-q").code == 0
    write("labelled.extxyz", copper(8, labelled=True))
    line = ("train", "labelled.extxyz", "--encoder", "cu.encoder", "--epochs", 1)
    note = "the encoder's readout reads 2, and --layers leaves out 2: it is new"
    for layers, new in (("02", False), ("01", True)):
        done = command(*line, "-o", f"{layers}.model", "--layers", layers, "--json")
        assert (done.code, note in done.json["notes"]) == (0, new)
        assert Potential.load(f"{layers}.model").fitted_.network.sizes.layers == layers
    done = command(*line, "-o", "first.model", "--layers", "0")
    assert (done.code, "--layers: layer 0 knows the element of an atom and nothing of" in done.err) == (2, True)
    done = command("train", "labelled.extxyz", "-o", "x.model", "--layers", "1")  # before anything is read or said
    words = "--layers: without --encoder the last, 2, must be among them: add it, or say --convolutions 1"
    assert (done.code, words in done.err, done.err.count("\n")) == (2, True, 1)
    done = command(*line, "-o", "more.model", "--layers", "5")
    assert (done.code, "--layers: there is no layer 5: the network's are 0 to 2" in done.err) == (2, True)


def test_an_element_that_the_encoder_never_saw_is_named_with_file_and_frame(command, frames, gaps):
    assert command("pretrain", frames, "-o", "cu.encoder", *SMALL, "-q").code == 0
    gold = bulk("Au")
    gold.info["gap"] = 1.0
    write("gold.extxyz", [gold])
    done = command("train", gaps, "gold.extxyz", *PROPERTY, "--encoder", "cu.encoder", "-o", "m")
    assert done.err == "mlff-curate: error: gold.extxyz: frame 0: --encoder: the encoder never saw Au\n"


def test_default_sizes_fit_a_default_potential():
    sizes = ("cutoff", "channels", "radial", "convolutions", "angular", "degree", "dtype")
    assert all(getattr(Pretraining(), name) == getattr(Potential(), name) for name in sizes)


def test_help_has_an_example(command):
    assert "mlff-curate pretrain md.extxyz -o ta.encoder" in command("pretrain", "--help").out
    line = "mlff-curate train few.extxyz -o gap.model --task regression --target band_gap --encoder all.encoder\n"
    assert line in command("train", "--help").out
