"""`mlff-curate example`: real MD trajectories made on the spot."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlff_curate.data.example_md import ExampleSet, Progress

EPILOG = """\b
Example:
  mlff-curate example demo --element Fe --frames 200
"""


@click.command(epilog=EPILOG)
@click.argument("directory", metavar="DIR", type=click.Path())
@click.option("--element", default="Ta", show_default=True, help="Ta (SNAP), Nb (UF3) or Fe (EAM).")
@click.option("--frames", default=100, show_default=True, help="Number of frames.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same file.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr what is being done.")
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
    with _progress_bar(show=not quiet and sys.stderr.isatty()) as progress:
        made = make_example(element, directory, frames=frames, seed=seed, overwrite=overwrite, progress=progress)
    seconds = time.perf_counter() - start
    if as_json:
        click.echo(json.dumps(_summary(made, seconds)))
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


@contextmanager
def _progress_bar(*, show: bool) -> Iterator[Progress | None]:
    """Show a bar on stderr and yield the callback that moves it, or None."""
    if not show:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("MD")

        def move(done: int, total: int, stage: str) -> None:
            bar.update(task, completed=done, total=total, description=stage)

        yield move
