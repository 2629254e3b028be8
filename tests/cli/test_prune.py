"""`mlff-curate prune`, end to end on a few atoms: the command-line contract of docs/architecture.md."""

import csv
import gzip
import hashlib
import os
import signal

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_curate.workflows import prune_files

OUTPUTS = ["md.pruned.extxyz", "md.pruned.manifest.csv", "md.pruned.report.html"]
CONTRACT = ["source", "index", "sha256", "group", "n_atoms", "decision", "reason", "represented_by"]
NOTHING = "nothing that looks like a label"
EVIDENCE = ["shares", "distance", "farthest", "gain", "brings", "stands_for", "only", "distances_in", "descriptor"]
COLUMNS = [*CONTRACT, *EVIDENCE]


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def kept(rows):
    return [int(row["index"]) for row in rows if row["decision"] == "kept"]


# Kept frames come out as they went in.

RICH = (
    b"2\n"
    b'Lattice="3.1000000000000001 0 0 0 3.2 0 0 0 3.3" Properties=species:S:1:pos:R:3:REF_forces:R:3:tag:I:1 '
    b'REF_energy=-1.2345678901234567 dft_energy=1e-17 flag=T note="two words" list="1 2 3" who=\xc3\xbc  '
    b'data="_JSON {\\"a\\": [1, null]}" virial="1 2 3 4 5 6 7 8 9" config_type=odd bare\n'
    b"Fe 0.12345678901234567\t0.20000000000000001   0.3 1e-3 -0.0 +2 7  \n"
    b"  W   1.5 1.50 1.500 0.1 0.2 0.3 8\n"
)
ODD = [
    RICH,
    b"1 \n\nFe 0 0 0\n",
    b'2\r\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T F"\r\nFe 0 0 0\r\nfe 1.5 1.5 1.5 \r\n',
    b'1\nProperties=Z:I:1:pos:R:3:forces:R:3 energy=-3.0 stress="1 0 0 0 1 0 0 0 1"\n26 1 2 3 4 5 6\n',
    b"3\nProperties=species:S:1:pos:R:3 pbc=[F, F, F]\nH 0 0 0\nO 0.9 0 0\nH 0 0.9 0\n",
]


def test_every_byte_of_a_kept_frame_is_its_own(prune, put, here):
    put("odd.extxyz", b"".join(ODD))
    assert prune("odd.extxyz", "--keep", "1.0").code == 0
    assert (here / "odd.pruned.extxyz").read_bytes() == b"".join(ODD)


def test_kept_frames_keep_their_order_and_bytes(prune, put, here, rows):
    put("odd.extxyz", b"\n".join(ODD * 2))
    assert prune("odd.extxyz", "--keep", 7, "--group-by", "none").code == 0
    indices = kept(rows("odd.pruned.manifest.csv"))
    assert len(indices) == 7
    assert (here / "odd.pruned.extxyz").read_bytes() == b"".join((ODD * 2)[i] for i in indices)


def test_last_line_without_an_end_gets_one(prune, put, here):
    put("odd.extxyz", ODD[0] + ODD[4].rstrip(b"\n"))
    prune("odd.extxyz", "--keep", "1.0")
    assert (here / "odd.pruned.extxyz").read_bytes() == ODD[0] + ODD[4]


def test_manifest_has_the_sha256_of_the_text(prune, put, rows):
    put("odd.extxyz", b"".join(ODD))
    prune("odd.extxyz", "--keep", 3)
    assert [row["sha256"] for row in rows("odd.pruned.manifest.csv")] == [hashlib.sha256(t).hexdigest() for t in ODD]


def test_several_inputs_are_one_pile_in_their_order(prune, put, here, iron, rows, split):
    for name, first in (("b.extxyz", 0), ("a.extxyz", 10)):
        put(name, [iron(first + i, amplitude=0.2) for i in range(5)])
    (here / "z.extxyz.gz").write_bytes(gzip.compress((here / put("z", [iron(30), iron(31)])).read_bytes()))
    files = ["b.extxyz", "z.extxyz.gz", "a.extxyz"]
    assert prune(*files, "--keep", 6).code == 0
    manifest = rows("b.pruned.manifest.csv")
    assert [(row["source"], row["index"]) for row in manifest] == [
        (name, str(i)) for name, count in zip(files, (5, 2, 5), strict=True) for i in range(count)
    ]
    texts = {name: split((here / name).read_bytes()) for name in ("a.extxyz", "b.extxyz")}
    texts["z.extxyz.gz"] = split((here / "z").read_bytes())
    chosen = [texts[row["source"]][int(row["index"])] for row in manifest if row["decision"] == "kept"]
    assert split((here / "b.pruned.extxyz").read_bytes()) == chosen


def test_gzipped_input_names_the_output_without_gz(prune, here, trajectory):
    (here / "md.extxyz.gz").write_bytes(gzip.compress((here / trajectory).read_bytes()))
    assert prune("md.extxyz.gz", "--keep", 2, "--json").json["output"] == "md.pruned.extxyz"


def test_same_file_twice_adds_nothing_to_keep(prune, trajectory, rows):
    assert prune(trajectory, f"./{trajectory}", trajectory, "--keep", 12).code == 0
    manifest = rows("md.pruned.manifest.csv")
    assert len(manifest) == 36
    assert len({row["sha256"] for row in manifest if row["decision"] == "kept"}) == 12
    assert sum(row["reason"].startswith("exact copy of a kept frame") for row in manifest) == 24


def test_every_copy_is_written_when_all_are_kept(prune, here, trajectory):
    prune(trajectory, trajectory, "--keep", "1.0")
    assert (here / "md.pruned.extxyz").read_bytes() == (here / trajectory).read_bytes() * 2


