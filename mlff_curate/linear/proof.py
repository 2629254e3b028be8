"""Is the choice of frames worth anything? Fit a linear force field to it and look at frames held out.

Per split, frames of every group are held out, near copies of them are left out of training, and three models are
fitted to the rest: to the frames that the method keeps, to as many at random, and to all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.errors import CurateError, DataError, UsageError
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlff_curate.data.labels import Labels
    from mlff_curate.linear.ridge import Design

Choose = Callable[[np.ndarray, int, int], np.ndarray]
"""`choose(training, count, seed)`: which `count` of the frames with indices `training` (T,) to keep."""

Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in total, and the stage in words."""

METHODS = ("ours", "random", "all data")

HELD_OUT = 0.2
FEWEST_IN_GROUP = 5
"""Groups with fewer frames are only trained on: one frame held out would be 20 % of what is known of them, or more."""

FEWEST_LABELLED = 20
FEWEST_TRAINED = 5

HIGHEST_ENERGY = 3.0
"""eV/atom above the lowest frame of the same composition."""

LARGEST_FORCE = 30.0
"""eV/Angstrom, the norm of the force on one atom."""

MOST_ENVIRONMENTS = 20_000
MOST_MEGABYTES = 256.0
"""Of cached design rows; with many species it allows fewer environments than MOST_ENVIRONMENTS."""

_FIRST_OF_GROUP = 10  # a sample takes up to this many frames of every group before it takes more of any


@dataclass(frozen=True)
class ProofRow:
    """Held-out errors of one way to choose frames, as means over groups.

    Attributes
    ----------
    method
        One of METHODS.
    frames
        Frames in the fit, mean over splits.
    energy_mae, energy_std
        Mean absolute error of the energy, mean and standard deviation over splits, meV/atom; nan: not known.
    force_mae, force_std
        The same of the force components, eV/Angstrom; nan: not known.
    """

    method: str
    frames: int
    energy_mae: float
    energy_std: float
    force_mae: float
    force_std: float


