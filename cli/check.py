"""`mlff-curate check`: tell what is wrong with frames and their labels."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from .options import command_line, elements, group_by_option, label_options, reading_options, run_options
from .screen import finish, progress_bars

if TYPE_CHECKING:
    from typing import Unpack

    from .options import Reading

EPILOG = """\b
Examples:
  mlff-curate check dft.extxyz
  mlff-curate check --train train.extxyz --test test.extxyz
  mlff-curate check dft.extxyz --fix mended.extxyz
  mlff-curate check dft.extxyz --skip duplicate-near --json
"""


@click.command(epilog=EPILOG)
@click.argument("inputs", metavar="INPUT...", nargs=-1, type=click.Path())
@click.option(
    "--train", metavar="A", multiple=True, type=click.Path(), help="File that a model is trained on; needs --test."
)
@click.option(
    "--test",
    metavar="B",
    multiple=True,
    type=click.Path(),
    help="File that it is tested on: frames that are in both are told. Both are checked like INPUT.",
)
@click.option(
    "--fix",
    metavar="OUT",
    type=click.Path(),
    help="Write all frames as extxyz, labels put right where that is certain (unit, sign, order of components, "
    "per cell or volume) and exact copies left out, and <OUT stem>.fixes.csv with what was done.",
)
@click.option("--skip", metavar="RULE", multiple=True, help="Be silent about a rule.")
@click.option("--only", metavar="RULE", multiple=True, help="Tell of this rule only.")
@click.option(
    "-o",
    "--report",
    metavar="PAGE",
    type=click.Path(),
    help="Page with all findings.  [default: <first input>.check.html, written anew if it is of an "
    "earlier check of the same inputs]",
)
@click.option("--no-report", is_flag=True, help="Write no page.")
@group_by_option
@label_options
@reading_options
@run_options
def check(
    *,
    inputs: tuple[str, ...],
    train: tuple[str, ...],
    test: tuple[str, ...],
    fix: str | None,
    skip: tuple[str, ...],
    only: tuple[str, ...],
    report: str | None,
    no_report: bool,
    group_by: str | None,
    energy_key: str | None,
    forces_key: str | None,
    stress_key: str | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **files: Unpack[Reading],
) -> None:
    """Check frames and labels: files, shapes, units, signs, duplicates, contacts, outliers.

    Prints what was found, what was checked, and what could not be for want of labels or frames; -v prints every
    finding on a line of its own. Exit status: 0 nothing found, or notes only; 1 a warning or an error was found (with
    --fix too: the inputs are judged, not what is written); 2 wrong usage.
    """
    from mlff_curate.workflows.check import CheckOptions
    from mlff_curate.workflows.check_files import check_files

    start = time.perf_counter()
    options = CheckOptions(
        train=train,
        test=test,
        skip=skip,
        only=only,
        group_by=group_by,
        type_map=elements(files["type_map"]),
        units=files["units"],
        log=files["log"],
        label_keys={"energy": energy_key, "forces": forces_key, "stress": stress_key},
        seed=seed,
    )
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        done = check_files(
            inputs,
            options,
            report=report,
            no_report=no_report,
            fix=fix,
            overwrite=overwrite,
            every=verbose,
            command=command_line(),
            progress=progress,
        )
    finish(done, start, as_json=as_json, quiet=quiet, verbose=verbose)
    sys.exit(done.status)
