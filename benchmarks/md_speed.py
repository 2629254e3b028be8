"""Microseconds per atom and step of molecular dynamics: ours by ASE and by LAMMPS, SNAP and MACE beside it.

    md_speed.py MODEL [--element Ta] [--lattice 3.32] [--threads 1 2] [--repeats 4 10] [--clock wall|cpu]
        [--snap Ta06A.snap] [--mace PYTHON MACE_MODEL]

MODEL is a potential of ours; any of its shape will do. Cubic bcc crystals at 300 K, 2 fs, NVE. `--clock cpu` counts the
processor time of this process, for a machine that does other work too; MACE is always timed by the wall clock.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ase.build import bulk

from mlff_curate.calculators import CGCNNCalculator
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.dynamics import AseEngine, Conditions, LammpsEngine, draw_velocities, simulate
from mlff_curate.lammps_session import LammpsSession, potential_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

_WARM_UP = 5

_MACE = """
import sys, time
from ase.build import bulk
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.units import fs
from mace.calculators import MACECalculator
import torch
model, element, lattice, repeats, steps, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
atoms = bulk(element, "bcc", a=float(lattice), cubic=True) * int(repeats)
MaxwellBoltzmannDistribution(atoms, temperature_K=600)
atoms.calc = MACECalculator(model_paths=model, device="cpu", default_dtype="float32")
run = VelocityVerlet(atoms, 2 * fs)
run.run(5)
start = time.perf_counter()
run.run(int(steps))
print((time.perf_counter() - start) / int(steps) / len(atoms) * 1e6)
"""


def crystal(element: str, lattice: float, repeats: int, conditions: Conditions) -> Atoms:
    """Return a crystal with velocities."""
    atoms = bulk(element, "bcc", a=lattice, cubic=True) * repeats
    draw_velocities(atoms, conditions)
    return atoms


def main() -> None:
    """Print a line per code, size and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--element", default="Ta")
    parser.add_argument("--lattice", type=float, default=3.32)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, nargs="+", default=[4, 10])
    parser.add_argument("--steps", type=int, default=100_000, help="times atoms")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--snap", help="a SNAP potential that LAMMPS ships, by its name")
    parser.add_argument("--mace", nargs=2, metavar=("PYTHON", "MODEL"))
    given = parser.parse_args()
    now: Callable[[], float] = time.perf_counter if given.clock == "wall" else time.process_time
    conditions = Conditions("nve", temperature=300, timestep=2.0)
    potential = Potential.load(given.model)
    for repeats in given.repeats:
        n_atoms = 2 * repeats**3
        steps = max(10, given.steps // n_atoms)
        for threads in given.threads:
            for engine in (AseEngine, LammpsEngine):
                run = engine(
                    crystal(given.element, given.lattice, repeats, conditions),
                    conditions,
                    lambda threads=threads: CGCNNCalculator(potential, threads=threads),  # type: ignore[misc]
                )
                for _ in simulate(run, _WARM_UP):
                    pass
                start = now()
                for _ in simulate(run, _WARM_UP + steps):
                    pass
                name = f"{engine.__name__}, {threads} threads"
                print(f"{n_atoms} atoms, {name}: {(now() - start) / steps / n_atoms * 1e6:.1f}", flush=True)
                run.close()
        if given.snap is not None:
            with LammpsSession() as session:
                atoms = crystal(given.element, given.lattice, repeats, conditions)
                path = Path(potential_file(given.snap))
                os.environ["LAMMPS_POTENTIALS"] = str(path.parent)  # of the files that this one names
                lines = [f'include "{path}"']
                session.load(atoms, [int(atoms.numbers[0])], lines, skin=1.0)
                session.commands("velocity all create 600 1", "timestep 0.002", "fix move all nve")
                session.run(_WARM_UP)
                start = now()
                session.run(steps)
                print(f"{n_atoms} atoms, {given.snap} in LAMMPS: {(now() - start) / steps / n_atoms * 1e6:.1f}")
        if given.mace is not None:
            for threads in given.threads:
                words = [given.element, given.lattice, repeats, max(10, steps // 5), threads]
                command = [given.mace[0], "-c", _MACE, given.mace[1], *map(str, words)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                print(f"{n_atoms} atoms, MACE, {threads} threads: {float(done.stdout.split()[-1]):.1f}", flush=True)


if __name__ == "__main__":
    main()
