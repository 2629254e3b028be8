"""Potential energies from the log of a LAMMPS run."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_curate.data.opening import DAMAGED, damaged, open_binary
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SAME = 1e-6
"""Where one run ends and the next starts, both print the step; by this ratio the two may differ, in the last digits."""

_ENERGIES = (("PotEng",), ("E_pair", "E_mol"))
"""Columns whose sum is the potential energy; the second is what LAMMPS prints by default."""
_UNITS = re.compile(r"^units\s+(\w+)\s*$")
_PER_ATOM = re.compile(r"^thermo_modify\s.*\bnorm\s+yes\b")
_LOOP = re.compile(r"^Loop time of .* with (\d+) atoms")
_MULTI_STEP = re.compile(r"^-+\s*Step\s+(\d+)\s")
_MULTI_ENERGY = re.compile(r"\bPotEng\s*=\s*(\S+)")


@dataclass
class Log:
    """What a log tells.

    Attributes
    ----------
    file
        Its path, as the user wrote it.
    units
        Unit style that it echoes; None: it does not say.
    atoms
        Counts of atoms of its runs.
    energies
        Timestep -> potential energy, in its units.
    doubtful
        Timestep -> a second, different energy of the same step.
    what
        The columns that are their sum.
    has_pressure
        Whether pressures are printed.
    """

    file: str
    units: str | None = None
    atoms: set[int] = field(default_factory=set)
    energies: dict[int, float] = field(default_factory=dict)
    doubtful: dict[int, float] = field(default_factory=dict)
    what: str = "PotEng"
    has_pressure: bool = False

    def add_row(self, row: Mapping[str, str]) -> None:
        """Take the potential energy from a row of the table, or leave it if it has none."""
        names = next((names for names in _ENERGIES if all(name in row for name in names)), None)
        try:
            step, value = int(row["Step"]), sum(float(row[name]) for name in names or ())
        except ValueError:  # a line of words with as many of them
            return
        if names is None:
            return
        self.what = " + ".join(names)
        before = self.energies.setdefault(step, value)
        if before is not value and not math.isclose(before, value, rel_tol=_SAME):
            self.doubtful[step] = value

    def energy(self, step: int, atoms: int, file: str, frame: int) -> float | None:
        """Return the potential energy of a step, in the log's units; None: there is none.

        Parameters
        ----------
        step
            Timestep of a dump's frame.
        atoms
            Number of atoms in it.
        file, frame
            The dump and the frame, for messages.

        Raises
        ------
        DataError
            The log is of other atoms, or has several energies for the step.
        """
        if self.atoms and atoms not in self.atoms:
            counts = ", ".join(map(str, sorted(self.atoms)))
            raise DataError(
                f"the frame has {atoms} atoms, the run in {self.file} had {counts}: another run, or a dump of a group",
                file=file,
                frame=frame,
            )
        if step in self.doubtful:
            raise DataError(
                f"{self.file} has two energies for step {step}, {self.energies[step]:.10g} and "
                f"{self.doubtful[step]:.10g}: split it into one log for each run",
                file=file,
                frame=frame,
                key="energy",
            )
        return self.energies.get(step)


def read_log(path: str | Path) -> Log:
    """Read the steps and potential energies of a log: the thermo styles one, custom, multi and yaml.

    Raises
    ------
    DataError
        Not there, damaged, without potential energies, or with energies per atom.
    """
    path = Path(path)
    log = Log(str(path))
    with open_binary(path) as stream:
        try:
            _read(stream, log)
        except DAMAGED as error:
            raise damaged(path, error) from None
    if not log.energies:
        raise DataError(
            "the log has no steps with a column PotEng, nor E_pair and E_mol (TotEng holds the kinetic energy, and is "
            "not taken): run with thermo_style custom step pe",
            file=log.file,
        )
    return log


def _read(stream: Iterable[bytes], log: Log) -> None:
    columns: list[str] = []
    step = ""
    for line in _whole_lines(stream):
        words = line.replace(",", " ").replace("'", " ").strip(" -[]").split() if _is_yaml(line) else line.split()
        if "Step" in words and not line.startswith(("#", "-")):
            columns = [word for word in (word.strip("[]") for word in words) if word not in ("", "keywords:")]
            log.has_pressure |= bool({"Press", "Pxx"} & set(columns))
        elif found := _LOOP.match(line):
            log.atoms.add(int(found[1]))
            columns, step = [], ""
        elif columns and len(words) == len(columns):
            log.add_row(dict(zip(columns, words, strict=True)))
        elif found := _MULTI_STEP.match(line):
            step = found[1]
        elif step and (found := _MULTI_ENERGY.search(line)):
            log.add_row({"Step": step, "PotEng": found[1]})
            log.has_pressure = True
        else:
            _read_command(line, log)


def _read_command(line: str, log: Log) -> None:
    if found := _UNITS.match(line):
        log.units = found[1]
    elif _PER_ATOM.match(line):
        raise DataError("the log's energies are per atom (thermo_modify norm yes): run with norm no", file=log.file)


def _is_yaml(line: str) -> bool:
    return line.startswith("keywords:") or line.lstrip().startswith("- [")


def _whole_lines(stream: Iterable[bytes]) -> Iterator[str]:
    """Leave out a last line without its end: its numbers may be cut."""
    return (line.decode(errors="replace").rstrip() for line in stream if line.endswith(b"\n"))
