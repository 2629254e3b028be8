"""LAMMPS dumps: whole, with elements that somebody told, in ASE's units, or refused."""

import contextlib
import gzip
import io
import struct
import tracemalloc

import ase.io
import numpy as np
import pytest

from mlff_curate import read_frames
from mlff_curate.data.formats.base import ReadOptions
from mlff_curate.data.formatting import format_frame
from mlff_curate.data.reading import read_again
from mlff_curate.errors import DataError, UsageError
from mlff_curate.lammps_session import import_lammps

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
        index, text = frame.index, format_frame(frame.atoms).decode()
        back = ase.io.read(io.StringIO(text), format="extxyz")
        np.testing.assert_array_equal(back.positions[:, 0], np.array(X[::-1]) + index)
        np.testing.assert_array_equal(back.calc.results["forces"][:, 2], np.array(X[::-1]) + index)
        assert back.info["timestep"] == index


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
            r"frame 0: the dump has no positions: none of x y z, xu yu zu, xs ys zs, xsu ysu zsu$",
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


# What LAMMPS itself writes -------------------------------------------------------------------------------------------

COLUMNS = "id type element x y z xs ys zs xu yu zu xsu ysu zsu ix iy iz vx vy vz fx fy fz c_pe"
A = 3.32  # Angstrom, about tantalum's lattice constant
EV = {"metal": 1.0, "real": 23.060549, "si": 1.602176634e-19}  # in the style's unit of energy
ANGSTROM = {"metal": 1.0, "real": 1.0, "si": 1e-10}
AMU = {"metal": 1.0, "real": 1.0, "si": 1.66053906660e-27}
STEP = {"metal": 0.001, "real": 1.0, "si": 1e-15}  # all 1 fs


class Run:
    """Ten steps of a triclinic crystal of two types, dumped in all manners, and what LAMMPS holds at the end."""

    def __init__(self, folder, units, *, general=False):
        self.folder, self.units = folder, units
        length, energy = ANGSTROM[units], EV[units]
        vectors = "a1 2 0.3 0 a2 0.2 2.1 0.1 a3 -0.3 0.2 1.9" if general else "a1 2 0 0 a2 0.4 2 0 a3 -0.6 0.5 2"
        prism = A * length * np.array([0, 4, 0, 4, 0, 4, 0.8, -1.2, 1])
        crystal = f"lattice custom {A * length} {vectors} basis 0 0 0 basis 0.25 0.25 0.25 basis 0.5 0.5 0"
        box = (
            [f"{crystal} triclinic/general", "create_box 2 NULL 0 2 0 2 0 2"]
            if general
            else [crystal, f"region all prism {' '.join(map(str, prism))} units box", "create_box 2 all"]
        )
        lammps = import_lammps().lammps(cmdargs=["-screen", "none", "-log", str(folder / "log.lammps"), "-nocite"])
        flags = " triclinic/general yes" if general else ""
        lines = [
            *(f"units {units}", *box, "create_atoms 1 box basis 2 2", "displace_atoms all random 0.1 0.1 0.1 7"),
            f"mass * {180.95 * AMU[units]}",
            f"pair_style lj/cut {5 * length}",
            f"pair_coeff * * {0.1 * energy} {2.6 * length}",
            f"neighbor {0.5 * length} bin",
            "compute pe all pe/atom",
            "velocity all create 3000 123",
            f"timestep {STEP[units]}",
            "fix 1 all nve",
            "thermo 5",
            "thermo_style custom step temp pe etotal press",
            "thermo_modify format float %.12g",
            f"dump text all custom 5 {folder}/md.lammpstrj {COLUMNS}",
            f"dump zipped all custom/gz 5 {folder}/md.lammpstrj.gz {COLUMNS}",
            f"dump binary all custom 5 {folder}/md.bin {COLUMNS}",
            f"dump_modify text element Ta W units yes time yes format float %.17g{flags}",
            f"dump_modify zipped element Ta W units yes format float %.17g{flags}",
            f"dump_modify binary element Ta W units yes{flags}",
            *(
                f"dump {kind} all custom 5 {folder}/{kind}.lammpstrj id type {kind} {kind.replace('x', 'y')} "
                f"{kind.replace('x', 'z')}"
                for kind in ("x", "xs", "xu", "xsu")
            ),
            *(f"dump_modify {kind} format float %.17g{flags}" for kind in ("x", "xs", "xu", "xsu")),
            f"dump default all atom 5 {folder}/atom.bin",
        ]
        for line in [*lines, "run 10"]:
            lammps.command(line)
        n = lammps.get_natoms()
        order = np.argsort(lammps.numpy.extract_atom("id")[:n])
        self.positions = lammps.numpy.extract_atom("x")[:n][order] / length
        self.velocities = lammps.numpy.extract_atom("v")[:n][order] * STEP[units] / length  # Angstrom/fs
        self.forces = lammps.numpy.extract_atom("f")[:n][order] / energy * length
        self.per_atom = lammps.numpy.extract_compute("pe", 1, 1)[:n][order]
        self.energy = lammps.get_thermo("pe") / energy
        (low, high, self.xy, self.yz, self.xz, _, _) = lammps.extract_box()
        self.lengths = (np.array(high) - low) / length
        self.symbols = [["Ta", "W"][t - 1] for t in lammps.numpy.extract_atom("type")[:n][order]]
        lammps.close()

    def read(self, name="md.lammpstrj", **options):
        return list(read_frames(self.folder / name, **options))


