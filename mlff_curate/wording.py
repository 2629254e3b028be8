"""How numbers and names are put into sentences."""

_SPACES = {"descriptor": "the scaled descriptor", "meagraph": "MEAGraph's embedding"}


def counted(n: int, noun: str) -> str:
    """Return ``1 frame``, ``2 frames``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def spelled(space: str) -> str:
    """Return where distances are measured, ``descriptor`` or ``meagraph``, in words."""
    return _SPACES[space]
