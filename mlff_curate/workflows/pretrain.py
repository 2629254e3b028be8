"""``pretrain``: frames in, an encoder file out. Labels are not looked at."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.cgcnn.elements import symbol_of
from mlff_curate.cgcnn.training import ALL_EPOCHS
from mlff_curate.data.frames import geometry
from mlff_curate.data.outputs import whole_files
from mlff_curate.data.reading import read_frames
from mlff_curate.errors import OutputError
from mlff_curate.pretraining.encoder_file import to_bytes
from mlff_curate.pretraining.model import Pretraining
from mlff_curate.wording import counted
from mlff_curate.workflows.model_results import Trained
from mlff_curate.workflows.places import Placed
from mlff_curate.workflows.training_checkpoint import (
    ENCODER_TRAINING,
    checkpoint_beside,
    origin_of_frames,
    require_interval,
    where_from,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ase import Atoms

    from mlff_curate.data.checkpoints import Checkpoint
    from mlff_curate.workflows.potential_data import Progress


@dataclass
class _Read(Placed):
    """F frames, and where each comes from."""

    frames: list[Atoms] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)


def pretrain_files(
    inputs: tuple[str, ...],
    output: str | Path,
    parameters: Mapping[str, Any],
    *,
    type_map: tuple[str, ...] = (),
    units: str | None = None,
    checkpoint_every: float = 30.0,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Trained:
    """Train an encoder on files, and write it.

    Parameters
    ----------
    inputs
        Files or folders of any format.
    output
        The encoder file. While training lasts, its checkpoint lies beside it under its name and ``.checkpoint``.
    parameters
        Of :class:`Pretraining`.
    type_map, units
        As in :func:`mlff_curate.data.reading.read_frames`.
    checkpoint_every
        Seconds between two checkpoints at least.
    resume
        Go on from the checkpoint, where there is one.
    overwrite
        Replace a file that exists.
    progress
        Called with stage, steps done, steps in all or None, and a word on the state.
    say
        With `resume`, called with a sentence on where training goes on, before it does.

    Raises
    ------
    CurateError
        From reading and training; an output that exists or cannot be written; a checkpoint of another training. No
        encoder is written then.
    KeyboardInterrupt, InterruptedRunError
        Ctrl-C, SIGTERM: the state after the last step is written, unless `checkpoint_every` is infinite.
    """
    path = Path(output)
    if not path.name:
        raise OutputError("is a folder", file=str(output))
    model = Pretraining(**parameters)
    model.require_parameters()
    require_interval(checkpoint_every)
    read = [Path(name) for name in inputs]
    beside = checkpoint_beside(path, read, checkpoint_every, resume=resume, overwrite=overwrite, kind=ENCODER_TRAINING)
    start = time.perf_counter()
    data = _read(inputs, type_map, units, progress)
    seconds = {"read": time.perf_counter() - start}
    start = time.perf_counter()
    beside.origin = origin_of_frames(model, data.frames)
    with data.naming_frames(), beside.ending_well():
        before = beside.found() if resume else None
        if resume and say is not None:
            say(where_from(before))
        model.fit(
            data.frames,
            resume=before,
            keep=beside.keep,
            progress=None if progress is None else lambda done, all_, words: progress("train", done, all_, words),
        )
    seconds["train"] = time.perf_counter() - start
    start = time.perf_counter()
    contents = to_bytes(model)
    with whole_files(path) as (stream,):
        stream.write(contents)
    beside.discard()
    seconds["write"] = time.perf_counter() - start
    training = model.training_
    assert training is not None
    best = training.best_epoch - 1
    losses = {f"{name}_loss": values[best] for name, values in training.held_out.items() if not np.isnan(values[best])}
    guesses = {f"{name}_loss": value for name, value in training.guesses.items()}
    return Trained(
        model=model,
        training=training,
        output=path,
        title="encoder",
        kind={
            "task": "pretraining",
            "tasks": list(model.fitted_.tasks),
            "atoms": model.fitted_.atoms,
            "undrawn_frames": model.undrawn_,
        },
        frames=model.fitted_.frames,
        errors={"validation": losses, "guess": guesses} if losses else {},
        words=_words,
        seconds=seconds,
        notes=tuple(_about(model, before, resume=resume)),
        next_step=f"mlff-curate train LABELLED -o MODEL --encoder {shlex.quote(str(path))}",
    )


def _read(inputs: tuple[str, ...], type_map: tuple[str, ...], units: str | None, progress: Progress | None) -> _Read:
    data = _Read()
    for frame in read_frames(inputs, type_map, units=units):
        data.frames.append(geometry(frame.atoms))
        data.sources.append(frame.source)
        data.indices.append(frame.index)
        if progress is not None:
            progress("read", len(data.frames), None, "")
    return data


def _words(losses: Mapping[str, float]) -> str:
    """Return losses as a person reads them."""
    return ", ".join(f"{name.removesuffix('_loss')} {value:.4g}" for name, value in losses.items())


def _about(model: Pretraining, before: Checkpoint | None, *, resume: bool) -> Iterator[str]:
    """Say what was learned from what, where training went on from, and what is not known."""
    assert model.training_ is not None
    training = model.training_
    best = training.best_epoch - 1
    known = any(not np.isnan(losses[best]) for losses in training.held_out.values())
    if known:
        yield "a guess looks at no atom's surroundings: a task is learned as far as its loss is below that of a guess"
    blind = [name for name, losses in training.held_out.items() if losses[best] >= training.guesses[name]]
    if blind:
        verb = "is" if len(blind) == 1 else "are"
        longer = "more --steps" if model.epochs is None else "more --epochs"
        yield f"{', '.join(blind)} {verb} learned no better than by a guess: more frames or {longer} may help"
    if model.undrawn_:
        some = f"{counted(model.undrawn_, 'frame')} {'was' if model.undrawn_ == 1 else 'were'} drawn"
        if training.ended == ALL_EPOCHS and training.best_epoch == training.epochs:
            yield f"training ended before {some}: more --steps go through all"
        else:
            yield f"the weights that were kept are from before {some}"
    if model.strange_:
        names = ", ".join(symbol_of(z) for z in model.strange_)
        verb, pronoun = ("is", "it") if len(model.strange_) == 1 else ("are", "them")
        yield f"{names} {verb} in no frame that was learned from: the encoder does not know {pronoun}"
    alone = model.lone_frames_
    if alone:
        verb = "has" if alone == 1 else "have"
        yield f"{counted(alone, 'frame')} {verb} no neighbours inside {model.cutoff:g} Angstrom, and taught nothing"
    if resume:
        yield where_from(before, over=True)
    if not training.validation_frames:
        yield "no frame was held out: nothing is known of losses on other frames"
    elif not known:
        count = len(training.validation_frames)
        verb = "asks" if count == 1 else "ask"
        yield f"{counted(count, 'frame')} held out {verb} nothing: nothing is known of losses on other frames"
