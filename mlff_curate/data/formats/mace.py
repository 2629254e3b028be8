"""Extended XYZ as MACE trains on it.

MACE's names are ``REF_energy``, ``REF_forces``, ``REF_stress``; energies, forces and stresses are in eV and Angstrom,
a stress is positive under tension, as ASE has it. ``REF_virials`` are not written: MACE would weigh them beside the
stress. A frame of one atom with ``config_type=IsolatedAtom`` gives MACE the energy of the free atom: 0 eV if the frame
has none, so that such a frame is not called so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_curate.data.formats.base import Format
from mlff_curate.data.formats.extxyz import ExtxyzWriter
from mlff_curate.data.renaming import chosen_names

if TYPE_CHECKING:
    from pathlib import Path

    from mlff_curate.data.formats.base import NormalFrame, WriteOptions

_ISOLATED = "IsolatedAtom"
_GROUP = "config_type"
NAMES = {"energy": "REF_energy", "forces": "REF_forces", "stress": "REF_stress"}


class _MaceWriter:
    def __init__(self, path: Path, options: WriteOptions) -> None:
        self._writer = ExtxyzWriter(path, chosen_names(options, NAMES))

    def add(self, frame: NormalFrame) -> tuple[str, ...]:
        given = frame.frame.atoms.info.get(_GROUP)
        marks: dict[str, str | None] = {}
        if frame.isolated and frame.labels.energy is not None:
            if given != _ISOLATED:
                marks[_GROUP] = _ISOLATED
        elif given == _ISOLATED:
            # an isolated atom without an energy would be one of 0 eV, and other frames are none
            marks[_GROUP] = None
        elif given is None and frame.group is not None:
            marks[_GROUP] = frame.group
        return self._writer.add(frame, marks)

    def close(self) -> None:
        self._writer.close()


MACE = Format(
    name="mace",
    title="extended XYZ for MACE",
    suffix=".extxyz",
    recognises=lambda _path, _head: False,  # it is read as extended XYZ
    write=_MaceWriter,
    label_names=NAMES,
    names_open=True,
    gzips=True,
)
