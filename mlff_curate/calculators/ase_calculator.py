"""A potential as an ASE calculator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from mlff_curate.calculators.moving_neighbours import MovingNeighbours
from mlff_curate.cgcnn.potential import Potential

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    Source = str | Path | Potential


class CGCNNCalculator(Calculator):
    """Energies, forces and stresses of a trained potential, or the means of several.

    Parameters
    ----------
    potential
        A potential, the file of one, or several of either: a committee, trained with different seeds.
    device
        Torch device.
    skin
        Angstrom beyond the cutoff that neighbours are searched in, so that they need not be for every step.
    threads
        Of torch on a CPU; the last digits depend on their number.

    Notes
    -----
    ``results`` has ``energy`` and ``free_energy`` (the same), ``energies`` of atoms, ``forces``, and ``stress`` where
    all directions are periodic. A committee adds ``energies_std`` (N,), eV, and ``forces_std`` (N,), the root of the
    summed variances of an atom's components, eV/Angstrom.

    Examples
    --------
    >>> from mlff_curate.calculators import CGCNNCalculator
    >>> atoms.calc = CGCNNCalculator("ta.model")  # doctest: +SKIP
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012 (ASE's own way)

    def __init__(
        self, potential: Source | Sequence[Source], *, device: str = "cpu", skin: float = 0.5, threads: int = 1
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        several = [potential] if isinstance(potential, (str, Path, Potential)) else list(potential)
        self.potentials = [_loaded(one, device) for one in several]
        if not self.potentials:
            message = "at least one potential is needed"
            raise ValueError(message)
        self.skin = skin
        self.threads = threads
        self._neighbours: dict[float, MovingNeighbours] = {}

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:  # noqa: ARG002
        """Return what has changed since the last calculation, to the last bit.

        ASE asks several times for each step of molecular dynamics, and its own comparison, with a tolerance, takes
        longer than the neighbours of a hundred atoms.
        """
        before: Atoms | None = self.atoms
        if before is None:
            return list(all_changes)
        pairs = {
            "positions": (before.positions, atoms.positions),
            "numbers": (before.numbers, atoms.numbers),
            "cell": (before.cell.array, atoms.cell.array),
            "pbc": (before.pbc, atoms.pbc),
            "initial_charges": (before.get_initial_charges(), atoms.get_initial_charges()),
            "initial_magmoms": (before.get_initial_magnetic_moments(), atoms.get_initial_magnetic_moments()),
        }
        return [name for name, (old, new) in pairs.items() if not np.array_equal(old, new)]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute everything at once, as ASE asks for one thing after the other."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        frame = cast("Atoms", self.atoms)
        cutoffs = [potential.fitted_.network.sizes.cutoff for potential in self.potentials]
        graphs = {
            cutoff: self._neighbours.setdefault(cutoff, MovingNeighbours(cutoff, self.skin)).graph(frame)
            for cutoff in cutoffs
        }
        said = [
            potential.predict_graph(graphs[cutoff], [frame], n_threads=self.threads)
            for potential, cutoff in zip(self.potentials, cutoffs, strict=True)
        ]
        energies = np.array([one.energies for one in said])
        forces = np.array([one.forces for one in said])
        results: dict[str, Any] = {
            "energy": float(np.mean([one.energy[0] for one in said])),
            "energies": energies.mean(axis=0),
            "forces": forces.mean(axis=0),
        }
        results["free_energy"] = results["energy"]
        if frame.pbc.all():
            results["stress"] = np.mean([one.stress[0] for one in said], axis=0)
        if len(said) > 1:
            results["energies_std"] = energies.std(axis=0, ddof=1)
            results["forces_std"] = np.sqrt(forces.var(axis=0, ddof=1).sum(axis=1))
        self.results = results


def _loaded(potential: Source, device: str) -> Potential:
    return potential if isinstance(potential, Potential) else Potential.load(potential, device=device)
