"""Energies that are made from several states of an atom."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

from mlff_curate import CGCNN
from mlff_curate.cgcnn.encoder import Encoder
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.cgcnn.potential_network import PotentialNetwork, PotentialSizes
from mlff_curate.cgcnn.potential_terms import batch_of
from mlff_curate.cgcnn.representation import representation
from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint
from mlff_curate.data.labels import Labels
from mlff_curate.errors import DataError, UsageError
from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.pretraining.model import Pretraining

SIZES = {"channels": 8, "radial": 5, "angular": 4, "degree": 3, "convolutions": 2, "cutoff": 4.0}
STILL = {"epochs": 1, "learning_rate": 1e-30, "dtype": "float64"}


def hot(seed):
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[1::4] = "Au"
    atoms.rattle(0.1, seed=seed)
    return atoms


FRAMES = [hot(k) for k in range(8)]
LABELS = []
for _atoms in FRAMES:
    _copy = _atoms.copy()
    _copy.calc = EMT()
    LABELS.append(Labels(energy=_copy.get_potential_energy(), forces=_copy.get_forces()))


@pytest.fixture(scope="module")
def begin():
    return Pretraining(("cohesion",), **SIZES, epochs=2, batch_size=3, dtype="float64").fit(FRAMES).encoder()


def test_the_last_is_the_default():
    plain, last = (Potential(**SIZES, **STILL, layers=layers).fit(FRAMES, LABELS) for layers in (None, "2"))
    np.testing.assert_array_equal(plain.predict(FRAMES).energies, last.predict(FRAMES).energies)


@pytest.mark.parametrize("layers", ["2", "12", "20", "012", "01"])
def test_energies_are_made_from_just_these_states(layers):
    torch.manual_seed(0)
    sizes = PotentialSizes((29, 79), 4.0, 8, 5, 2, 4, 3, 18.0, layers)
    network = PotentialNetwork(sizes).double()
    batch = batch_of(vector_graph(FRAMES, 4.0), (29, 79), torch.float64, "cpu")
    where = batch.vector, batch.centre, batch.neighbour
    states = network.states(network.embedding(batch.species), *where)
    read = torch.cat([states[int(digit)] for digit in layers], dim=1)
    torch.testing.assert_close(network.read_states(states), read, rtol=0, atol=0)
    found = network(batch.vector, batch.species, batch.centre, batch.neighbour)
    torch.testing.assert_close(found, network.energy(read)[:, 0], rtol=0, atol=0)


@pytest.mark.parametrize(("layers", "seen"), [("1", 4.0), ("01", 4.0), ("2", 8.0), ("12", 8.0), ("012", 8.0)])
def test_energies_see_as_far_as_their_layers(begin, layers, seen):
    """An atom's energy hears of others so many cutoffs away as its last state has convolutions before it."""
    model = Potential(**SIZES, **STILL, layers=layers).fit(FRAMES, LABELS, encoder=begin)
    chain = bulk("Cu", cubic=True).repeat((6, 1, 1))
    chain.pbc = (False, True, True)
    chain.rattle(0.05, seed=1)
    other = chain.copy()
    moved = int(np.argmax(chain.positions[:, 0]))
    other.positions[moved, 1] += 0.2
    energies = [model.predict([atoms]).energies for atoms in (chain, other)]
    distance = chain.positions[moved, 0] - chain.positions[:, 0]
    changed = np.abs(energies[0] - energies[1]) > 1e-12
    assert not changed[distance > seen].any()
    assert changed[distance < seen - 2.5].all()


def test_forces_are_derivatives():
    model = Potential(**SIZES, epochs=2, dtype="float64", layers="012").fit(FRAMES, LABELS)
    atoms, step = hot(11), 1e-4
    found = model.predict([atoms]).forces
    for k, axis in ((0, 0), (1, 2), (3, 1)):
        energies = []
        for sign in (-1, 1):
            moved = atoms.copy()
            moved.positions[k, axis] += sign * step
            energies.append(model.predict([moved]).energy[0])
        assert found[k, axis] == pytest.approx((energies[0] - energies[1]) / (2 * step), abs=1e-6)


def test_a_training_begins_with_the_encoder_deaf_to_other_layers(begin):
    plain, wide = (
        Potential(**SIZES, **STILL, layers=layers).fit(FRAMES, LABELS, encoder=begin) for layers in (None, "012")
    )
    assert plain.took_readout_
    assert wide.took_readout_
    np.testing.assert_allclose(wide.predict(FRAMES).forces, plain.predict(FRAMES).forces, atol=1e-12)
    assert wide.fitted_.network.energy[0].weight.shape == (8, 24)
    assert wide.fitted_.network.energy[0].weight[:, :16].abs().max() < 1e-20
    # but learns from them
    learned = Potential(**SIZES, epochs=30, learning_rate=0.01, energy_weight=0.0, layers="012").fit(
        FRAMES, LABELS, encoder=begin, freeze_encoder=True
    )
    first, *_, last = learned.training_.loss
    assert last < first
    network = learned.fitted_.network
    assert network.energy[0].weight[:, :16].abs().sum(dim=0).all()
    for name, value in network.state_dict().items():
        assert torch.equal(value, begin.weights[name].float()) != name.startswith("energy."), name


