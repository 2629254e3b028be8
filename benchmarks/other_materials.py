"""Labelled sets of other elements and alloys, for the judge of pruning. Settings were looked at on Cu and NiAl only.

    other_materials.py FOLDER [--materials Al,Cu,Zr,Si,NiAl,CuZr] [--seed 0]

Energies, forces and stresses are those of potentials that come with LAMMPS. The groups are those of a usual DFT set, of
very unequal size: strained cells, equations of state, MD of crystal and melt (successive frames alike), surfaces and
vacancies; of alloys also random solid solutions and other compositions.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.build import bulk, surface
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.io import write

from mlff_curate.errors import CurateError
from mlff_curate.lammps_session import LammpsSession, potential_file

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Material:
    """A potential and the crystals it is asked about, the first being the ground state.

    Attributes
    ----------
    elements
        In the order of LAMMPS' types.
    style, file
        `pair_style` and its file.
    crystals
        Cells that make the groups.
    melting
        About where it melts, K.
    """

    elements: tuple[str, ...]
    style: str
    file: str
    crystals: tuple[Atoms, ...]
    melting: float

    @property
    def commands(self) -> list[str]:
        """What LAMMPS is told."""
        return [f"pair_style {self.style}", f"pair_coeff * * {potential_file(self.file)} {' '.join(self.elements)}"]

    @property
    def species(self) -> list[int]:
        """Atomic numbers in the order of LAMMPS' types."""
        return [atomic_numbers[e] for e in self.elements]


def _ordered(first: str, second: str, a: float) -> Atoms:
    return Atoms([first, second], scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[a] * 3, pbc=True)


def _mixed(host: Atoms, guest: str, count: int) -> Atoms:
    """Replace the first so many atoms."""
    out = host.copy()
    out.symbols[:count] = guest
    return out


def _materials() -> dict[str, Material]:
    si = (bulk("Si", "diamond", a=5.431, cubic=True), bulk("Si", "bcc", a=3.2, cubic=True))
    al, cu, ni = (bulk(e, "fcc", a=a, cubic=True) for e, a in (("Al", 4.05), ("Cu", 3.615), ("Ni", 3.52)))
    zr = bulk("Zr", "hcp", a=3.23, c=5.17).repeat((1, 2, 1))
    return {
        "Al": Material(("Al",), "eam/alloy", "Al_zhou.eam.alloy", (al, bulk("Al", "bcc", a=3.25, cubic=True)), 930),
        "Cu": Material(("Cu",), "eam/alloy", "Cu_mishin1.eam.alloy", (cu, bulk("Cu", "bcc", a=2.88, cubic=True)), 1350),
        "Zr": Material(("Zr",), "eam/fs", "Zr_mm.eam.fs", (zr, bulk("Zr", "bcc", a=3.58, cubic=True)), 2100),
        "Si": Material(("Si",), "sw", "Si.sw", si, 1690),
        "NiAl": Material(
            ("Ni", "Al"),
            "eam/alloy",
            "NiAlH_jea.eam.alloy",
            (_ordered("Ni", "Al", 2.88), _mixed(ni, "Al", 1), _mixed(al, "Ni", 1), ni, al),
            1900,
        ),
        "CuZr": Material(
            ("Cu", "Zr"), "eam/fs", "CuZr_mm.eam.fs", (_ordered("Cu", "Zr", 3.26), _mixed(cu, "Zr", 1), cu, zr), 1250
        ),
    }


