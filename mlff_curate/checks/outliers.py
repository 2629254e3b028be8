"""Single frames whose labels are not what frames that look alike have, and which known fault explains them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.checks.units import ENERGY_FAULTS, FORCE_FAULTS, ORDER_FAULTS, STRESS_FAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.checks.agreement import KindName
    from mlff_curate.checks.known import Known
    from mlff_curate.checks.local_model import Judgement
    from mlff_curate.checks.units import Fault

SUSPICIOUS = {"energy": 8.0, "forces": 3.0, "stress": 3.0}
"""Residuals, in units of those of look-alikes, from which on a known fault is looked for. Of 5 000 frames of nine sets
none that is sound has both such a residual and a fault that would explain it."""

EXPLAINED = 2.5
"""A fault explains a label if undoing it leaves no more than this, in the same units, and ..."""

GAIN = 0.33
"""... no more than this share of what there was."""

OUTLYING = {"energy": 12.0, "forces": 7.0, "stress": 10.0, "largest": 8.0, "few": 4.5}
"""Residuals from which on a label is told without an explanation. The largest of sound frames: energies 9, forces 3.5,
stresses 6.5, single atoms 4 and where they are few 3.7 (nine sets, 5 000 frames, whole and with 6 % left out)."""

BORNE_OUT = {"energy": 6.5, "forces": 5.5, "largest": 5.5}
"""The same where the other labels of a frame bear the prediction out. The largest of sound frames there: energies 5.1,
forces 4.5."""

AS_USUAL = 1.5
"""Residuals of the other labels, up to which they bear it out."""

FEW_ATOMS = 10.0
"""Times the median residual of a frame's atoms: what the largest is where a few atoms alone are off."""

MOST_RIVALS = 2
"""Where more faults than that explain a label that is no outlier, none does: any small number would have done."""

UNBALANCED = 0.2
"""Of the norm of all forces of a frame: forces whose sum is more are not in another unit, which leaves the sum zero."""

CHANCE = 0.01
"""What a fault may leave, of what there was, where that is more than EXPLAINED: a wrong label of any size comes as near
by chance once in ten times, all known faults together."""

UNRELATED = 0.6
"""Cosine between a frame's forces and those predicted, below which they have nothing to do with each other."""

SAME_WAY = 0.9
"""Cosine between a frame's forces and those predicted, or their opposites, above which they point the same way beyond
chance: then faults that change them much are asked for where residuals are as usual, since look-alikes of the same
fault make a residual look small."""

CERTAIN = 10.0
"""From this residual on a correction is offered, if no other fault explains the label as well."""

NORMAL = 2.0
"""At the end of a series, where a prediction is an extrapolation, a label is told only if the other labels have
residuals below that (where two are off, the prediction is) and its own is ..."""

AT_END = {"energy": 16.0, "forces": 12.0, "stress": 12.0}
"""... above that, or ..."""

AT_END_EXPLAINED = {"energy": 16.0, "stress": 6.0}
"""... a known fault explains it, above that. The largest of sound frames there: energies 6.7, stresses 7.2."""

LEAST = 1e-3
"""eV/atom or eV/Angstrom: what is less than that off is nobody's business, however well it should be known."""

FAINT = 5e-5
"""eV/Angstrom: forces that are off by less than LEAST but more than this are looked at for a known fault, which the
signs of many small forces show as well as that of a large one."""

FAINT_RATIO = 2.0
"""Residuals from which on that is done with faint forces: symmetry leaves those of small strained cells few ways."""

ZERO = 1.5
"""Predicted labels, in units of look-alikes' residuals, from which on a label of exactly zero cannot be right."""

ACCIDENT = 0.3
"""The same for forces that symmetry does not keep at zero on four atoms and more: all at once they vanish in a relaxed
structure alone, and there not to the last digit."""

DIGITS = 10.0
"""Zeros are looked at where so many times the smallest force of the set is predicted: less may be rounded to zero."""


