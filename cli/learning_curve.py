"""`mlff-curate learning-curve`: held-out errors against the share of frames kept."""

from __future__ import annotations

import shlex
import sys
import time

import click

from mlff_curate.errors import UsageError

from .options import label_options, machine_options, run_options
from .screen import finish, progress_bars

EPILOG = """\b
Examples:
  mlff-curate learning-curve dft.extxyz
  mlff-curate learning-curve dft.extxyz --selectors coverage,fps,random --fractions 0.1,0.3
"""


@click.command(name="learning-curve", epilog=EPILOG)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path())
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
    default="coverage,random",
    show_default=True,
    help="What to compare: the names of prune --selector.",
)
@click.option("--seeds", metavar="N", type=int, default=5, show_default=True, help="Random splits.")
@click.option(
    "--model",
    metavar="NAME",
    help="Force field: snap (LAMMPS) or power-spectrum.  [default: snap where LAMMPS is there]",
)
@click.option("--group-by", metavar="KEY", help="Info key of the groups; none: one group.  [default: config_type]")
@click.option(
    "--exclude", metavar="X", multiple=True, help="Info key, KEY=VALUE or file of frame indices to leave out."
)
@click.option(
    "--embedding",
    metavar="NAME",
    help="Where selectors compare environments: descriptor or meagraph.  [default: descriptor]",
)
@click.option(
    "--descriptor", metavar="NAME", default="power-spectrum", show_default=True, help="power-spectrum or bispectrum."
)
@label_options
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
    group_by: str | None,
    exclude: tuple[str, ...],
    embedding: str | None,
    descriptor: str,
    energy_key: str | None,
    forces_key: str | None,
    stress_key: str | None,
    type_map: str | None,
    device: str,
    workers: int,
    dask: str | None,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compare ways to choose frames by the force fields they train, on frames held out; labels are needed.

    Near copies of held-out frames are not trained on. Prints errors of energies, forces and stresses with error bars,
    and says where random frames are as good.
    """
    from mlff_curate.workflows.learning_curve import CurveOptions, learning_curve_files
    from mlff_curate.workflows.prune import PruneOptions

    start = time.perf_counter()
    options = PruneOptions(
        group_by=group_by,
        exclude=exclude,
        type_map=tuple(type_map.split(",")) if type_map else (),
        label_keys={"energy": energy_key, "forces": forces_key, "stress": stress_key},
        embedding=embedding,
        descriptor=descriptor,
        seed=seed,
        device=device,
        workers=workers,
        dask=dask,
    )
    settings = CurveOptions(_numbers(fractions), tuple(selectors.split(",")), seeds, model)
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        done = learning_curve_files(
            inputs,
            output,
            options,
            settings,
            overwrite=overwrite,
            command=shlex.join(["mlff-curate", *sys.argv[1:]]),
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
