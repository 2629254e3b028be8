"""``OUTCAR``, read line by line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mlff_curate.data.formats.base import Format
from mlff_curate.data.formats.vasp import TRUNCATED, Electrons, IonicStep, element, numbers
from mlff_curate.data.frames import Remark
from mlff_curate.data.opening import open_binary
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from mlff_curate.data.formats.base import Content, ReadOptions

_NELM = re.compile(r"NELM\s*=\s*(\d+);")
_EDIFF = re.compile(r"EDIFF\s*=\s*(\S+)\s+stopping")
_TITEL = re.compile(r"TITEL\s*=\s*\S+\s+(\S+)")
_COUNTS = re.compile(r"ions per type =\s*([\d\s]+)$")
_ITERATION = re.compile(r"Iteration\s+(\d+)\(\s*(\d+|\*+)\)")
_CHANGE = re.compile(r"energy-change \(2\. order\) :(.{15})")
_MOMENT = re.compile(r"number of electron\s+\S+ magnetization\s+(\S+)\s*$")
_FREE = re.compile(r"free\s+energy\s+(?:ML\s+)?TOTEN\s*=(.+)eV")
_ENERGIES = re.compile(r"without entropy\s*=(.+?)(?:ML\s+)?energy\(sigma->0\)\s*=(.+)$")
_MOST_ATOMS = 10**7  # a damaged count must not ask for all memory
_ORIGINS = {
    "energy": "energy(sigma->0)",
    "free_energy": "free energy TOTEN",
    "energy_without_entropy": "energy without entropy",
    "forces": "TOTAL-FORCE",
    "stress": "in kbar, sign turned",
    "magmoms": "magnetization (x), last column",
    "magmom": "magnetization, behind number of electron",
}
_PREDICTED = Remark(
    "ml-predicted",
    "warning",
    None,
    "energy and forces of this ionic step were predicted by VASP's machine-learned force field: they are not taken",
    "compute the frame with DFT, or leave it out",
)


def _recognises(path: Path, head: bytes) -> bool:
    there = head.lstrip().startswith(b"vasp.") and b"executed on" in head
    return there or path.name.upper().startswith("OUTCAR")  # one that was cut in its first lines


def _read(path: Path, options: ReadOptions) -> Iterator[Content]:  # noqa: ARG001 - it tells everything itself
    with open_binary(path) as stream:
        yield from _Outcar(str(path), stream).contents()


OUTCAR = Format("outcar", "OUTCAR of VASP", ".OUTCAR", _recognises, _read)


@dataclass
class _Step:
    """What was read so far of an ionic step."""

    iterations: int = 0
    change: float | None = None
    said_not: bool = False
    stress: np.ndarray | None = None
    positions: np.ndarray | None = None
    forces: np.ndarray | None = None
    energies: dict[str, float] = field(default_factory=dict)
    moments: dict[str, np.ndarray] = field(default_factory=dict)
    moment: float | None = None
    predicted: bool = False

    @property
    def begun(self) -> bool:
        return self.iterations > 0 or self.positions is not None or self.stress is not None


class _Outcar:
    def __init__(self, file: str, stream: Iterable[bytes]) -> None:
        self._file = file
        # a last line without its end is left out: its numbers may be cut
        self._lines = (line.decode("latin-1") for line in stream if line.endswith(b"\n"))
        self._types: list[str] = []
        self._symbols: list[str] = []
        self._most: int | None = None
        self._wanted: float | None = None
        self._cell: np.ndarray | None = None
        self._runs = 0
        self._ended = False
        self._index = 0
        self._step = _Step()
        self._held: IonicStep | None = None

    def contents(self) -> Iterator[Content]:
        """Yield a frame for each ionic step, one late: what VASP prints after the last belongs to it."""
        marks = re.compile("|".join(map(re.escape, sorted(self._MARKS, key=len, reverse=True))))
        for line in self._lines:
            if found := marks.search(line):
                whole = self._MARKS[found[0]](self, line)
                if whole is not None:
                    yield whole.content()
        if self._step.begun and not self._ended:
            raise self._error("the file ends inside this ionic step: truncated")
        if self._held is not None:
            told = self._held.remarks if self._ended else (*self._held.remarks, TRUNCATED)
            yield replace(self._held, remarks=told).content()
        elif not self._ended:
            raise DataError("the file ends before the first ionic step: truncated", file=self._file)

    def _error(self, message: str, key: str | None = None) -> DataError:
        return DataError(message, file=self._file, frame=self._index, key=key)

    def _numbers(self, text: str, count: int, what: str) -> list[float]:
        return numbers(text, count, what, self._file, self._index)

    def _rows(self, what: str, width: int | None = None) -> list[list[float]]:
        """Read a table with a row for each atom, between two lines of dashes."""
        count = len(self._symbols)
        rows: list[list[float]] = []
        inside = False
        for line in self._lines:
            if line.lstrip().startswith("---"):
                if inside:
                    break
                inside = True
            elif inside:
                rows.append(self._numbers(line, width or len(line.split()), what))
                if len(rows) > count:
                    break
        else:
            raise self._error(f"the file ends inside the table of {what}: truncated")
        if len(rows) != count:
            raise self._error(f"the table of {what} has not the {count} rows of its atoms")
        return rows

    def _run(self, line: str) -> None:  # noqa: ARG002 - all marks are called alike
        self._runs += 1
        if self._runs > 1:
            raise self._error("a second run begins in the same file: split it")

    def _titel(self, line: str) -> None:
        if found := _TITEL.search(line):
            self._types.append(element(found[1], self._file))

    def _counts(self, line: str) -> None:
        if found := _COUNTS.search(line):
            counts = [int(word) for word in found[1].split()]
            if len(counts) != len(self._types) or sum(counts) > _MOST_ATOMS:
                raise DataError(
                    f"{len(self._types)} potentials (TITEL) but {len(counts)} counts of ions per type",
                    file=self._file,
                    key="species",
                )
            self._symbols = [s for s, count in zip(self._types, counts, strict=True) for _ in range(count)]

    def _nelm(self, line: str) -> None:
        if found := _NELM.search(line):
            self._most = int(found[1])

    def _ediff(self, line: str) -> None:
        if found := _EDIFF.search(line):
            self._wanted = self._numbers(found[1], 1, "EDIFF")[0]

    def _iteration(self, line: str) -> IonicStep | None:
        found = _ITERATION.search(line)
        if found is None:
            return None
        whole = self._finished() if self._step.positions is not None else None  # VASP wrote no energies for it
        self._step.iterations = int(found[2]) if found[2].isdigit() else self._step.iterations + 1
        return whole

    def _changed(self, line: str) -> None:
        if found := _CHANGE.search(line):
            self._step.change = self._numbers(found[1], 1, "energy-change")[0]

    def _not_reached(self, line: str) -> None:  # noqa: ARG002
        self._step.said_not = True

    def _of_cell(self, line: str) -> None:
        if found := _MOMENT.search(line):
            self._step.moment = self._numbers(found[1], 1, "magnetization")[0]

    def _of_atoms(self, line: str) -> None:
        axis = line.strip()[-2:-1]
        values = np.array([row[-1] for row in self._rows("magnetization")])
        if self._step.begun or self._held is None:
            self._step.moments[axis] = values
        elif self._held.magmoms is None and axis == "x":  # of the last ionic step, printed once the run is over
            self._held = replace(self._held, magmoms=values)

    def _stress(self, line: str) -> None:
        xx, yy, zz, xy, yz, zx = self._numbers(line.split("in kB", 1)[1], 6, "in kB")
        self._step.stress = np.array([xx, yy, zz, yz, zx, xy])

    def _lattice(self, line: str) -> None:  # noqa: ARG002
        rows = [next(self._lines, "") for _ in range(3)]
        if not rows[-1]:
            raise self._error("the file ends inside the lattice vectors: truncated")
        self._cell = np.array([self._numbers(row, 6, "lattice vectors")[:3] for row in rows])

    def _table(self, line: str) -> None:
        rows = np.array(self._rows("positions and forces", 6)).reshape(-1, 6)
        self._step.positions, self._step.forces = rows[:, :3], rows[:, 3:]
        self._step.predicted = "(ML)" in line

    def _free(self, line: str) -> None:
        if self._step.positions is not None and (found := _FREE.search(line)):
            self._step.energies["free_energy"] = self._numbers(found[1], 1, "TOTEN")[0]

    def _energies(self, line: str) -> IonicStep | None:
        found = _ENERGIES.search(line)
        if found is None or self._step.positions is None:
            return None  # of an electronic step
        self._step.energies["energy_without_entropy"] = self._numbers(found[1], 1, "energy without entropy")[0]
        self._step.energies["energy"] = self._numbers(found[2], 1, "energy(sigma->0)")[0]
        return self._finished()

    def _end(self, line: str) -> None:  # noqa: ARG002
        self._ended = True

    def _finished(self) -> IonicStep | None:
        """Put the ionic step together, hold it, and return the one before."""
        step, self._step = self._step, _Step()
        assert step.positions is not None
        if self._cell is None:
            raise self._error("the ionic step has no lattice vectors")
        moments = step.moments.get("x")
        if moments is not None and {"y", "z"} <= step.moments.keys():
            moments = np.stack([step.moments[axis] for axis in "xyz"], axis=1)
        whole = IonicStep(
            self._symbols,
            self._cell,
            step.positions,
            {} if step.predicted else step.energies,
            None if step.predicted else step.forces,
            None if step.predicted else step.stress,
            Electrons(step.iterations, self._most, step.change, self._wanted, step.said_not),
            _ORIGINS,
            moments,
            step.moment,
            (_PREDICTED,) if step.predicted else (),
        )
        before = self._held
        # while VASP trains a force field, it writes a prediction above each calculation of the same positions
        if before is not None and before.remarks == (_PREDICTED,) and np.array_equal(before.positions, whole.positions):
            self._held = whole
            return None
        self._held = whole
        self._index += 1
        return before

    _MARKS: ClassVar[Mapping[str, Callable[[_Outcar, str], IonicStep | None]]] = {
        "executed on": _run,
        "TITEL": _titel,
        "ions per type": _counts,
        "NELM ": _nelm,
        "EDIFF ": _ediff,
        "- Iteration ": _iteration,
        "total energy-change": _changed,
        "EDIFF was not reached": _not_reached,
        "number of electron ": _of_cell,
        "magnetization (x)": _of_atoms,
        "magnetization (y)": _of_atoms,
        "magnetization (z)": _of_atoms,
        "in kB": _stress,
        "direct lattice vectors": _lattice,
        "TOTAL-FORCE (eV/Angst)": _table,
        "TOTEN": _free,
        "energy(sigma->0)": _energies,
        "General timing and accounting": _end,
    }
