"""Extxyz frames at the speed of C, with ASE as the judge.

What is read here is read as ASE reads it, value for value and type for type: the first frame of each pattern (columns
declared, keys in the comment line) is read by both, and where the two differ in anything, ASE reads all frames of that
pattern. So ASE may change what it makes of a file, or of an `Atoms`, and this reader follows. A frame that is not plain
(see `read_quickly`) is left to ASE altogether.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.data.extxyz_comment import read_comment
from mlff_curate.data.real_numbers import read_array, read_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase import Atoms

DEFAULT_COLUMNS = "species:S:1:pos:R:3"
"""Where the comment line declares nothing; further columns are then nobody's."""
_OTHER_THAN_ARRAYS = {"move_mask", "initial_charges"}
"""Columns that ASE makes into constraints, or puts through `Atoms`; it reads them."""
_TRUTH = {b"T": True, b"True": True, b"F": False, b"False": False}
_VOIGT = np.array([0, 4, 8, 7, 6, 3])  # xx, yy, zz, yz, xz, xy of nine numbers, column after column
_AS_THEY_ARE = {"energy", "free_energy", "magmom"}
"""Results that a single-point calculator does not turn into arrays."""
_OF_ATOMS = {"energy": "energies", "stress": "stresses", "magmom": "magmoms"}
"""ASE's names of results for a frame, and for its atoms."""
_WORD = re.compile(rb"\S+")
_POINT = re.compile(rb"\.")
_FEW = 8  # different elements that are counted line by line
_MANY = 1000  # patterns that are remembered

_judged: dict[tuple[str, ...], bool] = {}
"""Whether ASE was found to agree, by pattern."""


def read_quickly(text: bytes, read_with_ase: Callable[[], Atoms]) -> Atoms:
    """Read one frame.

    Read here is what is ASCII and has, in each line, the columns that are declared: symbols or atomic numbers, three
    of positions, and any others of finite real numbers, 32-bit whole numbers, truth values and strings; whose columns
    and keys have no name of a result in common, and whose stress, where it is nine numbers, is symmetric.

    Parameters
    ----------
    text
        From the atom count to the end of the last atom's line.
    read_with_ase
        Reads the same frame with ASE, with all checks; what it raises is raised.
    """
    try:
        read = _read(text)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        read = None  # whatever is wrong, ASE has the word for it
    if read is None:
        return read_with_ase()
    atoms, pattern = read
    agreed = _judged.get(pattern)
    if agreed is None:
        judge = read_with_ase()
        if len(_judged) >= _MANY:
            _judged.clear()
        _judged[pattern] = same_content(atoms, judge)
        return judge
    return atoms if agreed else read_with_ase()


def _read(text: bytes) -> tuple[Atoms, tuple[str, ...]] | None:
    first, line, _ = text.split(b"\n", 2)
    n, start = int(first), len(first) + 1 + len(line)  # the line end before the first atom
    if n == 0 or text.count(b"\n", start) != n + 1 or not text.endswith(b"\n") or not text.isascii():
        return None
    comment = line.decode().strip()
    info = read_comment(comment) if comment else {}
    for key in ("Lattice", "Properties"):
        if key not in info and key.lower() in comment.lower():
            return None  # misspelt, or behind a quote that is not closed
    declared = info.pop("Properties", DEFAULT_COLUMNS)
    pattern = (declared, *info)
    if without_clash(declared, tuple(info)) != declared:
        return None  # a column that ASE is to read under another name
    layout = _layout(declared)
    arrays = None if layout is None else _columns(text, start, n, layout)
    if arrays is None:
        return None
    pbc = np.zeros(3, dtype=bool)
    pbc[:] = info.pop("pbc", "Lattice" in info)
    cell = np.array(info.pop("Lattice").T, dtype=float) if "Lattice" in info else np.zeros((3, 3))
    if "stress" in info and not _is_symmetric(info["stress"]):
        return None  # of which ASE will keep a part
    results = _results(arrays, info)
    atoms = _new_atoms(arrays, cell, pbc, info)
    if results:
        vars(atoms)["_calc"] = _new_calculator(atoms, results)
    return atoms, pattern


@lru_cache(maxsize=_MANY)
def without_clash(declared: str, keys: tuple[str, ...]) -> str:
    """Return the columns of a frame, renamed where a key of the comment line is the same result of a calculation.

    ASE has one place for both and keeps what the comment line has. A column ``energy`` beside such a key is one energy
    for each atom, which ASE calls ``energies``.

    Parameters
    ----------
    declared
        ``name:type:count`` triples.
    keys
        Of the comment line.

    Raises
    ------
    ValueError
        There is no other name for such a column; the message has its name.
    """
    from ase.calculators.calculator import all_properties

    fields = declared.split(":")
    for place in range(0, len(fields), 3):
        name = fields[place]
        if name in keys and name in all_properties:
            other = _OF_ATOMS.get(name)
            if other is None or other in fields[::3] or other in keys:
                raise ValueError(name)
            fields[place] = other
    return ":".join(fields)


