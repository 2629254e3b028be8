"""A small network that predicts a number of each atom from features of each atom."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.descriptors.scaling import Standard
from mlff_curate.parallel import one_thread
from mlff_curate.validation.families import inner_split

if TYPE_CHECKING:
    import torch

_BATCH = 256
_LEARNING_RATE = 2e-3
_DECAY = 1e-4
_HIDDEN = 64


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """Two hidden layers of 64 with SiLU on standardised features.

    Attributes
    ----------
    standard
        What features are measured in.
    network
        Standardised features to the standardised target.
    mean, spread
        Of the target.
    epochs
        After which the weights were best.
    """

    standard: Standard
    network: torch.nn.Module
    mean: float
    spread: float
    epochs: int

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        y: np.ndarray,
        frame: np.ndarray,
        family: np.ndarray | None = None,
        *,
        seed: int = 0,
        epochs: int = 200,
        patience: int = 20,
    ) -> FeatureNetwork:
        """Train on four fifths of the frames, until the mean absolute error on the others falls no more.

        AdamW on the mean squared error; the weights of the epoch with the least error on the others are kept. The same
        arguments give the same weights.

        Parameters
        ----------
        X, y
            (N, D) features and (N,) target.
        frame
            (N,) the number of each atom's frame.
        family
            (N,) that of its family of frames, if more than one frame is to be on the same side of the inner split.
        seed
            Of the weights, the batches and the inner split.
        epochs
            At most.
        patience
            Epochs without a smaller error before training stops.
        """
        import torch

        learned, held_out = inner_split(frame if family is None else family, seed)
        standard = Standard.of(X[learned])
        mean, spread = float(y[learned].mean()), float(y[learned].std()) or 1.0
        held_out = held_out if len(held_out) else learned
        with one_thread(), torch.random.fork_rng([]):
            torch.manual_seed(seed)
            features, answers = (
                [torch.from_numpy(np.asarray(values[part], np.float32)) for part in (learned, held_out)]
                for values in (standard(X), (y - mean) / spread)
            )
            network = torch.nn.Sequential(
                torch.nn.Linear(X.shape[1], _HIDDEN),
                torch.nn.SiLU(),
                torch.nn.Linear(_HIDDEN, _HIDDEN),
                torch.nn.SiLU(),
                torch.nn.Linear(_HIDDEN, 1),
            )
            optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_DECAY)
            best, kept, at = np.inf, copy.deepcopy(network.state_dict()), 0
            for epoch in range(1, epochs + 1):
                for batch in torch.split(torch.randperm(len(learned)), _BATCH):
                    optimiser.zero_grad()
                    off = network(features[0][batch])[:, 0] - answers[0][batch]
                    off.square().mean().backward()
                    optimiser.step()
                with torch.no_grad():
                    error = float((network(features[1])[:, 0] - answers[1]).abs().mean())
                if error < best:
                    best, kept, at = error, copy.deepcopy(network.state_dict()), epoch
                if epoch - at >= patience:
                    break
            network.load_state_dict(kept)
        return cls(standard, network.eval(), mean, spread, at)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the target of atoms with features (N, D), (N,)."""
        import torch

        with one_thread(), torch.no_grad():
            found = self.network(torch.from_numpy(np.asarray(self.standard(X), np.float32)))[:, 0]
        out: np.ndarray = self.mean + self.spread * found.double().numpy()
        return out
