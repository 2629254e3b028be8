"""An energy model made of the gated crystal graph convolution: energies, forces and stresses that MD can run on."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from mlff_curate.cgcnn.elements import symbol_of
from mlff_curate.cgcnn.network_state import steps_before
from mlff_curate.cgcnn.potential_network import PotentialNetwork, PotentialSizes, layers_of, require_surroundings
from mlff_curate.cgcnn.potential_share import Material, in_parts
from mlff_curate.cgcnn.potential_terms import VOIGT, PotentialLabels, Weights, batch_of, terms_of
from mlff_curate.cgcnn.potential_training import PotentialTraining, train_potential
from mlff_curate.cgcnn.readout import LAST_ROW, ReadoutTrained, is_of_readout, mixing_to, set_row
from mlff_curate.cgcnn.trained import Trained
from mlff_curate.cgcnn.training import split
from mlff_curate.data.soundness import require_sound
from mlff_curate.devices import require_device
from mlff_curate.errors import DataError, UsageError
from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.parallel import one_thread, threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ase import Atoms

    from mlff_curate.cgcnn.encoder import Encoder
    from mlff_curate.cgcnn.potential_state import TrainingState
    from mlff_curate.data.checkpoints import Checkpoint
    from mlff_curate.data.labels import Labels
    from mlff_curate.graphs.vectors import VectorGraph
    from mlff_curate.team import Team

DTYPES = {"float32": torch.float32, "float64": torch.float64}
_STEPS = 12_000
"""Of training where epochs are not given: frames of two atoms need as many as frames of a hundred."""
_MOST_EPOCHS, _LEAST_STEPS = 250, 1_000
"""What few frames have instead: gone through more often, they are learned by heart."""

MOST_CONVOLUTIONS = 9
"""A digit names each layer of a representation."""

_WHOLE: dict[str, tuple[int, float]] = {
    "channels": (1, 4096),
    "radial": (1, 4096),
    "convolutions": (1, MOST_CONVOLUTIONS),
    "angular": (1, 4096),
    "degree": (-1, 6),
    "epochs": (1, math.inf),
    "batch_size": (1, math.inf),
    "patience": (1, math.inf),
}
"""Least and most of whole numbers."""

MOST_CUTOFF = 100.0
"""Angstrom."""
_FRAMES_AT_ONCE = 64

_SAMPLE = 2048
"""Atoms, or a few more, that means and spreads are taken from."""

_MIXED = 64
"""Frames that the readouts of an encoder are mixed by."""

_LEAST_FORCE = 0.01
"""Usual force, in units of the spread of energies per atom and Angstrom, below which the second is the unit."""


@dataclass(frozen=True, eq=False)
class FittedPotential:
    """A trained network, and what turns its output into energies.

    Attributes
    ----------
    network
        On its device, in evaluation mode.
    level
        (S,) energy of a free atom of each element as the data have it, eV: by least squares, not computed.
    scale
        eV, the network's unit of energy.
    """

    network: PotentialNetwork
    level: np.ndarray
    scale: float


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a potential says of F frames with N atoms in all.

    Attributes
    ----------
    energy
        (F,) eV.
    energies
        (N,) of each atom, eV.
    forces
        (N, 3) eV/Angstrom.
    stress
        (F, 6) eV/Angstrom^3 in ASE's order and sign; nan for a frame that is not periodic in three directions.
    """

    energy: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    stress: np.ndarray


