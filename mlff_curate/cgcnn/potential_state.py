"""The state of a training, whole: what it takes to go on from there to the same bits."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlff_curate.cgcnn.potential_network import PotentialNetwork
    from mlff_curate.data.checkpoints import Checkpoint, Shape


@dataclass(eq=False)
class TrainingState:
    """Weights and all that goes with them.

    Attributes
    ----------
    network
        Being trained.
    average
        Moving average of its weights.
    optimiser
        SOAP of pytorch-optimizer.
    best_weights
        Of the average at the best epoch.
    best_error
        Of the frames held out, at that epoch; infinite before, and where nothing is known of them.
    best_epoch
        Counted from 1; 0 before.
    epochs, steps
        Done; the second in the epoch that is not.
    total
        Sum of the losses of these steps.
    off
        (4,) sums over these steps of absolute errors of energies per atom and of force components, in the network's
        unit, and how many they are.
    loss, energy_mae, force_mae
        (epochs,) as in :class:`mlff_curate.cgcnn.potential_training.PotentialTraining`.
    """

    network: PotentialNetwork
    average: PotentialNetwork
    optimiser: torch.optim.Optimizer
    best_weights: dict[str, torch.Tensor]
    best_error: float = math.inf
    best_epoch: int = 0
    epochs: int = 0
    steps: int = 0
    total: float = 0.0
    off: np.ndarray = field(default_factory=lambda: np.zeros(4))
    loss: list[float] = field(default_factory=list)
    energy_mae: list[float] = field(default_factory=list)
    force_mae: list[float] = field(default_factory=list)

    @classmethod
    def new(cls, network: PotentialNetwork, optimiser: torch.optim.Optimizer) -> TrainingState:
        """Return the state before the first step."""
        average = copy.deepcopy(network)
        return cls(network, average, optimiser, copy.deepcopy(average.state_dict()))

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

    def set_best(self, error: float) -> None:
        """Keep the weights of the average after the steps of an epoch, which is about to end."""
        self.best_error, self.best_epoch = error, self.epochs + 1
        self.best_weights = copy.deepcopy(self.average.state_dict())

    def end_epoch(self, errors: tuple[float, float]) -> None:
        """Write down an epoch, with the errors of energies and forces of the frames held out."""
        self.loss.append(self.total / self.steps)
        self.energy_mae.append(errors[0])
        self.force_mae.append(errors[1])
        self.epochs, self.steps, self.total, self.off = self.epochs + 1, 0, 0.0, np.zeros(4)

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and settings, from which :meth:`restore` makes the same state."""
        arrays = {
            **_named("network", self.network.state_dict()),
            **_named("average", self.average.state_dict()),
            **_named("best", self.best_weights),
        }
        for index, value in enumerate(self.network.parameters()):
            arrays |= _named(f"optimiser.{index}", _flat(self.optimiser.state[value]))
        settings = {
            "best_error": None if math.isinf(self.best_error) else self.best_error,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "steps": self.steps,
            "total": self.total,
            "off": self.off.tolist(),
            "optimiser_steps": self._group.get("step", 0),
            **{name: [None if math.isnan(x) else x for x in getattr(self, name)] for name in _HISTORIES},
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
        kinds = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best_weights,
        }
        wanted: dict[str, tuple[str, Shape]] = {
            f"{kind}.{name}": _like(value) for kind, values in kinds.items() for name, value in values.items()
        }
        taken = checkpoint.setting("optimiser_steps", int)
        if taken > 0:
            for index, value in enumerate(self.network.parameters()):
                wanted |= {f"optimiser.{index}.{key}": kind for key, kind in _kept_of(value).items()}
        checkpoint.require_arrays(wanted)
        checkpoint.require_no_more(wanted)
        numbers = {name: checkpoint.setting(name, int) for name in ("best_epoch", "epochs", "steps")}
        if min(*numbers.values(), taken) < 0:
            checkpoint.fail("the setting epochs or steps is below 0")
        for name, value in numbers.items():
            setattr(self, name, value)
        error = checkpoint.setting("best_error", (float, type(None)))
        self.best_error = math.inf if error is None else error
        self.total = checkpoint.setting("total", float)
        off = checkpoint.setting("off", list)
        if len(off) != 4 or not all(type(x) in (int, float) for x in off):
            checkpoint.fail("the setting off holds other than four numbers")
        self.off = np.array(off, np.float64)
        for name in _HISTORIES:
            values = checkpoint.setting(name, list)
            if len(values) != self.epochs or not all(x is None or type(x) in (int, float) for x in values):
                checkpoint.fail(f"the setting {name} holds other than one number per epoch")
            setattr(self, name, [math.nan if x is None else float(x) for x in values])
        tensors = {name: torch.from_numpy(array).clone() for name, array in checkpoint.arrays.items()}
        self.network.load_state_dict({name: tensors[f"network.{name}"] for name in kinds["network"]})
        self.average.load_state_dict({name: tensors[f"average.{name}"] for name in kinds["average"]})
        self.best_weights = {name: tensors[f"best.{name}"].to(value.device) for name, value in kinds["best"].items()}
        if taken:
            self._group["step"] = taken
            for index, value in enumerate(self.network.parameters()):
                own = {key: tensors[f"optimiser.{index}.{key}"].to(value.device) for key in _kept_of(value)}
                self.optimiser.state[value] = _deep(own, value, self._group)


_MOMENTS = ("exp_avg", "exp_avg_sq")
"""What SOAP keeps of a parameter in its own shape."""
_BASES = ("GG", "Q")
"""What it keeps of each dimension of a parameter of two or more: second moments and their eigenvectors."""


def _kept_of(value: torch.Tensor) -> dict[str, tuple[str, Shape]]:
    """Return names and shapes of what the optimiser keeps of a parameter."""
    kind, sides = _like(value)[0], value.shape if value.ndim > 1 else ()
    moments: dict[str, tuple[str, Shape]] = {name: (kind, tuple(value.shape)) for name in _MOMENTS}
    return moments | {f"{name}.{k}": (kind, (side, side)) for name in _BASES for k, side in enumerate(sides)}


def _flat(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors in what the optimiser keeps of a parameter; nothing before the first step."""
    if not state:
        return {}
    moments = {name: state[name] for name in _MOMENTS}
    return moments | {f"{name}.{k}": side for name in _BASES for k, side in enumerate(state[name]) if len(side)}


def _deep(tensors: Mapping[str, torch.Tensor], value: torch.Tensor, group: Mapping[str, Any]) -> dict[str, Any]:
    """Undo :func:`_flat`."""
    bases: dict[str, list[Any]] = {
        name: [tensors[f"{name}.{k}"] for k in range(value.ndim)] if value.ndim > 1 else [[]] for name in _BASES
    }
    beta = group["betas"][1] if group["shampoo_beta"] is None else group["shampoo_beta"]
    frequency = group["precondition_frequency"]
    moments = {name: tensors[name] for name in _MOMENTS}
    return {**moments, **bases, "precondition_frequency": frequency, "shampoo_beta": beta}


_HISTORIES = ("loss", "energy_mae", "force_mae")


def _named(kind: str, values: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {f"{kind}.{name}": value.detach().cpu().numpy() for name, value in values.items()}


def _like(value: torch.Tensor) -> tuple[str, Shape]:
    return str(value.dtype).removeprefix("torch."), tuple(value.shape)
