"""What ``prune`` leaves behind: the kept frames, the manifest and the report."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from mlff_curate import __version__
from mlff_curate.data.formats.base import NormalFrame, WriteOptions
from mlff_curate.data.formats.extxyz import EXTXYZ
from mlff_curate.data.labels import Labels
from mlff_curate.data.outputs import whole_outputs
from mlff_curate.data.reading import read_again
from mlff_curate.data.writing import add_frame, normal_frame
from mlff_curate.errors import DataError, OutputError
from mlff_curate.report import GroupCounts, PruneReport, ReasonCount, render
from mlff_curate.workflows.telling import loss_lines, peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlff_curate.data.formats.base import Format, ReadOptions
    from mlff_curate.data.frames import Frame
    from mlff_curate.validation.learning_curve import LearningCurve
    from mlff_curate.workflows.collect import FrameRecord
    from mlff_curate.workflows.prune import PruneOptions, PruneResult

_MAP_POINTS = 4000
MANIFEST = (
    *("source", "index", "sha256", "group", "n_atoms", "decision", "reason", "represented_by"),  # scripts rely on these
    *("shares", "distance", "farthest", "gain", "brings", "stands_for", "only", "distances_in", "descriptor"),
)
"""Columns of the manifest."""


@dataclass(frozen=True)
class Outputs:
    """Where the results go."""

    frames: Path
    manifest: Path
    report: Path

    @classmethod
    def beside(cls, out: str | Path | None, inputs: Sequence[str | Path], suffix: str = "extxyz") -> Outputs:
        """Name the three files: OUT, or one named after the first input in the current folder, and two beside it."""
        if out is None:
            stem = Path(inputs[0]).name.removesuffix(".gz").rsplit(".", 1)[0]
            out = Path(f"{stem}.pruned.{suffix}")
        frames = Path(out)
        if not frames.name:
            raise OutputError("is a folder, not a file", file=str(out) or "-o")
        stem = Path(frames.name.removesuffix(".gz")).stem
        return cls(frames, frames.with_name(f"{stem}.manifest.csv"), frames.with_name(f"{stem}.report.html"))

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        """All three."""
        return self.frames, self.manifest, self.report


def kept_frames(result: PruneResult, reading: ReadOptions) -> Iterator[Frame]:
    """Yield the kept frames in input order, read from the inputs once more.

    Raises
    ------
    DataError
        An input has changed since it was read.
    """
    runs: list[tuple[str, list[FrameRecord]]] = []
    for record in result.kept:
        if not runs or runs[-1][0] != record.source or runs[-1][1][-1].index >= record.index:
            runs.append((record.source, []))  # the same file given twice is read twice
        runs[-1][1].append(record)
    for source, records in runs:
        wanted = {record.index: record.sha256 for record in records}
        found = 0
        for frame in read_again(source, wanted, reading):
            if wanted[frame.index] != frame.sha256:
                raise DataError("the file changed while it was being pruned", file=source, frame=frame.index)
            found += 1
            yield frame
        if found != len(wanted):
            raise DataError("the file changed while it was being pruned", file=source)


def manifest_text(result: PruneResult) -> str:
    """Return the manifest: one row per input frame."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(MANIFEST)
    for d in result.decisions:
        r = d.record
        reason = f"{d.reason} ({d.detail})" if d.detail else d.reason
        row = [r.source, r.index, r.sha256, r.group, r.n_atoms, d.decision, reason, d.represented_by]
        row += [";".join(map(_figure, d.shares)), _figure(d.distance), _figure(d.farthest)]
        row += [_figure(d.gain), _figure(d.brings), "" if d.stands_for is None else d.stands_for, d.only]
        measured = d.distance is not None or d.brings is not None
        row += [result.survey.distances_in, result.survey.descriptor.title] if measured else ["", ""]
        writer.writerow(row)
    return out.getvalue()


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def label_counts(result: PruneResult) -> dict[str, int]:
    """Return how many input frames carry each key that looks like a label."""
    counts = Counter(key for d in result.decisions for key in d.record.labels)
    return dict(sorted(counts.items()))


