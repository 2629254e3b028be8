"""Known faults are undone exactly, and are what the programs that make them do."""

import numpy as np
import pytest
from ase.build import bulk
from ase.stress import full_3x3_to_voigt_6_stress

from mlff_curate.checks.units import ENERGY_FAULTS, ENERGY_UNITS, FORCE_FAULTS, ORDERS, STRESS_FAULTS, STRESS_UNITS


def test_factors_are_those_of_the_handbooks():
    assert 1 / ENERGY_UNITS["kcal/mol"] == pytest.approx(23.0605, abs=1e-3)
    assert 1 / ENERGY_UNITS["kJ/mol"] == pytest.approx(96.485, abs=1e-3)
    assert ENERGY_UNITS["Hartree"] == pytest.approx(27.2114, abs=1e-4)
    assert 1 / STRESS_UNITS["GPa"] == pytest.approx(160.2177, abs=1e-4)
    assert STRESS_UNITS["kbar"] == pytest.approx(1e3 * STRESS_UNITS["bar"])
    forces = {f.name: f.factor for f in FORCE_FAULTS}
    assert forces["in Hartree/Bohr"] == pytest.approx(51.4221, abs=1e-4)
    assert forces["in Rydberg/Bohr"] == pytest.approx(25.7110, abs=1e-4)


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_is_undone(name):
    tensor = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])
    axis = {"x": 0, "y": 1, "z": 2}
    label = np.array([tensor[axis[pair[0]], axis[pair[1]]] for pair in name.split()])
    np.testing.assert_array_equal(label[list(ORDERS[name])], full_3x3_to_voigt_6_stress(tensor))


def test_an_energy_per_atom_and_a_virial_are_undone():
    atoms = bulk("Cu", cubic=True)
    n, volume = np.array([len(atoms)]), np.array([atoms.get_volume()])
    (per_atom,) = [f for f in ENERGY_FAULTS if f.per_atom]
    assert per_atom.undone(np.array([-3.5]), n, volume) == pytest.approx([-14.0])
    virial = next(f for f in STRESS_FAULTS if f.per_volume == 1 and f.factor < 0)
    np.testing.assert_allclose(virial.undone(-np.ones((1, 6)) * volume, n, volume), np.ones((1, 6)))


def test_no_two_units_of_energy_or_stress_are_mistaken_for_each_other():
    for faults in (ENERGY_FAULTS, STRESS_FAULTS):
        factors = sorted(np.log(f.factor) for f in faults if f.factor > 0 and not f.per_atom and not f.per_volume)
        assert min(np.diff(factors)) > 0.15
