"""`mlff-curate prune`: the main job."""

from __future__ import annotations

import shlex
import sys
import time

import click

from .options import label_options, machine_options, run_options
from .screen import finish, progress_bars

EPILOG = """\b
Examples:
  mlff-curate prune traj.extxyz
  mlff-curate prune traj.extxyz --keep 0.2 -o small.extxyz
  mlff-curate prune new.extxyz --against curated.extxyz --keep 50
"""


@click.command(epilog=EPILOG)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o", "--output", metavar="OUT", type=click.Path(), help="Kept frames.  [default: <first input>.pruned.extxyz]"
)
@click.option(
    "--keep",
    metavar="K",
    default="auto",
    show_default=True,
    help="With a point a fraction of all frames (0.2), without one a count (40); auto: the knee of the coverage, "
    "that is of what the kept frames tell about energies and forces, with every cluster and group represented.",
)
@click.option("--group-by", metavar="KEY", help="Info key of the groups; none: one group.  [default: config_type]")
@click.option(
    "--against", metavar="CURATED", multiple=True, type=click.Path(), help="Frames that count as kept already."
)
@click.option("--must-keep", metavar="X", multiple=True, help="Info key, KEY=VALUE or file of frame indices.")
@click.option("--exclude", metavar="X", multiple=True, help="The same for frames that are never kept.")
@click.option(
    "--selector",
    metavar="NAME",
    default="coverage",
    show_default=True,
    help="coverage: what tells most about energies and forces of all frames; or to compare: random, stratified, fps, "
    "cluster-quota, quests.",
)
@click.option(
    "--embedding",
    metavar="NAME",
    help="Where environments are compared: descriptor or meagraph. Clusters are MEAGraph's in either case.  "
    "[default: descriptor]",
)
@click.option(
    "--descriptor", metavar="NAME", default="power-spectrum", show_default=True, help="power-spectrum or bispectrum."
)
@click.option("--to", metavar="FORMAT", default="extxyz", show_default=True, help="Format of OUT.")
@click.option(
    "--prove",
    is_flag=True,
    help="Append a learning curve: force fields fitted to kept, random and all frames, errors on held-out ones (needs "
    "labels). With --keep auto, keep as many frames as it asks for.",
)
@label_options
@machine_options
@run_options
def prune(
    *,
    inputs: tuple[str, ...],
    output: str | None,
    keep: str,
    group_by: str | None,
    against: tuple[str, ...],
    must_keep: tuple[str, ...],
    exclude: tuple[str, ...],
    selector: str,
    embedding: str | None,
    descriptor: str,
    to: str,
    prove: bool,
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
    """Keep the frames that train the same force field; labels are not needed.

    Writes the kept frames as they came, OUT.manifest.csv with a reason for every frame, and OUT.report.html.
    """
    from mlff_curate.workflows.prune import PruneOptions
    from mlff_curate.workflows.prune_files import prune_files

    start = time.perf_counter()
    options = PruneOptions(
        keep=keep,
        against=against,
        group_by=group_by,
        must_keep=must_keep,
        exclude=exclude,
        type_map=tuple(type_map.split(",")) if type_map else (),
        label_keys={"energy": energy_key, "forces": forces_key, "stress": stress_key},
        selector=selector,
        embedding=embedding,
        descriptor=descriptor,
        seed=seed,
        device=device,
        workers=workers,
        dask=dask,
    )
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        done = prune_files(
            inputs,
            output,
            options,
            to=to,
            prove=prove,
            overwrite=overwrite,
            command=shlex.join(["mlff-curate", *sys.argv[1:]]),
            progress=progress,
        )
    finish(done, start, as_json=as_json, quiet=quiet, verbose=verbose)
