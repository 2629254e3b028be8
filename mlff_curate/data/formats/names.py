"""Order of the names of files and folders."""

from __future__ import annotations

import re


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts numbers within names by their value."""
    parts = re.findall(r"\d+|\D+", name, re.ASCII)
    return tuple((0, int(part[:4000]), part) if part[0] in "0123456789" else (1, 0, part) for part in parts)
