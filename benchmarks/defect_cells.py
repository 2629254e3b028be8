"""Crystals of bcc niobium with one kind of defect each, at 300 K and 900 K, every atom labelled.

Used by `defects.py`. A case is built at the lattice constant of the potential, relaxed, widened by the thermal
expansion, heated at constant volume and looked at several times.

Truth, per snapshot: it is brought back to the cell of 0 K and relaxed, which takes the heat out and leaves the defect
where it had moved to. An atom of the relaxed copy is bulk if it has the bonds of bcc (common-neighbour analysis,
`is_bcc`), and of the case's kind if it has not. This looks at the atoms nearer than 1.207 lattice constants alone and
shares nothing with the descriptors under test. A perfect bond pattern under strain is bulk.

Each frame has `info["case"]`, `info["temperature"]` (K), and the atoms' array `kind`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bcc110, bulk
from ase.lattice.cubic import BodyCenteredCubic
from matscipy.dislocation import BCCScrew111Dislocation, CubicCrystalDislocationQuadrupole
from matscipy.neighbours import neighbour_list as matscipy_list

from mlff_curate.data.example_md import DAMPING, LAMMPS_SEED_LIMIT, TIMESTEP, VACUUM, find_metal
from mlff_curate.lammps_session import LammpsSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

METAL = find_metal("Nb")
A0 = METAL.lattice_constant
KINDS = ("bulk", "vacancy", "interstitial", "surface", "grain-boundary", "dislocation")
TEMPERATURES = (300, 900)
EXPANSION = 7.3e-6  # 1/K, of niobium around room temperature (CRC Handbook of Chemistry and Physics)
ELASTIC = (247.0, 135.0, 28.7)  # C11, C12, C44 of niobium in GPa, for the first guess of the dislocations only
SETTLE, SPACING, SNAPSHOTS = 1000, 250, 3  # MD steps before the first frame and between frames; frames
BOND = 1.207 * A0  # halfway between the second and the third shell: (1 + sqrt 2) / 2
BCC_BONDS = [(4, 4)] * 6 + [(6, 6)] * 8  # common neighbours, and bonds among them, of the 14 neighbours in bcc


def relax(session: LammpsSession, atoms: Atoms) -> Atoms:
    """Return the copy in which no force is larger than 1 meV/Angstrom, the cell as it is."""
    session.load(atoms, [METAL.number], METAL.commands(), skin=1.0)
    session.commands("min_style cg", "min_modify dmax 0.1 line quadratic", "minimize 0 1e-3 400 4000")
    copy: Atoms = atoms.copy()
    copy.positions[:] = session.positions()
    return copy


def crystal() -> Atoms:
    """432 atoms without a defect."""
    atoms: Atoms = bulk("Nb", "bcc", a=A0, cubic=True) * (6, 6, 6)
    return atoms


def vacancy(session: LammpsSession) -> Atoms:
    """One atom less."""
    atoms = crystal()
    del atoms[len(atoms) // 2]
    return relax(session, atoms)


def interstitial(session: LammpsSession) -> Atoms:
    """One atom more: a 110 dumbbell in place of an atom, turned a little so that it may turn further."""
    atoms = crystal()
    middle = len(atoms) // 2
    half = 0.3 * A0 * np.array([1.0, 0.9, 0.05])
    atoms.append("Nb")
    atoms.positions[-1] = atoms.positions[middle] + half
    atoms.positions[middle] -= half
    return relax(session, atoms)


def surface_100(session: LammpsSession) -> Atoms:
    """Slab of 20 layers between two (100) surfaces."""
    atoms: Atoms = bulk("Nb", "bcc", a=A0, cubic=True) * (5, 5, 10)
    atoms.center(vacuum=VACUUM / 2, axis=2)
    return relax(session, atoms)


def surface_110(session: LammpsSession) -> Atoms:
    """Slab of 14 layers between two (110) surfaces."""
    atoms: Atoms = bcc110("Nb", (6, 6, 14), a=A0, vacuum=VACUUM / 2)
    atoms.pbc = True
    atoms.info.clear()
    return relax(session, atoms)


def grain_boundary(session: LammpsSession) -> Atoms:
    """Two symmetric Sigma 5 (210)[001] tilt boundaries, 22 Angstrom apart.

    A grain and its mirror image are put on each other. The shift along the boundary, and how near two atoms may come
    before they become one, are those of least energy among a few that were relaxed. Then the length across the
    boundary is relaxed, too.
    """
    grain = BodyCenteredCubic(directions=[[0, 0, 1], [1, -2, 0], [2, 1, 0]], latticeconstant=A0, symbol="Nb")
    grain *= (2, 1, 3)
    x, y, z = grain.cell.lengths()
    mirror = grain.copy()
    mirror.positions[:, 2] = 2 * z - mirror.positions[:, 2]
    per_atom = energy(session, crystal()) / 432
    candidates: list[tuple[float, int, Atoms]] = []
    for merge in (0.6, 0.8):
        for along in np.arange(4) / 4:
            for tilt in (0.0, 0.25):
                other = mirror.copy()
                other.positions += [tilt * A0, along * y, 0.0]
                atoms = grain + other
                atoms.set_cell([x, y, 2 * z])
                atoms.wrap()
                atoms = relax(session, merged(atoms, merge * A0 * 0.75**0.5))
                candidates.append((round(energy(session, atoms) - len(atoms) * per_atom, 4), len(candidates), atoms))
    atoms = min(candidates)[2] * (2, 2, 1)
    for _ in range(4):  # Newton's method with about the stiffness of niobium, 250 GPa = 1.56 eV/A^3
        atoms = relax(session, atoms)
        session.run(0)
        length = atoms.cell[2, 2] * (1.0 - session.stress()[2, 2] / 1.56)
        atoms.set_cell([*atoms.cell.lengths()[:2], length], scale_atoms=True)
    return relax(session, atoms)


def energy(session: LammpsSession, atoms: Atoms) -> float:
    """Potential energy in eV."""
    session.load(atoms, [METAL.number], METAL.commands())
    session.run(0)
    return session.energy()


def merged(atoms: Atoms, distance: float) -> Atoms:
    """Leave out one atom of each pair nearer than a distance in Angstrom."""
    copy: Atoms = atoms.copy()
    near = copy.get_all_distances(mic=True) < distance
    gone: list[int] = []
    for i in range(len(copy)):
        if near[i, :i][np.setdiff1d(np.arange(i), gone)].any():
            gone.append(i)
    del copy[gone]
    return copy


def dislocations(session: LammpsSession) -> Atoms:
    """Quadrupole of 1/2<111> screw dislocations, two in the cell, five Burgers vectors long.

    The cut between the two shears the crystal by its length times the Burgers vector over the area of the cell.
    matscipy leaves the cell as it was, which drives the two together until nothing is left; the cell is sheared here.
    """
    separation = 6
    builder = CubicCrystalDislocationQuadrupole(BCCScrew111Dislocation, A0, *ELASTIC, symbol="Nb")
    atoms: Atoms = builder.build_quadrupole(glide_separation=separation, method="adsl", verbose="off")[1]
    atoms.info.clear()
    shear = np.eye(3)
    area = abs(float(np.cross(atoms.cell[0], atoms.cell[1])[2]))
    shear[1, 2] = separation * builder.glide_distance * atoms.cell[2, 2] / area
    atoms.set_cell(atoms.cell[:] @ shear, scale_atoms=True)
    return relax(session, atoms * (1, 1, 5))


CASES: dict[str, tuple[str, Callable[[LammpsSession], Atoms]]] = {
    "perfect": ("bulk", lambda _: crystal()),
    "vacancy": ("vacancy", vacancy),
    "interstitial": ("interstitial", interstitial),
    "surface (100)": ("surface", surface_100),
    "surface (110)": ("surface", surface_110),
    "grain boundary": ("grain-boundary", grain_boundary),
    "screw dislocations": ("dislocation", dislocations),
}
"""The kind of what is not bulk in each case, and the relaxed cell of 0 K."""


def is_bcc(atoms: Atoms) -> np.ndarray:
    """Tell which atoms have the bonds of bcc, (N,).

    Common-neighbour analysis (Honeycutt, Andersen, J. Phys. Chem. 91, 4950 (1987)): an atom of bcc has 14 neighbours
    within 1.207 lattice constants; with 8 of them it shares six neighbours that have six bonds among each other, with
    6 of them four that have four. The cell must be wider than twice that distance.
    """
    first, second = matscipy_list("ij", atoms, BOND)
    bonded = np.zeros((len(atoms), len(atoms)), bool)
    bonded[first, second] = True
    perfect = np.zeros(len(atoms), bool)
    for i in np.flatnonzero(bonded.sum(axis=1) == len(BCC_BONDS)):
        signature = []
        for j in np.flatnonzero(bonded[i]):
            common = np.flatnonzero(bonded[i] & bonded[j])
            signature.append((len(common), int(bonded[np.ix_(common, common)].sum()) // 2))
        perfect[i] = sorted(signature) == BCC_BONDS
    return perfect


def snapshots(session: LammpsSession, case: str, start: Atoms, temperature: float, seed: int) -> list[Atoms]:
    """Heat a relaxed cell and return its labelled snapshots; seed is LAMMPS' own."""
    kind = CASES[case][0]
    wide = 1.0 + EXPANSION * temperature
    atoms: Atoms = start.copy()
    atoms.set_cell(start.cell[:] * wide, scale_atoms=True)
    session.load(atoms, [METAL.number], METAL.commands(), skin=1.0)
    # A lattice at rest takes half of the kinetic energy for itself, so it starts with twice as much.
    session.commands(
        f"timestep {TIMESTEP}",
        f"velocity all create {2 * temperature} {seed} mom yes",
        "fix integrate all nve",
        f"fix thermostat all langevin {temperature} {temperature} {DAMPING} {seed + 1} zero yes",
    )
    hot = []
    for steps in (SETTLE, *[SPACING] * (SNAPSHOTS - 1)):
        session.run(steps)
        frame = atoms.copy()
        frame.positions[:] = session.positions()
        frame.wrap()
        frame.info = {"case": case, "temperature": temperature}
        hot.append(frame)
    for frame in hot:
        cold = frame.copy()
        cold.set_cell(start.cell[:], scale_atoms=True)
        frame.new_array("kind", np.where(is_bcc(relax(session, cold)), "bulk", kind).astype("U16"))
    return hot


def generate(seed: int, tell: Callable[[str], None]) -> list[Atoms]:
    """All cases at both temperatures; the same seed gives the same frames on the same machine."""
    rng = np.random.default_rng(seed)
    frames = []
    with LammpsSession() as session:
        for case, (_, build) in CASES.items():
            began = time.perf_counter()
            start = build(session)
            tell(f"{case}: {len(start)} atoms, relaxed in {time.perf_counter() - began:.0f} s")
            for temperature in TEMPERATURES:
                began = time.perf_counter()
                made = snapshots(session, case, start, temperature, int(rng.integers(1, LAMMPS_SEED_LIMIT)))
                odd = [int((frame.arrays["kind"] != "bulk").sum()) for frame in made]
                tell(f"  {temperature} K: {odd} atoms not bulk, {time.perf_counter() - began:.0f} s")
                frames += made
    return frames
