"""`train` of a potential that is killed and goes on, that several processes share, and that begins from another."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from mlff_curate_cli.main import group

from mlff_curate.cgcnn import potential_share
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.checkpoints import Checkpoint, checkpoint_bytes, kind_of, read_checkpoint
from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.workflows.training_checkpoint import TrainingCheckpoint, where_from

SIZES = ["--channels", 8, "--angular", 4, "--degree", 2, "--cutoff", 4, "--convolutions", 1]
SMALL = [*SIZES, "--epochs", 6, "--batch-size", 4]
LARGE = [*SMALL, "--cutoff", 5]
PROGRAM = "from mlff_curate_cli.main import main; main()"


def label(atoms):
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def crystals(n, repeat=1, second="Cu", amplitude=0.1):
    made = []
    for k in range(n):
        atoms = bulk("Cu", cubic=True) * (repeat, 1, 1)
        atoms.symbols[1] = second
        atoms.rattle(amplitude, seed=k)
        made.append(label(atoms))
    return made


@pytest.fixture
def frames(here):
    write(here / "cu.extxyz", crystals(12))
    return "cu.extxyz"


@pytest.fixture
def whole(command, frames, here):
    """The bytes of a model whose training nobody disturbed."""
    assert command("train", frames, "-o", "whole.model", *SMALL, "-q").code == 0
    assert not (here / "whole.model.checkpoint").exists()
    return (here / "whole.model").read_bytes()


def begun(*arguments, **environment):
    """A `train` in a process of its own."""
    line = [sys.executable, "-c", PROGRAM, "train", *map(str, arguments)]
    return subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def wait_for(path, process):
    until = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def leave_checkpoint(here, frames, monkeypatch, epochs):
    """Leave a checkpoint behind, as if the machine had stopped after some epochs."""
    keep = TrainingCheckpoint.keep

    class Stopped(BaseException):
        pass

    def until(self, state):
        keep(self, state)
        if state.epochs == epochs:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(TrainingCheckpoint, "keep", until)
        line = ["train", frames, "-o", "cu.model", *SMALL, "--checkpoint-every", 0, "-q"]
        with pytest.raises(Stopped):
            group.main([str(word) for word in line], standalone_mode=False)
    assert kind_of(here / "cu.model.checkpoint") == "cgcnn-potential-training"
    assert not (here / "cu.model").exists()


def test_a_killed_training_goes_on_to_the_same_file(command, frames, whole, here):
    process = begun(frames, "-o", "cu.model", *SMALL, "--checkpoint-every", 0, "--resume", "-q")
    wait_for(here / "cu.model.checkpoint", process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (here / "cu.model").exists()
    done = command("train", frames, "-o", "cu.model", *SMALL, "--resume", "--json")
    assert done.code == 0
    assert any("training went on after epoch" in note for note in done.json["notes"])
    assert (here / "cu.model").read_bytes() == whole
    assert not (here / "cu.model.checkpoint").exists()


def test_ctrl_c_tells_how_to_go_on(command, frames, whole, here):
    process = begun(frames, "-o", "cu.model", *SMALL, "--checkpoint-every", 0, "-q")
    wait_for(here / "cu.model.checkpoint", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "mlff-curate: interrupted: --resume goes on from cu.model.checkpoint\n" in err
    assert command("train", frames, "-o", "cu.model", *SMALL, "--resume", "-q").code == 0
    assert (here / "cu.model").read_bytes() == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_last_state_is_written_before_leaving(command, frames, whole, here, monkeypatch, number, code):
    keep = TrainingCheckpoint.keep
    seen = []

    def and_signal(self, state):
        seen.append((state.epochs, state.steps))
        if len(seen) == 8:
            os.kill(os.getpid(), number)
        keep(self, state)

    line = ["train", frames, "-o", "cu.model", *SMALL, "--checkpoint-every", 1e6]
    with monkeypatch.context() as patch:
        patch.setattr(TrainingCheckpoint, "keep", and_signal)
        done = command(*line)
    assert done.code == code
    told = {
        130: "mlff-curate: interrupted: --resume goes on from cu.model.checkpoint\n",
        143: "mlff-curate: error: cu.model.checkpoint: training was ended; --resume goes on from here\n",
    }
    assert done.err.lstrip() == told[code]
    state = read_checkpoint("cu.model.checkpoint", "cgcnn-potential-training").settings["state"]
    assert (state["epochs"], state["steps"]) == seen[-1] == (2, 2)
    assert len(seen) == 8
    done = command(*line, "--resume")
    assert done.code == 0
    assert done.err == "training goes on after epoch 2 and 2 steps, from cu.model.checkpoint\n"
    assert (here / "cu.model").read_bytes() == whole


def test_a_second_ctrl_c_leaves_at_once_and_so_does_one_without_checkpoints(command, frames, here, monkeypatch):
    whole = potential_share.Sharing.gradient
    steps, signals = [], 2

    def gradient(self, *arguments):
        steps.append(1)
        for _ in range(signals * (len(steps) == 3)):
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, *arguments)

    monkeypatch.setattr(potential_share.Sharing, "gradient", gradient)
    done = command("train", frames, "-o", "cu.model", *SMALL)
    assert (done.code, len(steps)) == (130, 3)
    assert done.err.lstrip() == "mlff-curate: interrupted: nothing was written\n"
    steps, signals = [], 1
    done = command("train", frames, "-o", "cu.model", *SMALL, "--checkpoint-every", "inf")
    assert (done.code, len(steps)) == (130, 3)
    assert sorted(path.name for path in here.iterdir()) == ["cu.extxyz"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_resume_says_where_it_begins(command, frames):
    done = command("train", frames, "-o", "cu.model", *SMALL, "--resume")
    assert done.err == "there is no checkpoint to go on from: training begins anew\n"
    assert command("train", frames, "-o", "two.model", *SMALL, "--resume", "-q").err == ""


def test_who_forgets_resume_is_told_and_nothing_is_lost(command, frames, whole, here, monkeypatch):
    leave_checkpoint(here, frames, monkeypatch, 3)
    before = (here / "cu.model.checkpoint").read_bytes()
    done = command("train", frames, "-o", "cu.model", *SMALL)
    assert done.code == 1
    assert (
        "cu.model.checkpoint: is the checkpoint of a training that was broken off: say --resume to go on with it, or "
        "--overwrite to begin anew"
    ) in done.err
    assert (here / "cu.model.checkpoint").read_bytes() == before
    done = command("train", frames, "-o", "cu.model", *SMALL, "--resume", "--json")
    assert "training went on after epoch 3, from cu.model.checkpoint" in done.json["notes"]
    assert (here / "cu.model").read_bytes() == whole
    done = command("train", frames, "-o", "new.model", *SMALL, "--resume", "--json")
    assert "there was no checkpoint to go on from: training began anew" in done.json["notes"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--learning-rate", 0.01],
            "--learning-rate: was 0.0015 there and is 0.01 now: only the same",
        ),
        (["--seed", 3], "--seed: was 0 there and is 3 now"),
        (["--encoder", "whole.model"], "--encoder: is not what that training began from"),
        (["more.extxyz"], "is of a training on 12 frames, not 24 frames"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(command, frames, whole, here, monkeypatch, options, words):
    leave_checkpoint(here, frames, monkeypatch, 1)
    assert whole  # which is an encoder here
    write("more.extxyz", crystals(12))
    done = command("train", frames, *options, "-o", "cu.model", *SMALL, "--resume")
    assert done.code == (2 if words.startswith("--") else 1)
    assert f"cu.model.checkpoint: {words}" in done.err
    assert (here / "cu.model.checkpoint").exists()


def test_what_is_done_is_told_from_what_is_in_the_way(command, frames, whole, here):
    (here / "done.model").write_bytes(whole)
    done = command("train", frames, "-o", "done.model", *SMALL, "--resume")
    words = "exists already, and no checkpoint lies beside it: its training is done; --overwrite trains anew"
    assert (done.code, done.err) == (1, f"mlff-curate: error: done.model: {words}\n")
    assert (here / "done.model").read_bytes() == whole


def test_a_checkpoint_of_changed_files_is_refused(command, frames, here, monkeypatch):
    leave_checkpoint(here, frames, monkeypatch, 1)
    changed = read(frames, ":")
    changed[4].calc.results["energy"] += 0.001
    write(frames, changed)
    done = command("train", frames, "-o", "cu.model", *SMALL, "--resume")
    assert (done.code, "cu.model.checkpoint: is of a training on other labels" in done.err) == (1, True)
    changed[4].positions += 0.001
    write(frames, changed)
    done = command("train", frames, "-o", "cu.model", *SMALL, "--resume")
    assert (done.code, "cu.model.checkpoint: is of a training on other frames" in done.err) == (1, True)
    stored = read_checkpoint("cu.model.checkpoint", "cgcnn-potential-training")
    origin = {**stored.settings["origin"], "program": "0.0.7"}
    (here / "cu.model.checkpoint").write_bytes(
        checkpoint_bytes("cgcnn-potential-training", stored.arrays, {**stored.settings, "origin": origin})
    )
    done = command("train", frames, "-o", "cu.model", *SMALL, "--resume")
    assert (done.code, "was written by version 0.0.7, this is" in done.err) == (1, True)
    (here / "cu.model.checkpoint").write_bytes((here / "cu.model.checkpoint").read_bytes()[:-100])
    done = command("train", frames, "-o", "cu.model", *SMALL, "--resume")
    assert (done.code, "cu.model.checkpoint: the model file is truncated" in done.err) == (1, True)


def test_a_training_that_diverges_leaves_no_checkpoint(command, frames, here, monkeypatch):
    whole = potential_share.Sharing.gradient
    steps = []

    def gradient(self, *arguments):
        steps.append(1)
        loss, off = whole(self, *arguments)
        return (loss if len(steps) < at else float("nan")), off

    monkeypatch.setattr(potential_share.Sharing, "gradient", gradient)
    at = 3
    done = command("train", frames, "-o", "cu.model", *SMALL, "--checkpoint-every", 0)
    assert (done.code, "training diverged in its first epoch: a smaller --learning-rate may help" in done.err) == (
        1,
        True,
    )
    assert sorted(path.name for path in here.iterdir()) == ["cu.extxyz"]
    steps, at = [], 8
    done = command("train", frames, "-o", "cu.model", *SMALL, "--checkpoint-every", 0, "--json")
    assert (done.code, done.json["ended"], done.json["epochs"]) == (0, "diverged", 2)
    assert any("the last good weights were kept" in note for note in done.json["notes"])
    assert sorted(path.name for path in here.iterdir()) == ["cu.extxyz", "cu.model"]
    assert np.isfinite(Potential.load("cu.model").predict(read(frames, ":")).forces).all()


@pytest.fixture
def large(here, command):
    """Frames of which a batch is worth two pieces, and the model that one process makes of them."""
    frames = crystals(6, repeat=14)
    assert all(len(vector_graph([atoms], 5.0).centre) * 4 >= 2 * 4096 for atoms in frames)
    write(here / "large.extxyz", frames)
    assert command("train", "large.extxyz", "-o", "whole.model", *LARGE, "-q").code == 0
    return (here / "whole.model").read_bytes()


def test_the_number_of_workers_changes_no_bit(command, large, here):
    assert command("train", "large.extxyz", "-o", "two.model", *LARGE, "--workers", 2, "-q").code == 0
    assert (here / "two.model").read_bytes() == large


def test_torchrun_starts_workers_as_well(large, here):
    line = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--no-python",
        sys.executable,
        "-c",
        PROGRAM,
        "train",
    ]
    done = subprocess.run(
        [sys.executable, *line, "large.extxyz", "-o", "two.model", *map(str, LARGE), "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"task": "potential"') == 1
    assert (here / "two.model").read_bytes() == large


def slurm(rank):
    """What srun sets, with a port of this run's own."""
    return {
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
    }


