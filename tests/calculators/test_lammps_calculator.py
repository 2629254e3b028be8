"""Potentials of LAMMPS in ASE, and the lines that choose them."""

import gc
import pickle
import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk

from mlff_curate.calculators.lammps_calculator import LammpsCalculator, read_lammps_potential
from mlff_curate.errors import DataError
from mlff_curate.validation.crystals import element_crystal, relaxed_crystal
from mlff_curate.validation.elasticity import elasticity
from mlff_curate.validation.equation_of_state import equation_of_state
from mlff_curate.validation.surfaces import surface
from mlff_curate.validation.vacancies import vacancy

pytestmark = pytest.mark.lammps
IRON = "pair_style eam/fs; pair_coeff * * Fe_mm.eam.fs Fe"


@pytest.fixture(scope="module")
def iron():
    return LammpsCalculator(read_lammps_potential(IRON))


def test_forces_and_stress_are_derivatives_of_the_energy(iron):
    atoms = bulk("Fe", a=2.9, cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=0)
    atoms.calc = iron
    force, h = atoms.get_forces()[3, 1], 1e-4
    energies = []
    for step in (h, -h):
        moved = atoms.copy()
        moved.positions[3, 1] += step
        moved.calc = iron
        energies.append(moved.get_potential_energy())
    assert force == pytest.approx(-(energies[0] - energies[1]) / (2 * h), rel=1e-5)
    stress, energies = atoms.get_stress()[0], []
    for step in (h, -h):
        moved = atoms.copy()
        moved.set_cell(moved.cell[:] @ np.diag([1 + step, 1, 1]), scale_atoms=True)
        moved.calc = iron
        energies.append(moved.get_potential_energy())
    assert stress == pytest.approx((energies[0] - energies[1]) / (2 * h) / atoms.get_volume(), rel=1e-4)


def test_atoms_that_move_are_the_same_as_atoms_that_are_new(iron):
    rng = np.random.default_rng(0)
    cell = bulk("Fe", a=2.9, cubic=True).cell[:] * 2 @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3)))
    atoms = bulk("Fe", a=2.9, cubic=True) * (2, 2, 2)
    atoms.set_cell(cell, scale_atoms=True)
    atoms.calc = iron
    for _ in range(4):
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        fresh = atoms.copy()
        fresh.calc = LammpsCalculator(iron.potential)
        assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-9)
        np.testing.assert_allclose(atoms.get_stress(), fresh.get_stress(), atol=1e-10)


def test_a_calculator_that_was_closed_frees_lammps_and_loads_it_anew():
    calculator = LammpsCalculator(read_lammps_potential(IRON))
    calculator.close()
    atoms = bulk("Fe", a=2.9, cubic=True)
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    session = calculator._session
    calculator.close()
    assert (calculator._session, session._lammps) == (None, None)
    atoms.rattle(0.1, seed=0)
    assert atoms.get_potential_energy() > energy


def test_the_battery_gives_what_the_potential_was_published_with(iron):
    """M. I. Mendelev et al., Phil. Mag. 83, 3977 (2003), potential 2: 2.8553 A; 243, 145, 116 GPa; vacancy 1.71 eV."""
    crystal = relaxed_crystal(element_crystal("Fe"), iron, fmax=1e-3, steps=100)
    assert crystal.constants()["a"] == pytest.approx(2.8553, abs=5e-4)
    found = elasticity(crystal, iron, strain=0.005, points=5, fmax=1e-3, steps=50)
    assert found.named == {
        "C11": pytest.approx(243, abs=2), "C12": pytest.approx(145, abs=2), "C44": pytest.approx(116, abs=1),
    }  # fmt: skip
    eos = equation_of_state(crystal, iron, strain=0.02, points=7, fmax=1e-3, steps=50)
    assert eos.bulk_modulus == pytest.approx(found.bulk_modulus, rel=0.02)
    assert vacancy(crystal, iron, width=10, fmax=0.01, steps=100).energy == pytest.approx(1.71, abs=0.03)
    faces = {f: surface(crystal, iron, f, thickness=8, vacuum=8, fmax=0.01, steps=100) for f in ("100", "110")}
    assert 1.5 < faces["110"].energy < faces["100"].energy < 2.0


