"""The layers are the equations of their docstrings, and their gradients are right.

Reference: layers_reference.py, with the layers' 1e-6 added to squared lengths.
"""

import numpy as np
import pytest
import torch
from layers_reference import kernel_by_loops, layer_by_loops, leaky, normal

from mlff_curate.graphs.similarity import nearest_anchors
from mlff_curate.meagraph.layers import AttentionKernel, DecoderLayer, Edges, MultiKernelLayer, pool_edges

N, A, K_EDGES = 9, 14, 5


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


def test_the_edge_scale_of_a_kernel_is_the_median_edge_of_the_anchors():
    """Edges that are masked, or to an anchor that is the same, do not count."""
    anchors = normal(A, 6, seed=2)
    anchors[5] = anchors[4]
    edges = edges_between(anchors, anchors, dropped=[(0, 4), (3, 1), (3, 2)])
    kernel = AttentionKernel(initial()(6, 4)).double()
    kernel.calibrate(anchors, edges)
    h = (anchors @ kernel.weight).detach().numpy()
    pairs = [(i, edges.index[i, e].item()) for i in range(A) for e in range(K_EDGES) if edges.mask[i, e]]
    lengths = sorted(np.linalg.norm(h[i] - h[j]) for i, j in pairs if (anchors[i] != anchors[j]).any())
    assert float(kernel.edge_scale) == pytest.approx(lengths[(len(lengths) - 1) // 2], rel=1e-12)


def test_anchors_that_are_all_the_same_have_scales_of_one():
    anchors = torch.ones(A, 6, dtype=torch.float64)
    layer = MultiKernelLayer(6, 4, 2, initial(), initial()).double()
    layer.calibrate(anchors, edges_between(anchors, anchors), 0.0)
    assert float(layer.scale) == 1.0
    assert [float(kernel.edge_scale) for kernel in layer.kernels] == [1.0, 1.0]


def test_a_multi_kernel_layer_is_its_equations(stage):
    anchors = stage[1]
    layer = MultiKernelLayer(6, 4, 3, initial(), initial(1)).double()
    layer.calibrate(anchors, edges_between(anchors, anchors), 2.0)
    for found, wanted in zip(layer(*stage), layer_by_loops(layer, *stage), strict=True):
        np.testing.assert_allclose(found.detach(), wanted, atol=1e-10)


@pytest.mark.parametrize("variance", [0.01, 1.0, 400.0])
def test_a_calibrated_layer_gives_anchors_the_variance_asked_for(variance):
    anchors = 37.0 * normal(A, 6, seed=2) + 5.0
    layer = MultiKernelLayer(6, 4, 3, initial(), initial(1)).double()
    edges = edges_between(anchors, anchors)
    for _ in range(2):  # whatever the scale was before
        layer.calibrate(anchors, edges, variance)
        state = layer(anchors, anchors, edges)[0].detach()
        assert float(state.var(dim=0, unbiased=False).sum()) == pytest.approx(variance, rel=1e-9)


def test_calibrating_leaves_the_weights_alone():
    anchors = normal(A, 6, seed=2)
    layer = MultiKernelLayer(6, 4, 3, initial(), initial(1)).double()
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    layer.calibrate(anchors, edges_between(anchors, anchors), 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, layer.parameters(), strict=True))


@pytest.mark.parametrize("last", [False, True])
def test_a_decoder_layer_is_its_equations(stage, last):
    anchors = stage[1]
    layer = DecoderLayer(6, 8, initial(), initial(1), last=last).double()
    layer.calibrate(anchors, edges_between(anchors, anchors))
    h, mean, _ = kernel_by_loops(layer.kernel, *stage)
    wanted = mean @ layer.mix.detach().numpy() + h
    np.testing.assert_allclose(layer(*stage).detach(), wanted if last else leaky(wanted), atol=1e-10)


def test_masked_edges_carry_nothing(stage):
    """Neither does where they point to."""
    x, anchors, edges = stage
    layer = MultiKernelLayer(6, 4, 2, initial(), initial(1)).double()
    layer.calibrate(anchors, edges_between(anchors, anchors), 2.0)
    elsewhere = torch.where(edges.mask, edges.index, (edges.index + 3) % A)
    before, after = layer(x, anchors, edges), layer(x, anchors, Edges(elsewhere, edges.mask))
    torch.testing.assert_close(after[0], before[0], rtol=1e-12, atol=1e-12)
    assert not after[1][~edges.mask].any()


def test_a_far_environment_stays_where_it_is():
    """Its attentions are tiny, all of them, beside that of the self-loop; nothing overflows."""
    anchors = normal(A, 6, seed=2).float()
    kernel = AttentionKernel(initial()(6, 4).float())
    kernel.calibrate(anchors, edges_between(anchors, anchors))
    moved = []
    for reach in (1.0, 10.0, 50.0, 1e4):
        x = torch.zeros(1, 6)
        x[0, 0] = reach
        h, mean, attention = kernel(x, anchors, edges_between(x, anchors))
        assert torch.isfinite(attention).all()
        moved.append(float(((mean - h).norm() / h.norm()).detach()))
    assert np.all(np.diff(moved) <= 0)
    assert moved[0] > 0.1
    assert moved[-1] == 0.0


def test_an_anchor_has_no_self_loop_beside_itself():
    """It is its own first neighbour, and would else count twice."""
    anchors = normal(A, 6, seed=2)
    kernel = AttentionKernel(initial()(6, 4)).double()
    edges = edges_between(anchors, anchors)
    kernel.calibrate(anchors, edges)
    h, mean, attention = (value.detach() for value in kernel(anchors, anchors, edges))
    assert torch.equal(edges.index[:, 0], torch.arange(A))
    wanted = torch.einsum("nk,nkc->nc", attention / attention.sum(dim=1, keepdim=True), h[edges.index])
    torch.testing.assert_close(mean, wanted, rtol=0, atol=1e-2)


def test_an_environment_on_top_of_an_anchor_has_finite_gradients():
    anchors = normal(A, 6, seed=2).float().requires_grad_()
    small = [lambda r, c, seed=seed: initial(seed)(r, c).float() for seed in (0, 1)]
    layer = MultiKernelLayer(6, 4, 2, *small)
    edges = edges_between(anchors.detach(), anchors.detach())
    layer.calibrate(anchors.detach(), edges, 2.0)
    layer(anchors, anchors, edges)[0].square().sum().backward()
    for gradient in (anchors.grad, *(parameter.grad for parameter in layer.parameters())):
        assert torch.isfinite(gradient).all()


@pytest.fixture
def few():
    """As ``stage``, and small, since every number is moved: environments, anchors, edges, the anchors' own edges."""
    x, anchors = normal(3, 4, seed=1), normal(5, 4, seed=2)
    return x, anchors, edges_between(x, anchors, 3, dropped=[(0, 2), (1, 1)]), edges_between(anchors, anchors, 3)


def gradients_are_right(layer, x, anchors, edges):
    """Of environments, anchors and weights; x None: the anchors themselves, whose first edge has length zero."""
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def function(anchors, *others):
        first, values = (anchors, others) if x is None else (others[0], others[1:])
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (first, anchors, edges))

    given = (anchors, *parameters) if x is None else (anchors, x, *parameters)
    return torch.autograd.gradcheck(function, [value.detach().clone().requires_grad_() for value in given])


