"""Descriptors in batches: the same bytes however the work is shared out."""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read

from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.descriptors.scaling import Scaling
from mlff_curate.graphs import neighbours
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


# A second descriptor.


def second():
    return PowerSpectrum([73], n_max=8, order=3)


@pytest.mark.usefixtures("many_tasks")
@pytest.mark.parametrize("workers", [1, 2])
def test_two_descriptors_at_once_are_each_by_itself(examples, workers):
    frames = read(examples / "ta_md.extxyz", ":20")
    both = module.describe(frames, PowerSpectrum([73]), detail=second(), seed=1, workers=workers)
    alone = module.describe(frames, PowerSpectrum([73]), seed=1)
    assert both.X.tobytes() == alone.X.tobytes()
    assert alone.detail is None
    raw = second().compute(frames)
    np.testing.assert_allclose(both.detail, Scaling.fit(raw, draw_in=False).transform(raw), atol=1e-4)


@pytest.mark.usefixtures("many_tasks")
def test_two_workers_give_the_bytes_of_one_for_both_descriptors(examples):
    frames = read(examples / "ta_md.extxyz", ":20")
    one, two = (module.describe(frames, PowerSpectrum([73]), detail=second(), seed=1, workers=n) for n in (1, 2))
    assert one.X.tobytes() == two.X.tobytes()
    assert one.detail.tobytes() == two.detail.tobytes()


def test_a_stored_scaling_is_that_of_the_first_descriptor_alone(examples):
    frames = read(examples / "ta_md.extxyz", ":10")
    stored = Scaling.fit(PowerSpectrum([73]).compute(frames[:3]))
    both = module.describe(frames, PowerSpectrum([73]), scaling=stored, detail=second(), seed=1)
    assert both.scaling is stored
    assert both.X.tobytes() == module.describe(frames, PowerSpectrum([73]), scaling=stored).X.tobytes()
    assert (
        both.detail.tobytes() == module.describe(frames, PowerSpectrum([73]), detail=second(), seed=1).detail.tobytes()
    )


@pytest.mark.parametrize("cutoffs", [(4.0, 4.0), (4.0, 5.0)])
def test_a_search_for_neighbours_serves_all_of_one_cutoff(examples, monkeypatch, cutoffs):
    frames = read(examples / "ta_md.extxyz", ":3")
    makers = [PowerSpectrum([73], cutoff) for cutoff in cutoffs]
    wanted = [maker.compute(frames) for maker in makers]
    searched = []
    search = neighbours.neighbour_list
    monkeypatch.setattr(neighbours, "neighbour_list", lambda *given: searched.append(given) or search(*given))
    found = module._raw(makers, frames)
    assert len(searched) == len(set(cutoffs))
    assert [a.tobytes() for a in found] == [b.tobytes() for b in wanted]
