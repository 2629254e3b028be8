"""Crystal graphs: atoms joined to their nearest neighbours, all frames of a batch in one graph of disjoint parts.

Source: Xie & Grossman, PRL 120, 145301: the 12 nearest neighbours of each atom within 8 Angstrom, periodic images
included. What the paper leaves open is which of several equally distant neighbours are among the 12. Here they share
the places that are left, each edge with that share as its weight: what a graph says is then a function of the
structure, not of rounding or of the order of atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.graphs.disjoint import DisjointGraph
from mlff_curate.graphs.neighbours import neighbour_list

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

NEIGHBOURS = 12
RADIUS = 8.0
TIE = 1e-3
"""Angstrom. Distances that differ by less count as equal: CIF files give coordinates with four digits."""
_TIE_PADDED = 1e-5
"""Angstrom. The authors' program takes the nearest, however little nearer: only rounding is no reason."""
_THIRD = 1e-4
"""Fractional coordinates as near to 1/3 and 2/3 count as these where the authors' program is followed, whose reader of
CIF files does so. Measured: ZnS with 0.3333 comes out as theirs to 6e-7 eV, without this to 3e-5."""
_CHUNK_ATOMS = 4096
"""Atoms whose full neighbour lists are in memory at a time: some hundred neighbours each within 8 Angstrom."""


@dataclass(frozen=True, eq=False)
class CrystalGraph(DisjointGraph):
    """Frames whose atoms are joined to their nearest neighbours.

    Attributes
    ----------
    distance
        (E,) Angstrom.
    weight
        (E,) 1; less for neighbours that share a place among the nearest.
    """

    distance: np.ndarray
    weight: np.ndarray

    def part(self, frames: np.ndarray) -> CrystalGraph:
        """Return the graph of some frames, (f,) indices, in that order; its nodes are :meth:`nodes_of` them here."""
        frames = np.asarray(frames, np.int64)
        edges, shift = self._edges_of(frames)
        return CrystalGraph(
            numbers=self.numbers[self.nodes_of(frames)],
            frame=np.repeat(np.arange(len(frames)), self.atoms[frames]),
            centre=self.centre[edges] + shift,
            neighbour=self.neighbour[edges] + shift,
            distance=self.distance[edges],
            weight=self.weight[edges],
            frames=len(frames),
        )


def crystal_graph(
    frames: Sequence[Atoms],
    neighbours: int = NEIGHBOURS,
    radius: float = RADIUS,
    *,
    padded: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> CrystalGraph:
    """Join each atom to its nearest neighbours.

    Parameters
    ----------
    frames
        F frames; any mix of periodic and open directions. An atom without neighbours has no edge.
    neighbours
        The nearest so many; further ones as near as the last of them share its place.
    radius
        Angstrom. Only neighbours within it.
    padded
        As the authors' program does, fill up the edges of an atom with fewer neighbours: with edges to the frame's
        first atom at ``radius + 1``; take coordinates of crystals that are about thirds for thirds; and let only
        distances that are equal within rounding share places. Needed by their models, which were trained so; then the
        order of atoms matters.
    progress
        Called with frames done and in all.
    """
    none = np.zeros(0, np.int64)
    parts: list[tuple[np.ndarray, ...]] = [(none, none, np.zeros(0), np.zeros(0))]
    sizes = np.array([len(atoms) for atoms in frames], np.int64)
    start, first = 0, 0
    while first < len(frames):
        last = first + 1
        while last < len(frames) and sizes[first : last + 1].sum() <= _CHUNK_ATOMS:
            last += 1
        if padded:
            thirds = [_with_thirds(atoms) for atoms in frames[first:last]]
            centre, *rest = _nearest(thirds, neighbours, radius, _TIE_PADDED)
            centre, *rest = _filled(centre, *rest, sizes=sizes[first:last], neighbours=neighbours, radius=radius)
        else:
            centre, *rest = _nearest(frames[first:last], neighbours, radius, TIE)
        parts.append((centre + start, rest[0] + start, *rest[1:]))
        start += int(sizes[first:last].sum())
        first = last
        if progress is not None:
            progress(first, len(frames))
    centre, neighbour, distance, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    return CrystalGraph(
        numbers=np.concatenate([none, *(atoms.numbers for atoms in frames)]),
        frame=np.repeat(np.arange(len(frames)), sizes),
        centre=centre,
        neighbour=neighbour,
        distance=distance,
        weight=weight,
        frames=len(frames),
    )


def _nearest(frames: Sequence[Atoms], neighbours: int, radius: float, tie: float) -> tuple[np.ndarray, ...]:
    """Return centre, neighbour, distance and weight of the edges to the nearest neighbours, nearest first."""
    found = neighbour_list(frames, radius)
    distance = np.linalg.norm(found.vector, axis=1)
    order = np.lexsort((found.neighbour, found.number, distance, found.centre))
    centre, neighbour, distance = found.centre[order], found.neighbour[order], distance[order]
    first = np.concatenate([[0], np.cumsum(found.count)])[:-1]
    crowded = found.count > neighbours
    last = np.full(len(first), np.inf)  # distance of the last neighbour with a place
    last[crowded] = distance[first[crowded] + neighbours - 1]
    beyond = distance - last[centre]
    nearer, tied = beyond < -tie, np.abs(beyond) <= tie
    n = len(first)
    left = neighbours - np.bincount(centre[nearer], minlength=n)
    share = left / np.maximum(np.bincount(centre[tied], minlength=n), 1)
    weight = np.where(tied, share[centre], 1.0)
    kept = nearer | tied
    return centre[kept], neighbour[kept], distance[kept], weight[kept]


def _with_thirds(atoms: Atoms) -> Atoms:
    """Return a crystal with coordinates of four digits, as CIF files have them, put to the thirds that they mean."""
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        return atoms
    places = atoms.get_scaled_positions()
    meant = places.copy()
    for third in (1 / 3, 2 / 3):
        meant[np.abs(places - third) < _THIRD] = third
    if np.array_equal(meant, places):
        return atoms
    moved: Atoms = atoms.copy()
    moved.set_scaled_positions(meant)
    return moved


def _filled(
    centre: np.ndarray,
    neighbour: np.ndarray,
    distance: np.ndarray,
    weight: np.ndarray,
    *,
    sizes: np.ndarray,
    neighbours: int,
    radius: float,
) -> tuple[np.ndarray, ...]:
    """Return the edges with those added that make them `neighbours` for each atom, to atom 0 of its frame."""
    n = int(sizes.sum())
    missing = np.maximum(neighbours - np.bincount(centre, minlength=n), 0)
    added = np.repeat(np.arange(n), missing)
    first_atom = np.repeat(np.cumsum(sizes) - sizes, sizes)
    centre = np.concatenate([centre, added])
    order = np.argsort(centre, kind="stable")
    columns = (
        centre,
        np.concatenate([neighbour, first_atom[added]]),
        np.concatenate([distance, np.full(len(added), radius + 1.0)]),
        np.concatenate([weight, np.ones(len(added))]),
    )
    return tuple(column[order] for column in columns)
