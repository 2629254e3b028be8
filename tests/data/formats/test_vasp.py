"""VASP: every label under its name, whole ionic steps only, and the electrons that did not converge named."""

import contextlib
import gzip
import io
import re
import tracemalloc

import ase.io
import numpy as np
import pytest
import vasp_files as vasp
from ase.build import bulk
from ase.units import GPa

from mlff_curate import read_frames
from mlff_curate.data.formatting import format_frame
from mlff_curate.data.labels import labels_of
from mlff_curate.data.reading import read_again
from mlff_curate.errors import DataError

WRITERS = {"vasprun.xml": vasp.vasprun, "OUTCAR": vasp.outcar}
PARTS = {"vasprun.xml": vasp.calculation, "OUTCAR": vasp.ionic_step}
ASE_NAMES = {"vasprun.xml": "vasp-xml", "OUTCAR": "vasp-out"}


@pytest.fixture
def put(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return write


def rules(frames):
    return [(frame.index, remark.rule, remark.severity) for frame in frames for remark in frame.remarks]


@pytest.mark.parametrize("name", WRITERS)
def test_frames_are_those_that_ase_reads(put, name):
    put(name, WRITERS[name]())
    mine = list(read_frames(name))
    assert len(mine) == vasp.STEPS
    for frame, other in zip(mine, ase.io.iread(name, ":", format=ASE_NAMES[name]), strict=True):
        assert frame.atoms.get_chemical_symbols() == other.get_chemical_symbols() == ["Ta", "W"]
        assert frame.atoms.pbc.all()
        np.testing.assert_array_equal(frame.atoms.positions, other.positions)
        np.testing.assert_array_equal(frame.atoms.cell.array, other.cell.array)
        for key in ("energy", "free_energy", "forces", "stress"):
            np.testing.assert_allclose(frame.atoms.calc.results[key], other.calc.results[key], rtol=1e-13)
    assert rules(mine) == []


@pytest.mark.parametrize("name", WRITERS)
def test_each_energy_is_under_its_own_name(put, name):
    put(name, WRITERS[name]())
    for step, frame in enumerate(read_frames(name)):
        free = vasp.free_energy(step)
        assert frame.atoms.calc.results["free_energy"] == pytest.approx(free, abs=1e-8)
        assert frame.atoms.info["energy_without_entropy"] == pytest.approx(free + vasp.ENTROPY, abs=1e-8)
        assert frame.atoms.calc.results["energy"] == pytest.approx(free + vasp.ENTROPY / 2, abs=1e-8)
        assert labels_of(frame.atoms).energy_key == "energy"
        assert {"energy", "free_energy", "energy_without_entropy"} <= frame.origins.keys()


@pytest.mark.parametrize("name", WRITERS)
def test_stress_is_in_ases_sign_order_and_unit(put, name):
    put(name, WRITERS[name]())
    for step, frame in enumerate(read_frames(name)):
        s = -vasp.stress(step) * 0.1 * GPa  # a compressed cell has positive kB in VASP
        expected = [s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]]
        np.testing.assert_allclose(frame.atoms.calc.results["stress"], expected, rtol=1e-12)


@pytest.mark.parametrize("name", WRITERS)
def test_files_are_known_by_content_and_may_be_zipped(put, name):
    text = WRITERS[name]()
    put("plain", text)
    put("zipped.gz", gzip.compress(text.encode()))
    shas = [[frame.sha256 for frame in read_frames(file)] for file in ("plain", "zipped.gz")]
    assert shas[0] == shas[1]
    assert len(shas[0]) == vasp.STEPS


@pytest.mark.parametrize("name", WRITERS)
def test_every_digit_survives_in_the_text_passed_on(put, name):
    put(name, WRITERS[name]())
    read = [frame.atoms for frame in read_frames(name)]
    for frame in read_again(name, [0, 2]):
        index, text = frame.index, format_frame(frame.atoms).decode()
        back = ase.io.read(io.StringIO(text), format="extxyz")
        np.testing.assert_array_equal(back.positions, read[index].positions)
        np.testing.assert_array_equal(back.calc.results["forces"], read[index].calc.results["forces"])
        assert back.calc.results["free_energy"] == read[index].calc.results["free_energy"]
        assert back.info["energy_without_entropy"] == read[index].info["energy_without_entropy"]