def report_of(
    result: PruneResult,
    outputs: Outputs,
    command: str,
    options: Mapping[str, str],
    seed: int,
    proof: LearningCurve | None = None,
) -> PruneReport:
    """Gather what the page shows.

    Parameters
    ----------
    result, outputs
        The decisions, and where they go.
    command
        What to type to get the same again.
    options
        Options in force, as text.
    seed
        Draws the environments on the map.
    proof
        Of ``--prove``.
    """
    records = [d.record for d in result.decisions]
    decision = np.array([d.decision for d in result.decisions])
    group = np.array([r.group for r in records])
    atoms = np.array([r.n_atoms for r in records])
    groups = tuple(
        GroupCounts(
            group=name,
            frames=int((group == name).sum()),
            kept=int(((group == name) & (decision == "kept")).sum()),
            dropped=int(((group == name) & (decision == "dropped")).sum()),
            rejected=int(((group == name) & (decision == "rejected")).sum()),
            environments=int(atoms[group == name].sum()),
        )
        for name in sorted(set(group.tolist()))
    )
    reasons = Counter((d.decision, d.reason) for d in result.decisions)
    surveyed, new = result.survey, result.survey.new_environments
    owner = surveyed.pool.owner[:new]
    kept_frame = decision == "kept"
    cluster = surveyed.cluster[:new]
    sizes = np.bincount(cluster[cluster >= 0]) if (cluster >= 0).any() else np.zeros(0, np.int64)
    in_kept = np.bincount(cluster[(cluster >= 0) & kept_frame[owner]], minlength=len(sizes))
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]

    points, axes = _map(surveyed.embedding[:new])
    shown = np.sort(np.random.default_rng([seed, 3]).permutation(new)[:_MAP_POINTS])
    mandatory = int((kept_frame.sum()) - len(result.selection.chosen))
    measured = not np.isnan(result.selection.coverage).any()
    outside = cluster < 0
    lengths = [d.farthest for d in result.decisions if d.decision == "dropped" and d.farthest is not None]
    return PruneReport(
        title=f"Pruned: {', '.join(dict.fromkeys(r.source for r in records))}",
        command=command,
        version=__version__,
        inputs=tuple(dict.fromkeys(r.source for r in records)),
        output=str(outputs.frames),
        options=options,
        seconds=result.seconds,
        peak_memory_mb=peak_memory_mb(),
        notes=result.notes,
        labels=label_counts(result),
        groups=groups,
        reasons=tuple(ReasonCount(what, why, frames) for (what, why), frames in sorted(reasons.items())),
        map_xy=points[shown],
        map_kept=kept_frame[owner[shown]],
        map_cluster=cluster[shown],
        map_group=group[owner[shown]],
        map_label=np.array(
            [
                f"{records[f].source} #{records[f].index}, atom {e - surveyed.environments.first[f]} "
                f"({chemical_symbols[surveyed.environments.species[e]]})"
                for e, f in zip(shown, owner[shown], strict=True)
            ]
        ),
        map_axes=axes,
        environments=new,
        cluster_sizes=sizes[order],
        cluster_kept=in_kept[order],
        outliers=int(outside.sum()),
        outliers_kept=int((outside & kept_frame[owner]).sum()),
        distances_in=surveyed.distances_in,
        uncovered=result.uncovered,
        farthest=max(lengths, default=None),
        curve_frames=mandatory + np.arange(len(result.selection.coverage)) if measured else np.zeros(0, np.int64),
        curve_coverage=result.selection.coverage if measured else np.zeros(0),
        chosen=int(kept_frame.sum()),
        floor=mandatory + result.selection.floor,
        proof=proof,
    )


def _map(embedding: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """Return the two principal axes of the embedding, (N, 2), and their titles.

    The axes are those of the 98 % nearest the middle: a few far environments would else turn them their way.
    """
    centred = embedding - np.median(embedding, axis=0)
    distance = np.linalg.norm(centred, axis=1)
    bulk = centred[distance <= np.quantile(distance, 0.98)]
    bulk = bulk - bulk.mean(axis=0)
    variance, axes = np.linalg.eigh(bulk.T @ bulk / max(len(bulk), 1))
    total = float(variance.sum()) or 1.0
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(2)] < 0, -1.0, 1.0)
    shares = variance[::-1][:2] / total
    titles = [f"axis {i + 1} of the embedding ({100 * share:.0f} % of the variance)" for i, share in enumerate(shares)]
    return centred @ axes, (titles[0], titles[1])


def write_outputs(
    result: PruneResult, outputs: Outputs, report: PruneReport, to: Format, options: PruneOptions
) -> dict[str, int]:
    """Write the kept frames, the manifest and the report; they appear together or not at all.

    Returns
    -------
    lost
        Names of what the format cannot hold, to the number of kept frames that had it.

    Raises
    ------
    DataError
        An input has changed, or a frame cannot be written in this format.
    OutputError
        The disk does not take them.
    """
    assert to.write is not None
    lost: Counter[str] = Counter()
    with whole_outputs(*outputs.paths) as (frames, manifest, page):
        writer = to.write(frames, WriteOptions(type_map=tuple(options.type_map)))
        for frame in kept_frames(result, options):
            lost.update(add_frame(writer, _on_its_way_out(frame, to, options, result.survey.group_key)))
        writer.close()
        # a file name need not be UTF-8: the manifest gives back its bytes, the page shows a mark
        manifest.write_bytes(manifest_text(result).encode(errors="surrogateescape"))
        report = replace(report, notes=(*report.notes, *loss_lines(to, lost)))
        page.write_bytes(render(report).encode(errors="replace"))
    return dict(sorted(lost.items()))


def _on_its_way_out(frame: Frame, to: Format, options: PruneOptions, group_key: str | None) -> NormalFrame:
    if to is EXTXYZ:  # frames pass as they are, whatever their labels are
        return NormalFrame(frame, Labels(), None, isolated=False)
    return normal_frame(frame, options.label_keys, group_key)
