"""`mlff-curate evaluate`: errors of a trained model on frames."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from .options import (
    device_option,
    elements,
    group_by_option,
    inputs_argument,
    reading_options,
    run_options,
    table_option,
    target_option,
)
from .screen import finish, progress_bars

if TYPE_CHECKING:
    from typing import Unpack

    from .options import Reading

EPILOG = """\b
Examples:
  mlff-curate evaluate gap.model test.extxyz
  mlff-curate evaluate gap.model new.extxyz --predictions gaps.csv
"""


@click.command(epilog=EPILOG)
@click.argument("model", metavar="MODEL", type=click.Path())
@inputs_argument
@target_option
@table_option
@click.option(
    "--predictions",
    metavar="CSV",
    type=click.Path(),
    help="Write the prediction for every frame; frames need no target then.",
)
@group_by_option
@reading_options
@device_option
@run_options
def evaluate(
    *,
    model: str,
    inputs: tuple[str, ...],
    target: str | None,
    csv: str | None,
    predictions: str | None,
    group_by: str | None,
    device: str,
    seed: int,  # noqa: ARG001 (nothing is drawn; the option is every command's)
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **files: Unpack[Reading],
) -> None:
    """Compare what a model predicts with what frames are labelled with, in all and for each group.

    Of a property: mean absolute and root mean square error, or accuracy and area under the ROC curve.
    """
    from mlff_curate.workflows.evaluate import evaluate_files
    from mlff_curate.workflows.property_data import PropertyInput

    start = time.perf_counter()
    what = PropertyInput(
        inputs=inputs,
        target=target,
        csv=csv,
        group_by=group_by,
        type_map=elements(files["type_map"]),
        units=files["units"],
        log=files["log"],
    )
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        done = evaluate_files(
            model, what, predictions=predictions, device=device, overwrite=overwrite, progress=progress
        )
    finish(done, start, as_json=as_json, quiet=quiet, verbose=verbose)
