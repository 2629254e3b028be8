"""How time and memory of a command grow with the number of environments.

    growth.py DATA.extxyz [--times 1,3,10] [--noise 0.02] [--command 'prune {data} --keep 0.1 -o kept.extxyz']

The larger sets are the given one over and over, each copy with fresh Gaussian noise on the positions (Angstrom); of a
set smaller than the given one, frames are drawn at random.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.io import read, write
from measure import cost_of

if TYPE_CHECKING:
    from ase import Atoms


def grow(path: Path, frames: list[Atoms], times: float, noise: float) -> int:
    """Write so many times the frames, and return the number of environments."""
    rng = np.random.default_rng(0)
    written = 0
    for _ in range(max(1, round(times))):
        rows = np.arange(len(frames)) if times >= 1 else rng.permutation(len(frames))[: round(times * len(frames))]
        noisy = []
        for row in np.sort(rows):
            other = frames[row].copy()
            other.positions += noise * rng.normal(size=other.positions.shape)
            noisy.append(other)
        write(path, noisy, append=written > 0)
        written += sum(map(len, noisy))
    return written


def main() -> None:
    """Measure, print a table and the exponent of the growth between the smallest and the largest set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--times", default="1,3,10")
    parser.add_argument("--noise", type=float, default=0.02)
    parser.add_argument("--command", default="prune {data} --keep 0.1 -o kept.extxyz")
    arguments = parser.parse_args()
    frames = read(arguments.data, ":")
    ours = str(Path(sys.executable).with_name("mlff-curate"))
    rows = []
    for times in map(float, arguments.times.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "data.extxyz")
            size = grow(path, frames, times, arguments.noise)
            command = [word.format(data=path) for word in shlex.split(arguments.command)]
            cost = cost_of([ours, *command], folder)
        rows.append((size, cost.seconds))
        print(f"{size} environments: {cost.seconds:.1f} s, {cost.megabytes:.0f} MB", flush=True)
    (n0, t0), (n1, t1) = rows[0], rows[-1]
    if n1 > n0:
        print(f"exponent of time {np.log(t1 / t0) / np.log(n1 / n0):.2f}")


if __name__ == "__main__":
    main()
