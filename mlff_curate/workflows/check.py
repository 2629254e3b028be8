"""``check``: are the frames of some files sound, and their labels? One pass over the files, then check after check."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_curate.checks.absurd import without_absurd
from mlff_curate.checks.agreement import FEWEST_FRAMES as FEWEST_TO_COMPARE
from mlff_curate.checks.cells import cells
from mlff_curate.checks.census import LabelCount, label_census
from mlff_curate.checks.company import energies_apart
from mlff_curate.checks.contacts import contacts
from mlff_curate.checks.duplicates import duplicates, shared_with_training
from mlff_curate.checks.files import open_ended, remarked, unreadable
from mlff_curate.checks.frame import CheckedFrame
from mlff_curate.checks.labelling import LabelCensus
from mlff_curate.checks.local_model import FEWEST_FRAMES as FEWEST_ALIKE
from mlff_curate.checks.mending import mended, mendings
from mlff_curate.checks.physics import FEWEST_FRAMES, check_physics
from mlff_curate.checks.rules import require_rules
from mlff_curate.data.formats.base import ReadOptions
from mlff_curate.data.frames import geometry, named_values
from mlff_curate.data.labels import missing_key
from mlff_curate.data.reading import read_frames
from mlff_curate.errors import DataError, UsageError
from mlff_curate.wording import counted
from mlff_curate.workflows.collect import GROUP_KEY, NO_GROUP
from mlff_curate.workflows.survey import Progress, Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlff_curate.checks.finding import Finding


@dataclass(frozen=True, kw_only=True)
class CheckOptions(ReadOptions):
    """What may be asked of ``check``; the defaults are the command line's.

    Attributes
    ----------
    train, test
        Files that a model is trained and tested on: no frame should be in both. They are checked with the inputs.
    skip, only
        Rules to be silent about; or the only ones to tell of, empty: all.
    group_by
        Info key of the configuration groups, ``"none"`` for one group; by default ``config_type`` where there is one.
    label_keys
        ``energy``, ``forces``, ``stress`` to the key that holds it, or None for the usual names.
    seed
        Of every random choice.

    The others are those of :class:`ReadOptions`: ``type_map``, ``units``, ``log``.
    """

    train: Sequence[str | Path] = ()
    test: Sequence[str | Path] = ()
    skip: Sequence[str] = ()
    only: Sequence[str] = ()
    group_by: str | None = None
    label_keys: Mapping[str, str | None] = field(default_factory=dict)
    seed: int = 0

    def wants(self, rule: str) -> bool:
        """Tell whether the user wants to hear of a rule."""
        return rule not in self.skip and (not self.only or rule in self.only)


@dataclass(frozen=True)
class FileCount:
    """What was read of a file."""

    file: str
    frames: int
    atoms: int


@dataclass(frozen=True)
class Material:
    """All frames of a job, read once.

    Attributes
    ----------
    frames
        F, in the order of the files and of the frames in them.
    sha256
        (F,) of each frame, as in :class:`mlff_curate.data.frames.Frame`.
    files
        One per file, unreadable ones included.
    findings
        What was noticed while reading.
    origins
        Name of a label -> where it comes from, where a reader said so.
    train, test
        Names of the files that a model is trained and tested on.
    """

    frames: tuple[CheckedFrame, ...]
    sha256: tuple[str, ...]
    files: tuple[FileCount, ...]
    findings: tuple[Finding, ...]
    origins: Mapping[str, str]
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One check, run on all frames together.

    Attributes
    ----------
    name
        Of its stage.
    title
        What it looks at, in words.
    rules
        Those of its findings; a check none of whose rules is wanted is not run.
    run
        The check itself.
    lacking
        Why it has nothing to go by; None: it has; empty: nobody asks for it.
    """

    name: str
    title: str
    rules: tuple[str, ...]
    run: Callable[[Material, CheckOptions, Progress], list[Finding]]
    lacking: Callable[[Material], str | None]


