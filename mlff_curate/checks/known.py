"""The labels of many frames as arrays, nan where there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlff_curate.checks.frame import CheckedFrame
    from mlff_curate.checks.units import Fault


@dataclass(frozen=True, eq=False)
class Known:
    """Labels of F frames with N atoms in all.

    Attributes
    ----------
    energy
        (F,) eV.
    forces
        (3 N,) eV/Angstrom.
    stress
        (F, 6) eV/Angstrom^3, ASE's order and sign; nan also where a frame is not periodic in three directions.
    offset
        (F + 1,) first atom of each frame, and N.
    volume
        (F,) of the cell, Angstrom^3; nan: not periodic in three directions.
    """

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray
    offset: np.ndarray
    volume: np.ndarray

    @property
    def n_atoms(self) -> np.ndarray:
        """(F,) atoms of each frame."""
        return np.diff(self.offset)

    @property
    def frame_of_row(self) -> np.ndarray:
        """(3 N,) frame of each force component."""
        return np.asarray(np.repeat(np.arange(len(self.energy)), 3 * self.n_atoms))

    @property
    def virial(self) -> np.ndarray:
        """(F, 6) stress times volume per atom, eV."""
        return np.asarray(self.stress * (self.volume / self.n_atoms)[:, None])

    def undone(self, faults: Iterable[Fault]) -> Known:
        """Return the labels without these faults."""
        out = self
        for fault in faults:
            labels = getattr(out, fault.kind)
            out = replace(out, **{fault.kind: fault.undone(labels, self.n_atoms, self.volume)})
        return out

    def some(self, frames: np.ndarray) -> Known:
        """Return the labels of some frames."""
        forces = [self.forces[3 * self.offset[i] : 3 * self.offset[i + 1]] for i in frames]
        return Known(
            energy=self.energy[frames],
            forces=np.concatenate([np.empty(0), *forces]),
            stress=self.stress[frames],
            offset=np.concatenate([[0], np.cumsum(self.n_atoms[frames])]).astype(np.int64),
            volume=self.volume[frames],
        )


def known_of(frames: Sequence[CheckedFrame]) -> Known:
    """Collect the labels of F frames."""
    offset = np.concatenate([[0], np.cumsum([len(frame.atoms) for frame in frames])]).astype(np.int64)
    known = Known(
        energy=np.full(len(frames), np.nan),
        forces=np.full(3 * int(offset[-1]), np.nan),
        stress=np.full((len(frames), 6), np.nan),
        offset=offset,
        volume=np.full(len(frames), np.nan),
    )
    for i, frame in enumerate(frames):
        labels = frame.labels
        if labels.energy is not None:
            known.energy[i] = labels.energy
        if labels.forces is not None:
            known.forces[3 * offset[i] : 3 * offset[i + 1]] = labels.forces.ravel()
        if frame.atoms.pbc.all():
            known.volume[i] = frame.atoms.get_volume()
            if labels.stress is not None:
                known.stress[i] = labels.stress
    return known
