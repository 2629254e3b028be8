"""Options that every command has, spelled once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_F = TypeVar("_F", bound="Callable[..., object]")


def _stack(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def run_options(function: _F) -> _F:
    """Add how to run: seed, overwrite, and what to print."""
    return _stack(
        click.option(
            "--seed",
            type=click.IntRange(0, 2**32 - 1),
            default=0,
            show_default=True,
            help="Of every random choice: equal seeds, equal bytes.",
        ),
        click.option("--overwrite", is_flag=True, help="Replace existing outputs."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, all else on stderr."),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
        click.option("-v", "--verbose", is_flag=True, help="Say on stderr what is being done."),
    )(function)


def machine_options(function: _F) -> _F:
    """Add where to run: device, processes, Dask."""
    return _stack(
        click.option("--device", default="cpu", show_default=True, help="Torch device of the networks: cpu, cuda ..."),
        click.option(
            "--workers", default=1, show_default=True, help="Processes; the result does not depend on their number."
        ),
        click.option("--dask", metavar="ADDRESS", help="Address of a Dask scheduler to use instead of processes."),
    )(function)


def label_options(function: _F) -> _F:
    """Add what the labels are called, and the elements of numbered types."""
    return _stack(
        click.option("--energy-key", metavar="KEY", help="Name of the energies, if it is not plain."),
        click.option("--forces-key", metavar="KEY", help="Name of the forces."),
        click.option("--stress-key", metavar="KEY", help="Name of the stresses."),
        click.option(
            "--type-map", metavar="A,B,...", help="Elements of the types 1, 2, ... of files that know types only."
        ),
    )(function)
