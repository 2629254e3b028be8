"""Frames of other formats as extxyz text: every digit, every key, or a refusal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.data.extxyz import parse_frame
from mlff_curate.data.frames import calculator_results
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

_TENSOR = re.compile("stress|virial", re.IGNORECASE)
"""Names of values that are read the same as (9,) and as (3, 3)."""


def format_frame(atoms: Atoms) -> bytes:
    """Write a frame of another format as extxyz with all digits (ASE's own writer rounds to eight decimals).

    Results of an attached calculator become info and array keys of the same names. A stress or virial (3, 3) is written
    as nine numbers, whatever its name. The text is read back and compared: nothing is lost in silence.

    Raises
    ------
    DataError
        A result has the name of an info or array key with another value, or extxyz cannot hold something.
    """
    atoms = _with_results_as_keys(atoms)
    arrays: dict[str, Any] = {"symbols": np.array(atoms.get_chemical_symbols()), "positions": atoms.positions}
    for key, value in atoms.arrays.items():
        if value.ndim > 2 or value.dtype.kind not in "fiubSUO":
            raise DataError(f"extxyz cannot hold an array {value.shape} of {value.dtype}", key=key)
        if key not in ("numbers", "positions"):
            arrays[key] = value.astype(np.int64) if value.dtype.kind == "u" else value
    written = atoms.copy()
    written.info = {key: _writable(value, str(key)) for key, value in atoms.info.items()}
    try:
        text = _with_all_digits(written, arrays)
        back = _with_results_as_keys(parse_frame(text, "extxyz", 0))
    except DataError as error:
        raise DataError(f"cannot be written as extxyz: {error.message}", key=error.key) from None
    except Exception as error:  # noqa: BLE001 - whatever extxyz cannot hold; each is the data's fault
        raise DataError(f"cannot be written as extxyz ({type(error).__name__}: {error})") from None
    _require_equal(atoms, back)
    return text


def _with_all_digits(atoms: Atoms, arrays: dict[str, Any]) -> bytes:
    """Write info and arrays as ASE does, with a format that gives every float64 back."""
    from ase.io.extxyz import output_column_format

    comment, widths, dtype, form = output_column_format(atoms, list(arrays), arrays, write_info=True)
    rows = np.zeros(len(atoms), dtype)
    for (name, values), width in zip(arrays.items(), widths, strict=True):
        if width == 1:
            rows[name] = values.reshape(len(atoms))
        else:
            for column in range(width):
                rows[f"{name}{column}"] = values[:, column]
    form = form.replace("%16.8f", "%.17g")
    body = "".join(form % tuple(row) for row in rows)
    return f"{len(atoms)}\n{comment}\n{body}".encode()


def _with_results_as_keys(atoms: Atoms) -> Atoms:
    from ase.io.extxyz import per_atom_properties
    from ase.spacegroup import Spacegroup

    results = calculator_results(atoms)
    atoms = atoms.copy()
    for key, value in results.items():
        array = np.asarray(value)
        per_atom = key in per_atom_properties
        target: dict[str, Any] = atoms.arrays if per_atom else atoms.info
        if key == "stress":
            array = _full_stress(array)
        # ASE before 3.23 leaves the labels that it takes for results among the keys
        there: Any = target.get(key)
        if key == "stress" and key in target:
            there = _full_stress(np.asarray(there))
        if key in target and not _equal(there, array):
            raise DataError("the frame has two different values of this name", key=key)
        target[key] = array if per_atom or array.ndim else value
    stress: Any = atoms.info.get("stress", 0.0)
    if np.shape(stress) == (6,):
        atoms.info["stress"] = _full_stress(np.asarray(stress))
    for key, value in atoms.info.items():
        if isinstance(value, Spacegroup):  # from a CIF
            atoms.info[key] = value.symbol
    return atoms


def _full_stress(stress: np.ndarray) -> np.ndarray:
    """Return a stress in Voigt order as (3, 3); others as they are."""
    from ase.stress import voigt_6_to_full_3x3_stress

    full: np.ndarray = voigt_6_to_full_3x3_stress(stress) if stress.shape == (6,) else stress
    return full


def _writable(value: object, name: str) -> object:
    """Return an info value so that ASE writes it whole: what its own notation would change goes as JSON."""
    from ase.io.extxyz import SPECIAL_3_3_KEYS, escape, key_val_str_to_dict

    if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        value = value.astype(np.int64) if value.dtype.kind == "u" else value
        if value.shape == (3, 3) and name not in SPECIAL_3_3_KEYS and _TENSOR.search(name):
            return value.reshape(9)  # else ASE writes JSON, which other readers of extxyz do not know
        if value.shape == (3, 3) or (value.ndim == 1 and value.size > 0):
            return value
    if isinstance(value, str) and not {"\n", "\r"} & set(value):
        back = key_val_str_to_dict(f"key={escape(value)}").get("key")
        if _equal(value, back):
            return value
    try:
        text = json.dumps(_plain(value), ensure_ascii=False)
    except TypeError as error:
        raise DataError(f"cannot be written as extxyz: {error}", key=name) from None
    return "_JSON " + text.replace("\\", "\\\\")  # ASE's reader takes one of two backslashes away


def _plain(value: object) -> Any:
    """Return containers with lists for arrays and Python's numbers for numpy's."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _require_equal(atoms: Atoms, back: Atoms) -> None:
    """Compare a frame with what was read back of its text."""
    told = {"cell": atoms.cell.array, "pbc": atoms.pbc, **atoms.arrays, **atoms.info}
    read = {"cell": back.cell.array, "pbc": back.pbc, **back.arrays, **back.info}
    for key, value in told.items():
        if key not in read or not _equal(value, read[key]):
            raise DataError("cannot be written as extxyz: it would not come back as it is", key=str(key))


def _equal(one: object, other: object) -> bool:
    if isinstance(one, (dict, str)) or one is None:
        return type(one) is type(other) and bool(_plain(one) == other)
    a, b = np.asarray(one), np.asarray(other)
    if a.dtype.kind in "fiub" and b.dtype.kind in "fiub":
        return a.size == b.size and np.array_equal(a.ravel(), b.ravel(), equal_nan=True)
    return bool(_plain(a) == _plain(b))
