"""FitSNAP's JSON out: a folder for each group, an input deck, and what FitSNAP does not read beside what it does.

FitSNAP wants the same labels of every configuration. Forces or stress that no frame has are switched off in the deck;
where some frames have them and others not, the writer refuses, since FitSNAP would stop, and a zero would be fitted.
A free atom is the exception: it has no forces and no stress by symmetry; these zeros are written, marked, and given no
weight.

FitSNAP repeats every cell without end. A frame that is not periodic gets vacuum around it, its own cell is noted.
"""

from __future__ import annotations

import json
import re
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.data.formats.jsonvalues import encode_all
from mlff_curate.data.formats.leftovers import leftovers
from mlff_curate.data.formats.vacuum import repeatable_cell
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from mlff_curate.data.formats.base import NormalFrame, WriteOptions

OURS = "mlff_curate"
"""Field for what FitSNAP has no name for, and for which frame of the set it was; FitSNAP does not look at it."""
NATIVE_ARRAYS = ("Spins", "Charges", "Chis")
"""Values of each atom that FitSNAP reads under these names."""

_ISOLATED = "IsolatedAtom"
_CUTOFF = 10.0
"""Angstrom: the longest range in the deck."""
_NO_SECTION_NAME = re.compile(
    r"(group_\w+|smartweights|random_\w+|vasp_\w+|boltz|name|allowedkeys|parents|pt|infile|args)", re.IGNORECASE
)
"""FitSNAP takes lines of its section GROUPS that begin with these for settings."""
_LABELS = {"energy": "Energy", "forces": "Forces", "stress": "Stress"}


def is_result(key: str, value: object) -> bool:
    """Tell whether a calculator of ASE can have such a result."""
    from ase.calculators.calculator import all_properties

    if key not in all_properties:
        return False
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iuf"
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def open_writer(path: Path, options: WriteOptions) -> FitsnapWriter:
    """Make the folder and return its writer."""
    return FitsnapWriter(path, options)


