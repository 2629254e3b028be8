"""Which atoms share a face of their Voronoi cells, and how large each looks the face of the other."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class VoronoiFaces:
    """The faces of the Voronoi cells of a frame's atoms.

    Attributes
    ----------
    centre
        (E,) the atom whose cell it is, ascending.
    neighbour
        (E,) the atom behind the face, or that of which it is a periodic image.
    distance
        (E,) between the two, Angstrom.
    solid_angle
        (E,) of the face, seen from the centre; the sum over a closed cell is 4 pi.
    """

    centre: np.ndarray
    neighbour: np.ndarray
    distance: np.ndarray
    solid_angle: np.ndarray


def voronoi_faces(atoms: Atoms, cutoff: float) -> VoronoiFaces:
    """Find the faces of the Voronoi cells of all atoms, cut off by spheres of half the cutoff around them.

    The plane between two atoms is nearer than half of the cutoff if they are within the cutoff of each other, and no
    other atom has a say in what lies there. So what is inside of the sphere depends on the atoms within the cutoff
    alone, and continuously. Cells at a surface, which have no end, or which reach farther, are open there.

    Parameters
    ----------
    atoms
        Any mix of periodic and open directions.
    cutoff
        Angstrom.

    Raises
    ------
    DataError
        Two atoms are in one place.

    Notes
    -----
    The cells are Qhull's (C. B. Barber, D. P. Dobkin, H. Huhdanpaa, ACM Trans. Math. Softw. 22, 469 (1996)), from
    ``scipy.spatial``: scipy is needed anyway, and knows no periodic frames, so that images are laid around the cell.
    The solid angle of a face is a sum over its edges of triangles (A. Van Oosterom, J. Strackee, IEEE Trans. Biomed.
    Eng. 30, 125 (1983)) and, where the edge is outside of the sphere, of pieces of the cap that it cuts from the plane.
    """
    from scipy.spatial import Voronoi

    points, owner = _with_images(atoms, cutoff)
    n = len(atoms)
    # corners farther than the cutoff from every atom close all cells, and their planes cut no sphere
    around = np.array([points.min(axis=0) - 2 * cutoff, points.max(axis=0) + 2 * cutoff])
    corners = np.array(list(itertools.product(*around.T)))
    cells = Voronoi(np.concatenate([points, corners]))
    if len(np.unique(cells.point_region)) < len(points) + len(corners) or (cells.point_region < 0).any():
        raise DataError("two atoms are in one place")
    pairs = cells.ridge_points
    distance = np.linalg.norm(cells.points[pairs[:, 0]] - cells.points[pairs[:, 1]], axis=1)
    wanted = np.flatnonzero((pairs.min(axis=1) < n) & (pairs.max(axis=1) < len(points)) & (distance < cutoff))
    pairs, distance = pairs[wanted], distance[wanted]
    counts = np.array([len(cells.ridge_vertices[k]) for k in wanted.tolist()], np.int64)
    vertices = np.array([v for k in wanted.tolist() for v in cells.ridge_vertices[k]], np.int64)
    angle = _solid_angles(
        cells.points[pairs[:, 0]], cells.points[pairs[:, 1]], cells.vertices[vertices], counts, 0.5 * cutoff
    )
    seen = angle > 0
    pairs, distance, angle = pairs[seen], distance[seen], angle[seen]
    both = np.concatenate([pairs, pairs[:, ::-1]])  # a face is as large from either side
    inside = np.flatnonzero(both[:, 0] < n)
    order = inside[np.lexsort((both[inside, 1], both[inside, 0]))]
    return VoronoiFaces(both[order, 0], owner[both[order, 1]], np.tile(distance, 2)[order], np.tile(angle, 2)[order])


def _with_images(atoms: Atoms, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of a frame's atoms and of all images within reach of the cell, (P, 3), and whose, (P,)."""
    basis = atoms.cell.complete().array
    inverse = np.linalg.inv(basis)
    margin = reach * np.linalg.norm(inverse, axis=0)  # as a share of the height of the cell, (3,)
    scaled = atoms.positions @ inverse
    pbc = atoms.pbc
    scaled[:, pbc] -= np.floor(scaled[:, pbc])
    many = np.where(pbc, np.ceil(margin), 0).astype(int)
    shifts = np.array(list(itertools.product(*(range(-k, k + 1) for k in many))), float)
    shifts = shifts[np.argsort(np.abs(shifts).sum(axis=1), kind="stable")]  # the frame itself first
    images = scaled + shifts[:, None]  # (S, n, 3)
    near = (~pbc | ((images > -margin) & (images < 1 + margin))).all(axis=2)
    owner = np.broadcast_to(np.arange(len(atoms)), near.shape)
    return images[near] @ basis, owner[near]


