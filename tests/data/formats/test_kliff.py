"""Folders for KLIFF: what it takes for a label is one."""

import os

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_curate.data.formats.base import NormalFrame, ReadOptions, WriteOptions
from mlff_curate.data.formats.kliff import KliffWriter, read_kliff
from mlff_curate.data.frames import Frame
from mlff_curate.data.labels import labels_of
from mlff_curate.data.reading import read_frames
from mlff_curate.errors import DataError


def iron(**info):
    return Atoms("Fe2", [[0, 0, 0], [0, 0, 2]], cell=[3, 3, 4], pbc=True, info=info)


def put(path, frames, group="config_type"):
    """Write frames; return what was lost of each."""
    writer = KliffWriter(path, WriteOptions())
    lost = []
    for index, atoms in enumerate(frames):
        frame = Frame(atoms, "in", index, "", None)
        lost.append(writer.add(NormalFrame(frame, labels_of(atoms), atoms.info.get(group), isolated=False)))
    writer.close()
    return lost


def as_kliff_reads(path):
    """Values of a comment line by KLIFF's rule: the first place where the word stands, else the word in lower case."""
    line = path.read_text().splitlines()[1]
    found = {}
    for word, quoted in (("Lattice", True), ("PBC", True), ("Energy", False), ("Stress", True)):
        at = line.find(word) if word in line else line.find(word.lower())
        if at >= 0:
            rest = line[at:].partition("=")[2].lstrip()
            found[word] = rest[1:].partition('"')[0].split() if quoted else [rest.split()[0]]
    return found


def test_kliff_finds_the_labels_whatever_else_there_is(tmp_path):
    atoms = iron(energy_sigma=1.0, Energy_old=2.0, stress_note="Stress of Energy", dft_energy=-8.25)
    atoms.info["dft_stress"] = np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3.0]])
    put(tmp_path / "set", [atoms])
    found = as_kliff_reads(tmp_path / "set" / "0000000.xyz")
    assert found["Energy"] == ["-8.25"]
    assert [float(word) for word in found["Stress"]] == [1, 2, 3, 4, 5, 6]
    assert found["PBC"] == ["T", "T", "T"]
    assert len(found["Lattice"]) == 9


def test_what_kliff_would_take_for_a_label_is_left_out_and_named(tmp_path):
    (lost,) = put(tmp_path / "set", [iron(note="energy unknown", where="PBC", gap_energy=1.0, step=3)])
    assert lost == ("note", "where", "gap_energy")
    found = as_kliff_reads(tmp_path / "set" / "0000000.xyz")
    assert "Energy" not in found
    assert found["PBC"] == ["T", "T", "T"]
    assert next(read_frames(tmp_path / "set")).atoms.info == {"step": 3}


def test_atoms_have_four_columns_or_seven(tmp_path):
    bare, full = iron(), iron()
    full.calc = SinglePointCalculator(full, forces=np.ones((2, 3)), magmoms=np.ones(2))
    full.set_array("site", np.array([1, 2]))
    assert put(tmp_path / "set", [bare, full]) == [(), ("magmoms", "site")]
    columns = [len((tmp_path / "set" / f"{i:07d}.xyz").read_text().splitlines()[2].split()) for i in range(2)]
    assert columns == [4, 7]


def test_cell_vectors_that_are_missing_are_made_up_and_named(tmp_path):
    assert put(tmp_path / "set", [Atoms("H2O", np.eye(3))]) == [("cell",)]
    lattice = as_kliff_reads(tmp_path / "set" / "0000000.xyz")["Lattice"]
    assert np.linalg.det(np.array(lattice, dtype=float).reshape(3, 3)) == 1
    assert not next(read_frames(tmp_path / "set")).atoms.pbc.any()


def test_groups_are_subfolders_and_the_order_stays(tmp_path):
    names = ["b", "a", "B", "../x", "b", ".hidden", "ü ", None, "a" * 300]
    put(tmp_path / "set", [iron(**({} if n is None else {"config_type": n}), step=i) for i, n in enumerate(names)])
    folders = sorted(path.name for path in (tmp_path / "set").iterdir())
    assert folders == sorted(["0000007.xyz", "B~2", "_x", "a", "a" * 100, "b", "hidden", "ü_"])
    back = [frame.atoms.info for frame in read_frames(tmp_path / "set")]
    assert [info["step"] for info in back] == list(range(9))
    assert [info.get("config_type") for info in back] == names


def test_files_of_kliff_itself_are_read(tmp_path):
    (tmp_path / "set" / "bulk").mkdir(parents=True)
    text = (
        '2\nLattice="3 0 0 0 3 0 0 0 4" PBC="1 1 1" pbc="1 1 0" Energy="-8.5" Stress="1 2 3 4 5 6" '
        "Properties=species:S:1:pos:R:3:for:R:3\nFe 0 0 0 1 2 3\nFe 0 0 2 -1 -2 -3\n"
    )
    for name in ("b.xyz", "a.xyz"):
        (tmp_path / "set" / "bulk" / name).write_text(text.replace("-8.5", {"a": "-1", "b": "-2"}[name[0]]))
    first, second = read_kliff(tmp_path / "set", ReadOptions())
    assert [content.atoms.calc.results["energy"] for content in (first, second)] == [-1, -2]
    np.testing.assert_array_equal(first.atoms.calc.results["forces"], [[1, 2, 3], [-1, -2, -3]])
    np.testing.assert_array_equal(first.atoms.calc.results["stress"], [1, 2, 3, 4, 5, 6])
    assert first.atoms.info["config_type"] == "bulk"
    assert first.origins == {"energy": "Energy of the file", "forces": "column for", "stress": "Stress of the file"}


def test_file_that_is_damaged_is_named(tmp_path):
    put(tmp_path / "set", [iron(), iron()])
    path = tmp_path / "set" / "0000001.xyz"
    path.write_text(path.read_text().rpartition("Fe")[0])
    with pytest.raises(DataError, match=rf"^{path}: frame 0: the file ends after 1 of 2 atoms \(line 3\): truncated"):
        list(read_frames(tmp_path / "set"))


def test_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.txt").write_text("a")
    with pytest.raises(DataError, match=r"set: is a folder, not a file, and not laid out as .*KLIFF.*\)$"):
        list(read_frames(tmp_path / "set"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_cannot_be_read_is_named(tmp_path):
    put(tmp_path / "set", [iron()])
    (tmp_path / "set" / "0000000.xyz").chmod(0)
    with pytest.raises(DataError, match=r"0000000\.xyz: cannot be read \(Permission denied\)"):
        list(read_frames(tmp_path / "set"))


def test_what_extxyz_files_are_told_of_is_told_here_too(tmp_path):
    put(tmp_path / "set", [iron(energy=-8.0)])
    file = tmp_path / "set" / "0000000.xyz"
    file.write_text(file.read_text().replace("Energy=-8", 'stress="1 2 3 0 1 2 0 0 1" Energy=-8', 1))
    (frame,) = read_frames(tmp_path / "set")
    assert [(remark.rule, remark.severity) for remark in frame.remarks] == [("stress-asymmetric", "error")]
    assert frame.remarks[0].message == "the stress is not symmetric, one triangle is zero: one triangle is taken"
