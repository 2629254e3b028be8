"""How far a frame may be displaced and still count as a near copy of itself, so that a learning curve leaves it out.

    near_copies.py DATA.extxyz... [--displacements 0.0005,0.001,0.002,0.003,0.005]

Every frame of several atoms is compared with its own copy under random displacements (Angstrom, per component,
Gaussian), as a learning curve compares a frame with those held out; printed is the share of copies that would not be
trained on.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read, write

from mlff_curate.validation.splitting import CLOSE
from mlff_curate.workflows.survey import SurveyOptions, read_pile, survey


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--displacements", default="0.0005,0.001,0.002,0.003,0.005")
    arguments = parser.parse_args()
    displacements = [float(word) for word in arguments.displacements.split(",")]
    print("| set | frames | " + " | ".join(f"{d:g} A" for d in displacements) + " |")
    print("|---" * (len(displacements) + 2) + "|")
    for path in arguments.data:
        frames = read(path, ":")
        several = [atoms for atoms in frames if len(atoms) > 1]
        found = []
        for displacement in displacements:
            rng = np.random.default_rng(0)
            copies = [atoms.copy() for atoms in several]
            for atoms in copies:
                atoms.positions += displacement * rng.normal(size=atoms.positions.shape)
            found.append(share_found(frames, copies))
        print(f"| {path.stem} | {len(several)} | " + " | ".join(f"{100 * share:.0f} %" for share in found) + " |")


def share_found(frames: list[Atoms], copies: list[Atoms]) -> float:
    """Return the share of copies that are as near to their original as CLOSE, in the spread of the frames.

    The copies are those of all frames of several atoms, in order.
    """
    options = SurveyOptions(meagraph={"epochs": 0})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "all.extxyz")
        write(path, [atoms for part in (frames, copies) for atoms in map(bare, part)])
        vectors = survey(read_pile(path, options), options).described.frame_vectors
    first = np.array([i for i, atoms in enumerate(frames) if len(atoms) > 1])
    own, other = vectors[first].astype(np.float64), vectors[len(frames) :].astype(np.float64)
    around = vectors[: len(frames)] - vectors[: len(frames)].mean(axis=0)
    spread = float(np.mean(np.square(around, dtype=np.float64).sum(axis=1)))
    return float(np.mean(np.square(own - other).sum(axis=1) <= CLOSE**2 * spread))


def bare(atoms: Atoms) -> Atoms:
    """Return the geometry alone."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


if __name__ == "__main__":
    main()
