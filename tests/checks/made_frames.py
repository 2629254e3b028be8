"""Frames to check, and motions that leave a structure what it is."""

import numpy as np
from ase import Atoms
from ase.build import bulk

from mlff_curate.checks.copies import NEAR
from mlff_curate.checks.frame import CheckedFrame
from mlff_curate.checks.invariants import invariants
from mlff_curate.checks.overlay import Structure, structure_of
from mlff_curate.data.labels import Labels


def hot_crystal(
    seed: int, repeat=(2, 2, 2), amplitude: float = 0.1, element: str = "Ta", crystal: str = "bcc"
) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = bulk(element, crystal, a=3.3, cubic=True).repeat(repeat)
    atoms.positions += rng.normal(0, amplitude, atoms.positions.shape)
    return atoms


def hot_alloy(seed: int) -> Atoms:
    atoms = hot_crystal(seed)
    atoms.numbers[np.random.default_rng(7).permutation(len(atoms))[:5]] = 41
    return atoms


def slab(seed: int) -> Atoms:
    atoms = hot_crystal(seed, (2, 2, 1))
    atoms.pbc = (True, True, False)
    atoms.cell[2] = [0.0, 0.0, 20.0]
    return atoms


def wire(seed: int) -> Atoms:
    atoms = hot_crystal(seed, (1, 1, 2))
    atoms.pbc = (False, False, True)
    return atoms


def cluster(seed: int) -> Atoms:
    atoms = hot_crystal(seed, (1, 2, 2))
    atoms.pbc = False
    atoms.cell = None
    return atoms


MAKERS = {"crystal": hot_crystal, "alloy": hot_alloy, "slab": slab, "wire": wire, "cluster": cluster}


def shuffled(atoms: Atoms, rng: np.random.Generator) -> tuple[Atoms, np.ndarray]:
    """Another order of the atoms."""
    order = rng.permutation(len(atoms))
    return atoms[order], order


def shifted_and_wrapped(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    moved = atoms.copy()
    moved.positions += rng.uniform(-9, 9, 3)
    moved.wrap()
    return moved


def in_another_cell(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """The same lattice by other vectors, left-handed now and then."""
    moved = atoms.copy()
    steps = np.eye(3, dtype=int)
    for _ in range(4):
        i, j = rng.choice(np.flatnonzero(atoms.pbc), 2, replace=False) if atoms.pbc.sum() > 1 else (0, 0)
        if i != j:
            steps[i] += rng.choice([-1, 1]) * steps[j]
    moved.set_cell(steps @ atoms.cell.array, scale_atoms=False)
    return moved


def turned(atoms: Atoms, rng: np.random.Generator) -> tuple[Atoms, np.ndarray]:
    """Any rotation or reflection, as rows: x' = x @ Q."""
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moved = atoms.copy()
    moved.positions = atoms.positions @ q
    moved.set_cell(atoms.cell.array @ q, scale_atoms=False)
    return moved, q


def nudged(atoms: Atoms, rng: np.random.Generator, size: float) -> Atoms:
    """Every atom moved by the same distance, in any direction."""
    moved = atoms.copy()
    step = rng.normal(size=(len(atoms), 3))
    moved.positions += size * step / np.linalg.norm(step, axis=1)[:, None]
    return moved


def checked(atoms: Atoms, index: int, file: str = "set.xyz", **labels) -> CheckedFrame:
    keys = {f"{kind}_key": kind for kind in labels if kind in ("energy", "forces", "stress", "magmoms")}
    return CheckedFrame(file, index, atoms, Labels(**labels, **keys))


def structure(atoms: Atoms) -> Structure:
    ((_, numbers),) = invariants([atoms])
    return structure_of(atoms, numbers.local, numbers.local_bound, NEAR)
