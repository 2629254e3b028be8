"""Encoders: training, representations, files, and potentials that begin from them."""

import re
from copy import deepcopy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from scipy.spatial.transform import Rotation

from mlff_curate.cgcnn.encoder import read_encoder
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.cgcnn.potential_network import Standardised
from mlff_curate.cgcnn.representation import representation
from mlff_curate.cgcnn.training import split
from mlff_curate.data.checkpoints import Checkpoint, checkpoint_bytes, read_checkpoint
from mlff_curate.data.labels import Labels
from mlff_curate.errors import DataError, OutputError, UsageError
from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.pretraining import course as course_module
from mlff_curate.pretraining import model as model_module
from mlff_curate.pretraining import training as module
from mlff_curate.pretraining.cohesion import Cohesion
from mlff_curate.pretraining.contrast import Contrast
from mlff_curate.pretraining.denoising import Denoising
from mlff_curate.pretraining.masking import MaskedCoordination, MaskedDistance, MaskedElement
from mlff_curate.pretraining.model import Pretraining
from mlff_curate.pretraining.training import EncoderState
from mlff_curate.pretraining.unlabelled import sample_of

SIZES = {"channels": 8, "radial": 5, "angular": 4, "degree": 3, "convolutions": 2, "cutoff": 4.0}
SMALL = {**SIZES, "epochs": 2, "batch_size": 3}
TASKS = ("cohesion", "denoise", "distance", "coordination", "element", "contrastive")


def hot(seed, second="Au", repeat=1):
    atoms = bulk("Cu", cubic=True).repeat((repeat, 1, 1))
    atoms.symbols[1::4] = second
    atoms.rattle(0.1, seed=seed)
    return atoms


FRAMES = [hot(k) for k in range(8)]


def labels_of(frames):
    out = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = EMT()
        out.append(Labels(energy=copy.get_potential_energy(), forces=copy.get_forces()))
    return out


@pytest.fixture(scope="module")
def encoder():
    return Pretraining(tasks=TASKS, **SMALL, dtype="float64").fit(FRAMES)


def test_every_task_is_learned_from_and_told(encoder):
    said = encoder.training_
    assert (said.epochs, said.ended, len(said.validation_frames)) == (2, "all epochs", 1)
    assert set(said.held_out) == set(said.guesses) == set(TASKS)
    # one frame held out is like no other
    assert np.isnan(said.held_out["contrastive"]).all()
    assert all(np.isfinite(said.held_out[name]).all() for name in TASKS[:-1])
    assert said.guesses["contrastive"] == pytest.approx(np.log(5))


def test_what_says_something_is_the_default():
    assert Pretraining(**SMALL).fit(FRAMES).fitted_.tasks == ("cohesion",)


def test_denoising_is_learned():
    frames = [hot(k, "Cu", 2) for k in range(12)]
    for atoms in frames:
        atoms.positions = bulk("Cu", cubic=True).repeat((2, 1, 1)).positions
    model = Pretraining(("denoise",), **{**SMALL, "epochs": 60}, learning_rate=0.005).fit(frames)
    assert model.training_.held_out["denoise"][-1] < 0.4 * model.training_.guesses["denoise"]


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        Pretraining(tasks=TASKS, **SMALL, seed=seed).fit(FRAMES).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    weights = [Pretraining.load(tmp_path / name).fitted_.network.embedding.weight for name in ("one", "other")]
    assert not torch.equal(*weights)


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_training_broken_off_goes_on_to_the_same_bytes(stop, tmp_path):
    class StoppedError(Exception):
        pass

    kept = []

    def keep(state):
        arrays, settings = state.pack()
        kept.append(Checkpoint("kept", {name: value.copy() for name, value in arrays.items()}, settings))
        if len(kept) == stop:
            raise StoppedError

    with pytest.raises(StoppedError):
        Pretraining(tasks=TASKS, **SMALL).fit(FRAMES, keep=keep)
    told = []
    resumed = Pretraining(tasks=TASKS, **SMALL)
    resumed.fit(FRAMES, resume=kept[-1], progress=lambda *words: told.append(words)).save(tmp_path / "resumed")
    assert [done for done, all_, _ in told if all_ == 6] == [stop] * 8 + list(range(stop + 1, 7))
    Pretraining(tasks=TASKS, **SMALL).fit(FRAMES).save(tmp_path / "whole")
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert (kept[-1].settings["epochs"], kept[-1].settings["steps"]) == {1: (0, 1), 3: (1, 0), 4: (1, 1)}[stop]
    kept[-1].settings["steps"] = 4
    with pytest.raises(DataError, match="the setting steps is 4, and an epoch has 3"):
        Pretraining(tasks=TASKS, **SMALL).fit(FRAMES, resume=kept[-1])
    kept[-1].settings["steps"] = 0
    with pytest.raises(DataError, match=r"kept: was written by .* the array average\.heads\.\S+ is not known"):
        Pretraining(tasks=("denoise",), **SMALL).fit(FRAMES, resume=kept[-1])


