"""What a check says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From the gravest on. An error: nothing can be fitted to it as it is. A warning: somebody has to look. A note: worth
knowing, no fault."""


@dataclass(frozen=True)
class Correction:
    """How a label becomes right, where that is known for certain: ``check --fix`` does it.

    Attributes
    ----------
    kind
        ``energy``, ``forces`` or ``stress``.
    factor
        What to multiply the label by, unit and sign in one.
    order
        Of a stress: component i of the right one is component ``order[i]`` of the label, both in ASE's Voigt order;
        None: as it is.
    per_volume
        1: divide the stress by the volume of the cell too (it was given per cell); -1: multiply; 0: neither.
    per_atom
        Multiply the energy by the number of atoms too: it was given for one of them.
    """

    kind: Literal["energy", "forces", "stress"]
    factor: float = 1.0
    order: tuple[int, ...] | None = None
    per_volume: Literal[-1, 0, 1] = 0
    per_atom: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing that somebody should know of a file, a frame or a label.

    Attributes
    ----------
    file
        Path of the input, as the user wrote it; None: all inputs together.
    frame
        0-based place in that file; None: the whole file.
    key
        The name that the frame has for the label, or ``positions``, ``cell`` ...; None: the frame as a whole.
    rule
        Kebab-case name of the rule, label and fault: ``energy-unit``, ``force-sign``, ``duplicate-exact`` ...
    severity
        See SEVERITIES.
    value
        What was found, in numbers or a word, with its unit in `message`; None: nothing to quote.
    message
        What it is and why it is told, with the figures that it rests on and, for tests, the confidence.
    fix
        What to do about it; empty: nothing.
    correction
        How ``--fix`` mends the label, where that is safe.
    """

    file: str | None
    frame: int | None
    key: str | None
    rule: str
    severity: Severity
    value: float | int | str | None
    message: str
    fix: str
    correction: Correction | None = None

    def as_dict(self) -> dict[str, object]:
        """Return what ``check --json`` prints."""
        return {name: value for name, value in asdict(self).items() if name != "correction"}


def worst(findings: list[Finding]) -> Severity | None:
    """Return the gravest severity, None without findings."""
    there = {finding.severity for finding in findings}
    return next((severity for severity in SEVERITIES if severity in there), None)
