"""Put faults into sound labels, and see whether they are found and nothing else.

    injected_faults.py DATA.extxyz... [--shares one,few,all] [--singles 3] [--faults NAME,...] [--seed 0] [--json OUT]

Every fault is put into one frame (drawn anew `--singles` times), into 5 % of the frames and into all; then the checks
of `mlff-curate check` run on the whole. The data can decide a case where the label moves by more than the error of a
force field fitted to the sound labels on frames that look alike: quadratic SNAP, predicted by five-fold
cross-validation, the root mean square over the frame and the ten frames nearest in its energy rows. Frames of several
multiples of that error are counted apart.

A faulty frame counts as found if a warning or an error names it, or its file or group as a whole, under a rule of that
label; as named, if the rule is the fault's own. A false alarm is a warning or an error on a frame that is as it was
and that the same rule does not name on the sound set; what is told of the sound set is printed first, whole.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.units import GPa, Hartree, Rydberg, bar, kcal, kJ, mol
from scipy.spatial import cKDTree

from mlff_curate.checks import physics
from mlff_curate.checks.basis import Basis, Rows, basis_of
from mlff_curate.checks.frame import CheckedFrame
from mlff_curate.data.frames import geometry
from mlff_curate.data.labels import labels_of
from mlff_curate.data.reading import read_frames
from mlff_curate.graphs.neighbours import default_cutoff
from mlff_curate.linear.models import linear_model
from mlff_curate.linear.ridge import Design, design_of, fit, predict

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_curate.checks.finding import Finding

BOHR = 0.529177210903
FOLDS = 5
ALIKE = 10
FEW = 0.05
MULTIPLES = (1.0, 3.0, 10.0)
"""Of the local error: how far a label moves."""

Change = Callable[[CheckedFrame, np.random.Generator], CheckedFrame]


@dataclass(frozen=True)
class Fault:
    """One way in which labels are wrong.

    Attributes
    ----------
    name
        What is done.
    kind
        The label concerned.
    rules
        Those that name it rightly.
    change
        Makes a sound frame faulty.
    everywhere
        False: in all frames at once nothing can tell it, or it means nothing.
    """

    name: str
    kind: str
    rules: tuple[str, ...]
    change: Change
    everywhere: bool = True


def energy(function: Callable[[float, Atoms, np.random.Generator], float]) -> Change:
    """Change the energy alone."""

    def change(frame: CheckedFrame, rng: np.random.Generator) -> CheckedFrame:
        value = None if frame.labels.energy is None else function(frame.labels.energy, frame.atoms, rng)
        return replace(frame, labels=replace(frame.labels, energy=value))

    return change


def forces(function: Callable[[np.ndarray, Atoms, np.random.Generator], np.ndarray]) -> Change:
    """Change the forces alone."""

    def change(frame: CheckedFrame, rng: np.random.Generator) -> CheckedFrame:
        value = None if frame.labels.forces is None else function(frame.labels.forces.copy(), frame.atoms, rng)
        return replace(frame, labels=replace(frame.labels, forces=value))

    return change


def stress(function: Callable[[np.ndarray, Atoms, np.random.Generator], np.ndarray]) -> Change:
    """Change the stress alone."""

    def change(frame: CheckedFrame, rng: np.random.Generator) -> CheckedFrame:
        value = None if frame.labels.stress is None else function(frame.labels.stress.copy(), frame.atoms, rng)
        return replace(frame, labels=replace(frame.labels, stress=value))

    return change


def one_force(value: np.ndarray, atoms: Atoms, rng: np.random.Generator) -> np.ndarray:
    """Put a random force of 3 eV/Angstrom on one atom and its opposite on another, so that they still sum to zero."""
    direction = rng.normal(size=3)
    direction *= 3.0 / np.linalg.norm(direction)
    if len(atoms) > 1:
        i, j = rng.choice(len(atoms), 2, replace=False)
        value[i] += direction
        value[j] -= direction
    return value


VASP_ORDER = [0, 1, 2, 5, 3, 4]  # xx yy zz xy yz zx written where ASE reads xx yy zz yz xz xy

FAULTS = (
    Fault("energy in kcal/mol", "energy", ("energy-unit",), energy(lambda e, *_: e / (kcal / mol))),
    Fault("energy in kJ/mol", "energy", ("energy-unit",), energy(lambda e, *_: e / (kJ / mol))),
    Fault("energy in Hartree", "energy", ("energy-unit",), energy(lambda e, *_: e / Hartree)),
    Fault("energy in Rydberg", "energy", ("energy-unit",), energy(lambda e, *_: e / Rydberg)),
    Fault("energy in meV", "energy", ("energy-unit",), energy(lambda e, *_: e * 1000)),
    Fault("energy per atom", "energy", ("energy-unit", "energy-per-atom"), energy(lambda e, a, *_: e / len(a))),
    Fault("energy with the wrong sign", "energy", ("energy-sign",), energy(lambda e, *_: -e)),
    Fault("energy zero", "energy", ("energy-zero", "label-zero"), energy(lambda *_: 0.0)),
    Fault(
        "energy 1 eV/atom off",
        "energy",
        ("energy-reference", "energy-outlier"),
        energy(lambda e, a, *_: e + 1.0 * len(a)),
        everywhere=False,
    ),
    Fault(
        "energy off by 0.1 to 0.3 eV/atom",
        "energy",
        ("energy-outlier",),
        energy(lambda e, a, r: e + r.choice([-1.0, 1.0]) * r.uniform(0.1, 0.3) * len(a)),
        everywhere=False,
    ),
    Fault("forces in Hartree/Bohr", "forces", ("force-unit",), forces(lambda f, *_: f / (Hartree / BOHR))),
    Fault("forces in Rydberg/Bohr", "forces", ("force-unit",), forces(lambda f, *_: f / (Rydberg / BOHR))),
    Fault("forces in kcal/mol/A", "forces", ("force-unit",), forces(lambda f, *_: f / (kcal / mol))),
    Fault("forces in meV/A", "forces", ("force-unit",), forces(lambda f, *_: f * 1000)),
    Fault("forces with the wrong sign", "forces", ("force-sign",), forces(lambda f, *_: -f)),
    Fault("forces zero", "forces", ("force-zero", "label-zero"), forces(lambda f, *_: 0.0 * f)),
    Fault("3 eV/A on two atoms", "forces", ("force-outlier",), forces(one_force), everywhere=False),
    Fault(
        "forces of the atoms in another order",
        "forces",
        ("force-outlier", "force-order"),
        forces(lambda f, *_: np.roll(f, 1, axis=0)),
    ),
    Fault(
        "a net force of 0.5 eV/A per atom",
        "forces",
        ("force-balance",),
        forces(lambda f, *_: f + np.array([0.5, 0, 0])),
    ),
    Fault("stress in GPa", "stress", ("stress-unit",), stress(lambda s, *_: s / GPa)),
    Fault("stress in kbar", "stress", ("stress-unit",), stress(lambda s, *_: s / (1000 * bar))),
    Fault("stress in bar", "stress", ("stress-unit",), stress(lambda s, *_: s / bar)),
    Fault("stress with the wrong sign", "stress", ("stress-sign",), stress(lambda s, *_: -s)),
    Fault("stress in VASP's order", "stress", ("stress-order",), stress(lambda s, *_: s[VASP_ORDER])),
    Fault(
        "virial in place of stress",
        "stress",
        ("stress-virial",),
        stress(lambda s, a, *_: -s * a.get_volume() if a.pbc.all() else s),
    ),
    Fault(
        "stress in kbar with VASP's sign and order",
        "stress",
        ("stress-unit", "stress-sign", "stress-order"),
        stress(lambda s, *_: -s[VASP_ORDER] / (1000 * bar)),
    ),
    Fault("stress zero", "stress", ("stress-zero", "label-zero"), stress(lambda s, *_: 0.0 * s)),
)

WORDS = {"energy": ("energy", "isolated"), "forces": ("force",), "stress": ("stress",)}
"""What the rules of a label begin with; besides, rules of labels in general count."""
GENERAL = ("label-", "duplicate-conflict")


def read(path: Path) -> list[CheckedFrame]:
    """Read a set."""
    frames = []
    for frame in read_frames(path):
        group = str(frame.atoms.info.get("config_type", ""))
        frames.append(CheckedFrame(str(path), frame.index, geometry(frame.atoms), labels_of(frame.atoms), group))
    return frames


@dataclass(frozen=True)
class Moved:
    """How far labels move by a fault, (F,) each, and the errors of a force field there; nan: no such label."""

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray


def differences(design: Design, frames: list[CheckedFrame], others: list[CheckedFrame]) -> Moved:
    """Return the root mean square change of each label: eV/atom, eV/A, eV (stress times volume per atom)."""
    F = len(frames)
    moved = Moved(*(np.full(F, np.nan) for _ in range(3)))
    for i, (before, after) in enumerate(zip(frames, others, strict=True)):
        one, other = before.labels, after.labels
        if one.energy is not None and other.energy is not None:
            moved.energy[i] = abs(one.energy - other.energy) / len(before.atoms)
        if one.forces is not None and other.forces is not None:
            moved.forces[i] = rms(one.forces - other.forces)
        if one.stress is not None and other.stress is not None:
            moved.stress[i] = rms(one.stress - other.stress) * design.volume[i]
    return moved


def rms(values: np.ndarray) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def local_errors(design: Design, seed: int) -> Moved:
    """Return the errors of cross-validated fits on each frame and those that look alike."""
    F = len(design.energy)
    fold = np.random.default_rng(seed).permutation(F) % FOLDS
    own = Moved(*(np.full(F, np.nan) for _ in range(3)))
    for k in range(FOLDS):
        train = np.flatnonzero((fold != k) & design.sound & design.labelled)
        test = np.flatnonzero(fold == k)
        e, f, s = predict(design, fit(design, train), test)
        own.energy[test] = np.abs(e - design.energy[test])
        own.stress[test] = np.sqrt(np.mean((s - design.stress[test]) ** 2, axis=1))
        for i, predicted in zip(test, f, strict=True):
            own.forces[i] = rms(predicted.ravel() - design.forces[design.atoms_of(int(i))])
    scale = design.energy_rows.std(axis=0)
    rows = design.energy_rows / np.where(scale > 0, scale, 1.0)
    _, near = cKDTree(rows).query(rows, k=min(ALIKE + 1, F))
    return Moved(*(np.sqrt(np.nanmean(values[near] ** 2, axis=1)) for values in (own.energy, own.forces, own.stress)))


def is_told(found: Finding, frame: CheckedFrame) -> bool:
    """Tell whether a finding speaks of this frame, alone or among all of its file."""
    return (found.file is None or found.file == frame.file) and (found.frame is None or found.frame == frame.index)


def concerns(found: Finding, kind: str) -> bool:
    """Tell whether a finding speaks of this kind of label."""
    words = found.rule.split("-")[0]
    return found.severity != "note" and (words in WORDS[kind] or found.rule.startswith(GENERAL))


def geometry_once() -> None:
    """Have the rows of a set's force field computed once: faults change labels alone, and rows know none."""
    bases: dict[int, Basis] = {}
    others: dict[tuple[int, int], list[Rows]] = {}

    def basis(frames: list[Atoms], *arguments: object) -> Basis:
        key = hash(b"".join(atoms.positions.tobytes() for atoms in frames))
        if key not in bases:
            bases[key] = basis_of(frames, *arguments)  # type: ignore[arg-type]
        return bases[key]

    def rows(self: Basis, frames: list[Atoms], at_once: int = 2_000) -> Iterator[Rows]:
        key = (id(self), len(frames))
        if key not in others:
            others[key] = list(rows_of(self, frames, at_once))
        yield from others[key]

    rows_of = Basis.rows_of
    physics.basis_of = basis  # type: ignore[assignment]
    Basis.rows_of = rows  # type: ignore[method-assign, assignment]


