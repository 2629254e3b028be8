"""MEAGraph as published (arXiv:2509.12358), from its equations: dense float64 matrices, no torch.

N environments. A graph is an (N, N) boolean matrix, true where j (column) is a neighbour of i (row), its diagonal true:
the self-loops. An attention is an (N, N) matrix, 0 where the graph has no edge. Parameters are numpy arrays:

- kernel: (weight, beta)
- layer: ([kernel, ...], mix)
- decoder layer: (kernel, mix)
- network: ([layer, ...], [decoder layer, ...])
"""

from typing import NamedTuple

import numpy as np


def leaky_relu(x):
    return np.where(x > 0, x, 0.01 * x)


def unit_columns(x):
    """Each column over its length; a column of zeros stays as it is."""
    out = np.zeros_like(x)
    for c in range(x.shape[1]):
        length = np.sqrt(np.sum(x[:, c] ** 2))
        if length > 0:
            out[:, c] = x[:, c] / length
    return out


def distances(x):
    """|x_i - x_j|, (N, N)."""
    d = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        d[i] = np.sqrt(np.sum((x[i] - x) ** 2, axis=1))
    return d


def off_diagonal(graph):
    return graph & ~np.eye(len(graph), dtype=bool)


def min_max(values, graph):
    """Scale what belongs to the graph's edges, self-loops not among them; NaN elsewhere."""
    scaled = np.full(values.shape, np.nan)
    edges = off_diagonal(graph)
    if edges.any():
        low, high = values[edges].min(), values[edges].max()
        scaled[edges] = (values[edges] - low + 1e-5) / (high - low + 1e-5)
    return scaled


def similarity(X):
    """Scaled similarity of the environments' descriptors (N, D), NaN on the diagonal."""
    s = np.exp(-distances(unit_columns(X)))
    return min_max(s, np.ones(s.shape, dtype=bool))


def with_self_loops(edges):
    return edges | np.eye(len(edges), dtype=bool)


def similarity_graph(X):
    s = similarity(X)
    return with_self_loops((s > 0.9 - 1e-5) & (s < 1 + 1e-5))


def pool(graph, attention, rate):
    return with_self_loops(min_max(attention, graph) > rate)


def attend(x, graph, kernel):
    """Return the images h of the environments, the mean of their neighbours' and the attention."""
    weight, beta = kernel
    h = x @ weight
    d = distances(unit_columns(h))
    attention = np.zeros(graph.shape)
    mean = np.zeros(h.shape)
    for i in range(len(x)):
        for j in range(len(x)):
            if graph[i, j]:
                attention[i, j] = np.exp(-beta * d[i, j])
                mean[i] += attention[i, j] * h[j]
        mean[i] /= attention[i].sum()
    return h, mean, attention


def kernel_out(x, graph, kernel):
    h, mean, attention = attend(x, graph, kernel)
    return h + mean, attention


def layer_out(x, graph, layer):
    """Multi-kernel layer without the activation and the normalisation that follow it."""
    kernels, mix = layer
    state, attention = 0.0, 0.0
    for kernel in kernels:
        out, a = kernel_out(x, graph, kernel)
        state = state + leaky_relu(out) / len(kernels)
        attention = attention + a / len(kernels)
    return state @ mix, attention


def decoder_layer_out(x, graph, layer):
    """Decoder layer without the activation and the normalisation that follow a hidden one."""
    kernel, mix = layer
    h, mean, _ = attend(x, graph, kernel)
    return mean @ mix + h


class Encoding(NamedTuple):
    """What each encoder layer gave, ran on, attended to and left."""

    states: list
    graphs: list
    attentions: list
    pooled: list


def encode(x, graph, encoder, rates):
    found = Encoding([], [], [], [])
    for layer, rate in zip(encoder, rates, strict=True):
        out, attention = layer_out(x, graph, layer)
        x = unit_columns(leaky_relu(out))
        pooled = pool(graph, attention, rate)
        for one, value in zip(found, (x, graph, attention, pooled), strict=True):
            one.append(value)
        graph = pooled
    return found


def reconstruct(x, graph, network, rates):
    encoder, decoder = network
    encoding = encode(x, graph, encoder, rates)
    state = encoding.states[-1]
    for number, layer in enumerate(decoder, start=1):
        state = decoder_layer_out(state, encoding.graphs[-number], layer)
        if number < len(decoder):
            state = unit_columns(leaky_relu(state))
    return state


def loss(x, graph, network, rates):
    return np.mean((reconstruct(x, graph, network, rates) - x) ** 2)


def components(graph):
    """Cluster of each environment: connected by edges of either direction, numbered by first member."""
    joined = graph | graph.T
    cluster = np.full(len(graph), -1)
    for first in range(len(graph)):
        if cluster[first] < 0:
            number, waiting = cluster.max() + 1, [first]
            while waiting:
                i = waiting.pop()
                if cluster[i] < 0:
                    cluster[i] = number
                    waiting.extend(np.flatnonzero(joined[i]))
    return cluster
