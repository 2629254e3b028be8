"""One self-contained HTML page: which frames were kept, which went, and why."""

from mlff_curate.report.model import GroupCounts, PruneReport, ReasonCount
from mlff_curate.report.page import render

__all__ = ["GroupCounts", "PruneReport", "ReasonCount", "render"]
