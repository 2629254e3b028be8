"""MEAGraph: environments to embeddings, clusters and outliers, without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from mlff_curate.errors import UsageError
from mlff_curate.graphs.similarity import components, distinct_rows, importance_sample, nearest_anchors
from mlff_curate.parallel import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from mlff_curate.meagraph.network import TrainingRecord

LINK_IN_NEIGHBOUR_DISTANCES = 6.0
"""Environments this many nearest-neighbour distances apart in the embedding are linked (docs/benchmarks.md)."""
_BATCH = 8192
_HELD_OUT = 1024
_CANDIDATES = 20_000


class MEAGraph:
    """Multi-kernel edge-attention graph autoencoder (Sun, Vita, Samanta, Lordi, arXiv:2509.12358), made inductive.

    The model keeps a bounded, seeded set of anchor environments with their state after each layer. Every environment,
    the anchors and the training data included, exchanges messages with its nearest anchors of the same element and
    with nothing else: its embedding is a function of the environment and the model, and N environments cost N times
    one. Training sees the anchors only, so that its time is bounded, too.

    Parameters
    ----------
    kernels
        K attention kernels per encoder layer.
    channels
        Size of the state after each encoder layer; the last is the embedding's.
    neighbours
        k, edges per environment.
    anchors
        At most so many anchors.
    epochs
        At most so many training steps; training stops when the reconstruction of held-out environments does.
    rate
        Pooling of the last layer's edges, a link survives if ``exp(-d / s) > rate`` with d its length in the
        embedding and s the median distance between nearest anchors; ``"auto"``: exp(-6).
    seed
        Anchors, initial weights and pooling rates while training.
    device
        Torch device of training and embedding.

    Attributes
    ----------
    anchors_, anchor_species_
        (A, D) and (A,).
    states_
        The anchors after each layer, the input first.
    anchor_cluster_
        (A,) connected component of the pooled edges.
    link_length_
        Length up to which two embeddings are linked.
    training_
        Losses, see :class:`TrainingRecord`.
    """

    def __init__(
        self,
        kernels: int = 3,
        channels: Sequence[int] = (64, 32),
        neighbours: int = 30,
        anchors: int = 2048,
        epochs: int = 60,
        rate: float | str = "auto",
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.kernels = kernels
        self.channels = tuple(channels)
        self.neighbours = neighbours
        self.anchors = anchors
        self.epochs = epochs
        self.rate = rate
        self.seed = seed
        self.device = device

    def fit(self, X: np.ndarray, species: np.ndarray, progress: Callable[[int, int, str], None] | None = None) -> Self:
        """Choose anchors, train, and cluster the anchors.

        Parameters
        ----------
        X
            (N, D) scaled descriptors; N at least 1.
        species
            (N,) atomic number at the centre.
        progress
            Called with steps done, steps in all, and the loss in words.
        """
        import torch

        from mlff_curate.meagraph.network import AutoEncoder, calibrate, train

        rng = np.random.default_rng([self.seed, 0])
        chosen, held_out = self._choose(X, species, rng)
        require_device(self.device)
        device = torch.device(self.device)
        anchors = torch.from_numpy(np.ascontiguousarray(X[chosen], dtype=np.float32)).to(device)
        self.anchor_species_ = np.asarray(species)[chosen]
        generator = torch.Generator().manual_seed(self.seed)
        self.network_ = AutoEncoder((X.shape[1], *self.channels), self.kernels, generator).to(device)
        # Many small products: more threads would wait for each other, and for whatever else the machine does.
        with one_thread():
            self.training_: TrainingRecord = train(
                self.network_,
                anchors,
                self.anchor_species_,
                torch.from_numpy(np.ascontiguousarray(X[held_out], dtype=np.float32)).to(device),
                np.asarray(species)[held_out],
                neighbours=self.neighbours,
                epochs=self.epochs,
                seed=self.seed,
                progress=progress,
            )
            self.states_: list[torch.Tensor] = calibrate(self.network_, anchors, self.anchor_species_, self.neighbours)[
                1
            ]
        self.anchors_ = anchors.cpu().numpy()
        self._cluster_anchors()
        return self

    def embed(
        self, X: np.ndarray, species: np.ndarray, progress: Callable[[int, int], None] | None = None
    ) -> np.ndarray:
        """Return the embeddings, (N, C) float32, of descriptors (N, D) and central elements (N,).

        ``progress`` is called with environments done and in all.

        Raises
        ------
        ValueError
            A central element was not in the training data.
        """
        import torch

        from mlff_curate.meagraph.network import search_edges

        species = np.asarray(species)
        out = np.empty((len(X), self.channels[-1]), np.float32)
        with torch.no_grad():
            for first in range(0, len(X), _BATCH):
                part = slice(first, first + _BATCH)
                state = torch.from_numpy(np.ascontiguousarray(X[part], dtype=np.float32)).to(self.states_[0].device)
                for layer, anchors in zip(self.network_.encoder_layers, self.states_, strict=False):
                    edges = search_edges(state, species[part], anchors, self.anchor_species_, self.neighbours)
                    state = layer(state, anchors, edges)[0]
                out[part] = state.cpu().numpy()
                if progress is not None:
                    progress(min(first + _BATCH, len(X)), len(X))
        return out

    def clusters(self, embedding: np.ndarray, species: np.ndarray) -> np.ndarray:
        """Return the cluster of each embedding, (N,): its nearest anchor's component, or -1 if no anchor is linked."""
        near = nearest_anchors(embedding, np.asarray(species), self.states_[-1].cpu().numpy(), self.anchor_species_, 1)
        linked = near.distance[:, 0] <= self.link_length_
        return np.where(linked, self.anchor_cluster_[near.index[:, 0]], -1)

    def _choose(self, X: np.ndarray, species: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw anchors and held-out rows: distinct environments, every element present, the rare not missed."""
        anchors, held_out = [], []
        elements = np.unique(species)
        room = max(1, self.anchors // len(elements))
        for z in elements:
            rows = np.flatnonzero(species == z)
            rows = rows[importance_sample(X[rows], _CANDIDATES, rng)[0]]
            rows = rows[distinct_rows(X[rows])]
            chosen = importance_sample(X[rows], room, rng)[0]
            anchors.append(rows[chosen])
            rest = np.delete(rows, chosen)
            held_out.append(np.sort(rng.permutation(rest)[: max(1, _HELD_OUT // len(elements))]))
        return np.concatenate(anchors), np.concatenate(held_out)

    def _cluster_anchors(self) -> None:
        """Pool the anchors' edges in the embedding and take connected components."""
        state = self.states_[-1].cpu().numpy()
        size = len(state)
        near = nearest_anchors(state, self.anchor_species_, state, self.anchor_species_, self.neighbours + 1)
        nearest = near.distance[:, 1] if near.distance.shape[1] > 1 else np.zeros(0)
        nearest = nearest[np.isfinite(nearest) & (nearest > 0)]
        scale = float(np.median(nearest)) if len(nearest) else 1.0
        reach = LINK_IN_NEIGHBOUR_DISTANCES if self.rate == "auto" else -float(np.log(max(float(self.rate), 1e-300)))
        self.link_length_ = reach * scale
        kept = near.distance <= self.link_length_
        edges = np.column_stack([np.repeat(np.arange(size), kept.sum(axis=1)), near.index[kept]])
        self.anchor_cluster_ = components(edges, size)


def require_device(name: str) -> None:
    """Refuse a torch device that cannot be used here.

    Raises
    ------
    UsageError
        With torch's reason.
    """
    if name == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=torch.device(name))
    except (RuntimeError, AssertionError) as error:
        words = str(error).splitlines()[0]
        raise UsageError(f"{name!r} cannot be used ({words})", key="--device") from None
