"""Which labels the frames have, under which names: a check that is silent may have had nothing to go by."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlff_curate.data.labels import PREDICTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlff_curate.checks.frame import CheckedFrame

KINDS = {
    "energy": "eV",
    "forces": "eV/Angstrom",
    "stress": "eV/Angstrom^3, positive under tension",
    "energies": "eV",
    "magmoms": "Bohr magnetons",
}
"""Kind of label -> unit that its values are read in."""
_TITLES = {"energies": "energy of each atom", "magmoms": "magnetic moments"}
UNUSED = "not used"


@dataclass(frozen=True)
class LabelCount:
    """One name of one kind of label.

    Attributes
    ----------
    kind
        Of ``KINDS``, or ``UNUSED`` for names that look like labels and are under no name that is known, and for
        predictions.
    key
        The name.
    frames
        Number of frames whose label of this kind is read from it.
    said
        Unit and what else is known of it.
    """

    kind: str
    key: str
    frames: int
    said: str

    @property
    def title(self) -> str:
        """The kind in words."""
        return _TITLES.get(self.kind, self.kind)


def label_census(frames: Iterable[CheckedFrame], origins: Mapping[str, str] | None = None) -> tuple[LabelCount, ...]:
    """Count the labels of frames by kind and name, the most frequent name of a kind first.

    Parameters
    ----------
    frames
        All.
    origins
        Name -> where its values come from, where a reader said so.
    """
    counts: Counter[tuple[str, str]] = Counter()
    said: dict[tuple[str, str], str] = {}
    for frame in frames:
        labels = frame.labels
        for kind, unit in KINDS.items():
            key = getattr(labels, f"{kind}_key")
            if key is None:
                continue
            counts[kind, key] += 1
            words = [unit]
            if kind == "energy" and labels.energy_kind:
                words.append(f"the energy {labels.energy_kind}" if " " in labels.energy_kind else "the free energy")
            if kind == "stress" and labels.from_virial:
                words = ["a virial in eV, taken as a stress with the cell's volume"]
            if key in PREDICTED:
                words.append("a model's prediction")
            if origins and key in origins:
                words.append(origins[key])
            said.setdefault((kind, key), "; ".join(words))
        counts.update((UNUSED, key) for key in (*labels.unknown, *labels.predicted))
    order = [*KINDS, UNUSED]
    ranked = sorted(counts, key=lambda item: (order.index(item[0]), -counts[item], item[1]))
    return tuple(LabelCount(kind, key, counts[kind, key], said.get((kind, key), "")) for kind, key in ranked)


def census_text(census: Iterable[LabelCount], frames: int) -> str:
    """Return a census in a line: ``energy from REF_energy (363 of 363 frames) ...; no stress``."""
    census = list(census)
    said = []
    for kind in ("energy", "forces", "stress"):
        names = [f"{item.key} ({item.frames})" for item in census if item.kind == kind]
        said.append(f"{kind} from {', '.join(names)}" if names else f"no {kind}")
    more = [f"{item.title} from {item.key} ({item.frames})" for item in census if item.kind in _TITLES]
    unused = [f"{item.key} ({item.frames})" for item in census if item.kind == UNUSED]
    text = "; ".join([*said, *more])
    return f"labels, in how many of {frames} frames: {text}" + (
        f"; not used, though they look like labels: {', '.join(unused)}" if unused else ""
    )
