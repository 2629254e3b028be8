"""Valence electrons of the elements, subshell by subshell."""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers

SUBSHELLS = {"s": 2, "p": 6, "d": 10, "f": 14}
"""Most electrons of each."""
SIZE = sum(SUBSHELLS.values())
"""32: s1, s2, p1 ... p6, d1 ... d10, f1 ... f14."""
HEAVIEST = 118

_NOBLE = (0, 2, 10, 18, 36, 54, 86, HEAVIEST)
_FILLED = ("s", "sp", "sp", "sdp", "sdp", "sfdp", "sfdp")
"""Madelung's order in each period."""
_EXCEPTIONS = {
    "Cr": "d5 s1",
    "Cu": "d10 s1",
    "Nb": "d4 s1",
    "Mo": "d5 s1",
    "Ru": "d7 s1",
    "Rh": "d8 s1",
    "Pd": "d10",
    "Ag": "d10 s1",
    "La": "d1 s2",
    "Ce": "f1 d1 s2",
    "Gd": "f7 d1 s2",
    "Pt": "f14 d9 s1",
    "Au": "f14 d10 s1",
    "Ac": "d1 s2",
    "Th": "d2 s2",
    "Pa": "f2 d1 s2",
    "U": "f3 d1 s2",
    "Np": "f4 d1 s2",
    "Cm": "f7 d1 s2",
    "Lr": "f14 s2 p1",
}
"""Ground states that Madelung's rule does not give (NIST Atomic Spectra Database)."""
_BY_NUMBER = {
    atomic_numbers[symbol]: {word[0]: int(word[1:]) for word in words.split()} for symbol, words in _EXCEPTIONS.items()
}


def valence_subshells(z: int) -> dict[str, int]:
    """Return the electrons outside of the noble gas before an element, by subshell, of the free atom at rest.

    Full d and f shells below the last one count: of gallium d10 s2 p1. A noble gas is the end of its own period.

    Examples
    --------
    >>> valence_subshells(26)
    {'s': 2, 'd': 6}
    """
    if z in _BY_NUMBER:
        return {letter: _BY_NUMBER[z][letter] for letter in SUBSHELLS if letter in _BY_NUMBER[z]}
    period = next(k for k, last in enumerate(_NOBLE[1:]) if z <= last)
    left = z - _NOBLE[period]
    filled = {}
    for letter in _FILLED[period]:
        filled[letter] = min(left, SUBSHELLS[letter])
        left -= filled[letter]
    return {letter: filled[letter] for letter in SUBSHELLS if filled.get(letter)}


def valence_vector(z: int) -> np.ndarray:
    """Return the element's row, (32,): 1 at each of its subshells with its number of electrons, else 0."""
    row = np.zeros(SIZE)
    start = 0
    electrons = valence_subshells(z)
    for letter, most in SUBSHELLS.items():
        if letter in electrons:
            row[start + electrons[letter] - 1] = 1.0
        start += most
    return row
