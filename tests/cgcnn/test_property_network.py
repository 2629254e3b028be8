"""Convolutions and network against the paper's formulas, and what they do with odd frames."""

from dataclasses import replace

import cgcnn_formulas as formulas
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from mlff_curate.cgcnn.convolutions import CONVOLUTIONS, BatchNorm, renew_statistics
from mlff_curate.cgcnn.elements import published_encoding
from mlff_curate.cgcnn.expansion import gaussian_centres, gaussian_expansion
from mlff_curate.cgcnn.property_network import NetworkSizes, PropertyNetwork, batch_of
from mlff_curate.graphs.crystal import crystal_graph

SIZES = NetworkSizes("regression", "gated", 92, 41, 6, 3, 5, 1)
FRAMES = [bulk("NaCl", "rocksalt", a=5.6), bulk("Fe"), molecule("CH3OH"), Atoms("He"), bulk("Si", cubic=True)]


def network_of(sizes, seed=0):
    """A network with all its numbers drawn, statistics included."""
    generator = torch.Generator().manual_seed(seed)
    network = PropertyNetwork(sizes).eval()
    for name, value in network.state_dict().items():
        drawn = 0.3 * torch.randn(value.shape, generator=generator)
        drawn = drawn / 12 if "others" in name else drawn  # a sum over twelve neighbours
        value.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return network


def outputs(network, frames, features=None):
    graph = crystal_graph(frames)
    features = published_encoding().features(graph.numbers) if features is None else features
    with torch.no_grad():
        return network(batch_of(graph, features, network.sizes.edge_size, "cpu")).numpy()


def test_expansion_is_41_gaussians_a_fifth_of_an_angstrom_apart():
    centres = gaussian_centres(8.0)
    assert centres.tolist() == pytest.approx([0.2 * k for k in range(41)])
    found = gaussian_expansion(torch.tensor([0.0, 1.0, 2.35, 9.0], dtype=torch.float64), centres)
    assert found.numpy() == pytest.approx(np.array([formulas.expansion(r) for r in (0.0, 1.0, 2.35, 9.0)]), abs=1e-7)


@pytest.mark.parametrize("conv", ["gated", "shared", "none"])
def test_a_convolution_is_its_formula(conv):
    network = network_of(replace(SIZES, conv=conv, convolutions=1))
    graph = crystal_graph(FRAMES)
    v = np.random.default_rng(0).normal(size=(len(graph.numbers), 6)).astype(np.float32)
    batch = batch_of(graph, np.zeros((len(v), 92), np.float32), 41, "cpu")
    with torch.no_grad():
        found = network.convolutions[0](torch.from_numpy(v), batch.edges).numpy()
    expected = formulas.CONVOLUTIONS[conv](v.astype(np.float64), graph, formulas.numbers(network.convolutions[0]))
    assert found == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("conv", ["gated", "shared", "none"])
@pytest.mark.parametrize(("task", "hidden_layers"), [("regression", 1), ("regression", 3), ("classification", 2)])
def test_sparse_network_is_a_loop_over_atoms_and_neighbours(conv, task, hidden_layers):
    network = network_of(replace(SIZES, conv=conv, task=task, hidden_layers=hidden_layers))
    graph = crystal_graph(FRAMES)
    features = published_encoding().features(graph.numbers)
    expected = formulas.predicted(network, graph, features)
    assert outputs(network, FRAMES) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("conv", ["gated", "shared", "none"])
def test_a_frame_has_the_same_output_in_any_company(conv):
    network = network_of(replace(SIZES, conv=conv))
    alone = np.concatenate([outputs(network, [atoms]) for atoms in FRAMES])
    assert outputs(network, FRAMES) == pytest.approx(alone, rel=1e-5, abs=1e-5)
    assert outputs(network, FRAMES[::-1]) == pytest.approx(alone[::-1], rel=1e-5, abs=1e-5)