@dataclass(frozen=True, eq=False)  # compared as objects: there is one for each declaration
class _Layout:
    """What the columns of a frame are.

    Attributes
    ----------
    width
        Number of columns.
    elements
        Place of the one that tells the element.
    by_symbol
        It holds symbols, not atomic numbers.
    others
        Name, kind and places of those that are neither that one nor real numbers, last first.
    reals
        Name and places, among the columns of real numbers, of those; one of them is ``positions``.
    order
        Names of `others` and `reals`, but positions, as declared.
    telling
        Symbols come first, and no other column could hold one.
    """

    width: int
    elements: int
    by_symbol: bool
    others: tuple[tuple[str, str, int, int], ...]
    reals: tuple[tuple[str, int, int], ...]
    order: tuple[str, ...]
    telling: bool


@lru_cache(maxsize=_MANY)
def _layout(declared: str) -> _Layout | None:
    """Take a declaration apart; None: it is for ASE to read, or to refuse."""
    from ase.io.extxyz import REV_PROPERTY_NAME_MAP, parse_properties

    parse_properties(declared)  # what it raises, ASE will raise again
    fields = declared.split(":")
    names = [REV_PROPERTY_NAME_MAP.get(name, name) for name in fields[::3]]
    kinds, counts = fields[1::3], [int(count) for count in fields[2::3]]
    of = dict(zip(names, zip(kinds, counts, strict=True), strict=True))
    element = {"symbols": ("S", 1), "numbers": ("I", 1)}
    told = [name for name in names if name in element]
    if (
        len(of) < len(names)
        or _OTHER_THAN_ARRAYS & set(names)
        or min(counts) < 1
        or not set(kinds) <= set("RILS")
        or of.get("positions") != ("R", 3)
        or len(told) != 1
        or of[told[0]] != element[told[0]]
    ):
        return None
    places = [sum(counts[:i]) for i in range(len(names))]
    reals, others, real = [], [], 0
    for name, kind, count, place in zip(names, kinds, counts, places, strict=True):
        if kind == "R":
            reals.append((name, real, real + count))
            real += count
        elif name != told[0]:
            others.append((name, kind, place, count))
    return _Layout(
        width=sum(counts),
        elements=places[names.index(told[0])],
        by_symbol=told[0] == "symbols",
        others=tuple(reversed(others)),
        reals=tuple(reals),
        order=tuple(name for name in names if name not in {told[0], "positions"}),
        telling=names[0] == "symbols" and not {kind for _, kind, _, _ in others} & {"S", "L"},
    )


def _columns(text: bytes, start: int, n: int, layout: _Layout) -> dict[str, np.ndarray] | None:
    """Read the atoms' lines, which begin after `start`, as arrays of n rows."""
    if layout.telling and not layout.others:
        table = _table(text, start, n, layout)
        if table is not None:
            return table
    words = text[start:].split()
    if len(words) != n * layout.width:
        return None
    told = words[layout.elements :: layout.width]
    kinds = set(told)
    if layout.telling and len(kinds) <= _FEW:
        # n lines that begin with a symbol, n symbols in all (the other words turn out to be numbers below), and these
        # at equal distances: then every line has its columns.
        if sum(text.count(b"\n" + kind + b" ", start) for kind in kinds) != n:
            return None
    elif any(len(row.split()) != layout.width for row in text[start + 1 : -1].split(b"\n")):
        return None
    arrays = {"numbers": _numbers(told, kinds, layout)}
    drop = sorted([layout.elements, *(place + i for _, _, place, count in layout.others for i in range(count))])
    found = {}
    for name, kind, place, count in layout.others:
        columns = [_converted(words[place + i :: layout.width], kind) for i in range(count)]
        found[name] = columns[0] if count == 1 else np.ascontiguousarray(np.vstack(columns).T)
    for left, place in enumerate(reversed(drop)):
        del words[place :: layout.width - left]
    numbers = read_words(words).reshape(n, -1)
    with np.errstate(over="ignore"):  # numbers whose sum is too large are left to ASE
        total = np.add.reduce(numbers, axis=None)
    if not math.isfinite(total):
        return None  # NaN has a sign, which the two need not agree on
    found.update(_parts(numbers, layout))
    arrays["positions"] = found["positions"]
    arrays.update((name, found[name]) for name in layout.order)
    return arrays