def test_srun_starts_workers_as_well(large, here):
    both = [begun("large.extxyz", "-o", "two.model", *LARGE, **slurm(rank)) for rank in (0, 1)]
    told = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert "two.model: potential" in told[0][0]
    assert told[1] == ("", "")
    assert (here / "two.model").read_bytes() == large


@pytest.mark.usefixtures("large")
def test_a_leader_that_refuses_lets_its_helpers_go():
    both = [begun("large.extxyz", "-o", "whole.model", *LARGE, **slurm(rank)) for rank in (0, 1)]
    told = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [1, 1]
    assert told[0][1] == "mlff-curate: error: whole.model: exists already: say --overwrite to replace it\n"
    assert told[1][0] == ""


def test_a_dead_worker_is_told_and_its_training_goes_on(command, large, here, monkeypatch):
    keep = TrainingCheckpoint.keep

    def and_kill(self, state):
        keep(self, state)
        if state.epochs == 2:
            multiprocessing.active_children()[0].kill()

    with monkeypatch.context() as patch:
        patch.setattr(TrainingCheckpoint, "keep", and_kill)
        done = command("train", "large.extxyz", "-o", "two.model", *LARGE, "--workers", 2, "--checkpoint-every", 0)
    assert done.code == 1
    assert done.err == (
        "mlff-curate: error: worker 2 of 2 was killed by signal 9 before the work was done: out of memory?; "
        "--resume goes on from two.model.checkpoint\n"
    )
    assert command("train", "large.extxyz", "-o", "two.model", *LARGE, "--resume", "-q").code == 0
    assert (here / "two.model").read_bytes() == large


