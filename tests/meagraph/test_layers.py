"""The layers are the equations of their docstrings, and their gradients are right.

Reference: the docstrings' equations as loops over environments and edges, in float64, with the layers' 1e-6 added to
squared lengths.
"""

import numpy as np
import pytest
import torch

from mlff_curate.graphs.similarity import nearest_anchors
from mlff_curate.meagraph.layers import AttentionKernel, DecoderLayer, Edges, MultiKernelLayer, pool_edges
from mlff_curate.meagraph.network import AutoEncoder, calibrate

N, A, K_EDGES = 9, 14, 5


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng([seed, *shape]).normal(size=shape))


def edges_between(x, anchors, k=K_EDGES, dropped=()):
    one = np.ones(max(len(x), len(anchors)), int)
    near = nearest_anchors(x.numpy().astype(np.float32), one[: len(x)], anchors.numpy(), one[: len(anchors)], k)
    mask = torch.ones(len(x), k, dtype=torch.bool)
    for i, j in dropped:
        mask[i, j] = False
    return Edges(torch.from_numpy(near.index), mask)


def initial(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda rows, columns: torch.randn(rows, columns, generator=generator, dtype=torch.float64) / rows**0.5


def leaky(v):
    return np.where(v > 0, v, 0.2 * v)


def kernel_by_loops(kernel, x, anchors, edges):
    W, beta = kernel.weight.detach().numpy(), float(kernel.beta.detach())
    columns, s = kernel.column_scale.numpy(), float(kernel.edge_scale)
    x, anchors = x.detach().numpy(), anchors.detach().numpy()
    h, attention = np.zeros((len(x), W.shape[1])), np.zeros(edges.mask.shape)
    mean = np.zeros_like(h)
    for i in range(len(x)):
        h[i] = x[i] @ W
        for e in range(edges.mask.shape[1]):
            if edges.mask[i, e]:
                h_j = anchors[edges.index[i, e]] @ W
                length = (((h[i] - h_j) / columns) ** 2).sum()
                attention[i, e] = np.exp(-beta * (length + 1e-6) ** 0.5 / s)
                mean[i] += attention[i, e] * h_j
        if attention[i].sum() > 0:
            mean[i] /= attention[i].sum()
    return h, mean, attention


def layer_by_loops(layer, x, anchors, edges):
    parts = [kernel_by_loops(kernel, x, anchors, edges) for kernel in layer.kernels]
    state = np.mean([leaky(0.5 * (h + mean)) for h, mean, _ in parts], axis=0)
    state = leaky(state @ layer.mix.detach().numpy()) / layer.column_scale.numpy()
    return state, np.mean([attention for *_, attention in parts], axis=0)


@pytest.fixture
def stage():
    """Environments, anchors and edges with some of them masked; two edges of environment 3 remain."""
    x, anchors = normal(N, 6, seed=1), normal(A, 6, seed=2)
    return x, anchors, edges_between(x, anchors, dropped=[(0, 4), (3, 1), (3, 2), (3, 4), (7, 0)])


def test_a_kernel_is_its_equations(stage):
    anchors = stage[1]
    kernel = AttentionKernel(initial()(6, 4)).double()
    with torch.no_grad():
        kernel.beta.fill_(1.3)
    kernel.calibrate(anchors, edges_between(anchors, anchors))
    for found, wanted in zip(kernel(*stage), kernel_by_loops(kernel, *stage), strict=True):
        np.testing.assert_allclose(found.detach(), wanted, atol=1e-10)


def test_the_scales_of_a_kernel_are_those_of_the_anchors():
    anchors = normal(A, 6, seed=2)
    edges = edges_between(anchors, anchors)
    kernel = AttentionKernel(initial()(6, 4)).double()
    kernel.calibrate(anchors, edges)
    h = (anchors @ kernel.weight).detach()
    rms = h.square().mean(dim=0).sqrt()
    np.testing.assert_allclose(kernel.column_scale, rms, rtol=1e-6)
    u = (h / rms).numpy()
    lengths = [np.linalg.norm(u[i] - u[j]) for i in range(A) for j in edges.index[i].tolist() if i != j]
    assert float(kernel.edge_scale) == pytest.approx(np.sort(lengths)[(len(lengths) - 1) // 2], rel=1e-6)


def test_a_multi_kernel_layer_is_its_equations(stage):
    anchors = stage[1]
    layer = MultiKernelLayer(6, 4, 3, initial()).double()
    layer.calibrate(anchors, edges_between(anchors, anchors))
    for found, wanted in zip(layer(*stage), layer_by_loops(layer, *stage), strict=True):
        np.testing.assert_allclose(found.detach(), wanted, atol=1e-10)


def test_a_calibrated_layer_turns_anchors_into_states_of_unit_size():
    anchors = 37.0 * normal(A, 6, seed=2)
    layer = MultiKernelLayer(6, 4, 3, initial()).double()
    edges = edges_between(anchors, anchors)
    layer.calibrate(anchors, edges)
    assert float(layer(anchors, anchors, edges)[0].detach().square().mean()) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("last", [False, True])
def test_a_decoder_layer_is_its_equations(stage, last):
    anchors = stage[1]
    layer = DecoderLayer(6, 8, initial(), last=last).double()
    layer.calibrate(anchors, edges_between(anchors, anchors))
    h, mean, _ = kernel_by_loops(layer.kernel, *stage)
    wanted = mean @ layer.mix.detach().numpy() + h
    np.testing.assert_allclose(layer(*stage).detach(), wanted if last else leaky(wanted), atol=1e-10)


def test_a_whole_reconstruction_is_its_equations():
    """Encoder on the edges given, decoder on what pooling left of them, in reverse order."""
    anchors = normal(A, 6, seed=2)
    network = AutoEncoder((6, 5, 4), 2, torch.Generator().manual_seed(0)).double()
    species, rates = np.ones(A, int), [0.3, 0.6]
    layers, states = calibrate(network, anchors, species, K_EDGES)
    found, stages = network.reconstruct(layers, anchors, None, rates)

    state, pooled = anchors, []
    for edges, layer, rate in zip(layers, network.encoder, rates, strict=True):
        out, attention = layer_by_loops(layer, state, state, edges)
        scaled = (attention - attention.min() + 1e-5) / (attention.max() - attention.min() + 1e-5)
        kept = edges.mask.numpy() & (scaled > rate)
        kept[:, 0] = True
        pooled.append(Edges(edges.index, torch.from_numpy(kept)))
        state = torch.from_numpy(out)
        np.testing.assert_allclose(stages[len(pooled)].detach(), out, atol=1e-10)
        np.testing.assert_allclose(states[len(pooled)], out, atol=1e-10)
    assert not all(edges.mask.all() for edges in pooled), "something is pooled away"
    for edges, decoder in zip(reversed(pooled), network.decoder, strict=True):
        h, mean, _ = kernel_by_loops(decoder.kernel, state, state, edges)
        out = mean @ decoder.mix.detach().numpy() + h
        state = torch.from_numpy(out if decoder.last else leaky(out))
    assert network.decoder[-1].last
    np.testing.assert_allclose(found.detach(), state, atol=1e-10)


def test_masked_edges_carry_nothing(stage):
    """Neither does where they point to."""
    x, anchors, edges = stage
    layer = MultiKernelLayer(6, 4, 2, initial()).double()
    layer.calibrate(anchors, edges_between(anchors, anchors))
    elsewhere = torch.where(edges.mask, edges.index, (edges.index + 3) % A)
    before, after = layer(x, anchors, edges), layer(x, anchors, Edges(elsewhere, edges.mask))
    torch.testing.assert_close(after[0], before[0], rtol=1e-12, atol=1e-12)
    assert not after[1][~edges.mask].any()


def test_a_far_environment_averages_over_its_anchors_all_the_same():
    """Its attentions are tiny, all of them: it is their proportions that count."""
    anchors = normal(A, 6, seed=2).float()
    kernel = AttentionKernel(initial()(6, 4).float())
    kernel.calibrate(anchors, edges_between(anchors, anchors))
    for reach in (10.0, 50.0, 300.0):
        x = torch.zeros(1, 6)
        x[0, 0] = reach
        edges = edges_between(x, anchors)
        _, mean, _ = kernel(x, anchors, edges)
        images = (anchors @ kernel.weight)[edges.index[0]].detach().numpy()
        mean = mean.detach().numpy()[0]
        assert np.all(mean >= images.min(axis=0) - 1e-3), reach
        assert np.all(mean <= images.max(axis=0) + 1e-3), reach


def test_an_environment_on_top_of_an_anchor_has_finite_gradients():
    anchors = normal(A, 6, seed=2).float().requires_grad_()
    layer = MultiKernelLayer(6, 4, 2, lambda r, c: initial()(r, c).float())
    edges = edges_between(anchors.detach(), anchors.detach())
    layer.calibrate(anchors.detach(), edges)
    layer(anchors, anchors, edges)[0].square().sum().backward()
    for gradient in (anchors.grad, *(parameter.grad for parameter in layer.parameters())):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("themselves", [False, True])
def test_gradients_of_the_encoder_layer(stage, themselves):
    x, anchors, edges = stage
    layer = MultiKernelLayer(6, 3, 2, initial()).double()
    own = edges_between(anchors, anchors)
    layer.calibrate(anchors, own)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def function(x, anchors, *parameters):
        values = dict(zip(names, parameters, strict=True))
        arguments = (anchors, anchors, own) if themselves else (x, anchors, edges)
        return torch.func.functional_call(layer, values, arguments)

    inputs = [value.detach().clone().requires_grad_() for value in (x, anchors, *parameters)]
    assert torch.autograd.gradcheck(function, inputs)


def test_gradients_of_the_decoder_layer(stage):
    x, anchors, edges = stage
    layer = DecoderLayer(6, 3, initial(), last=False).double()
    layer.calibrate(anchors, edges_between(anchors, anchors))
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def function(x, anchors, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, anchors, edges))

    inputs = [value.detach().clone().requires_grad_() for value in (x, anchors, *parameters)]
    assert torch.autograd.gradcheck(function, inputs)


ATTENTION = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.2, 0.2], [0.5, 0.9, 0.5]])


