"""Copies among frames are found, whatever their number, and frames that differ are never called copies."""

import numpy as np
import pytest
from ase.build import bulk
from made_frames import MAKERS, hot_crystal, in_another_cell, nudged, shifted_and_wrapped, shuffled, structure, turned

from mlff_curate.checks import copies
from mlff_curate.checks.copies import EXACT, NEAR, _Near, copies_across, copies_within
from mlff_curate.checks.invariants import invariants
from mlff_curate.checks.overlay import shift_between


def trajectory(n, amplitude=0.1):
    return [hot_crystal(seed, amplitude=amplitude) for seed in range(n)]


def disguise(kind, atoms, rng):
    atoms = shifted_and_wrapped(shuffled(in_another_cell(atoms, rng), rng)[0], rng)
    if kind == "near":
        return nudged(atoms, rng, 0.5 * NEAR)
    return turned(atoms, rng)[0] if kind == "twin" else nudged(atoms, rng, 0.3 * EXACT)


@pytest.mark.parametrize("kind", ["exact", "near", "twin"])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_copies_put_into_a_trajectory_are_found_and_nothing_else(kind, share):
    rng = np.random.default_rng(1)
    frames = trajectory(60)
    repeated = rng.choice(60, max(1, round(60 * share)), replace=False)
    found = copies_within(frames + [disguise(kind, frames[k], rng) for k in repeated])
    assert [(copy.frame, copy.original, copy.kind) for copy in found] == [
        (60 + place, k, kind) for place, k in enumerate(repeated)
    ]


def test_a_cold_trajectory_has_no_copies():
    assert copies_within(trajectory(60, amplitude=0.01)) == []


def test_elements_and_open_directions_tell_frames_apart():
    assert copies_within([make(0) for make in MAKERS.values()]) == []


def test_a_pile_of_copies_has_one_original():
    atoms = hot_crystal(0)
    found = copies_within([atoms] * 600)
    assert [copy.original for copy in found] == [0] * 599
    assert {copy.kind for copy in found} == {"exact"}


def test_the_copy_of_a_twin_is_an_exact_copy_of_the_twin():
    rng = np.random.default_rng(0)
    atoms = hot_crystal(0)
    twin = turned(atoms, rng)[0]
    found = copies_within([atoms, twin, twin])
    assert [(copy.original, copy.kind) for copy in found] == [(0, "twin"), (1, "exact")]


def test_a_supercell_is_a_twin_of_its_crystal():
    unit = bulk("Ta", "bcc", a=3.3)
    (copy,) = copies_within([unit, unit.repeat((3, 2, 2))])
    assert (copy.original, copy.kind) == (0, "twin")


def test_finely_spaced_volumes_and_strains_are_no_copies():
    frames = []
    for scale in np.linspace(0.98, 1.02, 81):
        for axes in ([scale] * 3, [scale, 1, 1], [scale, 1 / scale, 1]):
            atoms = bulk("Nb", "bcc", a=3.32, cubic=True)
            atoms.set_cell(atoms.cell.array @ np.diag(axes), scale_atoms=True)
            frames.append(atoms)
    found = {copy.frame: copy for copy in copies_within(frames)}
    middle = 3 * 40
    sheared = {f for f in found if f % 3 == 2}  # stretched along x or along y by the same
    assert set(found) - sheared == {middle + 1}
    # by 1 + s along x and 1 / (1 + s) along y, or by 1 / (1 - s) along y: equal but for s squared
    assert sheared == {f for f in range(middle + 2, 3 * (40 + 16)) if f % 3 == 2}


def test_orders_of_an_alloy_on_one_lattice_are_no_copies_and_mostly_not_even_candidates():
    lattice = bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(3)
    frames = []
    for seed in range(40):
        atoms = lattice.copy()
        atoms.numbers = np.random.default_rng(seed).permutation(atoms.numbers)
        frames.append(atoms)
    assert copies_within(frames) == []
    points = [(numbers.whole, numbers.whole_bound) for _, numbers in invariants(frames)]
    close = [
        (np.abs(a - b) <= 1.1 * NEAR * bound + 1e-6).all() for i, (a, bound) in enumerate(points) for b, _ in points[:i]
    ]
    assert sum(close) < 0.02 * len(close)