@pytest.mark.usefixtures("large")
def test_helpers_of_a_killed_leader_end(here):
    process = begun("large.extxyz", "-o", "two.model", *LARGE, "--workers", 2, "--checkpoint-every", 0, "-q")
    wait_for(here / "two.model.checkpoint", process)
    process.kill()
    process.communicate(timeout=60)  # returns once nobody holds its output any more
    assert process.returncode == -signal.SIGKILL


def test_training_begins_from_another_model(command, frames):
    done = command("train", frames, "-o", "old.model", *SIZES, "--epochs", 80, "--learning-rate", 0.02, "--json")
    old = done.json
    write("gold.extxyz", crystals(12, second="Au"))
    # the sizes are the file's
    done = command(
        "train", frames, "-o", "same.model", "--encoder", "old.model", "--epochs", 1, "--learning-rate", 1e-9, "--json"
    )
    assert done.code == 0
    assert done.json["train_force_mae"] == pytest.approx(old["train_force_mae"], rel=1e-3)
    assert Potential.load("same.model").channels == 8
    done = command("train", "gold.extxyz", "-o", "gold.model", "--encoder", "old.model", "--epochs", 1)
    assert done.code == 0
    assert "Au" in done.out
    assert "the encoder" in done.out
    assert Potential.load("gold.model").fitted_.network.sizes.elements == (29, 79)
    done = command("train", frames, "-o", "x", "--encoder", "old.model", "--channels", 16)
    assert (done.code, "--channels: the encoder has 8, got 16" in done.err) == (2, True)
    done = command("train", frames, "-o", "x", "--encoder", "missing.model")
    assert (done.code, "missing.model: no such file" in done.err) == (1, True)
    done = command("train", frames, "-o", "old.model", "--encoder", "old.model", "--overwrite")
    assert (done.code, "old.model: is an input: an input is never replaced" in done.err) == (1, True)


def test_one_sentence_says_where_a_training_goes_on_before_and_after():
    before = Checkpoint("a.checkpoint", {}, {"epochs": 3})
    assert where_from(before) == "training goes on after epoch 3, from a.checkpoint"
    assert where_from(before, over=True) == "training went on after epoch 3, from a.checkpoint"
    before.settings["steps"] = 1
    assert where_from(before) == "training goes on after epoch 3 and 1 step, from a.checkpoint"
    assert where_from(None, over=True) == "there was no checkpoint to go on from: training began anew"
