"""Numbers of known crystals, each against a second way to compute it."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, make_supercell
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.eos import birchmurnaghan
from ase.units import GPa, J, m
from scipy.spatial.transform import Rotation

from mlff_curate.errors import DataError, UsageError
from mlff_curate.validation.battery import TESTS
from mlff_curate.validation.crystals import Crystal, element_crystal, relaxed_crystal, relaxed_positions
from mlff_curate.validation.elasticity import Elasticity, elasticity
from mlff_curate.validation.equation_of_state import equation_of_state, fitted_equation_of_state
from mlff_curate.validation.surfaces import FACES, in_order, slab, surface
from mlff_curate.validation.vacancies import migration, vacancy

RELAX = {"fmax": 1e-3, "steps": 200}


@pytest.fixture(scope="module")
def copper():
    return relaxed_crystal(element_crystal("Cu"), EMT(), **RELAX)


def energy(atoms):
    atoms = atoms.copy()
    atoms.calc = EMT()
    return atoms.get_potential_energy()


def strained(crystal, strain):
    atoms = crystal.atoms.copy()
    atoms.set_cell(atoms.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def second_derivative(function, h):
    return (function(h) - 2 * function(0) + function(-h)) / h**2


def test_a_relaxed_cube_has_no_pressure_and_stays_a_cube(copper):
    atoms = copper.atoms.copy()
    atoms.calc = EMT()
    assert np.abs(atoms.get_stress()).max() < 1e-4
    assert copper.constants() == {"a": pytest.approx(3.59, abs=0.01)}  # EMT's own lattice constant
    np.testing.assert_allclose(atoms.cell[:], np.eye(3) * copper.constants()["a"], atol=1e-9)


def test_bulk_modulus_is_the_second_derivative_of_the_energy(copper):
    found = equation_of_state(copper, EMT(), strain=0.02, points=9, **RELAX)
    volume = copper.atoms.get_volume()
    by_hand = second_derivative(lambda h: energy(strained(copper, h * np.eye(3))), 2e-3) / (9 * volume) / GPa
    assert found.bulk_modulus == pytest.approx(by_hand, rel=0.01)
    assert found.bulk_modulus == pytest.approx(134, abs=2)
    assert found.volume == pytest.approx(volume / 4, rel=1e-3)
    assert 3 < found.derivative < 6
    assert found.misfit < 1e-4


def test_elastic_constants_are_second_derivatives_of_the_energy(copper):
    found = elasticity(copper, EMT(), strain=0.005, points=5, **RELAX)
    volume = copper.atoms.get_volume()
    one = np.zeros((3, 3))
    one[0, 0] = 1
    shear = np.zeros((3, 3))
    shear[1, 2] = shear[2, 1] = 0.5
    c11 = second_derivative(lambda h: energy(strained(copper, h * one)), 2e-3) / volume / GPa
    c44 = second_derivative(lambda h: energy(strained(copper, h * shear)), 4e-3) / volume / GPa
    assert found.named["C11"] == pytest.approx(c11, rel=0.02)
    assert found.named["C44"] == pytest.approx(c44, rel=0.02)
    assert found.bulk_modulus == pytest.approx(134, abs=2)
    assert found.least > 0


def test_a_crystal_that_shears_away_has_a_negative_eigenvalue():
    matrix = np.diag([100.0, 100, 100, 30, 30, 30])
    matrix[:3, :3] += 110 * (1 - np.eye(3))
    assert Elasticity(matrix.tolist(), matrix.tolist(), "cubic").least == pytest.approx(-10)
    assert Elasticity(matrix.tolist(), matrix.tolist(), "cubic").bulk_modulus == pytest.approx((100 + 220) / 3)


def test_hcp_has_two_lattice_constants_and_five_elastic_ones():
    start = element_crystal("Cu", "hcp")
    assert start.atoms.get_volume() / 2 == pytest.approx(3.61**3 / 4, rel=1e-6)
    crystal = relaxed_crystal(start, EMT(), **RELAX)
    a, c = crystal.constants().values()
    assert c / a == pytest.approx(np.sqrt(8 / 3), abs=0.02)
    found = elasticity(crystal, EMT(), strain=0.005, points=5, **RELAX)
    assert set(found.named) == {"C11", "C12", "C13", "C33", "C44"}
    matrix = np.array(found.matrix)
    assert matrix[5, 5] == pytest.approx((matrix[0, 0] - matrix[0, 1]) / 2)
    eos = equation_of_state(crystal, EMT(), strain=0.02, points=7, **RELAX)
    assert found.bulk_modulus == pytest.approx(eos.bulk_modulus, rel=0.02)


def l1_0():
    """CuAu, the planes along x."""
    atoms = bulk("Cu", cubic=True, a=3.8)
    atoms.symbols[:2] = "Au"
    return atoms


def d1a():
    """Ni4Mo's structure, of the space group I4/m."""
    fcc = bulk("Ni", a=3.7)
    cell = np.array([[1.5, 0.5, 0], [-0.5, 1.5, 0], [0, 0, 1]]) * 3.7
    atoms = make_supercell(fcc, np.rint(cell @ np.linalg.inv(fcc.cell[:])))
    atoms.symbols[[0, 7]] = "Au"  # at the corner and in the centre
    return atoms


