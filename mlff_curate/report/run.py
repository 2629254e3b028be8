"""What every page says about the run behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


# eq=False: pages that hold arrays inherit it, and a comparison of these fields alone would call unlike pages equal.
@dataclass(frozen=True, eq=False)
class RunReport:
    """The common part of all pages, `base.html.j2`.

    Attributes
    ----------
    title
        Heading of the page.
    command
        The command line that makes the same again.
    version
        Version of the program.
    inputs
        Input files, as the user wrote them.
    output
        The file that was made: of kept frames, or the page itself.
    options
        Name -> value, as text.
    seconds
        Stage -> seconds, in the order of the stages.
    peak_memory_mb
        Peak memory of the process in MB.
    """

    title: str
    command: str
    version: str
    inputs: tuple[str, ...]
    output: str
    options: Mapping[str, str]
    seconds: Mapping[str, float]
    peak_memory_mb: float