@pytest.mark.parametrize("energy", ["energy", "REF_energy", "dft_energy"])
def test_labels_stay_under_their_names(prune, put, iron, energy):
    frames = [iron(i) for i in range(4)]
    forces = energy.replace("energy", "forces")
    for i, atoms in enumerate(frames):
        atoms.info[energy] = i / 7
        atoms.arrays[forces] = np.full((2, 3), i / 7)
    put("md.extxyz", frames)
    keys = [] if energy == "energy" else ["--energy-key", energy, "--forces-key", forces]
    assert prune("md.extxyz", "--keep", "1.0", *keys).code == 0
    for i, atoms in enumerate(ase.io.iread("md.pruned.extxyz")):
        values = {**atoms.info, **atoms.arrays, **(atoms.calc.results if atoms.calc else {})}
        assert values[energy] == i / 7
        np.testing.assert_array_equal(values[forces], i / 7)


def test_unlabelled_frames_do_as_well(prune, trajectory):
    assert prune(trajectory).code == 0


def test_labels_do_not_change_the_choice(prune, put, iron, rows):
    plain = [iron(i, amplitude=0.2) for i in range(10)]
    labelled = [iron(i, amplitude=0.2, energy=float(-i)) for i in range(10)]
    put("plain.extxyz", plain)
    put("labelled.extxyz", labelled)
    for name in ("plain", "labelled"):
        prune(f"{name}.extxyz", "--keep", 4)
    assert kept(rows("plain.pruned.manifest.csv")) == kept(rows("labelled.pruned.manifest.csv"))


# Other formats.


def labelled(frames):
    for seed, atoms in enumerate(frames):
        rng = np.random.default_rng(seed)
        atoms.positions += rng.normal(size=atoms.positions.shape) / 70
        atoms.calc = SinglePointCalculator(
            atoms, energy=rng.normal(), forces=rng.normal(size=(len(atoms), 3)), stress=rng.normal(size=6)
        )
    return frames


def test_trajectory_of_ase_goes_in_and_out_with_every_digit(prune, iron, rows):
    frames = labelled([iron(i) for i in range(6)])
    ase.io.write("md.traj", frames)
    assert prune("md.traj", "--keep", 3).code == 0
    indices = kept(rows("md.pruned.manifest.csv"))
    read = list(ase.io.iread("md.pruned.extxyz"))
    assert prune("md.traj", "--keep", 3, "--to", "traj", "--json", "--overwrite").json["output"] == "md.pruned.traj"
    for back in (read, list(ase.io.iread("md.pruned.traj"))):
        assert len(back) == 3
        for index, atoms in zip(indices, back, strict=True):
            np.testing.assert_array_equal(atoms.positions, frames[index].positions)
            for key in ("energy", "forces", "stress"):
                np.testing.assert_array_equal(atoms.calc.results[key], frames[index].calc.results[key])


def test_lammps_dump_needs_its_elements(prune, put, here):
    text = "".join(
        f"ITEM: TIMESTEP\n{i}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 3.3\n0 3.3\n0 3.3\n"
        f"ITEM: ATOMS id type x y z\n1 1 0 0 {i / 70!r}\n2 2 1.65 1.65 1.65\n"
        for i in range(4)
    )
    put("md.lammpstrj", text.encode())
    stopped = prune("md.lammpstrj")
    assert stopped.code == 1
    assert stopped.err == (
        "mlff-curate: error: md.lammpstrj: the dump has types but no element column: "
        "say --type-map, such as --type-map Ta,W\n"
    )
    assert prune("md.lammpstrj", "--type-map", "Ta", "--keep", 2).code == 1
    wrong = prune("md.lammpstrj", "--type-map", "Ta,Qq", "--keep", 2)
    assert (wrong.code, wrong.err) == (2, "mlff-curate: error: --type-map: 'Qq' is no chemical symbol\n")
    assert listing(here) == ["md.lammpstrj"]
    assert prune("md.lammpstrj", "--type-map", "Ta,W", "--keep", "1.0").code == 0
    back = list(ase.io.iread("md.pruned.extxyz"))
    assert [atoms.positions[0, 2] for atoms in back] == [i / 70 for i in range(4)]
    assert back[0].get_chemical_symbols() == ["Ta", "W"]


def test_database_goes_in(prune, iron):
    ase.io.write("md.db", labelled([iron(i) for i in range(4)]))
    assert prune("md.db", "--keep", 2).code == 0
    assert len(list(ase.io.iread("md.pruned.extxyz"))) == 2


def test_what_a_format_cannot_hold_is_named(prune, put, here, iron):
    put("md.extxyz", labelled([iron(i) for i in range(4)]))
    done = prune("md.extxyz", "--keep", 2, "--to", "vasp-xdatcar", "--json")
    assert (done.code, done.json["lost"]) == (0, {"energy": 2, "forces": 2, "stress": 2})
    said = "vasp-xdatcar cannot hold energy (2 frames), forces (2 frames), stress (2 frames)"
    assert f"note: {said}\n" in done.err
    assert said in (here / "md.pruned.report.html").read_text()


def test_labels_are_under_the_names_of_the_format(prune, put, iron):
    frames = [iron(i) for i in range(4)]
    for i, atoms in enumerate(frames):
        atoms.info["dft_energy"] = i / 7
    put("md.extxyz", frames)
    done = prune("md.extxyz", "--keep", "1.0", "--to", "mace", "--json")
    assert (done.code, done.json["output"], done.json["format"]) == (0, "md.pruned.extxyz", "mace")
    assert [atoms.info["REF_energy"] for atoms in ase.io.iread("md.pruned.extxyz")] == [i / 7 for i in range(4)]


