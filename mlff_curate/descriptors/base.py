"""What every descriptor promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms


class Descriptor(Protocol):
    """Frames to one vector per environment, a function of the environment alone.

    Attributes
    ----------
    name
        What kind it is; of those that need nothing but a name, the one on the command line.
    title
        The name, and what else tells it from others of its kind, for people.
    species
        Atomic numbers that the descriptor tells apart, ascending.
    cutoff
        Radius of an environment in Angstrom; None: not known.
    size
        D, the numbers per environment.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def species(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def cutoff(self) -> float | None: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102

    def compute(self, frames: Sequence[Atoms]) -> np.ndarray:
        """Return the descriptors, (N, D) float32, ordered by frame and atom."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return what tells it from any other, as JSON has it: its name, species, and all else."""
        ...


def require_species(frames: Sequence[Atoms], species: Sequence[int]) -> None:
    """Refuse elements that a descriptor was not made for.

    Raises
    ------
    ValueError
        Names them and those of the descriptor.
    """
    strange = {int(z) for atoms in frames for z in np.unique(atoms.numbers)} - set(species)
    if strange:
        message = f"elements {sorted(strange)} are not among the descriptor's {list(species)}"
        raise ValueError(message)
