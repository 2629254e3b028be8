"""Frames and the labels that a potential is trained on or compared with, from files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_curate.data.frames import geometry
from mlff_curate.data.hints import predictions_unused, predictions_used
from mlff_curate.data.labels import PREDICTED, labels_of, require_keys
from mlff_curate.data.reading import read_frames, require_reading
from mlff_curate.errors import CurateError, DataError
from mlff_curate.wording import counted
from mlff_curate.workflows.places import Placed
from mlff_curate.workflows.property_data import GROUP_KEY, NO_GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ase import Atoms

    from mlff_curate.data.frames import Frame
    from mlff_curate.data.labels import Labels

    Progress = Callable[[str, int, int | None, str], None]

KINDS = ("energy", "forces", "stress")
_ONE = {"energy": "an energy", "forces": "forces", "stress": "a stress"}


@dataclass(frozen=True)
class PotentialInput:
    """What to read, and how.

    Attributes
    ----------
    inputs
        Files or folders of any format.
    label_keys
        ``energy``, ``forces``, ``stress`` to the name that the user gives, or None.
    group_by
        Info key of the groups, ``none`` for one group; None: ``config_type`` where there is one.
    type_map, units, log
        As in :func:`mlff_curate.data.reading.read_frames`.
    """

    inputs: tuple[str, ...]
    label_keys: Mapping[str, str | None] = field(default_factory=dict)
    group_by: str | None = None
    type_map: tuple[str, ...] = ()
    units: str | None = None
    log: str | None = None

    @property
    def files(self) -> list[Path]:
        """All that is read, for a look at whether an output is among it."""
        return [Path(path) for path in (*self.inputs, self.log) if path is not None]

    def require(self) -> None:
        """Refuse options that have no meaning, before anything is read.

        Raises
        ------
        UsageError
            Names the option.
        """
        require_reading(self.type_map, self.units)


@dataclass
class PotentialData(Placed):
    """F frames with what is known of each.

    Attributes
    ----------
    frames
        Elements, positions, cell, pbc.
    labels
        Theirs.
    sources, indices
        File of each frame and its place in there.
    groups
        Group of each frame.
    group_key
        What made the groups, or None.
    open_stresses
        How many frames have a stress that no potential is compared with, as they are not periodic in three directions;
        it is not among the labels.
    notes
        Sentences for the user.
    """

    frames: list[Atoms] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    group_key: str | None = None
    open_stresses: int = 0
    notes: list[str] = field(default_factory=list)


def read_potential_data(
    what: PotentialInput, progress: Progress | None = None, *, also: Callable[[Frame], None] | None = None
) -> PotentialData:
    """Read frames and labels.

    Parameters
    ----------
    what
        What to read, and how.
    progress
        Called with stage, frames done, None, and no word.
    also
        Called with each frame as it was read; what it raises is given file and frame.

    Raises
    ------
    DataError
        From reading; a label that is not of the right shape, or several that differ; a key that no frame has.
    """
    keys = {f"{kind}_key": what.label_keys.get(kind) for kind in KINDS}
    group_key = None if what.group_by == NO_GROUP else (what.group_by or GROUP_KEY)
    data = PotentialData()
    grouped = False
    for frame in read_frames(what.inputs, what.type_map, units=what.units, log=what.log):
        try:
            data.labels.append(labels_of(frame.atoms, **keys))
            if also is not None:
                also(frame)
        except CurateError as error:
            error.file, error.frame = frame.source, frame.index
            raise
        data.frames.append(geometry(frame.atoms))
        data.sources.append(frame.source)
        data.indices.append(frame.index)
        named = group_key is not None and group_key in frame.atoms.info
        grouped |= named
        data.groups.append(str(frame.atoms.info[group_key]) if named else NO_GROUP)
        if progress is not None:
            progress("read", len(data.frames), None, "")
    require_keys(data.labels, **keys)
    if not grouped and what.group_by not in (None, NO_GROUP):
        raise DataError("no frame has this info key", key=f"--group-by {what.group_by}")
    data.group_key = group_key if grouped else None
    for i, (atoms, labels) in enumerate(zip(data.frames, data.labels, strict=True)):
        if labels.stress is not None and not atoms.pbc.all():
            data.labels[i] = replace(labels, stress=None)
            data.open_stresses += 1
    data.notes += _about(data.labels)
    if data.open_stresses:
        data.notes.append(f"the stress of {about_open(data.open_stresses)}")
    return data


def about_open(n: int) -> str:
    """Say of how many frames a stress counts nothing, and why."""
    one = n == 1
    return f"{counted(n, 'frame')} is not used: {'it is' if one else 'they are'} not periodic in three directions"


def _about(labels: list[Labels]) -> Iterator[str]:
    """Say where labels were found, and of which there are fewer than frames."""
    for kind in KINDS:
        found = [(name, item) for item in labels if (name := getattr(item, f"{kind}_key")) is not None]
        names = {name: 0 for name, _ in found}
        for name, item in found:
            names[name] += getattr(item, kind) is not None
        shown = ", ".join(f"{name} ({n} of {counted(len(labels), 'frame')})" for name, n in sorted(names.items()))
        verb = "are" if kind == "forces" else "is"
        yield f"{kind} {verb} read from {shown}" if shown else f"no frame has {_ONE[kind]}"
        yield from (predictions_used(kind, name) for name in sorted(names) if name in PREDICTED)
    for name, n in sorted(Counter(name for item in labels for name in item.not_finite).items()):
        yield f"{name} is not finite in {counted(n, 'frame')}: taken as missing there"
    for name, n in sorted(Counter(name for item in labels for name in item.without_cell).items()):
        yield f"{name} makes no stress in {counted(n, 'frame')}, as the cell has no volume: taken as missing"
    for name, n in sorted(Counter(name for item in labels for name in item.unknown).items()):
        yield f"{name} looks like a label and is not used ({counted(n, 'frame')}): --energy-key and the like name one"
    for name, n in sorted(Counter(name for item in labels for name in item.predicted).items()):
        yield f"{predictions_unused(name)} ({counted(n, 'frame')})"
