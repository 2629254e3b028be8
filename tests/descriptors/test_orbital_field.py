"""The orbital field matrix: which electrons, times which neighbours."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.data import atomic_numbers, chemical_symbols

from mlff_curate.cgcnn.elements import block_of, group_of, valence_electrons
from mlff_curate.descriptors.orbital_field import OrbitalFieldMatrix
from mlff_curate.descriptors.registry import make_descriptor, restore_descriptor
from mlff_curate.descriptors.valence import HEAVIEST, SIZE, valence_subshells, valence_vector
from mlff_curate.errors import DataError


@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        ("H", "s1"),
        ("He", "s2"),
        ("O", "s2 p4"),
        ("Ne", "s2 p6"),
        ("Na", "s1"),
        ("Cr", "s1 d5"),
        ("Fe", "s2 d6"),
        ("Cu", "s1 d10"),
        ("Ga", "s2 p1 d10"),
        ("Nb", "s1 d4"),
        ("Pd", "d10"),
        ("La", "s2 d1"),
        ("Sm", "s2 f6"),
        ("Gd", "s2 d1 f7"),
        ("Ta", "s2 d3 f14"),
        ("Pb", "s2 p2 d10 f14"),
        ("U", "s2 d1 f3"),
        ("Og", "s2 p6 d10 f14"),
    ],
)
def test_ground_states(symbol, words):
    z = atomic_numbers[symbol]
    assert " ".join(f"{letter}{n}" for letter, n in valence_subshells(z).items()) == words
    row = valence_vector(z)
    names = [f"{letter}{n}" for letter, most in zip("spdf", (2, 6, 10, 14), strict=True) for n in range(1, most + 1)]
    assert [name for name, value in zip(names, row, strict=True) if value] == words.split()


def test_electrons_add_up_to_those_outside_of_the_noble_gas():
    noble = (0, 2, 10, 18, 36, 54, 86)
    for z in range(1, HEAVIEST + 1):
        core = max(n for n in noble if n < z)
        assert sum(valence_subshells(z).values()) == z - core, chemical_symbols[z]


def test_electrons_agree_with_the_groups_of_the_periodic_table():
    for z in range(1, HEAVIEST + 1):
        electrons = valence_subshells(z)
        if group_of(z) is None or z in (2, 46, 103):  # no group; the published oddity of Pd; Lr has its p in place of d
            continue
        outer = electrons.get("s", 0) + electrons.get("p", 0) * (block_of(z) == "p")
        outer += electrons.get("d", 0) * (block_of(z) == "d")
        assert outer == valence_electrons(z), chemical_symbols[z]


def matrix(row, subshells):
    return row[subshells:].reshape(subshells, subshells)


@pytest.mark.parametrize(
    ("lattice", "distance", "coordination"),
    [("sc", 2.0, 6.0), ("fcc", 2.0**0.5, 12.0)],
)
def test_one_element_counts_its_neighbours_over_their_distance(lattice, distance, coordination):
    row = OrbitalFieldMatrix([26], 6.0).compute([bulk("Fe", lattice, a=2.0)])[0]
    np.testing.assert_array_equal(row[:2], 1.0)  # s2 and d6 are all there is
    np.testing.assert_allclose(matrix(row, 2), coordination / distance, rtol=1e-6)


def test_second_neighbours_of_bcc_count_by_the_size_of_their_faces():
    row = OrbitalFieldMatrix([26], 6.0).compute([bulk("Fe", "bcc", a=2.0)])[0]
    hexagon, square = 1.2367731, 0.4453641
    assert 8 * hexagon + 6 * square == pytest.approx(4 * np.pi, rel=1e-6)
    np.testing.assert_allclose(matrix(row, 2), 8 / 3**0.5 + 6 * square / hexagon / 2.0, rtol=1e-6)


def test_rows_are_the_centre_and_columns_the_neighbours():
    compound = bulk("NaCl", "rocksalt", a=5.6)
    descriptor = OrbitalFieldMatrix([17, 11])
    names = ["s1", "s2", "p5"]  # of Na; of Cl twice
    sodium, chlorine = descriptor.compute([compound])
    assert descriptor.size == len(sodium) == 3 * 4
    six = 6 / 2.8
    np.testing.assert_allclose(sodium[:3], [1, 0, 0])
    np.testing.assert_allclose(matrix(sodium, 3), six * np.outer([1, 0, 0], [0, 1, 1]), rtol=1e-6, err_msg=str(names))
    np.testing.assert_allclose(chlorine[:3], [0, 1, 1])
    np.testing.assert_allclose(matrix(chlorine, 3), six * np.outer([0, 1, 1], [1, 0, 0]), rtol=1e-6)


def test_nothing_is_lost_by_leaving_subshells_out():
    """The full matrix of 32 rows, from its definition, has the same numbers at the subshells of the elements."""
    atoms = bulk("CsCl", "cesiumchloride", a=4.1)
    row = OrbitalFieldMatrix([55, 17]).compute([atoms])[0]
    centre, other = valence_vector(55), valence_vector(17)
    hexagon, square = 1.2367731, 0.4453641
    full = np.outer(centre, 8 / (4.1 * 0.75**0.5) * other + 6 * square / hexagon / 4.1 * centre)
    some = np.flatnonzero(centre + other)
    assert full.sum() == pytest.approx(row[len(some) :].sum(), rel=1e-6)
    np.testing.assert_allclose(matrix(row, len(some)), full[np.ix_(some, some)], rtol=1e-6)
    assert SIZE == len(centre) == 32


def alloy():
    atoms = bulk("Ta", cubic=True) * (2, 2, 2)
    atoms.numbers[::3] = 74
    atoms.rattle(0.15, seed=3)
    return atoms


def test_invariances():
    descriptor, atoms = OrbitalFieldMatrix([73, 74]), alloy()
    before = descriptor.compute([atoms])
    turned = atoms.copy()
    turned.rotate(50.0, (3, 1, 2), rotate_cell=True)
    order = np.random.default_rng(0).permutation(len(atoms))
    np.testing.assert_allclose(descriptor.compute([turned]), before, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(descriptor.compute([atoms[order]]), before[order], rtol=1e-5, atol=1e-6)
    repeated = descriptor.compute([atoms * (1, 2, 1)])
    np.testing.assert_allclose(repeated, np.tile(before, (2, 1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(descriptor.compute([atoms, atoms])[len(atoms) :], before)


def test_surfaces_and_free_atoms_are_finite():
    descriptor = OrbitalFieldMatrix([13])
    slab = descriptor.compute([fcc111("Al", (1, 1, 5), vacuum=10.0)])
    assert np.isfinite(slab).all()
    assert slab[0, -1] < slab[2, -1]  # fewer neighbours
    alone = descriptor.compute([Atoms("Al")])
    np.testing.assert_array_equal(alone[0, :2], 1.0)
    assert not alone[0, 2:].any()
    assert descriptor.compute([]).shape == (0, descriptor.size)


def test_refusals_name_the_frame_and_the_element():
    twice = Atoms("Al2", positions=[[0, 0, 0], [0, 0, 0]])
    with pytest.raises(DataError, match="two atoms are in one place") as error:
        OrbitalFieldMatrix([13]).compute([bulk("Al"), twice])
    assert error.value.frame == 1
    with pytest.raises(ValueError, match=r"elements \[26\] are not among the descriptor's \[13\]"):
        OrbitalFieldMatrix([13]).compute([bulk("Fe")])


def test_by_name_and_from_settings():
    made = make_descriptor("orbital-field-matrix", [74, 73])
    again = restore_descriptor(made.settings())
    assert isinstance(again, OrbitalFieldMatrix)
    assert again.settings() == made.settings()
    np.testing.assert_array_equal(again.compute([alloy()]), made.compute([alloy()]))
    with pytest.raises(ValueError, match="the descriptor's twojmax is '6'"):
        restore_descriptor({**made.settings(), "twojmax": 6})
