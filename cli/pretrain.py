"""`mlff-curate pretrain`: an encoder from frames without labels."""

from __future__ import annotations

import time

import click

from mlff_curate.errors import UsageError

from .options import device_option, elements, inputs_argument, run_options, type_options, workers_option
from .screen import finish, progress_bars

EPILOG = """\b
Examples:
  mlff-curate pretrain md.extxyz -o ta.encoder
  mlff-curate train labelled.extxyz -o ta.model --encoder ta.encoder
  mlff-curate pretrain md.extxyz -o ta.encoder --tasks denoise,distance --weights distance=0.5
"""


@click.command(epilog=EPILOG)
@inputs_argument
@click.option(
    "-o", "--output", metavar="ENCODER", type=click.Path(), required=True, help="Where to write, safetensors."
)
@click.option(
    "--tasks",
    metavar="A,B,...",
    help="cohesion, denoise, distance, coordination, element, contrastive.  [default: cohesion]",
)
@click.option("--weights", metavar="A=X,...", help="Of tasks in the loss.  [default: 1 each]")
@click.option(
    "--noise",
    metavar="LOW HIGH",
    type=float,
    nargs=2,
    help="Of cohesion and denoise, and of the frames that all units are taken from, Angstrom.  [default: 0.02 0.25]",
)
@click.option("--strain", metavar="X", type=float, help="Of these in crystals; 0: none.  [default: 0.01]")
@click.option("--convolutions", metavar="N", type=int, help="One after the other.  [default: 2]")
@click.option("--channels", metavar="N", type=int, help="Size of an atom's state.  [default: 32]")
@click.option("--cutoff", metavar="R", type=float, help="Angstrom.  [default: 5]")
@click.option("--degree", metavar="L", type=int, help="Of spherical harmonics; -1: distances alone.  [default: 4]")
@click.option("--angular", metavar="N", type=int, help="Channels that they have.  [default: 16]")
@click.option("--learning-rate", metavar="X", type=float, help="Falls in the end.  [default: 0.002]")
@click.option(
    "--steps", metavar="N", type=int, help="Of training, to the end of an epoch if they last for one.  [default: 6000]"
)
@click.option("--epochs", metavar="N", type=int, help="In place of steps: so many times through all frames, at most.")
@click.option("--batch-size", metavar="N", type=int, help="Frames per step.  [default: 5]")
@click.option(
    "--validation",
    metavar="SHARE",
    type=float,
    help="Of the frames, held out to stop early and keep the best weights; 500 at most.  [default: 0.1]",
)
@click.option(
    "--patience",
    metavar="N",
    type=int,
    help="Epochs without a smaller loss on these before training stops.  [default: 100]",
)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="Of the numbers.  [default: float32]")
@click.option("--resume", is_flag=True, help="Go on from ENCODER.checkpoint, which a killed training left behind.")
@click.option(
    "--checkpoint-every",
    metavar="SECONDS",
    type=float,
    default=30.0,
    show_default=True,
    help="At least; inf: never.",
)
@type_options
@device_option
@workers_option
@run_options
def pretrain(
    *,
    inputs: tuple[str, ...],
    output: str,
    tasks: str | None,
    weights: str | None,
    noise: tuple[float, float] | None,
    strain: float | None,
    convolutions: int | None,
    channels: int | None,
    cutoff: float | None,
    degree: int | None,
    angular: int | None,
    learning_rate: float | None,
    steps: int | None,
    epochs: int | None,
    batch_size: int | None,
    validation: float | None,
    patience: int | None,
    dtype: str | None,
    resume: bool,
    checkpoint_every: float,
    type_map: str | None,
    units: str | None,
    device: str,
    workers: int,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Learn an encoder from frames that need no labels, for potentials and properties to begin from.

    cohesion: forces and virials of potentials that are made up are learned, in all of which bonds have the lengths that
    they have in the frames; train takes the mixture of them that is nearest to its labels. denoise: atoms are displaced
    and cells strained, and the network's own forces and virial learn to pull them back. distance, coordination and
    element: something of a frame is hidden from the network, and asked for. contrastive: two views of one frame are to
    be alike.
    """
    start = time.perf_counter()
    if workers != 1:
        raise UsageError(f"one process learns an encoder, not {workers}: leave this out", key="--workers")
    given = {
        "tasks": None if tasks is None else tuple(word.strip() for word in tasks.split(",")),
        "weights": None if weights is None else _weights(weights),
        "noise": noise,
        "strain": strain,
        "convolutions": convolutions,
        "channels": channels,
        "cutoff": cutoff,
        "degree": degree,
        "angular": angular,
        "learning_rate": learning_rate,
        "steps": steps,
        "epochs": epochs,
        "batch_size": batch_size,
        "validation": validation,
        "patience": patience,
        "dtype": dtype,
    }
    parameters = {name: value for name, value in given.items() if value is not None}
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        from mlff_curate.workflows.pretrain import pretrain_files

        done = pretrain_files(
            inputs,
            output,
            {**parameters, "seed": seed, "device": device},
            type_map=elements(type_map),
            units=units,
            checkpoint_every=checkpoint_every,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
            say=None if quiet else lambda words: click.echo(words, err=True),
        )
    finish(done, start, as_json=as_json, quiet=quiet, verbose=verbose)


def _weights(words: str) -> dict[str, float]:
    """Return task and number of ``denoise=1,distance=0.5``."""
    found = {}
    for word in words.split(","):
        name, _, number = word.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            raise UsageError(f"TASK=NUMBER is expected, with commas between, got {word!r}", key="--weights") from None
    return found