@pytest.fixture(scope="module", params=EV)
def run(request, tmp_path_factory):
    return Run(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def general_run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("general"), "metal", general=True)


@pytest.mark.lammps
def test_frame_is_what_lammps_computed(run):
    frames = run.read(log=run.folder / "log.lammps")
    atoms = frames[-1].atoms
    assert [f.atoms.info["timestep"] for f in frames] == [0, 5, 10]
    assert atoms.get_chemical_symbols() == run.symbols
    np.testing.assert_allclose(atoms.positions, run.positions, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.diag(atoms.cell.array), run.lengths, rtol=1e-12)
    tilts = np.array([run.xy, run.xz, run.yz]) / ANGSTROM[run.units]
    np.testing.assert_allclose(atoms.cell.array[[1, 2, 2], [0, 0, 1]], tilts, rtol=1e-10)
    np.testing.assert_allclose(atoms.get_velocities() * ase.units.fs, run.velocities, rtol=1e-6)
    np.testing.assert_allclose(atoms.calc.results["forces"], run.forces, rtol=1e-6, atol=1e-9)
    assert atoms.calc.results["energy"] == pytest.approx(run.energy, rel=1e-7)
    np.testing.assert_array_equal(atoms.arrays["c_pe"], run.per_atom)  # its own name, its own unit
    assert frames[-1].origins["energy"].startswith("PotEng of step 10 in ")
    assert "stress" not in atoms.calc.results
    assert [r.rule for f in frames for r in f.remarks] == ["atoms-sorted", "pressure-not-taken"]


@pytest.mark.lammps
def test_energies_of_the_log_fall_by_the_work_of_forces_and_velocities_of_the_dump(run):
    frames = [frame.atoms for frame in run.read(log=run.folder / "log.lammps")]
    power = [float((a.calc.results["forces"] * a.get_velocities()).sum()) * ase.units.fs for a in frames]  # eV/fs
    work = 5 / 3 * (power[0] + 4 * power[1] + power[2])  # Simpson's rule, 5 fs apart
    assert frames[0].calc.results["energy"] - frames[2].calc.results["energy"] == pytest.approx(work, rel=0.05)


@pytest.mark.lammps
@pytest.mark.parametrize("name", ["md.lammpstrj.gz", "md.bin"])
def test_gzip_and_binary_hold_what_text_holds(run, name):
    type_map = ["Ta", "W"] if name == "md.bin" else []
    for text, other in zip(run.read(), run.read(name, type_map=type_map), strict=True):
        text.atoms.info.pop("time")
        assert_same_atoms(text.atoms, other.atoms)


def assert_same_atoms(one, other):
    assert one.info == other.info
    assert one.arrays.keys() == other.arrays.keys()
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(values, other.arrays[name])
    np.testing.assert_array_equal(one.cell.array, other.cell.array)
    np.testing.assert_array_equal(one.calc.results["forces"], other.calc.results["forces"])


@pytest.mark.lammps
def test_general_box_of_new_lammps_keeps_its_vectors(general_run):
    text, binary = general_run.read()[-1].atoms, general_run.read("md.bin", type_map=["Ta", "W"])[-1].atoms
    assert_same_atoms(text, binary) if text.info.pop("time") else None
    expected = 2 * A * np.array([[2, 0.3, 0], [0.2, 2.1, 0.1], [-0.3, 0.2, 1.9]])
    np.testing.assert_allclose(text.cell.array, expected, rtol=0, atol=1e-9)
    # LAMMPS computes in a box of its own, turned: distances and the size of forces are the same
    restricted = general_run.read("atom.bin", type_map=["Ta", "W"], units="metal")[-1].atoms
    np.testing.assert_allclose(restricted.cell.cellpar(), text.cell.cellpar(), rtol=1e-9)
    np.testing.assert_allclose(text.get_all_distances(mic=True), restricted.get_all_distances(mic=True), atol=1e-8)
    forces = text.calc.results["forces"]
    np.testing.assert_allclose(np.linalg.norm(forces, axis=1), np.linalg.norm(general_run.forces, axis=1), rtol=1e-9)
    turn = np.linalg.solve(text.cell.array, restricted.cell.array)
    np.testing.assert_allclose(forces @ turn, general_run.forces, atol=1e-9)