def decorated(host, a, cell, **other):
    atoms = make_supercell(bulk(host, a=a), cell)
    for symbol, place in other.items():
        atoms.symbols[place] = symbol
    return atoms


def b19():
    atoms = bulk("Cu", "hcp", a=2.65, orthorhombic=True)
    atoms.symbols[[0, 2]] = "Au"
    return atoms


def upright_matrix(crystal, h=2e-3):
    """All 36 constants in the crystal's axes, GPa: stresses of cells strained by hand, atoms relaxed in each."""
    out = np.zeros((6, 6))
    for k, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        strain = np.zeros((3, 3))
        strain[i, j] += 0.5 * h
        strain[j, i] += 0.5 * h
        for sign in (1, -1):
            atoms = crystal.atoms.copy()
            atoms.set_cell(atoms.cell[:] @ crystal.axes.T @ (np.eye(3) + sign * strain), scale_atoms=True)
            atoms = relaxed_positions(atoms, EMT(), **RELAX)
            out[:, k] += sign * atoms.get_stress() / (2 * h) / GPa
    return out


@pytest.mark.parametrize(
    ("start", "symmetry", "count"),
    [
        (l1_0(), "tetragonal", 6),
        (d1a(), "tetragonal (4/m)", 7),
        (decorated("Cu", 3.75, [[1, 1, 0], [0, 1, 1], [1, 0, 1]], Pt=0), "trigonal", 6),
        (decorated("Cu", 3.7, [[2, -1, 0], [0, 2, -1], [-1, 0, 2]], Au=0), "trigonal (-3)", 7),
        (b19(), "orthorhombic", 9),
        (decorated("Cu", 3.75, [[1, -2, 0], [0, -2, -2], [2, 0, 2]], Au=2, Pt=1), "monoclinic", 13),
        (decorated("Cu", 3.75, [[1, -2, 0], [1, -2, -2], [2, 1, 2]], Au=2, Pt=1), "triclinic", 21),
    ],
    ids=lambda value: value.replace(" ", "") if isinstance(value, str) else None,
)
def test_each_symmetry_has_its_own_elastic_constants(start, symmetry, count):
    crystal = relaxed_crystal(Crystal(start, "given"), EMT(), fmax=2e-4, steps=400)
    assert crystal.symmetry == symmetry
    found = elasticity(crystal, EMT(), strain=0.002, points=3, fmax=2e-4, steps=400)
    matrix = np.array(found.matrix)
    np.testing.assert_allclose(matrix, upright_matrix(crystal), atol=1.5)
    np.testing.assert_allclose(matrix, matrix.T, atol=1.0)
    assert len(found.named) == count
    assert found.least > 0
    # they are those of the crystal however it lies
    turn = Rotation.from_rotvec([0.3, -0.7, 1.1]).as_matrix()
    turned = crystal.atoms.copy()
    turned.set_cell(turned.cell[:] @ turn.T, scale_atoms=True)
    again = elasticity(Crystal(turned, "given"), EMT(), strain=0.002, points=3, fmax=2e-4, steps=400)
    if symmetry != "triclinic":  # whose axes are those of space
        assert again.named == {name: pytest.approx(value, abs=1.0) for name, value in found.named.items()}
    assert again.bulk_modulus == pytest.approx(found.bulk_modulus, rel=1e-2)


def test_constants_that_may_be_of_either_sign_are_judged_by_nothing():
    named = elasticity(Crystal(b19(), "given"), EMT(), strain=0.005, points=3, fmax=0.05, steps=100)
    rows = {q.name: q.tolerance for q in TESTS["elasticity"].quantities(replace(named, symmetry="monoclinic"))}
    assert {name for name, tolerance in rows.items() if tolerance is None} == {
        "C15", "C25", "C35", "C46", "elastic_stability",
    }  # fmt: skip
    assert rows["C12"] == rows["C66"] == 0.15


