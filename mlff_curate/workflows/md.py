"""``md``: a potential and a frame in, a trajectory with the potential's labels and a log out."""

from __future__ import annotations

import math
import time
from collections import deque
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.calculators import CGCNNCalculator
from mlff_curate.data.frames import geometry
from mlff_curate.data.reading import read_frames, require_reading
from mlff_curate.devices import require_device
from mlff_curate.dynamics import (
    AseEngine,
    Conditions,
    Every,
    LammpsEngine,
    RunStoppedError,
    StopRules,
    Watch,
    draw_velocities,
    rest_centre,
    simulate,
)
from mlff_curate.dynamics.conditions import AXES, NPT, NVE
from mlff_curate.errors import CurateError, DataError, InterruptedRunError, UsageError
from mlff_curate.validation.motion import drift
from mlff_curate.wording import counted
from mlff_curate.workflows.committee import Committee, digest_of, require_different
from mlff_curate.workflows.md_files import Places, UnfinishedRun, held, read_stored
from mlff_curate.workflows.telling import peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ase import Atoms

    from mlff_curate.data.frames import Frame
    from mlff_curate.dynamics import Engine
    from mlff_curate.dynamics.sample import Sample
    from mlff_curate.workflows.md_files import Stored

    Progress = Callable[[str, int, int | None, str], None]

ENGINES: dict[str, type[AseEngine | LammpsEngine]] = {"ase": AseEngine, "lammps": LammpsEngine}
_TOLD = 0.2
"""Seconds between two words on how far it is."""
_SQUARE = 1e-6
"""Cosine of an angle that counts as right."""


@dataclass(frozen=True)
class MDJob:
    """What to run.

    Attributes
    ----------
    model
        File of a potential.
    start
        File with the frame to start from.
    committee
        Files of more potentials: forces are the means of all.
    frame
        Its place in the file; negative: counted from the end.
    supercell
        Repeats along the cell vectors.
    new_velocities
        Draw them even if the frame has some.
    engine
        ``"ase"`` or ``"lammps"``.
    conditions, rules
        How atoms are moved, and what ends the run.
    steps
        How many.
    frames_every, rows_every, checkpoint_every
        Steps between frames of the trajectory, rows of the log, checkpoints.
    device
        Torch device.
    threads
        Of the potential.
    type_map, units, log
        As in :func:`mlff_curate.data.reading.read_frames`.
    """

    model: str
    start: str
    committee: tuple[str, ...] = ()
    frame: int = -1
    supercell: tuple[int, int, int] = (1, 1, 1)
    new_velocities: bool = False
    engine: str = "ase"
    conditions: Conditions = field(default_factory=Conditions)
    rules: StopRules = field(default_factory=StopRules)
    steps: int = 1000
    frames_every: int = 100
    rows_every: int = 10
    checkpoint_every: int = 1000
    device: str = "cpu"
    threads: int = 1
    type_map: tuple[str, ...] = ()
    units: str | None = None
    log: str | None = None

    @property
    def files(self) -> list[Path]:
        """All that is read."""
        return [Path(path) for path in (self.model, *self.committee, self.start, self.log) if path is not None]

    def require(self) -> None:
        """Refuse what has no meaning.

        Raises
        ------
        UsageError
            Names the option.
        """
        self.conditions.require()
        self.rules.require()
        if self.engine not in ENGINES:
            raise UsageError(f"{self.engine!r} is unknown; available: {', '.join(ENGINES)}", key="--engine")
        for name, value in (
            ("--steps", self.steps),
            ("--every", self.frames_every),
            ("--thermo", self.rows_every),
            ("--checkpoint", self.checkpoint_every),
            *(("--supercell", n) for n in self.supercell),
        ):
            if value < 1:
                raise UsageError(f"a whole number of at least 1, got {value}", key=name)
        if self.rules.max_disagreement is not None and not self.committee:
            raise UsageError("one model cannot disagree: name others by --committee", key="--max-disagreement")
        require_different((self.model, *self.committee))
        require_device(self.device)
        require_reading(self.type_map, self.units)

    def settings(self, start: Frame) -> dict[str, Any]:
        """Return what a run must be gone on with: by option, as JSON has it; `start` is the frame in START."""
        conditions = asdict(self.conditions)
        return {
            "MODEL": digest_of(self.model),
            "--committee": [digest_of(path) for path in self.committee],
            "START": start.sha256,
            "--frame": self.frame,
            "--supercell": list(self.supercell),
            "--new-velocities": self.new_velocities,
            "--engine": self.engine,
            **{"--" + name.replace("_", "-"): value for name, value in conditions.items()},
            "--every": self.frames_every,
            "--thermo": self.rows_every,
            "--checkpoint": self.checkpoint_every,
        }


