"""A run that makes no sense any more is stopped with one line that names step and atoms."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.units import fs

from mlff_curate.calculators import CGCNNCalculator
from mlff_curate.dynamics import AseEngine, Conditions, Every, RunStoppedError, StopRules, Watch, simulate
from mlff_curate.errors import UsageError

NVE = Conditions("nve", temperature=0.0, timestep=1.0)
ANY_HEAT = StopRules(max_temperature=1e9)


class Given(Calculator):
    """Forces, energy and disagreement as a function of the positions says."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, say):
        super().__init__()
        self.say = say

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        nothing = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}
        self.results = nothing | self.say(atoms.positions)


def stopped(atoms, say, rules=None, steps=200, conditions=NVE):
    """What is said when it stops; and the steps that were written down before."""
    engine = AseEngine(atoms, conditions, lambda: Given(say))
    watch = Watch(rules or StopRules(), engine.atoms, engine.sample(), conditions.temperature)
    written = []
    with pytest.raises(RunStoppedError) as error:
        for _ in simulate(engine, steps, watch=watch, every=[Every(1, lambda _, sample: written.append(sample.step))]):
            pass
    assert "\n" not in str(error.value)
    assert written == list(range(engine.steps_done))
    return str(error.value), engine


def pair(distance, speed=0.0, symbols="CuAu", **kwargs):
    atoms = Atoms(symbols, [(0, 0, 0), (distance, 0, 0)], **kwargs)
    atoms.set_velocities([(0, 0, 0), (-speed / fs, 0, 0)])  # Angstrom/fs
    return atoms


def test_atoms_that_collide():
    # 0.5 of 1.32 + 1.36 Angstrom is 1.34; at 0.01 Angstrom/fs two are there after 67 steps
    said, engine = stopped(pair(2.005, 0.01), lambda _: {}, ANY_HEAT)
    assert said == (
        "stopped at step 67 (67 fs): atom 0 (Cu) and atom 1 (Au) have collided: 1.335 Angstrom apart, less than 1.340, "
        "0.5 of the sum of their covalent radii"
    )
    assert engine.steps_done == 67
    assert (
        "less than 1.072, 0.4 of"
        in stopped(pair(2.0, 0.01), lambda _: {}, StopRules(min_distance=0.4, max_temperature=1e9))[0]
    )


def test_atoms_that_collide_through_the_boundary_and_with_their_own_images():
    said, _ = stopped(pair(7.9, -0.01, cell=(10, 10, 10), pbc=True), lambda _: {}, ANY_HEAT)
    assert "atom 0 (Cu) and atom 1 (Au) have collided" in said
    atoms = Atoms("Cu", cell=(1.2, 10, 10), pbc=True)
    engine = AseEngine(atoms, NVE, lambda: Given(lambda _: {}))
    watch = Watch(StopRules(), atoms, engine.sample(), 0.0)
    assert watch.reason(atoms, engine.sample()).startswith("atom 0 (Cu) and its image have collided: 1.200 Angstrom")


def test_a_temperature_that_explodes():
    said, _ = stopped(pair(5.0), lambda _: {"forces": np.array([[-0.4, 0, 0], [0.1, 0, 0]])})
    assert said.startswith("stopped at step ")
    assert "the temperature has exploded: 3" in said
    assert said.endswith("K, more than 3000 K; atom 0 (Cu) is the fastest")
    rules = StopRules(max_temperature=100)
    assert "more than 100 K" in stopped(pair(5.0, -0.01), lambda _: {}, rules)[0]
    hot = Conditions("nve", temperature=1000)
    assert "more than 10000 K" in stopped(pair(5.0, -0.2), lambda _: {}, conditions=hot)[0]


def test_an_energy_that_explodes():
    say = lambda positions: {"energy": 4.0 * (5.0 - positions[1, 0])}  # noqa: E731
    said, _ = stopped(pair(5.0, -0.1), say, ANY_HEAT)
    assert said.endswith("the potential energy has exploded: -5.2 eV per atom since the start, more than 5")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite(bad):
    forces = np.zeros((2, 3))
    said, engine = stopped(
        pair(5.0, -0.01), lambda x: {"forces": np.where([[0], [x[1, 0] > 5.025]], bad, forces)}, ANY_HEAT
    )
    assert said == "stopped at step 3 (3 fs): the force on atom 1 (Au) is not finite"
    assert np.isfinite(engine.atoms.positions).all()
    said, _ = stopped(pair(5.0, -0.01), lambda x: {"energy": bad if x[1, 0] > 5.025 else 0.0}, ANY_HEAT)
    assert said == "stopped at step 3 (3 fs): the energy is not finite"


def test_a_cell_that_swells():
    atoms = bulk("Cu", cubic=True)
    engine = AseEngine(atoms, NVE, lambda: Given(lambda _: {}))
    watch = Watch(StopRules(), atoms, engine.sample(), 0.0)
    atoms.set_cell(2 * atoms.cell.array, scale_atoms=True)
    assert watch.reason(atoms, engine.sample()) == "the cell has 8 times the volume of the start"


def test_a_committee_that_disagrees(committee, alloy):
    atoms = alloy(8)
    engine = AseEngine(atoms, NVE, lambda: CGCNNCalculator(committee))
    sample = engine.sample()
    worst = int(np.argmax(atoms.calc.results["forces_std"]))
    assert sample.disagreement == pytest.approx(atoms.calc.results["forces_std"][worst])
    watch = Watch(StopRules(max_disagreement=0.5 * sample.disagreement), atoms, sample, 0.0)
    with pytest.raises(
        RunStoppedError, match=rf"stopped at step 0 .*disagrees on the force on atom {worst} \((Cu|Au)\)"
    ):
        watch.look(atoms, sample)
    assert Watch(StopRules(), atoms, sample, 0.0).reason(atoms, sample) is None
    assert Watch(StopRules(max_disagreement=9.0), atoms, sample, 0.0).reason(atoms, sample) is None


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"min_distance": 1.0}, r"--min-distance: a share in \[0, 1\), got 1"),
        ({"max_temperature": 0.0}, "--max-temperature: a number above 0, got 0"),
        ({"max_energy_change": -1.0}, "--max-energy-change: a number above 0, got -1"),
        ({"max_disagreement": float("nan")}, "--max-disagreement: a number above 0, got nan"),
    ],
)
def test_rules_without_meaning_are_refused(rules, message):
    with pytest.raises(UsageError, match=message):
        StopRules(**rules).require()
