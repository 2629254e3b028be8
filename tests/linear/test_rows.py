"""The rows of every linear model are a potential: forces and stresses are derivatives, and vectors turn."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlff_curate.errors import DataError
from mlff_curate.linear.power_spectrum import LinearPowerSpectrum
from mlff_curate.linear.snap import LinearSnap

SPECIES, CUTOFF = [73, 41], 4.2


@pytest.fixture(
    params=[
        pytest.param(LinearSnap(SPECIES, CUTOFF, quadratic=False), id="linear SNAP", marks=pytest.mark.lammps),
        pytest.param(LinearSnap(SPECIES, CUTOFF, twojmax=4), id="quadratic SNAP", marks=pytest.mark.lammps),
        pytest.param(LinearPowerSpectrum(SPECIES, CUTOFF, n_max=4, l_max=2), id="power spectrum"),
    ]
)
def model(request):
    """Each linear force field for Ta and Nb."""
    return request.param


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


def rows_of(model, atoms):
    return next(model.rows([atoms]))


def tensor(voigt):
    """(6, ...) in ASE's order to (3, 3, ...)."""
    return voigt[np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])]


def rotation(seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.linalg.det(q)


@pytest.mark.parametrize("atoms", FRAMES.values(), ids=FRAMES.keys())
def test_force_rows_are_minus_the_derivatives_of_the_energy_rows(model, atoms):
    n, step = len(atoms), 1e-4
    direction = np.random.default_rng(2).normal(size=(n, 3))
    moved = []
    for sign in (1, -1):
        moved.append(atoms.copy())
        moved[-1].positions += sign * step * direction
    here, ahead, behind = model.rows([atoms, *moved])
    slope = n * (ahead.energy - behind.energy) / (2 * step)  # (K,)
    expected = -np.einsum("nck,nc->k", here.forces, direction)
    assert np.abs(slope).max() > 1.0  # else the comparison says nothing
    assert np.allclose(slope, expected, rtol=1e-5, atol=1e-5 * np.abs(slope).max())
    reference = n * (ahead.reference_energy - behind.reference_energy) / (2 * step)
    assert reference == pytest.approx(-np.sum(here.reference_forces * direction), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("atoms", FRAMES.values(), ids=FRAMES.keys())
def test_rotation_turns_forces_and_leaves_energies(model, atoms):
    Q = rotation()
    turned = atoms.copy()
    turned.set_cell(atoms.cell[:] @ Q.T, scale_atoms=False)
    turned.positions = atoms.positions @ Q.T
    a, b = model.rows([atoms, turned])
    scale = np.abs(a.forces).max()
    assert np.allclose(b.energy, a.energy, rtol=1e-9, atol=1e-9)
    assert np.allclose(b.forces, np.einsum("dc,nck->ndk", Q, a.forces), atol=1e-9 * scale)
    assert np.allclose(b.reference_forces, a.reference_forces @ Q.T, atol=1e-8)
    if a.strain is not None:
        turned_back = np.einsum("ac,bd,cdk->abk", Q, Q, tensor(a.strain))
        assert np.allclose(tensor(b.strain), turned_back, atol=1e-9 * np.abs(a.strain).max())
        assert np.allclose(tensor(b.reference_strain), Q @ tensor(a.reference_strain) @ Q.T, atol=1e-8)


@pytest.mark.parametrize("atoms", [a for a in FRAMES.values() if a.pbc.all()])
@pytest.mark.parametrize("component", range(6))
def test_stress_rows_are_derivatives_of_the_energy_rows_by_strain(model, atoms, component):
    # V/n stress = d(E/n)/d strain, positive where stretching costs energy; ASE's order xx, yy, zz, yz, xz, xy
    i, j = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)][component]
    step, strained = 1e-5, []
    for sign in (1, -1):
        strain = np.zeros((3, 3))
        strain[i, j] += 0.5 * sign * step
        strain[j, i] += 0.5 * sign * step
        strained.append(atoms.copy())
        strained[-1].set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
    here, ahead, behind = model.rows([atoms, *strained])
    slope = (ahead.energy - behind.energy) / (2 * step)
    assert np.abs(slope).max() > 1.0  # else the comparison says nothing
    assert np.allclose(here.strain[component], slope, atol=1e-6 * np.abs(slope).max())
    reference = (ahead.reference_energy - behind.reference_energy) / (2 * step)
    assert here.reference_strain[component] == pytest.approx(reference, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", ["slab", "wire", "molecule"])
def test_what_is_not_periodic_in_three_directions_has_no_stress(model, name):
    rows = rows_of(model, FRAMES[name])
    assert rows.strain is None
    assert rows.reference_strain is None


@pytest.mark.parametrize("name", ["periodic", "two atoms, cell smaller than the cutoff"])
def test_a_supercell_has_the_same_energy_per_atom_forces_and_stress(model, name):
    atoms = FRAMES[name]
    one, many = model.rows([atoms, atoms * (2, 1, 3)])
    assert np.allclose(many.energy, one.energy, rtol=1e-9, atol=1e-9)
    assert many.reference_energy == pytest.approx(one.reference_energy)
    assert np.allclose(many.forces, np.tile(one.forces, (6, 1, 1)), atol=1e-9 * np.abs(one.forces).max())
    assert np.allclose(many.composition, one.composition)
    assert np.allclose(many.strain, one.strain, atol=1e-9 * np.abs(one.strain).max())


def test_energies_of_molecules_far_apart_add_up(model):
    a, b = FRAMES["molecule"], Atoms("Nb2", [[0, 0, 0], [0, 0, 2.5]])
    far = b.copy()
    far.positions += 100.0
    x, y, both = model.rows([a, b, a + far])
    assert np.allclose(10 * both.energy, 8 * x.energy + 2 * y.energy)


def test_order_of_atoms_and_choice_of_origin_do_not_matter(model):
    atoms = FRAMES["periodic"]
    order = np.random.default_rng(3).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [5.0, -7.0, 11.0]
    a, b = model.rows([atoms, moved])
    assert np.allclose(b.energy, a.energy)
    assert np.allclose(b.forces, a.forces[order], atol=1e-9 * np.abs(a.forces).max())


def test_a_free_atom_has_its_constant_and_nothing_else(model):
    rows = rows_of(model, Atoms("Nb"))
    assert np.allclose(rows.composition, [1.0, 0.0])  # Nb before Ta
    assert np.allclose(rows.energy, 0.0, atol=1e-12)
    assert rows.reference_energy == 0.0


def test_atoms_beyond_the_cutoff_do_not_feel_each_other(model):
    apart, closer = model.rows(Atoms("Ta2", [[0, 0, 0], [0, 0, d]]) for d in (4.21, 4.0))
    assert np.allclose(apart.forces, 0.0)
    assert apart.reference_energy == 0.0  # the repulsion ends where the bispectrum can no longer mend it
    assert np.abs(closer.forces).max() > 1e-3


def test_species_are_told_apart_in_centres_and_neighbours(model):
    pure, mixed = (rows_of(model, Atoms(s, [[0, 0, 0], [0, 0, 2.8]])) for s in ("Ta2", "TaNb"))
    half = model.size // 2
    assert np.allclose(pure.energy[:half], 0.0, atol=1e-12)  # the block of Nb
    assert np.abs(mixed.energy[:half]).max() > 0.1
    # One Ta with a Ta neighbour, against one Ta with an Nb neighbour.
    assert np.abs(pure.energy[half:] - 2 * mixed.energy[half:]).max() > 0.01


def test_an_element_the_model_lacks_names_frame_and_element(model):
    with pytest.raises(DataError, match=r"^frame 1: .*Fe"):
        list(model.rows([Atoms("Ta"), Atoms("Fe")]))