@pytest.mark.parametrize("at", [2, 5])
def test_a_loss_that_is_no_number_keeps_the_last_good_weights(monkeypatch, at):
    step, steps = EncoderState.move, []

    def move(state, *how):
        step(state, *how)
        steps.append(1)
        if len(steps) == at:
            with torch.no_grad():
                next(state.network.parameters()).fill_(torch.nan)

    monkeypatch.setattr(EncoderState, "move", move)
    model = Pretraining(("distance",), **{**SMALL, "epochs": 4})
    if at == 2:
        with pytest.raises(DataError, match="training diverged in its first epoch: a smaller --learning-rate may help"):
            model.fit(FRAMES)
        return
    model.fit(FRAMES)
    assert (model.training_.ended, model.training_.epochs, model.training_.best_epoch) == ("diverged", 1, 1)
    assert np.isfinite(model.representation(FRAMES)).all()


def test_no_task_learns_from_frames_held_out(monkeypatch):
    asked = {name: {True: [], False: []} for name in TASKS}

    def watched(loss):
        def of(task, network, data, frames, rng, *, training):
            asked[task.name][training].extend(frames.tolist())
            return loss(task, network, data, frames, rng, training=training)

        return of

    for kind in (Cohesion, Denoising, MaskedDistance, MaskedCoordination, MaskedElement, Contrast):
        monkeypatch.setattr(kind, "loss", watched(kind.loss))
    said = Pretraining(tasks=TASKS, **SMALL, validation=0.3).fit(FRAMES).training_
    assert len(said.validation_frames) == 2
    learned = sorted(set(range(8)) - set(said.validation_frames))
    for name in TASKS:
        assert sorted(asked[name][True]) == sorted(2 * learned), name  # each once in each of two epochs
        assert asked[name][False] == 2 * list(said.validation_frames), name