def test_a_vacancy_costs_what_taking_an_atom_out_costs(copper):
    found = vacancy(copper, EMT(), width=7.0, fmax=0.01, steps=100)
    whole = copper.atoms.repeat(2)
    lacking = whole.copy()
    del lacking[0]
    assert found.atoms == 31
    assert found.unrelaxed == pytest.approx(energy(lacking) - 31 / 32 * energy(whole), abs=1e-6)
    assert 0 < found.energy < found.unrelaxed
    assert 0 < found.displacement < 0.2


def test_the_way_into_a_vacancy_is_symmetric(copper):
    found = migration(copper, EMT(), width=7.0, images=1, fmax=0.1, steps=100)
    assert found.energies[0] == 0
    assert found.energies[-1] == pytest.approx(0, abs=1e-3)
    assert found.barrier == found.energies[1]
    assert found.path[1] == pytest.approx(found.path[2] / 2, rel=1e-2)
    assert 0.3 < found.barrier < 1.2
    assert list(found.path) == sorted(found.path)


def test_surface_energies_are_those_of_slabs_built_otherwise(copper):
    a = copper.constants()["a"]
    other = fcc111("Cu", (1, 1, 6), a=a, vacuum=10)
    other.pbc = True
    area = np.linalg.norm(np.cross(other.cell[0], other.cell[1]))
    by_hand = (energy(other) - 6 * energy(copper.atoms) / 4) / (2 * area) * m**2 / J
    found = {face: surface(copper, EMT(), face, thickness=9, vacuum=8, fmax=0.01, steps=100) for face in FACES["fcc"]}
    assert found["111"].unrelaxed == pytest.approx(by_hand, rel=0.01)
    assert found["111"].energy < found["100"].energy < found["110"].energy
    assert all(one.energy <= one.unrelaxed and one.thickness >= 9 for one in found.values())


def test_slabs_are_cut_where_planes_are_farthest_apart():
    silicon = element_crystal("Si")
    atoms = slab(silicon, "111", 8, 8)
    heights = np.unique(np.round(atoms.positions[:, 2], 3))
    assert heights[1] - heights[0] == pytest.approx(5.43 / np.sqrt(3) / 4, abs=0.01)  # the narrow gap stays whole
    with pytest.raises(DataError, match="no face 0001 is known of diamond"):
        slab(silicon, "0001", 8, 8)


def test_orders_of_faces():
    assert in_order({"100": 2, "110": 1}, {"100": 2.4, "110": 2.2}, 0.05) == ()
    assert in_order({"100": 1, "110": 2}, {"100": 2.4, "110": 2.2}, 0.05) == ("100 and 110",)
    assert in_order({"100": 1, "110": 2}, {"100": 2.22, "110": 2.2}, 0.05) == ()


@pytest.mark.parametrize(
    ("symbol", "structure", "message"),
    [
        ("Xx", None, "--element: 'Xx' is no chemical element"),
        ("Mn", None, "--structure: Mn is none of bcc, fcc, hcp, diamond, sc at room temperature: name one of them, or"),
        ("Cu", "wurtzite", "--structure: 'wurtzite' is none of bcc, fcc, hcp, diamond, sc"),
    ],
)
def test_crystals_that_nobody_knows(symbol, structure, message):
    with pytest.raises(UsageError, match=message):
        element_crystal(symbol, structure)


@pytest.mark.parametrize("structure", ["bcc", "fcc", "hcp", "diamond", "sc"])
@pytest.mark.parametrize("symbol", ["Na", "Al", "Ti", "Si", "Po", "Mn", "O"])
def test_every_element_has_every_structure(symbol, structure):
    crystal = element_crystal(symbol, structure)
    assert crystal.structure == structure
    assert 1.0 < crystal.neighbour_distance < 6.0
    assert not crystal.atoms.get_initial_magnetic_moments().any()
    widths = 1 / np.linalg.norm(np.linalg.inv(crystal.supercell(9.0).cell[:]), axis=0)
    assert (widths >= 9.0 - 1e-6).all()


