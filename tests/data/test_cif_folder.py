"""A folder of CIF files with a table."""

import warnings

import pytest
from ase.build import bulk
from ase.io import write

from mlff_curate.data.cif_folder import is_cif_folder, read_cif_folder
from mlff_curate.data.formats import cif
from mlff_curate.errors import DataError, UsageError

PARTLY = """data_x
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
A1 Cu 0 0 0 0.5
A2 Au 0 0 0 0.5
"""


@pytest.fixture
def folder(tmp_path):
    for name, atoms in {"cu": bulk("Cu"), "si": bulk("Si"), "nacl": bulk("NaCl", "rocksalt", a=5.6)}.items():
        write(tmp_path / f"{name}.cif", atoms)
    return tmp_path


def put(folder, text, name="id_prop.csv"):
    path = folder / name
    path.write_text(text)
    return path


def test_the_authors_layout_is_read_in_the_order_of_the_table(folder):
    put(folder, "si,1.1\ncu,0\n\nnacl, 8.5\n")
    found = read_cif_folder(folder)
    assert found.ids == ("si", "cu", "nacl")
    assert found.targets == (1.1, 0.0, 8.5)
    assert found.target == "target"
    assert [str(frame.atoms.symbols) for frame in found.frames] == ["Si2", "Cu", "NaCl"]
    assert [frame.source for frame in found.frames] == [str(folder / f"{name}.cif") for name in found.ids]
    assert found.notes == ()
    assert read_cif_folder(folder, target="gap").target == "gap"


def test_a_table_with_a_header_has_its_column_named(folder):
    table = put(folder, "\ufeffid,gap,metal\nsi.cif,1.1,False\ncu,0,True\n", "t.csv")
    assert read_cif_folder(folder, table, "gap").targets == (1.1, 0.0)
    found = read_cif_folder(folder, table, "metal")
    assert (found.targets, found.target) == ((0.0, 1.0), "metal")
    assert found.notes == (f"1 CIF file of {folder} not in {table}, left out (nacl)",)


def test_the_usual_column_is_taken_where_none_is_named(folder):
    table = put(folder, "id,gap,metal\nsi,1.1,False\n", "t.csv")
    found = read_cif_folder(folder, table, usual="metal")
    assert (found.targets, found.target) == ((0.0,), "metal")
    assert read_cif_folder(folder, table, "gap", usual="metal").target == "gap"
    with pytest.raises(UsageError, match="which column is the target is not said; available: gap, metal"):
        read_cif_folder(folder, table, usual="modulus")
    assert read_cif_folder(folder, put(folder, "si,1\n"), usual="metal").target == "metal"


def test_the_one_table_of_a_folder_is_taken(folder):
    put(folder, "id,gap\nsi,1.1\n", "any.csv")
    assert (read_cif_folder(folder).target, read_cif_folder(folder).targets) == ("gap", (1.1,))
    put(folder, "id,gap\nsi,1.1\n", "other.csv")
    with pytest.raises(DataError, match=r"has 2 CSV files and no id_prop\.csv: name the table with --csv$"):
        read_cif_folder(folder)


