"""`mlff-curate convert`: frames arrive in the other format, and the user is told what became of every label."""

import gzip
import json
import signal

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_curate.data.formats.base import NormalFrame, WriteOptions
from mlff_curate.data.formats.hdf5 import Hdf5Writer
from mlff_curate.data.frames import Frame, Remark
from mlff_curate.data.labels import labels_of


@pytest.fixture
def convert(command):
    return lambda *arguments: command("convert", *arguments)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def named(iron, prefix, count=3):
    """Frames with all labels, under names with a prefix."""
    frames = []
    for i in range(count):
        atoms = iron(i, config_type="ab"[i % 2])
        atoms.info[f"{prefix}energy"] = -8.0 - i / 7
        atoms.arrays[f"{prefix}forces"] = np.full((2, 3), i / 7)
        atoms.info[f"{prefix}stress"] = np.diag([1.0, 2.0, 3.0]) * i / 700
        frames.append(atoms)
    return frames


# What is said.


def test_renames_are_told(convert, put, iron):
    put("dft.extxyz", named(iron, "dft_"))
    done = convert("dft.extxyz", "out.extxyz", "--to", "mace")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "out.extxyz: 3 frames in 2 groups, 6 atoms, as extended XYZ for MACE\n"
        "energy: dft_energy -> REF_energy in 3 frames\n"
        "forces: dft_forces -> REF_forces in 3 frames\n"
        "stress: dft_stress -> REF_stress in 3 frames\n"
    )
    for before, after in zip(named(iron, "dft_"), ase.io.iread("out.extxyz"), strict=True):
        assert after.info["REF_energy"] == before.info["dft_energy"]
        np.testing.assert_array_equal(after.arrays["REF_forces"], before.arrays["dft_forces"])
        np.testing.assert_array_equal(after.info["REF_stress"], before.info["dft_stress"].ravel())
        assert "dft_energy" not in after.info
        assert after.info["config_type"] == before.info["config_type"]


def test_frames_without_labels_are_converted_and_get_none(convert, trajectory):
    done = convert(trajectory, "out.h5")
    assert (done.code, done.out) == (
        0,
        (
            "out.h5: 12 frames in 2 groups, 24 atoms, as HDF5 of mlff-curate\n"
            "no energies, forces or stresses: the frames are unlabelled, and stay so\n"
        ),
    )
    with h5py.File("out.h5") as file:
        assert "results" not in file
    assert convert("out.h5", "mace.extxyz", "--to", "mace").code == 0
    assert all(atoms.calc is None and "REF_energy" not in atoms.info for atoms in ase.io.iread("mace.extxyz"))


def test_labels_that_some_frames_lack_are_counted(convert, put, iron):
    frames = named(iron, "")
    del frames[1].info["stress"]
    del frames[2].info["stress"], frames[2].arrays["forces"]
    put("some.extxyz", frames)
    done = convert("some.extxyz", "out.db")
    assert done.out.splitlines()[1:] == [
        "energy: energy in 3 frames",
        "forces: forces in 2 frames",
        "stress: stress in 1 frame",
        "no forces in 1 frame",
        "no stress in 2 frames",
    ]
    back = [atoms.calc.results for atoms in ase.io.iread("out.db")]
    assert [sorted(results) for results in back] == [
        ["energy", "forces", "stress"],
        ["energy", "forces"],
        ["energy"],
    ]


def test_what_was_done_to_a_label_is_told(convert, put, iron):
    atoms = iron(0)
    atoms.info["REF_virial"] = np.diag([1.0, 2.0, 3.0])
    atoms.info["free_energy"] = -8.0
    put("v.extxyz", [atoms])
    done = convert("v.extxyz", "out.extxyz", "--write-stress-key", "stress")
    assert done.out == (
        "out.extxyz: 1 frame, 2 atoms, as extended XYZ\n"
        "energy: free_energy in 1 frame (the free energy)\n"
        "stress: REF_virial -> stress in 1 frame (a virial: minus it over the volume is the stress)\n"
        "no forces in 1 frame\n"
    )
    back = ase.io.read("out.extxyz")
    np.testing.assert_allclose(back.calc.results["stress"][:3], -np.array([1, 2, 3]) / atoms.get_volume(), rtol=1e-14)
    assert "REF_virial" not in back.info