def test_a_readout_of_layers_that_are_left_out_is_not_taken(begin):
    model = Potential(**SIZES, **STILL, layers="01").fit(FRAMES, LABELS, encoder=begin)
    assert not model.took_readout_
    blind = replace(begin, rows=None)
    fresh = Potential(**SIZES, **STILL, layers="01").fit(FRAMES, LABELS, encoder=blind).fitted_.network.state_dict()
    for name, value in model.fitted_.network.state_dict().items():
        assert torch.equal(value, (fresh if name.startswith("energy.") else begin.weights)[name]), name


def test_a_potential_hands_its_layers_on(tmp_path):
    old = Potential(**SIZES, epochs=2, dtype="float64", layers="20").fit(FRAMES, LABELS)
    old.save(tmp_path / "old.model")
    again = Potential.load(tmp_path / "old.model")
    np.testing.assert_array_equal(again.predict(FRAMES).forces, old.predict(FRAMES).forces)
    encoder = Encoder.of(again)
    assert encoder.parameters() == {**SIZES, "layers": "20"}
    for layers in ("20", "02", "012"):
        new = Potential(**SIZES, **STILL, layers=layers).fit(FRAMES, LABELS, encoder=encoder)
        np.testing.assert_allclose(new.predict(FRAMES).forces, old.predict(FRAMES).forces, atol=1e-12)
    new = Potential(**SIZES, **STILL, layers="2").fit(FRAMES, LABELS, encoder=Encoder.of(again))
    assert not new.took_readout_


def test_a_property_is_learned_from_all_states_of_such_a_potential(begin):
    potential = Potential(**SIZES, **STILL, layers="12").fit(FRAMES, LABELS, encoder=begin)
    model = CGCNN(epochs=2, batch_size=4).fit(FRAMES, np.arange(8.0), encoder=Encoder.of(potential))
    assert np.isfinite(model.predict(FRAMES)).all()
    assert model.fitted_.encoder.layers == "012"


def test_states_that_no_training_has_fitted_are_not_offered(begin):
    potential = Potential(**SIZES, **STILL, layers="1").fit(FRAMES, LABELS, encoder=begin)
    network = potential.fitted_.network
    np.testing.assert_array_equal(representation(network, FRAMES), representation(network, FRAMES, "01"))
    words = "--layers: there is no layer 2: the encoder's are 0 to 1"
    with pytest.raises(UsageError, match=words):
        representation(network, FRAMES, "2")
    with pytest.raises(UsageError, match=words):
        CGCNN(layers="2").fit(FRAMES, np.arange(8.0), encoder=Encoder.of(potential))
    assert CGCNN(epochs=1).fit(FRAMES, np.arange(8.0), encoder=Encoder.of(potential)).fitted_.encoder.layers == "01"


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("3", "--layers: there is no layer 3: the network's are 0 to 2"),
        ("0", "--layers: layer 0 knows the element of an atom and nothing of its surroundings"),
        ("01", "--layers: without --encoder the last, 2, must be among them: add it, or say --convolutions 1"),
        ("", "--layers: digits such as 012 are expected, each once, got ''"),
        ("11", "--layers: digits such as 012 are expected, each once, got '11'"),
        (1, "--layers: digits such as 012 are expected, each once, got 1"),
    ],
)
def test_layers_that_make_no_potential_are_refused(layers, words):
    with pytest.raises(UsageError, match=words):
        Potential(**SIZES, layers=layers).fit(FRAMES, LABELS)


def test_a_file_whose_parameters_name_other_layers_is_damaged(tmp_path):
    path = tmp_path / "m.model"
    Potential(**SIZES, **STILL, layers="12").fit(FRAMES, LABELS).save(path)
    stored = read_checkpoint(path, "cgcnn-potential")
    settings = {**stored.settings, "parameters": {**stored.settings["parameters"], "layers": "21"}}
    path.write_bytes(checkpoint_bytes("cgcnn-potential", stored.arrays, settings))
    with pytest.raises(DataError, match=r"the setting sizes\.layers is not the parameter layers"):
        Potential.load(path)


@pytest.mark.parametrize("layers", ["3", "22", "last", "0"])
def test_a_file_that_names_other_layers_is_damaged(layers, tmp_path):
    path = tmp_path / "m.model"
    Potential(**SIZES, **STILL).fit(FRAMES, LABELS).save(path)
    stored = read_checkpoint(path, "cgcnn-potential")
    settings = {**stored.settings, "sizes": {**stored.settings["sizes"], "layers": layers}}
    path.write_bytes(checkpoint_bytes("cgcnn-potential", stored.arrays, settings))
    with pytest.raises(DataError, match=r"the setting sizes\.layers names layers that make no energies"):
        Potential.load(path)
