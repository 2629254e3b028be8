"""Held-out errors of potentials from few labelled frames: from scratch, and begun from encoders without labels.

    few_labels.py DATA.extxyz... [--labelled 20] [--steps 6000] [--tasks denoise distance] [--tasks default]
        [--epochs 300] [--seeds 1]

Frames, split and errors are those of `potential_accuracy.py`. Encoders learn from all frames that are not held out,
without labels; `--tasks` may be given several times, one encoder each. A potential begins from each of these with its
readout as it is, with a random one, and with all but the readout frozen. None of the labelled frames is held out from
training, so all train for as many epochs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from potential_accuracy import Material, potential

from mlff_curate.cgcnn.potential import Potential
from mlff_curate.pretraining.model import Pretraining

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlff_curate.cgcnn.encoder import Encoder


class Beginning(Potential):
    """A potential that is trained from an encoder."""

    begin: Encoder | None = None
    frozen = False

    def fit(self, frames, labels, **options):  # noqa: ANN001, ANN003, ANN201
        """Train from there."""
        return super().fit(frames, labels, encoder=self.begin, freeze_encoder=self.frozen, **options)


def parser_of(words: str | None) -> argparse.ArgumentParser:
    """Return what is asked of a comparison with few labels: frames, how many have labels, and encoders."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--labelled", type=int, nargs="+", default=[20])
    parser.add_argument("--steps", type=int, default=6000, help="of pretraining")
    parser.add_argument("--tasks", nargs="+", action="append", help="several times: several encoders")
    parser.add_argument("--seeds", type=int, default=1)
    return parser


@dataclass(frozen=True, eq=False)
class Case:
    """A split of a set: frames of which some have labels, and what frames without labels taught."""

    name: str
    seed: int
    material: Material
    order: np.ndarray
    """Frames that may be learned from; the first so many have labels."""
    held_out: np.ndarray
    encoders: dict[str, Encoder]


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Read the sets, split them for each seed, and train the encoders, with a line for each."""
    for path in arguments.data:
        material = Material.read(path)
        for seed in range(arguments.seeds):
            learned, held_out = material.split(seed)
            encoders = {}
            for tasks in arguments.tasks or [["default"]]:
                start = time.perf_counter()
                names = None if tasks == ["default"] else tuple(tasks)
                model = Pretraining(tasks=names, steps=arguments.steps, seed=seed)
                name = "+".join(tasks)
                encoders[name] = model.fit([material.frames[i] for i in learned]).encoder()
                print(f"{path.stem} {seed}: encoder {name}, {time.perf_counter() - start:.0f} s", flush=True)
            order = np.random.default_rng([seed, 1]).permutation(learned)
            yield Case(path.stem, seed, material, order, held_out, encoders)


def main() -> None:
    """Print a line per set, seed and beginning."""
    parser = parser_of(__doc__)
    parser.add_argument("--epochs", type=int, help="of the potentials; default: 12 000 steps")
    arguments = parser.parse_args()
    for case in cases(arguments):
        begins: dict[str, tuple[Encoder | None, bool]] = {"scratch": (None, False)}
        for name, encoder in case.encoders.items():
            begins[name] = (encoder, False)
            if encoder.readout:
                begins[f"{name}, random readout"] = (replace(encoder, readout=False), False)
            begins[f"{name}, frozen"] = (encoder, True)
        for count in arguments.labelled:
            for name, (begin, frozen) in begins.items():
                model = Beginning(epochs=arguments.epochs, seed=case.seed, validation=0.0)
                model.begin, model.frozen = begin, frozen
                start = time.perf_counter()
                off = potential(case.material, case.order[:count], case.held_out, model)
                pooled = np.abs(np.concatenate(off.forces)).mean()
                seconds = time.perf_counter() - start
                words = f"forces {pooled:.4f} eV/A pooled; {off.words(case.material.group[case.held_out])}"
                print(f"{case.name} {case.seed}: {count} frames, {name}, {seconds:.0f} s: {words}", flush=True)


if __name__ == "__main__":
    main()
