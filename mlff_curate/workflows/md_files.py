"""Files of a molecular dynamics run: unfinished in a folder beside OUT, whole under their names at the end."""

from __future__ import annotations

import csv
import fcntl
import json
import math
import os
import shutil
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint
from mlff_curate.data.formatting import format_frame
from mlff_curate.data.outputs import require_free, whole_files, whole_outputs
from mlff_curate.dynamics.engine import EngineState
from mlff_curate.dynamics.sample import Sample
from mlff_curate.errors import DataError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ase import Atoms

KIND = "md-checkpoint"
_TRAJECTORY, _THERMO, _CHECKPOINT, _LOCK = "trajectory.extxyz", "thermo.csv", "checkpoint", "lock"
_OURS = {_TRAJECTORY, _THERMO, _CHECKPOINT, _LOCK}
_UNITS = {
    "step": "step",
    "time": "time_fs",
    "temperature": "temperature_K",
    "potential": "potential_eV",
    "kinetic": "kinetic_eV",
    "total": "total_eV",
    "pressure": "pressure_GPa",
    "volume": "volume_A3",
    "disagreement": "forces_std_eV_per_A",
}
"""Attributes of a sample to columns of the log."""


@dataclass(frozen=True)
class Places:
    """Where a run is written.

    Attributes
    ----------
    trajectory
        OUT.
    thermo
        The log beside it.
    unfinished
        The folder that holds both, and the checkpoint, until the run has ended.
    """

    trajectory: Path
    thermo: Path
    unfinished: Path

    @classmethod
    def beside(cls, out: str | Path | None, start: str | Path) -> Places:
        """Name the outputs: OUT, or one named after START in the current folder, and what lies beside it."""
        if out is None:
            out = Path(Path(start).name.removesuffix(".gz").rsplit(".", 1)[0] + ".md.extxyz")
        from ase.io.formats import extension2format

        path = Path(out)
        if not path.name:
            raise OutputError("is a folder, not a file", file=str(out) or "-o")
        if path.suffix[1:] in {*extension2format, "dump", "lammpstrj"} - {"xyz", "extxyz"}:
            raise UsageError(f"{path}: a trajectory is written as extxyz: end its name in .extxyz or .xyz", key="-o")
        if path.suffix in (".gz", ".bz2", ".xz"):
            raise UsageError(f"{path}: a trajectory is written as it grows, and is not compressed", key="-o")
        return cls(path, path.with_name(f"{path.stem}.thermo.csv"), path.with_name(f"{path.name}.unfinished"))

    @property
    def checkpoint(self) -> Path:
        """The state to go on from."""
        return self.unfinished / _CHECKPOINT

    def require_free(self, inputs: Sequence[Path], *, overwrite: bool, go_on: bool) -> None:
        """Refuse outputs before any work is done.

        Raises
        ------
        OutputError
            See :func:`mlff_curate.data.outputs.require_free`; also an unfinished run that is neither to be gone on with
            nor to be replaced, and a folder of its name that is none of ours.
        """
        if go_on and not overwrite and self.trajectory.is_file() and not self.unfinished.exists():
            raise OutputError(
                "exists already, and no unfinished run lies beside it: it is done; --overwrite runs it anew",
                file=str(self.trajectory),
            )
        require_free([self.trajectory, self.thermo], inputs, overwrite=overwrite)
        if not self.unfinished.exists():
            return
        if not self.unfinished.is_dir():
            raise OutputError("is in the way: remove it", file=str(self.unfinished))
        for path in sorted(self.unfinished.iterdir()):
            if path.name not in _OURS and not path.name.startswith(".mlff-curate-"):
                raise OutputError(f"holds {path.name}, which was not written here", file=str(self.unfinished))
        if not go_on and not overwrite:
            raise OutputError(
                "holds an unfinished run: --resume goes on with it, --overwrite begins anew", file=str(self.unfinished)
            )


@dataclass(frozen=True, eq=False)
class Stored:
    """A checkpoint as it was read.

    Attributes
    ----------
    state
        Of the engine.
    settings
        What the run was begun with.
    lengths
        Bytes of trajectory and log at that time.
    frames
        In the trajectory at that time.
    """

    state: EngineState
    settings: Mapping[str, Any]
    lengths: tuple[int, int]
    frames: int


def read_stored(path: Path) -> Stored:
    """Read the checkpoint of a run.

    Raises
    ------
    DataError
        It is damaged.
    """
    try:
        found = read_checkpoint(path, KIND)
        words = found.setting("words", dict)
        lengths = found.setting("trajectory_bytes", int), found.setting("thermo_bytes", int)
        state = EngineState(found.setting("step", int), dict(found.arrays), words)
        settings = json.loads(found.setting("run", str))
        return Stored(state, settings, lengths, found.setting("frames", int))
    except (DataError, ValueError) as error:
        words = error.message.replace("the model file", "the file") if isinstance(error, DataError) else str(error)
        raise DataError(f"cannot be gone on from ({words}): --overwrite begins anew", file=str(path)) from None


