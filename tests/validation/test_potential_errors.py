"""What errors of potentials are held against."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlff_curate.data.labels import Labels
from mlff_curate.validation.potential_errors import errors_without_neighbours


def test_a_guess_knows_elements_and_no_forces():
    rng = np.random.default_rng(0)
    frames = [bulk("Cu", cubic=True) for _ in range(20)]
    for k, atoms in enumerate(frames):
        atoms.symbols[: k % 4] = "Au"
    noise = rng.normal(scale=0.02, size=20)
    energies = [3.0 * (k % 4) - 2.0 * (4 - k % 4) + 4 * noise[k] for k in range(20)]
    forces = rng.normal(size=(20, 4, 3))
    labels = [Labels(energy=e, forces=f) for e, f in zip(energies, forces, strict=True)]
    learned, judged = np.arange(12), np.arange(12, 20)
    found = errors_without_neighbours(frames, labels, learned, judged)
    assert found["energy_mae"] == pytest.approx(np.abs(noise[12:]).mean(), rel=0.5)
    assert found["force_mae"] == pytest.approx(np.abs(forces[12:]).mean())
    one = [Atoms("Cu2")] * 20
    found = errors_without_neighbours(one, labels, learned, judged)
    per_atom = np.array(energies) / 2
    assert found["energy_mae"] == pytest.approx(np.abs(per_atom[12:] - per_atom[:12].mean()).mean())


def test_few_labels_and_crystals_at_rest_judge_nothing():
    frames = [Atoms("Cu")] * 12
    labels = [Labels(energy=0.1 * k, forces=np.zeros((1, 3))) for k in range(12)]
    assert set(errors_without_neighbours(frames, labels, np.arange(2), np.arange(2, 12))) == {"energy_mae"}
    assert errors_without_neighbours(frames, labels, np.arange(10), np.arange(10, 12)) == {}
    assert errors_without_neighbours(frames, [Labels()] * 12, np.arange(2), np.arange(2, 12)) == {}
    assert errors_without_neighbours(frames, labels, np.arange(12), np.arange(0)) == {}
