"""Which labels of which frames findings put right, and how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlff_curate.checks.finding import Correction, Finding
    from mlff_curate.checks.frame import CheckedFrame

Place = tuple[str, int]
"""File and 0-based place in it."""
_FAULTS = ("-unit", "-sign", "-order", "-virial")
_KINDS = {"energy": "energy", "force": "forces", "stress": "stress"}
"""First word of such rules -> kind of label."""
_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Rows and columns of ASE's Voigt components."""


@dataclass(frozen=True)
class Mending:
    """What findings say is to be done to one label of one frame.

    Attributes
    ----------
    kind
        ``energy``, ``forces`` or ``stress``.
    rules
        Of the findings, with ``;`` between.
    correction
        What to do; None: nothing, since `why`.
    why
        Why it is not certain what to do.
    """

    kind: str
    rules: str
    correction: Correction | None
    why: str = ""


def mendings(findings: Iterable[Finding], frames: Mapping[Place, CheckedFrame]) -> dict[Place, list[Mending]]:
    """Gather what findings say of the labels of each frame.

    Several findings may tell of one label: the same correction counts once, and the order of a stress goes together
    with a factor. Of other corrections that differ none is made; nor is one that all frames share, where a frame is off
    in another way besides.
    """
    told: dict[Place, dict[str, list[Finding]]] = {}
    apart: dict[tuple[str, int, str], str] = {}
    for finding in findings:
        if finding.correction is not None:
            for place in _places(finding, frames):
                if getattr(frames[place].labels, f"{finding.correction.kind}_key") is not None:
                    told.setdefault(place, {}).setdefault(finding.correction.kind, []).append(finding)
        elif finding.file is not None and finding.frame is not None and finding.rule.endswith(_FAULTS):
            apart[finding.file, finding.frame, _KINDS.get(finding.rule.split("-")[0], "")] = finding.rule
    return {
        place: [_mending(kind, mine, apart.get((*place, kind))) for kind, mine in kinds.items()]
        for place, kinds in told.items()
    }


def _places(finding: Finding, frames: Mapping[Place, CheckedFrame]) -> list[Place]:
    """Return the frames that a finding tells of: one, those of a file, or all."""
    if finding.file is not None and finding.frame is not None:
        return [(finding.file, finding.frame)] if (finding.file, finding.frame) in frames else []
    return [place for place in frames if finding.file in (None, place[0])]


def _mending(kind: str, findings: Sequence[Finding], apart: str | None) -> Mending:
    corrections = _together([f.correction for f in findings if f.correction is not None])
    rules = ";".join(dict.fromkeys(f.rule for f in findings))
    if apart is not None:
        why = f"what all frames share would be mended, but {apart} was found of this frame besides"
        return Mending(kind, rules, None, why)
    if len(corrections) > 1:
        return Mending(
            kind, rules, None, f"several corrections are possible ({' or '.join(map(in_words, corrections))})"
        )
    return Mending(kind, rules, corrections[0])


def _together(corrections: Sequence[Correction]) -> list[Correction]:
    """Return different corrections of one label, an order joined with what concerns the values: one, if they agree."""
    different = list(dict.fromkeys(corrections))
    orders = [c for c in different if c.order is not None and replace(c, order=None) == type(c)(c.kind)]
    values = [c for c in different if c.order is None]
    if len(different) == 2 and len(orders) == len(values) == 1:
        return [replace(values[0], order=orders[0].order)]
    return different


def mended(frame: CheckedFrame, what: Iterable[Mending]) -> CheckedFrame:
    """Return a frame with its labels put right."""
    labels = frame.labels
    for mending in what:
        value = getattr(labels, mending.kind)
        if mending.correction is not None and value is not None:
            new = change_of(mending.correction, _volume(frame), len(frame.atoms))(np.asarray(value, dtype=float))
            changes: dict[str, Any] = {mending.kind: float(new) if mending.kind == "energy" else new}
            labels = replace(labels, **changes)
    return replace(frame, labels=labels)


def _volume(frame: CheckedFrame) -> float:
    return abs(float(np.linalg.det(frame.atoms.cell.array)))


def change_of(correction: Correction, volume: float, atoms: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a correction as a function of values, (), (n, 3), (6,), (9,) or (3, 3), in normal form or as in a file.

    All corrections are linear, so that they hold for a virial as they do for the stress made of it.

    Parameters
    ----------
    correction
        What to do.
    volume
        Of the frame's cell, Angstrom^3.
    atoms
        Number of its atoms.
    """
    factor = correction.factor * (atoms if correction.per_atom else 1)
    if correction.per_volume:
        factor *= volume**-correction.per_volume

    def change(value: np.ndarray) -> np.ndarray:
        return np.asarray(factor * (value if correction.order is None else _reordered(value, correction.order)))

    return change


def _reordered(value: np.ndarray, order: Sequence[int]) -> np.ndarray:
    if value.shape == (6,):
        return np.asarray(value[list(order)])
    full = value.reshape(3, 3)
    new = full.copy()
    for component, source in enumerate(order):
        (i, j), (a, b) = _PAIRS[component], _PAIRS[source]
        new[i, j], new[j, i] = full[a, b], full[b, a]
    return new.reshape(value.shape)


def in_words(correction: Correction) -> str:
    """Return what a correction does."""
    words = []
    if correction.order is not None:
        words.append(f"components put in the order {' '.join(map(str, correction.order))}")
    if correction.factor != 1.0:
        words.append(f"multiplied by {correction.factor:.9g}")
    if correction.per_atom:
        words.append("multiplied by the number of atoms")
    if correction.per_volume:
        words.append("divided by the cell's volume" if correction.per_volume > 0 else "multiplied by the cell's volume")
    return ", ".join(words)