_LARGE_FORCE_FAULTS = tuple(f for f in FORCE_FAULTS if f.factor < 0 or not 0.2 < f.factor < 5)


@dataclass(frozen=True)
class Suspect:
    """A label of one frame that stands out.

    Attributes
    ----------
    frame
        Which one.
    kind
        ``energy``, ``forces`` or ``stress``.
    rule
        ``energy-unit`` ...
    fault
        What explains it; None: nothing known does.
    rivals
        All faults that explain it about as well, the best first.
    ratio, left
        Residual in units of look-alikes' before, and after the fault is undone (`ratio` again where there is none).
    size, scale
        Residual and look-alikes' residual: eV/atom, eV/Angstrom, or eV for stress times volume per atom.
    atom
        Atom that is off most; -1: the frame as a whole.
    certain
        No other fault comes near.
    """

    frame: int
    kind: KindName
    rule: str
    fault: Fault | None
    ratio: float
    left: float
    size: float
    scale: float
    atom: int = -1
    certain: bool = False
    rivals: tuple[tuple[Fault, float], ...] = ()


def smallest_force(known: Known) -> float:
    """Return the smallest force component of a set that is not zero, eV/Angstrom; inf: there is none."""
    sizes = np.abs(known.forces)
    return float(np.min(sizes, where=sizes > 0, initial=np.inf))  # False for nan


def suspects(known: Known, judgement: Judgement, smallest: float) -> list[Suspect]:
    """Find the labels of F frames that stand out, and the faults that may explain them.

    Parameters
    ----------
    smallest
        Force component of the set that is not zero: smaller ones may be rounded away.
    """
    out: list[Suspect] = []
    least = DIGITS * smallest if np.isfinite(smallest) else LEAST
    for i in range(len(known.energy)):
        three = (_energy(known, judgement, i), _forces(known, judgement, i, least), _stress(known, judgement, i))
        out += [s for s in three if s is not None and not (judgement.end[i] and _extrapolated(judgement, s))]
    return out


def _extrapolated(judgement: Judgement, suspect: Suspect) -> bool:
    """Tell a suspect at an end that the prediction may be to blame for."""
    i = suspect.frame
    others = [getattr(judgement, other) for other in ("energy", "stress") if other != suspect.kind]
    others = [other for other in others if np.isfinite(other.size[i])]
    if not others and suspect.fault is None and not suspect.rule.endswith("-zero"):
        return True
    off = any(other.size[i] > NORMAL * other.scale[i] for other in others)
    if suspect.rule.endswith("-zero") or (suspect.kind == "forces" and suspect.fault is not None):
        return off  # many components bear a fault of forces out
    return off or suspect.ratio < (AT_END if suspect.fault is None else AT_END_EXPLAINED)[suspect.kind]


def elected(found: list[Suspect]) -> list[Suspect]:
    """Where several faults explain a label, take the one that explains most labels of its kind."""
    votes = Counter(fault for suspect in found for fault, _ in suspect.rivals)
    out = []
    for suspect in found:
        if len(suspect.rivals) > 1:
            fault, left = max(suspect.rivals, key=lambda rival: votes[rival[0]])  # the first of equals
            sure = suspect.certain and fault is suspect.fault
            suspect = replace(suspect, fault=fault, rule=fault.rule, left=left, certain=sure)  # noqa: PLW2901
        out.append(suspect)
    return out


