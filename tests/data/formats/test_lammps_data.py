"""LAMMPS data files: LAMMPS sees the crystal that was written, and elements are never guessed in silence."""

import contextlib

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from mlff_curate import read_frames
from mlff_curate.data.formats.base import NormalFrame, WriteOptions
from mlff_curate.data.formats.lammps_data import LAMMPS_DATA, LAMMPS_DATA_FOLDER
from mlff_curate.data.frames import Frame, with_results
from mlff_curate.data.labels import labels_of
from mlff_curate.errors import DataError
from mlff_curate.lammps_session import LammpsSession, import_lammps, potential_file


def normal(atoms, index=0):
    return NormalFrame(Frame(atoms, "in.extxyz", index, "", None), labels_of(atoms), None, isolated=False)


def alloy(seed=0):
    atoms = bulk("Ta", cubic=True) * 2
    atoms.symbols[::3] = "W"
    atoms.rattle(0.2, seed=seed)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.1 * np.random.default_rng(seed).normal(size=(3, 3))), True)
    return atoms


def write(path, *frames, format=LAMMPS_DATA, type_map=()):  # noqa: A002
    writer = format.write(path, WriteOptions(type_map=type_map))
    lost = [writer.add(normal(atoms, i)) for i, atoms in enumerate(frames)]
    writer.close()
    return lost


def rules(frames):
    return [(frame.index, remark.rule, remark.severity) for frame in frames for remark in frame.remarks]


@pytest.mark.parametrize("handed", [1, -1])
def test_what_was_written_comes_back_turned(tmp_path, handed):
    atoms = alloy()
    atoms.set_cell(atoms.cell.array * [[1], [1], [handed]])
    atoms.set_velocities(np.random.default_rng(1).normal(size=(16, 3)))
    write(tmp_path / "a.data", atoms)
    (frame,) = read_frames(tmp_path / "a.data")
    back = frame.atoms
    assert back.get_chemical_symbols() == atoms.get_chemical_symbols()
    assert back.get_volume() == pytest.approx(atoms.get_volume())
    np.testing.assert_allclose(back.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-9)
    speeds = np.linalg.norm(atoms.get_velocities(), axis=1)
    np.testing.assert_allclose(np.linalg.norm(back.get_velocities(), axis=1), speeds, rtol=1e-9)
    np.testing.assert_allclose(back.get_masses(), atoms.get_masses())


def test_cell_that_lammps_takes_as_it_is_is_not_turned(tmp_path):
    atoms = bulk("Ta", cubic=True) * 2
    atoms.rattle(0.2, seed=1)
    write(tmp_path / "a.data", atoms)
    (frame,) = read_frames(tmp_path / "a.data")
    np.testing.assert_array_equal(frame.atoms.positions, atoms.positions)
    np.testing.assert_array_equal(frame.atoms.cell.array, atoms.cell.array)


def test_ase_reads_the_same(tmp_path):
    write(tmp_path / "a.data", alloy())
    (frame,) = read_frames(tmp_path / "a.data")
    other = ase.io.read(tmp_path / "a.data", format="lammps-data", atom_style="atomic")
    np.testing.assert_allclose(frame.atoms.positions, other.positions, atol=1e-12)
    np.testing.assert_allclose(frame.atoms.cell.array, other.cell.array, atol=1e-12)
    assert frame.atoms.get_chemical_symbols() == other.get_chemical_symbols()