def test_a_task_counts_as_much_as_its_weight(monkeypatch):
    """The first step, where all begin from the same weights: its loss, and its gradient by each task's head."""
    step, slopes = EncoderState.move, []

    def move(state, *how):
        slopes.append({name: value.grad.clone() for name, value in state.network.named_parameters()})
        step(state, *how)

    monkeypatch.setattr(EncoderState, "move", move)
    monkeypatch.setattr(module, "_LONGEST_STEP", np.inf)
    once = {**SIZES, "epochs": 1, "batch_size": 8, "validation": 0.0, "dtype": "float64"}
    tasks = ("distance", "element")
    losses = [
        Pretraining(tasks, {"element": weight, "distance": other}, **once).fit(FRAMES).training_.loss[0]
        for weight, other in ((1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (1.0, 2.0))
    ]
    assert losses[1] - losses[0] > 0.1
    assert losses[2] - losses[0] == pytest.approx(2 * (losses[1] - losses[0]))
    assert losses[1] + losses[3] == pytest.approx(3 * losses[0])
    one, two, three, other = slopes
    assert len(slopes) == 4
    for name, value in one.items():
        assert torch.allclose(three[name] - value, 2 * (two[name] - value), atol=1e-12), name
        assert torch.allclose(two[name] + other[name], 3 * value, atol=1e-12), name
        if name.startswith("heads."):
            times = 2 if name.startswith("heads.element") else 1
            assert value.any(), name
            assert torch.allclose(two[name], times * value, atol=1e-12), name


@pytest.mark.parametrize(("weights", "best"), [({}, 2), ({"element": 2.0}, 1), ({"distance": 0.5}, 1)])
def test_the_best_epoch_is_that_of_the_least_weighted_sum(monkeypatch, weights, best):
    losses = iter([{"distance": 1.0, "element": 1.0}, {"distance": 0.5, "element": 1.4}])
    monkeypatch.setattr(module, "held_out_losses", lambda *_: next(losses))
    model = Pretraining(("distance", "element"), weights, **SMALL).fit(FRAMES)
    assert (model.training_.best_epoch, model.training_.epochs) == (best, 2)


def test_training_stops_early(monkeypatch):
    losses = iter([3.0, 2.0, 2.5, 2.4, 2.3, 0.1])
    monkeypatch.setattr(module, "held_out_losses", lambda *_: {"distance": next(losses)})
    told = []
    model = Pretraining(("distance",), **{**SMALL, "epochs": 9}, patience=3)
    model.fit(FRAMES, progress=lambda *words: told.append(words))
    assert (model.training_.epochs, model.training_.best_epoch, model.training_.ended) == (5, 2, "early")
    assert model.training_.held_out["distance"] == (3.0, 2.0, 2.5, 2.4, 2.3)
    assert told[0] == (0, 27, "neighbours of 1 of 8 frames")
    assert [done for done, _, words in told if words.startswith("epoch")] == list(range(1, 16))
    assert told[-1][:2] == (15, 27)
    assert re.fullmatch(r"epoch 5 of 9; loss [0-9.]+; held out: distance 2.3", told[-1][2])


def test_fewer_steps_than_an_epoch_has_are_taken_of_some_frames():
    told = []
    model = Pretraining(("distance",), **SIZES, steps=2, batch_size=3)
    model.fit(FRAMES, progress=lambda *words: told.append(words))  # seven frames to learn from: three steps
    assert [words[:2] for words in told if words[2].startswith("epoch 1 of 1; loss")] == [(1, 2), (2, 2)]
    assert (model.training_.epochs, model.fitted_.frames, model.undrawn_) == (1, 6, 2)
    kept = []
    model.fit(FRAMES, keep=lambda state: kept.append(deepcopy(state.pack())))
    again = Pretraining(("distance",), **SIZES, steps=2, batch_size=3)
    again.fit(FRAMES, resume=Checkpoint("kept", *kept[0]))
    assert kept[0][1]["steps"] == 1
    for name, value in again.fitted_.network.state_dict().items():
        assert torch.equal(value, model.fitted_.network.state_dict()[name]), name


def test_what_was_not_drawn_is_not_said_to_be_known():
    frames = [hot(k) for k in range(40)]
    model = Pretraining(("distance",), **SIZES, steps=2, batch_size=3, validation=0.0)
    drawn = model.fit(frames).undrawn_
    assert drawn == 34
    assert (model.fitted_.frames, model.fitted_.atoms, model.strange_) == (6, 24, ())
    order = np.random.default_rng([0, 2, 1]).permutation(40)
    for place, known in ((order[-1], (29, 79)), (order[0], (29, 47, 79))):
        strange = [*frames[:place], hot(place, "Ag"), *frames[place + 1 :]]
        model = Pretraining(("distance",), **SIZES, steps=2, batch_size=3, validation=0.0).fit(strange)
        assert model.fitted_.network.sizes.elements == known
        assert model.strange_ == ((47,) if len(known) == 2 else ())
    alone = [Atoms("Cu", cell=[30] * 3, pbc=True)] * 40
    for last, words in (
        (hot(0), "--steps: the 6 frames that are drawn have no atom with a neighbour inside 4 Angstrom: take more"),
        (alone[0], "--cutoff: no atom of 40 frames has a neighbour inside 4 Angstrom: there is nothing to learn from"),
    ):
        with pytest.raises(DataError, match=words):
            Pretraining(("distance",), **SIZES, steps=2, batch_size=3, validation=0.0).fit([*alone[:-1], last])


def test_what_was_drawn_after_the_weights_that_are_kept_is_not_known(monkeypatch):
    monkeypatch.setattr(course_module, "_MOST_STEPS", 2)
    losses = iter([1.0, 2.0, 3.0, 1.0, 2.0, 0.5])
    monkeypatch.setattr(module, "held_out_losses", lambda *_: {"distance": next(losses)})
    frames = [hot(k) for k in range(40)]
    training, _ = split(40, 0.1, 0)
    order = np.random.default_rng([0, 2, 1]).permutation(training)
    frames[order[8]] = hot(8, "Ag")  # of the second epoch
    for best, known in ((1, (29, 79)), (3, (29, 47, 79))):
        model = Pretraining(("distance",), **SIZES, steps=6, batch_size=3).fit(frames)
        assert model.training_.best_epoch == best
        assert model.fitted_.network.sizes.elements == known
        assert (model.strange_, model.undrawn_) == (((47,), 30) if best == 1 else ((), 18))


def test_the_random_state_is_left_alone():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    for last in (hot(39), hot(39, "Ag")):
        frames = [hot(k) for k in range(40)]
        frames[np.random.default_rng([0, 2, 1]).permutation(40)[-1]] = last
        torch.manual_seed(5)
        Pretraining(("distance",), **SIZES, steps=2, batch_size=3, validation=0.0).fit(frames)
        assert torch.rand(1) == wanted


def test_states_of_a_network_that_knows_fewer_elements_are_the_same(encoder):
    network = encoder.fitted_.network
    copper = [bulk("Cu", cubic=True)]
    copper[0].rattle(0.1, seed=0)
    for z, frames in ((29, copper), (79, [bulk("Au", cubic=True)])):
        fewer = network.knowing((z,))
        np.testing.assert_array_equal(representation(fewer, frames), representation(network, frames))


def test_no_more_than_some_hundred_frames_are_held_out(monkeypatch):
    monkeypatch.setattr(model_module, "_MOST_HELD_OUT", 3)
    model = Pretraining(("distance",), **SMALL, validation=0.5).fit([hot(k) for k in range(20)])
    assert len(model.training_.validation_frames) == 3


def test_more_steps_go_on_to_the_end_of_an_epoch():
    told = []
    Pretraining(("distance",), **SIZES, steps=4, batch_size=3).fit(FRAMES, progress=lambda *words: told.append(words))
    assert [words[0] for words in told if words[2].startswith("epoch")] == [1, 2, 3, 4, 5, 6]


def test_without_frames_held_out_the_last_weights_are_kept():
    model = Pretraining(("distance",), **SMALL, validation=0.0).fit(FRAMES)
    assert (model.training_.best_epoch, model.training_.validation_frames) == (2, ())
    assert np.isnan(model.training_.held_out["distance"]).all()


def test_layers_are_those_asked_for(encoder):
    whole = encoder.representation(FRAMES[:3], layers="012")
    assert whole.shape == (12, 24)
    for k in range(3):
        np.testing.assert_array_equal(encoder.representation(FRAMES[:3], layers=str(k)), whole[:, 8 * k : 8 * k + 8])
    np.testing.assert_array_equal(encoder.representation(FRAMES[:3], layers="20")[:, :8], whole[:, 16:])
    numbers = np.concatenate([atoms.numbers for atoms in FRAMES[:3]])
    assert all(len(np.unique(whole[numbers == z, :8], axis=0)) == 1 for z in (29, 79))  # "0" is the element's own
    assert len(np.unique(whole[:, 8:16], axis=0)) == 12
    mean = encoder.frame_representation(FRAMES[:3], layers="1")
    np.testing.assert_allclose(mean, whole[:, 8:16].reshape(3, 4, 8).mean(axis=1), atol=1e-14)
    assert encoder.representation([], layers="01").shape == (0, 16)
    assert encoder.frame_representation([], layers="01").shape == (0, 16)
    with pytest.raises(UsageError, match="layers: there is no layer 3: the encoder's are 0 to 2"):
        encoder.representation(FRAMES, layers="03")
    for wrong in ("", "11", "x", "-1"):
        with pytest.raises(UsageError, match="layers: digits such as 012 are expected, each once"):
            encoder.representation(FRAMES, layers=wrong)
    with pytest.raises(DataError, match="frame 1: the encoder never saw Ag"):
        encoder.representation([FRAMES[0], hot(0, "Ag")])
    with pytest.raises(DataError, match="frame 0: the frame has no atoms"):
        encoder.representation([Atoms()])
    with pytest.raises(ValueError, match="the encoder is not trained: call fit"):
        Pretraining().representation(FRAMES)


def test_representations_depend_on_the_surroundings_alone(encoder):
    atoms = hot(20)
    here = encoder.representation([atoms])
    turn = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    turned = Atoms(atoms.numbers, atoms.positions @ turn.T + 3.1, cell=atoms.cell.array @ turn.T, pbc=True)
    np.testing.assert_allclose(encoder.representation([turned]), here, atol=1e-10)
    order = np.random.default_rng(0).permutation(len(atoms))
    np.testing.assert_allclose(encoder.representation([atoms[order]]), here[order], atol=1e-10)
    whole = make_supercell(atoms, [[2, 0, 0], [0, 1, 0], [1, 0, 2]])
    np.testing.assert_allclose(encoder.frame_representation([whole]), encoder.frame_representation([atoms]), atol=1e-10)
    np.testing.assert_allclose(encoder.representation([hot(1), atoms])[4:], here, atol=1e-12)
    moved = atoms.copy()
    moved.positions[0] += 0.1
    assert np.abs(encoder.representation([moved])[:, 8:] - here[:, 8:]).max() > 1e-3


def test_many_frames_are_taken_in_parts(encoder):
    frames = [hot(k) for k in range(70)]
    told = []
    whole = encoder.representation(frames, progress=lambda *words: told.append(words))
    np.testing.assert_allclose(whole[4 * 66 :], encoder.representation(frames[66:]), atol=1e-12)
    assert told == [(64, 70), (70, 70)]


def test_potentials_have_representations_too():
    frames = FRAMES[:6]
    model = Potential(**SIZES, epochs=1).fit(frames, labels_of(frames))
    assert representation(model.fitted_.network, frames, "12").shape == (24, 16)


def test_a_saved_encoder_is_the_same(encoder, tmp_path):
    path = tmp_path / "cu.encoder"
    encoder.save(path)
    again = Pretraining.load(path)
    np.testing.assert_array_equal(again.representation(FRAMES), encoder.representation(FRAMES))
    assert again.fitted_.tasks == encoder.fitted_.tasks
    assert (again.fitted_.frames, again.fitted_.atoms) == (8, 32)
    assert again.get_params() == encoder.get_params()
    assert again.training_.best_epoch == encoder.training_.best_epoch
    assert again.training_.guesses == encoder.training_.guesses
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    stored = read_checkpoint(path, "cgcnn-encoder")
    assert not [name for name in stored.arrays if "head" in name]
    with pytest.raises(OutputError, match="exists already"):
        encoder.save(path)
    with pytest.raises(ValueError, match="there is nothing to save yet"):
        Pretraining().save(tmp_path / "none")
    with pytest.raises(DataError, match=r"is an encoder \(of pretrain\): a potential \(of train\) is wanted"):
        Potential.load(path)


def test_a_damaged_file_makes_no_encoder(encoder, tmp_path):
    path = tmp_path / "cu.encoder"
    encoder.save(path)
    stored = read_checkpoint(path, "cgcnn-encoder")

    def with_settings(**changed):
        path.write_bytes(checkpoint_bytes("cgcnn-encoder", stored.arrays, {**stored.settings, **changed}))
        return path

    sizes = stored.settings["sizes"]
    for changed, words in [
        ({"sizes": {**sizes, "channels": 2**19}}, "the setting sizes does not fit the arrays"),
        ({"sizes": {**sizes, "degree": 0, "angular": 2**19}}, "the setting sizes does not fit the arrays"),
        ({"sizes": {**sizes, "radial": 2**19}}, "the setting sizes does not fit the arrays"),
        ({"sizes": {**sizes, "channels": 9}}, r"the array network\.\S+ has the shape"),
        ({"sizes": {**sizes, "convolutions": 10}}, "asks for a network of no sensible size"),
        ({"sizes": {**sizes, "elements": [79, 29]}}, "holds other than atomic numbers, ascending"),
        ({"readouts": "1"}, "the setting readouts is '1'"),
        ({"readouts": 0}, "the array readouts is not known"),
        ({"readouts": 3}, "the array readouts has the shape"),
        ({"readouts": -1}, "the setting readouts is out of range"),
    ]:
        for read in (Pretraining.load, read_encoder):
            with pytest.raises(DataError, match=f"cu.encoder: was written by another state of .*{words}"):
                read(with_settings(**changed))
    for changed, words in [
        ({"tasks": ["dance"]}, "the setting tasks names other than tasks"),
        ({"tasks": ["distance"]}, "the setting readouts does not fit the tasks"),
        ({"frames": 0}, "the setting frames or atoms is below 1"),
        ({"parameters": {**stored.settings["parameters"], "noise": [0.2, 0.1]}}, "parameter --noise: two numbers"),
    ]:
        with pytest.raises(DataError, match=f"was written by another state of .*{words}"):
            Pretraining.load(with_settings(**changed))
    with pytest.raises(DataError, match=r"the setting parameters\.dtype is 'int8'"):
        read_encoder(with_settings(parameters={**stored.settings["parameters"], "dtype": "int8"}))
    path.write_bytes(checkpoint_bytes("cgcnn-encoder", {**stored.arrays, "more": np.zeros(2)}, stored.settings))
    with pytest.raises(DataError, match="the array more is not known"):
        Pretraining.load(path)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"tasks": ("dance",)}, "--tasks: 'dance' is unknown; available: cohesion, denoise, distance, coordination"),
        ({"tasks": ()}, "--tasks: one task at least is expected, and each once"),
        ({"tasks": ("distance", "distance")}, "--tasks: one task at least is expected, and each once"),
        ({"weights": {"dance": 1.0}}, "--weights: 'dance' is unknown"),
        ({"weights": {"denoise": 0.0}}, r"--weights: a finite number above 0 is expected for denoise, got 0\.0"),
        ({"noise": (0.3, 0.1)}, "--noise: two numbers of Angstrom above 0"),
        ({"strain": -0.1}, r"--strain: a number of 0 to 0\.2, got -0\.1"),
        ({"epochs": 3, "steps": 10}, "--steps: means nothing beside --epochs: say one of them"),
        ({"batch_size": 0}, "--batch-size: an integer of at least 1, got 0"),
        ({"channels": 0}, "--channels: an integer of at least 1, got 0"),
        ({"cutoff": 0.0}, "--cutoff: a number above 0"),
        ({"convolutions": 10}, "--convolutions: "),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, words):
    with pytest.raises(UsageError, match=words):
        Pretraining(**parameters).fit(FRAMES)


