"""What a crystal graph's node knows of its element: the published categories of element tables, or one category each.

The published encoding (Xie & Grossman, PRL 120, 145301, table S1 of its supplement) puts nine properties into
categories, one of which is 1 per property and the others 0. The authors' file gives the result, not the numbers behind
it; the numbers below put all its hundred elements into its categories, and later elements by the same rules.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from mlff_curate.data.opening import open_binary
from mlff_curate.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LAST_ELEMENT = 118
_MOST_FEATURES = 4096

# Symbol; electronegativity (Pauling's scale); covalent radius, pm (Pyykko & Atsumi, Chem. Eur. J. 15, 186, single
# bonds); first ionisation energy, eV (NIST Atomic Spectra Database); electron affinity, eV; atomic volume, cm3/mol.
# Collected in the Python package mendeleev, 0.2.8 and (ionisation energies from Cm on) 1.3.0. Affinities of He,
# Be, N and Ar are extrapolations of old, which the published categories rest on.
_TABLE = """
H    2.2   32  13.5984  0.754  14.1
He     -   46  24.5874  -19.7  31.8
Li  0.98  133   5.3917  0.618  13.1
Be  1.57  102   9.3227   -2.4     5
B   2.04   85    8.298   0.28   4.6
C   2.55   75  11.2603  1.262   5.3
N   3.04   71  14.5341   -1.4  17.3
O   3.44   63  13.6181  1.461    14
F   3.98   64  17.4228  3.401  17.1
Ne     -   67  21.5645      -  16.8
Na  0.93  155   5.1391  0.548  23.7
Mg  1.31  139   7.6462      -    14
Al  1.61  126   5.9858  0.433    10
Si   1.9  116   8.1517   1.39  12.1
P   2.19  111  10.4867  0.747    17
S   2.58  103    10.36  2.077  15.5
Cl  3.16   99  12.9676  3.613  18.7
Ar     -   96  15.7596  -11.5  24.2
K   0.82  196   4.3407  0.501  45.3
Ca     1  171   6.1132  0.025  29.9
Sc  1.36  148   6.5615  0.188    15
Ti  1.54  136   6.8281  0.079  10.6
V   1.63  134   6.7462  0.525  8.35
Cr  1.66  122   6.7665  0.666  7.23
Mn  1.55  119    7.434      -  7.39
Fe  1.83  116   7.9025  0.151   7.1
Co  1.88  111    7.881  0.662   6.7
Ni  1.91  110   7.6399  1.156   6.6
Cu   1.9  112   7.7264  1.235   7.1
Zn  1.65  118   9.3942      -   9.2
Ga  1.81  124   5.9993   0.43  11.8
Ge  2.01  121   7.8994  1.233  13.6
As  2.18  121    9.789  0.804  13.1
Se  2.55  116   9.7524  2.021  16.5
Br  2.96  114  11.8138  3.364  23.5
Kr     -  117  13.9996      -  32.2
Rb  0.82  210   4.1771  0.486  55.9
Sr  0.95  185   5.6949  0.048  33.7
Y   1.22  163   6.2173  0.307  19.8
Zr  1.33  154   6.6339  0.426  14.1
Nb   1.6  147   6.7588  0.917  10.8
Mo  2.16  138   7.0924  0.748   9.4
Tc   2.1  128   7.1194   0.55   8.5
Ru   2.2  125   7.3605   1.05   8.3
Rh  2.28  125   7.4589  1.137   8.3
Pd   2.2  120   8.3369  0.562   8.9
Ag  1.93  128   7.5762  1.302  10.3
Cd  1.69  136   8.9938      -  13.1
In  1.78  142   5.7864    0.3  15.7
Sn  1.96  140   7.3439  1.112  16.3
Sb  2.05  140   8.6084  1.046  18.4
Te   2.1  136   9.0097  1.971  20.5
I   2.66  133  10.4513  3.059  25.7
Xe   2.6  131  12.1298 -0.056  42.9
Cs  0.79  232   3.8939  0.472    70
Ba  0.89  196   5.2117  0.145    39
La   1.1  180   5.5769   0.47  22.5
Ce  1.12  163   5.5386   0.65    21
Pr  1.13  176    5.473  0.962  20.8
Nd  1.14  174    5.525  1.916  20.6
Pm     -  173    5.582      -     -
Sm  1.17  172   5.6437      -  19.9
Eu     -  168   5.6704  0.864  28.9
Gd   1.2  169   6.1498      -  19.9
Tb     -  168   5.8638  1.165  19.2
Dy  1.22  167    5.939  0.352    19
Ho  1.23  166   6.0215      -  18.7
Er  1.24  165   6.1077      -  18.4
Tm  1.25  164   6.1843  1.029  18.1
Yb     -  170   6.2542  -0.02  24.8
Lu     1  162   5.4259   0.34  17.8
Hf   1.3  152   6.8251  0.014  13.6
Ta   1.5  146   7.5496  0.322  10.9
W    1.7  137    7.864  0.816  9.53
Re   1.9  131   7.8335   0.15  8.85
Os   2.2  129   8.4382    1.1  8.43
Ir   2.2  122    8.967  1.564  8.54
Pt   2.2  123   8.9588  2.128   9.1
Au   2.4  124   9.2256  2.309  10.2
Hg   1.9  133  10.4375      -  14.8
Tl   1.8  144   6.1083  0.377  17.2
Pb   1.8  144   7.4167  0.357  18.3
Bi   1.9  151   7.2855  0.942  21.3
Po     2  145    8.414    1.9  22.7
At   2.2  147   9.3175    2.8     -
Rn     -  142  10.7485      -     -
Fr   0.7  223   4.0727  0.486     -
Ra   0.9  201   5.2784    0.1    45
Ac   1.1  186   5.3802   0.35 22.54
Th   1.3  175   6.3067      -  19.8
Pa   1.5  169     5.89      -    15
U    1.7  170    6.194      -  12.5
Np   1.3  171   6.2655      -  21.1
Pu   1.3  172   6.0258      -     -
Am     -  166   5.9738      -  20.8
Cm     -  166   5.9922      - 18.28
Bk     -  168   6.1978      -     -
Cf     -  168   6.2819      -     -
Es     -  165   6.3684      -     -
Fm     -  167      6.5      -     -
Md     -  173     6.58      -     -
No     -  176   6.6262      -     -
Lr     -  161     4.96      -     -
Rf     -  157     6.02      -     -
Db     -  149      6.8      -     -
Sg     -  143      7.8      -     -
Bh     -  141      7.7      -     -
Hs     -  134      7.6      -     -
Mt     -  129        -      -     -
Ds     -  128        -      -     -
Rg     -  121        -      -     -
Cn     -  122        -      -     -
Nh     -  136        -      -     -
Fl     -  143        -      -     -
Mc     -  162        -      -     -
Lv     -  175        -      -     -
Ts     -  165        -      -     -
Og     -  157        -  0.056     -
"""

_PERIOD_STARTS = (1, 3, 11, 19, 37, 55, 87)
_BLOCKS = "spdf"
_VALENCE_OF_PD = 12
"""As the published categories have it: 4 d electrons and 4 s electrons, though s is the shell below."""


@dataclass(frozen=True)
class _Range:
    """A range cut into categories of equal width; a number outside belongs to none.

    Some numbers lie on an edge: electronegativities 1.2, 1.55, 1.9 and 2.6, an affinity of 0.35. Which category they
    have in the published file follows from this formula in binary arithmetic, and from other ways to write it not.
    """

    low: float
    high: float
    categories: int = 10
    logarithmic: bool = False

    def category(self, value: float | None) -> int | None:
        if value is None:
            return None
        value = math.log(value) if self.logarithmic else value
        if not self.low <= value <= self.high:
            return None
        place = math.floor((value - self.low) / (self.high - self.low) * self.categories)
        return min(place, self.categories - 1)


_ELECTRONEGATIVITY = _Range(0.5, 4.0)
_RADIUS = _Range(25.0, 250.0)
_IONISATION = _Range(1.3, 3.3, logarithmic=True)
_AFFINITY = _Range(-3.0, 3.7)
_VOLUME = _Range(1.5, 4.3, logarithmic=True)

# Group none and 1 to 18, period 1 to 7, valence electrons 1 to 12, blocks.
_WIDTHS = (19, 7, 10, 10, 12, 10, 10, 4, 10)
PUBLISHED_SIZE = sum(_WIDTHS)
"""92."""


def period_of(z: int) -> int:
    """Return the period of an element, 1 to 7."""
    return sum(z >= start for start in _PERIOD_STARTS)


def group_of(z: int) -> int | None:
    """Return the group of an element, 1 to 18; None for lanthanides (La to Yb) and actinides (Ac to No)."""
    starts = (*_PERIOD_STARTS, LAST_ELEMENT + 1)
    period = period_of(z)
    first, last = starts[period - 1], starts[period] - 1
    if z - first < (1 if period == 1 else 2):
        return z - first + 1
    from_end = 18 - (last - z)
    return from_end if from_end >= 3 else None


def block_of(z: int) -> str:
    """Return the block of an element: s, p, d or f; helium is s."""
    group = group_of(z)
    if group is None:
        return "f"
    if group <= 2 or z == 2:
        return "s"
    return "d" if group <= 12 else "p"


def valence_electrons(z: int) -> int:
    """Return the valence electrons: s and p of the last shell, of the d block also d of the shell before."""
    group = group_of(z)
    if z == 2 or group is None:
        return 2
    if chemical_symbols[z] == "Pd":
        return _VALENCE_OF_PD
    return group if group <= 12 else group - 10


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class ElementEncoding:
    """Rows of numbers that stand for elements.

    Attributes
    ----------
    numbers
        (Z,) atomic numbers, ascending.
    rows
        (Z, D) float32.
    origin
        Where the rows come from, for messages: ``the element tables``.
    """

    numbers: np.ndarray
    rows: np.ndarray
    origin: str

    @property
    def size(self) -> int:
        """D."""
        return int(self.rows.shape[1])

    def lacking(self, numbers: np.ndarray) -> list[str]:
        """Return the symbols of the elements, (N,) atomic numbers, that have no row, in the order of the table."""
        return [symbol_of(int(z)) for z in np.setdiff1d(numbers, self.numbers)]

    def require(self, numbers: np.ndarray) -> None:
        """Refuse atoms, (N,) atomic numbers, without a row.

        Raises
        ------
        DataError
            The message names the elements.
        """
        lacking = self.lacking(numbers)
        if lacking:
            raise DataError(f"no features for {', '.join(lacking)} in {self.origin}")

    def features(self, numbers: np.ndarray) -> np.ndarray:
        """Return the rows of atoms, (N, D), by their atomic numbers, (N,).

        Raises
        ------
        DataError
            An element has no row; the message names it.
        """
        self.require(numbers)
        found: np.ndarray = self.rows[np.searchsorted(self.numbers, numbers)]
        return found


def symbol_of(z: int) -> str:
    """Return the symbol of an element, or the number where there is none; 0 is ASE's X, for no element."""
    return chemical_symbols[z] if 0 <= z < len(chemical_symbols) else f"number {z}"


