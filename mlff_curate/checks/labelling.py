"""Which labels the frames have, under which names, and how well they were printed; their values are not judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.checks.finding import Finding
from mlff_curate.checks.precision import Printed, coarser, printed
from mlff_curate.data.frames import is_isolated_atom
from mlff_curate.data.hints import likely, of_that_shape, predictions_unused, predictions_used
from mlff_curate.data.labels import PREDICTED, labels_of, stress_names, usable_labels
from mlff_curate.errors import DataError
from mlff_curate.wording import counted, rounded

if TYPE_CHECKING:
    from mlff_curate.checks.finding import Severity
    from mlff_curate.data.frames import Frame
    from mlff_curate.data.labels import Labels, UnusableLabel

KINDS = ("energy", "forces", "stress")
"""What is fitted."""
EXTRAS = ("energies", "magmoms")
"""What may come with it: the energy of each atom and magnetic moments."""

_NAMED_FRAMES = 5
_NAMED_KEYS = 8
_KIND_OF_WORD = {"energ": "energy", "forc": "forces", "stress": "stress", "virial": "stress"}
"""What an unknown name is about; moments are no label that an option names."""
_SAME_STRESS = (1e-4, 0.01)
"""eV/Angstrom^3 and relative: copies in two units and roundings still agree."""

_PLURAL = {"energy": "energies", "forces": "forces", "stress": "stresses"}
_FAULTS = {
    "nan": ("label-nan", "calculate the frame again or drop it: training would end in NaN"),
    "shape": ("label-shape", "mend what wrote the file, or drop the frame"),
    "cell": ("label-cell", "write the cell the virial was calculated in, or take the virial out"),
    "ambiguous": ("label-ambiguous", "say which it is with --{kind}-key, or keep one of them in the file"),
}


@dataclass
class _File:
    """What is remembered of one file.

    Attributes
    ----------
    index
        0-based place of each frame in the file.
    keys
        Kind -> for each frame the name that it has for it; empty: none; None: none, but none is asked of it either.
    others
        Kind -> names that hold arrays or numbers of that kind's shape where it is missing.
    unknown
        Name that looks like a label and is not known -> places of the frames that have it.
    predicted
        Name of predictions -> places of the frames that have them, unless they are read as labels.
    covered
        Name that is not known -> in how many of these frames a label of its kind is under another name.
    printed
        Kind -> how the label of each frame was printed.
    """

    index: list[int] = field(default_factory=list)
    keys: dict[str, list[str | None]] = field(default_factory=lambda: {kind: [] for kind in (*KINDS, *EXTRAS)})
    others: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in KINDS})
    unknown: dict[str, list[int]] = field(default_factory=dict)
    predicted: dict[str, list[int]] = field(default_factory=dict)
    covered: Counter[str] = field(default_factory=Counter)
    printed: dict[str, list[Printed | None]] = field(default_factory=lambda: {"energy": [], "forces": []})


class LabelCensus:
    """Takes the labels of frame after frame, remembering a few words of each, and says what is wrong with them.

    Rules: ``label-nan``, ``label-shape``, ``label-ambiguous`` (errors, frame by frame), ``label-cell`` and
    ``label-virial-stress`` (warnings, frame by frame), ``label-missing``, ``label-names``, ``label-predicted``,
    ``label-unknown``, ``label-precision`` (by file).

    Parameters
    ----------
    energy_key, forces_key, stress_key
        As in :func:`mlff_curate.data.labels.labels_of`.
    """

    def __init__(
        self, energy_key: str | None = None, forces_key: str | None = None, stress_key: str | None = None
    ) -> None:
        self._given = {"energy_key": energy_key, "forces_key": forces_key, "stress_key": stress_key}
        self._files: dict[str, _File] = {}
        self._findings: list[Finding] = []

    def add(self, frame: Frame) -> Labels:
        """Take a frame with all it has, and return those of its labels that can be used."""
        labels, unusable = usable_labels(frame.atoms, **self._given)
        for fault in unusable:
            self._findings.append(_fault_finding(frame, fault))
        if labels.stress is not None and not labels.from_virial and self._given["stress_key"] is None:
            self._findings += _virial_findings(frame, labels)
        self._remember(frame, labels, {fault.kind for fault in unusable})
        return labels

    def findings(self) -> list[Finding]:
        """Return what is wrong: frame by frame as they came, then file by file."""
        found = list(self._findings)
        for name, file in self._files.items():
            found += _missing(name, file)
            for kind in EXTRAS:
                found += _sometimes(name, file, kind)
            found += _predicted(name, file)
            found += _unknown(name, file)
            for kind in ("energy", "forces"):
                found += _precision(name, file, kind)
        for kind in KINDS:
            found += _names(self._files, kind)
        return found

    def _remember(self, frame: Frame, labels: Labels, faulty: set[str]) -> None:
        file = self._files.setdefault(frame.source, _File())
        place = len(file.index)
        file.index.append(frame.index)
        alone = is_isolated_atom(frame.atoms)
        for kind in (*KINDS, *EXTRAS):
            key = getattr(labels, f"{kind}_key")
            stressless = alone or not frame.atoms.pbc.all()
            excused = kind in faulty or (kind == "forces" and alone) or (kind == "stress" and stressless)
            file.keys[kind].append(key if key is not None else None if excused else "")
            if kind in KINDS and key is None and not excused:
                file.others[kind].update(of_that_shape(frame.atoms, kind, labels.present))
        for key in labels.predicted:
            file.predicted.setdefault(key, []).append(place)
        for key in labels.unknown:
            file.unknown.setdefault(key, []).append(place)
            kind_of_key = _kind_of(key)
            if kind_of_key is None or getattr(labels, f"{kind_of_key}_key") is not None:
                file.covered[key] += 1
        file.printed["energy"].append(None if labels.energy is None else printed(np.array([labels.energy])))
        file.printed["forces"].append(None if labels.forces is None else printed(labels.forces))


def _fault_finding(frame: Frame, fault: UnusableLabel) -> Finding:
    rule, fix = _FAULTS[fault.fault]
    severity: Severity = "error" if fault.kind in KINDS and fault.fault != "cell" else "warning"
    fix = fix.format(kind=fault.kind) if fault.kind in KINDS else "keep one of them in the file"
    return Finding(frame.source, frame.index, fault.key, rule, severity, None, fault.message, fix)


def _virial_findings(frame: Frame, labels: Labels) -> list[Finding]:
    """Compare a stress with a virial that is there too."""
    found = []
    for key in stress_names(labels.present):
        if "virial" not in key.lower():
            continue
        try:
            other = labels_of(frame.atoms, stress_key=key).stress
        except DataError:  # told as a label of the wrong shape where it is the only one
            continue
        if labels.stress is None or other is None:
            continue
        apart = float(np.abs(other - labels.stress).max())
        size = float(max(np.abs(other).max(), np.abs(labels.stress).max()))
        if apart <= _SAME_STRESS[0] + _SAME_STRESS[1] * size:
            continue
        found.append(
            Finding(
                frame.source,
                frame.index,
                labels.stress_key,
                "label-virial-stress",
                "warning",
                apart,
                f"{key} and {labels.stress_key} should say the same (virial = -stress x volume) and differ by up to "
                f"{rounded(apart)} eV/Angstrom^3{_ratio(other, labels.stress)}; {labels.stress_key} is used",
                f"find out which one has the wrong unit or sign; --stress-key {key} uses the other",
            )
        )
    return found


def _ratio(virial: np.ndarray, stress: np.ndarray) -> str:
    """Say how one relates to the other where a factor explains it."""
    norm = float(stress @ stress)
    factor = float(virial @ stress) / norm if norm > 0 else 0.0
    if factor == 0 or np.abs(virial - factor * stress).max() > 0.01 * np.abs(virial).max():
        return ""
    return f": the virial gives {rounded(factor, 4)} times the stress"


def _missing(name: str, file: _File) -> list[Finding]:
    """Tell of each kind of label that frames lack; what to do is the same for all that are missing in the same way."""
    gone = {kind: places for kind in KINDS if (places := [p for p, key in enumerate(file.keys[kind]) if key == ""])}
    others = {kind: [key for key, _ in file.others[kind].most_common(_NAMED_KEYS)] for kind in gone}
    nowhere = [kind for kind in gone if not any(file.keys[kind])]
    probable = {kind: names[0] for kind in nowhere if (names := likely(kind, others[kind]))}
    found = []
    for kind, places in gone.items():
        hint = f"; what is there of its shape: {', '.join(sorted(others[kind]))}" if others[kind] else ""
        if kind in nowhere:
            message = f"no frame has {_article(kind)}, and it counts as missing, never as zero{hint}"
            options, it, there = _named_with([other for other in nowhere if other not in probable])
            fix = f"name {it} with {options}, if {there} there under another name"
            if kind in probable:
                fix = f"if it is the {kind}, say so with --{kind}-key {probable[kind]}"
        else:
            message = f"{len(places)} of {len(file.index)} frames have no {kind} ({_listed(file, places)}){hint}"
            options, it, _ = _named_with([other for other in gone if other not in nowhere])
            fix = f"leave these frames out of fits that need {it}, calculate {it}, or name {it} with {options}"
        frame = file.index[places[0]] if len(places) == 1 else None
        severity: Severity = "note" if kind in nowhere and kind not in probable else "warning"
        found.append(Finding(name, frame, None, "label-missing", severity, len(places), f"{kind}: {message}", fix))
    return found


def _named_with(kinds: list[str]) -> tuple[str, str, str]:
    """Return the options that name some kinds of label, and what to call one or several of them."""
    options = ", ".join(f"--{kind}-key" for kind in kinds)
    return (options, "it", "it is") if len(kinds) == 1 else (options, "them", "they are")


def _sometimes(name: str, file: _File, kind: str) -> list[Finding]:
    """Tell of a label beside energies, forces and stresses that only some frames have."""
    names = Counter(key for key in file.keys[kind] if key)
    total, have = len(file.index), sum(names.values())
    if have in (0, total):
        return []
    places = [place for place, key in enumerate(file.keys[kind]) if key == ""]
    key = names.most_common(1)[0][0]
    message = f"{kind} ({', '.join(sorted(names))}) come and go: {have} of {total} frames have them"
    if places:
        message += f"; without: {_listed(file, places)}"
    return [
        Finding(name, None, key, "label-names", "note", have, message, "give them to all frames, if they are fitted")
    ]


def _names(files: dict[str, _File], kind: str) -> list[Finding]:
    """Tell of a kind of label that has several names."""
    counts = Counter(key for file in files.values() for key in file.keys[kind] if key)
    if len(counts) < 2:
        return []
    owners = [name for name, file in files.items() if any(file.keys[kind])]
    usual, _ = max(counts.items(), key=lambda item: (item[1], item[0]))
    said = ", ".join(f"{key} in {counted(n, 'frame')}" for key, n in sorted(counts.items()))
    first = []
    for key in sorted(counts):
        where = next((n, f) for n, f in files.items() if key in f.keys[kind])
        frame = where[1].index[where[1].keys[kind].index(key)]
        first.append(f"{key} first in frame {frame}" + (f" of {where[0]}" if len(owners) > 1 else ""))
    return [
        Finding(
            owners[0] if len(owners) == 1 else None,
            None,
            usual,
            "label-names",
            "warning",
            len(counts),
            f"the label has several names ({said}; {', '.join(first)}): a fitting code reads one name, and the frames "
            "with another train on nothing or on a default",
            "write them under one name (convert does), after making sure that they mean the same quantity",
        )
    ]


def _predicted(name: str, file: _File) -> list[Finding]:
    """Tell of predictions that stand in frames, and of those that the user has taken for labels."""
    found = []
    for kind in KINDS:
        for key, n in sorted(Counter(key for key in file.keys[kind] if key in PREDICTED).items()):
            fix = f"name calculated {_PLURAL[kind]} with --{kind}-key, unless predictions are meant to be checked"
            message = f"{predictions_used(kind, str(key))} (in {_share(file, n)})"
            found.append(Finding(name, None, key, "label-predicted", "warning", n, message, fix))
    for key, places in sorted(file.predicted.items()):
        frame = file.index[places[0]] if len(places) == 1 else None
        message = f"{predictions_unused(key)} (in {_share(file, len(places))})"
        found.append(Finding(name, frame, key, "label-predicted", "note", len(places), message, ""))
    return found


def _share(file: _File, n: int) -> str:
    return "all frames" if n == len(file.index) else f"{n} of {len(file.index)} frames"


def _unknown(name: str, file: _File) -> list[Finding]:
    found = []
    for key, places in sorted(file.unknown.items()):
        kind = _kind_of(key)
        bare = len(places) - file.covered[key]
        where = _share(file, len(places))
        if bare and kind is not None:
            severity: Severity = "warning"
            message = f"looks like a label and is not used, though {counted(bare, 'frame')} with it have no {kind} else"
            fix = f"if it is the {kind}, say so with --{kind}-key {key}"
        else:
            severity = "note"
            message = "looks like a label and is not used"
            message += "" if kind is None else f": the {kind} is read from another name"
            why = "unless it is meant to be left aside (a prediction, another code's output)"
            fix = "" if kind is None else f"name it with --{kind}-key {key}, {why}"
        frame = file.index[places[0]] if len(places) == 1 else None
        found.append(Finding(name, frame, key, "label-unknown", severity, len(places), f"{message} (in {where})", fix))
    return found


def _precision(name: str, file: _File, kind: str) -> list[Finding]:
    groups = coarser(file.printed[kind])
    found = []
    for words, places in groups:
        usual = next(key for key in file.keys[kind] if key)
        frame = file.index[places[0]] if len(places) == 1 else None
        found.append(
            Finding(
                name,
                frame,
                usual,
                "label-precision",
                "note",
                len(places),
                f"the {_PLURAL[kind]} of {len(places)} of {len(file.index)} frames are {words} "
                f"({_listed(file, places)})",
                "see whether they come from another program or run, if the digits lost are above the error you aim at; "
                "where the others were converted from another unit, it is these that got more digits, and nothing is "
                "lost",
            )
        )
    return found


def _listed(file: _File, places: list[int]) -> str:
    shown = ", ".join(str(file.index[place]) for place in places[:_NAMED_FRAMES])
    return f"frame {shown}" if len(places) == 1 else f"frames {shown}" + (" ..." if len(places) > _NAMED_FRAMES else "")


def _article(kind: str) -> str:
    return {"energy": "an energy", "forces": "forces", "stress": "a stress"}[kind]


def _kind_of(key: str) -> str | None:
    return next((kind for word, kind in _KIND_OF_WORD.items() if word in key.lower()), None)
