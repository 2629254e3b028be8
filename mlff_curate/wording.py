"""How numbers and names are put into sentences."""

_SPACES = {"descriptor": "the scaled descriptor", "meagraph": "MEAGraph's embedding"}


def counted(n: int, noun: str) -> str:
    """Return ``1 frame``, ``2 frames``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def rounded(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """Return a number rounded to so many digits, and written out where it has up to six before the point: 300, 0.02."""
    return f"{float(f'{value:.{digits}g}'):{'+' if signed else ''}.{max(digits, 6)}g}"


def spelled(space: str) -> str:
    """Return where distances are measured, ``descriptor`` or ``meagraph``, in words."""
    return _SPACES[space]
