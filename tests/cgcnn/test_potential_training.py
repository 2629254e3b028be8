"""How a potential is trained: in pieces, broken off and gone on with, gone wrong, begun from another."""

import re

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from pytorch_optimizer.optimizer.soap import SOAP

from mlff_curate.cgcnn import potential_network, potential_share, soap
from mlff_curate.cgcnn.encoder import Encoder, read_encoder
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.cgcnn.potential_file import to_bytes
from mlff_curate.cgcnn.potential_share import in_parts, pieces_of
from mlff_curate.data.checkpoints import Checkpoint
from mlff_curate.data.labels import Labels
from mlff_curate.errors import DataError, UsageError
from mlff_curate.team import team

SMALL = {
    "channels": 8,
    "radial": 5,
    "angular": 4,
    "degree": 2,
    "convolutions": 1,
    "cutoff": 4.0,
    "batch_size": 4,
    "validation": 0.2,
}


def crystal(seed, elements=("Cu",), **shift):
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[:] = [elements[k % len(elements)] for k in range(len(atoms))]
    atoms.rattle(0.12, seed=seed)
    labelled = atoms.copy()
    labelled.calc = EMT()
    energy = labelled.get_potential_energy() + len(atoms) * shift.get("shift", 0.0)
    return atoms, Labels(energy=energy, forces=labelled.get_forces(), stress=labelled.get_stress())


def material(n=12, **how):
    return map(list, zip(*(crystal(k, **how) for k in range(n)), strict=True))


def kept_states(stop=None):
    """A place for states, as a file would hold them, and what fills it; with `stop`, training is broken off there."""
    states = []

    def keep(state):
        arrays, settings = state.pack()
        states.append(Checkpoint("kept", {name: array.copy() for name, array in arrays.items()}, settings))
        if stop is not None and len(states) == stop:
            raise KeyboardInterrupt

    return states, keep


@pytest.mark.parametrize("steps", [1, 3, 4, 8])
def test_a_training_broken_off_goes_on_to_the_same_bits(steps):
    frames, labels = material()
    whole = Potential(**SMALL, epochs=4).fit(frames, labels)
    states, keep = kept_states(stop=steps)
    with pytest.raises(KeyboardInterrupt):
        Potential(**SMALL, epochs=4).fit(frames, labels, keep=keep)
    told = []
    again = Potential(**SMALL, epochs=4).fit(
        frames, labels, resume=states[-1], progress=lambda *words: told.append(words)
    )
    assert to_bytes(again) == to_bytes(whole)
    per_epoch = told[0][1] // 4
    assert {words[:2] for words in told[:12]} == {(steps, 4 * per_epoch)}  # neighbours of the twelve frames
    assert [done for done, *_ in told[12:]] == list(range(steps + 1, 4 * per_epoch + 1))
    for done, _, words in told[12:]:
        before = (done - 1) // per_epoch
        ended = done % per_epoch == 0
        first = before == steps // per_epoch  # of this run: errors of epochs before are not known any more
        assert re.match(
            rf"epoch {before + 1} of 4; {'loss' if ended or first else f'after epoch {before}: loss'}", words
        )


@pytest.mark.parametrize("steps", [1, 2, 14])
def test_a_training_goes_on_where_a_layer_is_too_wide_for_a_basis(monkeypatch, steps):
    """As with thousands of angular channels: the optimiser keeps no eigenvectors of such a dimension."""
    monkeypatch.setattr(soap, "_LONGEST", 11)
    frames, labels = material(5)
    how = SMALL | {"epochs": 16}  # the bases are taken anew at the tenth step
    whole = Potential(**how).fit(frames, labels)
    states, keep = kept_states(stop=steps)
    with pytest.raises(KeyboardInterrupt):
        Potential(**how).fit(frames, labels, keep=keep)
    kept = {name: array.shape for name, array in states[-1].arrays.items() if ".GG." in name}
    assert max(shape[0] for shape in kept.values()) <= 11
    again = Potential(**how).fit(frames, labels, resume=states[-1])
    assert to_bytes(again) == to_bytes(whole)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-14), (torch.float32, 1e-5)])
