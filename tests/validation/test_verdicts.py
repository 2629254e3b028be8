"""What passes, what fails, and what has nothing to be held to."""

import math

from mlff_curate.validation.verdicts import Expected, Known, Quantity, judged, judged_order


def quantity(value=100.0, **more):
    return Quantity("bulk_modulus", "bulk modulus", value, "GPa", **more)


def said(row):
    return row.verdict, row.criterion, row.note


def test_without_bound_and_reference_nothing_is_judged():
    assert said(judged("t", quantity(tolerance=0.1), [])) == ("no reference", "", "")
    row = judged("t", quantity(), [Known(90, "data")])
    assert (row.verdict, row.reference, row.source) == ("no reference", 90, "data")


def test_references_are_kept_within_a_share():
    row = judged("t", quantity(tolerance=0.1), [Known(95, "reference"), Known(20, "data")])
    assert said(row) == ("pass", "within 10 % of 95 (reference)", "data: 20")
    row = judged("t", quantity(tolerance=0.1), [Known(80, "reference")])
    assert said(row) == ("fail", "within 10 % of 80 (reference)", "+25 % off")
    assert row.difference == 0.25


def test_two_standard_errors_of_a_reference_are_allowed():
    assert said(judged("t", quantity(tolerance=0.1), [Known(80, "data", error=12)])) == (
        "pass", "within two standard errors of 80 (data)", "",
    )  # fmt: skip


def test_bounds_hold_whatever_the_reference_says():
    row = judged("t", quantity(-3.0, tolerance=0.5, above=0.0), [Known(-3, "reference")])
    assert said(row) == ("fail", "above 0, within 50 % of -3 (reference)", "not above 0")
    assert judged("t", quantity(0.05, below=0.1), []).verdict == "pass"
    assert said(judged("t", quantity(0.2, below=0.1), [])) == ("fail", "below 0.1", "not below 0.1")


def test_what_the_user_expects_comes_first():
    row = judged("t", quantity(tolerance=0.1), [Known(50, "data")], Expected(value=101, tolerance=0.02))
    assert said(row) == ("pass", "within 2 % of 101 (expected)", "data: 50")
    assert judged("t", quantity(), [], Expected(below=99)).verdict == "fail"


def test_no_number_fails():
    row = judged("t", quantity(math.nan, why="atoms collide"), [Known(3, "data")])
    assert (row.verdict, row.value, row.note) == ("fail", None, "atoms collide")


def test_orders_of_surfaces():
    found = {"100": 2.2, "110": 2.0, "111": 2.4}
    assert judged_order("surfaces", found, {}).verdict == "no reference"
    same = {face: Known(1.1 * value, "reference") for face, value in found.items()}
    row = judged_order("surfaces", found, same)
    assert (row.value, row.reference, row.verdict) == ("110 < 100 < 111", "110 < 100 < 111", "pass")
    other = {**same, "111": Known(1.0, "reference")}
    row = judged_order("surfaces", found, other)
    assert (row.verdict, row.note) == ("fail", "exchanged: 100 and 111, 110 and 111")
