"""How many frames to keep."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlff_curate.errors import BudgetError, UsageError

_COUNT = re.compile(r"\+?[0-9]{1,18}")
_FRACTION = re.compile(r"\+?([0-9]+\.[0-9]*|\.[0-9]+)")


@dataclass(frozen=True)
class Budget:
    """What ``--keep`` says.

    Attributes
    ----------
    text
        As the user wrote it.
    count
        Number of frames, or None.
    fraction
        Share of the frames in (0, 1], or None; both None: choose automatically.
    """

    text: str
    count: int | None = None
    fraction: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget: with a point a fraction, without one a count, or ``auto``.

        Raises
        ------
        UsageError
            Neither of these, zero, or a fraction above 1.
        """
        word = text.strip()
        if word == "auto":
            return cls(word)
        if _COUNT.fullmatch(word) and int(word) > 0:
            return cls(word, count=int(word))
        if _FRACTION.fullmatch(word) and 0.0 < float(word) <= 1.0:
            return cls(word, fraction=float(word))
        raise UsageError(
            f"must be a number of frames (such as 40), a fraction with a point in (0, 1] (such as 0.2) or auto, "
            f"got {text!r}",
            key="--keep",
        )

    def frames(self, total: int, mandatory: int, available: int) -> int | None:
        """Return how many frames to keep; None if that is to be chosen automatically.

        Parameters
        ----------
        total
            Frames in the input.
        mandatory
            Frames that are kept in any case.
        available
            Frames that may be kept, the mandatory ones included.

        Raises
        ------
        BudgetError
            Fewer than the mandatory or more than the available frames; the message says what is possible.
        """
        if self.count is None and self.fraction is None:
            return None
        wanted = self.count
        least = max(mandatory, min(1, available))
        if wanted is None:
            assert self.fraction is not None
            wanted = int(self.fraction * total + 0.5)
            if wanted == 0:
                raise BudgetError(
                    f"{self.text} of {total} frames is less than one frame: possible is {least} to {available} frames",
                    key="--keep",
                )
            if wanted == total:
                wanted = available  # everything: rejected frames never count
        if wanted < mandatory:
            raise BudgetError(
                f"{self.text} means {_frames(wanted)}, but {_frames(mandatory)} must be kept (isolated atoms and "
                f"--must-keep): possible is {mandatory} to {available}",
                key="--keep",
            )
        if wanted > available:
            raise BudgetError(
                f"{self.text} means {_frames(wanted)}, but only {available} of {total} can be kept: possible is "
                f"{least} to {available}",
                key="--keep",
            )
        return wanted


def _frames(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"
