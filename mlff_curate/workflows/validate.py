"""``validate``: a battery of tests on a potential, each kept as soon as it is done."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate import __version__
from mlff_curate.calculators.lammps_calculator import LammpsCalculator
from mlff_curate.data.frames import content_digest, is_isolated_atom
from mlff_curate.data.outputs import whole_files
from mlff_curate.devices import require_device
from mlff_curate.errors import DataError, UsageError
from mlff_curate.validation.battery import (
    TESTS,
    TOLERANCES,
    Bench,
    Lattice,
    Settings,
    Surfaces,
    moduli_ratio,
    run_test,
)
from mlff_curate.validation.crystal_frames import labelled_elasticity, labelled_equation_of_state, strained_frames
from mlff_curate.validation.labelled import Comparison, GroupDistances, LabelledFrames, NothingToCompareError
from mlff_curate.validation.melting_points import MELTING_POINTS
from mlff_curate.validation.surfaces import Surface
from mlff_curate.validation.verdicts import FAIL, Known, Quantity, Row, judged, judged_order
from mlff_curate.wording import rounded
from mlff_curate.workflows.potential_data import KINDS, read_potential_data
from mlff_curate.workflows.validation_sources import potential_source, read_expected, require_crystal, starting_crystal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mlff_curate.validation.crystal_frames import LabelledElasticity
    from mlff_curate.validation.crystals import Crystal
    from mlff_curate.validation.equation_of_state import EquationOfState
    from mlff_curate.validation.verdicts import Expected
    from mlff_curate.workflows.potential_data import PotentialInput, Progress
    from mlff_curate.workflows.validation_sources import Source

MODEL, REFERENCE = "model", "reference"


@dataclass(frozen=True)
class ValidateOptions:
    """How to validate.

    Attributes
    ----------
    data
        Labelled frames; None: there are none.
    reference
        Another potential; see :func:`potential_source`.
    expected
        File of numbers; see :func:`read_expected`.
    only
        Names of tests; none: all.
    element, structure, start
        See :func:`starting_crystal`.
    melting_point
        K; None: that of the element.
    quick
        See :meth:`Settings.quick`.
    seed
        Of velocities and noise.
    device
        Torch device.
    threads
        Of the potential.
    """

    data: PotentialInput | None = None
    reference: str | None = None
    expected: str | None = None
    only: tuple[str, ...] = ()
    element: str | None = None
    structure: str | None = None
    start: str | None = None
    melting_point: float | None = None
    quick: bool = False
    seed: int = 0
    device: str = "cpu"
    threads: int = 1

    @property
    def settings(self) -> Settings:
        """Those of the tests."""
        return Settings.quick() if self.quick else Settings()

    def require(self) -> None:
        """Refuse what is no option.

        Raises
        ------
        UsageError
            Names the option.
        """
        for name in self.only:
            if name not in TESTS:
                raise UsageError(f"{name!r} is unknown; available: {', '.join(TESTS)}", key="--only")
        if self.melting_point is not None and not 0 < self.melting_point < 1e5:
            raise UsageError(f"a temperature in K, got {self.melting_point:g}", key="--melting-point")
        require_crystal(self.element, self.structure, self.start)
        require_device(self.device)
        if self.data is not None:
            self.data.require()


@dataclass(frozen=True)
class Outcome:
    """What became of one test.

    Attributes
    ----------
    result
        Of the test's kind; None: it has none.
    failed
        Why it has none: the potential's fault.
    skipped
        Why it has none: it could not be run.
    seconds
        That it took.
    """

    result: Any = None
    failed: str = ""
    skipped: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Validation:
    """A finished battery.

    Attributes
    ----------
    model, reference
        Their names; reference None: there is none.
    structure, elements
        Of the crystal.
    rows
        All quantities, judged.
    outcomes
        ``model`` and ``reference``, each name of a test to what became of it.
    settings
        How.
    labelled_eos
        Of the data, if it has one.
    seconds
        Stage to seconds.
    notes
        Sentences for the user.
    asked
        Tests that were asked for by name.
    """

    model: str
    reference: str | None
    structure: str
    elements: tuple[str, ...]
    rows: tuple[Row, ...]
    outcomes: Mapping[str, Mapping[str, Outcome]]
    settings: Settings
    labelled_eos: EquationOfState | None
    seconds: dict[str, float]
    notes: tuple[str, ...] = field(default=())
    asked: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """Exit status: 1 where something failed, or a test that was asked for by name was not run."""
        return int(any(row.verdict == FAIL for row in self.rows) or any(name in self.skipped for name in self.asked))

    def how(self, test: str) -> str:
        """Return what a test was run with."""
        outcome = self.outcomes[MODEL][test]
        return TESTS[test].words(self.settings, outcome.result) if outcome.result is not None else ""

    @property
    def skipped(self) -> dict[str, str]:
        """Test to why it was not run."""
        return {name: o.skipped for name, o in self.outcomes[MODEL].items() if o.skipped}


def validate(
    model: str,
    options: ValidateOptions,
    *,
    partial: Path | None = None,
    progress: Progress | None = None,
) -> Validation:
    """Run the battery.

    Parameters
    ----------
    model
        A trained potential; see :func:`potential_source`.
    options
        See :class:`ValidateOptions`.
    partial
        Where finished tests are kept, so that a run that was ended goes on after them. It is left to the caller to
        remove it.
    progress
        Called with stage, steps done, steps in all or None, and a word on the state.

    Raises
    ------
    CurateError
        A potential, a crystal or data that cannot be read, or options that do not go together.
    """
    options.require()
    source = potential_source(model, device=options.device, threads=options.threads)
    crystal = starting_crystal(
        source.elements, element=options.element, structure=options.structure, start=options.start
    )
    expected = read_expected(options.expected)
    reference = (
        None
        if options.reference is None
        else potential_source(options.reference, device=options.device, threads=options.threads, shipped=True)
    )
    if reference is not None and (strange := set(crystal.elements) - set(reference.elements)):
        raise DataError(
            f"the reference never saw {', '.join(sorted(strange))}: it knows {', '.join(reference.elements)}",
            key="--reference",
        )
    seconds: dict[str, float] = {}
    begin = time.perf_counter()
    data, notes = None, []
    if options.data is not None:
        read = read_potential_data(options.data, progress)
        data = LabelledFrames(read.frames, read.labels, read.groups)
        notes += read.notes
        with read.naming_frames():
            _require_elements(read.frames, source.elements)
        seconds["read"] = time.perf_counter() - begin
    kept = _Kept.at(partial, _key(source, reference, crystal, options, data))
    if kept.resumed:
        done = ", ".join(f"{who}: {name}" for who, name in kept.resumed)
        notes.append(f"goes on after {done}")
    melting_point = options.melting_point
    if melting_point is None and len(crystal.elements) == 1:
        melting_point = MELTING_POINTS.get(crystal.elements[0])
    wanted = [name for name in TESTS if not options.only or name in options.only or name == "lattice"]
    outcomes: dict[str, dict[str, Outcome]] = {}
    for who, which in ((MODEL, source), (REFERENCE, reference)):
        if which is None:
            continue
        bench = Bench(crystal, which.calculator(), options.settings, options.seed, melting_point, data)
        names = wanted if who == MODEL else [name for name in wanted if TESTS[name].compared]
        outcomes[who] = _battery(who, names, bench, which, kept, progress)
        seconds |= {
            name if who == MODEL else f"{name}, {REFERENCE}": outcome.seconds for name, outcome in outcomes[who].items()
        }
    for name, outcome in outcomes.get(REFERENCE, {}).items():
        if outcome.failed:
            notes.append(f"the reference has no {TESTS[name].title.lower()}: {outcome.failed}")
    begin = time.perf_counter()
    known, labelled_eos, more = _known(outcomes, data)
    rows = _rows(outcomes[MODEL], known, expected, _isolated(data, crystal))
    seconds["compare"] = time.perf_counter() - begin
    named = {row.name for row in rows}
    notes += [*more, *(f"{name} is expected, and no test gives it" for name in expected if name not in named)]
    return Validation(
        model=source.name,
        reference=None if reference is None else reference.name,
        structure=crystal.structure,
        elements=crystal.elements,
        rows=tuple(rows),
        outcomes=outcomes,
        settings=options.settings,
        labelled_eos=labelled_eos,
        seconds=seconds,
        notes=tuple(notes),
        asked=options.only,
    )


def _require_elements(frames: Sequence[Any], known: Sequence[str]) -> None:
    for i, frame in enumerate(frames):
        strange = sorted(set(frame.get_chemical_symbols()) - set(known))
        if strange:
            raise DataError(f"the potential never saw {strange[0]}: it knows {', '.join(known)}", frame=i)


def _battery(
    who: str, names: Sequence[str], bench: Bench, source: Source, kept: _Kept, progress: Progress | None
) -> dict[str, Outcome]:
    """Run or recall the tests of one potential; without a crystal at rest nothing else is run."""
    out: dict[str, Outcome] = {}
    for name in names:
        outcome = kept.get(who, name)
        if outcome is None:
            stage = name if who == MODEL else f"{name}, {REFERENCE}"
            calculator = source.calculator()
            fresh = replace(bench, calculator=calculator, progress=_telling(stage, progress))
            try:
                outcome = _outcome(name, fresh, out)
            finally:
                if isinstance(calculator, LammpsCalculator):
                    calculator.close()
            kept.put(who, name, outcome)
        out[name] = outcome
        if name == "lattice" and isinstance(outcome.result, Lattice):
            bench = bench.on(outcome.result.crystal())
    return out


def _outcome(name: str, bench: Bench, before: Mapping[str, Outcome]) -> Outcome:
    if name not in {"lattice", "errors"} and before["lattice"].result is None:
        return Outcome(skipped="there is no relaxed crystal")
    why = TESTS[name].skip(bench)
    if why:
        return Outcome(skipped=why)
    begin = time.perf_counter()
    try:
        result = run_test(name, bench)
    except NothingToCompareError as error:
        return Outcome(skipped=error.message, seconds=time.perf_counter() - begin)
    except DataError as error:
        return Outcome(failed=error.message, seconds=time.perf_counter() - begin)
    return Outcome(result, seconds=time.perf_counter() - begin)


def _telling(stage: str, progress: Progress | None) -> Callable[[int, int | None], None] | None:
    if progress is None:
        return None
    progress(stage, 0, None, "")
    return lambda done, total: progress(stage, done, total, "")


# --- what is known ----------------------------------------------------------------------------------------------


def _known(
    outcomes: Mapping[str, Mapping[str, Outcome]], data: LabelledFrames | None
) -> tuple[dict[str, list[Known]], EquationOfState | None, list[str]]:
    """Return references by quantity, best first, the data's equation of state, and what is to be said of them."""
    known: dict[str, list[Known]] = {}
    for name, outcome in outcomes.get(REFERENCE, {}).items():
        if outcome.result is not None:
            for quantity in TESTS[name].quantities(outcome.result):
                known.setdefault(quantity.name, []).append(Known(quantity.value, REFERENCE))
    notes: list[str] = []
    lattice = outcomes[MODEL]["lattice"].result
    if data is None or not isinstance(lattice, Lattice):
        return known, None, notes
    crystal = lattice.crystal()
    strained = strained_frames(data.frames, crystal)
    eos = labelled_equation_of_state(data.frames, data.labels, strained)
    elastic = labelled_elasticity(data.labels, strained, crystal.axes) if crystal.symmetry == "cubic" else None
    found: dict[str, Known] = {}
    if elastic is not None:
        a = crystal.constants()["a"]
        found["lattice_constant"] = Known(a * elastic.stretch, "data", a * elastic.stretch_error)
        grown = 3 * lattice.volume * elastic.stretch**2
        found["volume"] = Known(lattice.volume * elastic.stretch**3, "data", grown * elastic.stretch_error)
        notes.append(f"data: elastic constants by the stresses of {elastic.frames} strained crystals")
        constants, more = _linear(elastic)
        found |= constants
        notes += more
    if eos is not None:
        found["volume"] = Known(eos.volume, "data", eos.errors["volume"])
        found["bulk_modulus"] = Known(eos.bulk_modulus, "data", eos.errors["bulk_modulus"])
        found["bulk_modulus_derivative"] = Known(eos.derivative, "data", eos.errors["derivative"])
        found["cohesive_energy_level"] = Known(eos.energy, "data", eos.errors["energy"])
        if crystal.symmetry == "cubic":
            a = crystal.constants()["a"] * (eos.volume / lattice.volume) ** (1 / 3)
            found["lattice_constant"] = Known(a, "data", a * eos.errors["volume"] / (3 * eos.volume))
        notes.append(f"data: equation of state by the energies of {len(eos.volumes)} crystals")
    for name, one in found.items():
        known.setdefault(name, []).append(one)
    return known, eos, notes


