"""`mlff-curate train`: a model of what frames are labelled with."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mlff_curate.errors import UsageError

from .options import (
    device_option,
    elements,
    group_by_option,
    inputs_argument,
    label_options,
    reading_options,
    run_options,
    table_option,
    target_option,
    workers_option,
)
from .screen import finish, progress_bars

if TYPE_CHECKING:
    from typing import Unpack

    from mlff_curate.team import Place
    from mlff_curate.workflows.model_results import Trained

    from .options import Reading

EPILOG = """\b
Examples:
  mlff-curate train ta.pruned.extxyz -o ta.model
  mlff-curate train gaps.extxyz -o gap.model --task regression --target band_gap
  mlff-curate train cifs/ -o metal.model --task classification --csv metals.csv --target is_metal
  mlff-curate train few.extxyz -o gap.model --task regression --target band_gap --encoder all.encoder
"""
_PROPERTIES = ("regression", "classification")
_OF_PROPERTIES = (
    "target",
    "csv",
    "conv",
    "encoding",
    "hidden",
    "hidden_layers",
    "optimiser",
    "encoder_rate",
)
_OF_POTENTIALS = (
    "cutoff",
    "degree",
    "angular",
    "energy_weight",
    "force_weight",
    "stress_weight",
    "dtype",
    "energy_key",
    "forces_key",
    "stress_key",
)


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
    type=click.Choice(["elements", "one-hot", "none"]),
    default="elements",
    show_default=True,
    help="Of an atom: 92 categories from element tables, one per element, or none beside an encoder.",
)
@click.option("--convolutions", metavar="N", type=int, help="One after the other.  [default: 3; potential: 2]")
@click.option("--channels", metavar="N", type=int, help="Size of an atom's state.  [default: 64; potential: 32]")
@click.option("--hidden", metavar="N", type=int, help="Width of the layers after pooling.  [default: 64]")
@click.option("--hidden-layers", metavar="N", type=int, help="How many of these.  [default: 1]")
@click.option("--optimiser", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True)
@click.option("--learning-rate", metavar="X", type=float, help="Falls in the end.  [default: 0.003; potential: 0.0015]")
@click.option(
    "--epochs",
    metavar="N",
    type=int,
    help="At most so many.  [default: 200; of a potential 12 000 steps, at most 250]",
)
@click.option("--batch-size", metavar="N", type=int, help="Frames per step.  [default: 32; potential: 5]")
@click.option(
    "--validation",
    metavar="SHARE",
    type=float,
    help="Of the frames, held out to stop early and keep the best weights.  [default: 0.1; potential: 0]",
)
@click.option(
    "--patience",
    metavar="N",
    type=int,
    help="Epochs without a better validation error before training stops.  [default: 100; potential: 1000]",
)
@click.option("--cutoff", metavar="R", type=float, help="Of a potential, Angstrom.  [default: 5]")
@click.option("--degree", metavar="L", type=int, help="Of its spherical harmonics; -1: distances alone.  [default: 4]")
@click.option("--angular", metavar="N", type=int, help="Channels that they have.  [default: 16]")
@click.option("--energy-weight", metavar="X", type=float, help="In a potential's loss.  [default: 20]")
@click.option("--force-weight", metavar="X", type=float, help="In a potential's loss.  [default: 1]")
@click.option("--stress-weight", metavar="X", type=float, help="In a potential's loss.  [default: 20]")
@click.option(
    "--dtype", type=click.Choice(["float32", "float64"]), help="Of a potential.  [default: float32, or the encoder's]"
)
@click.option(
    "--encoder",
    metavar="MODEL",
    type=click.Path(),
    help="Begin from the weights of this potential, or of what pretrain wrote. A potential has its sizes; a property "
    "is learned from its states of atoms, beside the encoding of their elements.",
)
@click.option("--freeze-encoder", is_flag=True, help="Leave them as they are: train only what is behind its states.")
@click.option(
    "--layers",
    metavar="DIGITS",
    help="States of atoms that energies are made from, or a property is learned from: 0 before the first convolution, "
    "1 after it, ...; without --encoder the last is among them.  [default: the last, or the encoder's; of a property "
    "all]",
)
@click.option(
    "--encoder-rate",
    metavar="X",
    type=float,
    help="Share of --learning-rate that its weights are moved by, for a property.  [default: 0.1]",
)
@click.option("--resume", is_flag=True, help="Go on from MODEL.checkpoint, which a killed training left behind.")
@click.option(
    "--checkpoint-every",
    metavar="SECONDS",
    type=float,
    default=30.0,
    show_default=True,
    help="At least; inf: never.",
)
@label_options
@group_by_option
@reading_options
@device_option
@workers_option
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
    cutoff: float | None,
    degree: int | None,
    angular: int | None,
    energy_weight: float | None,
    force_weight: float | None,
    stress_weight: float | None,
    dtype: str | None,
    encoder: str | None,
    freeze_encoder: bool,
    layers: str | None,
    encoder_rate: float | None,
    resume: bool,
    checkpoint_every: float,
    energy_key: str | None,
    forces_key: str | None,
    stress_key: str | None,
    group_by: str | None,
    device: str,
    workers: int,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **files: Unpack[Reading],
) -> None:
    """Train a potential on energies, forces and stresses of frames, or a network on a property of theirs.

    A potential needs any of these labels. Properties are learned from frames, or from a folder of CIF files that comes
    with id_prop.csv, or another table named by --csv: id and target.
    """
    start = time.perf_counter()
    of_user = click.get_current_context().get_parameter_source
    meaningless = _OF_PROPERTIES if task == "potential" else _OF_POTENTIALS
    strange = [name for name in meaningless if of_user(name) is ParameterSource.COMMANDLINE]
    if strange:
        raise UsageError(f"means nothing to --task {task}", key=f"--{strange[0].replace('_', '-')}")
    if encoder_rate is not None and (encoder is None or freeze_encoder):
        other = "beside --freeze-encoder" if freeze_encoder else "without --encoder"
        raise UsageError(f"means nothing {other}", key="--encoder-rate")
    given: dict[str, object] = {
        "convolutions": convolutions,
        "channels": channels,
        "hidden": hidden,
        "hidden_layers": hidden_layers,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "batch_size": batch_size,
        "validation": validation,
        "patience": patience,
        "cutoff": cutoff,
        "degree": degree,
        "angular": angular,
        "energy_weight": energy_weight,
        "force_weight": force_weight,
        "stress_weight": stress_weight,
        "layers": layers,
        "encoder_rate": encoder_rate,
    }
    parameters = {name: value for name, value in given.items() if value is not None}
    parameters |= {"seed": seed, "device": device}
    reading = {
        "group_by": group_by,
        "type_map": elements(files["type_map"]),
        "units": files["units"],
        "log": files["log"],
    }
    place = _place()
    if place is not None and place.rank > 0:
        _help(task, device, place)
        return
    processes = workers if place is None else max(workers, place.size)
    if task != "potential" and processes != 1:
        raise UsageError(f"one process trains a property, not {processes}: leave this out", key="--workers")
    say = None if quiet else lambda words: click.echo(words, err=True)
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        if task == "potential":
            from mlff_curate.workflows.potential import train_potential_files
            from mlff_curate.workflows.potential_data import PotentialInput

            keys = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
            done: Trained = train_potential_files(
                PotentialInput(inputs=inputs, label_keys=keys, **reading),  # type: ignore[arg-type]
                output,
                parameters | ({} if dtype is None else {"dtype": dtype}),
                encoder=encoder,
                freeze_encoder=freeze_encoder,
                checkpoint_every=checkpoint_every,
                resume=resume,
                workers=workers,
                place=place,
                overwrite=overwrite,
                progress=progress,
                say=say,
            )
        else:
            from mlff_curate.workflows.property_data import PropertyInput
            from mlff_curate.workflows.train import train_property_files

            done = train_property_files(
                PropertyInput(inputs=inputs, target=target, csv=csv, **reading),  # type: ignore[arg-type]
                output,
                {**parameters, "task": task, "conv": conv, "encoding": encoding, "optimiser": optimiser},
                encoder=encoder,
                freeze_encoder=freeze_encoder,
                checkpoint_every=checkpoint_every,
                resume=resume,
                overwrite=overwrite,
                progress=progress,
                say=say,
            )
    finish(done, start, as_json=as_json, quiet=quiet, verbose=verbose)


def _place() -> Place | None:
    """Return where torchrun or srun put this process."""
    if not {"RANK", "SLURM_PROCID"} & set(os.environ):
        return None
    from mlff_curate.team import place_in

    return place_in(os.environ)


def _help(task: str, device: str, place: Place) -> None:
    """Do what a process does that a launcher started beside the first: compute, print and write nothing."""
    if task == "potential":
        from mlff_curate.team import help_team

        help_team(device, place)
