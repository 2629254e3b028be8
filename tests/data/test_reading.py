"""Frames come in with their own bytes, from any format; a file is only ever data."""

import bz2
import gzip
import hashlib
import io
import os
import pickle
import sys

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_curate import read_frames
from mlff_curate.data.formatting import format_frame
from mlff_curate.data.frames import content_digest, label_keys
from mlff_curate.data.reading import read_again
from mlff_curate.errors import DataError, UsageError

FRAME = b'1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 config_type=bulk\nFe 0 0 0\n'


def labelled_frames(count=3):
    """Tungsten and iron with every digit in use, with labels and keys of the user's own."""
    frames = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        atoms = bulk("W", cubic=True)
        atoms.symbols[1] = "Fe"
        atoms.positions += rng.normal(size=(2, 3)) / 7
        atoms.set_cell(atoms.cell.array + rng.normal(size=(3, 3)) / 7, scale_atoms=False)
        atoms.info["REF_energy"] = rng.normal()
        atoms.info["config_type"] = "alloy"
        atoms.calc = SinglePointCalculator(
            atoms, energy=rng.normal(), forces=rng.normal(size=(2, 3)), stress=rng.normal(size=6)
        )
        frames.append(atoms)
    return frames


def write(path, content):
    path.write_bytes(content)
    return path


def test_frames_are_numbered_by_file_and_carry_their_own_text(tmp_path):
    one = write(tmp_path / "one.extxyz", FRAME * 2)
    two = write(tmp_path / "two.extxyz", FRAME)
    frames = list(read_frames([one, str(two)]))
    assert [(f.source, f.index) for f in frames] == [(str(one), 0), (str(one), 1), (str(two), 0)]
    assert {f.text for f in frames} == {FRAME}
    assert {f.sha256 for f in frames} == {hashlib.sha256(FRAME).hexdigest()}
    assert frames[0].atoms.info == {"config_type": "bulk"}


def test_a_path_alone_is_one_file(tmp_path):
    path = write(tmp_path / "one.extxyz", FRAME)
    assert len(list(read_frames(path))) == len(list(read_frames(str(path)))) == 1


@pytest.mark.parametrize("name", ["md", "md.dat", "md.xyz", "md.XYZ", "md.extxyz.gz", "md.gz", "µ d@2.extxyz", "-o"])
def test_extxyz_is_known_by_its_content(tmp_path, name):
    assert next(read_frames(write(tmp_path / name, FRAME))).text == FRAME
    assert next(read_frames(write(tmp_path / name, gzip.compress(FRAME)))).text == FRAME


def test_empty_lines_between_frames_are_passed_over(tmp_path):
    path = write(tmp_path / "md.extxyz", b"\n" + FRAME + b"\n  \n" + FRAME + b"\n\n")
    assert [f.text for f in read_frames(path)] == [FRAME, FRAME]


@pytest.mark.parametrize(
    "comment",
    [
        b"",
        b"a plain comment",
        b'note="Properties=none of these" Properties=species:S:1:pos:R:3',
        b"MyProperties=a Properties=species:S:1:pos:R:3",
        b"Properties = species:S:1:pos:R:3",
        b"Properties='species:S:1:pos:R:3' pbc='F F F'",
        b"Properties=pos:R:3:species:S:1",
        b"lattice=bcc properties=unknown",
    ],
)
def test_comment_lines_are_read_as_ase_reads_them(tmp_path, comment):
    atom = b"0.1 0.2 0.3 Fe" if b"=pos" in comment else b"Fe 0.1 0.2 0.3"
    atoms = next(read_frames(write(tmp_path / "md.extxyz", b"1\n" + comment + b"\n" + atom + b"\n"))).atoms
    np.testing.assert_array_equal(atoms.positions, [[0.1, 0.2, 0.3]])
    assert atoms.get_chemical_symbols() == ["Fe"]


def test_plain_xyz_may_have_more_columns(tmp_path):
    assert next(read_frames(write(tmp_path / "md.xyz", b"1\n\nFe 0 0 0 1 2 3\n"))).atoms.positions.tolist() == [[0] * 3]