@pytest.mark.parametrize(
    ("rate", "kept"),
    [
        (-1.0, [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
        (0.0, [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
        (0.2, [[1, 1, 0], [1, 0, 0], [1, 1, 1]]),
        (0.6, [[1, 0, 0], [1, 0, 0], [1, 1, 0]]),
        (1.0, [[1, 0, 0], [1, 0, 0], [1, 0, 0]]),
    ],
)
def test_pooling_keeps_edges_above_the_rate_and_the_nearest(rate, kept):
    edges = Edges(torch.arange(9).reshape(3, 3), torch.ones(3, 3, dtype=torch.bool))
    pooled = pool_edges(edges, ATTENTION, rate, 0.1, 0.9)
    assert pooled.mask.int().tolist() == kept
    assert torch.equal(pooled.index, edges.index)
    assert edges.mask.all(), "the edges handed in stay as they are"


def test_pooling_brings_no_edge_back():
    mask = torch.tensor([[True, False, True]] * 3)
    assert not pool_edges(Edges(torch.zeros(3, 3, dtype=torch.int64), mask), ATTENTION, -1.0, 0.1, 0.9).mask[:, 1].any()


def test_equal_attentions_are_pooled_without_dividing_by_zero():
    edges = Edges(torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool))
    assert pool_edges(edges, torch.full((2, 3), 0.4), 0.9, 0.4, 0.4).mask.all(), "all are as near as the nearest"
