"""How time and memory of `mlff-curate prune --keep 0.1` grow with the number of environments.

    growth.py DATA.extxyz [--times 1,3,10] [--noise 0.02]

The larger sets are the given one over and over, each copy with fresh Gaussian noise on the positions (Angstrom).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.io import read, write
from measure import cost_of


def main() -> None:
    """Measure, print a table and the exponent of the growth between the smallest and the largest set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--times", default="1,3,10")
    parser.add_argument("--noise", type=float, default=0.02)
    arguments = parser.parse_args()
    frames = read(arguments.data, ":")
    rng = np.random.default_rng(0)
    ours = str(Path(sys.executable).with_name("mlff-curate"))
    rows = []
    for times in map(int, arguments.times.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "data.extxyz")
            for copy in range(times):
                noisy = []
                for atoms in frames:
                    other = atoms.copy()
                    other.positions += arguments.noise * rng.normal(size=other.positions.shape)
                    noisy.append(other)
                write(path, noisy, append=copy > 0)
            cost = cost_of([ours, "prune", str(path), "--keep", "0.1", "-o", "kept.extxyz"], folder)
            size = sum(map(len, frames)) * times
        rows.append((size, cost.seconds, cost.megabytes))
        print(f"{size} environments: {cost.seconds:.1f} s, {cost.megabytes:.0f} MB", flush=True)
    (n0, t0, _), (n1, t1, _) = rows[0], rows[-1]
    if n1 > n0:
        print(f"exponent of time {np.log(t1 / t0) / np.log(n1 / n0):.2f}")


if __name__ == "__main__":
    main()
