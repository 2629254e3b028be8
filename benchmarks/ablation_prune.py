"""Prune with parts of MEAGraph taken away, as a command for the judge of pruning.

    ablation_prune.py VARIANT POOL --keep K --seed S -o OUT

VARIANT is one of descriptor (distances in the raw descriptor), untrained, trained, kernels-1, kernels-6, no-pooling
(distances in MEAGraph's embedding). The judge is called as

    python prune_quality.py DATA.extxyz --seeds 3 --methods '' \
        --command 'python benchmarks/ablation_prune.py VARIANT {pool} --keep {keep} --seed {seed} -o {out}'
"""

from __future__ import annotations

import argparse
from typing import Any

from mlff_curate.workflows.prune import PruneOptions
from mlff_curate.workflows.prune_files import prune_files

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "descriptor": ("descriptor", {}),
    "untrained": ("meagraph", {"epochs": 0}),
    "trained": ("meagraph", {}),
    "kernels-1": ("meagraph", {"kernels": 1}),
    "kernels-6": ("meagraph", {"kernels": 6}),
    "no-pooling": ("meagraph", {"training_rate": None}),
}


def main() -> None:
    """Prune."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("pool")
    parser.add_argument("--keep", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", required=True)
    arguments = parser.parse_args()
    embedding, parameters = VARIANTS[arguments.variant]
    keep = float(arguments.keep) if "." in arguments.keep else int(arguments.keep)
    options = PruneOptions(keep=keep, seed=arguments.seed, embedding=embedding, meagraph=parameters)
    prune_files([arguments.pool], arguments.output, options)


if __name__ == "__main__":
    main()
