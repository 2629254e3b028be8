"""``vasprun.xml``, read as a stream: one ionic step at a time, densities of states and bands never held."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast
from xml.etree import ElementTree as ET  # expat fetches nothing and limits what entities expand to

import numpy as np

from mlff_curate.data.formats.base import Format
from mlff_curate.data.formats.vasp import Electrons, IonicStep, element, numbers, truncation_told
from mlff_curate.data.frames import Remark
from mlff_curate.data.opening import open_binary
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from mlff_curate.data.formats.base import Content, ReadOptions

_CHUNK = 2**16
_KEPT = frozenset({"structure", "varray", "energy", "scstep"})
"""Of an ionic step; the rest (dos, eigenvalues, projected ...) may be gigabytes."""
_NAMES = {"e_0_energy": "energy", "e_fr_energy": "free_energy", "e_wo_entrp": "energy_without_entropy"}
_NO_SCF = Remark(
    "scf-missing",
    "warning",
    "energy",
    "the ionic step has no electronic steps: its labels may be those of a machine-learned force field, not of DFT",
    "leave the frame out where labels are to be of DFT",
)


def _recognises(path: Path, head: bytes) -> bool:
    there = head.lstrip().startswith(b"<?xml") and b"<modeling" in head
    return there or path.name.lower().startswith("vasprun")  # one that was cut in its first lines


def _read(path: Path, options: ReadOptions) -> Iterator[Content]:  # noqa: ARG001 - it tells everything itself
    with open_binary(path) as stream:
        yield from truncation_told(_Run(str(path)).contents(stream))


VASPRUN = Format("vasprun", "vasprun.xml", ".xml", _recognises, _read)


@dataclass
class _Run:
    """What is known so far of a run."""

    file: str
    index: int = 0
    symbols: list[str] = field(default_factory=list)
    most: int | None = None
    wanted: float | None = None
    pressure: float = 0.0
    energies: list[dict[str, float]] = field(default_factory=list)  # of the last two electronic steps
    steps: int = 0

    def error(self, message: str, key: str | None = None) -> DataError:
        return DataError(message, file=self.file, frame=self.index, key=key)

    def contents(self, stream: BinaryIO) -> Iterator[Content | None]:
        """Yield a frame for each ionic step, and None if the file is cut after the last of them."""
        parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("start", "end"))
        above: list[ET.Element] = []
        ended = False
        while chunk := stream.read(_CHUNK):
            try:
                parser.feed(chunk)
                for event, item in cast("Iterator[tuple[str, ET.Element]]", parser.read_events()):
                    if event == "start":
                        above.append(item)
                        continue
                    above.pop()
                    ended = not above
                    if len(above) == 1 and item.tag == "calculation":
                        yield self.step(item).content()
                        self.index += 1
                        self.steps, self.energies = 0, []
                    self.settle(item, above)
            except ET.ParseError as error:
                after = "a second document begins: " if ended else ""
                raise self.error(f"{after}the XML is damaged ({error})") from None
        if ended:
            return
        if len(above) > 1 and above[1].tag == "calculation":
            raise self.error("the file ends inside this ionic step: truncated")
        if self.index == 0:
            raise DataError("the file ends before the first ionic step: truncated", file=self.file)
        yield None

    def settle(self, item: ET.Element, above: list[ET.Element]) -> None:
        """Take what is needed of an element that is complete, and let go of it where nothing else needs it."""
        if len(above) == 1:
            if item.tag == "atominfo":
                self.symbols = [
                    element(row.findtext("c") or "", self.file) for row in item.iterfind("array[@name='atoms']/set/rc")
                ]
            elif item.tag in ("incar", "parameters"):
                self.take_parameters(item)
            above[0].remove(item)
        elif len(above) > 1 and above[1].tag == "calculation":
            inside = item.tag if len(above) == 2 else above[2].tag
            if item.tag == "scstep":
                self.steps += 1
                self.energies = [*self.energies[-1:], self.energies_of(item)]
            if item.tag == "scstep" or inside not in _KEPT:
                above[-1].remove(item)

    def take_parameters(self, item: ET.Element) -> None:
        # NELM stands twice among the parameters: of the electrons, and of response functions, where it is 1
        for place in [item, *item.iterfind(".//separator[@name='electronic convergence']")]:
            if (most := place.findtext("i[@name='NELM']")) is not None:
                self.most = int(self.number(most, "NELM"))
        for name in ("EDIFF", "PSTRESS"):
            if (text := item.findtext(f".//i[@name='{name}']")) is not None:
                value = self.number(text, name)
                self.wanted, self.pressure = (value, self.pressure) if name == "EDIFF" else (self.wanted, value)

    def number(self, text: str | None, what: str) -> float:
        return numbers(text or "", 1, what, self.file, self.index)[0]

    def energies_of(self, item: ET.Element) -> dict[str, float]:
        found = {name: item.findtext(f"energy/i[@name='{name}']") for name in _NAMES}
        return {_NAMES[name]: self.number(text, name) for name, text in found.items() if text is not None}

    def rows(self, item: ET.Element, path: str, count: int) -> np.ndarray | None:
        """Return an array (count, 3), None: it is not there."""
        place = item.find(path)
        if place is None:
            return None
        rows = [numbers(row.text or "", 3, path, self.file, self.index) for row in place.iterfind("v")]
        if len(rows) != count:
            raise self.error(f"{path} has {len(rows)} rows instead of {count}")
        return np.array(rows)

    def step(self, item: ET.Element) -> IonicStep:
        n = len(self.symbols)
        cell = self.rows(item, "structure/crystal/varray[@name='basis']", 3)
        scaled = self.rows(item, "structure/varray[@name='positions']", n)
        if cell is None or scaled is None:
            raise self.error("the ionic step has no structure")
        stress = self.rows(item, "varray[@name='stress']", 3)
        energies, origins = self.total(self.energies_of(item), abs(float(np.linalg.det(cell))))
        changes = [step["free_energy"] for step in self.energies if "free_energy" in step]
        origins["stress"] = "varray stress, kbar, sign turned"
        return IonicStep(
            self.symbols,
            cell,
            scaled @ cell,
            energies,
            self.rows(item, "varray[@name='forces']", n),
            None if stress is None else stress[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)],
            Electrons(self.steps, self.most, changes[1] - changes[0] if len(changes) == 2 else None, self.wanted),
            origins,
            remarks=() if self.steps else (_NO_SCF,),
        )

    def total(self, last: dict[str, float], volume: float) -> tuple[dict[str, float], dict[str, str]]:
        """Return the energies of an ionic step of a cell of some volume (Angstrom^3), and where they stand.

        VASP writes them twice: with the last electronic step, but without dispersion corrections; and for the ionic
        step, where e_fr_energy is an enthalpy if PSTRESS is set, and others are wrong in some versions. So, like ASE,
        the differences are taken from the former and the free energy from the latter.
        """
        from ase.units import GPa

        if "free_energy" not in last:
            return {}, {}
        free = last["free_energy"] - 0.1 * GPa * self.pressure * volume
        scf = self.energies[-1] if self.energies else last
        energies = {"free_energy": free}
        origins = {"free_energy": "e_fr_energy" + (", less PSTRESS times volume" if self.pressure else "")}
        for name, kind in _NAMES.items():
            if kind != "free_energy" and kind in scf and "free_energy" in scf:
                energies[kind] = free + (scf[kind] - scf["free_energy"])
                origins[kind] = f"{name} ({'sigma -> 0' if kind == 'energy' else 'without entropy'})"
        return energies, origins
