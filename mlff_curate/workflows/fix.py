"""``check --fix``: labels put right where that is certain, repeats left out, and a word on each."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.data.extxyz import parse_frame
from mlff_curate.data.frames import named_values
from mlff_curate.data.labels import same_label
from mlff_curate.data.outputs import whole_files
from mlff_curate.data.reading import read_texts
from mlff_curate.data.relabel import relabel
from mlff_curate.errors import DataError, OutputError
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mlff_curate.checks.finding import Correction, Finding
    from mlff_curate.checks.frame import CheckedFrame
    from mlff_curate.workflows.check import CheckResult
    from mlff_curate.workflows.survey import Progress

COLUMNS = ("file", "frame", "key", "rule", "done", "before", "after", "detail")
"""Of the list of fixes."""
CORRECTED, LEFT_OUT, NOT_FIXED = "corrected", "left out", "not fixed"
_REPEAT = "duplicate-exact"
_FAULTS = ("-unit", "-sign", "-order", "-virial")
_KINDS = {"energy": "energy", "force": "forces", "stress": "stress"}
"""First word of such rules -> kind of label."""
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
    type_map: Sequence[str] = (),
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
    type_map
        As there.
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
            for written, text in enumerate(_texts(result, plan, type_map), 1):
                frames.write(text)
                tell("fix", written, len(result.material.frames), "frames")
            # a file name need not be UTF-8: the table gives back its bytes
            table.write(fixes_text(plan.done).encode(errors="surrogateescape"))
    except DataError as error:
        return Fixed(None, str(error), 0, ())
    return Fixed(outputs, "", len(result.material.frames) - len(plan.left_out), tuple(plan.done))


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
        self.corrections: dict[tuple[str, int], list[Finding]] = {}
        self.apart: dict[tuple[str, int, str], str] = {}
        self.done: list[Fix] = []
        self.frames = {(frame.file, frame.index): frame for frame in result.material.frames}
        for finding in result.material.findings:  # also where the user does not want to hear of it
            if finding.rule == _UNREAD:
                self._note(finding, LEFT_OUT, "it cannot be read")
        for finding in result.findings:
            if finding.rule == _REPEAT and finding.file is not None and finding.frame is not None:
                self._take_repeat(finding, (finding.file, finding.frame))
            elif finding.correction is not None:
                for at in self._frames_of(finding):
                    self.corrections.setdefault(at, []).append(finding)
            elif finding.rule != _UNREAD and finding.severity != "note":
                self._take_other(finding)

    def _note(self, finding: Finding, done: str, detail: str) -> None:
        self.done.append(Fix(finding.file, finding.frame, finding.key, finding.rule, done, detail=detail))

    def _take_repeat(self, finding: Finding, at: tuple[str, int]) -> None:
        more = _labels_beyond(self.frames[at], self.frames, str(finding.value))
        if more:
            self._note(finding, NOT_FIXED, f"it has labels that the first of its copies lacks ({', '.join(more)})")
            return
        self.left_out.add(at)
        self._note(finding, LEFT_OUT, f"a copy of {finding.value}, which stays")

    def _take_other(self, finding: Finding) -> None:
        """Note what cannot be mended; such a frame is not mended by what is known of all either."""
        if finding.file is not None and finding.frame is not None and finding.rule.endswith(_FAULTS):
            self.apart[finding.file, finding.frame, _KINDS.get(finding.rule.split("-")[0], "")] = finding.rule
        self._note(finding, NOT_FIXED, "no correction is certain")

    def _frames_of(self, finding: Finding) -> list[tuple[str, int]]:
        """Return the frames that a finding tells of: one, those of a file, or all."""
        if finding.file is not None and finding.frame is not None:
            return [(finding.file, finding.frame)] if (finding.file, finding.frame) in self.frames else []
        return [at for at in self.frames if finding.file in (None, at[0])]

    def apply(self, file: str, index: int, text: bytes, kinds: Mapping[str, str | None]) -> bytes:
        """Return a frame's text with its labels put right.

        Parameters
        ----------
        kinds
            ``energy``, ``forces``, ``stress`` to the name that the frame has for it.
        """
        findings = self.corrections.get((file, index), ())
        for kind in dict.fromkeys(f.correction.kind for f in findings if f.correction is not None):
            mine = [f for f in findings if f.correction is not None and f.correction.kind == kind]
            key = kinds[kind]
            if key is None:
                continue  # told of the whole file; this frame has no such label
            text = self._apply_one(mine, file, index, key, text)
        return text

    def _apply_one(self, findings: Sequence[Finding], file: str, index: int, key: str, text: bytes) -> bytes:
        corrections = _together([f.correction for f in findings if f.correction is not None])
        rules = ";".join(dict.fromkeys(f.rule for f in findings))
        why = self.apart.get((file, index, corrections[0].kind))
        if why is not None:
            detail = f"what all frames share would be mended, but {why} was found of this frame besides"
            self.done.append(Fix(file, index, key, rules, NOT_FIXED, detail=detail))
            return text
        if len(corrections) > 1:
            said = " or ".join(map(_said, corrections))
            self.done.append(
                Fix(file, index, key, rules, NOT_FIXED, detail=f"several corrections are possible ({said})")
            )
            return text
        atoms = parse_frame(text, file, index)
        keys = (
            same_label(atoms, key, corrections[0].kind) if self.label_keys.get(corrections[0].kind) is None else [key]
        )
        volume = abs(float(np.linalg.det(atoms.cell.array)))
        new = text
        try:
            for name in keys:
                new = relabel(new, name, _change(corrections[0], volume, len(atoms)))
        except DataError as error:
            self.done.append(Fix(file, index, key, rules, NOT_FIXED, detail=error.message))
            return text
        before = np.asarray(named_values(atoms)[key], dtype=float)
        after = np.asarray(named_values(parse_frame(new, file, index))[key], dtype=float)
        also = f"; also {', '.join(k for k in keys if k != key)}" if len(keys) > 1 else ""
        self.done.append(
            Fix(file, index, key, rules, CORRECTED, _short(before), _short(after), _said(corrections[0]) + also)
        )
        return new


def _labels_beyond(copy: CheckedFrame, frames: Mapping[tuple[str, int], CheckedFrame], original: str) -> list[str]:
    """Return the names of a copy's labels of which the original has none of the kind; all, if it cannot be told."""
    file, _, index = original.rpartition(":")
    first = frames.get((file, int(index))) if index.isdigit() else None
    kinds = ("energy", "forces", "stress", "energies", "magmoms")
    names = {kind: getattr(copy.labels, f"{kind}_key") for kind in kinds}
    lacking = [
        name for kind, name in names.items() if name and getattr(first and first.labels, f"{kind}_key", None) is None
    ]
    unknown = set(copy.labels.unknown) - set(first.labels.unknown if first else ())
    return [*lacking, *sorted(unknown)]


