"""Frames that hold the structure of an earlier one, and whether their labels say the same."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.checks.copies import EXACT, copies_across, copies_within
from mlff_curate.checks.finding import Finding
from mlff_curate.checks.invariants import TENSOR
from mlff_curate.wording import rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.checks.copies import Copy
    from mlff_curate.checks.finding import Severity
    from mlff_curate.checks.frame import CheckedFrame

GPA = 160.21766208
"""GPa in one eV/Angstrom^3 (CODATA 2014, as in ase.units)."""

ENERGY_AGREES = 1e-3
"""eV/atom. Converged calculations of one structure agree better; another mesh, cutoff or spin state does not."""
FORCES_AGREE = 0.01
"""eV/Angstrom, as ENERGY_AGREES."""
STRESS_AGREES = 0.2 / GPA
"""eV/Angstrom^3, as ENERGY_AGREES."""
_MOMENTS_AGREE = 0.1
"""Bohr magnetons."""
_STIFFEST_BOND = 50.0
"""eV/Angstrom^2: how much a force may change with the position of an atom."""
_STIFFEST_SOLID = 500.0 / GPA
"""eV/Angstrom^3: how much a stress may change if atoms an Angstrom apart move by one."""

_WORDS = {
    "exact": "holds the structure of {other} atom upon atom",
    "near": "holds the structure of {other} but for small displacements",
    "twin": "holds the structure of {other}, rotated, reflected or as another supercell",
}


def duplicates(frames: Sequence[CheckedFrame]) -> list[Finding]:
    """Find frames that repeat an earlier one.

    Exact copies are warnings (``duplicate-exact``), near copies and symmetry twins notes (``duplicate-near``,
    ``duplicate-twin``), and copies of any kind whose labels differ warnings (``duplicate-conflict``). Labels are
    compared by what a rotation leaves alone: energy per atom, the sorted lengths of the forces, the principal stresses.

    Parameters
    ----------
    frames
        Of all inputs.

    Returns
    -------
    list of Finding
        One for each frame that repeats an earlier one, in order; `value` is the earlier one as ``file:index``.
    """
    return [_told(copy, frames[copy.frame], frames[copy.original]) for copy in copies_within([f.atoms for f in frames])]


def shared_with_training(test: Sequence[CheckedFrame], train: Sequence[CheckedFrame]) -> list[Finding]:
    """Find test frames that hold a structure of the training set: ``duplicate-train-test``, all of them warnings.

    Returns
    -------
    list of Finding
        One for each such test frame, in order; `value` is the training frame as ``file:index``.
    """
    findings = []
    for copy in copies_across([frame.atoms for frame in test], [frame.atoms for frame in train]):
        frame, other = test[copy.frame], train[copy.original]
        findings.append(
            Finding(
                frame.file,
                frame.index,
                None,
                "duplicate-train-test",
                "warning",
                _address(other),
                f"this test frame {_likeness(copy, frame, other)}, which is in the training set; "
                f"{_comparison(frame, other, copy).words}",
                "drop it from one of the two sets: its error says nothing about structures that are new to the model",
            )
        )
    return findings


@dataclass(frozen=True)
class _Comparison:
    """How far the labels of two frames of one structure agree.

    Attributes
    ----------
    conflict
        Name that the later frame has for the first label that differs; None: none does.
    words
        The differences in words.
    """

    conflict: str | None
    words: str


def _told(copy: Copy, frame: CheckedFrame, other: CheckedFrame) -> Finding:
    compared = _comparison(frame, other, copy)
    rule, severity, fix = _verdict(copy, compared)
    return Finding(
        frame.file,
        frame.index,
        compared.conflict,
        rule,
        severity,
        _address(other),
        f"{_likeness(copy, frame, other)}; {compared.words}",
        fix,
    )


def _verdict(copy: Copy, compared: _Comparison) -> tuple[str, Severity, str]:
    if compared.conflict is not None:
        fix = "find out how the two calculations differ and drop the one that does not belong here"
        return "duplicate-conflict", "warning", fix
    if copy.kind == "exact":
        return "duplicate-exact", "warning", "drop one of the two: it counts twice in a fit"
    if copy.kind == "near":
        return "duplicate-near", "note", "drop one of the two, if room is short: it adds next to nothing"
    fix = "keep both on one side of a train/test split: a model that knows symmetry learns nothing from the second"
    return "duplicate-twin", "note", fix


def _likeness(copy: Copy, frame: CheckedFrame, other: CheckedFrame) -> str:
    where = f"frame {other.index}" + ("" if other.file == frame.file else f" of {other.file}")
    size = f"within {EXACT:g}" if copy.distance <= EXACT else f"largest difference {copy.distance:.1g}"
    return f"{_WORDS[copy.kind].format(other=where)} ({size} Angstrom)"


def _address(frame: CheckedFrame) -> str:
    return f"{frame.file}:{frame.index}"


def _comparison(frame: CheckedFrame, other: CheckedFrame, copy: Copy) -> _Comparison:
    """Compare the labels; what a displacement may change is allowed for."""
    a, b = frame.labels, other.labels
    moved = 0.0 if copy.distance <= EXACT else copy.distance
    n, m = len(frame.atoms), len(other.atoms)
    allowed_energy = ENERGY_AGREES + moved * _pull(frame)
    differences: list[tuple[str, str | None, float, float, float, str]] = []
    if a.energy is not None and b.energy is not None:
        gap = abs(a.energy / n - b.energy / m)
        differences.append(("energies", a.energy_key, gap, allowed_energy, 1e3, "meV/atom"))
    if a.forces is not None and b.forces is not None:
        gap = _lengths_apart(a.forces, b.forces)
        differences.append(("forces", a.forces_key, gap, FORCES_AGREE + _STIFFEST_BOND * moved, 1.0, "eV/Angstrom"))
    if a.stress is not None and b.stress is not None:
        gap = float(np.abs(_principal(a.stress) - _principal(b.stress)).max())
        differences.append(("stresses", a.stress_key, gap, STRESS_AGREES + _STIFFEST_SOLID * moved, GPA, "GPa"))
    shown = ", ".join(f"{kind} by {rounded(gap * unit, 2)} {name}" for kind, _, gap, _, unit, name in differences)
    conflict = next((key for _, key, gap, allowed, _, _ in differences if gap > allowed), None)
    if not differences:
        return _Comparison(None, "they have no labels in common")
    if conflict is None:
        return _Comparison(None, f"their labels agree ({shown})")
    return _Comparison(conflict, f"but their labels differ ({shown}){_magnetism(frame, other)}")


def _magnetism(frame: CheckedFrame, other: CheckedFrame) -> str:
    a, b = frame.labels.magmoms, other.labels.magmoms
    if a is None or b is None or a.shape[1:] != b.shape[1:]:
        return ""
    with np.errstate(over="ignore", invalid="ignore"):  # moments beyond anything physical are far apart, too
        sizes = [np.abs(m) if m.ndim == 1 else np.linalg.norm(m, axis=1) for m in (a, b)]
        gap = _sorted_apart(*sizes)
    if gap <= _MOMENTS_AGREE:
        return ""
    by = f"by {rounded(gap, 2)} Bohr magnetons"
    return f"; so do their magnetic moments ({by}): a model without spin cannot tell them apart"


def _pull(frame: CheckedFrame) -> float:
    """Return how fast the energy per atom can change with displacements, eV/Angstrom."""
    labels, pull = frame.labels, 0.0
    if labels.forces is not None:
        pull += float(np.linalg.norm(labels.forces, axis=1).max(initial=0.0))
    if labels.stress is not None:
        area = (frame.atoms.cell.volume / len(frame.atoms)) ** (2.0 / 3.0)
        pull += 3.0 * area * float(np.abs(_principal(labels.stress)).max())
    return pull


def _lengths_apart(a: np.ndarray, b: np.ndarray) -> float:
    return _sorted_apart(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))


def _sorted_apart(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference between sorted values of structures that may repeat one another."""
    common = gcd(len(a), len(b))
    a, b = np.repeat(np.sort(a), len(b) // common), np.repeat(np.sort(b), len(a) // common)
    return float(np.abs(a - b).max())


def _principal(stress: np.ndarray) -> np.ndarray:
    values: np.ndarray = np.linalg.eigvalsh(stress[TENSOR])
    return values
