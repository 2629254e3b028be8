"""What the frames of some files are to each other; no budget and no selector has a part in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.data.formats.base import ReadOptions
from mlff_curate.devices import require_device
from mlff_curate.errors import UsageError
from mlff_curate.meagraph.model import MEAGraph
from mlff_curate.parallel import require_workers
from mlff_curate.pruning.copies import near_copies
from mlff_curate.pruning.problem import Pool, species_columns
from mlff_curate.wording import counted
from mlff_curate.workflows.collect import Collection, FrameRecord, collect
from mlff_curate.workflows.describe import Environments, describe, learnable
from mlff_curate.workflows.descriptor_choice import choose_descriptor, features_wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ase import Atoms

    from mlff_curate.descriptors.base import Descriptor

Progress = Callable[[str, int, int | None, str], None]
"""Called with stage, steps done, steps in all (None: unknown) and a word on the state."""

EMBEDDINGS = ("meagraph", "descriptor")
SHORT: dict[str, Any] = {"epochs": 2, "neighbours": 20, "gross": None, "anchors": 1024}
"""MEAGraph inside prune is trained for a few seconds, since more does not show in what is kept; and noise is all that
neighbours differ by, since distances that set the odd apart make the choice chase them (docs/benchmarks.md, Fe)."""
SPECK = 10
"""Fewer environments than this, or than 1 % of a small set, count as outliers: a melt leaves many such specks, and a
frame for each would use up the budget (docs/benchmarks.md)."""


@dataclass(frozen=True, kw_only=True)
class SurveyOptions(ReadOptions):
    """How frames are read, described, compared and grouped; the defaults are the command line's.

    Attributes
    ----------
    against
        Curated files: what they hold counts as kept already.
    group_by
        Info key of the configuration groups, ``"none"`` for one group; by default ``config_type`` where there is one.
    must_keep, exclude
        Info keys, ``KEY=VALUE``, or files with frame indices.
    label_keys
        ``energy``, ``forces``, ``stress`` to the key that holds it, or None for the usual names.
    embedding
        Where environments are compared: ``"descriptor"``, the scaled one, or ``"meagraph"``, MEAGraph's embedding.
        None: in the descriptor. Clusters are MEAGraph's in either case.
    descriptor
        One of ``DESCRIPTORS``; ``array:KEY``, an array of the frames; or the file of an encoder or a potential.
    layers
        Of an encoder, digits; None: all.
    meagraph
        Parameters of :class:`MEAGraph` in place of those of ``prune``.
    seed
        Of every random choice.
    device
        Torch device of the autoencoder.
    workers, dask
        See :func:`mlff_curate.parallel.map_ordered`; the result does not depend on them.

    The others are those of :class:`ReadOptions`: ``type_map``, ``units``, ``log``.
    """

    against: Sequence[str | Path] = ()
    group_by: str | None = None
    must_keep: Sequence[str] = ()
    exclude: Sequence[str] = ()
    label_keys: Mapping[str, str | None] = field(default_factory=dict)
    embedding: str | None = None
    descriptor: str | Path = "power-spectrum"
    layers: str | None = None
    meagraph: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"
    workers: int = 1
    dask: str | None = None

    @property
    def distances_in(self) -> str:
        """Where distances are measured: ``meagraph`` or ``descriptor``, or what the user gave."""
        return self.embedding or "descriptor"


@dataclass(frozen=True)
class Pile:
    """Frames that were read, F of them: those of the inputs first, then the curated ones.

    Attributes
    ----------
    collection
        Records and geometries.
    mandatory
        (F,) bool, input frames that are kept in any case.
    seconds
        Stage to seconds.
    """

    collection: Collection
    mandatory: np.ndarray
    seconds: dict[str, float]

    @property
    def records(self) -> tuple[FrameRecord, ...]:
        """(F,) what is known of each frame."""
        return self.collection.records

    @property
    def new(self) -> int:
        """Frames of the inputs."""
        return self.collection.new

    def flags(self, name: str) -> np.ndarray:
        """Return (F,) bool, an attribute of the records: ``curated``, ``rejected``, ``isolated``."""
        return np.array([getattr(record, name) for record in self.records])


@dataclass(frozen=True)
class Survey:
    """What the frames are to each other.

    Attributes
    ----------
    pile
        The frames.
    environments
        Descriptors of all frames, the curated ones last.
    embedding
        (N, C) MEAGraph embedding.
    cluster
        (N,) cluster of each environment, 0, 1, ... by size; -1: none.
    pool
        What a selector is given.
    descriptor
        What described them.
    distances_in
        Where distances are measured: ``descriptor`` or ``meagraph``.
    training
        How the autoencoder's training went, in words.
    seconds
        Stage to seconds, reading included.
    """

    pile: Pile
    environments: Environments
    embedding: np.ndarray
    cluster: np.ndarray
    pool: Pool
    descriptor: Descriptor
    distances_in: str
    training: str
    seconds: dict[str, float]

    @property
    def described(self) -> Pool:
        """The pool in the descriptor, whatever the selector sees: the embedding takes out what tells copies apart."""
        return replace(self.pool, X=species_columns(self.environments.X, self.environments.species))

    @property
    def group_key(self) -> str | None:
        """Info key that made the groups, or None."""
        return self.pile.collection.group_key

    @property
    def new_environments(self) -> int:
        """Environments of the inputs; those of the curated frames come after them."""
        return int(self.environments.first[self.pile.new])

    @property
    def cluster_sizes(self) -> np.ndarray:
        """(C,) environments of the inputs in each cluster of any, descending."""
        new = self.cluster[: self.new_environments]
        sizes = np.bincount(new[new >= 0])
        return np.sort(sizes[sizes > 0])[::-1]

    @property
    def outliers(self) -> int:
        """Environments of the inputs that are in no cluster."""
        return int((self.cluster[: self.new_environments] < 0).sum())


class Stages:
    """Seconds per stage: ``with clock("read"): ...``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add what is done inside to a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def require_survey_options(o: SurveyOptions) -> None:
    """Check what can be checked before any file is read.

    Raises
    ------
    UsageError
        An option has a value that no data could make right.
    DataError
        The file of an encoder cannot be used.
    """
    require_known(o.distances_in, EMBEDDINGS, "--embedding")
    choose_descriptor(o.descriptor, o.layers)
    require_workers(o.workers)
    require_device(o.device)


