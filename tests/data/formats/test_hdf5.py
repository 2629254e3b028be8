"""Our HDF5: everything is kept, nothing foreign is taken for it."""

import io

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from mlff_curate.data.formats.base import NormalFrame, ReadOptions, WriteOptions
from mlff_curate.data.formats.hdf5 import Hdf5Writer, read_hdf5
from mlff_curate.data.frames import Frame, Remark, content_digest
from mlff_curate.data.labels import labels_of
from mlff_curate.data.reading import read_frames
from mlff_curate.data.store import EmbeddingTable, write_table
from mlff_curate.errors import DataError


def put(path, frames, options=None, **more):
    """Write frames; return what was lost of each."""
    writer = Hdf5Writer(path, options or WriteOptions())
    lost = []
    for index, atoms in enumerate(frames):
        frame = Frame(atoms, "in", index, "", None, **more)
        lost.append(writer.add(NormalFrame(frame, labels_of(atoms), None, isolated=False)))
    writer.close()
    return lost


def get(path):
    return list(read_hdf5(path, ReadOptions()))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.h5"


def test_every_type_comes_back_as_it_was(path):
    atoms = Atoms("FeW", [[0, 0, 0], [1 / 3, 0, 1e-17]], cell=[3, 3, 3], pbc=[1, 0, 1])
    atoms.set_array("small", np.array([1.5, 2.5], dtype=np.float32))
    atoms.set_array("bits", np.array([[1, 2], [3, 4]], dtype=np.uint8))
    atoms.set_array("tensor", np.arange(18.0).reshape(2, 3, 3))
    atoms.info = {
        "text": "two\nlines, ü",
        "zero": "a\0b",
        "odd": "\udcff",
        "number": 7,
        "large": 10**30,
        "true": np.True_,
        "none": None,
        "pair": [1, "two"],
        "words": np.array(["a", "bc"]),
        "a/b.c": 1.0,
        "a_b_c": 2.0,
    }
    before = content_digest(atoms)
    assert put(path, [atoms]) == [()]
    (content,) = get(path)
    assert content_digest(content.atoms) == before
    assert content.atoms.info["zero"] == "a\0b"
    assert content.atoms.info["large"] == 10**30
    assert content.atoms.arrays["small"].dtype == np.float32
    assert content.atoms.arrays["bits"].dtype == np.uint8
    assert type(content.atoms.info["number"]) is int


def test_what_cannot_be_held_is_named(path):
    atoms = Atoms("Fe2", [[0, 0, 0], [0, 0, 2]], info={1: "number for a name", "set": {1}, "deep": {1: 2}, "fine": 1})
    atoms.set_array("complex", np.array([1j, 2j]))
    atoms.set_constraint(FixAtoms([0]))
    assert sorted(put(path, [atoms])[0]) == ["1", "complex", "constraints", "deep", "set"]
    assert get(path)[0].atoms.info == {"fine": 1}


def test_values_that_change_in_type_or_come_and_go_stay_apart(path):
    values = [1, "one", 1.5, None, [1], "two", np.zeros(3), np.zeros(4)]
    frames = [Atoms("Fe", info={} if value is None else {"key": value}) for value in values]
    put(path, frames)
    back = [content.atoms.info.get("key") for content in get(path)]
    assert [type(value) for value in back[:6]] == [int, str, float, type(None), list, str]
    assert [np.shape(value) for value in back[6:]] == [(3,), (4,)]
    with h5py.File(path) as file:
        assert sorted(file["info"]) == ["key", "key~2", "key~3", "key~4", "key~5", "key~6"]


def test_units_labels_origins_and_remarks_are_kept(path):
    atoms = Atoms("Fe2", [[0, 0, 0], [0, 0, 2]], cell=[3, 3, 3], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((2, 3)), magmoms=[2.0, 2.1])
    atoms.info["dft_virial"] = np.eye(3)
    remark = Remark("scf-unconverged", "warning", "energy", "it did not converge", "leave it out")
    put(path, [atoms], origins={"energy": "energy(sigma->0)"}, remarks=(remark,))
    (content,) = get(path)
    assert (content.origins, content.remarks) == ({"energy": "energy(sigma->0)"}, (remark,))
    with h5py.File(path) as file:
        assert file["atoms/position"].attrs["unit"] == "Angstrom"
        found = {
            name: (file[name].attrs.get("label"), file[name].attrs.get("unit"))
            for name in ("results/energy", "results/forces", "results/magmoms", "info/dft_virial")
        }
    assert found == {
        "results/energy": ("energy", "eV"),
        "results/forces": ("forces", "eV/Angstrom"),
        "results/magmoms": ("magmoms", "mu_B"),
        "info/dft_virial": ("virial", "eV"),
    }