def main() -> None:
    """Print a table per set, and one over all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--shares", default="one,few,all")
    parser.add_argument("--singles", type=int, default=3)
    parser.add_argument("--faults", help="names or their beginnings, by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    geometry_once()
    wanted = arguments.faults.split(",") if arguments.faults else None
    faults = [fault for fault in FAULTS if wanted is None or fault.name.startswith(tuple(wanted))]
    cases: list[dict[str, object]] = []
    for path in arguments.data:
        cases += judge(path, faults, arguments)
    totals(cases)
    if arguments.json:
        arguments.json.write_text(json.dumps(cases, indent=1))


def judge(path: Path, faults: list[Fault], arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Put the faults into one set and return the cases."""
    frames = read(path)
    start = time.perf_counter()
    before = physics.check_physics(frames)
    print(f"{path.stem}: {len(frames)} frames, checked in {time.perf_counter() - start:.1f} s", flush=True)
    for found in before:
        if found.severity != "note":
            print(f"  {found.severity} {found.rule} frame {found.frame}: {found.message}"[:300])
    notes = Counter(found.rule for found in before if found.severity == "note")
    print(f"  notes: {dict(notes)}", flush=True)
    known = {(found.rule, found.frame) for found in before}
    species = sorted({int(z) for frame in frames for z in frame.atoms.numbers})
    model, _ = linear_model(None, species, default_cutoff(species))
    design = design_of([frame.atoms for frame in frames], [frame.labels for frame in frames], model)
    error = local_errors(design, arguments.seed)
    cases: list[dict[str, object]] = []
    for fault in faults:
        for share in arguments.shares.split(","):
            if share == "all" and not fault.everywhere:
                continue
            for draw in range(arguments.singles if share == "one" else 1):
                rng = np.random.default_rng([arguments.seed, draw, len(fault.name)])
                case = put(fault, share, frames, design, error, rng, known)
                case |= {"set": path.stem, "draw": draw}
                cases.append(case)
                show(case)
    return cases


