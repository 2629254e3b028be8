"""Whether the energies, forces and stresses of a whole set agree, and if not, which known fault makes them agree.

Each is a derivative of the same energy surface, so a force field fitted to one kind of label predicts the others: a
regression on its predictions has slope 1. A unit, a sign or a virial in the place of a stress shows up as a slope that
is the unit's factor. With three kinds of label the odd one out is at fault. With one or two, the fitted force field's
stiffness decides which: a random displacement of all atoms of a condensed phase or a molecule costs energy, and about
as much in all materials.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np

from mlff_curate.checks.robust import Block, Line, robust_fit, robust_line
from mlff_curate.checks.units import ENERGY_FAULTS, FORCE_FAULTS, ORDER_FAULTS, STRESS_FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlff_curate.checks.basis import Rows
    from mlff_curate.checks.known import Known
    from mlff_curate.checks.units import Fault

KindName = Literal["energy", "forces", "stress"]
KINDS: tuple[KindName, ...] = ("energy", "forces", "stress")
PAIRS: tuple[tuple[KindName, KindName], ...] = (("energy", "forces"), ("energy", "stress"), ("forces", "stress"))

USUAL_STIFFNESS, STIFFNESS_SPREAD = 6.0, 1.5
"""eV/Angstrom^2, and the standard deviation of its natural logarithm: aluminium has 3, tantalum 12, silicon 15."""

FEWEST_FRAMES = 20
"""With fewer points two kinds of label are not compared."""

LEAST_R = 0.7
"""Of a regression that is believed."""

_FORCE_ROWS = 15_000  # compared; more say nothing new
_MOVED = 3e-3  # of a row by strain: displacements of some 0.01 Angstrom from where symmetry keeps forces at zero
_SAME_CELL = 0.01  # cells whose volumes per atom are within a per cent count as the same
_SLOPE_ERROR = 0.12  # of the logarithm of a slope at r = 1: what the model leaves out
_AT_FAULT = 3.0  # what a hypothesis costs for each label kind that it calls faulty
_SIGN_COST = 25.0  # two kinds that pull in opposite directions
_MOST_COST = 25.0  # of one regression
_AGREES = 9.0  # what a slope near 1 costs at most
_THERE_AND_BACK = 0.2, 2.5  # product of two inverse slopes: errors flatten each to r^2, at worst to a half
_ALONE = 0.85  # of a regression that has none back
_NO_STIFFNESS = 3.0  # half of all displacements lower the energy
_MOST_VOTES, _LESS_LEFT = 0.75, 0.6  # frames that an order is better for, and what it leaves of their residuals
_PLENTY, _NOTHING = 4, 0.4  # labels per column of the model, and the correlation that counts as none
_LEAST_LEAD = 6.0  # by which a fault must explain the labels better than none
_EXTRA_SIGN = 1.5  # a unit and a sign at once are less likely than a unit


@dataclass(frozen=True)
class Comparison:
    """How one kind of label compares with what a fit to another says.

    Attributes
    ----------
    source, target
        Kinds of label: fitted to, and predicted.
    line
        Regression of the label on the prediction.
    frames
        Frames with points on the line.
    """

    source: KindName
    target: KindName
    line: Line
    frames: int

    @property
    def believed(self) -> bool:
        """Whether it says anything."""
        return self.frames >= FEWEST_FRAMES and abs(self.line.r) >= LEAST_R


@dataclass(frozen=True)
class Verdict:
    """What is wrong with whole kinds of label.

    Attributes
    ----------
    faults
        At most one per kind, and an order of the stress; empty: they agree, or nothing can be said.
    certain
        For each fault, whether no other explanation comes near.
    before, after
        All comparisons, with the labels as they are and without the faults; empty where nothing was found.
    stiffness
        By kind, of a fit to it alone, eV/Angstrom^2, median over the probes; None where it is not known.
    incoherent
        Kinds whose labels do not follow from the geometries.
    """

    faults: tuple[Fault, ...]
    certain: tuple[bool, ...]
    before: tuple[Comparison, ...]
    after: tuple[Comparison, ...]
    stiffness: dict[KindName, float | None]
    incoherent: tuple[KindName, ...] = ()


@dataclass(frozen=True, eq=False)
class Question:
    """Rows and labels to be compared: F frames, M columns.

    Attributes
    ----------
    rows, known
        Of the same frames.
    level
        (F,) numbers: energies are compared within a level only, so that offsets do not count.
    stiffness
        (P, M) rows of the probes.
    """

    rows: Rows
    known: Known
    level: np.ndarray
    stiffness: np.ndarray

    @cached_property
    def moved(self) -> np.ndarray:
        """(3 N,) bool: force components that symmetry does not keep at zero."""
        return moved(self.rows)

    def coefficients(self, kind: KindName, known: Known) -> np.ndarray | None:
        """Fit the force field to one kind of label alone; None where there are too few."""
        block = self.block(kind, known)
        if block is None or len(np.unique(block.frame)) < FEWEST_FRAMES:
            return None
        return robust_fit([block])[0][: self.rows.energy.shape[1]]

    def block(self, kind: KindName, known: Known) -> Block | None:
        """Rows and labels of one kind, for a fit; energies have a free constant for each level."""
        rows = self.rows
        if kind == "energy":
            use = np.flatnonzero(np.isfinite(known.energy) & rows.sound)
            levels, number = np.unique(self.level[use], return_inverse=True)
            constants = np.eye(len(levels))[number]
            y = known.energy[use] / known.n_atoms[use]
            middle = np.array([np.median(y[number == k]) for k in range(len(levels))])
            return Block(np.hstack([rows.energy[use], constants]), y - middle[number], use) if len(use) else None
        M = rows.energy.shape[1]
        if kind == "forces":
            frame = known.frame_of_row
            use = np.flatnonzero(np.isfinite(known.forces) & rows.sound[frame] & self.moved)
            use = use[:: 1 + len(use) // _FORCE_ROWS]
            return Block(rows.forces[use], known.forces[use], frame[use]) if len(use) else None
        frame = np.repeat(np.arange(len(rows.frames)), 6)
        y = known.virial.ravel()
        use = np.isfinite(y) & rows.sound[frame]
        return Block(rows.strain.reshape(-1, M)[use], y[use], frame[use]) if use.any() else None

    def compare(self, source: KindName, coefficients: np.ndarray, target: KindName, known: Known) -> Comparison:
        """Regress labels of one kind on what a fit to another says."""
        block = self.block(target, known)
        if block is None:
            return Comparison(source, target, Line(0.0, float("inf"), 0.0, 0), 0)
        x = block.rows[:, : len(coefficients)] @ coefficients
        y, frame = block.labels, block.frame
        if target == "energy":
            bucket = self.level[frame]
            if source == "forces":
                with np.errstate(invalid="ignore"):
                    size = np.round(np.log(np.nan_to_num(self.rows.volume[frame], nan=1.0)) / _SAME_CELL)
                bucket = np.unique(np.stack([bucket, size]), axis=1, return_inverse=True)[1].ravel()
            count = np.bincount(bucket)[bucket]
            use = count >= 3
            x, y, frame = _centred(x[use], bucket[use]), _centred(y[use], bucket[use]), frame[use]
        if target == "forces":
            use = np.abs(y) > 0
            x, y, frame = x[use], y[use], frame[use]
        return Comparison(source, target, robust_line(x, y, frame), len(np.unique(frame)))


def moved(rows: Rows) -> np.ndarray:
    """(3 N,) bool: force components that symmetry does not keep at zero."""
    length = np.sqrt(np.einsum("rm,rm->r", rows.forces, rows.forces))
    strain = np.sqrt(np.einsum("fam,fam->fa", rows.strain, rows.strain))  # the same by unit of strain, never all zero
    usual = max(float(np.sqrt(np.mean(strain**2))), float(np.sqrt(np.mean(length**2))))
    return np.asarray(length > _MOVED * usual)


def _centred(values: np.ndarray, bucket: np.ndarray) -> np.ndarray:
    """Take the median of its bucket off each value."""
    if not len(values):
        return values
    _, number = np.unique(bucket, return_inverse=True)
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number))
    middles = np.array([np.median(part) for part in np.split(values[order], ends[:-1])])
    return np.asarray(values - middles[number])


@dataclass(frozen=True, eq=False)
class _Variant:
    """Labels of one kind, read in one way."""

    faults: tuple[Fault, ...]  # those that are no plain factor; factor 1
    known: Known
    coefficients: np.ndarray | None
    stiffness: float | None


def judge_agreement(question: Question) -> Verdict:
    """Find the known faults under which all kinds of label agree best."""
    asked = question
    order = _order(question)
    if order is not None:
        question = replace(question, known=question.known.undone([order[0]]))
    loose = _incoherent(question, question.known)
    for kind in loose:
        nothing = np.full_like(getattr(question.known, kind), np.nan)
        question = replace(question, known=replace(question.known, **{kind: nothing}))
    plain = {kind: _variant(question, kind, ()) for kind in KINDS}
    variants = {kind: [plain[kind]] for kind in KINDS}
    if plain["energy"].coefficients is not None:
        variants["energy"].append(_variant(question, "energy", _shapes(ENERGY_FAULTS)[0]))
    if plain["stress"].coefficients is not None:
        variants["stress"] += [_variant(question, "stress", shape) for shape in _shapes(STRESS_FAULTS)]
    lines = {
        (a, i, b, j): _both(question, a, x, b, y)
        for a, b in PAIRS
        for i, x in enumerate(variants[a])
        for j, y in enumerate(variants[b])
    }
    costs = _costs(variants, lines)
    chosen = costs[0][1]
    if costs[0][0] > next(cost for cost, none in costs if not any(none)) - _LEAST_LEAD:
        chosen = (None, None, None)
    found = tuple(f for f in chosen if f is not None)
    certain = tuple(_lead(costs, f) > 4.0 for f in found)
    if order is not None:
        found, certain = (order[0], *found), (order[1], *certain)
    return Verdict(
        found,
        certain,
        _comparisons(asked, asked.known) if found or loose else (),
        _comparisons(asked, asked.known.undone(found)) if found else (),
        {kind: plain[kind].stiffness for kind in KINDS},
        loose,
    )


def _incoherent(question: Question, known: Known) -> tuple[KindName, ...]:
    """Find kinds of label that a fit to a half of the frames cannot tell of the other half, though there are plenty."""
    out: list[KindName] = []
    M = question.rows.energy.shape[1]
    for kind in ("forces", "stress"):
        block = question.block(kind, known)
        if block is None or len(block.labels) < _PLENTY * M or len(np.unique(block.frame)) < _PLENTY * FEWEST_FRAMES:
            continue
        x = np.empty(len(block.labels))
        for k in (0, 1):
            seen = block.frame % 2 != k
            if seen.all() or not seen.any():
                break
            part = Block(block.rows[seen], block.labels[seen], block.frame[seen])
            x[~seen] = block.rows[~seen] @ robust_fit([part])[0]
        else:
            if robust_line(x, block.labels, block.frame).r < _NOTHING:
                out.append(kind)
    return tuple(out)


_Lines = dict[tuple[KindName, int, KindName, int], list[Comparison]]


def _costs(variants: dict[KindName, list[_Variant]], lines: _Lines) -> list[tuple[float, tuple[Fault | None, ...]]]:
    """Return what each combination of faults of at most two kinds costs, the cheapest first."""
    faults: dict[KindName, tuple[Fault, ...]] = {
        "energy": ENERGY_FAULTS,
        "forces": FORCE_FAULTS,
        "stress": STRESS_FAULTS,
    }
    there = {kind: variants[kind][0].coefficients is not None for kind in KINDS}
    alone = {kind for kind in KINDS if not any(c.frames >= FEWEST_FRAMES for c in _with(kind, lines))}
    costs: list[tuple[float, tuple[Fault | None, ...]]] = []
    for chosen in product(*((None, *(faults[kind] if there[kind] else ())) for kind in KINDS)):
        if sum(fault is not None for fault in chosen) > 2:
            continue
        reading = dict(zip(KINDS, chosen, strict=True))
        place = {kind: _place(variants[kind], fault) for kind, fault in reading.items()}
        factor = {kind: 1.0 if fault is None else fault.factor for kind, fault in reading.items()}
        cost = sum(_prior(fault) for fault in chosen)
        mended: set[KindName] = set()
        for a, b in PAIRS:
            both = lines[a, place[a], b, place[b]]
            misfit = _misfit_of(both, factor[a] / factor[b])
            cost += (misfit or 0.0) + _looseness(both)
            if misfit is not None and misfit < _AGREES and _cohere(both):
                before = lines[a, 0, b, 0]
                if not (_cohere(before) and (_misfit_of(before, 1.0) or 0.0) < _AGREES):
                    mended |= {a, b}
        if any(fault is not None and fault.kind not in mended | alone for fault in chosen):
            continue  # it has to make labels go with others that they did not go with
        cost += sum(_strangeness(variants[kind][place[kind]], factor[kind]) for kind in KINDS)
        costs.append((cost, chosen))
    return sorted(costs, key=lambda item: item[0])


def _with(kind: KindName, lines: _Lines) -> Iterator[Comparison]:
    """Yield the comparisons of a kind of label, as it is, with the others."""
    for (a, i, b, j), both in lines.items():
        if kind in (a, b) and i == j == 0:
            yield from both


def _misfit_of(both: list[Comparison], factor: float) -> float | None:
    """Return what it costs that two kinds go together so, the first times `factor`; None: nothing can be said."""
    tight = max((c for c in both if c.believed), key=lambda c: abs(c.line.r), default=None)
    if tight is None:
        return None
    return _misfit(tight, 1 / factor if tight.source == both[0].source else factor)


def _cohere(both: list[Comparison]) -> bool:
    """Tell whether slopes there and back are each other's inverses, as those of any factor are, but for scatter."""
    telling = [comparison for comparison in both if comparison.frames >= FEWEST_FRAMES]
    if len(telling) == 1:  # frames of other sizes and formulas have no energies to compare forces with
        return abs(telling[0].line.r) > _ALONE
    if len(telling) < 2 or not all(comparison.believed for comparison in telling):
        return False
    return _THERE_AND_BACK[0] < telling[0].line.slope * telling[1].line.slope < _THERE_AND_BACK[1]


