"""The paper's formulas in plain numpy, one edge after the other."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def numbers(module):
    """The weights of a module, float64, by name."""
    return {name: value.detach().numpy().astype(np.float64) for name, value in module.state_dict().items()}


def norm(x, w, name, eps=1e-5):
    mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    return (x - mean) / np.sqrt(var + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def expansion(r, size=41):
    return np.array([np.exp(-((r - 0.2 * k) ** 2) / 0.2**2) for k in range(size)])


def neighbours_of(graph, i):
    rows = np.flatnonzero(graph.centre == i)
    return zip(graph.neighbour[rows], graph.distance[rows], graph.weight[rows], strict=True)


def gated(v, graph, w, size=41):
    """Equation 5, with W put together again."""
    W = np.concatenate([w["centre_weight"], w["neighbour_weight"], w["edge_weight"]], axis=1).T
    H = v.shape[1]
    out = np.zeros_like(v)
    for i in range(len(v)):
        total = np.zeros(H)
        for j, r, weight in neighbours_of(graph, i):
            z = np.concatenate([v[i], v[j], expansion(r, size)])
            f, c = np.split(norm(z @ W + w["bias"], w, "edge_norm"), 2)
            total += weight * sigmoid(f) * softplus(c)
        out[i] = softplus(v[i] + norm(total, w, "node_norm"))
    return out


def shared(v, graph, w, size=41):
    """Equation 4."""
    out = np.zeros_like(v)
    for i in range(len(v)):
        total = np.zeros(v.shape[1] + size)
        for j, r, weight in neighbours_of(graph, i):
            total += weight * np.concatenate([v[j], expansion(r, size)])
        out[i] = softplus(total @ w["others.weight"].T + v[i] @ w["own.weight"].T + w["own.bias"])
    return out


def none(v, graph, w, size=41):  # noqa: ARG001
    """Equation 4 without neighbours."""
    return softplus(v @ w["own.weight"].T + w["own.bias"])


CONVOLUTIONS = {"gated": gated, "shared": shared, "none": none}


def predicted(network, graph, features):
    """The whole network, frame after frame: (F, outputs)."""
    w = numbers(network)
    part = lambda prefix: {k.removeprefix(prefix): x for k, x in w.items() if k.startswith(prefix)}  # noqa: E731
    v = features.astype(np.float64) @ w["embedding.weight"].T + w["embedding.bias"]
    for k in range(network.sizes.convolutions):
        v = CONVOLUTIONS[network.sizes.conv](v, graph, part(f"convolutions.{k}."), network.sizes.edge_size)
    out = []
    for frame in range(graph.frames):
        h = softplus(v[graph.frame == frame].mean(axis=0))
        h = softplus(h @ w["pooled.weight"].T + w["pooled.bias"])
        for k in range(network.sizes.hidden_layers - 1):
            h = softplus(h @ w[f"hidden.{k}.weight"].T + w[f"hidden.{k}.bias"])
        y = h @ w["output.weight"].T + w["output.bias"]
        out.append(y - np.log(np.exp(y).sum()) if network.sizes.task == "classification" else y)
    return np.array(out)
