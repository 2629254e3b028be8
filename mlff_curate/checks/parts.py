"""Groups and files whose labels are in another unit or of another sign than the rest.

Each kind of label is predicted from the two others, which know nothing of its fault, and each part of the frames is
asked by itself whether its labels go with that. So a fault of one part is not taken for one of all, nor hidden by
being shared by all frames that look alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.checks.robust import Block, robust_fit, spread
from mlff_curate.checks.units import ENERGY_FAULTS, FORCE_FAULTS, STRESS_FAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.checks.agreement import KindName, Question
    from mlff_curate.checks.known import Known
    from mlff_curate.checks.units import Fault

FEWEST = 3
"""Frames of a part that say something."""

FEWEST_ENERGIES = 6
"""The same for energies: one number each, of which the level takes one; of three, chance makes any fault."""

SOUND, FITTING, WRONG = 0.7, 0.5, 1.3
"""Of the distance between labels and predictions, over the geometric mean of their sizes: a part is sound below the
first; a fault is what lies below the second with it undone, and above the third as it is."""

_SMALLEST = {"energy": 3e-3, "forces": 0.03, "stress": 0.03}
"""eV/atom, eV/Angstrom and eV (stress times volume per atom): predictions below that decide nothing."""

TIMES_OFF = 4.0
"""A predicted stress that is not so many times what stresses are off by decides nothing."""

TOO_LARGE = 10.0
"""Labels so many times what decides something have to be explained, however small they should be."""

_CERTAIN = 0.35
_ROUNDS = 3
_FAULTS: dict[KindName, tuple[Fault, ...]] = {"energy": ENERGY_FAULTS, "forces": FORCE_FAULTS, "stress": STRESS_FAULTS}


@dataclass(frozen=True)
class PartFault:
    """A fault that the labels of a part share.

    Attributes
    ----------
    part
        Number of the part.
    fault
        What is wrong.
    before, after
        Distance of its labels from the predictions, over the geometric mean of their sizes, as they are and undone.
    frames
        That decided it.
    certain
        No other fault comes near.
    """

    part: int
    fault: Fault
    before: float
    after: float
    frames: int
    certain: bool


@dataclass(frozen=True)
class Assessment:
    """What is to be said of the parts.

    Attributes
    ----------
    wrong
        Faults.
    sound
        Kinds and parts whose labels go with the other kinds.
    """

    wrong: tuple[PartFault, ...]
    sound: tuple[tuple[KindName, int], ...]


def assess(question: Question, known: Known, part: np.ndarray) -> Assessment:
    """Ask each part for each kind of label whether it goes with the others.

    Parameters
    ----------
    question
        F frames and their rows.
    known
        Their labels.
    part
        (F,) part of each.
    """
    wrong: list[PartFault] = []
    sound: list[tuple[KindName, int]] = []
    members = [(int(p), np.flatnonzero((part == p) & question.rows.sound)) for p in np.unique(part)]
    for kind, faults in _FAULTS.items():
        coefficients = _from_others(question, known, kind)
        if coefficients is None:
            continue
        least = max(_SMALLEST[kind], TIMES_OFF * _usually_off(question, known, kind, coefficients, members))
        for p, frames in members:
            telling = _telling(question, known, kind, coefficients, frames, least)
            plain, count = _distance(question, known, kind, coefficients, telling), len(telling)
            if count < (FEWEST_ENERGIES if kind == "energy" else FEWEST):
                continue
            if plain < SOUND:
                sound.append((kind, p))
                continue
            undone = [_distance(question, known.undone([fault]), kind, coefficients, telling) for fault in faults]
            order = np.argsort(undone, kind="stable")
            best, second = undone[order[0]], undone[order[1]]
            if best < FITTING and plain > WRONG:
                sure = best < _CERTAIN and second > 2 * best
                wrong.append(PartFault(p, faults[order[0]], plain, best, count, sure))
    return Assessment(tuple(wrong), tuple(sound))


def _usually_off(
    question: Question, known: Known, kind: KindName, coefficients: np.ndarray, members: list[tuple[int, np.ndarray]]
) -> float:
    """Return what stresses are off by in the part in the middle; energies and forces are predicted well enough."""
    if kind != "stress":
        return 0.0
    off = [
        np.sqrt(np.mean((known.virial[frames] - question.rows.strain[frames] @ coefficients) ** 2, axis=1))
        for _, frames in members
    ]
    middle = [float(np.median(values[np.isfinite(values)])) for values in off if np.isfinite(values).any()]
    return float(np.quantile(middle, 0.5, method="lower")) if middle else 0.0


def part_faults(question: Question, known: Known, part: np.ndarray, file: np.ndarray) -> tuple[PartFault, ...]:
    """Find faults of parts after which all parts go together, the fewest; none if nothing known does that.

    A kind that no part has right is left to the comparison of all frames. Where all parts of a file that can be judged
    share a fault, the others of that file share it.

    Parameters
    ----------
    part, file
        (F,) numbers.
    """
    first = assess(question, known, part)
    ends: list[tuple[PartFault, ...]] = []
    for start in {w.fault.kind: None for w in first.wrong}:
        found: list[PartFault] = []
        labels, now, kind = known, first, start
        for _ in range(_ROUNDS):
            mine = [w for w in now.wrong if w.fault.kind == kind]
            if not mine or not any(k == kind for k, _ in now.sound):
                break
            mine = _same_file(mine, now, part, file)
            found += mine
            labels = without_faults(labels, part, mine)
            now = assess(question, labels, part)
            kind = now.wrong[0].fault.kind if now.wrong else kind
        if found and not now.wrong:
            ends.append(tuple(found))
    return min(ends, key=len) if ends else ()


def _same_file(wrong: list[PartFault], now: Assessment, part: np.ndarray, file: np.ndarray) -> list[PartFault]:
    """Add the parts of a file of which nothing is known to the others of it that share a fault; most of them decide."""
    if len(np.unique(file)) < 2:
        return wrong
    sound = {p for kind, p in now.sound if kind == wrong[0].fault.kind}
    all_of: dict[int, PartFault] = {w.part: w for w in wrong}
    for f in np.unique(file):
        here = {int(p) for p in np.unique(part[file == f])}
        mine = [w for w in wrong if w.part in here]
        if len(mine) >= 2 and len({w.fault for w in mine}) == 1 and not here & sound:
            certain = 2 * sum(w.certain for w in mine) > len(mine)
            all_of |= {p: replace(all_of.get(p, mine[0]), part=p, certain=certain) for p in sorted(here)}
    return list(all_of.values())


def speak_against(question: Question, known: Known, part: np.ndarray, fault: Fault) -> list[int]:
    """Return the parts whose labels go well with the other kinds as they are, and do not with a fault undone."""
    coefficients = _from_others(question, known, fault.kind)
    if coefficients is None:
        return []
    right = known.undone([fault])
    members = [(int(p), np.flatnonzero((part == p) & question.rows.sound)) for p in np.unique(part)]
    off = _usually_off(question, right, fault.kind, coefficients, members)
    least = max(_SMALLEST[fault.kind], TIMES_OFF * off)
    against = []
    for p, frames in members:
        telling = _telling(question, right, fault.kind, coefficients, frames, least)
        if len(telling) < (FEWEST_ENERGIES if fault.kind == "energy" else FEWEST):
            continue
        plain = _distance(question, known, fault.kind, coefficients, telling)
        if plain < FITTING and max(1.0, 2 * plain) < _distance(question, right, fault.kind, coefficients, telling):
            against.append(p)
    return against


def without_faults(known: Known, part: np.ndarray, faults: Sequence[PartFault]) -> Known:
    """Return the labels with the faults of parts undone; `part` is (F,)."""
    for wrong in faults:
        fault = wrong.fault
        right = getattr(known.undone([fault]), fault.kind)
        as_it_is = getattr(known, fault.kind)
        here = part == wrong.part
        if fault.kind == "forces":
            here = here[known.frame_of_row]
        elif fault.kind == "stress":
            here = here[:, None]
        known = replace(known, **{fault.kind: np.where(here, right, as_it_is)})
    return known


def _from_others(question: Question, known: Known, kind: KindName) -> np.ndarray | None:
    """Return coefficients fitted to the two other kinds, (M,)."""
    M = question.rows.energy.shape[1]
    blocks = [block for other in _FAULTS if other != kind and (block := question.block(other, known)) is not None]
    if not blocks or max(len(np.unique(block.frame)) for block in blocks) < 4 * FEWEST:
        return None
    width = max(block.rows.shape[1] for block in blocks)
    padded: list[Block] = []
    for block in blocks:
        some = slice(None, None, 1 + len(block.labels) // 15_000)
        rows = np.pad(block.rows[some], ((0, 0), (0, width - block.rows.shape[1])))
        padded.append(Block(rows, block.labels[some], block.frame[some]))
    return robust_fit(padded)[0][:M]


def _pairs(
    question: Question, known: Known, kind: KindName, coefficients: np.ndarray, frames: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return labels and predictions of each frame; energies per atom, from the middle of their level there."""
    rows = question.rows
    if kind == "energy":
        values = known.energy[frames] / known.n_atoms[frames]
        expected = rows.energy[frames] @ coefficients
        for level in np.unique(question.level[frames]):
            mine = np.flatnonzero(question.level[frames] == level)
            labelled = mine[np.isfinite(values[mine])]
            if len(labelled):
                values[mine] -= np.median(values[labelled])
                expected[mine] -= np.median(expected[labelled])
        return list(zip(values[:, None], expected[:, None], strict=True))
    if kind == "forces":
        places = [rows.atoms_of(int(i)) for i in frames]
        return [(known.forces[place], rows.forces[place] @ coefficients) for place in places]
    virial = known.virial
    return [(virial[i], rows.strain[i] @ coefficients) for i in frames]


