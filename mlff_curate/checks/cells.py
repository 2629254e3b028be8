"""Cells and volumes that programs stumble over or that cannot be meant."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import reduce
from itertools import pairwise
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from ase.data import covalent_radii

from mlff_curate.checks.finding import Finding
from mlff_curate.data.frames import is_isolated_atom
from mlff_curate.wording import counted, rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlff_curate.checks.finding import Severity
    from mlff_curate.checks.frame import CheckedFrame

_FLAT = 0.02
"""Volume over the product of the lengths: a primitive cell of fcc has 0.71, one with all angles at 10 degrees 0.026."""
_SHARPEST = 30.0
"""Degrees, from 0 or from 180: cells of this kind have an equivalent one that is closer to a brick."""
_DENSEST = 6.0
"""Volume of the covalent spheres over that of the frame. Tantalum at 3 TPa has 3.9, caesium at 200 GPa 3."""
_VACUUM = 4.0
"""Gaps wider than this many covalent radii of the largest atom are vacuum."""
_FACTOR = 3.0
"""From the usual volume per atom. A length in Bohr that is taken for one in Angstrom makes 6.7."""
_GAP = 2.0
"""Factor between neighbouring volumes that parts frames from the others: a series of compressions has no such step."""
_FEWEST = 10
"""Frames of a composition that say what is usual."""


def cells(frames: Sequence[CheckedFrame]) -> list[Finding]:
    """Find cells that are left-handed (``cell-left-handed``), flat (``cell-flat``) or skewed (``cell-skewed``).

    Also directions that are periodic in some frames only (``pbc-mixed``) and volumes that cannot be meant
    (``volume-absurd``), judged by the atoms' covalent radii and by the other frames of the same composition. Vacuum
    around slabs, wires and molecules is no fault and does not count as volume.

    Returns
    -------
    list of Finding
        Frame by frame, then file by file.
    """
    volumes = np.array([volume_per_atom(frame.atoms) for frame in frames])
    odd = _far_from_the_others(frames, volumes)
    found = []
    for place, frame in enumerate(frames):
        found += _shape(frame)
        found += _density(frame, float(volumes[place]), odd.get(place))
    return found + _mixed(frames, volumes)


def volume_per_atom(atoms: Atoms) -> float:
    """Return the volume per atom of a frame, vacuum left out, Angstrom^3; NaN where a cell vector is missing."""
    whole = float(abs(np.linalg.det(atoms.cell.array)))
    if whole <= 0:
        return float("nan")
    wide = _VACUUM * float(covalent_radii[atoms.numbers].max())
    heights = whole / np.linalg.norm(np.cross(atoms.cell.array[[1, 2, 0]], atoms.cell.array[[2, 0, 1]]), axis=1)
    filled = 1.0
    if (heights > wide).any():
        places = np.sort(atoms.positions @ np.linalg.inv(atoms.cell.array) % 1.0, axis=0)
        gaps = np.diff(places, axis=0, append=places[:1] + 1.0).max(axis=0)
        empty = gaps * heights > wide
        # what remains on both sides of a gap is half a wide gap: atoms have a size
        filled = float(np.prod(np.where(empty, 1.0 - gaps + 0.5 * wide / heights, 1.0)))
    return whole * filled / len(atoms)


def _shape(frame: CheckedFrame) -> list[Finding]:
    cell, pbc = frame.atoms.cell.array, frame.atoms.pbc
    lengths = np.linalg.norm(cell, axis=1)
    if not pbc.any() or lengths.min() <= 0:
        return []
    found = []
    volume = float(np.linalg.det(cell))
    if volume < 0:
        message = "the cell vectors form a left-handed set: LAMMPS and codes built on it refuse or mirror such a cell"
        fix = "swap two cell vectors (the atoms stay where they are): this is the same crystal"
        found.append(_finding(frame, "cell-left-handed", "warning", volume, message, fix))
    span = abs(volume) / float(lengths.prod())
    sharpest = _sharpest_angle(cell / lengths[:, None])
    fix = "give the crystal by a reduced cell (ase.geometry.minkowski_reduce)"
    if span < _FLAT:
        message = f"the cell is flat: its volume is {rounded(span, 2)} of that of a brick with the same edges"
        found.append(_finding(frame, "cell-flat", "warning", span, message, fix))
    elif sharpest < _SHARPEST:
        message = (
            f"two cell vectors are {rounded(sharpest)} degrees from parallel: sound, but slow or refused in some codes"
        )
        found.append(_finding(frame, "cell-skewed", "note", sharpest, message, fix))
    return found


def _sharpest_angle(units: np.ndarray) -> float:
    cosines = np.abs([units[0] @ units[1], units[0] @ units[2], units[1] @ units[2]])
    return float(np.degrees(np.arccos(np.clip(cosines.max(), 0.0, 1.0))))


def _density(frame: CheckedFrame, volume: float, usual: float | None) -> list[Finding]:
    if not frame.atoms.pbc.all() or not np.isfinite(volume):
        return []
    filled = float(np.mean(4.0 / 3.0 * np.pi * covalent_radii[frame.atoms.numbers] ** 3)) / volume
    fix = "check the unit of the cell and of the positions (Angstrom, not Bohr or nm), or drop the frame"
    if filled > _DENSEST:
        message = (
            f"{rounded(volume)} Angstrom^3 per atom: the covalent spheres would fill the cell "
            f"{rounded(filled, 2)} times (tantalum at 3 TPa: 3.9)"
        )
        return [_finding(frame, "volume-absurd", "warning", volume, message, fix)]
    if usual is None:
        return []
    message = (
        f"{rounded(volume)} Angstrom^3 per atom, {rounded(volume / usual, 2)} times what is usual for this composition "
        f"here ({rounded(usual)}), and nothing in between"
    )
    return [_finding(frame, "volume-absurd", "warning", volume, message, fix)]


def _far_from_the_others(frames: Sequence[CheckedFrame], volumes: np.ndarray) -> dict[int, float]:
    """Return the places of frames whose volume is apart from that of most of their composition, and what is usual."""
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, frame in enumerate(frames):
        if frame.atoms.pbc.all() and np.isfinite(volumes[place]):
            groups[_composition(frame.atoms)].append(place)
    odd: dict[int, float] = {}
    for places in groups.values():
        if len(places) < _FEWEST:
            continue
        order = np.array(places)[np.argsort(volumes[places], kind="stable")]
        steps = np.flatnonzero(volumes[order[1:]] > _GAP * volumes[order[:-1]]) + 1
        bounds = [0, *steps.tolist(), len(order)]
        parts = [order[a:b] for a, b in pairwise(bounds)]
        main = max(parts, key=len)
        if 2 * len(main) <= len(order):
            continue
        usual = float(np.median(volumes[main]))
        for place in (int(p) for part in parts if part is not main for p in part):
            if max(volumes[place] / usual, usual / volumes[place]) > _FACTOR:
                odd[place] = usual
    return odd


def _mixed(frames: Sequence[CheckedFrame], volumes: np.ndarray) -> list[Finding]:
    """Tell of files whose frames are periodic in different directions."""
    files: dict[str, list[int]] = defaultdict(list)
    for place, frame in enumerate(frames):
        if not is_isolated_atom(frame.atoms):
            files[frame.file].append(place)
    found = []
    for file, places in files.items():
        counts = Counter(_directions(frames[place].atoms) for place in places)
        if len(counts) < 2:
            continue
        crystals = [p for p in places if frames[p].atoms.pbc.all()]
        widest = {_composition(frames[p].atoms): 0.0 for p in crystals}
        for p in crystals:
            key = _composition(frames[p].atoms)
            widest[key] = max(widest[key], float(volumes[p]))
        lost = [
            p
            for p in places
            if not frames[p].atoms.pbc.any()
            and abs(np.linalg.det(frames[p].atoms.cell.array)) / len(frames[p].atoms)
            <= widest.get(_composition(frames[p].atoms), 0.0)
            and np.isfinite(volumes[p])
        ]
        said = ", ".join(f"{pbc} in {counted(n, 'frame')}" for pbc, n in sorted(counts.items()))
        message = f"periodic directions differ from frame to frame ({said})"
        if lost:
            index = [str(frames[p].index) for p in lost[:5]]
            message += (
                f"; {counted(len(lost), 'frame')} (first: {', '.join(index)}) fill their cells as the crystals do, but "
                "have no periodic direction"
            )
        fix = "set pbc where it was lost" if lost else "set pbc, unless clusters, slabs and crystals are meant"
        frame_index = frames[lost[0]].index if len(lost) == 1 else None
        severity: Severity = "warning" if lost else "note"
        found.append(Finding(file, frame_index, "pbc", "pbc-mixed", severity, len(counts), message, fix))
    return found


def _directions(atoms: Atoms) -> str:
    return " ".join("FT"[int(periodic)] for periodic in atoms.pbc)


def _composition(atoms: Atoms) -> tuple[object, ...]:
    numbers, counts = np.unique(atoms.numbers, return_counts=True)
    common = reduce(gcd, counts.tolist())
    return tuple(zip(numbers.tolist(), (counts // common).tolist(), strict=True))


def _finding(frame: CheckedFrame, rule: str, severity: Severity, value: float, message: str, fix: str) -> Finding:
    return Finding(frame.file, frame.index, "cell", rule, severity, value, message, fix)
