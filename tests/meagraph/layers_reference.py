"""The equations of the layers as loops over environments and edges, in float64."""

import numpy as np
import torch


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng([seed, *shape]).normal(size=shape))


def leaky(v):
    return np.where(v > 0, v, 0.2 * v)


def kernel_by_loops(kernel, x, anchors, edges):
    W, beta = kernel.weight.detach().numpy(), float(kernel.beta.detach())
    s = float(kernel.edge_scale)
    x, anchors = x.detach().numpy(), anchors.detach().numpy()
    h, attention = np.zeros((len(x), W.shape[1])), np.zeros(edges.mask.shape)
    mean = np.zeros_like(h)
    for i in range(len(x)):
        h[i] = x[i] @ W
        for e in range(edges.mask.shape[1]):
            if edges.mask[i, e]:
                h_j = anchors[edges.index[i, e]] @ W
                length = ((h[i] - h_j) ** 2).sum()
                attention[i, e] = np.exp(-beta * (length + 1e-6) ** 0.5 / s)
                mean[i] += attention[i, e] * h_j
        alone = 1.0 - max(attention[i])  # the self-loop
        mean[i] = (alone * h[i] + mean[i]) / (alone + attention[i].sum())
    return h, mean, attention


def layer_by_loops(layer, x, anchors, edges):
    parts = [kernel_by_loops(kernel, x, anchors, edges) for kernel in layer.kernels]
    state = np.mean([leaky(0.5 * (h + mean)) for h, mean, _ in parts], axis=0)
    state = leaky(state @ layer.mix.detach().numpy()) / float(layer.scale)
    return state, np.mean([attention for *_, attention in parts], axis=0)
