"""``learning-curve``, and the proof of ``prune --prove``: from files to held-out errors of what selectors keep."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate import __version__
from mlff_curate.data.labels import Labels, labels_of, require_keys
from mlff_curate.data.outputs import require_free, whole_files
from mlff_curate.data.reading import read_frames
from mlff_curate.errors import CurateError, OutputError, UsageError
from mlff_curate.linear.models import require_model
from mlff_curate.pruning.copies import near_copies
from mlff_curate.pruning.problem import species_columns
from mlff_curate.pruning.selectors import SELECTORS
from mlff_curate.report.curve import CurveReport, render_curve
from mlff_curate.report.tables import table_lines
from mlff_curate.validation.learning_curve import (
    FRACTIONS,
    RANDOM,
    SEEDS,
    LearningCurve,
    learning_curve,
    require_setup,
    smallest_flat,
)
from mlff_curate.validation.splitting import TooFewFramesError, usable_frames
from mlff_curate.wording import counted
from mlff_curate.workflows.prune import PruneOptions, PruneResult, distances_in, prune, require_options
from mlff_curate.workflows.prune_outputs import peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlff_curate.workflows.prune import Progress

LADDER = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Fractions among which ``--keep auto --prove`` looks for the smallest that is good enough."""


@dataclass(frozen=True)
class CurveOptions:
    """What may be asked of a learning curve; the defaults are the command line's.

    Attributes
    ----------
    fractions
        Shares of the training pool, in (0, 1].
    selectors
        Of ``SELECTORS``.
    seeds
        Number of random splits.
    model
        One of ``linear.models.MODELS``; None: the first that can be used.
    """

    fractions: tuple[float, ...] = FRACTIONS
    selectors: tuple[str, ...] = ("coverage", RANDOM)
    seeds: int = SEEDS
    model: str | None = None


@dataclass(frozen=True)
class LabelledFrames:
    """All frames of some files with their labels, F each."""

    frames: list[Atoms]
    labels: list[Labels]
    refused: dict[int, CurateError]
    """What is wrong with the labels of frames that have none here."""


@dataclass(frozen=True)
class CurveDone:
    """A finished ``learning-curve``.

    Attributes
    ----------
    curve
        What was measured.
    output
        The page.
    frames
        Frames in the inputs.
    seconds
        Stage to seconds.
    """

    curve: LearningCurve
    output: Path
    frames: int
    seconds: dict[str, float]

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "frames": self.frames,
            **self.curve.as_dict(),
            "said": self.curve.sentences(),
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "output": str(self.output),
        }

    def lines(self) -> list[str]:
        """Return what a person reads."""
        return [
            *table_lines(self.curve, "group_mean"),
            *table_lines(self.curve, "pooled"),
            *table_lines(self.curve, "worst"),
            *self.curve.sentences(),
            *(f"note: {note}" for note in self.curve.notes),
            f"plots: {self.output}",
        ]


def read_labelled(inputs: Sequence[str | Path], options: PruneOptions) -> LabelledFrames:
    """Read all frames and their labels.

    Raises
    ------
    DataError
        Unreadable files, or a label key that no frame has. What is wrong with single frames is told later, and only
        of those that are not rejected.
    """
    keys = {f"{name}_key": options.label_keys.get(name) for name in ("energy", "forces", "stress")}
    frames, labels = [], []
    refused: dict[int, CurateError] = {}
    for frame in read_frames(inputs, options.type_map):
        try:
            labels.append(labels_of(frame.atoms, **keys))
        except CurateError as error:
            error.file, error.frame = frame.source, frame.index
            refused[len(labels)] = error
            labels.append(Labels())
        frames.append(frame.atoms)
    require_keys(labels, **keys)
    return LabelledFrames(frames, labels, refused)