def test_frames_that_teach_nothing_are_refused():
    with pytest.raises(DataError, match="there are no frames to learn from"):
        Pretraining(**SMALL).fit([])
    alone = [Atoms("Cu"), Atoms("Cu2", [[0, 0, 0], [0, 0, 9.0]])]
    with pytest.raises(DataError, match="no atom of 2 frames has a neighbour inside 4 Angstrom: there is nothing to"):
        Pretraining(**SMALL).fit(alone)
    with pytest.raises(DataError, match="element says nothing of frames of one element: leave it out"):
        Pretraining(("denoise", "element"), **SMALL).fit([hot(k, "Cu") for k in range(3)])
    with pytest.raises(DataError, match="contrastive needs two frames per step at least"):
        Pretraining(("contrastive",), **{**SMALL, "batch_size": 1}).fit(FRAMES)
    with pytest.raises(UsageError, match="--weights: element is none of the tasks: denoise"):
        Pretraining(("denoise",), {"element": 2.0}, **SMALL).fit(FRAMES)
    with pytest.raises(DataError, match="frame 1: positions: atoms 0 and 1 are in one place"):
        Pretraining(**SMALL).fit([hot(0), Atoms("Cu2", [[0, 0, 0], [0, 0, 0]])])


def test_frames_without_neighbours_do_no_harm_beside_others():
    frames = [*FRAMES, Atoms("Cu"), Atoms("Cu"), Atoms("Au")]
    model = Pretraining(tasks=TASKS, **{**SMALL, "batch_size": 1, "epochs": 1}, validation=0.0)
    with pytest.raises(DataError, match="contrastive"):
        model.fit(frames)
    model = Pretraining(tasks=TASKS[:5], **{**SMALL, "batch_size": 1, "epochs": 1}, validation=0.5).fit(frames)
    assert np.isfinite(model.representation(frames)).all()


