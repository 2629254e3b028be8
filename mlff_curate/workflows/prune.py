"""``prune``: a pile of frames to the few that are worth keeping."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.descriptors.registry import DESCRIPTORS, detailed_descriptor, make_descriptor
from mlff_curate.devices import require_device
from mlff_curate.errors import UsageError
from mlff_curate.meagraph.model import MEAGraph
from mlff_curate.parallel import require_workers
from mlff_curate.pruning.budget import Budget
from mlff_curate.pruning.copies import near_copies
from mlff_curate.pruning.evidence import Evidence, gather_evidence
from mlff_curate.pruning.problem import Pool, Selection, species_columns
from mlff_curate.pruning.selectors import SELECTORS
from mlff_curate.wording import counted
from mlff_curate.workflows.collect import Collection, FrameRecord, collect
from mlff_curate.workflows.describe import Environments, describe, learnable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ase import Atoms

    Progress = Callable[[str, int, int | None, str], None]

EMBEDDINGS = ("meagraph", "descriptor")
SHORT: dict[str, Any] = {"epochs": 2, "neighbours": 20, "gross": None, "anchors": 1024}
"""MEAGraph inside prune is trained for a few seconds, since more does not show in what is kept; and noise is all that
neighbours differ by, since distances that set the odd apart make the choice chase them (docs/benchmarks.md, Fe)."""
SPECK = 10
"""Fewer environments than this, or than 1 % of a small set, count as outliers: a melt leaves many such specks, and a
frame for each would use up the budget (docs/benchmarks.md)."""


@dataclass(frozen=True)
class Decision:
    """What became of one input frame.

    Attributes
    ----------
    record
        The frame.
    decision
        ``kept``, ``dropped`` or ``rejected``.
    reason
        Why, in a few words that many frames share.
    detail
        The figures behind the reason.
    represented_by
        Of a dropped frame: ``source#index`` of the kept frames nearest to most of its environments, separated by ``;``,
        that of most first.
    shares
        The share of its environments that each of these is nearest to.
    distance, farthest
        Of a dropped frame: mean and largest distance of its environments to the nearest kept one, in the unit of
        :class:`Evidence`.
    gain
        Of a kept frame: the share of the coverage that it brought when it was chosen; None where none was measured.
    brings
        Of a kept frame: by how much the uncovered share of :class:`Evidence` would rise without it alone.
    stands_for
        Of a kept frame: environments of dropped frames that it is nearest to.
    only
        Of a kept frame: clusters and groups that no other kept frame represents, separated by ``;``.
    """

    record: FrameRecord
    decision: str
    reason: str
    detail: str = ""
    represented_by: str = ""
    shares: tuple[float, ...] = ()
    distance: float | None = None
    farthest: float | None = None
    gain: float | None = None
    brings: float | None = None
    stands_for: int | None = None
    only: str = ""


@dataclass(frozen=True)
class PruneResult:
    """What ``prune`` decided, and on what grounds.

    Attributes
    ----------
    decisions
        One per input frame, in input order.
    environments
        Descriptors of all frames, the curated ones last.
    embedding
        (N, C) MEAGraph embedding.
    cluster
        (N,) cluster of each environment, 0, 1, ... by size; -1: none.
    pool, selection
        What the selector was given and returned.
    evidence
        Who stands for whom, and what each kept frame alone brings.
    notes
        Sentences for the user.
    descriptor, cutoff
        Name and radius (Angstrom) of the descriptor used.
    distances_in
        Where distances were measured: ``descriptor`` or ``meagraph``.
    group_key
        Info key that made the groups, or None.
    training
        How the autoencoder's training went, in words.
    seconds
        Stage to seconds.
    """

    decisions: tuple[Decision, ...]
    environments: Environments
    embedding: np.ndarray
    cluster: np.ndarray
    pool: Pool
    selection: Selection
    evidence: Evidence
    notes: tuple[str, ...]
    descriptor: str
    cutoff: float
    distances_in: str
    group_key: str | None
    training: str
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def kept(self) -> list[FrameRecord]:
        """The kept input frames, in input order."""
        return [d.record for d in self.decisions if d.decision == "kept"]

    def count(self, decision: str) -> int:
        """Return the number of input frames with this decision."""
        return sum(d.decision == decision for d in self.decisions)

    @property
    def coverage(self) -> float | None:
        """The share of what all frames would tell that the kept ones tell; None where the selector has no measure."""
        last = float(self.selection.coverage[-1])
        return None if np.isnan(last) else last

    @property
    def uncovered(self) -> float | None:
        """The uncovered share of :class:`Evidence`; None where nothing is to be represented, or nothing is kept."""
        return None if np.isnan(self.evidence.uncovered) else self.evidence.uncovered

    @property
    def cluster_sizes(self) -> np.ndarray:
        """(C,) environments of each cluster of two or more, descending."""
        sizes = np.bincount(self._new_cluster[self._new_cluster >= 0])
        return np.sort(sizes[sizes > 0])[::-1]

    @property
    def outliers(self) -> int:
        """Environments that are in no cluster."""
        return int((self._new_cluster < 0).sum())

    @property
    def _new_cluster(self) -> np.ndarray:
        """Cluster of each environment of the inputs; those of the curated frames come after them."""
        return self.cluster[: self.environments.first[len(self.decisions)]]


@dataclass(frozen=True)
class PruneOptions:
    """What may be asked of ``prune``; the defaults are the command line's.

    Attributes
    ----------
    keep
        An int is a count, a float a fraction of all input frames, as on the command line; ``"auto"`` finds the knee of
        the coverage and represents every cluster.
    against
        Curated files: what they hold counts as kept already, and ``keep`` counts new frames.
    group_by
        Info key of the configuration groups, ``"none"`` for one group; by default ``config_type`` where there is one.
    must_keep, exclude
        Info keys, ``KEY=VALUE``, or files with frame indices.
    type_map
        Elements of the types 1, 2, ... of files that know types only.
    label_keys
        ``energy``, ``forces``, ``stress`` to the key that holds it, or None for the usual names.
    selector
        One of ``SELECTORS``.
    embedding
        Where environments are compared: ``"descriptor"``, the scaled one, or ``"meagraph"``, MEAGraph's embedding;
        None: in the descriptor. Clusters are MEAGraph's in either case.
    descriptor
        One of ``DESCRIPTORS``.
    meagraph
        Parameters of :class:`MEAGraph` in place of those of ``prune``.
    seed
        Of every random choice.
    device
        Torch device of the autoencoder.
    workers, dask
        See :func:`mlff_curate.parallel.map_ordered`; the result does not depend on them.
    """

    keep: str | float = "auto"
    against: Sequence[str | Path] = ()
    group_by: str | None = None
    must_keep: Sequence[str] = ()
    exclude: Sequence[str] = ()
    type_map: Sequence[str] = ()
    label_keys: Mapping[str, str | None] = field(default_factory=dict)
    selector: str = "coverage"
    embedding: str | None = None
    descriptor: str = "power-spectrum"
    meagraph: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"
    workers: int = 1
    dask: str | None = None


def prune(
    inputs: str | Path | Iterable[str | Path],
    options: PruneOptions | None = None,
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> PruneResult:
    """Decide which frames to keep; nothing is written (see :func:`mlff_curate.workflows.prune_files.prune_files`).

    Parameters
    ----------
    inputs
        File or files, extxyz or anything that ASE reads.
    options
        See :class:`PruneOptions`; single options can be given by name as well, ``prune("md.extxyz", keep=0.2)``.
    progress
        Called with stage, steps done, steps in all (None: unknown) and a word on the state.

    Raises
    ------
    CurateError
        Data that cannot be read or make no sense, a budget that cannot be met, or an option out of range.
    """
    o = replace(options or PruneOptions(), **changes)
    budget = require_options(o)
    tell = progress or (lambda *_: None)
    clock = _Stages()

    with clock("read"):
        paths = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
        collection = collect(
            paths,
            against=o.against,
            group_by=o.group_by,
            must_keep=o.must_keep,
            exclude=o.exclude,
            type_map=o.type_map,
            label_keys=o.label_keys,
            progress=lambda n: tell("read", n, None, "frames"),
        )
        records = collection.records
        group_names, group = np.unique([r.group for r in records], return_inverse=True)
        curated = np.array([r.curated for r in records])
        rejected = np.array([r.rejected for r in records])
        mandatory = _mandatory(collection)
        isolated = np.array([r.isolated for r in records])
        # refused here, before the work, unless copies of curated frames lower what is available further down
        count = budget.frames(collection.new, int(mandatory.sum()), int((~curated & ~rejected).sum()))
    with clock("describe"):
        species = sorted({int(z) for atoms in collection.geometries for z in np.unique(atoms.numbers)})
        maker = make_descriptor(o.descriptor, species)
        same = _same_geometry(collection)
        once = ~curated | ~np.isin(same, same[~curated])  # see _same_geometry
        environments = describe(
            collection.geometries,
            maker,
            detail=detailed_descriptor(species),
            scale_by=np.flatnonzero(once),
            seed=o.seed,
            workers=o.workers,
            dask=o.dask,
            progress=lambda done, total: tell("describe", done, total, "environments"),
        )
    with clock("embed"):
        owner = np.repeat(np.arange(len(records)), np.diff(environments.first))
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
    with clock("select"):
        described = species_columns(environments.X, environments.species)
        pool = Pool(
            X=species_columns(embedded, environments.species) if distances_in(o) == "meagraph" else described,
            first=environments.first,
            group=group,
            cluster=cluster,
            # an isolated atom is kept for its energy: it stands for no other environment
            given=(curated | mandatory) & ~isolated,
            eligible=~curated & ~rejected & ~mandatory & ~isolated,
            # copies of curated frames ask as well, so that the same is asked for however much of it is there
            asking=~curated & ~rejected & ~mandatory & ~isolated,
            detail=None if environments.detail is None else species_columns(environments.detail, environments.species),
            same=same,
        )
        if curated.any():
            copies = near_copies(replace(pool, X=described))  # the embedding takes out what tells copies from kin
            pool = replace(pool, eligible=pool.eligible & ~np.isin(copies, copies[curated]))
            count = budget.frames(collection.new, int(mandatory.sum()), int((mandatory | pool.eligible).sum()))
        selector = SELECTORS[o.selector](None if count is None else count - int(mandatory.sum()), seed=o.seed)
        selection = selector.fit(pool, lambda done, total, words: tell("select", done, total, words)).selection_
        kept = pool.given.copy()
        kept[selection.chosen] = True
        evidence = gather_evidence(pool, kept, ~curated & ~rejected & ~isolated, np.random.default_rng([o.seed, 4]))
        decisions = _decide(collection, mandatory, selection, evidence)
    notes = _notes(collection, budget, selection, decisions, len(group_names))
    return PruneResult(
        decisions=decisions,
        environments=environments,
        embedding=embedded,
        cluster=cluster,
        pool=pool,
        selection=selection,
        evidence=evidence,
        notes=notes,
        descriptor=maker.name,
        cutoff=maker.cutoff,
        distances_in=distances_in(o),
        group_key=collection.group_key,
        training=f"{counted(model.training_.epochs, 'epoch')}, held-out loss {model.training_.held_out_loss[0]:.3f} to "
        f"{model.training_.best:.3f} (noise alone: 1)",
        seconds=clock.seconds,
    )


def _keep_text(keep: str | float) -> str:
    """Return a budget as it would be typed: a float keeps its point, and has no exponent."""
    return np.format_float_positional(keep, trim="0") if isinstance(keep, float) else str(keep)


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


def distances_in(o: PruneOptions) -> str:
    """Return where distances are measured: ``meagraph`` or ``descriptor``, or what the user gave."""
    return o.embedding or "descriptor"


def require_options(o: PruneOptions) -> Budget:
    """Check what can be checked before any file is read, and return the budget.

    Raises
    ------
    UsageError
        An option has a value that no data could make right.
    """
    budget = Budget.parse(_keep_text(o.keep))
    _require(o.selector, SELECTORS, "--selector")
    _require(distances_in(o), EMBEDDINGS, "--embedding")
    _require(o.descriptor, DESCRIPTORS, "--descriptor")
    require_workers(o.workers)
    require_device(o.device)
    if o.selector != "coverage" and budget.count is None and budget.fraction is None:
        raise UsageError(f"auto needs --selector coverage: {o.selector} cannot tell when it is enough", key="--keep")
    return budget


class _Stages:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str) -> _Stages:
        self.name = name
        return self

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] = time.perf_counter() - self.start


def _require(value: str, known: Iterable[str], option: str) -> None:
    if value not in known:
        raise UsageError(f"{value!r} is unknown; available: {', '.join(known)}", key=option)


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


def _decide(
    collection: Collection, mandatory: np.ndarray, selection: Selection, evidence: Evidence
) -> tuple[Decision, ...]:
    records = collection.records
    place = {int(frame): k for k, frame in enumerate(selection.chosen)}
    stays = [r.curated or i in place or bool(mandatory[i]) for i, r in enumerate(records)]
    texts = {r.sha256: i for i, r in reversed(list(enumerate(records))) if stays[i]}
    numbers = [tuple(a.numbers) for a in collection.geometries]
    atoms = {numbers[i]: r for i, r in enumerate(records) if r.curated and r.isolated}
    everything = all(stays[i] or r.rejected for i, r in enumerate(records))
    decisions = []
    for i, record in enumerate(records):
        if record.curated:
            continue
        if record.excluded:
            decisions.append(Decision(record, "rejected", "excluded by the user"))
        elif record.faults:
            detail = "; ".join(f"{fault.key}: {fault.fault}" for fault in record.faults)
            decisions.append(Decision(record, "rejected", "a label cannot be used", detail))
        elif mandatory[i]:
            reason = "isolated atom" if record.isolated else "named by --must-keep"
            decisions.append(_with_worth(Decision(record, "kept", reason), i, records, evidence))
        elif i in place:
            decision = _kept(record, selection, place[i], everything=everything)
            decisions.append(_with_worth(decision, i, records, evidence))
        elif record.sha256 in texts:
            decisions.append(_stood_for(record, "exact copy of a {} frame", [records[texts[record.sha256]]]))
        elif record.isolated:
            decisions.append(_stood_for(record, "isolated atom that is there already", [atoms[numbers[i]]]))
        elif evidence.representatives[i, 0] < 0:
            decisions.append(Decision(record, "dropped", "nothing is kept"))
        else:
            by_whom = [records[f] for f in evidence.representatives[i] if f >= 0]
            shares = tuple(float(share) for share in evidence.share[i, : len(by_whom)])
            distance, farthest = float(evidence.distance[i]), float(evidence.farthest[i])
            decisions.append(_stood_for(record, "represented by {} frames", by_whom, shares, distance, farthest))
    return tuple(decisions)


def _stood_for(
    record: FrameRecord,
    reason: str,
    by: Sequence[FrameRecord],
    shares: tuple[float, ...] = (1.0,),
    distance: float = 0.0,
    farthest: float = 0.0,
) -> Decision:
    """Return the decision to drop a frame that others stand for; {} in the reason is what these are."""
    return Decision(
        record,
        "dropped",
        reason.format("curated" if by[0].curated else "kept"),
        f"distance {distance:.4g}" if distance > 0 else "",
        ";".join(f"{r.source}#{r.index}" for r in by),
        shares,
        distance,
        farthest,
    )


def _with_worth(decision: Decision, i: int, records: Sequence[FrameRecord], evidence: Evidence) -> Decision:
    """Return the decision to keep the ``i``-th frame with what it alone brings; an isolated atom stands for nothing."""
    if np.isnan(evidence.brings[i]):
        return decision
    only = [f"cluster {c}" for c in evidence.clusters_alone.get(i, ())]
    only += [f"group {records[i].group}"] if evidence.group_alone[i] else []
    return replace(
        decision,
        brings=float(evidence.brings[i]),
        stands_for=round(float(evidence.stands_for[i])),
        only=";".join(only),
    )


def _kept(record: FrameRecord, selection: Selection, k: int, *, everything: bool) -> Decision:
    gain = float(selection.gain[k])
    measured = not np.isnan(selection.coverage).any()
    detail = f"choice {k + 1}" + (f", {100 * gain:.4g} % of the coverage" if gain > 0 else "")
    reason = "adds to the coverage" if gain > 0 or (k == 0 and measured) else "chosen"
    if len(selection.for_floor) > k and selection.for_floor[k]:
        reason = "represents a cluster or group"
    elif everything:
        reason = "all frames are kept"
    return Decision(record, "kept", reason, detail, gain=gain if measured else None)


def _notes(
    collection: Collection,
    budget: Budget,
    selection: Selection,
    decisions: Sequence[Decision],
    groups: int,
) -> tuple[str, ...]:
    notes = [*collection.notes]
    isolated = sum(d.reason == "isolated atom" for d in decisions)
    kept = sum(d.decision == "kept" for d in decisions)
    if isolated:
        notes.append(f"{counted(isolated, 'isolated atom')} always kept: they fix the zero of energy")
    rejected = sum(d.decision == "rejected" for d in decisions)
    unusable = sum(d.reason == "a label cannot be used" for d in decisions)
    if unusable:
        notes.append(
            f"{counted(unusable, 'frame')} rejected: a label is not finite, no number or of a wrong shape "
            f"(each is named in the manifest)"
        )
    everything = kept + rejected == len(decisions)
    if everything and kept:
        but = f" but the {rejected} rejected" if rejected else ""
        notes.append(f"--keep {budget.text}: all frames are kept{but} ({kept})")
    curated = len(collection.records) - collection.new
    if curated:
        notes.append(f"{counted(curated, 'curated frame')} counted as kept already and not written again")
        if kept == 0:
            notes.append("nothing new: the curated frames cover the inputs, OUT holds no frame")
    if selection.unrepresented:
        notes.append(
            f"the budget is too small: {selection.unrepresented} of the clusters and groups are not represented; "
            f"that takes {counted(selection.floor, 'frame')}, {len(selection.chosen)} could be chosen"
        )
    elif budget.text == "auto" and kept and not everything:
        fill = int(selection.for_floor.sum())
        extra = f"; {fill} of them represent clusters or groups that the rest did not" if fill else ""
        notes.append(
            f"--keep auto stopped at {counted(kept, 'frame')}: the next would have brought less coverage than the "
            f"average frame{extra}"
        )
    if collection.group_key is not None:
        without = sum(r.group == "none" for r in collection.records if not r.curated)
        if without and groups > 1:
            notes.append(f"{counted(without, 'frame')} without {collection.group_key}: group 'none'")
    return tuple(notes)
