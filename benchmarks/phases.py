"""Compare clusters of environments with crystal structure, and tell what each part of MEAGraph is worth.

    phases.py [--seeds 3] [--sets tuned,held-out] [--data TA.extxyz --judge JUDGE.py] [--published]

Sets of thermally displaced crystals of known phases, made on the spot: those on which settings were chosen ("tuned"),
and those of other elements, phases and noise that were run when all settings were fixed ("held-out"). With --data and
--judge also the displaced Ta frames; JUDGE.py has a function `truth(frames)` that tells the kind of every environment.

Prints the adjusted Rand index, averaged over seeds with its lowest value, of

- the raw descriptor with links of the best of many lengths, with hindsight;
- HDBSCAN on the raw descriptor, best of four sizes with hindsight, and GMM told the number of kinds;
- noise units alone, without encoder, links chosen from the data;
- MEAGraph untrained and trained, with 1, 3 (default) and 6 kernels, and trained without edge pooling;
- with --published, the published model at the best of nine rates with hindsight, untrained and trained.

An environment in no cluster counts as a cluster of one.
"""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read
from ase.spacegroup import crystal
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from mlff_curate import MEAGraph
from mlff_curate.descriptors.registry import make_descriptor
from mlff_curate.descriptors.scaling import Scaling
from mlff_curate.graphs.similarity import nearest_anchors
from mlff_curate.meagraph.linking import link_length, linked_clusters
from mlff_curate.meagraph.noise import NoiseUnits

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = (0.5, 1, 1.5, 2, 3, 4, 6, 8, 10, 15, 20)
"""In median distances of nearest neighbours."""
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Material:
    """Environments with known kinds: scaled descriptors (N, D), central elements (N,), kinds (N,)."""

    name: str
    X: np.ndarray
    species: np.ndarray
    kinds: np.ndarray


def a15(element: str, volume: float) -> Atoms:
    """Return the A15 structure, 8 atoms."""
    cell = [(8 * volume) ** (1 / 3)] * 3 + [90] * 3
    return crystal([element] * 2, [(0, 0, 0), (0.25, 0, 0.5)], spacegroup=223, cellpar=cell)


def perfect(element: str, phase: str, volume: float) -> Atoms:
    """Return a supercell of an element with so much volume per atom (cubic Angstrom)."""
    hcp = (volume * np.sqrt(2)) ** (1 / 3)
    makers: dict[str, Callable[[], Atoms]] = {
        "bcc": lambda: bulk(element, "bcc", a=(2 * volume) ** (1 / 3), cubic=True) * (3, 3, 3),
        "fcc": lambda: bulk(element, "fcc", a=(4 * volume) ** (1 / 3), cubic=True) * (2, 2, 2),
        "hcp": lambda: bulk(element, "hcp", a=hcp, c=1.633 * hcp, orthorhombic=True) * (3, 2, 2),
        "A15": lambda: a15(element, volume) * (2, 2, 2),
        "sc": lambda: bulk(element, "sc", a=(volume * 1.1) ** (1 / 3)) * (4, 4, 4),
        "diamond": lambda: bulk(element, "diamond", a=(8 * volume * 1.3) ** (1 / 3), cubic=True) * (2, 2, 2),
        "beta-tin": lambda: (
            crystal(
                [element],
                [(0, 0.75, 0.125)],
                spacegroup=141,
                cellpar=[(4 * volume / 0.55) ** (1 / 3)] * 2 + [0.55 * (4 * volume / 0.55) ** (1 / 3)] + [90] * 3,
            )
            * (3, 3, 4)
        ),
    }
    return makers[phase]()


def sites(phase: str, atoms: Atoms) -> list[str]:
    """Return the kind of each site: A15 has two."""
    if phase != "A15":
        return [f"{phase} {symbol}" for symbol in atoms.get_chemical_symbols()]
    within = (2 * atoms.get_scaled_positions()) % 1.0  # in the cubic cell, of which there are 2 x 2 x 2
    corner = np.minimum(within, 1 - within).max(axis=1) < 1e-3
    centre = np.abs(within - 0.5).max(axis=1) < 1e-3
    return ["A15 Z12" if z12 else "A15 Z14" for z12 in corner | centre]


