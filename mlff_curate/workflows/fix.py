"""``check --fix``: labels put right where that is certain, repeats left out, and a word on each."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.checks.company import companions, parted
from mlff_curate.checks.mending import change_of, in_words, mendings
from mlff_curate.data.extxyz import parse_frame
from mlff_curate.data.formats.base import PLAIN
from mlff_curate.data.formatting import format_frame
from mlff_curate.data.frames import named_values
from mlff_curate.data.labels import same_label
from mlff_curate.data.outputs import whole_files
from mlff_curate.data.reading import read_again
from mlff_curate.data.relabel import relabel
from mlff_curate.errors import DataError, OutputError
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ase import Atoms

    from mlff_curate.checks.finding import Finding
    from mlff_curate.checks.frame import CheckedFrame
    from mlff_curate.checks.mending import Mending
    from mlff_curate.data.formats.base import ReadOptions
    from mlff_curate.data.frames import Frame
    from mlff_curate.workflows.check import CheckResult
    from mlff_curate.workflows.survey import Progress

COLUMNS = ("file", "frame", "key", "rule", "done", "before", "after", "detail")
"""Of the list of fixes."""
CORRECTED, LEFT_OUT, NOT_FIXED = "corrected", "left out", "not fixed"
_OF_LABELS = ("energy-", "force-", "stress-")
_HELD = "held back until what all frames share is right: check what is written, with --fix again"
_REPEAT = "duplicate-exact"
_UNREAD, _LOST = "frame-unreadable", "file-unreadable"


@dataclass(frozen=True)
class Fix:
    """What was done, or not, about one finding in one frame.

    Attributes
    ----------
    file, frame, key, rule
        As in :class:`mlff_curate.checks.finding.Finding`.
    done
        ``corrected``, ``left out`` or ``not fixed``.
    before, after
        The values in short, of a label that was corrected.
    detail
        How, or why not.
    """

    file: str | None
    frame: int | None
    key: str | None
    rule: str
    done: str
    before: str = ""
    after: str = ""
    detail: str = ""


@dataclass(frozen=True)
class FixOutputs:
    """Where the frames and the list of fixes go."""

    frames: Path
    fixes: Path

    @classmethod
    def at(cls, out: str | Path) -> FixOutputs:
        """Name both files.

        Raises
        ------
        OutputError
            OUT is no name of a file, or says another format than extxyz.
        """
        frames = Path(out)
        if not frames.name:
            raise OutputError("is a folder, not a file", file=str(out) or "--fix")
        if frames.suffix.lower() not in (".extxyz", ".xyz"):
            raise OutputError("frames are written as extxyz: let the name end in .extxyz", file=str(out))
        return cls(frames, frames.with_name(f"{frames.stem}.fixes.csv"))


@dataclass(frozen=True)
class Fixed:
    """A finished ``--fix``.

    Attributes
    ----------
    outputs
        The files; None: nothing was written.
    why
        Nothing was written because of this; empty: it was.
    frames
        Number of frames written.
    fixes
        What was done about each finding from warning up.
    """

    outputs: FixOutputs | None
    why: str
    frames: int
    fixes: tuple[Fix, ...]

    def summary(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        counts = Counter(fix.done for fix in self.fixes)
        return {
            "output": None if self.outputs is None else str(self.outputs.frames),
            "fixes": None if self.outputs is None else str(self.outputs.fixes),
            "frames": self.frames,
            "corrected": counts[CORRECTED],
            "left_out": counts[LEFT_OUT],
            "not_fixed": counts[NOT_FIXED],
            "why": self.why or None,
        }

    def lines(self) -> list[str]:
        """Return what a person reads."""
        if self.outputs is None:
            return [f"fix: nothing written: {self.why}"]
        lines = [f"{self.outputs.frames}: {counted(self.frames, 'frame')} written"]
        for done, noun in ((CORRECTED, "label"), (LEFT_OUT, "frame"), (NOT_FIXED, "finding")):
            mine = [fix for fix in self.fixes if fix.done == done]
            how: dict[str, list[str]] = {}
            for fix in mine:
                how.setdefault(fix.rule, []).append(fix.detail)
            if mine:
                said = "; ".join(
                    f"{rule} ({len(details)}){', such as' if len(set(details)) > 1 else ''}: {details[0]}"
                    for rule, details in how.items()
                )
                lines.append(f"  {counted(len(mine), noun)} {done}: {said}")
        if not self.fixes:
            lines.append("  nothing to fix: the frames are as they were")
        return [*lines, f"  what was done, frame by frame: {self.outputs.fixes}"]


def write_fixed(
    result: CheckResult,
    outputs: FixOutputs,
    label_keys: Mapping[str, str | None],
    reading: ReadOptions = PLAIN,
    progress: Progress | None = None,
) -> Fixed:
    """Write all frames once more, labels put right and repeats left out, and the list of what was done.

    A frame about which nothing is done comes out as it went in, byte for byte from extxyz; of one whose label is put
    right only the label's numbers change, in their places, under the names that they have.

    Parameters
    ----------
    result
        What was found.
    outputs
        Where to write; both files appear together, once complete.
    label_keys
        As in :class:`mlff_curate.workflows.check.CheckOptions`.
    reading
        How the inputs were read.
    progress
        Told how far the work is.

    Returns
    -------
    Fixed
        Nothing is written, and it says why, where an input cannot be read to its end or has changed since it was
        checked, or where a frame of another format cannot be written as extxyz.

    Raises
    ------
    OutputError
        The disk does not take them.
    """
    lost = next((f for f in result.material.findings if f.rule == _LOST), None)
    if lost is not None:
        return Fixed(None, f"{lost.file} cannot be read to its end ({lost.message})", 0, ())
    plan = _Plan(result, label_keys)
    if len(plan.left_out) == len(result.material.frames):
        return Fixed(None, "no frame is left to write", 0, ())
    tell = progress or (lambda *_: None)
    try:
        with whole_files(outputs.frames, outputs.fixes) as (frames, table):
            for written, text in enumerate(_texts(result, plan, reading), 1):
                frames.write(text)
                tell("fix", written, len(result.material.frames), "frames")
            done = plan.in_order()
            # a file name need not be UTF-8: the table gives back its bytes
            table.write(fixes_text(done).encode(errors="surrogateescape"))
    except DataError as error:
        return Fixed(None, str(error), 0, ())
    return Fixed(outputs, "", len(result.material.frames) - len(plan.left_out), done)


def fixes_text(fixes: Sequence[Fix]) -> str:
    """Return the list of fixes as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for fix in fixes:
        writer.writerow(["" if getattr(fix, name) is None else getattr(fix, name) for name in COLUMNS])
    return out.getvalue()


