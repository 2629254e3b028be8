"""Weights that a training begins from, in place of random ones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlff_curate.cgcnn.elements import symbol_of
from mlff_curate.cgcnn.network_file import ENCODER_KIND, POTENTIAL_KIND, read_encoder_network
from mlff_curate.cgcnn.potential import DTYPES, Potential
from mlff_curate.cgcnn.readout import FIRST_LAYER, LAST_ROW, is_of_readout
from mlff_curate.data.checkpoints import kind_of, read_checkpoint
from mlff_curate.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlff_curate.cgcnn.potential_network import PotentialNetwork, PotentialSizes

_BY_ELEMENT = ("embedding.weight",)
"""Arrays of the network with a row for each element."""
_OF_DATA = ("elements", "neighbours")
"""Sizes that are no parameter: the first are those of the new frames, the second is the encoder's."""
_FREE = "layers"
"""The parameter that a training may choose anew: the readout alone depends on it."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """A trained network: of a potential, or of a pretraining, which knows neither a unit nor a zero of energies.

    Attributes
    ----------
    sizes
        Of the network.
    weights
        By name, as the network has them.
    level
        (S,) energy of a free atom of each of its elements, eV; None: not known.
    scale
        eV, its unit of energy; None: not known.
    rows
        (R, H) what makes energies of the last layer of the readout, in R ways, each up to a constant and in units of
        its own: a training that begins from here takes the sum of them that is nearest to its labels. None: the readout
        was not trained, and is not taken over.
    """

    sizes: PotentialSizes
    weights: Mapping[str, torch.Tensor]
    level: np.ndarray | None
    scale: float | None
    rows: torch.Tensor | None = None

    @classmethod
    def of(cls, potential: Potential) -> Encoder:
        """Return the weights of a trained potential."""
        fitted = potential.fitted_
        weights = {name: value.detach().cpu() for name, value in fitted.network.state_dict().items()}
        return cls(fitted.network.sizes, weights, fitted.level, fitted.scale, weights[LAST_ROW])

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of :class:`Potential` that a training from here must have, but for layers."""
        names = (field.name for field in fields(self.sizes) if field.name not in _OF_DATA)
        return {name: getattr(self.sizes, name) for name in names} | {_FREE: self.sizes.layers or None}

    @property
    def dtype(self) -> str:
        """Of its numbers: a training from here may have another."""
        return "float64" if self.weights["embedding.weight"].dtype == torch.float64 else "float32"

    def require_fits(self, potential: Potential) -> None:
        """Refuse a potential of another shape.

        Raises
        ------
        UsageError
            Names the option and both values.
        """
        for name, value in self.parameters().items():
            if name != _FREE and getattr(potential, name) != value:
                raise UsageError(
                    f"the encoder has {value}, got {getattr(potential, name)}: weights fit a network of their own "
                    "shape only",
                    key=f"--{name.replace('_', '-')}",
                )

    def require_knows(self, elements: Sequence[int]) -> None:
        """Refuse elements whose states would be random and stay so.

        Raises
        ------
        DataError
            Names them.
        """
        strange = sorted(set(elements) - set(self.sizes.elements))
        if strange:
            names = ", ".join(symbol_of(z) for z in strange)
            raise DataError(f"the encoder does not know {names}, and would learn nothing of it", key="--freeze-encoder")

    def rows_for(self, sizes: PotentialSizes) -> torch.Tensor | None:
        """Return the rows, if a network may begin with the readout: it reads all states that are read here."""
        return self.rows if set(self.sizes.read) <= set(sizes.read) else None

    def give(self, network: PotentialNetwork) -> None:
        """Copy the weights into a network of the same shape; what it has for elements unknown here stays.

        So does the readout, unless it may begin with the one here: to states that were not read here it is deaf then.
        """
        known = np.array(self.sizes.elements)
        wanted = np.array(network.sizes.elements)
        rows = np.flatnonzero(np.isin(wanted, known))
        its = np.searchsorted(known, wanted[rows])
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if is_of_readout(name) and self.rows_for(network.sizes) is None:
                    continue
                if name == FIRST_LAYER:
                    value.zero_()
                    parts, places = (each.split(self.sizes.channels, dim=1) for each in (self.weights[name], value))
                    for k, part in zip(self.sizes.read, parts, strict=True):
                        places[network.sizes.read.index(k)].copy_(part)
                elif name in _BY_ELEMENT:
                    value[torch.from_numpy(rows)] = self.weights[name][torch.from_numpy(its)].to(value)
                else:
                    value.copy_(self.weights[name])

    def level_of(self, elements: np.ndarray) -> np.ndarray:
        """Return the energies of free atoms, (S,) eV; 0 of elements unknown here, and where none are known."""
        if self.level is None:
            return np.zeros(len(elements))
        known = np.array(self.sizes.elements)
        place = np.minimum(np.searchsorted(known, elements), len(known) - 1)
        return np.where(known[place] == elements, self.level[place], 0.0)


def read_encoder(path: str | Path) -> Encoder:
    """Return the weights in the file of a potential, or of an encoder that ``mlff-curate pretrain`` wrote.

    Raises
    ------
    DataError
        The file is missing, damaged, or holds something that no potential can begin from.
    """
    if kind_of(path, POTENTIAL_KIND, ENCODER_KIND) == ENCODER_KIND:
        checkpoint = read_checkpoint(path, ENCODER_KIND)
        dtype = checkpoint.setting("parameters.dtype", str)
        if dtype not in DTYPES:
            checkpoint.fail(f"the setting parameters.dtype is {dtype[:40]!r}")
        network, rows = read_encoder_network(checkpoint, dtype)
        return Encoder(network.sizes, network.state_dict(), None, None, rows)
    return Encoder.of(Potential.load(path))
