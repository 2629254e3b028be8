"""Files of other programs: what ASE would take on trust is checked here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlff_curate.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ase import Atoms

_LONGEST_COUNT = 18  # digits


def dump_options(lines: Iterable[bytes], type_map: Sequence[str], file: str) -> dict[str, Any]:
    """Check a LAMMPS text dump and return what ASE needs to know to read it.

    ASE reads whatever lines there are, and takes type 1 for hydrogen: elements come from the dump or from the user.

    Raises
    ------
    DataError
        More or fewer atoms, or columns, than declared; types without a map, or beyond it. Names the frame.
    """
    frame, count, atoms = -1, -1, True
    columns: list[bytes] = []
    for number, title, body in _sections(lines):
        if title.startswith(b"ITEM: TIMESTEP"):
            _require_atoms(frame, file, there=atoms)
            frame, count, atoms = frame + 1, -1, False
        elif title.startswith(b"ITEM: NUMBER OF ATOMS"):
            count = _count(body)
        elif title.startswith(b"ITEM: ATOMS"):
            atoms = True
            if len(body) != count:
                raise DataError(
                    f"line {number} is followed by {len(body)} atoms instead of {count if count >= 0 else 'a number'}: "
                    "truncated, or the atom count is wrong",
                    file=file,
                    frame=frame,
                )
            columns = title.split()[2:]
            rows = [line.split() for line in body]
            _require_columns(rows, len(columns), file, frame, number)
            if b"element" not in columns:
                _require_types(rows, columns, len(type_map), file, frame)
    _require_atoms(frame, file, there=atoms)
    return {} if b"element" in columns else {"specorder": list(type_map)}


def _require_atoms(frame: int, file: str, *, there: bool) -> None:
    if not there:
        raise DataError("the frame ends before its atoms: truncated", file=file, frame=frame)


def _sections(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes, list[bytes]]]:
    """Yield the line number of each ``ITEM:``, that line, and the lines below it."""
    number, title = 0, b""
    body: list[bytes] = []
    for n, line in enumerate(lines, 1):
        if line.startswith(b"ITEM:"):
            if title:
                yield number, title, body
            number, title, body = n, line, []
        elif line.strip():
            body.append(line)
    if title:
        yield number, title, body


def _count(body: list[bytes]) -> int:
    word = body[0].strip() if body else b""
    return int(word) if word.isdigit() and len(word) <= _LONGEST_COUNT else -1


def _require_columns(rows: list[list[bytes]], expected: int, file: str, frame: int, number: int) -> None:
    for offset, row in enumerate(rows, 1):
        if len(row) != expected:
            raise DataError(
                f"line {number + offset} has {len(row)} columns instead of {expected}: truncated",
                file=file,
                frame=frame,
            )


def _require_types(rows: list[list[bytes]], columns: list[bytes], known: int, file: str, frame: int) -> None:
    if b"type" not in columns:
        raise DataError("the dump has neither a column element nor a column type", file=file, frame=frame)
    if known == 0:
        raise DataError("the dump has types but no element column: say --type-map, such as --type-map Ta,W", file=file)
    place = columns.index(b"type")
    for word in {row[place] for row in rows}:
        if not word.isdigit() or not 1 <= int(word) <= known:
            raise DataError(
                f"there is a type {word.decode(errors='replace')}, but --type-map has types 1 to {known}",
                file=file,
                frame=frame,
            )


def with_mapped_types(atoms: Atoms, type_map: Sequence[str]) -> Atoms:
    """Give the atoms of a dump the user's elements (ASE prefers to guess them from masses), and no energy.

    ASE puts an energy of zero beside the forces; a dump has none.
    """
    if type_map and "type" in atoms.arrays:
        atoms.set_chemical_symbols([type_map[t - 1] for t in atoms.arrays["type"]])
    if atoms.calc is not None:
        atoms.calc.results.pop("energy", None)
    return atoms


def require_symbols(type_map: Sequence[str]) -> None:
    """Check the chemical symbols of a type map.

    Raises
    ------
    UsageError
        One is none.
    """
    from ase.data import atomic_numbers

    for symbol in type_map:
        if symbol not in atomic_numbers or symbol == "X":
            raise UsageError(f"{symbol!r} is no chemical symbol", key="--type-map")


def require_configurations(lines: Iterable[bytes], frames: int, file: str) -> None:
    """Check that all frames of an XDATCAR were read: ASE stops in silence where the atom counts do not fit.

    Raises
    ------
    DataError
        There are more.
    """
    there = sum(b"Direct configuration=" in line for line in lines)
    if there != frames:
        raise DataError(
            f"ASE reads {frames} of {there} configurations: the atom count is wrong", file=file, frame=frames
        )