def test_bases_of_the_optimiser_are_as_exact_as_its_parameters(dtype, most):
    torch.manual_seed(0)
    value = torch.nn.Parameter(torch.randn(6, 9, dtype=dtype))
    optimiser = soap.soap([value], 1e-2)
    for _ in range(25):
        value.grad = torch.randn(6, 9, dtype=dtype)
        soap.move(optimiser, 1e-2)
    for basis in optimiser.state[value]["Q"]:
        assert basis.dtype == dtype
        assert (basis.T @ basis - torch.eye(len(basis), dtype=dtype)).abs().max() < most


def test_double_precision_takes_the_steps_that_the_published_optimiser_takes():
    moved = []
    for make in (soap.soap, lambda some, rate: SOAP(some, lr=rate, weight_decay=0.0)):
        torch.manual_seed(1)
        value = torch.nn.Parameter(torch.randn(6, 9, dtype=torch.float64))
        optimiser = make([value], 1e-2)
        for _ in range(35):
            value.grad = value.detach() ** 3 + 0.1 * torch.randn(6, 9, dtype=torch.float64)
            soap.move(optimiser, 1e-2)
        moved.append(value.detach())
    np.testing.assert_allclose(*moved, atol=1e-4)
    assert not torch.equal(*moved)  # whose bases are in single precision


def test_a_state_that_does_not_fit_is_refused():
    frames, labels = material(6)
    states, keep = kept_states()
    Potential(**SMALL, epochs=1).fit(frames, labels, keep=keep)
    good = states[-1]
    fewer = {name: array for name, array in good.arrays.items() if name != "average.embedding.weight"}
    more = {**good.arrays, "optimiser.999.Q.0": np.float32(1)}
    for arrays, settings, words in [
        (fewer, good.settings, r"average\.embedding\.weight is missing"),
        (more, good.settings, r"optimiser\.999\.Q\.0 is not known"),
        (good.arrays, {**good.settings, "off": [1.0]}, "off holds other than four numbers"),
        (good.arrays, {**good.settings, "optimiser_steps": 0}, r"optimiser\.0\.GG\.0 is not known"),
        (good.arrays, {**good.settings, "epochs": 3}, "loss holds other than one number per epoch"),
    ]:
        with pytest.raises(DataError, match=words):
            Potential(**SMALL, epochs=2).fit(frames, labels, resume=Checkpoint("x", arrays, settings))


def test_pieces_are_alike_whole_and_never_many_of_little():
    edges = np.array([10, 400, 90, 80, 210, 0, 300])
    frames = np.array([6, 0, 1, 5, 4])
    pieces = pieces_of(edges, frames, 300)
    assert sorted(np.concatenate(pieces)) == sorted(frames)
    assert len(pieces) == 3
    assert max(edges[piece].sum() for piece in pieces) == 400
    assert [len(piece) for piece in pieces_of(edges, frames, 10_000)] == [5]
    assert len(pieces_of(edges, frames, 1)) == 5
    assert [piece.tolist() for piece in pieces_of(edges, np.array([5]), 300)] == [[5]]


def test_parts_are_bounded_by_the_rows_that_their_most_crowded_atom_makes():
    atoms = np.array([10, 10, 4, 10, 10, 50])
    crowd = np.array([12, 20, 200, 12, 0, 12])
    frames = np.array([0, 1, 2, 3, 4, 5])

    def parts(**bounds):
        return [part.tolist() for part in in_parts(atoms, crowd, frames, **bounds)]

    assert parts() == [[0, 1, 2, 3, 4, 5]]
    assert parts(at_once=34) == [[0, 1, 2, 3], [4], [5]]
    assert parts(places=1000) == [[0, 1], [2], [3, 4, 5]]
    assert parts(at_once=34, places=1000) == [[0, 1], [2], [3], [4], [5]]
    assert parts(places=1) == [[0], [1], [2], [3], [4], [5]]
    assert in_parts(atoms, crowd, frames[:0]) == []


