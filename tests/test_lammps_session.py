"""LAMMPS gives energies, forces and stresses that agree with each other, in ASE's frame and order, for any cell."""

import builtins
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.eam import EAM

from mlff_curate import lammps_session
from mlff_curate.errors import DataError, MissingDependencyError
from mlff_curate.lammps_session import LammpsBox, LammpsSession, potential_file

MIXED_PBC = [(1, 1, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0)]


@pytest.fixture(scope="module")
def session():
    with LammpsSession() as session:
        yield session


@pytest.fixture(scope="module")
def iron_eam():
    return ["pair_style eam/fs", f'pair_coeff * * "{potential_file("Fe_mm.eam.fs")}" Fe']


@pytest.fixture
def evaluate(session, iron_eam):
    def labels(frame):
        session.load(frame, [26], iron_eam)
        session.run(0)
        return session.energy(), session.forces(), session.virial()

    return labels


def skewed_iron(pbc=(1, 1, 1)):
    """Two iron atoms in a left-handed, strained and heavily skewed cell, turned in space."""
    iron = bulk("Fe", a=2.855) * (2, 1, 1)
    iron.rattle(0.08, seed=1)
    strain = np.eye(3) + 0.04 * np.random.default_rng(0).normal(size=(3, 3))
    iron.set_cell(iron.cell[:] @ strain, scale_atoms=True)
    a, b, c = iron.cell[:].copy()
    iron.cell[:] = [b, a, c + 3 * a - 2 * b]
    iron.rotate(33, (1, 2, 3), rotate_cell=True)
    iron.pbc = pbc
    return iron


def force_by_differences(energy, frame, h=1e-4):
    forces = np.zeros((len(frame), 3))
    for atom, axis in np.ndindex(forces.shape):
        for sign in (1, -1):
            moved = frame.copy()
            moved.positions[atom, axis] += sign * h
            forces[atom, axis] -= sign * energy(moved) / (2 * h)
    return forces


def virial_by_differences(energy, frame, h=1e-4):
    """Minus the derivative of the energy by a symmetric strain of everything."""
    virial = np.zeros((3, 3))
    for i, j in np.ndindex(3, 3):
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * h / 2
            strain[j, i] += sign * h / 2
            strained = frame.copy()
            strained.cell[:] = frame.cell[:] @ strain
            strained.positions = frame.positions @ strain
            virial[i, j] -= sign * energy(strained) / (2 * h)
    return virial


@pytest.mark.parametrize("pbc", MIXED_PBC)
def test_forces_and_virial_are_derivatives_of_the_energy_for_any_cell_and_pbc(evaluate, pbc):
    iron = skewed_iron(pbc)
    _, forces, virial = evaluate(iron)
    assert np.abs(forces).max() > 0.05  # else the agreement would be empty
    np.testing.assert_allclose(forces, force_by_differences(lambda f: evaluate(f)[0], iron), atol=2e-6)
    np.testing.assert_allclose(virial, virial_by_differences(lambda f: evaluate(f)[0], iron), atol=2e-5)


@pytest.mark.parametrize("pbc", MIXED_PBC)
def test_energy_and_forces_are_those_of_ases_own_eam(evaluate, pbc):
    iron = skewed_iron(pbc)
    iron.calc = EAM(potential=str(potential_file("Fe_mm.eam.fs")), form="fs")
    energy, forces, _ = evaluate(iron)
    assert energy == pytest.approx(iron.get_potential_energy(), abs=1e-4)  # the two spline the tables differently
    np.testing.assert_allclose(forces, iron.get_forces(), atol=1e-3)


def test_stress_is_positive_under_tension(session, iron_eam):
    for length, sign in ((0.97, -1), (1.03, 1)):
        session.load(bulk("Fe", a=2.855 * length), [26], iron_eam)
        session.run(0)
        assert (sign * np.diag(session.stress()) > 0.01).all()


def test_stress_leaves_out_the_motion_of_the_atoms(session, iron_eam):
    session.load(bulk("Fe", a=2.855, cubic=True) * 2, [26], iron_eam)
    session.run(0)
    at_rest = session.stress()
    session.commands("velocity all create 1000 1")
    session.run(0)
    np.testing.assert_allclose(session.stress(), at_rest, atol=1e-12)


