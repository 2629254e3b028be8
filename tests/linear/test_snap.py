"""The design rows are a potential: forces are derivatives, energies are extensive, rotations turn vectors."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlff_curate.errors import DataError, UsageError
from mlff_curate.lammps_session import LammpsSession, potential_file
from mlff_curate.linear.snap import LinearSnap

pytestmark = pytest.mark.lammps

MODEL = LinearSnap([73, 41], 4.2)


def skewed_alloy(pbc=(True, True, True)) -> Atoms:
    """Eight atoms of a triclinic Ta-Nb crystal off their sites; along open directions the cell is that of the bulk."""
    atoms = bulk("Ta", a=3.3) * (2, 2, 2)
    atoms.symbols[::2] = "Nb"
    atoms.set_cell(atoms.cell[:] @ [[1.05, 0.1, 0], [0, 0.97, -0.08], [0.03, 0, 1.0]], scale_atoms=True)
    atoms.rattle(0.15, seed=1)
    atoms.pbc = pbc
    return atoms


FRAMES = {
    "periodic": skewed_alloy(),
    "slab": skewed_alloy((True, False, True)),
    "wire": skewed_alloy((False, False, True)),
    "molecule": skewed_alloy((False, False, False)),
    "two atoms, cell smaller than the cutoff": Atoms(
        "TaNb", [[0, 0, 0], [1.9, 1.5, 1.4]], cell=[[3.2, 0, 0], [0.4, 3.3, 0], [0.2, -0.3, 3.1]], pbc=True
    ),
    "close contact, inside the repulsion": Atoms("TaNb", [[0, 0, 0], [0.9, 0.5, 0.4]]),
}


def rows_of(atoms, model=MODEL):
    return next(model.rows([atoms]))


def rotation(seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.linalg.det(q)


@pytest.mark.parametrize("atoms", FRAMES.values(), ids=FRAMES.keys())
def test_force_rows_are_minus_the_derivatives_of_the_energy_rows(atoms):
    n, step = len(atoms), 1e-4
    direction = np.random.default_rng(2).normal(size=(n, 3))
    moved = []
    for sign in (1, -1):
        moved.append(atoms.copy())
        moved[-1].positions += sign * step * direction
    here, ahead, behind = MODEL.rows([atoms, *moved])
    slope = n * (ahead.energy - behind.energy) / (2 * step)  # (K,)
    expected = -np.einsum("nck,nc->k", here.forces, direction)
    assert np.abs(slope).max() > 1.0  # else the comparison says nothing
    assert np.allclose(slope, expected, rtol=1e-5, atol=1e-5 * np.abs(slope).max())
    reference = n * (ahead.reference_energy - behind.reference_energy) / (2 * step)
    assert reference == pytest.approx(-np.sum(here.reference_forces * direction), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("atoms", FRAMES.values(), ids=FRAMES.keys())
def test_rotation_turns_forces_and_leaves_energies(atoms):
    Q = rotation()
    turned = atoms.copy()
    turned.set_cell(atoms.cell[:] @ Q.T, scale_atoms=False)
    turned.positions = atoms.positions @ Q.T
    a, b = MODEL.rows([atoms, turned])
    scale = np.abs(a.forces).max()
    assert np.allclose(b.energy, a.energy, rtol=1e-9, atol=1e-9)
    assert np.allclose(b.forces, np.einsum("dc,nck->ndk", Q, a.forces), atol=1e-9 * scale)
    assert np.allclose(b.reference_forces, a.reference_forces @ Q.T, atol=1e-8)


@pytest.mark.parametrize("name", ["periodic", "two atoms, cell smaller than the cutoff"])
def test_a_supercell_has_the_same_energy_per_atom_and_the_same_forces(name):
    atoms = FRAMES[name]
    one, many = MODEL.rows([atoms, atoms * (2, 1, 3)])
    assert np.allclose(many.energy, one.energy, rtol=1e-9, atol=1e-9)
    assert many.reference_energy == pytest.approx(one.reference_energy)
    assert np.allclose(many.forces, np.tile(one.forces, (6, 1, 1)), atol=1e-9 * np.abs(one.forces).max())
    assert np.allclose(many.composition, one.composition)


def test_energies_of_molecules_far_apart_add_up():
    a, b = FRAMES["molecule"], Atoms("Nb2", [[0, 0, 0], [0, 0, 2.5]])
    far = b.copy()
    far.positions += 100.0
    x, y, both = MODEL.rows([a, b, a + far])
    assert np.allclose(10 * both.energy, 8 * x.energy + 2 * y.energy)


def test_order_of_atoms_and_choice_of_origin_do_not_matter():
    atoms = FRAMES["periodic"]
    order = np.random.default_rng(3).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [5.0, -7.0, 11.0]
    a, b = MODEL.rows([atoms, moved])
    assert np.allclose(b.energy, a.energy)
    assert np.allclose(b.forces, a.forces[order], atol=1e-9 * np.abs(a.forces).max())


def test_a_free_atom_has_its_constant_and_nothing_else():
    rows = rows_of(Atoms("Nb"))
    assert np.allclose(rows.composition, [1.0, 0.0])  # Nb before Ta
    assert np.allclose(rows.energy, 0.0, atol=1e-12)
    assert rows.reference_energy == 0.0


def test_atoms_beyond_the_cutoff_do_not_feel_each_other():
    apart, closer = MODEL.rows(Atoms("Ta2", [[0, 0, 0], [0, 0, d]]) for d in (4.21, 4.0))
    assert np.allclose(apart.forces, 0.0)
    assert apart.reference_energy == 0.0  # the repulsion ends where the bispectrum can no longer mend it
    assert np.abs(closer.forces).max() > 0.01


def test_species_are_told_apart_in_centres_and_neighbours():
    pure, mixed = (rows_of(Atoms(s, [[0, 0, 0], [0, 0, 2.8]])) for s in ("Ta2", "TaNb"))
    half = MODEL.size // 2
    assert np.allclose(pure.energy[:half], 0.0, atol=1e-12)  # the block of Nb
    assert np.abs(mixed.energy[:half]).max() > 0.1
    # One Ta with a Ta neighbour, against one Ta with an Nb neighbour.
    assert np.abs(pure.energy[half:] - 2 * mixed.energy[half:]).max() > 0.01


def test_the_published_tantalum_potential_is_one_of_these_models():
    # The file ends with the constant and one coefficient a line.
    beta = np.array(potential_file("Ta06A.snapcoeff").read_text().split()[-30:], dtype=float)
    atoms = bulk("Ta", a=3.3, cubic=True) * 2
    atoms.rattle(0.2, seed=4)
    other = bulk("Ta", "fcc", a=4.2)
    published = [
        "pair_style hybrid/overlay zero 10.0 zbl 4.0 4.8 snap",
        "pair_coeff * * zero",
        "pair_coeff 1 1 zbl 73 73",
        f'pair_coeff * * snap "{potential_file("Ta06A.snapcoeff")}" "{potential_file("Ta06A.snapparam")}" Ta',
    ]
    energies, forces = [], []
    with LammpsSession() as session:
        for frame in (atoms, other):
            session.load(frame, [73], published)
            session.run(0)
            energies.append(session.energy() / len(frame))
            forces.append(session.forces())
    # The file's cutoff is 4.67637, where our reference would end too; its own is switched off from 4.0 to 4.8.
    a, b = LinearSnap([73], 4.67637).rows([atoms, other])
    zbl_a, zbl_b = LinearSnap([73], 4.8).rows([atoms, other])
    ours = [rows.energy @ beta + reference.reference_energy for rows, reference in ((a, zbl_a), (b, zbl_b))]
    assert ours[0] - ours[1] == pytest.approx(energies[0] - energies[1], abs=1e-6)
    assert np.allclose(a.forces @ beta + zbl_a.reference_forces, forces[0], atol=1e-6)


def test_an_element_the_model_lacks_names_frame_and_element():
    with pytest.raises(DataError, match=r"^frame 1: .*Fe"):
        list(MODEL.rows([Atoms("Ta"), Atoms("Fe")]))


@pytest.mark.parametrize(("species", "cutoff"), [([], 4.0), ([73], 0.0), ([73], np.nan)])
def test_a_model_without_species_or_reach_is_refused(species, cutoff):
    with pytest.raises(UsageError, match=r"species|cutoff"):
        LinearSnap(species, cutoff)