@pytest.mark.lammps
@pytest.mark.parametrize("kind", ["crystal", "left-handed", "molecule"])
def test_lammps_computes_the_energy_of_the_frame_from_the_file(tmp_path, kind):
    atoms = molecule("C60") if kind == "molecule" else alloy()
    atoms.set_chemical_symbols(["Fe"] * len(atoms))
    if kind == "molecule":
        atoms.positions *= 1.6  # Fe is larger
    if kind == "left-handed":
        atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    interactions = ["pair_style eam/fs", f'pair_coeff * * "{potential_file("Fe_mm.eam.fs")}" Fe']
    with LammpsSession() as session:
        session.load(atoms, [26], interactions)
        session.run(0)
        expected = session.energy()
    write(tmp_path / "a.data", atoms)
    lammps = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
    boundary = "s s s" if kind == "molecule" else "p p p"
    for line in (
        "units metal",
        f"boundary {boundary}",
        "box tilt large",
        f"read_data {tmp_path}/a.data",
        *interactions,
    ):
        lammps.command(line)
    lammps.command("run 0")
    energy = lammps.get_thermo("pe")
    lammps.close()
    assert energy == pytest.approx(expected, abs=1e-8)


def test_types_are_in_the_order_of_atomic_numbers_or_of_the_user(tmp_path):
    write(tmp_path / "a.data", alloy())
    write(tmp_path / "b.data", alloy(), type_map=("W", "Nb", "Ta"))
    masses = [
        path.read_text().split("Masses\n\n")[1].split("\n\nAtoms")[0].split("\n") for path in sorted(tmp_path.iterdir())
    ]
    assert masses == [["1 180.94788 # Ta", "2 183.84 # W"], ["1 183.84 # W", "2 92.90637 # Nb", "3 180.94788 # Ta"]]


def test_what_the_format_cannot_hold_is_named(tmp_path):
    atoms = with_results(alloy(), energy=-1.0, forces=np.zeros((16, 3)))
    atoms.info["config_type"] = "alloy"
    atoms.pbc = [True, True, False]
    assert write(tmp_path / "a.data", atoms) == [("config_type", "energy", "forces", "pbc")]
    assert write(tmp_path / "b.data", alloy()) == [()]


def test_file_holds_one_frame_and_a_folder_all(tmp_path):
    with pytest.raises(DataError, match=r"^in\.extxyz: frame 1: --to: a LAMMPS data file holds one frame: write a fol"):
        write(tmp_path / "a.data", alloy(), alloy())
    frames = [alloy(seed) for seed in range(12)]
    write(tmp_path / "folder", *frames, format=LAMMPS_DATA_FOLDER)
    assert sorted(path.name for path in (tmp_path / "folder").iterdir())[:2] == ["000000.data", "000001.data"]
    back = list(read_frames(tmp_path / "folder"))
    assert [frame.index for frame in back] == list(range(12))
    for frame, atoms in zip(back, frames, strict=True):
        assert frame.atoms.get_volume() == pytest.approx(atoms.get_volume())


def test_types_mean_the_same_in_every_file_of_a_folder(tmp_path):
    message = r"^in\.extxyz: frame 1: --type-map: the frame has W, the types are Ta: say --type-map with all elements$"
    with pytest.raises(DataError, match=message):
        write(tmp_path / "a", bulk("Ta"), alloy(), format=LAMMPS_DATA_FOLDER)
    write(tmp_path / "b", bulk("Ta"), alloy(), format=LAMMPS_DATA_FOLDER, type_map=("W", "Ta"))
    assert next(read_frames(tmp_path / "b")).atoms.get_chemical_symbols() == ["Ta"]


# Reading -------------------------------------------------------------------------------------------------------------

