"""Molecular dynamics is what its ensemble says, and goes on from a state to the last bit."""

import importlib

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa, kB

from mlff_curate.calculators import CGCNNCalculator
from mlff_curate.dynamics import AseEngine, Conditions, Every, Sample, draw_velocities, simulate
from mlff_curate.errors import MissingDependencyError, UsageError

ENSEMBLES = [
    {"ensemble": "nve"},
    {"ensemble": "langevin"},
    {"ensemble": "nose-hoover"},
    {"ensemble": "npt", "pressure": 1.0},
    {"ensemble": "npt", "shape": "axes"},
    {"ensemble": "npt", "shape": "free"},
]


def at(crystal, conditions):
    """A crystal that has taken half of its heat as displacements, how it is moved, and by what."""
    atoms, calculator = crystal()
    # springs of stiffness k to twelve neighbours: a site feels 4 k in each direction
    atoms.rattle(np.sqrt(kB * conditions.temperature / (4 * 2.5)), seed=5)
    return atoms, conditions, calculator


def blocks(values, n=10):
    """Mean, and its standard error from blocks longer than the memory of the run."""
    means = np.array([block.mean() for block in np.array_split(np.asarray(values), n)])
    return means.mean(), means.std(ddof=1) / np.sqrt(n)


def test_energy_is_conserved_without_a_thermostat(engine, crystal):
    run = engine(*at(crystal, Conditions("nve", temperature=600, timestep=2.0)))
    samples = list(simulate(run, 1000))
    per_atom = np.array([sample.total for sample in samples]) / 32
    assert np.ptp([sample.kinetic for sample in samples]) / 32 > 0.02  # energy does go to and fro
    assert np.ptp(per_atom) < 1e-3
    slope = np.polyfit([sample.time / 1000 for sample in samples], per_atom * 1000, 1)[0]
    assert abs(slope) < 0.1  # meV/atom/ps
    np.testing.assert_allclose(run.atoms.get_momenta().sum(axis=0), 0.0, atol=1e-8)


def test_the_error_of_the_energy_falls_with_the_square_of_the_time_step(engine, crystal):
    swings = []
    for timestep in (4.0, 2.0):
        run = engine(*at(crystal, Conditions("nve", temperature=600, timestep=timestep)))
        swings.append(np.std([sample.total for sample in simulate(run, int(400 / timestep))]))
    assert swings[0] / swings[1] == pytest.approx(4, rel=0.3)


@pytest.mark.parametrize("ensemble", ["langevin", "nose-hoover"])
def test_a_thermostat_holds_its_temperature(engine, crystal, ensemble):
    run = engine(*at(crystal, Conditions(ensemble, temperature=400, timestep=4.0, damping=30)))
    found = [sample.temperature for sample in simulate(run, 6000)][2000:]  # so long a chain swings at first
    mean, error = blocks(found)
    assert error < 12
    assert abs(mean - 400) < 4 * error + 2
    # of a canonical ensemble of 96 velocities, var(T) = 2 T^2 / 96
    assert np.std(found) == pytest.approx(400 * np.sqrt(2 / 96), rel=0.2)


@pytest.mark.parametrize("shape", ["isotropic", "axes", "free"])
def test_a_barostat_holds_its_pressure(engine, crystal, shape):
    conditions = Conditions(
        "npt", temperature=300, pressure=4.0, timestep=4.0, damping=30, pressure_damping=300, shape=shape
    )
    run = engine(*at(crystal, conditions))
    before = run.atoms.cell.array.copy()
    samples = list(simulate(run, 4000))[1000:]
    mean, error = blocks([sample.pressure for sample in samples])
    assert error < 0.2
    assert abs(mean - 4.0) < 4 * error + 0.02
    mean, error = blocks([sample.temperature for sample in samples])
    assert abs(mean - 300) < 4 * error + 3
    change = np.linalg.solve(before, run.atoms.cell.array)
    assert np.linalg.det(change) < 0.99  # it is under pressure
    off = change - np.diag(np.diag(change))
    if shape == "isotropic":
        np.testing.assert_allclose(change, change[0, 0] * np.eye(3), atol=1e-12)
    elif shape == "axes":
        assert np.ptp(np.diag(change)) > 1e-4
        np.testing.assert_allclose(off, 0.0, atol=1e-12)
    else:
        assert np.abs(off).max() > 1e-4


def test_a_sample_says_what_the_atoms_have(engine, crystal):
    atoms, conditions, calculator = at(crystal, Conditions("langevin", temperature=300, timestep=2.0))
    run = engine(atoms, conditions, calculator)
    samples = list(simulate(run, 5))
    assert [sample.step for sample in samples] == list(range(6))
    assert [sample.time for sample in samples] == [0, 2, 4, 6, 8, 10]
    atoms, last = run.atoms.copy(), samples[-1]
    atoms.calc = calculator()
    assert last.potential == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert last.kinetic == pytest.approx(run.atoms.get_kinetic_energy())
    assert last.total == last.potential + last.kinetic
    assert last.temperature == pytest.approx(last.kinetic / (1.5 * 32 * kB))
    stress = atoms.get_stress(include_ideal_gas=True)
    assert last.pressure == pytest.approx(-stress[:3].mean() / GPa, abs=1e-9)
    assert last.volume == pytest.approx(atoms.get_volume())
    assert np.isnan(last.disagreement)


