"""Atoms that are too near are told where nothing speaks for them; compression, collisions and heat are no fault."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.morse import MorsePotential
from made_frames import checked, hot_crystal, in_another_cell, shifted_and_wrapped, shuffled, turned

from mlff_curate.checks.contacts import contacts
from mlff_curate.data.frames import geometry
from mlff_curate.data.labels import labels_of

SUM = 3.40  # of two covalent radii of tantalum, Angstrom


def labelled(atoms, index):
    """Forces of a pair potential with tantalum's bond length, so that contacts push."""
    atoms = atoms.copy()
    atoms.calc = MorsePotential(epsilon=1.0, r0=2.86, rho0=4.0, rcut1=4.0, rcut2=5.0)
    return checked(geometry(atoms), index, forces=atoms.get_forces())


def pushed_together(atoms, ratio):
    """Atom 0 is moved towards its nearest neighbour until their distance is the ratio of their radii."""
    atoms = atoms.copy()
    vectors = atoms.get_distances(0, range(1, len(atoms)), mic=True, vector=True)
    nearest = vectors[np.linalg.norm(vectors, axis=1).argmin()]
    atoms.positions[0] += nearest * (1 - ratio * SUM / np.linalg.norm(nearest))
    return atoms


def told(frames):
    return [(f.rule, f.severity, f.frame) for f in contacts(frames)]


def unlabelled(atoms):
    return [checked(a, k) for k, a in enumerate(atoms)]


@pytest.fixture(scope="module")
def trajectory():
    return [hot_crystal(seed, amplitude=0.15) for seed in range(40)]


def test_hot_crystals_molecules_and_free_atoms_are_no_finding(trajectory):
    others = [molecule("H2O"), molecule("C6H6"), Atoms("Ta", pbc=False), bulk("NaCl", "rocksalt", a=5.6), bulk("Cs")]
    assert told(unlabelled([*trajectory, *others])) == []


@pytest.mark.parametrize("bad", [[3], [5, 7], list(range(40))])
def test_an_atom_written_twice_overlaps(trajectory, bad):
    frames = list(trajectory)
    for k in bad:
        frames[k] = frames[k] + frames[k][[2]]
    found = contacts(unlabelled(frames))
    assert [(f.rule, f.severity, f.frame) for f in found] == [("atoms-overlap", "error", k) for k in bad]
    assert found[0].message == "atoms 2 (Ta) and 16 (Ta) are 0 Angstrom apart: they overlap"


@pytest.mark.parametrize("bad", [[3], [5, 7], list(range(40))])
def test_contacts_that_no_calculation_converges_for_are_errors(trajectory, bad):
    frames = [pushed_together(a, 0.2) if k in bad else a for k, a in enumerate(trajectory)]
    assert told(unlabelled(frames)) == [("contact-short", "error", k) for k in bad]


@pytest.mark.parametrize("bad", [[3], [5, 7], list(range(40))])
@pytest.mark.parametrize("ratio", [0.35, 0.5])
def test_a_contact_that_the_forces_do_not_know_of_is_a_warning(trajectory, bad, ratio):
    frames = []
    for k, atoms in enumerate(trajectory):
        forces = np.random.default_rng(k).normal(size=(len(atoms), 3))
        frames.append(checked(pushed_together(atoms, ratio) if k in bad else atoms, k, forces=forces))
    assert told(frames) == [("contact-short", "warning", k) for k in bad]


@pytest.mark.parametrize("ratio", [0.35, 0.5])
def test_a_collision_that_the_forces_know_of_is_none(trajectory, ratio):
    assert told([labelled(pushed_together(a, ratio), k) for k, a in enumerate(trajectory)]) == []


def test_the_shortest_collisions_are_a_note():
    frame = labelled(pushed_together(hot_crystal(0), 0.2), 0)
    (found,) = contacts([frame])
    assert (found.rule, found.severity) == ("contact-short", "note")


def test_without_forces_one_frame_far_below_all_others_is_a_warning(trajectory):
    frames = unlabelled([pushed_together(a, 0.42) if k == 6 else a for k, a in enumerate(trajectory)])
    assert told(frames) == [("contact-short", "warning", 6)]


def test_without_forces_a_shock_with_many_short_contacts_is_none(trajectory):
    ratios = np.linspace(0.4, 0.8, len(trajectory))
    assert told(unlabelled([pushed_together(a, r) for a, r in zip(trajectory, ratios, strict=True)])) == []


def test_a_crystal_compressed_from_all_sides_is_none():
    unit = bulk("Ta", "bcc", a=3.3)
    frames = []
    for scale in np.linspace(0.6, 1.1, 30):
        atoms = unit.copy()
        atoms.set_cell(scale * unit.cell.array, scale_atoms=True)
        frames.append(atoms)
    assert told(unlabelled(frames)) == []


@pytest.mark.parametrize("seed", range(4))
def test_the_verdict_does_not_depend_on_how_the_frame_is_written(seed):
    rng = np.random.default_rng(seed)
    atoms = pushed_together(hot_crystal(seed), 0.25)
    moved = turned(shuffled(shifted_and_wrapped(in_another_cell(atoms, rng), rng), rng)[0], rng)[0]
    first, second = contacts([checked(atoms, 0)]), contacts([checked(moved, 0)])
    assert first[0].rule == second[0].rule == "contact-short"
    assert second[0].value == pytest.approx(first[0].value)


def test_a_cell_shorter_than_an_atom_brings_it_near_its_own_image():
    atoms = Atoms("Ta", cell=[0.9, 6.0, 6.0], pbc=True)
    (found,) = contacts([checked(atoms, 0)])
    assert "atoms 0 (Ta) and 0 (Ta) (its own periodic image) are 0.9 Angstrom apart" in found.message


def test_an_evaporated_atom_is_a_note():
    atoms = hot_crystal(0, (2, 2, 1)) + Atoms("Ta", [[3.3, 3.3, 18.0]])
    atoms.cell[2] = [0.0, 0.0, 32.0]
    (found,) = contacts([checked(atoms, 0)])
    assert (found.rule, found.severity) == ("atoms-far", "note")
    assert found.message.startswith("1 atom of 9 (8) without a neighbour within 3 sums of covalent radii")


@pytest.mark.data
@pytest.mark.parametrize("name", ["ta_jcp2014", "nb_mvl2020", "fe_npj2021"])
@pytest.mark.parametrize("with_forces", [True, False])
def test_the_extremes_of_the_published_sets_are_not_accused(real_data, name, with_forces):
    from mlff_curate.data.reading import read_frames  # noqa: PLC0415

    frames = []
    for frame in read_frames(real_data / f"{name}.extxyz"):
        forces = labels_of(frame.atoms).forces
        bare = geometry(frame.atoms)
        frames.append(checked(bare, frame.index, forces=forces) if with_forces else checked(bare, frame.index))
    assert told(frames) == []