def _linear(elastic: LabelledElasticity) -> tuple[dict[str, Known], list[str]]:
    """Return the elastic constants that do not depend on how far crystals are strained, and what is to be said."""
    values = {"C11": elastic.c11, "C12": elastic.c12, "C44": elastic.c44}
    errors = dict(zip(values, elastic.errors, strict=True))
    inner = {} if elastic.inner is None else dict(zip(values, elastic.inner, strict=True))
    for some in filter(None, (values, errors, inner)):
        some["bulk_modulus"] = (some["C11"] + 2 * some["C12"]) / 3
    notes = [] if inner else ["data: whether stresses are linear in the strain is not known: they are too few"]
    found = {}
    for name, value in values.items():
        tolerance = TOLERANCES.get(name, TOLERANCES["elastic_constant"])
        if abs(inner.get(name, value) - value) <= tolerance * abs(value):
            found[name] = Known(value, "data", errors[name])
        else:
            notes.append(
                f"data: {name} is no reference: {rounded(value)} GPa by all, {rounded(inner[name])} GPa by the half "
                "that is strained less, so stresses are not linear in the strain"
            )
    return found, notes


def _isolated(data: LabelledFrames | None, crystal: Crystal) -> dict[str, float]:
    """Return the labelled energies of isolated atoms, eV, of the elements that have one."""
    out: dict[str, float] = {}
    if data is not None:
        for frame, labels in zip(data.frames, data.labels, strict=True):
            if labels.energy is not None and is_isolated_atom(frame):
                out.setdefault(frame.get_chemical_symbols()[0], labels.energy)
    return {symbol: energy for symbol, energy in out.items() if symbol in crystal.elements}


