"""``train`` of potentials: frames and labels in, a model file out."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import GPa

from mlff_curate.cgcnn.elements import symbol_of
from mlff_curate.cgcnn.encoder import read_encoder
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.cgcnn.potential_file import to_bytes
from mlff_curate.data.outputs import whole_files
from mlff_curate.errors import OutputError
from mlff_curate.team import team
from mlff_curate.validation.potential_errors import errors_without_neighbours, potential_errors
from mlff_curate.workflows.model_results import Trained
from mlff_curate.workflows.potential_data import read_potential_data
from mlff_curate.workflows.training_checkpoint import checkpoint_beside, origin_of, require_interval, where_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mlff_curate.cgcnn.encoder import Encoder
    from mlff_curate.data.checkpoints import Checkpoint
    from mlff_curate.team import Place
    from mlff_curate.workflows.potential_data import PotentialData, PotentialInput, Progress

_MAY_HELP = "more --epochs or another --learning-rate may help, and mlff-curate check finds wrong labels and units"
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
    say: Callable[[str], None] | None = None,
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
    say
        With `resume`, called with a sentence on where training goes on, before it does.

    Raises
    ------
    CurateError
        From reading and training; an output that exists or cannot be written; a checkpoint of another training. No
        model is written then.
    KeyboardInterrupt, InterruptedRunError
        Ctrl-C, SIGTERM: the state after the last step is written, unless `checkpoint_every` is infinite.
    """
    path = Path(output)
    if not path.name:
        raise OutputError("is a folder", file=str(output))
    with team(workers, parameters.get("device", "cpu"), place) as together:
        begin = None if encoder is None else read_encoder(encoder)
        potential = Potential(
            **{**({} if begin is None else {**begin.parameters(), "dtype": begin.dtype}), **parameters}
        )
        potential.require_parameters()
        what.require()
        require_interval(checkpoint_every)
        potential.require_encoder(begin, frozen=freeze_encoder)
        read = [*what.files, *([] if encoder is None else [Path(encoder)])]
        beside = checkpoint_beside(path, read, checkpoint_every, resume=resume, overwrite=overwrite)
        start = time.perf_counter()
        data = read_potential_data(what, progress)
        seconds = {"read": time.perf_counter() - start}
        start = time.perf_counter()
        labels = (label for known in data.labels for label in (known.energy, known.forces, known.stress))
        beside.origin = origin_of(potential, data.frames, labels, encoder, frozen=freeze_encoder)
        with data.naming_frames(), beside.ending_well():
            before = beside.found() if resume else None
            if resume and say is not None:
                say(where_from(before))
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
        warnings=tuple(_worse_than_a_guess(potential, data, errors)),
        next_step=f"mlff-curate validate {shlex.quote(str(path))} --data HELD_OUT",
    )


def _errors_of_parts(potential: Potential, data: PotentialData) -> dict[str, dict[str, float]]:
    assert potential.training_ is not None
    held_out = np.array(potential.training_.validation_frames, np.int64)
    learned = np.setdiff1d(np.arange(len(data.frames)), held_out)
    found = potential.predict(data.frames)
    n_atoms = np.array([len(atoms) for atoms in data.frames])
    parts = {"train": learned, "validation": held_out}
    return {name: potential_errors(found, data.labels, n_atoms, some) for name, some in parts.items() if len(some)}


def _worse_than_a_guess(
    potential: Potential, data: PotentialData, errors: Mapping[str, Mapping[str, float]]
) -> Iterator[str]:
    """Say where frames are predicted worse than without any potential, and what may help."""
    assert potential.training_ is not None
    held_out = np.array(potential.training_.validation_frames, np.int64)
    learned = np.setdiff1d(np.arange(len(data.frames)), held_out)
    part, judged, of = ("validation", held_out, "held out") if len(held_out) else ("train", learned, "learned from")
    found, guessed = errors[part], errors_without_neighbours(data.frames, data.labels, learned, judged)
    for kind, words, by in (
        ("energy", "energies", "what elements alone tell"),
        ("force", "forces", "zeros"),
    ):
        name = f"{kind}_mae"
        if name in guessed and name in found and not found[name] < guessed[name]:
            both = (error_words({name: some[name]}).removeprefix(f"{kind} ") for some in (found, guessed))
            unlearned = getattr(potential, f"{kind}_weight") == 0
            cause = f"--{kind}-weight is 0" if unlearned else _MAY_HELP
            yield f"{words} of the frames {of} are predicted worse than by {by} ({', '.join(both)}): {cause}"


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
        if begin.rows is None:
            yield "the encoder learned neither energies nor forces: the layers behind its states began at random"
        elif begin.rows_for(potential.fitted_.network.sizes) is None:
            own, new = begin.sizes.read, potential.fitted_.network.sizes.read
            out = "".join(str(k) for k in own if k not in new)
            yield f"the encoder's readout reads {''.join(map(str, own))}, and --layers leaves out {out}: it is new"
        elif not potential.took_readout_:
            yield "the labels do not tell what the encoder's forces are to be multiplied by: its readout is new"
    if resume:
        yield where_from(before, over=True)
    if not potential.training_.validation_frames:
        yield (
            "no frame was held out: errors on other frames are told by evaluate, on those that prune dropped, or by "
            "--validation"
        )
