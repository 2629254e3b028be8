"""``evaluate``: a trained model and frames in, errors and predictions out."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.cgcnn.property_model import CGCNN
from mlff_curate.cgcnn.property_network import CLASSIFICATION
from mlff_curate.data.outputs import require_free, whole_files
from mlff_curate.errors import DataError, OutputError
from mlff_curate.validation.property_errors import classification_errors, regression_errors
from mlff_curate.wording import counted
from mlff_curate.workflows.property_data import read_property_data
from mlff_curate.workflows.telling import peak_memory_mb

if TYPE_CHECKING:
    from mlff_curate.workflows.property_data import Progress, PropertyData, PropertyInput

_GROUPS_SHOWN = 30


@dataclass(frozen=True)
class Evaluated:
    """A finished ``evaluate``.

    Attributes
    ----------
    model
        Path of the model.
    task
        ``regression`` or ``classification``.
    target
        What the target is called.
    frames
        How many were predicted.
    compared
        How many of them have a target.
    errors
        Name of an error to its value, over all frames; empty where none has a target.
    groups
        The same of each group.
    group_key
        What made the groups, or None.
    predictions
        The table written, or None.
    seconds
        Stage to seconds.
    notes
        Sentences for the user.
    """

    model: str
    task: str
    target: str | None
    frames: int
    compared: int
    errors: dict[str, float]
    groups: dict[str, dict[str, float]]
    group_key: str | None
    predictions: Path | None
    seconds: dict[str, float]
    notes: tuple[str, ...]

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "model": self.model,
            "task": self.task,
            "target": self.target,
            "frames": self.frames,
            "compared": self.compared,
            "all": self.errors,
            "groups": self.groups,
            "group_key": self.group_key,
            "predictions": None if self.predictions is None else str(self.predictions),
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return what a person reads."""
        lines = []
        if self.errors:
            lines.append(f"{self.task} of {self.target}, {counted(self.compared, 'frame')}: {_words(self.errors)}")
        if self.group_key is not None:
            shown = list(self.groups.items())[:_GROUPS_SHOWN]
            lines += [f"{name}, {counted(int(errors['frames']), 'frame')}: {_words(errors)}" for name, errors in shown]
            if len(self.groups) > len(shown):
                lines.append(f"{len(self.groups) - len(shown)} more groups: --json has them")
        if self.predictions is not None:
            lines.append(f"{self.predictions}: {counted(self.frames, 'prediction')}")
        return lines + [f"note: {note}" for note in self.notes]


def _words(errors: dict[str, float]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" for name, value in errors.items() if name != "frames" and not np.isnan(value)
    )


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
        task=trained.task,
        target=data.target,
        frames=len(data.frames),
        compared=int(there.sum()),
        errors=errors,
        groups=groups,
        group_key=data.group_key,
        predictions=outputs[0] if outputs else None,
        seconds=seconds,
        notes=tuple(data.notes),
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
