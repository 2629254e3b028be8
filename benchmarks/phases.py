"""Compare the clusters that `prune` makes with crystal structure.

    phases.py TA.extxyz JUDGE.py [--seeds 5]

JUDGE.py has a function `truth(frames)` that tells the kind of every environment of the thermally displaced A15, bcc
and fcc frames. Prints the adjusted Rand index for link lengths of 6 to 25 nearest-neighbour distances, with MEAGraph
as `prune` trains it, with the same encoder untrained, and on the raw descriptor.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np
from ase.io import read
from sklearn.metrics import adjusted_rand_score

from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.descriptors.scaling import Scaling
from mlff_curate.graphs.similarity import components, nearest_anchors
from mlff_curate.meagraph.model import MEAGraph
from mlff_curate.workflows.prune import SMALL

REACHES = (3, 4, 6, 8, 10, 15, 20, 25)


def raw_clusters(X: np.ndarray, species: np.ndarray, reach: float) -> np.ndarray:
    """Link environments closer than so many median nearest-neighbour distances."""
    near = nearest_anchors(X, species, X, species, 31)
    kept = near.distance <= reach * np.median(near.distance[:, 1])
    return components(np.column_stack([np.repeat(np.arange(len(X)), kept.sum(axis=1)), near.index[kept]]), len(X))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("judge", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    spec = importlib.util.spec_from_file_location("judge", arguments.judge)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{arguments.judge} cannot be loaded")
    judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(judge)
    frames = [f for f in read(arguments.data, ":") if f.info["config_type"].startswith("Displaced")]
    kinds = judge.truth(frames)
    raw = PowerSpectrum([frames[0].numbers[0]]).compute(frames)
    X = Scaling.fit(raw).transform(raw)
    species = np.concatenate([f.numbers for f in frames])
    print("reach           " + " ".join(f"{r:>7d}" for r in REACHES))
    print(
        "raw descriptor  "
        + " ".join(f"{adjusted_rand_score(kinds, raw_clusters(X, species, r)):7.3f}" for r in REACHES)
    )
    for name, epochs in (("untrained", 0), ("trained", SMALL["epochs"])):
        for seed in range(arguments.seeds):
            scores = []
            for reach in REACHES:
                model = MEAGraph(**{**SMALL, "epochs": epochs}, rate=float(np.exp(-reach)), seed=seed).fit(X, species)
                cluster = model.clusters(model.embed(X, species), species)
                lone = cluster < 0
                cluster[lone] = cluster.max() + 1 + np.arange(lone.sum())
                scores.append(adjusted_rand_score(kinds, cluster))
            print(f"{name:9s} seed {seed} " + " ".join(f"{score:7.3f}" for score in scores), flush=True)


if __name__ == "__main__":
    main()
