"""Energies from a LAMMPS log: PotEng of the frame's own step and run, or none; never zero, never TotEng."""

import contextlib
import gzip

import numpy as np
import pytest

from mlff_curate import read_frames
from mlff_curate.data.formats.lammps_log import read_log
from mlff_curate.data.labels import labels_of
from mlff_curate.errors import DataError
from mlff_curate.lammps_session import import_lammps

THERMO = "   Step          Temp          PotEng         TotEng         Press     \n"
LOG = f"""LAMMPS (22 Jul 2025 - Update 4)
units metal
Per MPI rank memory allocation (min/avg/max) = 3.195 | 3.195 | 3.195 Mbytes
{THERMO}         0   300           -23.5          -23.4           21328.959
WARNING: something in between (src/where.cpp:1)
        10   310           -23.25         -23.1           17812.005
Loop time of 0.00794567 on 1 procs for 10 steps with 2 atoms

Performance: 108.738 ns/day, 0.221 hours/ns, 1258.546 timesteps/s, 79.288 katom-step/s
"""


def dump(*steps, units=""):
    frame = (
        "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 3.3\n0 3.3\n0 3.3\n"
        "ITEM: ATOMS id element x y z\n1 Ta 0 0 0\n2 Ta 1.65 1.65 1.65\n"
    )
    return units + "".join(frame.format(step) for step in steps)


@pytest.fixture
def energies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(log, text=None, **options):
        (tmp_path / "md.lammpstrj").write_text(text or dump(0, 10))
        (tmp_path / "log.lammps").write_bytes(log if isinstance(log, bytes) else log.encode())
        frames = list(read_frames("md.lammpstrj", log="log.lammps", **options))
        return [None if f.atoms.calc is None else f.atoms.calc.results["energy"] for f in frames], frames

    return read


def rules(frames):
    return [(frame.index, remark.rule) for frame in frames for remark in frame.remarks]


def test_potential_energy_of_the_same_step_is_taken(energies):
    values, frames = energies(LOG)
    assert values == [-23.5, -23.25]
    assert frames[1].origins["energy"] == "PotEng of step 10 in log.lammps, metal units"
    assert rules(frames) == [(0, "pressure-not-taken")]  # the log tells the units of the dump, too


def test_gzipped_log_is_read(energies):
    assert energies(gzip.compress(LOG.encode()))[0] == [-23.5, -23.25]


def test_steps_without_a_row_have_no_energy_and_say_so(energies):
    values, frames = energies(LOG, dump(0, 5, 10))
    assert values == [-23.5, None, -23.25]
    assert (1, "energy-missing") in rules(frames)
    (remark,) = frames[1].remarks
    assert (remark.severity, remark.message) == ("warning", "log.lammps has no row for step 5: the frame has no energy")


@pytest.mark.parametrize(("units", "factor"), [("metal", 1.0), ("real", 0.04336410), ("si", 6.241509074e18)])
def test_energies_convert_by_the_style_that_the_log_echoes(energies, units, factor):
    far = dump(0, 10).replace("3.3", "3.3e-10").replace("1.65", "1.65e-10") if units == "si" else None
    values, _ = energies(LOG.replace("units metal", f"units {units}"), far)
    assert values == pytest.approx([-23.5 * factor, -23.25 * factor], rel=1e-6)


def test_log_and_dump_of_different_units_are_not_of_one_run(energies):
    message = r"^md\.lammpstrj: frame 0: units: the dump has real units, log\.lammps metal: they are not of one run$"
    with pytest.raises(DataError, match=message):
        energies(LOG, dump(0, units="ITEM: UNITS\nreal\n"))
    with pytest.raises(DataError, match=message):
        energies(LOG, units="real")


def test_log_of_other_atoms_is_refused(energies):
    message = (
        r"^md\.lammpstrj: frame 0: the frame has 2 atoms, the run in log\.lammps had 16: another run, or a dump of"
    )
    with pytest.raises(DataError, match=message):
        energies(LOG.replace("with 2 atoms", "with 16 atoms"))


