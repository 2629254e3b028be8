"""Frames to scaled descriptors, in batches, on any number of workers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.descriptors.scaling import Scaling
from mlff_curate.errors import CurateError
from mlff_curate.parallel import map_ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ase import Atoms

    from mlff_curate.descriptors.base import Descriptor

_ENVIRONMENTS_PER_TASK = 4096
_ENVIRONMENTS_TO_SCALE = 8192


@dataclass(frozen=True)
class Environments:
    """The environments of F frames.

    Attributes
    ----------
    X
        (N, d) float32 scaled descriptors, ordered by frame and atom.
    species
        (N,) central element.
    first
        (F + 1,) where each frame's environments begin.
    scaling
        What made X of the raw descriptors.
    detail
        (N, d2) float32, a second descriptor, scaled as well; or None.
    """

    X: np.ndarray
    species: np.ndarray
    first: np.ndarray
    scaling: Scaling
    detail: np.ndarray | None = None


def describe(
    frames: Sequence[Atoms],
    descriptor: Descriptor,
    *,
    scaling: Scaling | None = None,
    scale_by: np.ndarray | None = None,
    detail: Descriptor | None = None,
    seed: int = 0,
    workers: int = 1,
    dask: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Environments:
    """Compute the descriptors of all environments and scale them.

    Raw descriptors of all frames are never held at once.

    Parameters
    ----------
    frames
        F frames.
    descriptor
        What to compute.
    scaling
        That of a stored model; None: taken from a seeded sample of the frames.
    scale_by
        Frames that the sample is drawn from, ascending; None: all.
    detail
        A second descriptor to compute; in its scaling, extremes are not drawn in.
    seed
        Draws the sample.
    workers, dask
        See :func:`map_ordered`.
    progress
        Called with environments done and in all.

    Raises
    ------
    CurateError
        From the descriptor; names the frame among all.
    """
    counts = np.array([len(atoms) for atoms in frames])
    first = np.concatenate([[0], np.cumsum(counts)])
    makers = [descriptor] if detail is None else [descriptor, detail]
    scalings = [scaling] if scaling is not None else []
    if len(scalings) < len(makers):
        among = np.arange(len(frames)) if scale_by is None else scale_by
        drawn = among[_sample(counts[among], np.random.default_rng([seed, 1]))]
        raws = list(_in_tasks(partial(_raw, makers), frames, drawn))
        for maker, raw in list(zip(makers, zip(*raws, strict=True), strict=True))[len(scalings) :]:
            scalings.append(Scaling.fit(np.concatenate(raw), draw_in=maker is descriptor))
    out = [np.empty((first[-1], one.axes.shape[1]), np.float32) for one in scalings]
    start = 0
    work = partial(_scaled, makers, scalings)
    for parts in _in_tasks(work, frames, np.arange(len(frames)), workers=workers, dask=dask):
        stop = start + len(parts[0])
        for X, part in zip(out, parts, strict=True):
            X[start:stop] = part
        start = stop
        if progress is not None:
            progress(start, len(out[0]))
    species = np.concatenate([atoms.numbers for atoms in frames])
    return Environments(out[0], species, first, scalings[0], None if detail is None else out[1])


def _raw(makers: Sequence[Descriptor], frames: Sequence[Atoms]) -> list[np.ndarray]:
    """Return the descriptors of each maker; power spectra of one cutoff share one search for neighbours."""
    from mlff_curate.descriptors.power_spectrum import PowerSpectrum
    from mlff_curate.graphs.neighbours import Neighbours, neighbour_list

    known: dict[float, Neighbours] = {}
    raws = []
    for maker in makers:
        if isinstance(maker, PowerSpectrum):
            if maker.cutoff not in known:
                known[maker.cutoff] = neighbour_list(frames, maker.cutoff)
            raws.append(maker.compute(frames, known[maker.cutoff]))
        else:
            raws.append(maker.compute(frames))
    return raws


def _scaled(makers: Sequence[Descriptor], scalings: Sequence[Scaling], frames: Sequence[Atoms]) -> list[np.ndarray]:
    return [scaling.transform(raw) for scaling, raw in zip(scalings, _raw(makers, frames), strict=True)]


def _in_tasks(
    work: Callable[[Sequence[Atoms]], list[np.ndarray]],
    frames: Sequence[Atoms],
    places: np.ndarray,
    *,
    workers: int = 1,
    dask: str | None = None,
) -> Iterator[list[np.ndarray]]:
    """Yield what becomes of some of the frames, task by task; an error is told of the frame's place among all."""
    tasks = list(_tasks([frames[i] for i in places]))
    results = map_ordered(work, tasks, workers=workers, dask=dask)
    done = 0
    for task in tasks:
        try:
            result = next(results)
        except CurateError as error:
            if error.frame is not None:
                error.frame = int(places[done + error.frame])
            raise
        yield result
        done += len(task)


def _tasks(frames: Sequence[Atoms]) -> Iterator[list[Atoms]]:
    """Cut frames into tasks of about equal size; the cuts depend on the frames alone, never on the workers."""
    task: list[Atoms] = []
    size = 0
    for atoms in frames:
        task.append(atoms)
        size += len(atoms)
        if size >= _ENVIRONMENTS_PER_TASK:
            yield task
            task, size = [], 0
    if task:
        yield task


def _sample(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return frames at random until there are enough environments, ascending."""
    order = rng.permutation(len(counts))
    enough = int(np.searchsorted(np.cumsum(counts[order]), _ENVIRONMENTS_TO_SCALE)) + 1
    return np.sort(order[:enough])


def learnable(species: np.ndarray, isolated: np.ndarray) -> np.ndarray:
    """Return the rows to train on, ascending: all but isolated atoms, unless an element has no other environment.

    A free atom is unlike everything else, and is kept for its energy: it would stretch what counts as near.

    Parameters
    ----------
    species, isolated
        (N,) central elements, and (N,) bool.
    """
    rows: np.ndarray = np.flatnonzero(~isolated | ~np.isin(species, species[~isolated]))
    return rows
