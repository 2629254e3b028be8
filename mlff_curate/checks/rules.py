"""The rules that findings name: how grave each is, and what it means in one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlff_curate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlff_curate.checks.finding import Severity


@dataclass(frozen=True)
class Rule:
    """What a check can find.

    Attributes
    ----------
    severities
        Those that its findings may have, the gravest first.
    meaning
        In one line, for pages and tables.
    """

    severities: tuple[Severity, ...]
    meaning: str


RULES: dict[str, Rule] = {
    "file-unreadable": Rule(("error",), "a file, or the rest of it from some frame on, cannot be read"),
    "frame-unreadable": Rule(("error",), "one frame cannot be read or is no frame; those after it are read"),
}
"""By name, in the order of the tables."""


def require_rules(names: Iterable[str], option: str) -> None:
    """Refuse a rule that does not exist.

    Raises
    ------
    UsageError
        The message lists the rules there are.
    """
    for name in names:
        if name not in RULES:
            raise UsageError(f"{name!r} is no rule; available: {', '.join(sorted(RULES))}", key=option)
