"""How numbers are put into sentences."""


def counted(n: int, noun: str) -> str:
    """Return ``1 frame``, ``2 frames``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