def test_kept_frames_may_be_a_folder(prune, put, here, iron):
    put("md.extxyz", labelled([iron(i) for i in range(4)]))
    done = prune("md.extxyz", "--keep", 2, "--to", "kliff", "--json")
    assert (done.code, done.json["output"]) == (0, "md.pruned.kliff")
    assert listing(here) == ["md.extxyz", "md.pruned.kliff", "md.pruned.manifest.csv", "md.pruned.report.html"]
    assert listing(here / "md.pruned.kliff") == [".mlff-curate-files", "0000000.xyz", "0000001.xyz"]
    assert prune("md.extxyz", "--keep", 3, "--to", "kliff").code == 1
    assert prune("md.extxyz", "--keep", 3, "--to", "kliff", "--overwrite").code == 0
    assert len(listing(here / "md.pruned.kliff")) == 4
    (here / "md.pruned.kliff" / "notes.txt").write_text("mine")
    done = prune("md.extxyz", "--keep", 2, "--to", "kliff", "--overwrite")
    assert done.err == (
        "mlff-curate: error: md.pruned.kliff: holds notes.txt, which was not written here: "
        "only a folder of ours is replaced\n"
    )
    assert len(listing(here / "md.pruned.kliff")) == 5


def test_labels_that_contradict_each_other_need_the_users_word(prune, put, iron):
    frames = [iron(i, energy=1.0, REF_energy=2.0) for i in range(4)]
    put("md.extxyz", frames)
    assert prune("md.extxyz", "--keep", 2).code == 0
    done = prune("md.extxyz", "--keep", "1.0", "-o", "out.db", "--to", "db")
    assert done.code == 1
    assert done.err == (
        "mlff-curate: error: md.extxyz: frame 0: several labels could be the energy and differ: REF_energy (2 eV), "
        "energy (1 eV); choose one with --energy-key\n"
    )
    assert prune("md.extxyz", "--keep", "1.0", "-o", "out.db", "--to", "db", "--energy-key", "energy").code == 0


def test_unknown_format_is_wrong_usage(prune, trajectory):
    done = prune(trajectory, "--to", "nosuch")
    assert done.code == 2
    assert done.err.startswith("mlff-curate: error: --to: 'nosuch' cannot hold several frames or is unknown; available")


# The budget.


@pytest.mark.parametrize(("keep", "count"), [("0.2", 73), ("40", 40), ("1.0", 363), ("1", 1)])
def test_budget_of_363_frames(prune, put, iron, split, here, keep, count):
    put("md.extxyz", [iron(i, amplitude=0.1) for i in range(363)])
    done = prune("md.extxyz", "--keep", keep, "--json")
    assert (done.code, done.json["kept"], done.json["dropped"]) == (0, count, 363 - count)
    assert len(split((here / "md.pruned.extxyz").read_bytes())) == count
    assert ("note: --keep 1.0: all frames are kept (363)" in done.err) == (keep == "1.0")


@pytest.mark.parametrize("keep", ["0", "-3", "1.5", "0.0", "abc", "1e-1", "nan", ""])
def test_budget_that_is_none_is_wrong_usage(prune, trajectory, here, keep):
    done = prune(trajectory, "--keep", keep)
    assert (done.code, done.out) == (2, "")
    assert f"(such as 0.2) or auto, got {keep!r}\n" in done.err
    assert listing(here) == [trajectory]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keep", "1000000"], "1000000 means 1000000 frames, but only 12 of 12 can be kept: possible is 1 to 12"),
        (["--keep", "0.001"], "0.001 of 12 frames is less than one frame: possible is 1 to 12 frames"),
        (
            ["--keep", "5", "--must-keep", "config_type=a"],
            "5 means 5 frames, but 6 frames must be kept (isolated atoms and --must-keep): possible is 6 to 12",
        ),
        (
            ["--keep", "7", "--exclude", "config_type=a"],
            "7 means 7 frames, but only 6 of 12 can be kept: possible is 1 to 6",
        ),
    ],
)
def test_budget_that_cannot_be_met_says_what_is_possible(prune, trajectory, here, options, message):
    done = prune(trajectory, *options)
    assert (done.code, done.out, done.err) == (1, "", f"mlff-curate: error: --keep: {message}\n")
    assert listing(here) == [trajectory]


def test_isolated_atoms_are_always_kept_and_said_and_count(prune, put, iron, rows):
    atoms = [Atoms("Fe"), Atoms("Fe", cell=[20, 20, 20], pbc=True)]
    cells = [Atoms("Fe", cell=[3 + 0.01 * i] * 3, pbc=True) for i in range(6)]  # one atom, not isolated
    named = Atoms("Fe", cell=[5, 5, 5], pbc=True, info={"config_type": "IsolatedAtom"})
    put("md.extxyz", [*cells[:3], atoms[0], *cells[3:], atoms[1], named, *(iron(i) for i in range(5))])
    done = prune("md.extxyz", "--keep", 4, "--group-by", "none")
    assert done.code == 0
    assert "note: 3 isolated atoms always kept: they fix the zero of energy\n" in done.out
    manifest = rows("md.pruned.manifest.csv")
    assert {int(row["index"]) for row in manifest if row["reason"] == "isolated atom"} == {3, 7, 8}
    assert len(kept(manifest)) == 4
    assert prune("md.extxyz", "--keep", 2, "--overwrite").code == 1


def test_auto_keeps_some_and_says_why(prune, put, iron, rows):
    put("md.extxyz", [iron(i % 4, amplitude=0.3) for i in range(20)])
    done = prune("md.extxyz")
    assert done.code == 0
    assert "note: --keep auto stopped at" in done.out
    assert 1 <= len(kept(rows("md.pruned.manifest.csv"))) <= 4


