"""`mlff-curate convert`: any format in, any format out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from .options import elements, group_by_option, label_options, reading_options, run_options
from .screen import finish, progress_bars

if TYPE_CHECKING:
    from typing import Unpack

    from .options import Reading

EPILOG = """\b
Examples:
  mlff-curate convert OUTCAR vasprun.xml dft.extxyz
  mlff-curate convert dft.extxyz train.extxyz --to mace
  mlff-curate convert dft.extxyz kliff_set --to kliff --group-by config_type
  mlff-curate convert old.xyz new.extxyz --energy-key dft_energy --write-energy-key energy
"""


@click.command(epilog=EPILOG)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path())
@click.argument("output", metavar="OUT", type=click.Path())
@click.option("--to", metavar="FORMAT", help="Format of OUT.  [default: as its name says]")
@group_by_option
@label_options
@reading_options
@click.option("--write-energy-key", metavar="KEY", help="Name to write the energies under.")
@click.option("--write-forces-key", metavar="KEY", help="Name to write the forces under.")
@click.option("--write-stress-key", metavar="KEY", help="Name to write the stresses under.")
@run_options
def convert(
    *,
    inputs: tuple[str, ...],
    output: str,
    to: str | None,
    group_by: str | None,
    energy_key: str | None,
    forces_key: str | None,
    stress_key: str | None,
    write_energy_key: str | None,
    write_forces_key: str | None,
    write_stress_key: str | None,
    seed: int,  # noqa: ARG001 - nothing is drawn here
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **files: Unpack[Reading],
) -> None:
    """Write frames in another format, and say what became of every label.

    Labels are written in eV and Angstrom, stresses positive under tension. What has no label gets none.
    """
    from mlff_curate.workflows.convert import ConvertOptions, convert_files

    start = time.perf_counter()
    options = ConvertOptions(
        to=to,
        label_keys={"energy": energy_key, "forces": forces_key, "stress": stress_key},
        energy_key=write_energy_key,
        forces_key=write_forces_key,
        stress_key=write_stress_key,
        group_by=group_by,
        type_map=elements(files["type_map"]),
        units=files["units"],
        log=files["log"],
    )
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        done = convert_files(inputs, output, options, overwrite=overwrite, progress=progress)
    finish(done, start, as_json=as_json, quiet=quiet, verbose=verbose)
