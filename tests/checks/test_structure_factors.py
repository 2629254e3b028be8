"""Structure factors are those of the structure, whatever its description, and move no farther than told."""

import numpy as np
import pytest
from made_frames import (
    MAKERS,
    hot_crystal,
    in_another_cell,
    nudged,
    shifted_and_wrapped,
    shuffled,
    structure,
    turned,
)

from mlff_curate.checks.copies import NEAR
from mlff_curate.checks.structure_factors import shell_ends, spectrum_of


def disguised(atoms, rng):
    moved = in_another_cell(atoms, rng) if atoms.pbc.any() else atoms
    return turned(shuffled(shifted_and_wrapped(moved, rng), rng)[0], rng)[0]


def both_by_shells(atoms, moved):
    a, b = (spectrum_of(structure(each)) for each in (atoms, moved))
    ends = shell_ends(a.lengths, 0.005)
    return a, b, a.by_shells(ends), b.by_shells(ends)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("seed", range(5))
def test_no_shift_order_wrapping_cell_or_rotation_changes_them(kind, seed):
    atoms = MAKERS[kind](seed)
    a, b, before, after = both_by_shells(atoms, disguised(atoms, np.random.default_rng(seed)))
    assert b.lengths == pytest.approx(a.lengths, abs=1e-9)
    assert after == pytest.approx(before, abs=1e-8)
    assert len(before) > (0 if atoms.pbc.any() else -1)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("amplitude", [0.1, 1.0])
def test_small_displacements_move_them_within_reach(kind, amplitude):
    rng = np.random.default_rng(0)
    for seed in range(5):
        atoms = nudged(MAKERS[kind](seed), rng, amplitude)
        a, _, before, after = both_by_shells(atoms, disguised(nudged(atoms, rng, NEAR), rng))
        assert np.linalg.norm(after - before) <= a.reach(NEAR) + 1e-9


def test_the_reach_is_needed():
    """A wave along one reciprocal vector moves them by most of it."""
    atoms = hot_crystal(0, (3, 3, 3), amplitude=0.02)
    spectrum = spectrum_of(structure(atoms))
    wave = spectrum.vectors[50]
    moved = atoms.copy()
    phase = atoms.positions @ wave - np.angle(np.exp(1j * atoms.positions @ wave).sum())
    moved.positions += NEAR * np.sign(np.sin(phase))[:, None] * wave / np.linalg.norm(wave)
    _, _, before, after = both_by_shells(atoms, moved)
    assert 0.3 * spectrum.reach(NEAR) < np.linalg.norm(after - before) <= spectrum.reach(NEAR)


@pytest.mark.parametrize("shape", [np.eye(3), np.diag([1.0, 1.0, 12.0]), [[1, 0, 0], [0.5, 0.9, 0], [0.3, 0.4, 2]]])
def test_no_shorter_reciprocal_vector_is_left_out(shape):
    atoms = hot_crystal(0)
    atoms.set_cell(3.0 * np.array(shape), scale_atoms=True)
    vectors = spectrum_of(structure(atoms)).vectors
    reciprocal = 2.0 * np.pi * atoms.cell.reciprocal().array
    steps = np.stack(np.meshgrid(*[np.arange(-40, 41)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.sort(np.linalg.norm(steps @ reciprocal, axis=1))[1 : 2 * len(vectors) : 2]
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(lengths)


def test_a_strained_lattice_changes_lengths_by_no_more_than_told():
    rng = np.random.default_rng(1)
    for seed in range(10):
        atoms = hot_crystal(seed, (1, 2, 3))
        atoms.set_cell(atoms.cell.array + rng.normal(0, 0.5, (3, 3)), scale_atoms=True)
        a = structure(atoms)
        moved = atoms.copy()
        step = rng.normal(size=(3, 3))
        step *= NEAR / np.linalg.norm(step, axis=1)[:, None]
        moved.set_cell(atoms.cell.array @ np.linalg.solve(a.lattice, a.lattice + step), scale_atoms=True)
        before, after = spectrum_of(a), spectrum_of(structure(moved))
        assert np.abs(after.lengths - before.lengths).max() <= 1.1 * NEAR * before.strain