# Which frames.


def test_must_keep_and_exclude_by_key_and_value(prune, put, iron, rows):
    put("md.extxyz", [iron(i, good=i % 4 == 1, config_type="ab"[i % 2], step=i) for i in range(12)])
    options = ["--must-keep", "good", "--must-keep", "step=0", "--exclude", "step=2", "--exclude", "step=3"]
    assert prune("md.extxyz", "--keep", 5, *options).code == 0
    manifest = rows("md.pruned.manifest.csv")
    decided = {int(row["index"]): (row["decision"], row["reason"]) for row in manifest}
    assert all(decided[i] == ("kept", "named by --must-keep") for i in (0, 1, 5, 9))
    assert all(decided[i] == ("rejected", "excluded by the user") for i in (2, 3))
    assert len(kept(manifest)) == 5
    assert not any(row["represented_by"] for row in manifest if row["decision"] != "dropped")


def test_frames_by_a_file_of_indices_over_all_inputs(prune, put, iron, rows):
    put("a.extxyz", [iron(i) for i in range(3)])
    put("b.extxyz", [iron(i + 10) for i in range(3)])
    put("keep.txt", b"# kept by hand\n\n4  # the second of b\n 0\n")
    put("drop.txt", b"5\n")
    assert prune("a.extxyz", "b.extxyz", "--keep", 2, "--must-keep", "keep.txt", "--exclude", "drop.txt").code == 0
    found = {(row["source"], row["index"]): row["decision"] for row in rows("a.pruned.manifest.csv")}
    assert found["a.extxyz", "0"] == found["b.extxyz", "1"] == "kept"
    assert found["b.extxyz", "2"] == "rejected"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--must-keep", "12.txt"], "12.txt: --must-keep: frame 12 does not exist: the inputs hold frames 0 to 11"),
        (["--exclude", "junk.txt"], "junk.txt: --exclude: line 2 is no frame index: 'one'"),
        (["--exclude", "minus.txt"], "minus.txt: --exclude: line 1 is no frame index: '-1'"),
        (
            ["--must-keep", "nosuch"],
            "--must-keep: 'nosuch' is no file, and no frame has an info key 'nosuch'; available: config_type, step",
        ),
        (
            ["--exclude", "nosuch=1"],
            "--exclude: 'nosuch=1' is no file, and no frame has an info key 'nosuch'; available: config_type, step",
        ),
        (
            ["--exclude", "config_type=c"],
            "--exclude: no frame has config_type=c; values of config_type are a, b",
        ),
        (
            ["--must-keep", "step=3", "--exclude", "config_type=b"],
            "md.extxyz: frame 3: named by both --must-keep and --exclude",
        ),
        (
            ["--exclude", "config_type=a", "--exclude", "config_type=b"],
            "--exclude: names all 12 frames: none is left to keep",
        ),
        (["--group-by", "nosuch"], "--group-by nosuch: no frame has this info key; available: config_type, step"),
        (
            ["--energy-key", "E"],
            f"E: --energy-key names a key that none of the 12 frames has; the frames have {NOTHING}",
        ),
        (["--against", "nosuch.extxyz"], "nosuch.extxyz: no such file"),
    ],
)
def test_rule_that_names_nothing_is_an_error(prune, put, trajectory, here, options, message):
    put("12.txt", b"3\n12\n")
    put("junk.txt", b"1\none\n")
    put("minus.txt", b"-1\n")
    before = listing(here)
    done = prune(trajectory, "--keep", 4, *options)
    assert (done.code, done.out, done.err) == (1, "", f"mlff-curate: error: {message}\n")
    assert listing(here) == before


def test_unknown_label_lists_what_looks_like_labels(prune, put, iron):
    put("md.extxyz", labelled([iron(i, REF_energy=1.0, config_type="a") for i in range(3)]))
    for prove in ([], ["--prove"]):
        done = prune("md.extxyz", "--forces-key", "F", *prove)
        assert done.code == 1
        assert done.err == (
            "mlff-curate: error: F: --forces-key names a key that none of the 3 frames has; what is there: "
            "REF_energy, energy, forces, stress\n"
        )


def test_misspelt_forces_are_asked_about(prune, put, iron):
    frames = [iron(i) for i in range(3)]
    for atoms in frames:
        atoms.arrays["frces"] = np.full((2, 3), 0.25)
    put("md.extxyz", frames)
    hint = "no forces under a usual name; frces has their shape: --forces-key frces (3 frames)"
    assert hint in prune("md.extxyz", "--keep", 2).out
    assert "usual name" not in prune("md.extxyz", "--keep", 2, "--forces-key", "frces", "--overwrite").out


def test_what_looks_like_a_label_and_is_not_known_is_named(prune, put, iron):
    put("md.extxyz", [iron(i, energie=1.0, my_energy=2.0, **({"bias_virial": 3.0} if i else {})) for i in range(3)])
    done = prune("md.extxyz", "--keep", 2)
    (note,) = [line for line in done.out.splitlines() if "look like labels" in line]
    assert "known for one: bias_virial (2 frames), my_energy (3 frames); passed on as they are" in note
    assert not [
        n
        for n in prune("md.extxyz", "--keep", 2, "--overwrite", "--energy-key", "my_energy", "--json").json["notes"]
        if "my_energy" in n
    ]


def test_info_vector_can_name_frames(prune, put, iron, rows):
    put("md.extxyz", [iron(i, spins=np.array([i % 2, 0])) for i in range(6)])
    assert prune("md.extxyz", "--keep", 3, "--must-keep", "spins").code == 0
    assert kept(rows("md.pruned.manifest.csv")) == [1, 3, 5]