def _telling(
    question: Question, known: Known, kind: KindName, coefficients: np.ndarray, frames: np.ndarray, least: float
) -> np.ndarray:
    """Return the frames whose labels are known and not zero, and which should be large enough or are far too large.

    None, unless they are most of those that have the label: a few that are too large are no fault of all.
    """
    there = np.array(
        [bool(np.isfinite(label).all()) for label, _ in _pairs(question, known, kind, coefficients, frames)], dtype=bool
    )
    frames = frames[there]
    if kind == "energy":
        of_level = np.bincount(question.level[frames])[question.level[frames]] if len(frames) else frames
        frames = frames[of_level >= FEWEST] if len(frames) else frames
    pairs = _pairs(question, known, kind, coefficients, frames)
    if kind == "energy":
        size = spread(np.array([label[0] for label, _ in pairs]))
        expected = spread(np.array([predicted[0] for _, predicted in pairs]))
        return frames if size > 0 and max(expected, size / TOO_LARGE) > least else frames[:0]
    large = [_rms(label) > 0 and max(_rms(predicted), _rms(label) / TOO_LARGE) > least for label, predicted in pairs]
    telling = frames[np.array(large, dtype=bool)]
    return np.asarray(telling if 2 * len(telling) > len(frames) else telling[:0])


def _distance(question: Question, known: Known, kind: KindName, coefficients: np.ndarray, frames: np.ndarray) -> float:
    """Return how far the labels of frames are from predictions, over the geometric mean of their sizes."""
    pairs = _pairs(question, known, kind, coefficients, frames)
    if not pairs:
        return float("inf")
    if kind == "energy":
        y, e = (np.array([pair[k][0] for pair in pairs]) for k in (0, 1))
        return spread(y - e) / max(float(np.sqrt(spread(y) * spread(e))), 1e-300)
    apart = [_rms(y - e) / max(float(np.sqrt(_rms(y) * _rms(e))), 1e-300) for y, e in pairs]
    return float(np.median(apart))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