def _energy(known: Known, judgement: Judgement, i: int) -> Suspect | None:
    residual = judgement.energy
    size, scale = float(residual.size[i]), float(residual.scale[i])
    if not np.isfinite(size) or not np.isfinite(scale) or size < LEAST:
        return None
    ratio, n = size / scale, int(known.n_atoms[i])
    if known.energy[i] == 0.0:
        return Suspect(i, "energy", "energy-zero", None, ratio, ratio, size, scale) if ratio > ZERO else None
    outlying = BORNE_OUT["energy"] if _borne_out(judgement, i, "forces", "stress") else OUTLYING["energy"]
    if ratio < min(SUSPICIOUS["energy"], outlying):
        return None
    label = known.energy[i : i + 1]
    left = [
        abs(float(f.undone(label, known.n_atoms[i : i + 1], known.volume[i : i + 1])[0] - residual.predicted[i]))
        / n
        / scale
        for f in ENERGY_FAULTS
    ]
    return _explained(i, "energy", ENERGY_FAULTS, left, ratio, size, scale) or (
        Suspect(i, "energy", "energy-outlier", None, ratio, ratio, size, scale) if ratio > outlying else None
    )


def _borne_out(judgement: Judgement, i: int, first: str, second: str) -> bool:
    """Tell whether a frame's other labels, the second where it has one, are as predicted; forces of zero tell nothing.

    A prediction that is off is seldom off in one of them alone: they are derivatives of each other.
    """
    if judgement.end[i] or (first == "forces" and not judgement.free[i]):
        return False
    one, other = getattr(judgement, first), getattr(judgement, second)
    if not np.isfinite(one.scale[i]):
        return False
    return bool(one.size[i] <= AS_USUAL * one.scale[i]) and not other.size[i] > AS_USUAL * other.scale[i]


def _forces(known: Known, judgement: Judgement, i: int, least: float) -> Suspect | None:
    residual = judgement.forces
    size, scale = float(residual.size[i]), float(residual.scale[i])
    if not np.isfinite(size) or not np.isfinite(scale) or size < FAINT:
        return None
    part = slice(3 * int(known.offset[i]), 3 * int(known.offset[i + 1]))
    label, predicted = known.forces[part], residual.predicted[part]
    ratio = size / scale
    if not label.any():
        no_accident = judgement.free[i] and len(label) >= 12 and size > LEAST
        missing = ratio > (ACCIDENT if no_accident else ZERO) and size > least
        return Suspect(i, "forces", "force-zero", None, ratio, ratio, size, scale) if missing else None
    net = float(np.linalg.norm(label.reshape(-1, 3).sum(axis=0)))
    cosine = _cosine(label, predicted)
    same = len(label) >= 12 and ratio > (1.0 if size > LEAST else FAINT_RATIO) and abs(cosine) > SAME_WAY
    if (same or ratio > SUSPICIOUS["forces"]) and net < UNBALANCED * float(np.linalg.norm(label)):
        faults = FORCE_FAULTS if ratio > SUSPICIOUS["forces"] else _LARGE_FORCE_FAULTS
        left = [
            float(np.sqrt(np.mean((label * f.factor - predicted) ** 2))) / scale
            if abs(f.factor) == 1 or np.sign(f.factor) * cosine > UNRELATED
            else np.inf
            for f in faults
        ]
        found = _explained(i, "forces", faults, left, ratio, size, scale)
        if found is not None:
            return found
    most, usual = float(judgement.largest.size[i]), float(judgement.largest.scale[i])
    atom = int(judgement.worst_atom[i])
    each = np.linalg.norm((label - predicted).reshape(-1, 3), axis=1)
    alone = most > 4 * float(np.delete(each, atom).max(initial=0.0))
    few = most > FEW_ATOMS * float(np.median(each))
    outlying = {**OUTLYING, **(BORNE_OUT if _borne_out(judgement, i, "energy", "stress") else {})}
    if size > LEAST and ((ratio > outlying["forces"] and not alone) or _unrelated(label, predicted, ratio, scale)):
        return Suspect(i, "forces", "force-outlier", None, ratio, ratio, size, scale)
    if size > LEAST and (ratio > outlying["forces"] or most / usual > outlying["few" if few else "largest"]):
        return Suspect(i, "forces", "force-outlier", None, most / usual, most / usual, most, usual, atom)
    return None