def test_names_that_nobody_knows_and_labels_that_are_none_are_told(convert, put, iron):
    frames = named(iron, "")
    for atoms in frames:
        atoms.info["gap_energy"] = 1.0
    frames[0].info["energy"] = np.nan
    put("odd.extxyz", frames)
    done = convert("odd.extxyz", "out.extxyz", "--to", "nequip")
    assert done.out.splitlines()[1:] == [
        "energy: energy in 2 frames",
        "forces: forces in 3 frames",
        "stress: stress in 3 frames",
        "no energy in 1 frame",
        "warning: energy: NaN or infinity in 1 frame: taken as missing",
        (
            "warning: gap_energy (3 frames) looks like a label, but is under no name that is known for one: "
            "passed on as it is"
        ),
        "warning: nequip cannot hold energy (1 frame)",
    ]
    assert "energy" not in next(ase.io.iread("out.extxyz")).calc.results


def test_a_misspelt_label_is_asked_about(convert, put, iron):
    frames = [iron(i) for i in range(3)]
    for atoms in frames:
        atoms.info["E_dft"] = -8.0
        atoms.arrays["frces"] = np.full((2, 3), 0.25)
        atoms.arrays["velocities"] = np.full((2, 3), 0.5)
    put("in.extxyz", frames)
    done = convert("in.extxyz", "out.extxyz", "--to", "mace")
    assert done.code == 0
    assert (
        "warning: no energy under a usual name; E_dft has its shape: --energy-key E_dft (3 frames)\n"
        "warning: no forces under a usual name; frces has their shape: --forces-key frces (3 frames)\n"
    ) in done.out
    assert "velocities" not in done.out
    named = convert("in.extxyz", "two.extxyz", "--energy-key", "E_dft", "--forces-key", "frces")
    assert "warning" not in named.out


def test_frames_with_labels_are_not_asked_about(convert, put, iron):
    atoms = named(iron, "dft_")[0]
    atoms.arrays["frces"], atoms.info["E0"] = np.full((2, 3), 0.25), -8.0
    put("in.extxyz", [atoms])
    assert "usual name" not in convert("in.extxyz", "out.extxyz").out


def test_a_virial_without_a_cell_is_told(convert, put, iron):
    frames = [iron(i, energy=-8.0, virial=np.diag([1.0, 2.0, 3.0])) for i in range(2)]
    for atoms in frames:
        atoms.cell, atoms.pbc = np.zeros((3, 3)), False
    put("in.extxyz", frames)
    done = convert("in.extxyz", "out.extxyz", "--to", "mace")
    assert "warning: virial makes no stress in 2 frames, as the cell has no volume: taken as missing\n" in done.out


def test_what_readers_noticed_is_told(convert, iron, here):
    writer = Hdf5Writer(here / "in.h5", WriteOptions())
    remark = Remark("scf-unconverged", "warning", "energy", "the last electronic step did not converge", "leave it out")
    for i in range(3):
        atoms = iron(i, energy=float(i))
        frame = Frame(atoms, "OUTCAR", i, "", None, {"energy": "energy(sigma->0)"}, (remark,) if i else ())
        writer.add(NormalFrame(frame, labels_of(atoms), None, isolated=False))
    writer.close()
    done = convert("in.h5", "out.extxyz")
    assert done.out.splitlines()[1:] == [
        "energy: energy in 3 frames (energy(sigma->0))",
        "no forces in 3 frames",
        "no stress in 3 frames",
        (
            "warning: the last electronic step did not converge (scf-unconverged, 2 frames, first in.h5: frame 1): "
            "leave it out"
        ),
    ]
    assert convert("in.h5", "out.extxyz", "--overwrite", "--json").json["remarks"] == [
        {
            "rule": "scf-unconverged",
            "severity": "warning",
            "key": "energy",
            "frames": 2,
            "file": "in.h5",
            "frame": 1,
            "message": "the last electronic step did not converge",
            "fix": "leave it out",
        }
    ]


def test_a_stress_that_is_not_symmetric_is_a_warning_since_the_frames_are_written(convert, here):
    lattice = "5 0 0 0 5 0 0 0 5"
    comment = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 energy=-1.0 stress="0 0.05 0 0 0 0 0 0 0"'
    (here / "in.extxyz").write_text(f"1\n{comment}\nFe 0 0 0\n")
    done = convert("in.extxyz", "out.extxyz", "--to", "mace")
    assert done.code == 0
    assert "warning: the stress is not symmetric, one triangle is zero: " in done.out
    assert "error" not in done.out + done.err


