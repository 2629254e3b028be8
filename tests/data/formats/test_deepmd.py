"""DeePMD-kit's folders: virial against stress, systems of the same atoms, and nothing that could run code."""

import pickle
import shutil

import numpy as np
import pytest
from ase import Atoms
from format_frames import assert_nothing_lost, assert_same_labels, crystal, free_atom, read_all, rich

from mlff_curate import read_frames
from mlff_curate.data.formats.base import WriteOptions
from mlff_curate.data.frames import with_results
from mlff_curate.data.labels import labels_of
from mlff_curate.errors import DataError

CELL = np.array([[3.1, 0.2, 0.0], [0.0, 3.2, 0.0], [0.1, 0.0, 3.3]])
FORCES = np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])


def system(folder, frames=2, **arrays):
    """A system of two atoms as DeePMD-kit's documentation describes it."""
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("1 0\n")
    (folder / "type_map.raw").write_text("Nb\nTa\n")
    usual = {
        "coord": np.tile(np.array([0, 0, 0, 1.6, 1.7, 1.65]), (frames, 1)),
        "box": np.tile(CELL.ravel(), (frames, 1)),
        "energy": -12.5 - np.arange(frames),
        "force": np.tile(FORCES.ravel(), (frames, 1)),
        "virial": np.tile([1.0, 2.0, 3.0, 2.0, 5.0, 6.0, 3.0, 6.0, 9.0], (frames, 1)),
    }
    for name, array in {**usual, **arrays}.items():
        if array is not None:
            np.save(folder / "set.000" / f"{name}.npy", array)
    return folder


def test_a_virial_is_minus_the_stress_times_the_volume(tmp_path):
    """DeePMD-kit's virial is positive under compression, ASE's stress under tension."""
    virial = np.array([[3.0, 0.5, 0.25], [0.5, 2.0, 0.75], [0.25, 0.75, 1.0]])
    frame = next(read_frames(system(tmp_path / "s", virial=np.tile(virial.ravel(), (2, 1)))))
    labels = labels_of(frame.atoms)
    np.testing.assert_allclose(
        labels.stress * frame.atoms.get_volume(), [-3.0, -2.0, -1.0, -0.75, -0.25, -0.5], rtol=1e-14
    )
    assert labels.from_virial
    assert labels.energy == -12.5
    np.testing.assert_array_equal(labels.forces, FORCES)
    assert list(frame.atoms.symbols) == ["Ta", "Nb"]
    np.testing.assert_array_equal(frame.atoms.cell.array, CELL)


def test_what_has_no_file_is_no_label(tmp_path):
    frame = next(read_frames(system(tmp_path / "s", energy=None, force=None, virial=None)))
    assert labels_of(frame.atoms).present == ()


def test_sets_and_systems_come_in_natural_order(tmp_path):
    for number, name in enumerate(["b/s10", "b/s2", "a"]):
        folder = system(tmp_path / "all" / name, energy=np.array([number, number + 0.5]))
        for later in ("set.010", "set.002"):
            shutil.copytree(folder / "set.000", folder / later)
            np.save(folder / later / "energy.npy", np.array([int(later[4:]), 0.0]) + 100 * number)
    energies = [labels_of(f.atoms).energy for f in read_frames(tmp_path / "all")]
    assert energies == [2, 2.5, 202, 200, 210, 200, 1, 1.5, 102, 100, 110, 100, 0, 0.5, 2, 0, 10, 0]


def test_nopbc_float32_and_a_column_of_energies_are_read(tmp_path):
    folder = system(tmp_path / "s", box=None, virial=None, energy=np.array([[-1.5], [-2.5]], dtype=np.float32))
    (folder / "nopbc").write_text("")
    first, second = read_frames(folder)
    assert not first.atoms.pbc.any()
    assert labels_of(second.atoms).energy == -2.5


