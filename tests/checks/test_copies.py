"""Copies among frames are found, whatever their number, and frames that differ are never called copies."""

import numpy as np
import pytest
from ase.build import bulk
from made_frames import MAKERS, hot_crystal, in_another_cell, nudged, shifted_and_wrapped, shuffled, turned

from mlff_curate.checks.copies import EXACT, NEAR, _Boxes, copies_across, copies_within
from mlff_curate.checks.invariants import invariants


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


def test_boxes_give_what_comparing_with_every_point_gives():
    rng = np.random.default_rng(3)
    points = rng.normal(0, 0.02, (1500, 3))
    bound = np.array([1.0, 2.0, 0.5])
    boxes = _Boxes(NEAR)
    for name, point in enumerate(points):
        if name % 10 == 0:
            width = 1.1 * NEAR * bound + 1e-6
            expected = np.flatnonzero((np.abs(points[:name] - point) <= width).all(axis=1))
            assert boxes.around(point, bound) == expected.tolist()
        boxes.add(name, point, bound)
