"""What is known of one frame besides its atoms."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms

LABEL_WORDS = ("energy", "energies", "force", "stress", "virial", "magmom")
"""A key with one of these words in it looks like a label."""


@dataclass(frozen=True)
class Remark:
    """What a reader noticed about a frame that the user should know; `check` turns it into a finding.

    Attributes
    ----------
    rule
        Kebab-case name of what was noticed, such as ``scf-unconverged``.
    severity
        ``error``, ``warning`` or ``note``, as in :mod:`mlff_curate.checks.finding`.
    key
        Name of the label or part of the frame concerned, if one is.
    message
        What it is, in words.
    fix
        What to do about it; empty: nothing.
    """

    rule: str
    severity: Literal["error", "warning", "note"]
    key: str | None
    message: str
    fix: str


@dataclass(frozen=True)
class Frame:
    """One frame of one file.

    Attributes
    ----------
    atoms
        The frame as ASE reads it, labels included.
    source
        Path of the file, as the user wrote it.
    index
        0-based place in that file.
    digest
        Sha256 of its canonical content (:func:`content_digest`); None where the frame has its own text.
    text
        The frame's own bytes for extxyz, None for other formats.
    origins
        Name of a label -> where in the file it was found and what was done to it, where that is not plain.
    remarks
        What the reader noticed.
    """

    atoms: Atoms
    source: str
    index: int
    digest: str | None
    text: bytes | None
    origins: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Of the frame's own text for extxyz, computed when asked for; of its content for other formats."""
        if self.digest is not None:
            return self.digest
        assert self.text is not None
        return hashlib.sha256(self.text).hexdigest()


def content_digest(atoms: Atoms) -> str:
    """Return the sha256 of a frame's content, for formats whose bytes are not one frame after the other.

    Numbers count as float64, little-endian; keys in alphabetical order: species, positions, cell, pbc, info, arrays
    and the results of an attached calculator.
    """
    digest = hashlib.sha256()
    parts: list[tuple[str, object]] = [("cell", atoms.cell.array), ("pbc", atoms.pbc)]
    parts += [(f"array {k}", v) for k, v in sorted(atoms.arrays.items())]
    parts += [(f"info {k}", v) for k, v in sorted(atoms.info.items(), key=lambda item: str(item[0]))]
    parts += [(f"result {k}", v) for k, v in sorted(calculator_results(atoms).items())]
    for name, value in parts:
        digest.update(name.encode() + b"\0")
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array, dtype="<f8").tobytes())
        else:
            plain = array.tolist() if array.dtype.kind in "US" else value
            digest.update(json.dumps(plain, default=str, sort_keys=True).encode())
    return digest.hexdigest()


def with_results(atoms: Atoms, **results: object) -> Atoms:
    """Attach labels to a frame as the results of a single-point calculator, as ASE's readers do; None: no such label.

    Parameters
    ----------
    atoms
        The frame, n atoms; it is changed and returned.
    results
        By ASE's names: energy, free_energy (eV), forces ((n, 3), eV/Angstrom), stress ((6,), eV/Angstrom^3, positive
        under tension), energies ((n,), eV), magmoms ((n,)), magmom.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def calculator_results(atoms: Atoms) -> dict[str, object]:
    """Return the results that a reader attached to a frame as a single-point calculator."""
    results = getattr(atoms.calc, "results", None) or {}
    return {key: value for key, value in results.items() if value is not None}


def named_values(atoms: Atoms) -> dict[str, object]:
    """Return all that a frame has a name for: info, arrays and results of a calculator."""
    return {**{str(k): v for k, v in atoms.info.items()}, **atoms.arrays, **calculator_results(atoms)}


def label_keys(atoms: Atoms) -> tuple[str, ...]:
    """Return the keys that look like labels, under the names the file has for them, ascending."""
    keys = {*map(str, atoms.info), *atoms.arrays, *calculator_results(atoms)}
    return tuple(sorted(key for key in keys if looks_like_label(key)))


def looks_like_label(key: str) -> bool:
    """Tell whether a key looks like that of a label."""
    return any(word in key.lower() for word in LABEL_WORDS)


def geometry(atoms: Atoms) -> Atoms:
    """Return elements, positions, cell and pbc alone: what the pipeline holds of every frame."""
    from ase import Atoms as BareAtoms

    return BareAtoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)


def is_isolated_atom(atoms: Atoms) -> bool:
    """Tell a free atom, kept to fix the zero of energy, from a crystal with one atom per cell.

    One atom that has no periodic image within ``ISOLATED_DISTANCE``, or one atom that the file itself calls
    ``config_type=IsolatedAtom``, as MACE's files do.
    """
    if len(atoms) != 1:
        return False
    if str(atoms.info.get("config_type", "")).replace("_", "").lower() == "isolatedatom":
        return True
    if not atoms.pbc.any():
        return True
    from ase.geometry import minkowski_reduce

    reduced = minkowski_reduce(atoms.cell.complete().array, pbc=atoms.pbc)[0]
    return bool(np.linalg.norm(reduced[atoms.pbc], axis=1).min() > ISOLATED_DISTANCE)


ISOLATED_DISTANCE = 8.0
"""Angstrom. No condensed phase has its nearest neighbours this far apart (caesium, the widest metal: 5.2)."""