# Convergence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_electrons_stopped_by_nelm_are_an_error_of_their_ionic_step(put, name):
    part = PARTS[name]
    # VASP 5 writes "EDIFF is reached" nonetheless
    put(name, WRITERS[name](part(0), part(1, electronic=5), part(2), nelm=5))
    frames = list(read_frames(name))
    assert rules(frames) == [(1, "scf-unconverged", "error")]
    (remark,) = frames[1].remarks
    assert remark.message == (
        "label of a calculation that did not converge: stopped after 5 electronic steps (NELM = 5)"
    )
    assert "energy" in frames[1].atoms.calc.results  # the label stays: what to do with it is the user's choice


@pytest.mark.parametrize("name", WRITERS)
def test_last_change_above_ediff_is_an_error_too(put, name):
    part = PARTS[name]
    put(name, WRITERS[name](part(0), part(1, electronic=2), part(2)))
    frames = list(read_frames(name))
    assert rules(frames) == [(1, "scf-unconverged", "error")]
    assert "the last one changed the energy by 0.1 eV (EDIFF = 0.0001)" in frames[1].remarks[0].message


def test_vasp_6_says_itself_that_electrons_did_not_converge(put):
    reached = "aborting loop EDIFF was not reached (unconverged)"
    put("OUTCAR", vasp.outcar(vasp.ionic_step(0, reached=reached), vasp.ionic_step(1)))
    frames = list(read_frames("OUTCAR"))
    assert rules(frames) == [(0, "scf-unconverged", "error")]
    assert frames[0].remarks[0].message.endswith("VASP says that EDIFF was not reached")


def test_nelm_of_response_functions_is_not_that_of_the_electrons(put):
    put("vasprun.xml", vasp.vasprun(nelm=60))  # the file has NELM = 1 among the response functions as well
    assert rules(read_frames("vasprun.xml")) == []


# Labels that are not there -------------------------------------------------------------------------------------------


def test_ionic_step_without_energies_or_forces_has_none(put):
    part = vasp.calculation
    put("vasprun.xml", vasp.vasprun(part(0), part(1, energies=False), part(2, labels=False)))
    frames = [frame.atoms for frame in read_frames("vasprun.xml")]
    assert sorted(frames[1].calc.results) == ["forces", "stress"]
    assert [sorted(f.origins) for f in read_frames("vasprun.xml")][1:] == [
        ["stress"],
        ["energy", "energy_without_entropy", "free_energy"],
    ]
    assert "energy_without_entropy" not in frames[1].info
    assert sorted(frames[2].calc.results) == ["energy", "free_energy"]


def test_labels_without_electronic_steps_are_a_warning(put):
    put("vasprun.xml", vasp.vasprun(vasp.calculation(0, electronic=0)))
    assert rules(read_frames("vasprun.xml")) == [(0, "scf-missing", "warning")]


def test_what_vasps_force_field_predicted_is_not_taken_for_a_label(put):
    put("OUTCAR", vasp.outcar(vasp.predicted_step(0), vasp.ionic_step(1)))
    frames = list(read_frames("OUTCAR"))
    assert rules(frames) == [(0, "ml-predicted", "warning")]
    assert frames[0].atoms.calc is None
    assert "energy" in frames[1].atoms.calc.results


def test_prediction_above_a_calculation_of_the_same_positions_is_no_frame(put):
    # as VASP writes them while it trains a force field
    put("OUTCAR", vasp.outcar(*(part(i) for i in range(3) for part in (vasp.predicted_step, vasp.ionic_step))))
    frames = list(read_frames("OUTCAR"))
    assert rules(frames) == []
    assert [f.atoms.calc.results["free_energy"] for f in frames] == pytest.approx(
        [vasp.free_energy(i) for i in range(3)]
    )


