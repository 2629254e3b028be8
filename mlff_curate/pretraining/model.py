"""An encoder: the network of a potential that learned from frames without labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from mlff_curate.cgcnn.network_state import steps_before
from mlff_curate.cgcnn.potential import DTYPES, Potential
from mlff_curate.cgcnn.potential_network import PotentialNetwork, PotentialSizes
from mlff_curate.cgcnn.potential_terms import batch_of
from mlff_curate.cgcnn.representation import mean_over_frames, representation
from mlff_curate.cgcnn.trained import Trained
from mlff_curate.cgcnn.training import split
from mlff_curate.data.soundness import require_sound
from mlff_curate.errors import DataError, UsageError
from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.parallel import one_thread
from mlff_curate.pretraining.cohesion import Cohesion
from mlff_curate.pretraining.contrast import Contrast
from mlff_curate.pretraining.course import Course
from mlff_curate.pretraining.denoising import Denoising
from mlff_curate.pretraining.masking import MaskedCoordination, MaskedDistance, MaskedElement
from mlff_curate.pretraining.network import PretrainingNetwork
from mlff_curate.pretraining.tasks import (
    COHESION,
    CONTRASTIVE,
    COORDINATION,
    DEFAULT,
    DENOISE,
    DISTANCE,
    ELEMENT,
    TASKS,
)
from mlff_curate.pretraining.training import EncoderTraining, train_encoder
from mlff_curate.pretraining.unlabelled import Unlabelled, have_neighbours, sample_of
from mlff_curate.pretraining.views import enlarged, noisy
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ase import Atoms

    from mlff_curate.cgcnn.encoder import Encoder
    from mlff_curate.data.checkpoints import Checkpoint
    from mlff_curate.graphs.vectors import VectorGraph
    from mlff_curate.pretraining.tasks import Task
    from mlff_curate.pretraining.training import EncoderState

_MOST_HELD_OUT = 500
"""Frames: of a large pile they would take longer than what is learned between two looks at them."""
_STEPS = 6_000
"""Of training where neither steps nor epochs are given."""
_MOST_NOISE = 2.0
"""Angstrom."""
_WHOLE = ("epochs", "steps", "batch_size", "patience")
_SIZES = ("cutoff", "channels", "radial", "convolutions", "angular", "degree", "dtype", "device")


@dataclass(frozen=True, eq=False)
class FittedEncoder:
    """A trained encoder.

    Attributes
    ----------
    network
        On its device, in evaluation mode.
    rows
        (R, H) last rows of readouts, see :class:`mlff_curate.cgcnn.encoder.Encoder`; None: none was trained.
    tasks
        Names of those that it learned.
    frames, atoms
        How many it learned from or was held to.
    """

    network: PotentialNetwork
    rows: torch.Tensor | None
    tasks: tuple[str, ...]
    frames: int
    atoms: int


class Pretraining(Trained):
    """Self-supervised training of a potential's network: frames need no labels.

    Parameters
    ----------
    tasks
        Any of ``"cohesion"``, ``"denoise"``, ``"distance"``, ``"coordination"``, ``"element"``, ``"contrastive"``;
        None: the first.
    weights
        Task to its weight in the loss; 1 where none is given.
    cutoff, channels, radial, convolutions, angular, degree
        Of the network, see :class:`mlff_curate.cgcnn.potential.Potential`.
    noise
        Least and most standard deviation of displacements, Angstrom.
    strain
        Standard deviation of the components of strain; 0: none.
    learning_rate
        Of SOAP; falls along a cosine.
    steps
        Of training, to the end of an epoch; None: 6 000. See :meth:`mlff_curate.pretraining.course.Course.of`. Training
        may end before all frames were drawn.
    epochs
        In place of steps: how often all frames are gone through.
    batch_size
        Frames per step.
    validation
        Share of the frames held out, to stop early and to keep the best weights; 500 at most.
    patience
        Epochs without a smaller loss of these before training stops.
    dtype
        ``"float32"`` or ``"float64"``.
    seed
        Of weights, split, batches, and of what is hidden or displaced.
    device
        Torch device.

    Attributes
    ----------
    fitted_
        See :class:`FittedEncoder`.
    training_
        See :class:`EncoderTraining`.
    lone_frames_
        How many frames of the training had no neighbours.
    strange_
        After training: atomic numbers of elements in none of the frames learned from; the encoder does not know them.
    undrawn_
        After training: how many frames were not yet drawn when the weights were those that are kept.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from mlff_curate.pretraining.model import Pretraining
    >>> frames = [bulk("Cu", cubic=True) for _ in range(6)]
    >>> for k, atoms in enumerate(frames):
    ...     atoms.rattle(0.1, seed=k)
    >>> encoder = Pretraining(channels=8, angular=4, convolutions=1, cutoff=4.0, epochs=1).fit(frames)
    >>> encoder.representation(frames[:2], layers="01").shape
    (8, 16)
    """

    def __init__(
        self,
        tasks: tuple[str, ...] | None = None,
        weights: Mapping[str, float] | None = None,
        cutoff: float = 5.0,
        channels: int = 32,
        radial: int = 8,
        convolutions: int = 2,
        angular: int = 16,
        degree: int = 4,
        noise: tuple[float, float] = (0.02, 0.25),
        strain: float = 0.01,
        learning_rate: float = 2e-3,
        steps: int | None = None,
        epochs: int | None = None,
        batch_size: int = 5,
        validation: float = 0.1,
        patience: int = 100,
        dtype: str = "float32",
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.tasks = tasks
        self.weights = weights
        self.cutoff = cutoff
        self.channels = channels
        self.radial = radial
        self.convolutions = convolutions
        self.angular = angular
        self.degree = degree
        self.noise = noise
        self.strain = strain
        self.learning_rate = learning_rate
        self.steps = steps
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation = validation
        self.patience = patience
        self.dtype = dtype
        self.seed = seed
        self.device = device

    def fit(
        self,
        frames: Sequence[Atoms],
        *,
        resume: Checkpoint | None = None,
        keep: Callable[[EncoderState], None] | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Self:
        """Train on frames; nothing but elements, positions, cell and pbc is looked at.

        Parameters
        ----------
        frames
            F frames. Those in which no atom has a neighbour inside the cutoff ask nothing.
        resume
            State of a training of the same frames and parameters, to go on from.
        keep
            Called with the state after each step.
        progress
            Called with steps done, steps in all, and the losses in words; before the first, how far the graph is.

        Raises
        ------
        UsageError
            A parameter out of range.
        DataError
            A frame has no atoms, or positions or a cell that are no numbers; there are no frames, or no neighbours; a
            task that says nothing of these frames; training diverged at once; the state does not fit.
        """
        self.require_parameters()
        for index, atoms in enumerate(frames):
            require_sound(atoms, None, index)
        if not len(frames):
            raise DataError("there are no frames to learn from")
        training, held_out = split(len(frames), min(self.validation, _MOST_HELD_OUT / len(frames)), self.seed)
        course = Course.of(training, self.batch_size, self.seed, steps=self.steps or _STEPS, passes=self.epochs)
        before = 0 if resume is None else steps_before(resume, course.per_epoch)
        graph = vector_graph(
            frames,
            self.cutoff,
            progress=None
            if progress is None
            else lambda done, all_: progress(before, course.steps, f"neighbours of {done} of {all_} frames"),
        )
        elements = tuple(np.unique(graph.numbers).tolist())
        data = Unlabelled(frames, graph, elements, self.cutoff, DTYPES[self.dtype], self.device)
        _require_neighbours(graph, training, course.drawn(course.epochs), self.cutoff)
        self.lone_frames_ = int(np.count_nonzero(~have_neighbours(graph)[1]))
        tasks = self._tasks(data, training, held_out)
        devices = [] if self.device == "cpu" else [torch.device(self.device)]
        with one_thread(), torch.random.fork_rng(devices):
            torch.manual_seed(self.seed)
            network = PretrainingNetwork(self._trunk(frames, graph, training), tasks).to(
                self.device, DTYPES[self.dtype]
            )
            self.training_: EncoderTraining | None = train_encoder(
                network,
                data,
                tasks,
                self._weights(tasks),
                course,
                held_out,
                learning_rate=self.learning_rate,
                patience=self.patience,
                resume=resume,
                keep=keep,
                progress=progress,
            )
        names = tuple(task.name for task in tasks)
        learned = course.drawn(self.training_.best_epoch)
        known = tuple(np.unique(graph.numbers[graph.nodes_of(learned)]).tolist())
        self.strange_ = tuple(z for z in elements if z not in known)
        self.undrawn_ = len(training) - len(learned)
        used = np.concatenate([learned, held_out])
        with torch.random.fork_rng(devices):
            trunk = network.trunk.knowing(known) if self.strange_ else network.trunk
        self.fitted_ = FittedEncoder(trunk, network.rows(), names, len(used), int(graph.atoms[used].sum()))
        return self

    def _trunk(self, frames: Sequence[Atoms], graph: VectorGraph, training: np.ndarray) -> PotentialNetwork:
        """Return the network before its first step, with units of some frames as they are and displaced."""
        sizes = PotentialSizes(
            elements=tuple(np.unique(graph.numbers).tolist()),
            cutoff=float(self.cutoff),
            channels=self.channels,
            radial=self.radial,
            convolutions=self.convolutions,
            angular=self.angular,
            degree=self.degree,
            neighbours=max(1.0, len(graph.centre) / len(graph.numbers)),
        )
        network = PotentialNetwork(sizes).to(self.device, DTYPES[self.dtype])
        some = sample_of(graph, np.random.default_rng([self.seed, 3]).permutation(training))
        # displaced as well: perfect crystals alone would give units that no frame in motion fits
        noise = np.random.default_rng([self.seed, 4])
        seen = [frames[i] for i in some]
        moved = [noisy(enlarged(atoms), math.sqrt(math.prod(self.noise)), self.strain, noise).atoms for atoms in seen]
        both = vector_graph([*seen, *moved], self.cutoff)
        batch = batch_of(both, sizes.elements, DTYPES[self.dtype], self.device)
        network.take_units(batch.vector, batch.species, batch.centre, batch.neighbour)
        return network

    def _tasks(self, data: Unlabelled, training: np.ndarray, held_out: np.ndarray) -> list[Task]:
        names = DEFAULT if self.tasks is None else self.tasks
        if ELEMENT in names and len(data.elements) == 1:
            raise DataError(f"{ELEMENT} says nothing of frames of one element: leave it out", key="--tasks")
        if CONTRASTIVE in names and min(self.batch_size, len(training)) < 2:
            raise DataError(f"{CONTRASTIVE} needs two frames per step at least", key="--tasks")
        noise = (float(self.noise[0]), float(self.noise[1]))
        makers: dict[str, Callable[[], Task]] = {
            COHESION: lambda: Cohesion.of(data, training, noise, self.strain, self.seed),
            DENOISE: lambda: Denoising.of(data, training, noise, self.strain),
            DISTANCE: lambda: MaskedDistance.of(data, training),
            COORDINATION: lambda: MaskedCoordination.of(data, training),
            ELEMENT: lambda: MaskedElement.of(data, training),
            CONTRASTIVE: lambda: Contrast.of(len(training), len(held_out), self.batch_size),
        }
        return [makers[name]() for name in TASKS if name in names]

    def _weights(self, tasks: Sequence[Task]) -> dict[str, float]:
        given = self.weights or {}
        names = [task.name for task in tasks]
        strange = [name for name in given if name not in names]
        if strange:
            raise UsageError(f"{strange[0]} is none of the tasks: {', '.join(names)}", key="--weights")
        return {name: float(given.get(name, 1.0)) for name in names}

    def representation(
        self, frames: Sequence[Atoms], layers: str | None = None, *, progress: Callable[[int, int], None] | None = None
    ) -> np.ndarray:
        """Return a vector for each of N atoms, (N, L H).

        Parameters
        ----------
        frames
            Any, of elements that the encoder knows. What is held at once is 64 frames as graphs, and the states of
            edges for about 1 000 atoms, or one frame.
        layers
            L digits, ``"012"``: ``"0"`` is the state of the atom's own element, ``"1"`` that after the first
            convolution, and so on; more see further. None: all layers.
        progress
            Called with frames done and in all.

        Raises
        ------
        UsageError
            A layer that there is not.
        DataError
            A frame that is none, or has an element that the encoder does not know.
        ValueError
            The encoder is not trained.
        """
        return representation(self._fitted().network, frames, layers, progress=progress)

    def frame_representation(
        self, frames: Sequence[Atoms], layers: str | None = None, *, progress: Callable[[int, int], None] | None = None
    ) -> np.ndarray:
        """Return a vector for each of F frames, (F, L H): the mean of its atoms'; see :meth:`representation`."""
        return mean_over_frames(self.representation(frames, layers, progress=progress), frames)

    def encoder(self) -> Encoder:
        """Return the weights, for :meth:`mlff_curate.cgcnn.potential.Potential.fit` to begin from.

        Raises
        ------
        ValueError
            The encoder is not trained.
        """
        from mlff_curate.cgcnn.encoder import Encoder

        fitted = self._fitted()
        weights = {name: value.detach().cpu() for name, value in fitted.network.state_dict().items()}
        return Encoder(fitted.network.sizes, weights, None, None, fitted.rows)

    def _to_bytes(self) -> bytes:
        from mlff_curate.pretraining.encoder_file import to_bytes

        return to_bytes(self)

    @classmethod
    def _read(cls, path: str | Path, device: str) -> Pretraining:
        from mlff_curate.pretraining.encoder_file import read_pretraining

        return read_pretraining(path, device)

    def _fitted(self) -> FittedEncoder:
        fitted: FittedEncoder | None = getattr(self, "fitted_", None)
        if fitted is None:
            message = "the encoder is not trained: call fit"
            raise ValueError(message)
        return fitted

    def require_parameters(self) -> None:
        """Refuse parameters out of range.

        Raises
        ------
        UsageError
            Names the option.
        """
        sizes = {name: getattr(self, name) for name in _SIZES}
        Potential(**sizes, learning_rate=self.learning_rate, validation=self.validation).require_parameters()
        for name in _WHOLE:
            value = getattr(self, name)
            if value is None and name in ("epochs", "steps"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise UsageError(f"an integer of at least 1, got {value!r}", key=f"--{name.replace('_', '-')}")
        if self.epochs is not None and self.steps is not None:
            raise UsageError("means nothing beside --epochs: say one of them", key="--steps")
        self._require_tasks()
        low, high = self.noise
        if not 0 < low <= high <= _MOST_NOISE:
            raise UsageError(
                f"two numbers of Angstrom above 0, up to {_MOST_NOISE:g}, the smaller first, got {low!r} {high!r}",
                key="--noise",
            )
        if not 0 <= self.strain <= 0.2:
            raise UsageError(f"a number of 0 to 0.2, got {self.strain!r}", key="--strain")

    def _require_tasks(self) -> None:
        for name in self.tasks or ():
            if name not in TASKS:
                raise UsageError(f"{name!r} is unknown; available: {', '.join(TASKS)}", key="--tasks")
        if self.tasks is not None and (not self.tasks or len(set(self.tasks)) < len(self.tasks)):
            raise UsageError("one task at least is expected, and each once", key="--tasks")
        for name, weight in (self.weights or {}).items():
            if name not in TASKS:
                raise UsageError(f"{name!r} is unknown; available: {', '.join(TASKS)}", key="--weights")
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
                raise UsageError(f"a finite number above 0 is expected for {name}, got {weight!r}", key="--weights")


def _require_neighbours(graph: VectorGraph, training: np.ndarray, drawn: np.ndarray, cutoff: float) -> None:
    edges = np.bincount(graph.frame[graph.centre], minlength=graph.frames)
    if not edges[training].any():
        frames = counted(graph.frames, "frame")
        raise DataError(
            f"no atom of {frames} has a neighbour inside {cutoff:g} Angstrom: there is nothing to learn from",
            key="--cutoff",
        )
    if not edges[drawn].any():
        frames = counted(len(drawn), "frame")
        raise DataError(
            f"the {frames} that are drawn have no atom with a neighbour inside {cutoff:g} Angstrom: take more",
            key="--steps",
        )
