"""Options that several commands have, spelled once, and what becomes of them."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, TypedDict, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlff_curate.workflows.prune import PruneOptions

_F = TypeVar("_F", bound="Callable[..., object]")

inputs_argument = click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path())
group_by_option = click.option(
    "--group-by", metavar="KEY", help="Info key of the groups; none: one group.  [default: config_type]"
)
exclude_option = click.option(
    "--exclude", metavar="X", multiple=True, help="Info key, KEY=VALUE or file of frame indices to leave out."
)
device_option = click.option(
    "--device", default="cpu", show_default=True, help="Torch device of the networks: cpu, cuda ..."
)
workers_option = click.option(
    "--workers", default=1, show_default=True, help="Processes; the result does not depend on their number."
)
threads_option = click.option(
    "--threads",
    metavar="N",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of the potential; the last digits depend on their number.",
)
committee_option = click.option(
    "--committee",
    metavar="MODEL",
    type=click.Path(),
    multiple=True,
    help="Another potential: what counts is the mean of all.",
)
DESCRIPTOR_HELP = (
    "power-spectrum, bispectrum, orbital-field-matrix, a file that pretrain or train wrote, or array:KEY: an array of "
    "the frames, such as a NequIP's or MACE's features."
)
layers_option = click.option(
    "--layers", metavar="DIGITS", help="Of an encoder as descriptor, such as 012 or 2.  [default: all]"
)
target_option = click.option(
    "--target", metavar="KEY", help="Name of the property: an info key of the frames, or a column of the table."
)
table_option = click.option(
    "--csv", metavar="FILE", type=click.Path(), help="Table of a folder of CIF files.  [default: id_prop.csv in it]"
)


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


def distance_options(function: _F) -> _F:
    """Add what environments are compared by."""
    return _stack(
        click.option(
            "--embedding",
            metavar="NAME",
            help="Where environments are compared: descriptor or meagraph. Clusters are MEAGraph's in either case.  "
            "[default: descriptor]",
        ),
        click.option(
            "--descriptor",
            metavar="NAME",
            default="power-spectrum",
            show_default=True,
            help=DESCRIPTOR_HELP,
        ),
        layers_option,
    )(function)


def machine_options(function: _F) -> _F:
    """Add where to run: device, processes, Dask."""
    return _stack(
        device_option,
        workers_option,
        click.option("--dask", metavar="ADDRESS", help="Address of a Dask scheduler to use instead of processes."),
    )(function)


def type_options(function: _F) -> _F:
    """Add what files may not tell of atoms by themselves."""
    return _stack(
        click.option(
            "--type-map", metavar="A,B,...", help="Elements of the types 1, 2, ... of files that know types only."
        ),
        click.option(
            "--units",
            metavar="STYLE",
            help="Unit style of LAMMPS files that do not tell it.  [default: metal, with a note]",
        ),
    )(function)


def reading_options(function: _F) -> _F:
    """Add what files may not tell by themselves."""
    return _stack(
        type_options,
        click.option(
            "--log", metavar="FILE", type=click.Path(), help="LAMMPS log to take the energies of dumps from (PotEng)."
        ),
    )(function)


def label_options(function: _F) -> _F:
    """Add what the labels are called."""
    return _stack(
        click.option("--energy-key", metavar="KEY", help="Name of the energies, if it is not plain."),
        click.option("--forces-key", metavar="KEY", help="Name of the forces."),
        click.option("--stress-key", metavar="KEY", help="Name of the stresses."),
    )(function)


class Reading(TypedDict):
    """What all commands with inputs are given alike."""

    type_map: str | None
    units: str | None
    log: str | None


class Common(Reading):
    """What `prune` and `learning-curve` are given alike: how frames are read, described and grouped, and where."""

    group_by: str | None
    exclude: tuple[str, ...]
    embedding: str | None
    descriptor: str
    layers: str | None
    energy_key: str | None
    forces_key: str | None
    stress_key: str | None
    device: str
    workers: int
    dask: str | None
    seed: int


def prune_options(common: Common) -> PruneOptions:
    """Return the options that follow; all others at rest."""
    from mlff_curate.workflows.prune import PruneOptions

    return PruneOptions(
        group_by=common["group_by"],
        exclude=common["exclude"],
        type_map=elements(common["type_map"]),
        units=common["units"],
        log=common["log"],
        label_keys={"energy": common["energy_key"], "forces": common["forces_key"], "stress": common["stress_key"]},
        embedding=common["embedding"],
        descriptor=common["descriptor"],
        layers=common["layers"],
        seed=common["seed"],
        device=common["device"],
        workers=common["workers"],
        dask=common["dask"],
    )


def elements(type_map: str | None) -> tuple[str, ...]:
    """Return the words of `--type-map`."""
    return tuple(type_map.split(",")) if type_map else ()


def command_line() -> str:
    """Return what the user typed, for the page."""
    return shlex.join(["mlff-curate", *sys.argv[1:]])
