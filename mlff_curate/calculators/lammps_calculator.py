"""A potential of LAMMPS as an ASE calculator, and what lines choose it."""

from __future__ import annotations

import re
import shlex
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers

from mlff_curate.errors import DataError, MissingDependencyError
from mlff_curate.lammps_session import LammpsSession, potential_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

_CHOOSING = ("pair_style", "pair_coeff", "pair_modify")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_MOST_TEXT = 2**16
_SKIN = 1.0
"""Angstrom: LAMMPS lists neighbours anew for every evaluation, and wants some room all the same."""


@dataclass(frozen=True)
class LammpsPotential:
    """What LAMMPS is told, and what its atom types are.

    Attributes
    ----------
    commands
        ``pair_style``, ``pair_coeff`` and ``pair_modify`` lines.
    elements
        Chemical symbols of the types 1, 2 ...
    name
        For messages and pages.
    """

    commands: tuple[str, ...]
    elements: tuple[str, ...]
    name: str


class LammpsCalculator(Calculator):
    """Energies, forces and stresses of a potential of LAMMPS.

    Parameters
    ----------
    potential
        What :func:`read_lammps_potential` returned.

    Notes
    -----
    Where cell, periodicity or elements have changed, all is handed over anew, which takes some milliseconds. LAMMPS is
    freed when the calculator is collected, or by :meth:`close`.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 (ASE's own way)

    def __init__(self, potential: LammpsPotential) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.potential = potential
        self._session: LammpsSession | None = None
        self._loaded: Atoms | None = None
        self._closing: weakref.finalize[..., LammpsCalculator] | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute everything at once."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        frame = cast("Atoms", self.atoms)
        if self._session is None:
            self._session = LammpsSession()
            self._closing = weakref.finalize(self, self._session.close)
        session = self._session
        if self._loaded is not None and _differ_by_positions(frame, self._loaded):
            session.move(frame.positions)
        else:
            self._loaded = None  # an error leaves LAMMPS with neither
            species = [atomic_numbers[symbol] for symbol in self.potential.elements]
            session.load(frame, species, self.potential.commands, skin=_SKIN)
            self._loaded = frame.copy()
        session.run(0)
        energy = session.energy()
        results: dict[str, Any] = {"energy": energy, "free_energy": energy, "forces": session.forces()}
        if frame.pbc.all():
            results["stress"] = session.stress()[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
        self.results = results

    def close(self) -> None:
        """Free LAMMPS, some 4 MB, which else goes when the calculator is collected; the next use loads it anew."""
        if self._closing is not None:
            self._closing()
        self._session = self._loaded = self._closing = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave LAMMPS behind: the copy loads its own."""
        return {**self.__dict__, "_session": None, "_loaded": None, "_closing": None}


def _differ_by_positions(frame: Atoms, loaded: Atoms) -> bool:
    return bool(
        frame.pbc.all()
        and loaded.pbc.all()
        and np.array_equal(frame.numbers, loaded.numbers)
        and np.array_equal(frame.cell[:], loaded.cell[:])
    )


def read_lammps_potential(source: str, *, key: str | None = None) -> LammpsPotential:
    """Read lines that choose a potential of LAMMPS.

    Parameters
    ----------
    source
        The lines, with semicolons or line ends between, or a file with them: a path, or the name of one that LAMMPS
        ships, ``Ta06A.snap``. ``pair_style``, ``pair_coeff`` and ``pair_modify`` are taken, and ``variable NAME equal
        NUMBER`` is put in; any other command is refused, since LAMMPS could be told to run anything. Names of
        potential files are looked for beside the file, in the current folder and among those that LAMMPS ships.
    key
        The option or argument that the lines are from, for messages.

    Raises
    ------
    DataError
        There is no such file, a line is something else, or the elements cannot be told from the ``pair_coeff`` lines.
    MissingDependencyError
        LAMMPS is missing.
    """
    if "pair_style" in source:
        return _potential(source.replace(";", "\n"), Path(), source.partition(";")[0].strip(), name=None, key=key)
    path = Path(source)
    if not path.is_file():
        try:
            path = potential_file(source) if path.name == source else path
        except MissingDependencyError:
            path = Path(source)
    try:
        with path.open(errors="replace") as stream:
            text = stream.read(_MOST_TEXT)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror}), and LAMMPS ships no such file", file=source) from None
    return _potential(text, path.parent, Path(source).name, name=source, key=None)


def _potential(text: str, folder: Path, title: str, *, name: str | None, key: str | None) -> LammpsPotential:
    values: dict[str, str] = {}
    commands = []
    for line in re.sub(r"&[ \t]*\n", " ", text).splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] == "variable" and len(words) == 4 and words[2] == "equal" and _NUMBER.fullmatch(words[3]):
            values[words[1]] = words[3]
            continue
        if words[0] not in _CHOOSING:
            raise DataError(
                f"the line {' '.join(words)[:60]!r} is none of {', '.join(_CHOOSING)} or variable NAME equal NUMBER",
                file=name,
                key=key,
            )
        plain = _VARIABLE.sub(lambda found: values.get(found[1], found[0]), " ".join(words))
        if "$" in plain:
            raise DataError(f"a variable of {plain[:60]!r} has no number", file=name, key=key)
        commands.append(plain if words[0] != "pair_coeff" else _with_paths(plain, folder))
    if not any(line.startswith("pair_style") for line in commands):
        raise DataError("there is no pair_style line: it chooses no potential of LAMMPS", file=name, key=key)
    return LammpsPotential(tuple(commands), _elements(commands, name, key), title)


def _with_paths(line: str, folder: Path) -> str:
    """Return a pair_coeff line with the places of its files: LAMMPS looks in the current folder alone."""
    words = shlex.split(line)
    for i, word in enumerate(words[3:], start=3):
        if "." not in word or _NUMBER.fullmatch(word):
            continue
        for place in (folder / word, Path(word)):
            if place.is_file():
                words[i] = f'"{place.resolve()}"'
                break
        else:
            words[i] = f'"{potential_file(word)}"'
    return " ".join(words)


def _elements(commands: Sequence[str], name: str | None, key: str | None) -> tuple[str, ...]:
    """Return the symbols that end the last pair_coeff line for all types."""
    for line in reversed(commands):
        words = line.split()
        if words[:3] == ["pair_coeff", "*", "*"]:
            symbols: list[str] = []
            for word in reversed(words[3:]):
                if word not in atomic_numbers:
                    break
                symbols.insert(0, word)
            if symbols:
                return tuple(symbols)
    raise DataError(
        "no pair_coeff * * line ends in the symbols of elements, so those of the atom types are not known",
        file=name,
        key=key,
    )
