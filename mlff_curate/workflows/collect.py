"""Inputs to records: one pass over the files, after which only geometries and small facts are held."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.formats.base import PLAIN
from mlff_curate.data.frames import geometry, is_isolated_atom
from mlff_curate.data.frames import label_keys as label_keys_of
from mlff_curate.data.hints import hint, likely_labels, predictions_unused, predictions_used
from mlff_curate.data.labels import PREDICTED, LabelSoundness, is_label_name, label_soundness, missing_key
from mlff_curate.data.opening import is_file
from mlff_curate.data.reading import lacks_last_line_end, read_frames
from mlff_curate.errors import CurateError, DataError
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from ase import Atoms

    from mlff_curate.data.features import FeatureReader
    from mlff_curate.data.formats.base import ReadOptions
    from mlff_curate.data.frames import Frame
    from mlff_curate.data.labels import LabelFault

GROUP_KEY = "config_type"
NO_GROUP = "none"
"""Group of frames without the group key, and of all frames where grouping is switched off."""

_LISTED = 20  # names in a message


@dataclass(frozen=True)
class FrameRecord:
    """What the manifest and the rules need to know of a frame.

    Attributes
    ----------
    source, index, sha256
        As in :class:`Frame`.
    group
        Its configuration group.
    n_atoms
        Number of atoms.
    isolated
        It is a free atom.
    curated
        It comes from ``--against``.
    must_keep, excluded
        The user's word on it.
    labels
        Keys that look like labels.
    faults
        Labels that cannot be used though they can in other frames: a calculation that failed.
    """

    source: str
    index: int
    sha256: str
    group: str
    n_atoms: int
    isolated: bool
    curated: bool
    must_keep: bool
    excluded: bool
    labels: tuple[str, ...]
    faults: tuple[LabelFault, ...] = ()

    @property
    def rejected(self) -> bool:
        """It is never kept: the user excludes it, or a label of it cannot be used."""
        return self.excluded or bool(self.faults)


@dataclass(frozen=True)
class Collection:
    """All frames of a job, inputs first, then the curated ones.

    Attributes
    ----------
    records
        One per frame.
    geometries
        One per frame: elements, positions, cell, pbc; and the features that were asked for, under their name.
    group_key
        The info key that made the groups, or None.
    notes
        Sentences for the user.
    """

    records: tuple[FrameRecord, ...]
    geometries: tuple[Atoms, ...]
    group_key: str | None
    notes: tuple[str, ...] = ()

    @property
    def new(self) -> int:
        """Frames of the inputs; the rest is curated."""
        return sum(not record.curated for record in self.records)

    @contextmanager
    def telling_where(self) -> Iterator[None]:
        """Have errors that know a frame by its place among all tell its file, and its place there."""
        try:
            yield
        except CurateError as error:
            if error.frame is not None and error.file is None:
                record = self.records[error.frame]
                error.file, error.frame = record.source, record.index
            raise


class FrameRule:
    """Frames named by the user: by an info key, by ``KEY=VALUE``, or by a file of 0-based indices.

    Parameters
    ----------
    option
        Name of the option, for messages.
    word
        What the user gave. A file of that name wins over a key: one index per line, counted over all inputs in
        order, ``#`` begins a comment.

    Raises
    ------
    DataError
        A line of the file is no index.
    """

    def __init__(self, option: str, word: str) -> None:
        self.option = option
        self.word = word
        self.indices: set[int] | None = None
        if is_file(Path(word)):
            self.indices = self._read(Path(word))
        self.key, _, value = word.partition("=")
        self.value = value if "=" in word else None
        self.found: set[int] = set()
        self.values: set[str] = set()

    def _read(self, path: Path) -> set[int]:
        indices = set()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            text = line.partition("#")[0].strip()
            if text and not (text.isascii() and text.isdigit()):
                raise DataError(f"line {number} is no frame index: {text[:40]!r}", file=str(path), key=self.option)
            if text:
                indices.add(int(text))
        return indices

    def names(self, frame: Frame, position: int) -> bool:
        """Tell whether the rule names a frame, which is the ``position``-th of all inputs."""
        if self.indices is not None:
            named = position in self.indices
        elif self.key in frame.atoms.info:
            given = frame.atoms.info[self.key]
            self.values.add(_in_file(given))
            named = self.value in (_in_file(given), str(given)) if self.value is not None else bool(np.any(given))
        else:
            named = False
        if named:
            self.found.add(position)
        return named

    def require_used(self, frames: int, keys: set[str]) -> None:
        """Refuse a key or value that no frame has, and an index that does not exist.

        Raises
        ------
        DataError
            The message says what there is.
        """
        if self.indices is not None:
            beyond = sorted(i for i in self.indices if i >= frames)
            if beyond:
                raise DataError(
                    f"frame {beyond[0]} does not exist: the inputs hold frames 0 to {frames - 1}",
                    file=self.word,
                    key=self.option,
                )
        elif self.values and self.value is not None and not self.found:
            raise DataError(
                f"no frame has {self.word}; values of {self.key} are {_listing(self.values)}", key=self.option
            )
        elif not self.values:
            raise DataError(
                f"{self.word!r} is no file, and no frame has an info key {self.key!r}; available: {_listing(keys)}",
                key=self.option,
            )


def collect(
    inputs: Sequence[str | Path],
    *,
    against: Sequence[str | Path] = (),
    group_by: str | None = None,
    must_keep: Sequence[str] = (),
    exclude: Sequence[str] = (),
    reading: ReadOptions = PLAIN,
    label_keys: Mapping[str, str | None] | None = None,
    features: FeatureReader | None = None,
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """Read all files once.

    Labels are not needed, but veto: a frame whose energy, forces or stress is not finite or not of the right shape is
    never kept. Where no frame of the inputs has a sound value under a name, that name holds no label, and vetoes
    nothing: some programs write NaN for what was not computed.

    Parameters
    ----------
    inputs, against
        Files to prune, and curated files.
    group_by
        Info key of the configuration groups; ``none`` for one group; None: ``config_type`` where frames have it.
    must_keep, exclude
        Rules, see :class:`FrameRule`.
    reading
        What the files do not tell.
    label_keys
        ``energy``, ``forces``, ``stress`` to a key that must be in some frame, or None.
    features
        Takes an array that every frame must have.
    progress
        Called with the number of frames read so far.

    Raises
    ------
    DataError
        From reading, or a rule or group key that matches nothing, or a frame that must be kept and never be kept, or
        one whose features cannot be used.
    """
    keep_rules = [FrameRule("--must-keep", word) for word in must_keep]
    drop_rules = [FrameRule("--exclude", word) for word in exclude]
    key = None if group_by == NO_GROUP else (group_by or GROUP_KEY)
    records: list[FrameRecord] = []
    geometries: list[Atoms] = []
    keys: set[str] = set()
    arrays: set[str] = set()
    grouped = False
    names = {f"{name}_key": value for name, value in (label_keys or {}).items()}
    sound: set[str] = set()
    remarks: dict[str, tuple[str, int]] = {}
    guesses: Counter[tuple[str, str]] = Counter()
    without_cell: Counter[str] = Counter()

    for curated, paths in ((False, inputs), (True, against)):
        for frame in read_frames(
            paths, reading.type_map, units=reading.units, log=reading.log, types_written=reading.types_written
        ):
            info = frame.atoms.info
            position = len(records)
            _remember(remarks, frame)
            kept = not curated and _named(keep_rules, frame, position)
            dropped = not curated and _named(drop_rules, frame, position)
            if kept and dropped:
                raise DataError("named by both --must-keep and --exclude", file=frame.source, frame=frame.index)
            if not curated:
                keys.update(map(str, info))
                grouped |= key in info
            labels = label_keys_of(frame.atoms)
            arrays.update(frame.atoms.arrays)
            judged = LabelSoundness() if curated else label_soundness(frame.atoms, **names)
            sound.update(judged.sound)
            without_cell.update(judged.without_cell)
            guesses.update([] if curated else likely_labels(frame.atoms, labels, label_keys or {}))
            records.append(
                FrameRecord(
                    source=frame.source,
                    index=frame.index,
                    sha256=frame.sha256,
                    group=str(info[key]) if key is not None and key in info else NO_GROUP,
                    n_atoms=len(frame.atoms),
                    isolated=is_isolated_atom(frame.atoms),
                    curated=curated,
                    must_keep=kept,
                    excluded=dropped,
                    labels=labels,
                    faults=judged.faults,
                )
            )
            geometries.append(_geometry(frame, features))
            if progress is not None:
                progress(len(records))

    frames = sum(not record.curated for record in records)
    present = Counter(key for record in records if not record.curated for key in record.labels)
    _require_labels(label_keys or {}, keys | arrays | present.keys(), present.keys(), frames)
    for rule in (*keep_rules, *drop_rules):
        rule.require_used(frames, keys)
    if all(record.excluded for record in records if not record.curated):
        raise DataError(f"names all {frames} frames: none is left to keep", key="--exclude")
    records, empty = _vetoed(records, sound)
    if not grouped:
        if group_by not in (None, NO_GROUP):
            raise DataError(f"no frame has this info key; available: {_listing(keys)}", key=f"--group-by {group_by}")
        key = None
        records = [replace(record, group=NO_GROUP) for record in records]
    open_ended = tuple(
        f"{path} does not end with a line end: if it was cut off, its last number may lack digits"
        for path in (*inputs, *against)
        if lacks_last_line_end(Path(path))
    )
    unknown = _unknown_notes(present, label_keys or {})
    unknown += [f"{hint(kind, name)} ({counted(n, 'frame')})" for (kind, name), n in sorted(guesses.items())]
    empty += [
        f"{name} makes no stress in {counted(n, 'frame')}, as the cell has no volume: taken as missing"
        for name, n in sorted(without_cell.items())
    ]
    return Collection(tuple(records), tuple(geometries), key, (*open_ended, *_told(remarks), *unknown, *empty))


def _geometry(frame: Frame, features: FeatureReader | None) -> Atoms:
    """Return what the pipeline holds of a frame."""
    bare = geometry(frame.atoms)
    if features is not None:
        try:
            bare.set_array(features.key, features.read(frame.atoms))
        except DataError as error:
            error.file, error.frame = frame.source, frame.index
            raise
    return bare


def _remember(remarks: dict[str, tuple[str, int]], frame: Frame) -> None:
    """Keep what a reader noticed: of each rule the first remark, and how often there was one."""
    for remark in frame.remarks:
        place = frame.source if remark.severity == "note" else f"{frame.source}: frame {frame.index}"
        said, count = remarks.get(remark.rule, (f"{place}: {remark.message}", 0))
        remarks[remark.rule] = said, count + 1


def _told(remarks: Mapping[str, tuple[str, int]]) -> list[str]:
    return [
        said + (f" (and {counted(count - 1, 'more remark')} of this kind)" if count > 1 else "")
        for said, count in remarks.values()
    ]


def _vetoed(records: list[FrameRecord], sound: set[str]) -> tuple[list[FrameRecord], list[str]]:
    """Leave faults to names that hold sound labels in other frames; return the records and sentences on the rest.

    Raises
    ------
    DataError
        A frame that must be kept has a label that cannot be used, or no frame is left.
    """
    out: list[FrameRecord] = []
    empty: set[str] = set()
    for record in records:
        faults = tuple(fault for fault in record.faults if fault.key in sound)
        empty.update(fault.key for fault in record.faults if fault.key not in sound)
        if faults and record.must_keep:
            raise DataError(
                f"{faults[0].fault}: such a frame is never kept, but --must-keep names it",
                file=record.source,
                frame=record.index,
                key=faults[0].key,
            )
        out.append(replace(record, faults=faults))
    new = [record for record in out if not record.curated]
    if all(record.rejected for record in new):
        example = next(record for record in new if record.faults)
        raise DataError(
            f"none of the {len(new)} frames is left to keep: their labels cannot be used, as here: "
            f"{example.faults[0].fault}",
            file=example.source,
            frame=example.index,
            key=example.faults[0].key,
        )
    return out, [f"no frame has a usable label under {key}: taken as missing" for key in sorted(empty)]


def _named(rules: Sequence[FrameRule], frame: Frame, position: int) -> bool:
    # every rule sees every frame: a rule that matches nothing is an error
    named = [rule.names(frame, position) for rule in rules]
    return any(named)


def _require_labels(
    wanted: Mapping[str, str | None], keys: AbstractSet[str], label_names: AbstractSet[str], frames: int
) -> None:
    for kind, key in wanted.items():
        if key is not None and key not in keys:
            raise missing_key(kind, key, label_names, frames)


def _unknown_notes(present: Mapping[str, int], given: Mapping[str, str | None]) -> list[str]:
    """Name the keys that look like labels and are under no name that is known for one, and predictions."""
    chosen = set(given.values())
    predictions = [predictions_used(kind, key) for kind, key in given.items() if key in PREDICTED]
    predictions += [
        f"{predictions_unused(key)} ({counted(present[key], 'frame')})"
        for key in PREDICTED
        if key in present and key not in chosen
    ]
    unknown = sorted(key for key in present if key not in (*chosen, *PREDICTED) and not is_label_name(key))
    if not unknown:
        return predictions
    listed = ", ".join(f"{key} ({counted(present[key], 'frame')})" for key in unknown[:_LISTED])
    more = f" and {len(unknown) - _LISTED} more" if unknown[_LISTED:] else ""
    note = (
        f"these look like labels but are under no name that is known for one: {listed}{more}; passed on as they are, "
        "and used for nothing unless --energy-key, --forces-key or --stress-key names them"
    )
    return [note, *predictions]


def _in_file(value: object) -> str:
    """Return an info value as extxyz has it: T and F for booleans."""
    return "FT"[bool(value)] if isinstance(value, (bool, np.bool_)) else str(value)


def _listing(words: set[str]) -> str:
    shown = sorted(words)[:_LISTED]
    return ", ".join(shown) + (f" and {len(words) - _LISTED} more" if len(words) > _LISTED else "") or "none at all"
