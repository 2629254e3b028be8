"""Held-out errors of a number of each atom, such as its magnetic moment, from representations and from descriptors.

    atom_targets.py DATA.extxyz [--target initial_magmoms] [--absolute] [--split family] [--seeds 3] [--steps 6000]
        [--tasks denoise distance] [--convolutions 2] [--cutoff 5.0] [--features 0 1 2 12 012 soap] [--untrained]
        [--regressors ridge network] [--most 4000] [--frames N]

Of each group a fifth of the frames is held out. `--split family` holds out whole families of frames, those that are one
another but for their volume (the displaced cells of the Fe set, 882 frames, are ten cells at many volumes); `--split
frame` keeps copies together and no more. The encoder learns without labels from the frames that are not held out. Its
layers (`0` is the element, each further one sees as far again as the cutoff), our own power spectrum, SOAP (8 radial
functions, degrees to 6), the bispectrum and the orbital field matrix go to the same two regressors, of the same cutoff.
Length, ridge and the epoch to stop at are chosen on a part of the frames that are not held out. `--untrained`: layers
of an encoder whose weights are random, too. Standard errors are Nadeau and Bengio's, for splits that overlap.

A vector target counts by its length. Of a number whose sign is a convention, as that of a moment is, `--absolute` takes
the absolute value: what an atom's surroundings are cannot tell which way the whole frame was magnetised.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.frames import calculator_results, geometry
from mlff_curate.data.reading import read_frames
from mlff_curate.descriptors.bispectrum import Bispectrum
from mlff_curate.descriptors.orbital_field import OrbitalFieldMatrix
from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.pretraining.model import Pretraining
from mlff_curate.validation.families import families, held_out_families
from mlff_curate.validation.feature_network import FeatureNetwork
from mlff_curate.validation.kernel_ridge import MOST_ATOMS, KernelRidge
from mlff_curate.validation.learning_curve import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

    from mlff_curate.descriptors.base import Descriptor

MEAN = "mean"
DESCRIPTORS: dict[str, Callable[..., Descriptor]] = {
    "power-spectrum": PowerSpectrum,
    "soap": partial(PowerSpectrum, n_max=8, l_max=6, order=2),
    "bispectrum": Bispectrum,
    "orbital-field-matrix": OrbitalFieldMatrix,
}
HELD_OUT = 0.2
COPY = 1e-5
"""As a share of the cell."""
NO_TRAINING = 1e-12
"""Learning rate of weights that stay as they were drawn; units are taken from the frames all the same."""


@dataclass(frozen=True, eq=False)
class AtomTargets:
    """Frames with a number for each atom."""

    frames: list[Atoms]
    target: list[np.ndarray]
    group: np.ndarray

    @classmethod
    def read(cls, path: Path, key: str, most: int | None, *, absolute: bool) -> AtomTargets:
        """Return the frames of a file that have the target; others are counted."""
        frames, targets, group, lacking = [], [], [], 0
        for frame in read_frames(path):
            value = frame.atoms.arrays.get(key, calculator_results(frame.atoms).get(key))
            if value is None or not np.isfinite(value).all():
                lacking += 1
                continue
            value = np.asarray(value, float)
            frames.append(geometry(frame.atoms))
            value = np.linalg.norm(value, axis=1) if value.shape[1:] == (3,) else value.reshape(len(frame.atoms))
            targets.append(np.abs(value) if absolute else value)
            group.append(str(frame.atoms.info.get("config_type", "all")))
        if not frames:
            raise SystemExit(f"{path}: no frame has an array {key} of finite numbers")
        if lacking:
            print(f"{lacking} frames without {key} are left out")
        kept = np.arange(len(frames))
        if most is not None:
            kept = np.sort(np.random.default_rng(0).permutation(len(frames))[:most])
        return cls([frames[i] for i in kept], [targets[i] for i in kept], np.array(group)[kept])

    def words(self, family: np.ndarray) -> str:
        """Return what there is, a line for each group."""
        head = (
            "group: frames, families, atoms; target mean, deviation, least, most; share below 0; frames with copies, "
        )
        lines = [head + "mean distance of the target from the copies' mean"]
        copy = families(self.frames, scaled=False, close=COPY)
        several = np.flatnonzero(np.bincount(copy) > 1)
        apart = np.zeros(len(self.frames))
        for kin in several.tolist():
            here = np.flatnonzero(copy == kin)
            values = np.array([self.target[i] for i in here])
            apart[here] = np.abs(values - values.mean(axis=0)).mean(axis=1)
        for name in np.unique(self.group):
            mine = np.flatnonzero(self.group == name)
            y = np.concatenate([self.target[i] for i in mine])
            numbers = f"{y.mean():.3f}, {y.std():.3f}, {y.min():.3f}, {y.max():.3f}; {(y < 0).mean():.3f}"
            counts = f"{len(mine)}, {len(np.unique(family[mine]))}, {len(y)}"
            twice = mine[np.isin(copy[mine], several)]
            differ = f"{len(twice)}, {apart[twice].mean():.3f}" if len(twice) else "0"
            lines.append(f"{name}: {counts}; {numbers}; {differ}")
        return "\n".join(lines)

    def rows(self, values: np.ndarray) -> np.ndarray:
        """Return values of frames, (F,), for their atoms, (N,)."""
        return np.repeat(values, [len(atoms) for atoms in self.frames])


@dataclass(frozen=True, eq=False)
class Off:
    """Errors on held-out atoms."""

    mae: float
    r2: float
    groups: dict[str, float]

    @classmethod
    def of(cls, predicted: np.ndarray, true: np.ndarray, group: np.ndarray) -> Off:
        """Compare (N,) numbers of atoms."""
        off = predicted - true
        names = np.unique(group)
        r2 = 1.0 - float(np.square(off).sum() / np.square(true - true.mean()).sum())
        return cls(float(np.abs(off).mean()), r2, {n: float(np.abs(off[group == n]).mean()) for n in names})


def encoder_features(data: AtomTargets, encoder: Pretraining, layers: list[str], before: str) -> dict[str, np.ndarray]:
    """Return the representation of all atoms for each word of layers."""
    digits = sorted(set("".join(layers)))
    parts = np.split(encoder.representation(data.frames, "".join(digits)), len(digits), axis=1)
    each = dict(zip(digits, parts, strict=True))
    return {f"{before}layers {word}": np.concatenate([each[k] for k in word], axis=1) for word in layers}


def pretrained(data: AtomTargets, learned: np.ndarray, arguments: argparse.Namespace, seed: int) -> Pretraining:
    """Return an encoder of the frames that are learned from, which have no labels."""
    encoder = Pretraining(
        tasks=None if arguments.tasks is None else tuple(arguments.tasks),
        steps=arguments.steps,
        convolutions=arguments.convolutions,
        cutoff=arguments.cutoff,
        seed=seed,
    )
    return encoder.fit([data.frames[i] for i in learned])


def untrained(data: AtomTargets, learned: np.ndarray, arguments: argparse.Namespace, seed: int) -> Pretraining:
    """Return an encoder whose weights are as they were drawn."""
    alone = len({z for atoms in data.frames for z in atoms.numbers}) == 1
    some = np.random.default_rng(seed).permutation(learned)[: 100 if alone else None]
    encoder = Pretraining(
        epochs=1,
        learning_rate=NO_TRAINING,
        convolutions=arguments.convolutions,
        cutoff=arguments.cutoff,
        seed=seed,
    )
    return encoder.fit([data.frames[i] for i in some])


def estimate(values: list[float]) -> str:
    """Return a mean over seeds with its standard error."""
    found = Estimate.of(np.array(values))
    return f"{found.mean:.4f}" + (f" +- {found.error:.4f}" if len(values) > 1 else "")


def print_table(found: dict[tuple[str, str], list[Off]], names: list[str]) -> None:
    """Print a row for each of the features and regressors: means over seeds, and the errors of the groups."""
    print("\n| features | regressor | MAE | R2 | MAE, mean over groups | " + " | ".join(names) + " |")
    print("|---" * (5 + len(names)) + "|")
    for (name, regressor), offs in found.items():
        each = [f"{np.mean([off.groups[g] for off in offs if g in off.groups]):.4f}" for g in names]
        over = [float(np.mean(list(off.groups.values()))) for off in offs]
        three = [estimate(values) for values in ([off.mae for off in offs], [off.r2 for off in offs], over)]
        print("| " + " | ".join([name, regressor, *three, *each]) + " |")


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--target", default="initial_magmoms", help="array of the frames")
    parser.add_argument("--absolute", action="store_true", help="of the target")
    parser.add_argument("--split", choices=["family", "frame"], default="family")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=6000, help="of pretraining")
    parser.add_argument("--tasks", nargs="+", help="of pretraining")
    parser.add_argument("--convolutions", type=int, default=2)
    parser.add_argument("--cutoff", type=float, default=5.0, help="Angstrom, of encoder and descriptors")
    parser.add_argument("--features", nargs="+", default=["0", "1", "2", "12", "012", *DESCRIPTORS])
    parser.add_argument("--untrained", action="store_true")
    parser.add_argument("--regressors", nargs="+", choices=["ridge", "network"], default=["ridge", "network"])
    parser.add_argument("--most", type=int, default=MOST_ATOMS, help="atoms that the kernel ridge learns from")
    parser.add_argument("--frames", type=int, help="so many at random, for a try")
    return parser.parse_args()


def main() -> None:
    """Print a line per seed, feature and regressor, then a table."""
    arguments = parse()
    data = AtomTargets.read(arguments.data, arguments.target, arguments.frames, absolute=arguments.absolute)
    family = families(data.frames, scaled=arguments.split == "family")
    print(data.words(family), flush=True)
    y, group = np.concatenate(data.target), data.rows(data.group)
    owner, kin = data.rows(np.arange(len(data.frames))), data.rows(family)
    species = sorted({int(z) for atoms in data.frames for z in atoms.numbers})
    layers = [word for word in arguments.features if word not in DESCRIPTORS]
    fixed = {
        word: DESCRIPTORS[word](species, cutoff=arguments.cutoff).compute(data.frames)
        for word in arguments.features
        if word in DESCRIPTORS
    }
    found: dict[tuple[str, str], list[Off]] = {}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        learned, _ = held_out_families(data.group, family, HELD_OUT, np.random.default_rng(seed))
        features = dict(fixed)
        makers = {"": pretrained, **({"untrained, ": untrained} if arguments.untrained else {})}
        for before, make in makers.items() if layers else ():
            start = time.perf_counter()
            encoder = make(data, learned, arguments, seed)
            features.update(encoder_features(data, encoder, layers, before))
            print(f"seed {seed}: {before}encoder, {time.perf_counter() - start:.0f} s", flush=True)
        known = np.flatnonzero(np.isin(owner, learned))
        asked = np.setdiff1d(np.arange(len(y)), known)
        fits: dict[str, Callable[..., KernelRidge | FeatureNetwork]] = {
            "ridge": partial(KernelRidge.fit, most=arguments.most),
            "network": FeatureNetwork.fit,
        }
        flat = np.full(len(asked), y[known].mean())
        found.setdefault((MEAN, ""), []).append(Off.of(flat, y[asked], group[asked]))
        for name, X in features.items():
            for regressor in arguments.regressors:
                start = time.perf_counter()
                model = fits[regressor](X[known], y[known], owner[known], kin[known], seed=seed)
                off = Off.of(model.predict(X[asked]), y[asked], group[asked])
                found.setdefault((name, regressor), []).append(off)
                words = f"MAE {off.mae:.4f}, R2 {off.r2:.4f}, {time.perf_counter() - start:.0f} s"
                print(f"seed {seed}: {name}, {regressor}: {words}", flush=True)
    print_table(found, np.unique(data.group).tolist())


if __name__ == "__main__":
    main()