def require_known(value: str, known: Iterable[str], option: str) -> None:
    """Refuse a name that is not known.

    Raises
    ------
    UsageError
        The message lists those that are.
    """
    if value not in known:
        raise UsageError(f"{value!r} is unknown; available: {', '.join(known)}", key=option)


def read_pile(inputs: str | Path | Iterable[str | Path], o: SurveyOptions, progress: Progress | None = None) -> Pile:
    """Read all frames.

    Raises
    ------
    DataError
        As :func:`collect`.
    """
    clock = Stages()
    with clock("read"):
        collection = collect(
            [inputs] if isinstance(inputs, (str, Path)) else list(inputs),
            against=o.against,
            group_by=o.group_by,
            must_keep=o.must_keep,
            exclude=o.exclude,
            reading=o,
            label_keys=o.label_keys,
            features=features_wanted(o.descriptor),
            progress=None if progress is None else lambda n: progress("read", n, None, "frames"),
        )
        return Pile(collection, _mandatory(collection), clock.seconds)


def survey(pile: Pile, o: SurveyOptions, progress: Progress | None = None) -> Survey:
    """Describe, embed and cluster the environments of all frames.

    Raises
    ------
    CurateError
        Data that make no sense, or an option out of range.
    """
    tell = progress or (lambda *_: None)
    clock = Stages()
    geometries = pile.collection.geometries
    curated, rejected, isolated = (pile.flags(name) for name in ("curated", "rejected", "isolated"))
    with clock("describe"), pile.collection.telling_where():
        chosen = choose_descriptor(o.descriptor, o.layers)
        maker = chosen.made_for(pile.collection)
        same = _same_geometry(pile.collection)
        judged = ~curated & ~rejected
        once = judged | (curated & ~np.isin(same, same[judged]))  # see _same_geometry
        environments = describe(
            geometries,
            maker,
            detail=chosen.detail_for(maker.species),
            scale_by=np.flatnonzero(once),
            seed=o.seed,
            workers=o.workers,
            dask=o.dask,
            progress=lambda done, total: tell("describe", done, total, "environments"),
        )
    with clock("embed"):
        owner = np.repeat(np.arange(len(geometries)), np.diff(environments.first))
        free = isolated[owner]
        rows = learnable(environments.species, free)
        rows = rows[once[owner[rows]]]
        model = MEAGraph(**{**SHORT, **o.meagraph}, seed=o.seed, device=o.device).fit(
            environments.X[rows],
            environments.species[rows],
            lambda done, total, words: tell("train MEAGraph", done, total, words),
        )
        assigned = model.assign(
            environments.X, environments.species, lambda done, total: tell("embed", done, total, "environments")
        )
        embedded, cluster = assigned.embedding, assigned.cluster
        cluster[free] = -1
        cluster = _by_size(cluster, once[owner])
        described = species_columns(environments.X, environments.species)
        choosable = ~curated & ~rejected & ~pile.mandatory & ~isolated
        pool = Pool(
            X=species_columns(embedded, environments.species) if o.distances_in == "meagraph" else described,
            first=environments.first,
            group=np.unique([r.group for r in pile.records], return_inverse=True)[1],
            cluster=cluster,
            # an isolated atom is kept for its energy: it stands for no other environment
            given=(curated | pile.mandatory) & ~isolated,
            eligible=choosable,
            # copies of curated frames ask as well, so that the same is asked for however much of it is there
            asking=choosable,
            detail=None if environments.detail is None else species_columns(environments.detail, environments.species),
            same=same,
            species=environments.species,
        )
        if curated.any():
            copies = near_copies(replace(pool, X=described))  # the embedding takes out what tells copies from kin
            pool = replace(pool, eligible=choosable & ~np.isin(copies, copies[curated]))
    return Survey(
        pile=pile,
        environments=environments,
        embedding=embedded,
        cluster=cluster,
        pool=pool,
        descriptor=maker,
        distances_in=o.distances_in,
        training=f"{counted(model.training_.epochs, 'epoch')}, held-out loss {model.training_.held_out_loss[0]:.3f} to "
        f"{model.training_.best:.3f} (noise alone: 1)",
        seconds={**pile.seconds, **clock.seconds},
    )