def test_last_line_may_lack_its_end_where_columns_are_free(tmp_path):
    text = b"6\n\n" + b"".join(b"Fe %.17g 0 0.5\n" % (i / 7) for i in range(5)) + b"Fe 4 0 0"
    assert next(read_frames(write(tmp_path / "md.xyz", text))).text == text + b"\n"


TWO = "Fe 0.5 0.5 0.5\nFe 1.5 1.5 1.5\n"


@pytest.mark.parametrize("comment", ["", "a plain comment", "Properties=species:S:1:pos:R:3 energy=1.5", "note=pbc"])
def test_atoms_without_a_cell_are_remarked_upon(tmp_path, comment):
    frame = next(read_frames(write(tmp_path / "md.xyz", f"2\n{comment}\n{TWO}".encode())))
    (remark,) = frame.remarks
    assert (remark.rule, remark.severity, remark.key) == ("cell-missing", "note", "cell")
    assert remark.message == "no cell: taken as non-periodic"
    assert "Lattice=" in remark.fix
    assert 'pbc="F F F"' in remark.fix
    assert not frame.atoms.pbc.any()


@pytest.mark.parametrize(
    "stress",
    [
        'stress="1 .4 .2 0 1 .3 0 0 1"',
        'stress="1.0 0.0 0.0 0.4 1.0 0.0 0.2 0.3 1.0"',
        "stress={1.0 0.4 0.2 0.0 1.0 0.3 0.0 0.0 1.0}",
        'REF_stress="1.0 0.4 0.2 0.4 1.0 0.3 0.2 0.3 1.0" stress="1.0 0.4 0.2 0.0 1.0 0.3 0.0 0.0 1.0"',
        '"stress" = "1.0 0.4 0.2 0.0 1.0 0.3 0.0 0.0 1.0"',
    ],
)
def test_a_stress_of_which_ase_keeps_one_triangle_is_remarked_upon(tmp_path, stress):
    comment = f'Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 {stress} energy=-1.0'
    (tmp_path / "a.xyz").write_text(f"1\n{comment}\nFe 0 0 0\n" * 3)
    frames = list(read_frames(tmp_path / "a.xyz"))
    assert [[(r.rule, r.severity, r.key) for r in frame.remarks] for frame in frames] == [
        [("stress-asymmetric", "error", "stress")]
    ] * 3
    assert "one triangle is zero" in frames[0].remarks[0].message
    assert read_again(tmp_path / "a.xyz", [1]).__next__().remarks == frames[1].remarks


@pytest.mark.parametrize(
    "stress",
    [
        "1.0 0.4 0.2 0.4 1.0 0.3 0.2 0.3 1.0",
        "1.0 .4 0.2 0.4 1 0.3 0.20 0.30001 1.0",
        "1 0 0 0 1 0 0 0 1",
    ],
)
def test_a_symmetric_stress_is_not_remarked_upon(tmp_path, stress):
    comment = f'Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 stress="{stress}" energy=-1.0'
    (tmp_path / "a.xyz").write_text(f"1\n{comment}\nFe 0 0 0\n" * 2)
    assert [frame.remarks for frame in read_frames(tmp_path / "a.xyz")] == [(), ()]


@pytest.mark.parametrize(
    "text",
    [
        f'2\npbc="F F F"\n{TWO}',
        f'2\nenergy=1.5 pbc = "F F F"\n{TWO}',
        f'2\nLattice="3 0 0 0 3 0 0 0 3" pbc="F F F"\n{TWO}',
        f'2\nLattice="3 0 0 0 3 0 0 0 3"\n{TWO}',
        "1\n\nFe 0 0 0\n",  # a free atom
    ],
)
def test_what_says_that_it_has_no_cell_is_not_remarked_upon(tmp_path, text):
    assert next(read_frames(write(tmp_path / "md.xyz", text.encode()))).remarks == ()


@pytest.mark.parametrize("more", ["", " tag={1 2 3}", ' remark="caf\u00e9"'])
def test_a_column_with_the_name_of_a_key_is_kept_as_that_of_the_atoms(tmp_path, more):
    comment = (
        f'Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3:energy:R:1:magmom:R:1 energy=-2.0 magmom=1.5{more}'
    )
    (tmp_path / "a.xyz").write_text(f"2\n{comment}\nFe 0 0 0 -1.25 0.5\nFe 1 1 1 -0.75 1.0\n" * 3)
    for frame in read_frames(tmp_path / "a.xyz"):
        results = frame.atoms.calc.results
        assert (results["energy"], results["magmom"]) == (-2.0, 1.5)
        assert (list(results["energies"]), list(results["magmoms"])) == ([-1.25, -0.75], [0.5, 1.0])
        assert [(r.rule, r.severity, r.key) for r in frame.remarks] == [
            ("label-column", "warning", "energies"),
            ("label-column", "warning", "magmoms"),
        ]