DATA = """LAMMPS data file via write_data, version 22 Jul 2025, timestep = 10, units = metal

2 atoms
2 atom types

0 3.3 xlo xhi
0 3.4 ylo yhi
0.5 4 zlo zhi
0.1 0.2 0.3 xy xz yz

Masses

1 180.95
2 183.84

Pair Coeffs # lj/cut

1 0.1 2.6
2 0.1 2.6

Atoms # atomic

2 1 1.5 1.5 1.5 0 0 -1
1 2 0 0 0.25 0 0 0

Velocities

2 1 2 3
1 -1 -2 -3
"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(text, **options):
        (tmp_path / "a.data").write_text(text)
        return list(read_frames("a.data", **options))

    return read


def test_elements_are_the_users(data):
    frames = data(DATA, type_map=["Ta", "W"])
    assert frames[0].atoms.get_chemical_symbols() == ["W", "Ta"]  # by id
    assert frames[0].atoms.positions.tolist() == [[0, 0, 0.25], [1.5, 1.5, 1.5]]
    assert frames[0].atoms.cell.array.tolist() == [[3.3, 0, 0], [0.1, 3.4, 0], [0.2, 0.3, 3.5]]
    assert frames[0].atoms.arrays["iz"].tolist() == [0, -1]
    assert rules(frames) == [(0, "pbc-assumed", "note")]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (DATA, "the masses"),
        (DATA.replace("180.95", "1 # Ta").replace("183.84", "1 # W"), "the comments behind the masses"),
        (
            DATA.replace("180.95", "1").replace("Pair Coeffs", "Atom Type Labels\n\n1 Ta\n2 W\n\nPair Coeffs"),
            "the type labels",
        ),
    ],
)
def test_elements_that_the_file_hints_at_are_taken_with_a_note(data, text, what):
    frames = data(text)
    assert frames[0].atoms.get_chemical_symbols() == ["W", "Ta"]
    (note,) = [r for r in frames[0].remarks if r.rule == "elements-inferred"]
    assert (note.severity, note.message) == ("note", f"elements are taken from {what}: Ta, W")


def test_types_without_any_hint_are_no_elements(data):
    message = r"^a\.data: the data file has types but no elements: say --type-map, such as --type-map Ta,W$"
    for text in (
        DATA.replace("180.95", "1").replace("183.84", "1.2"),
        DATA.replace("Masses\n\n1 180.95\n2 183.84\n", ""),
    ):
        with pytest.raises(DataError, match=message):
            data(text)


def test_units_are_those_of_the_title_or_of_the_user(data):
    (metal,) = data(DATA)
    (real,) = data(DATA.replace("units = metal", "units = real"))
    np.testing.assert_allclose(real.atoms.get_velocities(), 1000 * metal.atoms.get_velocities(), rtol=1e-6)  # ps to fs
    untold = DATA.replace(", units = metal", "")
    assert (0, "units-assumed", "note") in rules(data(untold))
    (said,) = data(untold, units="real")
    np.testing.assert_array_equal(said.atoms.get_velocities(), real.atoms.get_velocities())
    assert (0, "units-ignored", "warning") in rules(data(DATA, units="real"))


@pytest.mark.parametrize(
    ("style", "rows"),
    [
        ("charge", ["2 1 0.5 1.5 1.5 1.5", "1 2 -0.5 0 0 0.25"]),
        ("molecular", ["2 7 1 1.5 1.5 1.5", "1 7 2 0 0 0.25"]),
        ("full", ["2 7 1 0.5 1.5 1.5 1.5 0 0 -1", "1 7 2 -0.5 0 0 0.25 0 0 0"]),
    ],
)
def test_atom_styles_that_are_told_are_read(data, style, rows):
    text = (
        DATA.replace("atomic", style).replace("2 1 1.5 1.5 1.5 0 0 -1", rows[0]).replace("1 2 0 0 0.25 0 0 0", rows[1])
    )
    (frame,) = data(text)
    assert frame.atoms.positions.tolist() == [[0, 0, 0.25], [1.5, 1.5, 1.5]]
    if style in ("charge", "full"):
        assert frame.atoms.get_initial_charges().tolist() == [-0.5, 0.5]
    if style in ("molecular", "full"):
        assert frame.atoms.arrays["mol"].tolist() == [7, 7]


def test_five_columns_are_atomic_with_a_note(data):
    assert (0, "style-assumed", "note") in rules(data(DATA.replace(" # atomic", "")))


def test_bonds_are_said_not_to_be_taken(data):
    frames = data(DATA + "\nBonds\n\n1 1 1 2\n")
    (note,) = [r for r in frames[0].remarks if r.rule == "section-ignored"]
    assert note.message == "not taken: Bonds"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2 atoms", "3 atoms", r"frame 0: Atoms has 2 rows instead of 3: truncated, or the count is wrong$"),
        ("2 atom types", "3 atom types", r"frame 0: Masses has 2 rows instead of 3"),
        ("0 3.4 ylo yhi\n", "", r"frame 0: the header lacks ylo yhi: truncated$"),
        ("# atomic", "# sphere", r"frame 0: the atom style 'sphere' is not read: write one of atomic, charge, bond"),
        (
            "1 2 0 0 0.25 0 0 0",
            "1 2 0 0 zero 0 0 0",
            r"frame 0: Atoms: 8 numbers expected, found '1 2 0 0 zero 0 0 0'$",
        ),
        ("1 2 0 0 0.25", "2 2 0 0 0.25", r"frame 0: id: two atoms have the same id$"),
        ("1 -1 -2 -3", "3 -1 -2 -3", r"frame 0: id: the velocities are of other atoms than the section Atoms has$"),
        ("1 -1 -2 -3\n", "1 -1 -2 -3", r"frame 0: the last line has no end: truncated in the middle of it$"),
        ("Atoms # atomic", "Atoms # atomic\n\n# nothing\n\nVelocities", r"frame 0: Atoms has 0 rows instead of 2"),
        ("units = metal", "units = lj", r"frame 0: units: lj units stand for no eV and no Angstrom"),
    ],
)
def test_damaged_data_file_is_refused(data, old, new, message):
    assert old in DATA
    with pytest.raises(DataError, match=rf"^a\.data: {message}"):
        data(DATA.replace(old, new))


def test_type_beyond_the_map_is_refused(data):
    with pytest.raises(DataError, match=r"^a\.data: frame 0: there is a type 2, but --type-map has types 1 to 1$"):
        data(DATA, type_map=["Ta"])


def test_cut_or_changed_data_file_never_ends_in_a_traceback(data):
    whole = data(DATA)[0]
    end = DATA.index("\nVelocities")
    for length in range(1, len(DATA)):
        try:
            (frame,) = data(DATA[:length])
        except DataError:
            continue
        assert length >= end - 1  # the atoms are all there
        np.testing.assert_array_equal(frame.atoms.positions, whole.atoms.positions)
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(DATA), 300):
        with contextlib.suppress(DataError):
            data(DATA[:place] + chr(rng.integers(128)) + DATA[place + 1 :])


@pytest.mark.lammps
@pytest.mark.parametrize("general", [False, True])
def test_file_that_lammps_wrote_is_read(tmp_path, general):
    lammps = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
    vectors = "a1 2 0.3 0 a2 0.2 2.1 0.1 a3 -0.3 0.2 1.9 basis 0 0 0 basis 0.5 0.5 0 triclinic/general"
    for line in (
        *(
            "units metal",
            f"lattice custom 3.32 {vectors}",
            "create_box 2 NULL 0 2 0 2 0 2",
            "create_atoms 1 box basis 2 2",
        ),
        *("mass 1 180.95", "mass 2 183.84", "pair_style lj/cut 5", "pair_coeff * * 0.1 2.6", "run 0"),
        f"write_data {tmp_path}/a.data" + (" triclinic/general" if general else ""),
    ):
        lammps.command(line)
    lammps.close()
    (frame,) = read_frames(tmp_path / "a.data")
    vectors = 2 * 3.32 * np.array([[2, 0.3, 0], [0.2, 2.1, 0.1], [-0.3, 0.2, 1.9]])
    expected = Atoms(cell=vectors, pbc=True).cell
    np.testing.assert_allclose(frame.atoms.cell.cellpar(), expected.cellpar(), rtol=1e-9)
    assert frame.atoms.symbols.formula.count() == {"Ta": 8, "W": 8}
    if general:
        np.testing.assert_allclose(frame.atoms.cell.array, vectors, atol=1e-9)
        off = 2 * frame.atoms.get_scaled_positions()[frame.atoms.symbols == "W"] - [0.5, 0.5, 0.0]
        np.testing.assert_allclose(off, np.round(off), atol=1e-9)
