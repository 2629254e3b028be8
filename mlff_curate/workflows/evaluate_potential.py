"""``evaluate`` of potentials: one or a committee, and frames in; errors, disagreement and labelled frames out."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.formats.base import NormalFrame
from mlff_curate.data.formats.extxyz import ExtxyzWriter
from mlff_curate.data.frames import named_values
from mlff_curate.data.labels import PREDICTED, Labels
from mlff_curate.data.outputs import require_free, whole_outputs
from mlff_curate.devices import require_device
from mlff_curate.errors import DataError, OutputError
from mlff_curate.validation.committee import disagreement, disagreement_and_error, mean_prediction
from mlff_curate.validation.potential_errors import errors_of_groups, potential_errors
from mlff_curate.wording import counted
from mlff_curate.workflows.committee import Committee, require_different
from mlff_curate.workflows.model_results import Evaluated
from mlff_curate.workflows.potential import error_words
from mlff_curate.workflows.potential_data import KINDS, about_open, read_potential_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlff_curate.cgcnn.potential import Potential, Predicted
    from mlff_curate.data.frames import Frame
    from mlff_curate.validation.committee import Disagreement
    from mlff_curate.workflows.potential_data import PotentialData, PotentialInput, Progress


def evaluate_potential_files(
    model: str | Path,
    what: PotentialInput,
    *,
    committee: Sequence[str | Path] = (),
    predictions: str | Path | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluated:
    """Compare what a stored potential, or the mean of several, predicts with the labels of frames.

    Parameters
    ----------
    model
        What ``train`` wrote.
    what
        Inputs and names of labels.
    committee
        More such files.
    predictions
        Extxyz to write: the frames with all that they have, and the predictions under the names in
        :data:`mlff_curate.data.labels.PREDICTED`. With it, frames need no labels.
    device
        Torch device.
    overwrite
        Replace a file that exists.
    progress
        Called with stage, steps done, steps in all or None, and a word.

    Raises
    ------
    CurateError
        From reading the models and the frames; a model given twice; an element that a model never saw; no label at
        all, and nothing to be written; a frame that has a value under a name of a prediction; an output that exists or
        cannot be written. Nothing is written then.
    """
    require_device(device)
    what.require()
    models = [str(model), *map(str, committee)]
    require_different(models)
    out = None if predictions is None else _free(Path(predictions), [*map(Path, models), *what.files], overwrite)
    start = time.perf_counter()
    asked = Committee(models, device)
    whole: list[Frame] = []

    def look(frame: Frame) -> None:
        asked.require_known(frame.atoms)  # at once: all frames are a long way to go in vain
        if out is not None:
            _keep(whole, frame)

    data = read_potential_data(what, progress, also=look)
    labelled = any(getattr(item, kind) is not None for item in data.labels for kind in KINDS)
    if not labelled and out is None:
        message = "no frame has an energy, forces or a stress to compare with"
        if data.open_stresses:
            message += f": the stress of {about_open(data.open_stresses)}"
        raise DataError(message, file=what.inputs[0])
    seconds = {"read": time.perf_counter() - start}
    start = time.perf_counter()
    each = _predict(asked.potentials, data, progress)
    n_atoms = np.array([len(atoms) for atoms in data.frames])
    found = each[0] if len(each) == 1 else mean_prediction(each)
    apart = None if len(each) == 1 else disagreement(each, n_atoms)
    seconds["predict"] = time.perf_counter() - start
    notes = [note for note in data.notes if "read from" not in note or "prediction" in note]
    written: tuple[str, ...] = ()
    if out is not None:
        start = time.perf_counter()
        lost = _write(out, whole, found, apart)
        notes += [f"{name} cannot be written as extxyz, and is left out of {out}" for name in lost]
        written = (f"{out}: {counted(len(whole), 'frame')} with {', '.join(_names(found, apart))}",)
        seconds["write"] = time.perf_counter() - start
    told = None if apart is None else disagreement_and_error(apart, found, data.labels, n_atoms)
    return Evaluated(
        model=models[0],
        title=f"mean absolute errors of {counted(len(data.frames), 'frame')}",
        kind={
            "task": "potential",
            "committee": models[1:],
            "disagreement": told,
            "predictions": None if out is None else str(out),
        },
        frames=len(data.frames),
        errors=potential_errors(found, data.labels, n_atoms, np.arange(len(data.frames))),
        groups=errors_of_groups(found, data.labels, n_atoms, data.groups) if labelled else {},
        group_key=data.group_key if labelled else None,
        words=error_words,
        seconds=seconds,
        notes=tuple(notes),
        written=(*([] if told is None else disagreement_words(told, len(models))), *written),
    )


def disagreement_words(told: Mapping[str, float], models: int) -> list[str]:
    """Return what a person reads of :func:`mlff_curate.validation.committee.disagreement_and_error`."""
    energy, force = ((1e3 * told[f"{kind}_mean"], 1e3 * told[f"{kind}_max"]) for kind in ("energy", "force"))
    spread = (
        f"standard deviation of {models} models: energy {energy[0]:.4g} meV/atom (at most {energy[1]:.4g}), "
        f"force {force[0]:.4g} meV/A (at most {force[1]:.4g})"
    )
    ranks = [
        f"{told[f'{kind}_spearman']:.2f} for {words}"
        for kind, words in (("energy", "energies of frames"), ("force", "forces on atoms"))
        if not math.isnan(told[f"{kind}_spearman"])
    ]
    ranking = f"rank correlation (Spearman) of standard deviation and true error: {', '.join(ranks)}"
    return [spread, ranking] if ranks else [spread]


def _free(path: Path, inputs: Sequence[Path], overwrite: bool) -> Path:
    if not path.name:
        raise OutputError("is a folder", file=str(path))
    if not path.name.lower().removesuffix(".gz").endswith((".extxyz", ".xyz")):
        message = "a potential's predictions are written as extxyz: end its name in .extxyz or .extxyz.gz"
        raise OutputError(message, file=str(path))
    require_free([path], inputs, overwrite=overwrite)
    return path


def _keep(whole: list[Frame], frame: Frame) -> None:
    """Keep a frame to be written, without its text."""
    there = [name for name in PREDICTED if name in named_values(frame.atoms)]
    if there:
        raise DataError("stands there already and would be replaced: rename it, or take it out", key=there[0])
    whole.append(replace(frame, text=None))


def _predict(potentials: Sequence[Potential], data: PotentialData, progress: Progress | None) -> list[Predicted]:
    frames, each = len(data.frames), []
    for k, potential in enumerate(potentials):

        def tell(done: int, _: int, before: int = k * frames) -> None:
            if progress is not None:
                progress("predict", before + done, len(potentials) * frames, "")

        with data.naming_frames():
            each.append(potential.predict(data.frames, progress=tell))
    return each


def _names(found: Predicted, apart: Disagreement | None) -> tuple[str, ...]:
    """Return the names that at least one frame has."""
    without = set() if np.isfinite(found.stress).all(axis=1).any() else {"model_stress"}
    if apart is None:
        without |= {"model_energy_std", "model_forces_std"}
    return tuple(name for name in PREDICTED if name not in without)


def _write(out: Path, whole: Sequence[Frame], found: Predicted, apart: Disagreement | None) -> tuple[str, ...]:
    """Write all frames with the predictions; return the names of what extxyz cannot hold."""
    from ase.stress import voigt_6_to_full_3x3_stress

    lost: dict[str, None] = {}
    first = 0
    with whole_outputs(out) as (part,):
        writer = ExtxyzWriter(part, {})
        try:
            for i, frame in enumerate(whole):
                atoms = frame.atoms.copy()
                atoms.calc = frame.atoms.calc
                rows = slice(first, first + len(atoms))
                first += len(atoms)
                atoms.info["model_energy"] = float(found.energy[i])
                atoms.arrays["model_forces"] = found.forces[rows]
                if atoms.pbc.all():
                    atoms.info["model_stress"] = voigt_6_to_full_3x3_stress(found.stress[i])
                if apart is not None:
                    atoms.info["model_energy_std"] = float(apart.energy[i] * len(atoms))
                    atoms.arrays["model_forces_std"] = apart.forces[rows]
                try:
                    normal = NormalFrame(replace(frame, atoms=atoms), Labels(), None, isolated=False)
                    lost |= dict.fromkeys(writer.add(normal))
                except DataError as error:
                    error.file, error.frame = frame.source, frame.index
                    raise
        finally:
            writer.close()
    return tuple(lost)
