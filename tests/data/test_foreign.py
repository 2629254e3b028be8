"""LAMMPS dumps and XDATCARs: whole, with the user's elements, or refused."""

import io
import re

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from mlff_curate import read_frames
from mlff_curate.data.formats.base import ReadOptions
from mlff_curate.data.formatting import format_frame
from mlff_curate.data.reading import read_again
from mlff_curate.errors import DataError

X = [0.12345678901234567, 1.7000000000000002]


def dump(columns="id type x y z fx fy fz", count=2, frames=2, bounds="pp pp pp"):
    """Two atoms of types 2 and 1, in this order, per frame."""
    values = {"id": ["2", "1"], "type": ["1", "2"], "element": ["Ta", "W"], "mass": ["180.95", "183.84"]}
    text = ""
    for step in range(frames):
        text += f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{count}\nITEM: BOX BOUNDS {bounds}\n"
        text += "0.0 3.3000000000000003\n" * 3 + f"ITEM: ATOMS {columns}\n"
        for i in (0, 1):
            text += " ".join(values.get(name, [repr(x + step) for x in X])[i] for name in columns.split()) + "\n"
    return text


@pytest.fixture
def dump_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(text):
        (tmp_path / "md.lammpstrj").write_text(text)
        return "md.lammpstrj"

    return make


def test_elements_come_from_the_type_map(dump_file):
    frames = list(read_frames(dump_file(dump()), ["W", "Ta"]))
    assert [f.atoms.get_chemical_symbols() for f in frames] == [["Ta", "W"]] * 2  # sorted by id
    np.testing.assert_array_equal(frames[0].atoms.positions[:, 0], X[::-1])
    np.testing.assert_array_equal(frames[1].atoms.positions[:, 0], np.array(X[::-1]) + 1)
    assert frames[0].atoms.pbc.all()
    assert frames[0].atoms.cell[0, 0] == 3.3000000000000003


def test_elements_come_from_the_dump_where_it_has_them(dump_file):
    frame = next(read_frames(dump_file(dump("id element x y z"))))
    assert frame.atoms.get_chemical_symbols() == ["W", "Ta"]


@pytest.mark.parametrize("columns", ["id type x y z", "id type mass x y z"])
def test_types_alone_are_no_elements(dump_file, columns):
    message = r"^md\.lammpstrj: the dump has types but no element column: say --type-map, such as --type-map Ta,W$"
    with pytest.raises(DataError, match=message):
        next(read_frames(dump_file(dump(columns))))


def test_type_map_must_name_every_type(dump_file):
    message = r"^md\.lammpstrj: frame 0: there is a type 2, but --type-map has types 1 to 1$"
    with pytest.raises(DataError, match=message):
        list(read_frames(dump_file(dump()), ["Ta"]))


def test_the_users_word_counts_more_than_masses(dump_file):
    frame = next(read_frames(dump_file(dump("id type mass x y z")), ["Fe", "Nb"]))
    assert frame.atoms.get_chemical_symbols() == ["Nb", "Fe"]


def test_forces_pass_and_no_energy_is_made_up(dump_file):
    name = dump_file(dump())
    atoms = next(read_frames(name, ["W", "Ta"])).atoms
    np.testing.assert_array_equal(atoms.calc.results["forces"][:, 0], X[::-1])
    assert "energy" not in atoms.calc.results
    assert b"energy" not in format_frame(next(read_again(name, [0], ReadOptions(("W", "Ta")))).atoms)


def test_every_digit_of_a_dump_survives(dump_file):
    for frame in read_again(dump_file(dump(frames=3)), [0, 2], ReadOptions(("W", "Ta"))):
        back = ase.io.read(io.StringIO(format_frame(frame.atoms).decode()), format="extxyz")
        np.testing.assert_array_equal(back.positions[:, 0], np.array(X[::-1]) + frame.index)
        np.testing.assert_array_equal(back.calc.results["forces"][:, 2], np.array(X[::-1]) + frame.index)
        assert back.info["timestep"] == frame.index