def _rows(
    outcomes: Mapping[str, Outcome],
    known: Mapping[str, list[Known]],
    expected: Mapping[str, Expected],
    isolated: Mapping[str, float],
) -> list[Row]:
    rows: list[Row] = []
    for name, outcome in outcomes.items():
        if outcome.failed:
            lost = Quantity(name.replace("-", "_"), TESTS[name].title.lower(), float("nan"), "", why=outcome.failed)
            rows.append(judged(name, lost, []))
        if outcome.result is None:
            continue
        quantities = TESTS[name].quantities(outcome.result)
        if name == "lattice":
            quantities += _cohesion(outcome.result, isolated)
        if name == "elasticity" and (eos := outcomes.get("equation-of-state")) and eos.result is not None:
            quantities.append(moduli_ratio(eos.result, outcome.result))
        references = {q.name: known.get(q.name, []) for q in quantities}
        if "cohesive_energy" in references and "cohesive_energy_level" in known:
            lowest = known["cohesive_energy_level"][0]
            level = next(q.value for q in quantities if q.name == "cohesive_energy") + outcome.result.energy
            references["cohesive_energy"] = [Known(level - lowest.value, "data", lowest.error)]
        rows += [judged(name, q, references[q.name], expected.get(q.name)) for q in quantities]
        if isinstance(outcome.result, Surfaces):
            rows.append(judged_order(name, outcome.result.energies, _faces(outcome.result, known, expected)))
    return rows


