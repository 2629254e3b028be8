"""What the outputs of VASP have in common: numbers as Fortran writes them, labels, and whether they converged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.formats.base import Content
from mlff_curate.data.frames import Remark, with_results
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NUMBER = re.compile(r"\*+|[-+]?nan|[-+]?inf\w*|[-+]?\d*\.?\d+(?:[eEdD][-+]?\d+)?", re.IGNORECASE)
_SYMBOL = re.compile(r"[A-Z][a-z]?")
_ROUNDING = 1e-7
"""eV; energies are printed with eight decimals."""

TRUNCATED = Remark(
    "file-truncated",
    "warning",
    None,
    "the file ends after this ionic step but not as VASP ends it: the run was stopped, or the file was cut",
    "make sure that this is the whole run; the frames that are there are whole",
)


def numbers(text: str, count: int, what: str, file: str, frame: int) -> list[float]:
    """Return the numbers of a line, even where they touch; what overflowed its width (``***``) is NaN.

    Raises
    ------
    DataError
        There are fewer or more.
    """
    words = text.split()
    if len(words) == count:
        try:
            return [float(word) for word in words]
        except ValueError:
            pass
    found = _NUMBER.findall(text)
    if len(found) != count or _NUMBER.sub("", text).strip():
        shown = " ".join(text.split())[:60]
        raise DataError(f"{what}: {count} numbers expected, found {shown!r}", file=file, frame=frame)
    return [np.nan if word[0] == "*" else float(word.replace("D", "E").replace("d", "e")) for word in found]


def element(word: str, file: str) -> str:
    """Return the chemical symbol that the name of a potential begins with: ``Fe_pv``, ``H1.25``, ``Ta``.

    Raises
    ------
    DataError
        It begins with none.
    """
    from ase.data import atomic_numbers

    found = _SYMBOL.match(word.strip())
    if found is None or found[0] not in atomic_numbers or found[0] == "X":
        raise DataError(f"{word[:20]!r} is the name of no element's potential", file=file, key="species")
    return found[0]


@dataclass(frozen=True)
class Electrons:
    """How the electronic iterations of one ionic step went.

    Attributes
    ----------
    steps
        How many there were; 0: the file does not tell, or forces come from elsewhere.
    most
        NELM, how many were allowed; None: not told.
    change
        Last change of the energy, eV; None: not told.
    wanted
        EDIFF, eV: below this change the calculation counts as converged; None: not told.
    said_not
        VASP itself says that it did not converge.
    """

    steps: int
    most: int | None
    change: float | None
    wanted: float | None
    said_not: bool = False

    def remarks(self) -> list[Remark]:
        """Tell of an ionic step whose electrons did not converge: VASP writes its labels all the same.

        VASP 5 writes "EDIFF is reached" even where NELM stopped it, so that the count is what tells.
        """
        why = []
        if self.most is not None and 0 < self.most <= self.steps:
            why.append(f"stopped after {self.steps} electronic steps (NELM = {self.most})")
        if self.change is not None and self.wanted is not None and not abs(self.change) <= self.wanted + _ROUNDING:
            why.append(f"the last one changed the energy by {abs(self.change):.2g} eV (EDIFF = {self.wanted:.2g})")
        if self.said_not and not why:
            why.append("VASP says that EDIFF was not reached")
        if not why:
            return []
        message = f"label of a calculation that did not converge: {'; '.join(why)}"
        return [Remark("scf-unconverged", "error", "energy", message, "leave the frame out, or compute it again")]


@dataclass(frozen=True, eq=False)
class IonicStep:
    """One ionic step of n atoms as VASP writes it.

    Attributes
    ----------
    symbols
        (n,) elements.
    cell
        (3, 3) Angstrom, a vector per row.
    positions
        (n, 3), Angstrom.
    energies
        ``energy`` (sigma -> 0), ``free_energy`` and ``energy_without_entropy``, eV, those that are there.
    forces
        (n, 3), eV/Angstrom.
    stress
        xx, yy, zz, yz, xz, xy in kB, positive under compression.
    magmoms
        (n,) or (n, 3), Bohr magnetons.
    magmom
        Of the cell.
    electrons
        How its electronic iterations went.
    origins
        Name of a label -> where it stands; those of labels that are not there say nothing.
    remarks
        Of the reader, besides those on convergence.
    """

    symbols: Sequence[str]
    cell: np.ndarray
    positions: np.ndarray
    energies: dict[str, float]
    forces: np.ndarray | None
    stress: np.ndarray | None
    electrons: Electrons
    origins: dict[str, str]
    magmoms: np.ndarray | None = None
    magmom: float | None = None
    remarks: tuple[Remark, ...] = ()

    def content(self) -> Content:
        """Return the frame: ASE's convention is that ``energy`` is the one extrapolated to sigma = 0."""
        from ase import Atoms
        from ase.units import GPa

        atoms = Atoms(list(self.symbols), positions=self.positions, cell=self.cell, pbc=True)
        energies = dict(self.energies)
        if "energy_without_entropy" in energies:
            atoms.info["energy_without_entropy"] = energies.pop("energy_without_entropy")
        results: dict[str, object] = {**energies}
        if self.forces is not None:
            results["forces"] = self.forces
        if self.stress is not None:
            results["stress"] = -0.1 * GPa * self.stress
        if self.magmoms is not None:
            results["magmoms"] = self.magmoms
        if self.magmom is not None:
            results["magmom"] = self.magmom
        if results:
            with_results(atoms, **results)
        origins = {name: origin for name, origin in self.origins.items() if name in results or name in self.energies}
        return Content(atoms, origins, (*self.electrons.remarks(), *self.remarks))


def truncation_told(contents: Iterator[Content | None]) -> Iterator[Content]:
    """Pass frames on, the last one with a remark if None comes after it: the file does not end as it should."""
    held: Content | None = None
    for content in contents:
        if content is None:
            assert held is not None
            held = Content(held.atoms, held.origins, (*held.remarks, TRUNCATED))
            break
        if held is not None:
            yield held
        held = content
    if held is not None:
        yield held
