"""The tests of a potential: what each one runs, the numbers it gives, and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.errors import DataError
from mlff_curate.validation.crystals import GIVEN, Crystal, relaxed_crystal
from mlff_curate.validation.elasticity import NAMED, Elasticity, couples, elasticity
from mlff_curate.validation.equation_of_state import EquationOfState, equation_of_state
from mlff_curate.validation.labelled import Comparison, LabelledErrors, compare_distances, labelled_errors
from mlff_curate.validation.short_runs import COLLISION, EnergyDrift, Stability, energy_drift, stability
from mlff_curate.validation.surfaces import FACES, Surface, surface
from mlff_curate.validation.symmetry import TRICLINIC
from mlff_curate.validation.vacancies import Migration, Vacancy, migration, vacancy
from mlff_curate.validation.verdicts import Quantity
from mlff_curate.wording import counted, rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ase.calculators.calculator import Calculator

    from mlff_curate.validation.crystals import Progress
    from mlff_curate.validation.labelled import LabelledFrames

TOLERANCES = {
    "lattice_constant": 0.01,
    "volume": 0.03,
    "bulk_modulus": 0.10,
    "bulk_modulus_derivative": 0.25,
    "elastic_constant": 0.15,
    "vacancy_energy": 0.15,
    "migration_barrier": 0.20,
    "surface": 0.15,
    "cohesive_energy": 0.05,
}
"""How far numbers may be from a reference, as a share. Conventions: ``--expected`` has the user's own."""
MOST_DRIFT = 0.1
"""meV/atom/ps: a solid, with a heat capacity of 3 k for each atom, would warm by 0.4 K in a ps."""
MOST_LINDEMANN = 0.15
"""Crystals melt at 0.1 to 0.15."""
HELD = 0.10
"""Share by which temperature and coordination may be off."""
LEAST_OVERLAP = 0.90
MODULI_APART = 0.05
"""Share by which the bulk modulus by energies and the one by stresses may differ: they are one thing."""


@dataclass(frozen=True)
class Settings:
    """How large, how long, how well; Angstrom, eV, fs, ps.

    Attributes
    ----------
    crystal_fmax, fmax, band_fmax
        Largest force of a relaxed crystal, of defects and slabs, and of an elastic band, eV/Angstrom.
    steps
        Of an optimiser, at most.
    eos_strain, eos_points
        Largest linear strain of the equation of state, and its volumes.
    elastic_strain, elastic_points
        Of each pattern of strains.
    width
        Between faces of supercells with a vacancy, Angstrom.
    md_width
        The same in MD.
    thickness, vacuum
        Of slabs, and beside them, Angstrom.
    images
        Of the band, the ends not counted.
    drift_length, stability_length, rdf_length
        ps.
    timestep
        fs.
    rdf_runs
        How many groups of the data are compared with.
    rdf_radius, rdf_width
        Largest distance, and the width of a bin, Angstrom.
    """

    crystal_fmax: float = 1e-3
    fmax: float = 0.01
    band_fmax: float = 0.03
    steps: int = 500
    eos_strain: float = 0.02
    eos_points: int = 11
    elastic_strain: float = 0.005
    elastic_points: int = 5
    width: float = 12.0
    md_width: float = 12.0
    thickness: float = 15.0
    vacuum: float = 10.0
    images: int = 5
    drift_length: float = 20.0
    stability_length: float = 20.0
    rdf_length: float = 5.0
    timestep: float = 2.0
    rdf_runs: int = 2
    rdf_radius: float = 6.0
    rdf_width: float = 0.05

    @classmethod
    def quick(cls) -> Settings:
        """Return those of ``--quick``: smaller cells, shorter runs, one group of the data."""
        return cls(
            eos_points=7,
            width=9.0,
            md_width=9.0,
            thickness=10.0,
            images=3,
            drift_length=4.0,
            stability_length=4.0,
            rdf_length=2.0,
            rdf_runs=1,
        )