def test_stress_needs_a_volume(session, iron_eam):
    session.load(Atoms("Fe2", [(0, 0, 0), (2.4, 0, 0)]), [26], iron_eam)
    session.run(0)
    with pytest.raises(DataError, match="without a cell has no stress"):
        session.stress()


def test_atoms_far_outside_their_cell_are_the_same_crystal(evaluate):
    iron = skewed_iron()
    moved = iron.copy()
    moved.positions += np.array([[5, -7, 11], [-3, 0, 2]]) @ iron.cell[:]
    np.testing.assert_allclose(evaluate(moved)[1], evaluate(iron)[1], atol=1e-9)


def test_positions_come_back_in_ases_frame_and_order(session, iron_eam):
    iron = skewed_iron((1, 0, 1))
    session.load(iron, [26], iron_eam)
    session.run(0)
    shift = np.linalg.solve(iron.cell[:].T, (session.positions() - iron.positions).T).T
    np.testing.assert_allclose(shift, np.round(shift), atol=1e-9)
    np.testing.assert_allclose(shift[:, 1], 0.0, atol=1e-9)  # nothing moves along the open direction


def test_types_follow_the_species_asked_for(session):
    pair = Atoms("FeTa", [(0, 0, 0), (2.5, 0, 0)])
    only_tantalum_iron = ["pair_style lj/cut 5", "pair_coeff * * 0 1", "pair_coeff 1 2 0.5 2.2"]
    for species in ([26, 73], [73, 26]):
        session.load(pair, species, only_tantalum_iron)
        session.run(0)
        x = (2.2 / 2.5) ** 6
        assert session.energy() == pytest.approx(4 * 0.5 * (x * x - x), rel=1e-9)


def test_lammps_box_is_lower_triangular_and_the_rotation_proper():
    for pbc in MIXED_PBC:
        box = LammpsBox.of(skewed_iron(pbc))
        assert box.n_periodic == sum(pbc)
        np.testing.assert_allclose(np.triu(box.cell, 1), 0.0, atol=1e-12)
        assert (np.diag(box.cell) > 0).all()
        assert np.linalg.det(box.rotation) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (Atoms(), "holds no atoms"),
        (Atoms("Ta"), "holds Ta, but only Fe are set up"),
        (Atoms("Fe", pbc=True), "set the cell or switch pbc off"),
        (Atoms("Fe", cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]], pbc=True), "not independent"),
        (Atoms("Fe", [(np.nan, 0, 0)]), "not finite"),
    ],
)
def test_a_frame_that_lammps_cannot_hold_is_refused_by_name(session, iron_eam, frame, message):
    with pytest.raises(DataError, match=message):
        session.load(frame, [26], iron_eam)


def test_what_lammps_says_becomes_one_line(session):
    with pytest.raises(DataError, match=r"LAMMPS: .*nonsense") as caught:
        session.commands("nonsense 1 2 3")
    assert "\n" not in str(caught.value)


def test_session_survives_an_error(session, iron_eam):
    with pytest.raises(DataError, match="no_such_style"):
        session.load(bulk("Fe"), [26], ["pair_style no_such_style"])
    session.load(bulk("Fe", a=2.855), [26], iron_eam)
    session.run(0)
    assert session.energy() == pytest.approx(-4.122, abs=1e-3)  # cohesive energy of Fe_mm.eam.fs


def test_missing_lammps_is_told_with_the_cure(monkeypatch):
    real_import = builtins.__import__

    def without_lammps(name, *args, **kwargs):
        if name == "lammps":
            raise ImportError("No module named 'lammps'")
        return real_import(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "lammps", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_lammps)
    with pytest.raises(MissingDependencyError, match=r"pip install 'lammps\[mpi\]' mpich"):
        lammps_session.import_lammps()


def test_missing_potential_file_is_named():
    with pytest.raises(MissingDependencyError, match=r"no_such\.snap is not in .*LAMMPS_POTENTIALS"):
        potential_file("no_such.snap")
