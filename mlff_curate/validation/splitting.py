"""Which frames a learning curve is made on: what is usable, what is held out, what may be trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import DataError
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlff_curate.data.labels import Labels

HELD_OUT = 0.2
FEWEST_IN_GROUP = 5
"""Groups with fewer frames are only trained on: one frame held out would be 20 % of what is known of them, or more."""

FEWEST_LABELLED = 20
FEWEST_TRAINED = 5

HIGHEST_ENERGY = 3.0
"""eV/atom above the lowest frame of the same composition."""

LARGEST_FORCE = 30.0
"""eV/Angstrom, the norm of the force on one atom."""

MOST_MEGABYTES = 256.0
"""Of cached design rows; with many species it allows fewer environments than time does."""

CLOSE = 2e-3
"""A frame is not trained on if it is as near as this to a held-out one, in mean and deviation of its environments, as a
share of the root-mean-square distance of a frame from the mean of all: random displacements of about 0.001 Angstrom
(docs/benchmarks.md). Chains of such steps do not count: the strains of an elastic set are spaced as densely."""

_FIRST_OF_GROUP = 10  # a sample takes up to this many frames of every group before it takes more of any


class TooFewFramesError(DataError):
    """Too few frames have labels, or are left to train on, for a learning curve."""


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class Split:
    """Indices of the frames of one split.

    Attributes
    ----------
    held_out, training
        (H,) and (T,), ascending.
    copies
        How many frames are in neither, as near copies of held-out ones.
    """

    held_out: np.ndarray
    training: np.ndarray
    copies: int


def usable_frames(frames: Sequence[Atoms], labels: Sequence[Labels]) -> tuple[np.ndarray, list[str]]:
    """Find the labelled frames that are not extreme; return their indices and what to say about the others.

    Raises
    ------
    TooFewFramesError
        They are fewer than FEWEST_LABELLED.
    """
    periodic = [bool(atoms.pbc.all()) for atoms in frames]
    there = {
        "an energy": np.array([label.energy is not None for label in labels], dtype=bool),
        "forces": np.array([label.forces is not None for label in labels], dtype=bool),
        "a stress": np.array([label.stress is not None for label in labels], dtype=bool)
        & np.array(periodic, dtype=bool),
    }
    labelled = np.flatnonzero(np.any(list(there.values()), axis=0))
    notes = []
    if len(labelled) < len(frames):
        notes.append(f"{counted(len(frames) - len(labelled), 'frame')} without labels not used.")
    lacking = {name: int(np.count_nonzero(~has[labelled])) for name, has in there.items()}
    said = [
        f"no frame with {name}" if count == len(labelled) else f"{counted(count, 'frame')} without {name}"
        for name, count in lacking.items()
        if count
    ]
    if said and len(labelled):
        notes.append(f"Labels are used where they are: {', '.join(said)}.")
    extreme = _extreme(frames, labels, labelled)
    if extreme.any():
        notes.append(
            f"{counted(int(extreme.sum()), 'extreme frame')} set aside (more than {HIGHEST_ENERGY:g} eV/atom above the "
            f"lowest of the same composition, or a force above {LARGEST_FORCE:g} eV/\u00c5)."
        )
    usable = labelled[~extreme]
    require_enough(len(usable), notes)
    return usable, notes


def _extreme(frames: Sequence[Atoms], labels: Sequence[Labels], labelled: np.ndarray) -> np.ndarray:
    """(L,) bool, True for labelled frames that would rule a least-squares fit."""
    compositions = [_composition(frames[i]) for i in labelled]
    energy = np.array([np.nan if (e := labels[i].energy) is None else e / len(frames[i]) for i in labelled])  # (L,)
    lowest: dict[bytes, float] = {}
    for key, e in zip(compositions, energy, strict=True):
        lowest[key] = np.fmin(lowest.get(key, np.nan), e)
    above = energy - np.array([lowest[key] for key in compositions])
    largest = np.array([0.0 if (f := labels[i].forces) is None else np.linalg.norm(f, axis=1).max() for i in labelled])
    return np.asarray((above > HIGHEST_ENERGY) | (largest > LARGEST_FORCE))


def _composition(atoms: Atoms) -> bytes:
    """Reduced formula of a frame, equal for a crystal and its supercells."""
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    return np.concatenate([numbers, counts // np.gcd.reduce(counts)]).astype(np.int64).tobytes()


def require_enough(count: int, notes: list[str]) -> None:
    """Refuse to fit to a handful of frames.

    Raises
    ------
    TooFewFramesError
        Fewer than FEWEST_LABELLED; the message repeats the notes.
    """
    if count < FEWEST_LABELLED:
        why = f" ({' '.join(notes)})" if notes else ""
        raise TooFewFramesError(
            f"a learning curve needs at least {FEWEST_LABELLED} labelled frames, there are {count}{why}"
        )


def sample_frames(
    n_atoms: Sequence[int], group: np.ndarray, K: int, most: int, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Return ascending indices of frames that ask for no more than memory and time allow, and what to say about it.

    First up to _FIRST_OF_GROUP frames of every group in turn, then the same share of each group.

    Parameters
    ----------
    n_atoms, group
        (F,) each.
    K
        Coefficients of the model: rows take 12 K bytes per atom and 54 K per frame.
    most
        Environments, for the time that they take.
    seed
        Of the draw.
    """
    atoms = np.array(n_atoms)
    megabytes = 1e-6 * K * (12 * atoms + 54)
    if atoms.sum() <= most and megabytes.sum() <= MOST_MEGABYTES:
        return np.arange(len(atoms)), []
    rng = np.random.default_rng([seed, len(atoms)])
    rank = np.empty(len(atoms))
    for g in np.unique(group):
        members = rng.permutation(np.flatnonzero(group == g))
        place = np.arange(len(members), dtype=np.float64)
        rank[members] = np.where(place < _FIRST_OF_GROUP, place - _FIRST_OF_GROUP, place / len(members))
    order = np.argsort(rank, kind="stable")
    fits = (np.cumsum(atoms[order]) <= most) & (np.cumsum(megabytes[order]) <= MOST_MEGABYTES)
    kept = np.sort(order[fits])
    note = (
        f"{counted(len(kept), 'frame')} with {atoms[kept].sum()} environments, drawn at random from every group, stand "
        f"for the {len(atoms)} usable frames with {atoms.sum()}: fits are limited to {most} environments and "
        f"{MOST_MEGABYTES:g} MB."
    )
    return kept, [note]


