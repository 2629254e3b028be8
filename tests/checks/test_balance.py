"""Forces sum to zero; what a code leaves is judged by what it leaves elsewhere."""

import numpy as np
import pytest

from mlff_curate.checks.balance import judge_balance
from mlff_curate.checks.known import Known


def known(drift, frames=40, atoms=10, seed=0) -> Known:
    """Forces of about 1 eV/Angstrom whose sum over the atoms is `drift` (F,) eV/Angstrom."""
    rng = np.random.default_rng(seed)
    forces = rng.normal(size=(frames, atoms, 3))
    forces -= forces.mean(axis=1, keepdims=True)
    forces[:, :, 0] += np.asarray(drift)[:, None] / atoms
    offset = np.arange(frames + 1) * atoms
    return Known(np.full(frames, np.nan), forces.ravel(), np.full((frames, 6), np.nan), offset, np.full(frames, np.nan))


def test_a_force_that_is_missing_on_one_atom_shows_in_the_sum():
    labels = known(np.full(40, 2e-3))
    labels.forces[30 * 5 : 30 * 5 + 3] = 0.0
    found = judge_balance(labels)
    assert list(found.frames) == [5]
    assert not found.whole


@pytest.mark.parametrize("drift", [0.0, 1e-6, 5e-3])
def test_what_codes_leave_is_no_fault(drift):
    rng = np.random.default_rng(1)
    found = judge_balance(known(drift * rng.exponential(size=40)))
    assert len(found.frames) == 0
    assert not found.whole


def test_a_remainder_in_all_frames_is_told_of_the_set():
    found = judge_balance(known(np.full(40, 0.3)))
    assert found.whole
    assert len(found.frames) == 0


def test_frames_without_forces_are_not_judged():
    labels = known(np.zeros(40))
    labels.forces[:] = np.nan
    found = judge_balance(labels)
    assert not found.whole
    assert np.isnan(found.net).all()
