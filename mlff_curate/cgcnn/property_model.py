"""CGCNN: frames to a property of the whole frame, as published."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

import numpy as np
import torch

from mlff_curate.cgcnn.convolutions import CONVOLUTIONS
from mlff_curate.cgcnn.elements import (
    ElementEncoding,
    one_hot_encoding,
    published_encoding,
    read_encoding,
    symbol_of,
)
from mlff_curate.cgcnn.expansion import STEP
from mlff_curate.cgcnn.node_encoder import NodeEncoder, TunedNetwork
from mlff_curate.cgcnn.potential_network import layers_of
from mlff_curate.cgcnn.property_network import (
    CLASSIFICATION,
    REGRESSION,
    TASKS,
    NetworkSizes,
    PropertyNetwork,
    batch_of,
)
from mlff_curate.cgcnn.published import read_published
from mlff_curate.cgcnn.trained import Trained
from mlff_curate.cgcnn.training import OPTIMISERS, Examples, PropertyTraining, split, train
from mlff_curate.data.targets import targets_of
from mlff_curate.devices import require_device
from mlff_curate.errors import DataError, UsageError
from mlff_curate.graphs.crystal import NEIGHBOURS, RADIUS, crystal_graph
from mlff_curate.graphs.vectors import vector_graph
from mlff_curate.parallel import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ase import Atoms

    from mlff_curate.cgcnn.encoder import Encoder
    from mlff_curate.cgcnn.property_state import PropertyState
    from mlff_curate.data.checkpoints import Checkpoint
    from mlff_curate.data.frames import Frame

    Structures = Sequence[Atoms] | Sequence[Frame]

_ROUNDING = 1e-12
"""The mean of equal numbers may be off by that share of them, and their spread be above 0 for it."""
ELEMENTS, ONE_HOT, NONE = "elements", "one-hot", "none"
ENCODINGS = (ELEMENTS, ONE_HOT, NONE)
_ATOMS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class FittedProperty:
    """A trained network, and all that is needed to feed it and to read its output.

    Attributes
    ----------
    network
        On its device, in evaluation mode.
    encoding
        Features of the elements; None: there are none.
    mean, std
        Of the target: the network gives (target - mean) / std. 0 and 1 for a classifier.
    neighbours, radius, padded
        Of the crystal graph.
    elements
        Atomic numbers in the training data; empty where they are not known.
    target
        Name of the property, if it is known.
    encoder
        Features of the atoms behind those of the elements; None: there are none. Without either, each frame comes with
        features of its atoms.
    """

    network: PropertyNetwork
    encoding: ElementEncoding | None
    mean: float
    std: float
    neighbours: int
    radius: float
    padded: bool
    elements: tuple[int, ...]
    target: str | None
    encoder: NodeEncoder | None = None

    @property
    def wants_features(self) -> bool:
        """Whether frames come with features of their atoms."""
        return self.encoding is None and self.encoder is None


class CGCNN(Trained):
    """Crystal graph convolutional neural network for a property of a frame (Xie & Grossman, PRL 120, 145301).

    The prediction is made of a mean over atoms, so it is intensive: a supercell has the same. Give energies per atom.

    Parameters
    ----------
    task
        ``"regression"``, or ``"classification"`` into 0 and 1.
    conv
        ``"gated"``, the paper's equation 5; ``"shared"``, equation 4; ``"none"``, atoms without neighbours.
    channels
        Size of the state of an atom.
    convolutions
        How many, one after the other. More than four over-smooth.
    hidden, hidden_layers
        Width and number of the layers after pooling.
    encoding
        ``"elements"``, the 92 published categories; ``"one-hot"``, one category per element of the training data;
        ``"none"``, beside an encoder, which then tells all that is known of an atom.
    neighbours, radius
        Each atom hears the nearest so many within so many Angstrom.
    optimiser
        ``"adam"`` or ``"sgd"``, with momentum 0.9.
    learning_rate
        Falls to a tenth after four fifths of the epochs.
    layers
        Of an encoder, where there is one: digits, see :func:`mlff_curate.cgcnn.representation.representation`. None:
        all.
    encoder_rate
        Share of the learning rate that the weights of an encoder which is trained too are moved by.
    epochs, batch_size
        Epochs at most, and frames per step.
    validation
        Share of the frames held out, to stop early and to keep the best weights.
    patience
        Epochs without a better validation error before training stops.
    seed
        Of weights, split, batches and dropout.
    device
        Torch device.

    Attributes
    ----------
    fitted_
        See :class:`FittedProperty`.
    training_
        See :class:`PropertyTraining`; None for a published model.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from mlff_curate import CGCNN
    >>> frames = [bulk("Cu", a=a) for a in (3.4, 3.5, 3.6, 3.7, 3.8)]
    >>> model = CGCNN(channels=8, hidden=8, epochs=2).fit(frames, [3.4, 3.5, 3.6, 3.7, 3.8])
    >>> model.predict(frames).shape
    (5,)
    """

    def __init__(
        self,
        task: str = REGRESSION,
        conv: str = "gated",
        channels: int = 64,
        convolutions: int = 3,
        hidden: int = 64,
        hidden_layers: int = 1,
        encoding: str = ELEMENTS,
        neighbours: int = NEIGHBOURS,
        radius: float = RADIUS,
        optimiser: str = "adam",
        learning_rate: float = 3e-3,
        layers: str | None = None,
        encoder_rate: float = 0.1,
        epochs: int = 200,
        batch_size: int = 32,
        validation: float = 0.1,
        patience: int = 100,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.task = task
        self.conv = conv
        self.channels = channels
        self.convolutions = convolutions
        self.hidden = hidden
        self.hidden_layers = hidden_layers
        self.encoding = encoding
        self.neighbours = neighbours
        self.radius = radius
        self.optimiser = optimiser
        self.learning_rate = learning_rate
        self.layers = layers
        self.encoder_rate = encoder_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation = validation
        self.patience = patience
        self.seed = seed
        self.device = device

    def fit(
        self,
        frames: Structures,
        targets: Sequence[float] | np.ndarray | str,
        *,
        node_features: Sequence[np.ndarray] | None = None,
        encoder: Encoder | None = None,
        freeze_encoder: bool = False,
        resume: Checkpoint | None = None,
        keep: Callable[[PropertyState], None] | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Self:
        """Train on frames.

        Parameters
        ----------
        frames
            F frames, at least one.
        targets
            (F,) numbers, for a classifier 0 and 1; or the key that they have in the frames.
        node_features
            (n, D) for each frame of n atoms, in place of the encoding of the elements and of an encoder.
        encoder
            What it learned is the beginning: the states of atoms in its network are features of the nodes, behind the
            encoding of the elements, and its weights are trained with the others.
        freeze_encoder
            Leave its weights as they are. The states are computed once; with the default sizes of an encoder and all
            layers they take 400 bytes an atom. Without it, the neighbours that it sees take some 2 kB an atom.
        resume
            State of a training of the same frames, targets, parameters and encoder, to go on from.
        keep
            Called with the state after each epoch.
        progress
            Called with epochs done, epochs in all, and the losses in words; before the first, how far the graph is.

        Raises
        ------
        UsageError
            A parameter out of range, or one that means nothing without an encoder.
        DataError
            A frame or target that cannot be learned from, or training that diverged at once; names frame and key. A
            state that does not fit.
        """
        self.require_parameters()
        if node_features is None:
            self.require_encoder(encoder, frozen=freeze_encoder)
        elif encoder is not None:
            message = "node_features take the place of an encoder: give one of the two"
            raise ValueError(message)
        structures = _structures(frames)
        key = targets if isinstance(targets, str) else None
        values = targets_of(structures, targets) if isinstance(targets, str) else np.asarray(targets, np.float64)
        _require_targets(values, len(structures), self.task, key)
        before = 0 if resume is None else resume.setting("epochs", int)

        def tell(what: str) -> Callable[[int, int], None] | None:
            if progress is None:
                return None
            return lambda done, all_: progress(before, self.epochs, f"{what} of {done} of {all_} frames")

        graph = crystal_graph(structures, self.neighbours, self.radius, progress=tell("neighbours"))
        encoding = None
        if node_features is None and self.encoding != NONE:
            encoding = published_encoding() if self.encoding == ELEMENTS else one_hot_encoding(graph.numbers)
            _require_known(encoding, structures)
        training, held_out = split(len(structures), self.validation, self.seed)
        mean, std = (0.0, 1.0) if self.task == CLASSIFICATION else _spread(values[training])
        devices = [] if self.device == "cpu" else [torch.device(self.device)]
        # one thread: sums have the same bits however many there are; torch's own state is left as it was
        with one_thread(), torch.random.fork_rng(devices):
            nodes = None if encoder is None else NodeEncoder.of(encoder, self.layers, self.device)
            if node_features is not None:
                features = _given(node_features, structures, None)
            else:
                learned = np.flatnonzero(np.isin(graph.frame, training))
                features = _features(encoding, nodes, structures, graph.numbers, 0, learned, tell("states"))
            sizes = NetworkSizes(
                task=self.task,
                conv=self.conv,
                node_size=features.shape[1],
                edge_size=round(self.radius / STEP) + 1,
                channels=self.channels,
                convolutions=self.convolutions,
                hidden=self.hidden,
                hidden_layers=self.hidden_layers,
            )
            torch.manual_seed(self.seed)
            network = PropertyNetwork(sizes).to(self.device)
            target = (values - mean) / std
            learner: PropertyNetwork | TunedNetwork = network
            examples = Examples(graph, features, target)
            if nodes is not None and not freeze_encoder:
                learner = TunedNetwork(nodes, network)
                surroundings = vector_graph(structures, nodes.trunk.sizes.cutoff, tell("surroundings"))
                examples = Examples(graph, features[:, : -nodes.size], target, surroundings)
            self.training_: PropertyTraining | None = train(
                learner,
                examples,
                training,
                held_out,
                optimiser=self.optimiser,
                learning_rate=self.learning_rate,
                encoder_rate=self.encoder_rate,
                batch_size=self.batch_size,
                epochs=self.epochs,
                patience=self.patience,
                seed=self.seed,
                device=self.device,
                resume=resume,
                keep=keep,
                progress=progress,
            )
        self.fitted_ = FittedProperty(
            network=network,
            encoding=encoding,
            mean=mean,
            std=std,
            neighbours=self.neighbours,
            radius=self.radius,
            padded=False,
            elements=tuple(np.unique(graph.numbers).tolist()),
            target=key,
            encoder=nodes,
        )
        return self

    def predict(
        self,
        frames: Structures,
        *,
        node_features: Sequence[np.ndarray] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Return the property of each frame, (F,) float64: in the target's unit, or the probability of class 1.

        Parameters
        ----------
        frames
            F frames.
        node_features
            (n, D) for each frame, for a model that was trained on such.
        progress
            Called with frames done and in all.

        Raises
        ------
        DataError
            A frame has no atoms, or an element that the model has no features for or that was not in its training data,
            where these are known; names frame and element.
        ValueError
            The model is not fitted, or node features that do not fit it.
        """
        fitted = self._fitted()
        structures = _structures(frames)
        network = fitted.network
        if fitted.wants_features:
            if node_features is None:
                message = "the model was trained on node_features: they are needed to predict"
                raise ValueError(message)
            given = _given(node_features, structures, network.sizes.node_size)
        else:
            if node_features is not None:
                message = "the model has features of its own: it takes no node_features"
                raise ValueError(message)
            if fitted.encoding is not None:
                _require_known(fitted.encoding, structures)
            self._require_seen(structures)
        out = np.zeros(len(structures))
        first_atom = np.concatenate([[0], np.cumsum([len(atoms) for atoms in structures])]).astype(np.int64)
        first = 0
        while first < len(structures):
            last = max(first + 1, int(np.searchsorted(first_atom, first_atom[first] + _ATOMS_AT_ONCE, "right")) - 1)
            graph = crystal_graph(structures[first:last], fitted.neighbours, fitted.radius, padded=fitted.padded)
            if fitted.wants_features:
                features = given[first_atom[first] : first_atom[last]]
            else:
                features = _features(fitted.encoding, fitted.encoder, structures[first:last], graph.numbers, first)
            with one_thread(), torch.no_grad():
                result = network(batch_of(graph, features, network.sizes.edge_size, self.device)).cpu().double()
            is_class = network.sizes.task == CLASSIFICATION
            out[first:last] = (result[:, 1].exp() if is_class else result[:, 0] * fitted.std + fitted.mean).numpy()
            first = last
            if progress is not None:
                progress(first, len(structures))
        return out

    @classmethod
    def from_published(
        cls, checkpoint: str | Path, atom_init: str | Path | None = None, *, device: str = "cpu"
    ) -> CGCNN:
        """Return one of the authors' trained models (github.com/txie-93/cgcnn).

        Parameters
        ----------
        checkpoint
            Their ``.pth.tar``; it is read without running anything that it may hold.
        atom_init
            Their ``atom_init.json``; None: the same categories, made here, for the elements up to 118.
        device
            Torch device.

        Raises
        ------
        DataError
            A file is missing, damaged or something else, or the two do not fit.
        """
        require_device(device)
        published = read_published(checkpoint)
        encoding = published_encoding() if atom_init is None else read_encoding(Path(atom_init))
        sizes = published.network.sizes
        if encoding.size != sizes.node_size:
            raise DataError(
                f"the elements have {encoding.size} features, the model {checkpoint} was trained on {sizes.node_size}",
                file=None if atom_init is None else str(atom_init),
            )
        model = cls(
            task=sizes.task,
            conv=sizes.conv,
            channels=sizes.channels,
            convolutions=sizes.convolutions,
            hidden=sizes.hidden,
            hidden_layers=sizes.hidden_layers,
            radius=published.radius,
            device=device,
        )
        model.fitted_ = FittedProperty(
            network=published.network.to(device),
            encoding=encoding,
            mean=published.mean,
            std=published.std,
            neighbours=NEIGHBOURS,
            radius=published.radius,
            padded=True,
            elements=(),
            target=published.target,
        )
        model.training_ = None
        return model

    def _to_bytes(self) -> bytes:
        from mlff_curate.cgcnn.model_file import to_bytes

        return to_bytes(self)

    @classmethod
    def _read(cls, path: str | Path, device: str) -> CGCNN:
        from mlff_curate.cgcnn.model_file import read_model

        return read_model(path, device)

    def name_target(self, name: str | None) -> None:
        """Write down what the model predicts, for those who load it."""
        self.fitted_ = replace(self._fitted(), target=name)

    def unseen(self, frames: Structures) -> list[str]:
        """Return the elements of some frames that were not in the training data; none where these are not known."""
        known = self._fitted().elements
        found = {int(z) for atoms in _structures(frames) for z in atoms.numbers}
        return [symbol_of(z) for z in sorted(found - set(known))] if known else []

    def _require_seen(self, structures: list[Atoms]) -> None:
        """Refuse the first frame with an element that was not in the training data: of it nothing was learned."""
        if self.unseen(structures):
            i = next(i for i, atoms in enumerate(structures) if self.unseen([atoms]))
            raise DataError(f"the model was trained without {', '.join(self.unseen([structures[i]]))}", frame=i)

    def _fitted(self) -> FittedProperty:
        if not hasattr(self, "fitted_"):
            message = "this CGCNN is not fitted yet: call fit, load or from_published first"
            raise ValueError(message)
        return self.fitted_

    def require_parameters(self) -> None:
        """Check every parameter.

        Raises
        ------
        UsageError
            The message names parameter and rule.
        """
        for name, words in (
            ("task", TASKS),
            ("conv", tuple(CONVOLUTIONS)),
            ("encoding", ENCODINGS),
            ("optimiser", OPTIMISERS),
        ):
            if getattr(self, name) not in words:
                raise UsageError(f"{getattr(self, name)!r} is unknown; available: {', '.join(words)}", key=f"--{name}")
        for name in ("channels", "convolutions", "hidden", "hidden_layers", "neighbours", "epochs", "batch_size"):
            _require_whole(getattr(self, name), name, 1)
        _require_whole(self.patience, "patience", 1)
        _require_whole(self.seed, "seed", 0)
        _require_number(self.radius, "radius", 0.4, 100.0)
        _require_number(self.learning_rate, "learning_rate", 1e-12, 1e6)
        _require_number(self.encoder_rate, "encoder_rate", 1e-12, 1e6)
        _require_number(self.validation, "validation", 0.0, 0.9)
        require_device(self.device)

    def require_encoder(self, encoder: Encoder | None, *, frozen: bool) -> None:
        """Refuse parameters that an encoder does not fit, or that mean nothing without one.

        Raises
        ------
        UsageError
            Names the option.
        """
        if encoder is not None:
            layers_of(self.layers, encoder.sizes.deepest)
            return
        for name, given in (("freeze_encoder", frozen), ("layers", self.layers is not None)):
            if given:
                raise UsageError("means nothing without --encoder", key=_option(name))
        if self.encoding == NONE:
            raise UsageError(f"{NONE} leaves nothing to tell atoms by without --encoder", key="--encoding")