def _no_frames(material: Material) -> str | None:
    return None if material.frames else "no frame could be read"


def _too_few(material: Material) -> str | None:
    return None if len(material.frames) > 1 else "it takes two frames at least"


def _no_pair(material: Material) -> str | None:
    if not material.train:
        return ""
    read = {frame.file for frame in material.frames}
    unread = [name for name, side in (("--train", material.train), ("--test", material.test)) if not read & set(side)]
    return f"no frame of {' and '.join(unread)} could be read" if unread else None


def _duplicates(material: Material, o: CheckOptions, tell: Progress) -> list[Finding]:  # noqa: ARG001
    """Look for repeats; of what is in a training and in a test set, the check of that name tells."""
    tested = [frame for frame in material.frames if frame.file in material.test]
    return duplicates([f for f in material.frames if f.file not in material.test]) + duplicates(tested)


def _shared(material: Material, o: CheckOptions, tell: Progress) -> list[Finding]:  # noqa: ARG001
    train, test = (
        [frame for frame in material.frames if frame.file in side] for side in (material.train, material.test)
    )
    return shared_with_training(test, train)


def _no_labels(material: Material) -> str | None:
    labelled = sum(any(_kinds(frame)) for frame in material.frames)
    if not labelled:
        return "no frame has an energy, forces or a stress"
    if labelled < FEWEST_FRAMES:
        return f"{counted(labelled, 'frame')} with labels, and it takes {FEWEST_FRAMES}"
    return None


def _extent(item: Check, material: Material) -> tuple[str, list[tuple[str, str]]]:
    """Return what a check looks at in so many frames, and what it takes more of them for."""
    if item.name != "physics":
        return item.title, []
    n = sum(any(_kinds(frame)) for frame in material.frames)
    alike = "labels against those of frames that look alike"
    more = [(alike, f"{counted(n, 'frame')} with labels, and it takes {FEWEST_ALIKE}")]
    if n < FEWEST_TO_COMPARE:
        short = f"{counted(n, 'frame')} with labels, and it takes {FEWEST_TO_COMPARE}"
        return "sums of forces", [("labels against each other", short), *more]
    return ("labels against each other", more) if n < FEWEST_ALIKE else (item.title, [])


def _kinds(frame: CheckedFrame) -> tuple[bool, bool, bool]:
    labels = frame.labels
    return labels.energy is not None, labels.forces is not None, labels.stress is not None


def _kinds_without_labels(material: Material) -> list[tuple[str, str]]:
    """Return which labels are nowhere, where there are some of another kind."""
    there = [_kinds(frame) for frame in material.frames]
    energy, forces, stress = (any(column) for column in zip(*there, strict=True)) if there else (True, True, True)
    if not (energy or forces or stress):
        return []
    missing = {"energies": not energy, "forces": not forces, "stresses": not stress}
    return [(kind, "no frame has any that can be used") for kind, gone in missing.items() if gone]


def _mended(material: Material, findings: Sequence[Finding]) -> Material:
    """Return the frames with those labels put right of which findings tell how."""
    what = mendings(findings, {(frame.file, frame.index): frame for frame in material.frames})
    if not what:
        return material
    frames = tuple(mended(frame, what.get((frame.file, frame.index), ())) for frame in material.frames)
    return replace(material, frames=frames)


def _physics(material: Material, o: CheckOptions, tell: Progress) -> list[Finding]:
    def told(done: int, total: int) -> None:
        tell("physics", done, total, "frames")

    return check_physics(material.frames, seed=o.seed, progress=told)