def test_a_potential_begins_from_an_encoder_without_unit_or_zero(encoder, tmp_path):
    labels = labels_of(FRAMES)
    encoder.save(tmp_path / "cu.encoder")
    begin = read_encoder(tmp_path / "cu.encoder")
    assert (begin.level, begin.scale, len(begin.rows), begin.dtype) == (None, None, 28, "float64")
    assert begin.parameters() == {**SIZES, "layers": None}
    assert all(torch.equal(value, begin.weights[name]) for name, value in encoder.encoder().weights.items())
    still = {"epochs": 1, "learning_rate": 1e-30, "validation": 0.0, "dtype": "float64"}
    model = Potential(**SIZES, **still).fit(FRAMES, labels, encoder=begin)
    trunk, its = model.fitted_.network.state_dict(), encoder.fitted_.network.state_dict()
    for name, value in trunk.items():
        if not name.startswith("energy.2"):
            assert torch.equal(value, its[name]), name
    forces = np.concatenate([item.forces for item in labels])
    found = model.predict(FRAMES).forces
    assert model.fitted_.scale == pytest.approx(np.sqrt(np.mean(forces**2)))
    # no other multiple of what the encoder says is nearer, large forces counting less, but for the ridge
    model = Potential(**SIZES, **still, energy_weight=0.0).fit(FRAMES, labels, encoder=begin)
    found = model.predict(FRAMES).forces
    weight = 1 / (1 + (forces / model.fitted_.scale) ** 2)
    assert (weight * found * forces).sum() / (weight * found**2).sum() == pytest.approx(1.0, abs=0.02)
    energy = np.array([item.energy for item in labels])
    assert model.predict(FRAMES).energy.mean() == pytest.approx(energy.mean(), abs=0.3)