def test_one_step_with_two_energies_is_refused(energies):
    again = LOG.replace("-23.5 ", "-29.5 ")
    message = (
        r"^md\.lammpstrj: frame 0: energy: log\.lammps has two energies for step 0, -23\.5 and -29\.5: "
        "split it into one log for each run$"
    )
    with pytest.raises(DataError, match=message):
        energies(LOG + again)
    assert energies(LOG + again, dump(10))[0] == [-23.25]  # other steps are not in doubt


def test_last_and_first_row_of_two_runs_may_differ_in_the_last_digit(energies):
    assert energies(LOG + LOG.replace("-23.25 ", "-23.250001 "))[0] == [-23.5, -23.25]


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (LOG.replace("PotEng", "E_pair"), "the log has no steps with a column PotEng"),
        ("", "the log has no steps with a column PotEng"),
        (LOG.replace("units metal", "thermo_modify norm yes"), "the log's energies are per atom"),
        (gzip.compress(LOG.encode(), mtime=0)[:-20], "the gzip data are damaged or truncated"),
    ],
)
def test_log_without_energies_of_the_cell_is_refused(energies, log, message):
    with pytest.raises(DataError, match=rf"^log\.lammps: {message}"):
        energies(log)


def test_pair_and_molecular_energies_of_the_default_style_make_the_potential_energy(energies):
    table = "   Step          Temp          E_pair         E_mol          TotEng         Press     \n"
    rows = " 0 300 -20.5 -3 -23.4 21328.9\n 10 310 -20.25 -3 -23.1 17812\n"
    values, frames = energies(LOG.split(THERMO, maxsplit=1)[0] + table + rows)
    assert values == [-23.5, -23.25]
    assert frames[0].origins["energy"] == "E_pair + E_mol of step 0 in log.lammps, metal units"


def test_energy_that_is_no_number_stays_one_that_cannot_be_used(energies):
    values, frames = energies(LOG.replace("-23.25 ", "nan "))
    assert values[0] == -23.5
    assert labels_of(frames[1].atoms).not_finite == ("energy",)


def test_no_changed_byte_ends_in_a_traceback(energies):
    rng = np.random.default_rng(2)
    for place in rng.integers(0, len(LOG), 200):
        with contextlib.suppress(DataError):
            energies(LOG[:place] + chr(rng.integers(128)) + LOG[place + 1 :])


def test_log_that_is_not_there_is_said(tmp_path):
    (tmp_path / "md.lammpstrj").write_text(dump(0))
    with pytest.raises(DataError, match=r"no such file$"):
        next(read_frames(tmp_path / "md.lammpstrj", log=tmp_path / "nosuch"))


def test_number_cut_at_the_end_of_a_log_is_not_taken(energies):
    for length in range(LOG.index("        10   310"), LOG.index("17812.005") + 9):
        values, _ = energies(LOG[:length])
        assert values == [-23.5, None]


@pytest.mark.lammps
@pytest.mark.parametrize("style", ["one", "custom pe step temp", "multi", "yaml"])
def test_all_styles_that_lammps_prints_give_the_same_energies(tmp_path, style):
    lammps = import_lammps().lammps(cmdargs=["-screen", "none", "-log", str(tmp_path / "log"), "-nocite"])
    held = {}
    for line in (
        *("units metal", "lattice fcc 4.5", "region b block 0 2 0 2 0 2", "create_box 1 b", "create_atoms 1 box"),
        *(
            "mass 1 40",
            "pair_style lj/cut 4.4",
            "pair_coeff 1 1 0.01 3.2",
            "velocity all create 300 1",
            "fix 1 all nve",
        ),
        *("thermo 2", f"thermo_style {style}"),
    ):
        lammps.command(line)
    for _ in range(2):
        lammps.command("run 4")
        held[lammps.extract_global("ntimestep")] = lammps.get_thermo("pe")
    lammps.close()
    log = read_log(tmp_path / "log")
    assert sorted(log.energies) == [0, 2, 4, 6, 8]
    assert {step: log.energies[step] for step in held} == pytest.approx(
        held, rel=1e-7, abs=1e-4 if style == "multi" else 0
    )
    assert (log.units, log.atoms, log.doubtful) == ("metal", {32}, {})
