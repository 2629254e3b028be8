"""``convert``: frames of any format to files of another, with word of what became of every label."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_curate.data.formats.base import ReadOptions, WriteOptions
from mlff_curate.data.hints import hint, likely_labels
from mlff_curate.data.labels import PREDICTED, Labels, require_keys_among
from mlff_curate.data.outputs import require_free, whole_outputs
from mlff_curate.data.reading import lacks_last_line_end, read_frames
from mlff_curate.data.renaming import chosen_names
from mlff_curate.data.writing import (
    add_frame,
    format_named,
    format_of_path,
    normal_frame,
    require_name,
    require_names,
)
from mlff_curate.errors import DataError, OutputError
from mlff_curate.wording import counted
from mlff_curate.workflows.collect import GROUP_KEY, NO_GROUP
from mlff_curate.workflows.telling import loss_lines, peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlff_curate.data.formats.base import Format, NormalFrame
    from mlff_curate.data.frames import Frame, Remark
    from mlff_curate.workflows.survey import Progress

KINDS = ("energy", "forces", "stress")
_ALL_KINDS = (*KINDS, "energies", "magmoms")
_NO_KNOWN_NAME = "looks like a label, but is under no name that is known for one"
_SHOWN = 20
"""Lines about labels, and about remarks, that a person is shown."""


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(ReadOptions):
    """What may be asked of ``convert``; how files are read is told as in :class:`ReadOptions`.

    Attributes
    ----------
    to
        Name of the format; None: as the name of the output says.
    label_keys
        ``energy``, ``forces``, ``stress`` to the name that the frames have for it; missing or None: the usual names.
    energy_key, forces_key, stress_key
        Names to write; None: the format's, or those that were found.
    group_by
        Info key of the configuration groups; ``none``: no groups; None: ``config_type`` where frames have it.
    """

    to: str | None = None
    label_keys: Mapping[str, str | None] = field(default_factory=dict)
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    group_by: str | None = None


@dataclass(frozen=True)
class Found:
    """A label as some frames have it.

    Attributes
    ----------
    kind
        ``energy``, ``forces``, ``stress``, ``energies`` (of atoms) or ``magmoms``.
    key
        The name it was found under.
    now
        The name it is written under, None if the format cannot hold it.
    origin
        Where it came from and what was done to it, in words; empty if that is plain.
    """

    kind: str
    key: str
    now: str | None
    origin: str

    def line(self, frames: int) -> str:
        """Say it in a sentence."""
        became = "" if self.now == self.key else f" -> {self.now}" if self.now is not None else ", not written,"
        origin = f" ({self.origin})" if self.origin else ""
        return f"{self.kind}: {self.key}{became} in {counted(frames, 'frame')}{origin}"


@dataclass
class Tally:
    """What became of the frames, in numbers of frames.

    Attributes
    ----------
    frames, atoms, isolated
        Numbers of them.
    groups
        Configuration group to frames.
    found
        Labels.
    missing
        Kind of label to frames without it.
    lost
        Names of what the format cannot hold.
    unknown
        Names that look like labels and are none known, and predictions.
    likely
        Kind of label and a name that could be it, to frames that have it under no usual name.
    not_finite
        Names of labels that are NaN or infinite.
    without_cell
        Names of virials of frames without a volume.
    remarks
        Rule and key to frames, with the first remark and where it is.
    """

    frames: int = 0
    atoms: int = 0
    isolated: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    found: Counter[Found] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    likely: Counter[tuple[str, str]] = field(default_factory=Counter)
    not_finite: Counter[str] = field(default_factory=Counter)
    without_cell: Counter[str] = field(default_factory=Counter)
    remarks: dict[tuple[str, str | None], tuple[int, Remark, str, int]] = field(default_factory=dict)
    _names: dict[object, Labels] = field(default_factory=dict)
    _energy: tuple[str, str | None] | None = None

    def add(
        self,
        frame: NormalFrame,
        names: Mapping[str, str],
        lost: tuple[str, ...],
        given: Mapping[str, str | None],
    ) -> None:
        """Count a frame that was written with its labels under `names`, but for what was `lost`.

        Parameters
        ----------
        frame, names, lost
            The frame, names by kind of label, and names of what the format cannot hold.
        given
            Kind of label to the name that the user gave for it.
        """
        labels, read = frame.labels, frame.frame
        self._require_one_energy(frame, names)
        self.frames += 1
        self.atoms += len(read.atoms)
        self.isolated += frame.isolated
        if frame.group is not None:
            self.groups[frame.group] += 1
        for kind in _ALL_KINDS:
            key = getattr(labels, f"{kind}_key")
            if getattr(labels, kind) is None or key is None:
                self.missing[kind] += 1
                continue
            now = None if kind in lost or key in lost else names.get(kind, key)
            self.found[Found(kind, key, now, _origin(frame, kind, key))] += 1
        self.lost.update(lost)
        self.unknown.update((*labels.unknown, *labels.predicted))
        if labels.energy is None or labels.forces is None:
            self.likely.update(likely_labels(read.atoms, labels.present, given))
        self.not_finite.update(labels.not_finite)
        self.without_cell.update(labels.without_cell)
        for remark in read.remarks:
            what = (remark.rule, remark.key)
            count, first, file, index = self.remarks.get(what, (0, remark, read.source, read.index))
            self.remarks[what] = (count + 1, first, file, index)
        seen = (labels.energy_key, labels.forces_key, labels.stress_key, labels.not_finite, labels.present)
        if seen not in self._names:
            self._names[seen] = Labels(
                energy_key=labels.energy_key,
                forces_key=labels.forces_key,
                stress_key=labels.stress_key,
                not_finite=labels.not_finite,
                present=labels.present,
            )

    def _require_one_energy(self, frame: NormalFrame, names: Mapping[str, str]) -> None:
        """Refuse to write energies of different meaning under one name."""
        labels = frame.labels
        if "energy" not in names or labels.energy_key is None:
            return
        key, kind = self._energy = self._energy or (labels.energy_key, labels.energy_kind)
        if kind != labels.energy_kind:
            raise DataError(
                f"the energy of this frame is {labels.energy_key}, that of earlier ones {key}, which is another "
                f"quantity, and both would become {names['energy']}: choose one with --energy-key",
                file=frame.frame.source,
                frame=frame.frame.index,
                key=labels.energy_key,
            )

    def require_keys(self, keys: Mapping[str, str | None]) -> None:
        """Refuse names of labels that no frame has.

        Raises
        ------
        DataError
            See :func:`mlff_curate.data.labels.require_keys_among`.
        """
        require_keys_among(self._names.values(), keys, self.frames)


def _origin(frame: NormalFrame, kind: str, key: str) -> str:
    origins, labels = frame.frame.origins, frame.labels
    said = [origins.get(key) or origins.get(kind) or ""]
    if kind == "energy" and labels.energy_kind is not None:
        said.append(f"the energy {labels.energy_kind}" if labels.energy_kind != "free" else "the free energy")
    if key in PREDICTED:
        said.append("a model's prediction")
    if kind == "stress" and labels.from_virial:
        said.append("a virial: minus it over the volume is the stress")
    return "; ".join(words for words in said if words)


@dataclass(frozen=True)
class ConvertDone:
    """A finished ``convert``.

    Attributes
    ----------
    inputs, output
        What was read and written.
    to
        The format.
    tally
        What became of the frames.
    notes
        Sentences for the user.
    seconds
        Stage to seconds.
    """

    inputs: tuple[str, ...]
    output: Path
    to: Format
    tally: Tally
    notes: tuple[str, ...]
    seconds: dict[str, float]

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        tally = self.tally
        return {
            "output": str(self.output),
            "format": self.to.name,
            "inputs": list(self.inputs),
            "frames": tally.frames,
            "atoms": tally.atoms,
            "isolated_atoms": tally.isolated,
            "groups": dict(sorted(tally.groups.items())),
            "labels": {kind: self._of_kind(kind) for kind in _ALL_KINDS if kind in KINDS or self._of_kind(kind)},
            "unlabelled": {kind: tally.missing[kind] for kind in KINDS},
            "lost": dict(sorted(tally.lost.items())),
            "unknown": dict(sorted(tally.unknown.items())),
            "likely": [
                {"kind": kind, "key": key, "frames": frames} for (kind, key), frames in sorted(tally.likely.items())
            ],
            "not_finite": dict(sorted(tally.not_finite.items())),
            "without_cell": dict(sorted(tally.without_cell.items())),
            "remarks": [
                {
                    "rule": remark.rule,
                    "severity": remark.severity,
                    "key": remark.key,
                    "frames": count,
                    "file": file,
                    "frame": index,
                    "message": remark.message,
                    "fix": remark.fix,
                }
                for count, remark, file, index in tally.remarks.values()
            ],
            "notes": list(self.notes),
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
        }

    def _of_kind(self, kind: str) -> list[dict[str, object]]:
        return [
            {"found": one.key, "written": one.now, "origin": one.origin, "frames": frames}
            for one, frames in self.tally.found.items()
            if one.kind == kind
        ]

    def lines(self) -> list[str]:
        """Return what a person reads."""
        tally = self.tally
        groups = f" in {counted(len(tally.groups), 'group')}" if tally.groups else ""
        isolated = f", {counted(tally.isolated, 'isolated atom')}" if tally.isolated else ""
        lines = [
            (
                f"{self.output}: {counted(tally.frames, 'frame')}{groups}, {counted(tally.atoms, 'atom')}{isolated}, "
                f"as {self.to.title}"
            )
        ]
        lines += _capped([one.line(n) for kind in _ALL_KINDS for one, n in tally.found.items() if one.kind == kind])
        if all(tally.missing[kind] == tally.frames for kind in KINDS):
            lines.append("no energies, forces or stresses: the frames are unlabelled, and stay so")
        else:
            lines += [f"no {kind} in {counted(tally.missing[kind], 'frame')}" for kind in KINDS if tally.missing[kind]]
        lines += _capped(
            [f"warning: {hint(kind, name)} ({counted(n, 'frame')})" for (kind, name), n in sorted(tally.likely.items())]
        )
        lines += [
            f"warning: {name}: NaN or infinity in {counted(n, 'frame')}: taken as missing"
            for name, n in sorted(tally.not_finite.items())
        ]
        lines += [
            f"warning: {name} makes no stress in {counted(n, 'frame')}, as the cell has no volume: taken as missing"
            for name, n in sorted(tally.without_cell.items())
        ]
        lines += [
            f"warning: {name} ({counted(n, 'frame')}) "
            + ("is a model's prediction" if name in PREDICTED else _NO_KNOWN_NAME)
            + f": {'not written' if name in tally.lost else 'passed on as it is'}"
            for name, n in sorted(tally.unknown.items())
        ]
        lines += _capped(
            [
                # the frames are written all the same: what check calls an error is no error of this command
                f"{'note' if remark.severity == 'note' else 'warning'}: {remark.message} ({remark.rule}, "
                f"{counted(count, 'frame')}, first {file}: frame {index}){f': {remark.fix}' if remark.fix else ''}"
                for count, remark, file, index in tally.remarks.values()
            ]
        )
        lines += [f"warning: {said}" for said in loss_lines(self.to, tally.lost)]
        return [*lines, *(f"note: {note}" for note in self.notes)]


def _capped(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more such lines (--json)"]


def convert_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    options: ConvertOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ConvertDone:
    """Read frames and write them in another format, one at a time and in their order.

    Parameters
    ----------
    inputs
        Files or folders.
    output
        File or, for some formats, folder.
    options
        See :class:`ConvertOptions`.
    overwrite
        Replace an output that exists; of folders only those that were written here.
    progress
        Called with stage, frames done, None and an empty word.

    Raises
    ------
    CurateError
        Data that cannot be read or written, contradicting labels, wrong usage. Nothing is written then.
    """
    options = options or ConvertOptions()
    out = Path(output)
    if not out.name:
        raise OutputError("is no name for an output", file=str(output) or "OUT")
    to = format_of_path(out) if options.to is None else format_named(options.to)
    require_name(out, to)
    write = WriteOptions(options.energy_key, options.forces_key, options.stress_key, options.type_map)
    require_names(to, write)
    require_free(
        [out], [Path(p) for p in (*inputs, *options.files)], overwrite=overwrite, folders=() if to.suffix else [out]
    )
    group_key = None if options.group_by == NO_GROUP else options.group_by or GROUP_KEY
    names = chosen_names(write, to.label_names)
    tally = Tally()
    start = time.perf_counter()
    assert to.write is not None
    with whole_outputs(out) as (part,):
        writer = to.write(part, write)
        for read in _frames(inputs, options, to):
            frame = normal_frame(read, options.label_keys, group_key)
            tally.add(frame, names, add_frame(writer, frame), options.label_keys)
            if progress is not None:
                progress("convert", tally.frames, None, "")
        tally.require_keys(options.label_keys)
        if options.group_by not in (None, NO_GROUP) and not tally.groups:
            raise DataError("no frame has this info key", key=f"--group-by {options.group_by}")
        writer.close()
    notes = tuple(
        f"{path} does not end with a line end: if it was cut off, its last number may lack digits"
        for path in inputs
        if lacks_last_line_end(Path(path))
    )
    if tally.found and any(rule == "units-assumed" for rule, _ in tally.remarks):
        notes = (*notes, "where units are assumed, mlff-curate check tells whether the labels go together in them")
    return ConvertDone(tuple(map(str, inputs)), out, to, tally, notes, {"convert": time.perf_counter() - start})


def _frames(inputs: Sequence[str | Path], options: ConvertOptions, to: Format) -> Iterator[Frame]:
    """Yield the frames of all inputs; of one that is none it is said how to get rid of it."""
    try:
        yield from read_frames(
            inputs, options.type_map, units=options.units, log=options.log, types_written=to.types_chosen
        )
    except DataError as error:
        if error.one_frame:
            error.message += ": mlff-curate check INPUT --fix OUT.extxyz writes the other frames"
        raise
