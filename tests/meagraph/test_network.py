"""The autoencoder starts as plain averaging, and is the equations of its layers one after the other."""

import numpy as np
import pytest
import torch
from layers_reference import kernel_by_loops, layer_by_loops, leaky, normal
from scipy.spatial.distance import pdist

from mlff_curate.graphs.similarity import nearest_anchors
from mlff_curate.meagraph import network as module
from mlff_curate.meagraph.layers import Edges
from mlff_curate.meagraph.network import AutoEncoder, calibrate, search_edges

A, D, K = 40, 6, 5
ONE = np.ones(A, int)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clouds(shift=8.0):
    X = normal(A, D, seed=3)
    X[A // 2 :, 0] += shift
    return X - X.mean(dim=0)


def averaged(z, others, edges, scale):
    """Half of each environment, half of the mean of it and its neighbours weighted by attention, by loops."""
    out = np.zeros_like(z)
    for i in range(len(z)):
        there = [others[j] for j, kept in zip(edges.index[i].tolist(), edges.mask[i].tolist(), strict=True) if kept]
        weight = [np.exp(-((((z[i] - other) ** 2).sum() * 2 + 1e-6) ** 0.5) / scale) for other in there]
        out[i] = 0.5 * z[i] + 0.5 * np.average([z[i], *there], axis=0, weights=[1.0 - max(weight), *weight])
    return out


@pytest.mark.parametrize("channels", [(D, 12), (D, 12, 16), (D, 32, 32, 32)])
def test_without_the_random_part_the_encoder_averages(channels, monkeypatch):
    """In pairs (z, -z), after leaky_relu, whose scale (1 + slope) the layers' scale takes away."""
    monkeypatch.setattr(module, "_SPARK", 0.0)
    X = clouds()
    network = AutoEncoder(channels, 2, generator()).double()
    stages = calibrate(network, X, ONE, K)
    z, size = X.numpy(), float(X.var(dim=0, unbiased=False).sum())
    for i, layer in enumerate(network.encoder_layers):
        edges = search_edges(stages[i], ONE, stages[i], ONE, K)
        scale = float(layer.kernels[0].edge_scale)
        if i:  # what the layer before left of z is read from the pair
            z = (stages[i][:, :D] - stages[i][:, D : 2 * D]).numpy() / 1.2
        smooth = averaged(z, z, edges, scale)
        wanted = np.concatenate([leaky(smooth), leaky(-smooth)], axis=1) / float(layer.scale)
        np.testing.assert_allclose(stages[i + 1][:, : 2 * D], wanted, atol=1e-5)
        assert not stages[i + 1][:, 2 * D :].any()
        assert float(stages[i + 1].var(dim=0, unbiased=False).sum()) == pytest.approx(size)


def test_without_the_random_part_the_reconstruction_is_the_average(monkeypatch):
    """One layer: the decoder's mix is zero, its kernel reads z from the pair."""
    monkeypatch.setattr(module, "_SPARK", 0.0)
    X = clouds()
    network = AutoEncoder((D, 12), 3, generator()).double()
    stages = calibrate(network, X, ONE, K)
    edges = search_edges(X, ONE, X, ONE, K)
    found = network.reconstruct(X, [edges], stages, None).detach()
    layer = network.encoder_layers[0]
    wanted = averaged(X.numpy(), X.numpy(), edges, float(layer.kernels[0].edge_scale))
    np.testing.assert_allclose(found, wanted / float(layer.scale), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_before_training_distances_are_those_of_the_input(seed):
    """Between clouds; within, averaging draws together."""
    X = clouds(60.0).float()
    network = AutoEncoder((D, 32, 32, 32), 3, generator(seed))
    last = calibrate(network, X, ONE, K)[3].numpy()
    half = A // 2
    before = np.linalg.norm(X[:half].mean(dim=0) - X[half:].mean(dim=0))
    after = np.linalg.norm(last[:half].mean(axis=0) - last[half:].mean(axis=0))
    assert after == pytest.approx(before, rel=0.05)
    assert pdist(last[:half]).mean() < pdist(X[:half].numpy()).mean()


def test_columns_beyond_half_of_the_channels_are_not_carried(monkeypatch):
    monkeypatch.setattr(module, "_SPARK", 0.0)
    X = clouds()
    network = AutoEncoder((D, 8, 16), 1, generator()).double()
    for layer in network.encoder_layers:
        assert torch.linalg.matrix_rank(layer.kernels[0].weight) == 4
    changed = X.clone()
    changed[:, 4:] *= 3.0
    weights = network.encoder_layers[0].kernels[0].weight
    torch.testing.assert_close(changed @ weights, X @ weights)


@pytest.mark.parametrize("channels", [(D, 2), (D, 12, 9), (2, 7, 32), (1, 32), (16, 2, 2)])
def test_stages_are_the_input_and_what_each_layer_makes_of_it(channels):
    X = normal(A, channels[0], seed=1).float()
    network = AutoEncoder(channels, 2, generator())
    stages = calibrate(network, X, ONE, K)
    assert [stage.shape[1] for stage in stages] == [*channels, *reversed(channels[:-1])]
    assert all(torch.isfinite(stage).all() for stage in stages)
    assert not any(stage.requires_grad for stage in stages)
    torch.testing.assert_close(network.encode(X, ONE, stages, ONE, K)[0], stages[len(channels) - 1])


def test_layers_keep_the_total_variance():
    X = 7.0 * normal(A, D, seed=1).float()
    stages = calibrate(AutoEncoder((D, 12, 32), 2, generator()), X, ONE, K)
    wanted = float(X.var(dim=0, unbiased=False).sum())
    for stage in stages[1:3]:
        assert float(stage.var(dim=0, unbiased=False).sum()) == pytest.approx(wanted, rel=1e-5)


def test_the_kernels_of_a_layer_differ_and_so_do_seeds():
    a, b, same = (AutoEncoder((D, 12), 3, generator(seed)) for seed in (0, 1, 0))
    weights = [kernel.weight for kernel in a.encoder_layers[0].kernels]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], b.encoder_layers[0].kernels[0].weight)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), same.parameters(), strict=True))


