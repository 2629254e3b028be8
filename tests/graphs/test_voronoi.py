"""Faces of Voronoi cells are those of geometry, and what is cut off is what lies beyond half the cutoff."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule

from mlff_curate.errors import DataError
from mlff_curate.graphs.voronoi import voronoi_faces

SPHERE = 4 * np.pi


def liquid(seed=0):
    atoms = bulk("Fe", cubic=True) * (2, 2, 2)
    atoms.rattle(0.4, seed=seed)
    return atoms


def coverage(atoms, cutoff):
    faces = voronoi_faces(atoms, cutoff)
    return np.bincount(faces.centre, faces.solid_angle, len(atoms)) / SPHERE


def same_faces(a, b):
    """Faces of each atom, in whatever order of its neighbours."""
    for x, y in ((a, b), (b, a)):
        assert (x.centre == y.centre).all()
        rows = [np.stack([f.centre, f.distance.round(6), f.solid_angle.round(6)], axis=1) for f in (x, y)]
        np.testing.assert_allclose(*(r[np.lexsort(r.T[::-1])] for r in rows), atol=3e-6)


@pytest.mark.parametrize(
    ("atoms", "distances", "counts"),
    [
        (bulk("Fe", "sc", a=2.0), [2.0], [6]),
        (bulk("Fe", "fcc", a=2.0), [2.0**0.5], [12]),
        (bulk("Fe", "bcc", a=2.0), [3.0**0.5, 2.0], [8, 6]),
        (bulk("Fe", "bcc", a=2.0, cubic=True) * (1, 2, 3), [3.0**0.5, 2.0], [8, 6]),
    ],
)
def test_crystals_have_the_faces_of_their_cells(atoms, distances, counts):
    faces = voronoi_faces(atoms, 5.0)
    assert len(faces.centre) == sum(counts) * len(atoms)
    for distance, count in zip(distances, counts, strict=True):
        here = np.isclose(faces.distance, distance)
        assert here.sum() == count * len(atoms)
        np.testing.assert_allclose(faces.solid_angle[here], faces.solid_angle[here][0])
    np.testing.assert_allclose(coverage(atoms, 5.0), 1.0)


def test_a_square_of_the_truncated_octahedron_is_as_large_as_integration_finds_it():
    faces = voronoi_faces(bulk("Fe", "bcc", a=2.0), 5.0)
    square = faces.solid_angle[np.isclose(faces.distance, 2.0)][0]
    # corners (1, 1/2, 0), (1, 0, 1/2) ...: |y| + |z| < 1/2 at x = 1
    side = (np.arange(2000) + 0.5) / 4000
    y, z = np.meshgrid(side, side)
    inside = y + z < 0.5
    integral = 4 * ((1 + y**2 + z**2) ** -1.5)[inside].sum() * (0.5 / 2000) ** 2
    assert square == pytest.approx(integral, rel=1e-3)


def test_disordered_cells_are_closed_and_faces_mutual():
    atoms = liquid()
    np.testing.assert_allclose(coverage(atoms, 7.0), 1.0, atol=1e-9)
    faces = voronoi_faces(atoms, 7.0)
    rows = sorted(zip(faces.centre, faces.neighbour, faces.solid_angle.round(6), strict=True))
    assert rows == sorted(zip(faces.neighbour, faces.centre, faces.solid_angle.round(6), strict=True))


def test_what_rays_meet_first_is_the_face():
    """Directions at random, each to the nearest plane halfway to another atom, if that is inside of the sphere."""
    atoms, cutoff = liquid(), 3.4
    faces = voronoi_faces(atoms, cutoff)
    ways = np.random.default_rng(0).normal(size=(100_000, 3))
    ways /= np.linalg.norm(ways, axis=1)[:, None]
    big = atoms * (3, 3, 3)
    middle = 13 * len(atoms)
    others = np.delete(big.positions, middle, axis=0) - big.positions[middle]
    others = others[np.linalg.norm(others, axis=1) < 8.0]
    far = 0.5 * (others**2).sum(axis=1) / np.maximum(ways @ others.T, 1e-9)  # along each way to each plane
    first = far.argmin(axis=1)
    met = first[far.min(axis=1) < cutoff / 2]
    share = np.bincount(met, minlength=len(others)) / len(ways)
    mine = faces.centre == 0
    expected = np.sort(share[share > 2e-3])
    found = np.sort(faces.solid_angle[mine] / SPHERE)
    assert 0.1 < found.sum() < 0.9
    np.testing.assert_allclose(found[-len(expected) :], expected, atol=4e-3)
    assert found.sum() == pytest.approx(share.sum(), abs=4e-3)


def test_neither_orientation_nor_cell_nor_lattice_translations_change_faces():
    atoms = liquid()
    before = voronoi_faces(atoms, 6.0)
    turned = atoms.copy()
    turned.rotate(37.0, (1, 2, 3), rotate_cell=True)
    same_faces(voronoi_faces(turned, 6.0), before)
    shifted = atoms.copy()
    shifted.positions += np.random.default_rng(0).integers(-3, 4, (len(atoms), 3)) @ atoms.cell.array
    same_faces(voronoi_faces(shifted, 6.0), before)
    skewed = atoms.copy()
    skewed.cell[1] += 2 * skewed.cell[0]
    same_faces(voronoi_faces(skewed, 6.0), before)


def test_a_cell_of_one_atom_is_its_own_neighbour():
    faces = voronoi_faces(Atoms("Fe", positions=[[5, 5, 5]], cell=[2, 2, 2], pbc=True), 6.0)
    assert (faces.neighbour == 0).all()
    assert len(faces.centre) == 6


def test_surfaces_are_open_and_inner_layers_are_not():
    slab = fcc100("Al", (2, 2, 5), vacuum=8.0)
    found = coverage(slab, 6.0)
    inner = np.isclose(slab.positions[:, 2], np.unique(slab.positions[:, 2].round(6))[2])
    np.testing.assert_allclose(found[inner], 1.0)
    top = slab.positions[:, 2] > slab.positions[:, 2].max() - 0.1
    assert (found[top] < 0.95).all()
    assert (found[top] > 0.5).all()


def test_atoms_alone_and_in_molecules():
    assert len(voronoi_faces(Atoms("Fe"), 5.0).centre) == 0
    far = Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 5.1]])
    assert len(voronoi_faces(far, 5.0).centre) == 0
    near = voronoi_faces(Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 2.0]]), 5.0)
    # the cap of a sphere of 2.5 behind a plane at 1
    np.testing.assert_allclose(near.solid_angle, 2 * np.pi * (1 - 1 / 2.5))
    assert voronoi_faces(molecule("CH4"), 5.0).solid_angle.min() > 0


def test_angles_change_little_when_atoms_move_little():
    atoms = liquid()
    moved = atoms.copy()
    moved.rattle(1e-5, seed=1)
    sums = [voronoi_faces(x, 3.4) for x in (atoms, moved)]
    tables = [
        np.bincount(f.centre * len(atoms) + f.neighbour, f.solid_angle, len(atoms) ** 2).reshape(-1) for f in sums
    ]
    assert np.abs(tables[0] - tables[1]).max() < 1e-3


def test_what_is_farther_than_the_cutoff_has_no_say():
    cluster = Atoms("Fe9", positions=[[0, 0, 0], *itertools.product((-1.4, 1.4), repeat=3)])
    alone = voronoi_faces(cluster, 4.0)
    more = cluster + Atoms("Fe2", positions=[[0, 0, 4.1], [0, 4.2, 0]])
    both = voronoi_faces(more, 4.0)
    for faces in (alone, both):
        assert (faces.centre == 0).sum() == 8
    np.testing.assert_allclose(both.solid_angle[both.centre == 0], alone.solid_angle[alone.centre == 0])


def test_two_atoms_in_one_place_are_told():
    with pytest.raises(DataError, match="two atoms are in one place"):
        voronoi_faces(Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 0]], cell=[3, 3, 3], pbc=True), 5.0)
