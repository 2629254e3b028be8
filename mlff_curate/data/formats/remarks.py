"""What several readers remark on, in one wording."""

from __future__ import annotations

from mlff_curate.data.frames import Remark


def unknown_label(key: str) -> Remark:
    """Return the remark on a value that looks like a label and that nobody knows how to use."""
    return Remark(
        "label-unknown",
        "warning",
        key,
        "looks like a label, and what it holds is not known: it is kept under this name and not used",
        "name it with --energy-key, --forces-key or --stress-key if it is the label",
    )


def assumed_units(key: str | None, message: str, fix: str, *, may_say: bool) -> Remark:
    """Return the remark on units that a file does not say.

    Parameters
    ----------
    key
        Label concerned, None for all.
    message, fix
        What was assumed, and what to do.
    may_say
        The format has a place for the unit, and the file leaves it empty.
    """
    return Remark("units-assumed", "warning" if may_say else "note", key, message, fix)
