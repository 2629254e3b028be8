r"""Prune half of a pool, then the other half against what was kept, as a command for the judge of pruning.

    in_two_steps.py POOL --keep K --seed S -o OUT

The halves are drawn at random; the score is to be compared with that of pruning the pool at once. The judge is called
as

    python prune_quality.py DATA.extxyz --methods random \
        --command 'python benchmarks/in_two_steps.py {pool} --keep {keep} --seed {seed} -o {out}'
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from ase.io import read, write

from mlff_curate.workflows.prune import PruneOptions
from mlff_curate.workflows.prune_files import prune_files


def main() -> None:
    """Prune twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool")
    parser.add_argument("--keep", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", required=True)
    arguments = parser.parse_args()
    frames = read(arguments.pool, ":")
    first = np.random.default_rng(arguments.seed).permutation(len(frames))[: len(frames) // 2]
    half = arguments.keep // 2
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, f"{name}.extxyz") for name in ("a", "b", "a_kept", "b_kept")}
        write(paths["a"], [frames[i] for i in sorted(first)])
        write(paths["b"], [frames[i] for i in sorted(set(range(len(frames))) - set(first.tolist()))])
        first_options = PruneOptions(keep=half, seed=arguments.seed)
        prune_files([paths["a"]], paths["a_kept"], first_options)
        options = PruneOptions(keep=arguments.keep - half, seed=arguments.seed, against=[paths["a_kept"]])
        prune_files([paths["b"]], paths["b_kept"], options)
        Path(arguments.output).write_text(paths["a_kept"].read_text() + paths["b_kept"].read_text())


if __name__ == "__main__":
    main()