def split_frames(
    usable: np.ndarray,
    group: np.ndarray,
    same: np.ndarray,
    rng: np.random.Generator,
    vectors: np.ndarray | None = None,
) -> Split:
    """Hold out a share of each group and leave copies of what is held out aside.

    Copies are drawn one after the other, so that as few families as possible are torn apart and lost for training.

    Parameters
    ----------
    usable
        (U,) indices of frames.
    group, same
        Group and family of near copies, by frame.
    rng
        Draws the frames.
    vectors
        (F, d) float32 by frame; those within CLOSE of a held-out one count as its copies as well. None: families alone.

    Raises
    ------
    TooFewFramesError
        Fewer than FEWEST_TRAINED frames are left to train on.
    """
    members = [usable[group[usable] == g] for g in np.unique(group[usable])]
    large = [m for m in members if len(m) >= FEWEST_IN_GROUP] or [usable]  # no group is large: one group
    held_out = []
    for indices in large:
        shuffled = rng.permutation(indices)
        families, first = np.unique(same[shuffled], return_index=True)
        turn = dict(zip(families.tolist(), first.tolist(), strict=True))
        order = np.argsort([turn[number] for number in same[shuffled].tolist()], kind="stable")
        held_out.append(shuffled[order][: max(1, int(HELD_OUT * len(indices) + 0.5))])
    held = np.sort(np.concatenate(held_out))
    rest = np.setdiff1d(usable, held)
    copy = np.isin(same[rest], same[held])
    if vectors is not None:
        copy |= _close(vectors, rest, held, usable)
    training = rest[~copy]
    if len(training) < FEWEST_TRAINED:
        raise TooFewFramesError(
            f"only {counted(len(training), 'frame')} to train on, so no learning curve is possible: "
            f"{int(copy.sum())} of the {len(usable)} are near copies of held-out frames"
        )
    return Split(held, training, int(copy.sum()))


def _close(vectors: np.ndarray, rest: np.ndarray, held: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return (R,) bool, which of the rest are within CLOSE of a held-out frame."""
    from mlff_curate.graphs.similarity import exact_index

    origin = vectors[usable].mean(axis=0)
    spread = float(np.mean(np.square(vectors[usable] - origin, dtype=np.float64).sum(axis=1)))
    squared, _ = exact_index(vectors[held] - origin).search(np.ascontiguousarray(vectors[rest] - origin), 1)
    close: np.ndarray = squared[:, 0] <= CLOSE**2 * spread
    return close


def split_notes(splits: Sequence[Split], group: np.ndarray, sound: np.ndarray) -> list[str]:
    """Say how much was held out and what was left out; ``sound`` (F,) bool are the frames that were split."""
    numbers, counts = np.unique(group[sound], return_counts=True)
    small = counts < FEWEST_IN_GROUP
    held, copies = splits[0].held_out, [split.copies for split in splits]
    notes = []
    if small.all():
        notes.append(
            f"Each split holds out {counted(len(held), 'frame')}, 20 % of all: every group has fewer than "
            f"{FEWEST_IN_GROUP} frames."
        )
    else:
        notes.append(f"Each split holds out {counted(len(held), 'frame')}, 20 % of each group.")
        if small.any():
            notes.append(
                f"{counted(int(counts[small].sum()), 'frame')} of {counted(int(small.sum()), 'group')} with fewer than "
                f"{FEWEST_IN_GROUP} frames trained on, never held out."
            )
    if max(copies):
        shown = f"{min(copies)} to {max(copies)}" if min(copies) < max(copies) else f"{copies[0]}"
        notes.append(
            f"Near copies of held-out frames left out of training, {shown} frames per split: environments within "
            f"{100 * CLOSE:g} % of the spread of frames, in mean and deviation (frames of one MD run some steps apart "
            "are no copies)."
        )
    lost = set(numbers[~small]) - set.intersection(*(set(group[split.training]) for split in splits))
    if lost:
        notes.append(
            f"{counted(len(lost), 'group')} held out in a split that trains on no frame of it, because all "
            "its others are near copies."
        )
    return notes


def always_notes(always: np.ndarray, pools: Sequence[np.ndarray]) -> list[str]:
    """Say how many frames, ``always`` (F,) bool, are in every choice from each split's training pool (T,)."""
    there = [int(always[pool].sum()) for pool in pools]
    if not always.any():
        return []
    shown = f"{min(there)} to {max(there)}" if min(there) < max(there) else f"{there[0]}"
    note = (
        f"Of {counted(int(always.sum()), 'frame')} kept in any case (isolated atoms, --must-keep) {shown} may be "
        "trained on in a split: they are in every choice, random ones too, and no choice is smaller."
    )
    return [note]
