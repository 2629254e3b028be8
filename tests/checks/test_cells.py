"""Cells that programs stumble over are told; vacuum, slabs, compression and molecules are no fault."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from made_frames import checked, hot_crystal, slab, turned

from mlff_curate.checks.cells import cells, volume_per_atom


def trajectory(n=40, **kwargs):
    return [hot_crystal(seed, **kwargs) for seed in range(n)]


def told(frames):
    return [(f.rule, f.severity, f.frame) for f in cells([checked(atoms, k) for k, atoms in enumerate(frames)])]


def scaled(atoms, factor):
    atoms = atoms.copy()
    atoms.set_cell(factor * atoms.cell.array, scale_atoms=True)
    return atoms


def test_crystals_slabs_clusters_and_primitive_cells_are_no_finding():
    frames = [bulk("Ta", "bcc", a=3.3), bulk("Cu", "fcc", a=3.6), bulk("Ti"), bulk("Si"), fcc111("Cu", (2, 2, 3))]
    frames[-1].center(vacuum=10, axis=2)
    frames[-1].pbc = True
    assert told([*trajectory(), *frames]) == []


@pytest.mark.parametrize("bad", [[3], [1, 2], list(range(40))])
def test_left_handed_cells(bad):
    frames = trajectory()
    for k in bad:
        frames[k].set_cell(frames[k].cell.array[[1, 0, 2]], scale_atoms=False)
    assert told(frames) == [("cell-left-handed", "warning", k) for k in bad]


def test_a_rotation_does_not_make_a_cell_left_handed():
    rng = np.random.default_rng(0)
    atoms = hot_crystal(0)
    moved, q = turned(atoms, rng)
    assert bool(told([moved])) == (np.linalg.det(q) < 0)


@pytest.mark.parametrize(
    ("shear", "rule", "severity"), [(1.0, None, None), (3.0, "cell-skewed", "note"), (80.0, "cell-flat", "warning")]
)
def test_skewed_and_flat_cells(shear, rule, severity):
    atoms = bulk("Ta", "bcc", a=3.3, cubic=True)
    cell = atoms.cell.array.copy()
    cell[1] += shear * cell[0]
    atoms.set_cell(cell, scale_atoms=False)
    assert told([atoms]) == ([(rule, severity, 0)] if rule else [])


class TestVolume:
    @pytest.mark.parametrize("bad", [[3], [3, 8]])
    @pytest.mark.parametrize("factor", [1 / 0.529177, 0.529177])
    def test_lengths_in_another_unit(self, bad, factor):
        frames = [scaled(a, factor) if k in bad else a for k, a in enumerate(trajectory())]
        assert told(frames) == [("volume-absurd", "warning", k) for k in bad]

    def test_all_frames_far_too_dense(self):
        assert told([scaled(a, 0.5) for a in trajectory(3)]) == [("volume-absurd", "warning", k) for k in range(3)]

    def test_a_wide_series_of_volumes_is_none(self):
        unit = bulk("Ta", "bcc", a=3.3)
        assert told([scaled(unit, s) for s in np.linspace(0.7, 1.6, 40)]) == []

    def test_slabs_wires_and_clusters_in_a_box_are_none(self):
        frames = trajectory(12)
        for k in range(3):
            boxed = hot_crystal(50 + k, (1, 2, 2))
            boxed.center(vacuum=12.0, axis=(0, 1, 2)[: k + 1])
            frames.append(boxed)
        assert told(frames) == []

    def test_vacuum_does_not_count_and_place_in_the_cell_does_not_matter(self):
        crystal = bulk("Ta", "bcc", a=3.3, cubic=True).repeat((2, 2, 3))
        layer = crystal.copy()
        layer.center(vacuum=15.0, axis=2)
        before = volume_per_atom(layer)
        layer.positions[:, 2] += 11.0
        layer.wrap()
        assert volume_per_atom(layer) == pytest.approx(before)
        assert before == pytest.approx(volume_per_atom(crystal), rel=0.4)


class TestPeriodicity:
    def test_molecules_beside_crystals_are_a_note(self):
        water = molecule("H2O")
        assert told([*trajectory(2), water]) == [("pbc-mixed", "note", None)]

    def test_free_atoms_are_none(self):
        assert told([*trajectory(2), Atoms("Ta", pbc=False)]) == []

    def test_crystals_whose_periodicity_was_lost_are_a_warning(self):
        frames = trajectory(10)
        frames[4].pbc = False
        assert told(frames) == [("pbc-mixed", "warning", 4)]

    def test_slabs_alone_are_none(self):
        assert told([slab(0), slab(1)]) == []


@pytest.mark.data
@pytest.mark.parametrize("name", ["ta_jcp2014", "nb_mvl2020", "fe_npj2021"])
def test_the_published_sets_have_sound_cells(real_data, name):
    from mlff_curate.data.reading import read_frames  # noqa: PLC0415

    assert told([frame.atoms for frame in read_frames(real_data / f"{name}.extxyz")]) == []