CHECKS: tuple[Check, ...] = (
    Check(
        "cells",
        "cells, volumes, periodic directions",
        ("cell-left-handed", "cell-flat", "cell-skewed", "pbc-mixed", "volume-absurd"),
        lambda material, *_: cells(material.frames),
        _no_frames,
    ),
    Check(
        "physics",
        "labels against each other and against frames that look alike",
        (
            *("energy-unit", "energy-sign", "energy-zero", "energy-reference", "energy-outlier"),
            *("isolated-atom-energy", "force-unit", "force-sign", "force-zero", "force-balance", "force-outlier"),
            *("stress-unit", "stress-sign", "stress-virial", "stress-order", "stress-zero", "stress-outlier"),
        ),
        _physics,
        _no_labels,
    ),
    Check(
        "contacts",
        "distances between atoms",
        ("atoms-overlap", "contact-short", "atoms-far"),
        lambda material, *_: contacts(material.frames),
        _no_frames,
    ),
    Check(
        "duplicates",
        "repeated structures and what their labels say",
        ("duplicate-exact", "duplicate-near", "duplicate-twin", "duplicate-conflict"),
        _duplicates,
        _too_few,
    ),
    Check("train and test", "test frames that are in the training set", ("duplicate-train-test",), _shared, _no_pair),
)
"""In the order in which they run."""


@dataclass(frozen=True)
class CheckResult:
    """What was found.

    Attributes
    ----------
    material
        What was read, without labels beyond anything physical.
    findings
        Those that the user wants to hear of: by check, in the order of files and frames.
    census
        Which labels there are.
    checked
        Titles of the checks that ran.
    unchecked
        (title, why not) of those that did not.
    seconds
        Stage to seconds.
    failed
        Titles of those of the unchecked that ended in an exception.
    """

    material: Material
    findings: tuple[Finding, ...]
    census: tuple[LabelCount, ...]
    checked: tuple[str, ...]
    unchecked: tuple[tuple[str, str], ...]
    seconds: dict[str, float]
    failed: tuple[str, ...] = ()


def check(
    inputs: Iterable[str | Path] = (), options: CheckOptions | None = None, *, progress: Progress | None = None
) -> CheckResult:
    """Check files; nothing is written (see :func:`mlff_curate.workflows.check_files.check_files`).

    Parameters
    ----------
    inputs
        Files or folders; those of ``options.train`` and ``options.test`` need not be among them.
    options
        See :class:`CheckOptions`.
    progress
        Called with stage, steps done, steps in all (None: unknown) and a word on the state.

    Raises
    ------
    CurateError
        An option out of range, or a key that no frame has. What is wrong with files and frames is no error here but a
        finding.
    """
    o = options or CheckOptions()
    require_check_options(inputs := list(inputs), o)
    tell = progress or (lambda *_: None)
    clock = Stages()
    with clock("read"):
        material = _read(inputs, o, tell)
    census = label_census(material.frames, material.origins)
    frames, absurd = without_absurd(material.frames)
    material = replace(material, frames=frames)
    findings = [finding for finding in (*material.findings, *absurd) if o.wants(finding.rule)]
    seen = material
    checked, unchecked, failed = ["files, frames, names and shapes of labels"], [], []
    for item in CHECKS:
        if not any(map(o.wants, item.rules)):
            unchecked.append((item.title, "none of its rules is asked for"))
            continue
        why = item.lacking(material)
        if why is not None:
            unchecked += [(item.title, why)] if why else []
            continue
        tell(item.name, 0, None, item.title)
        with clock(item.name):
            try:
                new = [finding for finding in item.run(seen, o, tell) if o.wants(finding.rule)]
            except Exception as error:  # noqa: BLE001 what the others find must not be lost with one of them
                failed.append(item.title)
                unchecked.append((item.title, f"the check failed, please report it ({_where(error)})"))
                continue
        findings += new
        seen = _mended(seen, new)  # a repeat, or a contact, is judged by labels that are put right
        title, more = _extent(item, material)
        checked.append(title)
        unchecked += more
    unchecked += _kinds_without_labels(material)
    return CheckResult(
        material, tuple(findings), census, tuple(checked), tuple(unchecked), clock.seconds, tuple(failed)
    )


