"""Frames and their targets, from files or from a folder of CIF files with a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.cif_folder import TABLE, is_cif_folder, read_cif_folder
from mlff_curate.data.frames import geometry
from mlff_curate.data.labels import names_of_kind
from mlff_curate.data.reading import read_frames, require_reading
from mlff_curate.data.targets import available, candidates, target_of
from mlff_curate.errors import DataError, UsageError
from mlff_curate.wording import counted
from mlff_curate.workflows.places import Placed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

    from mlff_curate.data.frames import Frame

    Progress = Callable[[str, int, int | None, str], None]

GROUP_KEY, NO_GROUP = "config_type", "none"


@dataclass(frozen=True)
class PropertyInput:
    """What to read, and how.

    Attributes
    ----------
    inputs
        Files, or folders of CIF files.
    target
        Name of the property: a key of the frames, or a column of the table.
    csv
        Table for a folder of CIF files.
    usual
        Column taken where no target is named and the table has several.
    group_by
        Info key of the groups, ``none`` for one group; None: ``config_type`` where there is one.
    type_map, units, log
        As in :func:`mlff_curate.data.reading.read_frames`.
    """

    inputs: tuple[str, ...]
    target: str | None = None
    csv: str | None = None
    usual: str | None = None
    group_by: str | None = None
    type_map: tuple[str, ...] = ()
    units: str | None = None
    log: str | None = None

    @property
    def files(self) -> list[Path]:
        """All that is read, for a look at whether an output is among it."""
        return [Path(path) for path in (*self.inputs, self.csv, self.log) if path is not None]

    def require(self, *, needs_targets: bool = True) -> None:
        """Refuse options that have no meaning, or not for these inputs, before frames are read.

        Raises
        ------
        UsageError
            Names the option.
        DataError
            An input is not there.
        """
        require_reading(self.type_map, self.units)
        _folders(self, needs_targets=needs_targets)


@dataclass
class PropertyData(Placed):
    """F frames with what is known of each.

    Attributes
    ----------
    frames
        Elements, positions, cell, pbc.
    sources, indices
        File of each frame and its place in there.
    groups
        Group of each frame.
    targets
        (F,) not a number where a frame has none.
    target
        What the target is called.
    group_key
        What made the groups, or None.
    notes
        Sentences for the user.
    """

    frames: list[Atoms] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    target: str | None = None
    group_key: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def targets(self) -> np.ndarray:
        """(F,) float64."""
        return np.array(self.values, np.float64)

    def part(self, kept: np.ndarray) -> PropertyData:
        """Return some frames, (f,) indices."""
        rows = kept.tolist()
        return PropertyData(
            [self.frames[i] for i in rows],
            [self.sources[i] for i in rows],
            [self.indices[i] for i in rows],
            [self.groups[i] for i in rows],
            [self.values[i] for i in rows],
            self.target,
            self.group_key,
            list(self.notes),
        )


def read_property_data(
    what: PropertyInput, *, needs_targets: bool = True, progress: Progress | None = None
) -> PropertyData:
    """Read frames and targets.

    Parameters
    ----------
    what
        See :class:`PropertyInput`.
    needs_targets
        Whether inputs without any target are refused.
    progress
        Called with stage, frames done, frames in all or None, and a word.

    Raises
    ------
    UsageError
        No target is named where files need one, or a table where none is used.
    DataError
        From reading; also a target that no frame has or that is no number; names file, frame and key.
    """
    folders = _folders(what, needs_targets=needs_targets)
    data = PropertyData(target=what.target)
    key = None if what.group_by == NO_GROUP else (what.group_by or GROUP_KEY)
    seen: Counter[str] = Counter()
    energies = 0
    for path, is_folder in zip(what.inputs, folders, strict=True):
        if is_folder:
            _add_folder(data, Path(path), what, key, needs_targets=needs_targets, progress=progress)
            continue
        for frame in read_frames(path, what.type_map, units=what.units, log=what.log):
            seen.update(candidates(frame.atoms))
            value = None if what.target is None else _value(frame, what.target)
            energies += value is not None and what.target in names_of_kind(frame.atoms, "energy")
            _add(data, frame, float("nan") if value is None else value, key)
            if progress is not None:
                progress("read", len(data.frames), None, "")
    _settle_groups(data, what.group_by, key)
    _tell_missing(data, seen, needs_targets=needs_targets)
    if energies and len({len(atoms) for atoms in data.frames}) > 1:
        data.notes.append(
            f"{what.target} is the energy of a whole frame and frames differ in size: a prediction is made of a mean "
            "over atoms, which fits an energy per atom"
        )
    return data


def _folders(what: PropertyInput, *, needs_targets: bool) -> list[bool]:
    """Tell which inputs are folders of CIF files, after a look at whether target and table go with them."""
    folders = [is_cif_folder(Path(path)) for path in what.inputs]
    for path, is_folder in zip(what.inputs, folders, strict=True):
        if not is_folder:
            _require_no_table(Path(path))
    if what.csv is not None and not any(folders):
        raise UsageError("a table goes with a folder of CIF files, and no input is one", key="--csv")
    if what.csv is not None and sum(folders) > 1:
        raise UsageError("one table is given and several folders of CIF files: take one at a time", key="--csv")
    if what.target is None and needs_targets and not all(folders):
        bare = [path for path, is_cif in zip(what.inputs, folders, strict=True) if not is_cif and Path(path).is_dir()]
        why = f"; {bare[0]} is a folder without *.cif, so that no table is looked for" if bare else ""
        raise UsageError(f"name the property to learn: an info key of the frames{why}", key="--target")
    return folders


def _require_no_table(path: Path) -> None:
    """Refuse what was meant as a folder of CIF files and has none that is called so."""
    if not path.is_dir():
        return
    others = sorted(one.name for one in path.glob("*") if one.suffix.lower() == ".cif")
    if others or (path / TABLE).is_file():
        found = f"no *.cif was found there, only {others[0]}" if others else f"no *.cif was found there, only {TABLE}"
        raise DataError(found, file=str(path))


def _value(frame: Frame, target: str) -> float | None:
    try:
        return target_of(frame.atoms, target)
    except DataError as error:
        error.file, error.frame = frame.source, frame.index
        raise


def _add(data: PropertyData, frame: Frame, value: float, key: str | None) -> None:
    data.frames.append(geometry(frame.atoms))
    data.sources.append(frame.source)
    data.indices.append(frame.index)
    data.values.append(value)
    named = key is not None and key in frame.atoms.info
    data.groups.append(str(frame.atoms.info[key]) if named else "")


def _add_folder(
    data: PropertyData,
    folder: Path,
    what: PropertyInput,
    key: str | None,
    *,
    needs_targets: bool,
    progress: Progress | None,
) -> None:
    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress("read", done, total, "")

    table = None if what.csv is None else Path(what.csv)
    found = read_cif_folder(folder, table, what.target, usual=what.usual, needs_table=needs_targets, progress=tell)
    if None not in (data.target, found.target) and data.target != found.target:
        raise DataError(
            f"the targets are called {found.target}, those read before {data.target}: name one with --target",
            file=str(folder),
        )
    for i, frame in enumerate(found.frames):
        _add(data, frame, float("nan") if found.targets is None else found.targets[i], key)
    data.target = data.target or found.target
    data.notes += found.notes


def _settle_groups(data: PropertyData, group_by: str | None, key: str | None) -> None:
    if any(data.groups):
        data.group_key = key
        data.groups = [group or NO_GROUP for group in data.groups]
        return
    if group_by not in (None, NO_GROUP):
        raise DataError("no frame has this info key", key=f"--group-by {group_by}")
    data.groups = [NO_GROUP] * len(data.groups)


def _tell_missing(data: PropertyData, seen: Counter[str], *, needs_targets: bool) -> None:
    missing = np.flatnonzero(np.isnan(data.targets))
    if len(missing) == len(data.frames):
        if needs_targets:
            raise DataError(f"no frame has this key; {available(seen)}", file=data.sources[0], key=data.target)
        return
    if len(missing):
        first = f"{data.sources[missing[0]]}: frame {data.indices[missing[0]]}"
        what = "left out" if needs_targets else "predicted and not compared"
        data.notes.append(f"{counted(len(missing), 'frame')} without {data.target} {what}, the first {first}")