def test_enthalpy_under_pressure_is_no_energy(put):
    # where PSTRESS is set, the ionic step's e_fr_energy holds p V, the electronic steps' does not
    pressure = 50.0  # kB
    text = vasp.vasprun(vasp.calculation(0), pstress=pressure)
    head, tail = text.rsplit('<i name="e_fr_energy">', maxsplit=1)
    volume = np.linalg.det(vasp.cell(0))
    enthalpy = vasp.free_energy(0) + 0.1 * GPa * pressure * volume
    put("vasprun.xml", f'{head}<i name="e_fr_energy">{enthalpy:16.8f}{tail[16:]}')
    (frame,) = read_frames("vasprun.xml")
    assert frame.atoms.calc.results["free_energy"] == pytest.approx(vasp.free_energy(0), abs=1e-6)
    assert frame.origins["free_energy"] == "e_fr_energy, less PSTRESS times volume"


@pytest.mark.parametrize("name", WRITERS)
def test_numbers_that_overflowed_are_nan_and_not_left_out(put, name):
    text = WRITERS[name]()
    force = f"{vasp.forces(1)[0, 0]:.{8 if name == 'vasprun.xml' else 6}f}"
    place = text.index(force, text.index("forces" if name == "vasprun.xml" else "TOTAL-FORCE"))
    put(name, text[:place] + "*" * len(force) + text[place + len(force) :])
    results = [frame.atoms.calc.results["forces"] for frame in read_frames(name)]
    assert [np.isnan(f).sum() for f in results] == [0, 1, 0]


def test_numbers_that_touch_are_told_apart(put):
    wide = "  -19.123456-123.654321 -12.000001"
    text = vasp.outcar(vasp.ionic_step(0))
    row = "".join(f"{x:14.6f}" for x in vasp.forces(0)[0])
    put("OUTCAR", text.replace(row, wide))
    (frame,) = read_frames("OUTCAR")
    assert frame.atoms.calc.results["forces"][0].tolist() == [-19.123456, -123.654321, -12.000001]


# Moments -------------------------------------------------------------------------------------------------------------


def test_moments_of_each_ionic_step_are_taken(put):
    put("OUTCAR", vasp.outcar(*(vasp.ionic_step(i, moments=[1.5 + i, -0.5]) for i in range(3))))
    frames = [frame.atoms for frame in read_frames("OUTCAR")]
    assert [f.calc.results["magmoms"].tolist() for f in frames] == [[1.5, -0.5], [2.5, -0.5], [3.5, -0.5]]
    assert [f.calc.results["magmom"] for f in frames] == [1.0, 2.0, 3.0]
    assert next(read_frames("OUTCAR")).origins["magmoms"] == "magnetization (x), last column"


def test_moments_printed_when_the_run_is_over_are_those_of_the_last_ionic_step(put):
    put("OUTCAR", vasp.outcar(end=vasp.magnetization([0.25, 0.75]) + vasp.END))
    results = [frame.atoms.calc.results for frame in read_frames("OUTCAR")]
    assert ["magmoms" in r for r in results] == [False, False, True]
    assert results[2]["magmoms"].tolist() == [0.25, 0.75]


def test_moments_that_are_vectors_are_kept_as_vectors(put):
    tables = "".join(vasp.magnetization([i + 0.25, i + 0.5], axis) for i, axis in enumerate("xyz"))
    step = vasp.ionic_step(0)
    put("OUTCAR", vasp.outcar(step.replace("\n  FORCE on cell", f"{tables}\n  FORCE on cell")))
    (frame,) = read_frames("OUTCAR")
    assert frame.atoms.calc.results["magmoms"].tolist() == [[0.25, 1.25, 2.25], [0.5, 1.5, 2.5]]


# Damage --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_cut_file_gives_whole_frames_or_names_the_one_it_ends_in(put, name):
    text = WRITERS[name]()
    whole = [frame.sha256 for frame in read_frames(put(name, text))]
    marks = [m.end() for m in re.finditer(r"</calculation>|energy\(sigma->0\) = .*\n(?=\n\n\n-{100})", text)]
    last = text.index("</modeling>") + 11 if name == "vasprun.xml" else text.index(" General timing") + 60
    said = set()
    for length in [*range(60, last - 1, 97), *marks, *(m + 2 for m in marks)]:
        put(name, text[:length])
        read = []
        try:
            read.extend(read_frames(name))
        except DataError as error:
            assert str(error).endswith("truncated")  # noqa: PT017
            said.add(error.frame)
        else:
            assert rules(read)[-1] == (len(read) - 1, "file-truncated", "warning")
        assert [frame.sha256 for frame in read] == whole[: len(read)]
    assert {0, 1, 2} <= said