def _features(
    encoding: ElementEncoding | None,
    encoder: NodeEncoder | None,
    structures: list[Atoms],
    numbers: np.ndarray,
    first: int,
    learned: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return the features of all atoms, (N, D) float32: of their elements, and behind these those of an encoder.

    The frames are counted from `first` in errors.
    """
    parts = [] if encoding is None else [encoding.features(numbers)]
    if encoder is not None:
        try:
            parts.append(encoder.features(structures, learned, progress))
        except DataError as error:
            error.key = error.key or "--encoder"
            error.frame = None if error.frame is None else first + error.frame
            raise
    return np.concatenate(parts, axis=1)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _require_whole(value: object, name: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise UsageError(f"a whole number is wanted, got {value!r}", key=_option(name))
    if value < least:
        raise UsageError(f"at least {least}, got {value}", key=_option(name))


def _require_number(value: object, name: str, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not least <= float(value) <= most:
        raise UsageError(f"a number from {least:g} to {most:g} is wanted, got {value!r}", key=_option(name))


def _structures(frames: Structures) -> list[Atoms]:
    """Return the atoms of frames, each with at least one atom at a finite place."""
    structures = [cast("Atoms", getattr(frame, "atoms", frame)) for frame in frames]
    for i, atoms in enumerate(structures):
        if len(atoms) == 0:
            raise DataError("the frame has no atoms", frame=i)
        if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
            raise DataError("positions or cell are not finite", frame=i)
    return structures


def _require_targets(values: np.ndarray, frames: int, task: str, key: str | None) -> None:
    if values.shape != (frames,):
        message = f"one target per frame is wanted, got {values.shape} for {frames} frames"
        raise ValueError(message)
    if frames == 0:
        message = "there is no frame to learn from"
        raise ValueError(message)
    if not np.isfinite(values).all():
        raise DataError("a target must be finite", frame=int(np.isfinite(values).argmin()), key=key)
    if task != CLASSIFICATION:
        return
    odd = np.flatnonzero((values != 0) & (values != 1))
    if len(odd):
        raise DataError(f"is {values[odd[0]]:g}: the classes are 0 and 1", frame=int(odd[0]), key=key)
    if len(np.unique(values)) < 2:
        raise DataError(f"all frames are of class {values[0]:g}: there is nothing to tell apart", key=key)


def _require_known(encoding: ElementEncoding, structures: list[Atoms]) -> None:
    """Refuse the first frame with an element that there are no features for."""
    for i, atoms in enumerate(structures):
        try:
            encoding.require(atoms.numbers)
        except DataError as error:
            error.frame = i
            raise


def _given(node_features: Sequence[np.ndarray], structures: list[Atoms], size: int | None) -> np.ndarray:
    """Return the features of all atoms, (N, D) float32, after a look at their shapes."""
    arrays = [np.asarray(array, np.float32) for array in node_features]
    if len(arrays) != len(structures):
        message = f"node_features of {len(structures)} frames are wanted, got {len(arrays)}"
        raise ValueError(message)
    for i, (array, atoms) in enumerate(zip(arrays, structures, strict=True)):
        wanted = arrays[0].shape[-1] if size is None and arrays[0].ndim else size
        if array.shape != (len(atoms), wanted) or not array.size:
            message = f"node_features of frame {i}: ({len(atoms)}, {wanted}) is wanted, got {array.shape}"
            raise ValueError(message)
        if not np.isfinite(array).all():
            message = f"node_features of frame {i} are not finite"
            raise ValueError(message)
    return np.concatenate(arrays) if arrays else np.zeros((0, size or 0), np.float32)


def _spread(values: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation; 1 where all are the same but for rounding."""
    std = float(values.std())
    return float(values.mean()), std if std > _ROUNDING * float(np.abs(values).max()) else 1.0
