"""Measure whether the clusters tell lattice defects from the bulk, and from each other.

    defects.py FRAMES.extxyz [--seeds 3] [--json FILE] [--figure FILE.png]

Bcc niobium at 300 K and 900 K with vacancy, interstitial, surfaces, grain boundaries and screw dislocations. Where
FRAMES.extxyz does not exist, the frames are made with LAMMPS (four minutes) and written there; `defect_cells.py` says
how, and where the truth comes from. All methods get the same scaled descriptor:

- MEAGraph, once per seed;
- scikit-learn's HDBSCAN with four sizes; `best` marks the one with the highest AMI, chosen with the truth in hand;
- Gaussian mixtures, told the number of kinds, and with the number chosen by BIC;
- for the ranking only, the distance to the 30th neighbour in the descriptor.

Noise counts as clusters of one. An atom is flagged if it is alone or most of its cluster is not bulk; recall is the
share of a defect's atoms that are flagged, precision the share of flagged atoms that are not bulk, over the cells that
hold this defect (`all`: over all cells). `near` is the precision when bulk atoms with a defect atom within the cutoff
of the descriptor count as found rightly. AUC ranks a kind's atoms against all bulk atoms by the method's outlier score.
Every method is run on each temperature alone and on both together; the latter is also scored by temperature.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.io import read, write
from defect_cells import CASES, KINDS, TEMPERATURES, generate
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matscipy.neighbours import neighbour_list
from sklearn.cluster import HDBSCAN
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.descriptors.scaling import Scaling
from mlff_curate.meagraph.model import MEAGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from matplotlib.axes import Axes

SIZES = (5, 10, 20, 50)
COMPONENTS = (2, 4, 6, 8, 10, 12, 16, 20, 30)
DEFECTS = KINDS[1:]


@dataclass(frozen=True)
class Result:
    """What a method made of N environments.

    Attributes
    ----------
    name
        Of the method.
    cluster
        (N,) cluster, -1 for noise; None if the method only ranks.
    score
        (N,) higher for the odd; None if there is none.
    seconds
        Time taken.
    """

    name: str
    cluster: np.ndarray | None
    score: np.ndarray | None
    seconds: float


@dataclass
class Figures:
    """The figures of a method on one set of atoms; the keys of the dictionaries are kinds and `all`."""

    method: str
    clusters: int = 0
    noise: int = 0
    ami: float = np.nan
    ari: float = np.nan
    near: float = np.nan
    false_alarms_in_perfect: int = 0
    recall: dict[str, float] = field(default_factory=dict)
    precision: dict[str, float] = field(default_factory=dict)
    auc: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Truth:
    """What is known of N environments.

    Attributes
    ----------
    kind
        (N,) kind of the atom.
    home
        (N,) kind of defect that the atom's cell holds; "bulk" for the perfect crystal.
    near
        (N,) whether a defect atom is within the cutoff.
    temperature
        (N,) K.
    """

    kind: np.ndarray
    home: np.ndarray
    near: np.ndarray
    temperature: np.ndarray

    @classmethod
    def of(cls, frames: Sequence[Atoms], cutoff: float) -> Truth:
        """Collect it from labelled frames."""
        near = []
        for atoms in frames:
            first, second = neighbour_list("ij", atoms, cutoff)
            odd = atoms.arrays["kind"] != "bulk"
            near.append(np.bincount(first, odd[second], minlength=len(atoms)) > 0)
        size = [len(atoms) for atoms in frames]
        return cls(
            np.concatenate([atoms.arrays["kind"] for atoms in frames]).astype(str),
            np.repeat([CASES[atoms.info["case"]][0] for atoms in frames], size),
            np.concatenate(near),
            np.repeat([atoms.info["temperature"] for atoms in frames], size),
        )


def meagraph(X: np.ndarray, species: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return cluster and outlier score: the one place that knows MEAGraph's interface."""
    said = MEAGraph(seed=seed).fit(X, species).assign(X, species)
    return said.cluster, said.outlier_score