class Maker:
    """Makes the frames of one material."""

    def __init__(self, material: Material, rng: np.random.Generator, session: LammpsSession) -> None:
        self.material, self.rng, self.session = material, rng, session

    def large(self, crystal: Atoms, least: int = 50) -> Atoms:
        """Return a nearly cubic supercell of at least so many atoms."""
        times = np.ones(3, int)
        while len(crystal) * times.prod() < least:
            times[(crystal.cell.lengths() * times).argmin()] += 1
        return crystal.repeat(times)

    def shuffled(self, atoms: Atoms) -> Atoms:
        """Return the same composition on random sites."""
        out = atoms.copy()
        out.numbers[:] = self.rng.permutation(out.numbers)
        return out

    def md(self, start: Atoms, kelvin: float, frames: int, spacing: int, overheat: float = 0.0) -> Iterator[Atoms]:
        """Langevin MD at constant volume."""
        m, rng = self.material, self.rng
        self.session.load(start, m.species, m.commands, skin=1.0)
        velocity = f"velocity all create {2 * kelvin:g} {rng.integers(1, 9999)}"
        self.session.commands("timestep 0.002", velocity, "fix 1 all nve")
        for temperature, steps in ((overheat, 1500), (kelvin, 800)):
            if temperature:
                self.session.commands(f"fix 2 all langevin {temperature:g} {temperature:g} 0.1 {rng.integers(1, 9999)}")
                self.session.run(steps)
        for _ in range(frames):
            self.session.run(spacing)
            frame = start.copy()
            frame.positions[:] = self.session.positions()
            yield frame

    def frames(self) -> Iterator[tuple[str, Atoms]]:
        """Yield group and unlabelled frame."""
        yield from self._cells()
        yield from self._dynamics()
        yield from self._defects()

    def _cells(self) -> Iterator[tuple[str, Atoms]]:
        for k, crystal in enumerate(self.material.crystals):
            for x in np.linspace(0.86, 1.22, 16):
                yield f"volume_{k}", self._scaled(crystal, x)
        for _ in range(120):
            strain = self.rng.normal(scale=0.03, size=(3, 3))
            cell = self.material.crystals[0].copy()
            cell.set_cell(cell.cell[:] @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
            yield "strained", cell

    def _dynamics(self) -> Iterator[tuple[str, Atoms]]:
        large, melting = self.large(self.material.crystals[0]), self.material.melting
        hole = large.copy()
        del hole[0]
        liquid = self.shuffled(self._scaled(large, 1.03))
        yield from (("md_300K", frame) for frame in self.md(large, 300.0, 60, 10))
        yield from (("md_hot", frame) for frame in self.md(self._scaled(large, 1.01), 0.7 * melting, 100, 10))
        yield from (("liquid", frame) for frame in self.md(liquid, 1.3 * melting, 25, 60, overheat=4 * melting))
        yield from (("vacancy", frame) for frame in self.md(hole, 500.0, 12, 40))

    def _defects(self) -> Iterator[tuple[str, Atoms]]:
        first, *others = self.material.crystals
        for indices in ((1, 0, 0), (1, 1, 0), (1, 1, 1)):
            slab = surface(first, indices, 3, vacuum=7.0, periodic=True)
            for _ in range(4):
                yield "surface", self._rattled(slab, 0.06)
        for k, crystal in enumerate(others, 1):
            for _ in range(10):
                yield f"displaced_{k}", self._rattled(self.shuffled(self.large(crystal, 30)), 0.08)

    def _rattled(self, atoms: Atoms, scale: float) -> Atoms:
        out = atoms.copy()
        out.positions += self.rng.normal(scale=scale, size=out.positions.shape)
        return out

    @staticmethod
    def _scaled(atoms: Atoms, x: float) -> Atoms:
        out = atoms.copy()
        out.set_cell(out.cell[:] * x, scale_atoms=True)
        return out

    def label(self, group: str, atoms: Atoms) -> Atoms:
        """Add energy, forces and stress."""
        m = self.material
        frame = atoms.copy()
        self.session.load(frame, m.species, m.commands)
        self.session.run(0)
        stress = self.session.stress()[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
        frame.info["config_type"] = group
        frame.calc = SinglePointCalculator(
            frame, energy=self.session.energy(), forces=self.session.forces(), stress=stress
        )
        return frame


def main() -> None:
    """Make the sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--materials", default=",".join(_materials()))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.materials.split(","):
        rng = np.random.default_rng([arguments.seed, *map(ord, name)])
        made, failed = [], 0
        with LammpsSession() as session:
            maker = Maker(_materials()[name], rng, session)
            for group, frame in list(maker.frames()):
                try:
                    made.append(maker.label(group, frame))
                except CurateError:  # a strain too large for LAMMPS' box
                    failed += 1
        write(arguments.folder / f"{name}.extxyz", made)
        print(f"{name}: {len(made)} frames, {sum(map(len, made))} atoms, {failed} not possible", flush=True)


if __name__ == "__main__":
    main()
