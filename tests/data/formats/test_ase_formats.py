"""ASE's database row by row, and its other formats: what they cannot hold is named."""

import ase.db
import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_curate.data.formats.ase_formats import DATABASE, ase_format, ase_names
from mlff_curate.data.formats.base import WriteOptions
from mlff_curate.data.frames import Frame
from mlff_curate.data.reading import read_frames
from mlff_curate.data.writing import normal_frame
from mlff_curate.errors import DataError


def tungsten(seed=0):
    atoms = bulk("W", cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.positions += 0.5  # away from the faces of the cell, over which XDATCAR moves atoms
    rng = np.random.default_rng(seed)
    atoms.calc = SinglePointCalculator(
        atoms, energy=rng.normal(), forces=rng.normal(size=(2, 3)), stress=rng.normal(size=6)
    )
    return atoms


def put(form, path, frames):
    """Write frames; return what was lost of each."""
    writer = form.write(path, WriteOptions())
    lost = [writer.add(normal_frame(Frame(atoms, "in", i, "", None))) for i, atoms in enumerate(frames)]
    writer.close()
    return lost


def test_rows_can_be_searched_and_hold_their_labels(tmp_path):
    frames = [tungsten(i) for i in range(3)]
    for i, atoms in enumerate(frames):
        atoms.info |= {"config_type": "ab"[i % 2], "step": i, "id": 7, "matrix": np.eye(3)}
    assert put(DATABASE, tmp_path / "set.db", frames) == [()] * 3
    with ase.db.connect(tmp_path / "set.db") as base:
        assert [row.step for row in base.select(config_type="a")] == [0, 2]
        assert base.get(step=1).energy == frames[1].calc.results["energy"]
    for frame, atoms in zip(read_frames(tmp_path / "set.db"), frames, strict=True):
        assert frame.atoms.info.keys() == atoms.info.keys()
        assert frame.atoms.info["id"] == 7


def test_labels_under_other_names_get_the_columns_of_a_row(tmp_path):
    atoms = bulk("W", cubic=True)
    atoms.info["dft_energy"] = -1.5
    atoms.arrays["dft_forces"] = np.ones((2, 3))
    put(DATABASE, tmp_path / "set.db", [atoms])
    back = ase.io.read(tmp_path / "set.db")
    assert back.calc.results["energy"] == -1.5
    np.testing.assert_array_equal(back.calc.results["forces"], np.ones((2, 3)))


def test_databases_of_others_keep_their_pairs_and_data(tmp_path):
    with ase.db.connect(tmp_path / "other.db") as base:
        base.write(tungsten(), dft_energy=-3.0, phase="bcc", data={"history": [1, 2]})
    (frame,) = read_frames(tmp_path / "other.db")
    assert frame.atoms.info == {"dft_energy": -3.0, "phase": "bcc", "history": [1, 2]}


def test_database_that_is_none_is_refused(tmp_path):
    (tmp_path / "set.db").write_bytes(b"SQLite format 3\0" + b"nonsense" * 200)
    with pytest.raises(
        DataError, match=r"set\.db: ASE cannot read it as db \(DatabaseError: file is not a database\)$"
    ):
        list(read_frames(tmp_path / "set.db"))


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("traj", ()),
        ("json", ("note",)),
        ("vasp-xdatcar", ("note", "energy", "forces", "stress")),
        ("xyz", ("cell", "pbc", "note", "energy", "forces", "stress")),
        ("xsf", ("note", "energy", "stress")),
    ],
)
def test_losses_are_named(tmp_path, name, lost):
    frames = [tungsten(i) for i in range(3)]
    for atoms in frames:
        atoms.info["note"] = "mine"
    form = ase_format(name)
    assert put(form, tmp_path / f"set{form.suffix}", frames) == [lost] * 3
    assert len(list(ase.io.iread(tmp_path / f"set{form.suffix}", ":", format=name))) == 3


def test_frames_that_a_format_cannot_hold_together_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"^--to: these frames cannot be written as xsf \("):
        put(ase_format("xsf"), tmp_path / "set.xsf", [tungsten(), bulk("W") * (3, 1, 1), molecule("H2O")])


def test_format_that_moves_atoms_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"^--to proteindatabank: the positions would not come back$"):
        put(ase_format("proteindatabank"), tmp_path / "set.pdb", [tungsten()])


def test_formats_that_could_run_something_are_not_written():
    assert {"traj", "json", "xyz"} <= set(ase_names())
    assert not {"py", "mysql", "bundletrajectory", "cif", "mp4"} & set(ase_names())
    assert ase_format("py") is None
