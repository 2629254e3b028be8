"""`mlff-curate md`: molecular dynamics with a trained potential."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mlff_curate.errors import UsageError

from .options import committee_option, device_option, elements, reading_options, run_options, threads_option
from .screen import finish, progress_bars

if TYPE_CHECKING:
    from typing import Unpack

    from .options import Reading

EPILOG = """\b
Examples:
  mlff-curate md ta.model crystal.extxyz --supercell 4 4 4 --temperature 1500 --steps 20000
  mlff-curate md ta.model equilibrated.extxyz -o nve.extxyz --ensemble nve --timestep 2 --steps 10000
  mlff-curate md ta.model melt.extxyz -o npt.extxyz --ensemble npt --pressure 5 --engine lammps --steps 1000000 --resume
"""
_WITHOUT = {
    "nve": ("damping", "pressure", "pressure_damping", "shape"),
    "langevin": ("pressure", "pressure_damping", "shape"),
    "nose-hoover": ("pressure", "pressure_damping", "shape"),
    "npt": (),
}
"""Options that mean nothing to an ensemble."""


@click.command(epilog=EPILOG)
@click.argument("model", metavar="MODEL", type=click.Path())
@click.argument("start", metavar="START", type=click.Path())
@click.option(
    "-o", "--output", metavar="OUT", type=click.Path(), help="Trajectory, extxyz.  [default: <stem of START>.md.extxyz]"
)
@click.option(
    "--engine", type=click.Choice(["ase", "lammps"]), default="ase", show_default=True, help="What moves the atoms."
)
@click.option(
    "--ensemble",
    type=click.Choice(["nve", "langevin", "nose-hoover", "npt"]),
    default="langevin",
    show_default=True,
    help="Constant energy, temperature, or temperature and pressure.",
)
@click.option(
    "--temperature", metavar="K", type=float, default=300.0, show_default=True, help="Held; of nve: drawn at the start."
)
@click.option("--pressure", metavar="GPA", type=float, default=0.0, show_default=True, help="Of npt.")
@click.option("--timestep", metavar="FS", type=float, default=1.0, show_default=True)
@click.option(
    "--steps", metavar="N", type=int, default=1000, show_default=True, help="In all; those before --resume count."
)
@click.option("--every", metavar="N", type=int, default=100, show_default=True, help="Steps between frames of OUT.")
@click.option("--thermo", metavar="N", type=int, default=10, show_default=True, help="Steps between rows of the log.")
@click.option(
    "--checkpoint",
    metavar="N",
    type=int,
    default=1000,
    show_default=True,
    help="Steps between the states that a run can go on from.",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint; begin if there is none.")
@click.option(
    "--frame", metavar="N", type=int, default=-1, show_default=True, help="Of START, 0-based; -1 is the last."
)
@click.option(
    "--supercell", metavar="A B C", type=int, nargs=3, default=(1, 1, 1), show_default=True, help="Repeats of START."
)
@click.option("--new-velocities", is_flag=True, help="Draw velocities even if START has some.")
@click.option(
    "--damping", metavar="FS", type=float, default=100.0, show_default=True, help="Time in which a thermostat acts."
)
@click.option(
    "--pressure-damping",
    metavar="FS",
    type=float,
    default=1000.0,
    show_default=True,
    help="The same of a barostat.",
)
@click.option(
    "--shape",
    type=click.Choice(["isotropic", "axes", "free"]),
    default="isotropic",
    show_default=True,
    help="What npt may change: the volume, the lengths of perpendicular cell vectors, or all of the cell.",
)
@committee_option
@click.option(
    "--max-disagreement",
    metavar="EV/A",
    type=float,
    help="Stop where the committee's standard deviation of an atom's force is larger.",
)
@click.option(
    "--min-distance",
    metavar="SHARE",
    type=float,
    default=0.5,
    show_default=True,
    help="Stop where atoms are closer than this share of the sum of their covalent radii.",
)
@click.option(
    "--max-temperature",
    metavar="K",
    type=float,
    help="Stop above it.  [default: 10 x --temperature, at least 3000]",
)
@click.option(
    "--max-energy-change",
    metavar="EV",
    type=float,
    default=5.0,
    show_default=True,
    help="Stop where the potential energy per atom has moved so far from the start.",
)
@reading_options
@device_option
@threads_option
@run_options
def md(
    *,
    model: str,
    start: str,
    output: str | None,
    engine: str,
    ensemble: str,
    temperature: float,
    pressure: float,
    timestep: float,
    steps: int,
    every: int,
    thermo: int,
    checkpoint: int,
    resume: bool,
    frame: int,
    supercell: tuple[int, int, int],
    new_velocities: bool,
    damping: float,
    pressure_damping: float,
    shape: str,
    committee: tuple[str, ...],
    max_disagreement: float | None,
    min_distance: float,
    max_temperature: float | None,
    max_energy_change: float,
    device: str,
    threads: int,
    seed: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **files: Unpack[Reading],
) -> None:
    """Run molecular dynamics from a frame, with the energies, forces and stresses of a trained potential.

    OUT has positions, velocities and the potential's labels; <OUT stem>.thermo.csv has temperature, energies and
    pressure. While the run lasts both grow in OUT.unfinished/, with a checkpoint that --resume goes on from.

    Exit status: 0 done; 1 the run was stopped (atoms collided, the energy exploded, the committee disagrees), or the
    data are not fit; 2 wrong usage.
    """
    begun = time.perf_counter()
    of_user = click.get_current_context().get_parameter_source
    for name in _WITHOUT[ensemble]:
        if of_user(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"means nothing to --ensemble {ensemble}", key=f"--{name.replace('_', '-')}")
    from mlff_curate.dynamics import Conditions, StopRules
    from mlff_curate.workflows.md import MDJob, md_files

    job = MDJob(
        model=model,
        start=start,
        committee=committee,
        frame=frame,
        supercell=supercell,
        new_velocities=new_velocities,
        engine=engine,
        conditions=Conditions(
            ensemble=ensemble,
            temperature=temperature,
            pressure=pressure,
            timestep=timestep,
            damping=damping,
            pressure_damping=pressure_damping,
            shape=shape,
            seed=seed,
        ),
        rules=StopRules(
            min_distance=min_distance,
            max_temperature=max_temperature,
            max_energy_change=max_energy_change,
            max_disagreement=max_disagreement,
        ),
        steps=steps,
        frames_every=every,
        rows_every=thermo,
        checkpoint_every=checkpoint,
        device=device,
        threads=threads,
        type_map=elements(files["type_map"]),
        units=files["units"],
        log=files["log"],
    )
    with progress_bars(quiet=quiet, verbose=verbose) as progress:
        done = md_files(job, output, overwrite=overwrite, resume=resume, progress=progress)
    finish(done, begun, as_json=as_json, quiet=quiet, verbose=verbose)
    sys.exit(done.status)
