"""`mlff-curate validate`: known physics with a trained potential."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from .options import (
    command_line,
    device_option,
    elements,
    group_by_option,
    label_options,
    reading_options,
    run_options,
    threads_option,
)
from .screen import INTERRUPTED, finish, progress_bars

if TYPE_CHECKING:
    from typing import Unpack

    from .options import Reading

EPILOG = """\b
Examples:
  mlff-curate validate ta.model --data dft.extxyz
  mlff-curate validate ta.model --reference Ta06A.snap --quick
  mlff-curate validate ta.model --expected ta.toml --only elasticity --only vacancy
  mlff-curate validate nimo.model --start nimo.cif --melting-point 1700
"""


@click.command(epilog=EPILOG)
@click.argument("model", metavar="MODEL", type=click.Path())
@click.option("--data", metavar="FILE", multiple=True, type=click.Path(), help="Labelled frames to compare with.")
@click.option(
    "--reference",
    metavar="POTENTIAL",
    help="Potential to compare with: a trained one, or one of LAMMPS, by its pair_style and pair_coeff lines with "
    "semicolons between, or by a file with them (here or shipped with LAMMPS).",
)
@click.option(
    "--expected",
    metavar="FILE",
    type=click.Path(),
    help="JSON or TOML with numbers, tolerances and bounds to compare with.",
)
@click.option("--only", metavar="TEST", multiple=True, help="Run this test only; several with commas.")
@click.option("--element", metavar="X", help="Element to test.  [default: the potential's, if it is one]")
@click.option(
    "--structure", metavar="NAME", help="Its crystal: bcc, fcc, hcp, diamond or sc.  [default: as at room temperature]"
)
@click.option("--start", metavar="FILE", type=click.Path(), help="Unit cell of the crystal to test, of any elements.")
@click.option(
    "--melting-point", metavar="K", type=float, help="Of the crystal.  [default: the element's, from a table]"
)
@click.option("--quick", is_flag=True, help="Smaller cells and shorter runs: some minutes.")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=click.Path(),
    help="Folder, or name without .json and .html.  [default: <MODEL stem>.validation]",
)
@label_options
@group_by_option
@reading_options
@device_option
@threads_option
@run_options
def validate(
    *,
    model: str,
    data: tuple[str, ...],
    reference: str | None,
    expected: str | None,
    only: tuple[str, ...],
    element: str | None,
    structure: str | None,
    start: str | None,
    melting_point: float | None,
    quick: bool,
    output: str | None,
    energy_key: str | None,
    forces_key: str | None,
    stress_key: str | None,
    group_by: str | None,
    device: str,
    threads: int,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **files: Unpack[Reading],
) -> None:
    """Test a potential: lattice, elastic constants, defects, surfaces, MD.

    Every number passes, fails, or has nothing to be held to; bounds that any potential must keep are always asked.
    Writes a page and JSON. A run that was ended goes on with the same command. Exit status: 0 nothing failed; 1
    something did, a test named by --only was not run, or the inputs are not fit; 2 wrong usage.
    """
    from mlff_curate.errors import UsageError
    from mlff_curate.workflows.potential_data import PotentialInput
    from mlff_curate.workflows.validate import ValidateOptions
    from mlff_curate.workflows.validate_files import validate_files

    begin = time.perf_counter()
    keys = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
    for_data = {"--group-by": group_by, **{"--" + name.replace("_", "-"): value for name, value in files.items()}}
    for name, value in ({f"--{kind}-key": key for kind, key in keys.items()} | for_data).items():
        if value and not data:
            raise UsageError("means nothing without --data", key=name)
    labelled = PotentialInput(
        inputs=data,
        label_keys=keys,
        group_by=group_by,
        type_map=elements(files["type_map"]),
        units=files["units"],
        log=files["log"],
    )
    options = ValidateOptions(
        data=labelled if data else None,
        reference=reference,
        expected=expected,
        only=tuple(name for word in only for name in word.split(",") if name),
        element=element,
        structure=structure,
        start=start,
        melting_point=melting_point,
        quick=quick,
        seed=seed,
        device=device,
        threads=threads,
    )
    try:
        with progress_bars(quiet=quiet, verbose=verbose) as progress:
            done = validate_files(
                model, options, output=output, overwrite=overwrite, command=command_line(), progress=progress
            )
    except KeyboardInterrupt:
        click.echo(
            "mlff-curate: interrupted: finished tests are kept, and the same command goes on from there", err=True
        )
        sys.exit(INTERRUPTED)
    finish(done, begin, as_json=as_json, quiet=quiet, verbose=verbose)
    sys.exit(done.status)
