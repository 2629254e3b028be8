"""One normal form of labels, whatever names a file has for them.

A label that is missing is `None`, never zero: a zero would be fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from mlff_curate.data.frames import calculator_results, looks_like_label
from mlff_curate.errors import CurateError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ase import Atoms

PREFIXES = (
    "",
    "ref_",
    "reference_",
    "dft_",
    "qm_",
    "vasp_",
    "qe_",
    "cp2k_",
    "castep_",
    "pbe_",
    "pbesol_",
    "scan_",
    "r2scan_",
    "target_",
    "true_",
)
"""What a label's name may begin with, in lower case. `MACE_energy`, `gap_energy` and the like are predictions that
evaluation scripts write beside the label, so they are not here."""

SUFFIXES = tuple(f"_{prefix[:-1]}" for prefix in PREFIXES if prefix not in ("", "ref_", "reference_"))
"""What it may end with: `energy_dft`. Not `energy_ref`, which may as well be the level that energies count from."""

PREDICTED = ("model_energy", "model_forces", "model_stress", "model_energy_std", "model_forces_std")
"""Info and array keys under which ``evaluate --predictions`` writes what models predict. No label is looked for under
them and none is proposed: a model would learn from a model's errors. A user can name one."""

ENERGY_NAMES = ("energy", "total_energy", "potential_energy")
FORCES_NAMES = ("forces", "force")
STRESS_NAMES = ("stress",)

PER_ATOM_ENERGY_NAMES = ("energies", "atomic_energies", "local_energy", "atom_energies")
MAGMOM_NAMES = ("magmoms", "initial_magmoms", "magmom")
"""A calculation's moments come before those it began with (published sets have the result under either name)."""

# Looked at only where none of the names above is there: the free energy differs from the energy in every
# calculation with smeared occupations, and a virial is the same quantity as a stress in another unit and sign.
ENERGY_FALLBACKS = ("free_energy", "energy_without_entropy", "energy_sigma_to_0")
STRESS_FALLBACKS = ("virial", "virials")

_ENERGY_TIERS = (ENERGY_NAMES, *((name,) for name in ENERGY_FALLBACKS))
_STRESS_TIERS = (STRESS_NAMES, STRESS_FALLBACKS)

SAME_VALUE, SAME_RATIO = 1e-5, 1e-9
"""Two copies of a label may be rounded differently: eV, eV/Angstrom, eV/Angstrom^3, and relative."""
_NOISE_RATIO = 1e-3
"""Share of a stress's norm by which it may differ from its transpose: codes' grids break the symmetry a little."""


@dataclass(frozen=True, eq=False)  # the generated comparison would ask arrays for one truth value
class Labels:
    """The labels of one frame of n atoms; None where it has none.

    Attributes
    ----------
    energy
        Total energy, eV.
    forces
        (n, 3), eV/Angstrom.
    stress
        (6,) in ASE's Voigt order xx, yy, zz, yz, xz, xy, eV/Angstrom^3, positive under tension.
    energy_key, forces_key, stress_key
        The name that the frame has for it, None where there is no such label.
    energy_kind
        ``free``, ``without entropy`` or ``sigma to 0``, None where the file does not say.
    energies
        (n,) energy of each atom, eV.
    magmoms
        (n,) or (n, 3) magnetic moment of each atom, Bohr magnetons.
    energies_key, magmoms_key
        The name that the frame has for it.
    from_virial
        The stress was computed from a virial.
    not_finite
        Names of labels that are there but hold NaN or infinity; they count as missing.
    without_cell
        Names of virials that no stress can be made of, as the frame has no volume; they count as missing.
    present
        All names in the frame that look like labels, whether used or not.
    unknown
        Those of them that are under no name that is known for a label: nobody will use them.
    predicted
        Those of them that hold predictions (``PREDICTED``) and are not used, as nobody named them.
    """

    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    energy_kind: str | None = None
    energies: np.ndarray | None = None
    magmoms: np.ndarray | None = None
    energies_key: str | None = None
    magmoms_key: str | None = None
    from_virial: bool = False
    not_finite: tuple[str, ...] = ()
    without_cell: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    predicted: tuple[str, ...] = ()


