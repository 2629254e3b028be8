"""Draw the similarity graph before and after pooling, for docs/method.md.

    graph_picture.py OUT.png [--element Mo]

Three thermally displaced phases of one element, made on the spot: bcc, fcc and the two sites of A15, and one crystal
with a vacancy. Left: descriptors as they come, with the edges to their nearest neighbours. Right: what MEAGraph makes
of them, with the edges that pooling leaves; colours are its clusters. Both are drawn on the two principal axes.
"""

from __future__ import annotations

import argparse

import matplotlib as mpl
import numpy as np
from ase.build import bulk
from ase.spacegroup import crystal

from mlff_curate import MEAGraph
from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.descriptors.scaling import Scaling
from mlff_curate.graphs.similarity import nearest_anchors

mpl.use("Agg")
from typing import TYPE_CHECKING

from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes

VOLUME = 15.6
"""Per atom, cubic Angstrom, of bcc Mo; the other phases get the same."""
SPECK = 8


def phases(element: str) -> list[Atoms]:
    """Return displaced crystals of about 50 atoms each."""
    rng = np.random.default_rng(0)
    a15 = crystal(
        [element] * 2, [(0, 0, 0), (0.25, 0, 0.5)], spacegroup=223, cellpar=[(8 * VOLUME) ** (1 / 3)] * 3 + [90] * 3
    )
    bcc = bulk(element, "bcc", a=(2 * VOLUME) ** (1 / 3), cubic=True) * (3, 3, 3)
    vacancy = bcc.copy()
    del vacancy[0]
    frames = []
    for perfect in (
        bcc,
        bcc,
        bcc,
        vacancy,
        bulk(element, "fcc", a=(4 * VOLUME) ** (1 / 3), cubic=True) * (2, 2, 2),
        a15 * (2, 2, 2),
    ):
        for _ in range(3):
            frame = perfect.copy()
            frame.positions += rng.normal(0, 0.08, frame.positions.shape)
            frames.append(frame)
    return frames


def draw(axes: Axes, points: np.ndarray, edges: np.ndarray, colours: np.ndarray | str, title: str) -> None:
    """Draw nodes (N, D) on their principal axes, and edges (E, 2)."""
    centred = points - points.mean(axis=0)
    flat = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    axes.add_collection(LineCollection(list(flat[edges]), colors="0.6", linewidths=0.15, zorder=1))
    axes.scatter(*flat.T, c=colours, s=9, linewidths=0, zorder=2)
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])


def main() -> None:
    """Fit and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--element", default="Mo")
    arguments = parser.parse_args()
    frames = phases(arguments.element)
    raw = PowerSpectrum([frames[0].numbers[0]]).compute(frames)
    X = Scaling.fit(raw).transform(raw)
    species = np.concatenate([frame.numbers for frame in frames])
    model = MEAGraph().fit(X, species)
    assigned = model.assign(X, species)
    link = model.fitted_.link  # type: ignore[union-attr]

    before = nearest_anchors(X, species, X, species, model.neighbours + 1).index[:, 1:]
    rows = np.repeat(np.arange(len(X)), before.shape[1])
    after = nearest_anchors(assigned.embedding, species, assigned.embedding, species, model.neighbours + 1)
    kept = (after.distance[:, 1:] <= link).ravel()
    sizes = np.bincount(assigned.cluster)[assigned.cluster]
    order = np.unique(assigned.cluster[sizes >= SPECK])
    palette = plt.get_cmap("tab10")
    colours = np.array(
        [
            palette(int(np.searchsorted(order, c)) % 10) if s >= SPECK else (0, 0, 0, 1)
            for c, s in zip(assigned.cluster, sizes, strict=True)
        ]
    )

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6))
    draw(
        left,
        X,
        np.column_stack([rows, before.ravel()]),
        colours,
        f"before: descriptors and their {model.neighbours} nearest",
    )
    draw(
        right,
        assigned.embedding,
        np.column_stack([rows, after.index[:, 1:].ravel()])[kept],
        colours,
        f"after: embedding, edges up to {link:.1f} noise units",
    )
    figure.text(
        0.5,
        0.02,
        f"colours: the {len(order)} clusters of {SPECK} environments or more; black: smaller ones",
        ha="center",
    )
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(arguments.out, dpi=130)


if __name__ == "__main__":
    main()