def test_mixed_types_are_read_and_padding_is_not(tmp_path):
    folder = system(
        tmp_path / "s",
        real_atom_types=np.array([[0, 1], [1, -1]], dtype=np.int32),
        atom_ener=np.array([[-6.0, -6.5], [-13.5, 0.0]]),
    )
    (folder / "type.raw").write_text("0\n0\n")
    first, second = read_frames(folder)
    assert list(first.atoms.symbols) == ["Nb", "Ta"]
    assert list(second.atoms.symbols) == ["Ta"]
    np.testing.assert_array_equal(labels_of(second.atoms).forces, FORCES[:1])
    np.testing.assert_array_equal(labels_of(second.atoms).energies, [-13.5])


def test_other_arrays_are_kept_and_label_like_ones_told(tmp_path):
    frame = next(read_frames(system(tmp_path / "s", fparam=np.array([[300.0], [400.0]]), force_mag=np.zeros((2, 6)))))
    assert frame.atoms.info["fparam"] == [300.0]
    assert [(r.rule, r.key) for r in frame.remarks] == [("label-unknown", "force_mag")]


def test_types_without_a_map_need_one(tmp_path):
    folder = system(tmp_path / "s")
    (folder / "type_map.raw").unlink()
    assert "there is no type_map.raw: say the elements of the types with --type-map" in str(read_all(folder))
    (frame, _) = read_frames(folder, type_map=["Nb", "Ta"])
    assert list(frame.atoms.symbols) == ["Ta", "Nb"]


def test_everything_comes_back_in_order_or_is_named(store):
    partly = crystal(5, labels=("energy",))
    per_atom = crystal(6)
    per_atom.calc.results["energies"] = np.array([-1.5, -2.5])
    unlabelled = crystal(7, labels=())
    molecule = with_results(Atoms("Ta2", positions=[[0, 0, 0], [0, 0, 2.5]]), energy=-1.0, forces=np.eye(3)[:2])
    slab = crystal(8, labels=("energy", "forces"))
    slab.pbc = (True, True, False)
    frames = [
        rich(),
        crystal(2),
        free_atom(),
        partly,
        crystal(3, "NbTa"),
        per_atom,
        unlabelled,
        molecule,
        slab,
        crystal(4),
    ]
    after, lost, path = store("deepmd", frames)
    kept = {"source", "note", "count", "flag", "vector", "nested", "object", "config_type"}
    assert set(lost[0]) == kept | {"initial_magmoms", "momenta", "mask", "free_energy"}
    assert {name for names in lost[1:] for name in names} == {"config_type", "cell", "pbc"}
    for atoms, frame, names in zip(frames, after, lost, strict=True):
        assert_nothing_lost(atoms, frame.atoms, names)
        assert_same_labels(atoms, frame.atoms)
    np.testing.assert_array_equal(labels_of(after[5].atoms).energies, [-1.5, -2.5])
    # the same atoms with the same labels are one system: DeePMD-kit wants long ones
    assert sorted(p.name for p in path.iterdir()) == ["NbTa", *(f"NbTa.{i}" for i in range(2, 7)), "Ta", "Ta2"]
    assert np.load(path / "NbTa" / "set.000" / "coord.npy").shape == (3, 6)
    assert not (path / "NbTa.2" / "set.000" / "force.npy").exists()
    assert (path / "Ta2" / "nopbc").exists()


def test_the_type_map_orders_types_everywhere(store):
    _, _, path = store("deepmd", [crystal()], WriteOptions(type_map=("Ta", "W", "Nb")))
    assert (path / "NbTa" / "type_map.raw").read_text().split() == ["Ta", "W", "Nb"]
    assert (path / "NbTa" / "type.raw").read_text().split() == ["0", "2"]


def test_an_element_that_the_type_map_lacks_is_refused(store):
    with pytest.raises(DataError, match=r"in\.extxyz: frame 0: --type-map: the type map lacks Nb"):
        store("deepmd", [crystal()], WriteOptions(type_map=("Ta",)))


