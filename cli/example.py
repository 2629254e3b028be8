"""`mlff-curate example`: real MD trajectories made on the spot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from .options import run_options
from .screen import print_json, progress_bars

if TYPE_CHECKING:
    from mlff_curate.data.example_md import ExampleSet

EPILOG = """\b
Example:
  mlff-curate example demo --element Fe --frames 200
"""


@click.command(epilog=EPILOG)
@click.argument("directory", metavar="DIR", type=click.Path())
@click.option("--element", default="Ta", show_default=True, help="Ta (SNAP), Nb (UF3) or Fe (EAM).")
@click.option("--frames", default=100, show_default=True, help="Number of frames.")
@run_options
def example(
    *,
    directory: str,
    element: str,
    frames: int,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Make a short labelled MD data set with LAMMPS: DIR/<element>_md.extxyz.

    Mostly a bcc crystal at 300 K, as people have it, with some hot crystal, melt, vacancy, surface and strained
    cells. Labels (energy in eV, forces in eV/A, stress in eV/A^3) are those of the classical potential.
    """
    from mlff_curate.data.example_md import make_example

    if verbose:
        click.echo(f"MD of {element}: {frames} frames, seed {seed}", err=True)
    start = time.perf_counter()
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        made = make_example(
            element,
            directory,
            frames=frames,
            seed=seed,
            overwrite=overwrite,
            progress=lambda done, total, stage: progress("MD", done, total, stage),
        )
    seconds = time.perf_counter() - start
    if as_json:
        print_json(_summary(made, seconds))
    elif not quiet:
        groups = ", ".join(f"{count} {name}" for name, count in made.groups.items())
        click.echo(f"{made.path}: {made.frames} frames ({groups}) in {seconds:.1f} s")


def _summary(made: ExampleSet, seconds: float) -> dict[str, object]:
    return {
        "output": str(made.path),
        "element": made.element,
        "frames": made.frames,
        "groups": made.groups,
        "seconds": round(seconds, 3),
    }
