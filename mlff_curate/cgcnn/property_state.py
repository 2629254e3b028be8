"""The state of a property network's training, whole: what it takes to go on from there to the same bits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlff_curate.cgcnn.network_state import like, named, numbers_of, plain_numbers, tensors_of, wanted_for

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from mlff_curate.data.checkpoints import Checkpoint

_KEPT = {
    "Adam": ("step", "exp_avg", "exp_avg_sq"),
    "SGD": ("momentum_buffer",),
}
"""What torch's optimisers keep of a parameter that has been moved."""


@dataclass(eq=False)
class PropertyState:
    """Weights after an epoch and all that goes with them.

    Attributes
    ----------
    network
        Being trained.
    optimiser
        Of torch.
    best_weights
        Of the best epoch.
    best_error
        At that epoch; infinite before.
    best_epoch
        Counted from 1; 0 before.
    train_loss, validation_error
        As in :class:`mlff_curate.cgcnn.training.PropertyTraining`.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    best_weights: dict[str, torch.Tensor]
    best_error: float = math.inf
    best_epoch: int = 0
    train_loss: list[float] = field(default_factory=list)
    validation_error: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Done."""
        return len(self.train_loss)

    def end_epoch(self, loss: float, error: float | None) -> None:
        """Write down an epoch with the error of the frames held out, None: there are none; keep the best weights."""
        self.train_loss.append(loss)
        if error is not None:
            self.validation_error.append(error)
        if error is None or error < self.best_error:
            self.best_error, self.best_epoch = loss if error is None else error, self.epochs
            self.best_weights = weights_of(self.network)

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and settings, from which :meth:`restore` makes the same state."""
        arrays = {**named("network", self.network.state_dict()), **named("best", self.best_weights)}
        for index, value in enumerate(self.network.parameters()):
            arrays |= named(f"optimiser.{index}", self.optimiser.state.get(value, {}))
        settings = {
            "epochs": self.epochs,
            "best_error": self.best_error,
            "best_epoch": self.best_epoch,
            "train_loss": plain_numbers(self.train_loss),
            "validation_error": plain_numbers(self.validation_error),
        }
        return arrays, settings

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over a state.

        Parameters
        ----------
        checkpoint
            Arrays and settings that :meth:`pack` made of a training of the same network.

        Raises
        ------
        DataError
            They do not fit; names array or setting.
        """
        parts = {"network": self.network.state_dict(), "best": self.best_weights}
        wanted = wanted_for(parts)
        moved = []  # a layer that nothing is made of has no gradient, and the optimiser keeps nothing of it
        for index, value in enumerate(self.network.parameters()):
            if any(name.startswith(f"optimiser.{index}.") for name in checkpoint.arrays):
                moved.append((index, value))
                for key in self._kept:
                    wanted[f"optimiser.{index}.{key}"] = ("float32", ()) if key == "step" else like(value)
        checkpoint.require_arrays(wanted)
        checkpoint.require_no_more(wanted)
        epochs, best_epoch = (checkpoint.setting(name, int) for name in ("epochs", "best_epoch"))
        if not 1 <= best_epoch <= epochs:
            checkpoint.fail("the setting best_epoch is no epoch")
        self.train_loss = numbers_of(checkpoint, "train_loss", epochs)
        held_out = len(checkpoint.setting("validation_error", list)) > 0
        self.validation_error = numbers_of(checkpoint, "validation_error", epochs if held_out else 0)
        self.best_error, self.best_epoch = checkpoint.setting("best_error", float), best_epoch
        tensors = tensors_of(checkpoint)
        self.network.load_state_dict({name: tensors[f"network.{name}"] for name in parts["network"]})
        self.best_weights = {name: tensors[f"best.{name}"].to(value.device) for name, value in parts["best"].items()}
        for index, value in moved:
            own = {key: tensors[f"optimiser.{index}.{key}"] for key in self._kept}
            # the count of steps stays on the CPU, as torch has it
            self.optimiser.state[value] = {key: x if key == "step" else x.to(value.device) for key, x in own.items()}

    @property
    def _kept(self) -> tuple[str, ...]:
        return _KEPT[type(self.optimiser).__name__]


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of all that a network has learned."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