def test_boundaries_of_the_dump_are_kept(dump_file):
    assert next(read_frames(dump_file(dump(bounds="pp ff ss")), ["W", "Ta"])).atoms.pbc.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (dump(count=1), r"frame 0: line 9 is followed by 2 atoms instead of 1: truncated, or the atom count is wrong$"),
        (dump(count=3), r"frame 0: line 9 is followed by 2 atoms instead of 3: truncated, or the atom count is wrong$"),
        (dump(count=10**15), r"frame 0: line 9 is followed by 2 atoms instead of 1000000000000000: truncated"),
        (dump(count=-2), r"frame 0: line 9 is followed by 2 atoms instead of a number: truncated"),
        (dump(count="two"), r"frame 0: line 9 is followed by 2 atoms instead of a number: truncated"),
        (dump(count=0), r"frame 0: line 9 is followed by 2 atoms instead of 0: truncated"),
        (dump()[:-60], r"frame 1: line 20 is followed by 1 atoms instead of 2: truncated, or the atom count is wrong$"),
        (dump()[:-25], r"frame 1: line 22 has \d columns instead of 8: truncated$"),
        (dump()[: dump().rindex("ITEM: ATOMS")], r"frame 1: the frame ends before its atoms: truncated$"),
        (dump()[: dump().rindex("ITEM: BOX")], r"frame 1: the frame ends before its atoms: truncated$"),
        (dump().replace("3.3000000000000003", "0.0"), r"frame 0: cell: pbc is T T T but the cell has no volume there"),
        (
            dump("id type fx fy fz"),
            r"frame 0: ASE cannot read it as lammps-dump-text \(ValueError: No atomic positions",
        ),
        (dump("id x y z"), r"frame 0: the dump has neither a column element nor a column type$"),
        (dump().replace(repr(X[0]), "nan"), r"frame 0: positions: atom 1 has a position that is not"),
        (dump().replace("\n2 1 ", "\n2 0 "), r"frame 0: there is a type 0, but --type-map has types 1 to 2$"),
        (dump().replace("\n2 1 ", "\n2 3 "), r"frame 0: there is a type 3, but --type-map has types 1 to 2$"),
        ("ITEM: TIMESTEP\n", r"frame 0: the frame ends before its atoms: truncated$"),
        ("ITEM: UNITS\nmetal\n", r"the file holds no frame$"),
    ],
)
def test_damaged_dump_is_refused(dump_file, text, message):
    with pytest.raises(DataError, match=rf"^md\.lammpstrj: {message}"):
        list(read_frames(dump_file(text), ["W", "Ta"]))


@pytest.fixture
def xdatcar(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = [bulk("Ta", cubic=True) for _ in range(3)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
    ase.io.write("XDATCAR", frames)
    return tmp_path / "XDATCAR"


def test_xdatcar_digits_survive(xdatcar):
    read = [frame.atoms for frame in read_frames("XDATCAR")]
    for frame in read_again(xdatcar, [0, 1, 2]):
        back = ase.io.read(io.StringIO(format_frame(frame.atoms).decode()), format="extxyz")
        np.testing.assert_array_equal(back.positions, read[frame.index].positions)
        np.testing.assert_array_equal(back.cell.array, read[frame.index].cell.array)


def test_xdatcar_count_that_is_too_small_loses_no_frame_in_silence(xdatcar):
    xdatcar.write_text(re.sub(r"\n +2\n", "\n 1\n", xdatcar.read_text()))
    with pytest.raises(DataError, match=r"^XDATCAR: frame 1: ASE reads 1 of 3 configurations: the atom count is wrong"):
        list(read_frames("XDATCAR"))


def test_xdatcar_cut_in_a_frame_is_refused(xdatcar):
    xdatcar.write_text(xdatcar.read_text()[:-20])
    with pytest.raises(DataError, match=r"^XDATCAR: frame 0: ASE cannot read it as vasp-xdatcar \("):
        list(read_frames("XDATCAR"))