@pytest.mark.parametrize("rates", [None, [0.3, 0.6]])
def test_a_whole_reconstruction_is_its_equations(rates):
    """Encoder on the edges given, decoder on what pooling left of them, in reverse order; anchors as at each stage."""
    anchors, x = clouds(3.0), normal(9, D, seed=8)
    network = AutoEncoder((D, 7, 4), 2, generator()).double()
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.add_(0.3 * normal(*parameter.shape, seed=20 + i))
    stages = calibrate(network, anchors, ONE, K)
    layers = network.encode(x, ONE[:9], stages, ONE, K)[1]
    found = network.reconstruct(x, layers, stages, rates)

    state, pooled = x, []
    for i, (edges, layer) in enumerate(zip(layers, network.encoder, strict=True)):
        near = nearest_anchors(state.numpy().astype(np.float32), ONE[:9], stages[i].numpy(), ONE, K)
        np.testing.assert_array_equal(edges.index, near.index, err_msg="searched in the state before the layer")
        out, attention = layer_by_loops(layer, state, stages[i], edges)
        kept = edges.mask.numpy().copy()
        if rates is not None:
            kept &= (attention - attention.min() + 1e-5) / (attention.max() - attention.min() + 1e-5) > rates[i]
            kept[:, 0] = True
            assert not kept.all(), "something is pooled away"
        pooled.append(Edges(edges.index, torch.from_numpy(kept)))
        state = torch.from_numpy(out)
    for i, (edges, decoder) in enumerate(zip(reversed(pooled), network.decoder, strict=True)):
        h, mean, _ = kernel_by_loops(decoder.kernel, state, stages[2 + i], edges)
        out = mean @ decoder.mix.detach().numpy() + h
        state = torch.from_numpy(out if decoder.last else leaky(out))
    assert [decoder.last for decoder in network.decoder] == [False, True]
    np.testing.assert_allclose(found.detach(), state, atol=1e-9)


def test_edges_join_environments_of_one_element_and_padding_is_masked():
    X = clouds().float()
    species = np.repeat([26, 74], [A - 3, 3])
    edges = search_edges(X, species, X, species, K)
    assert np.all(species[edges.index.numpy()] == species[:, None])
    assert edges.mask[:-3].all()
    assert edges.mask[-3:].tolist() == [[True] * 3 + [False] * 2] * 3