@pytest.mark.lammps
@pytest.mark.parametrize("kind", ["x", "xs", "xu", "xsu"])
def test_all_kinds_of_coordinates_are_the_same_crystal(run, kind):
    assert_same_crystal(run, kind)


@pytest.mark.lammps
@pytest.mark.parametrize("kind", ["x", "xs", "xu", "xsu"])
def test_all_kinds_of_coordinates_are_the_same_crystal_in_a_general_box(general_run, kind):
    assert_same_crystal(general_run, kind)


def assert_same_crystal(made, kind):
    for plain, other in zip(
        made.read(), made.read(f"{kind}.lammpstrj", type_map=["Ta", "W"], units=made.units), strict=True
    ):
        moved = other.atoms.positions - plain.atoms.positions
        moved -= np.round(moved @ np.linalg.inv(plain.atoms.cell.array)) @ plain.atoms.cell.array
        assert np.abs(moved).max() < 1e-9


@pytest.mark.lammps
@pytest.mark.parametrize("name", ["md.lammpstrj", "md.bin"])
def test_no_cut_of_a_dump_goes_unnoticed(general_run, tmp_path, name):
    options = {"type_map": ["Ta", "W"]} if name == "md.bin" else {}
    whole = (general_run.folder / name).read_bytes()
    frames = [f.sha256 for f in general_run.read(name, **options)]
    whole_at = []
    for length in {*range(1, len(whole), 211), *range(len(whole) - 40, len(whole))}:
        (tmp_path / "cut").write_bytes(whole[:length])
        read = []
        try:
            read.extend(f.sha256 for f in read_frames(tmp_path / "cut", **options))
            whole_at.append(length)
        except DataError:
            pass
        assert read == frames[: len(read)]
    assert len(whole_at) <= 1  # at most one of these cuts fell between two frames


@pytest.mark.lammps
@pytest.mark.parametrize("name", ["md.lammpstrj", "md.bin"])
def test_no_changed_byte_ends_in_a_traceback(general_run, tmp_path, name):
    whole = bytearray((general_run.folder / name).read_bytes())
    rng = np.random.default_rng(3)
    places = [*range(0, 600, 2), *rng.integers(0, len(whole), 100)]
    for place in places:
        changed = whole.copy()
        changed[place] = int(rng.integers(256))
        (tmp_path / "changed").write_bytes(changed)
        with contextlib.suppress(DataError):
            list(read_frames(tmp_path / "changed", type_map=["Ta", "W"]))


def test_memory_does_not_grow_with_the_frames(dump_file):
    rows = "".join(f"{i} Ta {i / 7} {i / 11} {i / 13}\n" for i in range(1, 501))
    head = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n500\nITEM: BOX BOUNDS pp pp pp\n" + "0 80\n" * 3
    name = dump_file((head + "ITEM: ATOMS id element x y z\n" + rows) * 100)  # 3.5 MB
    tracemalloc.start()
    assert sum(1 for _ in read_frames(name)) == 100
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


# Units ---------------------------------------------------------------------------------------------------------------


def remarks(frames):
    return [(frame.index, remark.rule, remark.severity) for frame in frames for remark in frame.remarks]


def test_units_that_nobody_told_are_metal_with_a_note(dump_file):
    frames = list(read_frames(dump_file(dump()), ["W", "Ta"]))
    assert remarks(frames) == [(0, "units-assumed", "note"), (0, "atoms-sorted", "note")]


def test_the_users_units_convert_and_are_noted_nowhere(dump_file):
    frames = list(read_frames(dump_file(dump("id element x y z fx fy fz")), units="real"))
    np.testing.assert_allclose(frames[0].atoms.calc.results["forces"][:, 0], np.array(X[::-1]) * 0.0433641, rtol=1e-6)
    np.testing.assert_array_equal(frames[0].atoms.positions[:, 0], X[::-1])
    assert remarks(frames) == [(0, "atoms-sorted", "note")]


