"""The state of a potential's training, whole: what it takes to go on from there to the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.cgcnn.network_state import NetworkState, like, numbers_of, plain_numbers
from mlff_curate.cgcnn.potential_network import PotentialNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from mlff_curate.data.checkpoints import Checkpoint, Shape


@dataclass(eq=False)
class TrainingState(NetworkState[PotentialNetwork]):
    """Weights and all that goes with them, see :class:`NetworkState`; the optimiser is SOAP of pytorch-optimizer.

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

    def move(self) -> None:
        """Move the weights by their gradients."""
        self.optimiser.step()
        # in rows, as they are read back: products of what lies in columns have other bits
        for kept in self.optimiser.state.values():
            kept["Q"] = [side.contiguous() if len(side) else side for side in kept["Q"]]

    @property
    def _group(self) -> dict[str, Any]:
        """What the optimiser knows of all parameters."""
        return self.optimiser.param_groups[0]

    def end_epoch(self, errors: tuple[float, float]) -> None:
        """Write down an epoch, with the errors of energies and forces of the frames held out."""
        self.loss.append(self.total / self.steps)
        self.energy_mae.append(errors[0])
        self.force_mae.append(errors[1])
        self.epochs, self.steps, self.total, self.off = self.epochs + 1, 0, 0.0, np.zeros(4)

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and settings, from which :meth:`restore` makes the same state."""
        arrays, settings = super().pack()
        settings |= {"off": self.off.tolist(), "optimiser_steps": self._group.get("step", 0)}
        return arrays, settings | {name: plain_numbers(getattr(self, name)) for name in _HISTORIES}

    def _restore_more(self, checkpoint: Checkpoint) -> None:
        off = checkpoint.setting("off", list)
        if len(off) != 4 or not all(type(x) in (int, float) for x in off):
            checkpoint.fail("the setting off holds other than four numbers")
        self.off = np.array(off, np.float64)
        for name in _HISTORIES:
            setattr(self, name, numbers_of(checkpoint, name, self.epochs))
        taken = checkpoint.setting("optimiser_steps", int)
        if taken:
            self._group["step"] = taken

    def _kept_of(self, value: torch.Tensor) -> Mapping[str, torch.Tensor]:
        state = self.optimiser.state[value]
        if not state:
            return {}
        moments = {name: state[name] for name in _MOMENTS}
        return moments | {f"{name}.{k}": side for name in _BASES for k, side in enumerate(state[name]) if len(side)}

    def _wanted_of(self, value: torch.Tensor, index: int, checkpoint: Checkpoint) -> Mapping[str, tuple[str, Shape]]:  # noqa: ARG002
        taken = checkpoint.setting("optimiser_steps", int)
        if taken < 0:
            checkpoint.fail("the setting epochs or steps is below 0")
        if not taken:
            return {}
        kind, sides = like(value)[0], value.shape if value.ndim > 1 else ()
        moments: dict[str, tuple[str, Shape]] = {name: (kind, tuple(value.shape)) for name in _MOMENTS}
        return moments | {f"{name}.{k}": (kind, (side, side)) for name in _BASES for k, side in enumerate(sides)}

    def _take(self, value: torch.Tensor, tensors: Mapping[str, torch.Tensor]) -> None:
        own = {name: tensor.to(value.device) for name, tensor in tensors.items()}
        bases: dict[str, list[Any]] = {
            name: [own[f"{name}.{k}"] for k in range(value.ndim)] if value.ndim > 1 else [[]] for name in _BASES
        }
        group = self._group
        self.optimiser.state[value] = {
            **{name: own[name] for name in _MOMENTS},
            **bases,
            "precondition_frequency": group["precondition_frequency"],
            "shampoo_beta": group["betas"][1] if group["shampoo_beta"] is None else group["shampoo_beta"],
        }


_HISTORIES = ("loss", "energy_mae", "force_mae")
_MOMENTS = ("exp_avg", "exp_avg_sq")
"""What SOAP keeps of a parameter in its own shape."""
_BASES = ("GG", "Q")
"""What it keeps of each dimension of a parameter of two or more: second moments and their eigenvectors."""