def curve_of(
    labelled: LabelledFrames,
    result: PruneResult,
    options: PruneOptions,
    settings: CurveOptions,
    progress: Progress | None = None,
) -> LearningCurve:
    """Fit force fields to what selectors keep of the frames that are not rejected, and test them on held-out ones.

    The held-out frames take no part in a selection: it is made on the rest. Descriptors and clusters are those of the
    whole set; they know no labels.

    Parameters
    ----------
    labelled
        The frames that were given to :func:`mlff_curate.workflows.prune.prune`, in their order.
    result
        What it returned.
    options
        The options it was called with.
    settings
        What to compare.
    progress
        As there.
    """
    place = np.array([i for i, d in enumerate(result.decisions) if d.decision != "rejected"], dtype=np.int64)
    for i in place:
        if int(i) in labelled.refused:
            raise labelled.refused[int(i)]
    # copies are told apart by the descriptor: the embedding takes out what is different between them
    described = replace(result.pool, X=species_columns(result.environments.X, result.environments.species))

    def choose(name: str, training: np.ndarray, count: int, seed: int) -> np.ndarray:
        part = result.pool.part(place[training])
        chosen: np.ndarray = training[SELECTORS[name](count, seed=seed).fit(part).selection_.chosen]
        return chosen

    try:
        return learning_curve(
            [labelled.frames[i] for i in place],
            [labelled.labels[i] for i in place],
            np.array([result.decisions[i].record.group for i in place]),
            choose,
            described.part(place).X,
            near_copies(described)[place],
            fractions=settings.fractions,
            selectors=settings.selectors,
            seeds=settings.seeds,
            seed=options.seed,
            model=settings.model,
            progress=progress,
        )
    except CurateError as error:
        if error.frame is not None:
            record = result.decisions[int(place[error.frame])].record
            error.file, error.frame = record.source, record.index
        raise


@dataclass(frozen=True)
class Proved:
    """What became of a pruning when it was tested.

    Attributes
    ----------
    result
        As it was, or with the count that the labels ask for.
    curve
        None: too few labels, and the count was left to us.
    """

    result: PruneResult
    curve: LearningCurve | None


def prove_pruning(
    inputs: Sequence[str | Path],
    labelled: LabelledFrames,
    result: PruneResult,
    options: PruneOptions,
    progress: Progress | None = None,
) -> Proved:
    """Make the learning curve of a finished pruning; with ``keep="auto"`` prune again to where it becomes flat.

    Raises
    ------
    DataError
        Too few labels for a count that the user gave.
    """
    pool = len(result.decisions) - result.count("rejected")
    kept = result.count("kept")
    if kept == 0:
        return Proved(_with_note(result, "--prove: no frame is kept, so there is nothing to prove"), None)
    automatic = options.keep == "auto" and not options.against
    own = kept / pool
    others = (f for f in (LADDER if automatic else FRACTIONS) if abs(f - own) * pool >= 0.5 or f == 1.0)
    settings = CurveOptions(
        fractions=tuple(sorted({own, *others})), selectors=tuple(dict.fromkeys((options.selector, RANDOM)))
    )
    try:
        curve = curve_of(labelled, result, options, settings, progress)
    except TooFewFramesError as error:
        if options.keep != "auto":
            raise
        return Proved(_with_note(result, f"--prove: {error.message}; --keep auto stays at the knee"), None)
    if options.keep != "auto":
        return Proved(result, curve)
    if options.against:
        why = "the curve does not know the curated frames"
        return Proved(_with_note(result, f"--keep auto stays at the knee of the coverage: {why}"), curve)
    flat = smallest_flat(curve, options.selector)
    if flat.fraction is None:
        return Proved(_with_note(result, f"--keep auto stays at the knee of the coverage: {flat.why}"), curve)
    wanted = int(flat.fraction * pool + 0.5)
    least = kept - len(result.selection.chosen) + result.selection.floor
    count = min(max(wanted, least, 1), pool)
    floor = f"; raised from {wanted}, which cannot represent every cluster and group" if count > wanted else ""
    if count != kept:
        again = replace(options, keep=count, embedding=distances_in(options))
        result = prune(inputs, again, progress=progress)
    note = f"--prove: --keep auto stopped at {counted(count, 'frame')}{floor}: {flat.why}"
    others_said = tuple(n for n in result.notes if not n.startswith("--keep auto stopped"))
    return Proved(_with_note(replace(result, notes=others_said), note), curve)


