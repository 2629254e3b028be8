"""Labels under new names: the same values, nothing overwritten."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_curate.data.formats.base import NormalFrame
from mlff_curate.data.frames import Frame
from mlff_curate.data.labels import labels_of
from mlff_curate.data.renaming import stands_as, with_label_names, with_label_results
from mlff_curate.errors import DataError

NAMES = {"energy": "REF_energy", "forces": "REF_forces", "stress": "REF_stress"}


def iron(results=None, **info):
    atoms = Atoms("Fe2", [[0, 0, 0], [0, 0, 2]], cell=[3, 3, 4], pbc=True, info=info)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def frame(atoms, **keys):
    return NormalFrame(Frame(atoms, "in", 0, "", None), labels_of(atoms, **keys), None, isolated=False)


def test_results_become_keys_and_nothing_of_the_old_name_stays():
    before = iron({"energy": -1.0, "forces": np.ones((2, 3)), "magmoms": np.ones(2)}, step=1)
    after, lost = with_label_names(frame(before), NAMES)
    assert (after.info, lost) == ({"step": 1, "REF_energy": -1.0}, ())
    np.testing.assert_array_equal(after.arrays["REF_forces"], np.ones((2, 3)))
    assert list(after.calc.results) == ["magmoms"]
    assert sorted(before.calc.results) == ["energy", "forces", "magmoms"]


def test_names_can_be_exchanged():
    atoms = iron(energy=-1.0, dft_energy=-1.0)
    after, _ = with_label_names(frame(atoms, energy_key="dft_energy"), {"energy": "energy"})
    assert after.info == {"energy": -1.0}


def test_what_is_not_labelled_stays_so():
    after, lost = with_label_names(frame(iron(step=1)), NAMES)
    assert (after.info, lost, after.calc) == ({"step": 1}, (), None)


def test_nan_in_the_place_of_a_label_is_named():
    after, lost = with_label_names(frame(iron(REF_energy=np.nan)), NAMES)
    assert (after.info, lost) == ({}, ("REF_energy",))


@pytest.mark.parametrize("other", [-2.0, "text"])
def test_another_value_is_not_overwritten(other):
    atoms = iron(energy=-1.0, REF_energy=other)
    message = r"^REF_energy: holds another value than the energy found under energy, which is to have this name: choose"
    with pytest.raises(DataError, match=message):
        with_label_names(frame(atoms, energy_key="energy"), NAMES)


def test_stress_from_a_virial_is_no_longer_called_one():
    after, _ = with_label_results(frame(iron(virial=np.diag([36.0, 0, 0]))))
    np.testing.assert_allclose(after.calc.results["stress"], [-1, 0, 0, 0, 0, 0])
    assert after.info == {}


def test_labels_in_their_place_are_left_alone():
    labels = labels_of(iron(REF_energy=-1.0))
    assert stands_as(labels, NAMES)
    assert not stands_as(labels, {"energy": "energy"})
    assert not stands_as(labels_of(iron(REF_energy=np.nan)), NAMES)
    assert not stands_as(labels_of(iron(virial=np.eye(3))), {"stress": "virial"})