def test_the_order_of_edges_does_not_matter():
    network = network_of(SIZES)
    graph = crystal_graph(FRAMES)
    features = published_encoding().features(graph.numbers)
    order = np.random.default_rng(0).permutation(len(graph.centre))
    names = ("centre", "neighbour", "distance", "weight")
    shuffled = replace(graph, **{name: getattr(graph, name)[order] for name in names})
    with torch.no_grad():
        one, other = (network(batch_of(g, features, 41, "cpu")).numpy() for g in (graph, shuffled))
    assert one == pytest.approx(other, abs=1e-5)


def test_shared_places_weigh_as_much_as_the_edges_that_they_stand_for():
    """Of the six second neighbours in bcc four have a place: four whole edges, or six at two thirds."""
    network = network_of(SIZES)
    graph = crystal_graph([bulk("Fe")])
    kept = np.arange(12)
    names = ("centre", "neighbour", "distance")
    whole = replace(graph, **{name: getattr(graph, name)[kept] for name in names}, weight=np.ones(12))
    features = published_encoding().features(graph.numbers)
    with torch.no_grad():
        one, other = (network(batch_of(g, features, 41, "cpu")).item() for g in (graph, whole))
    assert one == pytest.approx(other, abs=1e-5)


def test_without_convolution_neighbours_do_not_matter():
    network = network_of(replace(SIZES, conv="none"))
    near, far = outputs(network, [bulk("Cu", a=3.6), bulk("Cu", a=5.0)])
    assert near == pytest.approx(far)


def test_node_features_take_the_place_of_the_encoding():
    network = network_of(replace(SIZES, node_size=3))
    graph = crystal_graph(FRAMES)
    features = np.random.default_rng(0).normal(size=(len(graph.numbers), 3)).astype(np.float32)
    assert outputs(network, FRAMES, features) == pytest.approx(
        formulas.predicted(network, graph, features), rel=1e-4, abs=1e-4
    )


def test_batch_norm_normalises_columns_and_remembers_them():
    norm = BatchNorm(2).train()
    x = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    assert norm(x).detach().numpy() == pytest.approx(np.array([[-1, -1], [1, 1]]), abs=1e-4)
    assert norm.running_mean.tolist() == pytest.approx([0.2, 2.0])
    norm.eval()
    assert norm(x[:1])[0, 0].item() == pytest.approx((1 - 0.2) / (0.9 + 0.2 + 1e-5) ** 0.5, abs=1e-5)


@pytest.mark.parametrize("rows", [0, 1])
def test_batch_norm_of_fewer_than_two_rows_uses_what_it_remembers(rows):
    norm = BatchNorm(2).train()
    assert norm(torch.ones(rows, 2)).shape == (rows, 2)
    assert norm.running_mean.tolist() == [0.0, 0.0]


def test_statistics_are_renewed_for_the_weights_as_they_are():
    network = network_of(SIZES)
    graph = crystal_graph(FRAMES)
    batch = batch_of(graph, published_encoding().features(graph.numbers), 41, "cpu")
    renew_statistics(network, [batch, batch])
    assert not network.training
    with torch.no_grad():
        v = network.embedding(batch.features)
        first = network.convolutions[0]
        z = torch.cat([v[batch.edges.centre], v[batch.edges.neighbour], batch.edges.expansion], dim=1)
        z = z @ torch.cat([first.centre_weight, first.neighbour_weight, first.edge_weight], dim=1).T + first.bias
    assert first.edge_norm.running_mean.numpy() == pytest.approx(z.mean(dim=0).numpy(), abs=1e-4)
    assert first.edge_norm.running_var.numpy() == pytest.approx(z.var(dim=0).numpy(), rel=1e-3)
    assert first.edge_norm.momentum == 0.1


def test_dropout_is_for_classifiers_while_they_train():
    for task, drawn in (("regression", False), ("classification", True)):
        network = network_of(replace(SIZES, task=task, hidden=64))
        assert (outputs(network, FRAMES) == outputs(network, FRAMES)).all()
        network.dropout.train()
        torch.manual_seed(0)
        assert (outputs(network, FRAMES) != outputs(network, FRAMES)).any() == drawn


def test_the_three_convolutions_are_those_of_the_command_line():
    assert list(CONVOLUTIONS) == ["gated", "shared", "none"]
