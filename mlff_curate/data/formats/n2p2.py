"""n2p2's (and RuNNer's) configuration file, usually called input.data.

The file knows no units: eV and Angstrom are written, and assumed with a remark where another program wrote and the
user does not say them, by LAMMPS' name for such units (electron: Hartree and Bohr).

It has no place for a missing label: n2p2 takes an absent energy for zero, and every atom has three numbers for its
force. So frames without energy or forces are not written, but for a free atom, whose forces are zero by symmetry; and
where the forces of several atoms are all exactly zero they are read as missing, with the energy if it is zero too. The
forces of a symmetric crystal are zero in earnest: our own files say so in the comment.

What is known of the frame besides goes into the comment line as JSON, which n2p2 does not look at.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.data.formats.base import Content, Format
from mlff_curate.data.formats.jsonvalues import LARGEST, decode, encode_all, numbers, parse
from mlff_curate.data.formats.leftovers import leftovers
from mlff_curate.data.formats.remarks import assumed_units, unknown_label
from mlff_curate.data.formats.streams import read_line
from mlff_curate.data.formats.vacuum import repeatable_cell
from mlff_curate.data.frames import Remark, looks_like_label, with_results
from mlff_curate.data.opening import open_binary
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from ase import Atoms

    from mlff_curate.data.formats.base import NormalFrame, ReadOptions, WriteOptions

_OURS = "mlff_curate"
_KEYWORDS = (b"comment", b"lattice", b"atom", b"energy", b"charge", b"end")
_COLUMNS = 9  # x y z element charge unused fx fy fz
_REACH = 10.0
"""Angstrom. Symmetry functions seldom see as far."""
_CHARGES = "initial_charges"
_ZERO = "zero_forces"
"""What our writer notes of forces that are zero in earnest."""
_STYLES: dict[str, tuple[str | None, str | None]] = {"metal": (None, None), "electron": ("Bohr", "Hartree")}
"""LAMMPS' unit styles -> ASE's names for their lengths and energies; None: Angstrom, eV."""


def _recognises(_path: Path, head: bytes) -> bool:
    lines = [line.split(None, 1) for line in head.splitlines() if line.strip()]
    return len(lines) > 1 and lines[0] == [b"begin"] and lines[1][0] in _KEYWORDS


def _read(path: Path, options: ReadOptions) -> Iterator[Content]:
    if options.units is not None and options.units not in _STYLES:
        message = f"n2p2's files are in {' or '.join(_STYLES)} units, not in {options.units!r}"
        raise DataError(message, file=str(path), key="--units")
    index = 0
    try:
        with open_binary(path) as stream:
            for lines in _frames(stream):
                yield _content(lines, options.units)
                index += 1
    except DataError as error:
        error.file, error.frame = str(path), index
        raise


def _frames(stream: BinaryIO) -> Iterator[list[tuple[int, str, str]]]:
    """Yield the lines between begin and end: number, keyword, what follows it."""
    frame: list[tuple[int, str, str]] | None = None
    number = 0
    while line := read_line(stream, LARGEST):
        number += 1
        try:
            words = line.decode().strip().split(None, 1)
        except UnicodeDecodeError:
            raise DataError(f"line {number} is no text") from None
        if not words:
            continue
        keyword = words[0]
        if (frame is None) != (keyword == "begin"):
            expected = "'begin'" if frame is None else "'end' before the next 'begin'"
            raise DataError(f"line {number} has {keyword[:20]!r} instead of {expected}")
        if frame is None:
            frame = []
        elif keyword == "end":
            yield frame
            frame = None
        else:
            frame.append((number, keyword, words[1] if len(words) > 1 else ""))
    if frame is not None:
        raise DataError(f"the file ends before the 'end' of the frame (line {number}): truncated")


def _content(lines: list[tuple[int, str, str]], style: str | None) -> Content:
    from ase import Atoms

    by_keyword: dict[str, list[tuple[int, str]]] = {}
    for number, keyword, text in lines:
        by_keyword.setdefault(keyword, []).append((number, text))
    lattice = np.array([_numbers(text, 3, number) for number, text in by_keyword.pop("lattice", [])]).reshape(-1, 3)
    if len(lattice) not in (0, 3):
        raise DataError(f"has {len(lattice)} vectors instead of 3 or none", key="lattice")
    rows = [_atom(text, number) for number, text in by_keyword.pop("atom", [])]
    symbols = [symbol for symbol, _ in rows]
    table = np.array([values for _, values in rows]).reshape(-1, _COLUMNS - 1)
    energy, charge = _single(by_keyword, "energy"), _single(by_keyword, "charge")
    comments = by_keyword.pop("comment", [])
    ours, theirs = _split_comments([text for _, text in comments])
    length, unit = _scale("metal" if ours is not None or style is None else style)
    lattice, table[:, :3], table[:, 5:] = lattice * length, table[:, :3] * length, table[:, 5:] * (unit / length)
    energy = None if energy is None else energy * unit
    cell = lattice if len(lattice) else np.zeros((3, 3))
    atoms = Atoms(symbols, positions=table[:, :3], cell=cell, pbc=len(lattice) == 3)
    if table[:, 3].any():
        atoms.arrays[_CHARGES] = table[:, 3]
    if charge:
        atoms.info["charge"] = charge
    remarks: list[Remark] = []
    results = _labels(energy, table[:, 5:], remarks, zero=ours is not None and ours.get(_ZERO) is True)
    if theirs:
        atoms.info["comment"] = "; ".join(theirs)
    _take_others(atoms, table[:, 4], by_keyword, remarks)
    if ours is not None:
        _restore(atoms, results, ours)
    elif results and style is None:
        message = "the file does not say its units: eV and Angstrom are assumed, many such files hold Hartree and Bohr"
        remarks.append(assumed_units(None, message, "say --units electron if it is in Hartree and Bohr", may_say=False))
    return Content(with_results(atoms, **results) if results else atoms, {}, tuple(remarks))


def _labels(energy: float | None, forces: np.ndarray, remarks: list[Remark], *, zero: bool) -> dict[str, object]:
    """Return the labels of a frame; zero: the writer says that forces of zero are labels."""
    results: dict[str, object] = {} if energy is None else {"energy": energy}
    if zero or forces.any() or len(forces) == 1:
        return {**results, "forces": forces}
    key, taken = ("forces", "forces are") if energy else ("energy", "energy and forces are")
    message = f"{taken} all exactly zero: taken for missing, since the format cannot say so"
    remarks.append(Remark("labels-all-zero", "warning", key, message, "label the frame, or leave it out"))
    return results if energy else {}


def _take_others(
    atoms: Atoms, unused: np.ndarray, by_keyword: dict[str, list[tuple[int, str]]], remarks: list[Remark]
) -> None:
    """Keep what n2p2 does not use."""
    if unused.any():  # RuNNer has energies of atoms there
        atoms.arrays["n2p2.unused_energies"] = unused
        remarks.append(unknown_label("n2p2.unused_energies"))
    for keyword, found in by_keyword.items():
        name = f"n2p2.{keyword}"
        atoms.info[name] = "; ".join(text for _, text in found)
        if looks_like_label(keyword):
            remarks.append(unknown_label(name))


def _numbers(text: str, count: int, number: int) -> list[float]:
    words = text.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count:
        raise DataError(f"line {number} is to have {count} number{'s' if count > 1 else ''}, has {text[:40]!r}")
    return values


def _atom(text: str, number: int) -> tuple[str, list[float]]:
    """Return the element and the eight numbers of an atom."""
    from ase.data import atomic_numbers

    words = text.split()
    if len(words) != _COLUMNS:
        raise DataError(f"line {number} has {len(words)} columns after 'atom' instead of {_COLUMNS}")
    symbol = words.pop(3)
    if symbol not in atomic_numbers or symbol == "X":
        raise DataError(f"line {number} has the unknown element {symbol[:20]!r}")
    return symbol, _numbers(" ".join(words), _COLUMNS - 1, number)


def _single(by_keyword: dict[str, list[tuple[int, str]]], keyword: str) -> float | None:
    found = by_keyword.pop(keyword, [])
    if len(found) > 1:
        raise DataError(f"line {found[1][0]} gives it a second time", key=keyword)
    return _numbers(found[0][1], 1, found[0][0])[0] if found else None


def _split_comments(comments: list[str]) -> tuple[dict[str, Any] | None, list[str]]:
    """Return what our writer noted in a comment, if it did, and the other comments."""
    ours: dict[str, Any] | None = None
    others = []
    for comment in comments:
        if not comment.startswith(f'{{"{_OURS}":'):
            others.append(comment)
            continue
        try:
            value = parse(comment)[_OURS]
        except DataError as error:
            error.key = "comment"
            raise
        if not isinstance(value, dict):
            raise DataError("what mlff-curate noted is no JSON object", key="comment")
        ours = value
    return ours, others


def _scale(style: str) -> tuple[float, float]:
    """Return Angstrom and eV per unit of length and energy."""
    from ase import units

    length, energy = _STYLES[style]
    return (1.0 if length is None else float(getattr(units, length))), (
        1.0 if energy is None else float(getattr(units, energy))
    )


def _restore(atoms: Atoms, results: dict[str, object], ours: dict[str, Any]) -> None:
    info, unlabelled = decode(ours.get("info", {}), "comment"), ours.get("unlabelled", [])
    if not isinstance(info, dict) or not isinstance(unlabelled, list):
        raise DataError("what mlff-curate noted is broken", key="comment")
    atoms.info.update(info)
    for key in unlabelled:
        results.pop(str(key), None)
    if "cell" in ours:
        atoms.set_cell(numbers(ours["cell"], (3, 3), "comment"))
    if "pbc" in ours:
        if not isinstance(ours["pbc"], list) or len(ours["pbc"]) != 3:
            raise DataError("what mlff-curate noted is broken: pbc has three flags", key="comment")
        atoms.pbc = [bool(flag) for flag in ours["pbc"]]


class N2p2Writer:
    """Writes one block a frame.

    Parameters
    ----------
    path
        File to make.
    """

    def __init__(self, path: Path, _options: WriteOptions) -> None:
        self._stream = path.open("x", encoding="utf-8", newline="\n")

    def add(self, item: NormalFrame) -> tuple[str, ...]:
        """Write a frame; return the names of what is lost: a stress, arrays but charges, what JSON cannot hold.

        Raises
        ------
        DataError
            The frame has no energy or no forces, or a value that is no number.
        """
        text, lost = self._block(item)
        self._stream.write(text)
        return lost

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _block(self, item: NormalFrame) -> tuple[str, tuple[str, ...]]:
        atoms, labels = item.frame.atoms, item.labels
        forces = np.zeros((1, 3)) if labels.forces is None and item.isolated else labels.forces
        for key, value in (("energy", labels.energy), ("forces", forces)):
            if value is None:
                raise DataError(f"the frame has no {key}, and n2p2 would take them for zero: leave it out", key=key)
        assert forces is not None
        rest = leftovers(item, ("energy", "forces"))
        charge = rest.info.get("charge")
        charges = rest.arrays.pop(_CHARGES) if np.any(rest.arrays.get(_CHARGES, 0)) else None  # zeros say nothing
        info, lost_info = encode_all(rest.info)
        ours: dict[str, Any] = {"info": info}
        if labels.forces is None:
            ours["unlabelled"] = ["forces"]
        elif len(atoms) > 1 and not forces.any():
            ours[_ZERO] = True
        cell = repeatable_cell(atoms, _REACH, "n2p2", stress=False) if atoms.pbc.any() else np.zeros((0, 3))
        if not np.array_equal(cell if len(cell) else np.zeros((3, 3)), atoms.cell.array):
            ours["cell"] = atoms.cell.array.tolist()
        if atoms.pbc.any() != atoms.pbc.all():
            ours["pbc"] = atoms.pbc.tolist()
        lines = ["begin", f"comment {json.dumps({_OURS: ours}, allow_nan=False)}"]
        lines += [f"lattice {_row(vector)}" for vector in cell]
        q = np.zeros(len(atoms)) if charges is None else charges.astype(np.float64)
        for symbol, position, own, force in zip(atoms.symbols, atoms.positions, q, forces, strict=True):
            lines.append(f"atom {_row(position)} {symbol} {float(own)!r} 0.0 {_row(force)}")
        total = float(charge) if isinstance(charge, (int, float, np.number)) else 0.0
        lines += [f"energy {labels.energy!r}", f"charge {total!r}", "end", ""]
        return "\n".join(lines), (*lost_info, *rest.arrays, *map(str, rest.results), *rest.lost)


def _row(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values)


N2P2 = Format(
    "n2p2",
    "n2p2's configuration file (input.data)",
    ".data",
    _recognises,
    _read,
    N2p2Writer,
    frozenset({"units"}),
    label_names={"energy": "energy"},
)
