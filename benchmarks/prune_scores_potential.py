"""A second judge of pruned sets: our potential in place of the linear force field of prune_quality.py.

    prune_scores_potential.py JUDGE DATA.extxyz [--fractions 0.1 0.2] [--seeds 3] [--steps 4000]
        [--methods random fps kmeans] [--program mlff-curate]

JUDGE is prune_quality.py; its frames, splits, baselines and errors are used as they are (so scikit-learn is needed, and
quests for msc), and only what is fitted to the kept frames is another model. Every choice is trained for the same
number of steps with the same seed. Prints a line per choice, then a table: geometric means over seeds, and over all
cells the ratio to random and to the best baseline of each cell.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.labels import labels_of

if TYPE_CHECKING:
    from types import ModuleType


def load(path: Path) -> ModuleType:
    """Return the judge as a module."""
    spec = importlib.util.spec_from_file_location("judge", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def errors(problem: Any, kept: np.ndarray, test: np.ndarray, steps: int, seed: int) -> tuple[float, float]:
    """Train on kept frames; return errors of energies, meV/atom, and forces, eV/A: means over groups."""
    epochs = math.ceil(steps / math.ceil(0.95 * len(kept) / 5))
    frames = [problem.frames[i] for i in kept]
    model = Potential(epochs=epochs, seed=seed).fit(frames, [labels_of(atoms) for atoms in frames])
    held_out = [problem.frames[i] for i in test]
    found = model.predict(held_out)
    forces = np.split(found.forces, np.cumsum([len(atoms) for atoms in held_out])[:-1])
    energy = [abs(e - a.get_potential_energy()) / len(a) for e, a in zip(found.energy, held_out, strict=True)]
    off = [np.abs(f - a.get_forces()).mean() for f, a in zip(forces, held_out, strict=True)]
    group = problem.group[test]
    e, f = np.array(energy), np.array(off)
    names = np.unique(group)
    return 1e3 * float(np.mean([e[group == k].mean() for k in names])), float(
        np.mean([f[group == k].mean() for k in names])
    )


def main() -> None:
    """Print a line per choice and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judge", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.1, 0.2])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--methods", nargs="+", default=["random", "fps", "kmeans"])
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("mlff-curate")))
    parser.add_argument("--cache", default=str(Path.home() / ".cache/prune_quality"))
    arguments = parser.parse_args()
    judge = load(arguments.judge)
    problem = judge.Problem(str(arguments.data), arguments.cache)
    methods = {name: getattr(judge, name) for name in arguments.methods}
    methods["ours"] = judge.command(f"{arguments.program} prune {{pool}} --keep {{keep}} --seed {{seed}} -o {{out}}")
    cells: dict[tuple[float, str], list[tuple[float, float]]] = {}
    for seed in range(arguments.seeds):
        rng = np.random.default_rng(seed)  # as the judge draws
        parts = [rng.permutation(np.where(problem.group == k)[0]) for k in np.unique(problem.group)]
        test = np.concatenate([part[: max(1, len(part) // 5)] for part in parts])
        pool = np.setdiff1d(np.arange(len(problem.n)), test)
        for fraction in arguments.fractions:
            count = max(5, round(fraction * len(pool)))
            for name, select in methods.items():
                kept = select(problem, pool, count, np.random.default_rng([seed, count]))
                start = time.perf_counter()
                found = errors(problem, kept, test, arguments.steps, seed)
                cells.setdefault((fraction, name), []).append(found)
                words = f"{found[0]:.2f} meV/atom, {found[1]:.4f} eV/A, {time.perf_counter() - start:.0f} s"
                print(f"seed {seed}, {fraction:g} ({count} frames), {name}: {words}", flush=True)
    table = {cell: np.exp(np.log(np.array(values)).mean(axis=0)) for cell, values in cells.items()}
    heads = [f"{f:g}: E | F" for f in arguments.fractions]
    print(f"\n| method | {' | '.join(heads)} | to random | to the best baseline |")
    print("|---" * (2 * len(heads) + 3) + "|")
    for name in methods:
        own = np.array([table[f, name] for f in arguments.fractions])
        random = np.array([table[f, "random"] for f in arguments.fractions])
        best = np.array([np.min([table[f, b] for b in arguments.methods], axis=0) for f in arguments.fractions])
        figures = " | ".join(f"{e:.2f} | {f:.4f}" for e, f in own)
        ratios = [float(np.exp(np.log(own / other).mean())) for other in (random, best)]
        print(f"| {name} | {figures} | {ratios[0]:.3f} | {ratios[1]:.3f} |")


if __name__ == "__main__":
    main()