def labels_of(
    atoms: Atoms, energy_key: str | None = None, forces_key: str | None = None, stress_key: str | None = None
) -> Labels:
    """Take the labels from a frame: from its calculator's results, its info and its arrays.

    Parameters
    ----------
    atoms
        The frame, n atoms.
    energy_key, forces_key, stress_key
        Name of the label; None: look under the plain names and the usual prefixes, upper or lower case. A frame that
        lacks a name given here has no such label. A name with "virial" in it holds a virial, (6,) or (3, 3) in eV,
        positive under compression, which becomes a stress with the cell's volume.

    Raises
    ------
    DataError
        Several candidates have different values, or a label is not numeric or of the wrong shape; names the key.

    Examples
    --------
    >>> from ase import Atoms
    >>> atoms = Atoms("Ta", info={"REF_energy": -11.85})
    >>> labels_of(atoms).energy, labels_of(atoms).energy_key, labels_of(atoms).forces is None
    (-11.85, 'REF_energy', True)
    """
    return _labels_of(atoms, energy_key, forces_key, stress_key, None)


@dataclass(frozen=True)
class UnusableLabel:
    """A label that is there and cannot be used as it is.

    Attributes
    ----------
    kind
        ``energy``, ``forces``, ``stress``, ``energies`` or ``magmoms``.
    fault
        ``shape``: not numbers, of the wrong shape or not symmetric; ``nan``: NaN or infinity; ``cell``: a virial of a
        frame without a volume; ``ambiguous``: several candidates differ.
    key
        The name that the frame has for it; None: several.
    message
        What is wrong, in words.
    """

    kind: str
    fault: Literal["shape", "nan", "cell", "ambiguous"]
    key: str | None
    message: str


_Tell = Callable[[UnusableLabel], None]


def usable_labels(
    atoms: Atoms, energy_key: str | None = None, forces_key: str | None = None, stress_key: str | None = None
) -> tuple[Labels, tuple[UnusableLabel, ...]]:
    """Take the labels of a frame that can be used, as :func:`labels_of`, and tell what is wrong with the others.

    Of a kind with several candidates that differ, none is taken.
    """
    unusable: list[UnusableLabel] = []
    return _labels_of(atoms, energy_key, forces_key, stress_key, unusable.append), tuple(unusable)


def _labels_of(
    atoms: Atoms, energy_key: str | None, forces_key: str | None, stress_key: str | None, tell: _Tell | None
) -> Labels:
    """Take the labels; what cannot be used is told or, with nobody to tell, raised."""
    places = (calculator_results(atoms), atoms.info, atoms.arrays)
    names = _known_names(*map(tuple, places))
    n = len(atoms)

    def find(
        kind: str, key: str | None, shape: tuple[int, ...], convert: Callable[[np.ndarray, str], np.ndarray | None]
    ) -> _Found:
        tiers = names.of_kind[kind] if key is None else _named_so(places, key)
        return (_plain(places, tiers, shape) or _find(places, tiers, convert, kind, tell)) if tiers else _NOTHING

    without_cell: list[str] = []

    def as_stress(value: np.ndarray, key: str) -> np.ndarray | None:
        stress = _as_stress(value, key, _volume_for(key, atoms))
        if stress is None:
            without_cell.append(key)
            if tell is not None:
                tell(UnusableLabel("stress", "cell", key, "a virial makes no stress where the cell has no volume"))
        return stress

    energy = find("energy", energy_key, (), _as_energy)
    forces = find("forces", forces_key, (n, 3), lambda v, k: _as_forces(v, k, n))
    stress = find("stress", stress_key, (6,), as_stress)
    energies = find("energies", None, (n,), lambda v, _: v if v.shape == (n,) else None)
    magmoms = find("magmoms", None, (n,), lambda v, _: _per_atom(v, n))
    used = {energy.key, forces.key, stress.key, energies.key, magmoms.key}
    return Labels(
        energy=None if energy.value is None else float(energy.value),
        forces=forces.value,
        stress=stress.value,
        energy_key=energy.key,
        forces_key=forces.key,
        stress_key=stress.key,
        energy_kind=None if energy.key is None else _energy_kind(energy.key),
        energies=energies.value,
        magmoms=magmoms.value,
        energies_key=energies.key,
        magmoms_key=magmoms.key,
        from_virial=stress.key is not None and not _is_no_virial(stress.key),
        not_finite=_together(energy.not_finite, forces.not_finite, stress.not_finite),
        without_cell=tuple(without_cell),
        present=names.present,
        unknown=tuple(key for key in names.unknown if key not in used) if names.unknown else (),
        predicted=tuple(key for key in names.predicted if key not in used) if names.predicted else (),
    )


