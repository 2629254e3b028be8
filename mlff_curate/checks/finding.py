"""What a check says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From the gravest on. An error: nothing can be fitted to it as it is. A warning: somebody has to look. A note: worth
knowing, no fault."""


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
        What to do about it.
    """

    file: str | None
    frame: int | None
    key: str | None
    rule: str
    severity: Severity
    value: float | int | str | None
    message: str
    fix: str

    def as_dict(self) -> dict[str, object]:
        """Return what ``check --json`` prints."""
        return asdict(self)


def worst(findings: list[Finding]) -> Severity | None:
    """Return the gravest severity, None without findings."""
    there = {finding.severity for finding in findings}
    return next((severity for severity in SEVERITIES if severity in there), None)