def test_a_dense_frame_makes_no_long_rows_for_dilute_ones(monkeypatch):
    """In training, in errors of frames held out and in predictions; numbers are those of each frame alone."""
    frames, labels = material(12)
    frames[3].set_cell(0.5 * frames[3].cell, scale_atoms=True)
    made = []
    whole = potential_network._places

    def places(centre, atoms):
        place, most = whole(centre, atoms)
        made.append((atoms, most))
        return place, most

    model = Potential(**SMALL | {"validation": 0.5}, epochs=2, dtype="float64")
    free = model.fit(frames, labels).training_
    monkeypatch.setattr(potential_network, "_places", places)
    monkeypatch.setattr(potential_share, "_PLACES_OF_AN_EDGE", 0.25)
    monkeypatch.setattr(potential_share.in_parts, "__defaults__", (1024, 1024))
    bound = model.fit(frames, labels).training_
    np.testing.assert_allclose(bound.loss, free.loss, rtol=1e-8)
    np.testing.assert_allclose(bound.force_mae, free.force_mae, rtol=1e-8)
    forces = model.predict(frames).forces
    dense = [atoms for atoms, most in made[1:] if most > 150]  # the first is the sample that units are taken from
    assert dense
    assert max(dense) == 4
    assert max(atoms * most for atoms, most in made[1:] if atoms > 4) <= 1024
    np.testing.assert_allclose(forces[12:16], model.predict(frames[3:4]).forces, atol=1e-9)


def test_pieces_add_up_to_the_batch(monkeypatch):
    """With few labels, so that a piece's share of them is not its share of the frames."""
    frames, labels = material(4)
    labels[1] = Labels(energy=labels[1].energy)
    labels[2] = Labels()
    found = []
    for least in (1, 10**6):
        monkeypatch.setattr(potential_share, "_EDGES_OF_A_PIECE", {"cpu": least})
        fitted = Potential(**SMALL | {"validation": 0.0}, epochs=2, dtype="float64").fit(frames, labels)
        found.append(fitted.training_.loss)
    np.testing.assert_allclose(*found, rtol=1e-9)


def test_several_processes_give_the_same_bits(monkeypatch):
    frames, labels = material()
    monkeypatch.setattr(potential_share, "_EDGES_OF_A_PIECE", {"cpu": 200})  # as it was when frames were large
    alone = Potential(**SMALL, epochs=2).fit(frames, labels)
    with team(2) as together:
        shared = Potential(**SMALL, epochs=2).fit(frames, labels, team=together)
    assert to_bytes(shared) == to_bytes(alone)


def poisoned(monkeypatch, at):
    """Let the loss be no number from one step on."""
    steps = []
    whole = potential_share.Sharing.gradient

    def gradient(self, *arguments):
        steps.append(1)
        loss, off = whole(self, *arguments)
        return (float("nan") if len(steps) >= at else loss), off

    monkeypatch.setattr(potential_share.Sharing, "gradient", gradient)


def test_a_loss_that_is_no_number_in_the_first_epoch_is_refused(monkeypatch):
    poisoned(monkeypatch, at=2)
    model = Potential(**SMALL, epochs=3)
    with pytest.raises(DataError, match="training diverged in its first epoch: a smaller --learning-rate may help"):
        model.fit(*material())
    assert not hasattr(model, "fitted_")


def test_a_loss_that_is_no_number_later_keeps_the_last_good_weights(monkeypatch):
    frames, labels = material()
    states, keep = kept_states()
    Potential(**SMALL, epochs=5).fit(frames, labels, keep=keep)
    poisoned(monkeypatch, at=8)  # three steps an epoch: in the third
    model = Potential(**SMALL, epochs=5).fit(frames, labels)
    assert (model.training_.ended, model.training_.epochs) == ("diverged", 2)
    for name, value in model.fitted_.network.state_dict().items():
        best = [state.arrays[f"best.{name}"] for state in states if state.settings["epochs"] == 2]
        np.testing.assert_array_equal(value, best[0])


def test_weights_that_explode_are_noticed():
    frames, labels = material()
    with pytest.raises(DataError, match="diverged in its first epoch"):
        Potential(**SMALL, epochs=5, learning_rate=1e25).fit(frames, labels)