def _shapes(faults: tuple[Fault, ...]) -> list[tuple[Fault, ...]]:
    """Return the faults that are more than a factor, once each, with factor 1."""
    shapes = {(f.per_atom, f.per_volume): replace(f, factor=1.0) for f in faults if f.per_atom or f.per_volume}
    return [(fault,) for fault in shapes.values()]


def _place(variants: list[_Variant], fault: Fault | None) -> int:
    if fault is None or not (fault.per_atom or fault.per_volume):
        return 0
    same = [
        i
        for i, v in enumerate(variants)
        if v.faults and (v.faults[0].per_atom, v.faults[0].per_volume) == (fault.per_atom, fault.per_volume)
    ]
    return same[0]


def _variant(question: Question, kind: KindName, faults: tuple[Fault, ...]) -> _Variant:
    known = question.known.undone(faults)
    coefficients = question.coefficients(kind, known)
    stiffness = None
    if coefficients is not None and len(question.stiffness):
        probes = question.stiffness @ coefficients
        middle = float(np.median(probes))
        if np.mean(np.sign(probes) == np.sign(middle)) >= 0.75:
            stiffness = middle
    return _Variant(faults, known, coefficients, stiffness)


def _both(question: Question, a: KindName, x: _Variant, b: KindName, y: _Variant) -> list[Comparison]:
    """Compare two kinds of label both ways."""
    out = []
    for source, target, fitted, labels in ((a, b, x, y), (b, a, y, x)):
        if fitted.coefficients is not None and labels.coefficients is not None:
            out.append(question.compare(source, fitted.coefficients, target, labels.known))
    return out


