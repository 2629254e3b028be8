"""What labels a frame should have, and how sure that is: a robust force field and the frames that look alike.

The force field is fitted to all kinds of label at once, and a frame is predicted by a fit that has not seen it. There
are two: one that weighs each kind by its scatter, as a likelihood would, and one that leans on energies, of which there
are few; of each frame and kind the one is asked that does better on the frames that look alike. How far
off such a prediction may be is not the same everywhere: a hot liquid is harder than a crystal, an extreme compression
harder than both. So a residual is measured by those of the frames that look most alike, and more is allowed where a
frame is far from all others or rules the fit (its leverage: R. D. Cook, Technometrics 19, 15 (1977)).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.checks.agreement import moved
from mlff_curate.checks.robust import Block, robust_fit

if TYPE_CHECKING:
    from mlff_curate.checks.basis import Rows
    from mlff_curate.checks.known import Known

FOLDS = 4

EMPHASES = (1.0, 4.0)
"""Of the energies in the two fits. On Ta the second is off by 2 meV/atom where the first is off by 28, in the median;
extremes of compression and forces are the first one's."""

LOOK_ALIKES = 14
"""Frames that a residual is measured by."""

FEWEST_FRAMES = 60
"""With fewer frames that have labels of one kind no frame has others that look alike: each is an extrapolation."""

_SHARE = 0.75  # of the look-alikes have a residual below their scale
_LEAST = 0.3  # of the median scale of all frames: no frame is thought to be predicted better than this
_FEATURES = 24  # leading columns that tell how much frames look alike
_FORCE_ROWS = 15_000  # fitted to: more teach nothing to 250 columns
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
    """

    energy: Residuals
    forces: Residuals
    stress: Residuals
    largest: Residuals
    shear: Residuals
    lean: np.ndarray
    worst_atom: np.ndarray


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
    predicted: dict[str, np.ndarray]


_KINDS = ("energy", "forces", "stress", "largest", "shear")


_PREDICTED = {"largest": "forces", "shear": "stress"}


@dataclass(frozen=True, eq=False)
class _Part:
    """A robust force field with what it was off by on frames that it had not seen."""

    final: _Fitted
    features: np.ndarray  # (F, d)
    sizes: _Sizes  # cross-validated, of the frames learned from
    crowding: np.ndarray  # (F,) distance to look-alikes

    @cached_property
    def own(self) -> Judgement:
        return self._judged(self.sizes, self.features, own=True)

    def judge(self, rows: Rows, known: Known, level: np.ndarray) -> Judgement:
        return self._judged(_sizes_of(self.final, rows, known, level), _features(rows), own=False)

    def _judged(self, sizes: _Sizes, features: np.ndarray, *, own: bool) -> Judgement:
        scale = {
            kind: _scales(features, sizes, kind, self.features, self.sizes, self.crowding, own=own) for kind in _KINDS
        }
        parts = {k: Residuals(sizes.predicted[_PREDICTED.get(k, k)], sizes.size[k], scale[k]) for k in _KINDS}
        return Judgement(**parts, lean=sizes.lean, worst_atom=sizes.worst_atom)


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
    _frame_of_row: np.ndarray

    @cached_property
    def own(self) -> Judgement:
        """Of the frames learned from, each by a fit that has not seen it."""
        return _better([part.own for part in self._parts], self._frame_of_row)

    def judge(self, rows: Rows, known: Known) -> Judgement:
        """Judge frames that were not learned from."""
        return _better([part.judge(rows, known, self.level) for part in self._parts], known.frame_of_row)


def _better(judgements: list[Judgement], frame_of_row: np.ndarray) -> Judgement:
    """Take each kind of label of each frame from the fit that does best on its look-alikes.

    What a frame's own label is off by has no say in it.
    """

    def choose(kind: str) -> np.ndarray:
        return np.asarray(np.argmin([getattr(j, kind).scale for j in judgements], axis=0))

    def take(arrays: list[np.ndarray], which: np.ndarray) -> np.ndarray:
        return np.asarray(np.stack(arrays)[which, np.arange(len(which))])

    parts = {}
    by = {kind: choose(kind) for kind in ("energy", "forces", "stress")}
    for kind in _KINDS:
        label = _PREDICTED.get(kind, kind)
        which = by[label]
        own = [getattr(j, kind) for j in judgements]
        parts[kind] = Residuals(
            take([r.predicted for r in own], which[frame_of_row] if label == "forces" else which),
            take([r.size for r in own], which),
            take([r.scale for r in own], which),
        )
    return Judgement(
        **parts,
        lean=take([j.lean for j in judgements], by["energy"]),
        worst_atom=take([j.worst_atom for j in judgements], by["forces"]),
    )


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
    parts = [_part(rows, known, level, seed, emphasis) for emphasis in EMPHASES]
    whole = tuple(part for part in parts if part is not None)
    return LocalModel(level, whole, known.frame_of_row) if whole else None


def _part(rows: Rows, known: Known, level: np.ndarray, seed: int, emphasis: float) -> _Part | None:
    F = len(rows.frames)
    rng = np.random.default_rng([seed, 2])
    some = _some_rows(rows, known, rng)
    blocks = _blocks(rows, known, level, np.arange(F), some, None, emphasis)
    if max((len(np.unique(block.frame)) for block in blocks), default=0) < FEWEST_FRAMES:
        return None
    fold = rng.permutation(F) % FOLDS
    features = _features(rows)
    crowding = _crowding(features)
    scale: dict[str, np.ndarray] | None = None
    for rounds in (5, 8):
        parts = []
        for k in range(FOLDS):
            fitted = _fit(rows, known, level, np.flatnonzero(fold != k), some, scale, emphasis, rounds)
            if fitted is None:
                return None
            parts.append(fitted)
        sizes = _merged(parts, fold, rows, known, level)
        scale = {
            kind: _scales(features, sizes, kind, features, sizes, crowding, own=True)
            for kind in ("energy", "forces", "stress")
        }
    final = _fit(rows, known, level, np.arange(F), some, scale, emphasis, 8)
    return None if final is None else _Part(final, features, sizes, crowding)


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
    emphasis: float,
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
        blocks.append(Block(X, y, use, None if scale is None else scale["energy"][use], emphasis))
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
    emphasis: float,
    rounds: int,
) -> _Fitted | None:
    blocks = _blocks(rows, known, level, frames, some, scale, emphasis)
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
    return _Sizes(size, variance, lean, worst, {"energy": energy * n, "forces": forces, "stress": stress})


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
        {
            "energy": by_frame([e.predicted["energy"] for e in every]),
            "forces": np.stack([e.predicted["forces"] for e in every])[of_row, np.arange(len(of_row))],
            "stress": by_frame([e.predicted["stress"] for e in every]),
        },
    )


def _features(rows: Rows) -> np.ndarray:
    """Return what frames look alike by, (F, d): their mean environments along the leading axes."""
    out: np.ndarray = np.ascontiguousarray(rows.energy[:, :_FEATURES], dtype=np.float32)
    return out


def _nearest(features: np.ndarray, among: np.ndarray, k: int, *, own: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and indices of the k nearest, (F, k) each, without the frame itself."""
    from scipy.spatial import cKDTree

    k = min(k, len(among) - int(own))
    distance, index = cKDTree(among).query(features, k=k + int(own))
    if own:
        at = np.arange(len(features))[:, None]
        self_last = np.argsort(index == at, axis=1, kind="stable")[:, :k]  # a copy may come before the frame itself
        distance, index = np.take_along_axis(distance, self_last, 1), np.take_along_axis(index, self_last, 1)
    return distance.reshape(len(features), -1), index.reshape(len(features), -1)


