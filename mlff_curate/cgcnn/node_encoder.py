"""The states of atoms in an encoder's network as features of a crystal graph's nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from mlff_curate.cgcnn.potential_network import PotentialNetwork, Standardised, layers_of
from mlff_curate.cgcnn.potential_terms import batch_of
from mlff_curate.cgcnn.representation import representation, states_of
from mlff_curate.parallel import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from ase import Atoms

    from mlff_curate.cgcnn.encoder import Encoder
    from mlff_curate.cgcnn.potential_terms import PotentialBatch
    from mlff_curate.cgcnn.property_network import Batch, NetworkSizes, PropertyNetwork
    from mlff_curate.graphs.vectors import VectorGraph


class NodeEncoder(nn.Module):
    """States of atoms in some layers of an encoder, each number in units of its spread over what is learned from.

    Parameters
    ----------
    trunk
        The network of the encoder; its readout is not used.
    layers
        Digits; see :func:`mlff_curate.cgcnn.representation.representation`. None: all.

    Raises
    ------
    UsageError
        A layer that there is not.
    """

    def __init__(self, trunk: PotentialNetwork, layers: str | None) -> None:
        super().__init__()
        self._numbers = layers_of(layers, trunk.sizes.deepest)
        self.layers = "".join(map(str, self._numbers))
        self.trunk = trunk
        self.size = len(self._numbers) * trunk.sizes.channels
        """Numbers per atom."""
        self.units = Standardised(self.size).to(self._like)

    @classmethod
    def of(cls, encoder: Encoder, layers: str | None, device: str) -> NodeEncoder:
        """Return one with a copy of an encoder's weights, its units still to be taken."""
        trunk = PotentialNetwork(encoder.sizes).to(encoder.weights["embedding.weight"].dtype)
        trunk.load_state_dict(encoder.weights)
        return cls(trunk, layers).to(device).eval()

    @property
    def _like(self) -> torch.Tensor:
        """A tensor with device and dtype of the states."""
        return self.trunk.embedding.weight

    @property
    def dtype(self) -> str:
        """Of its numbers."""
        return str(self._like.dtype).removeprefix("torch.")

    def forward(self, batch: PotentialBatch) -> torch.Tensor:
        """Return the features of the N atoms of a batch, (N, size) float32."""
        out: torch.Tensor = self.units(states_of(self.trunk, batch, self._numbers))
        return out.float()

    def batch_of(self, graph: VectorGraph) -> PotentialBatch:
        """Return a graph as tensors; all its elements are known."""
        return batch_of(graph, self.trunk.sizes.elements, self._like.dtype, str(self._like.device))

    def features(
        self,
        frames: Sequence[Atoms],
        learned: np.ndarray | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Return the features of all atoms of F frames, (N, size) float32, without gradients.

        Parameters
        ----------
        frames
            Of elements that the encoder knows.
        learned
            Atoms whose states the units are taken from before; None: units as they are.
        progress
            Called with frames done and in all.

        Raises
        ------
        DataError
            As :func:`mlff_curate.cgcnn.representation.representation`; names the frame.
        """
        states = torch.from_numpy(representation(self.trunk, frames, self.layers, progress=progress)).to(self._like)
        with one_thread(), torch.no_grad():
            if learned is not None:
                self.units.learning = True
                self.units(states[torch.from_numpy(learned)])
                self.units.learning = False
            found: np.ndarray = self.units(states).float().cpu().numpy()
        return found


class TunedNetwork(nn.Module):
    """A property network and the encoder before it, to be trained as one.

    Parameters
    ----------
    encoder
        Makes the last features of each node.
    network
        Is given these behind the features that a batch comes with.
    """

    def __init__(self, encoder: NodeEncoder, network: PropertyNetwork) -> None:
        super().__init__()
        self.encoder = encoder
        self.network = network

    @property
    def sizes(self) -> NetworkSizes:
        """Of the property network."""
        return self.network.sizes

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return what the property network says of a batch with surroundings."""
        states = torch.cat([self.encoder(part) for part in batch.surroundings])
        return self.network(replace(batch, features=torch.cat([batch.features, states], dim=1)))  # type: ignore[no-any-return]