def put(
    fault: Fault,
    share: str,
    frames: list[CheckedFrame],
    design: Design,
    error: Moved,
    rng: np.random.Generator,
    known: set[tuple[str, int | None]],
) -> dict[str, object]:
    """Put a fault into a share of the frames, check, and count."""
    F = len(frames)
    changed = [fault.change(frame, rng) for frame in frames]
    moved = getattr(differences(design, frames, changed), fault.kind)
    ratio = moved / getattr(error, fault.kind)
    touched = np.flatnonzero(moved > 0)
    count = {"one": 1, "few": max(1, round(FEW * F)), "all": F}[share]
    if share == "one":  # a frame that shows it, so that a case is a case
        touched = np.flatnonzero(ratio > 1)
    chosen = rng.permutation(touched)[:count]
    spoilt = set(chosen.tolist())
    mixed = [changed[i] if i in spoilt else frames[i] for i in range(F)]
    found = [item for item in physics.check_physics(mixed) if item.severity != "note"]
    result: dict[str, object] = {"fault": fault.name, "kind": fault.kind, "share": share}
    for multiple in MULTIPLES:
        decided = [i for i in sorted(spoilt) if ratio[i] > multiple]
        hits = [i for i in decided if any(concerns(f, fault.kind) and is_told(f, frames[i]) for f in found)]
        right = [i for i in decided if any(f.rule in fault.rules and is_told(f, frames[i]) for f in found)]
        result[f"decided>{multiple:g}"] = len(decided)
        result[f"found>{multiple:g}"] = len(hits)
        result[f"named>{multiple:g}"] = len(right)
    result["undecided"] = count - int(result["decided>1"])  # type: ignore[call-overload]
    false = {
        (item.rule, item.frame)
        for item in found
        if (item.rule, item.frame) not in known
        and item.frame not in spoilt
        and not (item.frame is None and 2 * len(spoilt) > F)
    }
    result["false alarms"] = len(false)
    result["false"] = [f"{rule} {frame}" for rule, frame in sorted(false, key=str)[:10]]
    result["rules"] = dict(Counter(item.rule for item in found if (item.rule, item.frame) not in known))
    return result