class _Plan:
    """What is to be done to which frame; `done` grows as it is."""

    def __init__(self, result: CheckResult, label_keys: Mapping[str, str | None]) -> None:
        self.label_keys = label_keys
        self.left_out: set[tuple[str, int]] = set()
        self.done: list[Fix] = []
        self.files = [count.file for count in result.material.files]
        self.frames = {(frame.file, frame.index): frame for frame in result.material.frames}
        self.mendings = mendings(result.findings, self.frames)
        for finding in result.material.findings:  # also where the user does not want to hear of it
            if finding.rule == _UNREAD:
                self._note(finding, LEFT_OUT, "it cannot be read")
        shared = any(f.frame is None and f.correction is not None for f in result.findings)
        for finding in result.findings:
            if finding.rule == _REPEAT and finding.file is not None and finding.frame is not None:
                self._take_repeat(finding, (finding.file, finding.frame))
            elif (
                finding.correction is None
                and finding.rule != _UNREAD
                and finding.severity != "note"
                and not self._settled(finding)
            ):
                held = shared and finding.severity == "error" and finding.rule.startswith(_OF_LABELS)
                self._note(finding, NOT_FIXED, _HELD if held else "no correction is certain")

    def _settled(self, finding: Finding) -> bool:
        """Tell whether energies that are apart are said of, one by one, where the energy is corrected."""
        at = (finding.file or "", -1 if finding.frame is None else finding.frame)
        mine = [m for m in self.mendings.get(at, ()) if m.kind == "energy" and m.correction is not None]
        return finding.rule == "label-energies" and bool(mine)

    def in_order(self) -> tuple[Fix, ...]:
        """Return what was done in the order of the files and frames."""
        files = {name: i for i, name in enumerate([None, *self.files])}
        return tuple(sorted(self.done, key=lambda fix: (files[fix.file], -1 if fix.frame is None else fix.frame)))

    def _note(self, finding: Finding, done: str, detail: str) -> None:
        self.done.append(Fix(finding.file, finding.frame, finding.key, finding.rule, done, detail=detail))

    def _take_repeat(self, finding: Finding, at: tuple[str, int]) -> None:
        more = _labels_beyond(self.frames[at], self.frames, str(finding.value))
        if more:
            self._note(finding, NOT_FIXED, f"it has labels that the first of its copies lacks ({', '.join(more)})")
            return
        self.left_out.add(at)
        self._note(finding, LEFT_OUT, f"a copy of {finding.value}, which stays")

    def apply(self, frame: CheckedFrame, text: bytes) -> bytes:
        """Return a frame's text with its labels put right."""
        for mending in self.mendings.get((frame.file, frame.index), ()):
            text = self._apply_one(mending, frame, text)
        return text

    def _apply_one(self, mending: Mending, frame: CheckedFrame, text: bytes) -> bytes:
        key: str = getattr(frame.labels, f"{mending.kind}_key")
        place = (frame.file, frame.index, key, mending.rules)
        if mending.correction is None:
            self.done.append(Fix(*place, NOT_FIXED, detail=mending.why))
            return text
        atoms = parse_frame(text, frame.file, frame.index)
        keys = same_label(atoms, key, mending.kind) if self.label_keys.get(mending.kind) is None else [key]
        change = change_of(mending.correction, abs(float(np.linalg.det(atoms.cell.array))), len(atoms))
        new = text
        try:
            for name in keys:
                new = relabel(new, name, change)
        except DataError as error:
            self.done.append(Fix(*place, NOT_FIXED, detail=error.message))
            return text
        new, along = self._apply_along(mending, frame, keys, change, atoms, new)
        keys = [*keys, *along]
        before = np.asarray(named_values(atoms)[key], dtype=float)
        after = np.asarray(named_values(parse_frame(new, frame.file, frame.index))[key], dtype=float)
        also = f"; also {', '.join(k for k in keys if k != key)}" if len(keys) > 1 else ""
        said = in_words(mending.correction) + also
        self.done.append(Fix(*place, CORRECTED, _short(before), _short(after), said))
        return new

    def _apply_along(
        self,
        mending: Mending,
        frame: CheckedFrame,
        keys: list[str],
        change: Callable[[np.ndarray], np.ndarray],
        atoms: Atoms,
        text: bytes,
    ) -> tuple[bytes, list[str]]:
        """Change what holds the same as a label in the same unit; what holds it in another way is told."""
        label = np.asarray(getattr(frame.labels, mending.kind), dtype=float)
        along, unclear = parted(label, change, companions(atoms, mending.kind, keys))
        done = []
        for name in along:
            try:
                text = relabel(text, name, change)
                done.append(name)
            except DataError as error:
                self._not_along(mending, frame, name, error.message)
        for name in unclear:
            self._not_along(
                mending, frame, name, f"{keys[0]} is corrected, and this is another value: look at its unit"
            )
        return text, done

    def _not_along(self, mending: Mending, frame: CheckedFrame, key: str, why: str) -> None:
        self.done.append(Fix(frame.file, frame.index, key, mending.rules, NOT_FIXED, detail=why))