def _unrelated(label: np.ndarray, predicted: np.ndarray, ratio: float, scale: float) -> bool:
    """Tell forces that have nothing to do with those predicted, though these are large enough to be known."""
    length = float(np.sqrt(np.mean(predicted**2)))
    enough = len(label) > 6 and ratio > 1.5 * SUSPICIOUS["forces"] and length > 2 * scale
    both = min(length, float(np.sqrt(np.mean(label**2))))  # in a relaxed structure only the prediction is large
    surely = len(label) >= 24 and ratio > 2 and both > 1.5 * scale
    cosine = _cosine(label, predicted)
    return (enough and cosine < UNRELATED) or (surely and cosine < UNRELATED / 2)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-300)


def _stress(known: Known, judgement: Judgement, i: int) -> Suspect | None:
    residual, shear = judgement.stress, judgement.shear
    size, scale = float(residual.size[i]), float(residual.scale[i])
    if not np.isfinite(size) or not np.isfinite(scale) or size < LEAST:
        return None
    ratio, off = size / scale, float(shear.size[i] / shear.scale[i])
    per_atom = known.volume[i] / known.n_atoms[i]
    label, predicted = known.stress[i : i + 1], residual.predicted[i]
    if not label.any():
        return Suspect(i, "stress", "stress-zero", None, ratio, ratio, size, scale) if ratio > ZERO else None
    if ratio > SUSPICIOUS["stress"]:
        whole = (*STRESS_FAULTS, *ORDER_FAULTS)
        left = []
        for fault in whole:
            right = fault.undone(label, known.n_atoms[i : i + 1], known.volume[i : i + 1])[0] * per_atom
            alike = abs(fault.factor) == 1 and not fault.per_volume
            alike |= _cosine(right, predicted) > UNRELATED  # or anything large could be zero in a small unit
            left.append(float(np.sqrt(np.mean((right - predicted) ** 2))) / scale if alike else np.inf)
        found = _explained(i, "stress", whole, left, ratio, size, scale)
        if found is not None:
            return found
    if off > SUSPICIOUS["stress"]:
        orders = [f for f in ORDER_FAULTS if f.order is not None and f.order[:3] == (0, 1, 2)]
        left = []
        for fault in orders:
            right = label[0, list(fault.order or ())] * per_atom
            left.append(float(np.sqrt(np.mean((right - predicted)[3:] ** 2)) / shear.scale[i]))
        found = _explained(i, "stress", orders, left, off, float(shear.size[i]), float(shear.scale[i]))
        if found is not None:
            return found
    if ratio > OUTLYING["stress"] or off > OUTLYING["stress"]:
        return Suspect(i, "stress", "stress-outlier", None, max(ratio, off), max(ratio, off), size, scale)
    return None


def _explains(left: float, ratio: float, outlying: float) -> bool:
    """Tell a residual that is ordinary, or next to nothing of what it was and no outlier."""
    return (left < EXPLAINED and left < GAIN * ratio) or (left < outlying and left < CHANCE * ratio)


def _explained(
    i: int, kind: KindName, faults: Sequence[Fault], left: list[float], ratio: float, size: float, scale: float
) -> Suspect | None:
    """Return the fault that explains a label best, if one does."""
    order = np.argsort(left, kind="stable")
    good = [int(j) for j in order if _explains(left[j], ratio, OUTLYING[kind])]
    if not good or (len(good) > MOST_RIVALS and ratio < OUTLYING[kind]):
        return None
    best = good[0]
    second = left[int(order[1])] if len(order) > 1 else np.inf
    certain = bool(ratio > CERTAIN and second > 2 * EXPLAINED and second > 2 * left[best])
    fault = faults[best]
    rivals = tuple((faults[j], left[j]) for j in good)
    return Suspect(i, kind, fault.rule, fault, ratio, left[best], size, scale, certain=certain, rivals=rivals)