@dataclass(frozen=True)
class Lattice:
    """A relaxed crystal.

    Attributes
    ----------
    structure
        As in :class:`Crystal`.
    numbers, positions, cell
        (N,), (N, 3) and (3, 3) Angstrom.
    energy, volume
        Per atom, eV and Angstrom^3.
    """

    structure: str
    numbers: Sequence[int]
    positions: Sequence[Sequence[float]]
    cell: Sequence[Sequence[float]]
    energy: float
    volume: float

    def crystal(self) -> Crystal:
        """Return it as a crystal."""
        from ase import Atoms

        return Crystal(Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=True), self.structure)


@dataclass(frozen=True)
class Surfaces:
    """Faces of one crystal."""

    faces: Sequence[Surface]

    @property
    def energies(self) -> dict[str, float]:
        """Face to J/m^2."""
        return {one.face: one.energy for one in self.faces}


@dataclass(frozen=True, eq=False)
class Bench:
    """What a test is given.

    Attributes
    ----------
    crystal
        To begin with for ``lattice``, relaxed for all others.
    calculator
        Of the potential, or of the reference.
    settings
        How.
    seed
        Of velocities and noise.
    melting_point
        K, if known.
    data
        Labelled frames, if there are any.
    progress
        Called with steps done and in all or None.
    """

    crystal: Crystal
    calculator: Calculator
    settings: Settings
    seed: int = 0
    melting_point: float | None = None
    data: LabelledFrames | None = None
    progress: Progress | None = None

    def on(self, crystal: Crystal) -> Bench:
        """Return the same with another crystal."""
        return replace(self, crystal=crystal)


@dataclass(frozen=True)
class BatteryTest:
    """One test.

    Attributes
    ----------
    name
        As ``--only`` takes it.
    title
        As people read it.
    kind
        Class of its result.
    run
        Runs it.
    quantities
        What of a result is judged.
    words
        Settings and result to how it was done.
    skip
        Why it cannot be run; empty: it can.
    compared
        It is run on a reference potential too.
    """

    name: str
    title: str
    kind: type
    run: Callable[[Bench], Any]
    quantities: Callable[[Any], list[Quantity]]
    words: Callable[[Settings, Any], str]
    skip: Callable[[Bench], str] = field(default=lambda bench: "")  # noqa: ARG005
    compared: bool = True


def _lattice(bench: Bench) -> Lattice:
    s = bench.settings
    crystal = relaxed_crystal(
        bench.crystal, bench.calculator, fmax=s.crystal_fmax, steps=s.steps, progress=bench.progress
    )
    atoms = crystal.atoms.copy()
    atoms.calc = bench.calculator
    return Lattice(
        structure=crystal.structure,
        numbers=atoms.numbers.tolist(),
        positions=atoms.positions.tolist(),
        cell=atoms.cell[:].tolist(),
        energy=float(atoms.get_potential_energy()) / len(atoms),
        volume=float(atoms.get_volume()) / len(atoms),
    )


def _lattice_quantities(found: Lattice) -> list[Quantity]:
    constants = found.crystal().constants()
    tolerance = TOLERANCES["lattice_constant"]
    return [
        *(
            Quantity(
                "lattice_constant" if name == "a" else f"lattice_constant_{name}",
                f"lattice constant {name}",
                value,
                "A",
                tolerance,
            )
            for name, value in constants.items()
            if name in "abc"
        ),
        Quantity("volume", "volume per atom", found.volume, "A^3", TOLERANCES["volume"]),
    ]


def _eos(bench: Bench) -> EquationOfState:
    s = bench.settings
    return equation_of_state(
        bench.crystal,
        bench.calculator,
        strain=s.eos_strain,
        points=s.eos_points,
        fmax=s.crystal_fmax,
        steps=s.steps,
        progress=bench.progress,
    )


def _eos_quantities(found: EquationOfState) -> list[Quantity]:
    return [
        Quantity(
            "bulk_modulus", "bulk modulus (equation of state)", found.bulk_modulus, "GPa",
            TOLERANCES["bulk_modulus"], above=0.0,
        ),
        Quantity(
            "bulk_modulus_derivative", "its derivative by pressure", found.derivative, "",
            TOLERANCES["bulk_modulus_derivative"],
        ),
    ]  # fmt: skip


