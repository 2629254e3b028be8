"""The page of `check`: what was found, where, what it means, and what there was to be checked."""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlff_curate.checks.finding import SEVERITIES
from mlff_curate.checks.rules import RULES
from mlff_curate.report.findings import by_rule, counts_text, severity_counts
from mlff_curate.report.parts import render_page
from mlff_curate.report.run import RunReport
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlff_curate.checks.census import LabelCount
    from mlff_curate.checks.finding import Finding

CHECK_TITLE = "Checked: "
"""How the title of the page begins; names of the inputs follow."""
ROWS = 2000
"""Findings on the page; each rule has its first ones there."""
_OF_EACH = 100
_HEAD = 2**16
"""Bytes in which the head of a page ends."""
_OURS = re.compile(
    rb'<meta name="generator" content="mlff-curate [^">]*">\s*<title>(%s[^<]*)</title>' % CHECK_TITLE.encode()
)
_COUNTED = 200
"""Files and groups with a line of their own."""


@dataclass(frozen=True, eq=False)
class CheckReport(RunReport):
    """Everything that the page shows, besides what all pages say.

    Attributes
    ----------
    findings
        All.
    files
        (name, frames, atoms) of each.
    groups
        (file, index, configuration group) of each frame; an empty group: none.
    census
        Which labels there are.
    checked, unchecked
        Titles of the checks that ran; (title, why not) of the others.
    said_of_fix
        What ``--fix`` did, in sentences.
    """

    findings: tuple[Finding, ...]
    files: tuple[tuple[str, int, int], ...]
    groups: tuple[tuple[str, int, str], ...]
    census: tuple[LabelCount, ...]
    checked: tuple[str, ...]
    unchecked: tuple[tuple[str, str], ...]
    said_of_fix: tuple[str, ...] = ()


@dataclass(frozen=True)
class CountRow:
    """A file or a group: frames, and findings by severity."""

    name: str
    frames: int
    counts: tuple[int, ...]


def render_check(report: CheckReport) -> str:
    """Return the page as HTML; see :func:`mlff_curate.report.parts.render_page`."""
    frames = sum(count for _, count, _ in report.files)
    shown = shown_findings(report.findings)
    rules = by_rule(report.findings)
    of_files = counted(len(report.files), "file")
    files, groups = _by_file(report), _by_group(report)
    return render_page(
        "check.html.j2",
        report,
        {},
        headline=f"{counts_text(report.findings)} in {counted(frames, 'frame')} of {of_files}",
        rules=rules,
        meanings={group.rule: RULES[group.rule].meaning for group in rules if group.rule in RULES},
        severities=[severity for severity, n in severity_counts(report.findings).items() if n],
        shown=shown,
        several_files=len(report.files) > 1,
        hidden=len(report.findings) - len(shown),
        files=files[:_COUNTED],
        more_files=len(files) - _COUNTED,
        groups=groups[:_COUNTED],
        more_groups=len(groups) - _COUNTED,
        frames=frames,
    )


def check_page_title(path: Path) -> str | None:
    """Return the title of a page that :func:`render_check` wrote; None: the file is no such page, or cannot be read."""
    try:
        with path.open("rb") as stream:
            found = _OURS.search(stream.read(_HEAD))
    except OSError:
        return None
    return None if found is None else html.unescape(found[1].decode("utf-8", "replace"))


def shown_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings for the page: the gravest first, and of each rule some, whatever the others have."""
    groups = [group.findings for group in by_rule(findings)]
    first = [finding for group in groups for finding in group[:_OF_EACH]][:ROWS]
    rest = [finding for group in groups for finding in group[_OF_EACH:]][: ROWS - len(first)]
    place = {id(finding): i for i, finding in enumerate(findings)}
    return sorted([*first, *rest], key=lambda f: (SEVERITIES.index(f.severity), f.rule, place[id(f)]))


def _by_file(report: CheckReport) -> list[CountRow]:
    counts = Counter((f.file, f.severity) for f in report.findings)
    rows = [CountRow(name, n, tuple(counts[name, s] for s in SEVERITIES)) for name, n, _ in report.files]
    return sorted(rows, key=lambda row: tuple(-n for n in row.counts))


def _by_group(report: CheckReport) -> list[CountRow]:
    """Return a row per group; none where there are no groups. A finding of a whole file belongs to no group."""
    group = {(file, index): name for file, index, name in report.groups}
    sizes = Counter(group.values())
    if not set(sizes) - {""}:
        return []
    counts = Counter(
        (group[f.file, f.frame], f.severity)
        for f in report.findings
        if f.file is not None and f.frame is not None and (f.file, f.frame) in group
    )
    rows = [CountRow(name or "(no group)", n, tuple(counts[name, s] for s in SEVERITIES)) for name, n in sizes.items()]
    return sorted(rows, key=lambda row: (*(-n for n in row.counts), row.name))
