"""What is hidden cannot reach what the network says, and what is not hidden does."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from mlff_curate.cgcnn.potential_network import PotentialNetwork, PotentialSizes
from mlff_curate.graphs.vectors import VectorGraph, vector_graph
from mlff_curate.pretraining.masking import MaskedCoordination, MaskedDistance, MaskedElement, first_shell
from mlff_curate.pretraining.network import PretrainingNetwork
from mlff_curate.pretraining.unlabelled import Unlabelled, pairs_of, some_of, without

CUTOFF = 4.0


def alloy(seed, repeat=(2, 1, 1)):
    atoms = bulk("Cu", cubic=True) * repeat
    rng = np.random.default_rng(seed)
    atoms.numbers = rng.choice([13, 29, 79], len(atoms))
    atoms.rattle(0.1, seed=seed)
    return atoms


def unlabelled(frames, graph=None):
    graph = vector_graph(frames, CUTOFF) if graph is None else graph
    return Unlabelled(frames, graph, (13, 29, 79), CUTOFF, torch.float64)


FRAMES = [alloy(k) for k in range(4)]
ALL = np.arange(4)


def network_with(task):
    torch.manual_seed(0)
    sizes = PotentialSizes((13, 29, 79), CUTOFF, 8, 5, 2, 4, 2, 18.0)
    return PretrainingNetwork(PotentialNetwork(sizes), [task]).double()


def said(task, data, asked):
    with torch.no_grad():
        answers = task.answers(network_with(task), data, asked)
    return torch.cat(answers, dim=1) if isinstance(answers, tuple) else answers


def bent(graph, edges, back, by):
    """A graph in which some pairs are elsewhere, as both their ends see it."""
    vector = graph.vector.copy()
    vector[edges] += by
    vector[back] -= by
    return VectorGraph(graph.numbers, graph.frame, graph.centre, graph.neighbour, graph.frames, vector)


def edges_in(graph, visible):
    """Indices of the edges of a graph that another one of the same atoms lacks."""
    kept = {(c, n, *v) for c, n, v in zip(visible.centre, visible.neighbour, visible.vector.tolist(), strict=True)}
    whole = zip(graph.centre, graph.neighbour, graph.vector.tolist(), strict=True)
    return np.array([k for k, (c, n, v) in enumerate(whole) if (c, n, *v) not in kept])


@pytest.mark.parametrize("kind", [MaskedDistance, MaskedCoordination])
def test_where_hidden_neighbours_are_cannot_be_known(kind):
    data = unlabelled(FRAMES)
    task = kind.of(data, ALL)
    asked = task.ask(data, ALL, np.random.default_rng(5))
    hidden = edges_in(data.graph, asked.graph)
    assert 0 < len(hidden) < 0.5 * len(data.graph.centre)
    there, back = pairs_of(data.graph)
    both = np.isin(there, hidden)
    assert set(there[both]) | set(back[both]) == set(hidden)  # no pair is hidden from one end only
    away = 0.4 * data.graph.vector[there[both]]
    other = unlabelled(FRAMES, bent(data.graph, there[both], back[both], away))
    again = task.ask(other, ALL, np.random.default_rng(5))
    assert not np.array_equal(again.answer, asked.answer)  # the answers are others ...
    assert torch.equal(said(task, other, again), said(task, data, asked))  # ... and not one bit tells of it
    seen = np.flatnonzero(~both)[:3]
    other = unlabelled(FRAMES, bent(data.graph, there[seen], back[seen], 0.01))
    again = task.ask(other, ALL, np.random.default_rng(5))
    assert not torch.equal(said(task, other, again), said(task, data, asked))  # what is not hidden is seen


def test_hidden_neighbours_would_be_seen_if_they_were_left_in():
    """The same questions with the whole graph: the test above has teeth."""
    data = unlabelled(FRAMES)
    task = MaskedDistance.of(data, ALL)
    asked = task.ask(data, ALL, np.random.default_rng(5))
    hidden = edges_in(data.graph, asked.graph)
    there, back = pairs_of(data.graph)
    both = np.isin(there, hidden)
    moved = bent(data.graph, there[both], back[both], 0.4 * data.graph.vector[there[both]])

    def leaking(graph):
        return type(asked)(graph, asked.atoms, asked.others, asked.answer)

    assert not torch.equal(said(task, data, leaking(moved)), said(task, data, leaking(data.graph)))


def test_hidden_elements_cannot_be_known():
    data = unlabelled(FRAMES)
    task = MaskedElement.of(data, ALL)
    asked = task.ask(data, ALL, np.random.default_rng(6))
    assert 1 <= len(asked.atoms) < 0.4 * len(data.graph.numbers)

    def with_elements(atoms):
        numbers = data.graph.numbers.copy()
        numbers[atoms] = np.where(numbers[atoms] == 79, 13, 79)
        g = data.graph
        return unlabelled(FRAMES, VectorGraph(numbers, g.frame, g.centre, g.neighbour, g.frames, g.vector))

    other = with_elements(asked.atoms)
    again = task.ask(other, ALL, np.random.default_rng(6))
    assert np.array_equal(again.atoms, asked.atoms)
    assert (again.answer != asked.answer).any(axis=1).all()
    assert torch.equal(said(task, other, again), said(task, data, asked))
    beside = data.graph.neighbour[data.graph.centre == asked.atoms[0]]
    seen = with_elements(np.setdiff1d(beside, asked.atoms)[:1])
    again = task.ask(seen, ALL, np.random.default_rng(6))
    assert not torch.equal(said(task, seen, again), said(task, data, asked))


def test_a_masked_atom_is_masked_to_its_neighbours_too():
    """Without the mask, or with it at the centre alone, another element at the same place is told."""
    data = unlabelled(FRAMES)
    task = MaskedElement.of(data, ALL)
    asked = task.ask(data, ALL, np.random.default_rng(6))
    network = network_with(task)
    batch = data.batch(asked.graph)
    species = batch.species.clone()
    species[torch.from_numpy(asked.atoms)] = (species[torch.from_numpy(asked.atoms)] + 1) % 3
    with torch.no_grad():
        seen = [network.last_states(batch, network.trunk.embedding(s))[asked.atoms] for s in (batch.species, species)]
    assert not torch.equal(*seen)


def test_pairs_of_small_cells_are_found_with_all_their_images():
    frames = [
        bulk("Cu"),
        bulk("Cu", cubic=True),
        bulk("Ti"),
        Atoms("CuAl", [[0, 0, 0], [1.2, 1.2, 1.2]], cell=[2.4, 2.4, 2.4], pbc=True),
        Atoms("Cu2", [[0, 0, 0], [0, 0, 2.0]]),
        Atoms("Cu"),
    ]
    graph = vector_graph(frames, 5.0)
    there, back = pairs_of(graph)
    assert sorted([*there, *back]) == list(range(len(graph.centre)))
    assert np.array_equal(graph.centre[there], graph.neighbour[back])
    assert np.array_equal(graph.neighbour[there], graph.centre[back])
    np.testing.assert_allclose(graph.vector[there], -graph.vector[back], atol=1e-12)
    left = without(graph, np.concatenate([there[:5], back[:5]]))
    assert len(left.centre) == len(graph.centre) - 10
    assert np.array_equal(left.numbers, graph.numbers)


def test_something_is_drawn_where_there_is_something():
    assert some_of(0, 0.5, np.random.default_rng(0)).tolist() == []
    assert all(len(some_of(3, 1e-9, np.random.default_rng(k))) == 1 for k in range(20))
    assert len(some_of(10000, 0.15, np.random.default_rng(0))) == pytest.approx(1500, abs=150)


@pytest.mark.parametrize(
    ("made", "neighbours"),
    [(("Cu", "fcc", 3.6), 12), (("Si", "diamond", 5.43), 4), (("NaCl", "rocksalt", 5.64), 6)],
)
def test_the_first_shell_ends_behind_the_nearest_neighbours(made, neighbours):
    frames = []
    for k in range(3):
        atoms = bulk(made[0], made[1], a=made[2], cubic=True) * 2
        atoms.rattle(0.08, seed=k)
        frames.append(atoms)
    graph = vector_graph(frames, 6.0)
    distance = np.linalg.norm(graph.vector, axis=1)
    end = first_shell(distance, 6.0)
    assert np.mean(np.bincount(graph.centre[distance < end], minlength=len(graph.numbers))) == pytest.approx(
        neighbours, abs=0.02
    )


def test_the_first_shell_has_an_end_where_the_data_show_none():
    rng = np.random.default_rng(0)
    flat = 2.0 + 2.0 * rng.random(2000) ** (1 / 3)
    assert 2.0 < first_shell(flat, 4.0) <= 4.0
    assert first_shell(np.array([3.9]), 4.0) == 4.0


def test_classes_of_distances_cover_those_there_are():
    data = unlabelled(FRAMES)
    task = MaskedDistance.of(data, ALL)
    answers = np.concatenate([task.ask(data, ALL, np.random.default_rng(k)).answer for k in range(20)])
    assert answers.min() < 3
    assert answers.max() <= 40
    assert task.shortest == pytest.approx(data.distances.min())
    assert 0 < task.guess < np.log(41)


def test_the_number_of_nearest_neighbours_is_that_of_the_whole_frame():
    data = unlabelled([bulk("Cu", cubic=True) * 2])
    task = MaskedCoordination.of(data, np.arange(1))
    asked = task.ask(data, np.arange(1), np.random.default_rng(0))
    assert asked.answer.tolist() == [12] * len(asked.atoms)
    assert task.guess == pytest.approx(0.0)
    seen = np.bincount(asked.graph.centre, minlength=len(data.graph.numbers))
    whole = np.bincount(data.graph.centre, minlength=len(data.graph.numbers))
    assert (seen[asked.atoms] < whole[asked.atoms]).any()


def test_a_guess_at_neighbours_is_of_atoms_that_are_asked_for():
    data = unlabelled([bulk("Cu", cubic=True), *(Atoms("Cu") for _ in range(32))])
    task = MaskedCoordination.of(data, np.arange(33))
    assert task.guess == pytest.approx(0, abs=1e-9)  # all have twelve


@pytest.mark.parametrize("kind", [MaskedElement, MaskedDistance, MaskedCoordination])
def test_nothing_is_kept_for_gradients_that_nobody_asks_for(kind):
    data = unlabelled(FRAMES)
    task = kind.of(data, ALL)
    network = network_with(task)
    for training in (False, True):
        loss, _ = task.loss(network, data, ALL, np.random.default_rng(0), training=training)
        assert loss.requires_grad == training


def test_group_and_period_are_those_of_the_element():
    frames = [Atoms(symbol * 2, [[0, 0, 0], [0, 0, 2.5]]) for symbol in ("Al", "Cu", "Ce", "Au", "H")]
    data = Unlabelled(frames, vector_graph(frames, CUTOFF), (1, 13, 29, 58, 79), CUTOFF, torch.float64)
    task = MaskedElement.of(data, np.arange(5))
    said = {}
    for k in range(30):
        asked = task.ask(data, np.arange(5), np.random.default_rng(k))
        said |= dict(zip(asked.graph.numbers[asked.atoms].tolist(), asked.answer.tolist(), strict=True))
    # group, 0 for those in none; period, the first is 0; place among the elements
    assert said == {1: [1, 0, 0], 13: [13, 2, 1], 29: [11, 3, 2], 58: [0, 5, 3], 79: [11, 5, 4]}
    shares = np.array([0.2, 0.2, 0.4, 0.2]), np.array([0.2, 0.2, 0.2, 0.4]), np.full(5, 0.2)
    assert task.guess == pytest.approx(np.mean([-(share * np.log(share)).sum() for share in shares]))


def test_distances_are_asked_for_of_both_ends_of_a_hidden_pair():
    data = unlabelled(FRAMES)
    task = MaskedDistance.of(data, ALL)
    asked = task.ask(data, ALL, np.random.default_rng(5))
    hidden = edges_in(data.graph, asked.graph)
    ends = sorted(zip(data.graph.centre[hidden], data.graph.neighbour[hidden], strict=True))
    one, other = asked.atoms.tolist(), asked.others.tolist()
    assert sorted([*zip(one, other, strict=True), *zip(other, one, strict=True)]) == ends
    apart = asked.atoms != asked.others
    assert apart.sum() > 5
    whole = said(task, data, asked)
    turned = said(task, data, type(asked)(asked.graph, asked.others, asked.atoms, asked.answer))
    assert torch.equal(turned, whole)  # whichever is named first
    for atoms in (asked.atoms, asked.others):
        alone = said(task, data, type(asked)(asked.graph, atoms, atoms, asked.answer))
        assert ((alone - whole).abs().amax(dim=1) > 1e-9)[torch.from_numpy(apart)].all()
