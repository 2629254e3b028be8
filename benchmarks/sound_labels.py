"""What `check` says of sound labels, whole and with frames left out at random: all of it is a false alarm.

    sound_labels.py DATA.extxyz... [--left-out 0.06] [--draws 5]

Series then end elsewhere, and the frames that look alike are others. Of each draw the warnings and errors are printed,
and by kind of label the largest residual of the first fit, in units of those of look-alikes: what the thresholds of
`mlff_curate.checks.outliers` have to leave room for. Draw 0 of each set leaves nothing out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from injected_faults import read

from mlff_curate.checks import physics

if TYPE_CHECKING:
    from mlff_curate.checks.basis import Rows
    from mlff_curate.checks.known import Known
    from mlff_curate.checks.local_model import LocalModel

KINDS = ("energy", "forces", "stress", "shear", "largest")


def first_models() -> list[LocalModel]:
    """Have the models that are fitted collected, and return where."""
    models: list[LocalModel] = []
    fit = physics.local_model

    def collected(rows: Rows, known: Known, seed: int = 0) -> LocalModel | None:
        model = fit(rows, known, seed)
        if model is not None:
            models.append(model)
        return model

    physics.local_model = collected  # type: ignore[assignment]
    return models


def main() -> None:
    """Print a line per draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--left-out", type=float, default=0.06)
    parser.add_argument("--draws", type=int, default=5)
    arguments = parser.parse_args()
    models = first_models()
    for path in arguments.data:
        frames = read(path)
        for draw in range(arguments.draws + 1):
            kept = np.random.default_rng(draw).random(len(frames)) >= (arguments.left_out if draw else 0.0)
            models.clear()
            start = time.process_time()
            found = physics.check_physics([frame for frame, keep in zip(frames, kept, strict=True) if keep])
            seconds = time.process_time() - start
            told = [f"{f.rule} {f.frame}" for f in found if f.severity != "note"]
            print(
                f"{path.stem} {draw}: {kept.sum()} frames, {seconds:.1f} s; {largest(models)}; told: {told}", flush=True
            )


def largest(models: list[LocalModel]) -> str:
    """Return the largest residual of each kind."""
    if not models:
        return "no model"
    out = []
    for kind in KINDS:
        residuals = getattr(models[0].own, kind)
        with np.errstate(invalid="ignore"):
            out.append(f"{kind} {np.nanmax(residuals.size / residuals.scale, initial=0.0):.1f}")
    return ", ".join(out)


if __name__ == "__main__":
    main()
