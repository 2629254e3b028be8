"""The state of a potential's training, whole: what it takes to go on from there to the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.cgcnn.network_state import NetworkState, numbers_of, plain_numbers
from mlff_curate.cgcnn.potential_network import PotentialNetwork

if TYPE_CHECKING:
    from mlff_curate.data.checkpoints import Checkpoint


@dataclass(eq=False)
class TrainingState(NetworkState[PotentialNetwork]):
    """Weights and all that goes with them, see :class:`NetworkState`.

    Attributes
    ----------
    off
        (4,) sums over the steps of this epoch of absolute errors of energies per atom and of force components, in the
        network's unit, and how many they are.
    loss, energy_mae, force_mae
        (epochs,) as in :class:`mlff_curate.cgcnn.potential_training.PotentialTraining`.
    """

    off: np.ndarray = field(default_factory=lambda: np.zeros(4))
    loss: list[float] = field(default_factory=list)
    energy_mae: list[float] = field(default_factory=list)
    force_mae: list[float] = field(default_factory=list)

    def end_epoch(self, errors: tuple[float, float]) -> None:
        """Write down an epoch, with the errors of energies and forces of the frames held out."""
        self.loss.append(self.total / self.steps)
        self.energy_mae.append(errors[0])
        self.force_mae.append(errors[1])
        self.epochs, self.steps, self.total, self.off = self.epochs + 1, 0, 0.0, np.zeros(4)

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and settings, from which :meth:`restore` makes the same state."""
        arrays, settings = super().pack()
        settings |= {"off": self.off.tolist()}
        return arrays, settings | {name: plain_numbers(getattr(self, name)) for name in _HISTORIES}

    def _restore_more(self, checkpoint: Checkpoint) -> None:
        off = checkpoint.setting("off", list)
        if len(off) != 4 or not all(type(x) in (int, float) for x in off):
            checkpoint.fail("the setting off holds other than four numbers")
        self.off = np.array(off, np.float64)
        for name in _HISTORIES:
            setattr(self, name, numbers_of(checkpoint, name, self.epochs))


_HISTORIES = ("loss", "energy_mae", "force_mae")
