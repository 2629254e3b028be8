"""What of a frame is left when a format has taken the labels that it has a place for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlff_curate.data.frames import calculator_results

if TYPE_CHECKING:
    from typing import Any

    from mlff_curate.data.formats.base import NormalFrame


@dataclass(frozen=True, eq=False)
class Leftovers:
    """Named values of a frame, by the place where they stand.

    Attributes
    ----------
    info, arrays, results
        Of the frame, of each atom, of the attached calculator.
    lost
        Names of what no file can hold beside the labels: values under the very name of a label that was taken from
        elsewhere, and constraints.
    """

    info: dict[Any, object]
    arrays: dict[str, Any]
    results: dict[str, object]
    lost: tuple[str, ...]

    def names(self) -> tuple[str, ...]:
        """Return all names, ascending."""
        return tuple(sorted({*map(str, self.info), *self.arrays, *self.results, *self.lost}))


def leftovers(item: NormalFrame, labels: tuple[str, ...] = ("energy", "forces", "stress")) -> Leftovers:
    """Return what a frame has besides elements, positions, cell, pbc and the labels that are taken.

    Parameters
    ----------
    item
        The frame; a label that is not finite counts as not taken.
    labels
        The kinds of label that the format has a place for: energy, forces, stress, energies, magmoms.
    """
    atoms = item.frame.atoms
    taken = {getattr(item.labels, f"{kind}_key") for kind in labels}
    written = {kind for kind in labels if getattr(item.labels, kind) is not None}
    places = (atoms.info, atoms.arrays, calculator_results(atoms))
    clashing = {key for place in places for key in place if key in written - taken}
    left = taken | clashing | {"numbers", "positions"}
    info, arrays, results = ({key: value for key, value in place.items() if key not in left} for place in places)
    return Leftovers(info, arrays, results, tuple(sorted(clashing)) + (("constraints",) if atoms.constraints else ()))