def _elasticity(bench: Bench) -> Elasticity:
    s = bench.settings
    return elasticity(
        bench.crystal,
        bench.calculator,
        strain=s.elastic_strain,
        points=s.elastic_points,
        fmax=s.crystal_fmax,
        steps=s.steps,
        progress=bench.progress,
    )


def _elasticity_quantities(found: Elasticity) -> list[Quantity]:
    tolerance = TOLERANCES["elastic_constant"]
    return [
        *(
            Quantity(name, f"elastic constant {name}", value, "GPa", None if couples(name) else tolerance)
            for name, value in found.named.items()
        ),
        Quantity("shear_modulus", "shear modulus (Voigt)", found.shear_modulus, "GPa", tolerance),
        Quantity(
            "elastic_stability", "smallest eigenvalue of the elastic matrix", found.least, "GPa",
            above=0.0, why="Born's criteria",
        ),
    ]  # fmt: skip


def moduli_ratio(eos: EquationOfState, constants: Elasticity) -> Quantity:
    """Return the bulk modulus by stresses over the one by energies: 1 where forces and energies are of one function."""
    return Quantity(
        "bulk_modulus_ratio",
        "bulk modulus by elastic constants over that by the equation of state",
        constants.bulk_modulus / eos.bulk_modulus,
        "",
        above=1 - MODULI_APART,
        below=1 + MODULI_APART,
        why=f"{rounded(constants.bulk_modulus, 4)} and {rounded(eos.bulk_modulus, 4)} GPa",
    )


def _vacancy(bench: Bench) -> Vacancy:
    s = bench.settings
    return vacancy(bench.crystal, bench.calculator, width=s.width, fmax=s.fmax, steps=s.steps, progress=bench.progress)


def _vacancy_quantities(found: Vacancy) -> list[Quantity]:
    return [
        Quantity(
            "vacancy_energy", "vacancy formation energy", found.energy, "eV", TOLERANCES["vacancy_energy"], above=0.0,
            why=f"{rounded(found.unrelaxed, 4)} eV before relaxation",
        )
    ]  # fmt: skip


def _migration(bench: Bench) -> Migration:
    s = bench.settings
    return migration(
        bench.crystal,
        bench.calculator,
        width=s.width,
        images=s.images,
        fmax=s.band_fmax,
        steps=s.steps,
        progress=bench.progress,
    )


def _migration_quantities(found: Migration) -> list[Quantity]:
    tolerance = TOLERANCES["migration_barrier"]
    return [Quantity("migration_barrier", "barrier of vacancy migration", found.barrier, "eV", tolerance, above=0.0)]


def _surfaces(bench: Bench) -> Surfaces:
    s = bench.settings
    faces = FACES[bench.crystal.structure]
    out = []
    for face in faces:
        out.append(
            surface(
                bench.crystal,
                bench.calculator,
                face,
                thickness=s.thickness,
                vacuum=s.vacuum,
                fmax=s.fmax,
                steps=s.steps,
            )
        )
        if bench.progress is not None:
            bench.progress(len(out), len(faces))
    return Surfaces(tuple(out))


def _surfaces_quantities(found: Surfaces) -> list[Quantity]:
    return [
        Quantity(
            f"surface_{one.face}", f"surface energy ({one.face})", one.energy, "J/m^2",
            TOLERANCES["surface"], above=0.0, why=f"{rounded(one.unrelaxed, 4)} J/m^2 before relaxation",
        )
        for one in found.faces
    ]  # fmt: skip


def _drift(bench: Bench) -> EnergyDrift:
    s = bench.settings
    return energy_drift(
        bench.crystal,
        bench.calculator,
        width=s.md_width,
        temperature=DRIFT_TEMPERATURE,
        timestep=s.timestep,
        length=s.drift_length,
        seed=bench.seed,
        progress=bench.progress,
    )


def _drift_quantities(found: EnergyDrift) -> list[Quantity]:
    return [
        Quantity(
            "drift",
            "drift of the energy in NVE, either way",
            abs(found.slope),
            "meV/atom/ps",
            below=MOST_DRIFT,
            why=f"{found.slope:+.2g} with a standard error of {found.error:.2g}; noise {found.noise:.2g} meV/atom",
        )
    ]


