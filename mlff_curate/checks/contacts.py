"""Atoms too near to each other, and atoms too far from all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from mlff_curate.checks.finding import Finding
from mlff_curate.graphs.neighbours import neighbour_list
from mlff_curate.wording import counted, rounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ase import Atoms

    from mlff_curate.checks.finding import Severity
    from mlff_curate.checks.frame import CheckedFrame

OVERLAP = 0.1
"""Angstrom: two atoms so near are one atom written twice."""
_IMPOSSIBLE = 0.3
"""Of the sum of covalent radii. Nearer come atoms in collisions of hundreds of eV only, and their forces show it."""
_TIGHT = 0.6
"""Of the same sum. Chemistry ends at 0.7; solids at TPa and collisions reach below."""
_UNSEEN = 0.5
"""Of the same sum: how near atoms without forces must be for the other frames to speak against them."""
_LONELY = 1.3
"""The next neighbours are this much farther: nothing balances the push, so that it must show in the forces."""
_BELOW_OTHERS = 0.75
"""Of the shortest contact in other frames."""
_PUSH = 2.0
"""eV/Angstrom. The softest pair, caesium, pushes harder at `_TIGHT`."""
_PUSH_OVER_USUAL = 3.0
"""Of the root mean square of the other atoms' forces: a hot atom is no contact."""
_FAR = 3.0
"""Of the sum of covalent radii."""
_REACHES = (1.1, 2.0, _FAR)
"""Where neighbours are searched, one after the other, as long as an atom has none."""
_FEWEST = 10
"""Frames that say what is usual."""
_BLOCK_ATOMS = 4096


@dataclass(frozen=True)
class Contact:
    """The shortest distance in a frame, measured in sums of covalent radii.

    Attributes
    ----------
    ratio
        Distance over the sum of the two covalent radii; infinite where no two atoms are near.
    distance
        Angstrom.
    pair
        Which atoms.
    next_ratio
        The shortest of what these two atoms have to others.
    push
        eV/Angstrom, the force that drives the two apart, mean of both; None: no forces.
    usual
        Root mean square of the lengths of the other atoms' forces, eV/Angstrom.
    far
        Atoms without neighbours within 3 sums of covalent radii.
    """

    ratio: float
    distance: float
    pair: tuple[int, int]
    next_ratio: float
    push: float | None
    usual: float
    far: tuple[int, ...]


def contacts(frames: Sequence[CheckedFrame]) -> list[Finding]:
    """Find atoms on top of each other (``atoms-overlap``), too near (``contact-short``) and evaporated (``atoms-far``).

    A contact shorter than 0.3 of the sum of the covalent radii is an error, and a note where the frame's own forces
    drive the two atoms apart. One between 0.3 and 0.6 may be real, in matter at TPa or in a collision: it is a warning
    where the frame's own forces do not know of it, or, in a frame without forces, where it is far shorter than in all
    other frames.

    Returns
    -------
    list of Finding
        In the order of the frames.
    """
    measured = list(_measure(frames))
    shortest = np.sort([contact.ratio for contact in measured])
    found = []
    for frame, contact in zip(frames, measured, strict=True):
        near = _too_near(frame, contact, shortest)
        found += [] if near is None else [near]
        if contact.far and frame.atoms.pbc.all() and len(frame.atoms) > 2:
            found.append(_far(frame, contact.far))
    return found


def _too_near(frame: CheckedFrame, contact: Contact, shortest: np.ndarray) -> Finding | None:
    if contact.ratio >= _TIGHT:
        return None
    what = _pair(frame, contact)
    if contact.distance < OVERLAP:
        fix = "leave out one of the two atoms, if it was written twice, or drop the frame"
        return _finding(frame, "atoms-overlap", "error", contact.distance, f"{what}: they overlap", fix)
    fix = "drop the frame, or look at how its positions came about (unit, wrapping, a box that shrank)"
    short = f"{what}, {rounded(contact.ratio, 2)} of the sum of their covalent radii"
    push = 0.0 if contact.push is None else contact.push
    pushed = push > max(_PUSH, _PUSH_OVER_USUAL * contact.usual)
    if contact.ratio < _IMPOSSIBLE and not pushed:
        return _finding(frame, "contact-short", "error", contact.distance, short, fix)
    if contact.ratio < _IMPOSSIBLE:
        said = f"{short}; the forces know of it ({rounded(push)} eV/Angstrom)"
        fix = "drop the frame, unless collisions are to be learnt"
        return _finding(frame, "contact-short", "note", contact.distance, said, fix)
    doubt = None if pushed else _doubt(contact, shortest)
    if doubt is None:
        return None
    return _finding(frame, "contact-short", "warning", contact.distance, f"{short}{doubt}", fix)


def _doubt(contact: Contact, shortest: np.ndarray) -> str | None:
    """Say what speaks against a contact that is short, but not impossibly so."""
    if contact.next_ratio < _LONELY * contact.ratio:
        return None  # compressed from all sides, as matter at high pressure is
    if contact.push is not None:
        return f", but the forces do not drive them apart ({rounded(contact.push, 2)} eV/Angstrom)"
    others = shortest[shortest <= contact.ratio / _BELOW_OTHERS]
    if contact.ratio >= _UNSEEN or len(others) > 1 or len(shortest) < _FEWEST:
        return None
    return f"; the next shortest of the other {len(shortest) - 1} frames is {rounded(shortest[1], 2)} of it"


