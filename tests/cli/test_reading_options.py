"""`--type-map`, `--units` and `--log` mean the same to every command with inputs."""

import ase.io
import h5py
import numpy as np
import pytest
from ase.units import kcal, mol

from mlff_curate import prune as prune_frames

LOG = (
    "units real\n   Step PotEng\n" + "".join(f"{i} {-540.5 - i}\n" for i in range(4)) + "Loop time of 1 with 2 atoms\n"
)
DUMP = "".join(
    f"ITEM: TIMESTEP\n{i}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 3.3\n0 3.3\n0 3.3\n"
    f"ITEM: ATOMS id type x y z fx fy fz\n1 1 0 0 {i / 70!r} 1 2 3\n2 2 1.65 1.65 1.65 -1 -2 -3\n"
    for i in range(4)
)


@pytest.fixture
def files(put):
    put("log.lammps", LOG.encode())
    return put("md.lammpstrj", DUMP.encode())


def test_kept_frames_of_a_dump_have_the_energies_of_its_log(prune, files):
    done = prune(files, "--type-map", "Ta,W", "--log", "log.lammps", "--keep", "1.0")
    assert done.code == 0
    for i, atoms in enumerate(ase.io.iread("md.pruned.extxyz")):
        assert atoms.calc.results["energy"] == pytest.approx((-540.5 - i) * kcal / mol, rel=1e-6)
        np.testing.assert_allclose(atoms.calc.results["forces"][0], np.array([1, 2, 3]) * kcal / mol, rtol=1e-6)


def test_units_are_the_users_where_the_dump_does_not_tell(prune, files):
    assert prune(files, "--type-map", "Ta,W", "--units", "electron", "--keep", "1.0").code == 0
    assert ase.io.read("md.pruned.extxyz").cell[0, 0] == pytest.approx(3.3 * 0.529177, rel=1e-5)


def test_embed_reads_as_prune_does_and_says_how(command, files):
    assert command("embed", files, "-o", "out.h5", "--type-map", "Ta,W", "--log", "log.lammps").code == 0
    with h5py.File("out.h5") as out:
        assert "--type-map Ta,W --log log.lammps" in " ".join(map(str, out.attrs.values()))


@pytest.mark.parametrize("words", [("prune", "--keep", "2"), ("embed", "-o", "out.h5"), ("learning-curve",)])
def test_units_that_are_none_are_wrong_usage(command, files, words):
    done = command(words[0], files, *words[1:], "--units", "lj")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "mlff-curate: error: --units: lj units stand for no eV and no Angstrom: write the run in metal or real units\n"
    )


def test_log_that_is_missing_is_named(prune, files):
    done = prune(files, "--type-map", "Ta,W", "--log", "nosuch", "--keep", "2")
    assert (done.code, done.err) == (1, "mlff-curate: error: nosuch: no such file\n")


def test_log_is_never_overwritten(prune, files, here):
    words = (files, "--type-map", "Ta,W", "--log", "log.lammps", "--keep", "2", "-o", "log.lammps", "--overwrite")
    assert prune(*words).code == 1
    assert (here / "log.lammps").read_text() == LOG


def test_python_takes_the_same_options(files):
    result = prune_frames(files, type_map=["Ta", "W"], units="real", log="log.lammps", keep=2)
    assert len(result.kept) == 2
    assert result.kept[0].labels == ("energy", "forces")


def test_what_the_reader_noticed_is_noted(prune, files):
    notes = prune(files, "--type-map", "Ta,W,Nb", "--keep", "2", "--json").json["notes"]
    assert "md.lammpstrj: no atom of the first frame has type 3 (Nb) of --type-map" in notes
    assert any(note.startswith("md.lammpstrj: the dump does not tell its units: taken as metal") for note in notes)


@pytest.mark.parametrize(
    "words", [("convert", "set"), ("prune", "--keep", "2", "-o", "set")], ids=lambda words: words[0]
)
@pytest.mark.parametrize("form", ["lammps-data-folder", "fitsnap", "deepmd", "kliff"])
def test_a_type_map_is_of_no_use_only_where_neither_input_nor_output_has_types(command, put, iron, words, form):
    frames = [iron(i, energy=-8.0 - i) for i in range(4)]
    put("md.extxyz", frames)
    done = command(words[0], "md.extxyz", *words[1:], "--to", form, "--type-map", "Fe,C")
    assert done.code == 0
    assert ("--type-map means nothing to this format" in done.out) == (form == "kliff")