def displaced(name: str, cells: dict[str, tuple[Atoms, int]], amplitudes: tuple[float, ...], seed: int) -> Material:
    """Displace each of the cells so many times, by fractions of the nearest-neighbour distance, and describe them."""
    rng = np.random.default_rng(seed)
    frames, kinds = [], []
    for phase, (atoms, count) in cells.items():
        near = np.sort(atoms.get_all_distances(mic=True), axis=1)[:, 1].min()
        for i in range(count):
            frame = atoms.copy()
            frame.positions += rng.normal(0, amplitudes[i % len(amplitudes)] * near / np.sqrt(3), frame.positions.shape)
            frames.append(frame)
            kinds += sites(phase, atoms)
    return described(name, frames, np.array(kinds))


def described(name: str, frames: list[Atoms], kinds: np.ndarray) -> Material:
    """Return the environments of frames."""
    elements = sorted({int(z) for frame in frames for z in frame.numbers})
    raw = make_descriptor("power-spectrum", elements).compute(frames)
    return Material(name, Scaling.fit(raw).transform(raw), np.concatenate([f.numbers for f in frames]), kinds)


def tuned() -> list[Material]:
    """Return the sets on which settings were chosen."""

    def one(element: str, volume: float, counts: dict[str, int], seed: int, hot: bool = False) -> Material:
        cells = {phase: (perfect(element, phase, volume), count) for phase, count in counts.items()}
        return displaced(
            element + (" hot" if hot else ""), cells, (0.05, 0.1, 0.14) if hot else (0.03, 0.06, 0.09), seed
        )

    b2 = bulk("NiAl", "cesiumchloride", a=2.88) * (3, 3, 3)
    face = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    l12 = Atoms("AlNi3", scaled_positions=face, cell=[3.57] * 3, pbc=True) * (2, 2, 2)
    l10 = Atoms("Ni2Al2", scaled_positions=face, cell=[3.7] * 3, pbc=True) * (2, 2, 2)
    return [
        one("W", 15.9, {"bcc": 9, "fcc": 9, "A15": 9}, 1),
        one("Cu", 11.8, {"fcc": 9, "bcc": 6, "hcp": 6}, 2),
        one("Cu", 11.8, {"fcc": 9, "bcc": 9, "sc": 6}, 3, hot=True),
        one("Si", 15.5, {"diamond": 9, "sc": 6, "bcc": 3, "fcc": 3}, 4),
        one("Mo", 15.6, {"bcc": 20, "fcc": 3, "A15": 1}, 5),
        one("Mg", 23.0, {"hcp": 9, "bcc": 6, "fcc": 6}, 6),
        one("Zr", 23.3, {"hcp": 9, "bcc": 9}, 7),
        displaced("NiAl", {"B2": (b2, 8), "L12": (l12, 8), "L10": (l10, 8)}, (0.03, 0.06, 0.09), 9),
    ]


def held_out() -> list[Material]:
    """Return sets that were run when all settings were fixed."""

    def one(element: str, volume: float, counts: dict[str, int], amplitudes: tuple[float, ...], seed: int) -> Material:
        cells = {phase: (perfect(element, phase, volume), count) for phase, count in counts.items()}
        return displaced(element, cells, amplitudes, seed)

    b1 = bulk("MgO", "rocksalt", a=4.21, cubic=True) * (2, 2, 2)
    b2 = bulk("MgO", "cesiumchloride", a=2.6) * (3, 3, 3)
    cuau = Atoms(
        "CuAu3", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], cell=[3.98] * 3, pbc=True
    )
    return [
        one("Al", 16.6, {"fcc": 12, "bcc": 4, "A15": 4}, (0.04, 0.08), 11),
        one("Ti", 17.6, {"hcp": 10, "bcc": 10, "fcc": 2}, (0.05, 0.1), 12),
        one("V", 13.9, {"bcc": 30, "A15": 2}, (0.07,), 13),
        one("Ge", 22.6, {"diamond": 8, "beta-tin": 4, "sc": 4}, (0.03, 0.05, 0.07), 14),
        one("Pb", 30.3, {"fcc": 10, "hcp": 10, "bcc": 10}, (0.06, 0.1), 15),
        one("Sn", 27.0, {"beta-tin": 6, "diamond": 6, "fcc": 6}, (0.04, 0.08), 16),
        displaced("MgO", {"B1": (b1, 10), "B2": (b2, 10)}, (0.04, 0.08), 17),
        displaced(
            "CuAu", {"L12": (cuau * (3, 3, 3), 4), "fcc Au": (bulk("Au", cubic=True) * (3, 3, 3), 4)}, (0.05,), 18
        ),
    ]