def _solid_angles(a: np.ndarray, b: np.ndarray, vertices: np.ndarray, counts: np.ndarray, radius: float) -> np.ndarray:
    """Return the solid angles of faces, inside a sphere, from their atoms.

    Parameters
    ----------
    a, b
        (K, 3) the atoms on the two sides.
    vertices
        (V, 3) the corners of all faces, those of the first first, in any order.
    counts
        (K,) how many corners each has.
    radius
        Of the sphere, Angstrom; larger than half of any distance.
    """
    face = np.repeat(np.arange(len(counts)), counts)
    axis = b - a
    height = 0.5 * np.linalg.norm(axis, axis=1)
    axis /= 2 * height[:, None]
    least = np.eye(3)[np.abs(axis).argmin(axis=1)]
    first = np.cross(axis, least)
    first /= np.linalg.norm(first, axis=1)[:, None]
    second = np.cross(axis, first)
    from_foot = vertices - (0.5 * (a + b))[face]
    flat = np.stack([np.einsum("vi,vi->v", from_foot, e[face]) for e in (first, second)], axis=1)
    middle = np.stack([np.bincount(face, flat[:, k], len(counts)) for k in range(2)], axis=1) / counts[:, None]
    turned = flat - middle[face]
    flat = flat[np.lexsort((np.arctan2(turned[:, 1], turned[:, 0]), face))]
    ends = np.cumsum(counts)
    following = np.arange(1, len(flat) + 1)
    following[ends - 1] = ends - counts
    h = height[face]
    rim = np.sqrt(radius**2 - h**2)
    start, step = flat, flat[following] - flat
    enter, leave = _inside(start, step, rim)
    cap = 1.0 - h / radius
    pieces = (
        _turn(start, start + enter[:, None] * step) * cap
        + _triangle(start + enter[:, None] * step, start + leave[:, None] * step, h)
        + _turn(start + leave[:, None] * step, start + step) * cap
    )
    total = np.bincount(face, pieces, len(counts))
    # rounding leaves next to nothing, of either sign, of faces that shrank to a point
    return np.where(np.abs(total) > 1e-9, np.abs(total), 0.0)


def _inside(start: np.ndarray, step: np.ndarray, rim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return from and to which share of their length edges (E, 2) lie in circles around 0; 0 and 0 where nowhere."""
    length = np.einsum("ei,ei->e", step, step)
    along = np.einsum("ei,ei->e", start, step)
    root = along**2 - length * (np.einsum("ei,ei->e", start, start) - rim**2)
    crosses = (root > 0) & (length > 0)
    safe = np.where(crosses, length, 1.0)
    half = np.sqrt(np.where(crosses, root, 0.0))
    ends = [np.clip(np.where(crosses, (-along + sign * half) / safe, 0.0), 0.0, 1.0) for sign in (-1, 1)]
    return ends[0], ends[1]


def _turn(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return the angles from p to q, (E, 2) each, around 0."""
    angle: np.ndarray = np.arctan2(_cross(p, q), np.einsum("ei,ei->e", p, q))
    return angle


def _triangle(p: np.ndarray, q: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Return the signed solid angles of triangles 0, p, q in planes at heights h above the eye."""
    far_p, far_q = (np.sqrt(np.einsum("ei,ei->e", x, x) + h**2) for x in (p, q))
    dot = np.einsum("ei,ei->e", p, q) + h**2
    below = h * far_p * far_q + h**2 * far_q + h**2 * far_p + dot * h
    angle: np.ndarray = 2.0 * np.arctan2(h * _cross(p, q), below)
    return angle


def _cross(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    out: np.ndarray = p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]
    return out