@pytest.mark.data
def test_a_published_set_survives(real_data, store):
    before = [f.atoms for f in read_frames(real_data / "nb_mvl2020.extxyz")]
    after, lost, _ = store("deepmd", before)
    assert set(lost) == {("config_type", "source")}
    for atoms, frame in zip(before, after, strict=True):
        assert_nothing_lost(atoms, frame.atoms, ("config_type", "source"))
        assert_same_labels(atoms, frame.atoms)


def test_nothing_pickled_is_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("code from a file was run",))

    folder = system(tmp_path / "s")
    file = folder / "set.000" / "energy.npy"
    for content in (pickle.dumps(Trap()), None):
        if content is None:
            np.save(file, np.array([Trap(), Trap()], dtype=object), allow_pickle=True)
        else:
            file.write_bytes(content)
        assert "energy.npy: is no NumPy file, or truncated" in str(read_all(folder))


BROKEN = {
    "no sets": (lambda s: shutil.rmtree(s / "set.000"), "has no set.000 with NumPy files"),
    "no coord": (lambda s: (s / "set.000/coord.npy").unlink(), "set.000: has no coord.npy"),
    "counts": (lambda s: np.save(s / "set.000/energy.npy", np.zeros(3)), "energy.npy: has 3 frames, coord.npy has 2"),
    "sizes": (lambda s: np.save(s / "set.000/force.npy", np.zeros((2, 9))), "frame 0: force.npy: has 9 values a frame"),
    "atoms": (lambda s: (s / "type.raw").write_text("0\n"), "frame 0: coord.npy: has 6 values a frame instead of 3"),
    "type": (
        lambda s: (s / "type.raw").write_text("0 2\n"),
        "type.raw: type 2 is beyond the 2 elements of type_map.raw",
    ),
    "word": (lambda s: (s / "type.raw").write_text("0 Ta\n"), "type.raw: has 'Ta' instead of a type's number"),
    "none": (lambda s: (s / "type.raw").write_text(""), "type.raw: names no atom"),
    "element": (lambda s: (s / "type_map.raw").write_text("Q\nTa\n"), "type_map.raw: 'Q' is no chemical symbol"),
    "text": (lambda s: np.save(s / "set.000/energy.npy", np.array(["a", "b"])), "energy.npy: is to hold numbers"),
    "one": (lambda s: np.save(s / "set.000/energy.npy", np.array(1.0)), "energy.npy: is to hold numbers"),
    "no text": (lambda s: (s / "type.raw").write_bytes(b"\xff\xfe"), "type.raw: is no text"),
    "nan": (
        lambda s: np.save(s / "set.000/coord.npy", np.full((2, 6), np.nan)),
        "frame 0: positions: atom 0 has a pos",
    ),
    "real": (
        lambda s: np.save(s / "set.000/real_atom_types.npy", np.ones((2, 2))),
        "real_atom_types.npy: is to hold 2",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_systems_are_refused_in_one_line(tmp_path, name):
    change, message = BROKEN[name]
    folder = system(tmp_path / "s")
    change(folder)
    assert message in str(read_all(folder))


@pytest.mark.parametrize("name", ["coord", "energy", "virial"])
def test_files_cut_or_altered_anywhere_never_end_in_a_traceback(tmp_path, name):
    folder = system(tmp_path / "s")
    file = folder / "set.000" / f"{name}.npy"
    whole = file.read_bytes()
    for end in range(0, len(whole) - 1, 5):
        file.write_bytes(whole[:end])
        assert isinstance(read_all(folder), DataError), end
    for place in range(128):
        file.write_bytes(whole[:place] + b"9" + whole[place + 1 :])
        read_all(folder)


def test_files_are_mapped_not_loaded(tmp_path):
    """A header may claim what it likes: what is not on disk is not allocated."""
    folder = system(tmp_path / "s")
    with (folder / "set.000" / "force.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**15, 6)})
    assert "force.npy: is no NumPy file, or truncated" in str(read_all(folder))
