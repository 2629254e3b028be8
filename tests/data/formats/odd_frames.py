"""Frames that formats trip over."""

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator


def labelled(atoms, seed=0, **without):
    """Attach results of a calculation: random energy, forces, and stress if the frame is periodic."""
    rng = np.random.default_rng(seed)
    results = {"energy": rng.normal(), "forces": rng.normal(size=(len(atoms), 3)), "stress": rng.normal(size=6) / 100}
    if not atoms.pbc.all():
        del results["stress"]
    for name in without:
        results.pop(name, None)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def crystal(seed=0):
    """Two rattled tungsten atoms with a neighbour of another element."""
    atoms = bulk("W", cubic=True)
    atoms.numbers[1] = 73
    atoms.rattle(0.1, seed=seed)
    return atoms


def symmetric(rng):
    matrix = rng.normal(size=(3, 3))
    return matrix + matrix.T


def left_handed():
    atoms = crystal(3)
    atoms.set_cell([[0, 3.2, 0], [3.1, 0, 0.2], [0, 0, 3.3]])
    assert np.linalg.det(atoms.cell.array) < 0
    return labelled(atoms, 3)


def triclinic():
    atoms = crystal(4)
    atoms.set_cell([[3.2, 0.1, 0.2], [0.3, 3.3, 0.4], [-0.5, 0.6, 3.4]], scale_atoms=True)
    return labelled(atoms, 4)


def with_names(prefix):
    atoms = crystal(5)
    rng = np.random.default_rng(5)
    atoms.info[f"{prefix}energy"] = rng.normal()
    atoms.arrays[f"{prefix}forces"] = rng.normal(size=(2, 3))
    atoms.info[f"{prefix}stress"] = symmetric(rng)
    return atoms


def with_virial():
    atoms = crystal(6)
    atoms.info["REF_virial"] = symmetric(np.random.default_rng(6))
    return atoms


def with_arrays():
    atoms = labelled(crystal(7), 7)
    atoms.set_array("count", np.array([1, -2]))
    atoms.set_array("site", np.array(["bulk", "surface"]))
    atoms.set_array("fixed", np.array([True, False]))
    atoms.set_array("dipoles", np.array([[0.1, 0.2], [0.3, 1 / 3]]))
    atoms.set_array("initial_magmoms", np.array([2.2, -2.3]))
    return atoms


def with_info():
    atoms = labelled(crystal(8), 8)
    atoms.info |= {
        "config_type": "Grüße, 世界",
        "step": 7,
        "temperature": 1 / 3,
        "converged": True,
        "matrix": np.arange(9.0).reshape(3, 3) / 7,
        "list": np.array([1, 2, 3]),
        "nested": {"a": [1, None, {"b": "c"}], "d": 0.1},
        "empty": "",
        "quoted": 'two "words" = \\ {}',
        "source": "energy PBC Lattice.json",
    }
    return atoms


ODD = {
    "crystal": labelled(crystal(1), 1),
    "unlabelled": crystal(2),
    "only energy": labelled(crystal(2), 2, forces=None, stress=None),
    "only forces": labelled(crystal(2), 2, energy=None, stress=None),
    "left-handed": left_handed(),
    "triclinic": triclinic(),
    "slab": labelled(Atoms("Ta3", [[0, 0, 0], [1.6, 1.6, 1.7], [0, 0, 3.3]], cell=[3.3, 3.3, 15], pbc=[1, 1, 0]), 9),
    "molecule": labelled(molecule("H2O"), 10),
    "isolated": labelled(Atoms("Ta"), 11, forces=None),
    "isolated in a box": labelled(Atoms("Ta", cell=[12, 13, 14], pbc=True, info={"config_type": "atom"}), 12),
    "isolated, no energy": Atoms("Ta", cell=[9, 9, 9], info={"config_type": "IsolatedAtom"}),
    "primitive": labelled(bulk("Ta"), 13),
    "DFT names": with_names("dft_"),
    "MACE names": with_names("REF_"),
    "virial": with_virial(),
    "arrays": with_arrays(),
    "info": with_info(),
}