class Flat(Calculator):
    """No forces at all, and an energy that goes up or down with the volume."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, slope=0.0):
        super().__init__()
        self.slope = slope

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        stress = self.slope * np.array([1.0, 1, 1, 0, 0, 0])
        self.results = {
            "energy": self.slope * atoms.get_volume(), "forces": np.zeros((len(atoms), 3)), "stress": stress,
        }  # fmt: skip


def test_potentials_without_a_crystal_are_told():
    with pytest.raises(
        DataError, match=r"the crystal goes to 0\.\d+ times the volume that it began with: it is not st"
    ):
        relaxed_crystal(element_crystal("Cu"), Flat(0.05), **RELAX)
    crystal = relaxed_crystal(element_crystal("Cu"), Flat(), **RELAX)
    with pytest.raises(DataError, match="the energies have no minimum between the volumes tried"):
        equation_of_state(crystal, Flat(1e-3), strain=0.02, points=7, **RELAX)
    with pytest.raises(DataError, match="atoms did not come to rest within 0 steps: the largest force is"):
        relaxed_crystal(element_crystal("Cu"), EMT(), fmax=1e-6, steps=0)


def test_atoms_that_fall_apart_are_stopped():
    class Pulling(Flat):
        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.results["forces"][0, 0] = 1.0 + atoms.positions[0, 0]

    with pytest.raises(DataError, match=r"an atom goes 3\.\d+ A away from its site: the structure is not stable"):
        vacancy(element_crystal("Cu"), Pulling(), width=5, fmax=0.01, steps=500)


def test_atoms_of_a_crystal_that_fall_into_each_other_are_stopped():
    class Joining(Flat):
        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            away = atoms.positions[1] - atoms.positions[0]
            self.results["forces"] = 0.5 * np.array([away, -away])

    pair = Crystal(Atoms("Cu2", [[0, 0, 0], [2.0, 0.1, 0]], cell=[4.1, 4, 4], pbc=True), "given")
    with pytest.raises(DataError, match=r"atoms fall into each other, to 1\.\d+ A: the crystal is not stable"):
        relaxed_crystal(pair, Joining(), **RELAX)


def test_vacancies_in_compounds_are_refused():
    compound = Crystal(bulk("NiAl", "cesiumchloride", a=2.9), "given")
    with pytest.raises(DataError, match="depends on chemical potentials"):
        vacancy(compound, EMT(), width=5, fmax=0.1, steps=10)


def test_an_equation_of_state_gives_back_its_own_numbers():
    volumes = np.linspace(15, 21, 9)
    found = fitted_equation_of_state(volumes.tolist(), birchmurnaghan(volumes, -10.0, 170 * GPa, 3.8, 18.0).tolist())
    assert (found.energy, found.bulk_modulus, found.derivative, found.volume) == (
        pytest.approx(-10), pytest.approx(170, rel=1e-3), pytest.approx(3.8, rel=1e-2), pytest.approx(18, rel=1e-4),
    )  # fmt: skip


def test_errors_of_an_equation_of_state_are_those_of_fits_to_noise():
    volumes = np.linspace(15, 21, 9)
    energies = birchmurnaghan(volumes, -10.0, 170 * GPa, 3.8, 18.0)
    rng = np.random.default_rng(0)
    fits = [fitted_equation_of_state(volumes, energies + rng.normal(scale=1e-3, size=9)) for _ in range(200)]
    for name in ("volume", "energy", "bulk_modulus", "derivative"):
        scatter = np.std([getattr(fit, name) for fit in fits])
        assert np.sqrt(np.mean([fit.errors[name] ** 2 for fit in fits])) == pytest.approx(scatter, rel=0.2)


def test_a_given_crystal_has_three_lengths_and_angles():
    crystal = Crystal(Atoms("Cu", cell=[2.5, 2.6, 2.7], pbc=True), "given")
    assert crystal.constants() == {"a": 2.5, "b": 2.6, "c": 2.7, "alpha": 90, "beta": 90, "gamma": 90}
    assert (crystal.symmetry, crystal.elements) == ("orthorhombic", ("Cu",))


def test_an_alloy_of_a_cube_has_three_elastic_constants_however_it_lies():
    start = bulk("Cu", cubic=True, a=3.75)
    start.symbols[0] = "Au"
    turn = Rotation.from_rotvec([0.3, -0.7, 1.1]).as_matrix()
    found = []
    for turned in (np.eye(3), turn):
        atoms = start.copy()
        atoms.set_cell(atoms.cell[:] @ turned.T, scale_atoms=True)
        crystal = relaxed_crystal(Crystal(atoms, "given"), EMT(), **RELAX)
        found.append(elasticity(crystal, EMT(), strain=0.005, points=5, **RELAX))
    assert set(found[0].named) == {"C11", "C12", "C44"}
    assert found[1].named == {name: pytest.approx(value, rel=1e-3) for name, value in found[0].named.items()}
    volume = crystal.atoms.get_volume()
    one = np.diag([1.0, 0, 0])
    upright = Crystal(atoms, "given")
    upright.atoms.set_cell(crystal.atoms.cell[:] @ turn, scale_atoms=True)
    c11 = second_derivative(lambda h: energy(strained(upright, h * one)), 2e-3) / volume / GPa
    assert found[0].named["C11"] == pytest.approx(c11, rel=0.02)
