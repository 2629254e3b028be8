"""``evaluate``: a trained model and frames in, errors and predictions out."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.cgcnn.property_model import CGCNN
from mlff_curate.cgcnn.property_network import CLASSIFICATION
from mlff_curate.data.outputs import require_free, whole_files
from mlff_curate.devices import require_device
from mlff_curate.errors import DataError, OutputError
from mlff_curate.validation.property_errors import classification_errors, regression_errors
from mlff_curate.wording import counted
from mlff_curate.workflows.model_results import Evaluated
from mlff_curate.workflows.property_data import read_property_data
from mlff_curate.workflows.train import error_words

if TYPE_CHECKING:
    from mlff_curate.workflows.property_data import Progress, PropertyData, PropertyInput


def evaluate_files(
    model: str | Path,
    what: PropertyInput,
    *,
    predictions: str | Path | None = None,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluated:
    """Compare the predictions of a stored model with the targets of frames.

    Parameters
    ----------
    model
        What ``train`` wrote.
    what
        Inputs; the target is the model's own unless another name is given.
    predictions
        Table to write, CSV: file, frame, group, target, prediction. With it, frames need no target.
    device
        Torch device.
    overwrite
        Replace a table that exists.
    progress
        Called with stage, steps done, steps in all or None, and a word.

    Raises
    ------
    CurateError
        From reading the model and the frames; also a table that exists or cannot be written. Nothing is written then.
    """
    require_device(device)
    what.require(needs_targets=False)
    outputs = [] if predictions is None else [Path(predictions)]
    if outputs and not outputs[0].name:
        raise OutputError("is a folder", file=str(predictions))
    require_free(outputs, [Path(model), *what.files], overwrite=overwrite)
    start = time.perf_counter()
    trained = CGCNN.load(model, device=device)
    own = trained.fitted_.target
    if what.target is None:
        what = replace(what, usual=own) if what.csv is not None else replace(what, target=own)
    data = read_property_data(what, needs_targets=predictions is None, progress=progress)
    seconds = {"read": time.perf_counter() - start}
    start = time.perf_counter()
    there = ~np.isnan(data.targets)
    if predictions is None:
        data, there = data.part(np.flatnonzero(there)), np.ones(int(there.sum()), bool)
    is_class = trained.task == CLASSIFICATION
    if is_class:
        _require_classes(data)
    with data.naming_frames():
        found = trained.predict(
            data.frames,
            progress=None if progress is None else lambda done, all_: progress("predict", done, all_, ""),
        )
    measure = classification_errors if is_class else regression_errors
    errors, groups = {}, {}
    if there.any():
        errors = measure(found[there], data.targets[there])
        names = np.array(data.groups)
        for name in sorted(set(names[there].tolist())):
            rows = there & (names == name)
            groups[name] = {**measure(found[rows], data.targets[rows]), "frames": int(rows.sum())}
    seconds["predict"] = time.perf_counter() - start
    start = time.perf_counter()
    if outputs:
        with whole_files(outputs[0]) as (stream,):
            stream.write(_table(data, found, data.target or "target", is_class=is_class))
    seconds["write"] = time.perf_counter() - start
    return Evaluated(
        model=str(model),
        title=f"{trained.task} of {data.target}, {counted(int(there.sum()), 'frame')}",
        kind={
            "task": trained.task,
            "target": data.target,
            "compared": int(there.sum()),
            "predictions": str(outputs[0]) if outputs else None,
        },
        frames=len(data.frames),
        errors=errors,
        groups=groups,
        group_key=data.group_key,
        words=error_words,
        seconds=seconds,
        notes=tuple(data.notes),
        written=tuple(f"{table}: {counted(len(data.frames), 'prediction')}" for table in outputs),
    )


def _require_classes(data: PropertyData) -> None:
    odd = np.flatnonzero(~np.isnan(data.targets) & (data.targets != 0) & (data.targets != 1))
    if len(odd):
        i = int(odd[0])
        raise DataError(
            f"is {data.targets[i]:g}: the classes are 0 and 1",
            file=data.sources[i],
            frame=data.indices[i],
            key=data.target,
        )


def _table(data: PropertyData, found: np.ndarray, target: str, *, is_class: bool) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "frame", "group", target, "probability" if is_class else "prediction"])
    for i, value in enumerate(found.tolist()):
        true = data.values[i]
        writer.writerow(
            [data.sources[i], data.indices[i], data.groups[i], "" if np.isnan(true) else repr(true), repr(value)]
        )
    return text.getvalue().encode(errors="surrogateescape")