def test_hcp_magnesium():
    calculator = LammpsCalculator(read_lammps_potential("pair_style eam/fs; pair_coeff * * Mg_mm.eam.fs Mg"))
    crystal = relaxed_crystal(element_crystal("Mg"), calculator, fmax=1e-3, steps=100)
    a, c = crystal.constants().values()
    assert (a, c / a) == (pytest.approx(3.184, abs=2e-3), pytest.approx(1.628, abs=2e-3))
    found = elasticity(crystal, calculator, strain=0.005, points=5, fmax=1e-3, steps=50)
    assert found.least > 0
    faces = [surface(crystal, calculator, f, thickness=8, vacuum=8, fmax=0.01, steps=100) for f in ("0001", "10-10")]
    assert faces[0].energy < faces[1].energy


def test_files_that_lammps_ships_are_read_with_their_variables():
    potential = read_lammps_potential("Ta06A.snap")
    assert (potential.elements, potential.name) == (("Ta",), "Ta06A.snap")
    assert potential.commands[:2] == ("pair_style hybrid/overlay zbl 4 4.8 snap", "pair_coeff 1 1 zbl 73 73")
    crystal = relaxed_crystal(element_crystal("Ta"), LammpsCalculator(potential), fmax=1e-3, steps=100)
    assert crystal.constants()["a"] == pytest.approx(3.316, abs=2e-3)


def test_a_copy_in_another_process_loads_its_own(iron):
    atoms = bulk("Fe", a=2.9)
    atoms.calc = iron
    energy = atoms.get_potential_energy()
    copy = bulk("Fe", a=2.9)
    copy.calc = pickle.loads(pickle.dumps(iron))
    assert copy.get_potential_energy() == energy


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "pair_style eam/fs; shell rm -r x; pair_coeff * * a Fe",
            "the line 'shell rm -r x' is none of pair_style, pair_",
        ),
        ("pair_style eam/fs; variable a python f", "the line 'variable a python f' is none of"),
        ("pair_style eam/fs; pair_coeff * * Fe_mm.eam.fs ${x}", r"a variable of 'pair_coeff .*' has no number"),
        ("pair_style lj/cut 5; pair_coeff * * 1 1", "no pair_coeff .* line ends in the symbols of elements"),
        ("nothing.snap", "nothing.snap: cannot be read .No such file or directory., and LAMMPS ships no such file"),
    ],
)
def test_lines_that_choose_no_potential_are_refused(lines, message):
    with pytest.raises(DataError, match=message):
        read_lammps_potential(lines)


def test_a_file_without_a_pair_style_is_refused(tmp_path):
    path = tmp_path / "x.lammps"
    path.write_text("# nothing\npair_coeff * * Fe_mm.eam.fs Fe\n")
    with pytest.raises(DataError, match=r"x\.lammps: there is no pair_style line"):
        read_lammps_potential(str(path))


def test_what_lammps_refuses_is_told():
    calculator = LammpsCalculator(read_lammps_potential("pair_style nonsense; pair_coeff * * Fe"))
    atoms = bulk("Fe")
    atoms.calc = calculator
    with pytest.raises(DataError, match=r"LAMMPS: .*nonsense"):
        atoms.get_potential_energy()


def test_lammps_goes_with_its_calculator(iron):
    atoms = bulk("Fe", a=2.9, cubic=True)
    atoms.calc = LammpsCalculator(iron.potential)
    atoms.get_potential_energy()
    first = atoms.calc._session
    atoms.calc.close()
    assert first._lammps is None
    atoms.get_forces()
    atoms.calc.reset()
    atoms.get_forces()
    session = atoms.calc._session
    assert session is not first
    assert session._lammps is not None
    atoms.calc = None
    gc.collect()  # ASE's calculators refer to themselves
    assert session._lammps is None


def test_an_end_with_lammps_at_work_is_quiet():
    script = (
        "from ase.build import bulk\n"
        "from mlff_curate.calculators.lammps_calculator import LammpsCalculator, read_lammps_potential\n"
        "atoms = bulk('Fe', cubic=True)\n"
        f"atoms.calc = LammpsCalculator(read_lammps_potential({IRON!r}))\n"
        "print(atoms.get_potential_energy() < 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
