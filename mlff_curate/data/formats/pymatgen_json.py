"""JSON lists of pymatgen structures with what was computed for them, as published with many force fields.

Each entry has a structure (pymatgen's dictionary of a Structure or Molecule) and, in itself or under ``outputs``,
``output`` or ``data``, an energy in eV, forces in eV/Angstrom and a stress as VASP prints it: kB, positive under
compression, in the order xx, yy, zz, xy, yz, zx (or a full tensor). The files do not say these units; a remark does. A
pymatgen ComputedStructureEntry is such an entry, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mlff_curate.data.formats.base import Content, Format
from mlff_curate.data.formats.jsonvalues import numbers, objects
from mlff_curate.data.formats.remarks import assumed_units, unknown_label
from mlff_curate.data.formats.units import unit_factor
from mlff_curate.data.frames import Remark, looks_like_label, with_results
from mlff_curate.data.opening import open_binary
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ase import Atoms

    from mlff_curate.data.formats.base import ReadOptions

_PLACES = ("outputs", "output", "data")
"""Where an entry may have its labels beside itself."""
_ENERGY, _PER_ATOM = ("energy", "total_energy"), ("energy_per_atom",)
_FORCES, _STRESS = ("forces", "force"), ("stress", "virial_stress")
_GROUP = ("tags", "tag", "group")
"""What the configuration group is taken from, the first that is there."""
_SAME = 1e-6
"""eV, eV/Angstrom, kB: a label that an entry has twice may be rounded differently."""
_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


def _recognises(path: Path, head: bytes) -> bool:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"{":
        return b'"@module"' in start and b'"pymatgen.' in start
    if start[:1] != b"[" or start[1:].lstrip()[:1] != b"{":
        return False
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return suffixes[-1:] == [".json"] or b'"structure"' in start or b'"@module"' in start


def _read(path: Path, _options: ReadOptions) -> Iterator[Content]:
    index = 0
    try:
        with open_binary(path) as stream:
            for entry in objects(stream):
                yield _content(entry)
                index += 1
    except DataError as error:
        error.file, error.frame = str(path), index
        raise


def _content(entry: dict[str, Any]) -> Content:
    structure = entry.get("structure", entry)
    if not isinstance(structure, dict) or not isinstance(structure.get("sites"), list):
        raise DataError('an entry is to have a structure with "sites", as pymatgen writes it', key="structure")
    atoms = _atoms(structure)
    found = _Found(atoms)
    if structure is not entry:
        found.take_entry(entry)
    found.take_info(
        structure, {"@module", "@class", "@version", "lattice", "sites"} | ({"properties"} & _empty(structure))
    )
    if found.results:
        with_results(atoms, **found.results)
    return Content(atoms, found.origins, tuple(found.remarks))


def _empty(values: dict[str, Any]) -> set[str]:
    return {key for key, value in values.items() if value in ({}, [], None)}


def _atoms(structure: dict[str, Any]) -> Atoms:
    from ase import Atoms

    lattice = structure.get("lattice")
    cell, pbc = (np.zeros((3, 3)), [False] * 3) if lattice is None else _lattice(lattice)
    sites = structure["sites"]
    symbols: list[str] = []
    positions = np.empty((len(sites), 3))
    for number, site in enumerate(sites):
        if not isinstance(site, dict):
            raise DataError(f"site {number} is no JSON object", key="sites")
        symbols.append(_symbol(site, number))
        if site.get("xyz") is not None:
            positions[number] = numbers(site["xyz"], (3,), "sites")
        elif site.get("abc") is not None and lattice is not None:
            positions[number] = numbers(site["abc"], (3,), "sites") @ cell
        else:
            raise DataError(f"site {number} has no xyz", key="sites")
    atoms = Atoms(symbols, positions=positions, cell=cell, pbc=pbc)
    for key, array in _site_properties(sites).items():
        atoms.arrays[key] = array
    return atoms


def _lattice(lattice: Any) -> tuple[np.ndarray, list[bool]]:
    from ase.geometry import Cell

    if not isinstance(lattice, dict):
        raise DataError("is no JSON object", key="lattice")
    pbc = lattice.get("pbc", [True] * 3)
    if not isinstance(pbc, list) or len(pbc) != 3:
        raise DataError("pbc is to have three flags", key="lattice")
    if lattice.get("matrix") is not None:
        cell = numbers(lattice["matrix"], (3, 3), "lattice")
    else:
        names = ("a", "b", "c", "alpha", "beta", "gamma")
        lengths = numbers([lattice.get(name) for name in names], (6,), "lattice")
        try:
            cell = np.array(Cell.fromcellpar(lengths).array)
        except (AssertionError, ArithmeticError, ValueError):
            raise DataError("no cell has these lengths and angles", key="lattice") from None
    return cell, [bool(flag) for flag in pbc]


def _symbol(site: dict[str, Any], number: int) -> str:
    from ase.data import atomic_numbers

    species = site.get("species")
    if not isinstance(species, list) or len(species) != 1 or not isinstance(species[0], dict):
        raise DataError(f"site {number} is to have one species: a mixed or empty site is no atom", key="sites")
    element, occupancy = species[0].get("element"), species[0].get("occu", 1)
    if occupancy != 1:
        raise DataError(f"site {number} is occupied by {str(occupancy)[:20]} of an atom: that is no frame", key="sites")
    if not isinstance(element, str) or element not in atomic_numbers or element == "X":
        raise DataError(f"site {number} is of the unknown element {str(element)[:20]!r}", key="sites")
    return element


def _site_properties(sites: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return what every site has as one array for each name.

    Raises
    ------
    DataError
        Some sites have it and others not, or it has no common shape.
    """
    collected: dict[str, list[Any]] = {}
    for site in sites:
        properties = site.get("properties") or {}
        if not isinstance(properties, dict):
            raise DataError("the properties of a site are to be a JSON object", key="sites")
        oxidation = site["species"][0].get("oxidation_state")
        for key, value in {**properties, **({} if oxidation is None else {"oxidation_state": oxidation})}.items():
            collected.setdefault(key, []).append(value)
    arrays: dict[str, np.ndarray] = {}
    for key, values in collected.items():
        if all(value is None for value in values):
            continue
        try:
            array = np.array(values)
        except (ValueError, TypeError, OverflowError):
            array = np.array(None)
        if (
            len(values) != len(sites)
            or array.dtype.kind not in "iufbU"
            or array.ndim > 2
            or key in ("numbers", "positions")
        ):
            raise DataError(
                f"the property {key[:40]!r} of the sites is not one value, or row of values, for each", key="sites"
            )
        arrays[key] = array
    return arrays