@pytest.mark.parametrize("name", [*WRITERS, "XDATCAR"])
def test_no_changed_byte_ends_in_a_traceback(put, name):
    text = bytearray(xdatcar_text() if name == "XDATCAR" else WRITERS[name]().encode())
    rng = np.random.default_rng(5)
    for place in rng.integers(0, len(text), 400):
        changed = text.copy()
        changed[place] = int(rng.integers(256))
        with contextlib.suppress(DataError):
            list(read_frames(put(name, bytes(changed))))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "vasprun.xml",
            lambda t: t + t,
            r"frame 3: a second document begins: the XML is damaged \(junk after document",
        ),
        ("vasprun.xml", lambda t: t.replace("<dos>", "<dos"), r"frame 0: the XML is damaged \(not well-formed"),
        (
            "vasprun.xml",
            lambda t: t.replace("Ta</c>", "Q </c>"),
            r"species: 'Q ' is the name of no element's potential$",
        ),
        (
            "vasprun.xml",
            lambda t: t.replace("<rc><c>W </c><c>   2</c></rc>", "", 1),
            r"frame 0: structure/varray\[@name='positions'\] has 2 rows instead of 1$",
        ),
        (
            "vasprun.xml",
            lambda t: t.replace("<structure>", "<other>").replace("  </structure>\n  <varray", "  </other>\n  <varray"),
            r"frame 0: the ionic step has no structure$",
        ),
        ("OUTCAR", lambda t: t + t, r"frame 3: a second run begins in the same file: split it$"),
        (
            "OUTCAR",
            lambda t: t.replace("per type =               1   1", "per type =               2   1"),
            r"frame 0: .*positions and forces",
        ),
        (
            "OUTCAR",
            lambda t: t.replace("per type =               1   1", "per type =               2"),
            r"species: 2 potentials \(TITEL\) but 1 counts of ions per type$",
        ),
        (
            "OUTCAR",
            lambda t: t.replace("PAW_PBE Ta_pv 07Sep2000\n   ENMAX", "PAW_PBE Qq_pv 07Sep2000\n   ENMAX"),
            r"species: 'Qq_pv' is the name of no element's potential$",
        ),
    ],
)
def test_damaged_output_is_refused(put, name, change, message):
    changed = change(WRITERS[name]())
    assert changed != WRITERS[name]()
    with pytest.raises(DataError, match=rf"^{re.escape(name)}: {message}"):
        list(read_frames(put(name, changed)))


def test_memory_does_not_grow_with_bands_and_steps(put):
    bands = "<r>   -10.0000     0.0000     0.0000 </r>\n" * 20_000
    step = vasp.calculation(0).replace('<set comment="spin 1">\n', f'<set comment="spin 1">\n{bands}')
    put("vasprun.xml", vasp.vasprun(*[step] * 8))
    tracemalloc.start()
    assert sum(1 for _ in read_frames("vasprun.xml")) == 8
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 2**20  # one step's bands as elements are 10 MB, the file is 7 MB


# XDATCAR -------------------------------------------------------------------------------------------------------------


def crystal_frames(count=3):
    frames = [bulk("Ta", cubic=True) for _ in range(count)]
    for seed, atoms in enumerate(frames):
        atoms.symbols[1] = "W"
        atoms.rattle(0.1, seed=seed)
    return frames


def xdatcar_text():
    """As VASP writes it where the cell is fixed: one header."""
    a = f"{3.31:12.6f}"
    text = f"unknown system\n           1\n {a}    0.000000    0.000000\n     0.000000{a}    0.000000\n"
    text += f"     0.000000    0.000000{a}\n   Ta   W \n     1     1\n"
    for i, atoms in enumerate(crystal_frames(), 1):
        text += f"Direct configuration={i:6d}\n"
        text += "".join("".join(f"{x:13.8f}" for x in row) + "\n" for row in atoms.get_scaled_positions(wrap=False))
    return text.encode()


@pytest.fixture
def xdatcar(put):
    return put("XDATCAR", xdatcar_text())


