"""Frames for round trips, and how files are read and compared."""

import gc
import tracemalloc

import numpy as np
from ase import Atoms

from mlff_curate import read_frames
from mlff_curate.data.formats import FORMATS
from mlff_curate.data.formats.base import NormalFrame, ReadOptions
from mlff_curate.data.frames import Frame, calculator_results, is_isolated_atom, with_results
from mlff_curate.data.labels import labels_of
from mlff_curate.errors import DataError


def crystal(seed=0, symbols="TaNb", *, labels=("energy", "forces", "stress"), group="bulk"):
    """A skewed cell with random positions and labels, no digit of which is round."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(symbols, positions=3 * rng.random((2, 3)), cell=3 * np.eye(3) + 0.3 * rng.random((3, 3)), pbc=True)
    results = {"energy": -10 * rng.random(), "forces": rng.normal(size=(2, 3)), "stress": rng.normal(size=6) * 0.1}
    if group:
        atoms.info["config_type"] = group
    found = {key: results[key] for key in labels}
    return with_results(atoms, **found) if found else atoms


def rich(seed=1):
    """A frame with every sort of info and array beside its labels."""
    atoms = crystal(seed, group="all sorts / of: things = 100%")
    atoms.info |= {
        "source": "somewhere#3",
        "note": 'quotes " and ünicode',
        "count": 3,
        "flag": True,
        "vector": np.array([0.1, 0.2, 0.3]),
        "nested": {"a": [1, 2.5, None], "b": np.arange(3)},
        "object": object(),
    }
    atoms.arrays["initial_magmoms"] = np.array([2.2, -1.1])
    atoms.arrays["momenta"] = np.arange(6.0).reshape(2, 3) / 7
    atoms.arrays["mask"] = np.array([True, False])
    atoms.calc.results["free_energy"] = -1.25
    return atoms


def free_atom():
    return with_results(Atoms("Ta", positions=[[0.1, 0.2, 0.3]], info={"config_type": "IsolatedAtom"}), energy=-3.25)


def normal(atoms, index=0):
    frame = Frame(atoms, "in.extxyz", index, "0" * 64, None)
    group = atoms.info.get("config_type")
    return NormalFrame(frame, labels_of(atoms), group, is_isolated_atom(atoms))


def assert_same_labels(atoms, back, rtol=1e-12):
    one, other = labels_of(atoms), labels_of(back)
    for kind in ("energy", "forces", "stress"):
        a, b = getattr(one, kind), getattr(other, kind)
        assert (a is None) == (b is None), kind
        if a is not None:
            np.testing.assert_allclose(b, a, rtol=rtol, atol=0, err_msg=kind)


def assert_nothing_lost(atoms, back, lost):
    """Elements, positions, cell and pbc to the last bit; labels; each key is back or was named."""
    assert (atoms.numbers == back.numbers).all()
    if "positions" not in lost:
        np.testing.assert_array_equal(atoms.positions, back.positions)
    if "cell" not in lost:
        np.testing.assert_array_equal(atoms.cell.array, back.cell.array)
    if "pbc" not in lost:
        np.testing.assert_array_equal(atoms.pbc, back.pbc)
    used = {k for kind in ("energy", "forces", "stress") if (k := getattr(labels_of(atoms), f"{kind}_key"))}
    given = {**atoms.info, **atoms.arrays, **calculator_results(atoms)}
    read = {**back.info, **back.arrays, **calculator_results(back)}
    for key, value in given.items():
        if key not in used and key not in lost:
            assert key in read, key
            np.testing.assert_equal(read[key], value, err_msg=key)
    for key in lost:
        assert key in given or key in ("cell", "pbc", "stress", "forces", "energy", "constraints"), key


def read_all(path, **options):
    """Read with the format that claims the path; the frames, or the one-line error."""
    try:
        return list(read_frames(path, **options))
    except DataError as error:
        found = error
    assert "\n" not in str(found)
    assert str(path) in str(found)
    return found


def format_of(name):
    return next(f for f in FORMATS if f.name == name)


def contents(name, path):
    return list(format_of(name).read(path, ReadOptions()))


def peak_memory(path):
    """Most bytes that were in use while a file was read, each frame forgotten at once."""
    gc.freeze()  # what is there already need not be looked at
    tracemalloc.start()
    for _ in read_frames(path):
        gc.collect()  # ASE's calculators refer to themselves
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    gc.unfreeze()
    return peak