def _together(*names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({name for some in names for name in some})) if any(names) else ()


_TIERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "energy": _ENERGY_TIERS,
    "forces": (FORCES_NAMES,),
    "stress": _STRESS_TIERS,
    "energies": (PER_ATOM_ENERGY_NAMES,),
    "magmoms": tuple((name,) for name in MAGMOM_NAMES),
}
"""Names of each kind of label; those of a later tuple count only where the earlier have none."""
_Place = tuple[int, object]
"""Where a value is: in the results, info or arrays of a frame, and under which key."""


@dataclass(frozen=True)
class _Names:
    """What the names in a frame say."""

    of_kind: Mapping[str, tuple[tuple[_Place, ...], ...]]
    present: tuple[str, ...]
    unknown: tuple[str, ...]
    predicted: tuple[str, ...]


@lru_cache(maxsize=1024)  # the same names in frame after frame
def _known_names(*keys: tuple[object, ...]) -> _Names:
    """Sort the keys of results, info and arrays by what their names say that they are."""
    places = [(place, key) for place, some in enumerate(keys) for key in some]
    of_kind = {
        kind: tuple(tuple(p for p in places if _is_named(str(p[1]), None, (names,))) for names in tiers)
        for kind, tiers in _TIERS.items()
    }
    known = {key for tiers in of_kind.values() for tier in tiers for _, key in tier}
    present = tuple(sorted({str(key) for _, key in places if looks_like_label(str(key))}))
    return _Names(
        {kind: tuple(tier for tier in tiers if tier) for kind, tiers in of_kind.items()},
        present,
        tuple(key for key in present if key not in known and key not in PREDICTED),
        tuple(key for key in present if key in PREDICTED),
    )


def names_of_kind(atoms: Atoms, kind: str) -> list[str]:
    """Return the names in a frame under which a kind of label, such as ``forces``, is looked for."""
    found = _known_names(*map(tuple, (calculator_results(atoms), atoms.info, atoms.arrays)))
    return [str(key) for tier in found.of_kind[kind] for _, key in tier]


def _named_so(places: Sequence[Mapping[Any, object]], name: str) -> tuple[tuple[_Place, ...], ...]:
    return (tuple((place, key) for place, values in enumerate(places) for key in values if str(key) == name),)


def same_label(atoms: Atoms, key: str, kind: str) -> list[str]:
    """Return the names under which a frame has the label that is read from `key`, as `labels_of` sees it.

    Parameters
    ----------
    atoms
        The frame.
    key
        Where its label of this kind is read from.
    kind
        ``energy``, ``forces`` or ``stress``.
    """
    own = next((tier for tier in _TIERS[kind] if _is_named(key, None, (tier,))), None)
    return [key] if own is None else sorted({name for name, _ in _values(atoms) if _is_named(name, None, (own,))})


_ENERGY_KINDS = {"free": "free", "without_entropy": "without entropy", "sigma": "sigma to 0"}


def stress_names(keys: Iterable[str]) -> list[str]:
    """Return those of some names that are usual for a stress or a virial."""
    return [key for key in keys if _is_named(key, None, _STRESS_TIERS)]


def is_label_name(key: str) -> bool:
    """Tell whether a label is looked for under this name if the user names no other."""
    return key.lower().replace("-", "_") in _usual(tuple(tier for tiers in _TIERS.values() for tier in tiers))


@lru_cache(maxsize=1024)
def _energy_kind(key: str) -> str | None:
    return next((kind for word, kind in _ENERGY_KINDS.items() if word in key.lower()), None)


def _per_atom(value: np.ndarray, n: int) -> np.ndarray | None:
    return value if value.shape in ((n,), (n, 3)) else None


@dataclass(frozen=True)
class LabelFault:
    """A label that nothing can be fitted to.

    Attributes
    ----------
    key
        The name that the frame has for it.
    fault
        What is wrong with it, in words.
    """

    key: str
    fault: str


@dataclass(frozen=True)
class LabelSoundness:
    """Which labels of a frame can be used at all; their values are not judged.

    Attributes
    ----------
    sound
        Names of labels that are finite numbers of the right shape.
    faults
        Of the kinds of label (energy, forces, stress) that are there but under no name sound.
    without_cell
        Names of virials that no stress can be made of, as the frame has no volume, where it has no stress else.
    """

    sound: tuple[str, ...] = ()
    faults: tuple[LabelFault, ...] = ()
    without_cell: tuple[str, ...] = ()


