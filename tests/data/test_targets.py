"""Targets of frames: one finite number under the name that the user gives."""

import numpy as np
import pytest
from ase.build import bulk

from mlff_curate.data.frames import with_results
from mlff_curate.data.targets import available, candidates, target_of, targets_of
from mlff_curate.errors import DataError


def frame(**info):
    atoms = bulk("Cu", cubic=True)
    atoms.info.update(info)
    return atoms


@pytest.mark.parametrize("value", [1.5, np.float32(1.5), np.array(1.5), np.array([1.5]), np.array([[1.5]])])
def test_a_number_is_a_number_in_any_shape(value):
    assert target_of(frame(gap=value), "gap") == 1.5


@pytest.mark.parametrize(("value", "number"), [(True, 1.0), (np.False_, 0.0), (3, 3.0)])
def test_classes_may_be_true_and_false(value, number):
    assert target_of(frame(gap=value), "gap") == number


def test_results_of_a_calculator_are_targets_under_their_names():
    assert target_of(with_results(frame(), energy=-3.0), "energy") == -3.0


def test_a_frame_without_the_key_has_no_target():
    assert target_of(frame(), "gap") is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("high", "gap: one number per frame is wanted, found 'high'"),
        ([1.0, 2.0], "gap: one number per frame is wanted, found '[1.0, 2.0]'"),
        (np.nan, "gap: is nan: a target must be finite"),
        (np.inf, "gap: is inf: a target must be finite"),
        ({}, "gap: one number per frame is wanted, found '{}'"),
    ],
)
def test_what_is_no_number_is_refused(value, message):
    with pytest.raises(DataError) as caught:
        target_of(frame(gap=value), "gap")
    assert str(caught.value) == message


def test_a_property_of_atoms_is_none_of_the_frame():
    with pytest.raises(
        DataError, match=r"^positions: has a value for each atom; a property of the whole frame is wanted$"
    ):
        target_of(frame(), "positions")


def test_the_frame_is_named():
    with pytest.raises(DataError, match=r"^frame 1: gap: is nan: a target must be finite$"):
        targets_of([frame(gap=1.0), frame(gap=np.nan)], "gap")
    with pytest.raises(DataError, match=r"^frame 1: gap: the frame has no such target; available: pressure$"):
        targets_of([frame(gap=1.0), frame(pressure=2.0, name="x")], "gap")


def test_names_that_could_be_meant_are_those_of_single_numbers():
    atoms = with_results(frame(gap=1.0, config_type="a", step=3), energy=-1.0, forces=np.zeros((4, 3)))
    assert sorted(candidates(atoms)) == ["energy", "gap", "step"]
    assert available(["b", "a"]) == "available: a, b"
    assert available([]) == "there is no number under any name"
    assert available(map(str, range(20))).endswith(", ...")