class UnfinishedRun:
    """Trajectory, log and checkpoint while they grow.

    A frame or a row is handed to the system in one piece. What a crash leaves behind the last checkpoint, whole or not,
    is cut off when the run goes on.

    Parameters
    ----------
    places
        Where.
    settings
        What the run is begun with; kept in the checkpoint.
    stored
        The checkpoint to go on from; None: begin.
    """

    def __init__(self, places: Places, settings: Mapping[str, Any], stored: Stored | None) -> None:
        self.places = places
        self.resumed = stored is not None
        self.frames = 0 if stored is None else stored.frames
        self._settings = json.dumps(settings, sort_keys=True)
        folder = places.unfinished
        self._files = [(folder / name).open("ab", buffering=0) for name in (_TRAJECTORY, _THERMO)]
        lengths = (0, 0) if stored is None else stored.lengths
        for file, length in zip(self._files, lengths, strict=True):
            if file.seek(0, os.SEEK_END) < length:
                raise DataError("is shorter than its checkpoint says: --overwrite begins anew", file=file.name)
            file.truncate(length)
        if stored is None:
            self._write(1, (",".join(_UNITS.values()) + "\n").encode())

    def add_frame(self, atoms: Atoms, sample: Sample) -> None:
        """Append a frame with the labels that its calculator has computed."""
        self._write(0, format_frame(labelled(atoms, sample)))
        self.frames += 1

    def add_row(self, sample: Sample) -> None:
        """Append a row to the log; what there is not is left empty."""
        words = ["" if math.isnan(value) else repr(value) for value in astuple(sample)]
        self._write(1, (",".join(words) + "\n").encode())

    def save(self, state: EngineState) -> None:
        """Replace the checkpoint, once all that was written before is on the disk."""
        lengths = []
        for file in self._files:
            os.fsync(file.fileno())
            lengths.append(file.seek(0, os.SEEK_END))
        settings = {
            "run": self._settings,
            "step": state.step,
            "words": state.words,
            "trajectory_bytes": lengths[0],
            "thermo_bytes": lengths[1],
            "frames": self.frames,
        }
        contents = checkpoint_bytes(KIND, state.arrays, settings)
        with whole_files(self.places.checkpoint) as (stream,):
            stream.write(contents)

    def samples(self) -> dict[str, np.ndarray]:
        """Return the columns of the log by the attributes of a sample; nan where there is nothing."""
        with (self.places.unfinished / _THERMO).open(newline="") as stream:
            rows = [[float(word or "nan") for word in row] for row in list(csv.reader(stream))[1:]]
        names = [field.name for field in fields(Sample)]
        return dict(zip(names, np.array(rows).reshape(-1, len(names)).T, strict=True))

    def finish(self) -> None:
        """Give trajectory and log their names; the folder goes."""
        self.close()
        with whole_outputs(self.places.trajectory, self.places.thermo) as parts:
            for part, name in zip(parts, (_TRAJECTORY, _THERMO), strict=True):
                try:
                    os.link(self.places.unfinished / name, part)
                except OSError:  # not every disk has links
                    shutil.copyfile(self.places.unfinished / name, part)
        shutil.rmtree(self.places.unfinished)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; what is in the folder stays."""
        for file in self._files:
            file.close()

    def _write(self, which: int, contents: bytes) -> None:
        file = self._files[which]
        try:
            if file.write(contents) != len(contents):
                raise OutputError("cannot be written (the disk is full)", file=str(file.name))
        except OSError as error:
            raise OutputError(f"cannot be written ({error.strerror})", file=str(file.name)) from error


def labelled(atoms: Atoms, sample: Sample) -> Atoms:
    """Return a frame with what its calculator says as info and array keys: energy, forces, stress, and so on."""
    from ase.stress import voigt_6_to_full_3x3_stress

    assert atoms.calc is not None
    frame: Atoms = atoms.copy()
    frame.calc = None
    frame.info = {"step": sample.step, "time": sample.time, "energy": sample.potential}
    if atoms.pbc.all():
        frame.info["stress"] = np.asarray(voigt_6_to_full_3x3_stress(atoms.get_stress()))
    frame.arrays["forces"] = atoms.get_forces()
    for name in ("energies_std", "forces_std"):
        if name in atoms.calc.results:
            frame.arrays[name] = atoms.calc.results[name]
    return frame


@contextmanager
def held(places: Places, *, anew: bool) -> Iterator[None]:
    """Make the folder of an unfinished run, empty if it is begun anew, and keep other runs out of it.

    Raises
    ------
    OutputError
        Another run writes to it, or it cannot be made.
    """
    folder = places.unfinished
    try:
        folder.mkdir(exist_ok=True)
        with (folder / _LOCK).open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError("another run is writing there now", file=str(folder)) from None
            if anew:
                for path in folder.iterdir():
                    if path.name != _LOCK:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", file=str(folder)) from error