class Potential(Trained):
    """A smooth interatomic potential with gated convolutions and, unless switched off, three-body information.

    Parameters
    ----------
    cutoff
        Angstrom. An atom hears all neighbours inside; through several convolutions it sees further.
    channels
        Size of the state of an atom.
    radial
        Bessel functions per distance.
    convolutions
        How many, one after the other.
    angular
        Channels of the neighbour density that angles are told by.
    degree
        Largest l of its spherical harmonics; -1: distances alone.
    layers
        Digits of the states of an atom that its energy is made from: ``"0"`` is that of its element alone, ``"1"`` that
        after the first convolution; None: the last. Without an encoder that is to be among them.
    energy_weight, force_weight, stress_weight
        Of the terms of the loss: energy per atom, components of forces, stress times volume per atom.
    learning_rate
        Of SOAP; falls along a cosine.
    epochs, batch_size
        Epochs at most, and frames per step; epochs None: as many as make 12 000 steps, but at
        most 250, or as many as make 1 000 steps: few frames are soon learned by heart.
    validation
        Share of the frames held out, to stop early and to keep the best weights; 0: the last weights are kept.
    patience
        Epochs without a smaller validation error before training stops.
    dtype
        ``"float32"`` or ``"float64"``, for training and predictions.
    seed
        Of weights, split and batches.
    device
        Torch device.

    Attributes
    ----------
    fitted_
        See :class:`FittedPotential`.
    training_
        See :class:`PotentialTraining`.
    took_readout_
        Whether training began from the readout of an encoder; False: from a new one.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from mlff_curate.cgcnn.potential import Potential
    >>> from mlff_curate.data.labels import Labels
    >>> frames = [bulk("Cu", cubic=True) for _ in range(6)]
    >>> for k, atoms in enumerate(frames):
    ...     atoms.rattle(0.1, seed=k)
    ...     atoms.calc = EMT()
    >>> labels = [Labels(energy=a.get_potential_energy(), forces=a.get_forces()) for a in frames]
    >>> potential = Potential(channels=8, angular=4, convolutions=1, epochs=2).fit(frames, labels)
    >>> potential.predict(frames[:2]).forces.shape
    (8, 3)
    """

    def __init__(
        self,
        cutoff: float = 5.0,
        channels: int = 32,
        radial: int = 8,
        convolutions: int = 2,
        angular: int = 16,
        degree: int = 4,
        layers: str | None = None,
        energy_weight: float = 20.0,
        force_weight: float = 1.0,
        stress_weight: float = 20.0,
        learning_rate: float = 1.5e-3,
        epochs: int | None = None,
        batch_size: int = 5,
        validation: float = 0.0,
        patience: int = 1000,
        dtype: str = "float32",
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.cutoff = cutoff
        self.channels = channels
        self.radial = radial
        self.convolutions = convolutions
        self.angular = angular
        self.degree = degree
        self.layers = layers
        self.energy_weight = energy_weight
        self.force_weight = force_weight
        self.stress_weight = stress_weight
        self.learning_rate = learning_rate
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
        labels: Sequence[Labels],
        *,
        encoder: Encoder | None = None,
        freeze_encoder: bool = False,
        team: Team | None = None,
        resume: Checkpoint | None = None,
        keep: Callable[[TrainingState], None] | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Self:
        """Train on frames and their labels.

        Parameters
        ----------
        frames
            F frames.
        labels
            (F,) any of energy, forces and stress; a missing one counts nothing.
        encoder
            Weights to begin from; where the layers that its energies are made from are among those here, its unit of
            energy is kept, and to its energies of free atoms comes what it leaves unexplained, by least squares. One
            that learned without labels has no unit: it comes from these labels, and its readout, if it has any, is the
            sum of those that is nearest to them. None: random weights.
        freeze_encoder
            Train the readout alone, the layers that make an energy of an atom's states.
        team
            Processes that share the work, see :func:`mlff_curate.team.team`; the result has the same bits.
        resume
            State of a training of the same frames, labels and parameters, to go on from.
        keep
            Called with the state after each step.
        progress
            Called with steps done, steps in all, and the errors in words; before the first, how far the graph is.

        Raises
        ------
        UsageError
            A parameter out of range, or another one than the encoder's; no encoder that could be frozen.
        DataError
            A frame has no atoms, or positions or a cell that are no numbers; no frame has a label that counts; training
            diverged at once; the state does not fit; an element that a frozen encoder does not know.
        WorkerError
            A process of the team is gone.
        """
        self.require_parameters()
        self.require_encoder(encoder, frozen=freeze_encoder)
        _require_sound(frames)
        if not len(frames):
            raise DataError("there are no frames to train on")
        known = PotentialLabels.of(frames, labels)
        there = {
            "energy": np.isfinite(known.energy).any(),
            "force": np.isfinite(known.forces).any(),
            "stress": np.isfinite(known.virial).any(),
        }
        if not any(there[kind] and getattr(self, f"{kind}_weight") > 0 for kind in there):
            raise DataError("no frame has an energy, forces or a stress that a potential could be trained on")
        if freeze_encoder and encoder is not None:
            encoder.require_knows(sorted({int(z) for atoms in frames for z in atoms.numbers}))
        training, held_out = split(len(frames), self.validation, self.seed)
        epochs = self._epochs(len(training))
        per_epoch = math.ceil(len(training) / self.batch_size)
        before = 0 if resume is None else steps_before(resume, per_epoch)
        graph = vector_graph(
            frames,
            self.cutoff,
            progress=None
            if progress is None
            else lambda done, all_: progress(before, epochs * per_epoch, f"neighbours of {done} of {all_} frames"),
        )
        devices = [] if self.device == "cpu" else [torch.device(self.device)]
        with one_thread(), torch.random.fork_rng(devices):
            torch.manual_seed(self.seed)
            begun = self._begun(graph, frames, known, training, encoder)
            network = ReadoutTrained.of(begun.network) if freeze_encoder else begun.network
            self.training_: PotentialTraining | None = train_potential(
                network,
                Material(graph, known, _composition(graph) @ begun.level, begun.scale),
                training,
                held_out,
                weights=Weights(self.energy_weight, self.force_weight, self.stress_weight),
                learning_rate=self.learning_rate,
                batch_size=self.batch_size,
                epochs=epochs,
                patience=self.patience,
                seed=self.seed,
                dtype=DTYPES[self.dtype],
                team=team,
                resume=resume,
                keep=keep,
                progress=progress,
            )
        self.fitted_ = replace(begun, network=network.whole() if isinstance(network, ReadoutTrained) else network)
        return self

    def _epochs(self, frames: int) -> int:
        """Return how many epochs there are with so many frames to learn from."""
        per_epoch = math.ceil(frames / self.batch_size)
        return self.epochs or math.ceil(min(_STEPS, max(_LEAST_STEPS, _MOST_EPOCHS * per_epoch)) / per_epoch)

    def _begun(
        self,
        graph: VectorGraph,
        frames: Sequence[Atoms],
        known: PotentialLabels,
        training: np.ndarray,
        encoder: Encoder | None,
    ) -> FittedPotential:
        """Return network and units before the first step."""
        self.took_readout_ = False
        elements = np.unique(graph.numbers)
        sizes = PotentialSizes(
            elements=tuple(elements.tolist()),
            cutoff=float(self.cutoff),
            channels=self.channels,
            radial=self.radial,
            convolutions=self.convolutions,
            angular=self.angular,
            degree=self.degree,
            neighbours=max(1.0, len(graph.centre) / len(graph.numbers))
            if encoder is None
            else encoder.sizes.neighbours,
            layers=self.layers or "",
        )
        network = PotentialNetwork(sizes).to(self.device, DTYPES[self.dtype])
        if encoder is None:
            first = graph.part(_sample(graph.atoms, training, self.seed))
            batch = batch_of(first, sizes.elements, DTYPES[self.dtype], self.device)
            network.take_units(batch.vector, batch.species, batch.centre, batch.neighbour)
            return FittedPotential(network, *_units(known, graph, training))
        fresh = {name: value.clone() for name, value in network.state_dict().items() if is_of_readout(name)}
        encoder.give(network)
        level, scale = _units(known, graph, training)
        rows = encoder.rows_for(sizes)
        if rows is None:
            return FittedPotential(network, level, scale)
        start = copy.copy(self)
        start.fitted_ = FittedPotential(network, encoder.level_of(elements), encoder.scale or scale)
        if encoder.scale is None:
            some = np.sort(np.random.default_rng([self.seed, 4]).permutation(training)[:_MIXED])
            part = graph.part(some), [frames[i] for i in some], known.part(some, graph)
            row = _mixed(start, rows, *part)
            if row is None:
                network.load_state_dict(fresh, strict=False)
                return FittedPotential(network, level, scale)
            set_row(network, row)
        self.took_readout_ = True
        left = replace(known, energy=known.energy - start.predict_graph(graph, frames).energy)
        return replace(start.fitted_, level=start.fitted_.level + _units(left, graph, training)[0])

    def predict(self, frames: Sequence[Atoms], *, progress: Callable[[int, int], None] | None = None) -> Predicted:
        """Return energies, forces and stresses of F frames.

        Parameters
        ----------
        frames
            Any, of elements that the model was trained on.
        progress
            Called with frames done and in all.

        Raises
        ------
        DataError
            A frame has no atoms, or positions or a cell that are no numbers; an element that the model never saw. Names
            the frame.
        ValueError
            The model is not fitted.
        """
        fitted = getattr(self, "fitted_", None)
        if fitted is None:
            message = "the model is not trained: call fit"
            raise ValueError(message)
        _require_sound(frames)
        self.require_known(frames)
        parts = [_nothing()]
        for start in range(0, len(frames), _FRAMES_AT_ONCE):
            some = frames[start : start + _FRAMES_AT_ONCE]
            parts.append(self.predict_graph(vector_graph(some, fitted.network.sizes.cutoff), some))
            if progress is not None:
                progress(start + len(some), len(frames))
        return _joined(parts)

    def predict_graph(self, graph: VectorGraph, frames: Sequence[Atoms], *, n_threads: int = 1) -> Predicted:
        """Return energies, forces and stresses of frames whose neighbours are known; see :meth:`predict`."""
        fitted = self.fitted_
        network, elements = fitted.network, np.array(fitted.network.sizes.elements)
        self.require_known(frames)
        dtype = next(network.parameters()).dtype
        volume = _volumes(frames)
        parts = [_nothing()]
        for some in in_parts(graph.atoms, graph.crowd, np.arange(graph.frames)):
            piece = graph if len(some) == graph.frames else graph.part(some)
            with threads(n_threads):
                terms = terms_of(network, batch_of(piece, elements.tolist(), dtype, self.device))
            energies = terms.energies.cpu().double().numpy() * fitted.scale
            energies = energies + fitted.level[np.searchsorted(elements, piece.numbers)]
            virial = terms.virial.cpu().double().numpy() * fitted.scale
            parts.append(
                Predicted(
                    energy=np.bincount(piece.frame, energies, piece.frames),
                    energies=energies,
                    forces=terms.forces.cpu().double().numpy() * fitted.scale,
                    stress=0.5 * (virial + virial.transpose(0, 2, 1))[:, VOIGT[0], VOIGT[1]] / volume[some, None],
                )
            )
        return _joined(parts)

    def require_known(self, frames: Sequence[Atoms]) -> None:
        """Refuse elements that the model was not trained on.

        Raises
        ------
        DataError
            Names frame and elements.
        """
        elements = self.fitted_.network.sizes.elements
        for index, atoms in enumerate(frames):
            unseen = np.setdiff1d(atoms.numbers, elements)
            if len(unseen):
                raise DataError(f"the model never saw {', '.join(symbol_of(int(z)) for z in unseen)}", frame=index)

    def _to_bytes(self) -> bytes:
        from mlff_curate.cgcnn.potential_file import to_bytes

        return to_bytes(self)

    @classmethod
    def _read(cls, path: str | Path, device: str) -> Potential:
        from mlff_curate.cgcnn.potential_file import read_potential

        return read_potential(path, device)

    def require_parameters(self) -> None:
        """Refuse parameters out of range.

        Raises
        ------
        UsageError
            Names the option.
        """
        self._require_whole()
        if self.layers is not None:
            require_surroundings(layers_of(self.layers, self.convolutions, "the network's"))
        if not 0 < self.cutoff <= MOST_CUTOFF:
            raise UsageError(f"a number above 0, up to {MOST_CUTOFF:g}, got {self.cutoff!r}", key="--cutoff")
        if not 0 < self.learning_rate < math.inf:
            raise UsageError(f"a finite number above 0, got {self.learning_rate!r}", key="--learning-rate")
        for name in ("energy_weight", "force_weight", "stress_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"a finite number of at least 0, got {getattr(self, name)!r}", key=_option(name))
        if not 0 <= self.validation < 1:
            raise UsageError(f"a share in [0, 1), got {self.validation!r}", key="--validation")
        if self.dtype not in DTYPES:
            raise UsageError(f"{self.dtype!r} is unknown; available: {', '.join(DTYPES)}", key="--dtype")
        require_device(self.device)

    def require_encoder(self, encoder: Encoder | None, *, frozen: bool) -> None:
        """Refuse parameters that an encoder does not fit, or that mean nothing without one.

        Raises
        ------
        UsageError
            Names the option.
        """
        if encoder is not None:
            encoder.require_fits(self)
            return
        if frozen:
            raise UsageError("means nothing without --encoder", key="--freeze-encoder")
        last = self.convolutions
        if self.layers is not None and (deepest := max(layers_of(self.layers, last))) < last:
            raise UsageError(
                f"without --encoder the last, {last}, must be among them: add it, or say --convolutions {deepest}",
                key="--layers",
            )

    def _require_whole(self) -> None:
        for name, (least, most) in _WHOLE.items():
            value = getattr(self, name)
            if name == "epochs" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise UsageError(f"an integer of at least {least}, got {value!r}", key=_option(name))
            if value > most:
                raise UsageError(f"at most {most:g}, got {value}", key=_option(name))


def _sample(atoms: np.ndarray, training: np.ndarray, seed: int) -> np.ndarray:
    """Return some training frames, drawn, with about as many atoms as means and spreads are taken from."""
    order = np.random.default_rng([seed, 3]).permutation(training)
    # with the frame that crosses the number: a small crystal drawn before a large frame has no spread of its own
    return order[: int(np.searchsorted(np.cumsum(atoms[order]), _SAMPLE)) + 1]


def _nothing() -> Predicted:
    return Predicted(np.zeros(0), np.zeros(0), np.zeros((0, 3)), np.zeros((0, 6)))


def _joined(parts: Sequence[Predicted]) -> Predicted:
    return Predicted(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("energy", "energies", "forces", "stress")
        )
    )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _composition(graph: VectorGraph) -> np.ndarray:
    """Return how many atoms of each element, ascending, each frame has, (F, S)."""
    elements, place = np.unique(graph.numbers, return_inverse=True)
    return (
        np.bincount(graph.frame * len(elements) + place, minlength=graph.frames * len(elements))
        .reshape(graph.frames, len(elements))
        .astype(np.float64)
    )


def _units(known: PotentialLabels, graph: VectorGraph, training: np.ndarray) -> tuple[np.ndarray, float]:
    """Return energies of free elements, (S,) eV, and the unit of energy: the usual force times an Angstrom."""
    composition, atoms = _composition(graph), graph.atoms
    use = training[np.isfinite(known.energy[training])]
    level = np.zeros(composition.shape[1])
    spread = 0.0
    if len(use):
        share = composition[use] / atoms[use, None]
        per_atom = known.energy[use] / atoms[use]
        level = np.linalg.pinv(share) @ per_atom
        spread = float(np.std(per_atom - share @ level))
    forces = known.forces[np.isin(graph.frame, training)]
    forces = forces[np.isfinite(forces)]
    size = float(np.sqrt(np.mean(forces**2))) if len(forces) else 0.0
    # forces that are the noise of perfect crystals are no measure of energies
    return level, (size if size > _LEAST_FORCE * spread else spread) or 1.0


def _volumes(frames: Sequence[Atoms]) -> np.ndarray:
    """Return (F,) cubic Angstrom, nan of frames that are not periodic in three directions."""
    return np.array([atoms.get_volume() if atoms.pbc.all() else np.nan for atoms in frames])


def _mixed(
    begun: Potential, rows: torch.Tensor, graph: VectorGraph, frames: Sequence[Atoms], known: PotentialLabels
) -> torch.Tensor | None:
    """Return the sum of an encoder's rows of readouts, (1, H), that is nearest to the labels of some frames.

    Labels that the loss does not count do not count here either. None: they tell nothing of it.
    """
    network, scale = begun.fitted_.network, begun.fitted_.scale
    before = network.get_parameter(LAST_ROW).detach().clone()
    volume = _volumes(frames)
    found = []
    for row in rows:
        set_row(network, row[None])
        said = begun.predict_graph(graph, frames)
        found.append(_counted(begun, graph, PotentialLabels(said.energy, said.forces, said.stress * volume[:, None])))
    set_row(network, before)
    mixing = mixing_to(_counted(begun, graph, known) / scale, np.stack(found, axis=1) / scale)
    return None if mixing is None else torch.from_numpy(mixing).to(rows)[None] @ rows


def _counted(model: Potential, graph: VectorGraph, values: PotentialLabels) -> np.ndarray:
    """Return the numbers that a model's loss counts, one after the other: (N,), nan where there is none.

    Energies per atom, less what composition says of those of the same frames; forces; virials per atom.
    """
    energy = values.energy / graph.atoms
    told = np.isfinite(energy)
    share = _composition(graph)[told] / graph.atoms[told, None]
    energy[told] -= share @ np.linalg.lstsq(share, energy[told], rcond=None)[0]
    kinds = (
        (model.energy_weight, energy),
        (model.force_weight, values.forces.ravel()),
        (model.stress_weight, (values.virial / graph.atoms[:, None]).ravel()),
    )
    return np.concatenate([part for weight, part in kinds if weight > 0])


def _require_sound(frames: Sequence[Atoms]) -> None:
    for index, atoms in enumerate(frames):
        require_sound(atoms, None, index)