def run_all(X: np.ndarray, species: np.ndarray, truth: Truth, seeds: int) -> list[Result]:
    """Run every method; the best HDBSCAN is marked."""
    results = []
    for seed in range(seeds):
        began = time.perf_counter()
        cluster, score = meagraph(X, species, seed)
        results.append(Result(f"MEAGraph seed {seed}", cluster, score, time.perf_counter() - began))
    trees = []
    for size in SIZES:
        began = time.perf_counter()
        model = HDBSCAN(min_cluster_size=size, copy=True).fit(X)
        trees.append(Result(f"HDBSCAN {size}", model.labels_, 1.0 - model.probabilities_, time.perf_counter() - began))
    agreement = [adjusted_mutual_info_score(truth.kind, singled(r.cluster)) for r in trees if r.cluster is not None]
    best = int(np.argmax(agreement))
    trees[best] = Result(trees[best].name + " best", trees[best].cluster, trees[best].score, trees[best].seconds)
    results += trees
    mixtures = {}
    exact = X.astype(np.float64)  # single precision does not do for the covariances
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for count in COMPONENTS:
            start = time.perf_counter()
            mixtures[count] = GaussianMixture(count, random_state=0).fit(exact), time.perf_counter() - start
    chosen = min(COMPONENTS, key=lambda count: float(mixtures[count][0].bic(exact)))
    for name, count, seconds in (
        (f"GMM {len(KINDS)}, told", len(KINDS), mixtures[len(KINDS)][1]),
        (f"GMM {chosen}, BIC", chosen, time.perf_counter() - began),
    ):
        mixture = mixtures[count][0]
        results.append(Result(name, mixture.predict(exact), -mixture.score_samples(exact), seconds))
    began = time.perf_counter()
    distance = NearestNeighbors(n_neighbors=31).fit(X).kneighbors(X)[0][:, -1]
    results.append(Result("30th neighbour", None, distance, time.perf_counter() - began))
    return results


def singled(cluster: np.ndarray) -> np.ndarray:
    """Give every noise atom a cluster of its own."""
    single = cluster.copy()
    noise = cluster < 0
    single[noise] = cluster.max(initial=-1) + 1 + np.arange(noise.sum())
    return single


