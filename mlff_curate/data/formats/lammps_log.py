"""Potential energies from the log of a LAMMPS run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_curate.data.opening import DAMAGED, damaged, open_binary
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SAME = 1e-6
"""Where one run ends and the next starts, both print the step; by this ratio the two may differ, in the last digits."""

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
    has_pressure
        Whether pressures are printed.
    """

    file: str
    units: str | None = None
    atoms: set[int] = field(default_factory=set)
    energies: dict[int, float] = field(default_factory=dict)
    doubtful: dict[int, float] = field(default_factory=dict)
    has_pressure: bool = False

    def _add(self, step: str, energy: str) -> None:
        try:
            place, value = int(step), float(energy)
        except ValueError:
            return
        before = self.energies.setdefault(place, value)
        if not abs(before - value) <= _SAME * max(abs(before), abs(value)):
            self.doubtful[place] = value

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
            "the log has no steps with a column PotEng (TotEng holds the kinetic energy and is not taken): "
            "run with thermo_style custom step pe",
            file=log.file,
        )
    return log


def _read(stream: Iterable[bytes], log: Log) -> None:
    columns: list[str] = []
    step = ""
    for line in _whole_lines(stream):
        words = line.replace(",", " ").replace("'", " ").strip(" -[]").split() if _is_yaml(line) else line.split()
        if "Step" in words and not line.startswith(("#", "-")):
            columns = words[1:] if words[0] == "keywords:" else words
            columns = [word.strip("[]") for word in columns]
            columns = [word for word in columns if word]
            log.has_pressure |= bool({"Press", "Pxx"} & set(columns))
        elif found := _LOOP.match(line):
            log.atoms.add(int(found[1]))
            columns, step = [], ""
        elif columns and len(words) == len(columns):
            if "PotEng" in columns:
                log._add(words[columns.index("Step")], words[columns.index("PotEng")])  # noqa: SLF001
        elif found := _MULTI_STEP.match(line):
            step = found[1]
        elif step and (found := _MULTI_ENERGY.search(line)):
            log._add(step, found[1])  # noqa: SLF001
            log.has_pressure |= "Press" in line
        elif found := _UNITS.match(line):
            log.units = found[1]
        elif _PER_ATOM.match(line):
            raise DataError("the log's energies are per atom (thermo_modify norm yes): run with norm no", file=log.file)


def _is_yaml(line: str) -> bool:
    return line.startswith("keywords:") or line.lstrip().startswith("- [")


def _whole_lines(stream: Iterable[bytes]) -> Iterator[str]:
    """Leave out a last line without its end: its numbers may be cut."""
    return (line.decode(errors="replace").rstrip() for line in stream if line.endswith(b"\n"))
