"""Frames of other formats become extxyz with every digit and key, or are refused by name."""

import io
import re

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.spacegroup import Spacegroup

from mlff_curate.data.formatting import format_frame
from mlff_curate.data.labels import labels_of
from mlff_curate.errors import DataError


def frame(**changes):
    atoms = Atoms(
        "FeW", positions=[[0.1, 0.2, 0.3], [1 / 3, 2 / 3, 1e-17]], cell=[3, 4, np.pi], pbc=(True, False, True)
    )
    atoms.info.update(changes)
    return atoms


def read_back(atoms):
    return ase.io.read(io.StringIO(format_frame(atoms).decode()), format="extxyz")


def test_geometry_keeps_every_bit():
    atoms = frame()
    atoms.positions[0] = [np.nextafter(0.1, 1), -0.0, 5e-324]
    atoms.set_cell([[3, 0.1, 0], [1 / 3, 4, 0], [0, 0.7, np.pi]])
    back = read_back(atoms)
    assert back.positions.tobytes() == atoms.positions.tobytes()
    assert back.cell.array.tobytes() == atoms.cell.array.tobytes()
    assert back.pbc.tolist() == [True, False, True]


def test_labels_keep_their_names_and_bits():
    rng = np.random.default_rng(0)
    results = {
        "energy": rng.normal(),
        "free_energy": rng.normal(),
        "forces": rng.normal(size=(2, 3)),
        "stress": rng.normal(size=6),
        "magmoms": rng.normal(size=2),
        "dipole": rng.normal(size=3),
    }
    atoms = frame(REF_energy=rng.normal(), dft_virial=rng.normal(size=9))
    atoms.arrays["REF_forces"] = rng.normal(size=(2, 3))
    atoms.calc = SinglePointCalculator(atoms, **results)
    back = read_back(atoms)
    for key, value in results.items():
        np.testing.assert_array_equal(back.calc.results[key], value)
    assert back.info["REF_energy"] == atoms.info["REF_energy"]
    np.testing.assert_array_equal(back.info["dft_virial"], atoms.info["dft_virial"])
    np.testing.assert_array_equal(back.arrays["REF_forces"], atoms.arrays["REF_forces"])


@pytest.mark.parametrize("name", ["REF_stress", "dft_virial", "virial"])
def test_stresses_are_nine_plain_numbers_whatever_their_name(name):
    stress = np.random.default_rng(0).normal(size=(3, 3))
    stress += stress.T
    atoms = frame(**{name: stress})
    comment = format_frame(atoms).decode().splitlines()[1]
    assert "_JSON" not in comment
    (words,) = re.findall(f'{name}="([^"]*)"', comment)
    np.testing.assert_array_equal([float(word) for word in words.split()], stress.ravel())
    (before, after) = (labels_of(one, stress_key=name).stress for one in (atoms, read_back(atoms)))
    np.testing.assert_array_equal(after, before)


def test_a_nan_that_stands_in_two_places_is_one_value():
    # as ASE 3.22 reads extxyz
    atoms = frame(energy=np.nan)
    atoms.calc = SinglePointCalculator(atoms, energy=np.nan)
    assert b"energy=nan" in format_frame(atoms)


@pytest.mark.parametrize(
    "value",
    [
        "words with spaces",
        "012",
        "1e5",
        "T",
        "",
        "a\nb",
        "C:\\new",
        "a \"quoted\" 'word' {x} [y]",
        "a=b, c",
        "Grüße",
        "_JSON 3",
        3,
        2**60,
        True,
        False,
        None,
        1 / 3,
        [1, 2.5],
        ["a", "b c"],
        {"x": [1, {"y": 'q"\\\n'}]},
    ],
)
def test_info_values_of_every_kind_come_back(value):
    back = read_back(frame(key=value)).info["key"]
    assert back == value if not isinstance(value, list) else list(back) == value
    assert isinstance(back, str) == isinstance(value, str)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(3),
        np.arange(3, dtype=np.uint8),
        np.array([1 / 3, np.nan, np.inf]),
        np.array([True, False]),
        np.random.default_rng(0).normal(size=(3, 3)),
        np.random.default_rng(0).normal(size=(2, 4)),
        np.random.default_rng(0).normal(size=3).astype(np.float32),
        np.array(["a", "b c"]),
        np.zeros(0),
    ],
)
def test_info_arrays_come_back(value):
    back = np.asarray(read_back(frame(key=value)).info["key"])
    assert back.shape == value.shape
    np.testing.assert_array_equal(back, value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, 2]),
        np.array([1, 2], np.uint8),
        np.array([True, False]),
        np.array(["a", "bc"]),
        np.array([1 / 3, np.nan]),
        np.random.default_rng(0).normal(size=(2, 4)),
        np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32),
    ],
)
def test_arrays_come_back(value):
    atoms = frame()
    atoms.new_array("mine", value)
    np.testing.assert_array_equal(read_back(atoms).arrays["mine"], value)


@pytest.mark.parametrize(
    ("key", "value"), [("mine", 1j), ("mine", {1, 2}), ("mine", object()), ("k=v", 1), ("pbc", 7), ("Lattice", "x")]
)
def test_info_that_extxyz_cannot_hold_is_named(key, value):
    atoms = frame()
    atoms.info[key] = value
    with pytest.raises(DataError, match=rf"^({key}: )?cannot be written as extxyz"):
        format_frame(atoms)


@pytest.mark.parametrize("key", [5, "two\nlines"])
def test_info_keys_that_extxyz_cannot_hold_are_refused(key):
    atoms = frame()
    atoms.info[key] = 1
    with pytest.raises(DataError, match="cannot be written as extxyz"):
        format_frame(atoms)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((2, 3, 3)),
        np.zeros(2, complex),
        np.array([None, "a"], object),
        np.array(["a b", "c"]),
        np.array(["", "c"]),
        np.array([2**40, 1]),
    ],
)
def test_arrays_that_extxyz_cannot_hold_are_refused(value):
    atoms = frame()
    atoms.arrays["mine"] = value
    with pytest.raises(DataError, match=r"^(mine: )?(cannot be written as extxyz|extxyz cannot hold an array)"):
        format_frame(atoms)


def test_space_group_of_a_cif_becomes_its_symbol():
    assert read_back(frame(spacegroup=Spacegroup(229))).info["spacegroup"] == "I m -3 m"


def test_two_values_of_one_name_are_refused():
    atoms = frame(energy=1.0)
    atoms.calc = SinglePointCalculator(atoms, energy=2.0)
    with pytest.raises(DataError, match=r"^energy: the frame has two different values of this name$"):
        format_frame(atoms)


def test_a_result_and_its_copy_among_the_keys_are_one_label():
    """ASE before 3.23 leaves a stress as (3, 3) in info, beside the six numbers in the results."""
    atoms = Atoms("Fe", cell=[3, 3, 3], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, stress=np.array([1, 2, 3, 4, 5, 6.0]))
    atoms.info |= {"energy": -1.0, "stress": np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3.0]])}
    assert format_frame(atoms).count(b"stress=") == 1