def _parts(numbers: np.ndarray, layout: _Layout) -> dict[str, np.ndarray]:
    return {
        name: numbers[:, begin].copy() if end == begin + 1 else numbers[:, begin:end].copy()
        for name, begin, end in layout.reals
    }


@dataclass(frozen=True, eq=False)
class _Rule:
    """Where in lines of one length the numbers are.

    Attributes
    ----------
    symbols
        How many characters the symbols have, with the space that ends them.
    spaces
        Places of a space that ends a number, of all numbers but the last.
    points
        Place of each number's decimal point.
    """

    symbols: int
    spaces: tuple[int, ...]
    points: tuple[int, ...]


_rules: dict[tuple[_Layout, int], _Rule] = {}
"""That of the latest frame, for columns and a length of lines."""


def _rule(line: bytes, width: int) -> _Rule | None:
    ends = [word.end() for word in _WORD.finditer(line)]
    points = tuple(word.start() for word in _POINT.finditer(line))
    if len(ends) != width or len(points) != width - 1:
        return None
    return _Rule(max(ends[0], 2) + 1, tuple(ends[1:-1]), points)


def _table(text: bytes, start: int, n: int, layout: _Layout) -> dict[str, np.ndarray] | None:
    """Read lines of one length, with symbols and then real numbers that each end in the same column, as most are.

    The space after a number and the line's end become the commas of an array that is JSON only if there is one number
    between any two of them. So the place of a space can be taken from the frame before: it is never wrong in silence.
    """
    length, left = divmod(len(text) - start - 1, n)
    if left or text.find(b"[", start) >= 0 or text.find(b",", start) >= 0:  # what JSON would take for structure
        return None
    key = layout, length
    found = _table_by(_rules[key], text, start, n, layout) if key in _rules else None
    if found is None:
        rule = _rule(text[start + 1 : start + 1 + length], layout.width)
        if rule is None:
            return None
        if len(_rules) >= _MANY:
            _rules.clear()
        _rules[key] = rule
        found = _table_by(rule, text, start, n, layout)
    return found


def _table_by(rule: _Rule, text: bytes, start: int, n: int, layout: _Layout) -> dict[str, np.ndarray] | None:
    table = bytearray(memoryview(text)[start:])
    length, count = len(table) // n, n * (layout.width - 1)
    points, spaces, commas = b"." * n, b" " * n, b"," * n
    if table[length::length] != b"\n" * n or table[rule.symbols :: length] != spaces:
        return None
    for place in rule.points:
        if table[place + 1 :: length] != points:
            return None
    for place in rule.spaces:
        if table[place + 1 :: length] != spaces:
            return None
        table[place + 1 :: length] = commas
    symbols = []
    for place in range(1, rule.symbols):
        symbols.append(bytes(table[place::length]))
        table[place::length] = spaces
    table[length::length] = commas
    table[0], table[-1] = b"[]"
    try:
        numbers = read_array(bytes(table), count, count).reshape(n, -1)
    except ValueError:
        return None
    found = _parts(numbers, layout)
    arrays = {"numbers": _numbers_of(symbols, n), "positions": found["positions"]}
    for name in layout.order:
        arrays[name] = found[name]
    return arrays


def _numbers_of(symbols: list[bytes], n: int) -> np.ndarray:
    """Return the atomic numbers of n symbols: their first characters, their second ones."""
    numbers = np.empty(n, dtype=int)
    kinds = {*zip(*symbols, strict=True)}
    if len(kinds) == 1:
        numbers.fill(_number_of(bytes(kinds.pop())))
    else:
        numbers[:] = [_number_of(bytes(symbol)) for symbol in zip(*symbols, strict=True)]
    return numbers


def _numbers(words: list[bytes], kinds: set[bytes], layout: _Layout) -> np.ndarray:
    if not layout.by_symbol:
        return _whole(words).astype(int)
    if len(kinds) == 1:
        return np.full(len(words), _number_of(words[0]))
    return np.array([_number_of(word) for word in words])


@lru_cache(maxsize=_MANY)
def _number_of(symbol: bytes) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers[symbol.decode().strip().capitalize()])


def _whole(words: list[bytes]) -> np.ndarray:
    return np.array(list(map(int, words)), dtype=np.int32)


def _converted(words: list[bytes], kind: str) -> np.ndarray:
    if kind == "I":
        return _whole(words)
    if kind == "L":
        return np.array([_TRUTH[word] for word in words])
    texts = [word.decode() for word in words]
    if not "".join(texts).isprintable():
        raise ValueError("perhaps white space of Unicode's")
    return np.array(texts, dtype=object)