def _texts(result: CheckResult, plan: _Plan, type_map: Sequence[str]) -> Iterator[bytes]:
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
        for index, sha256, text in read_texts(count.file, wanted, type_map) if wanted else ():
            frame, expected = known[index]
            if sha256 != expected:
                raise DataError("the file changed while it was being checked", file=count.file, frame=index)
            found += 1
            labels = frame.labels
            kinds = {"energy": labels.energy_key, "forces": labels.forces_key, "stress": labels.stress_key}
            yield plan.apply(count.file, index, text, kinds)
        if found != len(wanted):
            raise DataError("the file changed while it was being checked", file=count.file)


def _together(corrections: Sequence[Correction]) -> list[Correction]:
    """Return different corrections of one label, an order joined with what concerns the values: one, if they agree."""
    different = list(dict.fromkeys(corrections))
    orders = [c for c in different if c.order is not None and replace(c, order=None) == type(c)(c.kind)]
    values = [c for c in different if c.order is None]
    if len(different) == 2 and len(orders) == len(values) == 1:
        return [replace(values[0], order=orders[0].order)]
    return different


def _change(correction: Correction, volume: float, atoms: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the correction as a function of the values as they stand in the file, (), (n, 3), (6,), (9,) or (3, 3).

    All corrections are linear, so that they hold for a virial as they do for the stress made of it.
    """
    factor = correction.factor * (atoms if correction.per_atom else 1)
    if correction.per_volume:
        factor *= volume**-correction.per_volume

    def change(value: np.ndarray) -> np.ndarray:
        return factor * (value if correction.order is None else _reordered(value, correction.order))

    return change


_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Rows and columns of ASE's Voigt components."""


def _reordered(value: np.ndarray, order: Sequence[int]) -> np.ndarray:
    if value.shape == (6,):
        return value[list(order)]
    full = value.reshape(3, 3)
    new = full.copy()
    for component, source in enumerate(order):
        (i, j), (a, b) = _PAIRS[component], _PAIRS[source]
        new[i, j], new[j, i] = full[a, b], full[b, a]
    return new.reshape(value.shape)


def _said(correction: Correction) -> str:
    """Return a correction in words."""
    words = []
    if correction.order is not None:
        words.append(f"components put in the order {' '.join(map(str, correction.order))}")
    if correction.factor != 1.0:
        words.append(f"multiplied by {correction.factor:.9g}")
    if correction.per_atom:
        words.append("multiplied by the number of atoms")
    if correction.per_volume:
        words.append("divided by the cell's volume" if correction.per_volume > 0 else "multiplied by the cell's volume")
    return ", ".join(words)


def _short(value: np.ndarray) -> str:
    """Return a label in short: a number, or the first one and the root mean square of all."""
    if value.size == 1:
        return repr(float(value.reshape(())))
    return f"{value.flat[0]:.6g} first, {np.sqrt(np.mean(value**2)):.6g} rms"
