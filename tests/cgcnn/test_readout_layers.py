"""Energies that are made from several states of an atom."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

from mlff_curate.cgcnn.encoder import Encoder
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint
from mlff_curate.data.labels import Labels
from mlff_curate.errors import DataError, UsageError
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


@pytest.mark.parametrize(("layers", "seen"), [("1", 4.0), ("01", 4.0), ("2", 8.0), ("12", 8.0), ("012", 8.0)])
def test_energies_see_as_far_as_their_layers(layers, seen):
    """An atom's energy hears of others so many cutoffs away as its last state has convolutions before it."""
    model = Potential(**SIZES, **STILL, layers=layers).fit(FRAMES, LABELS)
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
    fresh = Potential(**SIZES, **STILL, layers="01").fit(FRAMES, LABELS).fitted_.network.state_dict()
    for name, value in model.fitted_.network.state_dict().items():
        assert torch.equal(value, (fresh if name.startswith("energy.") else begin.weights)[name]), name


def test_a_potential_hands_its_layers_on(tmp_path):
    old = Potential(**SIZES, epochs=2, dtype="float64", layers="20").fit(FRAMES, LABELS)
    old.save(tmp_path / "old.model")
    again = Potential.load(tmp_path / "old.model")
    np.testing.assert_array_equal(again.predict(FRAMES).forces, old.predict(FRAMES).forces)
    for layers in (None, "20", "02", "012"):
        new = Potential(**SIZES, **STILL, layers=layers).fit(FRAMES, LABELS, encoder=Encoder.of(again))
        np.testing.assert_allclose(new.predict(FRAMES).forces, old.predict(FRAMES).forces, atol=1e-12)
    new = Potential(**SIZES, **STILL, layers="2").fit(FRAMES, LABELS, encoder=Encoder.of(again))
    assert not new.took_readout_


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("3", "--layers: there is no layer 3, only 0 to 2"),
        ("0", "--layers: 0 alone knows nothing of an atom's surroundings: add another"),
        ("", "--layers: digits such as 012 are expected, each once, got ''"),
        ("11", "--layers: digits such as 012 are expected, each once, got '11'"),
        (1, "--layers: digits such as 012 are expected, each once, got 1"),
    ],
)
def test_layers_that_make_no_potential_are_refused(layers, words):
    with pytest.raises(UsageError, match=words):
        Potential(**SIZES, layers=layers).fit(FRAMES, LABELS)


@pytest.mark.parametrize("layers", ["3", "22", "last", "0"])
def test_a_file_that_names_other_layers_is_damaged(layers, tmp_path):
    path = tmp_path / "m.model"
    Potential(**SIZES, **STILL).fit(FRAMES, LABELS).save(path)
    stored = read_checkpoint(path, "cgcnn-potential")
    settings = {**stored.settings, "sizes": {**stored.settings["sizes"], "layers": layers}}
    path.write_bytes(checkpoint_bytes("cgcnn-potential", stored.arrays, settings))
    with pytest.raises(DataError, match=r"the setting sizes\.layers names layers that make no energies"):
        Potential.load(path)
