"""The element encoding: the authors' categories from tables and rules."""

import json
from itertools import pairwise

import numpy as np
import pytest
from ase.data import atomic_numbers, chemical_symbols

from mlff_curate.cgcnn.elements import (
    block_of,
    group_of,
    one_hot_encoding,
    period_of,
    published_encoding,
    read_encoding,
    valence_electrons,
)
from mlff_curate.errors import DataError


@pytest.mark.data
def test_every_element_of_the_published_file_has_its_published_categories(real_data):
    published = read_encoding(real_data / "cgcnn" / "sample" / "atom_init.json")
    ours = published_encoding()
    assert published.numbers.tolist() == list(range(1, 101))
    for z in published.numbers:
        theirs, made = published.features(np.array([z])), ours.features(np.array([z]))
        assert np.array_equal(theirs, made), chemical_symbols[z]


@pytest.mark.parametrize(
    ("symbol", "group", "period", "block", "valence"),
    [
        ("H", 1, 1, "s", 1),
        ("He", 18, 1, "s", 2),
        ("B", 13, 2, "p", 3),
        ("Ca", 2, 4, "s", 2),
        ("Fe", 8, 4, "d", 8),
        ("Zn", 12, 4, "d", 12),
        ("Pd", 10, 5, "d", 12),
        ("La", None, 6, "f", 2),
        ("Yb", None, 6, "f", 2),
        ("Lu", 3, 6, "d", 3),
        ("Rn", 18, 6, "p", 8),
        ("U", None, 7, "f", 2),
        ("Lr", 3, 7, "d", 3),
        ("Og", 18, 7, "p", 8),
    ],
)
def test_places_in_the_periodic_table(symbol, group, period, block, valence):
    z = atomic_numbers[symbol]
    assert (group_of(z), period_of(z), block_of(z), valence_electrons(z)) == (group, period, block, valence)


def test_all_118_elements_have_at_most_one_category_of_each_property():
    encoding = published_encoding()
    assert encoding.rows.shape == (118, 92)
    edges = np.cumsum((0, 19, 7, 10, 10, 12, 10, 10, 4, 10))
    counts = np.stack([encoding.rows[:, a:b].sum(axis=1) for a, b in pairwise(edges)], axis=1)
    assert set(counts.ravel().tolist()) <= {0.0, 1.0}
    assert counts[:, [0, 1, 3, 4, 7]].all()  # group, period, radius, valence, block are known of all


def test_elements_beyond_the_published_file_follow_the_rules():
    md = published_encoding().features(np.array([atomic_numbers["Md"]]))[0]
    # no group; period 7; radius 173 pm; 2 valence electrons; ln 6.58 = 1.88; f
    assert np.flatnonzero(md).tolist() == [0, 25, 42, 47, 60, 81]


def test_one_hot_has_a_category_for_each_element_given_and_none_for_others():
    encoding = one_hot_encoding([26, 8, 26])
    assert encoding.features(np.array([8, 26, 8])).tolist() == [[1, 0], [0, 1], [1, 0]]
    with pytest.raises(DataError, match=r"^no features for H, Xe in the elements of the training data$"):
        encoding.features(np.array([54, 26, 1]))


def test_what_is_no_element_is_named():
    with pytest.raises(DataError, match=r"^no features for X, number 150 in the element tables$"):
        published_encoding().features(np.array([0, 150]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "is no table of elements: atomic numbers to lists of numbers are expected"),
        ("{}", "is no table of elements: atomic numbers to lists of numbers are expected"),
        ('{"H": [1]}', "H: is no atomic number"),
        ('{"119": [1]}', "119: is no atomic number"),
        ('{"1": 1}', "1: a list of numbers is expected"),
        ('{"1": ["a"]}', "1: a list of numbers is expected"),
        ('{"1": [NaN]}', "1: a list of numbers is expected"),
        ('{"1": [true]}', "1: a list of numbers is expected"),
        ('{"1": [1], "2": [1, 2]}', "the elements have 1 and 2 features"),
        ('{"1": []}', "the elements have 0 features"),
    ],
)
def test_a_damaged_table_of_elements_is_refused(tmp_path, text, message):
    path = tmp_path / "atom_init.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_encoding(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_table_of_elements_is_read_in_the_order_of_the_elements(tmp_path):
    path = tmp_path / "atom_init.json"
    path.write_text(json.dumps({"8": [0, 2.5], "1": [1, 0]}))
    encoding = read_encoding(path)
    assert encoding.numbers.tolist() == [1, 8]
    assert encoding.features(np.array([8, 1])).tolist() == [[0, 2.5], [1, 0]]