def _comparisons(question: Question, known: Known) -> tuple[Comparison, ...]:
    out = []
    for source in KINDS:
        coefficients = question.coefficients(source, known)
        if coefficients is not None:
            out += [question.compare(source, coefficients, target, known) for target in KINDS if target != source]
    return tuple(out)


def _prior(fault: Fault | None) -> float:
    if fault is None:
        return 0.0
    plain_sign = fault.rule.endswith("sign")
    return _AT_FAULT + (_EXTRA_SIGN if fault.factor < 0 and not plain_sign and not fault.per_volume else 0.0)


def _misfit(comparison: Comparison, factor: float) -> float:
    """Return what it costs that labels times `factor` have this slope on the predictions."""
    slope, r = comparison.line.slope * factor, comparison.line.r
    if slope <= 0:
        return _SIGN_COST
    thinning = np.log(r * r)  # errors of the predictions flatten the line to r^2 at worst
    off = np.log(slope) - 0.5 * thinning
    return float(min(off**2 / (_SLOPE_ERROR**2 + thinning**2), _MOST_COST))


def _looseness(both: list[Comparison]) -> float:
    """Return what it costs that even the better of two comparisons is no line: the logarithm of what is left."""
    left = [1 - c.line.r**2 for c in both if c.frames >= FEWEST_FRAMES]
    points = max((c.frames for c in both), default=0)
    return 0.5 * min(points / 4, 6.0) * float(np.log(max(min(left), 0.02) / 0.02)) if left else 0.0


