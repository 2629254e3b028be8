"""LAMMPS moves atoms as ASE does, with any calculator, cell and boundaries, and hides no error."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from mlff_curate.calculators import CGCNNCalculator
from mlff_curate.dynamics import Conditions
from mlff_curate.errors import DataError

pytestmark = pytest.mark.lammps


def turned(atoms):
    """The same crystal, turned in space, in a left-handed and skewed cell, atoms far outside of it."""
    atoms.rotate(33, (1, 2, 3), rotate_cell=True)
    a, b, c = atoms.cell.array.copy()
    atoms.set_cell([b, a, c + a - 2 * b])
    atoms.positions += np.random.default_rng(0).integers(-3, 4, (len(atoms), 3)) @ atoms.cell.array
    return atoms


def test_energies_forces_and_pressure_are_those_of_ase_along_a_trajectory(both, potential, alloy):
    conditions = Conditions("nve", temperature=700, timestep=2.0)
    ase, lammps = both(turned(alloy(1)), conditions, lambda: CGCNNCalculator(potential))
    for _ in range(150):
        np.testing.assert_allclose(lammps.atoms.positions, ase.atoms.positions, atol=1e-9)
        np.testing.assert_allclose(lammps.atoms.get_forces(), ase.atoms.get_forces(), atol=1e-9)
        np.testing.assert_allclose(lammps.atoms.get_momenta(), ase.atoms.get_momenta(), atol=1e-8)
        one, two = lammps.sample(), ase.sample()
        assert one.potential == pytest.approx(two.potential, abs=1e-9)
        assert one.pressure == pytest.approx(two.pressure, abs=1e-8)
        # and these are what LAMMPS itself holds them for
        session = lammps._session
        assert session.energy() == pytest.approx(two.potential, abs=1e-9)
        np.testing.assert_allclose(session.forces(), ase.atoms.get_forces(), atol=1e-9)
        virial = -ase.atoms.get_stress(voigt=False) * ase.atoms.get_volume()
        np.testing.assert_allclose(session.virial(), virial, atol=1e-8)
        ase.step()
        lammps.step()


def test_a_committee_drives_lammps_too(both, committee, alloy):
    ase, lammps = both(alloy(2), Conditions("nve", temperature=300), lambda: CGCNNCalculator(committee))
    for engine in (ase, lammps):
        for _ in range(20):
            engine.step()
    assert lammps.sample().disagreement > 0
    assert lammps.sample().disagreement == pytest.approx(ase.sample().disagreement, rel=1e-8)


def test_a_chain_of_thermostats_is_the_same_in_both(both, alloy):
    ase, lammps = both(alloy(4), Conditions("nose-hoover", temperature=600, timestep=1.0), EMT)
    for engine in (ase, lammps):
        for _ in range(100):
            engine.step()
    assert lammps.sample().temperature == pytest.approx(ase.sample().temperature, rel=1e-4)
    np.testing.assert_allclose(lammps.atoms.positions, ase.atoms.positions, atol=1e-4)


@pytest.mark.parametrize("shape", ["isotropic", "free"])
def test_cell_and_atoms_come_back_as_they_were_given_when_the_cell_moves(both, alloy, shape):
    conditions = Conditions("npt", temperature=300, pressure=2.0, timestep=1.0, pressure_damping=300, shape=shape)
    ase, lammps = both(turned(alloy(5)), conditions, EMT)
    for engine in (ase, lammps):
        for _ in range(60):
            engine.step()
    assert lammps.atoms.get_volume() == pytest.approx(ase.atoms.get_volume(), rel=0.02)
    if shape == "isotropic":  # a free cell turns in LAMMPS, where it stays triangular
        np.testing.assert_allclose(lammps.atoms.cell.array, ase.atoms.cell.array, rtol=5e-3)
    copy = lammps.atoms.copy()
    copy.calc = EMT()
    np.testing.assert_allclose(copy.get_forces(), lammps.atoms.get_forces(), atol=1e-8)
    np.testing.assert_allclose(copy.get_stress(), lammps.atoms.get_stress(), atol=1e-9)
    # atoms stay in the cells that they were in
    scaled = [engine.atoms.get_scaled_positions(wrap=False) for engine in (ase, lammps)]
    np.testing.assert_allclose(scaled[1] - scaled[1].mean(axis=0), scaled[0] - scaled[0].mean(axis=0), atol=0.1)


@pytest.mark.parametrize("kind", ["slab", "cluster", "wire"])
def test_open_directions(both, kind):
    if kind == "slab":
        atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0)
        atoms.pbc = (True, True, False)
    else:
        atoms = bulk("Cu", cubic=True) * 2
        atoms.center(vacuum=5.0)
        atoms.pbc = (False, kind == "wire", False)
    atoms.rattle(0.05, seed=1)
    ase, lammps = both(atoms, Conditions("nve", temperature=900, timestep=3.0), EMT)
    for engine in (ase, lammps):
        for _ in range(120):
            engine.step()
    np.testing.assert_allclose(lammps.atoms.positions, ase.atoms.positions, atol=1e-7)
    assert np.isnan(lammps.sample().pressure)


def test_masses_of_the_frame_count(both, alloy):
    atoms = alloy(6)
    atoms.set_masses(np.where(atoms.numbers == 79, 400.0, 10.0))
    ase, lammps = both(atoms, Conditions("nve", temperature=300), EMT)
    for engine in (ase, lammps):
        for _ in range(30):
            engine.step()
    np.testing.assert_allclose(lammps.atoms.positions, ase.atoms.positions, atol=1e-9)
    atoms.set_masses(np.linspace(10, 20, len(atoms)))
    with pytest.raises(DataError, match=r"masses: atoms of Cu have \d different masses.*use --engine ase"):
        both(atoms, Conditions("nve", temperature=300), EMT)


def moving(atoms):
    atoms.set_momenta(np.ones((len(atoms), 3)))
    return atoms


class _Breaks(Calculator):
    """Forces of nothing, and an error at the nth time."""

    implemented_properties = ("energy", "forces", "stress")
    error: BaseException = ValueError("the network is out of order")

    def __init__(self, good):
        super().__init__()
        self.left = good

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.left == 0:
            raise self.error
        self.left -= 1
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}


@pytest.mark.parametrize("error", [ValueError("the network is out of order"), KeyboardInterrupt(), SystemExit(143)])
def test_what_the_potential_raises_is_raised_after_the_run(lammps_engine, alloy, monkeypatch, error):
    monkeypatch.setattr(_Breaks, "error", error)
    engine = lammps_engine(moving(alloy(0)), Conditions("nve"), lambda: _Breaks(5))
    for _ in range(4):
        engine.step()
    with pytest.raises(type(error)) as raised:
        engine.step()
    assert raised.value is error
    engine.atoms.calc.left = 3  # LAMMPS itself goes on
    engine.step()
    engine.close()


def test_what_it_raises_ends_a_long_run_at_once(lammps_engine, alloy):
    engine = lammps_engine(moving(alloy(0)), Conditions("nve"), lambda: _Breaks(5))
    with pytest.raises(ValueError, match="out of order"):
        engine._session.run(10_000_000, setup=False)
    assert engine._session._lammps.extract_global("ntimestep") < 10
    engine.close()


def test_atoms_may_cross_the_cell_many_times(both):
    atoms = Atoms("Cu2", [(0, 0, 0), (2.4, 0, 0)], cell=(8, 9, 10), pbc=True)
    atoms.set_velocities(np.full((2, 3), 3.0))
    ase, lammps = both(atoms, Conditions("nve", timestep=2.0), EMT)
    for engine in (ase, lammps):
        for _ in range(100):
            engine.step()
    assert lammps.atoms.positions.min() > 50
    np.testing.assert_allclose(lammps.atoms.positions, ase.atoms.positions, atol=1e-8)


class _Kicks(_Breaks):
    """A force on one atom that throws it through many cells in a step."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["forces"][0] = 1e9


def test_atoms_that_lammps_loses_are_told(lammps_engine, alloy):
    engine = lammps_engine(moving(alloy(0)), Conditions("nve", timestep=10.0), lambda: _Kicks(50))
    with pytest.raises(DataError, match=r"LAMMPS.* lost|Lost atoms|[Nn]on-numeric|out of range"):
        engine._session.run(30, setup=False)
    engine.close()
