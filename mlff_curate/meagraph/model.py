"""MEAGraph: environments to embeddings, clusters and outliers, without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from mlff_curate.devices import require_device
from mlff_curate.errors import UsageError
from mlff_curate.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlff_curate.meagraph.assignment import Assignment
    from mlff_curate.meagraph.inductive import Inductive
    from mlff_curate.meagraph.published import Published
    from mlff_curate.meagraph.training import TrainingRecord

_CHANNELS = {"inductive": (32, 32, 32), "published": (128, 64, 32)}
_EPOCHS = {"inductive": 12, "published": 100}
MODES = tuple(_CHANNELS)
AUTO, RANDOM = "auto", "random"


class MEAGraph(Parameters):
    """Multi-kernel edge-attention graph autoencoder (Sun, Vita, Samanta, Lordi, arXiv:2509.12358).

    In the mode ``"inductive"`` the model keeps a bounded, seeded set of anchor environments with their state after
    each layer. Every environment, the anchors and the training data included, exchanges messages with its nearest
    anchors of the same element and with nothing else: its embedding is a function of the environment and the model,
    and N environments cost N times one. The mode ``"published"`` is the paper's, quadratic in N, blind to elements,
    and an environment's embedding depends on those that are embedded with it.

    Parameters
    ----------
    kernels
        K attention kernels per encoder layer.
    channels
        Size of the state after each encoder layer; the last is the embedding's. None: 32-32-32, or the published
        128-64-32.
    rate
        Pooling of the last layer's edges, which leaves the clusters. Inductive: a link of length d, in noise units,
        survives if ``exp(-d) > rate``; ``"auto"`` finds the length from the data. Published: an edge survives each
        layer if its min-max scaled attention is above the rate; there is no automatic one.
    training_rate
        Pooling rate while training; ``"random"``, as in the paper, draws one from U(0, 1) for each layer and step;
        None trains without pooling (inductive only).
    mode
        ``"inductive"`` or ``"published"``.
    epochs
        At most so many passes over the training data, or steps of the published mode, which sees all data in each; 0
        leaves the initial weights. None: 12, or 100 published.
    neighbours
        k, edges per environment (inductive).
    anchors
        At most so many anchors (inductive); clustering them takes time and memory with the square of their number.
    gross
        A difference between neighbours that is longer than so many times the median one counts as noise only up to that
        length (inductive): smaller sets the odd apart, and splits hot phases sooner. None: all count in full.
    seed
        Anchors, initial weights, batches and pooling rates.
    device
        Torch device of training and embedding.

    Attributes
    ----------
    fitted_
        The fitted model of the mode: :class:`Inductive` or :class:`Published`.
    size_
        D, the numbers per environment that it was fitted to.
    training_
        Losses, see :class:`TrainingRecord`.

    Examples
    --------
    >>> import numpy as np
    >>> from mlff_curate import MEAGraph
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (60, 8)), rng.normal(30, 1, (60, 8))]).astype(np.float32)
    >>> species = np.full(120, 41)
    >>> model = MEAGraph(epochs=1).fit(X, species)
    >>> len(set(model.clusters(X, species).tolist()))
    2
    """

    def __init__(
        self,
        kernels: int = 3,
        channels: Sequence[int] | None = None,
        rate: float | str = AUTO,
        training_rate: float | str | None = RANDOM,
        mode: str = "inductive",
        epochs: int | None = None,
        neighbours: int = 30,
        anchors: int = 2048,
        gross: float | None = 5.0,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.kernels = kernels
        self.channels = channels
        self.rate = rate
        self.training_rate = training_rate
        self.mode = mode
        self.epochs = epochs
        self.neighbours = neighbours
        self.anchors = anchors
        self.gross = gross
        self.seed = seed
        self.device = device

    def fit(
        self, X: np.ndarray, species: np.ndarray | None = None, progress: Callable[[int, int, str], None] | None = None
    ) -> Self:
        """Train on environments, and cluster them.

        Parameters
        ----------
        X
            (N, D) scaled descriptors; N at least 1.
        species
            (N,) atomic number at the centre; None: all are one.
        progress
            Called with epochs done, epochs in all, and the loss in words.

        Raises
        ------
        UsageError
            A parameter out of range.
        ValueError
            Shapes that do not fit, no environment, or numbers that are not finite.
        """
        self.require_parameters()
        X, species = _matched(X, species)
        if len(X) == 0:
            message = "there is no environment to learn from"
            raise ValueError(message)
        self.size_ = X.shape[1]
        channels = _CHANNELS[self.mode] if self.channels is None else self.channels
        epochs = _EPOCHS[self.mode] if self.epochs is None else self.epochs
        training_rate = None if self.training_rate in (RANDOM, None) else float(self.training_rate or 0.0)
        if self.mode == "published":
            from mlff_curate.meagraph.published import fit_published

            self.fitted_: Inductive | Published
            self.training_: TrainingRecord
            self.fitted_, self.training_ = fit_published(
                X,
                kernels=self.kernels,
                channels=channels,
                rate=float(self.rate),
                training_rate=training_rate,
                epochs=epochs,
                seed=self.seed,
                device=self.device,
                progress=progress,
            )
            return self
        from mlff_curate.meagraph.inductive import fit_inductive

        self.fitted_, self.training_ = fit_inductive(
            X,
            species,
            kernels=self.kernels,
            channels=channels,
            neighbours=self.neighbours,
            anchors=self.anchors,
            gross=self.gross,
            epochs=epochs,
            rate=None if self.rate == AUTO else float(self.rate),
            training_rate=training_rate,
            pooling=self.training_rate is not None,
            seed=self.seed,
            device=self.device,
            progress=progress,
        )
        return self

    def assign(
        self, X: np.ndarray, species: np.ndarray | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Assignment:
        """Return embeddings, clusters and outlier scores of environments, (N, D) and (N,), in one pass.

        ``progress`` is called with environments done and in all.

        Raises
        ------
        ValueError
            A central element was not in the training data; numbers that are not finite; or the model is not fitted.
        """
        X, species = _matched(X, species)
        if not hasattr(self, "fitted_"):
            message = "this MEAGraph is not fitted yet: call fit first"
            raise ValueError(message)
        if X.shape[1] != self.size_:
            message = f"the model was fitted to {self.size_} numbers per environment, got {X.shape[1]}"
            raise ValueError(message)
        return self.fitted_.assign(X, species, progress)

    def embed(self, X: np.ndarray, species: np.ndarray | None = None) -> np.ndarray:
        """Return the embeddings, (N, C) float32, of descriptors (N, D) and central elements (N,)."""
        return self.assign(X, species).embedding

    def clusters(self, X: np.ndarray, species: np.ndarray | None = None) -> np.ndarray:
        """Return the cluster of each environment, (N,): its nearest anchor's, or -1 where no anchor is near."""
        return self.assign(X, species).cluster

    def require_parameters(self) -> None:
        """Check every parameter.

        Raises
        ------
        UsageError
            The message names parameter and rule.
        """
        if self.mode not in MODES:
            raise UsageError(f"{self.mode!r} is unknown; available: {', '.join(MODES)}", key="--mode")
        for name, least in (("kernels", 1), ("epochs", 0), ("neighbours", 1), ("anchors", 1), ("seed", 0)):
            if (name, getattr(self, name)) != ("epochs", None):
                _require_whole(getattr(self, name), f"--{name}", least)
        if self.gross is not None and not self.gross >= 1:
            raise UsageError(f"None, or at least 1, got {self.gross!r}", key="--gross")
        if self.channels is not None and (not self.channels or min(self.channels) < 2):
            raise UsageError(f"sizes of two or more, got {self.channels}", key="--channels")
        if self.rate == AUTO:
            if self.mode == "published":
                raise UsageError("the published mode has no automatic rate: give one, 0 to 1", key="--rate")
        else:
            _require_fraction(self.rate, "--rate", zero=self.mode == "published")
        if self.training_rate not in (RANDOM, None):
            _require_fraction(self.training_rate, "--training-rate", zero=True)
        if self.training_rate is None and self.mode == "published":
            raise UsageError("the published mode pools while training: give a number or random", key="--training-rate")
        require_device(self.device)


def _require_whole(value: object, key: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise UsageError(f"a whole number is wanted, got {value!r}", key=key)
    if value < least:
        raise UsageError(f"at least {least}, got {value}", key=key)


def _require_fraction(value: object, key: str, *, zero: bool) -> None:
    words = "a number from 0 to 1" if zero else f"{AUTO}, or a number above 0 and below 1"
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise UsageError(f"{words}, got {value!r}", key=key)
    number = float(value)
    if not (0.0 <= number <= 1.0 if zero else 0.0 < number < 1.0):
        raise UsageError(f"{words}, got {value!r}", key=key)


def _matched(X: np.ndarray, species: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    X = np.asarray(X)
    species = np.zeros(len(X), np.int64) if species is None else np.asarray(species)
    if X.ndim != 2 or X.shape[1] == 0 or species.shape != (len(X),):
        message = f"X of shape (N, D) and species of shape (N,) are wanted, got {X.shape} and {species.shape}"
        raise ValueError(message)
    with np.errstate(over="ignore"):
        finite = np.isfinite(X.astype(np.float32, copy=False)).all(axis=1)
    if not finite.all():
        message = f"X has numbers that are not finite, the first in row {int(finite.argmin())}"
        raise ValueError(message)
    return X, species
