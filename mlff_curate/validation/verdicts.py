"""Numbers against references: pass, fail, or nothing to hold them to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlff_curate.wording import rounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PASS, FAIL, NO_REFERENCE = "pass", "fail", "no reference"
SAME_FACES = 0.05
"""Surface energies nearer than this to each other, as a share, are in no order."""


@dataclass(frozen=True)
class Quantity:
    """One number of a test.

    Attributes
    ----------
    name
        As in ``--expected`` and ``--json``: ``bulk_modulus``.
    title
        As people read it.
    value
        In `unit`; nan: there is none.
    unit
        Empty for a plain number.
    tolerance
        How far it may be from a reference, as a share of that; None: it is shown beside, and judged by nothing.
    above, below
        Bounds that it must keep whatever the reference says.
    why
        Where the bounds come from, or what else is to be said.
    """

    name: str
    title: str
    value: float
    unit: str
    tolerance: float | None = None
    above: float | None = None
    below: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Known:
    """A reference value.

    Attributes
    ----------
    value
        In the quantity's unit.
    source
        ``expected``, ``reference`` or ``data``.
    error
        Standard error; twice that is allowed whatever the tolerance.
    """

    value: float
    source: str
    error: float = 0.0


@dataclass(frozen=True)
class Expected:
    """What the user asks of a quantity: any of a value, how near to a reference, and bounds."""

    value: float | None = None
    tolerance: float | None = None
    above: float | None = None
    below: float | None = None


@dataclass(frozen=True)
class Row:
    """A quantity judged.

    Attributes
    ----------
    test
        Name of the test that it is of.
    name, title, unit
        Of the quantity.
    value
        A number, or text for an order; None: there is none.
    reference
        Likewise; None: there is none.
    source
        Where the reference is from; empty: there is none.
    difference
        Value less reference, as a share of the reference; None: there is none.
    criterion
        What was asked, in words; empty: nothing was.
    verdict
        ``pass``, ``fail`` or ``no reference``.
    note
        Why it failed, or what else is to be said.
    """

    test: str
    name: str
    title: str
    unit: str
    value: float | str | None
    reference: float | str | None
    source: str
    difference: float | None
    criterion: str
    verdict: str
    note: str


def judged(test: str, quantity: Quantity, references: Sequence[Known], expected: Expected | None = None) -> Row:
    """Hold a quantity to its bounds and to the first of its references.

    Parameters
    ----------
    test
        Name of its test.
    quantity
        What was found.
    references
        Best first; none: only the bounds count.
    expected
        The user's wishes: a value comes before all references, a tolerance and bounds take the place of the usual ones.
    """
    wish = expected or Expected()
    if wish.value is not None:
        references = [Known(wish.value, "expected"), *references]
    known = references[0] if references else None
    above = quantity.above if wish.above is None else wish.above
    below = quantity.below if wish.below is None else wish.below
    tolerance = quantity.tolerance if wish.tolerance is None else wish.tolerance
    value, asked, failed = quantity.value, [], []
    if not math.isfinite(value):
        return Row(test, quantity.name, quantity.title, quantity.unit, None, known.value if known else None,
                   known.source if known else "", None, "", FAIL, quantity.why or "it is no number")  # fmt: skip
    for bound, word, holds in (
        (above, "above", above is None or value > above),
        (below, "below", below is None or value < below),
    ):
        if bound is not None:
            asked.append(f"{word} {rounded(bound)}")
            if not holds:
                failed.append(f"not {word} {rounded(bound)}")
    difference = None
    if known is not None:
        scale = abs(known.value)
        difference = (value - known.value) / scale if scale > 0 else None
        if tolerance is not None:
            room = max(tolerance * scale, 2 * known.error)
            share = "two standard errors" if room > tolerance * scale else f"{rounded(100 * tolerance)} %"
            asked.append(f"within {share} of {rounded(known.value, 4)} ({known.source})")
            if abs(value - known.value) > room:
                failed.append(
                    f"{rounded(100 * difference, signed=True)} % off" if difference is not None else "not zero"
                )
    return Row(
        test,
        quantity.name,
        quantity.title,
        quantity.unit,
        value,
        None if known is None else known.value,
        "" if known is None else known.source,
        difference,
        ", ".join(asked),
        FAIL if failed else PASS if asked else NO_REFERENCE,
        "; ".join([*failed, *([quantity.why] if quantity.why else []), *_others(references)]),
    )


def _others(references: Sequence[Known]) -> list[str]:
    """Say what the references after the first have."""
    return [f"{known.source}: {rounded(known.value, 4)}" for known in references[1:]]


def judged_order(test: str, energies: Mapping[str, float], references: Mapping[str, Known]) -> Row:
    """Compare the order of surface energies with that of references for the same faces.

    Parameters
    ----------
    test
        Name of the test.
    energies
        Face to J/m^2.
    references
        Of some or all of them.
    """
    from mlff_curate.validation.surfaces import in_order

    row = {"test": test, "name": "surface_order", "title": "order of surfaces", "unit": ""}
    order = _order(energies)
    both = {face: known.value for face, known in references.items() if face in energies}
    if len(both) < 2:
        return Row(**row, value=order, reference=None, source="", difference=None, criterion="",
                   verdict=NO_REFERENCE, note="")  # fmt: skip
    swapped = in_order(energies, both, SAME_FACES)
    return Row(
        **row,
        value=order,
        reference=_order(both),
        source=next(iter(references.values())).source,
        difference=None,
        criterion=f"the same order, of faces more than {100 * SAME_FACES:g} % apart",
        verdict=FAIL if swapped else PASS,
        note=f"exchanged: {', '.join(swapped)}" if swapped else "",
    )


def _order(energies: Mapping[str, float]) -> str:
    return " < ".join(sorted(energies, key=lambda face: energies[face]))