@pytest.mark.parametrize(
    ("columns", "key"),
    [("energy:R:1:energies:R:1", "energy=-2.0"), ("dipole:R:3", 'dipole="1.0 2.0 3.0"')],
)
def test_a_column_that_the_comment_line_would_overwrite_is_refused(tmp_path, columns, key):
    numbers = " 0.5" * sum(map(int, columns.split(":")[2::3]))
    comment = f'Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3:{columns} {key}'
    (tmp_path / "a.xyz").write_text(f"1\n{comment}\nFe 0 0 0{numbers}\n")
    with pytest.raises(DataError, match=r"both a column and a key of the comment line.*rename one") as caught:
        list(read_frames(tmp_path / "a.xyz"))
    assert caught.value.key == columns.split(":")[0]


def test_a_column_alone_is_read_as_ase_reads_it(tmp_path):
    comment = 'Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3:energies:R:1 energy=-2.0'
    (tmp_path / "a.xyz").write_text(f"1\n{comment}\nFe 0 0 0 -2.0\n")
    (frame,) = read_frames(tmp_path / "a.xyz")
    assert frame.remarks == ()


@pytest.mark.parametrize("name", ["md.traj", "md.db", "md.json", "XDATCAR", "mysql.traj", "postgres.traj", "a@0.traj"])
def test_files_of_other_formats_are_read_whole(tmp_path, name):
    frames = labelled_frames()
    ase.io.write(tmp_path / "plain.traj", frames)
    if name.endswith(".traj"):
        (tmp_path / "plain.traj").rename(tmp_path / name)
    else:
        ase.io.write(tmp_path / name, frames)
    before = sorted(tmp_path.iterdir())
    read = list(read_frames(tmp_path / name))
    assert [f.index for f in read] == [0, 1, 2]
    assert all(f.text is None and f.sha256 == content_digest(f.atoms) for f in read)
    for frame, atoms in zip(read, frames, strict=True):
        np.testing.assert_allclose(
            frame.atoms.positions, atoms.positions, atol=1e-6
        )  # XDATCAR has eight decimals of the cell
    assert sorted(tmp_path.iterdir()) == before


def test_name_that_ase_would_take_for_an_index_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ase.io.write("md.traj", labelled_frames(3))
    (tmp_path / "md.traj").rename("md@1.traj")
    assert len(list(read_frames("md@1.traj"))) == 3


@pytest.mark.parametrize("name", ["md.traj", "md.json"])
def test_every_digit_and_label_survives_in_the_text_passed_on(tmp_path, name):
    frames = labelled_frames()
    ase.io.write(tmp_path / name, frames)
    for frame in read_again(tmp_path / name, [0, 2]):
        text = format_frame(frame.atoms).decode()
        back, atoms = ase.io.read(io.StringIO(text), format="extxyz"), frames[frame.index]
        np.testing.assert_array_equal(back.positions, atoms.positions)
        np.testing.assert_array_equal(back.cell.array, atoms.cell.array)
        np.testing.assert_array_equal(back.calc.results["forces"], atoms.calc.results["forces"])
        np.testing.assert_array_equal(back.calc.results["stress"], atoms.calc.results["stress"])
        assert back.calc.results["energy"] == atoms.calc.results["energy"]
        assert frame.sha256 == [f.sha256 for f in read_frames(tmp_path / name)][frame.index]
        if name == "md.traj":
            assert back.info == atoms.info


def test_truncated_trajectory_names_the_frame(tmp_path):
    ase.io.write(tmp_path / "md.traj", labelled_frames())
    whole = (tmp_path / "md.traj").read_bytes()
    path = write(tmp_path / "cut.traj", whole[:-200])
    with pytest.raises(DataError, match=r"cut\.traj: frame \d: ASE cannot read it as traj \("):
        list(read_frames(path))


