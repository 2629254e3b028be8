"""One module per file format: how it is told, read and written, and nothing else knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlff_curate.data.formats.base import Format

FORMATS: tuple[Format, ...] = ()
"""In the order in which they are asked whether a file is theirs; extxyz and what ASE alone reads come after them."""
