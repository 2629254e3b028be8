"""Potentials made up of bonds, and what a readout is mixed of."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from mlff_curate.cgcnn.potential import Potential
from mlff_curate.cgcnn.potential_network import PotentialNetwork, PotentialSizes, SphericalHarmonics
from mlff_curate.cgcnn.potential_terms import VOIGT, terms_of
from mlff_curate.cgcnn.readout import mixing_to
from mlff_curate.data.labels import Labels
from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.pretraining.cohesion import TERMS, Bonds, Cohesion, radii
from mlff_curate.pretraining.model import Pretraining
from mlff_curate.pretraining.network import PretrainingNetwork
from mlff_curate.pretraining.unlabelled import Unlabelled

CUTOFF = 4.5


def hot(seed, symbols="Cu4"):
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    atoms.symbols = Atoms(symbols).get_chemical_symbols() * 4
    atoms.rattle(0.1, seed=seed)
    return atoms


def unlabelled(frames):
    elements = tuple(sorted({int(z) for atoms in frames for z in atoms.numbers}))
    return Unlabelled(frames, vector_graph(frames, CUTOFF), elements, CUTOFF, torch.float64)


def bonds_of(data):
    return Bonds(torch.from_numpy(radii(data, np.arange(len(data.frames)))), CUTOFF, SphericalHarmonics(4))


def energy(data, bonds, atoms, coefficients):
    batch = data.batch(vector_graph([atoms], CUTOFF))
    of = bonds.energies(coefficients.expand(len(atoms), -1))
    return float(of(batch.vector, batch.species, batch.centre, batch.neighbour).sum())


def test_the_terms_are_those_of_the_papers():
    """At the bond of a dimer repulsion and hopping are one; at another length they fall off as they should."""
    data = unlabelled([Atoms("Cu2", [[0, 0, 0], [0, 0, 2.0]])])
    bonds = bonds_of(data)
    assert bonds.radii.tolist() == [1.0]
    one = torch.eye(TERMS, dtype=torch.float64)
    for length, stretch in ((2.0, 0.0), (2.2, 0.1), (3.0, 0.5)):
        dimer = Atoms("Cu2", [[0, 0, 0], [0, 0, length]])
        assert energy(data, bonds, dimer, one[2]) == pytest.approx(2 * np.exp(-8 * stretch))
        assert energy(data, bonds, dimer, one[9]) == pytest.approx(2 * np.exp(-3 * stretch), rel=1e-4)
    # no bond is heard at the cutoff, and the last of it fades out smoothly
    ends = [energy(data, bonds, Atoms("Cu2", [[0, 0, 0], [0, 0, CUTOFF - x]]), one[2]) for x in (1e-9, 1e-2)]
    assert ends == pytest.approx([0, 0], abs=1e-7)


def test_only_terms_with_angles_tell_angles():
    """A chain bent or straight has the same bonds inside the cutoff."""
    chains = [
        Atoms("Cu3", [[2.5, 0, 0], [0, 0, 0], [2.5 * np.cos(a), 2.5 * np.sin(a), 0]]) for a in np.radians([180, 150])
    ]
    data = unlabelled(chains)
    bonds = bonds_of(data)
    one = torch.eye(TERMS, dtype=torch.float64)
    off = [abs(energy(data, bonds, chains[0], c) - energy(data, bonds, chains[1], c)) for c in one]
    # of a dimer the part of each degree is as large as the whole: twice the logistic function of t
    dimer = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
    of_dimer = [energy(data, bonds, dimer, c) for c in one[11:13]]
    assert of_dimer == pytest.approx([2 * np.sqrt(2 / (1 + np.exp(-t))) for t in (-3, 3)], rel=1e-4)
    assert max(off[:11]) < 1e-6
    assert min(off[11:]) > 1e-3


@pytest.mark.parametrize("term", [1, 7, 12, 25])
def test_forces_are_the_slopes_of_the_terms(term):
    data = unlabelled([hot(0, "CuAuCu2")])
    bonds = bonds_of(data)
    coefficients = torch.eye(TERMS, dtype=torch.float64)[term]
    atoms = data.frames[0]
    batch = data.batch(data.graph)
    terms = terms_of(bonds.energies(coefficients.expand(len(atoms), -1)), batch)
    for i, k in ((0, 0), (5, 2)):
        ends = []
        for step in (-1e-4, 1e-4):
            moved = atoms.copy()
            moved.positions[i, k] += step
            ends.append(energy(data, bonds, moved, coefficients))
        assert -(ends[1] - ends[0]) / 2e-4 == pytest.approx(float(terms.forces[i, k]), rel=1e-6, abs=1e-9)


def test_radii_are_half_of_the_bonds():
    data = unlabelled([Atoms("CuAu", [[0, 0, 0], [0, 0, 2.6]]), Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]]), Atoms("Au")])
    assert radii(data, np.arange(3)) == pytest.approx([1.2, 1.3])
    assert radii(data, np.array([1, 2])) == pytest.approx([1.2, 1.2])  # of gold alone nothing is known


def test_crystals_at_rest_and_rare_elements_have_sound_units():
    """Half of them being displaced, by chance fewer, forces at rest must not be the unit."""
    resting = [bulk(name, cubic=True) for name in ("Cu", "Al", "Ag", "Fe", "W", "Ta")]
    for frames in (resting, [bulk("Cu", cubic=True)]):
        data = unlabelled(frames)
        for seed in range(6):
            task = Cohesion.of(data, np.arange(len(frames)), (0.02, 0.25), 0.01, seed)
            assert task.unit.max() < 1e4
            assert 0.1 < task.guess < 2
    rare = [hot(k) for k in range(70)] + [Atoms("CuH", [[0, 0, 0], [0, 0, 1.5]])] + [Atoms("Cu")] * 70
    data = unlabelled(rare)
    task = Cohesion.of(data, np.arange(len(rare)), (0.02, 0.25), 0.01, 0)
    assert float(task.bonds.radii[0]) == pytest.approx(0.75)


def test_what_is_asked_is_known_and_a_guess_is_as_bad_as_told():
    frames = [hot(k, "CuAuCu2") for k in range(6)]
    data = unlabelled(frames)
    task = Cohesion.of(data, np.arange(6), (0.02, 0.25), 0.01, 0)
    rng = np.random.default_rng(0)
    asked = task.ask(data, task.views(data, np.arange(6), rng), rng)
    assert float(task.off(asked, asked.forces, asked.virial)) == 0.0
    assert float(asked.forces.square().mean()) == pytest.approx(1.0, rel=0.5)
    assert float(asked.virial.square().mean()) == pytest.approx(task.virial, rel=0.9)
    assert float(task.off(asked, 0 * asked.forces, 0 * asked.virial)) == pytest.approx(task.guess, rel=0.5)
    # the labels are the derivatives of one energy for each frame
    terms = terms_of(task.bonds.energies(asked.each * torch.from_numpy(task.unit)), asked.views.batch)
    np.testing.assert_array_equal(terms.forces, asked.forces)
    per_atom = terms.virial[:, VOIGT[0], VOIGT[1]] / asked.views.batch.atoms[:, None]
    np.testing.assert_array_equal(per_atom, asked.virial)
    torch.manual_seed(0)
    trunk = PotentialNetwork(PotentialSizes(data.elements, CUTOFF, 8, 5, 2, 4, 3, 18.0)).double()
    network = PretrainingNetwork(trunk, [task]).double()
    assert network.rows().shape == (TERMS, 8)
    loss, count = task.loss(network, data, np.arange(6), np.random.default_rng(1), training=True)
    loss.backward()
    assert count == sum(len(atoms) for atoms in frames)
    assert all(float(value.grad.abs().max()) > 0 for value in trunk.convolutions.parameters())


def test_frames_without_bonds_ask_nothing():
    data = unlabelled([hot(0), Atoms("Cu")])
    task = Cohesion.of(data, np.arange(2), (0.02, 0.25), 0.01, 0)
    trunk = PotentialNetwork(PotentialSizes(data.elements, CUTOFF, 8, 5, 2, 4, 3, 18.0)).double()
    network = PretrainingNetwork(trunk, [task]).double()
    loss, count = task.loss(network, data, np.array([1]), np.random.default_rng(0), training=True)
    assert (float(loss), count) == (0.0, 0)
    assert task.loss(network, data, np.array([0, 1]), np.random.default_rng(0), training=True)[1] == 16


def test_readouts_are_mixed_as_labels_have_it():
    rng = np.random.default_rng(0)
    found = rng.normal(size=(200, 3)) * [1.0, 1e3, 1e-5]
    wanted = found @ [2.0, -1e-3, 5.0]
    wanted[::7] = np.nan
    assert mixing_to(wanted, found) == pytest.approx([2.0, -1e-3, 0.0], rel=1e-3)  # the third is no more than rounding
    wild = wanted.copy()
    wild[1] *= 1e3
    assert mixing_to(wild, found) == pytest.approx([2.0, -1e-3, 0.0], rel=0.05)
    twins = np.repeat(found[:, :1], 2, axis=1)
    assert mixing_to(twins[:, 0], twins) == pytest.approx([0.5, 0.5], rel=1e-3)
    assert mixing_to(np.full(200, np.nan), found) is None
    assert mixing_to(wanted, np.zeros((200, 3))) is None
    assert mixing_to(-found[:, 0], found[:, :1]) is None


def test_a_potential_of_the_family_is_found_from_two_labels():
    """What was learned without labels is one mixture short of a force field."""
    frames = [hot(k) for k in range(24)]
    data = unlabelled(frames)
    bonds = bonds_of(data)
    coefficients = torch.zeros(TERMS, dtype=torch.float64)
    coefficients[3], coefficients[9] = 0.1, -1.0
    labels = []
    for atoms in frames:
        batch = data.batch(vector_graph([atoms], CUTOFF))
        terms = terms_of(bonds.energies(coefficients.expand(len(atoms), -1)), batch)
        labels.append(Labels(energy=float(terms.energies.sum()), forces=terms.forces.numpy()))
    sizes = {"channels": 16, "radial": 6, "angular": 4, "degree": 3, "convolutions": 1, "cutoff": CUTOFF}
    model = Pretraining(("cohesion",), **sizes, epochs=60, batch_size=4, learning_rate=5e-3).fit(frames[:20])
    said = model.training_
    assert said.held_out["cohesion"][-1] < 0.7 * said.guesses["cohesion"]
    still = {"epochs": 1, "learning_rate": 1e-30, "validation": 0.0}
    errors = []
    for begin in (model.encoder(), None):
        potential = Potential(**sizes, **still).fit(frames[20:22], labels[20:22], encoder=begin)
        found = potential.predict(frames[22:]).forces
        wanted = np.concatenate([item.forces for item in labels[22:]])
        errors.append(np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)))
    assert errors[0] < 0.6
    assert errors[1] > 0.8
