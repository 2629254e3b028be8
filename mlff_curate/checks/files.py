"""What was noticed while reading: files and frames that cannot be read, and readers' remarks."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_curate.checks.finding import Finding
from mlff_curate.data.opening import is_folder
from mlff_curate.data.reading import lacks_last_line_end

if TYPE_CHECKING:
    from mlff_curate.data.frames import Frame
    from mlff_curate.errors import DataError

_OF_FILES = ("files-unread", "option-unused")
"""Remarks that are no frame's."""
_OPTION = re.compile(r"(?<!\S)--[a-z]+(-[a-z]+)*")
"""In the message of an error that another option would mend."""


def unreadable(error: DataError) -> Finding:
    """Return the finding of a file or frame that cannot be read."""
    if error.ends_file:
        rest = "" if error.frame is None else "; nothing from there on was read"
        rule, fix = "file-unreadable", f"{_remedy(error)}: what was not read was not checked either"
    else:
        rest = ""
        rule, fix = "frame-unreadable", "mend the frame, or leave it out: no program should be given it"
    return Finding(
        error.file, error.frame, error.key, rule, "error", None, f"{' '.join(error.message.split())}{rest}", fix
    )


def _remedy(error: DataError) -> str:
    """Return what to do about a file of which the rest, or all, is unread."""
    option = _OPTION.search(f"{error.key or ''} {error.message}")
    if option is not None:
        return f"see to {option[0]}, or leave the file out"
    if error.file is not None and not _exists(error.file):
        return "correct the name, or leave it out"
    if error.file is not None and is_folder(Path(error.file)):
        return "name the files that are meant, or leave it out"
    return "mend the file, or leave it out"


def _exists(file: str) -> bool:
    """Tell whether there is such a file; a member of an archive is named after it and a colon."""
    with suppress(OSError):  # of a name that is too long
        return Path(file).exists() or Path(file.partition(":")[0]).exists()
    return False


def remarked(frame: Frame) -> list[Finding]:
    """Return what the reader of a frame remarked on it, as findings; some are of the file, and come with its first."""
    return [
        Finding(
            frame.source,
            None if r.rule in _OF_FILES else frame.index,
            r.key,
            r.rule,
            r.severity,
            None,
            r.message,
            r.fix,
        )
        for r in frame.remarks
    ]


def open_ended(path: Path) -> list[Finding]:
    """Return the finding of an extxyz file that was read and ends within a line."""
    if not path.is_file() or not lacks_last_line_end(path):
        return []
    said = "the file does not end with a line end: if it was cut off, its last number may lack digits"
    fix = "end it with a line end, if it is whole"
    return [Finding(str(path), None, None, "file-open-end", "note", None, said, fix)]