def _results(arrays: dict[str, np.ndarray], info: dict[str, Any]) -> dict[str, Any]:
    """Take out of arrays and info what ASE takes for results of a calculation."""
    results: dict[str, Any] = {}
    of_atoms, of_frame = _result_names(tuple(arrays), tuple(info))
    for key in of_atoms:
        results[key] = arrays.pop(key)
    for key in of_frame:
        value = info.pop(key)
        if key == "stress" and value.shape == (3, 3):
            value = value.T.reshape(9).take(_VOIGT)
        results[key] = value
    return {key: value if key in _AS_THEY_ARE else np.asarray(value, float) for key, value in results.items()}


def _is_symmetric(stress: np.ndarray) -> bool:
    if stress.shape != (3, 3):
        return True
    (_, xy, xz), (yx, _, yz), (zx, zy, _) = stress.tolist()
    return bool(xy == yx and xz == zx and yz == zy)


@lru_cache(maxsize=_MANY)
def _result_names(arrays: tuple[str, ...], info: tuple[str, ...]) -> tuple[list[str], list[str]]:
    from ase.calculators.calculator import all_properties
    from ase.io.extxyz import per_config_properties

    return [key for key in arrays if key in all_properties], [key for key in info if key in per_config_properties]


def _new_atoms(arrays: dict[str, np.ndarray], cell: np.ndarray, pbc: np.ndarray, info: dict[str, Any]) -> Atoms:
    """Put an `Atoms` together from arrays that are right already, which its constructor would check and copy."""
    classes = _classes()
    atoms: Atoms = object.__new__(classes.atoms)
    held = object.__new__(classes.cell)
    held.array = cell
    atoms.__dict__ = {
        "_cellobj": held,
        "_pbc": pbc,
        "arrays": arrays,
        "_celldisp": np.zeros((3, 1)),
        "_constraints": [],
        "info": info,
        "_calc": None,
    }
    return atoms


def _new_calculator(atoms: Atoms, results: dict[str, Any]) -> object:
    """Attach results as `SinglePointCalculator` does: it holds a copy of the atoms."""
    classes = _classes()
    arrays = {name: values.copy() for name, values in atoms.arrays.items()}
    calculator = object.__new__(classes.calculator)
    calculator.__dict__ = {
        **classes.constants,
        "parameters": classes.parameters(),
        "results": results,
        "atoms": _new_atoms(arrays, atoms.cell.array.copy(), atoms.pbc.copy(), atoms.info.copy()),
    }
    return calculator


@dataclass(frozen=True, eq=False)
class _Classes:
    """ASE's classes, and what else than atoms, results and parameters a calculator holds."""

    atoms: Any
    cell: Any
    calculator: Any
    parameters: Any
    constants: dict[str, Any]


@cache
def _classes() -> _Classes:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.cell import Cell

    attributes = dict(vars(SinglePointCalculator(Atoms())))
    parameters = type(attributes.pop("parameters"))
    # ASE binds a method (`get_spin_polarized`: a warning, and False) to each calculator: a circle that only Python's
    # collector of garbage opens, so that the arrays stay for long. Bound to one calculator for all, it does the same.
    constants = {name: value for name, value in attributes.items() if name not in {"atoms", "results"}}
    return _Classes(Atoms, Cell, SinglePointCalculator, parameters, constants)


def same_content(one: Atoms, other: Atoms) -> bool:
    """Tell whether two frames are the same in all they hold, types and bits included."""
    if type(one) is not type(other) or vars(one).keys() != vars(other).keys():
        return False
    if one.constraints or other.constraints:
        return False
    pairs: list[tuple[object, object]] = [
        (one.arrays, other.arrays),
        (one.info, other.info),
        (one.cell.array, other.cell.array),
        (one.pbc, other.pbc),
        (one.get_celldisp(), other.get_celldisp()),
    ]
    if one.calc is None or other.calc is None:
        return one.calc is other.calc and all(same_value(a, b) for a, b in pairs)
    mine, theirs = vars(one.calc), vars(other.calc)
    if type(one.calc) is not type(other.calc) or mine.keys() != theirs.keys():
        return False
    pairs += [(mine[key], theirs[key]) for key in mine if key != "atoms" and not callable(mine[key])]
    return same_content(mine["atoms"], theirs["atoms"]) and all(same_value(a, b) for a, b in pairs)


def same_value(one: object, other: object) -> bool:
    """Tell whether two values are equal in type, shape and every bit; keys of a dict may stand in any order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_value(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, (np.ndarray, np.generic)) and isinstance(other, (np.ndarray, np.generic)):
        if one.dtype == object:
            return one.shape == other.shape and same_value(one.tolist(), other.tolist())
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return bool(one == other)
