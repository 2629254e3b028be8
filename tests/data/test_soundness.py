"""Frames that are unusual and sound pass; the unsound ones are in test_invalid_files.py."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlff_curate.data.soundness import require_sound
from mlff_curate.errors import DataError


@pytest.mark.parametrize(
    "atoms",
    [
        Atoms("H"),
        Atoms("Og", cell=[2, 2, 2], pbc=True),
        Atoms("Fe", cell=[0, 0, 0]),
        Atoms("Fe", cell=[0, 0, 3], pbc=(False, False, True)),
        Atoms("Fe", cell=[3, 3, 0], pbc=(True, True, False)),
        Atoms("Fe", cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]]),  # flat, and periodic nowhere
        Atoms("Fe", cell=[[2, 0, 0], [1.99, 0.3, 0], [0, 0, 3]], pbc=True),  # sharp, not flat
        Atoms("Fe", cell=[-3, 3, 3], pbc=True),  # left-handed
        Atoms("H", cell=[0.5, 0.5, 0.5], pbc=True),  # denser than anything on Earth
        Atoms("Fe", positions=[[1e6, -1e6, 0]]),
        bulk("Ta"),
    ],
)
def test_unusual_frames_pass(atoms):
    require_sound(atoms, "a.xyz", 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_number_of_bad_positions_is_said(value):
    atoms = Atoms("Fe3", positions=np.zeros((3, 3)))
    atoms.positions[1:, 2] = value
    message = r"^a\.xyz: frame 7: positions: atom 1 has a position that is not a number \(2 such atoms\)$"
    with pytest.raises(DataError, match=message):
        require_sound(atoms, "a.xyz", 7)


@pytest.mark.parametrize("pbc", [(True, False, False), (False, True, False), (True, True, True)])
def test_each_periodic_direction_needs_its_vector(pbc):
    atoms = Atoms("Fe", cell=[0, 1e-5, 3], pbc=pbc)
    with pytest.raises(DataError, match=f"pbc is {' '.join('FT'[p] for p in pbc)} but the cell has no volume there"):
        require_sound(atoms, "a.xyz", 0)
