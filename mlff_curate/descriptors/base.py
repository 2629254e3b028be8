"""What every descriptor promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from ase import Atoms


class Descriptor(Protocol):
    """Frames to one vector per environment, a function of the environment alone.

    Attributes
    ----------
    name
        The name on the command line.
    species
        Atomic numbers that the descriptor tells apart, ascending.
    cutoff
        Radius of an environment in Angstrom.
    size
        D, the numbers per environment.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def species(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def cutoff(self) -> float: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102

    def compute(self, frames: Sequence[Atoms]) -> np.ndarray:
        """Return the descriptors, (N, D) float32, ordered by frame and atom."""
        ...
