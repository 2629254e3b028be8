"""Extended XYZ out: frames as they came where nothing has to change, else with all digits and every key."""

from __future__ import annotations

from gzip import GzipFile
from typing import TYPE_CHECKING, BinaryIO

from mlff_curate.data.formats.base import Format
from mlff_curate.data.formatting import format_frame
from mlff_curate.data.frames import calculator_results
from mlff_curate.data.renaming import chosen_names, stands_as, with_label_names
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ase import Atoms

    from mlff_curate.data.formats.base import NormalFrame

_COMPRESSION = 6
"""What gzip takes unless told; 9 takes several times as long for a few percent."""


class ExtxyzWriter:
    """Writes extxyz.

    Parameters
    ----------
    path
        Of the file; it is gzipped if this ends in ``.gz``, equal frames to equal bytes.
    names
        Names of the labels by kind, see :func:`mlff_curate.data.renaming.chosen_names`.
    """

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        self._file = path.open("xb")
        self._stream: BinaryIO | GzipFile = self._file
        if path.suffix.lower() == ".gz":  # without name and time, which would differ from run to run
            self._stream = GzipFile("", "wb", compresslevel=_COMPRESSION, fileobj=self._file, mtime=0)
        self._names = names

    def add(self, frame: NormalFrame, marks: Mapping[str, str | None] | None = None) -> tuple[str, ...]:
        """Write a frame; see :class:`mlff_curate.data.formats.base.Writer`.

        Parameters
        ----------
        frame
            What to write.
        marks
            Info keys to set, or to leave out where None.
        """
        text = frame.frame.text
        if text is not None and not marks and stands_as(frame.labels, self._names):
            self._stream.write(text)
            return ()
        atoms, lost = with_label_names(frame, self._names)
        for key, value in (marks or {}).items():
            before = atoms.info.pop(key, None)
            if before is not None and before != value:
                lost = (*lost, key)
            if value is not None:
                atoms.info[key] = value
        text, without = text_of(atoms, {key for key in self._names.values() if key not in lost})
        self._stream.write(text)
        return (*lost, *without)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        self._file.close()


def text_of(atoms: Atoms, needed: set[str]) -> tuple[bytes, tuple[str, ...]]:
    """Return a frame as extxyz, and the names of what extxyz cannot hold, which is left out.

    Parameters
    ----------
    atoms
        The frame; what cannot be held is taken from it.
    needed
        Names that may not be left out.

    Raises
    ------
    DataError
        Something that cannot be left out cannot be held.
    """
    lost = ["constraints"] if atoms.constraints else []
    atoms.set_constraint()
    while True:
        try:
            return format_frame(atoms), tuple(lost)
        except DataError as error:
            results = calculator_results(atoms)
            places = [place for place in (results, atoms.info, atoms.arrays) if error.key in place]
            if not places or error.key is None or error.key in {"numbers", "positions", *needed}:
                raise
            lost.append(error.key)
            del places[-1][error.key]  # a result comes before a key of the same name
            if atoms.calc is not None:
                atoms.calc.results = results


def _never(_path: Path, _head: bytes) -> bool:
    return False


EXTXYZ = Format(
    name="extxyz",
    title="extended XYZ",
    suffix=".extxyz",
    recognises=_never,  # it is what files are that nothing else recognises
    write=lambda path, options: ExtxyzWriter(path, chosen_names(options)),
    names_open=True,
    gzips=True,
)