def test_a_readout_that_was_not_trained_is_not_taken():
    labels = labels_of(FRAMES)
    model = Pretraining(("distance",), **SMALL).fit(FRAMES)
    network = model.fitted_.network
    begin = model.encoder()
    still = {"epochs": 1, "learning_rate": 1e-30}
    taken = Potential(**SIZES, **still).fit(FRAMES, labels, encoder=begin).fitted_.network.state_dict()
    fresh = Potential(**SIZES, **still).fit(FRAMES, labels).fitted_.network.state_dict()
    for name, value in taken.items():
        assert torch.equal(value, (fresh if name.startswith("energy.") else network.state_dict())[name]), name


def test_labels_that_tell_nothing_of_the_readout_leave_it_random():
    begin = Pretraining(("denoise",), **SMALL).fit(FRAMES).encoder()
    still = {"epochs": 1, "learning_rate": 1e-30, "validation": 0.0}
    labels = labels_of(FRAMES)
    right = Potential(**SIZES, **still).fit(FRAMES, labels, encoder=begin)
    assert right.took_readout_
    turned = [Labels(forces=-f) for f in np.split(right.predict(FRAMES).forces, 8)]
    resting = [hot(0) for _ in range(4)]
    for atoms in resting:
        atoms.positions = bulk("Cu", cubic=True).positions
    for frames, some in ((FRAMES, turned), (resting, [Labels(energy=1.0, forces=np.zeros((4, 3)))] * 4)):
        model = Potential(**SIZES, **still).fit(frames, some, encoder=begin)
        assert not model.took_readout_
        fresh = Potential(**SIZES, **still).fit(frames, some).fitted_.network.state_dict()
        for name, value in model.fitted_.network.state_dict().items():
            # elements of these frames are those of the encoder, or its first: all that is no readout is the encoder's
            own = torch.equal(value, fresh[name])
            assert own == name.startswith("energy."), name