def published_encoding() -> ElementEncoding:
    """Return the published 92 categories for the elements 1 to 118.

    A property that is not known of an element, or lies outside the range that is cut into categories, gives it none.
    """
    numbers = np.arange(1, LAST_ELEMENT + 1)
    rows = np.zeros((len(numbers), PUBLISHED_SIZE), np.float32)
    starts = np.cumsum((0, *_WIDTHS[:-1]))
    for z, row in zip(numbers.tolist(), rows, strict=True):
        for start, category in zip(starts, _categories(z), strict=True):
            if category is not None:
                row[start + category] = 1.0
    return ElementEncoding(numbers, rows, "the element tables")


def _categories(z: int) -> tuple[int | None, ...]:
    electronegativity, radius, ionisation, affinity, volume = _PROPERTIES[z - 1]
    return (
        group_of(z) or 0,
        period_of(z) - 1,
        _ELECTRONEGATIVITY.category(electronegativity),
        _RADIUS.category(radius),
        valence_electrons(z) - 1,
        _IONISATION.category(ionisation),
        _AFFINITY.category(affinity),
        _BLOCKS.index(block_of(z)),
        _VOLUME.category(volume),
    )


def one_hot_encoding(numbers: Sequence[int] | np.ndarray) -> ElementEncoding:
    """Return one category per element, for the elements given and no others."""
    known = np.unique(np.asarray(numbers, np.int64))
    return ElementEncoding(known, np.eye(len(known), dtype=np.float32), "the elements of the training data")


