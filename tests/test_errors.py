"""Errors print as one line that says where, and carry that wherever they go."""

import pickle

import pytest

from mlff_curate import errors
from mlff_curate.errors import CurateError, DataError, UsageError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CurateError)]


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ({}, "no such thing"),
        ({"file": "a.xyz"}, "a.xyz: no such thing"),
        ({"file": "a.xyz", "frame": 0}, "a.xyz: frame 0: no such thing"),
        ({"file": "a.xyz", "frame": 3, "key": "forces"}, "a.xyz: frame 3: forces: no such thing"),
        ({"key": "--keep"}, "--keep: no such thing"),
    ],
)
def test_an_error_says_where(where, text):
    assert str(DataError("no such thing", **where)) == text


def test_an_error_is_one_line():
    assert str(DataError("first\n  second\tthird", file="a.xyz")) == "a.xyz: first second third"


@pytest.mark.parametrize("kind", KINDS)
def test_errors_pickle_whole(kind):
    error = kind("no such thing", file="a.xyz", frame=7, key="forces")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (back.message, back.file, back.frame, back.key) == ("no such thing", "a.xyz", 7, "forces")
    assert str(back) == str(error)
    assert back.exit_status == error.exit_status


def test_only_wrong_usage_exits_with_two():
    assert {kind for kind in KINDS if kind.exit_status == 2} == {UsageError}
    assert {kind.exit_status for kind in KINDS} == {1, 2, 130}  # 130: interrupted, as shells have it
