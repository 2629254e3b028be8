"""A folder of CIF files with a table of targets: the authors' ``id_prop.csv``, or any CSV with a header."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlff_curate.data.formats.cif import WARNED
from mlff_curate.data.opening import open_binary
from mlff_curate.data.reading import read_frames
from mlff_curate.errors import DataError, UsageError
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlff_curate.data.frames import Frame

TABLE = "id_prop.csv"
_WHOLE = 0.999
"""An occupancy from here on is that of a full site."""
_NAMED = 3


@dataclass(frozen=True)
class CifFolder:
    """The structures of a folder, in the order of the table.

    Attributes
    ----------
    ids
        (F,) names of the files without ``.cif``.
    frames
        (F,) one each.
    targets
        (F,) or None, where there is no table.
    target
        Name of what the table holds, or None.
    notes
        Sentences for the user.
    """

    ids: tuple[str, ...]
    frames: tuple[Frame, ...]
    targets: tuple[float, ...] | None
    target: str | None
    notes: tuple[str, ...]


def is_cif_folder(path: Path) -> bool:
    """Tell a folder with CIF files in it."""
    return path.is_dir() and any(path.glob("*.cif"))


def read_cif_folder(
    folder: Path,
    table: Path | None = None,
    target: str | None = None,
    *,
    usual: str | None = None,
    needs_table: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> CifFolder:
    """Read the structures that a table names, and their targets.

    Parameters
    ----------
    folder
        Holds ``<id>.cif``.
    table
        CSV; None: ``id_prop.csv`` in the folder, else the one CSV file in it. Ids are in the first column. A table
        without a header has the targets in the second and no more.
    target
        Column of a table with a header, which may be left out if there are but two; without a header it is merely what
        the target is called.
    usual
        Taken for the target where none is named and the table has such a column, or no header.
    needs_table
        Whether a folder without a table is refused; else all its CIF files are read, in order of their names.
    progress
        Called with files done and in all.

    Raises
    ------
    UsageError
        The table has several columns, and the target is not named.
    DataError
        The table is missing or damaged, names a file that is not there, or a file is no ordered crystal; names file,
        line and id.
    """
    table = table or _table_in(folder, needs_table=needs_table)
    if table is None:
        rows, name = dict.fromkeys(sorted(path.stem for path in folder.glob("*.cif")), math.nan), None
    else:
        rows, name = _read_table(table, target, usual, folder)
    frames = []
    notes: list[str] = []
    warned: list[str] = []
    for done, identifier in enumerate(rows):
        path = folder / f"{identifier}.cif"
        if not _is_file(path):
            raise DataError(f"there is no {identifier}.cif in {folder}", file=str(table), key=identifier)
        several = _read_cif(path)
        warned += [remark.message for remark in several[0].remarks if remark.rule == WARNED][:1]
        frames.append(several[0])
        if len(several) > 1:
            notes.append(f"{path}: {len(several)} structures in the file, the first is read")
        if progress is not None:
            progress(done + 1, len(rows))
    left = sorted({path.stem for path in folder.glob("*.cif")} - set(rows))
    if left:
        named = ", ".join(left[:_NAMED]) + (", ..." if left[_NAMED:] else "")
        notes.append(f"{counted(len(left), 'CIF file')} of {folder} not in {table}, left out ({named})")
    if warned:
        notes.append(f"warnings while {counted(len(warned), 'CIF file')} were read, the first: {warned[0]}")
    targets = None if table is None else tuple(rows.values())
    return CifFolder(tuple(rows), tuple(frames), targets, name, tuple(notes))


def _table_in(folder: Path, *, needs_table: bool) -> Path | None:
    if (folder / TABLE).is_file():
        return folder / TABLE
    tables = sorted(folder.glob("*.csv"))
    if len(tables) == 1:
        return tables[0]
    if not needs_table and not tables:
        return None
    found = f"{len(tables)} CSV files and no {TABLE}" if tables else f"no {TABLE} and no other CSV file"
    raise DataError(f"the folder of CIF files has {found}: name the table with --csv", file=str(folder))


def _read_table(path: Path, target: str | None, usual: str | None, folder: Path) -> tuple[dict[str, float], str]:
    """Return id to target, and what the target is called."""
    name = str(path)
    lines = _lines(path)
    first = lines[0][1]
    if len(first) < 2:
        raise DataError("two columns are needed, id and target, with a comma between", file=name)
    # a first row that names a file is none of names, though its target be no number
    is_row = _number(first[1]) is not None or _is_file(folder / f"{first[0].removesuffix('.cif')}.cif")
    header = None if is_row else first
    if target is None and (header is None or usual in header[1:]):
        target = usual
    column, called = _column(header, first, target, name)
    rows: dict[str, float] = {}
    for line, row in lines[0 if header is None else 1 :]:
        identifier = row[0].removesuffix(".cif")
        if not identifier or "/" in identifier or "\\" in identifier or identifier in (".", ".."):
            raise DataError(f"line {line}: {row[0][:40]!r} is no name of a CIF file", file=name)
        if identifier in rows:
            raise DataError(f"line {line}: the id appears twice", file=name, key=identifier)
        value = _number(row[column]) if len(row) > column else None
        if value is None or not math.isfinite(value):
            found = row[column][:40] if len(row) > column else ""
            raise DataError(f"line {line}: {called} is no finite number: {found!r}", file=name, key=identifier)
        rows[identifier] = value
    if not rows:
        raise DataError("the table has a header and no row", file=name)
    return rows, called


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return the rows that are not empty, each with the number of its line."""
    name = str(path)
    with open_binary(path) as stream:
        try:
            text = stream.read().decode("utf-8-sig")
        except (UnicodeDecodeError, EOFError):
            raise DataError("is no text in UTF-8", file=name) from None
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        lines = [(reader.line_num, [word.strip() for word in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(f"is no CSV: {error}", file=name) from None
    if not lines:
        raise DataError("the table is empty", file=name)
    return lines


def _column(header: list[str] | None, first: list[str], target: str | None, name: str) -> tuple[int, str]:
    """Return where the targets are, and what they are called."""
    if header is None:
        if len(first) > 2:
            raise DataError("more than two columns and no header: which is the target is not said", file=name)
        return 1, target or "target"
    if target is None and len(header) == 2:
        return 1, header[1]
    columns = ", ".join(header[1:13])
    if target is None:
        raise UsageError(f"which column is the target is not said; available: {columns}", file=name, key="--target")
    if target not in header[1:]:
        raise DataError(f"there is no such column; available: {columns}", file=name, key=target)
    return header.index(target, 1), target


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no system could have a file of that name
        return False


def _number(word: str) -> float | None:
    """Return a number; yes and no of classes count as 1 and 0."""
    try:
        return {"true": 1.0, "false": 0.0}[word.lower()] if word.lower() in ("true", "false") else float(word)
    except ValueError:
        return None


def _read_cif(path: Path) -> list[Frame]:
    frames = list(read_frames(path))
    for site, species in (frames[0].atoms.info.get("occupancy") or {}).items():
        if len(species) > 1 or any(share < _WHOLE for share in species.values()):
            shares = ", ".join(f"{symbol} {share:g}" for symbol, share in species.items())
            raise DataError(
                f"site {site} is partly occupied ({shares}): a crystal graph has one element per site",
                file=str(path),
                key="occupancy",
            )
    return frames
