"""`mlff-curate learning-curve`: held-out errors against the share of frames kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from mlff_curate.errors import UsageError

from .options import (
    command_line,
    distance_options,
    exclude_option,
    group_by_option,
    inputs_argument,
    label_options,
    machine_options,
    prune_options,
    reading_options,
    run_options,
)
from .screen import finish, progress_bars

if TYPE_CHECKING:
    from typing import Unpack

    from .options import Common

EPILOG = """\b
Examples:
  mlff-curate learning-curve dft.extxyz
  mlff-curate learning-curve dft.extxyz --selectors coverage,fps,random --fractions 0.1,0.3
"""


@click.command(name="learning-curve", epilog=EPILOG)
@inputs_argument
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=click.Path(),
    help="Page with plots and tables.  [default: <first input>.learning-curve.html]",
)
@click.option(
    "--fractions",
    metavar="A,B,...",
    default="0.05,0.1,0.2,0.5,1.0",
    show_default=True,
    help="Shares of the training frames to keep; all of them are always fitted as well.",
)
@click.option(
    "--selectors",
    metavar="A,B,...",
    default="coverage,random,fps,quests",
    show_default=True,
    help="What to compare: the names of prune --selector.",
)
@click.option("--seeds", metavar="N", type=int, default=5, show_default=True, help="Random splits.")
@click.option(
    "--model",
    metavar="NAME",
    help="Force field: snap (LAMMPS) or power-spectrum.  [default: snap where LAMMPS is there]",
)
@group_by_option
@exclude_option
@distance_options
@label_options
@reading_options
@machine_options
@run_options
def learning_curve(
    *,
    inputs: tuple[str, ...],
    output: str | None,
    fractions: str,
    selectors: str,
    seeds: int,
    model: str | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **common: Unpack[Common],
) -> None:
    """Compare ways to choose frames by the force fields they train, on frames held out; labels are needed.

    Near copies of held-out frames are not trained on. Prints errors of energies, forces and stresses with error bars,
    and says where random frames are as good.
    """
    from mlff_curate.workflows.learning_curve import CurveOptions, learning_curve_files

    start = time.perf_counter()
    settings = CurveOptions(_numbers(fractions), tuple(word.strip() for word in selectors.split(",")), seeds, model)
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        done = learning_curve_files(
            inputs,
            output,
            prune_options(common),
            settings,
            overwrite=overwrite,
            command=command_line(),
            progress=progress,
        )
    finish(done, start, as_json=as_json, quiet=quiet, verbose=verbose)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise UsageError(
            f"must be numbers with commas between, such as 0.1,0.5, got {text!r}", key="--fractions"
        ) from None