def test_energies_alone_mix_readouts_and_labels_that_do_not_count_do_not(encoder):
    begin = encoder.encoder()
    still = {"epochs": 1, "learning_rate": 1e-30, "validation": 0.0}
    cells = []
    for k in range(8):
        cells.append(bulk("Cu", cubic=True))
        cells[-1].symbols = FRAMES[0].symbols
        cells[-1].set_cell(cells[-1].cell * (0.96 + 0.01 * k), scale_atoms=True)
    energies = [Labels(energy=x.energy) for x in labels_of(cells)]
    model = Potential(**SIZES, **still).fit(cells, energies, encoder=begin)
    assert model.took_readout_
    off = model.predict(cells).energy - [x.energy for x in energies]
    assert np.abs(off).max() < 0.5 * np.ptp([x.energy for x in energies])
    assert np.abs(model.predict(FRAMES).forces).max() < 100
    labels = labels_of(FRAMES)
    wild = [Labels(energy=x.energy, forces=1e3 * x.forces) for x in labels]
    found = []
    for some in (labels, wild):
        model = Potential(**SIZES, **still, force_weight=0.0).fit(FRAMES, some, encoder=begin)
        found.append(model.predict(FRAMES).energy)
    np.testing.assert_allclose(*found, rtol=1e-4)  # but for the unit