def _labels_beyond(copy: CheckedFrame, frames: Mapping[tuple[str, int], CheckedFrame], original: str) -> list[str]:
    """Return the names of a copy's labels of which the original has none of the kind; all, if it cannot be told."""
    file, _, index = original.rpartition(":")
    first = frames.get((file, int(index))) if index.isdigit() else None
    kinds = ("energy", "forces", "stress", "energies", "magmoms")
    names = {kind: getattr(copy.labels, f"{kind}_key") for kind in kinds}
    lacking = [
        name for kind, name in names.items() if name and getattr(first and first.labels, f"{kind}_key", None) is None
    ]
    unknown = {*copy.labels.unknown, *copy.labels.predicted}
    if first is not None:
        unknown -= {*first.labels.unknown, *first.labels.predicted}
    return [*lacking, *sorted(unknown)]


def _texts(result: CheckResult, plan: _Plan, reading: ReadOptions) -> Iterator[bytes]:
    material = result.material
    at = 0
    for count in material.files:
        known = {
            frame.index: (frame, sha256)
            for frame, sha256 in zip(
                material.frames[at : at + count.frames], material.sha256[at : at + count.frames], strict=True
            )
        }
        at += count.frames
        wanted = [index for index in known if (count.file, index) not in plan.left_out]
        found = 0
        for again in read_again(count.file, wanted, reading) if wanted else ():
            frame, expected = known[again.index]
            if again.sha256 != expected:
                raise DataError("the file changed while it was being checked", file=count.file, frame=again.index)
            found += 1
            yield plan.apply(frame, _text_of(again))
        if found != len(wanted):
            raise DataError("the file changed while it was being checked", file=count.file)


def _text_of(frame: Frame) -> bytes:
    """Return the frame's own text for extxyz, else the frame written with all digits."""
    if frame.text is not None:
        return frame.text
    try:
        return format_frame(frame.atoms)
    except DataError as error:
        error.file, error.frame = frame.source, frame.index
        raise


def _short(value: np.ndarray) -> str:
    """Return a label in short: a number, or the first one and the root mean square of all."""
    if value.size == 1:
        return repr(float(value.reshape(())))
    return f"{value.flat[0]:.6g} first, {np.sqrt(np.mean(value**2)):.6g} rms"
