"""The state of a training on the disk, beside the model that is to come: what is killed can go on."""

from __future__ import annotations

import hashlib
import math
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mlff_curate import __version__
from mlff_curate.data.checkpoints import Checkpoint, checkpoint_bytes, read_checkpoint
from mlff_curate.data.frames import content_digest
from mlff_curate.data.outputs import require_free, whole_files
from mlff_curate.errors import DataError, InterruptedRunError, OutputError, UsageError, WorkerError
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import FrameType

    from ase import Atoms

    from mlff_curate.parameters import Parameters

KIND = "cgcnn-potential-training"
ENCODER_TRAINING = "cgcnn-encoder-training"
PROPERTY_TRAINING = "cgcnn-property-training"

_BEGUN = (
    ("encoder", "--encoder", "is not what that training began from"),
    ("frozen", "--freeze-encoder", "is not as it was there"),
)


class _State(Protocol):
    """The state of a training of any kind."""

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and settings."""


def origin_of(
    model: Parameters,
    frames: Sequence[Atoms],
    labels: Iterable[np.ndarray | float | None],
    encoder: str | Path | None,
    *,
    frozen: bool = False,
) -> dict[str, Any]:
    """Return what a training with labels depends on: it can go on only where all of it is the same."""
    digest = hashlib.sha256()
    for label in labels:
        digest.update(b"none" if label is None else np.ascontiguousarray(label, dtype="<f8").tobytes())
    return {
        **origin_of_frames(model, frames),
        "encoder": None if encoder is None else hashlib.sha256(Path(encoder).read_bytes()).hexdigest(),
        **({"frozen": True} if frozen else {}),
        "labels": digest.hexdigest(),
    }


def origin_of_frames(model: Parameters, frames: Sequence[Atoms]) -> dict[str, Any]:
    """Return what a training without labels depends on."""
    digest = hashlib.sha256()
    for atoms in frames:
        digest.update(content_digest(atoms).encode())
    return {
        "program": __version__,
        # where it runs is no part of it
        "parameters": {name: _as_json(value) for name, value in model.get_params().items() if name != "device"},
        "count": len(frames),
        "frames": digest.hexdigest(),
    }


def _as_json(value: object) -> object:
    """Return a value as it comes back from a file."""
    return list(value) if isinstance(value, tuple) else value


@dataclass
class TrainingCheckpoint:
    """One file, written anew from time to time.

    Attributes
    ----------
    path
        Where.
    every
        Seconds between two times at least.
    kind
        Of what training.
    origin
        What the training depends on, see :func:`origin_of`.
    """

    path: Path
    every: float
    kind: str = KIND
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last = time.monotonic()
        self._state: _State | None = None  # after the last step that was done
        self._leave: Callable[[], object] | None = None  # what a signal asks for, once the state is written

    def keep(self, state: _State) -> None:
        """Write the state, if the last time is long enough ago; if somebody wants training to end, write it and end.

        Raises
        ------
        OutputError
            The disk does not take it.
        KeyboardInterrupt, SystemExit
            As the signal that came has it.
        """
        self._state = state
        if self._leave is not None:
            self._write(state)
            self._leave()
        if time.monotonic() - self._last >= self.every:
            self._write(state)

    def _write(self, state: _State) -> None:
        arrays, settings = state.pack()
        with whole_files(self.path) as (stream,):
            stream.write(checkpoint_bytes(self.kind, arrays, {"state": settings, "origin": dict(self.origin)}))
        self._last = time.monotonic()

    def found(self) -> Checkpoint | None:
        """Return the state that lies there, or None.

        Raises
        ------
        UsageError
            It is of a training with other options; names the option.
        DataError
            The file is damaged, or something else, or of another training; the message says what differs.
        """
        if not self.path.exists():
            return None
        stored = read_checkpoint(self.path, self.kind)
        theirs = stored.setting("origin", dict)
        difference = _difference(theirs, self.origin)
        if difference is not None:
            key, words = difference
            of_option = key is not None and key.startswith("--")
            kind = UsageError if of_option else DataError
            raise kind(f"{words}: only the same training can go on", file=str(self.path), key=key)
        return Checkpoint(stored.file, stored.arrays, stored.setting("state", dict), stored.program)

    @contextmanager
    def ending_well(self) -> Iterator[None]:
        """Write the last state before a training is left too early, and tell what it can go on from.

        Ctrl-C and SIGTERM wait for the next call of :meth:`keep`; a second one does not.
        """
        lay_there = self.path.exists()
        try:
            with self._signals_wait():
                yield
                if self._leave is not None and self._state is not None:  # a signal after the last step
                    self._write(self._state)
                    self._leave()
        except (KeyboardInterrupt, SystemExit) as error:
            raise self._telling(error) from None
        except WorkerError as error:
            if self._state is not None and not math.isinf(self.every):  # a step that failed has changed nothing
                self._write(self._state)
            if self.path.exists():
                error.message += f"; --resume goes on from {self.path}"
            raise
        except DataError:
            if not lay_there:  # it would come to the same end
                self.discard()
            raise

    def _telling(self, error: KeyboardInterrupt | SystemExit) -> BaseException:
        """Return what Ctrl-C or SIGTERM raised, with word of the file if there is one."""
        if not self.path.exists():
            return error
        if isinstance(error, KeyboardInterrupt):
            return KeyboardInterrupt(f"--resume goes on from {self.path}")
        ended = InterruptedRunError("training was ended; --resume goes on from here", file=str(self.path))
        if isinstance(error.code, int):
            ended.exit_status = error.code
        return ended

    @contextmanager
    def _signals_wait(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM wait for the next call of :meth:`keep`, if there was one and states are written."""
        if math.isinf(self.every) or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def wait(number: int, frame: FrameType | None) -> None:
            usual = before[signal.Signals(number)]
            assert callable(usual)
            if self._state is None or self._leave is not None:
                usual(number, frame)
            self._leave = lambda: usual(number, None)

        own = [number for number, usual in before.items() if callable(usual)]
        try:
            for number in own:
                signal.signal(number, wait)
            yield
        finally:
            for number in own:
                signal.signal(number, before[number])

    def discard(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def require_interval(every: float) -> None:
    """Refuse a time between two checkpoints that is none.

    Raises
    ------
    UsageError
        It is below 0.
    """
    if not every >= 0:
        raise UsageError(f"a number of seconds of at least 0, got {every}", key="--checkpoint-every")


def where_from(before: Checkpoint | None, *, over: bool = False) -> str:
    """Say where a training that is to be resumed goes on; `over`: where it went on, once it is done."""
    if before is None:
        verbs = ("was", "began") if over else ("is", "begins")
        return f"there {verbs[0]} no checkpoint to go on from: training {verbs[1]} anew"
    steps = before.setting("steps", int) if "steps" in before.settings else 0  # properties are kept by the epoch
    more = f" and {counted(steps, 'step')}" if steps else ""
    verb = "went" if over else "goes"
    return f"training {verb} on after epoch {before.setting('epochs', int)}{more}, from {before.file}"


def checkpoint_beside(
    output: Path, inputs: Sequence[Path], every: float, *, resume: bool, overwrite: bool, kind: str = KIND
) -> TrainingCheckpoint:
    """Return the checkpoint of a training whose model is to be written to `output`, its origin not yet known.

    Raises
    ------
    OutputError
        Model or checkpoint cannot be written, or one lies there and the user has not said what is to become of it.
    """
    path = output.with_name(f"{output.name}.checkpoint")
    if resume and not overwrite and output.is_file() and not path.exists():
        raise OutputError(
            "exists already, and no checkpoint lies beside it: its training is done; --overwrite trains anew",
            file=str(output),
        )
    require_free([output], inputs, overwrite=overwrite)
    require_free([path], inputs, overwrite=True)
    if path.exists() and not resume and not overwrite:
        raise OutputError(
            "is the checkpoint of a training that was broken off: say --resume to go on with it, "
            "or --overwrite to begin anew",
            file=str(path),
        )
    return TrainingCheckpoint(path, every, kind)


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> tuple[str | None, str] | None:
    """Return an option and a sentence on the first thing that differs."""
    if theirs.get("program") != ours["program"]:
        return None, f"was written by version {str(theirs.get('program'))[:20]}, this is {ours['program']}"
    before = theirs.get("parameters")
    before = before if isinstance(before, dict) else {}
    for name, value in ours["parameters"].items():
        if before.get(name) != value:
            return f"--{name.replace('_', '-')}", f"was {str(before.get(name))[:40]} there and is {value} now"
    for name, key, words in _BEGUN:
        if theirs.get(name) != ours.get(name):
            return key, words
    if theirs.get("count") != ours["count"]:
        return None, f"is of a training on {theirs.get('count')} frames, not {counted(ours['count'], 'frame')}"
    for name in ("frames", "labels"):
        if theirs.get(name) != ours.get(name):
            return None, f"is of a training on other {name}"
    return None