def test_a_frozen_encoder_keeps_its_weights(encoder):
    network = encoder.fitted_.network
    begin = encoder.encoder()
    labels = labels_of(FRAMES)
    model = Potential(**SIZES, epochs=30, learning_rate=0.01, validation=0.0)
    model.fit(FRAMES, labels, encoder=begin, freeze_encoder=True)
    found = model.fitted_.network
    assert type(found) is type(network)
    for name, value in found.state_dict().items():
        its = network.state_dict()[name].float()
        assert torch.equal(value, its) != name.startswith("energy."), name
    assert all(value.requires_grad for value in found.parameters())
    assert model.training_.loss[-1] < model.training_.loss[0]
    with pytest.raises(
        DataError, match="--freeze-encoder: the encoder does not know Al, and would learn nothing of it"
    ):
        Potential(**SIZES, epochs=1).fit([hot(0, "Al")], labels[:1], encoder=begin, freeze_encoder=True)
    with pytest.raises(UsageError, match="--freeze-encoder: means nothing without --encoder"):
        Potential(**SIZES, epochs=1).fit(FRAMES, labels, freeze_encoder=True)


@pytest.mark.parametrize("seed", range(4))
def test_units_are_those_of_frames_with_neighbours_however_large(seed):
    """Free atoms drawn first are no crystal, and the frame that crosses the number of atoms belongs to the sample."""
    large = [bulk("Cu", cubic=True) * (8, 8, 8) for _ in range(2)]
    for k, atoms in enumerate(large):
        atoms.rattle(0.05, seed=k)
    alone = Atoms("Cu", cell=[30, 30, 30], pbc=True)
    frames = [*large, *(alone.copy() for _ in range(4))]
    graph = vector_graph(frames, 4.0)
    for order in (np.arange(6), np.arange(6)[::-1], np.array([2, 0, 3, 4, 5, 1])):
        assert set(sample_of(graph, order)) == {next(i for i in order if i < 2)}
    model = Pretraining(**SIZES, epochs=1, batch_size=1, seed=seed, validation=0.0)
    network = model._trunk(frames, graph, np.arange(6))
    spreads = [layer.spread for layer in network.modules() if isinstance(layer, Standardised)]
    assert all((spread < 1).all() for spread in spreads)


def test_a_small_cell_counts_as_large_as_it_is_made():
    cells = [bulk("Cu") for _ in range(400)]
    assert len(sample_of(vector_graph(cells, 4.0), np.arange(400))) == 2048 // 16


def test_batches_of_large_frames_are_taken_apart(monkeypatch):
    """Of every task but the one that compares frames with each other."""
    asked = {name: [] for name in TASKS}
    for kind in (Cohesion, Denoising, MaskedDistance, MaskedCoordination, MaskedElement, Contrast):

        def loss(self, network, data, frames, rng, *, training, ask=kind.loss):
            asked[self.name].append(frames.tolist())
            return ask(self, network, data, frames, rng, training=training)

        monkeypatch.setattr(kind, "loss", loss)
    options = {**SMALL, "epochs": 1, "validation": 0.0, "batch_size": 4}
    whole = Pretraining(tasks=TASKS, **options).fit(FRAMES)
    batches = asked["contrastive"].copy()
    assert [len(batch) for batch in batches] == [4, 4]
    assert all(asked[name] == batches for name in TASKS)
    for frames in asked.values():
        frames.clear()
    monkeypatch.setattr(module, "_PLACES", 1)
    apart = Pretraining(tasks=TASKS, **options).fit(FRAMES)
    assert asked["contrastive"] == batches
    for name in TASKS[:-1]:
        assert asked[name] == [[i] for batch in batches for i in batch]
    assert apart.training_.loss[0] == pytest.approx(whole.training_.loss[0], rel=0.3)