def label_soundness(
    atoms: Atoms, energy_key: str | None = None, forces_key: str | None = None, stress_key: str | None = None
) -> LabelSoundness:
    """Tell which labels of a frame are finite numbers of the right shape, without refusing any.

    Labels are found as by :func:`labels_of`, but that an array of a value per atom is no energy and no stress of the
    frame, unless the user names it; and a frame that is not periodic in three directions has no stress to be judged.

    Parameters
    ----------
    atoms
        The frame.
    energy_key, forces_key, stress_key
        As in :func:`labels_of`.
    """
    n, volume = len(atoms), _volume(atoms)
    results = calculator_results(atoms)
    of_frame, of_atoms = _named((results, atoms.info)), _named((results, atoms.arrays))
    kinds: list[_Kind] = [
        (of_frame, energy_key, _ENERGY_TIERS, _as_energy),
        (of_atoms, forces_key, (FORCES_NAMES,), lambda v, k: _as_forces(v, k, n)),
    ]
    if atoms.pbc.all():
        kinds.append((of_frame, stress_key, _STRESS_TIERS, lambda v, k: _as_stress(v, k, volume)))
    sound: list[str] = []
    faults: list[LabelFault] = []
    for usual, key, names, convert in kinds:
        values = usual if key is None else _values(atoms)
        judged = [(name, _fault(raw, name, convert)) for name, raw in values if _is_named(name, key, names)]
        sound += [name for name, fault in judged if fault is None]
        if all(fault is not None for _, fault in judged):
            faults += [LabelFault(name, fault) for name, fault in judged if fault is not None]
    # ASE 3.22 reads a label of extxyz into two places: once is enough
    virials = () if volume > 0 else _virials_alone(of_frame if stress_key is None else _values(atoms), stress_key)
    return LabelSoundness(tuple(dict.fromkeys(sound)), tuple(dict.fromkeys(faults)), virials)


def _virials_alone(values: Iterable[tuple[str, object]], stress_key: str | None) -> tuple[str, ...]:
    """Return the names of virials, if there is no stress among the values."""
    names = dict.fromkeys(name for name, _ in values if _is_named(name, stress_key, _STRESS_TIERS))
    return tuple(names) if all("virial" in name.lower() for name in names) else ()


def labels_of_frames(
    frames: Iterable[Atoms],
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
) -> list[Labels]:
    """Take the labels from F frames; see `labels_of`.

    Raises
    ------
    DataError
        What `labels_of` raises, with the frame's index; or a given key is in no frame at all (`require_keys`).
    """
    labels = []
    for index, atoms in enumerate(frames):
        try:
            labels.append(labels_of(atoms, energy_key, forces_key, stress_key))
        except CurateError as error:
            error.frame = index
            raise
    require_keys(labels, energy_key, forces_key, stress_key)
    return labels


def require_keys(
    labels: Sequence[Labels],
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
) -> None:
    """Refuse a key that no frame has: a misspelt key must not train on less than the user thinks.

    Parameters
    ----------
    labels
        Of all frames of all inputs, taken with these same keys.

    Raises
    ------
    DataError
        Names the key, the option it came from, and the label-like names that are there.
    """
    require_keys_among(labels, {"energy": energy_key, "forces": forces_key, "stress": stress_key}, len(labels))


def require_keys_among(labels: Iterable[Labels], given: Mapping[str, str | None], frames: int) -> None:
    """Refuse a key that no frame has, as :func:`require_keys`, where one of the labels with the same names is enough.

    Parameters
    ----------
    labels
        Of all names that frames have.
    given
        ``energy``, ``forces``, ``stress`` to the key.
    frames
        How many frames there are.

    Raises
    ------
    DataError
        As :func:`require_keys`.
    """
    labels = list(labels)
    for kind, key in given.items():
        if key is None or any(getattr(item, f"{kind}_key") == key or key in item.not_finite for item in labels):
            continue
        names = {name for item in labels for name in item.present}
        if key in names:
            raise DataError(f"no frame has a {kind} label that can be used under this name (--{kind}-key)", key=key)
        raise missing_key(kind, key, names, frames)


