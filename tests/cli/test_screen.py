"""What is shown while a command runs."""

import time

import pytest
from mlff_curate_cli import screen
from mlff_curate_cli.screen import progress_bars


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved on."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def test_verbose_lines_tell_the_state_and_the_time_left(clock, capsys):
    with progress_bars(quiet=False, verbose=True) as progress:
        progress("read", 1, None, "")
        progress("train", 20, 100, "neighbours of 1 of 9 frames")
        for done in range(21, 26):
            clock(4.0)
            progress("train", done, 100, f"forces {done} meV/A")
        clock(4.0)
        progress("train", 100, 100, "forces 9 meV/A")
    assert capsys.readouterr().err.splitlines() == [
        "read ...",
        "train ...",
        "train: 21 of 100, forces 21 meV/A",
        "train: 24 of 100, forces 24 meV/A, 5 min left",
        "train: 100 of 100, forces 9 meV/A",
    ]


def test_neither_what_comes_before_the_first_step_nor_that_step_alone_tells_the_time_left(clock, capsys):
    with progress_bars(quiet=False, verbose=True) as progress:
        progress("train", 0, 1000, "neighbours of 1 of 9 frames")
        clock(500.0)
        progress("train", 0, 1000, "neighbours of 9 of 9 frames")
        clock(7.0)
        progress("train", 1, 1000, "loss 9")
        clock(11.0)
        progress("train", 12, 1000, "loss 8")
    assert capsys.readouterr().err.splitlines() == [
        "train ...",
        "train: 1 of 1000, loss 9",
        "train: 12 of 1000, loss 8, 16 min left",
    ]


@pytest.mark.parametrize("how", [{"quiet": True, "verbose": True}, {"quiet": False, "verbose": False}])
def test_nothing_is_said_unasked(how, capsys):
    with progress_bars(**how) as progress:
        progress("train", 0, 2, "")
        progress("train", 1, 2, "forces 21 meV/A")
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_them_behind_a_bar(clock, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bars(quiet=False, verbose=True) as progress:
        progress("train", 0, 10, "")
        clock(30.0)
        progress("train", 1, 10, "forces 22 meV/A")
        clock(30.0)
        progress("train", 2, 10, "forces 21 meV/A")
    assert "2/10" in (shown := capsys.readouterr().err)
    assert "forces 21 meV/A, 4 min left" in shown


@pytest.mark.parametrize(("seconds", "words"), [(3.2, "3 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_are_spoken(seconds, words):
    assert screen._spoken(seconds) == words
