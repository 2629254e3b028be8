"""Small crystals, a small potential of two elements, and both engines."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list

from mlff_curate.calculators import CGCNNCalculator
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.labels import Labels
from mlff_curate.dynamics import AseEngine, LammpsEngine, draw_velocities
from mlff_curate.errors import MissingDependencyError
from mlff_curate.lammps_session import import_lammps


def make_alloy(seed=0, *, size=(2, 1, 1), strain=0.03):
    """A rattled crystal of copper and gold in a sheared cell."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True, a=3.8) * size
    atoms.numbers[rng.permutation(len(atoms))[: len(atoms) // 3]] = 79
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


class Springs(Calculator):
    """Springs between the nearest neighbours of a crystal: a potential that takes no time."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, crystal, stiffness=2.5):
        super().__init__()
        self.crystal, self.stiffness = crystal, stiffness
        i, j, image, length = neighbor_list("ijSd", crystal, 3.2)
        half = (j > i) | ((j == i) & (image @ (9, 3, 1) > 0))
        self.pairs = i[half], j[half], image[half], length[half]

    def check_state(self, atoms, tol=0.0):
        return CGCNNCalculator.check_state(self, atoms, tol)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        i, j, image, length = self.pairs
        vector = atoms.positions[j] - atoms.positions[i] + image @ atoms.cell.array
        now = np.linalg.norm(vector, axis=1)
        pull = (self.stiffness * (now - length) / now)[:, None] * vector
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        stress = (vector.T @ pull / atoms.get_volume())[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
        self.results = {
            "energy": 0.5 * self.stiffness * np.sum((now - length) ** 2),
            "forces": forces,
            "stress": stress,
        }


def make_crystal(size=2):
    """Copper at rest, and its springs."""
    atoms = bulk("Cu", cubic=True) * size
    return atoms, lambda: Springs(atoms)


def train_small(seed=0):
    """A potential in float64, good enough to hold a crystal together."""
    frames = [make_alloy(k, size=(1 + k % 2, 1, 1)) for k in range(24)]
    labels = []
    for atoms in frames:
        atoms.calc = EMT()
        labels.append(Labels(energy=atoms.get_potential_energy(), forces=atoms.get_forces(), stress=atoms.get_stress()))
    size = {"channels": 8, "radial": 5, "angular": 4, "degree": 2, "convolutions": 1, "cutoff": 4.0}
    return Potential(**size, epochs=40, dtype="float64", seed=seed, validation=0.1).fit(frames, labels)


@pytest.fixture(scope="session")
def alloy():
    return make_alloy


@pytest.fixture(scope="session")
def crystal():
    return make_crystal


@pytest.fixture(scope="session")
def potential():
    return train_small()


@pytest.fixture(scope="session")
def committee(potential):
    return [potential, train_small(1)]


@pytest.fixture(scope="session")
def lammps_engine():
    """The LAMMPS engine, where there is LAMMPS."""
    try:
        import_lammps()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    return LammpsEngine


@pytest.fixture(params=["ase", pytest.param("lammps", marks=pytest.mark.lammps)])
def engine(request):
    """Put one of the engines to work on atoms, with velocities drawn unless they have some."""
    kind = AseEngine if request.param == "ase" else request.getfixturevalue("lammps_engine")
    made = []

    def make(atoms, conditions, calculator):
        atoms = atoms.copy()
        if not atoms.has("momenta"):
            draw_velocities(atoms, conditions)
        made.append(kind(atoms, conditions, calculator))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def both(lammps_engine):
    """The two engines on the same atoms: ASE, LAMMPS."""
    made = []

    def make(atoms, conditions, calculator):
        atoms = atoms.copy()
        if not atoms.has("momenta"):
            draw_velocities(atoms, conditions)
        made[:] = [AseEngine(atoms, conditions, calculator), lammps_engine(atoms.copy(), conditions, calculator)]
        return made

    yield make
    for one in made:
        one.close()