def _stability(bench: Bench) -> Stability:
    s = bench.settings
    assert bench.melting_point is not None
    return stability(
        bench.crystal,
        bench.calculator,
        width=s.md_width,
        temperature=0.5 * bench.melting_point,
        timestep=s.timestep,
        length=s.stability_length,
        seed=bench.seed,
        progress=bench.progress,
    )


def _stability_quantities(found: Stability) -> list[Quantity]:
    if found.stopped:
        return [Quantity("stability", "stability at half the melting point", float("nan"), "", why=found.stopped)]
    return [
        Quantity(
            "temperature_ratio", "temperature held, over the one asked for", found.temperature / found.target, "",
            above=1 - HELD, below=1 + HELD,
        ),
        Quantity(
            "lindemann", "displacement over the distance of neighbours (Lindemann)", found.lindemann, "",
            below=MOST_LINDEMANN,
        ),
        Quantity(
            "coordination_ratio", "coordination over that of the crystal", found.coordination / found.perfect, "",
            above=1 - HELD, below=1 + HELD,
        ),
        Quantity(
            "shortest_distance", "shortest distance over that of neighbours", found.shortest, "", above=COLLISION,
            why="atoms nearer than that have collided",
        ),
    ]  # fmt: skip


def _distances(bench: Bench) -> Comparison:
    assert bench.data is not None
    s = bench.settings
    return compare_distances(
        bench.crystal,
        bench.calculator,
        bench.data,
        hottest=bench.melting_point or np.inf,
        runs=s.rdf_runs,
        length=s.rdf_length,
        timestep=s.timestep,
        radius=s.rdf_radius,
        width=s.rdf_width,
        seed=bench.seed,
        progress=bench.progress,
    )


def _distances_quantities(found: Comparison) -> list[Quantity]:
    return [
        Quantity(
            f"rdf_overlap_{k}" if k else "rdf_overlap",
            f"overlap of pair distances with {one.group}, {rounded(one.temperature)} K",
            float("nan") if one.stopped else one.overlap,
            "",
            above=LEAST_OVERLAP,
            why=one.stopped or f"halves of the {counted(one.frames, 'frame')} with each other: {one.itself:.3f}",
        )
        for k, one in enumerate(found.runs)
    ]


def _errors(bench: Bench) -> LabelledErrors:
    assert bench.data is not None
    return labelled_errors(bench.calculator, bench.data, progress=bench.progress)


def _errors_quantities(found: LabelledErrors) -> list[Quantity]:
    from ase.units import GPa

    shown = (
        ("energy_mae", "energies, mean absolute error", "meV/atom", 1e3),
        ("energy_rmse", "energies, root mean square error", "meV/atom", 1e3),
        ("force_mae", "forces, mean absolute error", "meV/A", 1e3),
        ("force_rmse", "forces, root mean square error", "meV/A", 1e3),
        ("stress_mae", "stresses, mean absolute error", "GPa", 1 / GPa),
        ("stress_rmse", "stresses, root mean square error", "GPa", 1 / GPa),
    )
    return [
        Quantity(name, title, factor * found.all[name], unit)
        for name, title, unit, factor in shown
        if name in found.all
    ]


DRIFT_TEMPERATURE = 300.0


def _one_element(bench: Bench) -> str:
    return "" if len(bench.crystal.elements) == 1 else "of several elements, it depends on chemical potentials"


def _known_faces(bench: Bench) -> str:
    if len(bench.crystal.elements) > 1:
        return "of several elements, it depends on how the crystal is cut"
    return "" if bench.crystal.structure != GIVEN else "faces are not known of a crystal from a file"


def _melting(bench: Bench) -> str:
    return "" if bench.melting_point is not None else "no melting point is known: give one with --melting-point"


def _data(bench: Bench) -> str:
    return "" if bench.data is not None else "no --data"


def _at_rest(s: Settings) -> str:
    return f"forces below {rounded(s.crystal_fmax)} eV/A"


