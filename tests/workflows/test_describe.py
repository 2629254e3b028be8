"""Descriptors in batches: the same bytes however the work is shared out."""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read

from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.workflows import describe as module


@pytest.fixture
def many_tasks(monkeypatch):
    monkeypatch.setattr(module, "_ENVIRONMENTS_PER_TASK", 200)


@pytest.mark.usefixtures("many_tasks")
def test_two_workers_give_the_bytes_of_one(examples):
    frames = read(examples / "ta_md.extxyz", ":20")
    assert len(list(module._tasks(frames))) > 3
    one, two = (module.describe(frames, PowerSpectrum([73]), seed=1, workers=n) for n in (1, 2))
    assert one.X.tobytes() == two.X.tobytes()


@pytest.mark.usefixtures("many_tasks")
def test_rows_are_ordered_by_frame_and_atom(examples):
    frames = read(examples / "fe_md.extxyz", "::10")
    descriptor = PowerSpectrum([26])
    done = module.describe(frames, descriptor)
    alone = done.scaling.transform(descriptor.compute(frames[3:4]))
    np.testing.assert_allclose(done.X[done.first[3] : done.first[4]], alone, atol=1e-4)
    assert done.species.tolist() == [26] * len(done.X)


def test_free_atoms_are_not_learned_from_unless_there_is_nothing_else():
    species = np.array([41, 41, 73, 73, 74])
    isolated = np.array([True, False, False, True, True])
    assert module.learnable(species, isolated).tolist() == [1, 2, 4]


def test_frames_that_are_not_scaled_by_do_not_change_the_others():
    frames = [bulk("Ta", cubic=True) * (1, 1, 1 + i % 2) for i in range(6)]
    for i, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=i)
    alone = module.describe(frames, PowerSpectrum([73]), seed=1)
    more = module.describe([*frames, frames[0], frames[3]], PowerSpectrum([73]), scale_by=np.arange(6), seed=1)
    np.testing.assert_array_equal(more.X[: len(alone.X)], alone.X)