def test_units_of_the_dump_count_more_than_the_users(dump_file):
    name = dump_file("ITEM: UNITS\nmetal\n" + dump("id element x y z fx fy fz"))
    frames = list(read_frames(name, units="real"))
    np.testing.assert_array_equal(frames[0].atoms.calc.results["forces"][:, 0], X[::-1])
    assert (0, "units-ignored", "warning") in remarks(frames)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("lj", r"^--units: lj units stand for no eV and no Angstrom: write the run in metal or real units$"),
        ("metre", r"^--units: 'metre' is no unit style of LAMMPS; available: metal, real, si, "),
    ],
)
def test_units_that_are_none_are_refused(dump_file, units, message):
    name = dump_file(dump("id element x y z"))
    with pytest.raises(UsageError, match=message):
        next(read_frames(name, units=units))
    name = dump_file(f"ITEM: UNITS\n{units}\n" + dump("id element x y z"))
    with pytest.raises(DataError, match=message.replace("^--units", r"^md\.lammpstrj: frame 0: units")):
        next(read_frames(name))


# Elements ------------------------------------------------------------------------------------------------------------


def test_surplus_types_of_the_map_are_noted(dump_file):
    frames = list(read_frames(dump_file(dump()), ["W", "Ta", "Nb"]))
    (remark,) = [r for f in frames for r in f.remarks if r.rule == "type-map-surplus"]
    assert (remark.severity, remark.message) == ("note", "no atom of the first frame has type 3 (Nb) of --type-map")


@pytest.mark.parametrize(("type_map", "severity"), [(["W", "Ta"], "note"), (["Fe", "Ta"], "warning")])
def test_type_map_beside_an_element_column_is_not_used_and_said_so(dump_file, type_map, severity):
    frames = list(
        read_frames(
            dump_file(dump("id type element x y z").replace("1 2 W", "1 1 W").replace("2 1 Ta", "2 2 Ta")), type_map
        )
    )
    assert frames[0].atoms.get_chemical_symbols() == ["W", "Ta"]
    assert (0, "type-map-ignored", severity) in remarks(frames)


def test_carbon_that_lammps_wrote_for_want_of_elements_is_not_believed(dump_file):
    text = dump("id type element x y z").replace("W", "C").replace("Ta", "C")
    frames = list(read_frames(dump_file(text)))
    assert (0, "element-default", "warning") in remarks(frames)
    frames = list(read_frames(dump_file(text), ["W", "Ta"]))
    assert frames[0].atoms.get_chemical_symbols() == ["Ta", "W"]
    assert (0, "element-ignored", "note") in remarks(frames)


def test_element_that_is_none_is_refused(dump_file):
    message = r"^md\.lammpstrj: frame 0: species: 'Qq' in the column element is no chemical symbol$"
    with pytest.raises(DataError, match=message):
        list(read_frames(dump_file(dump("id element x y z").replace("Ta", "Qq"))))


def test_options_that_mean_nothing_to_a_file_are_noted_once(tmp_path):
    ase.io.write(tmp_path / "md.extxyz", [ase.Atoms("Fe")] * 2)
    frames = list(read_frames(tmp_path / "md.extxyz", ["Fe"], units="metal"))
    assert remarks(frames) == [(0, "option-unused", "note")] * 2


# Atoms ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            dump().replace("\n2 1 1.12", "\n3 1 1.12"),
            r"frame 1: id: 1 atoms of frame 0 are gone and 1 are new: split the dump where its atoms change$",
        ),
        (dump().replace("\n2 1 ", "\n1 1 "), r"frame 0: id: two atoms have the id 1$"),
        (
            dump().replace("\n2 1 ", "\n2.5 1 "),
            r"frame 0: column id holds a word that is no whole number \(below line 9\)$",
        ),
        (
            dump().replace("pp pp pp\n0.0", "pp pp pp\nzero"),
            r"frame 0: ITEM: BOX BOUNDS is not followed by three lines",
        ),
        (dump("id type x x z"), r"frame 0: a column is there twice: id type x x z$"),
        (dump().replace("ITEM: ATOMS id type x y z fx fy fz", "ITEM: ATOMS"), r"frame 0: the dump does not name its"),
        (dump().replace(repr(X[0]), "wide", 1), r"frame 0: column x holds a word that is no number \(below line 9\)$"),
        ("ITEM: TIMESTEP\n0\nITEM: NUMBER OF ENTRIES\n2\n", r"frame 0: line 3, ITEM: NUMBER OF ENTRIES, belongs to no"),
        (dump()[:-1], r"frame 1: the last line has no end: truncated in the middle of it$"),
        (dump("id type x y z numbers"), r"frame 0: numbers: a column of the dump has the name of something else$"),
    ],
)
def test_what_is_no_dump_of_the_same_atoms_is_refused(dump_file, text, message):
    with pytest.raises(DataError, match=rf"^md\.lammpstrj: {message}"):
        list(read_frames(dump_file(text), ["W", "Ta"]))


