"""Whatever a format can hold comes back as it was, and what it cannot is named."""

import numpy as np
import pytest
from odd_frames import ODD

from mlff_curate.data.formats import FORMATS
from mlff_curate.data.formats.ase_formats import ase_format
from mlff_curate.data.formats.base import WriteOptions
from mlff_curate.data.frames import Frame, calculator_results, content_digest, is_isolated_atom
from mlff_curate.data.labels import labels_of
from mlff_curate.data.reading import read_frames
from mlff_curate.data.writing import normal_frame
from mlff_curate.errors import DataError

WRITTEN = [form for form in (*FORMATS, ase_format("traj")) if form.write]
READ = [form for form in WRITTEN if form.read or form.suffix in (".extxyz", ".traj")]
KEEP_ALL = {"extxyz", "mace", "nequip", "hdf5", "db", "traj"}
"""What these formats lose of the odd frames is listed below; they refuse none."""
TURNED = {"lammps-data", "lammps-data-folder"}
"""Formats of triangular cells: frames come back turned."""
LOST = {
    ("mace", "isolated in a box"): {"config_type"},
    ("mace", "isolated, no energy"): {"config_type"},
    ("traj", "arrays"): {"count", "site", "fixed", "dipoles"},
}


def write(form, path, frames):
    """Write frames; return what was lost of each."""
    writer = form.write(path, WriteOptions())
    made = [normal_frame(Frame(atoms, "odd", index, content_digest(atoms), None)) for index, atoms in enumerate(frames)]
    lost = [set(writer.add(frame)) for frame in made]
    writer.close()
    return lost


def read(path, atoms):
    elements = sorted(set(atoms.get_chemical_symbols()), key=lambda s: atoms.numbers[atoms.symbols == s][0])
    return [frame.atoms for frame in read_frames(path, elements)]


def values(atoms):
    """All that a frame has beside its labels."""
    labels = labels_of(atoms)
    used = {labels.energy_key, labels.forces_key, labels.stress_key, "numbers", "positions"}
    found = {**atoms.info, **atoms.arrays, **calculator_results(atoms)}
    return {key: value for key, value in found.items() if key not in used}


def shape(form, atoms):
    """The cell, or what of it does not turn."""
    return atoms.cell.cellpar() if form.name in TURNED else atoms.cell.array


def places(form, atoms):
    """The positions, or what of them does not turn."""
    return atoms.get_all_distances(mic=True) if form.name in TURNED else atoms.positions


def same(one, other):
    if isinstance(one, (dict, str, list)):
        return one == other
    return np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("form", READ, ids=lambda form: form.name)
def test_what_a_format_holds_comes_back_and_the_rest_is_named(tmp_path, form, odd):
    before = ODD[odd]
    path = tmp_path / f"out{form.suffix}"
    try:
        (lost,) = write(form, path, [before.copy() if before.calc is None else before])
    except DataError:
        if form.name in KEEP_ALL:
            raise
        return
    (after,) = read(path, before)
    if form.name in KEEP_ALL:
        assert lost == LOST.get((form.name, odd), set())
    assert list(after.numbers) == list(before.numbers)
    for name, one, other in (("cell", shape(form, before), shape(form, after)), ("pbc", before.pbc, after.pbc)):
        assert name in lost or np.allclose(one, other, rtol=0, atol=1e-9)
    if not {"cell", "pbc"} & lost:
        np.testing.assert_allclose(places(form, after), places(form, before), rtol=0, atol=1e-9)
        assert is_isolated_atom(after) == is_isolated_atom(before) or "config_type" in lost
    told, kept = labels_of(before), labels_of(after)
    for kind in ("energy", "forces", "stress"):
        one, other = getattr(told, kind), getattr(kept, kind)
        if one is None:
            assert other is None, f"{kind} from nowhere"
        elif not {kind, getattr(told, f"{kind}_key")} & lost:
            np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-12)
    there = values(after)
    for key, value in values(before).items():
        assert key in lost or (key in there and same(value, there[key])), key


@pytest.mark.parametrize("form", [form for form in READ if form.name in KEEP_ALL], ids=lambda form: form.name)
def test_frames_come_back_in_their_order(tmp_path, form):
    path = tmp_path / f"out{form.suffix}"
    write(form, path, ODD.values())
    back = [frame.atoms for frame in read_frames(path)]
    assert [list(atoms.numbers) for atoms in back] == [list(atoms.numbers) for atoms in ODD.values()]
    for before, after in zip(ODD.values(), back, strict=True):
        np.testing.assert_array_equal(before.positions, after.positions)


@pytest.mark.parametrize("form", WRITTEN, ids=lambda form: form.name)
def test_equal_frames_give_equal_bytes(tmp_path, form):
    frames = [ODD["crystal"], ODD["triclinic"]][: 1 if form.name == "lammps-data" else 2]
    found = []
    for name in ("one", "two"):
        path = tmp_path / name / f"out{form.suffix}"
        path.parent.mkdir()
        write(form, path, frames)
        files = sorted(file for file in path.parent.rglob("*") if file.is_file())
        found.append([(file.relative_to(path.parent), file.read_bytes()) for file in files])
    assert found[0] == found[1]


@pytest.mark.parametrize("form", WRITTEN, ids=lambda form: form.name)
def test_writing_changes_no_frame(tmp_path, form):
    frames = [ODD["arrays"], ODD["crystal"]][: 1 if form.name == "lammps-data" else 2]
    before = [content_digest(atoms) for atoms in frames]
    write(form, tmp_path / f"out{form.suffix}", frames)
    assert [content_digest(atoms) for atoms in frames] == before