def test_velocities_are_drawn_from_the_distribution():
    atoms = bulk("Cu", cubic=True) * 6
    atoms.numbers[::2] = 79
    draw_velocities(atoms, Conditions("langevin", temperature=500, seed=3))
    for number in (29, 79):
        some = atoms[atoms.numbers == number]
        spread = np.sum(some.get_momenta() ** 2 / some.get_masses()[:, None]) / (3 * len(some) * kB)
        assert spread == pytest.approx(500, rel=4 * np.sqrt(2 / (3 * len(some))))
    again, other = atoms.copy(), atoms.copy()
    draw_velocities(again, Conditions("langevin", temperature=500, seed=3))
    draw_velocities(other, Conditions("langevin", temperature=500, seed=4))
    np.testing.assert_array_equal(again.get_momenta(), atoms.get_momenta())
    assert np.abs(other.get_momenta() - atoms.get_momenta()).max() > 1
    nve = Conditions("nve", temperature=500)
    draw_velocities(atoms, nve)
    np.testing.assert_allclose(atoms.get_momenta().sum(axis=0), 0.0, atol=1e-8)
    assert 2 * atoms.get_kinetic_energy() / (nve.degrees_of_freedom(len(atoms)) * kB) == pytest.approx(500)
    single = bulk("Cu")
    draw_velocities(single, nve)
    assert not single.get_momenta().any()  # one atom, at rest with its centre of mass


@pytest.mark.parametrize("wanted", ENSEMBLES, ids=lambda wanted: "-".join(map(str, wanted.values())))
def test_a_run_goes_on_from_its_state_to_the_last_bit(engine, potential, alloy, wanted):
    conditions = Conditions(temperature=500, timestep=2.0, damping=40, pressure_damping=200, seed=2, **wanted)
    atoms = alloy(3) if wanted.get("shape") != "axes" else alloy(3, strain=0.0)
    atoms.positions += np.random.default_rng(1).integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array  # far from the cell

    def start():
        return engine(atoms, conditions, lambda: CGCNNCalculator(potential))

    whole = start()
    for _ in range(20):
        whole.step()
    state = whole.settle()
    assert {array.dtype.name for array in state.arrays.values()} <= {"float64", "int64"}
    for _ in range(25):
        whole.step()
    again = start()
    for _ in range(3):  # whatever it was doing before
        again.step()
    again.restore(state)
    assert again.steps_done == 20
    for _ in range(25):
        again.step()
    for name in ("positions", "momenta"):
        np.testing.assert_array_equal(again.atoms.arrays[name], whole.atoms.arrays[name])
    np.testing.assert_array_equal(again.atoms.cell.array, whole.atoms.cell.array)
    assert again.sample() == whole.sample() or np.isnan(again.sample().disagreement)
    assert (again.sample().potential, again.sample().pressure) == (whole.sample().potential, whole.sample().pressure)


def test_what_is_due_is_done_in_its_turn(engine, crystal):
    run = engine(*at(crystal, Conditions("nve")))
    done = []
    every = [
        Every(2, lambda _, sample: done.append(("two", sample.step))),
        Every(3, lambda engine, sample: done.append(("three", engine.steps_done))),  # noqa: ARG005
    ]
    assert all(isinstance(sample, Sample) for sample in simulate(run, 6, every=every))
    assert done == [("two", 0), ("three", 0), ("two", 2), ("three", 3), ("two", 4), ("two", 6), ("three", 6)]
    assert [sample.step for sample in simulate(run, 8)] == [7, 8]  # gone on with


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"ensemble": "nvt"}, "--ensemble: 'nvt' is unknown; available: nve, langevin, nose-hoover, npt"),
        ({"shape": "cubic"}, "--shape: 'cubic' is unknown"),
        ({"timestep": 0.0}, "--timestep: a time above 0 fs, got 0"),
        ({"damping": float("nan")}, "--damping: a time above 0 fs, got nan"),
        ({"pressure_damping": -1.0}, "--pressure-damping: a time above 0 fs, got -1"),
        ({"temperature": -5.0}, "--temperature: a temperature of at least 0 K, got -5"),
        ({"temperature": 0.0, "ensemble": "npt"}, "--temperature: above 0 K with --ensemble npt"),
        ({"pressure": float("inf")}, "--pressure: a pressure in GPa, got inf"),
        ({"seed": -1}, "--seed: a seed is a whole number from 0 on, got -1"),
    ],
)
def test_conditions_without_meaning_are_refused(wanted, message):
    with pytest.raises(UsageError) as refused:
        Conditions(**wanted).require()
    assert message in str(refused.value)


def test_an_old_ase_is_told_what_it_lacks(monkeypatch):
    module = importlib.import_module("ase.md.nose_hoover_chain")
    monkeypatch.delattr(module, "MTKNPT")
    with pytest.raises(MissingDependencyError, match=r"--ensemble npt needs a newer ASE than .*MTKNPT: pip install"):
        AseEngine(bulk("Cu"), Conditions("npt", shape="free"), EMT)
