"""What the report of `prune` says, as plain values; `page.py` gives them their looks.

Sizes in the docstrings: P environments on the map, C clusters, K points of the coverage curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlff_curate.report.run import RunReport

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from mlff_curate.validation.learning_curve import LearningCurve


@dataclass(frozen=True)
class GroupCounts:
    """Frames of one configuration group.

    Attributes
    ----------
    group
        Name of the group, as it stands in the user's files.
    frames
        Frames of the group: `kept + dropped + rejected`.
    kept, dropped, rejected
        Frames by decision.
    environments
        Environments of all frames of the group.
    """

    group: str
    frames: int
    kept: int
    dropped: int
    rejected: int
    environments: int


@dataclass(frozen=True)
class ReasonCount:
    """Frames that share one decision and one reason, as in the manifest.

    Attributes
    ----------
    decision
        `kept`, `dropped` or `rejected`.
    reason
        Why, in words, e.g. "represented by kept frames".
    frames
        How many frames.
    """

    decision: str
    reason: str
    frames: int


# eq=False: the generated comparison would ask arrays for one truth value.
@dataclass(frozen=True, eq=False)
class PruneReport(RunReport):
    """Everything that the page shows, besides what all pages say.

    Attributes
    ----------
    notes
        Plain sentences for the user.
    labels
        Label key -> number of frames that carry it; empty: no labels.
    groups
        One entry per configuration group; together all frames of the inputs.
    reasons
        One entry per decision and reason.
    map_xy
        Two principal axes of the embedding for a sample of environments, (P, 2).
    map_kept
        The environment's frame was kept, (P,) bool.
    map_cluster
        Cluster of the environment, (P,) int; -1: none.
    map_group
        Configuration group of the environment, (P,) str.
    map_label
        What the environment is called, (P,) str, e.g. "md.xyz #12, atom 3 (Ta)".
    map_axes
        Titles of the two axes.
    environments
        N, environments in all; the map may show fewer.
    cluster_sizes
        Environments per cluster, descending, (C,) int.
    cluster_kept
        How many of these lie in kept frames, (C,) int.
    outliers
        Environments that are outliers.
    outliers_kept
        How many of these lie in kept frames.
    distances_in
        Where distances were measured: `descriptor` or `meagraph`.
    uncovered
        Mean square distance of environments to the nearest kept one, over that to their mean; None: not measured.
    farthest
        Largest distance of an environment of a dropped frame to the nearest kept one, over the root-mean-square
        distance of environments from their mean; None: no frame was dropped.
    curve_frames
        Numbers of kept frames, ascending, (K,) int.
    curve_coverage
        Coverage at these numbers, in [0, 1], (K,): the share of what all frames would tell about energies and forces.
    chosen
        Frames that were kept.
    floor
        Frames needed to represent every cluster and group.
    proof
        Held-out errors against the share kept; None: no `--prove`.

    Raises
    ------
    ValueError
        Arrays that belong together differ in length, or a group's decisions do not add up to its frames.
    """

    notes: tuple[str, ...]
    labels: Mapping[str, int]
    groups: tuple[GroupCounts, ...]
    reasons: tuple[ReasonCount, ...]
    map_xy: np.ndarray
    map_kept: np.ndarray
    map_cluster: np.ndarray
    map_group: np.ndarray
    map_label: np.ndarray
    map_axes: tuple[str, str]
    environments: int
    cluster_sizes: np.ndarray
    cluster_kept: np.ndarray
    outliers: int
    outliers_kept: int
    distances_in: str
    uncovered: float | None
    farthest: float | None
    curve_frames: np.ndarray
    curve_coverage: np.ndarray
    chosen: int
    floor: int
    proof: LearningCurve | None = None

    def __post_init__(self) -> None:
        """Refuse what would make the page say something false."""
        P = len(self.map_xy)
        if self.map_xy.shape != (P, 2):
            raise ValueError(f"map_xy must have shape (P, 2), got {self.map_xy.shape}")
        for name in ("map_kept", "map_cluster", "map_group", "map_label"):
            self._require_length(name, P, "map_xy")
        self._require_length("cluster_kept", len(self.cluster_sizes), "cluster_sizes")
        self._require_length("curve_coverage", len(self.curve_frames), "curve_frames")
        for g in self.groups:
            if g.kept + g.dropped + g.rejected != g.frames:
                raise ValueError(
                    f"group {g.group!r}: {g.kept} kept, {g.dropped} dropped and {g.rejected} rejected "
                    f"do not add up to {g.frames} frames"
                )

    def _require_length(self, name: str, length: int, like: str) -> None:
        shape = getattr(self, name).shape
        if shape != (length,):
            raise ValueError(f"{name} must have shape ({length},) like {like}, got {shape}")
