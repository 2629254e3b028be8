"""One self-contained HTML page: which frames were kept, which went, and why."""

from mlff_curate.report.model import GroupCounts, ProofRow, PruneReport, ReasonCount
from mlff_curate.report.page import render

__all__ = ["GroupCounts", "ProofRow", "PruneReport", "ReasonCount", "render"]
