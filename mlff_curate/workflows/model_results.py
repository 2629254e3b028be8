"""What ``train``, ``pretrain`` and ``evaluate`` have to say at their end, of a model of any kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mlff_curate.wording import counted
from mlff_curate.workflows.telling import peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mlff_curate.cgcnn.potential import Potential
    from mlff_curate.cgcnn.property_model import CGCNN
    from mlff_curate.pretraining.model import Pretraining

    Errors = Mapping[str, float]

_GROUPS_SHOWN = 30
_ENDED = {
    "early": "stopped, as the validation error fell no more",
    "diverged": "stopped, as the loss was no number any more: the last good weights were kept, a smaller "
    "--learning-rate may help",
}


class Training(Protocol):
    """How a training of any kind went."""

    @property
    def epochs(self) -> int:
        """Epochs run."""

    @property
    def best_epoch(self) -> int:
        """Counted from 1: the epoch whose weights were kept."""

    @property
    def ended(self) -> str:
        """``all epochs``, ``early`` or ``diverged``."""

    @property
    def validation_frames(self) -> tuple[int, ...]:
        """Indices of the frames held out."""


@dataclass(frozen=True)
class Trained:
    """A finished ``train`` or ``pretrain``.

    Attributes
    ----------
    model
        The trained model.
    training
        How that went.
    output
        Where it lies.
    title
        What it is a model of, for a person.
    kind
        The same for ``--json``, by name.
    frames
        How many were learned from or held out.
    errors
        ``train`` and, where frames were held out, ``validation``: name of an error to its value.
    words
        Errors as a person reads them.
    seconds
        Stage to seconds.
    notes
        Sentences for the user.
    warnings
        Those that make the model one that should not be used.
    next_step
        A command that goes on from here, for a person; empty: none. Not told behind a warning.
    """

    model: CGCNN | Potential | Pretraining
    training: Training
    output: Path
    title: str
    kind: Mapping[str, object]
    frames: int
    errors: Mapping[str, Errors]
    words: Callable[[Errors], str]
    seconds: dict[str, float]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    next_step: str = ""

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            **self.kind,
            "frames": self.frames,
            "validation_frames": len(self.training.validation_frames),
            "epochs": self.training.epochs,
            "best_epoch": self.training.best_epoch,
            "ended": self.training.ended,
            **{f"{part}_{name}": value for part, some in self.errors.items() for name, value in some.items()},
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "output": str(self.output),
            "notes": self._notes(),
            "warnings": list(self.warnings),
        }

    def lines(self) -> list[str]:
        """Return what a person reads."""
        learned = counted(self.frames - len(self.training.validation_frames), "frame")
        return [
            f"{self.output}: {self.title}, trained on {learned}",
            *(f"{part}: {self.words(some)}" for part, some in self.errors.items()),
            f"{counted(self.training.epochs, 'epoch')}, the weights of epoch {self.training.best_epoch} were kept",
            *(f"note: {note}" for note in self._notes()),
            *(f"warning: {warning}" for warning in self.warnings),
            *([f"next: {self.next_step}"] if self.next_step and not self.warnings else []),
        ]

    def _notes(self) -> list[str]:
        ended = _ENDED.get(self.training.ended)
        return [*self.notes, *([] if ended is None else [ended])]


@dataclass(frozen=True)
class Evaluated:
    """A finished ``evaluate``.

    Attributes
    ----------
    model
        Path of the model.
    title
        What the errors are of, for a person.
    kind
        The same for ``--json``, by name.
    frames
        How many were predicted.
    errors
        Name of an error to its value, over all frames; empty where there is nothing to compare with.
    groups
        The same of each group, and ``frames``.
    group_key
        What made the groups, or None.
    words
        Errors as a person reads them.
    seconds
        Stage to seconds.
    notes
        Sentences for the user.
    written
        Sentences on what was written.
    """

    model: str
    title: str
    kind: Mapping[str, object]
    frames: int
    errors: Errors
    groups: Mapping[str, Errors]
    group_key: str | None
    words: Callable[[Errors], str]
    seconds: dict[str, float]
    notes: tuple[str, ...]
    written: tuple[str, ...] = field(default=())

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "model": self.model,
            **self.kind,
            "frames": self.frames,
            "all": self.errors,
            "groups": self.groups,
            "group_key": self.group_key,
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return what a person reads."""
        lines = [f"{self.title}: {self.words(self.errors)}"] if self.errors else []
        if self.group_key is not None:
            shown = list(self.groups.items())[:_GROUPS_SHOWN]
            lines += [f"{name}, {counted(int(some['frames']), 'frame')}: {self.words(some)}" for name, some in shown]
            if len(self.groups) > len(shown):
                lines.append(f"{len(self.groups) - len(shown)} more groups: --json has them")
        return [*lines, *self.written, *(f"note: {note}" for note in self.notes)]
