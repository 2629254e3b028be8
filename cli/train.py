"""`mlff-curate train`: a model of what frames are labelled with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from mlff_curate.errors import UsageError

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
  mlff-curate train gaps.extxyz -o gap.model --task regression --target band_gap
  mlff-curate train cifs/ -o metal.model --task classification --csv metals.csv --target is_metal
"""
_PROPERTIES = ("regression", "classification")


@click.command(epilog=EPILOG)
@inputs_argument
@click.option("-o", "--output", metavar="MODEL", type=click.Path(), required=True, help="Where to write, safetensors.")
@click.option(
    "--task",
    type=click.Choice(["potential", *_PROPERTIES]),
    default="potential",
    show_default=True,
    help="What to learn: a property of the whole frame is a number, or 0 and 1.",
)
@target_option
@table_option
@click.option(
    "--conv",
    type=click.Choice(["gated", "shared", "none"]),
    default="gated",
    show_default=True,
    help="Convolution: gated by each neighbour and its distance, shared weights, or atoms alone.",
)
@click.option(
    "--encoding",
    type=click.Choice(["elements", "one-hot"]),
    default="elements",
    show_default=True,
    help="Of an atom: 92 categories from element tables, or one per element.",
)
@click.option("--convolutions", metavar="N", type=int, help="How many, one after the other.  [default: 3]")
@click.option("--channels", metavar="N", type=int, help="Size of an atom's state.  [default: 64]")
@click.option("--hidden", metavar="N", type=int, help="Width of the layers after pooling.  [default: 64]")
@click.option("--hidden-layers", metavar="N", type=int, help="How many of these.  [default: 1]")
@click.option("--optimiser", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True)
@click.option("--learning-rate", metavar="X", type=float, help="Falls to a tenth at the end.  [default: 0.003]")
@click.option("--epochs", metavar="N", type=int, help="At most so many.  [default: 200]")
@click.option("--batch-size", metavar="N", type=int, help="Frames per step.  [default: 32]")
@click.option(
    "--validation",
    metavar="SHARE",
    type=float,
    help="Of the frames, held out to stop early and keep the best weights.  [default: 0.1]",
)
@click.option(
    "--patience",
    metavar="N",
    type=int,
    help="Epochs without a better validation error before training stops.  [default: 100]",
)
@group_by_option
@reading_options
@device_option
@run_options
def train(
    *,
    inputs: tuple[str, ...],
    output: str,
    task: str,
    target: str | None,
    csv: str | None,
    conv: str,
    encoding: str,
    convolutions: int | None,
    channels: int | None,
    hidden: int | None,
    hidden_layers: int | None,
    optimiser: str,
    learning_rate: float | None,
    epochs: int | None,
    batch_size: int | None,
    validation: float | None,
    patience: int | None,
    group_by: str | None,
    device: str,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **files: Unpack[Reading],
) -> None:
    """Train a crystal graph network on frames, or on a folder of CIF files with a table.

    A folder of CIF files comes with id_prop.csv, or another table named by --csv: id and target.
    """
    if task not in _PROPERTIES:
        raise UsageError(f"{task} is not there yet; available: {', '.join(_PROPERTIES)}", key="--task")
    from mlff_curate.workflows.property_data import PropertyInput
    from mlff_curate.workflows.train import train_property_files

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
    chosen = {
        "convolutions": convolutions,
        "channels": channels,
        "hidden": hidden,
        "hidden_layers": hidden_layers,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "batch_size": batch_size,
        "validation": validation,
        "patience": patience,
    }
    parameters = {
        "task": task,
        "conv": conv,
        "encoding": encoding,
        "optimiser": optimiser,
        "seed": seed,
        "device": device,
        **{name: value for name, value in chosen.items() if value is not None},
    }
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        done = train_property_files(what, output, parameters, overwrite=overwrite, progress=progress)
    finish(done, start, as_json=as_json, quiet=quiet, verbose=verbose)
