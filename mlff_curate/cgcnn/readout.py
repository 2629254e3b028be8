"""The readout of a potential's network, which makes an energy of an atom's last state, apart from the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from mlff_curate.cgcnn.potential_network import PotentialNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def scale_readout(network: PotentialNetwork, factor: float) -> None:
    """Multiply what the network says by a factor."""
    last = network.energy[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(factor)
        last.bias.mul_(factor)


def factor_to(wanted: np.ndarray, found: np.ndarray) -> float | None:
    """Return what forces found are multiplied by to be nearest those wanted, by least squares.

    Parameters
    ----------
    wanted
        (N, 3); what is not known is nan.
    found
        (N, 3).

    Returns
    -------
    float or None
        None where there is nothing to tell it by, or they point the other way.
    """
    known = np.isfinite(wanted)
    size = float(np.square(found[known]).sum())
    factor = float((found[known] * wanted[known]).sum()) / size if size > 0 else 0.0
    return factor if factor > 0 and np.isfinite(factor) else None