def _faces(surfaces: Surfaces, known: Mapping[str, list[Known]], expected: Mapping[str, Expected]) -> dict[str, Known]:
    """Return the best reference of each face that has one."""
    best = {}
    for face in surfaces.energies:
        wish = expected.get(f"surface_{face}")
        some = known.get(f"surface_{face}", [])
        if wish is not None and wish.value is not None:
            best[face] = Known(wish.value, "expected")
        elif some:
            best[face] = some[0]
    return best


def _cohesion(lattice: Lattice, isolated: Mapping[str, float]) -> list[Quantity]:
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[number] for number in lattice.numbers]
    if not set(symbols) <= set(isolated):
        return []
    free = float(np.mean([isolated[symbol] for symbol in symbols]))
    tolerance = TOLERANCES["cohesive_energy"]
    return [Quantity("cohesive_energy", "cohesive energy per atom", free - lattice.energy, "eV", tolerance, above=0.0)]


# --- finished tests ---------------------------------------------------------------------------------------------


class _Kept:
    """Finished tests in a file, which is replaced whole after each."""

    def __init__(self, path: Path | None, key: str, tests: dict[str, dict[str, Any]]) -> None:
        self._path = path
        self._key = key
        self._tests = tests
        self.resumed = [(who, name) for who, some in tests.items() for name in some]

    @classmethod
    def at(cls, path: Path | None, key: str) -> _Kept:
        """Read the file, if there is one of the same validation.

        Raises
        ------
        DataError
            It is of another one, or of another program.
        """
        if path is None or not path.exists():
            return cls(path, key, {})
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            if held["key"] == key:
                return cls(path, key, held["tests"])
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", file=str(path)) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DataError("is no validation that could go on: remove it", file=str(path)) from None
        raise DataError(
            "is of a validation that was ended, of another potential or with other options: remove it, or say -o",
            file=str(path),
        )

    def get(self, who: str, name: str) -> Outcome | None:
        """Return a finished test."""
        held = self._tests.get(who, {}).get(name)
        if held is None:
            return None
        try:
            result = None if held["result"] is None else _rebuilt(TESTS[name].kind, held["result"])
            return Outcome(result, held["failed"], held["skipped"], held["seconds"])
        except (KeyError, TypeError):
            raise DataError("is no validation that could go on: remove it", file=str(self._path)) from None

    def put(self, who: str, name: str, outcome: Outcome) -> None:
        """Keep a finished test."""
        plain = {**vars(outcome), "result": None if outcome.result is None else asdict(outcome.result)}
        self._tests.setdefault(who, {})[name] = plain
        if self._path is not None:
            with whole_files(self._path) as (stream,):
                stream.write(json.dumps({"key": self._key, "tests": self._tests}).encode())