def read_encoding(path: Path) -> ElementEncoding:
    """Read an encoding as the authors keep theirs: JSON, atomic number to a list of numbers.

    Raises
    ------
    DataError
        The file is missing or something else; the message names the entry.
    """
    name = str(path)
    with open_binary(path) as stream:
        try:
            table = json.loads(stream.read())
        except (ValueError, RecursionError, EOFError):
            raise DataError("is no JSON", file=name) from None
    if not isinstance(table, dict) or not table:
        raise DataError("is no table of elements: atomic numbers to lists of numbers are expected", file=name)
    rows: dict[int, list[float]] = {}
    for key, row in table.items():
        if not key.isascii() or not key.isdigit() or not 1 <= int(key[:9]) <= LAST_ELEMENT:
            raise DataError("is no atomic number", file=name, key=key[:40])
        if not isinstance(row, list) or not all(type(x) in (int, float) and math.isfinite(x) for x in row):
            raise DataError("a list of numbers is expected", file=name, key=key)
        rows[int(key)] = row
    sizes = sorted({len(row) for row in rows.values()})
    if len(sizes) > 1 or not 1 <= sizes[0] <= _MOST_FEATURES:
        raise DataError(f"the elements have {' and '.join(map(str, sizes[:3]))} features", file=name)
    numbers = np.array(sorted(rows))
    return ElementEncoding(numbers, np.array([rows[z] for z in numbers.tolist()], np.float32), name)


def _read_table() -> list[tuple[float | None, ...]]:
    lines = [line.split() for line in _TABLE.split("\n") if line]
    assert [line[0] for line in lines] == chemical_symbols[1 : LAST_ELEMENT + 1]
    return [tuple(None if word == "-" else float(word) for word in line[1:]) for line in lines]


_PROPERTIES = _read_table()