def show(case: dict[str, object]) -> None:
    """Print a case in a line."""
    counts = ", ".join(
        f">{m:g}: {case[f'found>{m:g}']}/{case[f'named>{m:g}']} of {case[f'decided>{m:g}']}" for m in MULTIPLES
    )
    print(
        f"  {case['share']:4} {case['fault']:45} {counts}; undecided {case['undecided']}; "
        f"false {case['false alarms']} {case['false']} {case['rules']}",
        flush=True,
    )


def totals(cases: list[dict[str, object]]) -> None:
    """Print recall by share and set: the mean over faults, each of them a share of its decided frames."""
    print(
        "| set | share | " + " | ".join(f"found, moves > {m:g} errors (named)" for m in MULTIPLES) + " | false alarms |"
    )
    print("|---" * (len(MULTIPLES) + 3) + "|")
    sets = list(dict.fromkeys(case["set"] for case in cases))
    for name in [*sets, None]:
        for share in dict.fromkeys(case["share"] for case in cases):
            mine = [case for case in cases if case["share"] == share and name in (None, case["set"])]
            cells = []
            for m in MULTIPLES:
                told = [case for case in mine if case[f"decided>{m:g}"]]
                found = [case[f"found>{m:g}"] / case[f"decided>{m:g}"] for case in told]  # type: ignore[operator]
                named = [case[f"named>{m:g}"] / case[f"decided>{m:g}"] for case in told]  # type: ignore[operator]
                cells.append(f"{np.mean(found):.3f} ({np.mean(named):.3f}) of {len(told)}" if told else "none")
            false = sum(int(case["false alarms"]) for case in mine)  # type: ignore[call-overload]
            print(f"| {name or 'together'} | {share} | " + " | ".join(cells) + f" | {false} |")


if __name__ == "__main__":
    main()
