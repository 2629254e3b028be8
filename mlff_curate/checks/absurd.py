"""Labels beyond anything physical, in whatever unit: they are told, and no later check sees them.

One such number would overflow in squares and sums, and with it the judgement on every other frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlff_curate.checks.finding import Finding
from mlff_curate.wording import rounded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlff_curate.checks.frame import CheckedFrame


@dataclass(frozen=True)
class _Kind:
    """A kind of label, and the largest sizes that are left to the other checks.

    Attributes
    ----------
    limit
        Beyond that no label is.
    alone
        Nor beyond that, where it is `_RATIO` times the usual size in the set.
    """

    name: Literal["energy", "forces", "stress"]
    rule: str
    limit: float
    alone: float
    unit: str
    what: str

    def limit_in(self, sizes: np.ndarray) -> float:
        """Return the limit in a set, (F,) sizes."""
        usual = float(np.quantile(sizes, 0.5, method="lower")) if len(sizes) else 0.0
        return min(self.limit, max(self.alone, _RATIO * usual))


_RATIO = 1e5
"""More than the largest unit factor of an energy or a force, and the scatter of sizes."""


# Sets and single frames in another unit have to pass. All-electron energies reach 1e6 eV/atom, 1e9 meV; forces of a
# collision 1e4 eV/Angstrom, 1e7 meV/Angstrom; matter at 3 TPa has 3e12 Pa.
_KINDS = (
    _Kind("energy", "energy-outlier", 1e12, 1e7, "eV/atom", "an energy"),
    _Kind("forces", "force-outlier", 1e12, 1e7, "eV/Angstrom", "a force"),
    _Kind("stress", "stress-outlier", 1e15, 1e15, "eV/Angstrom^3", "a stress"),
)


def without_absurd(frames: Iterable[CheckedFrame]) -> tuple[tuple[CheckedFrame, ...], list[Finding]]:
    """Take out labels that no unit explains.

    Parameters
    ----------
    frames
        F frames.

    Returns
    -------
    frames, findings
        The same F frames, in which such labels are missing; an error for each, ``energy-outlier``, ``force-outlier`` or
        ``stress-outlier``.
    """
    frames = tuple(frames)
    sizes = {kind: np.array([_size(frame, kind.name) for frame in frames]) for kind in _KINDS}
    limits = {kind: kind.limit_in(some[some > 0]) for kind, some in sizes.items()}
    kept: list[CheckedFrame] = []
    findings: list[Finding] = []
    for i, frame in enumerate(frames):
        gone: dict[str, Any] = {}
        for kind in _KINDS:
            if sizes[kind][i] > limits[kind]:
                findings.append(_finding(frame, kind, float(sizes[kind][i]), limits[kind]))
                gone |= {kind.name: None, f"{kind.name}_key": None}
        kept.append(replace(frame, labels=replace(frame.labels, **gone)) if gone else frame)
    return tuple(kept), findings


def _size(frame: CheckedFrame, name: str) -> float:
    """Return the largest number of a label, of an energy per atom; zero where there is none."""
    value = getattr(frame.labels, name)
    if value is None:
        return 0.0
    return float(np.abs(value).max(initial=0.0)) / (max(len(frame.atoms), 1) if name == "energy" else 1)


def _finding(frame: CheckedFrame, kind: _Kind, size: float, limit: float) -> Finding:
    return Finding(
        frame.file,
        frame.index,
        getattr(frame.labels, f"{kind.name}_key"),
        kind.rule,
        "error",
        size,
        f"{kind.what} of {rounded(size)} {kind.unit} is beyond anything physical in any unit (limit here "
        f"{rounded(limit, 1)}); all other checks take it as missing",
        "calculate the frame again, or drop it: one such number spoils any fit",
    )
