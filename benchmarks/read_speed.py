"""Frames per second of `ase.io.read` and of `read_frames`, without and with labels in normal form, taking turns.

One thread, processor time, the best of some runs; the frames of both are compared in every bit first.

    python benchmarks/read_speed.py $DATA/ta_jcp2014.extxyz $DATA/nb_mvl2020.extxyz $DATA/fe_npj2021.extxyz
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import ase.io
import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_curate import read_frames
from mlff_curate.data.labels import labels_of
from mlff_curate.data.quick_extxyz import same_content

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms


def made_frames(count: int) -> list[Atoms]:
    """Return frames of 100 atoms with energy, forces and stress, as ASE writes those of an MD run."""
    rng = np.random.default_rng(0)
    frames = []
    for step in range(count):
        atoms = bulk("Ta", cubic=True) * (5, 5, 2)
        atoms.positions += rng.normal(scale=0.1, size=(100, 3))
        atoms.info.update(config_type="md", step=step)
        atoms.calc = SinglePointCalculator(
            atoms, energy=float(rng.normal(-1000, 5)), forces=rng.normal(size=(100, 3)), stress=rng.normal(size=6) / 100
        )
        frames.append(atoms)
    return frames


def with_ase(path: Path) -> None:
    """Read as most scripts do."""
    ase.io.read(path, index=":")


def in_a_stream(path: Path) -> None:
    """Read and check."""
    for _ in read_frames(path):
        pass


def to_normal_form(path: Path) -> None:
    """Read, check and take the labels."""
    for frame in read_frames(path):
        labels_of(frame.atoms)


def seconds(job: Callable[[Path], None], path: Path) -> float:
    """Return the processor time that a job takes."""
    start = time.process_time()
    job(path)
    return time.process_time() - start


def measure(path: Path, runs: int) -> None:
    """Print a row of the table; stop if the two do not read the same."""
    expected = ase.io.read(path, index=":")
    atoms = sum(map(len, expected))
    for frame, theirs in zip(read_frames(path), expected, strict=True):
        if not same_content(frame.atoms, theirs):
            raise SystemExit(f"{path}: frame {frame.index} is not what ASE reads")
    frames = len(expected)
    del expected
    jobs = (with_ase, in_a_stream, to_normal_form)
    turns = [[seconds(job, path) for job in jobs] for _ in range(runs)]
    theirs, ours, normal = (min(times) for times in zip(*turns, strict=True))
    rates = [f"{frames / cost:,.0f}" for cost in (theirs, ours, normal)]
    print(
        f"| {path.stem} | {frames} | {atoms / frames:.0f} | {' | '.join(rates)} | {theirs / ours:.1f} | "
        f"{theirs / normal:.1f} |"
    )


def main() -> None:
    """Measure a made file and those given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--frames", type=int, default=2000, help="of the made file, 100 atoms each")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print("| file | frames | atoms a frame | ASE, frames/s | read | read, normal form | times ASE | with normal form |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "made.extxyz")
        ase.io.write(made, made_frames(arguments.frames))
        for path in (made, *arguments.files):
            measure(path, arguments.runs)


if __name__ == "__main__":
    main()
