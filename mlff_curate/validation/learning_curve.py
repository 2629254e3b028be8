"""Is the choice of frames worth anything? Fit linear force fields to it and look at frames held out.

Per split, frames of every group are held out and near copies of them are left out of training; each selector then
chooses several fractions of the rest, and a model is fitted to each choice and one to all of the rest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.errors import CurateError, UsageError
from mlff_curate.validation.splitting import (
    HELD_OUT,
    Split,
    always_notes,
    require_enough,
    sample_frames,
    split_frames,
    split_notes,
    usable_frames,
)
from mlff_curate.validation.variety import bandwidth, covered, entropy_and_diversity, sample_rows
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlff_curate.data.labels import Labels
    from mlff_curate.linear.ridge import Design
    from mlff_curate.linear.rows import LinearModel

Choose = Callable[[str, np.ndarray, int, int], np.ndarray]
"""`choose(selector, training, count, seed)`: which `count` of the frames with indices `training` (T,) to keep."""

Progress = Callable[[str, int, int, str], None]
"""Called with the stage, the steps done, the steps in total, and a word on the state."""

FRACTIONS = (0.05, 0.1, 0.2, 0.5, 1.0)
SEEDS = 5
RANDOM, ALL = "random", "all data"

MOST_ENVIRONMENTS = {"snap": 20_000, "power-spectrum": 4_000}
"""So that rows take about as long as the rest: 0.3 ms each by LAMMPS for one species; by torch 1 ms in cells of 54
atoms, 3 ms in the small ones of Ta."""

CONFIDENCE = 0.95
"""Of a comparison; one of twenty would be called better or worse by chance."""

WIDEST = 1.5
"""Factor between two errors. Random is called as good only where the data exclude more, at 95 %: a test that could not
see a half more or less shows nothing by failing to."""

_FEWEST_SPLITS = 3
"""Of two splits the t quantile is 12.7 standard errors: a difference that is not shown says nothing."""


@dataclass(frozen=True)
class Estimate:
    """A mean over the splits that know the quantity.

    Attributes
    ----------
    mean
        Nan: no split knows it.
    error
        Standard error of the mean; nan: fewer than two splits. Splits share frames and are not independent, so the
        variance over J splits is divided not by J but by 1 / (1/J + h / (1 - h)), h being the share held out (Nadeau,
        Bengio, Mach. Learn. 52, 239 (2003)).
    """

    mean: float
    error: float

    @classmethod
    def of(cls, values: np.ndarray) -> Estimate:
        """Take mean and error of one value per split, nan where it is not known: J are those that are."""
        known = values[~np.isnan(values)]
        J = len(known)
        error = known.std(ddof=1) * math.sqrt(1 / J + HELD_OUT / (1 - HELD_OUT)) if J > 1 else math.nan
        return cls(float(known.mean()) if J else math.nan, float(error))


@dataclass(frozen=True)
class HeldOutError:
    """Mean absolute error of one quantity on held-out frames.

    Attributes
    ----------
    group_mean
        Mean of the groups' errors, so that a rare group counts as much as a large one.
    pooled
        Over all frames and components alike.
    worst, worst_group
        Of the group whose error is largest, in the mean over splits, and its name.
    by_split
        (J,) what `group_mean` is the mean of; nan: no such label is held out. The splits are the same for every point.
    """

    group_mean: Estimate
    pooled: Estimate
    worst: Estimate
    worst_group: str
    by_split: tuple[float, ...] = ()


@dataclass(frozen=True)
class CurvePoint:
    """One selector at one fraction.

    Attributes
    ----------
    selector
        Its name; ALL: the whole training pool.
    fraction
        Share of the training pool.
    frames
        Frames in the fit, mean over splits.
    energy, forces, stress
        Errors in meV/atom, eV/Angstrom and GPa; nan: no such labels.
    entropy, diversity
        Of the environments in the fit, nats; see :mod:`mlff_curate.validation.variety`.
    coverage
        Share of the training pool's environments within the kernel's bandwidth of one in the fit.
    """

    selector: str
    fraction: float
    frames: int
    energy: HeldOutError
    forces: HeldOutError
    stress: HeldOutError
    entropy: Estimate
    diversity: Estimate
    coverage: Estimate


@dataclass(frozen=True)
class Quantity:
    """What a force field predicts.

    Attributes
    ----------
    name
        Attribute of :class:`CurvePoint`.
    plural
        In a sentence.
    unit
        Of its errors.
    column
        Attribute of :class:`mlff_curate.linear.ridge.Errors`.
    """

    name: str
    plural: str
    unit: str
    column: str


QUANTITIES = (
    Quantity("energy", "energies", "meV/atom", "energy_mae"),
    Quantity("forces", "forces", "eV/\u00c5", "force_mae"),
    Quantity("stress", "stresses", "GPa", "stress_mae"),
)


@dataclass(frozen=True)
class Verdict:
    """A selector against random frames of equal number, split by split.

    Attributes
    ----------
    selector, fraction, frames
        Which point of the curve.
    quantity
        ``energy``, ``forces`` or ``stress``, its group mean.
    word
        ``better`` or ``worse`` by a two-sided t test of `gain` at 95 %. Otherwise ``as good`` where `ratio` is within a
        factor WIDEST, ``open`` where it is not, ``unknown`` with fewer than three splits.
    gain
        Logarithm of random's error over the selector's, positive where the selector is better. Errors of small sets
        differ between splits by factors, so that differences would be ruled by the worst split.
    ratio
        The selector's error over random's is within, at 95 %.
    splits
        That know both errors.
    """

    selector: str
    fraction: float
    frames: int
    quantity: str
    word: str
    gain: Estimate
    ratio: tuple[float, float] = (math.nan, math.nan)
    splits: int = 0


@dataclass(frozen=True)
class LearningCurve:
    """Held-out errors against the share of frames kept.

    Attributes
    ----------
    points
        By selector, then fraction; the whole pool last.
    verdicts
        One per selector that is not random, fraction below one and quantity that has labels; none without random.
    notes
        What was done and what was left out, one sentence or two each.
    model
        The force field, in words.
    splits
        J.
    bandwidth
        Of the kernel, in units of the scaled descriptors.
    sample_of
        Usable frames, where the curve is made on a sample of them; 0: on all.
    """

    points: tuple[CurvePoint, ...]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    model: str
    splits: int
    bandwidth: float
    sample_of: int = 0

    @property
    def selectors(self) -> tuple[str, ...]:
        """Names in the order of the points, without ALL."""
        return tuple(dict.fromkeys(p.selector for p in self.points if p.selector != ALL))

    @property
    def known(self) -> tuple[Quantity, ...]:
        """Quantities that were measured."""
        return tuple(q for q in QUANTITIES if math.isfinite(getattr(self.points[-1], q.name).group_mean.mean))

    def of(self, selector: str) -> tuple[CurvePoint, ...]:
        """Return a selector's points in ascending fraction; the whole pool, which is the same for all, last."""
        return tuple(p for p in self.points if p.selector in (selector, ALL))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Say per fraction where each selector is better than random, and whether random is as good where it is not."""
        said = []
        for headline, mine in zip(self.headlines(), self._by_selector(), strict=True):
            if {v.word for v in mine}.isdisjoint({"better", "worse"}):
                said.append(headline)
            if {v.word for v in mine} != {"unknown"}:
                said += [
                    self._sentence([v for v in mine if v.fraction == f]) for f in sorted({v.fraction for v in mine})
                ]
        return said

    def headlines(self) -> list[str]:
        """Say in a sentence per selector how it fares against random."""
        return [_headline(mine) for mine in self._by_selector()]

    def _by_selector(self) -> list[list[Verdict]]:
        names = dict.fromkeys(v.selector for v in self.verdicts)
        return [[v for v in self.verdicts if v.selector == name] for name in names]

    def _sentence(self, verdicts: Sequence[Verdict]) -> str:
        first = verdicts[0]
        points = {p.selector: p for p in self.points if p.fraction == first.fraction}
        parts = []
        for v in verdicts:
            q = next(q for q in QUANTITIES if q.name == v.quantity)
            ours, random = (getattr(points[name], q.name).group_mean for name in (v.selector, RANDOM))
            parts.append(f"{q.plural}: {_said(v)} ({short(ours)} against {short(random)} {q.unit})")
        where = f"{first.selector} at {percent(first.fraction)} ({counted(first.frames, 'frame')}), mean over groups"
        return f"{where}: {'; '.join(parts)}."


def _headline(verdicts: Sequence[Verdict]) -> str:
    """Say how one selector fares."""
    selector, words = verdicts[0].selector, Counter(v.word for v in verdicts)
    if set(words) == {"unknown"}:
        return _untold(selector, max(v.splits for v in verdicts))
    if set(words) == {"as good"}:
        return f"Random is as good as {selector} at every fraction, within the error bars."
    if not words["better"] and not words["worse"]:
        return f"Nowhere is {selector} shown to be better or worse than random."
    rest = {"worse": "worse", "as good": "random is as good", "open": "open", "unknown": "unknown"}
    parts = [f"{name} in {words[word]}" for word, name in rest.items() if words[word]]
    better = f"better in {words['better']} of {counted(len(verdicts), 'comparison')}"
    return f"{selector} against random, mean over groups: {', '.join([better, *parts])}."


def _said(v: Verdict) -> str:
    """Return a verdict in words."""
    between = f"x {v.ratio[0]:.3g} to {v.ratio[1]:.3g}"
    return {
        "open": f"no difference shown, {between}",
        "better": f"{v.selector} is better",
        "worse": "random is better",
        "as good": f"random is as good, {between}",
        "unknown": f"cannot be told from random with {counted(v.splits, 'split')}",
    }[v.word]


def _untold(selector: str, splits: int) -> str:
    """Say that nothing is told."""
    if splits == 1:
        return f"One split tells nothing about chance: whether {selector} beats random stays open."
    return f"{selector[0].upper()}{selector[1:]} cannot be told from random with {splits} splits."


def percent(fraction: float) -> str:
    """Return ``5 %`` for 0.05."""
    return f"{100 * fraction:.3g} %"


def short(value: Estimate) -> str:
    """Return mean and error with three digits of the mean."""
    if not math.isfinite(value.mean):
        return "-"
    decimals = max(0, 2 - math.floor(math.log10(abs(value.mean)))) if value.mean else 2
    error = f" \u00b1 {value.error:.{decimals}f}" if math.isfinite(value.error) else ""
    return f"{value.mean:.{decimals}f}{error}"


def learning_curve(
    frames: Sequence[Atoms],
    labels: Sequence[Labels],
    group: np.ndarray,
    choose: Choose,
    X: np.ndarray,
    same: np.ndarray,
    vectors: np.ndarray | None = None,
    *,
    always: np.ndarray | None = None,
    fractions: Sequence[float] | Callable[[int], Sequence[float]] = FRACTIONS,
    selectors: Sequence[str] = ("coverage", RANDOM),
    seeds: int = SEEDS,
    seed: int = 0,
    model: str | None = None,
    cutoff: float | None = None,
    progress: Progress | None = None,
) -> LearningCurve:
    """Compare selectors at several fractions, on frames held out.

    The same frames, labels, functions and seed give the same result.

    Parameters
    ----------
    frames, labels
        (F,) each. Frames without any label are not used.
    group
        (F,) name of each frame's configuration group.
    choose
        Gets a selector's name, indices of frames (T,), how many of them to keep, and a seed; returns their indices,
        those that are kept `always` among them. Random is asked like any other.
    X
        (N, D) descriptors of the environments of all frames, ordered by frame; for variety and coverage.
    same
        (F,) integers, equal for frames that are near copies of each other.
    vectors
        (F, d) float32, what tells other frames too near to held-out ones; see :func:`split_frames`. None: nothing.
    always
        (F,) bool, frames that are kept in any case: they are in every choice that is made where they may be trained
        on, and count. None: there are none.
    fractions
        Shares of the training pool, in (0, 1], each rounded to the nearest frame, but no fewer than are kept in any
        case; or a function that returns them for the number of frames in it, mean over splits. All of it is always
        fitted.
    selectors
        Names.
    seeds
        Number of splits.
    seed
        Of everything random.
    model
        See :func:`mlff_curate.linear.models.linear_model`.
    cutoff
        Of the force field, Angstrom; None: `default_cutoff` of the elements.
    progress
        Told how far the work is.

    Raises
    ------
    DataError
        Too few frames have labels and are not extreme, or nearly all frames are copies of each other, or a frame
        cannot be set up (carries its index).
    MissingDependencyError
        ``snap`` without LAMMPS.
    UsageError
        A fraction, a selector, the model or ``seeds`` is out of range.
    ValueError
        Arrays of other lengths than F, or `choose` returns something else than was asked for.
    """
    require_setup((1.0,) if callable(fractions) else fractions, selectors, seeds)
    group, same, tell = np.asarray(group), np.asarray(same), progress or (lambda *_: None)
    always = np.zeros(len(frames), bool) if always is None else np.asarray(always)
    atoms = np.array([len(frame) for frame in frames])
    _require_lengths(len(frames), labels=len(labels), group=len(group), same=len(same), always=len(always))
    if atoms.sum() != len(X):
        raise ValueError(f"X must have a row for each of the {atoms.sum()} environments, got {len(X)}")
    field, design, used, sample_of, notes = _rows(frames, labels, group, model, cutoff, seed, tell)
    first = np.concatenate([[0], np.cumsum(atoms)])
    environments = [X[first[i] : first[i + 1]] for i in used]
    names, group = np.unique(group[used], return_inverse=True)
    width = bandwidth(np.concatenate(environments), np.random.default_rng([seed, 0]))
    close = None if vectors is None else vectors[used]
    draws = [np.random.default_rng([seed, s, 1]) for s in range(seeds)]
    splits = [split_frames(np.flatnonzero(design.sound), group, same[used], rng, close) for rng in draws]
    if callable(fractions):
        fractions = fractions(round(float(np.mean([len(split.training) for split in splits]))))
    shares = sorted(set(fractions) - {1.0})
    choices = [*((name, fraction) for name in selectors for fraction in shares), (ALL, 1.0)]
    tables = []
    for s, (split, rng) in enumerate(zip(splits, draws, strict=True)):
        kept = _Kept(design, split, group, environments, width, len(names), int(rng.integers(2**31)))
        rows = []
        for c, (selector, fraction) in enumerate(choices):
            tell("fits", s * len(choices) + c, seeds * len(choices), selector)
            pool = used[split.training]
            fixed = pool[always[pool]]
            count = max(1, len(fixed), int(fraction * len(pool) + 0.5))
            chosen = pool if selector == ALL else choose(selector, pool, count, kept.seed)
            rows.append(kept.row(_positions(chosen, used, split, count, fixed)))
        tables.append(rows)
    tell("fits", seeds * len(choices), seeds * len(choices), "")
    table = np.array(tables)  # (J, choices, 1 + 3 (2 + G) + 3)
    points = tuple(_point(*choice, table[:, c], names) for c, choice in enumerate(choices))
    setup = (
        f"{field.name[0].upper()}{field.name[1:]} fitted to all labels; mean absolute errors on held-out frames, mean "
        f"over {counted(seeds, 'random split')} and its standard error (Nadeau and Bengio's, for splits that overlap)."
    )
    kept_notes = always_notes(always, [used[split.training] for split in splits])
    all_notes = (setup, *split_notes(splits, group, design.sound), *kept_notes, *notes)
    return LearningCurve(points, _verdicts(points, table, choices), all_notes, field.name, seeds, width, sample_of)


def _rows(
    frames: Sequence[Atoms],
    labels: Sequence[Labels],
    group: np.ndarray,
    model: str | None,
    cutoff: float | None,
    seed: int,
    tell: Progress,
) -> tuple[LinearModel, Design, np.ndarray, int, list[str]]:
    """Return the force field, the rows of the frames that are used, their indices (U,), `sample_of`, what to say."""
    from mlff_curate.graphs.neighbours import default_cutoff
    from mlff_curate.linear.models import linear_model
    from mlff_curate.linear.ridge import design_of

    used, notes = usable_frames(frames, labels)
    species = sorted({int(number) for i in used for number in frames[i].numbers})
    field, model_notes = linear_model(model, species, default_cutoff(species) if cutoff is None else cutoff)
    some, sample_notes = sample_frames(
        [len(frames[i]) for i in used], group[used], field.size, MOST_ENVIRONMENTS[field.kind], seed
    )
    sample_of = 0 if len(some) == len(used) else len(used)
    used = used[some]
    notes = [*model_notes, *notes, *sample_notes]
    require_enough(len(used), notes)
    try:
        design = design_of(
            [frames[i] for i in used],
            [labels[i] for i in used],
            field,
            lambda done, total: tell("rows", done, total, field.kind),
        )
    except CurateError as error:
        error.frame = None if error.frame is None else int(used[error.frame])
        raise
    if not design.sound.all():
        count = counted(int(np.count_nonzero(~design.sound)), "frame")
        notes.append(f"{count} with atoms nearly on top of each other set aside.")
    require_enough(int(design.sound.sum()), notes)
    return field, design, used, sample_of, notes


def require_setup(fractions: Sequence[float], selectors: Sequence[str], seeds: int) -> None:
    """Check what can be checked before any file is read.

    Raises
    ------
    UsageError
        No fraction, one out of (0, 1], no selector, or no split.
    """
    if not fractions or not all(0 < fraction <= 1 for fraction in fractions):
        raise UsageError(
            f"must be numbers in (0, 1] with commas between, got {', '.join(map(str, fractions)) or 'none'}",
            key="--fractions",
        )
    if not selectors or len(set(selectors)) < len(selectors):
        raise UsageError(f"must be different names, got {', '.join(selectors) or 'none'}", key="--selectors")
    if seeds < 1:
        raise UsageError(f"must be at least 1, got {seeds}", key="--seeds")


def _require_lengths(F: int, **lengths: int) -> None:
    for name, length in lengths.items():
        if length != F:
            raise ValueError(f"{name} must have shape ({F},) like the frames, got length {length}")


def _positions(chosen: np.ndarray, used: np.ndarray, split: Split, count: int, fixed: np.ndarray) -> np.ndarray:
    """Return chosen frames as ascending positions among the used ones (U,).

    Raises
    ------
    ValueError
        They are not ``count`` different frames of the training pool, or not all of the ``fixed`` ones are among them.
    """
    positions: np.ndarray = split.training[np.isin(used[split.training], chosen)]
    if np.shape(chosen) != (count,) or len(positions) != count:
        raise ValueError(f"choose must return {count} distinct indices out of the {len(split.training)} it was given")
    if not np.isin(fixed, chosen).all():
        raise ValueError(f"choose must return the {len(fixed)} frames that are kept in any case")
    return positions


@dataclass(frozen=True, eq=False)
class _Kept:
    """What to measure of any choice of frames of one split."""

    design: Design
    split: Split
    group: np.ndarray
    environments: Sequence[np.ndarray]
    width: float
    groups: int
    seed: int

    def row(self, kept: np.ndarray) -> np.ndarray:
        """(1 + 3 (2 + G) + 3,): frames; per quantity group mean, pooled, each group; entropy, diversity, coverage."""
        from mlff_curate.linear.ridge import errors, fit

        found = errors(self.design, fit(self.design, kept), self.split.held_out, self.group)
        values = [float(len(kept))]
        for q in QUANTITIES:
            each = [getattr(found.groups[g], q.column) if g in found.groups else math.nan for g in range(self.groups)]
            values += [getattr(found.group_mean, q.column), getattr(found.pooled, q.column), *each]
        rng = np.random.default_rng(self.seed)  # the same for every choice
        pool = np.concatenate([self.environments[i] for i in self.split.training])
        demands = pool[sample_rows(len(pool), rng)]
        X = np.concatenate([self.environments[i] for i in kept])
        values += [*entropy_and_diversity(X, self.width, rng), covered(demands, X, self.width)]
        return np.array(values)


def _point(selector: str, fraction: float, table: np.ndarray, names: np.ndarray) -> CurvePoint:
    """Average the rows of :meth:`_Kept.row` over the splits, (J, columns)."""
    size = 2 + len(names)
    errors = {}
    for q, quantity in enumerate(QUANTITIES):
        part = table[:, 1 + q * size : 1 + (q + 1) * size]
        # nan: a group that is never held out, or without such labels
        mean = np.array([Estimate.of(column).mean for column in part[:, 2:].T])
        worst = int(np.nanargmax(mean)) if np.isfinite(mean).any() else None
        errors[quantity.name] = HeldOutError(
            Estimate.of(part[:, 0]),
            Estimate.of(part[:, 1]),
            Estimate(math.nan, math.nan) if worst is None else Estimate.of(part[:, 2 + worst]),
            "" if worst is None else str(names[worst]),
            tuple(map(float, part[:, 0])),
        )
    entropy, diversity, coverage = (Estimate.of(column) for column in table[:, -3:].T)
    return CurvePoint(
        selector=selector,
        fraction=fraction,
        frames=round(float(table[:, 0].mean())),
        energy=errors["energy"],
        forces=errors["forces"],
        stress=errors["stress"],
        entropy=entropy,
        diversity=diversity,
        coverage=coverage,
    )


def _verdicts(
    points: Sequence[CurvePoint], table: np.ndarray, choices: Sequence[tuple[str, float]]
) -> tuple[Verdict, ...]:
    """Compare with random; the splits are the same for both, so their common ups and downs cancel."""
    size = (table.shape[2] - 4) // 3
    verdicts = []
    for c, (selector, fraction) in enumerate(choices):
        if selector in (RANDOM, ALL) or (RANDOM, fraction) not in choices:
            continue
        other = choices.index((RANDOM, fraction))
        for q, quantity in enumerate(QUANTITIES):
            theirs, ours = (np.maximum(table[:, i, 1 + q * size], np.finfo(float).tiny) for i in (other, c))
            gains = np.log(theirs) - np.log(ours)
            known = int(np.isfinite(gains).sum())
            if known:
                gain, reach = Estimate.of(gains), chance(gains, 0.5 + CONFIDENCE / 2)
                with np.errstate(over="ignore"):
                    ratio = (float(np.exp(-gain.mean - reach)), float(np.exp(-gain.mean + reach)))
                word = _word(gain.mean, reach, known)
                verdicts.append(Verdict(selector, fraction, points[c].frames, quantity.name, word, gain, ratio, known))
    return tuple(verdicts)


def chance(values: np.ndarray, quantile: float) -> float:
    """Return how far from zero chance may carry the mean of values over splits: t quantile times error; nan: unknown.

    This is Nadeau and Bengio's corrected resampled t test; one-sided at the quantile.
    """
    from scipy.stats import t

    J = int(np.isfinite(values).sum())
    return float(t.ppf(quantile, J - 1)) * Estimate.of(values).error if J > 1 else math.nan


def _word(gain: float, reach: float, splits: int) -> str:
    """Return the word of a :class:`Verdict`, by a two-sided t test."""
    if abs(gain) > reach:
        return "better" if gain > 0 else "worse"
    if splits < _FEWEST_SPLITS:
        return "unknown"
    return "as good" if abs(gain) + reach <= math.log(WIDEST) else "open"