@pytest.mark.parametrize(("value", "named"), [("T", [1, 3]), ("True", [1, 3]), ("F", [0, 2])])
def test_truth_is_named_as_in_the_file(prune, put, iron, rows, value, named):
    put("md.extxyz", [iron(i, good=bool(i % 2)) for i in range(4)])
    assert prune("md.extxyz", "--keep", 2, "--must-keep", f"good={value}").code == 0
    assert kept(rows("md.pruned.manifest.csv")) == named


@pytest.mark.parametrize(
    ("options", "groups"),
    [([], {"a", "b"}), (["--group-by", "none"], {"none"}), (["--group-by", "step"], {str(i) for i in range(12)})],
)
def test_groups_are_what_is_asked_for(prune, trajectory, rows, options, groups):
    prune(trajectory, "--keep", 4, *options)
    assert {row["group"] for row in rows("md.pruned.manifest.csv")} == groups


def test_every_group_stays_represented(prune, put, iron, rows):
    put("md.extxyz", [iron(i, config_type="rare" if i == 17 else "many") for i in range(30)])
    prune("md.extxyz", "--keep", 12)
    assert 17 in kept(rows("md.pruned.manifest.csv"))


def test_frames_without_the_group_key_are_a_group_and_said(prune, put, iron, rows):
    put("md.extxyz", [iron(i, **({"config_type": "a"} if i % 2 else {})) for i in range(6)])
    assert "note: 3 frames without config_type: group 'none'\n" in prune("md.extxyz", "--keep", 3).out
    assert [row["group"] for row in rows("md.pruned.manifest.csv")] == ["none", "a"] * 3


# Against a curated set.


def test_nothing_new_against_itself(prune, trajectory, here, rows):
    done = prune(trajectory, "--against", trajectory)
    assert done.code == 0
    assert "note: nothing new: the curated frames cover the inputs, OUT holds no frame\n" in done.out
    assert (here / "md.pruned.extxyz").read_bytes() == b""
    manifest = rows("md.pruned.manifest.csv")
    assert {row["decision"] for row in manifest} == {"dropped"}
    assert [row["represented_by"] for row in manifest] == [f"md.extxyz#{i}" for i in range(12)]


def test_what_the_curated_set_lacks_is_kept(prune, put, iron, rows, split, here):
    solid = [iron(i, amplitude=0.02, config_type="a") for i in range(10)]
    strained = iron(99, amplitude=0.02, config_type="a")
    strained.set_cell(strained.cell.array * 1.3, scale_atoms=True)
    put("old.extxyz", solid[:5])
    put("new.extxyz", [*solid[5:], strained])
    assert prune("new.extxyz", "--against", "old.extxyz", "--keep", 1).code == 0
    manifest = rows("new.pruned.manifest.csv")
    assert kept(manifest) == [5]
    assert {row["source"] for row in manifest} == {"new.extxyz"}
    assert {row["represented_by"].split("#")[0] for row in manifest if row["decision"] == "dropped"} <= {
        "old.extxyz",
        "new.extxyz",
    }
    assert split((here / "new.pruned.extxyz").read_bytes()) == [split((here / "new.extxyz").read_bytes())[5]]


def test_budget_counts_new_frames_alone(prune, put, iron):
    put("old.extxyz", [iron(i) for i in range(20)])
    put("new.extxyz", [iron(i + 50) for i in range(10)])
    done = prune("new.extxyz", "--against", "old.extxyz", "--keep", "0.5", "--json").json
    assert (done["frames"], done["kept"], done["environments"]) == (10, 5, 20)
    assert prune("new.extxyz", "--against", "old.extxyz", "--keep", "11", "--overwrite").code == 1


def test_fault_in_the_curated_set_is_named(prune, put, trajectory):
    put("old.extxyz", b"1\n\nFe 0 0 nan\n")
    done = prune(trajectory, "--against", "old.extxyz")
    assert done.code == 1
    assert done.err.startswith("mlff-curate: error: old.extxyz: frame 0: positions: ")


# Every kind of frame.


def test_frames_of_every_kind_go_together(prune, put, here, iron):
    triclinic = Atoms("Fe2", positions=[[0, 0, 0], [1.4, 1.2, 1.0]], cell=[[3, 0, 0], [1.4, 2.8, 0], [0.7, 0.9, 2.6]])
    triclinic.pbc = True
    slab = iron(1, size=(2, 2, 2))
    slab.pbc = (True, True, False)
    wire = iron(2)
    wire.pbc = (False, False, True)
    wire.cell[0] = 0
    alloy = iron(3, size=(2, 1, 1))
    alloy.symbols[::2] = "W"
    frames = [
        triclinic,
        slab,
        wire,
        alloy,
        Atoms("H2O", positions=[[0, 0, 0], [0.95, 0, 0], [0, 0.95, 0]]),
        Atoms("Fe", cell=[2.5, 2.5, 2.5], pbc=True),
        Atoms("Fe", cell=[[0, 1.4, 1.4], [1.4, 0, 1.4], [1.4, 1.4, 0]], pbc=True),
        iron(4, size=(3, 3, 3)),
        Atoms("W"),
    ]
    put("md.extxyz", frames)
    done = prune("md.extxyz", "--keep", "1.0", "--json").json
    assert done["environments"] == sum(len(atoms) for atoms in frames)
    assert (here / "md.pruned.extxyz").read_bytes() == (here / "md.extxyz").read_bytes()
    for keep in ("auto", "5"):
        assert prune("md.extxyz", "--keep", keep, "--overwrite").code == 0