@dataclass
class _Found:
    """What was made of an entry so far."""

    atoms: Atoms
    results: dict[str, object] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)

    def take_entry(self, entry: dict[str, Any]) -> None:
        """Take labels and all else of an entry with a structure."""
        places = {"": entry, **{f"{name}.": entry[name] for name in _PLACES if isinstance(entry.get(name), dict)}}
        n = len(self.atoms)
        energy = self._label(places, _ENERGY, ())
        per_atom = self._label(places, _PER_ATOM, ())
        forces = self._label(places, _FORCES, (n, 3))
        stress = self._label(places, _STRESS, None)
        if energy is not None:
            self._add("energy", float(energy[1]), f"{energy[0]}, in eV")
        elif per_atom is not None:
            self._add("energy", float(per_atom[1]) * n, f"{per_atom[0]} times {n} atoms, in eV")
        if forces is not None:
            self._add("forces", forces[1], f"{forces[0]}, in eV/Angstrom")
        if stress is not None:
            self._add(
                "stress", _from_vasp(stress[1]), f"{stress[0]}: kbar, positive under compression, in VASP's order"
            )
        self._note_units()
        self._note_correction(entry)
        self._take_group(entry)
        if entry.get("num_atoms", n) != n:
            raise DataError(f"differs from the {n} sites of the structure", key="num_atoms")
        used = {"structure", "num_atoms", "@module", "@class", "@version", *_PLACES}
        labels = {*_ENERGY, *_PER_ATOM, *_FORCES, *_STRESS}
        for prefix, place in places.items():
            self.take_info(place, labels | (used if not prefix else set()), prefix)
        self.take_info({name: entry[name] for name in _PLACES if name in entry and f"{name}." not in places}, set())

    def take_info(self, values: dict[str, Any], used: set[str], prefix: str = "") -> None:
        """Keep all other values under their names; what looks like a label gets a name that nobody takes for one."""
        for key, value in values.items():
            if key in used or value is None:
                continue
            name = f"{prefix}{key}"
            if looks_like_label(key):
                name = f"{prefix or 'entry.'}{key}"
                self.remarks.append(unknown_label(name))
            elif name in self.atoms.info:
                name = f"entry.{name}"
            self.atoms.info[name] = value

    def _label(
        self, places: dict[str, dict[str, Any]], names: tuple[str, ...], shape: tuple[int, ...] | None
    ) -> tuple[str, np.ndarray] | None:
        """Find a label; where an entry has it twice, both must be the same."""
        found: list[tuple[str, np.ndarray]] = []
        for prefix, place in places.items():
            for name in names:
                value = place.get(name)
                if value is not None:
                    key = f"{prefix}{name}"
                    found.append((key, _tensor(value, key) if shape is None else numbers(value, shape, key)))
        for key, value in found[1:]:
            if not np.allclose(value, found[0][1], rtol=0, atol=_SAME, equal_nan=True):
                raise DataError(f"differs from {found[0][0]} of the same entry", key=key)
        return found[0] if found else None

    def _add(self, kind: str, value: object, origin: str) -> None:
        self.results[kind] = value
        self.origins[kind] = origin

    def _note_units(self) -> None:
        if "stress" in self.results:
            message = (
                "the file does not say its units: eV, Angstrom and, for the stress, kbar positive under compression"
            )
        elif self.results:
            message = "the file does not say its units: eV and Angstrom"
        else:
            return
        fix = "make sure of it, unless VASP computed it"
        self.remarks.append(assumed_units(None, f"{message} are assumed", fix, may_say=False))

    def _note_correction(self, entry: dict[str, Any]) -> None:
        correction = entry.get("correction")
        if isinstance(correction, (int, float)) and correction != 0:
            message = f"the entry has a correction of {correction:.6g} eV, which is not added"
            self.remarks.append(
                Remark("energy-correction", "note", "energy", message, "add it, if all frames have one")
            )

    def _take_group(self, entry: dict[str, Any]) -> None:
        for key in _GROUP:
            words = entry.get(key)
            group = "+".join(map(str, words)) if isinstance(words, list) else words
            if isinstance(group, str) and group:
                self.atoms.info["config_type"] = group
                self.origins["config_type"] = key
                return


def _tensor(value: Any, key: str) -> np.ndarray:
    """Return a stress of six or of three by three values as three by three."""
    if isinstance(value, list) and len(value) == 3:
        return numbers(value, (3, 3), key)
    return numbers(value, (6,), key)[[[0, 3, 5], [3, 1, 4], [5, 4, 2]]]


def _from_vasp(tensor: np.ndarray) -> np.ndarray:
    scale = unit_factor("pressure", "kB", "stress")
    return cast("np.ndarray", -scale * (0.5 * tensor + 0.5 * tensor.T)[_VOIGT])


PYMATGEN_JSON = Format("pymatgen-json", "a JSON list of pymatgen structures", ".json", _recognises, _read)
