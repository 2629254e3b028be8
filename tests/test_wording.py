"""Numbers in sentences are written as a person writes them."""

import pytest

from mlff_curate.wording import rounded


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (300.0, 2, "300"),
        (-1324.2, 3, "-1320"),
        (3951.7, 3, "3950"),
        (0.0234567, 2, "0.023"),
        (5e-6, 2, "5e-06"),
        (23.0605478, 4, "23.06"),
        (1.5e9, 3, "1.5e+09"),
    ],
)
def test_a_number_is_written_out_unless_it_is_very_long(value, digits, text):
    assert rounded(value, digits) == text


def test_a_sign_may_be_asked_for():
    assert rounded(0.302, signed=True) == "+0.302"