def test_frames_held_out_without_labels_do_not_choose_the_weights():
    """They would be predicted without an error from the first epoch on."""
    frames, labels = material()
    model = Potential(**SMALL, epochs=3).fit(frames, labels)
    for held_out in model.training_.validation_frames:
        labels[held_out] = Labels()
    model.fit(frames, labels)
    assert model.training_.best_epoch == 3
    assert np.isnan(model.training_.force_mae).all()


@pytest.fixture(scope="module")
def copper():
    frames, labels = material(16)
    return Potential(**SMALL, epochs=60, learning_rate=0.02).fit(frames, labels)


def test_a_training_begins_from_an_encoder(copper):
    """Before the first step of any size forces are the encoder's, and energies too, on whatever zero they are."""
    frames, labels = material(8, shift=-3.0)
    still = {"epochs": 1, "learning_rate": 1e-30}
    begun = Potential(**SMALL, **still).fit(frames, labels, encoder=Encoder.of(copper))
    np.testing.assert_allclose(begun.predict(frames).forces, copper.predict(frames).forces, atol=1e-6)
    off = (begun.predict(frames).energy - copper.predict(frames).energy) / 4
    np.testing.assert_allclose(off, off.mean(), atol=1e-6)
    assert off.mean() == pytest.approx(-3.0, abs=0.02)
    scratch = Potential(**SMALL, **still).fit(frames, labels)
    assert begun.training_.loss[0] < 0.5 * scratch.training_.loss[0]


def test_an_encoder_teaches_elements_that_it_does_not_know(copper):
    frames, labels = material(10, elements=("Cu", "Au"))
    encoder = Encoder.of(copper)
    begun = Potential(**SMALL, epochs=1, learning_rate=1e-30).fit(frames, labels, encoder=encoder)
    network = begun.fitted_.network
    assert network.sizes.elements == (29, 79)
    assert network.sizes.neighbours == copper.fitted_.network.sizes.neighbours
    torch.testing.assert_close(network.embedding.weight[0], copper.fitted_.network.embedding.weight[0])
    new = [
        Potential(**SMALL, epochs=1, learning_rate=1e-30, seed=s).fit(frames, labels, encoder=encoder) for s in (0, 1)
    ]
    rows = [model.fitted_.network.embedding.weight[1] for model in new]
    assert torch.equal(rows[0], network.embedding.weight[1])
    assert not torch.equal(rows[0], rows[1])
    copper_again, _ = material(3)
    np.testing.assert_allclose(begun.predict(copper_again).forces, copper.predict(copper_again).forces, atol=1e-6)


def test_what_no_training_can_begin_from_is_refused(copper, tmp_path):
    frames, labels = material(3)
    encoder = Encoder.of(copper)
    with pytest.raises(UsageError, match=r"--channels: the encoder has 8, got 16: weights fit a network of their own"):
        Potential(**SMALL | {"channels": 16}).fit(frames, labels, encoder=encoder)
    with pytest.raises(UsageError, match=r"--cutoff: the encoder has 4\.0, got 5\.0"):
        Potential(**SMALL | {"cutoff": 5.0}).fit(frames, labels, encoder=encoder)
    assert encoder.parameters() == {name: SMALL.get(name) for name in encoder.parameters()}
    copper.save(tmp_path / "cu.model")
    assert read_encoder(tmp_path / "cu.model").sizes == encoder.sizes
    (tmp_path / "not.model").write_bytes(b"\x80")
    with pytest.raises(DataError, match=r"not\.model: is no model file"):
        read_encoder(tmp_path / "not.model")


def test_frames_that_are_none_are_refused_by_their_place(copper):
    good, labels = material(2)
    empty, lost, flat = Atoms(), good[0].copy(), good[0].copy()
    lost.positions[2, 1] = np.nan
    flat.cell[2] = 0
    for bad, words in [
        (empty, "frame 1: the frame has no atoms"),
        (lost, r"frame 1: positions: atom 2 has a position that is not a number"),
        (flat, "frame 1: cell: pbc is T T T but the cell has no volume there"),
    ]:
        frames = [good[0], bad]
        with pytest.raises(DataError, match=words):
            copper.predict(frames)
        with pytest.raises(DataError, match=words):
            Potential(**SMALL).fit(frames, [labels[0], Labels(energy=0.0, forces=np.zeros((len(bad), 3)))])
    with pytest.raises(DataError, match="there are no frames to train on"):
        Potential(**SMALL).fit([], [])
    assert len(copper.predict([]).energy) == 0