@pytest.mark.parametrize("themselves", [False, True])
def test_gradients_of_the_encoder_layer(few, themselves):
    x, anchors, edges, own = few
    layer = MultiKernelLayer(4, 3, 2, initial(), initial(1)).double()
    layer.calibrate(anchors, own, 2.0)
    assert gradients_are_right(layer, *((None, anchors, own) if themselves else (x, anchors, edges)))


@pytest.mark.parametrize("themselves", [False, True])
def test_gradients_of_the_decoder_layer(few, themselves):
    x, anchors, edges, own = few
    layer = DecoderLayer(4, 3, initial(), initial(1), last=False).double()
    layer.calibrate(anchors, own)
    assert gradients_are_right(layer, *((None, anchors, own) if themselves else (x, anchors, edges)))


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
    pooled = pool_edges(edges, ATTENTION, rate)
    assert pooled.mask.int().tolist() == kept
    assert torch.equal(pooled.index, edges.index)
    assert edges.mask.all(), "the edges handed in stay as they are"


def test_pooling_brings_no_edge_back():
    mask = torch.tensor([[True, False, True]] * 3)
    assert not pool_edges(Edges(torch.zeros(3, 3, dtype=torch.int64), mask), ATTENTION, -1.0).mask[:, 1].any()


def test_attention_is_scaled_over_the_edges_that_are_there():
    """Attention of padding is zero, and would else be the smallest."""
    mask = torch.ones(3, 3, dtype=torch.bool)
    mask[0, 2] = mask[2, 1] = False
    for low, high in ((0.0, 0.0), (0.0, 7.0), (0.0, 0.9)):
        attention = ATTENTION.clone()
        attention[0, 2], attention[2, 1] = low, high
        for rate, kept in ((0.42, [[1, 1, 0], [1, 0, 0], [1, 0, 1]]), (0.44, [[1, 0, 0], [1, 0, 0], [1, 0, 0]])):
            pooled = pool_edges(Edges(torch.zeros(3, 3, dtype=torch.int64), mask), attention, rate)
            assert pooled.mask.int().tolist() == kept, "from 0.2 to 0.9, 0.5 becomes 0.43"


def test_where_no_edge_is_there_none_is_pooled():
    mask = torch.zeros(3, 3, dtype=torch.bool)
    assert not pool_edges(Edges(torch.zeros(3, 3, dtype=torch.int64), mask), ATTENTION, 0.5).mask.any()


def test_equal_attentions_are_pooled_without_dividing_by_zero():
    edges = Edges(torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.bool))
    assert pool_edges(edges, torch.full((2, 3), 0.4), 0.9).mask.all(), "all are as near as the nearest"


def test_rows_of_edges_are_those_of_the_environments():
    edges = Edges(torch.arange(9).reshape(3, 3), torch.eye(3, dtype=torch.bool))
    some = edges.rows(torch.tensor([2, 0]))
    assert some.index.tolist() == [[6, 7, 8], [0, 1, 2]]
    assert some.mask.tolist() == [[False, False, True], [True, False, False]]
