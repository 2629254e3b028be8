"""The proof of ``prune --prove``: is the choice worth anything for a force field."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.labels import labels_of, require_keys
from mlff_curate.data.reading import read_frames
from mlff_curate.errors import CurateError, DataError
from mlff_curate.linear.proof import Proof, prove
from mlff_curate.pruning.copies import near_copies
from mlff_curate.pruning.problem import species_columns
from mlff_curate.pruning.selectors import SELECTORS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ase import Atoms

    from mlff_curate.data.labels import Labels
    from mlff_curate.workflows.prune import Progress, PruneOptions, PruneResult


def prove_pruning(
    inputs: Sequence[str | Path], result: PruneResult, options: PruneOptions, progress: Progress | None = None
) -> Proof:
    """Fit force fields to what the selector keeps, to random frames and to all, and test them on held-out frames.

    The held-out frames take no part in the selection: it is made anew, at the same fraction, on the rest. Descriptors
    and clusters are those of the whole set; they know no labels.

    Parameters
    ----------
    inputs
        The files that were pruned.
    result
        What :func:`mlff_curate.workflows.prune.prune` returned for them.
    options
        The options it was called with.
    progress
        As there.

    Raises
    ------
    DataError
        Too few labels, labels that contradict each other, or a label key that no frame has.
    MissingDependencyError
        No LAMMPS.
    """
    frames, labels, place = _labelled(inputs, result, options)
    # copies are told apart by the descriptor: the embedding takes out what is different between them
    described = species_columns(result.environments.X, result.environments.species)
    fraction = result.count("kept") / len(result.decisions)
    if fraction == 0:
        raise DataError("no frame is kept, so there is nothing to prove", key="--prove")
    select = SELECTORS[options.selector]

    def choose(training: np.ndarray, count: int, seed: int) -> np.ndarray:
        chosen = select(result.pool.part(place[training]), count, np.random.default_rng([seed, 2])).chosen
        frames_chosen: np.ndarray = training[chosen]
        return frames_chosen

    def told(done: int, total: int, stage: str) -> None:
        if progress is not None:
            progress("prove", done, total, stage)

    return prove(
        frames,
        labels,
        result.pool.group[place],
        choose,
        fraction,
        near_copies(replace(result.pool, X=described))[place],
        seed=options.seed,
        progress=told,
    )


def _labelled(
    inputs: Sequence[str | Path], result: PruneResult, options: PruneOptions
) -> tuple[list[Atoms], list[Labels], np.ndarray]:
    """Return the frames that are not rejected, their labels, and their places among all frames."""
    keys = {f"{name}_key": options.label_keys.get(name) for name in ("energy", "forces", "stress")}
    frames, labels, place = [], [], []
    for position, frame in enumerate(read_frames(inputs, options.type_map)):
        if result.decisions[position].decision == "rejected":
            continue
        try:
            labels.append(labels_of(frame.atoms, **keys))
        except CurateError as error:
            error.file, error.frame = frame.source, frame.index
            raise
        frames.append(frame.atoms)
        place.append(position)
    require_keys(labels, **keys)
    return frames, labels, np.array(place)