def _where(error: Exception) -> str:
    """Return an exception in one line, with the place where it was raised."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{said}; {Path(place.filename).name}:{place.lineno}"


def require_check_options(inputs: Sequence[str | Path], o: CheckOptions) -> None:
    """Check what can be checked before any file is read.

    Raises
    ------
    UsageError
        No file at all, a training set without a test set, a file in both, or a rule that does not exist or is in both
        ``skip`` and ``only``.
    """
    if not (inputs or o.train or o.test):
        raise UsageError("name a file to check", key="INPUT")
    if bool(o.train) != bool(o.test):
        given, other = ("--train", "--test") if o.train else ("--test", "--train")
        raise UsageError(f"needs {other} as well: frames are looked for that are in both", key=given)
    both = {Path(p).resolve() for p in o.train} & {Path(p).resolve() for p in o.test}
    if both:
        raise UsageError(f"{min(both).name} is given as --train too", key="--test")
    require_rules(o.skip, "--skip")
    require_rules(o.only, "--only")
    named = sorted(set(o.skip) & set(o.only))
    if named:
        raise UsageError(f"{named[0]} is given as --only too", key="--skip")


def _read(inputs: Sequence[str | Path], o: CheckOptions, tell: Progress) -> Material:
    """Read all files once; of frames only geometry and labels are held."""
    paths = each_once([*inputs, *o.train, *o.test])
    keys = {f"{kind}_key": o.label_keys.get(kind) for kind in ("energy", "forces", "stress")}
    group_key = None if o.group_by == NO_GROUP else (o.group_by or GROUP_KEY)
    frames: list[CheckedFrame] = []
    sha256: list[str] = []
    findings: list[Finding] = []
    files: list[FileCount] = []
    origins: dict[str, str] = {}
    info_keys: set[str] = set()
    names: set[str] = set()
    census = LabelCensus(**keys)

    def faulty(error: DataError) -> None:
        findings.append(unreadable(error))

    for path in paths:
        first = len(frames)
        for frame in read_frames(path, o.type_map, units=o.units, log=o.log, faults=faulty):
            findings += remarked(frame)
            for key, origin in frame.origins.items():
                origins.setdefault(key, origin)
            info_keys.update(map(str, frame.atoms.info))
            names.update(named_values(frame.atoms))
            group = str(frame.atoms.info.get(group_key, "")) if group_key else ""
            labels = census.add(frame)
            findings += energies_apart(frame, labels)
            frames.append(CheckedFrame(str(path), frame.index, geometry(frame.atoms), labels, group))
            sha256.append(frame.sha256)
            tell("read", len(frames), None, "frames")
        findings += open_ended(path) if len(frames) > first else []
        files.append(FileCount(str(path), len(frames) - first, sum(len(f.atoms) for f in frames[first:])))
    _require_keys(frames, o, info_keys, names)
    findings += census.findings()
    train, test = (_given(paths, side) for side in (o.train, o.test))
    return Material(tuple(frames), tuple(sha256), tuple(files), tuple(findings), origins, train, test)


def each_once(paths: Iterable[str | Path]) -> list[Path]:
    """Return each file once, under the name that it was given first."""
    seen: dict[Path, Path] = {}
    for path in map(Path, paths):
        seen.setdefault(path.resolve(), path)
    return list(seen.values())


def _given(paths: Sequence[Path], side: Iterable[str | Path]) -> tuple[str, ...]:
    meant = {Path(path).resolve() for path in side}
    return tuple(str(path) for path in paths if path.resolve() in meant)


def _require_keys(frames: Sequence[CheckedFrame], o: CheckOptions, info_keys: set[str], names: set[str]) -> None:
    """Refuse a key that no frame has; without frames there is nothing to compare it with."""
    if not frames:
        return
    for kind, key in o.label_keys.items():
        if key is not None and key not in names:
            there = {name for frame in frames for name in frame.labels.present}
            raise missing_key(kind, key, there, len(frames))
    if o.group_by not in (None, NO_GROUP) and o.group_by not in info_keys:
        listed = ", ".join(sorted(info_keys)) or "none at all"
        raise DataError(f"no frame has this info key; available: {listed}", key=f"--group-by {o.group_by}")
