"""`mlff-curate embed`: descriptors, embeddings, clusters and outlier scores of every environment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from .options import (
    DESCRIPTOR_HELP,
    elements,
    group_by_option,
    inputs_argument,
    layers_option,
    machine_options,
    reading_options,
    run_options,
)
from .screen import finish, progress_bars

if TYPE_CHECKING:
    from typing import Unpack

    from .options import Reading

EPILOG = """\b
Examples:
  mlff-curate embed traj.extxyz -o traj.h5 --save-model traj.model
  mlff-curate embed new.extxyz -o new.h5 --model traj.model
"""


@click.command(epilog=EPILOG)
@inputs_argument
@click.option("-o", "--output", metavar="OUT", type=click.Path(), required=True, help="Where to write, HDF5.")
@click.option("--save-model", metavar="M", type=click.Path(), help="Keep the trained model in this file.")
@click.option(
    "--model", metavar="M", type=click.Path(), help="Embed with a model kept by --save-model; nothing is trained."
)
@click.option("--descriptor", metavar="NAME", help=f"{DESCRIPTOR_HELP}  [default: power-spectrum]")
@layers_option
@click.option("--kernels", metavar="K", type=int, help="Attention kernels per layer.  [default: 3]")
@click.option(
    "--rate",
    metavar="R",
    help="Pooling of edges, which leaves the clusters: above 0 and below 1, more for smaller ones.  [default: auto]",
)
@click.option(
    "--mode",
    metavar="NAME",
    help="inductive, or published: the paper's, quadratic in the environments, cannot be saved.  [default: inductive]",
)
@click.option("--epochs", metavar="N", type=int, help="At most so many.  [default: 12; published: 100]")
@group_by_option
@reading_options
@machine_options
@run_options
@click.pass_context
def embed(
    context: click.Context,
    *,
    inputs: tuple[str, ...],
    output: str,
    save_model: str | None,
    model: str | None,
    descriptor: str | None,
    layers: str | None,
    kernels: int | None,
    rate: str | None,
    mode: str | None,
    epochs: int | None,
    group_by: str | None,
    device: str,
    workers: int,
    dask: str | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **files: Unpack[Reading],
) -> None:
    """Embed every atomic environment: descriptor, embedding, cluster and outlier score, in HDF5.

    A model is trained on the frames, or read from a file: then it embeds new frames as it did the old.
    """
    from mlff_curate.workflows.embed import EmbedOptions
    from mlff_curate.workflows.embed_files import embed_files

    start = time.perf_counter()
    options = EmbedOptions(
        model=model,
        descriptor=descriptor,
        layers=layers,
        kernels=kernels,
        rate=rate,
        mode=mode,
        epochs=epochs,
        # a stored model has a seed already: one that was typed says otherwise, the default says nothing
        seed=None if context.get_parameter_source("seed") is ParameterSource.DEFAULT else seed,
        group_by=group_by,
        type_map=elements(files["type_map"]),
        units=files["units"],
        log=files["log"],
        device=device,
        workers=workers,
        dask=dask,
    )
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        done = embed_files(inputs, output, options, save_model=save_model, overwrite=overwrite, progress=progress)
    finish(done, start, as_json=as_json, quiet=quiet, verbose=verbose)
