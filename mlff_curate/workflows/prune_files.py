"""``prune`` from files to files."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_curate.data.opening import is_file
from mlff_curate.data.outputs import require_free
from mlff_curate.data.writing import format_named, require_name
from mlff_curate.report.tables import table_lines
from mlff_curate.wording import counted, spelled
from mlff_curate.workflows.decide import PruneResult, is_automatic
from mlff_curate.workflows.descriptor_choice import encoder_file
from mlff_curate.workflows.prune import PruneOptions, pile_within, prune, require_options
from mlff_curate.workflows.prune_outputs import Outputs, report_of, write_outputs
from mlff_curate.workflows.survey import survey
from mlff_curate.workflows.telling import loss_lines, peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlff_curate.data.formats.base import Format
    from mlff_curate.pruning.budget import Budget
    from mlff_curate.validation.learning_curve import LearningCurve
    from mlff_curate.workflows.survey import Progress, Survey

_TOLD_APART = ("keep", "seed", "embedding", "label_keys", "workers", "dask")


@dataclass(frozen=True)
class PruneDone:
    """A finished ``prune``.

    Attributes
    ----------
    result, outputs
        What was decided, and where it lies.
    to
        Format of the kept frames.
    proof
        Of ``--prove``, else None.
    lost
        Names of what the format cannot hold, to the number of kept frames that had it.
    """

    result: PruneResult
    outputs: Outputs
    to: Format
    proof: LearningCurve | None = None
    lost: Mapping[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> dict[str, float]:
        """Stage to seconds."""
        return self.result.seconds

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        result = self.result
        surveyed = result.survey
        values: dict[str, object] = {
            "frames": len(result.decisions),
            "kept": result.count("kept"),
            "dropped": result.count("dropped"),
            "rejected": result.count("rejected"),
            "environments": surveyed.new_environments,
            "clusters": len(result.cluster_sizes),
            "outliers": result.outliers,
            "coverage": result.coverage,
            "uncovered": result.uncovered,
            "distances_in": surveyed.distances_in,
            "descriptor": surveyed.descriptor.name,
            "descriptor_settings": surveyed.descriptor.settings(),
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "output": str(self.outputs.frames),
            "manifest": str(self.outputs.manifest),
            "report": str(self.outputs.report),
            "format": self.to.name,
            "lost": dict(self.lost),
            "notes": list(result.notes),
        }
        if self.proof is not None:
            values["proof"] = {**self.proof.as_dict(), "said": self.proof.sentences()}
        return values

    def lines(self) -> list[str]:
        """Return what a person reads."""
        result, surveyed = self.result, self.result.survey
        frames, kept = len(result.decisions), result.count("kept")
        groups = len({d.record.group for d in result.decisions})
        by = f"{counted(groups, 'group')} by {surveyed.group_key}" if surveyed.group_key else "no groups"
        lines = [
            (
                f"{self.outputs.frames}: {kept} of {counted(frames, 'frame')} kept ({100 * kept / frames:.1f} %), "
                f"{result.count('dropped')} dropped, {result.count('rejected')} rejected"
            ),
            (
                f"{counted(surveyed.new_environments, 'environment')} in "
                f"{counted(len(result.cluster_sizes), 'cluster')}, {counted(result.outliers, 'outlier')}; {by}"
            ),
            *self._measures(),
            *(f"note: {note}" for note in (*result.notes, *loss_lines(self.to, self.lost))),
        ]
        if self.proof is not None:
            lines += [*table_lines(self.proof, "group_mean"), *table_lines(self.proof, "verdicts")]
            lines += [f"proof: {said}" for said in (*self.proof.headlines(), *self.proof.notes)]
        return [*lines, f"why each frame stayed or went: {self.outputs.manifest}, {self.outputs.report}"]

    def _measures(self) -> list[str]:
        """Return how much the kept frames tell and how near they are, in a line; none where neither was measured."""
        result = self.result
        said = [] if result.coverage is None else [f"coverage {result.coverage:.4g}"]
        if result.uncovered is not None:
            said.append(f"uncovered share {result.uncovered:.3g}, distances in {spelled(result.survey.distances_in)}")
        return ["; ".join(said)] if said else []


def prune_files(
    inputs: Sequence[str | Path],
    output: str | Path | None = None,
    options: PruneOptions | None = None,
    *,
    to: str = "extxyz",
    prove: bool = False,
    overwrite: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> PruneDone:
    """Prune files and write the kept frames, the manifest and the report.

    Parameters
    ----------
    inputs
        Files to prune.
    output
        OUT; by default named after the first input, in the current folder.
    options
        See :class:`PruneOptions`.
    to
        Name of the format of OUT; some formats are folders.
    prove
        Fit force fields to kept and to random frames, and compare them on held-out ones; with ``keep="auto"`` keep as
        many as their learning curve asks for.
    overwrite
        Replace outputs that exist.
    command
        What to type to get the same again, for the report.
    progress
        See :func:`prune`.

    Raises
    ------
    CurateError
        As :func:`prune`; also outputs that exist or cannot be written. Nothing is written then.
    """
    options = options or PruneOptions()
    budget = require_options(options)
    form = format_named(to)
    options = replace(options, types_written=form.types_chosen)
    outputs = Outputs.beside(output, inputs, form.suffix.removeprefix(".") or form.name)
    require_name(outputs.frames, form)
    rules = [word for word in (*options.must_keep, *options.exclude) if is_file(Path(word))]
    encoder = [path for path in [encoder_file(options.descriptor)] if path is not None]
    read = [*(Path(p) for p in (*inputs, *options.against, *options.files, *rules)), *encoder]
    folders = () if form.suffix else (outputs.frames,)
    require_free(outputs.paths, read, overwrite=overwrite, folders=folders)
    result, proof = (
        _pruned_and_proved(inputs, options, budget, progress)
        if prove
        else (prune(inputs, options, progress=progress), None)
    )
    start = time.perf_counter()
    report = report_of(result, outputs, command, _shown(options, result.survey), options.seed, proof)
    lost = write_outputs(result, outputs, report, form, options)
    result.seconds["write"] = time.perf_counter() - start
    return PruneDone(result, outputs, form, proof, lost)


def _pruned_and_proved(
    inputs: Sequence[str | Path], options: PruneOptions, budget: Budget, progress: Progress | None
) -> tuple[PruneResult, LearningCurve | None]:
    from mlff_curate.validation.splitting import usable_frames
    from mlff_curate.workflows.learning_curve import read_labelled, require_labels
    from mlff_curate.workflows.prove import prove_pruning

    labelled = read_labelled(inputs, options)  # a key that no frame has is found before the work
    if not is_automatic(budget):  # which does without labels
        usable_frames(labelled.frames, labelled.labels)
    pile = pile_within(budget, inputs, options, progress)
    require_labels(labelled, pile)
    surveyed = survey(pile, options, progress)
    proved = prove_pruning(surveyed, labelled, budget, options, progress)
    return proved.result, proved.curve


def _shown(options: PruneOptions, surveyed: Survey) -> dict[str, str]:
    """Return the options that are not at rest, and what the defaults came to."""
    shown = {"keep": str(options.keep), "seed": str(options.seed)}
    for option in fields(options):
        value = getattr(options, option.name)
        if option.name not in _TOLD_APART and value not in ((), None, {}):
            shown[option.name.replace("_", "-")] = (
                ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            )
    descriptor = surveyed.descriptor
    shown["descriptor"] = descriptor.title
    if "sha256" in descriptor.settings():
        shown["sha256 of the encoder"] = descriptor.settings()["sha256"]
    if descriptor.cutoff is not None:
        shown["cutoff"] = f"{descriptor.cutoff} A"
    shown["groups"] = f"by {surveyed.group_key}" if surveyed.group_key else "one"
    shown["distances in"] = spelled(surveyed.distances_in)
    shown["MEAGraph training"] = surveyed.training
    return shown
