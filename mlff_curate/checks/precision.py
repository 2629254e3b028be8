"""How many digits a number was printed with, as far as the number itself can tell."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL = 9
"""Decimals from which on no difference is made."""
_CHANCE = 1e-2
"""How often a set may be accused whose last digits are zeros by chance."""
_SHARE = 0.05  # of the labels: what so many have is what could be had
_BEYOND_SINGLE = 6  # decimals that 32 bits do not hold of an energy of some hundred eV
_MARGIN = 2  # decimals: fewer make no difference that matters


class Printed(NamedTuple):
    """How the values of one label of one frame look.

    Attributes
    ----------
    decimals
        Digits after the point, FULL if there are as many or more.
    single
        The values are those of 32-bit numbers, and not merely short.
    different
        How many different sizes there are besides zero: what the judgement rests on.
    """

    decimals: int
    single: bool
    different: int


def printed(values: np.ndarray) -> Printed:
    """Return how values look that were printed and read again."""
    sizes = np.unique(np.abs(values))
    sizes = sizes[sizes > 0]
    decimals = next((k for k in range(FULL) if _fits(sizes, k)), FULL)
    single = decimals == FULL and bool((sizes.astype(np.float32).astype(np.float64) == sizes).all())
    return Printed(decimals, single, len(sizes))


def _fits(sizes: np.ndarray, decimals: int) -> bool:
    head = sizes[:8] * 10.0**decimals
    if (np.abs(head - np.rint(head)) > _slack(head)).any():
        return False
    scaled = sizes * 10.0**decimals
    return bool((np.abs(scaled - np.rint(scaled)) <= _slack(scaled)).all())


def _slack(scaled: np.ndarray) -> np.ndarray:
    """Return what float64 leaves of a number that was short in decimals."""
    slack: np.ndarray = 1e-9 + 4.0 * np.finfo(np.float64).eps * scaled
    return slack


def coarser(labels: Sequence[Printed | None]) -> list[tuple[str, list[int]]]:
    """Return which labels have fewer digits than others, in words and by their places.

    A number that ends in zeros is no rounded number: labels are accused only if so many zeros cannot be chance among as
    many labels.
    """
    told = [item for item in labels if item is not None and item.different]
    if len(told) < 2:
        return []
    levels = Counter(item.decimals for item in told)
    usual = max((k for k, count in levels.items() if count >= max(2, _SHARE * len(told))), default=0)
    found: list[tuple[str, list[int]]] = []
    short: dict[int, list[int]] = {}
    for place, item in enumerate(labels):
        if item is None or not item.different:
            continue
        lost = usual - item.decimals
        if lost >= _MARGIN and len(told) * 10.0 ** (-lost * item.different) < _CHANCE:
            short.setdefault(item.decimals, []).append(place)
    most = counted(usual, "decimal") if usual < FULL else f"{FULL} decimals and more"
    for decimals, places in sorted(short.items()):
        found.append((f"rounded to {counted(decimals, 'decimal')} where others have {most}", places))
    single = [place for place, item in enumerate(labels) if item is not None and item.single]
    whole = any(item.decimals >= _BEYOND_SINGLE and not item.single for item in told)
    if single and whole:
        found.append(("32-bit numbers where others have more digits", single))
    return found