def _with_note(result: PruneResult, note: str) -> PruneResult:
    return replace(result, notes=(*result.notes, note))


def learning_curve_files(
    inputs: Sequence[str | Path],
    output: str | Path | None = None,
    options: PruneOptions | None = None,
    settings: CurveOptions | None = None,
    *,
    overwrite: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> CurveDone:
    """Make the learning curve of some files and write it as a page.

    Parameters
    ----------
    inputs
        Files with labels.
    output
        The page; by default named after the first input, in the current folder.
    options
        How frames are described and grouped; what is kept is this job's business.
    settings
        What to compare.
    overwrite
        Replace an output that exists.
    command
        What to type to get the same again, for the page.
    progress
        See :func:`mlff_curate.workflows.prune.prune`.

    Raises
    ------
    CurateError
        As :func:`prune`; also too few labels, a model that cannot be used, an output that exists or cannot be written.
    """
    settings = settings or CurveOptions()
    # nothing is pruned: the cheapest selection of all frames yields what they are to each other
    options = replace(options or PruneOptions(), keep=1.0, selector=RANDOM)
    require_options(options)
    require_setup(settings.fractions, settings.selectors, settings.seeds)
    require_model(settings.model)
    for name in settings.selectors:
        if name not in SELECTORS:
            raise UsageError(f"{name!r} is unknown; available: {', '.join(SELECTORS)}", key="--selectors")
    page = _page(output, inputs)
    rules = [word for word in options.exclude if Path(word).is_file()]
    require_free([page], [Path(p) for p in (*inputs, *rules)], overwrite=overwrite)
    start = time.perf_counter()
    labelled = read_labelled(inputs, options)
    usable_frames(labelled.frames, labelled.labels)  # too few are refused before the work
    read = time.perf_counter() - start
    result = prune(inputs, options, progress=progress)
    start = time.perf_counter()
    curve = curve_of(labelled, result, options, settings, progress)
    stages = {name: spent for name, spent in result.seconds.items() if name != "select"}
    stages = {**stages, "read": stages.get("read", 0.0) + read, "fits": time.perf_counter() - start}
    report = CurveReport(
        title=f"Learning curve: {', '.join(dict.fromkeys(map(str, inputs)))}",
        command=command,
        version=__version__,
        inputs=tuple(dict.fromkeys(map(str, inputs))),
        output=str(page),
        options={
            "fractions": ", ".join(f"{f:g}" for f in settings.fractions),
            "selectors": ", ".join(settings.selectors),
            "splits": str(settings.seeds),
            "seed": str(options.seed),
            "model": curve.model,
            "descriptor": result.descriptor,
            "distances": distances_in(options),
            "groups": f"by {result.group_key}" if result.group_key else "one",
            **({"exclude": ", ".join(options.exclude)} if options.exclude else {}),
        },
        seconds=stages,
        peak_memory_mb=peak_memory_mb(),
        curve=curve,
    )
    with whole_files(page) as (stream,):
        stream.write(render_curve(report).encode(errors="replace"))
    return CurveDone(curve, page, len(result.decisions), stages)


def _page(output: str | Path | None, inputs: Sequence[str | Path]) -> Path:
    if output is None:
        stem = Path(inputs[0]).name.removesuffix(".gz").rsplit(".", 1)[0]
        output = f"{stem}.learning-curve.html"
    if not Path(output).name:
        raise OutputError("is a folder, not a file", file=str(output) or "-o")
    return Path(output)
