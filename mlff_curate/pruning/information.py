"""What kept frames tell about energies and forces: the objective of our own selector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.pruning.kernel import KernelFeatures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlff_curate.pruning.floor import Missing
    from mlff_curate.pruning.problem import Pool

ENERGY_NOISE = 0.1
"""What a model cannot reproduce of an energy per atom, in units of the spread of energies that the kernel expects."""
FORCE_NOISE = 1.0
"""The same of a single environment."""
SKETCHES = 3
"""Random combinations of its environments that stand for what a frame tells about forces."""
LIKENESS = 0.1
"""Weight of likeness to the whole beside certainty: that alone chases what is rare, likeness alone what is common."""

OFFSET = 10.0
"""What the energy of an atom of each element may be on average, in the same units: as good as unknown. To hold it for
known would let the labels of one phase or composition tell, by the mean, the energy of a second one that has none."""

_BLOCK = 8192  # environments whose features are held at once
_FRAMES = 1024  # frames whose rows are copied at once
_REFRESHED = 48  # candidates whose gain is computed at once
_SMALLEST = 1e-9


class Information:
    """How much is known of the energies and forces of all frames once some are labelled and fitted.

    The model is a Gaussian process over environments with the kernel of :class:`KernelFeatures`. The energy per atom
    of a frame is the average over its environments; forces tell how environments differ within a frame, and the
    deviations of the environments from the frame's average stand for them. Labelling a frame of n environments with
    features phi_i adds to the precision matrix ``a a^T / s_E^2``, a the average about the mean of all groups and, for
    the energy of that mean, a column per element: OFFSET times its share of the atoms. It adds ``d_i d_i^T / s_F^2``
    for every deviation d_i, of which a few random combinations are kept. Noise is what no fit reproduces, the same in
    a frame over again: which adds nothing.

    What is minimised is the expected squared error over all frames, ``T(S) = tr C(S) M_E / t_E + tr C(S) M_F / t_F``
    (Bayesian I-optimal design: Chaloner and Verdinelli, Statist. Sci. 10, 273 (1995), section 2.2), with C(S) the
    posterior covariance, M_E and M_F the second moments of averages and of deviations with all configuration groups
    weighted alike, and t_E, t_F what is left of each when everything is labelled. No model is perfect, and where the
    kept frames are not like the whole its fault is not averaged over: so the squared distance ``D(S)`` between mean
    features of kept environments and of all groups (the maximum mean discrepancy: Gretton et al., J. Mach. Learn.
    Res. 13, 723 (2012), eq. 2) is minimised beside it, ``log T(S) + LIKENESS log D(S)``.

    The choice is greedy. Gains of T computed earlier serve as bounds, and only the most promising candidates are
    computed anew (after Minoux, 1978); the design criterion is only nearly submodular, so that this is a very good
    approximation and not exact.

    Frames over again (:attr:`Pool.same`) are chosen last.

    Memory is about ``4 (2 + SKETCHES) D`` bytes a frame, 11 kB, and half as much again and a copy of the views while
    it is built; time is linear in frames for each choice, most of it gains that are computed anew.

    Parameters
    ----------
    pool
        The frames.
    rng
        Draws the waves and the combinations.
    """

    def __init__(self, pool: Pool, rng: np.random.Generator) -> None:
        self.pool = pool
        everything = pool.given | pool.eligible | pool.demanding  # however much of it is there already
        wanted = np.flatnonzero(pool.demanding)
        self.sizes = np.diff(pool.first).astype(np.float64)
        average, combined = self._features(pool, rng)
        weight = np.zeros(pool.frames)
        groups, group = np.unique(pool.group[wanted], return_inverse=True)
        weight[wanted] = (1.0 / np.bincount(group))[group] / max(len(groups), 1)
        self.average = (average - weight @ average).astype(np.float32)  # (F, D), about the mean of all groups
        self.original = np.arange(pool.frames)  # (F,) the first frame of the same geometry
        if pool.same is not None:
            _, index, inverse = np.unique(pool.same, return_index=True, return_inverse=True)
            self.original = index[inverse]
            again = np.flatnonzero(self.original != np.arange(pool.frames))
            combined[again] = combined[self.original[again]]
        D = average.shape[1]
        columns = D + pool.composition.shape[1]
        self.rows = np.zeros((pool.frames, 1 + SKETCHES, columns), np.float32)
        self.rows[:, 0, :D] = self.average / ENERGY_NOISE
        self.rows[:, 0, D:] = OFFSET / ENERGY_NOISE * pool.composition
        self.rows[:, 1:, :D] = combined / (FORCE_NOISE * np.sqrt(SKETCHES))

        self.prior = np.eye(columns)
        all_known = np.linalg.inv(self.prior + self.precision(np.flatnonzero(everything)))
        self.moment = np.zeros((columns, columns))
        for kind, per_row in ((slice(0, 1), weight), (slice(1, None), weight / self.sizes)):
            moment = self._second_moment(wanted, kind, per_row)
            left = float(np.sum(all_known * moment))
            self.moment += moment / left if left > 0 else 0.0
        self.mean_known = float(np.trace(self.moment[:D, :D]))
        self.everything_known = float(np.sum(all_known * self.moment))
        self.spread = np.einsum("fd,fd->f", self.average, self.average, dtype=np.float64)
        self.mean_spread = float(weight @ self.spread) or 1.0

    @staticmethod
    def _features(pool: Pool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return each frame's average features (F, D) and random combinations of its deviations (F, SKETCHES, D)."""
        rows = np.flatnonzero(pool.demanding[pool.owner]) if pool.demanding.any() else np.arange(len(pool.X))
        kernel = KernelFeatures.fit([X[rows] for X in pool.views], rng)
        sign = rng.integers(0, 2, (len(pool.X), SKETCHES), dtype=np.int8)
        average = np.empty((pool.frames, kernel.size), np.float32)
        combined = np.empty((pool.frames, SKETCHES, kernel.size), np.float32)
        frame = 0
        while frame < pool.frames:
            last = int(np.searchsorted(pool.first, pool.first[frame] + _BLOCK, side="right")) - 1
            last = min(max(last, frame + 1), pool.frames)
            block = slice(pool.first[frame], pool.first[last])
            starts, sizes = pool.first[frame:last] - pool.first[frame], np.diff(pool.first[frame : last + 1])
            features = kernel.transform([X[block] for X in pool.views])
            average[frame:last] = np.add.reduceat(features, starts, axis=0) / sizes[:, None]
            features -= np.repeat(average[frame:last], sizes, axis=0)
            for k in range(SKETCHES):
                signed = features * (2.0 * sign[block, k, None] - 1.0).astype(np.float32)
                combined[frame:last, k] = np.add.reduceat(signed, starts, axis=0)
            frame = last
        return average, combined

    def precision(self, frames: np.ndarray) -> np.ndarray:
        """Return (D + S, D + S), what labels of these frames add to the precision."""
        return self._second_moment(np.unique(self.original[frames]), slice(None), np.ones(len(self.rows)))

    def _second_moment(self, frames: np.ndarray, kind: slice, weight: np.ndarray) -> np.ndarray:
        """Return the sum over rows of one kind of ``weight row row^T``, (D + S, D + S), weight (F,) of each frame."""
        D = self.rows.shape[2]
        moment = np.zeros((D, D))
        for first in range(0, len(frames), _FRAMES):
            some = frames[first : first + _FRAMES]
            rows = self.rows[some, kind]
            part = (rows * np.sqrt(weight[some])[:, None, None]).reshape(-1, D).astype(np.float64)
            moment += part.T @ part
        return moment

    def share(self, uncertainty: float) -> float:
        """Return the share of what all frames tell that is told: 1 when everything is labelled.

        It is 0 where no more is known than the mean energy of each element would tell, and less never is: like the
        share of explained variance.
        """
        span = self.mean_known - self.everything_known
        return float(np.clip((self.mean_known - uncertainty) / span, 0.0, 1.0)) if span > 0 else 1.0

    def greedy(
        self,
        limit: int,
        slope: float = 0.0,
        progress: Callable[[int, int, str], None] | None = None,
        missing: Missing | None = None,
        after: Sequence[int] | np.ndarray = (),
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose eligible frames one by one, each time the one that is best for the objective.

        Parameters
        ----------
        limit
            At most so many.
        slope
            If not 0, stop at the knee: where the share lies highest above a line of this slope. Gains do not fall
            evenly: where the knee is higher than the start by less than one step of the line, nothing is chosen.
        progress
            Called with frames chosen, limit, and the share in words.
        missing
            If given, choose only among frames that represent something not yet represented.
        after
            Frames that are chosen already.

        Returns
        -------
        chosen, shares
            (K,) frames, and (K + 1,) the share before the first and after each.
        """
        state = _State(self)
        for frame in after:
            state.take(int(frame))
        chosen: list[int] = []
        shares = [self.share(state.uncertainty)]
        while len(chosen) < limit:
            frame = state.best(missing)
            if frame < 0:
                break
            state.take(frame)
            chosen.append(frame)
            shares.append(self.share(state.uncertainty))
            if missing is not None:
                missing.take(frame)
            if slope and _past_knee(shares, slope):
                break
            if progress is not None and len(chosen) % 16 == 0:
                progress(len(chosen), limit, f"coverage {shares[-1]:.4f}")
        if slope:
            above = np.array(shares) - slope * np.arange(len(shares))
            highest = int(above.argmax()) if above.max() - above[0] >= slope else 0
            chosen, shares = chosen[:highest], shares[: highest + 1]
        return np.array(chosen, dtype=np.int64), np.array(shares)

    def shares(self, chosen: np.ndarray) -> np.ndarray:
        """Return the shares before the first and after each frame chosen in this order, (K + 1,)."""
        state = _State(self)
        shares = [self.share(state.uncertainty)]
        for frame in chosen:
            state.take(int(frame))
            shares.append(self.share(state.uncertainty))
        return np.array(shares)


def _past_knee(shares: list[float], slope: float) -> bool:
    """Tell whether the share has not come off its highest point above the line for long enough."""
    above = np.array(shares) - slope * np.arange(len(shares))
    since = len(above) - 1 - int(above.argmax())
    return since >= max(16, len(above) // 4)


class _State:
    """What is known, and which candidate would add most."""

    def __init__(self, objective: Information) -> None:
        self.objective = objective
        pool = objective.pool
        given = np.flatnonzero(pool.given)
        self.labelled = np.zeros(pool.frames, bool)  # originals
        self.labelled[objective.original[given]] = True
        self.covariance = np.linalg.inv(objective.prior + objective.precision(given))
        self.spread = self.covariance @ objective.moment @ self.covariance
        self.uncertainty = float(np.sum(self.covariance * objective.moment))
        self.kept_sum = objective.sizes[given] @ objective.average[given].astype(np.float64)
        self.kept_size = float(objective.sizes[given].sum())
        self.unlike = self._unlike(float(self.kept_sum @ self.kept_sum), self.kept_size)
        self.products = self._products()
        self.bound = np.full(pool.frames, np.inf)
        self.fresh = np.zeros(pool.frames, bool)
        self.open = np.zeros(pool.frames, bool)
        self.open[pool.candidates] = True

    def _products(self) -> np.ndarray:
        """Return covariance and spread side by side, (D + S, 2 D + 2 S), so that rows meet both in one product."""
        return np.concatenate([self.covariance, self.spread], axis=1, dtype=np.float32, casting="same_kind")

    def _unlike(self, squared: np.ndarray | float, size: np.ndarray | float) -> np.ndarray:
        scale = self.objective.mean_spread
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(np.asarray(size) > 0, squared / np.square(size) / scale + _SMALLEST, 1.0)

    def best(self, missing: Missing | None = None) -> int:
        """Return the best candidate, or -1."""
        o = self.objective
        allowed = self.open if missing is None else self.open & missing.helped()
        if not allowed.any():
            return -1
        new = allowed & ~self.labelled[o.original]
        allowed = new if new.any() else allowed
        along = o.average @ self.kept_sum.astype(np.float32)
        squared = self.kept_sum @ self.kept_sum + 2.0 * o.sizes * along + o.sizes**2 * o.spread
        likeness = -LIKENESS * np.log(self._unlike(np.maximum(squared, 0.0), self.kept_size + o.sizes) / self.unlike)
        unknown = allowed & np.isinf(self.bound)
        if unknown.any():
            self._refresh(np.flatnonzero(unknown))
        score = np.where(allowed, likeness - np.log1p(-self._part(self.bound)), -np.inf)
        stale = np.flatnonzero(allowed & ~self.fresh)
        stale = stale[
            np.argsort(-score[stale], kind="stable")
        ]  # gains only fall: the order holds while some are renewed
        while not self.fresh[top := int(score.argmax())]:
            some, stale = np.sort(stale[:_REFRESHED]), stale[_REFRESHED:]
            self._refresh(some)
            score[some] = likeness[some] - np.log1p(-self._part(self.bound[some]))
        return top

    def _part(self, gain: np.ndarray) -> np.ndarray:
        return np.clip(gain / max(self.uncertainty, _SMALLEST), 0.0, 1.0 - _SMALLEST)

    def _refresh(self, frames: np.ndarray) -> None:
        """Compute the gains of T of these frames."""
        for first in range(0, len(frames), 512):
            some = frames[first : first + 512]
            rows = self.objective.rows[some]
            n, r, D = rows.shape
            both = (rows.reshape(-1, D) @ self.products).reshape(n, r, 2, D)
            known, gained = np.einsum("nrpd,nqd->pnrq", both, rows, optimize=True)
            solved = np.linalg.solve(known.astype(np.float64) + np.eye(r), gained)
            self.bound[some] = np.maximum(np.trace(solved, axis1=1, axis2=2), 0.0)
        self.fresh[frames] = True

    def take(self, frame: int) -> None:
        """Count a frame as labelled."""
        o = self.objective
        self.open[frame] = False
        self._keep(frame)
        if self.labelled[o.original[frame]]:
            return
        self.labelled[o.original[frame]] = True
        self.fresh[:] = False
        rows = o.rows[frame].astype(np.float64)
        seen = rows @ self.covariance
        values, vectors = np.linalg.eigh(seen @ rows.T + np.eye(len(rows)))
        U = seen.T @ (vectors / np.sqrt(values))  # (D, r): the covariance falls by U U^T
        moved = o.moment @ U
        mixed = self.covariance @ moved
        inner = U.T @ moved
        self.covariance -= U @ U.T
        cross = U @ mixed.T
        self.spread -= cross + cross.T
        self.spread += U @ inner @ U.T
        self.products = self._products()
        self.uncertainty = max(self.uncertainty - float(np.trace(inner)), 0.0)

    def _keep(self, frame: int) -> None:
        o = self.objective
        self.kept_sum += o.sizes[frame] * o.average[frame]
        self.kept_size += o.sizes[frame]
        self.unlike = self._unlike(float(self.kept_sum @ self.kept_sum), self.kept_size)
