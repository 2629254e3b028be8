"""``validate`` from a potential to the screen, JSON and a page."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_curate import __version__
from mlff_curate.data.outputs import require_free, whole_files
from mlff_curate.errors import OutputError
from mlff_curate.report.validation import ValidationReport, counts_text, render_validation, value_text
from mlff_curate.validation.battery import TESTS
from mlff_curate.validation.verdicts import FAIL
from mlff_curate.workflows.telling import peak_memory_mb
from mlff_curate.workflows.validate import MODEL, REFERENCE, ValidateOptions, Validation, validate

if TYPE_CHECKING:
    from mlff_curate.workflows.potential_data import Progress

ENDING = "validation"
_PARTIAL = ".partial.json"


@dataclass(frozen=True)
class ValidationOutputs:
    """Where things are written.

    Attributes
    ----------
    json, page
        The results.
    partial
        Finished tests, until all are done.
    """

    json: Path
    page: Path
    partial: Path

    @classmethod
    def of(cls, model: str, output: str | None) -> ValidationOutputs:
        """Return the places: a stem, or a folder that exists; by default named after the potential, here.

        Raises
        ------
        OutputError
            The output has no name.
        """
        name = f"{Path(model).stem}.{ENDING}" if Path(model).name and "pair_style" not in model else ENDING
        if output is None:
            stem = Path(name)
        elif Path(output).is_dir():
            stem = Path(output) / name
        else:
            stem = Path(output)
            if stem.suffix in {".json", ".html"}:
                stem = stem.with_suffix("")
        if not stem.name:
            raise OutputError("is no name for a file", file=str(output) or "-o")
        return cls(*(stem.with_name(stem.name + ending) for ending in (".json", ".html", _PARTIAL)))


@dataclass(frozen=True, eq=False)
class Validated:
    """A finished ``validate``.

    Attributes
    ----------
    validation
        What was found.
    outputs
        Where it lies.
    """

    validation: Validation
    outputs: ValidationOutputs

    @property
    def seconds(self) -> dict[str, float]:
        """Stage to seconds."""
        return self.validation.seconds

    @property
    def status(self) -> int:
        """0: nothing failed; 1: something did."""
        return self.validation.status

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints and the JSON file holds."""
        return {
            **_told(self.validation),
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "output": str(self.outputs.json),
            "report": str(self.outputs.page),
        }

    def lines(self) -> list[str]:
        """Return what a person reads."""
        v = self.validation
        table = [
            (
                row.verdict,
                row.title,
                value_text(row.value, row.unit),
                row.criterion or "-",
                row.note if row.verdict == FAIL else "",
            )
            for row in v.rows
        ]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)] if table else []
        return [
            *("  ".join(word.ljust(w) for word, w in zip(row, widths, strict=True)).rstrip() for row in table),
            *(f"not run: {TESTS[name].title.lower()}: {why}" for name, why in v.skipped.items()),
            *(f"note: {note}" for note in v.notes),
            f"{v.model}: {' '.join(v.elements)}, {v.structure}: {counts_text(v.rows)}",
            f"all of it on a page: {self.outputs.page}",
        ]


def validate_files(
    model: str,
    options: ValidateOptions,
    *,
    output: str | None = None,
    overwrite: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Validated:
    """Run the battery, and write JSON and a page.

    Parameters
    ----------
    model
        A trained potential.
    options
        See :class:`ValidateOptions`.
    output
        Stem or folder; see :class:`ValidationOutputs`.
    overwrite
        Replace outputs that exist.
    command
        What to type to get the same again, for the page.
    progress
        See :func:`validate`.

    Raises
    ------
    CurateError
        As :func:`validate`; also outputs that exist or cannot be written, before any work. What was finished is kept
        beside the outputs, and the same command goes on from there.
    """
    options.require()
    outputs = ValidationOutputs.of(model, output)
    read = [
        Path(path) for path in (model, options.reference, options.expected, options.start) if path and _is_name(path)
    ]
    if options.data is not None:
        read += options.data.files
    require_free([outputs.json, outputs.page], read, overwrite=overwrite)
    require_free([outputs.partial], read, overwrite=True)
    begin = time.perf_counter()
    validation = validate(model, options, partial=outputs.partial, progress=progress)
    done = Validated(validation, outputs)
    page = render_validation(_report(validation, options, read, outputs, command))
    text = json.dumps(_finite(done.summary(time.perf_counter() - begin)), indent=1, allow_nan=False)
    with whole_files(outputs.json, outputs.page) as (data_stream, page_stream):
        data_stream.write(f"{text}\n".encode())
        page_stream.write(page.encode(errors="replace"))
    outputs.partial.unlink(missing_ok=True)
    return done


def _is_name(path: str) -> bool:
    return "pair_style" not in path


def _told(v: Validation) -> dict[str, object]:
    tests = {}
    for name, outcome in v.outcomes[MODEL].items():
        other = v.outcomes.get(REFERENCE, {}).get(name)
        tests[name] = {
            "settings": v.how(name),
            "failed": outcome.failed or None,
            "skipped": outcome.skipped or None,
            "seconds": round(outcome.seconds, 3),
            "result": None if outcome.result is None else asdict(outcome.result),
            "reference": None if other is None or other.result is None else asdict(other.result),
        }
    return {
        "model": v.model,
        "reference": v.reference,
        "elements": list(v.elements),
        "structure": v.structure,
        "passed": v.status == 0,
        "rows": [asdict(row) for row in v.rows],
        "tests": tests,
        "settings": asdict(v.settings),
        "notes": list(v.notes),
    }


def _finite(value: Any) -> Any:
    """Return a value with null for every number that JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _report(
    v: Validation, options: ValidateOptions, read: list[Path], outputs: ValidationOutputs, command: str
) -> ValidationReport:
    told = {"seed": str(options.seed), "device": options.device, "quick": "yes" if options.quick else "no"}
    for name in ("reference", "expected", "element", "structure", "start"):
        if getattr(options, name):
            told[name] = str(getattr(options, name))
    if options.only:
        told["only"] = ", ".join(options.only)
    if options.melting_point is not None:
        told["melting-point"] = f"{options.melting_point:g} K"
    some = {
        who: {name: o.result for name, o in held.items() if o.result is not None} for who, held in v.outcomes.items()
    }
    return ValidationReport(
        title=f"Validated: {v.model}",
        command=command,
        version=__version__,
        inputs=tuple(map(str, read)),
        output=str(outputs.page),
        options=told,
        seconds=v.seconds,
        peak_memory_mb=peak_memory_mb(),
        crystal=f"{' '.join(v.elements)}, {v.structure}",
        reference=v.reference or "",
        rows=v.rows,
        titles={name: test.title for name, test in TESTS.items()},
        how={name: v.how(name) for name in v.outcomes[MODEL]},
        skipped={TESTS[name].title: why for name, why in v.skipped.items()},
        results=some[MODEL],
        reference_results=some.get(REFERENCE, {}),
        labelled_eos=v.labelled_eos,
        notes=v.notes,
    )
