"""Noise, and what pulls it back."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from mlff_curate.cgcnn.potential_network import PotentialNetwork, PotentialSizes
from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.pretraining import contrast
from mlff_curate.pretraining.contrast import Contrast, nt_xent
from mlff_curate.pretraining.denoising import Denoising
from mlff_curate.pretraining.network import PretrainingNetwork
from mlff_curate.pretraining.unlabelled import Unlabelled
from mlff_curate.pretraining.views import enlarged, noisy, turned

CUTOFF = 4.0


def unlabelled(frames):
    elements = tuple(sorted({int(z) for atoms in frames for z in atoms.numbers}))
    return Unlabelled(frames, vector_graph(frames, CUTOFF), elements, CUTOFF, torch.float64)


def crystals(n=3):
    frames = [bulk("Cu", cubic=True) * (2, 2, 1) for _ in range(n)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=k)
    return frames


def trunk(elements=(29,)):
    torch.manual_seed(1)
    return PotentialNetwork(PotentialSizes(elements, CUTOFF, 8, 5, 2, 4, 3, 18.0)).double()


def test_the_pull_is_the_slope_of_the_networks_energy():
    data = unlabelled(crystals(1))
    task = Denoising.of(data, np.arange(1), (0.05, 0.05), 0.01)
    asked = task.ask(data, np.arange(1), np.random.default_rng(0))
    network = trunk()
    pull, squeeze = task.residuals(network, data, asked, training=False)
    forces = pull.detach().numpy() * 0.05 / 0.1 - asked.displacement / 0.1
    virial = (squeeze.detach().numpy()[0] * 0.01 + asked.strain[0]) * task.stiffness * len(forces)
    view = noisy(enlarged(data.frames[0]), 0.05, 0.01, _after_sigma())
    np.testing.assert_allclose(view.displacement, asked.displacement)

    def energy(atoms):
        batch = data.batch(vector_graph([atoms], CUTOFF))
        with torch.no_grad():
            return float(network(batch.vector, batch.species, batch.centre, batch.neighbour).sum())

    step = 1e-4
    for i, k in ((0, 0), (3, 1), (7, 2)):
        ends = []
        for sign in (-1, 1):
            atoms = view.atoms.copy()
            atoms.positions[i, k] += sign * step
            ends.append(energy(atoms))
        assert -(ends[1] - ends[0]) / (2 * step) == pytest.approx(forces[i, k], rel=1e-5, abs=1e-9)
    for v, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        ends = []
        for sign in (-1, 1):
            strain = np.eye(3)
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            atoms = view.atoms.copy()
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            ends.append(energy(atoms))
        assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(virial[v], rel=1e-4, abs=1e-7)


def _after_sigma():
    rng = np.random.default_rng(0)
    rng.uniform()
    return rng


def test_springs_to_where_atoms_were_leave_nothing_to_pull():
    """What is asked for: displacement over the unit, less the noise itself, is zero."""
    data = unlabelled(crystals())
    task = Denoising.of(data, np.arange(3), (0.02, 0.25), 0.01)
    asked = task.ask(data, np.arange(3), np.random.default_rng(3))
    assert len(set(asked.sigma)) == 3
    assert ((asked.sigma >= 0.02) & (asked.sigma <= 0.25)).all()
    means = [asked.displacement[asked.graph.frame == f].mean(axis=0) for f in range(3)]
    np.testing.assert_allclose(means, 0.0, atol=1e-15)
    spread = [asked.displacement[asked.graph.frame == f].std() for f in range(3)]
    assert spread == pytest.approx(asked.sigma, rel=0.4)
    network = trunk()
    for value in network.energy.parameters():
        torch.nn.init.zeros_(value)
    pull, squeeze = task.residuals(network, data, asked, training=False)
    np.testing.assert_allclose(pull.numpy(), asked.displacement / asked.sigma[asked.graph.frame][:, None], atol=1e-12)
    np.testing.assert_allclose(squeeze.numpy(), -asked.strain / 0.01, atol=1e-12)
    loss, count = task.loss(
        PretrainingNetwork(network, [task]), data, np.arange(3), np.random.default_rng(3), training=False
    )
    assert count == 48
    assert float(loss) == pytest.approx(1.0, abs=0.4)  # a network that does nothing has one, whatever the noise


def test_open_frames_are_not_strained_and_lone_atoms_not_asked_about():
    frames = [Atoms("Cu3", [[0, 0, 0], [2.3, 0, 0], [30, 0, 0]]), Atoms("Cu"), bulk("Cu")]
    data = unlabelled(frames)
    task = Denoising.of(data, np.arange(3), (0.05, 0.05), 0.01)
    asked = task.ask(data, np.arange(3), np.random.default_rng(0))
    assert asked.graph.atoms.tolist() == [3, 1, 18]  # the cell of one atom is repeated: it could not be displaced
    assert asked.felt[:4].tolist() == [True, True, False, False]
    assert not asked.strain[:2].any()
    pull, squeeze = task.residuals(trunk(), data, asked, training=False)
    assert (len(pull), len(squeeze)) == (20, 1)
    task = Denoising.of(data, np.arange(3), (0.05, 0.05), 0.0)
    asked = task.ask(data, np.arange(3), np.random.default_rng(0))
    assert len(task.residuals(trunk(), data, asked, training=False)[1]) == 0
    loss, count = task.loss(
        PretrainingNetwork(trunk(), [task]), data, np.array([1]), np.random.default_rng(0), training=True
    )
    assert (float(loss), count) == (0.0, 0)


def test_views_are_the_same_frame():
    atoms = bulk("Cu")
    rng = np.random.default_rng(0)
    large = enlarged(atoms, rng)
    assert len(large) >= 16
    assert len(enlarged(bulk("Cu", cubic=True) * 2, rng)) == 32
    assert len(enlarged(Atoms("Cu2", [[0, 0, 0], [0, 0, 2]]), rng)) == 2
    other = turned(large, rng)
    mine, its = (np.sort(np.linalg.norm(vector_graph([x], 4.0).vector, axis=1)) for x in (large, other))
    np.testing.assert_allclose(mine, its, atol=1e-9)
    assert np.linalg.det(other.cell.array) * np.linalg.det(large.cell.array) > 0  # turned, not mirrored
    assert np.abs(other.positions - large.positions).max() > 0.1
    strained = noisy(large, 1e-12, 0.01, rng)
    np.testing.assert_allclose(strained.strain, strained.strain.T)
    np.testing.assert_allclose(
        strained.atoms.get_scaled_positions(wrap=False), large.get_scaled_positions(wrap=False), atol=1e-9
    )


def test_views_of_one_frame_are_to_be_alike():
    rng = np.random.default_rng(0)
    vectors = torch.from_numpy(rng.normal(size=(4, 16)))
    paired = torch.cat([vectors, vectors + 0.01])
    swapped = torch.cat([vectors, vectors[[1, 2, 3, 0]] + 0.01])
    assert float(nt_xent(paired)) < 0.1
    assert float(nt_xent(swapped)) > 1.0
    unit = (paired / paired.norm(dim=1, keepdim=True)).numpy()
    alike = np.exp(unit @ unit.T / 0.1) * (1 - np.eye(8))
    by_hand = -np.log(alike[np.arange(8), [4, 5, 6, 7, 0, 1, 2, 3]] / alike.sum(axis=1))
    assert float(nt_xent(paired)) == pytest.approx(by_hand.mean())
    data = unlabelled(crystals())
    task = Contrast(1.6)
    network = PretrainingNetwork(trunk(), [task]).double()
    loss, count = task.loss(network, data, np.arange(3), np.random.default_rng(0), training=True)
    assert (count, bool(torch.isfinite(loss))) == (6, True)
    assert task.loss(network, data, np.arange(1), np.random.default_rng(0), training=True)[1] == 0


def test_a_guess_at_which_views_are_of_one_frame_is_told_of_the_batches_held_out():
    assert Contrast.of(54, 6, 3).guess == pytest.approx(np.log(5))
    assert Contrast.of(54, 6, 5).guess == pytest.approx(np.log(5))  # two batches of three
    assert Contrast.of(40, 5, 4).guess == pytest.approx((3 * np.log(5) + 2 * np.log(3)) / 5)
    assert Contrast.of(7, 1, 3).guess == pytest.approx(np.log(5))  # one frame alone asks nothing


def test_a_guess_at_noise_is_what_a_network_that_does_nothing_has():
    """Of dimers half of the noise is gone with its mean."""
    dimers = [Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]]) for _ in range(40)]
    for frames, strain, guess in ((dimers, 0.01, 0.5), (crystals(12), 0.0, 15 / 16), (crystals(12), 0.01, 31 / 32)):
        data = unlabelled(frames)
        every = np.arange(len(frames))
        task = Denoising.of(data, every, (0.02, 0.25), strain)
        assert task.guess == pytest.approx(guess)
        network = PretrainingNetwork(trunk(), [task])
        with torch.no_grad():
            for value in network.trunk.energy.parameters():
                value.zero_()
        found = [
            float(task.loss(network, data, every, np.random.default_rng(k), training=False)[0].detach())
            for k in range(20)
        ]
        assert np.mean(found) == pytest.approx(task.guess, rel=0.1)


class OfElements:
    """A network whose states tell the element of an atom and no more, and whose head leaves them so."""

    def __init__(self):
        self.heads = {"contrastive": torch.nn.Identity()}

    def last_states(self, batch):
        return torch.nn.functional.one_hot(batch.species, 4).double()


def test_the_two_views_that_are_to_be_alike_are_of_one_frame():
    """Frames that the network tells apart at once: paired rightly the loss is all but zero, else at least ten."""
    data = unlabelled([bulk(symbol) for symbol in ("Al", "Cu", "Ag", "Au")])
    for frames in (np.arange(4), np.array([2, 0, 3])):
        loss, count = Contrast(1.6).loss(OfElements(), data, frames, np.random.default_rng(0), training=True)
        assert count == 2 * len(frames)
        assert float(loss) < 0.01


def test_views_of_one_frame_differ_in_size_orientation_and_noise(monkeypatch):
    seen = []

    def graph_of(views, cutoff):
        seen.extend(views)
        return vector_graph(views, cutoff)

    monkeypatch.setattr(contrast, "vector_graph", graph_of)
    frames = [bulk("Cu") for _ in range(8)]
    Contrast(1.6).loss(OfElements(), unlabelled(frames), np.arange(8), np.random.default_rng(0), training=True)
    assert len(seen) == 16
    turns, noise = [], []
    for view in seen:
        repeat = view.cell.lengths() / frames[0].cell.lengths()
        np.testing.assert_allclose(repeat, np.round(repeat), atol=1e-9)  # nothing is strained
        whole = frames[0].repeat(np.round(repeat).astype(int).tolist())
        assert len(view) == len(whole) >= 16
        turn = np.linalg.solve(whole.cell.array, view.cell.array)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        turns.append(turn)
        noise.append(view.positions @ turn.T - whole.positions)
    assert np.std(np.concatenate(noise)) == pytest.approx(0.05, rel=0.1)
    pairs = [(k, k + 8) for k in range(8)]
    assert any(len(seen[one]) != len(seen[other]) for one, other in pairs)
    for one, other in pairs:
        assert np.abs(noise[one][:16] - noise[other][:16]).max() > 0.01
        assert np.abs(turns[one] - turns[other]).max() > 0.1
    assert min(np.abs(turn - np.eye(3)).max() for turn in turns) > 0.1
