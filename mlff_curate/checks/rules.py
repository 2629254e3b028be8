"""The rules that findings name: how grave each is, and what it means in one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlff_curate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlff_curate.checks.finding import Severity


@dataclass(frozen=True)
class Rule:
    """What a check can find.

    Attributes
    ----------
    severities
        Those that its findings may have, the gravest first.
    meaning
        In one line, for pages and tables.
    """

    severities: tuple[Severity, ...]
    meaning: str


REMARKS: dict[str, Rule] = {
    "atoms-sorted": Rule(("note",), "the atoms are sorted by id: the file has another order"),
    "cell-missing": Rule(("note",), "a frame has no cell and does not say that it is not periodic"),
    "element-default": Rule(("warning",), "the elements are those that LAMMPS writes where it was told none"),
    "element-ignored": Rule(("note",), "the elements of the file give way to --type-map"),
    "elements-inferred": Rule(("note",), "the elements are told from masses or comments"),
    "energy-correction": Rule(("note",), "the file has a correction that is not part of the energy"),
    "energy-missing": Rule(("warning",), "the log has no energy of this frame"),
    "files-unread": Rule(("note",), "a folder holds files that are not read, as it is taken for one format"),
    "file-truncated": Rule(("warning",), "the file does not end as its program ends it"),
    "ids-missing": Rule(("note",), "nothing tells which atom is which from frame to frame"),
    "ids-with-gaps": Rule(("warning",), "some atoms may not have been written"),
    "label-column": Rule(("warning",), "a name is a column and a key of the comment line"),
    "labels-all-zero": Rule(("warning",), "all labels of a frame are zero, which a format writes for none"),
    "ml-predicted": Rule(("warning",), "the labels were predicted by a force field and are not taken"),
    "option-unused": Rule(("note",), "an option means nothing to this format"),
    "pbc-assumed": Rule(("warning",), "the file does not tell its periodic directions"),
    "pressure-not-taken": Rule(("note",), "a pressure with its kinetic part is no label"),
    "scf-missing": Rule(("warning",), "the frame has no electronic steps"),
    "scf-unconverged": Rule(("error",), "the electronic steps did not converge"),
    "section-ignored": Rule(("note",), "a section of the file is left aside"),
    "stress-asymmetric": Rule(("error", "warning"), "a stress differs from its transpose"),
    "style-assumed": Rule(("note",), "the atom style is told from the columns"),
    "type-map-ignored": Rule(("warning", "note"), "the file tells its elements: --type-map is left aside"),
    "type-map-surplus": Rule(("note",), "--type-map has more types than the file"),
    "units-assumed": Rule(("warning", "note"), "the file does not tell its units"),
    "units-ignored": Rule(("warning",), "the file tells its units: --units is left aside"),
}
"""What readers remark on frames and files."""

RULES: dict[str, Rule] = {
    "file-unreadable": Rule(("error",), "a file, or the rest of it from some frame on, cannot be read"),
    "frame-unreadable": Rule(("error",), "one frame cannot be read or is no frame; those after it are read"),
    "file-open-end": Rule(("note",), "a file ends within a line: its last number may lack digits"),
    "label-nan": Rule(("error", "warning"), "a label holds NaN or infinity"),
    "label-shape": Rule(("error", "warning"), "a label is no number, has the wrong shape or no symmetry"),
    "label-cell": Rule(("warning",), "a virial stands in a frame without a cell, so that it makes no stress"),
    "label-ambiguous": Rule(("error", "warning"), "several labels could be the one that is meant, and differ"),
    "label-missing": Rule(("warning", "note"), "a label is missing in some frames, or (note) in all"),
    "label-names": Rule(("warning", "note"), "a label goes by several names, or comes and goes"),
    "label-predicted": Rule(("warning", "note"), "what looks like a label is a model's prediction"),
    "label-unknown": Rule(("warning", "note"), "a name looks like a label and is used for nothing"),
    "label-virial-stress": Rule(("warning",), "stress and virial of a frame disagree"),
    "label-energies": Rule(("warning",), "energy and free energy of a frame are in different units"),
    "label-precision": Rule(("note",), "some labels have fewer digits than the others"),
    "cell-left-handed": Rule(("warning",), "the cell vectors form a left-handed set"),
    "cell-flat": Rule(("warning",), "the cell is nearly flat"),
    "cell-skewed": Rule(("note",), "two cell vectors are nearly parallel"),
    "pbc-mixed": Rule(("warning", "note"), "frames are periodic in different directions"),
    "volume-absurd": Rule(("warning",), "a volume per atom that cannot be meant"),
    "atoms-overlap": Rule(("error",), "two atoms are at one place"),
    "contact-short": Rule(("error", "warning", "note"), "two atoms are nearer than chemistry allows"),
    "atoms-far": Rule(("note",), "atoms without any neighbour"),
    "duplicate-exact": Rule(("warning",), "a frame holds the structure of an earlier one, with the same labels"),
    "duplicate-near": Rule(("note",), "a frame holds the structure of an earlier one but for small displacements"),
    "duplicate-twin": Rule(("note",), "a frame holds the structure of an earlier one, turned or as a supercell"),
    "duplicate-conflict": Rule(("warning",), "frames of one structure have different labels"),
    "duplicate-train-test": Rule(("warning",), "a test frame holds a structure of the training set"),
    "energy-unit": Rule(("error", "warning"), "energies are in another unit, or per atom"),
    "energy-sign": Rule(("error", "warning"), "energies have the opposite sign"),
    "energy-zero": Rule(("error", "warning"), "energies are exactly zero, and cannot be"),
    "energy-reference": Rule(("warning",), "energies of a group or of some frames are counted from another level"),
    "energy-outlier": Rule(("error", "warning"), "an energy is not what frames that look alike have"),
    "isolated-atom-energy": Rule(("warning",), "the energy of a free atom does not go with the others"),
    "force-unit": Rule(("error", "warning"), "forces are in another unit"),
    "force-sign": Rule(("error", "warning"), "forces point uphill"),
    "force-zero": Rule(("error", "warning"), "forces are exactly zero, and cannot be"),
    "force-balance": Rule(("warning", "note"), "the forces of a frame do not sum to zero"),
    "force-outlier": Rule(("error", "warning"), "forces are not what frames that look alike have"),
    "stress-unit": Rule(("error", "warning"), "stresses are in another unit"),
    "stress-sign": Rule(("error", "warning"), "stresses have the opposite sign"),
    "stress-virial": Rule(("error", "warning"), "a virial stands for a stress, or the volume is in it"),
    "stress-order": Rule(("error", "warning"), "the components of stresses stand in another order"),
    "stress-zero": Rule(("error", "warning"), "stresses are exactly zero, and cannot be"),
    "stress-outlier": Rule(("error", "warning"), "a stress is not what frames that look alike have"),
    **REMARKS,
}
"""By name, in the order of the tables."""


def require_rules(names: Iterable[str], option: str) -> None:
    """Refuse a rule that does not exist.

    Raises
    ------
    UsageError
        The message lists the rules there are.
    """
    for name in names:
        if name not in RULES:
            raise UsageError(f"{name!r} is no rule; available: {', '.join(sorted(RULES))}", key=option)
