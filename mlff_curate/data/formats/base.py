"""What a format module gives to the rest: how its files are told, read and written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from ase import Atoms

    from mlff_curate.data.frames import Frame, Remark
    from mlff_curate.data.labels import Labels


@dataclass(frozen=True)
class ReadOptions:
    """What a user knows of files that do not tell it.

    Attributes
    ----------
    type_map
        Chemical symbols of the types 1, 2, ... of files that know types only.
    units
        LAMMPS unit style (metal, real, si ...); None: as the file says, else metal with a remark.
    log
        LAMMPS log file to take energies from; None: none.
    types_written
        The type_map is for what is written as well: inputs that have no use for it are not remarked on.
    """

    type_map: tuple[str, ...] = ()
    units: str | None = None
    log: str | Path | None = None
    types_written: bool = False

    @property
    def files(self) -> tuple[str | Path, ...]:
        """What is read besides the inputs."""
        return () if self.log is None else (self.log,)


PLAIN = ReadOptions()
"""For files that tell everything themselves."""


@dataclass(frozen=True)
class Content:
    """One frame as a format's reader gives it.

    Attributes
    ----------
    atoms
        Positions in Angstrom; labels in eV, eV/Angstrom, eV/Angstrom^3 (ASE's sign), as results of a single-point
        calculator (`mlff_curate.data.frames.with_results`) or, where the file has its own names, under those names.
        What is not labelled is not there.
    origins
        Name of a label -> where in the file it was found and what was done to it, in words.
    remarks
        What the user should know of this frame.
    """

    atoms: Atoms
    origins: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, eq=False)
class NormalFrame:
    """A frame with its labels in normal form, on its way out.

    Attributes
    ----------
    frame
        As it was read.
    labels
        Its labels in normal form.
    group
        Its configuration group; None: it has none.
    isolated
        A free atom that fixes the zero of energy.
    """

    frame: Frame
    labels: Labels
    group: str | None
    isolated: bool


@dataclass(frozen=True)
class WriteOptions:
    """How labels are named where the format leaves the choice.

    Attributes
    ----------
    energy_key, forces_key, stress_key
        Names to write; None: what the format usually has.
    type_map
        Elements in the order that types are to have; empty: by atomic number.
    """

    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    type_map: tuple[str, ...] = ()


class Writer(Protocol):
    """Writes one frame after the other and holds none of them."""

    def add(self, frame: NormalFrame) -> tuple[str, ...]:
        """Write a frame; return the names (info and array keys, labels, ``cell``, ``pbc``) that the format cannot hold.

        Raises
        ------
        DataError
            The format cannot hold the frame at all; names the key, and leaves file and frame to
            :func:`mlff_curate.data.writing.add_frame`.
        """
        ...

    def close(self) -> None:
        """Write what stands at the end, and close."""
        ...


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes
    ----------
    name
        On the command line (`--to`).
    title
        In a sentence.
    suffix
        Of its files, with the dot; empty: it is a folder.
    recognises
        Given the path and the first 4096 bytes (unzipped; empty for a folder), is it this format? Looks at content
        first, at names second, and never raises.
    read
        Yield the frames; raises DataError with file, frame and key. None: written only.
    write
        Open a writer at a path that does not exist yet. None: read only.
    uses
        Names of the ReadOptions that mean something to `read`; others that a user gives are said to be unused.
    label_names
        What it calls ``energy``, ``forces``, ``stress``, which users are told; none: the names that were found.
    names_open
        Users may choose these names.
    files
        The files of a folder that `read` takes, under the folder's path; None: it is no folder, or written only.
    types_chosen
        The type_map of the WriteOptions means something to `write`.
    gzips
        `write` gzips a file whose name ends in ``.gz``.
    """

    name: str
    title: str
    suffix: str
    recognises: Callable[[Path, bytes], bool]
    read: Callable[[Path, ReadOptions], Iterator[Content]] | None = None
    write: Callable[[Path, WriteOptions], Writer] | None = None
    uses: frozenset[str] = frozenset()
    label_names: Mapping[str, str] = field(default_factory=dict)
    names_open: bool = False
    files: Callable[[Path], Iterable[Path]] | None = None
    types_chosen: bool = False
    gzips: bool = False
