"""A run: step after step, looked at and written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlff_curate.dynamics.engine import Engine
    from mlff_curate.dynamics.sample import Sample
    from mlff_curate.dynamics.stopping import Watch


@dataclass(frozen=True)
class Every:
    """Something to be done at every so many steps, step 0 included.

    Parameters
    ----------
    steps
        How many.
    do
        Given the engine and the sample of the step.
    """

    steps: int
    do: Callable[[Engine, Sample], None]


def simulate(
    engine: Engine, until: int, *, watch: Watch | None = None, every: Sequence[Every] = (), resumed: bool = False
) -> Iterator[Sample]:
    """Run until a step.

    Parameters
    ----------
    engine
        At step 0, or where an earlier run was: that step is not handed out again.
    until
        Last step, counted from the start.
    watch
        Looks at every step.
    every
        Called in this order, before the sample is yielded.
    resumed
        The engine goes on from a state: the step where it is was handed out before, step 0 too.

    Yields
    ------
    Sample
        Of every step.

    Raises
    ------
    RunStoppedError
        The watch has stopped the run. What was due at that step has not been done.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from mlff_curate.dynamics import AseEngine, Conditions, draw_velocities, simulate
    >>> atoms, conditions = bulk("Cu", cubic=True), Conditions("nve", temperature=300)
    >>> draw_velocities(atoms, conditions)
    >>> samples = list(simulate(AseEngine(atoms, conditions, EMT), 10))
    >>> len(samples), abs(samples[-1].total - samples[0].total) < 1e-3
    (11, True)
    """
    if engine.steps_done == 0 and not resumed:
        yield _looked_at(engine, watch, every)
    while engine.steps_done < until:
        engine.step()
        yield _looked_at(engine, watch, every)


def _looked_at(engine: Engine, watch: Watch | None, every: Sequence[Every]) -> Sample:
    sample = engine.sample()
    if watch is not None:
        watch.look(engine.atoms, sample)
    for what in every:
        if sample.step % what.steps == 0:
            what.do(engine, sample)
    return sample
