"""What every linear force field gives for a frame: rows that its coefficients multiply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from ase import Atoms

ROW_OF = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
"""Places of ASE's six Voigt components xx, yy, zz, yz, xz, xy in a (3, 3) tensor."""


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class LinearRows:
    """What the model needs to know of one frame: n atoms, S species, K coefficients.

    The model is `energy per atom = reference_energy + composition @ constants + energy @ coefficients`,
    `forces = reference_forces + forces @ coefficients` and, with the volume V of the cell,
    `V / n stress = reference_strain + strain @ coefficients`.

    Attributes
    ----------
    composition
        (S,) share of each species among the atoms.
    energy
        (K,) sums of the descriptor's components over the atoms of each species, per atom of the frame.
    forces
        (n, 3, K) minus the derivatives of n times `energy` by the positions, 1/Angstrom.
    strain
        (6, K) derivatives of `energy` by a symmetric strain of cell and atoms, in ASE's Voigt order xx, yy, zz, yz,
        xz, xy; positive under tension. None: not periodic in three directions, and no stress.
    reference_energy
        Of the reference, eV/atom.
    reference_forces
        (n, 3), eV/Angstrom.
    reference_strain
        (6,) eV/atom; None as `strain`.
    """

    composition: np.ndarray
    energy: np.ndarray
    forces: np.ndarray
    strain: np.ndarray | None
    reference_energy: float
    reference_forces: np.ndarray
    reference_strain: np.ndarray | None


class LinearModel(Protocol):
    """A linear force field without its coefficients.

    Attributes
    ----------
    kind
        Its name on the command line.
    name
        What to call it in a sentence.
    species
        Atomic numbers, ascending.
    size
        K, the number of coefficients without the constants.
    """

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def species(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102

    def rows(self, frames: Iterable[Atoms]) -> Iterator[LinearRows]:
        """Yield the rows of one frame after the other; not finite where atoms sit on top of each other."""
        ...