def test_file_without_frames_is_said(tmp_path):
    with ase.io.Trajectory(str(tmp_path / "none.traj"), "w"):
        pass
    with pytest.raises(DataError, match=r"none\.traj: (the file holds no frame|the file is empty)$"):
        list(read_frames(tmp_path / "none.traj"))


def test_types_need_symbols_before_anything_is_read():
    with pytest.raises(UsageError, match=r"^--type-map: 'Qq' is no chemical symbol$"):
        next(read_frames("nosuch", ["Ta", "Qq"]))


# A file never runs code.


class Bomb:
    """Unpickled, it raises the alarm."""

    def __reduce__(self):
        return exec, ("import sys; sys.modules['a_file_ran_code'] = sys",)


@pytest.fixture
def alarm():
    yield lambda: "a_file_ran_code" in sys.modules
    sys.modules.pop("a_file_ran_code", None)


def test_the_alarm_works(alarm):
    pickle.loads(pickle.dumps(Bomb()))
    assert alarm()


@pytest.mark.parametrize("name", ["md.traj", "md.extxyz", "md.pckl", "md.npy", "md.db", "md.json", "md.gpw", "md"])
@pytest.mark.parametrize("head", [b"", b"PickleTrajectory"])
def test_pickled_objects_are_not_loaded(tmp_path, alarm, name, head):
    path = write(tmp_path / name, head + pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=name):
        list(read_frames(path))
    assert not alarm()


def test_folders_of_pickles_are_not_read(tmp_path, alarm):
    folder = tmp_path / "md.bundle"
    folder.mkdir()
    (folder / "metadata.json").write_text('{"format": "BundleTrajectory", "backend": "pickle"}')
    write(folder / "smalldata.pickle", pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="is a folder, not a file"):
        list(read_frames(folder))
    assert not alarm()


def test_json_in_a_comment_line_is_data(tmp_path, alarm):
    value = r"_JSON {\"__ase_objtype__\": \"atoms\", \"py/object\": \"os.system\", \"x\": [1, 2]}"
    path = write(tmp_path / "md.extxyz", f'1\nkey="{value}"\nFe 0 0 0\n'.encode())
    info = next(read_frames(path)).atoms.info
    assert info == {"key": {"__ase_objtype__": "atoms", "py/object": "os.system", "x": [1, 2]}}
    assert not alarm()


def test_a_folder_of_files_says_how_to_name_them(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    write(folder / "notes.txt", b"about these")
    os.mkfifo(folder / "pipe.extxyz")
    refused = r"mixed: is a folder, not a file, and not laid out as any that is read whole \(.*\)"
    with pytest.raises(DataError, match=f"{refused}$"):
        list(read_frames(folder))
    write(folder / "one.extxyz", FRAME)
    with pytest.raises(DataError, match=rf"{refused}; its files are read one by one if they are named: .*mixed/\*$"):
        list(read_frames(folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b'{"a": 1}',
            r"JSON is read as a list of pymatgen structures .*, as FitSNAP has it .*, and this is none of them",
        ),
        (
            b"[1, 2]",
            r"JSON is read as a list of pymatgen structures .*, as FitSNAP has it .*, and this is none of them",
        ),
        (b" [\n ]\n", r"the file holds an empty list: there is no frame in it"),
        (b'{"a":', r"is no JSON, or truncated: Expecting value \(line 1\)"),
    ],
)
def test_json_of_another_layout_is_told_which_are_read(tmp_path, text, message):
    path = write(tmp_path / "set.json", text)
    with pytest.raises(DataError, match=rf"^{path}: {message}$"):
        list(read_frames(path))


def test_compression_that_is_not_read_is_an_error(tmp_path):
    path = write(tmp_path / "md.extxyz.bz2", bz2.compress(FRAME))
    with pytest.raises(DataError, match=r"md\.extxyz\.bz2: "):
        list(read_frames(path))


def test_labels_are_found_under_any_name():
    atoms = Atoms("Fe", info={"REF_energy": 1.0, "dft_virial": np.eye(3), "config_type": "x", "step": 3})
    atoms.arrays["qm_forces"] = np.zeros((1, 3))
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    assert label_keys(atoms) == ("REF_energy", "dft_virial", "energy", "qm_forces")