class FitsnapWriter:
    """Writes one JSON file a frame.

    Parameters
    ----------
    path
        Folder to make.
    options
        Its type_map orders the elements of the deck.
    """

    def __init__(self, path: Path, options: WriteOptions) -> None:
        self._path = path
        self._options = options
        self._folders: dict[str, str] = {}
        """Group -> its folder."""
        self._elements: set[str] = set()
        self._wanted: tuple[frozenset[str], str] | None = None
        """The labels of the first frame that is no free atom, and which frame that is."""
        self._count = 0
        (path / "JSON").mkdir(parents=True)

    def add(self, item: NormalFrame) -> tuple[str, ...]:
        """Write a frame; return the names of what JSON cannot hold.

        Raises
        ------
        DataError
            The frame lacks a label that others have, or has one that others lack, or needs vacuum and has a stress.
        """
        fields, lost = self._fields(item)
        group = _ISOLATED if item.isolated else item.group or "all"
        folder = self._path / "JSON" / self._folder(group)
        folder.mkdir(exist_ok=True)
        file = self._file(folder, item.frame.atoms.info.get("source"))
        given = item.frame.atoms.info
        ours = fields[OURS]
        for key, told in (("config_type", folder.name), ("source", file.name)):
            if given.get(key) == told:
                del ours["info"][key]  # the path says it
        fields[OURS] = {key: value for key, value in ours.items() if value not in ({}, [])}
        file.write_text(json.dumps({"Dataset": fields}, allow_nan=False) + "\n", encoding="utf-8")
        self._elements |= set(item.frame.atoms.get_chemical_symbols())
        self._count += 1
        return lost

    def close(self) -> None:
        """Write the deck and the text that says what to do with it.

        Raises
        ------
        DataError
            Nothing was written, or an element is not in the type map.
        """
        if not self._count:
            raise DataError("there is no frame to write", file=str(self._path))
        elements = _in_order(self._elements, self._options.type_map)
        wanted = self._wanted[0] if self._wanted else frozenset(_LABELS)
        deck = _deck(elements, sorted(self._folders.values()), self._folders.get(_ISOLATED), wanted)
        (self._path / "fitsnap.in").write_text(deck, encoding="utf-8")
        (self._path / "README.txt").write_text(_README, encoding="utf-8")

    def _folder(self, group: str) -> str:
        if group not in self._folders:
            name = re.sub(r"[^A-Za-z0-9._+-]", "_", group).lstrip(".-")[:100] or "group"
            if _NO_SECTION_NAME.fullmatch(name):
                name = f"group-{name}"
            taken = {folder.lower() for folder in self._folders.values()}  # some disks do not tell A from a
            number, unique = 1, name
            while unique.lower() in taken:
                number += 1
                unique = f"{name}-{number}"
            self._folders[group] = unique
        return self._folders[group]

    def _file(self, folder: Path, source: object) -> Path:
        """Return the name that the frame had, where it was one for such a file and is free."""
        if isinstance(source, str) and re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,100}\.json", source):
            file = folder / source
            if not file.exists():
                return file
        number = self._count
        while (file := folder / f"frame_{number}.json").exists():
            number += 1
        return file

    def _fields(self, item: NormalFrame) -> tuple[dict[str, Any], tuple[str, ...]]:
        from ase import units

        atoms, labels = item.frame.atoms, item.labels
        there = frozenset(kind for kind in _LABELS if getattr(labels, kind) is not None)
        unlabelled = self._require_labels(item, there)
        data: dict[str, Any] = {"NumAtoms": len(atoms), "AtomTypes": atoms.get_chemical_symbols()}
        cell = _right_handed(repeatable_cell(atoms, _CUTOFF, "FitSNAP", stress=labels.stress is not None))
        data["Lattice"] = cell.tolist()
        data["Positions"] = atoms.positions.tolist()
        data["Energy"] = labels.energy
        if "forces" in there or "forces" in unlabelled:
            data["Forces"] = (np.zeros((len(atoms), 3)) if labels.forces is None else labels.forces).tolist()
        if "stress" in there or "stress" in unlabelled:
            stress = np.zeros(6) if labels.stress is None else -labels.stress / (1e5 * units.Pascal)
            data["Stress"] = stress[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]].tolist()
        rest = leftovers(item)
        fields: dict[str, Any] = {OURS: {}}  # first: a reader finds the place without reading the rest
        fields |= {f"{name}Style": word for name, word in _STYLES.items() if name in (*data, "AtomType")}
        for key in NATIVE_ARRAYS:
            array = rest.arrays.get(key)
            if array is not None and array.dtype.kind in "if" and np.isfinite(array).all():
                data[key] = rest.arrays.pop(key).tolist()
        if "Spins" in data and isinstance(rest.info.get("SpinsStyle"), str):
            fields["SpinsStyle"] = rest.info.pop("SpinsStyle")
        results = {key: value for key, value in rest.results.items() if is_result(key, value)}
        ours: dict[str, Any] = {"unlabelled": unlabelled}
        lost = [*rest.lost, *(key for key in rest.results if key not in results)]
        for part, values in (("info", rest.info), ("arrays", rest.arrays), ("results", results)):
            ours[part], missed = encode_all(values)
            lost += missed
        if not np.array_equal(cell, atoms.cell.array):
            ours["cell"] = atoms.cell.array.tolist()
        if not atoms.pbc.all():
            ours["pbc"] = atoms.pbc.tolist()
        fields[OURS] = {"place": self._count, **ours}
        fields["Data"] = [data]
        return fields, tuple(lost)

    def _require_labels(self, item: NormalFrame, there: frozenset[str]) -> list[str]:
        """Return the labels that are zero by symmetry and that the frame does not have."""
        if "energy" not in there:
            raise DataError("the frame has no energy, and FitSNAP needs one of every frame: leave it out", key="energy")
        if item.isolated:
            return sorted(set(_LABELS) - there)
        name = f"frame {item.frame.index} of {item.frame.source}"
        if self._wanted is None:
            self._wanted = (there, name)
        wanted, first = self._wanted
        for kind in sorted(wanted ^ there):
            has, do = ("has no", "leave it out") if kind in wanted else ("has", "leave those without out")
            other = "has" if kind in wanted else "has not"
            message = f"the frame {has} {kind}, {first} {other}: FitSNAP needs the same labels of all frames; {do}"
            raise DataError(message, key=kind)
        return []


_STYLES = {
    "Energy": "electronvolt",
    "Stress": "bar",
    "AtomType": "chemicalsymbol",
    "Positions": "angstrom",
    "Forces": "electronvoltperangstrom",
    "Lattice": "angstrom",
}


