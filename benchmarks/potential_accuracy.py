"""Errors of a potential on held-out frames, beside those of quadratic SNAP fitted to the same frames.

    potential_accuracy.py DATA.extxyz... [--epochs 100] [--seeds 1] [--degree 3]

Frames 3 eV/atom above the lowest or with a force over 30 eV/A are left out, 20 % of each group are held out, and errors
are means over groups, as in the judge of pruned sets. SNAP is the linear force field of the checks (ridge fit to
energies, forces and stresses).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.frames import geometry
from mlff_curate.data.labels import labels_of
from mlff_curate.data.reading import read_frames
from mlff_curate.graphs.neighbours import default_cutoff
from mlff_curate.linear.models import linear_model
from mlff_curate.linear.ridge import design_of, fit, predict
from mlff_curate.validation.potential_errors import potential_errors

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_curate.data.labels import Labels


def read(path: Path) -> tuple[list[Atoms], list[Labels], np.ndarray]:
    """Return frames, labels and groups of those that are fitted to."""
    frames, labels, group = [], [], []
    for frame in read_frames(path):
        frames.append(geometry(frame.atoms))
        labels.append(labels_of(frame.atoms))
        group.append(str(frame.atoms.info.get("config_type", "")))
    energy = np.array([np.nan if x.energy is None else x.energy / len(a) for a, x in zip(frames, labels, strict=True)])
    largest = np.array([np.nan if x.forces is None else np.abs(x.forces).max() for x in labels])
    kept = np.flatnonzero((energy < np.nanmin(energy) + 3) & (largest < 30))
    return [frames[i] for i in kept], [labels[i] for i in kept], np.array(group)[kept]


def split(group: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return frames to learn from and held-out ones: 20 % of each group, at least one."""
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(np.flatnonzero(group == g)) for g in np.unique(group)]
    held_out = np.sort(np.concatenate([part[: max(1, round(0.2 * len(part)))] for part in parts]))
    return np.setdiff1d(np.arange(len(group)), held_out), held_out


def group_means(errors: list[dict[str, float]]) -> str:
    """Return the means over groups of mean absolute errors."""
    energy = 1e3 * np.mean([e["energy_mae"] for e in errors])
    return f"energies {energy:.2f} meV/atom, forces {np.mean([e['force_mae'] for e in errors]):.4f} eV/A"


def main() -> None:
    """Print two lines per set and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--degree", type=int, default=3)
    arguments = parser.parse_args()
    for path in arguments.data:
        frames, labels, group = read(path)
        n_atoms = np.array([len(atoms) for atoms in frames])
        species = sorted({int(z) for atoms in frames for z in atoms.numbers})
        snap, _ = linear_model(None, species, default_cutoff(species))
        design = design_of(frames, labels, snap)
        for seed in range(arguments.seeds):
            learned, held_out = split(group, seed)
            parts = [held_out[group[held_out] == g] for g in np.unique(group[held_out])]
            energy, forces, _ = predict(design, fit(design, learned), held_out)
            place = {int(i): k for k, i in enumerate(held_out)}
            rows = [
                {
                    "energy_mae": float(np.mean([abs(energy[place[i]] - design.energy[i]) for i in part.tolist()])),
                    "force_mae": float(
                        np.mean(
                            np.concatenate(
                                [
                                    np.abs(forces[place[i]].ravel() - design.forces[design.atoms_of(i)])
                                    for i in part.tolist()
                                ]
                            )
                        )
                    ),
                }
                for part in parts
            ]
            print(f"{path.stem} {seed}: quadratic SNAP: {group_means(rows)}", flush=True)
            start = time.perf_counter()
            potential = Potential(epochs=arguments.epochs, seed=seed, degree=arguments.degree)
            potential.fit([frames[i] for i in learned], [labels[i] for i in learned])
            seconds = time.perf_counter() - start
            found = potential.predict(frames)
            told = [potential_errors(found, labels, n_atoms, part) for part in parts]
            print(
                f"{path.stem} {seed}: potential, {arguments.epochs} epochs, {seconds:.0f} s: {group_means(told)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
