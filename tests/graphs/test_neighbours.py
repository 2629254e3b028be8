"""Neighbour lists are those of ASE for every kind of frame, and the default radius follows the elements."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, make_supercell, molecule
from ase.data import atomic_numbers, chemical_symbols, reference_states
from ase.neighborlist import neighbor_list
from scipy.spatial import cKDTree

from mlff_curate.graphs.neighbours import default_cutoff, neighbour_distance, neighbour_list

ALL_PBC = [tuple(bool(flag) for flag in flags) for flags in np.ndindex(2, 2, 2)]


def rattled_bcc():
    atoms = bulk("Ta") * (2, 2, 2)
    atoms.rattle(0.2, seed=1)
    return atoms


def skewed():
    """Two elements in a cell with angles down to 12 degrees."""
    cell = [[4.0, 0.0, 0.0], [11.0, 3.5, 0.0], [-17.0, 13.0, 4.2]]
    return Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.4, 0.3, 0.6]], cell=cell, pbc=True)


def left_handed():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=2)
    atoms.cell[:] = atoms.cell[:][[1, 0, 2]]
    assert np.linalg.det(atoms.cell[:]) < 0
    return atoms


def outside_its_cell():
    atoms = rattled_bcc()
    atoms.positions += np.random.default_rng(3).integers(-5, 6, (len(atoms), 3)) @ atoms.cell[:]
    return atoms


def slab():
    atoms = fcc111("Al", (2, 2, 3), vacuum=6.0)
    atoms.rattle(0.1, seed=4)
    return atoms


def expected(frames, cutoff):
    """The rows (centre, neighbour, number, vector) that ASE finds."""
    rows, start = [], 0
    for atoms in frames:
        i, j, vector = neighbor_list("ijD", atoms, cutoff)
        rows.append(np.column_stack([i + start, j + start, atoms.numbers[j], vector]))
        start += len(atoms)
    return np.concatenate(rows)


def agrees_with_ase(frames, cutoff):
    found = neighbour_list(frames, cutoff)
    wanted = expected(frames, cutoff)
    assert len(found.centre) == len(wanted)
    assert found.vector.shape == (len(wanted), 3)
    assert np.all(np.diff(found.centre) >= 0), "sorted by centre"
    atoms = sum(len(frame) for frame in frames)
    np.testing.assert_array_equal(found.count, np.bincount(found.centre, minlength=atoms))
    if len(wanted) == 0:
        return found
    rows = np.column_stack([found.centre, found.neighbour, found.number, found.vector])
    # the first three are integers: stretched, so that a match within 1e-9 means that they are the same
    stretch = [1e3, 1e3, 1e3, 1, 1, 1]
    gap, partner = cKDTree(rows * stretch).query(wanted * stretch)
    assert gap.max() < 1e-9
    assert len(np.unique(partner)) == len(wanted), "one to one"
    return found


FRAMES = {
    "bulk": (rattled_bcc(), 5.0),
    "primitive fcc, cutoff three cells": (bulk("Al"), 9.0),
    "one atom, cutoff six cells": (Atoms("H", cell=[1.0, 1.2, 0.9], pbc=True), 6.0),
    "one atom, triclinic": (Atoms("H", cell=[[2, 0, 0], [1.7, 0.9, 0], [-3, 1, 1.5]], pbc=True), 6.0),
    "strongly skewed": (skewed(), 7.0),
    "skewed by a long lattice vector": (make_supercell(rattled_bcc(), [[1, 7, 0], [0, 1, 0], [-4, 3, 1]]), 4.5),
    "left-handed": (left_handed(), 5.0),
    "outside its cell": (outside_its_cell(), 5.0),
    "slab": (slab(), 6.0),
    "molecule without a cell": (molecule("CH3CH2OH"), 3.0),
    "molecule in a box": (Atoms("CO", [[0, 0, 0], [0, 0, 1.1]], cell=[20, 20, 20], pbc=True), 4.0),
    "one atom alone": (Atoms("He"), 6.0),
    "one atom alone in a box": (Atoms("He", cell=[30, 30, 30], pbc=True), 6.0),
    "an atom out of reach of the others": (Atoms("H3", [[0, 0, 0], [50, 0, 0], [0, 0, 1]]), 4.0),
}


@pytest.mark.parametrize(("atoms", "cutoff"), FRAMES.values(), ids=FRAMES)
def test_neighbours_are_those_of_ase(atoms, cutoff):
    agrees_with_ase([atoms], cutoff)


@pytest.mark.parametrize("pbc", ALL_PBC)
@pytest.mark.parametrize("build", [rattled_bcc, skewed, outside_its_cell, slab])
def test_open_directions_in_any_axis(build, pbc):
    atoms = build()
    atoms.pbc = pbc
    agrees_with_ase([atoms], 7.0)


@pytest.mark.parametrize("pbc", ALL_PBC)
def test_open_directions_need_no_cell_vector(pbc):
    atoms = rattled_bcc()
    atoms.pbc = pbc
    with_vectors = neighbour_list([atoms], 5.0)
    atoms.cell[~atoms.pbc] = 0.0
    agrees_with_ase([atoms], 5.0)
    assert len(neighbour_list([atoms], 5.0).centre) == len(with_vectors.centre)


@pytest.mark.parametrize("pbc", ALL_PBC)
def test_atoms_far_outside_the_cell_of_an_open_direction(pbc):
    atoms = rattled_bcc()
    atoms.positions = 15.0 * np.random.default_rng(5).normal(size=(len(atoms), 3)) + [100.0, -200.0, 50.0]
    atoms.pbc = pbc
    agrees_with_ase([atoms], 8.0)


def test_a_batch_is_its_frames_one_after_the_other():
    frames = [Atoms("He"), rattled_bcc(), molecule("H2O"), skewed(), bulk("Al"), Atoms("H", cell=[30] * 3, pbc=True)]
    found = agrees_with_ase(frames, 5.0)
    assert found.count[0] == found.count[-1] == 0
    np.testing.assert_array_equal(found.count[1:9], neighbour_list([frames[1]], 5.0).count)


def test_no_frames_have_no_neighbours():
    nothing = neighbour_list([], 5.0)
    assert nothing.vector.shape == (0, 3)
    assert len(nothing.centre) == len(nothing.number) == len(nothing.count) == 0


def test_frames_stay_as_they_are():
    atoms = slab()
    before = atoms.copy()
    neighbour_list([atoms], 5.0)
    assert atoms == before


@pytest.mark.parametrize("pbc", [False, (True, True, False)])
def test_an_evaporated_atom_costs_no_memory(pbc):
    """The cells that atoms are sorted into must not grow with the empty space between them."""
    resource = pytest.importorskip("resource")
    atoms = Atoms("H3", [[0, 0, 0], [0, 0, 1.0], [1500, 1500, 1500]], cell=[10, 10, 10], pbc=pbc)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = neighbour_list([atoms], 4.0)
    assert found.count.tolist() == [1, 1, 0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


def test_hand_counted_shells():
    bcc = neighbour_list([bulk("Fe", "bcc", a=2.0)], 2.0 * 2**0.5 + 1e-6)
    distance = np.sort(np.linalg.norm(bcc.vector, axis=1))
    np.testing.assert_allclose(distance, [3**0.5] * 8 + [2.0] * 6 + [8**0.5] * 12)


@pytest.mark.parametrize("number", range(1, 97))
def test_every_element_has_a_sensible_default_cutoff(number):
    cutoff = default_cutoff([number])
    assert np.isfinite(cutoff)
    assert 4.0 <= cutoff <= 9.0


@pytest.mark.parametrize("number", range(97, 119))
def test_elements_beyond_the_tables_have_a_cutoff_too(number):
    assert 4.0 <= default_cutoff([number]) <= 9.0


def test_larger_elements_look_further():
    numbers = sorted(range(1, 97), key=neighbour_distance)
    cutoffs = [default_cutoff([z]) for z in numbers]
    assert cutoffs == sorted(cutoffs)
    of = {s: default_cutoff([atomic_numbers[s]]) for s in ("Li", "Na", "K", "Rb", "Cu", "Ag", "C", "Si", "Ge")}
    assert of["Li"] < of["Na"] < of["K"] < of["Rb"]
    assert of["Cu"] < of["Ag"]
    assert of["C"] < of["Si"] < of["Ge"]


def test_an_alloy_looks_as_far_as_its_elements_on_average():
    nickel, gold = atomic_numbers["Ni"], atomic_numbers["Au"]
    alone = default_cutoff([nickel]), default_cutoff([gold])
    assert default_cutoff([nickel, gold]) == pytest.approx(np.mean(alone), abs=2e-3)
    assert default_cutoff([gold, nickel]) == default_cutoff([nickel, gold])


CRYSTALS = {
    chemical_symbols[z]: state["symmetry"]
    for z, state in enumerate(reference_states[:97])
    if state and state["symmetry"] in ("bcc", "fcc", "diamond")
}


@pytest.mark.parametrize("symbol", CRYSTALS)
def test_the_first_shell_of_the_reference_crystal_is_inside_the_default_cutoff(symbol):
    atoms = bulk(symbol)
    first_shell = {"bcc": 8, "fcc": 12, "diamond": 4}[CRYSTALS[symbol]]
    inside = neighbour_list([atoms], default_cutoff(atoms.numbers)).vector
    distance = np.sort(np.linalg.norm(inside, axis=1))[: first_shell * len(atoms)]
    assert len(distance) == first_shell * len(atoms)
    np.testing.assert_allclose(distance, neighbour_distance(int(atoms.numbers[0])), rtol=1e-12)