@dataclass(frozen=True)
class Proof:
    """What the fits say.

    Attributes
    ----------
    rows
        One per method, in the order of METHODS.
    notes
        What was done and what was left out, one sentence or two each.
    """

    rows: tuple[ProofRow, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Split:
    """Indices of the frames of one split: (H,) held out, (T,) to train on, and how many copies were left out."""

    held_out: np.ndarray
    training: np.ndarray
    copies: int


def prove(
    frames: Sequence[Atoms],
    labels: Sequence[Labels],
    group: np.ndarray,
    choose: Choose,
    fraction: float,
    same: np.ndarray,
    *,
    seeds: int = 3,
    seed: int = 0,
    cutoff: float | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Compare a choice of frames with a random one of equal size and with all frames, on frames held out.

    The same frames, labels, functions and seed give the same result. Takes at most MOST_MEGABYTES for the design rows,
    and a few tens more for a fit.

    Parameters
    ----------
    frames, labels
        (F,) each. Frames without energy and forces are not used.
    group
        (F,) integers, the configuration group of each frame.
    choose
        Gets indices of frames (T,), how many of them to keep, and a seed; returns the indices of those to keep.
    fraction
        Share of the frames to train on that `choose` keeps, in (0, 1], rounded to the nearest frame.
    same
        (F,) integers, equal for frames that are near copies of each other.
    seeds
        Number of splits.
    seed
        Of everything random.
    cutoff
        Of the force field, Angstrom; None: `default_cutoff` of the elements.
    progress
        Told how far the work is.

    Raises
    ------
    DataError
        Fewer than FEWEST_LABELLED frames have labels and are not extreme, or nearly all frames are copies of each
        other, or a frame cannot be set up in LAMMPS (carries its index).
    MissingDependencyError
        LAMMPS is missing.
    UsageError
        `fraction` or `seeds` out of range.
    ValueError
        Arrays of other lengths than F, or `choose` returns something else than was asked for.
    """
    from mlff_curate.graphs.neighbours import default_cutoff
    from mlff_curate.linear.ridge import design_of
    from mlff_curate.linear.snap import LinearSnap

    group, same = np.asarray(group), np.asarray(same)
    _require_lengths(len(frames), labels=len(labels), group=len(group), same=len(same))
    if not 0 < fraction <= 1:
        raise UsageError(f"the fraction to keep must be in (0, 1], got {fraction}")
    if seeds < 1:
        raise UsageError(f"a proof needs at least one split, got {seeds}")
    usable, notes = _usable(frames, labels)
    species = sorted({int(number) for i in usable for number in frames[i].numbers})
    model = LinearSnap(species, default_cutoff(species) if cutoff is None else cutoff)
    used, sample_notes = _sample([len(frames[i]) for i in usable], group[usable], model.size, seed)
    used = usable[used]
    _require_enough(len(used), notes + sample_notes)

    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total + seeds, "bispectrum rows")

    try:
        design = design_of([frames[i] for i in used], [labels[i] for i in used], model, told)
    except CurateError as error:
        error.frame = None if error.frame is None else int(used[error.frame])
        raise
    sound = design.sound
    if not sound.all():
        count = counted(int(np.count_nonzero(~sound)), "frame")
        sample_notes.append(f"{count} with atoms nearly on top of each other set aside.")
    _require_enough(int(sound.sum()), notes + sample_notes)

    splits, table = [], np.empty((seeds, len(METHODS), 3))
    for s in range(seeds):
        rng = np.random.default_rng([seed, s])
        split = _split(np.flatnonzero(sound), group[used], same[used], rng)
        splits.append(split)
        table[s] = _errors_of_split(design, split, group[used], _keep(choose, used[split.training], fraction, rng), rng)
        if progress is not None:
            progress(len(used) + s + 1, len(used) + seeds, "fits")
    rows = tuple(_row(method, table[:, m]) for m, method in enumerate(METHODS))
    setup = (
        f"Linear SNAP (twojmax {model.twojmax}, cutoff {model.cutoff:g} \u00c5, ZBL reference) fitted to energies and "
        f"forces; mean absolute errors on held-out frames, mean over groups, mean and standard deviation over "
        f"{counted(seeds, 'random split')}."
    )
    return Proof(rows, (setup, *_split_notes(splits, group[used], sound), *_verdict(table), *notes, *sample_notes))


def _require_lengths(F: int, **lengths: int) -> None:
    for name, length in lengths.items():
        if length != F:
            raise ValueError(f"{name} must have shape ({F},) like the frames, got length {length}")


def _usable(frames: Sequence[Atoms], labels: Sequence[Labels]) -> tuple[np.ndarray, list[str]]:
    """Find the labelled frames that are not extreme; return their indices and what to say about the others."""
    labelled = np.array(
        [i for i, label in enumerate(labels) if label.energy is not None or label.forces is not None], dtype=np.int64
    )
    notes = []
    if len(labelled) < len(frames):
        notes.append(f"{counted(len(frames) - len(labelled), 'frame')} without energy and forces not used.")
    incomplete = [
        f"{counted(count, 'frame')} with {has} but without {lacks}"
        for has, lacks, count in (
            ("energy", "forces", sum(labels[i].forces is None for i in labelled)),
            ("forces", "energy", sum(labels[i].energy is None for i in labelled)),
        )
        if count
    ]
    if incomplete:
        notes.append(f"{' and '.join(incomplete)}, used for what is there.")
    extreme = _extreme(frames, labels, labelled)
    if extreme.any():
        notes.append(
            f"{counted(int(extreme.sum()), 'extreme frame')} set aside (more than {HIGHEST_ENERGY:g} eV/atom above the "
            f"lowest of the same composition, or a force above {LARGEST_FORCE:g} eV/\u00c5)."
        )
    usable = labelled[~extreme]
    _require_enough(len(usable), notes)
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


def _require_enough(count: int, notes: list[str]) -> None:
    if count < FEWEST_LABELLED:
        why = f" ({' '.join(notes)})" if notes else ""
        raise DataError(f"a proof needs at least {FEWEST_LABELLED} labelled frames, there are {count}{why}")


def _sample(n_atoms: list[int], group: np.ndarray, K: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Ascending indices of frames that hold no more environments than memory and time allow.

    First up to _FIRST_OF_GROUP frames of every group in turn, then the same share of each group.
    """
    most = min(MOST_ENVIRONMENTS, int(MOST_MEGABYTES * 1e6 / (12 * K)))
    total = sum(n_atoms)
    if total <= most:
        return np.arange(len(n_atoms)), []
    rng = np.random.default_rng([seed, len(n_atoms)])
    rank = np.empty(len(n_atoms))
    for g in np.unique(group):
        members = rng.permutation(np.flatnonzero(group == g))
        place = np.arange(len(members), dtype=np.float64)
        rank[members] = np.where(place < _FIRST_OF_GROUP, place - _FIRST_OF_GROUP, place / len(members))
    order = np.argsort(rank, kind="stable")
    kept = np.sort(order[np.cumsum(np.array(n_atoms)[order]) <= most])
    held = sum(n_atoms[i] for i in kept)
    note = (
        f"{counted(len(kept), 'frame')} with {held} environments, drawn at random from every group, stand for the "
        f"{len(n_atoms)} usable frames with {total}: fits are limited to {most} environments."
    )
    return kept, [note]


def _split(usable: np.ndarray, group: np.ndarray, same: np.ndarray, rng: np.random.Generator) -> _Split:
    """Hold out a share of each group and leave copies of what is held out aside.

    Copies are drawn one after the other, so that as few families as possible are torn apart and lost for training.
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
    training = rest[~copy]
    if len(training) < FEWEST_TRAINED:
        raise DataError(
            f"only {counted(len(training), 'frame')} to train on, so no proof is possible: "
            f"{int(copy.sum())} of the {len(usable)} are near copies of held-out frames"
        )
    return _Split(held, training, int(copy.sum()))


def _keep(choose: Choose, training: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Ascending positions in `training` (T,) of the frames that `choose` keeps."""
    count = max(1, int(fraction * len(training) + 0.5))
    chosen = np.asarray(choose(training.copy(), count, int(rng.integers(2**31))))
    kept = np.flatnonzero(np.isin(training, chosen))
    if chosen.shape != (count,) or len(kept) != count:
        raise ValueError(f"choose must return {count} distinct indices out of the {len(training)} it was given")
    return kept


def _errors_of_split(
    design: Design, split: _Split, group: np.ndarray, kept: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(3, 3): for each method frames in the fit, energy error in meV/atom, force error in eV/Angstrom."""
    from mlff_curate.linear.ridge import errors, fit

    random = np.sort(rng.choice(split.training, len(kept), replace=False))
    table = np.empty((len(METHODS), 3))
    for m, training in enumerate((split.training[kept], random, split.training)):
        mean = errors(design, fit(design, training), split.held_out, group).group_mean
        table[m] = len(training), mean.energy_mae, mean.force_mae
    return table


def _row(method: str, table: np.ndarray) -> ProofRow:
    """Mean and standard deviation over the splits of (seeds, 3); one split has no standard deviation."""
    mean = table.mean(axis=0)
    std = table.std(axis=0, ddof=1) if len(table) > 1 else np.full(3, np.nan)
    return ProofRow(method, round(float(mean[0])), float(mean[1]), float(std[1]), float(mean[2]), float(std[2]))


def _split_notes(splits: list[_Split], group: np.ndarray, sound: np.ndarray) -> list[str]:
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
        notes.append(f"Near copies of held-out frames left out of training: {shown} frames per split.")
    lost = set(numbers[~small]) - set.intersection(*(set(group[split.training]) for split in splits))
    if lost:
        notes.append(
            f"{counted(len(lost), 'group')} held out in a split that trains on no frame of it, because all "
            "its others are near copies."
        )
    return notes


def _verdict(table: np.ndarray) -> list[str]:
    """In how many splits our choice beats the random one; the splits are the same for both."""
    wins = []
    for column, name in ((1, "energies"), (2, "forces")):
        ours, random = table[:, 0, column], table[:, 1, column]
        if np.isfinite(ours).all() and np.isfinite(random).all():
            wins.append(f"{name} in {int((ours < random).sum())} of {len(table)} splits")
    return [f"Ours is better than random at equal size for {' and for '.join(wins)}."] if wins else []