@dataclass(frozen=True)
class MDDone:
    """A finished ``md``.

    Attributes
    ----------
    job
        What was run.
    atoms
        How many.
    places
        Where the outputs are.
    frames
        In the trajectory.
    last
        Sample of the last step in the log.
    means
        Of the second half of the log: ``temperature`` and ``pressure``, with their standard deviations.
    drift
        Of the total energy, meV/atom/ps; None but for NVE.
    disagreement
        Of a committee, eV/Angstrom: ``mean`` and ``max`` over the log of the largest standard deviation of an atom's
        force; None without one.
    steps_run, seconds_run
        Of this call; less than all of a run that was gone on with.
    stopped
        Why the run ended before its time; None: it did not.
    resumed_from
        Step, or None.
    seconds
        Stage to seconds.
    notes
        Sentences for the user.
    """

    job: MDJob
    atoms: int
    places: Places
    frames: int
    last: Mapping[str, float]
    means: Mapping[str, float]
    drift: float | None
    disagreement: Mapping[str, float] | None
    steps_run: int
    seconds_run: float
    stopped: str | None
    resumed_from: int | None
    seconds: dict[str, float]
    notes: tuple[str, ...]

    @property
    def status(self) -> int:
        """Exit status: 1 for a run that was stopped."""
        return 0 if self.stopped is None else 1

    @property
    def cost(self) -> float:
        """Return us/atom/step, all included."""
        return self.seconds_run / max(self.steps_run, 1) / self.atoms * 1e6

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "model": self.job.model,
            "start": self.job.start,
            "engine": self.job.engine,
            "ensemble": self.job.conditions.ensemble,
            "atoms": self.atoms,
            "steps": int(self.last["step"]),
            "time_ps": self.last["time"] / 1000.0,
            "potential_energy": self.last["potential"],
            "kinetic_energy": self.last["kinetic"],
            "total_energy": self.last["total"],
            "temperature": self.last["temperature"],
            "volume": self.last["volume"],
            **self.means,
            "drift_mev_per_atom_per_ps": self.drift,
            **{f"disagreement_{name}": value for name, value in (self.disagreement or {}).items()},
            "us_per_atom_step": round(self.cost, 3),
            "frames": self.frames,
            "output": str(self.places.trajectory),
            "thermo": str(self.places.thermo),
            "stopped": self.stopped,
            "resumed_from": self.resumed_from,
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return what a person reads."""
        last, means = self.last, self.means
        lines = [
            f"{self.places.trajectory}: {counted(self.frames, 'frame')} of {counted(self.atoms, 'atom')}",
            f"{self.places.thermo}: {int(last['step'])} steps, {last['time'] / 1000.0:g} ps",
            f"second half: {means['temperature_mean']:.1f} K"
            + ("" if math.isnan(means["pressure_mean"]) else f", {means['pressure_mean']:.3f} GPa")
            + f"; end: potential energy {last['potential'] / self.atoms:.5f} eV/atom",
        ]
        if self.drift is not None and not math.isnan(self.drift):
            lines.append(f"drift of the total energy: {self.drift:+.3g} meV/atom/ps")
        if self.disagreement is not None:
            mean, most = (self.disagreement[name] for name in ("mean", "max"))
            lines.append(
                f"committee: the largest standard deviation of an atom's force was {mean:.3g} eV/A on average, "
                f"{most:.3g} at most"
            )
        if self.steps_run:
            lines.append(f"{self.cost:.1f} us/atom/step with {self.job.engine}")
        return lines + [f"note: {note}" for note in self.notes] + ([self.stopped] if self.stopped else [])


def md_files(
    job: MDJob,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> MDDone:
    """Run molecular dynamics, and write trajectory and log.

    Parameters
    ----------
    job
        What to run.
    output
        The trajectory, extxyz; by default named after START, in the current folder.
    overwrite
        Replace outputs that exist, and an unfinished run.
    resume
        Go on from the last checkpoint, if there is one.
    progress
        Called with stage, steps done, steps in all or None, and a word on the state.

    Raises
    ------
    CurateError
        From reading and from the outputs; also a start that no rule allows. Nothing is written then.
    InterruptedRunError
        Ctrl-C or SIGTERM: what was written stays for `resume`.
    """
    begun = time.perf_counter()
    job.require()
    places = Places.beside(output, job.start)
    stored = read_stored(places.checkpoint) if resume and places.checkpoint.is_file() else None
    places.require_free(job.files, overwrite=overwrite, go_on=resume)
    asked = Committee((job.model, *job.committee), job.device)
    frame, notes = _frame(job)
    atoms = _atoms(job, frame, notes)
    settings = job.settings(frame)
    if stored is not None:
        _require_same(job, settings, stored, places)
    with _naming(frame):
        asked.require_known(atoms)
        engine = ENGINES[job.engine](
            atoms, job.conditions, lambda: CGCNNCalculator(asked.potentials, device=job.device, threads=job.threads)
        )
    with closing(engine):
        with _naming(frame):
            first = engine.sample()
            watch = Watch(job.rules, atoms, first, job.conditions.temperature)
            why = watch.reason(atoms, first)
            if why:
                raise DataError(f"cannot be started from: {why}", frame=0)
        if stored is not None:
            engine.restore(stored.state)
            notes.append(f"gone on from step {stored.state.step}")
        seconds = {"start": time.perf_counter() - begun}
        with held(places, anew=stored is None), UnfinishedRun(places, settings, stored) as run:
            stopped, steps, seconds["run"] = _run(job, engine, watch, run, progress)
            columns, frames = run.samples(), run.frames
            run.finish()
    return MDDone(
        job=job,
        atoms=len(atoms),
        places=places,
        frames=frames,
        last={name: float(values[-1]) for name, values in columns.items()},
        means=_means(columns),
        drift=_drift(columns, len(atoms)) if job.conditions.ensemble == NVE else None,
        disagreement=_disagreement(columns["disagreement"]) if job.committee else None,
        steps_run=steps,
        seconds_run=seconds["run"],
        stopped=stopped,
        resumed_from=None if stored is None else stored.state.step,
        seconds=seconds,
        notes=tuple(notes),
    )


def _run(
    job: MDJob,
    engine: AseEngine | LammpsEngine,
    watch: Watch,
    run: UnfinishedRun,
    progress: Progress | None,
) -> tuple[str | None, int, float]:
    """Run to the end; return why it was stopped, or None, steps taken and seconds."""
    begun, first = time.perf_counter(), engine.steps_done
    saved = first
    told = 0.0

    def save(engine: Engine, sample: Sample) -> None:  # noqa: ARG001
        nonlocal saved
        run.save(engine.settle())
        saved = engine.steps_done

    every = (
        Every(job.frames_every, lambda engine, sample: run.add_frame(engine.atoms, sample)),
        Every(job.rows_every, lambda engine, sample: run.add_row(sample)),  # noqa: ARG005
        Every(job.checkpoint_every, save),
    )
    stopped = None
    try:
        for sample in simulate(engine, job.steps, watch=watch, every=every, resumed=run.resumed):
            now = time.perf_counter()
            if progress is not None and (now - told > _TOLD or sample.step == job.steps):
                told = now
                rate = (sample.step - first) / (now - begun)
                progress("md", sample.step, job.steps, _words(sample, len(engine.atoms), rate))
    except RunStoppedError as error:
        stopped = str(error)
    except (KeyboardInterrupt, SystemExit) as error:
        ended = InterruptedRunError(
            f"interrupted at step {engine.steps_done}; --resume goes on from step {saved}",
            file=str(run.places.unfinished),
        )
        if isinstance(error, SystemExit) and isinstance(error.code, int):
            ended.exit_status = error.code
        raise ended from None
    # the last step counts, whatever number it has
    last = engine.sample()
    if np.isfinite([last.total, *engine.atoms.get_forces().ravel()]).all():
        if stopped or last.step % job.frames_every:
            run.add_frame(engine.atoms, last)
        if stopped or last.step % job.rows_every:
            run.add_row(last)
    return stopped, engine.steps_done - first, time.perf_counter() - begun


def _words(sample: Sample, n_atoms: int, rate: float) -> str:
    return f"{sample.temperature:.0f} K, {sample.potential / n_atoms:.4f} eV/atom, {rate:.3g} steps/s"


def _atoms(job: MDJob, frame: Frame, notes: list[str]) -> Atoms:
    """Return the atoms to start from, with momenta; what there is to say of them is added to the notes."""
    atoms = geometry(frame.atoms)
    if frame.atoms.has("masses"):
        atoms.set_masses(frame.atoms.get_masses())
    if frame.atoms.constraints:
        notes.append("constraints of START are not kept: all atoms move")
    repeated = job.supercell != (1, 1, 1)

    def refusal(words: str) -> DataError:
        return DataError(words, file=frame.source, frame=frame.index)

    if repeated and any(n > 1 and not periodic for n, periodic in zip(job.supercell, atoms.pbc, strict=True)):
        raise refusal("--supercell repeats a direction that is not periodic")
    if job.conditions.ensemble == NPT and not atoms.pbc.all():
        raise refusal("--ensemble npt needs a frame that is periodic in three directions")
    if repeated:
        atoms = atoms.repeat(job.supercell)
    if job.conditions.ensemble == NPT and job.conditions.shape == AXES and not _perpendicular(atoms):
        raise refusal("--shape axes needs perpendicular cell vectors: use --shape free")
    momenta = frame.atoms.get_momenta()
    if repeated or job.new_velocities or not momenta.any():
        draw_velocities(atoms, job.conditions)
    else:
        atoms.set_momenta(momenta)
        if job.conditions.ensemble == NVE:
            rest_centre(atoms)
        notes.append("velocities are those of START")
    return atoms


def _frame(job: MDJob) -> tuple[Frame, list[str]]:
    """Return the frame to start from, and what there is to say of the choice."""
    count = 0
    recent: deque[Frame] = deque(maxlen=max(-job.frame, 1))
    for frame in read_frames(job.start, job.type_map, units=job.units, log=job.log):
        count += 1
        recent.append(frame)
        if frame.index == job.frame:
            return frame, []
    if not 0 < -job.frame <= count:
        raise DataError(
            f"there is no frame {job.frame}: it has {counted(count, 'frame')}", file=job.start, key="--frame"
        )
    return recent[0], [f"started from the last of {count} frames"] if job.frame == -1 and count > 1 else []


def _perpendicular(atoms: Atoms) -> bool:
    unit = np.asarray(atoms.cell) / np.linalg.norm(atoms.cell, axis=1)[:, None]
    return bool(np.abs(unit @ unit.T - np.eye(3)).max() < _SQUARE)


@contextmanager
def _naming(frame: Frame) -> Iterator[None]:
    """Give errors on the first and only frame the name that it has in START."""
    try:
        yield
    except CurateError as error:
        if error.frame is not None and error.file is None:
            error.file, error.frame = frame.source, frame.index
        raise


def _require_same(job: MDJob, settings: Mapping[str, Any], stored: Stored, places: Places) -> None:
    """Refuse to go on with another run than the one that was begun."""
    for name, value in settings.items():
        before = stored.settings.get(name)
        if before != value:
            differs = "has changed since" if name in ("MODEL", "START") else f"was {_shown(before)} when"
            raise UsageError(
                f"{differs} the run in {places.unfinished} was begun: --overwrite without --resume begins anew",
                key=name,
            )
    if stored.state.step >= job.steps:
        raise UsageError(f"the run in {places.unfinished} is at step {stored.state.step} already", key="--steps")


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "other models" if any(isinstance(item, str) for item in value) else " ".join(map(str, value)) or "none"
    return str(value)


def _means(columns: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return means and standard deviations over the second half of the log."""
    half = columns["step"] >= 0.5 * columns["step"][-1]
    return {
        f"{name}_{kind}": float(function(columns[name][half]))
        for name in ("temperature", "pressure")
        for kind, function in (("mean", np.mean), ("std", np.std))
    }


def _disagreement(values: np.ndarray) -> dict[str, float]:
    """Return mean and maximum over the log, whose first row is of the start."""
    return {"mean": float(values.mean()), "max": float(values.max())}


def _drift(columns: Mapping[str, np.ndarray], n_atoms: int) -> float:
    """Return the slope of a straight line through the total energy, meV/atom/ps; nan for less than three rows."""
    if len(columns["time"]) < 3:
        return math.nan
    return 1000.0 * drift(columns["time"] / 1000.0, columns["total"] / n_atoms).slope