def test_a_folder_without_a_table_is_read_where_none_is_needed(folder):
    found = read_cif_folder(folder, needs_table=False)
    assert (found.ids, found.targets) == (("cu", "nacl", "si"), None)
    with pytest.raises(DataError, match=r"has no id_prop\.csv and no other CSV file: name the table with --csv$"):
        read_cif_folder(folder)


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("", None, "the table is empty"),
        ("si\n", None, "two columns are needed, id and target, with a comma between"),
        ("id,gap\n", None, "the table has a header and no row"),
        ("si,1\nsi.cif,2\n", None, "si: line 2: the id appears twice"),
        ("si,1\ncu,high\n", None, "cu: line 2: target is no finite number: 'high'"),
        ("si,n/a\ncu,2\n", None, "si: line 1: target is no finite number: 'n/a'"),
        ("si.cif,\ncu,2\n", None, "si: line 1: target is no finite number: ''"),
        (f"{'s' * 300},1\ncu,2\n", None, f"{'s' * 300}: there is no {'s' * 300}.cif in "),
        ("id,gap\n\nsi,nan\n", None, "si: line 3: gap is no finite number: 'nan'"),
        ("si,1\ncu\n", None, "cu: line 2: target is no finite number: ''"),
        ("si,1,2\n", None, "more than two columns and no header: which is the target is not said"),
        ("id,a,b\nsi,1,2\n", "c", "c: there is no such column; available: a, b"),
        ("../si,1\n", None, "line 1: '../si' is no name of a CIF file"),
        (",1\n", None, "line 1: '' is no name of a CIF file"),
        ("si,1\nfe,2\n", None, "fe: there is no fe.cif in "),
        ('si,1\n"cu\n', None, "cu: line 2: target is no finite number: ''"),
    ],
)
def test_a_damaged_table_is_refused_with_line_and_id(folder, text, target, message):
    path = put(folder, text)
    with pytest.raises(DataError) as caught:
        read_cif_folder(folder, target=target)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_column_that_is_not_said_is_wrong_usage(folder):
    path = put(folder, "id,a,b\nsi,1,2\n")
    with pytest.raises(UsageError) as caught:
        read_cif_folder(folder)
    assert str(caught.value) == f"{path}: --target: which column is the target is not said; available: a, b"


def test_a_table_that_is_no_text_is_refused(folder):
    (folder / "id_prop.csv").write_bytes(b"si,1\n\xff\xfe\n")
    with pytest.raises(DataError, match="is no text in UTF-8"):
        read_cif_folder(folder)


def test_a_missing_table_is_named(folder):
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        read_cif_folder(folder, folder / "none.csv")


def test_sites_that_are_partly_occupied_are_refused(folder):
    (folder / "mixed.cif").write_text(PARTLY)
    put(folder, "mixed,1\n")
    with pytest.raises(DataError) as caught:
        read_cif_folder(folder)
    assert str(caught.value) == (
        f"{folder / 'mixed.cif'}: occupancy: site 0 is partly occupied (Cu 0.5, Au 0.5): a crystal graph has one "
        "element per site"
    )


def test_a_damaged_cif_is_named(folder):
    (folder / "cu.cif").write_text("data_cu\n_cell_length_a 3\n")
    put(folder, "cu,1\n")
    with pytest.raises(DataError, match=r"cu\.cif: "):
        read_cif_folder(folder)


def test_of_several_structures_in_a_file_the_first_is_read(folder):
    write(folder / "two.cif", [bulk("Ni"), bulk("Fe")])
    put(folder, "two,1\ncu,2\nsi,3\nnacl,4\n")
    found = read_cif_folder(folder)
    assert str(found.frames[0].atoms.symbols) == "Ni"
    assert found.notes == (f"{folder / 'two.cif'}: 2 structures in the file, the first is read",)


def test_warnings_are_counted_and_the_first_is_told(folder, monkeypatch, recwarn):
    put(folder, "si,1\ncu,2\nnacl,3\n")
    real = cif.read_with_ase

    def doubtful(path, kind):
        if path.stem != "si":
            warnings.warn("odd setting", stacklevel=1)
        return real(path, kind)

    monkeypatch.setattr(cif, "read_with_ase", doubtful)
    found = read_cif_folder(folder)
    assert found.notes == (
        "warnings while 2 CIF files were read, the first: ASE warned while it read cu.cif: odd setting",
    )
    assert len(recwarn) == 0


def test_progress_is_told_file_by_file(folder):
    put(folder, "si,1\ncu,2\n")
    told = []
    read_cif_folder(folder, progress=lambda *words: told.append(words))
    assert told == [(1, 2), (2, 2)]


def test_a_folder_of_cif_files_is_told_from_others(folder, tmp_path_factory):
    assert is_cif_folder(folder)
    assert not is_cif_folder(tmp_path_factory.mktemp("other"))
    assert not is_cif_folder(folder / "cu.cif")
