"""What labels a frame should have, and how sure that is: a robust force field and the frames that look alike.

The force field is fitted to all kinds of label at once, and a frame is predicted by a fit that has not seen it. There
are two: one that weighs labels by their scatter among look-alikes, as a likelihood would, which no wrong label can
drag, and one that weighs all labels alike but those that are far off, which knows the rare frames better; of each frame
and kind the one is asked that does better on the frames that look alike. How far off such a prediction may be is not
the same everywhere: a hot liquid is harder than a crystal, an extreme compression harder than both. So a residual is
measured by those of the frames that look most alike; more is allowed where the fit leans on the frame (the variance of
a prediction, or leverage: R. D. Cook, Technometrics 19, 15 (1977)), where a label differs from those of the look-alikes
by a large step, where the two fits differ, and where a frame is beyond all others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.checks.agreement import moved
from mlff_curate.checks.look_alikes import Neighbours, outermost
from mlff_curate.checks.robust import Block, plain_fit, robust_fit
from mlff_curate.linear.ridge import ENERGY_WEIGHT, STRESS_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlff_curate.checks.basis import Rows
    from mlff_curate.checks.known import Known

FOLDS = 4

EVEN_ERRORS = {"energy": 1 / ENERGY_WEIGHT, "forces": 1.0, "stress": 1 / STRESS_WEIGHT}
"""Of the fit that weighs all frames alike, relative to each other: those of the linear force field."""

EVEN_ROUNDS = 3

CLOSEST = 3
"""Look-alikes by which the residual is measured as well: a rare kind of frame has no more."""

MOST_OF_CLOSEST = 4.0
"""Times what all look-alikes say: energies and stresses are given no more for the sake of those."""

FAR = 4.5
"""Residuals, in units of those of look-alikes, from which on it does not learn a label."""

TRUSTED = 0.03
"""Of the step in a label from the look-alikes to a frame, as it is predicted: no model knows that step better. Series
of compressions end in steps of tens of eV/atom."""

END = 1.5
"""A frame that nothing lies behind is beyond all others if its look-alikes are so many times further than theirs."""

MAY_DIFFER = 3.0
"""A fit speaks against another if its prediction is so many of its own scales off."""

FEWEST_FRAMES = 60
"""With fewer frames that have labels of one kind no frame has others that look alike: each is an extrapolation."""

_SHARE = 0.75  # of the look-alikes have a residual below their scale
_LEAST = 0.3  # of the median scale of all frames: no frame is thought to be predicted better than this
_FEATURES = 24  # leading columns that tell how much frames look alike
_FORCE_ROWS = 15_000  # fitted to: more teach nothing to 250 columns
_RELATIVE = 4.0  # residuals: a smaller force is known by no share of itself
_FEWEST = 40  # frames with a kind of label, for it to be judged


@dataclass(frozen=True, eq=False)
class Residuals:
    """Label minus prediction of one kind for F frames.

    Attributes
    ----------
    predicted
        (F,) energies of cells in eV, (3 N,) forces or (F, 6) stress times volume per atom in eV.
    size
        (F,) size of the residual: of the energy per atom, root mean square over the components of forces or stress;
        nan: no label, or not judged.
    scale
        (F,) what it is among look-alikes, in the same unit; inf: not known.
    """

    predicted: np.ndarray
    size: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True, eq=False)
class Judgement:
    """Residuals of F frames.

    Attributes
    ----------
    energy, forces, stress
        By kind.
    largest
        Forces again, by the largest residual on one atom, eV/Angstrom.
    shear
        Stress again, by its components yz, xz, xy.
    lean
        (F,) signed residual of the energy per atom, eV.
    worst_atom
        (F,) atom with the largest residual of the force; -1: not judged.
    free
        (F,) bool: forces that symmetry does not keep at zero.
    end
        (F,) bool: nothing lies beyond it, and its look-alikes are far, or it is the most dense or thin of all; a
        prediction is an extrapolation.
    """

    energy: Residuals
    forces: Residuals
    stress: Residuals
    largest: Residuals
    shear: Residuals
    lean: np.ndarray
    worst_atom: np.ndarray
    free: np.ndarray
    end: np.ndarray


@dataclass(frozen=True, eq=False)
class _Fitted:
    coefficients: np.ndarray  # (M + S,)
    covariance: np.ndarray  # (M + S, M + S)


@dataclass(frozen=True, eq=False)
class _Sizes:
    """Sizes of residuals of F frames by kind, and the variance of the prediction in units of the noise."""

    size: dict[str, np.ndarray]
    variance: dict[str, np.ndarray]
    lean: np.ndarray
    worst_atom: np.ndarray
    free: np.ndarray
    volume: np.ndarray
    predicted: dict[str, np.ndarray]
    value: dict[str, np.ndarray]  # (F, d) what is predicted, to be compared between frames; forces by their size


_KINDS = ("energy", "forces", "stress", "largest", "shear")


_PREDICTED = {"largest": "forces", "shear": "stress"}


@dataclass(frozen=True, eq=False)
class _Part:
    """A robust force field with what it was off by on frames that it had not seen."""

    final: _Fitted
    sizes: _Sizes  # cross-validated, of the frames learned from

    def judged(self, sizes: _Sizes, neighbours: Neighbours, end: np.ndarray) -> Judgement:
        """Measure residuals by those of look-alikes."""
        scale = {kind: _scales(neighbours, sizes, kind, self.sizes) for kind in _KINDS}
        parts = {k: Residuals(sizes.predicted[_PREDICTED.get(k, k)], sizes.size[k], scale[k]) for k in _KINDS}
        return Judgement(**parts, lean=sizes.lean, worst_atom=sizes.worst_atom, free=sizes.free, end=end)


def _ends(neighbours: Neighbours, volume: np.ndarray, learned: np.ndarray) -> np.ndarray:
    company = neighbours.among(np.arange(len(learned)))
    return np.asarray((company.end & (company.far > END)) | outermost(volume, learned, company.index))


@dataclass(frozen=True, eq=False)
class LocalModel:
    """Robust force fields with what they were off by on frames that they had not seen.

    Attributes
    ----------
    level
        (S,) energy per atom of each species that the energies are counted from, eV.
    """

    level: np.ndarray
    _parts: tuple[_Part, ...]
    _neighbours: Neighbours
    _frame_of_row: np.ndarray

    @cached_property
    def own(self) -> Judgement:
        """Of the frames learned from, each by a fit that has not seen it."""
        volume = self._parts[0].sizes.volume
        end = _ends(self._neighbours, volume, volume)
        return _better([part.judged(part.sizes, self._neighbours, end) for part in self._parts], self._frame_of_row)

    def judge(self, rows: Rows, known: Known) -> Judgement:
        """Judge frames that were not learned from."""
        neighbours = self._neighbours.others(_features(rows))
        end = _ends(neighbours, rows.volume, self._parts[0].sizes.volume)
        sizes = [_sizes_of(part.final, rows, known, self.level) for part in self._parts]
        judged = [part.judged(s, neighbours, end) for part, s in zip(self._parts, sizes, strict=True)]
        return _better(judged, known.frame_of_row)


def _better(judgements: list[Judgement], frame_of_row: np.ndarray) -> Judgement:
    """Take each kind of label of each frame from the fit that does best on its look-alikes.

    What a frame's own label is off by has no say in it. Where the other fit says something else by more than it may be
    off, neither is believed further than that.
    """

    def take(arrays: list[np.ndarray], which: np.ndarray) -> np.ndarray:
        return np.asarray(np.stack(arrays)[which, np.arange(len(which))])

    parts = {}
    doubt: dict[str, np.ndarray] = {}
    by = {
        kind: np.argmin([getattr(j, kind).scale for j in judgements], axis=0) for kind in ("energy", "forces", "stress")
    }
    for kind in _KINDS:
        label = _PREDICTED.get(kind, kind)
        which = by[label]
        own = [getattr(j, kind) for j in judgements]
        predicted = take([r.predicted for r in own], which[frame_of_row] if label == "forces" else which)
        scale = take([r.scale for r in own], which)
        if kind == label:
            doubt[kind] = _doubt(predicted, scale, own, kind, frame_of_row)
        parts[kind] = Residuals(predicted, take([r.size for r in own], which), np.hypot(scale, doubt[label]))
    return Judgement(
        **parts,
        lean=take([j.lean for j in judgements], by["energy"]),
        worst_atom=take([j.worst_atom for j in judgements], by["forces"]),
        free=judgements[0].free,
        end=judgements[0].end,
    )


def _doubt(
    predicted: np.ndarray, scale: np.ndarray, fits: list[Residuals], kind: str, frame_of_row: np.ndarray
) -> np.ndarray:
    """Return by how much the fits differ from `predicted` beyond what they may be off by themselves, (F,)."""
    n = np.bincount(frame_of_row) / 3
    doubt = np.zeros(len(scale))
    for fit in fits:
        off = fit.predicted - predicted
        if kind == "energy":
            apart = np.abs(off) / n
        elif kind == "forces":
            apart = np.sqrt(np.bincount(frame_of_row, off**2) / (3 * n))
        else:
            apart = np.sqrt(np.mean(off**2, axis=1))
        with np.errstate(invalid="ignore"):
            beyond = apart - MAY_DIFFER * fit.scale
        doubt = np.maximum(doubt, np.nan_to_num(beyond, nan=0.0, posinf=0.0))
    return doubt


def local_model(rows: Rows, known: Known, seed: int = 0) -> LocalModel | None:
    """Fit the force fields and cross-validate them; None: labels are too few.

    Parameters
    ----------
    rows, known
        Of F frames, without faults that all of them share and without isolated atoms (no labels there).
    seed
        Of the folds.
    """
    level = _level(rows, known)
    F = len(rows.frames)
    rng = np.random.default_rng([seed, 2])
    some = _some_rows(rows, known, rng)
    blocks = _blocks(rows, known, level, np.arange(F), some, None)
    if max((len(np.unique(block.frame)) for block in blocks), default=0) < FEWEST_FRAMES:
        return None
    neighbours = Neighbours.of(_features(rows))
    learner = _Learner(rows, known, level, some, rng.permutation(F) % FOLDS, neighbours)
    robust = _robust_part(learner)
    if robust is None:
        return None
    even = _even_part(learner, robust)
    parts = (robust,) if even is None else (robust, even)
    return LocalModel(level, parts, neighbours, known.frame_of_row)


@dataclass(frozen=True, eq=False)
class _Learner:
    """What force fields learn from."""

    rows: Rows
    known: Known
    level: np.ndarray
    some: np.ndarray  # force rows
    fold: np.ndarray  # (F,)
    neighbours: Neighbours

    def cross_validated(self, fit: Callable[[np.ndarray], _Fitted | None]) -> _Sizes | None:
        """Predict each frame by a fit to the other folds; None: one could not be made."""
        parts = []
        for k in range(FOLDS):
            fitted = fit(np.flatnonzero(self.fold != k))
            if fitted is None:
                return None
            parts.append(fitted)
        return _merged(parts, self.fold, self.rows, self.known, self.level)


def _robust_part(learner: _Learner) -> _Part | None:
    """Fit with weights that fall where labels are off, and by what they are off by among look-alikes."""
    rows, known, level, some = learner.rows, learner.known, learner.level, learner.some
    scale: dict[str, np.ndarray] | None = None
    sizes: _Sizes | None = None
    for rounds in (5, 8):
        fit = partial(_fit, rows, known, level, some=some, scale=scale, rounds=rounds)
        sizes = learner.cross_validated(fit)
        if sizes is None:
            return None
        scale = _scales_of_labels(learner.neighbours, sizes)
    final = _fit(rows, known, level, np.arange(len(rows.frames)), some, scale, 8)
    return None if final is None or sizes is None else _Part(final, sizes)


def _even_part(learner: _Learner, first: _Part) -> _Part | None:
    """Fit by plain least squares to the labels that are not far off, again as these become fewer.

    Weights by what look-alikes are off by keep a fit from learning what it has begun badly; here all count alike.
    """
    rows, known, level, some = learner.rows, learner.known, learner.level, learner.some
    sizes = first.sizes
    for _ in range(EVEN_ROUNDS):
        clean = _without_far(known, sizes, _scales_of_labels(learner.neighbours, sizes))
        fit = partial(_even_fit, rows, clean, level, some=some)
        again = learner.cross_validated(fit)
        if again is None:
            return None
        sizes = again
    final = fit(np.arange(len(rows.frames)))
    return None if final is None else _Part(final, sizes)


def _scales_of_labels(neighbours: Neighbours, sizes: _Sizes) -> dict[str, np.ndarray]:
    return {kind: _scales(neighbours, sizes, kind, sizes) for kind in ("energy", "forces", "stress")}


def _without_far(known: Known, sizes: _Sizes, scale: dict[str, np.ndarray]) -> Known:
    with np.errstate(invalid="ignore"):
        far = {kind: sizes.size[kind] > FAR * scale[kind] for kind in scale}
    return replace(
        known,
        energy=np.where(far["energy"], np.nan, known.energy),
        forces=np.where(far["forces"][known.frame_of_row], np.nan, known.forces),
        stress=np.where(far["stress"][:, None], np.nan, known.stress),
    )


def _even_fit(rows: Rows, known: Known, level: np.ndarray, frames: np.ndarray, some: np.ndarray) -> _Fitted | None:
    some = some[np.isfinite(known.forces[some])]
    usual = {kind: np.full(len(rows.frames), value) for kind, value in EVEN_ERRORS.items()}
    blocks = _blocks(rows, known, level, frames, some, usual)
    return _Fitted(*plain_fit(blocks)) if blocks else None


def _level(rows: Rows, known: Known) -> np.ndarray:
    """Energies per atom by species, (S,), by the least absolute residuals; zero where nothing is known."""
    use = np.isfinite(known.energy)
    S = rows.composition.shape[1]
    if not use.any():
        return np.zeros(S)
    y, C = known.energy[use] / known.n_atoms[use], rows.composition[use]
    weight = np.ones(len(y))
    level = np.zeros(S)
    for _ in range(30):
        level = np.linalg.pinv(C * weight[:, None]) @ (y * weight)
        weight = 1 / np.sqrt(np.maximum(np.abs(y - C @ level), 1e-3))
    return np.asarray(level)


def _some_rows(rows: Rows, known: Known, rng: np.random.Generator) -> np.ndarray:
    """Return the force rows that are fitted to."""
    use = np.flatnonzero(np.isfinite(known.forces) & moved(rows) & rows.sound[known.frame_of_row])
    return use if len(use) <= _FORCE_ROWS else np.sort(rng.choice(use, _FORCE_ROWS, replace=False))


def _blocks(
    rows: Rows,
    known: Known,
    level: np.ndarray,
    frames: np.ndarray,
    some: np.ndarray,
    scale: dict[str, np.ndarray] | None,
) -> list[Block]:
    """Rows and labels of some frames; kinds that are there in a few frames only are left out."""
    S = rows.composition.shape[1]
    chosen = np.zeros(len(rows.frames), dtype=bool)
    chosen[frames] = True
    chosen &= rows.sound
    blocks = []
    use = np.flatnonzero(chosen & np.isfinite(known.energy))
    if len(use) >= _FEWEST:
        y = known.energy[use] / known.n_atoms[use] - rows.composition[use] @ level
        X = np.hstack([rows.energy[use], rows.composition[use]])
        blocks.append(Block(X, y, use, None if scale is None else scale["energy"][use]))
    frame = known.frame_of_row[some]
    mine = chosen[frame]
    if len(np.unique(frame[mine])) >= _FEWEST:
        X = np.pad(rows.forces[some[mine]], ((0, 0), (0, S)))
        s = None if scale is None else scale["forces"][frame[mine]]
        blocks.append(Block(X, known.forces[some[mine]], frame[mine], s))
    use = np.flatnonzero(chosen & np.isfinite(known.stress).all(axis=1))
    if len(use) >= _FEWEST:
        X = np.pad(rows.strain[use].reshape(6 * len(use), -1), ((0, 0), (0, S)))
        s = None if scale is None else np.repeat(scale["stress"][use], 6)
        blocks.append(Block(X, known.virial[use].ravel(), np.repeat(use, 6), s))
    return [b if b.scale is None else _finite(b) for b in blocks]


def _finite(block: Block) -> Block:
    """Give rows whose scale is not known the median scale."""
    assert block.scale is not None
    known = np.isfinite(block.scale) & (block.scale > 0)
    middle = float(np.median(block.scale[known])) if known.any() else 1.0
    return replace(block, scale=np.where(known, block.scale, middle))


def _fit(
    rows: Rows,
    known: Known,
    level: np.ndarray,
    frames: np.ndarray,
    some: np.ndarray,
    scale: dict[str, np.ndarray] | None,
    rounds: int,
) -> _Fitted | None:
    blocks = _blocks(rows, known, level, frames, some, scale)
    if not blocks:
        return None
    coefficients, covariance, _ = robust_fit(blocks, rounds)
    return _Fitted(coefficients, covariance)


def _sizes_of(fitted: _Fitted, rows: Rows, known: Known, level: np.ndarray) -> _Sizes:
    F, M = len(rows.frames), rows.energy.shape[1]
    w = fitted.coefficients[:M]
    n = known.n_atoms
    energy = rows.energy @ w + rows.composition @ (fitted.coefficients[M:] + level)
    forces = rows.forces @ w
    stress = rows.strain @ w
    lean = known.energy / n - energy
    off = (known.forces - forces).reshape(-1, 3)
    squares = (off**2).sum(axis=1)  # (N,)
    start = known.offset[:-1]
    mean = np.sqrt(np.add.reduceat(squares, start) / (3 * n))
    largest = np.sqrt(np.maximum.reduceat(squares, start))
    worst = np.full(F, -1)
    for i in np.flatnonzero(np.isfinite(largest)):
        worst[i] = int(np.argmax(squares[known.offset[i] : known.offset[i + 1]]))
    strain = (known.virial - stress) ** 2
    size = {
        "energy": np.abs(lean),
        "forces": mean,
        "stress": np.sqrt(strain.mean(axis=1)),
        "largest": largest,
        "shear": np.sqrt(strain[:, 3:].mean(axis=1)),
    }
    X = np.hstack([rows.energy, rows.composition])
    C = fitted.covariance
    variance = {"energy": np.einsum("fm,fm->f", X @ C, X)}
    Y = rows.strain[:, :3].sum(axis=1)  # the pressure stands for the six
    variance["stress"] = variance["shear"] = np.einsum("fm,fm->f", Y @ C[:M, :M], Y) / 3
    # one component of the first atoms stands for the forces of a frame
    pick = 3 * start + np.argmax(np.abs(forces.reshape(-1, 3)[start]), axis=1)
    Z = rows.forces[pick].astype(np.float64)
    variance["forces"] = variance["largest"] = np.einsum("fm,fm->f", Z @ C[:M, :M], Z)
    for values in size.values():
        values[~rows.sound] = np.nan
    strength = np.sqrt(np.add.reduceat((forces**2).reshape(-1, 3).sum(axis=1), start) / (3 * n))[:, None]
    value = {
        "energy": energy[:, None],
        "forces": strength,
        "largest": strength,
        "stress": stress,
        "shear": stress[:, 3:],
    }
    free = np.logical_or.reduceat(moved(rows), 3 * start)
    predicted = {"energy": energy * n, "forces": forces, "stress": stress}
    return _Sizes(size, variance, lean, worst, free, rows.volume, predicted, value)


def _merged(parts: list[_Fitted], fold: np.ndarray, rows: Rows, known: Known, level: np.ndarray) -> _Sizes:
    """Take each frame from the fit that has not seen it."""
    every = [_sizes_of(part, rows, known, level) for part in parts]
    of_row = fold[known.frame_of_row]

    def by_frame(arrays: list[np.ndarray]) -> np.ndarray:
        return np.asarray(np.stack(arrays)[fold, np.arange(len(fold))])

    return _Sizes(
        {k: by_frame([e.size[k] for e in every]) for k in _KINDS},
        {k: by_frame([e.variance[k] for e in every]) for k in _KINDS},
        by_frame([e.lean for e in every]),
        by_frame([e.worst_atom for e in every]),
        every[0].free,
        every[0].volume,
        {
            "energy": by_frame([e.predicted["energy"] for e in every]),
            "forces": np.stack([e.predicted["forces"] for e in every])[of_row, np.arange(len(of_row))],
            "stress": by_frame([e.predicted["stress"] for e in every]),
        },
        {k: by_frame([e.value[k] for e in every]) for k in _KINDS},
    )


def _features(rows: Rows) -> np.ndarray:
    """Return what frames look alike by, (F, d): their mean environments along the leading axes."""
    out: np.ndarray = np.ascontiguousarray(rows.energy[:, :_FEATURES], dtype=np.float32)
    return out


def _scales(neighbours: Neighbours, sizes: _Sizes, kind: str, learned: _Sizes) -> np.ndarray:
    """Return what residuals are among each frame's look-alikes, (F,); inf where too few are known."""
    there = np.flatnonzero(np.isfinite(learned.size[kind]))
    scale = np.full(len(neighbours.features), np.inf)
    if len(there) < _FEWEST:
        return scale
    asked = there if neighbours.own else np.arange(len(scale))
    company = neighbours.among(there)
    alike = company.index  # (A, k)
    noise = learned.size[kind] ** 2 / np.maximum(np.hypot(learned.size[kind], np.sqrt(learned.variance[kind])), 1e-300)
    found = np.quantile(noise[alike], _SHARE, axis=1)
    found = np.maximum(found, _LEAST * float(np.median(noise[there]))) * company.far**2
    value, values = sizes.value[kind][asked], learned.value[kind]
    if kind in ("forces", "largest"):
        found = np.maximum(found, _of_closest(noise, alike[:, :CLOSEST], value[:, 0], values[:, 0]))
    else:  # labels that are wrong together must not bear each other out
        closest = np.median(noise[alike[:, :CLOSEST]], axis=1)
        found = np.maximum(found, np.minimum(closest, MOST_OF_CLOSEST * found))
    step = value - np.median(values[alike], axis=1)
    squares = found**2 + sizes.variance[kind][asked] + TRUSTED**2 * np.mean(step**2, axis=1)
    scale[asked] = np.sqrt(squares)
    return scale


def _of_closest(noise: np.ndarray, closest: np.ndarray, strength: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Return what residuals of forces are of those that look most alike, (A,): a rare kind of frame has no others.

    Where these have small forces, and so small residuals, they tell nothing of a frame with large ones but the share.
    """
    known = np.maximum(strengths[closest], _RELATIVE * noise[closest])  # forces of zero have no share
    return np.asarray(np.median(noise[closest] * np.maximum(strength[:, None] / known, 1.0), axis=1))