TESTS = {
    test.name: test
    for test in (
        BatteryTest(
            "lattice", "Lattice", Lattice, _lattice, _lattice_quantities,
            lambda s, r: f"cell of {counted(len(r.numbers), 'atom')}, {_at_rest(s)}",
        ),
        BatteryTest(
            "equation-of-state", "Equation of state", EquationOfState, _eos, _eos_quantities,
            lambda s, r: f"Birch-Murnaghan, {len(r.volumes)} volumes, lengths up to {100 * s.eos_strain:g} % off",
        ),
        BatteryTest(
            "elasticity", "Elastic constants", Elasticity, _elasticity, _elasticity_quantities,
            lambda s, r: f"{r.symmetry}, strains up to {100 * s.elastic_strain:g} %, "
            f"{s.elastic_points} of each pattern, {_at_rest(s)}",
        ),
        BatteryTest(
            "vacancy", "Vacancy", Vacancy, _vacancy, _vacancy_quantities,
            lambda s, r: f"{counted(r.atoms, 'atom')}, cell held, forces below {s.fmax:g} eV/A", _one_element,
        ),
        BatteryTest(
            "migration", "Vacancy migration", Migration, _migration, _migration_quantities,
            lambda s, r: f"{counted(r.atoms, 'atom')}, climbing band of {s.images} images, "
            f"forces below {s.band_fmax:g} eV/A", _one_element,
        ),
        BatteryTest(
            "surfaces", "Surfaces", Surfaces, _surfaces, _surfaces_quantities,
            lambda s, r: f"slabs of {min(f.thickness for f in r.faces):.1f} A or more "
            f"({', '.join(str(f.atoms) for f in r.faces)} atoms), forces below {s.fmax:g} eV/A", _known_faces,
        ),
        BatteryTest(
            "drift", "Energy drift", EnergyDrift, _drift, _drift_quantities,
            lambda s, r: f"NVE, {counted(r.atoms, 'atom')}, {r.temperature:.0f} K, {r.length:g} ps in steps of "
            f"{s.timestep:g} fs", compared=False,
        ),
        BatteryTest(
            "stability", "Stability", Stability, _stability, _stability_quantities,
            lambda s, r: f"Langevin, {counted(r.atoms, 'atom')} in the cell at rest, {r.target:.0f} K, {r.length:g} ps "
            f"in steps of {s.timestep:g} fs", _melting, compared=False,
        ),
        BatteryTest(
            "rdf", "Pair distances", Comparison, _distances, _distances_quantities,
            lambda s, r: f"Langevin, {', '.join(str(g.atoms) for g in r.runs)} atoms in the cell of the data, "
            f"{s.rdf_length:g} ps, the first fifth left out, pairs up to {s.rdf_radius:g} A in bins of "
            f"{s.rdf_width:g} A", _data, compared=False,
        ),
        BatteryTest(
            "errors", "Errors on the data", LabelledErrors, _errors, _errors_quantities,
            lambda s, r: f"{counted(r.frames, 'frame')}, learned from or not", _data, compared=False,  # noqa: ARG005
        ),
    )
}  # fmt: skip
"""By name, in the order in which they are run; ``lattice`` gives all others their crystal."""


def run_test(name: str, bench: Bench) -> Any:
    """Run one test.

    Raises
    ------
    DataError
        It has no result: what the potential does is the reason.
    """
    with np.errstate(all="ignore"):
        try:
            return TESTS[name].run(bench)
        except (np.linalg.LinAlgError, FloatingPointError, OverflowError, ZeroDivisionError) as error:
            raise DataError(f"the potential gives numbers that nothing can be computed with: {error}") from None


def names_of_quantities(structures: Mapping[str, Any] = FACES) -> tuple[str, ...]:
    """Return every name that ``--expected`` may have."""
    faces = sorted({f"surface_{face}" for some in structures.values() for face in some})
    constants = NAMED[TRICLINIC]
    return (
        "lattice_constant", "lattice_constant_b", "lattice_constant_c", "volume", "cohesive_energy", "bulk_modulus",
        "bulk_modulus_derivative", *constants, "shear_modulus", "elastic_stability", "bulk_modulus_ratio",
        "vacancy_energy", "migration_barrier", *faces, "drift", "temperature_ratio", "lindemann",
        "coordination_ratio", "shortest_distance", "rdf_overlap", "rdf_overlap_1", "energy_mae", "energy_rmse",
        "force_mae", "force_rmse", "stress_mae", "stress_rmse",
    )  # fmt: skip
