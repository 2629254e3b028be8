"""The one exception family of the project.

Every error that a user can cause carries where it happened (file, frame, key) and prints as one line.
"""

from __future__ import annotations


class CurateError(Exception):
    """Base of all errors that are the data's or the caller's, not the program's.

    Parameters
    ----------
    message
        What is wrong and, where possible, what to do about it.
    file
        Path of the file concerned, as the user wrote it.
    frame
        0-based index of the frame in that file.
    key
        Name of the info or array key, or of the option, concerned.
    """

    exit_status = 1

    def __init__(
        self, message: str, *, file: str | None = None, frame: int | None = None, key: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.frame = frame
        self.key = key

    def __str__(self) -> str:
        where = []
        if self.file is not None:
            where.append(self.file)
        if self.frame is not None:
            where.append(f"frame {self.frame}")
        if self.key is not None:
            where.append(self.key)
        return ": ".join([*where, " ".join(self.message.split())])

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the keyword attributes when the error crosses a process boundary."""
        return (_rebuild, (type(self), self.message, self.file, self.frame, self.key))


def _rebuild(
    kind: type[CurateError], message: str, file: str | None, frame: int | None, key: str | None
) -> CurateError:
    return kind(message, file=file, frame=frame, key=key)


class DataError(CurateError):
    """The data are missing, unreadable or not fit for the job."""

    ends_file = False
    """Nothing can be read of the file from there on; set where reading goes on with the next file."""
    one_frame = False
    """What follows the frame can be read: ``check --fix`` leaves this one out."""


class BudgetError(CurateError):
    """The number of frames asked for cannot be kept; the message says what is possible."""


class OutputError(CurateError):
    """An output exists already, cannot be written, or would overwrite an input."""


class MissingDependencyError(CurateError):
    """An optional part (LAMMPS, Dask, ...) is needed for this and is not installed."""


class WorkerError(CurateError):
    """A process that took part in the work is gone, or could not do its share."""


class InterruptedRunError(CurateError):
    """A job was told to end (Ctrl-C, a scheduler's SIGTERM) and can go on later from what it has written."""

    exit_status = 130


class UsageError(CurateError):
    """An option has a value that no data could make right."""

    exit_status = 2
