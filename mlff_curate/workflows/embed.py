"""``embed``: frames to descriptors, embeddings, clusters and outlier scores of their environments."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.data.features import FeatureReader
from mlff_curate.data.formats.base import ReadOptions
from mlff_curate.descriptors.given import GivenFeatures
from mlff_curate.descriptors.registry import DESCRIPTORS
from mlff_curate.devices import require_device
from mlff_curate.errors import UsageError
from mlff_curate.meagraph.inductive import Inductive
from mlff_curate.meagraph.model import MEAGraph
from mlff_curate.parallel import require_workers
from mlff_curate.wording import counted
from mlff_curate.workflows.collect import Collection, FrameRecord, collect
from mlff_curate.workflows.describe import Environments, describe, learnable
from mlff_curate.workflows.descriptor_choice import choose_descriptor, features_wanted, require_known_elements
from mlff_curate.workflows.embedder import Embedder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Progress = Callable[[str, int, int | None, str], None]

MODEL_OPTIONS = ("descriptor", "layers", "kernels", "rate", "mode", "epochs", "seed")
"""What a stored model has already: these options and ``model`` exclude each other."""
_DEFAULT_DESCRIPTOR = DESCRIPTORS[0]


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(ReadOptions):
    """What may be asked of ``embed``; the defaults are the command line's.

    Attributes
    ----------
    model
        A stored model: it embeds, and nothing is trained.
    descriptor
        One of ``DESCRIPTORS``; ``array:KEY``, an array of the frames; or the file of an encoder or a potential. None:
        ``power-spectrum``.
    layers
        Of an encoder, digits; None: all.
    kernels, rate, mode, epochs, seed
        Of the model to be trained, see :class:`MEAGraph`; None: seed 0, and MEAGraph's defaults.
    group_by
        Info key of the configuration groups, ``"none"`` for one group; by default ``config_type`` where there is one.
    device
        Torch device of the autoencoder.
    workers, dask
        See :func:`mlff_curate.parallel.map_ordered`; the result does not depend on them.

    The others are those of :class:`ReadOptions`: ``type_map``, ``units``, ``log``.
    """

    model: str | Path | None = None
    descriptor: str | Path | None = None
    layers: str | None = None
    kernels: int | None = None
    rate: float | str | None = None
    mode: str | None = None
    epochs: int | None = None
    seed: int | None = None
    group_by: str | None = None
    device: str = "cpu"
    workers: int = 1
    dask: str | None = None


@dataclass(frozen=True)
class EmbedResult:
    """N environments of F frames, embedded.

    Attributes
    ----------
    records
        (F,) the frames.
    environments
        Scaled descriptors and central elements.
    embedding
        (N, C) float32, lengths in units of the thermal noise.
    cluster
        (N,) int64, numbered by size in the training data; -1: far from all that the model was trained on, or an
        isolated atom.
    outlier_score
        (N,) float32; 1 is ordinary.
    embedder
        What embedded them.
    trained
        It was trained on these frames; else it was stored.
    group_key
        Info key that made the groups, or None.
    notes
        Sentences for the user.
    seconds
        Stage to seconds.
    """

    records: tuple[FrameRecord, ...]
    environments: Environments
    embedding: np.ndarray
    cluster: np.ndarray
    outlier_score: np.ndarray
    embedder: Embedder
    trained: bool
    group_key: str | None
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def clusters(self) -> int:
        """Clusters that have an environment here."""
        return len(np.unique(self.cluster[self.cluster >= 0]))

    @property
    def new(self) -> int:
        """Environments in no cluster."""
        return int((self.cluster < 0).sum())

    @property
    def alone(self) -> int:
        """Environments in a cluster that held no more than one environment of the training data."""
        inside = self.cluster[self.cluster >= 0]
        return int((self.embedder.cluster_size[inside] <= 1).sum())

    @property
    def outliers(self) -> int:
        """Environments alone in their cluster, or in none."""
        return self.alone + self.new

    @property
    def link(self) -> float | None:
        """Length in noise units up to which environments are linked; the published mode has none."""
        fitted = self.embedder.model.fitted_
        return fitted.link if isinstance(fitted, Inductive) else None

    def largest(self, clusters: int, groups: int) -> Iterator[tuple[int, int, list[tuple[str, int]]]]:
        """Yield the largest clusters here: number, environments, and the groups with most of these."""
        sizes = np.bincount(self.cluster[self.cluster >= 0], minlength=1)
        names = np.repeat(np.array([record.group for record in self.records], dtype=object), self._atoms)
        for number in np.argsort(-sizes, kind="stable")[:clusters]:
            if sizes[number]:
                inside = Counter(names[self.cluster == number].tolist())
                yield int(number), int(sizes[number]), sorted(inside.items(), key=lambda i: (-i[1], i[0]))[:groups]

    @property
    def _atoms(self) -> np.ndarray:
        return np.diff(self.environments.first)


def embed(
    inputs: str | Path | Iterable[str | Path],
    options: EmbedOptions | None = None,
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> EmbedResult:
    """Embed all environments; nothing is written (see :func:`mlff_curate.workflows.embed_files.embed_files`).

    Parameters
    ----------
    inputs
        File or files, extxyz or anything that ASE reads.
    options
        See :class:`EmbedOptions`; single options can be given by name as well, ``embed("md.extxyz", epochs=4)``.
    progress
        Called with stage, steps done, steps in all (None: unknown) and a word on the state.

    Raises
    ------
    CurateError
        Data that cannot be read or make no sense, elements that a stored model does not know, a model file that is
        none, or an option out of range.
    """
    o = replace(options or EmbedOptions(), **changes)
    untrained = require_options(o)
    tell = progress or (lambda *_: None)
    seconds: dict[str, float] = {}
    start = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal start
        now = time.perf_counter()
        seconds[stage] = now - start
        start = now

    stored = None if o.model is None else Embedder.read(o.model, o.device)
    paths = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    collection = collect(
        paths,
        group_by=o.group_by,
        reading=o,
        features=features_wanted(o.descriptor) if stored is None else _features_of(stored),
        progress=lambda n: tell("read", n, None, "frames"),
    )
    if stored is not None:
        require_known_elements(collection, stored.descriptor.species, "the model was not trained on")
        descriptor = stored.descriptor
    else:
        descriptor = choose_descriptor(o.descriptor or _DEFAULT_DESCRIPTOR, o.layers).made_for(collection)
    lap("read")
    with collection.telling_where():
        described = describe(
            collection.geometries,
            descriptor,
            scaling=None if stored is None else stored.scaling,
            seed=o.seed or 0,
            workers=o.workers,
            dask=o.dask,
            progress=lambda done, total: tell("describe", done, total, "environments"),
        )
    lap("describe")
    isolated = np.repeat([r.isolated for r in collection.records], np.diff(described.first))
    model = untrained if stored is None else stored.model
    if stored is None:
        rows = learnable(described.species, isolated)
        model.fit(
            described.X[rows],
            described.species[rows],
            lambda done, total, words: tell("train MEAGraph", done, total, words),
        )
        lap("train")
    assigned = model.assign(
        described.X, described.species, lambda done, total: tell("embed", done, total, "environments")
    )
    if stored is None:
        embedder, cluster = _numbered(
            Embedder(descriptor, described.scaling, model, np.zeros(0, np.int64)), assigned.cluster, isolated
        )
    else:
        embedder, cluster = stored, np.where(isolated, -1, assigned.cluster)
    lap("embed")
    return EmbedResult(
        records=collection.records,
        environments=described,
        embedding=assigned.embedding,
        cluster=cluster,
        outlier_score=assigned.outlier_score,
        embedder=embedder,
        trained=o.model is None,
        group_key=collection.group_key,
        notes=_notes(collection, model, cluster, isolated, trained=stored is None),
        seconds=seconds,
    )


def require_options(o: EmbedOptions) -> MEAGraph:
    """Check what can be checked before any file is read, and return the model to be trained.

    Raises
    ------
    UsageError
        An option has a value that no data could make right, or stands beside ``model``.
    DataError
        The file of an encoder cannot be used.
    """
    given = [name for name in MODEL_OPTIONS if getattr(o, name) is not None]
    if o.model is not None and given:
        raise UsageError(f"a stored model has its own {given[0]}: leave out --{given[0]}", key="--model")
    choose_descriptor(o.descriptor or _DEFAULT_DESCRIPTOR, o.layers)
    require_workers(o.workers)
    require_device(o.device)
    known = {f.name for f in fields(o)} & set(MEAGraph().get_params())
    chosen = {name: getattr(o, name) for name in known if getattr(o, name) is not None}
    if "rate" in chosen:
        chosen["rate"] = _number(chosen["rate"])
    model = MEAGraph(**chosen)
    model.require_parameters()
    return model


def _number(rate: float | str) -> float | str:
    """Return the number that a word is, or the word, which MEAGraph judges."""
    try:
        return float(rate)
    except ValueError:
        return rate


def _features_of(stored: Embedder) -> FeatureReader | None:
    """Return what takes the features that a stored model was trained on from frames, or None."""
    descriptor = stored.descriptor
    return FeatureReader(descriptor.key, descriptor.size) if isinstance(descriptor, GivenFeatures) else None


def _numbered(embedder: Embedder, cluster: np.ndarray, isolated: np.ndarray) -> tuple[Embedder, np.ndarray]:
    """Give clusters the numbers 0, 1, ... from the largest, in the model itself: new data get those of these data.

    Clusters of isolated atoms alone come last, as no environment is in them.
    """
    inside = cluster >= 0
    fitted = embedder.model.fitted_
    highest = [cluster.max(initial=-1)] + ([fitted.anchor_cluster.max()] if isinstance(fitted, Inductive) else [])
    sizes = np.bincount(cluster[inside & ~isolated], minlength=int(max(highest)) + 1)
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    if isinstance(fitted, Inductive):
        embedder.model.fitted_ = replace(fitted, anchor_cluster=rank[fitted.anchor_cluster])
    numbered = np.full(len(cluster), -1)
    numbered[inside & ~isolated] = rank[cluster[inside & ~isolated]]
    return replace(embedder, cluster_size=sizes[order]), numbered


def _notes(
    collection: Collection, model: MEAGraph, cluster: np.ndarray, isolated: np.ndarray, *, trained: bool
) -> tuple[str, ...]:
    notes = list(collection.notes)
    if isolated.any():
        notes.append(f"{counted(int(isolated.sum()), 'isolated atom')}: in no cluster")
    strange = int((cluster[~isolated] < 0).sum())
    if strange:
        than = "almost all others" if trained else "almost all that the model was trained on"
        notes.append(f"{counted(strange, 'environment')} farther off than {than}: in no cluster")
    if trained and len(cluster) <= model.neighbours:
        notes.append(
            f"{counted(len(cluster), 'environment')} are too few to tell noise from difference: "
            "clusters and outlier scores mean little"
        )
    if model.mode == "published":
        notes.append("published mode: an environment's embedding depends on the others in this run")
    return tuple(notes)
