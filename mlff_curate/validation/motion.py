"""What a trajectory tells of the potential that made it: drift of the energy, and whether the crystal holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Drift:
    """A line through the total energy of motion without a thermostat.

    Attributes
    ----------
    slope, error
        eV/atom/ps, and its standard error.
    noise
        Root mean square of what the line leaves, eV/atom.
    """

    slope: float
    error: float
    noise: float


def drift(times: Sequence[float] | np.ndarray, energies: Sequence[float] | np.ndarray) -> Drift:
    """Fit a line by least squares.

    Parameters
    ----------
    times
        (T,) ps, three or more.
    energies
        (T,) eV/atom.
    """
    t, e = np.asarray(times, float), np.asarray(energies, float)
    t = t - t.mean()
    slope = float(t @ (e - e.mean()) / (t @ t))
    off = e - e.mean() - slope * t
    return Drift(slope, float(np.sqrt(off @ off / (len(t) - 2) / (t @ t))), float(np.sqrt(np.mean(off**2))))


def lindemann(positions: np.ndarray, sites: np.ndarray, distance: float) -> np.ndarray:
    """Return how far atoms are from their sites in each frame, over the distance between neighbours.

    Lindemann's criterion (Phys. Z. 11, 609): a crystal melts where this comes to about a tenth.

    Parameters
    ----------
    positions
        (T, N, 3) Angstrom, not wrapped into the cell.
    sites
        (N, 3) Angstrom.
    distance
        Between nearest neighbours of the crystal, Angstrom.

    Returns
    -------
    numpy.ndarray
        (T,) root mean square over atoms; the mean displacement, a shift of the whole crystal, is left out.
    """
    moved = np.asarray(positions) - np.asarray(sites)
    moved = moved - moved.mean(axis=1, keepdims=True)
    return np.asarray(np.sqrt((moved**2).sum(axis=2).mean(axis=1)) / distance)