def test_where_units_are_assumed_it_is_said_what_tests_them(convert, command, here):
    site = {"species": [{"element": "Fe", "occu": 1}], "xyz": [0.0, 0.0, 0.0]}
    structure = {"@module": "pymatgen.core.structure", "@class": "Molecule", "sites": [site]}
    (here / "set.json").write_text(json.dumps([{"structure": structure, "energy": -3.5}]))
    check = "mlff-curate check"
    said = convert("set.json", "out.extxyz").out
    assert f"note: where units are assumed, {check} tells whether the labels go together in them\n" in said
    told = command("check", "set.json", "--no-report").out
    assert "are assumed\n    to do: make sure of it, unless VASP computed it\n" in told
    assert check not in told


def test_json_says_the_same(convert, put, iron):
    frames = [*named(iron, "dft_", 2), Atoms("Fe", info={"dft_energy": -3.0})]
    frames[0].set_array("site", np.array([1, 2]))
    put("dft.extxyz", frames)
    done = convert("dft.extxyz", "out", "--to", "kliff", "--json")
    assert done.code == 0
    values = done.json
    assert values.pop("seconds") > 0
    assert values.pop("peak_memory_mb") > 0
    assert values == {
        "output": "out",
        "format": "kliff",
        "inputs": ["dft.extxyz"],
        "frames": 3,
        "atoms": 5,
        "isolated_atoms": 1,
        "groups": {"a": 1, "b": 1},
        "labels": {
            "energy": [{"found": "dft_energy", "written": "Energy", "origin": "", "frames": 3}],
            "forces": [{"found": "dft_forces", "written": "Forces", "origin": "", "frames": 2}],
            "stress": [{"found": "dft_stress", "written": "Stress", "origin": "", "frames": 2}],
        },
        "unlabelled": {"energy": 0, "forces": 1, "stress": 1},
        "lost": {"cell": 1, "site": 1},
        "unknown": {},
        "likely": [],
        "not_finite": {},
        "without_cell": {},
        "remarks": [],
        "notes": [],
    }
    assert "kliff cannot hold cell (1 frame), site (1 frame)" in done.err


def test_help_ends_with_examples(convert):
    done = convert("--help")
    assert done.code == 0
    assert "mlff-curate convert dft.extxyz train.extxyz --to mace\n" in done.out.partition("Examples:\n")[2]


# What is written.


def test_extxyz_passes_bit_for_bit_where_nothing_has_to_change(convert, put, here):
    text = (
        b'2\r\nLattice="3 0 0 0 3 0 0 0 3"  energy=-1.50 note="x"\r\nFe 0 0 0\r\nfe 1.5 1.5 1.500 \r\n1 \n\nFe 0 0 0\n'
    )
    put("in.extxyz", text)
    assert convert("in.extxyz", "out.xyz").code == 0
    assert convert("in.extxyz", "same.extxyz", "--write-energy-key", "energy").code == 0
    assert (here / "out.xyz").read_bytes() == (here / "same.extxyz").read_bytes() == text


def test_frames_stay_in_the_order_of_the_inputs(convert, put, iron):
    put("b.extxyz", [iron(i, step=i) for i in range(3)])
    ase.io.write("a.traj", [iron(i, step=i) for i in range(3, 5)])
    assert convert("b.extxyz", "a.traj", "b.extxyz", "out.h5").code == 0
    assert convert("out.h5", "back.extxyz").code == 0
    assert [atoms.info["step"] for atoms in ase.io.iread("back.extxyz")] == [0, 1, 2, 3, 4, 0, 1, 2]


def test_chosen_names_are_written(convert, put, iron):
    put("dft.extxyz", named(iron, "dft_"))
    names = ["--write-energy-key", "energy", "--write-forces-key", "F", "--write-stress-key", "s"]
    done = convert("dft.extxyz", "out.extxyz", *names)
    assert "forces: dft_forces -> F in 3 frames\n" in done.out
    back = list(ase.io.iread("out.extxyz"))
    assert [atoms.calc.results["energy"] for atoms in back] == [-8.0 - i / 7 for i in range(3)]
    assert {"F"} <= set(back[0].arrays)
    assert {"s"} <= set(back[0].info)


