"""How the search of `check` for copies grows with the number of frames.

    copies_growth.py [DATA.extxyz...] [--frames 400,2000,10000] [--displacements 0.005,0.02,0.1] [--atoms 54]

Frames are a bcc crystal on one fixed lattice under random displacements (Angstrom, per component, Gaussian), or those
of a file. Printed are CPU seconds, those of the invariants alone, and how many pairs of frames were laid over
each other.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.build import bulk

from mlff_curate.checks import copies
from mlff_curate.checks.invariants import invariants
from mlff_curate.data.frames import geometry
from mlff_curate.data.reading import read_frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms


def trajectory(count: int, displacement: float, atoms: int) -> list[Atoms]:
    """Return frames of a cold solid; the number of atoms is that of the cube nearest to what was asked for."""
    rng = np.random.default_rng(0)
    crystal = bulk("Ta", "bcc", a=3.3, cubic=True).repeat(round((atoms / 2) ** (1 / 3)))
    frames = []
    for _ in range(count):
        frame = crystal.copy()
        frame.positions += rng.normal(0, displacement, frame.positions.shape)
        frames.append(frame)
    return frames


def measure(name: str, frames: list[Atoms]) -> None:
    """Print a row of the table."""
    start = time.process_time()
    for _ in invariants(frames):
        pass
    middle = time.process_time()
    pairs: Counter[str] = Counter()
    overlays = {kind: getattr(copies, kind) for kind in ("shift_between", "motion_between")}
    for kind, overlay in overlays.items():
        setattr(copies, kind, _counted(kind, overlay, pairs))
    found = copies.copies_within(frames)
    for kind, overlay in overlays.items():
        setattr(copies, kind, overlay)
    end = time.process_time()
    print(
        f"| {name} | {len(frames)} | {middle - start:.1f} | {end - middle:.1f} | {pairs['shift_between']} "
        f"| {pairs['motion_between']} | {len(found)} |",
        flush=True,
    )


def _counted(kind: str, overlay: Callable[..., Any], pairs: Counter[str]) -> Callable[..., Any]:
    def counted(*structures: Any) -> Any:
        pairs[kind] += 1
        return overlay(*structures)

    return counted


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--frames", default="400,2000,10000")
    parser.add_argument("--displacements", default="0.005,0.02,0.1")
    parser.add_argument("--atoms", type=int, default=54)
    arguments = parser.parse_args()
    print("| frames of | frames | CPU s, invariants | CPU s, search with them | pairs as copies | as twins | found |")
    print("|---" * 7 + "|")
    for path in arguments.data:
        measure(path.stem, [geometry(frame.atoms) for frame in read_frames(path)])
    for displacement in map(float, arguments.displacements.split(",")):
        for count in map(int, arguments.frames.split(",")):
            measure(f"{displacement:g} A", trajectory(count, displacement, arguments.atoms))


if __name__ == "__main__":
    main()
