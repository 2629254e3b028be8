"""What every task is, and the tasks by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from mlff_curate.pretraining.network import PretrainingNetwork
    from mlff_curate.pretraining.unlabelled import Unlabelled


class Task(Protocol):
    """Something that frames themselves hold the answers to."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    @property
    def guess(self) -> float:
        """Loss of the best answer that looks at no atom's surroundings: what a network has to be better than."""

    @property
    def of_several(self) -> bool:
        """Whether frames of a batch are compared with each other: else it may be taken apart."""

    def head(self, channels: int) -> nn.Module:
        """Return the layers that answer, of states of H channels."""

    def loss(
        self,
        network: PretrainingNetwork,
        data: Unlabelled,
        frames: np.ndarray,
        rng: np.random.Generator,
        *,
        training: bool,
    ) -> tuple[torch.Tensor, int]:
        """Return the mean loss over the answers that some frames ask for, and how many these are; 0: it means nothing.

        Parameters
        ----------
        network
            With the head.
        data
            All frames.
        frames
            Indices of those to ask about.
        rng
            Of what is hidden or displaced.
        training
            Keep what is needed to differentiate the loss by the weights.
        """


COHESION, DENOISE, DISTANCE, COORDINATION, ELEMENT, CONTRASTIVE = (
    "cohesion",
    "denoise",
    "distance",
    "coordination",
    "element",
    "contrastive",
)
TASKS = (COHESION, DENOISE, DISTANCE, COORDINATION, ELEMENT, CONTRASTIVE)
OF_READOUT = (COHESION, DENOISE)
"""Tasks about slopes of energies, which train the readout."""


DEFAULT = (COHESION,)
"""Tasks of a training that asks for none: the one that helps potentials (docs/benchmarks.md)."""
