"""The readout of a potential's network, which makes an energy of an atom's states, apart from the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from mlff_curate.cgcnn.potential_network import PotentialNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator


FIRST_LAYER = "energy.0.weight"
"""Name of the first layer's weights, (H, L H) for L states of an atom, one beside the other."""
LAST_ROW = "energy.2.weight"
"""Name of the last layer's weights, (1, H)."""
_RIDGE = 1e-4
"""Beside the squares of answers, each of length one."""
_LEAST = 1e-3
"""Root mean square from which on an answer is told from rounding."""


def is_of_readout(name: str) -> bool:
    """Tell whether an array of the network belongs to the readout, by its name."""
    return name.startswith("energy.")


class ReadoutTrained(PotentialNetwork):
    """A network whose readout alone is trained: nothing else is a parameter to whoever asks for these."""

    @classmethod
    def of(cls, network: PotentialNetwork) -> ReadoutTrained:
        """Return one with the same weights; they are copied."""
        own = next(network.parameters())
        made = cls(network.sizes).to(own.device, own.dtype)
        made.load_state_dict(network.state_dict())
        for name, value in PotentialNetwork.named_parameters(made):
            value.requires_grad_(is_of_readout(name))
        return made

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters of the readout."""
        for name, value in super().named_parameters(prefix, recurse, remove_duplicate):
            if is_of_readout(name.removeprefix(f"{prefix}.") if prefix else name):
                yield name, value

    def whole(self) -> PotentialNetwork:
        """Return a network all of whose weights are parameters, with the same."""
        own = next(self.parameters())
        made = PotentialNetwork(self.sizes).to(own.device, own.dtype)
        made.load_state_dict(self.state_dict())
        return made.eval()


def set_row(network: PotentialNetwork, row: torch.Tensor) -> None:
    """Have the readout end with a row, (1, H), and no constant."""
    last = network.energy[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.copy_(row)
        last.bias.zero_()


def mixing_to(wanted: np.ndarray, found: np.ndarray) -> np.ndarray | None:
    """Return what R answers are multiplied by for their sum to be nearest what is wanted, (R,).

    By least squares with a small ridge, in units in which all answers are of one size: of two that are nearly alike,
    neither grows large. What is wanted counts the less the larger it is beside the unit, so that a few wild labels do
    not decide.

    Parameters
    ----------
    wanted
        (N,) in units in which it is of the order of one; what is not known is nan.
    found
        (N, R) in the same; what is hardly there is not told from rounding, and left out.

    Returns
    -------
    ndarray or None
        None where there is nothing to tell it by, or a single answer is best turned around.
    """
    known = np.isfinite(wanted)
    weight = 1 / np.sqrt(1 + wanted[known] ** 2)
    answers, target = found[known] * weight[:, None], wanted[known] * weight
    size = np.sqrt(np.square(answers).sum(axis=0))
    told = np.flatnonzero(size > _LEAST * np.sqrt(len(target)))
    if not len(told) or not target.any():
        return None
    unit = answers[:, told] / size[told]
    out = np.zeros(found.shape[1])
    out[told] = np.linalg.solve(unit.T @ unit + _RIDGE * np.eye(len(told)), unit.T @ target) / size[told]
    turned = found.shape[1] == 1 and out[0] <= 0
    return out if np.isfinite(out).all() and out.any() and not turned else None
