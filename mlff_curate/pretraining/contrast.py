"""The contrastive task: two views of one frame are to be alike, and unlike those of the others.

NT-Xent with T = 0.1 (T. Chen et al., ICML 2020), views as in J.-G. Kong et al., arXiv 2211.03563, whose are supercells:
here also noise as of heat, and an orientation, which the states of atoms do not depend on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.pretraining.network import small_network
from mlff_curate.pretraining.tasks import CONTRASTIVE
from mlff_curate.pretraining.views import enlarged, noisy, turned

if TYPE_CHECKING:
    from torch import nn

    from mlff_curate.pretraining.network import PretrainingNetwork
    from mlff_curate.pretraining.unlabelled import Unlabelled

_TEMPERATURE = 0.1
_HEAT = 0.05
"""Angstrom, of each component of the displacements."""


@dataclass(frozen=True)
class Contrast:
    """Two views of each frame of a batch.

    Attributes
    ----------
    guess
        See :class:`mlff_curate.pretraining.tasks.Task`.
    """

    guess: float
    name = CONTRASTIVE
    of_several = True

    @classmethod
    def of(cls, training: int, held_out: int, batch_size: int) -> Contrast:
        """Return the task for so many frames to learn from and held out, so many in a batch at most.

        A guess is one of all other views of a batch, and the loss is told of batches of frames held out; where there
        are none of two frames, a guess in training is.
        """
        sizes = [len(part) for part in np.array_split(np.arange(held_out), max(1, math.ceil(held_out / batch_size)))]
        told = np.array([size for size in sizes if size > 1] or [min(batch_size, training)])
        return cls(float((told * np.log(2 * told - 1)).sum() / told.sum()))

    def head(self, channels: int) -> nn.Module:
        """Return the projection."""
        return small_network(channels, channels, channels)

    def loss(
        self,
        network: PretrainingNetwork,
        data: Unlabelled,
        frames: np.ndarray,
        rng: np.random.Generator,
        *,
        training: bool,
    ) -> tuple[torch.Tensor, int]:
        """Return the mean of NT-Xent; see :class:`mlff_curate.pretraining.tasks.Task`. One frame is like no other."""
        if len(frames) < 2:
            return torch.zeros((), device=data.device), 0
        views = [
            turned(noisy(enlarged(data.frames[i], rng), _HEAT, 0.0, rng).atoms, rng) for _ in range(2) for i in frames
        ]
        batch = data.batch(vector_graph(views, data.cutoff))
        with torch.set_grad_enabled(training):
            states = network.last_states(batch)
            total = states.new_zeros(len(views), states.shape[1]).index_add(0, batch.frame, states)
            return nt_xent(network.heads[CONTRASTIVE](total / batch.atoms[:, None])), len(views)


def nt_xent(vectors: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of (2B, D) vectors, of which the k-th and the B + k-th are of one frame."""
    unit = functional.normalize(vectors, dim=1)
    alike = unit @ unit.T / _TEMPERATURE
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    partner = torch.arange(len(vectors), device=vectors.device).roll(len(vectors) // 2)
    return functional.cross_entropy(alike.masked_fill(itself, -torch.inf), partner)