def _far(frame: CheckedFrame, atoms: tuple[int, ...]) -> Finding:
    shown = ", ".join(str(atom) for atom in atoms[:5]) + (" ..." if len(atoms) > 5 else "")
    message = (
        f"{counted(len(atoms), 'atom')} of {len(frame.atoms)} ({shown}) without a neighbour within {_FAR:g} sums of "
        "covalent radii: evaporated, or the unit of length is wrong"
    )
    fix = "drop the frame, unless free atoms are meant"
    return _finding(frame, "atoms-far", "note", len(atoms), message, fix)


def _pair(frame: CheckedFrame, contact: Contact) -> str:
    i, j = contact.pair
    symbols = [chemical_symbols[frame.atoms.numbers[atom]] for atom in (i, j)]
    image = " (its own periodic image)" if i == j else ""
    return f"atoms {i} ({symbols[0]}) and {j} ({symbols[1]}){image} are {rounded(contact.distance)} Angstrom apart"


def _finding(frame: CheckedFrame, rule: str, severity: Severity, value: float, message: str, fix: str) -> Finding:
    return Finding(frame.file, frame.index, "positions", rule, severity, value, message, fix)


def _measure(frames: Sequence[CheckedFrame]) -> Iterator[Contact]:
    """Yield the shortest contact of each frame; neighbours of a block of frames are held at a time."""
    block: list[CheckedFrame] = []
    largest, size = 0.0, 0
    for frame in frames:
        own = float(covalent_radii[frame.atoms.numbers].max())
        if block and (own != largest or size + len(frame.atoms) > _BLOCK_ATOMS):
            yield from _of_block(block, largest)
            block, size = [], 0
        block.append(frame)
        largest, size = own, size + len(frame.atoms)
    if block:
        yield from _of_block(block, largest)


def _of_block(frames: list[CheckedFrame], largest: float) -> Iterator[Contact]:
    neighbours = neighbour_list([frame.atoms for frame in frames], 2.0 * _REACHES[0] * largest)
    numbers = np.concatenate([frame.atoms.numbers for frame in frames])
    distance = np.linalg.norm(neighbours.vector, axis=1)
    ratio = distance / (covalent_radii[numbers[neighbours.centre]] + covalent_radii[neighbours.number])
    edge = np.concatenate([[0], np.cumsum(neighbours.count)])
    first = 0
    for frame in frames:
        last = first + len(frame.atoms)
        own = slice(edge[first], edge[last])
        centre, other = neighbours.centre[own] - first, neighbours.neighbour[own] - first
        near = np.unique(centre[(ratio[own] <= _FAR) & (centre != other)])  # images of an atom are no company
        alone = np.setdiff1d(np.arange(len(frame.atoms)), near)
        far = tuple(_without_neighbours(frame.atoms, alone, largest).tolist())
        yield _shortest(frame, (centre, other, neighbours.vector[own], distance[own], ratio[own]), far)
        first = last


def _shortest(frame: CheckedFrame, pairs: tuple[np.ndarray, ...], far: tuple[int, ...]) -> Contact:
    centre, other, vector, distance, ratio = pairs
    if len(ratio) == 0:
        return Contact(np.inf, np.inf, (0, 0), np.inf, None, 0.0, far)
    k = int(ratio.argmin())
    i, j = int(centre[k]), int(other[k])
    rest = np.isin(centre, (i, j)) & ~_same_pair(centre, other, vector, k)
    push, usual = None, 0.0
    forces = frame.labels.forces
    if forces is not None and distance[k] > 0:
        push = float((forces[j] - forces[i]) @ vector[k] / distance[k]) / 2.0
        others = np.delete(forces, [i, j], axis=0)
        usual = float(np.sqrt(np.mean(np.sum(others**2, axis=1)))) if len(others) else 0.0
    next_ratio = float(ratio[rest].min(initial=np.inf))
    return Contact(float(ratio[k]), float(distance[k]), (min(i, j), max(i, j)), next_ratio, push, usual, far)


def _same_pair(centre: np.ndarray, other: np.ndarray, vector: np.ndarray, k: int) -> np.ndarray:
    """Mark a pair, seen from either end."""
    there = (centre == centre[k]) & (other == other[k]) & (np.abs(vector - vector[k]) < 1e-6).all(axis=1)
    back = (centre == other[k]) & (other == centre[k]) & (np.abs(vector + vector[k]) < 1e-6).all(axis=1)
    same: np.ndarray = there | back
    return same


def _without_neighbours(atoms: Atoms, alone: np.ndarray, largest: float) -> np.ndarray:
    """Return those of some atoms that have no neighbour either where it is searched farther out."""
    for reach in _REACHES[1:]:
        if len(alone) == 0:
            break
        neighbours = neighbour_list([atoms], 2.0 * reach * largest)
        sums = covalent_radii[atoms.numbers[neighbours.centre]] + covalent_radii[neighbours.number]
        close = np.linalg.norm(neighbours.vector, axis=1) <= _FAR * sums
        near = neighbours.centre[close & (neighbours.centre != neighbours.neighbour)]
        alone = np.setdiff1d(alone, near)
    return alone
