"""Selectors by name: which frames to keep."""

from mlff_curate.pruning.selectors.base import Selector
from mlff_curate.pruning.selectors.draws import ClusterQuotaSelector, RandomSelector, StratifiedSelector
from mlff_curate.pruning.selectors.farthest import FarthestSelector
from mlff_curate.pruning.selectors.ours import CoverageSelector
from mlff_curate.pruning.selectors.quests import QuestsSelector

__all__ = ["SELECTORS", "Selector"]

SELECTORS: dict[str, type[Selector]] = {
    selector.name: selector
    for selector in (
        CoverageSelector,
        RandomSelector,
        StratifiedSelector,
        FarthestSelector,
        ClusterQuotaSelector,
        QuestsSelector,
    )
}
