"""Prune piles of atomistic frames to the smallest set that trains the same force field."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlff_curate.cgcnn.property_model import CGCNN
    from mlff_curate.data.reading import read_frames
    from mlff_curate.meagraph.model import MEAGraph
    from mlff_curate.workflows.prune import prune

__version__ = "0.1.0"
__all__ = ["CGCNN", "MEAGraph", "__version__", "prune", "read_frames"]

_HOME = {
    "CGCNN": "mlff_curate.cgcnn.property_model",
    "MEAGraph": "mlff_curate.meagraph.model",
    "prune": "mlff_curate.workflows.prune",
    "read_frames": "mlff_curate.data.reading",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: `mlff-curate --help` must not wait for torch."""
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(_HOME[name]), name)
