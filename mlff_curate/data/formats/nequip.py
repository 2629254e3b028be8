"""Extended XYZ as NequIP's ``ASEDataModule`` takes it without a ``key_mapping``.

ASE reads ``energy``, ``forces`` and ``stress`` as results of a calculator, and NequIP takes these; its stress is in eV
and Angstrom, positive under tension, as ASE has it. With names chosen by the user it wants them in ``include_keys``,
and a ``key_mapping`` to ``total_energy``, ``forces`` and ``stress``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_curate.data.formats.base import Format
from mlff_curate.data.formats.extxyz import ExtxyzWriter
from mlff_curate.data.renaming import chosen_names

if TYPE_CHECKING:
    from pathlib import Path

    from mlff_curate.data.formats.base import WriteOptions

NAMES = {"energy": "energy", "forces": "forces", "stress": "stress"}


def _write(path: Path, options: WriteOptions) -> ExtxyzWriter:
    return ExtxyzWriter(path, chosen_names(options, NAMES))


NEQUIP = Format(
    name="nequip",
    title="extended XYZ for NequIP",
    suffix=".extxyz",
    recognises=lambda _path, _head: False,  # it is read as extended XYZ
    write=_write,
    label_names=NAMES,
    names_open=True,
    gzips=True,
)
