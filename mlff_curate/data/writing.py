"""Frames to files: which format, and which frame as what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_curate.data.formats import FORMATS
from mlff_curate.data.formats.ase_formats import ase_format, ase_names
from mlff_curate.data.formats.base import Format, NormalFrame, WriteOptions
from mlff_curate.data.formats.extxyz import EXTXYZ
from mlff_curate.data.frames import is_isolated_atom
from mlff_curate.data.labels import labels_of
from mlff_curate.errors import DataError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlff_curate.data.formats.base import Writer
    from mlff_curate.data.frames import Frame

_ALSO = {".xyz": "extxyz", ".hdf5": "hdf5"}
"""Suffixes that users expect, besides those of the formats themselves."""
_AMBIGUOUS = {".json": "ASE's json, FitSNAP's and pymatgen's files all end so"}
_COMPRESSED = (".gz", ".bz2", ".xz")


def format_named(name: str) -> Format:
    """Return the format of a name, ours or ASE's.

    Raises
    ------
    UsageError
        Unknown, or for reading or for single frames only; the message lists what there is.
    """
    found = next((f for f in FORMATS if f.name == name and f.write is not None), None) or ase_format(name)
    if found is None:
        ours = [f.name for f in FORMATS if f.write is not None]
        others = ", ".join(other for other in ase_names() if other not in ours)
        raise UsageError(
            f"{name!r} cannot hold several frames or is unknown; available: {', '.join(ours)}; of ASE {others}",
            key="--to",
        )
    return found


def format_of_path(path: Path) -> Format:
    """Return the format that a file name says.

    Raises
    ------
    UsageError
        It says none, or more than one.
    """
    suffix = _uncompressed(path).suffix.lower()
    several = [f.name for f in _written(suffix)]
    if suffix in _AMBIGUOUS or (len(several) > 1 and EXTXYZ.name not in several):
        why = _AMBIGUOUS.get(suffix) or " or ".join(several)
        raise UsageError(f"{path.name} does not tell the format ({why}): say --to FORMAT", key="--to")
    found = _said_by(path)
    if found is None:
        folders = ", ".join(f.name for f in FORMATS if f.write is not None and not f.suffix)
        files = ", ".join(f.name for f in FORMATS if f.write is not None and f.suffix)
        raise UsageError(
            f"{path.name} does not tell the format: say --to FORMAT; files: {files}; folders: {folders}", key="--to"
        )
    return found


def require_name(path: Path, to: Format) -> None:
    """Refuse a file name that says another format than the one to be written, or a compression that it is not in.

    Readers would be misled.

    Raises
    ------
    OutputError
        The message names the format that the suffix stands for.
    """
    compression = path.suffix.lower()
    if compression in _COMPRESSED and not (to.gzips and compression == ".gz"):
        zipped = ", ".join(f.name for f in FORMATS if f.gzips)
        raise OutputError(
            f"{to.name} is not written as {compression}: leave the suffix out (.gz can be had of {zipped})",
            file=str(path),
        )
    said = _said_by(path)
    if said is None or said.suffix == to.suffix:
        return
    if not to.suffix:
        raise OutputError(f"the name says {said.name}, what is to be written is a folder", file=str(path))
    if {said.name, to.name} != {"xyz", "extxyz"}:
        raise OutputError(
            f"the name says {said.name}, what is to be written is {to.name}: say --to {said.name}", file=str(path)
        )


def _uncompressed(path: Path) -> Path:
    """Return a file's name without the suffix of a compression."""
    return path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path


def _said_by(path: Path) -> Format | None:
    path = _uncompressed(path)
    suffix = path.suffix.lower()
    if not suffix:
        return None
    if suffix in _ALSO:
        return format_named(_ALSO[suffix])
    ours = _written(suffix)
    if ours:
        return EXTXYZ if EXTXYZ in ours else ours[0]
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        return ase_format(str(filetype(path.name, read=False, guess=False)))
    except UnknownFileTypeError:
        return None


def _written(suffix: str) -> list[Format]:
    """Return our formats whose files end so."""
    return [f for f in FORMATS if f.write is not None and suffix and f.suffix == suffix]


def require_names(to: Format, options: WriteOptions) -> None:
    """Refuse names that a format cannot give its labels.

    Raises
    ------
    UsageError
        The format has names of its own, or the name means something else.
    """
    chosen = {"energy": options.energy_key, "forces": options.forces_key, "stress": options.stress_key}
    for kind, name in chosen.items():
        if name is None:
            continue
        key = f"--write-{kind}-key"
        if not to.names_open:
            raise UsageError(f"{to.name} has names of its own for labels", key=key)
        if not name.isidentifier():
            raise UsageError(f"{name!r} is no name: letters, digits and _ only", key=key)
        if kind == "stress" and "virial" in name.lower():
            raise UsageError(f"{name} would be read as a virial, but a stress is written", key=key)
    given = [name for name in chosen.values() if name is not None]
    if len(set(given)) < len(given):
        raise UsageError("two labels would have one name", key="--write-energy-key")


def normal_frame(
    frame: Frame, label_keys: Mapping[str, str | None] | None = None, group_key: str | None = "config_type"
) -> NormalFrame:
    """Return a frame with its labels in normal form.

    Parameters
    ----------
    frame
        As it was read.
    label_keys
        ``energy``, ``forces``, ``stress`` to the name that the frame has for it, or None: found by the usual names.
    group_key
        Info key of the configuration group; None: no groups.

    Raises
    ------
    DataError
        Labels that contradict each other or are none; names file, frame and key.
    """
    names = {f"{kind}_key": name for kind, name in (label_keys or {}).items()}
    try:
        labels = labels_of(frame.atoms, **names)
    except DataError as error:
        error.file, error.frame = frame.source, frame.index
        raise
    group = frame.atoms.info.get(group_key) if group_key is not None else None
    return NormalFrame(frame, labels, None if group is None else str(group), is_isolated_atom(frame.atoms))


def add_frame(writer: Writer, frame: NormalFrame) -> tuple[str, ...]:
    """Write a frame; return the names of what the format cannot hold.

    Raises
    ------
    DataError
        The format cannot hold the frame; names file, frame and key.
    """
    try:
        return tuple(dict.fromkeys(writer.add(frame)))
    except DataError as error:
        error.file, error.frame = frame.frame.source, frame.frame.index
        raise
