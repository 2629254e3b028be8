"""``learning-curve``, and the proof of ``prune --prove``: from files to held-out errors of what selectors keep."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate import __version__
from mlff_curate.data.frames import label_keys
from mlff_curate.data.labels import Labels, labels_of, require_keys
from mlff_curate.data.opening import is_file
from mlff_curate.data.outputs import require_free, whole_files
from mlff_curate.data.reading import read_frames
from mlff_curate.errors import CurateError, OutputError, UsageError
from mlff_curate.linear.models import require_model
from mlff_curate.pruning.copies import near_copies
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
)
from mlff_curate.validation.splitting import usable_frames
from mlff_curate.wording import counted
from mlff_curate.workflows.descriptor_choice import encoder_file
from mlff_curate.workflows.survey import (
    Pile,
    Progress,
    Survey,
    SurveyOptions,
    read_pile,
    require_survey_options,
    survey,
)
from mlff_curate.workflows.telling import peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from mlff_curate.descriptors.base import Descriptor


@dataclass(frozen=True)
class CurveOptions:
    """What may be asked of a learning curve; the defaults are the command line's.

    Attributes
    ----------
    fractions
        Shares of the training pool, in (0, 1].
    selectors
        Of ``SELECTORS``: ours, random and the peers.
    seeds
        Number of random splits.
    model
        One of ``linear.models.MODELS``; None: the first that can be used.
    """

    fractions: tuple[float, ...] = FRACTIONS
    selectors: tuple[str, ...] = ("coverage", RANDOM, "fps", "quests")
    seeds: int = SEEDS
    model: str | None = None


@dataclass(frozen=True)
class LabelledFrames:
    """All frames of some files with their labels, F each."""

    frames: list[Atoms]
    labels: list[Labels]
    refused: dict[int, CurateError]
    """What is wrong with the labels of frames that have none here."""
    notes: list[str] = field(default_factory=list)
    """Under which names labels were found."""


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
    descriptor
        What the frames were described by.
    """

    curve: LearningCurve
    output: Path
    frames: int
    seconds: dict[str, float]
    descriptor: Descriptor

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "frames": self.frames,
            **self.curve.as_dict(),
            "descriptor": self.descriptor.name,
            "descriptor_settings": self.descriptor.settings(),
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
            *table_lines(self.curve, "verdicts"),
            *self.curve.headlines(),
            *(f"note: {note}" for note in self.curve.notes),
            f"plots: {self.output}",
        ]


def read_labelled(inputs: Sequence[str | Path], options: SurveyOptions) -> LabelledFrames:
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
    for frame in read_frames(inputs, options.type_map, units=options.units, log=options.log):
        try:
            labels.append(labels_of(frame.atoms, **keys))
        except CurateError as error:
            error.file, error.frame = frame.source, frame.index
            refused[len(labels)] = error
            labels.append(Labels(present=label_keys(frame.atoms)))
        frames.append(frame.atoms)
    require_keys(labels, **keys)
    return LabelledFrames(frames, labels, refused, _names_used(labels))


def _names_used(labels: Sequence[Labels]) -> list[str]:
    """Say under which names labels were found, and warn of several for one kind: they may not mean the same."""
    names = {
        kind: Counter(name for label in labels if (name := getattr(label, f"{kind}_key")) is not None)
        for kind in ("energy", "forces", "stress")
    }
    read = "; ".join(f"{kind} from {', '.join(sorted(counts))}" for kind, counts in names.items() if counts)
    said = [f"Labels read: {read}."] if read else []
    for kind, counts in names.items():
        if len(counts) > 1:
            shown = ", ".join(f"{name} ({counted(n, 'frame')})" for name, n in sorted(counts.items()))
            said.append(
                f"WARNING: {kind} is read from several names, {shown}: if they do not mean the same, choose one with "
                f"--{kind}-key."
            )
    return said


def require_labels(labelled: LabelledFrames, pile: Pile) -> None:
    """Refuse frames whose labels cannot be told, unless they are rejected anyway.

    Raises
    ------
    DataError
        The first one's fault, with file and frame.
    """
    for i in np.flatnonzero(~pile.flags("rejected") & ~pile.flags("curated")):
        if int(i) in labelled.refused:
            raise labelled.refused[int(i)]


