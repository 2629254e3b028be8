"""What jobs of any kind say at their end."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlff_curate.data.formats.base import Format


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process and of its finished workers, MB."""
    kilobytes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return kilobytes / (2**20 if sys.platform == "darwin" else 2**10)


def loss_lines(to: Format, lost: Mapping[str, int]) -> list[str]:
    """Return the sentence on what a format cannot hold, none if nothing was lost."""
    if not lost:
        return []
    names = ", ".join(f"{name} ({counted(frames, 'frame')})" for name, frames in sorted(lost.items()))
    return [f"{to.name} cannot hold {names}"]
