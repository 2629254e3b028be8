"""Extended XYZ: the frames' own text, and ASE's reading of it.

A frame is passed on as the bytes it came as, so that no digit and no key of it can change. ASE is the reader; what it
would accept in silence (extra columns, an atom count that lies) is checked here.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mlff_curate.data.frames import calculator_results
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

_PROPERTIES = re.compile(rb"""Properties\s*=\s*("[^"]*"|'[^']*'|\S+)""", re.IGNORECASE)
_PLAIN_COLUMNS = 4  # species and position, where the comment line declares nothing
_LONGEST_QUOTE = 60  # characters of a bad line that an error message repeats


@dataclass(frozen=True)
class FrameText:
    """The text of one frame.

    Attributes
    ----------
    index
        0-based place in the file.
    line
        1-based line of its atom count.
    text
        Its bytes, from the atom count to the end of the last atom's line, with that line's end.
    """

    index: int
    line: int
    text: bytes


def split_frames(stream: BinaryIO, file: str) -> Iterator[FrameText]:
    """Cut a stream into frames, one at a time; blank lines between frames are skipped.

    Raises
    ------
    DataError
        An atom count that is no count, or more or fewer atoms than it says.
    """
    index, number = 0, 0
    for first in stream:
        number += 1
        if not first.strip():
            continue
        count = _atom_count(first, file, index, number)
        lines = [first, *_next_lines(stream, count + 1)]
        if len(lines) < count + 2:
            raise DataError(
                f"the file ends after {max(len(lines) - 2, 0)} of {count} atoms (line {number + len(lines) - 1}): "
                "truncated, or the atom count is wrong",
                file=file,
                frame=index,
            )
        _check_columns(lines, file, index, number)
        if not lines[-1].endswith(b"\n"):
            lines.append(b"\n")
        yield FrameText(index, number, b"".join(lines))
        number += count + 1
        index += 1


def _next_lines(stream: BinaryIO, count: int) -> list[bytes]:
    lines = []
    for _ in range(count):  # readline is at the file's own pace: a count that lies cannot ask for memory
        line = stream.readline()
        if not line:
            break
        lines.append(line)
    return lines


def _atom_count(line: bytes, file: str, index: int, number: int) -> int:
    word = line.strip()
    if word.isdigit():
        return int(word)
    quoted = word[:_LONGEST_QUOTE].decode("utf-8", "replace")
    if index == 0:
        raise DataError(f"line {number} should be the number of atoms, found {quoted!r}: not an extxyz file", file=file)
    raise DataError(
        f"line {number} should be the number of atoms, found {quoted!r}: the atom count of frame {index - 1} is wrong",
        file=file,
        frame=index,
    )


def _check_columns(lines: list[bytes], file: str, index: int, number: int) -> None:
    declared = _PROPERTIES.search(lines[1])
    if declared:
        fields = declared.group(1).strip(b"\"'").split(b":")
        try:
            expected = sum(map(int, fields[2::3]))
        except ValueError:
            raise DataError(
                f"{declared.group(1).decode('utf-8', 'replace')} is not name:type:count triples",
                file=file,
                frame=index,
                key="Properties",
            ) from None
    else:
        expected = None
    for offset, line in enumerate(lines[2:], 2):
        found = len(line.split())
        if found != expected and (expected is not None or found < _PLAIN_COLUMNS):
            raise DataError(
                f"line {number + offset} has {found} columns instead of {expected or _PLAIN_COLUMNS}: "
                "truncated, or the atom count is wrong",
                file=file,
                frame=index,
            )


def parse_frame(text: bytes, file: str, index: int) -> Atoms:
    """Read one frame's text with ASE.

    Raises
    ------
    DataError
        What ASE cannot read, with its reason.
    """
    from ase.io.extxyz import read_xyz

    try:
        frames: Iterator[Atoms] = iter(read_xyz(io.StringIO(text.decode("utf-8")), index=slice(0, 1)))
        return next(frames)
    except KeyError as error:
        raise DataError(f"unknown element {error.args[0]!r}", file=file, frame=index, key="species") from None
    except UnicodeDecodeError:
        raise DataError("the text is not UTF-8", file=file, frame=index) from None
    except Exception as error:  # noqa: BLE001 - ASE raises many kinds for bad text; each is the data's fault
        raise DataError(f"ASE cannot read it ({type(error).__name__}: {error})", file=file, frame=index) from None


def format_frame(atoms: Atoms) -> bytes:
    """Write a frame of another format as extxyz with all digits (ASE's own writer rounds to eight decimals).

    Results of an attached calculator become info and array keys of the same names.

    Raises
    ------
    DataError
        A result has the name of an info or array key with another value.
    """
    from ase.io.extxyz import output_column_format
    from ase.stress import voigt_6_to_full_3x3_stress

    atoms = _with_results_as_keys(atoms)
    stress = atoms.info.get("stress")
    if stress is not None and np.shape(stress) == (6,):
        atoms.info["stress"] = voigt_6_to_full_3x3_stress(stress)
    arrays: dict[str, Any] = {"symbols": np.array(atoms.get_chemical_symbols()), "positions": atoms.positions}
    arrays.update({key: value for key, value in atoms.arrays.items() if key not in ("numbers", "positions")})
    comment, widths, dtype, form = output_column_format(atoms, list(arrays), arrays, write_info=True)
    form = form.replace("%16.8f", "%.17g")
    rows = np.zeros(len(atoms), dtype)
    for (name, values), width in zip(arrays.items(), widths, strict=True):
        if width == 1:
            rows[name] = np.squeeze(values)
        else:
            for column in range(width):
                rows[f"{name}{column}"] = values[:, column]
    body = "".join(form % tuple(row) for row in rows)
    return f"{len(atoms)}\n{comment}\n{body}".encode()


def _with_results_as_keys(atoms: Atoms) -> Atoms:
    results = calculator_results(atoms)
    atoms = atoms.copy()
    for key, value in results.items():
        array = np.asarray(value)
        per_atom = array.ndim > 0 and array.shape[0] == len(atoms) and key not in ("stress", "dipole", "magmom")
        target: dict[str, Any] = atoms.arrays if per_atom else atoms.info
        if key in target and not np.array_equal(target[key], array):
            raise DataError("the frame has two different values of this name", key=key)
        target[key] = array if per_atom or array.ndim else value
    return atoms
