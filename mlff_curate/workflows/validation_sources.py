"""What ``validate`` is given: a potential, a reference, a crystal, and numbers that are expected."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_curate.calculators import CGCNNCalculator
from mlff_curate.calculators.lammps_calculator import LammpsCalculator, read_lammps_potential
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.frames import geometry
from mlff_curate.data.reading import read_frames
from mlff_curate.errors import DataError, UsageError
from mlff_curate.validation.battery import names_of_quantities
from mlff_curate.validation.crystals import GIVEN, Crystal, element_crystal, require_structure
from mlff_curate.validation.verdicts import Expected
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase.calculators.calculator import Calculator

_HEAD = 2**14
"""Bytes in which lines that choose a potential of LAMMPS say so."""
_MOST_ATOMS = 64
_WISHES = {"value": "value", "tolerance": "tolerance", "above": "above", "below": "below"}


@dataclass(frozen=True, eq=False)
class Source:
    """A potential to compute with.

    Attributes
    ----------
    calculator
        Makes one of ASE's that remembers nothing: tests must not depend on which ones were run before.
    elements
        That it knows.
    name
        For messages and pages.
    digest
        Of all that it is.
    """

    calculator: Callable[[], Calculator]
    elements: tuple[str, ...]
    name: str
    digest: str


def potential_source(given: str, *, device: str, threads: int = 1, shipped: bool = False) -> Source:
    """Return what to compute with.

    Parameters
    ----------
    given
        A trained potential's file, or a potential of LAMMPS as in :func:`read_lammps_potential`.
    device, threads
        Torch device of a trained one, and how many threads it uses.
    shipped
        It is a reference: a name that is no file may be that of a file that LAMMPS ships.

    Raises
    ------
    CurateError
        It is neither, or is damaged.
    """
    if "pair_style" in given or _has_lammps_lines(given) or (shipped and not Path(given).exists()):
        potential = read_lammps_potential(given, key="--reference" if shipped else "MODEL")
        digest = hashlib.sha256("\n".join((*potential.commands, *potential.elements)).encode()).hexdigest()
        return Source(lambda: LammpsCalculator(potential), potential.elements, potential.name, digest)
    from ase.data import chemical_symbols

    trained = Potential.load(given, device=device)
    elements = tuple(chemical_symbols[number] for number in trained.fitted_.network.sizes.elements)
    digest = hashlib.sha256(Path(given).read_bytes()).hexdigest()
    return Source(lambda: CGCNNCalculator(trained, threads=threads), elements, given, digest)


def _has_lammps_lines(given: str) -> bool:
    try:
        with Path(given).open("rb") as stream:
            return b"pair_style" in stream.read(_HEAD)
    except (OSError, ValueError):
        return False


def require_crystal(element: str | None, structure: str | None, start: str | None) -> None:
    """Refuse options on the crystal that no potential could make right; see :func:`starting_crystal`.

    Raises
    ------
    UsageError
        Options that exclude each other, or what is no element or structure.
    """
    if start is not None:
        for key, value in (("--element", element), ("--structure", structure)):
            if value is not None:
                raise UsageError(f"means nothing with --start {start}", key=key)
    if structure is not None:
        require_structure(structure)
    if element is not None:
        element_crystal(element, structure)


def starting_crystal(
    known: tuple[str, ...], *, element: str | None, structure: str | None, start: str | None
) -> Crystal:
    """Return the crystal to begin with.

    Parameters
    ----------
    known
        Elements of the potential.
    element, structure
        Which crystal of an element; None: the only element, and its own structure.
    start
        File with a crystal, its first frame.

    Raises
    ------
    UsageError
        Options that exclude each other, or an element that must be chosen.
    DataError
        The potential never saw the element; the file has no crystal.
    """
    require_crystal(element, structure, start)
    if start is not None:
        return _from_file(start, known)
    if element is None:
        if len(known) > 1:
            raise UsageError(
                f"the potential knows {', '.join(known)}: choose one, or give a crystal with --start", key="--element"
            )
        element = known[0]
    crystal = element_crystal(element, structure)
    _require_known(crystal, known, None)
    return crystal


def _from_file(start: str, known: tuple[str, ...]) -> Crystal:
    frame = next(iter(read_frames((start,))), None)
    if frame is None:
        raise DataError("has no frame", file=start)
    atoms = geometry(frame.atoms)
    if not atoms.pbc.all() or atoms.get_volume() < 1e-6:
        raise DataError("is no crystal: it is not periodic in three directions", file=start, frame=frame.index)
    if len(atoms) > _MOST_ATOMS:
        raise DataError(
            f"has {counted(len(atoms), 'atom')}: give the unit cell, of up to {_MOST_ATOMS}",
            file=start,
            frame=frame.index,
        )
    crystal = Crystal(atoms, GIVEN)
    _require_known(crystal, known, start)
    return crystal


def _require_known(crystal: Crystal, known: tuple[str, ...], file: str | None) -> None:
    strange = [symbol for symbol in crystal.elements if symbol not in known]
    if strange:
        raise DataError(
            f"the potential never saw {', '.join(strange)}: it knows {', '.join(known)}",
            file=file,
            key=None if file else "--element",
        )


def read_expected(path: str | None) -> dict[str, Expected]:
    """Read numbers that are expected, JSON or, by its name, TOML.

    Parameters
    ----------
    path
        File with one object: the name of a quantity to a number, or to any of ``value``, ``tolerance``, ``above`` and
        ``below``. None: nothing is expected.

    Raises
    ------
    DataError
        There is no such file, it cannot be parsed, or a name or value is none.
    """
    if path is None:
        return {}
    try:
        text = Path(path).read_text(encoding="utf-8")
        given = tomllib.loads(text) if Path(path).suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file=path) from None
    except (ValueError, RecursionError) as error:
        kind = "TOML" if Path(path).suffix == ".toml" else "JSON"
        raise DataError(f"is no {kind}: {' '.join(str(error).split())[:100]}", file=path) from None
    if not isinstance(given, dict):
        raise DataError("must hold one object, names of quantities to numbers", file=path)
    names = names_of_quantities()
    out = {}
    for name, value in given.items():
        if name not in names:
            raise DataError(f"is unknown; available: {', '.join(names)}", file=path, key=str(name)[:40])
        out[name] = _expected(value, path, name)
    return out


def _expected(value: Any, path: str, name: str) -> Expected:
    wishes = value if isinstance(value, dict) else {"value": value}
    allowed = [field.name for field in fields(Expected)]
    for key, number in wishes.items():
        if key not in allowed:
            raise DataError(f"{str(key)[:40]!r} is none of {', '.join(allowed)}", file=path, key=name)
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise DataError(f"must be a number, or numbers named {', '.join(allowed)}", file=path, key=name)
    if wishes.get("tolerance", 0) < 0:
        raise DataError("a tolerance is a share of the value, 0.05 for 5 %: it is not negative", file=path, key=name)
    return Expected(**{key: float(number) for key, number in wishes.items()})
