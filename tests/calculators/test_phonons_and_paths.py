"""What others build on calculators works with a trained potential: phonopy, elastic bands, optimisers, copies."""

import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.optimize import FIRE, LBFGS

from mlff_curate.calculators import CGCNNCalculator
from mlff_curate.calculators.lammps_calculator import LammpsCalculator, read_lammps_potential
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.labels import Labels
from mlff_curate.validation.crystals import element_crystal, relaxed_crystal
from mlff_curate.validation.vacancies import migration

pytestmark = pytest.mark.lammps


@pytest.fixture(scope="module")
def truth():
    return LammpsCalculator(read_lammps_potential("pair_style uf3 3; pair_coeff * * Nb.uf3 Nb"))


@pytest.fixture(scope="module")
def niobium(truth):
    """A small potential of strained and rattled bcc niobium."""
    frames, labels = [], []
    for k in range(40):
        rng = np.random.default_rng(k)
        atoms = bulk("Nb", a=3.34, cubic=True) * ((2, 2, 2) if k % 2 else (1, 1, 1))
        strain = rng.normal(size=(3, 3)) * 0.02
        change = np.eye(3) * (1 + rng.uniform(-0.03, 0.03)) + (strain + strain.T) / 2
        atoms.set_cell(atoms.cell[:] @ change, scale_atoms=True)
        atoms.rattle(0.1 if k % 4 else 0.03, seed=k)
        frames.append(atoms)
        copy = atoms.copy()
        copy.calc = truth
        labels.append(Labels(energy=copy.get_potential_energy(), forces=copy.get_forces(), stress=copy.get_stress()))
    size = {"channels": 8, "radial": 6, "angular": 4, "degree": 2, "convolutions": 1, "cutoff": 5.0}
    return Potential(**size, epochs=60, batch_size=4, dtype="float64").fit(frames, labels)


def frequencies(calculator):
    """THz at Gamma and at H, and the lowest of a mesh."""
    phonopy = pytest.importorskip("phonopy")
    crystal = relaxed_crystal(element_crystal("Nb"), calculator, fmax=1e-4, steps=200).atoms
    cell = phonopy.structure.atoms.PhonopyAtoms(
        symbols=crystal.get_chemical_symbols(), cell=crystal.cell[:], scaled_positions=crystal.get_scaled_positions()
    )
    primitive = [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]
    phonons = phonopy.Phonopy(cell, supercell_matrix=np.diag([4, 4, 4]), primitive_matrix=primitive)
    phonons.generate_displacements(distance=0.01)
    forces = []
    for one in phonons.supercells_with_displacements:
        atoms = Atoms(one.symbols, cell=one.cell, scaled_positions=one.scaled_positions, pbc=True)
        atoms.calc = calculator
        forces.append(atoms.get_forces())
    phonons.forces = forces
    phonons.produce_force_constants()
    phonons.run_mesh([10, 10, 10])
    lowest = float(np.min(phonons.mesh.frequencies))
    phonons.run_qpoints([[0, 0, 0], [0.5, -0.5, 0.5]])
    gamma, corner = phonons.qpoints.frequencies
    return phonons.force_constants, gamma, corner, lowest


def test_phonons_of_a_bcc_metal(niobium, truth):
    constants, gamma, corner, lowest = frequencies(CGCNNCalculator(niobium))
    assert np.abs(constants.sum(axis=1)).max() < 1e-5  # no force where all atoms move alike
    assert np.abs(gamma).max() < 0.01
    assert lowest > -0.01  # no imaginary mode anywhere
    np.testing.assert_allclose(corner, corner[0], rtol=1e-3)  # the three modes at H are one
    np.testing.assert_allclose(corner, frequencies(truth)[2], rtol=0.4)  # of a model trained for seconds


def test_an_elastic_band_and_optimisers_run_on_it(niobium):
    calculator = CGCNNCalculator(niobium)
    crystal = relaxed_crystal(element_crystal("Nb"), calculator, fmax=1e-3, steps=200)
    found = migration(crystal, calculator, width=6.0, images=3, fmax=0.1, steps=200)
    assert found.energies[1] == pytest.approx(found.energies[3], abs=0.05)
    assert found.barrier > 0
    rest = []
    for optimiser in (FIRE, LBFGS):
        atoms = crystal.atoms * (2, 2, 2)
        atoms.rattle(0.05, seed=3)
        atoms.calc = pickle.loads(pickle.dumps(calculator))
        assert optimiser(atoms, logfile=None).run(fmax=1e-3, steps=200)
        rest.append(atoms.get_potential_energy())
    assert rest[0] == pytest.approx(rest[1], abs=1e-5)