def test_the_users_word_on_names_counts(convert, put, iron):
    put("two.extxyz", [iron(i, energy=-1.0, dft_energy=-2.0) for i in range(2)])
    done = convert("two.extxyz", "out.extxyz")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "mlff-curate: error: two.extxyz: frame 0: several labels could be the energy and differ: dft_energy (-2 eV), "
        "energy (-1 eV); choose one with --energy-key\n"
    )
    assert convert("two.extxyz", "out.extxyz", "--energy-key", "dft_energy", "--to", "mace").code == 0
    back = ase.io.read("out.extxyz")
    assert (back.info["REF_energy"], back.calc.results["energy"]) == (-2.0, -1.0)


def test_no_label_overwrites_another(convert, put, iron, here):
    put("two.extxyz", [iron(i, energy=-1.0, dft_energy=-2.0) for i in range(2)])
    done = convert("two.extxyz", "out.extxyz", "--energy-key", "dft_energy", "--to", "nequip")
    assert (done.code, done.err) == (
        1,
        (
            "mlff-curate: error: two.extxyz: frame 0: energy: holds another value than the energy found under "
            "dft_energy, which is to have this name: choose another one (--to extxyz --write-energy-key NAME)\n"
        ),
    )
    assert listing(here) == ["two.extxyz"]


@pytest.mark.parametrize("other", ["free_energy", "energy_without_entropy"])
@pytest.mark.parametrize("to", ["mace", "deepmd"])
def test_energies_that_mean_different_things_are_not_written_under_one_name(convert, put, iron, here, other, to):
    first, second = iron(0), iron(1)
    first.info["energy"], second.info[other] = -8.0, -8.1
    put("in.extxyz", [first, second])
    out = {"mace": "out.extxyz", "deepmd": "out"}[to]
    done = convert("in.extxyz", out, "--to", to)
    assert done.code == 1
    assert f"in.extxyz: frame 1: {other}: the energy of this frame is {other}, that of earlier ones energy" in done.err
    assert "choose one with --energy-key" in done.err
    assert listing(here) == ["in.extxyz"]
    done = convert("in.extxyz", out, "--to", to, "--energy-key", other)
    assert done.code == 0
    assert "no energy in 1 frame" in done.out


def test_isolated_atoms_are_what_mace_takes_for_them(convert, put, iron):
    free = Atoms("Fe", info={"energy": -3.0, "config_type": "atom"})
    boxed = Atoms("Fe", cell=[12, 12, 12], pbc=True, info={"energy": -3.0})
    primitive = Atoms("Fe", cell=[[-1.4, 1.4, 1.4], [1.4, -1.4, 1.4], [1.4, 1.4, -1.4]], pbc=True)
    primitive.info["energy"] = -8.0
    unknown = Atoms("Fe", info={"config_type": "IsolatedAtom"})
    put("in.extxyz", [free, boxed, primitive, unknown, iron(0, energy=-16.0)])
    done = convert("in.extxyz", "out.extxyz", "--to", "mace", "--json")
    kinds = [atoms.info.get("config_type") for atoms in ase.io.iread("out.extxyz")]
    assert kinds == ["IsolatedAtom", "IsolatedAtom", None, None, None]
    assert (done.json["isolated_atoms"], done.json["lost"]) == (3, {"config_type": 2})


def test_equal_inputs_give_equal_bytes(convert, put, iron, here):
    put("dft.extxyz", named(iron, "dft_"))
    for name in ("out.h5", "out.db", "out.traj"):
        assert convert("dft.extxyz", name).code == convert("dft.extxyz", f"again_{name}").code == 0
        assert (here / name).read_bytes() == (here / f"again_{name}").read_bytes()


def test_what_a_dump_does_not_tell_is_said_by_the_user(convert, put):
    text = (
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 3.3\n0 3.3\n0 3.3\n"
        "ITEM: ATOMS id type x y z fx fy fz\n1 1 0 0 0 1 2 3\n2 2 1.65 1.65 1.65 -1 -2 -3\n"
    )
    put("md.lammpstrj", text.encode())
    done = convert("md.lammpstrj", "out.extxyz", "--type-map", "Ta,W", "--units", "real")
    assert done.code == 0
    assert "forces: forces in 1 frame" in done.out
    back = ase.io.read("out.extxyz")
    assert back.get_chemical_symbols() == ["Ta", "W"]
    np.testing.assert_allclose(back.get_forces()[0], np.array([1, 2, 3]) * 0.0433641, rtol=1e-6)  # kcal/mol in eV
    assert convert("md.lammpstrj", "no.extxyz").code == 1