def displaced_ta(data: Path, judge: Path) -> Material:
    """Return the displaced frames of the Ta set with the kinds that the judge knows."""
    spec = importlib.util.spec_from_file_location("judge", judge)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{judge} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    frames = [f for f in read(data, ":") if f.info["config_type"].startswith("Displaced")]
    return described("Ta (DFT set)", frames, module.truth(frames))


def score(kinds: np.ndarray, cluster: np.ndarray) -> float:
    """Return the adjusted Rand index; an environment in no cluster is one of its own."""
    cluster = cluster.copy()
    lone = cluster < 0
    cluster[lone] = cluster.max(initial=0) + 1 + np.arange(lone.sum())
    return float(adjusted_rand_score(kinds, cluster))


def raw(material: Material) -> float:
    """Score links in the raw descriptor at the best of many lengths."""
    X, species = material.X, material.species
    nearest = nearest_anchors(X, species, X, species, 2).distance[:, 1]
    unit = float(np.median(nearest[np.isfinite(nearest)]))
    return max(score(material.kinds, linked_clusters(X, species, unit * length)) for length in LENGTHS)


def hdbscan(material: Material) -> float:
    """Score HDBSCAN at the best of four sizes."""
    found = (HDBSCAN(min_cluster_size=size, copy=True).fit_predict(material.X) for size in (5, 10, 20, 50))
    return max(score(material.kinds, cluster) for cluster in found)


def mixture(material: Material) -> float:
    """Score a Gaussian mixture that is told the number of kinds."""
    model = GaussianMixture(len(set(material.kinds)), reg_covar=1e-3, n_init=3, random_state=0)
    return score(material.kinds, model.fit_predict(material.X))


def noise_units(material: Material) -> float:
    """Score links in noise units, with the length chosen from the data, and no encoder."""
    default = MEAGraph()
    units = NoiseUnits.fit(material.X, material.species, default.neighbours, default.gross)
    z = units.transform(material.X)
    return score(material.kinds, linked_clusters(z, material.species, link_length(z, material.species)))


def meagraph(material: Material, seeds: int, **parameters: Any) -> list[float]:
    """Score MEAGraph for each seed."""
    return [
        score(
            material.kinds,
            MEAGraph(seed=seed, **parameters).fit(material.X, material.species).clusters(material.X, material.species),
        )
        for seed in range(seeds)
    ]


def published(material: Material, seeds: int, epochs: int) -> list[float]:
    """Score the published model at its best rate, for each seed."""
    return [
        max(s)
        for s in zip(*(meagraph(material, seeds, mode="published", rate=r, epochs=epochs) for r in RATES), strict=True)
    ]


def main() -> None:
    """Measure and print a table row per set and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", default="tuned,held-out")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--published", action="store_true")
    arguments = parser.parse_args()
    groups: dict[str, Callable[[], list[Material]]] = {"tuned": tuned, "held-out": held_out}
    materials = [m for name in arguments.sets.split(",") if name for m in groups[name]()]
    if arguments.data:
        materials.insert(0, displaced_ta(arguments.data, arguments.judge))
    methods: dict[str, Callable[[Material], list[float]]] = {
        "raw descriptor, best length": lambda m: [raw(m)],
        "HDBSCAN, best size": lambda m: [hdbscan(m)],
        "GMM, told the number": lambda m: [mixture(m)],
        "noise units, no encoder": lambda m: [noise_units(m)],
        "untrained": lambda m: meagraph(m, arguments.seeds, epochs=0),
        "trained": lambda m: meagraph(m, arguments.seeds),
        "trained, 1 kernel": lambda m: meagraph(m, arguments.seeds, kernels=1),
        "trained, 6 kernels": lambda m: meagraph(m, arguments.seeds, kernels=6),
        "trained, no edge pooling": lambda m: meagraph(m, arguments.seeds, training_rate=None),
    }
    if arguments.published:
        methods["published, untrained, best rate"] = lambda m: published(m, arguments.seeds, 0)
        methods["published, trained, best rate"] = lambda m: published(m, arguments.seeds, 30)
    print("| set |" + "".join(f" {name} |" for name in methods))
    print("|---|" + "---|" * len(methods))
    for material in materials:
        print(f"| {material.name}, {len(material.X)}, {len(set(material.kinds))} kinds |", end="", flush=True)
        for method in methods.values():
            scores = method(material)
            worst = f" ({min(scores):.3f})" if len(scores) > 1 else ""
            print(f" {np.mean(scores):.3f}{worst} |", end="", flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