def test_chosen_names_are_written_in_normal_form(path):
    atoms = Atoms("Fe2", [[0, 0, 0], [0, 0, 2]], cell=[3, 3, 3], pbc=True, info={"dft_virial": np.eye(3)})
    put(path, [atoms], WriteOptions(stress_key="stress"))
    info = get(path)[0].atoms.info
    assert list(info) == ["stress"]
    np.testing.assert_allclose(info["stress"], -np.eye(3) / 27, rtol=1e-15)


def test_thousands_of_frames_pass_in_blocks_and_in_order(path):
    """More rows than are held at a time, in writing and in reading."""
    count = 9000

    def frame(i):
        atoms = Atoms(f"Fe{1 + i % 3}", np.full((1 + i % 3, 3), i / 7))
        atoms.info["i"] = i
        if i % 2:
            atoms.set_array("tag", np.full((len(atoms), 40), i))
        return atoms

    put(path, map(frame, range(count)))
    for i, content in enumerate(read_hdf5(path, ReadOptions())):
        assert content.atoms.info["i"] == i
        assert content.atoms.positions[-1, 0] == i / 7
        assert ("tag" in content.atoms.arrays) == bool(i % 2)
        if i % 2:
            assert content.atoms.arrays["tag"].shape == (1 + i % 3, 40)
            assert (content.atoms.arrays["tag"] == i).all()
    assert i == count - 1


def test_file_without_frames_is_said_to_hold_none(path):
    put(path, [])
    with pytest.raises(DataError, match=r"set\.h5: the file holds no frame$"):
        list(read_frames(path))


def test_files_of_others_are_refused(path):
    with h5py.File(path, "w") as file:
        file["positions"] = np.zeros((2, 3))
    with pytest.raises(DataError, match=r"set\.h5: is HDF5, but not frames written by mlff-curate$"):
        list(read_frames(path))


def test_embeddings_are_no_frames(path):
    stream = io.BytesIO()
    one = np.zeros(1)
    write_table(stream, EmbeddingTable(np.array([0, 1]), one, one[None], one[None], one, one, ["a"], [0], ["b"], ["c"]))
    path.write_bytes(stream.getvalue())
    with pytest.raises(DataError, match=r"is HDF5, but not frames written by mlff-curate$"):
        list(read_frames(path))


def damage(change, path):
    put(path, [Atoms("Fe2", [[0, 0, 0], [0, 0, 2]], info={"a": 1}) for _ in range(3)])
    if callable(change):
        with h5py.File(path, "r+") as file:
            change(file)
    else:
        path.write_bytes(path.read_bytes()[:change])


def shorten(name):
    def change(file):
        data = file[name][:-1]
        del file[name]
        file[name] = data

    return change


def take(name):
    def change(file):
        del file[name]

    return change


@pytest.mark.parametrize(
    "change",
    [
        -100,
        600,
        take("frames/cell"),
        take("info/a/value"),
        shorten("atoms/position"),
        shorten("frames/pbc"),
        shorten("info/a/value"),
        lambda file: file.attrs.update({"frames": 4}),
    ],
)
def test_damaged_file_is_one_line(path, change):
    damage(change, path)
    with pytest.raises(DataError, match=r"set\.h5: the HDF5 file is damaged \(.*\)$"):
        list(read_frames(path))


def test_newer_layout_is_refused(path):
    damage(lambda file: file.attrs.update({"format": 2}), path)
    with pytest.raises(DataError, match=r"set\.h5: was written by a newer mlff-curate$"):
        list(read_frames(path))


def test_nothing_but_numbers_and_texts_is_read(path):
    """Object references and the like are no values."""

    def change(file):
        del file["info/a/value"]
        file["info/a"].create_dataset("value", data=np.array([file.ref] * 3, dtype=h5py.ref_dtype))

    damage(change, path)
    with pytest.raises(DataError, match=r"the HDF5 file is damaged"):
        list(read_frames(path))
