"""The representation of atoms by an encoder, as a descriptor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mlff_curate.cgcnn.potential_network import layers_of, require_surroundings
from mlff_curate.cgcnn.representation import representation
from mlff_curate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlff_curate.cgcnn.potential_network import PotentialNetwork

_SHOWN = 12
"""Digits of a checksum that people are shown."""
_TEXTS = ("layers", "file", "sha256")


class EncoderDescriptor:
    """States of atoms in the network of an encoder or a potential, on the CPU.

    Parameters
    ----------
    network
        The trunk of an encoder, or the network of a potential.
    species
        Atomic numbers that may occur, of those that the network knows.
    layers
        Digits; see :func:`mlff_curate.cgcnn.representation.representation`. None: all.
    file, sha256
        Where the network came from, and the checksum of that file; they tell it from others.

    Raises
    ------
    UsageError
        A layer that there is not, or layer 0 alone.
    """

    name = "encoder"

    def __init__(
        self, network: PotentialNetwork, species: Sequence[int], layers: str | None, file: str, sha256: str
    ) -> None:
        numbers = layers_of(layers, network.sizes.deepest)
        require_surroundings(numbers)
        self.network = network
        self.species = tuple(sorted({int(z) for z in species}))
        self.layers = "".join(map(str, numbers))
        self.file = file
        self.sha256 = sha256
        self.size = len(numbers) * network.sizes.channels
        self.cutoff = max(numbers) * network.sizes.cutoff
        """How far the last of the layers sees."""

    @property
    def title(self) -> str:
        """File, layers and the beginning of the checksum."""
        return f"encoder {self.file}, layers {self.layers}, sha256 {self.sha256[:_SHOWN]}"

    def settings(self) -> dict[str, Any]:
        """Return name, species, radius, layers, file and its checksum."""
        return {
            "name": self.name,
            "species": list(self.species),
            "cutoff": float(self.cutoff),
            **{name: str(getattr(self, name)) for name in _TEXTS},
        }

    @classmethod
    def restore(cls, network: PotentialNetwork, settings: dict[str, Any]) -> EncoderDescriptor:
        """Return the descriptor with a network and the settings of :meth:`settings`.

        Raises
        ------
        ValueError
            They do not fit each other; names the setting.
        """
        texts = {name: settings.get(name) for name in _TEXTS}
        for name, text in texts.items():
            if not isinstance(text, str):
                _refuse(settings, name)
        if re.fullmatch("[0-9a-f]{64}", str(texts["sha256"])) is None:
            _refuse(settings, "sha256")
        species = settings.get("species")
        known = set(network.sizes.elements)
        if not isinstance(species, list) or not species or not all(type(z) is int and z in known for z in species):
            _refuse(settings, "species")
        try:
            made = cls(network, species, **{name: str(text) for name, text in texts.items()})
        except UsageError:
            _refuse(settings, "layers")
        own = made.settings()
        for name in sorted({*own, *settings}):
            if name not in own or own[name] != settings.get(name):
                _refuse(settings, name)
        return made

    def compute(self, frames: Sequence[Atoms]) -> np.ndarray:
        """Return the states of the atoms of F frames, (N, D) float32, ordered by frame and atom.

        Raises
        ------
        DataError
            A frame has an element that the network does not know, or two atoms in one place; names the frame.
        """
        out: np.ndarray = representation(self.network, frames, self.layers).astype(np.float32)
        return out


def _refuse(settings: dict[str, Any], name: str) -> NoReturn:
    message = f"the descriptor's {name} is {str(settings.get(name))[:40]!r}"
    raise ValueError(message)
