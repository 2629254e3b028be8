"""CIF files, and folders of them, as ASE reads them."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from mlff_curate.data.formats.ase_formats import read_with_ase
from mlff_curate.data.formats.base import Content, Format
from mlff_curate.data.frames import Remark
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlff_curate.data.formats.base import ReadOptions

WARNED = "reader-warned"
"""Rule of the remark that tells what ASE warned of."""
_BLOCK = re.compile(rb"(\s|#.*\n)*data_\S*\s")
_CELL = b"_cell_length_a"


def _is_cif(path: Path, head: bytes) -> bool:
    return (_BLOCK.match(head) is not None and _CELL in head) or path.name.lower().removesuffix(".gz").endswith(".cif")


def _read(path: Path, options: ReadOptions) -> Iterator[Content]:  # noqa: ARG001
    with warnings.catch_warnings(record=True) as caught:  # of spglib's tables and the like: they would flood the screen
        warnings.simplefilter("always")
        frames = list(read_with_ase(path, "cif"))
    remarks = tuple(
        Remark(WARNED, "note", None, f"ASE warned while it read {path.name}: {words}", "")
        for words in dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught)
    )
    for index, atoms in enumerate(frames):
        if not atoms.cell.any():
            raise DataError(
                "the file has no cell, and fractional coordinates are no positions without one",
                file=str(path),
                frame=index,
                key="cell",
            )
        yield Content(atoms, remarks=remarks)
        remarks = ()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.cif") if path.is_file())


def _is_folder(path: Path, head: bytes) -> bool:
    return not head and bool(_files(path))


def _read_folder(folder: Path, options: ReadOptions) -> Iterator[Content]:
    for path in _files(folder):
        for content in _read(path, options):
            content.atoms.info.setdefault("source", path.stem)
            yield Content(content.atoms, {"source": "name of the file"}, content.remarks)


CIF = Format(name="cif", title="CIF", suffix=".cif", recognises=_is_cif, read=_read)
CIF_FOLDER = Format(
    name="cif-folder", title="CIF files", suffix="", recognises=_is_folder, read=_read_folder, files=_files
)
