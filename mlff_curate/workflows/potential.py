"""``train`` and ``evaluate`` of potentials: frames and labels in, a model file or errors out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import GPa

from mlff_curate.cgcnn.elements import symbol_of
from mlff_curate.cgcnn.encoder import read_encoder
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.cgcnn.potential_file import to_bytes
from mlff_curate.data.outputs import require_free, whole_files
from mlff_curate.errors import DataError, OutputError, UsageError
from mlff_curate.team import team
from mlff_curate.validation.potential_errors import errors_of_groups, potential_errors
from mlff_curate.wording import counted
from mlff_curate.workflows.model_results import Evaluated, Trained
from mlff_curate.workflows.potential_data import KINDS, about_open, read_potential_data
from mlff_curate.workflows.training_checkpoint import checkpoint_beside, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlff_curate.cgcnn.encoder import Encoder
    from mlff_curate.data.checkpoints import Checkpoint
    from mlff_curate.team import Place
    from mlff_curate.workflows.potential_data import PotentialData, PotentialInput, Progress

_WORDS = (
    ("energy", 1e3, "meV/atom"),
    ("force", 1e3, "meV/A"),
    ("stress", 1 / GPa, "GPa"),
)


def error_words(errors: Mapping[str, float]) -> str:
    """Return mean absolute errors as a person reads them."""
    return ", ".join(
        f"{kind} {errors[f'{kind}_mae'] * factor:.4g} {unit}"
        for kind, factor, unit in _WORDS
        if f"{kind}_mae" in errors
    )


def train_potential_files(
    what: PotentialInput,
    output: str | Path,
    parameters: Mapping[str, Any],
    *,
    encoder: str | Path | None = None,
    freeze_encoder: bool = False,
    checkpoint_every: float = 30.0,
    resume: bool = False,
    workers: int = 1,
    place: Place | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Trained:
    """Train a potential on files, and write it.

    Parameters
    ----------
    what
        Inputs and names of labels.
    output
        The model file. While training lasts, its checkpoint lies beside it under its name and ``.checkpoint``.
    parameters
        Of :class:`Potential`.
    encoder
        File of a potential or of an encoder to begin from: sizes of the network that `parameters` does not have are
        its.
    freeze_encoder
        Train the readout alone.
    checkpoint_every
        Seconds between two checkpoints at least.
    resume
        Go on from the checkpoint, where there is one.
    workers, place
        Processes that share the training, see :func:`mlff_curate.team.team`.
    overwrite
        Replace a file that exists.
    progress
        Called with stage, steps done, steps in all or None, and a word on the state.

    Raises
    ------
    CurateError
        From reading and training; an output that exists or cannot be written; a checkpoint of another training. No
        model is written then.
    """
    path = Path(output)
    if not path.name:
        raise OutputError("is a folder", file=str(output))
    if freeze_encoder and encoder is None:
        raise UsageError("means nothing without --encoder", key="--freeze-encoder")
    with team(workers, parameters.get("device", "cpu"), place) as together:
        begin = None if encoder is None else read_encoder(encoder)
        potential = Potential(
            **{**({} if begin is None else {**begin.parameters(), "dtype": begin.dtype}), **parameters}
        )
        potential.require_parameters()
        read = [*what.files, *([] if encoder is None else [Path(encoder)])]
        require_free([path], read, overwrite=overwrite)
        beside = checkpoint_beside(path, read, checkpoint_every, resume=resume, overwrite=overwrite)
        start = time.perf_counter()
        data = read_potential_data(what, progress)
        seconds = {"read": time.perf_counter() - start}
        start = time.perf_counter()
        beside.origin = origin_of(potential, data, encoder, frozen=freeze_encoder)
        with data.naming_frames(), beside.naming_itself():
            before = beside.found() if resume else None
            potential.fit(
                data.frames,
                data.labels,
                encoder=begin,
                freeze_encoder=freeze_encoder,
                team=together,
                resume=before,
                keep=beside.keep,
                progress=None if progress is None else lambda done, all_, words: progress("train", done, all_, words),
            )
        seconds["train"] = time.perf_counter() - start
    start = time.perf_counter()
    errors = _errors_of_parts(potential, data)
    contents = to_bytes(potential)
    with whole_files(path) as (stream,):
        stream.write(contents)
    beside.discard()
    seconds["write"] = time.perf_counter() - start
    assert potential.training_ is not None
    return Trained(
        model=potential,
        training=potential.training_,
        output=path,
        title="potential",
        kind={"task": "potential"},
        frames=len(data.frames),
        errors=errors,
        words=error_words,
        seconds=seconds,
        notes=(*data.notes, *_about_training(potential, begin, before, resume=resume)),
    )


def _errors_of_parts(potential: Potential, data: PotentialData) -> dict[str, dict[str, float]]:
    assert potential.training_ is not None
    held_out = np.array(potential.training_.validation_frames, np.int64)
    learned = np.setdiff1d(np.arange(len(data.frames)), held_out)
    found = potential.predict(data.frames)
    n_atoms = np.array([len(atoms) for atoms in data.frames])
    parts = {"train": learned, "validation": held_out}
    return {name: potential_errors(found, data.labels, n_atoms, some) for name, some in parts.items() if len(some)}


def _about_training(
    potential: Potential, begin: Encoder | None, before: Checkpoint | None, *, resume: bool
) -> Iterator[str]:
    """Say where training began or went on from, and what is not known."""
    assert potential.training_ is not None
    if begin is not None:
        elements = set(potential.fitted_.network.sizes.elements)
        strange = ", ".join(symbol_of(z) for z in sorted(elements - set(begin.sizes.elements)))
        if not elements & set(begin.sizes.elements):
            yield f"the encoder knows none of {strange}: random weights may well do better"
        elif strange:
            yield f"the encoder does not know {strange}: what it says of them began at random"
        if not begin.readout:
            yield "the encoder was not trained on energies or denoising: the layers behind its states began at random"
    if before is not None:
        yield f"training went on after epoch {before.setting('epochs', int)}, from {before.file}"
    elif resume:
        yield "there was no checkpoint to go on from: training began anew"
    if not potential.training_.validation_frames:
        yield "no frame was held out: nothing is known of errors on other frames"


def evaluate_potential_files(
    model: str | Path, what: PotentialInput, *, device: str = "cpu", progress: Progress | None = None
) -> Evaluated:
    """Compare what a stored potential predicts with the labels of frames.

    Raises
    ------
    CurateError
        From reading the model and the frames; an element that the model never saw; no label at all.
    """
    start = time.perf_counter()
    potential = Potential.load(model, device=device)
    data = read_potential_data(what, progress)
    with data.naming_frames():
        potential.require_known(data.frames)
    if all(getattr(item, kind) is None for item in data.labels for kind in KINDS):
        message = "no frame has an energy, forces or a stress to compare with"
        if data.open_stresses:
            message += f": the stress of {about_open(data.open_stresses)}"
        raise DataError(message, file=what.inputs[0])
    seconds = {"read": time.perf_counter() - start}
    start = time.perf_counter()
    with data.naming_frames():
        found = potential.predict(
            data.frames,
            progress=None if progress is None else lambda done, all_: progress("predict", done, all_, ""),
        )
    seconds["predict"] = time.perf_counter() - start
    n_atoms = np.array([len(atoms) for atoms in data.frames])
    groups = errors_of_groups(found, data.labels, n_atoms, data.groups)
    return Evaluated(
        model=str(model),
        title=f"mean absolute errors of {counted(len(data.frames), 'frame')}",
        kind={"task": "potential"},
        frames=len(data.frames),
        errors=potential_errors(found, data.labels, n_atoms, np.arange(len(data.frames))),
        groups=groups,
        group_key=data.group_key,
        words=error_words,
        seconds=seconds,
        notes=tuple(_left_out(data)),
    )


def _left_out(data: PotentialData) -> list[str]:
    return [note for note in data.notes if "read from" not in note]