def test_progress_tells_errors_of_held_out_frames_or_of_those_learned_from():
    frames, labels = material()
    said = {}
    for share in (0.0, 0.3):
        words = []
        model = Potential(**{**SMALL, "validation": share}, epochs=1, learning_rate=1e-9)
        model.fit(frames, labels, progress=lambda *told, words=words: words.append(told[-1]))
        said[share] = words[-1], errors_of(model, frames, labels)
    number = r"([0-9.e+]+)"
    learned = rf"learned: energies {number} meV/atom, forces {number} meV/A"
    told = re.fullmatch(f"epoch 1 of 1; loss {number}; {learned}", said[0.0][0])
    assert told is not None, said[0.0]
    # the rate is so small that the weights are those of the beginning
    assert [float(told[2]), float(told[3])] == pytest.approx(said[0.0][1], rel=0.01)
    assert "; held out: energies" in said[0.3][0]


def errors_of(model, frames, labels):
    """Mean absolute errors of energies and forces, meV/atom and meV/A."""
    found = model.predict(frames)
    atoms = np.array([len(frame) for frame in frames])
    energy = (found.energy - [item.energy for item in labels]) / atoms
    forces = found.forces - np.concatenate([item.forces for item in labels])
    return [1e3 * np.abs(energy).mean(), 1e3 * np.abs(forces).mean()]


def test_forces_that_are_noise_are_no_unit():
    frames = [bulk("Cu", a=3.4 + 0.05 * k) for k in range(9)]
    labels = [Labels(energy=5 * (k - 4) ** 2 * 0.05**2, forces=np.full((1, 3), 1e-6 * k)) for k in range(9)]
    noisy = Potential(**SMALL, epochs=1).fit(frames, labels)
    still = [Labels(energy=item.energy, forces=np.zeros((1, 3))) for item in labels]
    assert noisy.fitted_.scale == Potential(**SMALL, epochs=1).fit(frames, still).fitted_.scale
    assert noisy.fitted_.scale > 0.01


def test_units_are_not_of_one_small_crystal_beside_a_large_frame():
    large = bulk("Cu", cubic=True).repeat(8)
    large.rattle(0.1, seed=0)
    frames = [bulk("Cu")] * 10 + [large]
    labels = [Labels(energy=0.1 * k) for k in range(11)]
    for seed in range(4):
        model = Potential(**{**SMALL, "validation": 0.0}, epochs=1, seed=seed).fit(frames, labels)
        spread = model.fitted_.network.convolutions[0].message_units.spread
        assert float(spread.min()) > 1e-4 * float(spread.max())
        wide = model.predict([large])
        assert np.abs(wide.energies - wide.energies.mean()).max() < 30 * model.fitted_.scale


@pytest.mark.parametrize(("frames", "epochs"), [(1, 1000), (5, 1000), (20, 250), (100, 250), (300, 200), (2500, 24)])
def test_few_frames_are_not_gone_through_until_they_are_known_by_heart(frames, epochs):
    assert Potential()._epochs(frames) == epochs
    assert Potential(epochs=7)._epochs(frames) == 7


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_free_atoms_may_fill_a_batch(batch_size, frozen):
    """Labelled atoms without a neighbour: some batches hold nothing else."""
    frames, labels = material(2)
    alone = Atoms("Cu", cell=[30, 30, 30], pbc=True)
    frames += [alone, alone.copy()]
    labels += [Labels(energy=-0.5, forces=np.zeros((1, 3)), stress=None)] * 2
    options = SMALL | {"batch_size": batch_size, "validation": 0.0, "epochs": 4}
    encoder = Encoder.of(Potential(**options).fit(*material(2))) if frozen else None
    potential = Potential(**options).fit(frames, labels, encoder=encoder, freeze_encoder=frozen)
    assert np.isfinite(potential.predict(frames).energy).all()
    assert not potential.predict([alone]).forces.any()