def flags(cluster: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Tell which atoms are alone or in a cluster of which most is not bulk, (N,)."""
    cluster = np.unique(singled(cluster), return_inverse=True)[1]
    size = np.bincount(cluster)
    bulk = np.bincount(cluster, kind == "bulk")
    flagged: np.ndarray = ((size == 1) | (bulk * 2 <= size))[cluster]
    return flagged


def score(result: Result, truth: Truth, part: np.ndarray) -> Figures:
    """Score a part of the atoms; what most of a cluster is, the whole set decides."""
    figures = Figures(result.name, seconds=result.seconds)
    kind = truth.kind[part]
    if result.cluster is not None:
        cluster, flagged = result.cluster[part], flags(result.cluster, truth.kind)[part]
        odd, home = kind != "bulk", truth.home[part]
        figures.clusters = len(np.unique(cluster[cluster >= 0]))
        figures.noise = int((cluster < 0).sum())
        figures.ami = float(adjusted_mutual_info_score(kind, singled(cluster)))
        figures.ari = float(adjusted_rand_score(kind, singled(cluster)))
        figures.near = share(odd | truth.near[part], flagged)
        figures.false_alarms_in_perfect = int((flagged & (home == "bulk")).sum())
        figures.recall = {"all": share(flagged, odd), **{k: share(flagged, kind == k) for k in DEFECTS}}
        figures.precision = {"all": share(odd, flagged), **{k: share(odd, flagged & (home == k)) for k in DEFECTS}}
    if result.score is not None:
        outlier = result.score[part]
        for name in ("all", *DEFECTS):
            other = (kind != "bulk") if name == "all" else (kind == name)
            rows = other | (kind == "bulk")
            figures.auc[name] = float(roc_auc_score(other[rows], outlier[rows]))
    return figures


def share(what: np.ndarray, among: np.ndarray) -> float:
    """Share of the true among the chosen; nan if none is."""
    return float(what[among].mean()) if among.any() else float("nan")


def print_table(title: str, table: Sequence[Figures]) -> None:
    """Print agreement, recall / precision and AUC."""
    columns = ("all", *DEFECTS)
    print(f"\n{title}\nrecall / precision{'':21s}" + "AMI   ARI  near " + " ".join(f"{k:>14s}" for k in columns))
    for f in table:
        if f.recall:
            made = f"{f.clusters} + {f.noise}"
            cells = " ".join(f"   {f.recall[k]:5.2f} /{f.precision[k]:5.2f}" for k in columns)
            print(f"{f.method:18s} {made:>13s} {f.seconds:4.0f} s {f.ami:5.2f} {f.ari:5.2f} {f.near:5.2f} {cells}")
    print("AUC" + " " * 52 + " ".join(f"{k:>14s}" for k in columns))
    for f in table:
        if f.auc:
            print(f"{f.method:55s}" + " ".join(f"{f.auc[k]:14.3f}" for k in columns))


VIEWS = {"perfect": (0, 1), "vacancy": (0, 1), "interstitial": (0, 1), "screw dislocations": (0, 1)}
"""Cartesian axes to draw; the others are seen from the side."""
POINTS = ("vacancy", "interstitial")
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#bcbd22", "#e377c2")
BULK, OTHER, ALONE, MISSED = "#d5d5d5", "#404040", "#d62728", "black"


def draw(path: Path, frames: Sequence[Atoms], results: Sequence[Result], truth: Truth) -> None:
    """Draw the last snapshot of each case at the highest temperature, and the recall of the methods."""
    figure = Figure(figsize=(15.0, 13.0), layout="constrained")
    grid = figure.add_gridspec(3, 4, height_ratios=(1.0, 1.0, 0.8))
    first = np.concatenate([[0], np.cumsum([len(atoms) for atoms in frames])])
    ours = results[0]
    assert ours.cluster is not None
    flagged = flags(ours.cluster, truth.kind)
    single = np.unique(singled(ours.cluster), return_inverse=True)[1]
    alone = np.bincount(single)[single] == 1
    numbers, sizes = np.unique(single[flagged & ~alone], return_counts=True)
    shown = dict(zip(numbers[np.argsort(-sizes, kind="stable")].tolist(), COLOURS, strict=False))
    last = {a.info["case"]: i for i, a in enumerate(frames) if a.info["temperature"] == max(TEMPERATURES)}
    for place, (case, i) in enumerate(last.items()):
        part = slice(first[i], first[i + 1])
        colour = np.array([shown.get(c, OTHER) for c in single[part].tolist()], dtype=object)
        colour[~flagged[part]] = BULK
        colour[alone[part]] = ALONE
        odd = truth.kind[part] != "bulk"
        axes = figure.add_subplot(grid[divmod(place, 4)])
        atoms = frames[i].copy()
        if case in POINTS:  # put it in the middle
            around = np.exp(2j * np.pi * atoms.get_scaled_positions()[odd]).mean(axis=0)
            atoms.positions -= (np.angle(around) / (2 * np.pi) - 0.5) @ atoms.cell[:]
            atoms.wrap()
        _draw_cell(axes, atoms, VIEWS.get(case, (1, 2)), colour, odd & ~flagged[part])
        axes.set_title(f"{case}\n{flagged[part][odd].sum()} of {odd.sum()} found, {flagged[part][~odd].sum()} others")
    legend = [
        _dot(BULK, "in a cluster of mostly bulk"),
        *[
            _dot(shown[c], f"cluster {n}, {size} atoms in all")
            for n, (c, size) in enumerate(sorted(zip(numbers.tolist(), sizes, strict=True), key=lambda p: -p[1])[:8], 1)
        ],
        _dot(OTHER, "a smaller cluster, mostly not bulk"),
        _dot(ALONE, "outlier"),
        Line2D([], [], ls="", marker="o", mfc="none", mec=MISSED, ms=9, label="defect atom missed"),
    ]
    key = figure.add_subplot(grid[1, 3])
    key.axis("off")
    key.legend(handles=legend, loc="center", frameon=False, fontsize=11, title=f"{ours.name}, {max(TEMPERATURES)} K")
    _draw_bars(figure.add_subplot(grid[2, :]), [score(r, truth, np.ones(len(single), bool)) for r in results])
    figure.savefig(path, dpi=110)


def _dot(colour: str, label: str) -> Line2D:
    return Line2D([], [], ls="", marker="o", color=colour, ms=8, label=label)


def _draw_cell(axes: Axes, atoms: Atoms, view: tuple[int, int], colour: np.ndarray, missed: np.ndarray) -> None:
    """Project a snapshot; what is not bulk lies on top."""
    x, y = atoms.positions[:, view].T
    plain = colour == BULK
    axes.scatter(x[plain], y[plain], s=9, c=BULK, linewidths=0)
    axes.scatter(x[~plain], y[~plain], s=30, c=colour[~plain].tolist(), linewidths=0, alpha=0.85)
    axes.scatter(x[missed], y[missed], s=48, facecolors="none", edgecolors=MISSED, linewidths=0.8)
    axes.set_aspect("equal")
    axes.set_xlabel(f"{'xyz'[view[0]]} (Å)")
    axes.set_ylabel(f"{'xyz'[view[1]]} (Å)")


def _draw_bars(axes: Axes, table: Sequence[Figures]) -> None:
    """Recall by kind, with the precision beside it."""
    chosen = [f for f in table if f.recall and f.method.endswith(("seed 0", "best", "told", "BIC"))]
    groups = [*DEFECTS, "all", "precision", "precision, near"]
    width = 0.8 / len(chosen)
    for n, f in enumerate(chosen):
        heights = np.array([*(f.recall[k] for k in DEFECTS), f.recall["all"], f.precision["all"], f.near])
        place = np.arange(len(groups)) + (n - (len(chosen) - 1) / 2) * width
        tint = ALONE if n == 0 else ("#9ecae1", "#4292c6", "#084594")[n - 1]
        axes.bar(place, np.nan_to_num(heights), 0.92 * width, color=tint, label=f.method)
    axes.axvline(len(groups) - 2.5, color="black", lw=0.8)
    axes.set_xticks(np.arange(len(groups)), groups)
    axes.set_ylim(0.0, 1.02)
    axes.set_ylabel("recall of defect atoms | precision")
    axes.set_title("all temperatures together")
    axes.legend(ncols=len(chosen), loc="lower center", bbox_to_anchor=(0.5, -0.3), frameon=False)


def load(path: Path) -> list[Atoms]:
    """Read the frames, or make and write them."""
    if not path.exists():
        write(path, generate(0, lambda line: print(line, flush=True)))
    return list(read(path, ":"))


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    frames = load(arguments.frames)
    descriptor = PowerSpectrum([int(frames[0].numbers[0])])
    raw = descriptor.compute(frames)
    truth = Truth.of(frames, descriptor.cutoff)
    for temperature in TEMPERATURES:
        here = truth.kind[truth.temperature == temperature]
        print(f"{temperature} K: " + ", ".join(f"{int((here == kind).sum())} {kind}" for kind in KINDS))
    document: dict[str, Any] = {}
    for together in ((300,), (900,), TEMPERATURES):
        rows = np.isin(truth.temperature, together)
        X = Scaling.fit(raw[rows]).transform(raw[rows])
        here = Truth(truth.kind[rows], truth.home[rows], truth.near[rows], truth.temperature[rows])
        results = run_all(X, np.full(len(X), frames[0].numbers[0]), here, arguments.seeds)
        name = " and ".join(f"{t} K" for t in together) + " together" * (len(together) > 1)
        parts = {name: np.ones(len(X), bool)}
        if len(together) > 1:
            parts |= {f"{name}, the atoms at {t} K": here.temperature == t for t in together}
        for title, part in parts.items():
            table = [score(result, here, part) for result in results]
            print_table(title, table)
            document[title] = [asdict(f) for f in table]
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(document, indent=1))
    if arguments.figure is not None:  # of the last set, both temperatures
        draw(arguments.figure, frames, results, truth)


if __name__ == "__main__":
    main()