def _rebuilt(kind: type, values: dict[str, Any]) -> Any:
    """Return a result of a test from what it was kept as."""
    if kind is Surfaces:
        return Surfaces(tuple(Surface(**face) for face in values["faces"]))
    if kind is Comparison:
        return Comparison(tuple(GroupDistances(**run) for run in values["runs"]))
    return kind(**values)


def _key(
    source: Source, reference: Source | None, crystal: Crystal, options: ValidateOptions, data: LabelledFrames | None
) -> str:
    """Return a digest of all that results depend on; of data, the frames and labels that were read."""
    atoms = crystal.atoms
    told = [
        __version__,
        source.digest,
        reference.digest if reference else "",
        crystal.structure,
        atoms.numbers.tolist(),
        atoms.positions.tolist(),
        atoms.cell[:].tolist(),
        asdict(options.settings),
        sorted(options.only),
        options.seed,
        options.melting_point,
        options.device,
        options.threads,
        None if data is None else _digest(data),
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _digest(data: LabelledFrames) -> str:
    """Return a digest of frames, labels and groups, whichever file and option they are from."""
    out = hashlib.sha256()
    for frame, labels, group in zip(data.frames, data.labels, data.groups, strict=True):
        known = {kind: value for kind in KINDS if (value := getattr(labels, kind)) is not None}
        out.update(content_digest(frame).encode())
        for kind, value in known.items():
            out.update(kind.encode() + np.ascontiguousarray(value, dtype="<f8").tobytes())
        out.update(json.dumps(group).encode())
    return out.hexdigest()
