"""`mlff-curate prune`: the main job."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

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
  mlff-curate prune traj.extxyz
  mlff-curate prune traj.extxyz --keep 0.2 -o small.extxyz
  mlff-curate prune new.extxyz --against curated.extxyz --keep 50
"""


@click.command(epilog=EPILOG)
@inputs_argument
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
@group_by_option
@click.option(
    "--against", metavar="CURATED", multiple=True, type=click.Path(), help="Frames that count as kept already."
)
@click.option("--must-keep", metavar="X", multiple=True, help="Info key, KEY=VALUE or file of frame indices.")
@exclude_option
@click.option(
    "--selector",
    metavar="NAME",
    default="coverage",
    show_default=True,
    help="coverage: what tells most about energies and forces of all frames; or to compare: random, stratified, fps, "
    "cluster-quota, quests.",
)
@distance_options
@click.option("--to", metavar="FORMAT", default="extxyz", show_default=True, help="Format of OUT.")
@click.option(
    "--prove",
    is_flag=True,
    help="Append a learning curve: force fields fitted to kept, random and all frames, errors on held-out ones (needs "
    "labels). With --keep auto, keep as many frames as it asks for.",
)
@label_options
@reading_options
@machine_options
@run_options
def prune(
    *,
    inputs: tuple[str, ...],
    output: str | None,
    keep: str,
    against: tuple[str, ...],
    must_keep: tuple[str, ...],
    selector: str,
    to: str,
    prove: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **common: Unpack[Common],
) -> None:
    """Keep the frames that train the same force field; labels are not needed.

    Writes the kept frames as they came, OUT.manifest.csv with a reason for every frame, and OUT.report.html.
    """
    from mlff_curate.workflows.prune_files import prune_files

    start = time.perf_counter()
    options = replace(prune_options(common), keep=keep, against=against, must_keep=must_keep, selector=selector)
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        done = prune_files(
            inputs,
            output,
            options,
            to=to,
            prove=prove,
            overwrite=overwrite,
            command=command_line(),
            progress=progress,
        )
    finish(done, start, as_json=as_json, quiet=quiet, verbose=verbose)
