"""Numbers beyond anything physical are told, and blind no other check; labels in another unit are left to theirs."""

import dataclasses
import warnings

import numpy as np
import pytest
from ase.units import Pascal
from made_frames import hot_crystal

from mlff_curate.checks.absurd import without_absurd
from mlff_curate.checks.frame import CheckedFrame
from mlff_curate.data.labels import Labels


def frame(index=0, **labels):
    atoms = hot_crystal(index)
    there = {
        "energy": -11.8 * len(atoms),
        "forces": np.ones((len(atoms), 3)),
        "stress": np.full(6, -3e12 * Pascal),  # 3 TPa
    }
    there |= labels
    return CheckedFrame("md.extxyz", index, atoms, Labels(**there, **{f"{kind}_key": f"REF_{kind}" for kind in there}))


@pytest.mark.parametrize("size", [1e20, 1e100, -1e200, 1.7e308])
@pytest.mark.parametrize(
    ("kind", "rule"), [("energy", "energy-outlier"), ("forces", "force-outlier"), ("stress", "stress-outlier")]
)
def test_a_number_that_no_unit_explains_is_an_error_and_missing_from_there_on(kind, rule, size):
    sound = frame()
    value = getattr(sound.labels, kind)
    spoilt = frame(1, **{kind: value / np.abs(value).max() * size})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (first, second), (told,) = without_absurd([sound, spoilt])
    assert first is sound
    assert getattr(second.labels, kind) is None
    assert getattr(second.labels, f"{kind}_key") is None
    assert (told.frame, told.key, told.rule, told.severity) == (1, f"REF_{kind}", rule, "error")
    assert "beyond anything physical in any unit" in told.message
    others = {"energy", "forces", "stress"} - {kind}
    assert all(getattr(second.labels, other) is not None for other in others), "its other labels are judged as before"


def test_sets_in_other_units_reach_the_checks_of_units():
    """meV, meV/Angstrom and Pa, of all-electron energies, collisions and matter at 3 TPa."""
    sound = frame()
    labels = dataclasses.replace(
        sound.labels, energy=-1e9 * len(sound.atoms), forces=np.full((16, 3), 1e7), stress=sound.labels.stress / Pascal
    )
    kept, told = without_absurd([dataclasses.replace(sound, labels=labels)])
    assert told == []
    assert kept[0].labels is labels


def test_an_energy_that_is_nothing_like_the_others_is_told_even_in_a_set_of_two():
    _, (told,) = without_absurd([frame(0), frame(1, energy=1e11)])
    assert (told.frame, told.rule) == (1, "energy-outlier")


def test_a_frame_in_pascals_among_others_is_left_to_the_check_of_units():
    _, told = without_absurd([frame(0), frame(1), frame(2, stress=frame().labels.stress / Pascal)])
    assert told == []
