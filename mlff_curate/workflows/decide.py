"""Which frames of a survey are kept, and on what grounds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mlff_curate.pruning.evidence import Evidence, gather_evidence
from mlff_curate.pruning.selectors import SELECTORS
from mlff_curate.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.pruning.budget import Budget
    from mlff_curate.pruning.problem import Selection
    from mlff_curate.workflows.collect import FrameRecord
    from mlff_curate.workflows.survey import Pile, Progress, Survey

FAR = 2.0
"""A frame farther than this from the kept ones, in the unit of :class:`Evidence`, is not represented by them. Two
environments drawn at random are 1.4 apart, so that all of a crystal represent each other."""
UNLIKE = "unlike every {} frame"


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
    survey
        What the frames are to each other.
    decisions
        One per input frame, in input order.
    selection
        What the selector returned.
    evidence
        Who stands for whom, and what each kept frame alone brings.
    notes
        Sentences for the user.
    seconds
        Stage to seconds.
    """

    survey: Survey
    decisions: tuple[Decision, ...]
    selection: Selection
    evidence: Evidence
    notes: tuple[str, ...]
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
        """(C,) environments of the inputs in each cluster of any, descending."""
        return self.survey.cluster_sizes

    @property
    def outliers(self) -> int:
        """Environments of the inputs that are in no cluster."""
        return self.survey.outliers


def is_automatic(budget: Budget) -> bool:
    """Tell whether the number of frames is left to the selector."""
    return budget.count is None and budget.fraction is None


def require_budget(budget: Budget, pile: Pile) -> None:
    """Refuse a budget before the work; copies of curated frames may lower what is available later.

    Raises
    ------
    BudgetError
        The message says what is possible.
    """
    available = int((~pile.flags("curated") & ~pile.flags("rejected")).sum())
    budget.frames(pile.new, int(pile.mandatory.sum()), available)


def select(survey: Survey, budget: Budget, selector: str, seed: int = 0, progress: Progress | None = None) -> Selection:
    """Choose frames.

    Parameters
    ----------
    budget
        How many, the mandatory frames among them.
    selector
        One of ``SELECTORS``.
    progress
        Told how far the choice is.

    Raises
    ------
    BudgetError
        Fewer than the mandatory frames or more than are available.
    UsageError
        A selector that cannot tell when it is enough is left to find out.
    """
    pile, pool = survey.pile, survey.pool
    mandatory = int(pile.mandatory.sum())
    count = budget.frames(pile.new, mandatory, int((pile.mandatory | pool.eligible).sum()))
    tell = None if progress is None else lambda done, total, words: progress("select", done, total, words)
    return SELECTORS[selector](None if count is None else count - mandatory, seed=seed).fit(pool, tell).selection_


def decide(
    survey: Survey, selection: Selection, budget: Budget, seed: int = 0, notes: Sequence[str] = ()
) -> PruneResult:
    """Say of every frame what becomes of it and why.

    Parameters
    ----------
    selection
        What :func:`select` returned.
    budget
        What was asked for, for the notes; with a count, ``auto`` has not stopped by itself.
    seed
        Draws the environments of large frames for the evidence.
    notes
        More to say.
    """
    pile, pool = survey.pile, survey.pool
    kept = pool.given.copy()
    kept[selection.chosen] = True
    asking = ~pile.flags("curated") & ~pile.flags("rejected") & ~pile.flags("isolated")
    evidence = gather_evidence(pool, kept, asking, np.random.default_rng([seed, 4]))
    decisions = _decisions(pile, selection, evidence)
    said = (*_notes(pile, budget, selection, decisions), *notes)
    return PruneResult(survey, decisions, selection, evidence, said, dict(survey.seconds))


def _decisions(pile: Pile, selection: Selection, evidence: Evidence) -> tuple[Decision, ...]:
    records, mandatory = pile.records, pile.mandatory
    place = {int(frame): k for k, frame in enumerate(selection.chosen)}
    stays = [r.curated or i in place or bool(mandatory[i]) for i, r in enumerate(records)]
    texts = {r.sha256: i for i, r in reversed(list(enumerate(records))) if stays[i]}
    numbers = [tuple(a.numbers) for a in pile.collection.geometries]
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
            reason = "represented by {} frames" if distance <= FAR else UNLIKE
            decisions.append(_stood_for(record, reason, by_whom, shares, distance, farthest))
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


def _notes(pile: Pile, budget: Budget, selection: Selection, decisions: Sequence[Decision]) -> tuple[str, ...]:
    collection = pile.collection
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
    elif is_automatic(budget) and kept and not everything:
        fill = int(selection.for_floor.sum())
        extra = f"; {fill} of them for clusters or groups that the rest does not represent" if fill else ""
        notes.append(
            f"--keep auto stopped at {counted(kept, 'frame')}: the next would have brought less coverage than the "
            f"average frame{extra}; errors of a force field may fall further, which --prove measures"
        )
    notes += _note_on_unlike(decisions)
    if collection.group_key is not None:
        without = sum(r.group == "none" for r in collection.records if not r.curated)
        if without and len({r.group for r in collection.records}) > 1:
            notes.append(f"{counted(without, 'frame')} without {collection.group_key}: group 'none'")
    return tuple(notes)


def _note_on_unlike(decisions: Sequence[Decision]) -> list[str]:
    unlike = sum(d.decision == "dropped" and (d.distance or 0.0) > FAR for d in decisions)
    if not unlike:
        return []
    frames = counted(unlike, "dropped frame")
    return [f"{frames} unlike all that is kept (distance above {FAR:g} in the manifest): a larger --keep may take them"]