def missing_key(kind: str, key: str, names: Iterable[str], frames: int) -> DataError:
    """Return the error of a name that the user gave for a kind of label and that none of the frames has.

    Parameters
    ----------
    kind
        ``energy``, ``forces`` or ``stress``.
    key
        What the user gave.
    names
        Those in the frames that look like labels; predictions among them are not proposed.
    frames
        Their number.
    """
    listed = ", ".join(sorted(name for name in names if name not in PREDICTED))
    there = f"what is there: {listed}" if listed else "the frames have nothing that looks like a label"
    return DataError(f"--{kind}-key names a key that none of the {frames} frames has; {there}", key=key)


class _Found(NamedTuple):  # quicker to make than a dataclass: there are five of it for each frame
    """One kind of label of one frame."""

    value: np.ndarray | None = None
    key: str | None = None
    not_finite: tuple[str, ...] = ()


_NOTHING = _Found()


def _values(atoms: Atoms) -> list[tuple[str, object]]:
    """Every named value of a frame; a name may stand in more than one place."""
    return _named((calculator_results(atoms), atoms.info, atoms.arrays))


def _named(places: Iterable[Mapping[str, object]]) -> list[tuple[str, object]]:
    return [(str(key), value) for place in places for key, value in place.items() if value is not None]


def _plain(
    places: Sequence[Mapping[Any, object]], tiers: tuple[tuple[_Place, ...], ...], shape: tuple[int, ...]
) -> _Found | None:
    """Take a label that is alone and plainly right, as most are; None: `_find` has to look."""
    if len(tiers[0]) != 1:
        return None
    place, key = tiers[0][0]
    raw = places[place][key]
    if not shape:
        right = isinstance(raw, float) and math.isfinite(raw)
    else:
        right = (
            type(raw) is np.ndarray
            and raw.shape == shape
            and raw.dtype == np.float64
            and math.isfinite(np.vdot(raw, raw))
            and _is_no_virial(str(key))
        )
    return _Found(raw, str(key)) if right else None  # type: ignore[arg-type]


@lru_cache(maxsize=1024)
def _is_no_virial(key: str) -> bool:
    return "virial" not in key.lower()


def _find(
    places: Sequence[Mapping[Any, object]],
    tiers: tuple[tuple[_Place, ...], ...],
    convert: Callable[[np.ndarray, str], np.ndarray | None],
    kind: str,
    tell: _Tell | None,
) -> _Found:
    """Convert the candidates for a label; those of a later tier count only where the earlier have none.

    What cannot be used is told, or, with nobody to tell, raised.
    """
    not_finite: list[str] = []
    for tier in tiers:
        candidates: list[tuple[str, np.ndarray]] = []
        for place, key in tier:
            name, raw = str(key), places[place][key]
            if raw is None:
                continue
            value = _candidate(raw, name, convert, kind, tell)
            if value is None:
                continue
            if _all_finite(value):
                candidates.append((name, value))
            else:
                not_finite.append(name)
        if candidates:
            if len(candidates) > 1:
                candidates.sort(key=lambda item: (len(item[0]), item[0]))  # the plain name first
                if not _agree(candidates, kind, tell):
                    return _Found(not_finite=tuple(not_finite))
            return _Found(candidates[0][1], candidates[0][0], tuple(not_finite))
    return _Found(not_finite=tuple(not_finite))


def _candidate(raw: object, name: str, convert: _Convert, kind: str, tell: _Tell | None) -> np.ndarray | None:
    try:
        value = convert(_as_numbers(raw, name), name)
    except DataError as error:
        if tell is None:
            raise
        tell(UnusableLabel(kind, "shape", name, error.message))
        return None
    if tell is not None and value is not None and not _all_finite(value):
        tell(UnusableLabel(kind, "nan", name, _where_not_finite(kind, np.asarray(raw, np.float64))))
    return value


def _agree(candidates: list[tuple[str, np.ndarray]], kind: str, tell: _Tell | None) -> bool:
    try:
        _require_agreement(candidates, kind)
    except DataError as error:
        if tell is None:
            raise
        tell(UnusableLabel(kind, "ambiguous", None, error.message))
        return False
    return True


def _where_not_finite(kind: str, value: np.ndarray) -> str:
    if kind in ("energy", "stress"):
        return "holds NaN or infinity"
    rows = np.flatnonzero(~np.isfinite(value.reshape(len(value), -1)).all(axis=1))
    more = f", and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"holds NaN or infinity at atom {rows[0]}{more}"


