"""Frames that are one another but for their size, and splits that tear none of them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

CLOSE = 2e-3
"""About 0.01 Angstrom between neighbours."""
INNER_SHARE = 0.2
"""Of the frames that are learned from, those that something is chosen by."""


def families(frames: Sequence[Atoms], *, scaled: bool = True, close: float = CLOSE) -> np.ndarray:
    """Return the family of each of F frames, (F,), numbered by first frame.

    Frames are of one family if they have the same atoms in the same order and, all but, the same scaled coordinates in
    a cell of the same shape, whatever its volume, or are joined by frames that do. Sets made for equations of state
    hold one set of displacements at many volumes: whoever has learned from one frame of it knows much of the others.

    Parameters
    ----------
    frames
        Orientation and order of the atoms count; frames that are the same otherwise are not found.
    scaled
        Off: volumes are to agree as well, so that families are copies.
    close
        What counts as the same: largest difference of a scaled coordinate, of a component of the cell over its size, or
        of the logarithm of that.
    """
    from scipy.spatial import cKDTree

    from mlff_curate.graphs.similarity import components

    alike: dict[bytes, list[int]] = {}
    for index, atoms in enumerate(frames):
        alike.setdefault(atoms.numbers.astype(np.int64).tobytes() + atoms.pbc.tobytes(), []).append(index)
    pairs = [np.zeros((0, 2), np.int64)]
    for members in alike.values():
        places = np.array([_shape(frames[i], scaled=scaled) for i in members])
        found = cKDTree(places).query_pairs(close, p=np.inf, output_type="ndarray")
        pairs.append(np.array(members)[found.astype(np.int64)])
    return components(np.concatenate(pairs), len(frames))


def _shape(atoms: Atoms, *, scaled: bool) -> np.ndarray:
    """Return a frame's cell and coordinates in units of its size, and the logarithm of that unless it is left out."""
    from_first = atoms.positions - atoms.positions[0]
    if atoms.pbc.all():
        size = float(atoms.cell.volume ** (1 / 3))
        # a circle in place of a number modulo one, its circumference one
        turn = 2 * np.pi * from_first @ np.linalg.inv(atoms.cell.array)
        places = np.concatenate([np.cos(turn), np.sin(turn)]) / (2 * np.pi)
    else:
        size = float(np.sqrt(np.mean(np.square(atoms.positions - atoms.positions.mean(axis=0))))) or 1.0
        places = from_first / size
    cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0) / size
    return np.concatenate([[0.0 if scaled else np.log(size)], cell.ravel(), places.ravel()])


def held_out_families(
    group: np.ndarray, family: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a share of each group, whole families only; of each group at least one, while there is another.

    Parameters
    ----------
    group, family
        (F,) of each frame; a family may have frames in several groups.
    share
        Of the frames of each group. The family that passes it is the last held out there, if that is nearer to it.
    rng
        Draws the families.

    Returns
    -------
    learned, held_out
        Indices, ascending; together they are all frames.
    """
    out = np.zeros(len(group), bool)
    for name in np.unique(group):
        mine = group == name
        wanted = share * np.count_nonzero(mine)
        for kin in rng.permutation(np.unique(family[mine])).tolist():
            count, more = np.count_nonzero(out & mine), out | (family == kin)
            if more.all() or (count and np.count_nonzero(more & mine) - wanted >= wanted - count):
                break
            out = more
    return np.flatnonzero(~out), np.flatnonzero(out)


def inner_split(frame: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the atoms to learn from and those to choose by, of (N,) numbers of frames; of one frame, all and none."""
    if len(np.unique(frame)) == 1:
        return np.arange(len(frame)), np.zeros(0, np.int64)
    return held_out_families(np.zeros(len(frame)), frame, INNER_SHARE, np.random.default_rng([seed, 1]))
