"""What is known of a frame: its digest, its labels, whether it is a free atom."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_curate.data.frames import content_digest, geometry, is_isolated_atom


def water(**info):
    atoms = Atoms("OH2", positions=[[0, 0, 0], [0.95, 0, 0], [0, 0.95, 0]], info=info)
    atoms.calc = SinglePointCalculator(atoms, energy=-14.0)
    return atoms


def changed(change):
    atoms = water(step=1)
    change(atoms)
    return atoms


def test_digest_is_of_the_content_alone():
    assert content_digest(water(a=1, b="x")) == content_digest(water(b="x", a=1))
    assert content_digest(water(a=1)) == content_digest(water(a=np.int32(1))) == content_digest(water(a=1.0))


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.positions.__setitem__((1, 0), np.nextafter(0.95, 1)),
        lambda atoms: atoms.set_atomic_numbers([8, 1, 3]),
        lambda atoms: atoms.set_cell([9, 9, 9]),
        lambda atoms: atoms.set_pbc([True, False, False]),
        lambda atoms: atoms.info.update(step=2),
        lambda atoms: atoms.info.update(other=1),
        lambda atoms: atoms.new_array("tag", np.arange(3)),
        lambda atoms: atoms.calc.results.update(energy=-14.0000001),
        lambda atoms: atoms.calc.results.update(forces=np.zeros((3, 3))),
    ],
)
def test_digest_tells_every_difference(change):
    assert content_digest(changed(change)) != content_digest(water(step=1))


def test_geometry_carries_no_label():
    bare = geometry(water(step=1))
    assert bare.info == {}
    assert bare.calc is None
    assert set(bare.arrays) == {"numbers", "positions"}


@pytest.mark.parametrize(
    ("atoms", "isolated"),
    [
        (Atoms("Fe"), True),
        (Atoms("Fe", cell=[2, 2, 2]), True),
        (Atoms("Fe", cell=[20, 20, 20], pbc=True), True),
        (Atoms("Fe", cell=[2.5, 2.5, 2.5], pbc=True), False),
        (Atoms("Fe", cell=[2.5, 20, 20], pbc=True), False),  # a chain
        (Atoms("Fe", cell=[2.5, 20, 20], pbc=(False, True, True)), True),
        (Atoms("Fe", cell=[0, 0, 3], pbc=(False, False, True)), False),
        (Atoms("Fe", cell=[[20, 0, 0], [19, 3, 0], [0, 0, 20]], pbc=True), False),  # long vectors, near images
        (Atoms("Cs", cell=[5.2, 9, 9], pbc=True), False),
        (Atoms("Fe", cell=[5, 5, 5], pbc=True, info={"config_type": "IsolatedAtom"}), True),
        (Atoms("Fe", cell=[5, 5, 5], pbc=True, info={"config_type": "isolated_atom"}), True),
        (Atoms("Fe2", positions=[[0, 0, 0], [2, 0, 0]], info={"config_type": "IsolatedAtom"}), False),
        (bulk("Ta"), False),
    ],
)
def test_free_atom_is_told_from_a_crystal_of_one_atom(atoms, isolated):
    assert is_isolated_atom(atoms) is isolated