@pytest.mark.parametrize(("name", "to"), [("a.extxyz.gz", ()), ("a.xyz.gz", ()), ("a.gz", ("--to", "mace"))])
def test_extxyz_is_gzipped_where_its_name_says_so(convert, trajectory, here, name, to):
    assert convert(trajectory, "plain.extxyz", *to).code == 0
    assert convert(trajectory, name, *to).out.startswith(f"{name}: 12 frames in 2 groups, ")
    zipped = (here / name).read_bytes()
    assert zipped[3:8] == bytes(5)  # neither a name nor a time
    assert gzip.decompress(zipped) == (here / "plain.extxyz").read_bytes()
    assert convert(trajectory, f"b{name}", *to).code == 0
    assert (here / f"b{name}").read_bytes() == zipped
    assert convert(name, "back.extxyz", *to).code == 0
    assert (here / "back.extxyz").read_bytes() == (here / "plain.extxyz").read_bytes()


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out.foo"], "--to: out.foo does not tell the format: say --to FORMAT; files: "),
        (["out"], "--to: out does not tell the format: say --to FORMAT; files: "),
        (["out.json"], "--to: out.json does not tell the format ("),
        (["out.data"], "--to: out.data does not tell the format (lammps-data or n2p2): say --to FORMAT\n"),
        (
            ["out.extxyz", "--to", "nosuch"],
            "--to: 'nosuch' cannot hold several frames or is unknown; available: extxyz, ",
        ),
        (["out.db", "--write-energy-key", "e"], "--write-energy-key: db has names of its own for labels\n"),
        (["out.h5", "--write-energy-key", "my energy"], "--write-energy-key: 'my energy' is no name: letters, digits "),
        (["out.h5", "--write-stress-key", "virial"], "--write-stress-key: virial would be read as a virial, but a "),
        (
            ["out.h5", "--write-stress-key", "x", "--write-energy-key", "x"],
            "--write-energy-key: two labels would have one name\n",
        ),
    ],
)
def test_wrong_usage(convert, trajectory, here, arguments, message):
    done = convert(trajectory, *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"mlff-curate: error: {message}")
    assert listing(here) == [trajectory]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out.h5", "--to", "extxyz"], "out.h5: the name says hdf5, what is to be written is extxyz: say --to hdf5"),
        (["out.h5", "--to", "kliff"], "out.h5: the name says hdf5, what is to be written is a folder"),
        (
            ["out.h5.gz"],
            "out.h5.gz: hdf5 is not written as .gz: leave the suffix out (.gz can be had of extxyz, mace, nequip)",
        ),
        (
            ["out.extxyz.bz2", "--to", "mace"],
            (
                "out.extxyz.bz2: mace is not written as .bz2: leave the suffix out (.gz can be had of extxyz, mace, "
                "nequip)"
            ),
        ),
        (
            ["out.gz", "--to", "kliff"],
            "out.gz: kliff is not written as .gz: leave the suffix out (.gz can be had of extxyz, mace, nequip)",
        ),
        (["out.h5.gz", "--to", "mace"], "out.h5.gz: the name says hdf5, what is to be written is mace: say --to hdf5"),
        (["no/out.h5"], "no/out.h5: its folder does not exist"),
        (["md.extxyz"], "md.extxyz: is an input: an input is never replaced"),
        ([".", "--to", "kliff"], ".: is no name for an output"),
        (["../{here}", "--to", "kliff", "--overwrite"], "../{here}: holds an input: an input is never replaced"),
        (
            ["out.h5", "--energy-key", "enregy"],
            (
                "enregy: --energy-key names a key that none of the 12 frames has; the frames have nothing that looks "
                "like a label"
            ),
        ),
        (["out.h5", "--group-by", "phase"], "--group-by phase: no frame has this info key"),
    ],
)
def test_what_is_not_fit(convert, trajectory, here, arguments, message):
    done = convert(trajectory, *(word.format(here=here.name) for word in arguments))
    assert (done.code, done.out) == (1, "")
    assert done.err == f"mlff-curate: error: {message.format(here=here.name)}\n"
    assert listing(here) == [trajectory]


