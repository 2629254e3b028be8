"""When a run makes no sense any more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from mlff_curate.calculators.computed import computed
from mlff_curate.calculators.moving_neighbours import MovingNeighbours
from mlff_curate.errors import DataError, UsageError

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_curate.dynamics.sample import Sample

_SKIN = 1.0
"""Angstrom that the search for close pairs goes further, so that it is rarely made."""
_MOST_SWELLING = 5.0
"""Of the volume, up or down. Solids and liquids change theirs by some ten per cent."""


class RunStoppedError(DataError):
    """A run was stopped because it makes no sense any more."""


@dataclass(frozen=True)
class StopRules:
    """What ends a run.

    Parameters
    ----------
    min_distance
        Two atoms have collided if they are closer than this share of the sum of their covalent radii.
    max_temperature
        K; None: ten times what is asked for, at least 3000.
    max_energy_change
        eV per atom: of the potential energy since the start, up or down.
    max_disagreement
        eV/Angstrom: of the ``forces_std`` of an atom; None: whatever the committee says.
    """

    min_distance: float = 0.5
    max_temperature: float | None = None
    max_energy_change: float = 5.0
    max_disagreement: float | None = None

    def require(self) -> None:
        """Refuse what has no meaning.

        Raises
        ------
        UsageError
            Names the option.
        """
        if not 0 <= self.min_distance < 1:
            raise UsageError(f"a share in [0, 1), got {self.min_distance:g}", key="--min-distance")
        for name in ("max_temperature", "max_energy_change", "max_disagreement"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"a number above 0, got {value:g}", key="--" + name.replace("_", "-"))


class Watch:
    """Looks at every step of one run.

    Parameters
    ----------
    rules
        What ends the run.
    start
        The atoms at step 0.
    sample
        Of step 0.
    temperature
        K, that is asked for.
    """

    def __init__(self, rules: StopRules, start: Atoms, sample: Sample, temperature: float) -> None:
        self.rules = rules
        self.hottest = rules.max_temperature or max(10.0 * temperature, 3000.0)
        self._n_atoms = len(start)
        self._energy = sample.potential
        self._volume = sample.volume
        self._radii = rules.min_distance * covalent_radii[start.numbers]
        self._moving = MovingNeighbours(max(2.0 * float(self._radii.max()), 1e-3), _SKIN)

    def look(self, atoms: Atoms, sample: Sample) -> None:
        """Stop the run if it makes no sense any more.

        Parameters
        ----------
        atoms
            Computed, with momenta.
        sample
            Of them.

        Raises
        ------
        RunStoppedError
            Says why in one line, with step and atoms.
        """
        why = self.reason(atoms, sample)
        if why:
            raise RunStoppedError(f"stopped at step {sample.step} ({sample.time:g} fs): {why}")

    def reason(self, atoms: Atoms, sample: Sample) -> str | None:
        """Return why a run makes no sense any more, or None; see :meth:`look`."""
        return (
            self._not_finite(atoms, sample)
            or self._collision(atoms)
            or self._too_hot(atoms, sample)
            or self._energy_gone(sample)
            or self._volume_gone(sample)
            or self._disagreement(atoms, sample)
        )

    def _not_finite(self, atoms: Atoms, sample: Sample) -> str | None:
        forces = computed(atoms, "forces")
        bad = np.flatnonzero(~np.isfinite(forces).all(axis=1) | ~np.isfinite(atoms.get_momenta()).all(axis=1))
        if len(bad):
            return f"the force on {_named(atoms, bad[0])} is not finite"
        return None if math.isfinite(sample.total) else "the energy is not finite"

    def _collision(self, atoms: Atoms) -> str | None:
        near = self._moving.graph(atoms)
        if not len(near.centre):
            return None
        length = np.linalg.norm(near.vector, axis=1)
        share = length / (self._radii[near.centre] + self._radii[near.neighbour])
        k = int(np.argmin(share))
        if share[k] >= 1.0:
            return None
        i, j = sorted((int(near.centre[k]), int(near.neighbour[k])))
        both = f"{_named(atoms, i)} and " + ("its image" if i == j else _named(atoms, j))
        least = float(length[k] / share[k])
        return (
            f"{both} have collided: {length[k]:.3f} Angstrom apart, less than {least:.3f}, "
            f"{self.rules.min_distance:g} of the sum of their covalent radii"
        )

    def _too_hot(self, atoms: Atoms, sample: Sample) -> str | None:
        if sample.temperature <= self.hottest:
            return None
        fastest = int(np.argmax(np.linalg.norm(atoms.get_velocities(), axis=1)))
        return (
            f"the temperature has exploded: {sample.temperature:.0f} K, more than {self.hottest:.0f} K; "
            f"{_named(atoms, fastest)} is the fastest"
        )

    def _energy_gone(self, sample: Sample) -> str | None:
        change = (sample.potential - self._energy) / self._n_atoms
        if abs(change) <= self.rules.max_energy_change:
            return None
        return (
            f"the potential energy has exploded: {change:+.3g} eV per atom since the start, more than "
            f"{self.rules.max_energy_change:g}"
        )

    def _volume_gone(self, sample: Sample) -> str | None:
        if math.isnan(self._volume) or 1 / _MOST_SWELLING < sample.volume / self._volume < _MOST_SWELLING:
            return None
        return f"the cell has {sample.volume / self._volume:.3g} times the volume of the start"

    def _disagreement(self, atoms: Atoms, sample: Sample) -> str | None:
        most = self.rules.max_disagreement
        if most is None or not sample.disagreement > most:
            return None
        worst = int(np.argmax(computed(atoms, "forces_std")))
        return (
            f"the committee disagrees on the force on {_named(atoms, worst)}: standard deviation "
            f"{sample.disagreement:.3g} eV/Angstrom, more than {most:g}"
        )


def _named(atoms: Atoms, i: int) -> str:
    return f"atom {i} ({chemical_symbols[atoms.numbers[i]]})"
