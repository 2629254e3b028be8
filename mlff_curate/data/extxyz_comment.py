"""The comment line of an extxyz frame as ASE reads it, without going through its characters one by one.

ASE's own reader says what a value means. Values of a plain form (a number with a point, a word, a row of numbers) are
converted here as it converts them; any other value is given to ASE, once for each different one; and a line that is
not plainly ``key=value key="value"`` is given to ASE whole.
"""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from typing import Any

import numpy as np

from mlff_curate.data.real_numbers import read_array

# Within double quotes ASE takes everything as it stands but quotes and backslashes; outside, brackets quote as well.
# What follows empty quotes it takes for the value.
_PAIR = re.compile(r"""([A-Za-z_][A-Za-z0-9_-]*)=(?:"([^"\\]+)"|([^\s"'\\{}\[\]=]+))(?: +|$)""")
_FLOAT = re.compile(r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOATS = re.compile(r"[-+0-9.eE ]*\.[-+0-9.eE ]*")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_./#:+-]*")
_NO_WORDS = {"t", "f", "true", "false", "nan", "inf", "infinity"}
"""Words that ASE takes, in some spelling, for truth values or numbers."""
_AS_TEXT = "uid"
"""The key whose value ASE leaves as it stands."""
_MATRICES = {"Lattice", "virial", "stress"}
"""Keys whose nine numbers ASE takes for a matrix, column after column."""
_LONGEST_KEPT = 200  # characters
_INT = np.dtype(int).type


def read_comment(comment: str) -> dict[str, Any]:
    """Return what `ase.io.extxyz.key_val_str_to_dict` returns for a comment line, in less time.

    Parameters
    ----------
    comment
        The line, without white space at its ends; not empty.

    Raises
    ------
    ValueError
        As ASE does, such as for a Lattice that is not nine numbers.
    """
    parts = _PAIR.split(comment)
    if any(parts[::4]):  # what is between the pairs
        return _read_with_ase(comment)
    return {
        key: _value(key, bare if quoted is None else quoted)
        for key, quoted, bare in zip(parts[1::4], parts[2::4], parts[3::4], strict=True)
    }


def _value(key: str, raw: str) -> Any:
    if key in _MATRICES:
        numbers = _row(raw)
        return _kept_value(key, raw) if numbers is None or len(numbers) != 9 else numbers.reshape((3, 3), order="F")
    value: Any = None
    if len(key) == len(_AS_TEXT) and key.lower() == _AS_TEXT:
        return _value_of_ase(key, raw)
    if raw[:1].isalpha():
        if _WORD.fullmatch(raw) and raw.lower() not in _NO_WORDS:
            value = raw
    elif _FLOAT.fullmatch(raw):
        value = np.float64(raw)
    elif _INTEGER.fullmatch(raw):
        value = _INT(raw)
    else:
        numbers = _row(raw)
        value = numbers if numbers is not None and len(numbers) > 1 else None
    return _kept_value(key, raw) if value is None else value


def _row(raw: str) -> np.ndarray | None:
    """Return numbers, at least one of them with a point."""
    spaces, points = raw.count(" "), raw.count(".")
    if points == spaces + 1 and "[" not in raw and "," not in raw:
        try:
            return read_array(f"[{raw.replace(' ', ',')}]", points, points)
        except ValueError:
            pass
    try:
        return np.array(list(map(float, raw.split()))) if _FLOATS.fullmatch(raw) else None
    except ValueError:
        return None


def _kept_value(key: str, raw: str) -> Any:
    if len(raw) > _LONGEST_KEPT:
        return _value_of_ase(key, raw)
    value = _kept_value_of_ase(key, raw)
    if isinstance(value, (str, bool, np.generic)):
        return value
    flat = isinstance(value, np.ndarray) or (isinstance(value, list) and not raw.startswith("_JSON"))
    return value.copy() if flat else copy.deepcopy(value)


def _value_of_ase(key: str, raw: str) -> Any:
    return _read_with_ase(f'{key}="{raw}"')[key]


def _read_with_ase(comment: str) -> dict[str, Any]:
    from ase.io.extxyz import key_val_str_to_dict

    info: dict[str, Any] = key_val_str_to_dict(comment)
    return info


_kept_value_of_ase = lru_cache(maxsize=1024)(_value_of_ase)
"""What comes again in frame after frame: flags, pbc, cells of whole numbers."""