@pytest.mark.parametrize(
    "atoms", [Atoms("Fe"), Atoms("Fe", cell=[2.5] * 3, pbc=True), Atoms("FeW", positions=[[0, 0, 0], [2, 0, 0]])]
)
def test_one_frame_is_enough(prune, put, atoms):
    put("md.extxyz", [atoms])
    assert prune("md.extxyz").code == 0


# What is said where.


def test_json_is_one_object_alone_on_stdout(prune, trajectory, here):
    done = prune(trajectory, "--keep", 5, "--exclude", "step=3", "--json", "-v")
    values = done.json
    expected = {"frames": 12, "kept": 5, "dropped": 6, "rejected": 1, "environments": 24}
    assert {key: values[key] for key in expected} == expected
    assert [values[key] for key in ("output", "manifest", "report")] == OUTPUTS
    assert values["clusters"] >= 1
    assert 0 <= values["outliers"] <= 24
    assert 0 < values["coverage"] <= 1
    assert values["uncovered"] > 0
    assert values["distances_in"] == "descriptor"
    assert values["descriptor"] == values["descriptor_settings"]["name"] == "power-spectrum"
    assert values["seconds"] > 0
    assert values["peak_memory_mb"] > 10
    assert done.out.count("\n") == 1
    assert "md.pruned.extxyz: 5 of 12 frames kept (41.7 %), 6 dropped, 1 rejected\n" in done.err
    assert f"\ncoverage {values['coverage']:.4g}; uncovered share {values['uncovered']:.3g}, distances in " in done.err
    assert "describe ..." in done.err
    assert listing(here) == sorted([trajectory, *OUTPUTS])


def test_what_was_not_measured_is_null(prune, trajectory):
    values = prune(trajectory, "--keep", 5, "--selector", "random", "--json").json
    assert values["coverage"] is None
    assert values["uncovered"] > 0
    nothing = prune(trajectory, "--against", trajectory, "-o", "new.extxyz", "--json").json
    assert (nothing["kept"], nothing["uncovered"]) == (0, 0)


def test_failure_prints_no_json(prune):
    assert prune("nosuch", "--json").out == ""


