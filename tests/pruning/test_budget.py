"""What --keep means, and what it says when it cannot be met."""

import re

import pytest

from mlff_curate.errors import BudgetError, UsageError
from mlff_curate.pruning.budget import Budget


def frames(text, total, mandatory=0, available=None):
    return Budget.parse(text).frames(total, mandatory, total if available is None else available)


@pytest.mark.parametrize(
    ("text", "total", "expected"),
    [
        ("0.2", 363, 73),
        ("40", 363, 40),
        ("1.0", 363, 363),
        ("1.", 363, 363),
        ("1", 363, 1),
        ("363", 363, 363),
        (".5", 10, 5),
        ("+3", 10, 3),
        (" 3 ", 10, 3),
        ("0.14", 10, 1),
        ("0.16", 10, 2),
        ("0.5", 3, 2),
        ("0.5", 1, 1),
        ("0.999", 100, 100),
        ("0.0014", 363, 1),
    ],
)
def test_point_makes_a_fraction_rounded_to_the_nearest_frame_and_none_a_count(text, total, expected):
    assert frames(text, total) == expected


def test_auto_is_no_number():
    assert frames("auto", 100, mandatory=3) is None


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-3",
        "1.5",
        "0.0",
        "0.000",
        "abc",
        "1e-1",
        "1e2",
        "nan",
        "inf",
        "1,5",
        "0x10",
        "1_000",
        "-0.5",
        "1.0.0",
        ".",
        "50%",
        "Auto",
        "٣",
        "",
        "1 2",
        "9" * 5000,
    ],
)
def test_what_is_neither_is_wrong_usage(text):
    message = (
        "--keep: must be a number of frames (such as 40), a fraction with a point in (0, 1] (such as 0.2) or auto, "
        f"got {text!r}"
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$") as raised:
        Budget.parse(text)
    assert raised.value.exit_status == 2


@pytest.mark.parametrize(
    ("text", "total", "mandatory", "available", "message"),
    [
        ("1000000", 100, 0, 100, "1000000 means 1000000 frames, but only 100 of 100 can be kept: possible is 1 to 100"),
        ("101", 100, 4, 100, "101 means 101 frames, but only 100 of 100 can be kept: possible is 4 to 100"),
        ("0.001", 100, 0, 100, "0.001 of 100 frames is less than one frame: possible is 1 to 100 frames"),
        ("0.001", 100, 7, 90, "0.001 of 100 frames is less than one frame: possible is 7 to 90 frames"),
        (
            "2",
            100,
            3,
            100,
            "2 means 2 frames, but 3 frames must be kept (isolated atoms and --must-keep): possible is 3 to 100",
        ),
        (
            "0.01",
            100,
            2,
            100,
            "0.01 means 1 frame, but 2 frames must be kept (isolated atoms and --must-keep): possible is 2 to 100",
        ),
        ("95", 100, 0, 90, "95 means 95 frames, but only 90 of 100 can be kept: possible is 1 to 90"),
        ("0.95", 100, 0, 90, "0.95 means 95 frames, but only 90 of 100 can be kept: possible is 1 to 90"),
        ("1", 5, 0, 0, "1 means 1 frame, but only 0 of 5 can be kept: possible is 0 to 0"),
    ],
)
def test_budget_that_cannot_be_met_says_what_is_possible(text, total, mandatory, available, message):
    with pytest.raises(BudgetError, match=f"^--keep: {re.escape(message)}$") as raised:
        frames(text, total, mandatory, available)
    assert raised.value.exit_status == 1


def test_everything_means_everything_that_may_be_kept():
    assert frames("1.0", 100, available=90) == 90
    assert frames("1.0", 100, available=0) == 0


def test_mandatory_frames_count():
    assert frames("3", 100, mandatory=3) == 3