_Convert = Callable[[np.ndarray, str], "np.ndarray | None"]
_Kind = tuple[list[tuple[str, object]], "str | None", tuple[tuple[str, ...], ...], _Convert]


def _is_named(name: str, key: str | None, names: tuple[tuple[str, ...], ...]) -> bool:
    if key is not None:
        return name == key
    return name.lower().replace("-", "_") in _usual(names)


@cache  # asked for every value of every frame
def _usual(names: tuple[tuple[str, ...], ...]) -> frozenset[str]:
    words = [word for tier in names for word in tier]
    return frozenset(
        [prefix + word for prefix in PREFIXES for word in words] + [word + end for end in SUFFIXES for word in words]
    )


def _fault(raw: object, key: str, convert: _Convert) -> str | None:
    try:
        value = convert(_as_numbers(raw, key), key)
    except DataError as error:
        return error.message
    return None if value is None or np.isfinite(value).all() else "holds NaN or infinity"


def _all_finite(value: np.ndarray) -> bool:
    # the sum of squares is one call; it overflows for what is finite but absurd, and then each number is looked at
    return math.isfinite(np.vdot(value, value)) or bool(np.isfinite(value).all())


def _require_agreement(candidates: list[tuple[str, np.ndarray]], kind: str) -> None:
    first = candidates[0][1]
    if all(np.allclose(value, first, rtol=SAME_RATIO, atol=SAME_VALUE) for _, value in candidates[1:]):
        return
    shown = ", ".join(
        f"{name} ({float(value):.10g} eV)" if value.ndim == 0 else name for name, value in sorted(candidates)
    )
    raise DataError(f"several labels could be the {kind} and differ: {shown}; choose one with --{kind}-key")


def _as_numbers(raw: object, key: str) -> np.ndarray:
    try:
        return np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"is not numeric: {str(raw)[:40]!r}", key=key) from None


def _as_energy(value: np.ndarray, key: str) -> np.ndarray:
    if value.size != 1:
        raise DataError(f"an energy is one number per frame, got shape {value.shape}", key=key)
    return value.reshape(())


def _as_forces(value: np.ndarray, key: str, n: int) -> np.ndarray:
    if value.shape != (n, 3):
        raise DataError(f"forces have shape (atoms, 3) = ({n}, 3), got {value.shape}", key=key)
    return value


def _as_stress(value: np.ndarray, key: str, volume: float) -> np.ndarray | None:
    if value.shape == (9,):
        value = value.reshape(3, 3)
    if value.shape == (3, 3):
        scale = volume if "virial" in key.lower() and volume > 0 else 1.0
        asymmetry = asymmetry_of(value / scale)
        if asymmetry is not None:
            raise DataError(f"{asymmetry}: mend what wrote it", key=key)
        value = (0.5 * (value + value.T))[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    if value.shape != (6,):
        raise DataError(f"a stress has shape (6,) or (3, 3), got {value.shape}", key=key)
    if "virial" not in key.lower():
        return value
    return -value / volume if volume > 0 else None  # a frame without a cell has a virial, but no stress


def asymmetry_of(stress: np.ndarray) -> str | None:
    """Say how a stress (3, 3), eV/Angstrom^3, differs from its transpose by more than rounding; None: it does not.

    No more than numerical noise of the calculation is 1e-3 of its norm and 1e-5 eV/Angstrom^3 together.
    """
    skew = float(np.abs(stress - stress.T).max())
    if not skew > _NOISE_RATIO * float(np.linalg.norm(stress)) + SAME_VALUE:  # NaN is told as NaN
        return None
    upper, lower = stress[[0, 0, 1], [1, 2, 2]], stress[[1, 2, 2], [0, 0, 1]]
    if not upper.any() or not lower.any():
        return "is not symmetric, one triangle is zero"
    return f"is not symmetric, it differs from its transpose by up to {skew:.3g} eV/Angstrom^3"


def _volume_for(key: str, atoms: Atoms) -> float:
    """Volume of the cell where the label is a virial; what is a stress already has no use for it."""
    return _volume(atoms) if "virial" in key.lower() else 0.0


def _volume(atoms: Atoms) -> float:
    """Volume of the cell in Angstrom^3, zero where a cell vector is missing."""
    return abs(float(np.linalg.det(atoms.cell.array)))
