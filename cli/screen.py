"""What the user sees while a command runs: progress on stderr, results on stdout."""

from __future__ import annotations

import json
import math
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_BETWEEN_LINES = 10
"""Seconds."""


INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


class Done(Protocol):
    """A finished job: its stages' seconds, and what it has to say."""

    @property
    def seconds(self) -> Mapping[str, float]:
        """Stage to seconds."""

    def summary(self, seconds: float) -> Mapping[str, object]:
        """Return what ``--json`` prints, ``peak_memory_mb`` among it."""

    def lines(self) -> list[str]:
        """Return what a person reads."""


@contextmanager
def progress_bars(*, quiet: bool, verbose: bool) -> Iterator[Callable[[str, int, int | None, str], None]]:
    """Yield a callback that takes stage, steps done, steps in all or None, and a word on the state.

    Shows a bar per stage on stderr if that is a terminal. Otherwise, if verbose, says each new stage once, and every
    ten seconds how far one is that has something to say of its state.
    """
    paces: dict[str, _Pace] = {}
    if quiet or not sys.stderr.isatty():

        def say(stage: str, done: int, total: int | None, words: str) -> None:
            if quiet or not verbose:
                return
            if stage not in paces:
                paces[stage] = _Pace(done)
                click.echo(f"{stage} ...", err=True)
            pace = paces[stage]
            pace.look(done)
            if total is not None and words and done > pace.first and (done == total or pace.is_time_to_tell()):
                click.echo(f"{stage}: {done} of {total}, {words}{pace.left(done, total)}", err=True)

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=not verbose) as bars:
        tasks: dict[str, TaskID] = {}

        def move(stage: str, done: int, total: int | None, words: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, words=words)
                paces[stage] = _Pace(done)
            paces[stage].look(done)
            told = words + paces[stage].left(done, total)
            bars.update(tasks[stage], completed=done, total=total, words=told.removeprefix(", "))

        yield move


class _Pace:
    """How fast a stage goes on, from the steps done when it was first heard of."""

    def __init__(self, first: int) -> None:
        self.first = first
        self._begun: tuple[int, float] | None = None
        self._told = -math.inf

    def look(self, done: int) -> None:
        """Begin to measure when the first step is done: it is slower than others, and so is what comes before it."""
        if self._begun is None and done > self.first:
            self._begun = done, time.monotonic()

    def is_time_to_tell(self) -> bool:
        """Return whether nothing was told for ten seconds; if so, something is now."""
        now = time.monotonic()
        if now - self._told < _BETWEEN_LINES:
            return False
        self._told = now
        return True

    def left(self, done: int, total: int | None) -> str:
        """Return how much longer it takes at most, to be put behind other words."""
        if total is None or self._begun is None or not self._begun[0] < done < total:
            return ""
        first, start = self._begun
        return f", {_spoken((time.monotonic() - start) / (done - first) * (total - done))} left"


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def finish(done: Done, start: float, *, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Print what a job has to say; `start` is when it began, by ``time.perf_counter``."""
    summary = done.summary(time.perf_counter() - start)
    if as_json:
        print_json(summary)
    if quiet:
        return
    for line in done.lines():
        click.echo(line, err=as_json)
    if verbose:
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in done.seconds.items())
        click.echo(f"seconds: {stages}; peak memory {summary['peak_memory_mb']} MB", err=True)


def print_json(values: Mapping[str, object]) -> None:
    """Print one JSON object on stdout."""
    click.echo(json.dumps(_finite(values), allow_nan=False))


def _finite(value: object) -> object:
    """Return a value with null for every number that JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
