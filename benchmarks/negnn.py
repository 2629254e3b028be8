"""Held-out errors of energies per atom by property networks from few labels: element encoding, encoder, and both.

    negnn.py DATA.extxyz... [--labelled 20 50] [--steps 6000] [--tasks cohesion] [--tasks denoise distance]
        [--train-steps 2000] [--layers 012] [--conv gated] [--seeds 1]

Frames, split and encoders are those of `few_labels.py`: no held-out frame is in the inputs of an encoder. The states of
each encoder are used alone and beside the element encoding, frozen and trained with the property network. None of the
labelled frames is held out from training, so all take as many steps. A guess is the mean of the labelled frames.
Errors are mean absolute ones of each group, their mean over groups, and their geometric mean, which no group decides.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
from few_labels import cases, parser_of, tasks_of

from mlff_curate import CGCNN

if TYPE_CHECKING:
    from few_labels import Case

    from mlff_curate.cgcnn.encoder import Encoder

_BATCH = 32


def main() -> None:
    """Print a line per set, seed, number of labels and way."""
    parser = parser_of(__doc__)
    parser.add_argument("--train-steps", type=int, default=2000, help="of the property networks")
    parser.add_argument("--layers", help="of the encoders; default: all")
    parser.add_argument("--conv", default="gated", choices=["gated", "shared", "none"])
    arguments = parser.parse_args()
    for case in cases(arguments):
        ways: dict[str, tuple[str, Encoder | None, bool]] = {"elements": ("elements", None, False)}
        for name in tasks_of(arguments):
            encoder = case.encoder(name)
            for frozen in (True, False):
                for encoding, beside in (("none", "alone"), ("elements", "beside elements")):
                    ways[f"{name}, {'frozen' if frozen else 'trained too'}, {beside}"] = (encoding, encoder, frozen)
        for count in arguments.labelled:
            start = f"{case.name} {case.seed}: {count} frames"
            target = _energies(case)
            mean = np.full(len(case.held_out), target[case.order[:count]].mean())
            print(f"{start}, a guess: {_words(case, mean - target[case.held_out])}", flush=True)
            for name, (encoding, encoder, frozen) in ways.items():
                model = CGCNN(
                    conv=arguments.conv,
                    encoding=encoding,
                    layers=None if encoder is None else arguments.layers,
                    epochs=math.ceil(arguments.train_steps / math.ceil(count / _BATCH)),
                    batch_size=_BATCH,
                    validation=0.0,
                    seed=case.seed,
                )
                began = time.perf_counter()
                off = _off(case, target, count, model, encoder, frozen=frozen)
                print(f"{start}, {name}, {time.perf_counter() - began:.0f} s: {_words(case, off)}", flush=True)


def _energies(case: Case) -> np.ndarray:
    """Return (F,) eV/atom."""
    pairs = zip(case.material.frames, case.material.labels, strict=True)
    return np.array([known.energy / len(atoms) for atoms, known in pairs])  # type: ignore[operator]


def _off(
    case: Case, target: np.ndarray, count: int, model: CGCNN, encoder: Encoder | None, *, frozen: bool
) -> np.ndarray:
    """Train on the first labelled frames; return how far the held-out ones are off, eV/atom."""
    learned, frames = case.order[:count], case.material.frames
    model.fit([frames[i] for i in learned], target[learned], encoder=encoder, freeze_encoder=frozen)
    return model.predict([frames[i] for i in case.held_out]) - target[case.held_out]


def _words(case: Case, off: np.ndarray) -> str:
    group = case.material.group[case.held_out]
    each = {name: 1e3 * np.abs(off[group == name]).mean() for name in np.unique(group)}
    words = ", ".join(f"{name} {error:.2f}" for name, error in each.items())
    errors = np.array(list(each.values()))
    return f"{errors.mean():.2f} meV/atom, geometric mean {np.exp(np.log(errors).mean()):.2f} ({words})"


if __name__ == "__main__":
    main()
