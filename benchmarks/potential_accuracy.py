"""Errors of potentials on held-out frames, trained on the same: ours, quadratic SNAP and, where installed, MACE.

    potential_accuracy.py DATA.extxyz... [--epochs N] [--seeds 1] [--degree 4 -1] [--cutoff 5.0]
        [--mace PYTHON] [--mace-epochs 60] [--mace-model FILE] [--skip snap potential]

Frames, split and errors are those of the judge of pruned sets: no frame 3 eV/atom above the lowest (sets of one
element) or with a force over 30 eV/A; of each group a fifth is held out; errors are means over groups. SNAP is the
linear force field of the checks, fitted to energies, forces and stresses by ridge. MACE runs in an environment of its
own, whose Python is named: 32 channels, max_L 0, correlation 2, 5 A, float32, its own two stages (the second for the
last quarter).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.io import read as ase_read
from ase.io import write as ase_write

from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.frames import geometry
from mlff_curate.data.labels import labels_of
from mlff_curate.data.reading import read_frames
from mlff_curate.graphs.neighbours import default_cutoff
from mlff_curate.linear.models import linear_model
from mlff_curate.linear.ridge import design_of, fit, predict

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

    from mlff_curate.data.labels import Labels
    from mlff_curate.linear.ridge import Design


@dataclass(frozen=True, eq=False)
class Material:
    """Frames that are fitted to."""

    frames: list[Atoms]
    labels: list[Labels]
    group: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Material:
        """Return the frames of a file that the judge keeps."""
        frames, labels, group = [], [], []
        for frame in read_frames(path):
            frames.append(geometry(frame.atoms))
            labels.append(labels_of(frame.atoms))
            group.append(str(frame.atoms.info.get("config_type", "all")))
        energy = np.array([x.energy / len(a) for a, x in zip(frames, labels, strict=True)])  # type: ignore[operator]
        largest = np.array([np.abs(x.forces).max() for x in labels])  # type: ignore[arg-type]
        alone = len({z for atoms in frames for z in atoms.numbers}) == 1
        kept = np.flatnonzero((energy < energy.min() + (3 if alone else np.inf)) & (largest < 30))
        return cls([frames[i] for i in kept], [labels[i] for i in kept], np.array(group)[kept])

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return frames to learn from and held-out ones, as the judge draws them."""
        rng = np.random.default_rng(seed)
        parts = [rng.permutation(np.flatnonzero(self.group == name)) for name in np.unique(self.group)]
        held_out = np.concatenate([part[: max(1, len(part) // 5)] for part in parts])
        return np.setdiff1d(np.arange(len(self.frames)), held_out), held_out


@dataclass(frozen=True, eq=False)
class Off:
    """How far a model is off on held-out frames: (F,) eV/atom, and F arrays of force components in eV/Angstrom."""

    energy: np.ndarray
    forces: list[np.ndarray]

    @classmethod
    def of(cls, energy: np.ndarray, forces: list[np.ndarray], material: Material, held_out: np.ndarray) -> Off:
        """Compare (F,) energies and F arrays of forces with the labels."""
        frames, labels = [material.frames[i] for i in held_out], [material.labels[i] for i in held_out]
        energies = [(e - x.energy) / len(a) for e, x, a in zip(energy, labels, frames, strict=True)]
        return cls(np.array(energies), [(f - x.forces).ravel() for f, x in zip(forces, labels, strict=True)])

    def _of_groups(self, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean absolute errors of each group, meV/atom and eV/Angstrom."""
        energy, forces = 1e3 * np.abs(self.energy), np.array([np.abs(part).mean() for part in self.forces])
        each = [group == name for name in np.unique(group)]
        return np.array([energy[of].mean() for of in each]), np.array([forces[of].mean() for of in each])

    def means(self, group: np.ndarray) -> tuple[float, float]:
        """Return means over groups of the mean absolute errors, meV/atom and eV/Angstrom."""
        energy, forces = self._of_groups(group)
        return float(energy.mean()), float(forces.mean())

    def words(self, group: np.ndarray) -> str:
        """Return mean absolute errors, means over groups, and each group's."""
        names = np.unique(group)
        e, f = self._of_groups(group)
        each = ", ".join(f"{name} {x:.2f} {y:.4f}" for name, x, y in zip(names, e, f, strict=True))
        return f"energies {e.mean():.2f} meV/atom, forces {f.mean():.4f} eV/A ({each})"


@cache
def _rows(material: Material) -> Design:
    species = sorted({int(z) for atoms in material.frames for z in atoms.numbers})
    model, _ = linear_model("snap", species, default_cutoff(species))
    return design_of(material.frames, material.labels, model)


def snap(material: Material, learned: np.ndarray, held_out: np.ndarray) -> Off:
    """Fit the linear force field of the checks."""
    design = _rows(material)
    energy, forces, _ = predict(design, fit(design, learned), held_out)
    known = [design.forces[design.atoms_of(i)] for i in held_out.tolist()]
    return Off(energy - design.energy[held_out], [a.ravel() - b for a, b in zip(forces, known, strict=True)])


def potential(material: Material, learned: np.ndarray, held_out: np.ndarray, model: Potential) -> Off:
    """Train ours."""
    model.fit([material.frames[i] for i in learned], [material.labels[i] for i in learned])
    test = [material.frames[i] for i in held_out]
    found = model.predict(test)
    forces = np.split(found.forces, np.cumsum([len(atoms) for atoms in test])[:-1])
    return Off.of(found.energy, forces, material, held_out)


def mace(
    material: Material,
    learned: np.ndarray,
    held_out: np.ndarray,
    python: Path,
    epochs: int,
    seed: int,
    cutoff: float,
    keep: Path | None,
) -> Off:
    """Train MACE in its own environment and have it predict the held-out frames; the model is kept in a file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, frames in (("train.xyz", learned), ("test.xyz", held_out)):
            ase_write(folder / file, [_plain(material, i) for i in frames], format="extxyz")
        options = {
            "name": "small",
            "train_file": "train.xyz",
            "valid_fraction": 0.05,
            "energy_key": "REF_energy",
            "forces_key": "REF_forces",
            "stress_key": "REF_stress",
            "E0s": "average",
            "model": "MACE",
            "num_channels": 32,
            "max_L": 0,
            "correlation": 2,
            "r_max": cutoff,
            "batch_size": 5,
            "valid_batch_size": 10,
            "max_num_epochs": epochs,
            "start_stage_two": max(1, 3 * epochs // 4),
            "loss": "stress",
            "stress_weight": 10,
            "default_dtype": "float32",
            "device": "cpu",
            "seed": seed,
            "eval_interval": max(1, epochs // 20),
        }
        command = [str(python.parent / "mace_run_train"), *(f"--{key}={value}" for key, value in options.items())]
        run(folder, [*command, "--stage_two", "--ema", "--amsgrad"])
        model = folder / "small_stagetwo.model"
        evaluate = {"configs": "test.xyz", "model": model, "output": "said.xyz", "device": "cpu"}
        command = [str(python.parent / "mace_eval_configs"), *(f"--{key}={value}" for key, value in evaluate.items())]
        run(folder, [*command, "--default_dtype=float32"])
        if keep is not None:
            shutil.copyfile(model, keep)
        said = ase_read(folder / "said.xyz", ":")
    energy = np.array([atoms.info["MACE_energy"] for atoms in said])
    return Off.of(energy, [atoms.arrays["MACE_forces"] for atoms in said], material, held_out)


def _plain(material: Material, frame: int) -> Atoms:
    """Return a frame with the labels that it has under the names that MACE is told."""
    atoms, label = material.frames[frame].copy(), material.labels[frame]
    atoms.info["REF_energy"] = label.energy
    atoms.arrays["REF_forces"] = label.forces
    if label.stress is not None:
        atoms.info["REF_stress"] = label.stress
    return atoms


def run(folder: Path, command: list[str]) -> None:
    """Run a command in a folder; its last words are shown should it fail."""
    # the environment is MACE's own: ours must not reach into it
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def main() -> None:
    """Print a line per set, seed and model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--epochs", type=int, help="default: that of the model")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--degree", type=int, nargs="+", default=[4], help="-1: distances alone")
    parser.add_argument("--cutoff", type=float, default=5.0, help="of ours and of MACE")
    parser.add_argument("--mace", type=Path, help="Python of an environment with mace-torch")
    parser.add_argument("--mace-epochs", type=int, default=60)
    parser.add_argument("--mace-model", type=Path, metavar="FILE", help="where the last model of MACE is kept")
    parser.add_argument("--skip", nargs="*", default=[], choices=["snap", "potential"])
    arguments = parser.parse_args()
    for path in arguments.data:
        material = Material.read(path)
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            parts = material.split(seed)
            jobs: dict[str, Callable[[], Off]] = {}
            if "snap" not in arguments.skip:
                jobs["quadratic SNAP"] = partial(snap, material, *parts)
            for degree in arguments.degree if "potential" not in arguments.skip else ():
                model = Potential(epochs=arguments.epochs, seed=seed, degree=degree, cutoff=arguments.cutoff)
                name = f"potential, degree {degree}, {arguments.epochs or 'all'} epochs"
                jobs[name] = partial(potential, material, *parts, model)
            if arguments.mace is not None:
                settings = arguments.mace, arguments.mace_epochs, seed, arguments.cutoff, arguments.mace_model
                jobs[f"MACE, {arguments.mace_epochs} epochs"] = partial(mace, material, *parts, *settings)
            for name, job in jobs.items():
                start = time.perf_counter()
                off = job()
                seconds = time.perf_counter() - start
                print(f"{path.stem} {seed}: {name}, {seconds:.0f} s: {off.words(material.group[parts[1]])}", flush=True)


if __name__ == "__main__":
    main()