def _strangeness(variant: _Variant, factor: float) -> float:
    """Return what it costs that a random displacement of all atoms changes the energy so much."""
    stiffness = variant.stiffness
    if stiffness is None or stiffness == 0:
        return _NO_STIFFNESS if variant.coefficients is not None else 0.0
    if stiffness * factor < 0:
        return _SIGN_COST / 2
    return float(0.5 * (np.log(stiffness * factor / USUAL_STIFFNESS) / STIFFNESS_SPREAD) ** 2)


def _lead(costs: list[tuple[float, tuple[Fault | None, ...]]], fault: Fault) -> float:
    """By how much the best hypothesis beats the best one without this fault."""
    others = [cost for cost, chosen in costs if fault not in chosen]
    return min(others) - costs[0][0] if others else float("inf")


def _order(question: Question) -> tuple[Fault, bool] | None:
    """Find the order of the stress components, from stresses alone.

    No potential that does not change under rotation can give a crystal under one shear the stress of another. So a fit
    to the stresses meets those of frames that it has not seen in one order only, whatever their unit and sign.
    """
    known, rows = question.known, question.rows
    use = np.flatnonzero(np.isfinite(known.stress).all(axis=1) & rows.sound)
    if len(use) < 2 * FEWEST_FRAMES:
        return None
    X, y = rows.strain[use], known.virial[use]
    now = _left(X, y)
    best: tuple[float, Fault, bool] | None = None
    for fault in ORDER_FAULTS:
        turned = y[:, list(fault.order or ())]
        then = _left(X, turned)
        told = np.linalg.norm(turned - y, axis=1) > 3 * np.minimum(now, then)  # in other frames all orders are alike
        if told.sum() < FEWEST_FRAMES:
            continue
        better = float(np.mean((then < now)[told]))
        ratio = float(np.median(then[told]) / max(float(np.median(now[told])), 1e-300))
        if better > _MOST_VOTES and ratio < _LESS_LEFT and (best is None or ratio < best[0]):
            best = (ratio, fault, better > 0.9 and ratio < 0.3)
    return None if best is None else best[1:]


def _left(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return what a fit to the stresses of the other half leaves of each frame's stress, (R,)."""
    left = np.empty(len(y))
    half = np.arange(len(y)) % 2
    for k in (0, 1):
        seen = half != k
        block = Block(X[seen].reshape(6 * int(seen.sum()), -1), y[seen].ravel(), np.repeat(np.arange(seen.sum()), 6))
        left[~seen] = np.linalg.norm(y[~seen] - X[~seen] @ robust_fit([block])[0], axis=1)
    return left