def test_frame_that_is_none_leaves_nothing_behind(convert, put, iron, here):
    put("in.extxyz", [iron(0), Atoms("Fe2", positions=[[0, 0, 0], [0, 0, np.nan]])])
    done = convert("in.extxyz", "out", "--to", "kliff")
    assert (done.code, done.err) == (
        1,
        (
            "mlff-curate: error: in.extxyz: frame 1: positions: atom 1 has a position that is not a number "
            "(1 such atom): mlff-curate check INPUT --fix OUT.extxyz writes the other frames\n"
        ),
    )
    assert listing(here) == ["in.extxyz"]


def test_a_frame_that_is_none_is_left_out_as_the_message_says(convert, command, put, iron, here):
    put("in.extxyz", [iron(0), Atoms("Fe2", positions=[[0, 0, 0], [0, 0, np.nan]]), iron(1)])
    assert command("check", "in.extxyz", "--fix", "OUT.extxyz", "--no-report").code == 1
    assert convert("OUT.extxyz", "out.h5").out.startswith("out.h5: 2 frames, ")
    (here / "cut.extxyz").write_bytes((here / "OUT.extxyz").read_bytes()[:-60])
    assert "--fix" not in convert("cut.extxyz", "cut.h5").err  # nothing follows that could be written


def test_output_is_not_put_into_an_input(convert, trajectory, here):
    assert convert(trajectory, "set", "--to", "kliff").code == 0
    done = convert("set", "set/out.h5")
    assert (done.code, done.err) == (1, "mlff-curate: error: set/out.h5: lies in an input, which is never changed\n")
    assert "out.h5" not in listing(here / "set")


RUN = """
import sys
from mlff_curate.data.formats.kliff import KliffWriter
from mlff_curate_cli.main import main

def wait(*_, **__):
    print("now", flush=True)
    import time
    time.sleep(60)

KliffWriter.close = wait
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_leaves_no_folder(signalled, trajectory, here, number, status):
    files, done = signalled(number, RUN, "convert", trajectory, "out", "--to", "kliff")
    assert files == 2
    assert (done.code, done.out) == (status, "")
    assert listing(here) == [trajectory]


# The real sets.


@pytest.mark.data
@pytest.mark.parametrize("name", ["ta_jcp2014", "nb_mvl2020"])
@pytest.mark.parametrize("through", ["set.h5", "set.db", "set.traj", "set.extxyz --to mace", "set --to kliff"])
def test_labels_of_the_real_sets_survive_a_chain(convert, real_data, name, through):
    source = real_data / f"{name}.extxyz"
    words = through.split()
    assert convert(source, *words).code == 0
    back = "back.extxyz"
    names = ["--write-energy-key", "energy", "--write-forces-key", "forces", "--write-stress-key", "stress"]
    done = convert(words[0], back, *names, "--json")
    assert done.code == 0
    assert done.json["unlabelled"] == {"energy": 0, "forces": 0, "stress": 0}
    frames = 0
    for before, after in zip(ase.io.iread(source), ase.io.iread(back), strict=True):
        frames += 1
        np.testing.assert_array_equal(before.numbers, after.numbers)
        np.testing.assert_array_equal(before.positions, after.positions)
        np.testing.assert_array_equal(before.cell.array, after.cell.array)
        for key in ("energy", "forces"):
            np.testing.assert_array_equal(before.calc.results[key], after.calc.results[key])
        np.testing.assert_allclose(before.calc.results["stress"], after.calc.results["stress"], rtol=0, atol=1e-15)
        for key in ("config_type", "source"):
            assert before.info[key] == after.info[key]
    assert frames == done.json["frames"]


def test_result_of_a_calculation_and_its_copy_are_one_label(convert, iron):
    atoms = iron(0, REF_energy=-1.0)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    ase.io.write("in.traj", atoms)
    done = convert("in.traj", "out.extxyz", "--to", "mace")
    assert "energy: energy -> REF_energy in 1 frame\n" in done.out
    back = ase.io.read("out.extxyz")
    assert (back.calc, back.info["REF_energy"]) == (None, -1.0)
