"""A potential in ASE: the same as the model says, however atoms move."""

import pickle

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.md.nptberendsen import NPTBerendsen
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from mlff_curate.calculators import CGCNNCalculator
from mlff_curate.calculators.moving_neighbours import MovingNeighbours
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.labels import Labels
from mlff_curate.errors import DataError
from mlff_curate.graphs.vectors import vector_graph


def copper(seed: int, strain=0.03) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def trained(seed: int) -> Potential:
    frames = [copper(k) for k in range(24)]
    labels = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = EMT()
        labels.append(Labels(energy=copy.get_potential_energy(), forces=copy.get_forces(), stress=copy.get_stress()))
    size = {"channels": 8, "radial": 5, "angular": 4, "degree": 2, "convolutions": 1, "cutoff": 3.5}
    return Potential(**size, epochs=30, learning_rate=0.01, dtype="float64", seed=seed).fit(frames, labels)


@pytest.fixture(scope="module")
def potential():
    return trained(0)


def test_results_are_those_of_the_model(potential):
    atoms = copper(50).repeat(2)
    atoms.calc = CGCNNCalculator(potential)
    said = potential.predict([atoms])
    np.testing.assert_allclose(atoms.get_potential_energy(), said.energy[0], rtol=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), said.forces, atol=1e-10)
    np.testing.assert_allclose(atoms.get_stress(), said.stress[0], atol=1e-12)
    np.testing.assert_allclose(atoms.get_potential_energies(), said.energies, atol=1e-10)
    assert atoms.calc.results["free_energy"] == atoms.get_potential_energy()


def test_molecules_have_no_stress_and_strangers_are_refused(potential):
    pair = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]], calculator=CGCNNCalculator(potential))
    assert np.isfinite(pair.get_forces()).all()
    assert "stress" not in pair.calc.results
    with pytest.raises(DataError, match="the model never saw Ag"):
        Atoms("CuAg", [[0, 0, 0], [0, 0, 2.4]], calculator=CGCNNCalculator(potential)).get_potential_energy()


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_neighbours_are_right_however_atoms_and_cell_move(pbc):
    rng = np.random.default_rng(1)
    atoms = copper(3).repeat((2, 1, 1))
    atoms.pbc = pbc
    moving = MovingNeighbours(3.5, 0.4)
    for step in range(60):
        atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        if step % 7 == 3:
            atoms.positions[step % len(atoms)] += atoms.cell.array[0]  # an image of the atom as well as any
            atoms.wrap()
        if step % 5 == 4:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.002 * rng.normal(size=(3, 3))), scale_atoms=True)
        mine, fresh = moving.graph(atoms), vector_graph([atoms], 3.5)
        assert sorted(map(tuple, np.round(np.column_stack([mine.centre, mine.neighbour, mine.vector]), 8))) == sorted(
            map(tuple, np.round(np.column_stack([fresh.centre, fresh.neighbour, fresh.vector]), 8))
        )
    assert 3 < moving.searches < 45


def test_a_long_run_conserves_energy(potential):
    atoms = bulk("Cu", cubic=True).repeat(2)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    atoms.calc = CGCNNCalculator(potential)
    total = []
    md = VelocityVerlet(atoms, 2 * units.fs)
    md.attach(lambda: total.append(atoms.get_total_energy() / len(atoms)), interval=10)
    md.run(300)
    assert np.ptp(total) < 2e-3
    slope = np.polyfit(np.arange(len(total)) * 0.02, total, 1)[0]
    assert abs(slope) < 5e-4  # eV/atom/ps
    assert atoms.calc._neighbours[3.5].searches < 100


def test_optimisers_and_barostats_run_on_it(potential):
    atoms = copper(7)
    atoms.calc = CGCNNCalculator(potential)
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.01, steps=100)
    assert np.abs(atoms.get_forces()).max() < 0.01
    assert np.abs(atoms.get_stress()).max() < 0.01
    MaxwellBoltzmannDistribution(atoms, temperature_K=100, rng=np.random.default_rng(0))
    NPTBerendsen(atoms, 2 * units.fs, temperature_K=100, pressure_au=0.0, compressibility_au=0.01).run(20)
    np.testing.assert_allclose(atoms.get_forces(), potential.predict([atoms]).forces, atol=1e-9)


def test_it_can_be_sent_to_another_process(potential):
    atoms = copper(9)
    before = CGCNNCalculator(potential)
    atoms.calc = before
    energy = atoms.get_potential_energy()
    atoms.calc = pickle.loads(pickle.dumps(before))
    atoms.positions += 0.0
    assert atoms.get_potential_energy() == energy


def test_a_committee_says_the_mean_and_how_far_it_disagrees(potential, tmp_path):
    other = trained(1)
    other.save(tmp_path / "other.model")
    atoms = copper(11)
    atoms.calc = CGCNNCalculator([potential, tmp_path / "other.model"])
    one, two = potential.predict([atoms]), other.predict([atoms])
    np.testing.assert_allclose(atoms.get_forces(), 0.5 * (one.forces + two.forces), atol=1e-10)
    apart = np.linalg.norm(one.forces - two.forces, axis=1) / np.sqrt(2)
    np.testing.assert_allclose(atoms.calc.results["forces_std"], apart, atol=1e-10)
    with pytest.raises(ValueError, match="at least one potential"):
        CGCNNCalculator([])


def test_threads_change_the_last_digits_at_most(potential):
    one, two = copper(51).repeat(3), copper(51).repeat(3)
    one.calc, two.calc = CGCNNCalculator(potential), CGCNNCalculator(potential, threads=2)
    before = torch.get_num_threads()
    np.testing.assert_allclose(two.get_forces(), one.get_forces(), atol=1e-10)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("scaled", [True, False])
def test_neighbours_are_searched_when_a_dilute_cell_shrinks(potential, scaled):
    """Nobody's image is listed at first, and then images come near."""
    moving = CGCNNCalculator(potential)
    for a in (9.0, 7.0, 5.0, 4.0, 3.0, 2.6):
        place = np.array([[0.1, 0.2, 0.3]]) * (a if scaled else 1.0)
        atoms = Atoms("Cu", place, cell=[a, a, a], pbc=True)
        atoms.calc = moving
        assert atoms.get_potential_energy() == pytest.approx(potential.predict([atoms]).energy[0], abs=1e-10)


def test_what_is_no_number_or_in_one_place_is_refused(potential):
    atoms = copper(52)
    atoms.calc = CGCNNCalculator(potential)
    atoms.get_potential_energy()
    atoms.positions[2, 1] = np.nan
    with pytest.raises(DataError, match="atom 2 has a position that is not a number"):
        atoms.get_potential_energy()
    atoms = copper(52)
    atoms.positions[3] = atoms.positions[1]
    atoms.calc = CGCNNCalculator(potential)
    with pytest.raises(DataError, match="atoms 1 and 3 are in one place"):
        atoms.get_forces()
