"""What every training of a network has to remember, whole: weights, optimiser, the best so far, steps."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import torch
from torch import nn

from mlff_curate.cgcnn import soap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from mlff_curate.data.checkpoints import Checkpoint, Shape

_Network = TypeVar("_Network", bound=nn.Module)
_State = TypeVar("_State", bound="NetworkState[Any]")

_MEMORY = 0.995
"""Of the moving average of the weights, which is what is kept."""


@dataclass(eq=False)
class NetworkState(ABC, Generic[_Network]):
    """Weights and all that goes with them.

    Attributes
    ----------
    network
        Being trained.
    average
        Moving average of its weights.
    optimiser
        See :mod:`mlff_curate.cgcnn.soap`.
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
    """

    network: _Network
    average: _Network
    optimiser: torch.optim.Optimizer
    best_weights: dict[str, torch.Tensor]
    best_error: float = math.inf
    best_epoch: int = 0
    epochs: int = 0
    steps: int = 0
    total: float = 0.0

    @classmethod
    def new(cls, network: _Network, learning_rate: float) -> Self:
        """Return the state before the first step."""
        average = copy.deepcopy(network)
        optimiser = soap.soap(network.parameters(), learning_rate)
        return cls(network, average, optimiser, copy.deepcopy(average.state_dict()))

    def set_best(self, error: float) -> None:
        """Keep the weights of the average after the steps of an epoch, which is about to end."""
        self.best_error, self.best_epoch = error, self.epochs + 1
        self.best_weights = copy.deepcopy(self.average.state_dict())

    def move(self, rate: float, step: int) -> None:
        """Move the weights by their gradients at a step, counted from 0 over all epochs, and the average after them."""
        soap.move(self.optimiser, rate)
        memory = min(_MEMORY, (1 + step) / (10 + step))
        with torch.no_grad():
            for mine, its in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mine.lerp_(its, 1 - memory)

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and settings, from which :meth:`restore` makes the same state."""
        arrays = {
            **named("network", self.network.state_dict()),
            **named("average", self.average.state_dict()),
            **named("best", self.best_weights),
        }
        for index, value in enumerate(self.network.parameters()):
            arrays |= named(f"optimiser.{index}", soap.kept_of(self.optimiser, value))
        settings = {
            "best_error": None if math.isinf(self.best_error) else self.best_error,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "steps": self.steps,
            "total": self.total,
            "optimiser_steps": soap.steps_taken(self.optimiser),
        }
        return arrays, settings

    def restore(self, checkpoint: Checkpoint, per_epoch: int) -> None:
        """Take over a state.

        Parameters
        ----------
        checkpoint
            Arrays and settings that :meth:`pack` made of a training of the same network.
        per_epoch
            Steps of an epoch.

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
        wanted = wanted_for(kinds)
        moved = checkpoint.setting("optimiser_steps", int)
        for index, value in enumerate(self.network.parameters() if moved > 0 else ()):
            kept = soap.shapes_kept_of(value)
            wanted |= {f"optimiser.{index}.{key}": (like(value)[0], shape) for key, shape in kept.items()}
        checkpoint.require_arrays(wanted)
        checkpoint.require_no_more(wanted)
        numbers = {name: checkpoint.setting(name, int) for name in ("best_epoch", "epochs", "steps")}
        if min(*numbers.values(), moved) < 0:
            checkpoint.fail("the setting epochs or steps is below 0")
        if numbers["steps"] > per_epoch:
            checkpoint.fail(f"the setting steps is {numbers['steps']}, and an epoch has {per_epoch}")
        for name, number in numbers.items():
            setattr(self, name, number)
        error = checkpoint.setting("best_error", (float, type(None)))
        self.best_error = math.inf if error is None else error
        self.total = checkpoint.setting("total", float)
        self._restore_more(checkpoint)
        tensors = tensors_of(checkpoint)
        self.network.load_state_dict({name: tensors[f"network.{name}"] for name in kinds["network"]})
        self.average.load_state_dict({name: tensors[f"average.{name}"] for name in kinds["average"]})
        self.best_weights = {name: tensors[f"best.{name}"].to(value.device) for name, value in kinds["best"].items()}
        for index, value in enumerate(self.network.parameters()):
            start = f"optimiser.{index}."
            own = {name.removeprefix(start): x for name, x in tensors.items() if name.startswith(start)}
            if own:
                soap.give(self.optimiser, value, own)
        soap.set_steps_taken(self.optimiser, moved)

    @abstractmethod
    def _restore_more(self, checkpoint: Checkpoint) -> None:
        """Take over what a training of a certain kind remembers besides, before any weight is changed."""


def steps_before(checkpoint: Checkpoint, per_epoch: int) -> int:
    """Return the steps that a training to be resumed has done; of an epoch there are `per_epoch`."""
    return int(checkpoint.setting("epochs", int) * per_epoch + checkpoint.setting("steps", int))


class Callbacks(Generic[_State]):
    """What whoever trains is told of, after each step and each epoch.

    Parameters
    ----------
    keep
        Called with the state after each step, and after each epoch.
    progress
        Called with steps done, steps in all, and the epoch with its losses, or with those after the one before it.
    per_epoch, epochs
        Steps of an epoch, and epochs.
    """

    def __init__(
        self,
        keep: Callable[[_State], None] | None,
        progress: Callable[[int, int, str], None] | None,
        per_epoch: int,
        epochs: int,
    ) -> None:
        self._keep, self._progress = keep, progress
        self._per_epoch, self._epochs = per_epoch, epochs
        self._words = ""

    def after_step(self, state: _State) -> None:
        """Tell of a step that is not the last of its epoch."""
        words = f"after epoch {state.epochs}: {self._words}" if self._words else f"loss {state.total / state.steps:.4g}"
        self._tell(state, state.epochs + 1, words)

    def after_epoch(self, state: _State, words: str) -> None:
        """Tell of an epoch, and what is to be said of it."""
        self._words = words
        self._tell(state, state.epochs, words)

    def _tell(self, state: _State, epoch: int, words: str) -> None:
        if self._keep is not None:
            self._keep(state)
        if self._progress is not None:
            done = state.epochs * self._per_epoch + state.steps
            self._progress(done, self._epochs * self._per_epoch, f"epoch {epoch} of {self._epochs}; {words}")


def numbers_of(checkpoint: Checkpoint, name: str, count: int) -> list[float]:
    """Return a setting that holds one number per epoch; none is nan.

    Raises
    ------
    DataError
        It holds something else.
    """
    values = checkpoint.setting(name, list)
    if len(values) != count or not all(x is None or type(x) in (int, float) for x in values):
        checkpoint.fail(f"the setting {name} holds other than one number per epoch")
    return [math.nan if x is None else float(x) for x in values]


def plain_numbers(values: list[float]) -> list[float | None]:
    """Return numbers as JSON has them, which knows no nan."""
    return [None if math.isnan(x) else x for x in values]


def like(value: torch.Tensor) -> tuple[str, Shape]:
    """Return dtype and shape of a tensor, as an array is wanted that is to take its place."""
    return str(value.dtype).removeprefix("torch."), tuple(value.shape)


def wanted_for(kinds: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, tuple[str, Shape]]:
    """Return dtypes and shapes of the arrays that :func:`named` makes of tensors of several kinds."""
    return {f"{kind}.{name}": like(value) for kind, values in kinds.items() for name, value in values.items()}


def tensors_of(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Return the arrays of a file as tensors with memory of their own."""
    return {name: torch.from_numpy(array).clone() for name, array in checkpoint.arrays.items()}


def named(kind: str, values: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return tensors as arrays of a file, with the kind before their names."""
    return {f"{kind}.{name}": value.detach().cpu().numpy() for name, value in values.items()}