def test_across_two_sets_only_copies_of_the_known_one_count():
    rng = np.random.default_rng(2)
    known = trajectory(20)
    new = [hot_crystal(100), hot_crystal(100), disguise("twin", known[7], rng)]
    (copy,) = copies_across(new, [*known, known[3]])
    assert (copy.frame, copy.original, copy.kind) == (2, 7, "twin")


def test_the_search_gives_what_comparing_with_every_point_gives():
    rng = np.random.default_rng(3)
    boxes, balls = rng.normal(0, 0.02, (1500, 3)), rng.normal(0, 0.02, (1500, 4))
    search = _Near()
    for name, (box, ball) in enumerate(zip(boxes, balls, strict=True)):
        width, radius = rng.uniform(0.005, 0.02, 3), rng.uniform(0.02, 0.04)
        if name % 10 == 0:
            inside = (np.abs(boxes[:name] - box) <= width).all(axis=1)
            inside &= np.linalg.norm(balls[:name] - ball, axis=1) <= radius
            assert search.around(box, width, ball, radius) == np.flatnonzero(inside).tolist()
        search.add(name, box, width, ball, radius)


@pytest.fixture
def laid_over(monkeypatch):
    """Count pairs of frames that are laid over each other."""
    pairs = []
    for name in ("shift_between", "motion_between"):
        overlay = getattr(copies, name)
        monkeypatch.setattr(copies, name, lambda a, b, overlay=overlay: pairs.append(1) or overlay(a, b))
    return pairs


@pytest.mark.parametrize("repeat", [(3, 3, 3), (4, 4, 4)])
def test_frames_of_a_cold_trajectory_are_told_apart_without_laying_them_over_each_other(repeat, laid_over):
    assert copies_within([hot_crystal(seed, repeat, amplitude=0.02) for seed in range(60)]) == []
    assert laid_over == []


@pytest.mark.parametrize("kind", ["exact", "near", "twin"])
def test_copies_in_a_cold_trajectory_are_found(kind):
    rng = np.random.default_rng(2)
    frames = [hot_crystal(seed, (3, 3, 3), amplitude=0.005) for seed in range(20)]
    found = copies_within(frames + [disguise(kind, atoms, rng) for atoms in frames])
    assert [(copy.frame, copy.original, copy.kind) for copy in found] == [(20 + k, k, kind) for k in range(20)]


@pytest.mark.parametrize("repeat", [(1, 1, 1), (2, 2, 2), (3, 1, 2)])
@pytest.mark.parametrize("amplitude", [0.0, 0.01, 0.1])
def test_nothing_that_can_be_laid_over_an_earlier_frame_is_missed(repeat, amplitude):
    rng = np.random.default_rng(4)
    frames = []
    for seed in range(12):
        atoms = hot_crystal(seed, repeat, amplitude)
        atoms.set_cell(atoms.cell.array + rng.normal(0, 0.01 * seed, (3, 3)), scale_atoms=True)
        moved = disguise("exact", atoms, rng)
        moved.set_cell(moved.cell.array + 0.5 * NEAR * rng.uniform(-1, 1, (3, 3)), scale_atoms=True)
        frames += [atoms, moved, nudged(moved, rng, 0.5 * NEAR)]
    structures = [structure(atoms) for atoms in frames]
    found = {copy.frame for copy in copies_within(frames) if copy.kind != "twin"}
    firsts: list[int] = []
    for k, b in enumerate(structures):
        repeats = any(shift_between(structures[a], b) is not None for a in firsts)
        assert repeats == (k in found)
        if not repeats:
            firsts.append(k)
    assert 10 < len(found) < 36
