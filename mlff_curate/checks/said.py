"""What the physics of labels has found, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.checks.balance import TOO_MUCH
from mlff_curate.checks.finding import Correction, Finding
from mlff_curate.wording import counted, rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.checks.agreement import Comparison, KindName, Verdict
    from mlff_curate.checks.balance import Balance
    from mlff_curate.checks.finding import Severity
    from mlff_curate.checks.frame import CheckedFrame
    from mlff_curate.checks.outliers import Suspect
    from mlff_curate.checks.parts import PartFault
    from mlff_curate.checks.reference import FreeAtom, Offset
    from mlff_curate.checks.units import Fault

_UNIT = {"energy": "eV/atom", "forces": "eV/\u00c5", "stress": "eV/atom (stress times volume)"}
_WORD = {"energy": "energies", "forces": "forces", "stress": "stresses"}
_ORDER = (
    "see whether the forces stand in the order of the atoms (a LAMMPS dump without sort and a POSCAR sorted by element "
    "have another)"
)
_RULE = {"energy": "energy", "forces": "force", "stress": "stress"}


def _key(frame: CheckedFrame, kind: KindName) -> str:
    return getattr(frame.labels, f"{kind}_key") or kind


def _file(frames: Sequence[CheckedFrame]) -> str | None:
    files = {frame.file for frame in frames}
    return next(iter(files)) if len(files) == 1 else None


def _keys(frames: Sequence[CheckedFrame], kind: KindName) -> str:
    keys = sorted({key for frame in frames if (key := getattr(frame.labels, f"{kind}_key"))})
    return ", ".join(keys) or kind


def _mend(fault: Fault) -> Correction:
    """Return the correction."""
    return Correction(fault.kind, fault.factor, fault.order, fault.per_volume, fault.per_atom)


def _remedy(fault: Fault) -> str:
    if fault.per_atom:
        return "multiply each energy by the number of its atoms"
    if fault.order is not None:
        return f"put the components into ASE's order xx yy zz yz xz xy (places {', '.join(map(str, fault.order))})"
    volume = {0: "", 1: " and divide by the volume of the cell", -1: " and multiply by the volume of the cell"}
    return f"multiply the {_WORD[fault.kind]} by {fault.factor:.9g}{volume[fault.per_volume]}"


def whole_set(frames: Sequence[CheckedFrame], fault: Fault, sure: bool, verdict: Verdict) -> Finding:
    """Tell a fault that all labels of a kind share."""
    concerned = [c for c in verdict.before if c.believed and fault.kind in (c.source, c.target)]
    faulty = {other.kind for other in verdict.faults} - {fault.kind}

    def worth(c: Comparison) -> tuple[bool, bool, float]:
        """Put what shares the fault last, as it agrees with it, and before that what the labels concerned predict."""
        return not faulty & {c.source, c.target}, c.target == fault.kind, abs(c.line.r)

    tightest = max(concerned, key=worth, default=None)
    stiff = verdict.stiffness.get(fault.kind)
    why = ""
    if fault.order is not None:
        why = ": only in that order does a fit to some of them meet the others"
    elif tightest is not None:
        why = f": {_times(tightest, fault.kind)}{_then(tightest, verdict)}"
    elif stiff is not None:
        why = (
            f": to displace the atoms would take {rounded(stiff)} eV/\u00c5\u00b2 by a model fitted to them "
            "(usual: 0.5 to 50)"
        )
    doubt = (
        "No other known fault explains it as well." if sure else "Another explanation comes near: look before mending."
    )
    there = [f for f in frames if getattr(f.labels, fault.kind) is not None]
    slope = stiff if tightest is None else tightest.line.slope
    return Finding(
        file=_file(frames),
        frame=None,
        key=_keys(frames, fault.kind),
        rule=fault.rule,
        severity="error",
        value=None if slope is None else float(f"{slope:.6g}"),
        message=f"the {_WORD[fault.kind]} of all {counted(len(there), 'frame')} look {_likeness(fault)}{why}. {doubt}",
        fix=_remedy(fault) if sure else f"look at the calculations; if it is so, {_remedy(fault)}",
        correction=_mend(fault) if sure else None,
    )


def _times(comparison: Comparison, kind: KindName) -> str:
    """Say how labels compare with what a fit to others predicts; `kind` is one of the two, called *they*."""
    line = comparison.line
    said, fitted = f"the {_WORD[comparison.target]}", f"the {_WORD[comparison.source]}"
    said, fitted = ("they", fitted) if comparison.target == kind else (said, "them")
    return (
        f"{said} are {rounded(line.slope, 4)} \u00b1 {rounded(line.error, 2)} times what a model fitted to {fitted} "
        f"alone predicts ({counted(comparison.frames, 'frame')})"
    )


def _then(comparison: Comparison, verdict: Verdict) -> str:
    """Say what the same comparison gives with the faults undone."""
    same = (comparison.source, comparison.target)
    after = next((c for c in verdict.after if c.believed and (c.source, c.target) == same), None)
    return "" if after is None else f", and {after.line.slope:.2f} times with that undone"


def _likeness(fault: Fault) -> str:
    return f"like {fault.name}" if fault.name.startswith("a ") else f"as if {fault.name}"


def part(members: Sequence[CheckedFrame], wrong: PartFault, mended: bool) -> list[Finding]:
    """Tell a fault that the labels of a group in a file share, of each of its frames."""
    fault = wrong.fault
    if not members:
        return []
    who = f"group {members[0].group!r}" if members[0].group else members[0].file
    doubt = "" if wrong.certain else "; another explanation comes near: look before mending"
    message = (
        f"the {_WORD[fault.kind]} of {who} ({counted(len(members), 'frame')}) look {_likeness(fault)}: they are off "
        f"those of a model fitted to the other labels by {rounded(wrong.before)} times their size, by "
        f"{rounded(wrong.after, 2)} times with that undone ({counted(wrong.frames, 'frame')} tell), while "
        f"other groups or files are right as they are{doubt}"
    )
    return [
        Finding(
            file=frame.file,
            frame=frame.index,
            key=_key(frame, fault.kind),
            rule=fault.rule,
            severity="error" if wrong.certain else "warning",
            value=float(f"{wrong.before:.4g}"),
            message=message,
            fix=_remedy(fault) if wrong.certain else f"look at the calculations; if it is so, {_remedy(fault)}",
            correction=_mend(fault) if wrong.certain and not mended else None,
        )
        for frame in members
    ]


def incoherent(frames: Sequence[CheckedFrame], kind: KindName, verdict: Verdict) -> Finding:
    """Tell labels of a kind that have nothing to do with the geometries."""
    others = [c for c in verdict.before if c.target == kind]
    against = "; ".join(
        f"r {c.line.r:.2f} with what a model fitted to the {_WORD[c.source]} alone predicts "
        f"({counted(c.frames, 'frame')})"
        for c in others
    )
    return Finding(
        file=_file(frames),
        frame=None,
        key=_keys(frames, kind),
        rule=f"{_RULE[kind]}-outlier",
        severity="error",
        value=None,
        message=f"the {_WORD[kind]} do not follow from the positions: a fit to them says nothing of frames that it "
        f"has not seen{'; ' if against else ''}{against}",
        fix="see whether labels and frames belong together"
        if kind == "stress"
        else f"{_ORDER}, and whether labels and frames belong together",
    )


def all_zero(frames: Sequence[CheckedFrame], kind: KindName) -> Finding:
    """Tell labels of a kind that are zero throughout."""
    there = sum(getattr(f.labels, kind) is not None for f in frames)
    return Finding(
        file=_file(frames),
        frame=None,
        key=_keys(frames, kind),
        rule=f"{_RULE[kind]}-zero",
        severity="error",
        value=0.0,
        message=f"the {_WORD[kind]} of all {counted(there, 'frame')} are exactly zero, which these geometries "
        "cannot have: zeros stand for missing labels",
        fix=f"take the {_WORD[kind]} out of the file, or put the computed ones in: a fit would learn the zeros",
    )


def level(
    frames: Sequence[CheckedFrame], members: Sequence[CheckedFrame], labelled: int, offset: Offset, mended: bool
) -> list[Finding]:
    """Tell the frames of a group, of `labelled` with energies, that have a level of their own."""
    group = members[0].group or members[0].atoms.get_chemical_formula()
    others = len({f.group for f in frames}) - 1
    whole = len(members) == labelled
    many = counted(labelled, "frame") if whole else f"{len(members)} of {counted(labelled, 'frame')}"
    message = (
        f"the energies of group {group!r} ({many}) lie "
        f"{rounded(offset.offset, signed=True)} eV/atom off what forces, stresses and the energies of "
        f"{counted(others, 'other group')} expect; these scatter by {rounded(offset.scatter, 2)} eV/atom"
    )
    fault = offset.fault
    if fault is not None:
        message += f"; that is where energies {fault.name} would lie"
    return [
        Finding(
            file=frame.file,
            frame=frame.index,
            key=_key(frame, "energy"),
            rule="energy-reference" if fault is None else fault.rule,
            severity="warning" if fault is None else "error",
            value=float(f"{offset.offset:.4g}"),
            message=message,
            fix="see whether these were computed with other settings; recompute them, or shift them to the common level"
            if fault is None
            else _remedy(fault),
            correction=None if fault is None or mended else _mend(fault),
        )
        for frame in members
        if frame.labels.energy  # zero stands for none
    ]


def unbalanced_frame(frame: CheckedFrame, net: float, usual: float) -> Finding:
    """Tell a frame whose forces do not sum to zero."""
    n = len(frame.atoms)
    typical = usual * np.sqrt(n)
    return Finding(
        file=frame.file,
        frame=frame.index,
        key=_key(frame, "forces"),
        rule="force-balance",
        severity="warning",
        value=float(f"{net:.4g}"),
        message=f"the forces sum to {rounded(net)} eV/\u00c5 ({rounded(1e3 * net / n)} meV/\u00c5 per atom); usual "
        f"here for {counted(n, 'atom')}: {rounded(typical, 2)} eV/\u00c5",
        fix="see whether forces of some atoms are missing, wrong or constrained, or whether an outer field acts; "
        "else drop the frame",
    )


def unbalanced_set(frames: Sequence[CheckedFrame], balance: Balance) -> Finding:
    """Tell a set whose forces as a rule do not sum to zero."""
    there = np.isfinite(balance.net)
    per_atom = balance.net[there] / np.array([len(f.atoms) for f in frames])[there]
    middle = float(np.median(per_atom))
    severity: Severity = "warning" if middle > TOO_MUCH else "note"
    return Finding(
        file=_file(frames),
        frame=None,
        key=_keys(frames, "forces"),
        rule="force-balance",
        severity=severity,
        value=float(f"{middle:.4g}"),
        message=f"the forces of most frames do not sum to zero: {rounded(1e3 * middle)} meV/\u00c5 per atom in "
        f"the median of {counted(int(there.sum()), 'frame')}; above {1e3 * TOO_MUCH:g} it matters for a fit",
        fix="converge the forces better (grids, density fitting), or see whether an outer field or constraints act",
    )


def free_atom(frames: Sequence[CheckedFrame], atom: FreeAtom) -> Finding:
    """Tell a free atom whose energy does not go with the others."""
    frame = frames[atom.frame]
    symbol = frame.atoms.get_chemical_symbols()[0]
    if atom.twin is not None:
        other = frames[atom.twin[0]]
        off = rounded(atom.twin[1], 4, signed=True)
        message = f"free {symbol} has an energy {off} eV from that in {other.file} frame {other.index}"
        value = atom.twin[1]
    else:
        assert atom.cohesion is not None
        value = atom.cohesion
        message = (
            f"with this energy of free {symbol} the best bound frame with it would have a cohesive energy of "
            f"{rounded(value)} eV/atom; known ones are between 0 and 9 (up to 13 for atoms computed without spin)"
        )
    return Finding(
        file=frame.file,
        frame=frame.index,
        key=_key(frame, "energy"),
        rule="isolated-atom-energy",
        severity="warning",
        value=float(f"{value:.4g}"),
        message=message,
        fix="compute the free atom with the settings of the other frames (and with spin), or leave it out",
    )


def one(
    frame: CheckedFrame, suspect: Suspect, lean: float, shared: tuple[float, bool] | None, sharing: int, mended: bool
) -> Finding:
    """Tell one label of one frame."""
    kind, fault = suspect.kind, suspect.fault
    figures = (
        f"{rounded(suspect.size)} {_UNIT[kind]} off the prediction, {rounded(suspect.ratio)} times what frames that "
        "look alike are off by"
    )
    after = " (after what all frames share is undone)" if mended else ""
    look, be = ("look", "are") if kind == "forces" else ("looks", "is")
    severity: Severity = "warning"
    correction = None
    value = float(f"{suspect.ratio:.4g}")
    if fault is not None:
        severity = "error" if suspect.certain else "warning"
        correction = _mend(fault) if suspect.certain and not mended else None
        message = f"{look} {_likeness(fault)}: {figures}; {rounded(suspect.left, 2)} times with that undone{after}"
        if not suspect.certain:
            others = [f.name for f, _ in suspect.rivals if f is not fault]
            message += f"; it could also be {' or '.join(others[:2])}" if others else ""
        fix = _remedy(fault) if suspect.certain else f"look at the calculation; if it is so, {_remedy(fault)}"
    elif suspect.rule.endswith("-zero"):
        message = f"{be} exactly zero, which this geometry cannot have: {figures}{after}"
        fix = "take the label out, or put the computed one in: a fit would learn the zero"
    elif shared is not None:
        unit = "eV/atom" if shared[1] else "eV per cell"
        value = float(f"{shared[0]:.4g}")
        message = (
            f"{figures}{after}; it shares an offset of {rounded(shared[0], 4, signed=True)} {unit} with others: "
            f"{counted(sharing, 'frame')} on levels of their own"
        )
        fix = "see whether these frames were computed with other settings; recompute or shift them"
    else:
        where = f" on atom {suspect.atom}" if suspect.atom >= 0 else ""
        sign = f"{rounded(lean, signed=True)} eV/atom; " if kind == "energy" else ""
        message = f"{sign}{figures}{where}{after}; no known fault explains it"
        fix = "look whether the calculation converged; recompute or drop the frame"
        if kind == "forces" and suspect.atom < 0:
            fix = f"{_ORDER}, and whether the calculation converged; recompute or drop the frame"
    return Finding(frame.file, frame.index, _key(frame, kind), suspect.rule, severity, value, message, fix, correction)


def many(frames: Sequence[CheckedFrame], family: list[Suspect], whole: int) -> Finding:
    """Tell a fault that nearly all frames share."""
    first = family[0]
    mine = [frames[s.frame] for s in family]
    ratio = float(np.median([s.ratio for s in family]))
    left = float(np.median([s.left for s in family]))
    what = "are exactly zero" if first.rule.endswith("-zero") else "have a level of their own"
    fix = "see how these labels were made: recompute them, or leave them out"
    then = ""
    if first.fault is not None:
        what, fix = f"look {_likeness(first.fault)}", _remedy(first.fault)
        then = f", {rounded(left, 2)} times with that undone"
    return Finding(
        file=_file(mine),
        frame=None,
        key=_keys(mine, first.kind),
        rule=first.rule,
        severity="error" if first.rule != "energy-reference" else "warning",
        value=float(f"{ratio:.4g}"),
        message=f"the {_WORD[first.kind]} of {len(family)} of {whole} labelled frames {what}: in the median "
        f"{rounded(ratio)} times as far off the prediction as frames that look alike are{then}",
        fix=fix,
    )