def _mandatory(collection: Collection) -> np.ndarray:
    """Return (F,) bool, input frames that are kept in any case.

    Not those that are rejected, were they isolated atoms; nor an isolated atom that the curated set has already.
    """
    atoms = [tuple(a.numbers) for a in collection.geometries]
    there = {z for z, r in zip(atoms, collection.records, strict=True) if r.curated and r.isolated}
    return np.array(
        [
            not r.curated and not r.rejected and (r.must_keep or (r.isolated and z not in there))
            for z, r in zip(atoms, collection.records, strict=True)
        ]
    )


def _same_geometry(collection: Collection) -> np.ndarray:
    """Return a number per frame, (F,), equal for frames of the same geometry.

    What is counted twice weighs twice, in the scaling, in MEAGraph and in the sizes of clusters: a set and what was
    kept of it would be seen with other eyes than the set alone: curated frames that are input frames over again are
    not learned from. Geometries are compared to 1e-5 Angstrom; labels are not: a curated frame may have got some since.
    """
    numbers: dict[tuple[bytes, ...], int] = {}
    return np.array([numbers.setdefault(_geometry(atoms), len(numbers)) for atoms in collection.geometries])


def _geometry(atoms: Atoms) -> tuple[bytes, ...]:
    numbers = (atoms.positions, atoms.cell.array)
    rounded = [(np.round(values, 5) + 0.0).tobytes() for values in numbers]  # + 0.0: no minus zero
    return (atoms.numbers.tobytes(), atoms.pbc.tobytes(), *rounded)


def _by_size(cluster: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Renumber clusters 0, 1, ... from the largest; specks of a few environments are no cluster (-1).

    Parameters
    ----------
    cluster, counted
        (N,) cluster, and (N,) bool, environments that count.
    """
    labels, inverse = np.unique(cluster, return_inverse=True)
    sizes = np.bincount(inverse[counted], minlength=len(labels))
    smallest = min(SPECK, max(2, int(counted.sum()) // 100))
    real = (labels >= 0) & (sizes >= smallest)
    rank = np.full(len(labels), -1)
    order = np.flatnonzero(real)[np.argsort(-sizes[real], kind="stable")]
    rank[order] = np.arange(len(order))
    return rank[inverse]