def _right_handed(cell: np.ndarray) -> np.ndarray:
    """Return the same lattice with vectors in the order that FitSNAP insists on."""
    return cell[[0, 2, 1]] if np.linalg.det(cell) < 0 else cell


def _in_order(elements: set[str], type_map: tuple[str, ...]) -> list[str]:
    from ase.data import atomic_numbers

    if not type_map:
        return sorted(elements, key=lambda symbol: atomic_numbers[symbol])
    missing = sorted(elements - set(type_map))
    if missing:
        raise DataError(f"the type map lacks {', '.join(missing)}", key="--type-map")
    return [symbol for symbol in type_map if symbol in elements]


def _deck(elements: list[str], folders: list[str], isolated: str | None, labels: frozenset[str]) -> str:
    from ase.data import atomic_numbers

    n = len(elements)
    pairs = combinations_with_replacement(enumerate(elements, 1), 2)
    zbl = [
        f"pair_coeff{number} = {i} {j} zbl {atomic_numbers[one]} {atomic_numbers[other]}"
        for number, ((i, one), (j, other)) in enumerate(pairs, 2)
    ]
    width = max(len(folder) for folder in folders)
    weights = {False: "100.0  1.0  1.0E-08", True: "100.0  0.0  0.0"}
    groups = [f"{folder:<{width}} = 1.0  0.0  {weights[folder == isolated]}" for folder in folders]
    return "\n".join(
        [
            "# Linear SNAP for FitSNAP 3. A start, to be tuned: rcutfac (with radelem 0.5: the cutoff in Angstrom),",
            "# the radii of the ZBL core, and the weights of the groups.",
            "[BISPECTRUM]",
            f"numTypes = {n}",
            f"twojmax = {' '.join(['6'] * n)}",
            "rcutfac = 4.67637",
            "rfac0 = 0.99363",
            "rmin0 = 0.0",
            f"wj = {' '.join(['1.0'] * n)}",
            f"radelem = {' '.join(['0.5'] * n)}",
            f"type = {' '.join(elements)}",
            "wselfallflag = 0",
            "chemflag = 0",
            "bzeroflag = 0",
            "quadraticflag = 0",
            "",
            "[CALCULATOR]",
            "calculator = LAMMPSSNAP",
            "energy = 1",
            f"force = {int('forces' in labels)}",
            f"stress = {int('stress' in labels)}",
            "",
            "[ESHIFT]",
            *(f"{element} = 0.0" for element in elements),
            "",
            "[SOLVER]",
            "solver = SVD",
            "compute_testerrs = 1",
            "detailed_errors = 1",
            "",
            "[SCRAPER]",
            "scraper = JSON",
            "",
            "[PATH]",
            "dataPath = JSON",
            "",
            "[OUTFILE]",
            "metrics = fitsnap_metrics.md",
            "potential = fitsnap_potential",
            "",
            "[REFERENCE]",
            "units = metal",
            "atom_style = atomic",
            f"pair_style = hybrid/overlay zero {_CUTOFF} zbl 4.0 4.8",
            "pair_coeff1 = * * zero",
            *zbl,
            "",
            "[GROUPS]",
            "# energies in eV per atom, forces in eV/Angstrom, stresses in bar: hence the weights' sizes",
            "group_sections = name training_size testing_size eweight fweight vweight",
            "group_types = str float float float float float",
            "smartweights = 0",
            "random_sampling = 0",
            *groups,
            "",
            "# FitSNAP 3.1 stops after the fit without this section",
            "[EXTRAS]",
            "dump_dataframe = 0",
            "",
        ]
    )


_README = """Frames for FitSNAP (https://fitsnap.github.io), written by mlff-curate.

    python -m fitsnap3 fitsnap.in --overwrite
    mpirun -np 4 python -m fitsnap3 fitsnap.in --overwrite

JSON/       a folder for each group, a file for each frame. Energy eV, forces eV/Angstrom, stress bar and positive
            under compression, cell vectors as rows. The field "mlff_curate" of a frame holds what FitSNAP has no
            name for.
fitsnap.in  linear SNAP, 2J = 6, on a ZBL core. A start: tune cutoff, core and the weights of the groups.

A frame that is not periodic has vacuum around it. Where a free atom came without forces or stress, the zeros that
symmetry asks for stand here, as FitSNAP wants the same labels of all frames; "unlabelled" in "mlff_curate" names them,
and the group has no weight on forces and stress. No other label is made up.
"""