def curve_of(
    surveyed: Survey,
    labelled: LabelledFrames,
    settings: CurveOptions,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    fractions: Callable[[int], Sequence[float]] | None = None,
) -> LearningCurve:
    """Fit force fields to what selectors keep of the frames that are not rejected, and test them on held-out ones.

    The held-out frames take no part in a selection: it is made on the rest. Descriptors and clusters are those of the
    whole set; they know no labels.

    Parameters
    ----------
    surveyed
        What the frames are to each other.
    labelled
        The frames of the inputs that were surveyed, in their order.
    settings
        What to compare.
    seed
        Of everything random.
    progress
        Told how far the work is.
    fractions
        In place of those of the settings, as a function of the number of frames to train on.
    """
    records = surveyed.pile.records
    place = np.flatnonzero(~surveyed.pile.flags("rejected") & ~surveyed.pile.flags("curated"))
    require_labels(labelled, surveyed.pile)
    described = surveyed.described
    isolated = surveyed.pile.flags("isolated")
    # an isolated atom that is dropped is in the curated set already
    always = surveyed.pile.mandatory | isolated

    def choose(name: str, training: np.ndarray, count: int, seed: int) -> np.ndarray:
        frames = place[training]
        fixed = always[frames]
        # as in a survey: an isolated atom stands for no other environment
        part = replace(surveyed.pool.part(frames), given=fixed & ~isolated[frames], eligible=~fixed)
        chosen = SELECTORS[name](count - int(fixed.sum()), seed=seed).fit(part).selection_.chosen
        return np.concatenate([training[fixed], training[chosen]])

    try:
        curve = learning_curve(
            [labelled.frames[i] for i in place],
            [labelled.labels[i] for i in place],
            np.array([records[i].group for i in place]),
            choose,
            described.part(place).X,
            near_copies(described)[place],
            described.frame_vectors[place],
            always=always[place],
            fractions=fractions or settings.fractions,
            selectors=settings.selectors,
            seeds=settings.seeds,
            seed=seed,
            model=settings.model,
            progress=progress,
        )
    except CurateError as error:
        if error.frame is not None:
            record = records[int(place[error.frame])]
            error.file, error.frame = record.source, record.index
        raise
    return replace(curve, notes=(*curve.notes, *labelled.notes, *_left_out(surveyed.pile)))


def _left_out(pile: Pile) -> list[str]:
    """Say which frames of the inputs take no part in a curve."""
    records = pile.records[: pile.new]
    faulty = sum(bool(r.faults) and not r.excluded for r in records)
    excluded = sum(r.excluded for r in records)
    notes = []
    if faulty:
        notes.append(
            f"{counted(faulty, 'frame')} with a label that is not finite, no number or of a wrong shape left out (the "
            "manifest of prune names each)."
        )
    if excluded:
        notes.append(f"{counted(excluded, 'frame')} excluded by the user left out.")
    return notes


def learning_curve_files(
    inputs: Sequence[str | Path],
    output: str | Path | None = None,
    options: SurveyOptions | None = None,
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
        How frames are described and grouped.
    settings
        What to compare.
    overwrite
        Replace an output that exists.
    command
        What to type to get the same again, for the page.
    progress
        Told how far the work is.

    Raises
    ------
    CurateError
        As :func:`survey`; also too few labels, a model that cannot be used, an output that exists or cannot be written.
    """
    settings = settings or CurveOptions()
    options = options or SurveyOptions()
    require_survey_options(options)
    require_setup(settings.fractions, settings.selectors, settings.seeds)
    require_model(settings.model)
    for name in settings.selectors:
        if name not in SELECTORS:
            raise UsageError(f"{name!r} is unknown; available: {', '.join(SELECTORS)}", key="--selectors")
    page = _page(output, inputs)
    rules = [word for word in options.exclude if is_file(Path(word))]
    encoder = [path for path in [encoder_file(options.descriptor)] if path is not None]
    read_files = [*(Path(p) for p in (*inputs, *options.files, *rules)), *encoder]
    require_free([page], read_files, overwrite=overwrite)
    start = time.perf_counter()
    labelled = read_labelled(inputs, options)
    usable_frames(labelled.frames, labelled.labels)  # too few are refused before the work
    read = time.perf_counter() - start
    pile = read_pile(inputs, options, progress)
    require_labels(labelled, pile)
    surveyed = survey(pile, options, progress)
    start = time.perf_counter()
    curve = curve_of(surveyed, labelled, settings, options.seed, progress)
    curve = replace(curve, notes=(*curve.notes, *surveyed.pile.collection.notes))
    stages = surveyed.seconds
    stages = {**stages, "read": stages["read"] + read, "fits": time.perf_counter() - start}
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
            "descriptor": surveyed.descriptor.title,
            "distances": surveyed.distances_in,
            "groups": f"by {surveyed.group_key}" if surveyed.group_key else "one",
            **({"exclude": ", ".join(options.exclude)} if options.exclude else {}),
        },
        seconds=stages,
        peak_memory_mb=peak_memory_mb(),
        curve=curve,
    )
    with whole_files(page) as (stream,):
        stream.write(render_curve(report).encode(errors="replace"))
    return CurveDone(curve, page, surveyed.pile.new, stages, surveyed.descriptor)


def _page(output: str | Path | None, inputs: Sequence[str | Path]) -> Path:
    if output is None:
        stem = Path(inputs[0]).name.removesuffix(".gz").rsplit(".", 1)[0]
        output = f"{stem}.learning-curve.html"
    if not Path(output).name:
        raise OutputError("is a folder, not a file", file=str(output) or "-o")
    return Path(output)