def test_gaps_between_ids_are_a_warning(dump_file):
    frames = list(read_frames(dump_file(dump().replace("\n2 1 ", "\n9 1 ")), ["W", "Ta"]))
    assert (0, "ids-with-gaps", "warning") in remarks(frames)


def test_atoms_without_ids_stay_in_their_order(dump_file):
    frames = list(read_frames(dump_file(dump("element x y z"))))
    assert frames[0].atoms.get_chemical_symbols() == ["Ta", "W"]
    assert (0, "ids-missing", "note") in remarks(frames)


def test_boundaries_that_nobody_told_are_a_warning(dump_file):
    frames = list(read_frames(dump_file(dump("id element x y z", bounds=""))))
    assert frames[0].atoms.pbc.all()
    assert (0, "pbc-assumed", "warning") in remarks(frames)


def test_other_columns_keep_their_names(dump_file):
    atoms = next(read_frames(dump_file(dump("id element x y z q v_energy fx")), units="metal")).atoms
    np.testing.assert_array_equal(atoms.get_initial_charges(), X[::-1])
    np.testing.assert_array_equal(atoms.arrays["v_energy"], X[::-1])
    assert atoms.calc is None  # one component makes no forces
    np.testing.assert_array_equal(atoms.arrays["fx"], X[::-1])


# Binary ---------------------------------------------------------------------------------------------------------------


def binary_frame(order="<", revision=2, magic=b"DUMPCUSTOM", rows=((2, 1, 1.5, 1.5, 1.5), (1, 2, 0, 0, 0.25))):
    """Two atoms in a cube, as LAMMPS writes them; each process' atoms are a chunk."""
    head = (
        struct.pack(f"{order}q", -len(magic)) + magic + struct.pack(f"{order}iiqqi6i", 1, revision, 7, 2, 0, *[0] * 6)
    )
    box = struct.pack(f"{order}6di", *[0.0, 3.3] * 3, 5)
    names = b"id type x y z"
    told = struct.pack(f"{order}i", 5) + b"metal" + b"\0" + struct.pack(f"{order}i", len(names)) + names
    chunks = b"".join(struct.pack(f"{order}i5d", 5, *row) for row in rows)
    return head + box + told + struct.pack(f"{order}i", len(rows)) + chunks


@pytest.mark.parametrize("order", ["<", ">"])
def test_binary_dump_of_either_byte_order_is_known_by_its_content(tmp_path, order):
    (tmp_path / "whatever.txt").write_bytes(binary_frame(order) * 2)
    (tmp_path / "zipped").write_bytes(gzip.compress(binary_frame(order) * 2))
    for name in ("whatever.txt", "zipped"):
        frames = list(read_frames(tmp_path / name, ["Ta", "W"]))
        assert [f.atoms.info["timestep"] for f in frames] == [7, 7]
        assert frames[1].atoms.get_chemical_symbols() == ["W", "Ta"]
        assert frames[1].atoms.positions.tolist() == [[0, 0, 0.25], [1.5, 1.5, 1.5]]
        assert remarks(frames) == [(0, "atoms-sorted", "note")]  # units are told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (binary_frame(revision=1), "frame 0: a binary dump this old does not name its columns: write text instead$"),
        (binary_frame(rows=[(2, 1, 0, 0, 0)]), "frame 0: 5 numbers are missing of 2 atoms with 5 columns: damaged$"),
        (
            binary_frame(rows=[(1, 1, 0, 0, 0)] * 3),
            "frame 0: there are more numbers than 2 atoms with 5 columns have: dam",
        ),
        (binary_frame() + b"\0" * 40, "frame 1: a frame does not begin as binary dumps do: damaged$"),
        (binary_frame()[:-1], "frame 0: the frame ends before its atoms: truncated$"),
        (
            binary_frame(rows=[(2, 1.5, 0, 0, 0), (1, 1, 0, 0, 0)]),
            "frame 0: column type holds a number that is not whole",
        ),
        (struct.pack("<qqi6i", 0, 2, 0, *[0] * 6) + b"\0" * 200, "the format is not recognised"),  # of before 2021
    ],
)
def test_damaged_binary_dump_is_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "md.bin").write_bytes(content)
    with pytest.raises(DataError, match=rf"^md\.bin: {message}"):
        list(read_frames("md.bin", ["Ta", "W"]))