def _crowding(features: np.ndarray) -> np.ndarray:
    """(F,) median distance to the look-alikes."""
    distance, _ = _nearest(features, features, LOOK_ALIKES, own=True)
    return np.asarray(np.median(distance, axis=1))


def _scales(
    features: np.ndarray,
    sizes: _Sizes,
    kind: str,
    among: np.ndarray,
    learned: _Sizes,
    crowding: np.ndarray,
    *,
    own: bool,
) -> np.ndarray:
    """Return what residuals are among each frame's look-alikes, (F,); inf where too few are known."""
    there = np.flatnonzero(np.isfinite(learned.size[kind]))
    scale = np.full(len(features), np.inf)
    if len(there) < _FEWEST:
        return scale
    k = min(LOOK_ALIKES, len(there) // 3)
    if own:
        place = np.full(len(among), -1)
        place[there] = np.arange(len(there))
        asked = there
        distance, index = _nearest(features[there], among[there], k, own=True)
    else:
        asked = np.arange(len(features))
        distance, index = _nearest(features, among[there], k, own=False)
    alike = there[index]  # (A, k)
    noise = learned.size[kind] / np.sqrt(1 + learned.variance[kind])
    found = np.quantile(noise[alike], _SHARE, axis=1)
    found = np.maximum(found, _LEAST * float(np.median(noise[there])))
    far = np.median(distance, axis=1) / np.maximum(np.median(crowding[alike], axis=1), 1e-12)
    scale[asked] = found * np.sqrt(1 + sizes.variance[kind][asked]) * np.maximum(far, 1.0) ** 2
    return scale
