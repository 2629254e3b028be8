"""``check`` from files to the screen, a page and, with ``--fix``, corrected frames."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate import __version__
from mlff_curate.checks.census import census_text
from mlff_curate.checks.finding import worst
from mlff_curate.data.outputs import require_free, whole_files
from mlff_curate.errors import OutputError, UsageError
from mlff_curate.report.check import CHECK_TITLE, CheckReport, check_page_title, render_check
from mlff_curate.report.findings import counts_text, finding_lines, severity_counts
from mlff_curate.wording import counted
from mlff_curate.workflows.check import CheckOptions, CheckResult, check, each_once, require_check_options
from mlff_curate.workflows.fix import Fixed, FixOutputs, write_fixed
from mlff_curate.workflows.telling import peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.workflows.survey import Progress


@dataclass(frozen=True)
class CheckDone:
    """A finished ``check``.

    Attributes
    ----------
    result
        What was found.
    report
        The page; None: none was written.
    no_report
        Why there is none, if it was not the user's wish.
    fixed
        Of ``--fix``, else None.
    every
        Every finding is a line on the screen.
    """

    result: CheckResult
    report: Path | None
    no_report: str = ""
    fixed: Fixed | None = None
    every: bool = False

    @property
    def seconds(self) -> dict[str, float]:
        """Stage to seconds."""
        return self.result.seconds

    @property
    def status(self) -> int:
        """0: nothing found, or notes only; 1: a warning, an error, a check that failed, or ``--fix`` wrote nothing."""
        unwritten = self.fixed is not None and self.fixed.outputs is None
        return int(unwritten or bool(self.result.failed) or worst(list(self.result.findings)) in ("error", "warning"))

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        result = self.result
        values: dict[str, object] = {
            "findings": [{name: _plain(v) for name, v in f.as_dict().items()} for f in result.findings],
            "counts": severity_counts(result.findings),
            "frames": len(result.material.frames),
            "files": {count.file: count.frames for count in result.material.files},
            "labels": [
                {"kind": item.kind, "key": item.key, "frames": item.frames, "read_as": item.said}
                for item in result.census
            ],
            "checked": list(result.checked),
            "not_checked": dict(result.unchecked),
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "report": None if self.report is None else str(self.report),
        }
        if self.fixed is not None:
            values["fix"] = self.fixed.summary()
        return values

    def lines(self) -> list[str]:
        """Return what a person reads."""
        result, material = self.result, self.result.material
        files = material.files[0].file if len(material.files) == 1 else counted(len(material.files), "file")
        lines = [
            *finding_lines(result.findings, every=self.every),
            f"{files}: {counted(len(material.frames), 'frame')}: {counts_text(result.findings)}",
            *_looked_at(result),
        ]
        if self.fixed is not None:
            lines += self.fixed.lines()
        if self.report is not None:
            lines.append(f"all of it on a page: {self.report}")
        elif self.no_report:
            lines.append(f"no page was written: {self.no_report}")
        return lines


def check_files(
    inputs: Sequence[str | Path],
    options: CheckOptions | None = None,
    *,
    report: str | Path | None = None,
    no_report: bool = False,
    fix: str | Path | None = None,
    overwrite: bool = False,
    every: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> CheckDone:
    """Check files, write a page on what was found and, where asked for, corrected frames.

    Parameters
    ----------
    inputs
        Files or folders.
    options
        See :class:`CheckOptions`.
    report
        The page; by default named after the first input, in the current folder. One of the default name that an
        earlier check of the same inputs wrote is written anew; any other file of that name is left alone, and the
        findings are told without.
    no_report
        Write no page.
    fix
        Where to write the frames with what is certain put right; the list of what was done lies beside it.
    overwrite
        Replace outputs that exist.
    every
        Print every finding, not one paragraph per rule.
    command
        What to type to get the same again, for the page.
    progress
        See :func:`mlff_curate.workflows.check.check`.

    Raises
    ------
    CurateError
        As :func:`check`; also outputs that exist or cannot be written, before any work.
    """
    o = options or CheckOptions()
    require_check_options(inputs, o)
    if fix is not None and o.train:
        raise UsageError("writes one set, and --train and --test are two: fix them one at a time", key="--fix")
    read = [Path(path) for path in (*inputs, *o.train, *o.test)]
    untouchable = [*read, *map(Path, o.files)]
    outputs = None if fix is None else FixOutputs.at(fix)
    fixed_paths = [] if outputs is None else [outputs.frames, outputs.fixes]
    page = None if no_report else _page(report, read)
    require_free([*fixed_paths, *([page] if page and report else [])], untouchable, overwrite=overwrite)
    why = ""
    if page and not report:
        try:
            require_free([*fixed_paths, page], untouchable, overwrite=True)
            if not overwrite:
                _require_replaceable(page, _title(list(map(str, each_once(read)))))
        except OutputError as error:
            page, why = None, str(error)
    result = check(inputs, o, progress=progress)
    start = time.perf_counter()
    fixed = None if outputs is None else write_fixed(result, outputs, o.label_keys, o, progress)
    if fixed is not None:
        result = replace(result, seconds={**result.seconds, "fix": time.perf_counter() - start})
    if page is not None:
        with whole_files(page) as (stream,):
            stream.write(render_check(_report(result, fixed, page, o, command)).encode(errors="replace"))
    return CheckDone(result, page, why, fixed, every)


def _looked_at(result: CheckResult) -> list[str]:
    """Say which labels there are, what was checked, and what was not: a line per reason."""
    frames = len(result.material.frames)
    if not frames:
        return ["nothing was checked: no frame could be read"]
    reasons: dict[str, list[str]] = {}
    for title, why in result.unchecked:
        reasons.setdefault(why, []).append(title)
    return [
        census_text(result.census, frames),
        f"checked: {'; '.join(result.checked)}",
        *(f"not checked: {'; '.join(titles)}: {why}" for why, titles in reasons.items()),
    ]


def _plain(value: object) -> object:
    """Return Python's own number for one of numpy's, which JSON does not know."""
    return value.item() if isinstance(value, np.generic) else value


def _page(report: str | Path | None, inputs: Sequence[Path]) -> Path:
    if report is None:
        name = inputs[0].name or inputs[0].resolve().name  # a folder may be given as a point
        return Path(f"{name.removesuffix('.gz').rsplit('.', 1)[0]}.check.html")
    if not Path(report).name:
        raise OutputError("is a folder, not a file", file=str(report) or "-o")
    return Path(report)


def _require_replaceable(page: Path, title: str) -> None:
    """Refuse to write over anything but the page of an earlier check with the same title, that is, of the same inputs.

    Raises
    ------
    OutputError
        The message says what is there.
    """
    if not page.exists():
        return
    there = check_page_title(page)
    if there is None:
        raise OutputError("exists already, and is no page of check: say --overwrite to replace it", file=str(page))
    if there != title.encode("utf-8", "backslashreplace").decode("utf-8"):
        raise OutputError(
            f"is the page of another check ({there}): name another with -o, or say --overwrite", file=str(page)
        )


def _title(files: Sequence[str]) -> str:
    return f"{CHECK_TITLE}{', '.join(files[:5])}" + (f" and {len(files) - 5} more" if files[5:] else "")


def _report(result: CheckResult, fixed: Fixed | None, page: Path, o: CheckOptions, command: str) -> CheckReport:
    files = tuple(count.file for count in result.material.files)
    options = {"seed": str(o.seed)}
    for name in ("train", "test", "skip", "only", "group_by", "type_map", "units", "log"):
        value = getattr(o, name)
        if value:
            options[name.replace("_", "-")] = (
                ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
            )
    options |= {f"{kind}-key": key for kind, key in o.label_keys.items() if key}
    return CheckReport(
        title=_title(files),
        command=command,
        version=__version__,
        inputs=files,
        output=str(page if fixed is None or fixed.outputs is None else fixed.outputs.frames),
        options=options,
        seconds=result.seconds,
        peak_memory_mb=peak_memory_mb(),
        findings=result.findings,
        files=tuple((count.file, count.frames, count.atoms) for count in result.material.files),
        groups=tuple((frame.file, frame.index, frame.group) for frame in result.material.frames),
        census=result.census,
        checked=result.checked,
        unchecked=result.unchecked,
        said_of_fix=tuple(line.strip() for line in fixed.lines()) if fixed is not None else (),
    )