def test_quiet_says_nothing_but_json(prune, trajectory):
    done = prune(trajectory, "--keep", 3, "-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    done = prune(trajectory, "--keep", 3, "-q", "--json", "--overwrite")
    assert (done.json["kept"], done.err) == (3, "")


def test_plain_run_says_what_it_did_and_nothing_on_stderr(prune, trajectory):
    done = prune(trajectory, "--keep", 3)
    assert done.err == ""
    assert done.out.splitlines()[0] == "md.pruned.extxyz: 3 of 12 frames kept (25.0 %), 9 dropped, 0 rejected"
    assert done.out.splitlines()[-1] == "why each frame stayed or went: md.pruned.manifest.csv, md.pruned.report.html"


# Outputs.


def test_manifest_has_a_row_per_frame_and_these_columns(prune, trajectory, here, rows):
    prune(trajectory, "--keep", 4)
    assert (here / "md.pruned.manifest.csv").read_text().splitlines()[0].split(",") == COLUMNS
    manifest = rows("md.pruned.manifest.csv")
    assert [int(row["index"]) for row in manifest] == list(range(12))
    assert {row["n_atoms"] for row in manifest} == {"2"}
    assert all(row["reason"] for row in manifest)
    names = {f"md.extxyz#{i}" for i in kept(manifest)}
    for row in manifest:
        by = row["represented_by"].split(";") if row["represented_by"] else []
        assert set(by) <= names
        assert len(by) == len(row["shares"].split(";") if row["shares"] else []) == len(set(by))
        assert bool(by) == (row["decision"] == "dropped")


@pytest.mark.parametrize("selector", ["coverage", "random", "stratified", "fps", "cluster-quota", "quests"])
def test_manifest_has_evidence_for_every_decision_of_every_selector(prune, put, iron, rows, selector):
    put("md.extxyz", [iron(i, size=(2, 1, 1), amplitude=0.2, config_type="ab"[i % 2]) for i in range(20)])
    assert prune("md.extxyz", "--keep", 6, "--selector", selector).code == 0
    manifest = rows("md.pruned.manifest.csv")
    assert len(kept(manifest)) == 6
    for row in manifest:
        if row["decision"] == "dropped":
            shares = [float(share) for share in row["shares"].split(";")]
            assert 0 < sum(shares) <= 1.001
            assert shares == sorted(shares, reverse=True)
            assert 0 < float(row["distance"]) <= float(row["farthest"])
            assert row["gain"] == row["brings"] == row["stands_for"] == row["only"] == ""
        else:
            assert row["shares"] == row["distance"] == row["farthest"] == ""
            assert float(row["brings"]) > 0
            assert (row["gain"] != "") == (selector == "coverage")
        assert (row["distances_in"], row["descriptor"]) == ("descriptor", "power-spectrum")
    dropped = sum(int(row["n_atoms"]) for row in manifest if row["decision"] == "dropped")
    assert sum(int(row["stands_for"]) for row in manifest if row["decision"] == "kept") == dropped


def test_the_only_kept_frame_of_a_group_says_so(prune, put, iron, rows):
    put("md.extxyz", [iron(i, config_type="rare" if i == 17 else "many") for i in range(30)])
    prune("md.extxyz", "--keep", 12)
    manifest = rows("md.pruned.manifest.csv")
    assert manifest[17]["only"].split(";")[-1] == "group rare"
    assert not any("group many" in row["only"] for row in manifest)


def test_an_isolated_atom_brings_its_energy_and_stands_for_nothing(prune, put, iron, rows):
    put("md.extxyz", [Atoms("Fe"), *(iron(i) for i in range(8))])
    prune("md.extxyz", "--keep", 3)
    first = rows("md.pruned.manifest.csv")[0]
    assert (first["decision"], first["brings"], first["stands_for"]) == ("kept", "", "")


def test_an_isolated_atom_that_the_curated_set_has_is_not_kept_again(prune, put, iron, rows):
    put("old.extxyz", [iron(50), Atoms("Fe", cell=[30] * 3)])
    put("md.extxyz", [Atoms("Fe"), *(iron(i) for i in range(8))])
    assert prune("md.extxyz", "--against", "old.extxyz", "--keep", 3).code == 0
    first = rows("md.pruned.manifest.csv")[0]
    assert (first["decision"], first["reason"], first["represented_by"]) == (
        "dropped",
        "isolated atom that is there already",
        "old.extxyz#1",
    )


# Labels may veto.


def test_frames_with_labels_that_are_no_numbers_are_rejected(prune, put, iron, rows):
    frames = labelled([iron(i, amplitude=0.2) for i in range(8)])
    frames[2].calc.results["energy"] = float("nan")
    frames[5].calc.results["forces"][1, 2] = np.inf
    put("md.extxyz", frames)
    done = prune("md.extxyz", "--keep", 6)
    assert (done.code, done.err) == (0, "")
    manifest = rows("md.pruned.manifest.csv")
    assert {i: manifest[i]["reason"] for i in range(8) if manifest[i]["decision"] == "rejected"} == {
        2: "a label cannot be used (energy: holds NaN or infinity)",
        5: "a label cannot be used (forces: holds NaN or infinity)",
    }
    assert len(kept(manifest)) == 6
    refused = prune("md.extxyz", "--keep", 7, "--overwrite")
    assert (refused.code, refused.err) == (
        1,
        "mlff-curate: error: --keep: 7 means 7 frames, but only 6 of 8 can be kept: possible is 1 to 6\n",
    )


def test_must_keep_does_not_overrule_the_veto(prune, put, iron, here):
    frames = labelled([iron(i, step=i) for i in range(4)])
    frames[2].calc.results["energy"] = float("nan")
    put("md.extxyz", frames)
    done = prune("md.extxyz", "--keep", 2, "--must-keep", "step=2")
    assert done.code == 1
    assert done.err == (
        "mlff-curate: error: md.extxyz: frame 2: energy: holds NaN or infinity: such a frame is never kept, but "
        "--must-keep names it\n"
    )
    assert listing(here) == ["md.extxyz"]


def test_a_name_that_holds_no_number_anywhere_is_a_missing_label(prune, put, iron):
    frames = [iron(i, amplitude=0.2, dft_energy=float("nan")) for i in range(6)]
    put("md.extxyz", frames)
    done = prune("md.extxyz", "--keep", 3, "--json")
    assert done.json["rejected"] == 0
    assert "note: no frame has a usable label under dft_energy: taken as missing\n" in done.err


ODD_NAMES = [
    "two words.extxyz",
    'µ,"q".extxyz',
    "line\nbreak.extxyz",
    "[x] *.extxyz",
    "no-suffix",
    "a@0.extxyz",
    ".hid",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_names(prune, put, iron, here, name):
    put(name, [iron(i) for i in range(4)])
    values = prune(name, "--keep", 2, "--json").json
    with (here / values["manifest"]).open(newline="") as stream:
        assert {row["source"] for row in csv.DictReader(stream)} == {name}
    assert (here / values["output"]).exists()


def test_name_with_a_leading_dash_goes_behind_two(prune, put, iron, here):
    put("-md.extxyz", [iron(i) for i in range(4)])
    assert prune("--keep", 2, "--", "-md.extxyz").code == 0
    assert (here / "-md.pruned.extxyz").exists()


def test_kept_frames_are_gzipped_where_the_name_says_so(prune, trajectory, here):
    assert prune(trajectory, "--keep", 2).code == 0
    assert prune(trajectory, "--keep", 2, "-o", "small.extxyz.gz").code == 0
    assert listing(here)[-3:] == ["small.extxyz.gz", "small.manifest.csv", "small.report.html"]
    kept = gzip.decompress((here / "small.extxyz.gz").read_bytes())
    assert kept == (here / "md.pruned.extxyz").read_bytes()


def test_absolute_names_and_folders(prune, trajectory, here, rows):
    (here / "sub").mkdir()
    assert prune(here / trajectory, "--keep", 2, "-o", here / "sub" / "small.extxyz").code == 0
    assert listing(here / "sub") == ["small.extxyz", "small.manifest.csv", "small.report.html"]
    assert {row["source"] for row in rows("sub/small.manifest.csv")} == {str(here / trajectory)}
    assert listing(here) == [trajectory, "sub"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_existing_output_is_replaced_only_on_demand(prune, trajectory, here, name):
    (here / name).write_bytes(b"precious")
    done = prune(trajectory, "--keep", 2)
    assert done.err == f"mlff-curate: error: {name}: exists already: say --overwrite to replace it\n"
    assert done.code == 1
    assert (here / name).read_bytes() == b"precious"
    assert listing(here) == sorted([trajectory, name])
    assert prune(trajectory, "--keep", 2, "--overwrite").code == 0
    assert (here / name).read_bytes() != b"precious"


@pytest.mark.parametrize("out", ["md.extxyz", "./md.extxyz", "link", "{here}/md.extxyz", "old.extxyz"])
def test_input_is_never_replaced(prune, put, trajectory, here, iron, out):
    (here / "link").symlink_to("md.extxyz")
    put("old.extxyz", [iron(99)])
    before = (here / "md.extxyz").read_bytes(), (here / "old.extxyz").read_bytes()
    done = prune(trajectory, "--against", "old.extxyz", "--keep", 2, "--overwrite", "-o", out.format(here=here))
    assert done.code == 1
    assert done.err.endswith(": is an input: an input is never replaced\n")
    assert before == ((here / "md.extxyz").read_bytes(), (here / "old.extxyz").read_bytes())
    assert len(listing(here)) == 3


@pytest.mark.parametrize(
    ("out", "message"),
    [("nosuch/out.extxyz", "its folder does not exist"), ("sub", "is a folder"), ("..", "is a folder")],
)
def test_output_that_has_no_place_is_said(prune, trajectory, here, out, message):
    (here / "sub").mkdir()
    done = prune(trajectory, "-o", out)
    assert (done.code, done.err) == (1, f"mlff-curate: error: {out}: {message}\n")


def test_full_disk_is_one_line_and_leaves_nothing(prune, trajectory, here, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = prune(trajectory, "--keep", 2)
    assert (done.code, done.out) == (1, "")
    assert done.err == "mlff-curate: error: md.pruned.extxyz: cannot be written (No space left on device)\n"
    assert listing(here) == [trajectory]


def test_input_that_changes_meanwhile_is_noticed(prune, trajectory, here, monkeypatch):
    write = prune_files.write_outputs

    def change(*arguments):
        path = here / trajectory
        path.write_bytes(path.read_bytes().replace(b"Fe ", b"W ", 24))
        return write(*arguments)

    monkeypatch.setattr(prune_files, "write_outputs", change)
    done = prune(trajectory, "--keep", 2)
    assert done.code == 1
    assert "the file changed while it was being pruned\n" in done.err
    assert listing(here) == [trajectory]


# Interruption.

RUN = """
import sys
from mlff_curate.workflows import prune_outputs
from mlff_curate_cli.main import main

where = sys.argv.pop(1)
render = prune_outputs.render

def wait(*_, **__):
    print("now", flush=True)
    import time
    time.sleep(60)

if where == "writing":
    prune_outputs.render = wait  # the frames and the manifest are in their temporary files by now
else:
    import mlff_curate.workflows.survey as job
    job.describe = wait
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("where", ["computing", "writing"])
def test_signal_leaves_no_file(signalled, trajectory, here, number, status, where):
    files, done = signalled(number, RUN, where, "prune", trajectory, "--keep", "3")
    assert files == (4 if where == "writing" else 1)
    assert (done.code, done.out) == (status, "")
    assert "Traceback" not in done.err
    assert listing(here) == [trajectory]
    if number == signal.SIGINT:
        assert done.err.strip() == "mlff-curate: interrupted: nothing was written"


# The same again.


def test_same_seed_same_bytes_whatever_the_number_of_workers(prune, put, here, iron):
    put("md.extxyz", [iron(i, amplitude=0.2, config_type="ab"[i % 2]) for i in range(40)])
    found = []
    for name, options in (("a", []), ("b", ["--workers", "2"]), ("c", ["--seed", "1"])):
        assert prune("md.extxyz", "--keep", 10, "-o", f"{name}.extxyz", *options).code == 0
        found.append([(here / f"{name}.{end}").read_bytes() for end in ("extxyz", "manifest.csv")])
    assert found[0] == found[1]
    assert found[0][1].count(b"kept") == found[2][1].count(b"kept")


def test_choice_does_not_depend_on_where_the_file_lies(prune, trajectory, here, rows):
    prune(trajectory, "--keep", 4)
    prune(here / trajectory, "--keep", 4, "-o", "absolute.extxyz")
    assert kept(rows("md.pruned.manifest.csv")) == kept(rows("absolute.manifest.csv"))


@pytest.mark.parametrize("selector", ["coverage", "random", "stratified", "fps"])
@pytest.mark.parametrize("embedding", ["descriptor", "meagraph"])
def test_every_selector_keeps_the_budget(prune, trajectory, rows, selector, embedding):
    assert prune(trajectory, "--keep", 5, "--selector", selector, "--embedding", embedding).code == 0
    assert len(kept(rows("md.pruned.manifest.csv"))) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--selector", "nosuch"], "--selector: 'nosuch' is unknown; available: coverage, random, stratified, fps"),
        (["--embedding", "nosuch"], "--embedding: 'nosuch' is unknown; available: meagraph, descriptor"),
        (["--descriptor", "nosuch"], "--descriptor: 'nosuch' is unknown; available: power-spectrum, bispectrum"),
        (["--workers", "0"], "--workers: must be at least 1, got 0"),
        (["--device", "nosuch"], "--device: 'nosuch' is not supported; available: cpu, cuda"),
        (["--selector", "fps"], "--keep: auto needs --selector coverage: fps cannot tell when it is enough"),
    ],
)
def test_option_that_no_data_could_make_right_is_wrong_usage(prune, trajectory, here, options, message):
    done = prune(trajectory, *options)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"mlff-curate: error: {message}")
    assert done.err.count("\n") == 1
    assert listing(here) == [trajectory]


# The real sets.


@pytest.mark.data
def test_a_fifth_of_the_tantalum_set(prune, real_data, here, rows, split):
    source = real_data / "ta_jcp2014.extxyz"
    done = prune(source, "--keep", "0.2", "-o", "ta.extxyz", "--json").json
    assert (done["frames"], done["kept"]) == (363, 73)
    texts = split(source.read_bytes())
    manifest = rows("ta.manifest.csv")
    assert [row["sha256"] for row in manifest] == [hashlib.sha256(text).hexdigest() for text in texts]
    assert split((here / "ta.extxyz").read_bytes()) == [texts[i] for i in kept(manifest)]
    groups = {row["group"] for row in manifest}
    assert {row["group"] for row in manifest if row["decision"] == "kept"} == groups
