"""A label gets new values in the frame's own text, and no other byte changes."""

import numpy as np
import pytest

from mlff_curate.data.extxyz import parse_frame
from mlff_curate.data.labels import labels_of
from mlff_curate.data.relabel import relabel
from mlff_curate.errors import DataError

TEXT = (
    b"2\n"
    b'note="energy=1 stays" Lattice="4.0 0 0 0 4.0 0 0 0 4.0" Properties=species:S:1:pos:R:3:forces:R:3:tag:I:1 '
    b'energy=-2.50 REF_energy = "7" stress="1 2 3 2 5 6 3 6 9" who=\xc3\xbc  step=3\n'
    b"Fe 0.10\t0.2   0.3 1e-3 -0.0 +2 7  \n"
    b"  W   1.5 1.50 1.500 0.1 0.2 0.3 8\n"
)


def test_an_energy_changes_where_it_stands():
    assert relabel(TEXT, "energy", lambda e: 2 * e) == TEXT.replace(b" energy=-2.50", b" energy=-5.0")
    assert relabel(TEXT, "REF_energy", lambda e: -e) == TEXT.replace(b'"7"', b'"-7.0"')


def test_forces_change_in_their_columns():
    mended = relabel(TEXT, "forces", lambda f: -f)
    assert mended == TEXT.replace(b"1e-3 -0.0 +2 7", b"-0.001 0.0 -2.0 7").replace(
        b"0.1 0.2 0.3 8", b"-0.1 -0.2 -0.3 8"
    )


def test_a_stress_changes_component_by_component():
    old = labels_of(parse_frame(TEXT, "f", 0), energy_key="energy").stress
    mended = relabel(TEXT, "stress", lambda s: s / 64)
    new = labels_of(parse_frame(mended, "f", 0), energy_key="energy").stress
    assert np.allclose(64 * new, old, rtol=1e-15)
    assert mended.replace(mended.split(b'stress="')[1].split(b'"')[0], b"1 2 3 2 5 6 3 6 9") == TEXT


def test_a_stress_of_nine_numbers_keeps_its_order():
    text = TEXT.replace(b"stress=", b"my_stress=")
    mended = relabel(text, "my_stress", lambda s: s + np.arange(9.0))
    assert b'my_stress="1.0 3.0 5.0 5.0 9.0 11.0 9.0 13.0 17.0"' in mended


@pytest.mark.parametrize("value", [b"[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]", b"{1 2 3 4 5 6}", b'"_JSON [1, 2, 3, 4, 5, 6]"'])
def test_all_notations_of_a_list_can_be_changed(value):
    text = TEXT.replace(b"step=3", b"my_stress=" + value)
    new = np.asarray(parse_frame(relabel(text, "my_stress", lambda s: -s), "f", 0).info["my_stress"])
    assert new.tolist() == [-1, -2, -3, -4, -5, -6]


def test_a_label_that_is_not_there_is_refused():
    with pytest.raises(DataError, match="dft_energy: the frame's text has no label of this name"):
        relabel(TEXT, "dft_energy", lambda e: e)


def test_a_label_that_cannot_be_changed_alone_is_refused():
    text = TEXT.replace(b"step=3", b"two\\=energy=3")
    with pytest.raises(DataError, match="cannot be changed alone"):
        relabel(text, "two=energy", lambda e: 2 * e)