def test_xdatcar_holds_what_ase_reads(xdatcar):
    for frame, other in zip(read_frames(xdatcar), ase.io.iread(xdatcar, ":"), strict=True):
        np.testing.assert_allclose(frame.atoms.positions, other.positions, rtol=0, atol=1e-14)
        np.testing.assert_array_equal(frame.atoms.cell.array, other.cell.array)
        assert frame.atoms.get_chemical_symbols() == ["Ta", "W"]
        assert frame.atoms.calc is None


def test_xdatcar_that_ase_wrote_is_read(put, tmp_path):
    ase.io.write(tmp_path / "XDATCAR", crystal_frames())  # a header for each configuration
    for frame, other in zip(
        read_frames(put("XDATCAR", (tmp_path / "XDATCAR").read_bytes())), crystal_frames(), strict=True
    ):
        np.testing.assert_allclose(frame.atoms.positions, other.positions, rtol=0, atol=1e-6)


def test_xdatcar_is_known_by_its_content(put):
    put("positions.dat", xdatcar_text())
    put("positions.gz", gzip.compress(xdatcar_text()))
    assert len(list(read_frames("positions.dat"))) == len(list(read_frames("positions.gz"))) == 3


def test_xdatcar_digits_survive(xdatcar):
    read = [frame.atoms for frame in read_frames(xdatcar)]
    for frame in read_again(xdatcar, [0, 1, 2]):
        index, text = frame.index, format_frame(frame.atoms).decode()
        back = ase.io.read(io.StringIO(text), format="extxyz")
        np.testing.assert_array_equal(back.positions, read[index].positions)
        np.testing.assert_array_equal(back.cell.array, read[index].cell.array)


def test_each_configuration_may_have_a_cell_of_its_own(put):
    text = ""
    for i in range(3):
        a = 3.3 + 0.1 * i
        text += f"bcc\n  1.0\n {a} 0 0\n 0 {a} 0\n 0 0 {a}\n Ta W\n 1 1\n"
        text += f"Direct configuration= {i + 1}\n 0 0 0\n 0.5 0.5 0.5\n"
    frames = [frame.atoms for frame in read_frames(put("XDATCAR", text))]
    assert [f.cell[0, 0] for f in frames] == pytest.approx([3.3, 3.4, 3.5])
    assert [f.positions[1, 2] for f in frames] == pytest.approx([1.65, 1.7, 1.75])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("     1     1\n", " 2\n"), r"frame 0: there are 2 elements but the counts '2'$"),
        (
            lambda t: t.replace("     1     1\n", " 1 2\n"),
            r"frame 0: the configuration has 2 positions instead of 3: trun",
        ),
        (
            lambda t: t.replace("   Ta   W \n     1     1\n", "Ta\n1\n"),
            r"frame 1: .*truncated, or the atom count is wrong",
        ),
        (lambda t: t[:-20], r"frame 2: positions \(truncated, or the atom count is wrong\): 3 numbers expected"),
        (lambda t: t[:-1], r"frame 2: the last line has no end: truncated in the middle of it$"),
        (lambda t: t.replace("   Ta   W \n", ""), r"frame 0: the header does not name its elements, as VASP 4 wrote"),
        (lambda t: t.replace("Ta ", "Qq "), r"species: 'Qq' is the name of no element's potential$"),
        (lambda t: "\n".join(t.split("\n")[:5]), r"frame 0: .* is followed by no header: truncated"),
    ],
)
def test_damaged_xdatcar_is_refused(put, change, message):
    changed = change(xdatcar_text().decode())
    with pytest.raises(DataError, match=rf"^XDATCAR: ({message})"):
        list(read_frames(put("XDATCAR", changed)))


def test_no_cut_of_an_xdatcar_goes_unnoticed(put):
    text = xdatcar_text()
    whole = [frame.sha256 for frame in read_frames(put("XDATCAR", text))]
    unnoticed = []
    for length in range(1, len(text)):
        read = []
        try:
            read.extend(frame.sha256 for frame in read_frames(put("XDATCAR", text[:length])))
            unnoticed.append(length)
        except DataError:
            pass
        assert read == whole[: len(read)]
    assert len(unnoticed) == 2  # between two configurations
