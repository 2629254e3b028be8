"""Findings put together: what the screen and the page say of many."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlff_curate.checks.finding import SEVERITIES, Finding, Severity
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PLACES = 5
"""Frames named in a line."""
_EXAMPLES = 3
"""Messages quoted of a rule."""
_VARYING = re.compile(r"'[^']*'|\S*\d\S*")
_GROUPS = 12
"""Rules told on the screen, of all severities together."""


@dataclass(frozen=True)
class RuleFindings:
    """The findings of one rule and severity, at least one, in the order in which they were made."""

    severity: Severity
    rule: str
    findings: tuple[Finding, ...]

    @property
    def examples(self) -> list[Finding]:
        """The first findings whose messages differ by more than numbers and names."""
        unlike: dict[tuple[str | None, str], Finding] = {}
        for finding in self.findings:
            unlike.setdefault((finding.key, _VARYING.sub("", finding.message)), finding)
        return list(unlike.values())[:_EXAMPLES]

    @property
    def fixes(self) -> list[str]:
        """What to do about the examples, each thing once."""
        return [fix for fix in dict.fromkeys(example.fix for example in self.examples) if fix]

    def quoted(self, example: Finding) -> str:
        """Return a finding's message, after as much of its place as tells it from the others of its rule."""
        words = []
        if len({f.file for f in self.findings}) > 1:
            words.append(example.file or "all inputs")
        if len(self.findings) > 1 and example.frame is not None:
            words.append(f"frame {example.frame}")
        if example.key is not None:
            words.append(example.key)
        return ": ".join([*words, example.message])

    def places(self, named: int = _PLACES) -> str:
        """Return where they are, in words: ``18 frames of fe.extxyz (3, 17, 44, 51, 60, ...)``."""
        whole = list(dict.fromkeys(f.file for f in self.findings if f.frame is None))
        frames = list(dict.fromkeys((f.file, f.frame) for f in self.findings if f.frame is not None))
        files = list(dict.fromkeys(file for file, _ in frames))
        said = []
        if whole:
            names = [name or "all inputs" for name in whole]
            said.append(", ".join(names[:named]) + (f" and {len(names) - named} more files" if names[named:] else ""))
        if len(files) == 1:
            numbers = [str(frame) for _, frame in frames]
            said.append(
                f"frame {numbers[0]} of {files[0]}"
                if len(numbers) == 1
                else f"{len(numbers)} frames of {files[0]} ({_listed(numbers, named)})"
            )
        elif files:
            listed = _listed([f"{file}#{frame}" for file, frame in frames], named)
            said.append(f"{len(frames)} frames of {len(files)} files ({listed})")
        return "; ".join(said)


def by_rule(findings: Iterable[Finding]) -> list[RuleFindings]:
    """Put findings together by severity and rule, the gravest and then the most frequent first."""
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.rule), []).append(finding)
    ordered = sorted(groups, key=lambda key: (SEVERITIES.index(key[0]), -len(groups[key]), key[1]))
    return [RuleFindings(*key, tuple(groups[key])) for key in ordered]


def severity_counts(findings: Iterable[Finding]) -> dict[str, int]:
    """Return the number of findings by severity, zeros included."""
    counts = Counter(finding.severity for finding in findings)
    return {severity: counts[severity] for severity in SEVERITIES}


def counts_text(findings: Iterable[Finding]) -> str:
    """Return ``1 error, 18 warnings, 3 notes``, or that there are none."""
    said = [counted(n, severity) for severity, n in severity_counts(findings).items() if n]
    return ", ".join(said) or "nothing found"


def finding_lines(findings: Sequence[Finding], *, every: bool = False) -> list[str]:
    """Return findings for the screen.

    Parameters
    ----------
    findings
        All.
    every
        One line each, to be searched; else one paragraph per rule, and not more than a dozen of them.
    """
    if every:
        order = sorted(findings, key=lambda f: SEVERITIES.index(f.severity))
        return [f"{f.severity}: {where(f)}: {f.rule}: {f.message}" + f" (to do: {f.fix})" * bool(f.fix) for f in order]
    lines = []
    groups = by_rule(findings)
    for group in groups[:_GROUPS]:
        lines.append(f"{group.severity}: {group.rule}: {group.places()}")
        lines += [f"    {group.quoted(example)}" for example in group.examples]
        lines += [f"    to do: {fix}" for fix in group.fixes]
    if groups[_GROUPS:]:
        rest = sum(len(group.findings) for group in groups[_GROUPS:])
        rules = ", ".join(dict.fromkeys(group.rule for group in groups[_GROUPS:]))
        lines.append(f"and {counted(rest, 'finding')} more ({rules}): -v prints every one")
    return lines


def where(finding: Finding) -> str:
    """Return file, frame and key of a finding, as errors have them."""
    words = [finding.file or "all inputs"]
    if finding.frame is not None:
        words.append(f"frame {finding.frame}")
    if finding.key is not None:
        words.append(finding.key)
    return ": ".join(words)


def _listed(words: Sequence[str], named: int) -> str:
    return ", ".join(words[:named]) + (", ..." if words[named:] else "")
