"""Labels judged by physics: against each other, and against a force field fitted to the data themselves.

Energies, forces and stresses are derivatives of one energy surface, which is smooth, does not change under rotation and
pushes atoms apart that are displaced. What is against that is told; where the data cannot decide, nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.checks import said
from mlff_curate.checks.agreement import KINDS, Question, judge_agreement, moved
from mlff_curate.checks.balance import judge_balance
from mlff_curate.checks.basis import basis_of
from mlff_curate.checks.known import known_of
from mlff_curate.checks.local_model import local_model
from mlff_curate.checks.outliers import elected, smallest_force, suspects
from mlff_curate.checks.parts import assess, part_faults, speak_against, without_faults
from mlff_curate.checks.reference import free_atoms, level_offsets, shared_offsets
from mlff_curate.checks.zeros import find_zeros, there, without
from mlff_curate.data.frames import is_isolated_atom

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from mlff_curate.checks.agreement import Verdict
    from mlff_curate.checks.basis import Basis, Rows
    from mlff_curate.checks.finding import Finding
    from mlff_curate.checks.frame import CheckedFrame
    from mlff_curate.checks.known import Known
    from mlff_curate.checks.local_model import LocalModel
    from mlff_curate.checks.outliers import Suspect
    from mlff_curate.checks.parts import PartFault
    from mlff_curate.checks.reference import Offset

FEWEST_FRAMES = 12
"""Fewer labelled frames are not fitted to."""

MOST_OF = 0.8
"""Share of the labels of a group, or of all, from which on it is said of all of them."""

FEWEST_OF_GROUP = 5

_ROUNDS = 3
"""Fits at most after the first, each without what the one before has found."""


def check_physics(
    frames: Sequence[CheckedFrame], *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> list[Finding]:
    """Judge the labels of frames.

    Parameters
    ----------
    frames
        F frames; any label may be missing in any of them.
    seed
        Of the sample that is learned from, and its folds.
    progress
        Told the frames whose rows are computed, and how many there are.

    Returns
    -------
    list
        Findings, those of all frames first, then by file and frame.
    """
    frames = [frame for frame in frames if len(frame.atoms)]
    if not frames:
        return []
    known = known_of(frames)
    findings = [*_unbalanced(frames, known)]
    isolated = {i: int(f.atoms.numbers[0]) for i, f in enumerate(frames) if is_isolated_atom(_named(f))}
    findings += _free_atoms(frames, known, isolated)
    labelled = np.any([there(known, kind) for kind in KINDS], axis=0)
    bound = np.flatnonzero(labelled & ~np.isin(np.arange(len(frames)), list(isolated)))
    if len(bound):
        everyone = [frames[i] for i in bound]
        place = _distinct(everyone)
        distinct = [i for i, first in enumerate(place) if i == first]
        study = _Study.of([everyone[i] for i in distinct], known.some(bound[distinct]), seed, progress, everyone)
        copies: dict[tuple[str, int], list[CheckedFrame]] = {}
        for i, first in enumerate(place):
            if i != first:
                copies.setdefault((everyone[first].file, everyone[first].index), []).append(everyone[i])
        for found in study.findings(seed):
            findings.append(found)
            if found.file is not None and found.frame is not None:
                findings += [replace(found, frame=c.index) for c in copies.get((found.file, found.frame), [])]
    return sorted(
        findings, key=lambda f: (f.frame is not None, f.file or "", -1 if f.frame is None else f.frame, f.rule)
    )


def _distinct(frames: Sequence[CheckedFrame]) -> list[int]:
    """Return for each frame the first of its file and group with the same structure and labels.

    Copies say nothing new, but any statistics would count them, and each would bear the others out.
    """
    first: dict[tuple[object, ...], int] = {}
    out = []
    for i, frame in enumerate(frames):
        atoms, labels = frame.atoms, frame.labels
        arrays = (atoms.numbers, atoms.positions, np.asarray(atoms.cell), atoms.pbc, labels.forces, labels.stress)
        content = tuple(None if a is None else np.ascontiguousarray(a).tobytes() for a in arrays)
        out.append(first.setdefault((frame.file, frame.group, labels.energy, *content), i))
    return out


def _named(frame: CheckedFrame) -> Atoms:
    """Return the atoms with their group, which may say that they are free."""
    atoms = frame.atoms
    if len(atoms) == 1 and frame.group:
        atoms = atoms.copy()
        atoms.info["config_type"] = frame.group
    return atoms


def _unbalanced(frames: Sequence[CheckedFrame], known: Known) -> list[Finding]:
    balance = judge_balance(known)
    found = [said.unbalanced_frame(frames[i], float(balance.net[i]), balance.usual) for i in balance.frames]
    if balance.whole:
        found.append(said.unbalanced_set(frames, balance))
    return found


def _free_atoms(frames: Sequence[CheckedFrame], known: Known, isolated: dict[int, int]) -> list[Finding]:
    if not isolated:
        return []
    species = sorted({int(z) for frame in frames for z in frame.atoms.numbers})
    composition = np.array([[np.mean(frame.atoms.numbers == z) for z in species] for frame in frames])
    odd = free_atoms(isolated, known.energy / known.n_atoms, composition, species)
    return [said.free_atom(frames, atom) for atom in odd]


@dataclass(frozen=True, eq=False)
class _Study:
    """Bound frames with labels, and a force field for them."""

    frames: Sequence[CheckedFrame]
    known: Known
    group: np.ndarray  # (F,) numbers
    part: np.ndarray  # (F,) numbers of group and file
    level: np.ndarray  # (F,) numbers
    basis: Basis | None
    progress: Callable[[int, int], None] | None
    everyone: Sequence[CheckedFrame]  # with the copies, to be counted

    @classmethod
    def of(
        cls,
        frames: Sequence[CheckedFrame],
        known: Known,
        seed: int,
        progress: Callable[[int, int], None] | None,
        everyone: Sequence[CheckedFrame],
    ) -> _Study:
        group = np.unique([frame.group for frame in frames], return_inverse=True)[1]
        basis = None
        if len(frames) >= FEWEST_FRAMES:
            basis = basis_of([frame.atoms for frame in frames], group, seed, progress)
        part = np.unique([f"{frame.file}\0{frame.group}" for frame in frames], return_inverse=True)[1]
        return cls(frames, known, group, part, _levels(frames, group), basis, progress, everyone)

    def findings(self, seed: int) -> list[Finding]:
        zeros = find_zeros(self.known)
        empty = [kind for kind in KINDS if zeros.all_of(kind, self.known)]
        known = self.known
        for kind in empty:
            known = replace(known, **{kind: np.full_like(getattr(known, kind), np.nan)})
        if self.basis is None:
            return []
        rows = self.basis.rows
        free = np.zeros(len(rows.frames), dtype=bool)
        free[np.unique(known.some(rows.frames).frame_of_row[moved(rows)])] = True
        found = [said.all_zero(self.everyone, kind) for kind in empty if self._cannot_be_zero(kind, rows.frames, free)]
        mine = known.some(rows.frames)
        learned = without(mine, find_zeros(mine), free)
        question = Question(rows, learned, self.level[rows.frames], self.basis.stiffness)
        verdict = judge_agreement(question)
        part = self.part[rows.frames]
        wrong: tuple[PartFault, ...] = ()
        if assess(question, learned.undone(verdict.faults), part).wrong:
            file = np.unique([frame.file for frame in self.frames], return_inverse=True)[1]
            wrong = part_faults(question, learned, part, file[rows.frames])
        right = without_faults(known, self.part, wrong)
        if wrong:
            learned = without_faults(learned, part, wrong)
            question = replace(question, known=learned)
            verdict = judge_agreement(question)
            for item in wrong:
                members = [f for f, p in zip(self.frames, self.part, strict=True) if p == item.part]
                members = [f for f in members if getattr(f.labels, item.fault.kind) is not None]
                found += said.part(members, item, bool(verdict.faults))
        doubted = [bool(speak_against(question, learned, part, fault)) for fault in verdict.faults]
        certain = tuple(sure and not doubt for sure, doubt in zip(verdict.certain, doubted, strict=True))
        sound = {kind for kind, _ in assess(question, learned.undone(verdict.faults), part).sound}
        # what goes with the other labels in any group has to do with the positions, however much a few frames disturb
        incoherent = tuple(kind for kind in verdict.incoherent if kind not in sound)
        verdict = replace(verdict, certain=certain, incoherent=incoherent)
        found += [
            said.whole_set(self.everyone, fault, sure, verdict)
            for fault, sure in zip(verdict.faults, verdict.certain, strict=True)
        ]
        found += [said.incoherent(self.everyone, kind, verdict) for kind in verdict.incoherent]
        right, learned = right.undone(verdict.faults), learned.undone(verdict.faults)
        for kind in verdict.incoherent:
            right = replace(right, **{kind: np.full_like(getattr(right, kind), np.nan)})
            learned = replace(learned, **{kind: np.full_like(getattr(learned, kind), np.nan)})
        offsets = level_offsets(replace(question, known=learned))
        for offset in offsets:
            mine = (self.level == offset.level) & np.isfinite(right.energy)
            shares = mine & offset.shared_by(len(self.frames), rows.frames)
            members = [self.frames[i] for i in np.flatnonzero(shares).tolist()]
            labelled = int(mine.sum())
            found += said.level(self.frames, members, labelled, offset, bool(verdict.faults))
            right = _levelled(right, shares, offset)
            learned = _levelled(learned, shares[rows.frames], offset)
        model, odd = _learn(rows, learned, smallest_force(self.known), seed)
        if model is not None:
            found += self._single(model, right, odd, verdict)
        return found

    def _cannot_be_zero(self, kind: str, sample: np.ndarray, free: np.ndarray) -> bool:
        if kind == "forces":
            return int(free.sum()) >= 3
        if kind == "energy":
            return len(self.frames) >= 3
        volume = self.known.volume[sample] / self.known.n_atoms[sample]
        return len(np.unique(np.round(np.log(volume[np.isfinite(volume)]), 2))) >= 3

    def _single(self, model: LocalModel, right: Known, learned: list[Suspect], verdict: Verdict) -> list[Finding]:
        """Judge single frames: those learned from by fits that have not seen them, the others by the final one."""
        basis = self.basis
        assert basis is not None
        rows = basis.rows
        lean = np.zeros(len(self.frames))
        smallest = smallest_force(self.known)
        odd: list[Suspect] = []

        def take(found: list[Suspect], frames: np.ndarray, leans: np.ndarray) -> None:
            lean[frames] = leans
            odd.extend(replace(suspect, frame=int(frames[suspect.frame])) for suspect in found)

        whole = right.some(rows.frames)
        # of the labels as they are: the model has learned from mended ones
        take(learned, rows.frames, (whole.energy - model.own.energy.predicted) / whole.n_atoms)
        told = {(suspect.frame, suspect.rule) for suspect in odd}
        zero = [s for s in suspects(whole, model.judge(rows, whole), smallest) if s.rule.endswith("-zero")]
        zero = [replace(suspect, frame=int(rows.frames[suspect.frame])) for suspect in zero]
        odd.extend(suspect for suspect in zero if (suspect.frame, suspect.rule) not in told)
        rest = np.setdiff1d(np.arange(len(self.frames)), rows.frames)
        done = len(rows.frames)
        for part in basis.rows_of([self.frames[i].atoms for i in rest]):
            chosen = rest[part.frames]
            labels = right.some(chosen)
            judged = model.judge(part, labels)
            take(suspects(labels, judged, smallest), chosen, judged.lean)
            done += len(chosen)
            if self.progress is not None:
                self.progress(done, len(self.frames))
        return self._told(elected(odd), lean, verdict)

    def _told(self, odd: list[Suspect], lean: np.ndarray, verdict: Verdict) -> list[Finding]:
        """Tell suspects, those of a whole group or of all frames together."""
        n = self.known.n_atoms
        plain = [s for s in odd if s.rule == "energy-outlier"]
        where = [s.frame for s in plain]
        shared = shared_offsets(plain, lean[where], n[where])
        offset = {plain[i].frame: value for i, value in shared.items()}
        odd = [
            replace(s, rule="energy-reference") if s.rule == "energy-outlier" and s.frame in offset else s for s in odd
        ]
        found: list[Finding] = []
        company: dict[int, str] = {}
        sure: set[int] = set()  # what most of a group shows beyond doubt, the rest of it has too
        families: dict[tuple[str, str, object], list[Suspect]] = {}
        for suspect in odd:
            families.setdefault((suspect.kind, suspect.rule, suspect.fault), []).append(suspect)
        for family in families.values():
            if family[0].fault is None and not family[0].rule.endswith(("-zero", "-reference")):
                continue
            have = there(self.known, family[0].kind)
            if len(family) >= max(FEWEST_FRAMES, MOST_OF * have.sum()):
                found.append(said.many(self.frames, family, int(have.sum())))
                together = {id(s) for s in family}
                odd = [s for s in odd if id(s) not in together]
                continue
            for g in np.unique(self.group[[s.frame for s in family]]):
                mine = [s for s in family if self.group[s.frame] == g]
                whole = int((have & (self.group == g)).sum())
                if len(mine) >= max(FEWEST_OF_GROUP, MOST_OF * whole):
                    name = self.frames[mine[0].frame].group
                    if 2 * sum(s.certain for s in mine) > len(mine):
                        sure |= {id(s) for s in mine}
                    company |= {
                        id(s): f"; so do {len(mine)} of {whole} labelled frames of group {name!r}" for s in mine
                    }
        for suspect in odd:
            frame = self.frames[suspect.frame]
            share = offset.get(suspect.frame) if suspect.rule == "energy-reference" else None
            named = replace(suspect, certain=suspect.certain or id(suspect) in sure)
            single = said.one(frame, named, float(lean[suspect.frame]), share, len(offset), bool(verdict.faults))
            found.append(replace(single, message=single.message + company.get(id(suspect), "")))
        return found


def _learn(rows: Rows, learned: Known, smallest: float, seed: int) -> tuple[LocalModel | None, list[Suspect]]:
    """Fit, and again with what was found put right, so that wrong labels do not hide each other.

    A label that a known fault explains is learned from with the fault undone, any other that stands out not at all.

    Returns
    -------
    model, suspects
        The last fit, and all that was found among the frames learned from.
    """
    model = local_model(rows, learned, seed)
    found: dict[tuple[int, str], Suspect] = {}
    for _ in range(_ROUNDS):
        if model is None:
            break
        more = [s for s in elected(suspects(learned, model.own, smallest)) if (s.frame, s.kind) not in found]
        found |= {(suspect.frame, suspect.kind): suspect for suspect in more}
        if not more:
            break
        learned = _put_right(learned, more)
        model = local_model(rows, learned, seed) or model
    return model, list(found.values())


def _put_right(known: Known, odd: list[Suspect]) -> Known:
    """Return the labels with the faults of suspects undone, and without those that nothing explains."""
    out = {kind: getattr(known, kind).copy() for kind in KINDS}
    for suspect in odd:
        i = suspect.frame
        here = slice(3 * known.offset[i], 3 * known.offset[i + 1]) if suspect.kind == "forces" else slice(i, i + 1)
        labels = out[suspect.kind]
        if suspect.fault is None:
            labels[here] = np.nan
        else:
            labels[here] = suspect.fault.undone(labels[here], known.n_atoms[i : i + 1], known.volume[i : i + 1])
    return replace(known, **out)


def _levelled(known: Known, frames: np.ndarray, offset: Offset) -> Known:
    """Put the energies of some frames, (F,) bool, on the level of the others; what is exactly zero has none."""
    energy = known.energy
    if offset.fault is not None:
        energy = offset.fault.undone(energy, known.n_atoms, known.volume)
    energy = energy - offset.rest * known.n_atoms
    return replace(known, energy=np.where(frames & (known.energy != 0), energy, known.energy))


def _levels(frames: Sequence[CheckedFrame], group: np.ndarray) -> np.ndarray:
    """Return numbers of the levels that energies are compared within: group and formula, or formula alone."""
    formula = np.unique(
        [frame.atoms.symbols.formula.reduce()[0].format("hill") for frame in frames], return_inverse=True
    )[1]
    both = np.unique(np.stack([group, formula]), axis=1, return_inverse=True)[1].ravel()
    return both if np.median(np.bincount(both)[both]) >= 4 else formula
