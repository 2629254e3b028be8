"""`validate`, as a user calls it."""

import json
import os

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from mlff_curate import lammps_session
from mlff_curate.calculators.lammps_calculator import LammpsCalculator
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.labels import Labels
from mlff_curate.errors import MissingDependencyError
from mlff_curate.validation import battery
from mlff_curate.workflows import validate as workflow

COPPER = "pair_style eam/alloy; pair_coeff * * Cu_mishin1.eam.alloy Cu"
STATIC = "equation-of-state,elasticity,surfaces"


def copper(seed):
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) * rng.uniform(0.96, 1.04)), scale_atoms=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.rattle(0.08, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def trained():
    """A potential of copper that knows its crystal."""
    frames, labels = [copper(k) for k in range(24)], []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = EMT()
        labels.append(Labels(energy=copy.get_potential_energy(), forces=copy.get_forces(), stress=copy.get_stress()))
    size = {"channels": 8, "radial": 5, "angular": 4, "degree": 2, "convolutions": 1, "cutoff": 4.0}
    return Potential(**size, epochs=150, batch_size=4, dtype="float64").fit(frames, labels)


@pytest.fixture
def model(here, trained):
    trained.save(here / "cu.model")
    return "cu.model"


@pytest.fixture
def data(here):
    made = []
    for k in range(30):
        atoms = copper(100 + k)
        atoms.calc = EMT()
        atoms.get_stress()
        made.append(atoms)
    write(here / "cu.extxyz", made)
    return "cu.extxyz"


def rows(said):
    return {row["name"]: row for row in said["rows"]}


def test_a_trained_potential_is_tested_and_told(command, here, model, data):
    done = command("validate", model, "--quick", "--only", STATIC, "--only", "errors", "--data", data, "--json")
    said = done.json
    assert said["structure"] == "fcc"
    assert said["elements"] == ["Cu"]
    found = rows(said)
    assert found["lattice_constant"]["value"] == pytest.approx(3.59, abs=0.05)
    assert found["bulk_modulus"]["value"] == pytest.approx(134, rel=0.5)
    assert found["bulk_modulus_ratio"]["criterion"] == "above 0.95, below 1.05"
    assert found["elastic_stability"]["verdict"] == "pass"
    assert found["force_mae"]["verdict"] == "no reference"
    assert found["surface_order"]["value"].count("<") == 2
    assert done.code == int(any(row["verdict"] == "fail" for row in said["rows"])) == int(not said["passed"])
    names = {
        "test",
        "name",
        "title",
        "unit",
        "value",
        "reference",
        "source",
        "difference",
        "criterion",
        "verdict",
        "note",
    }
    assert all(set(row) == names for row in said["rows"])
    assert said["tests"]["equation-of-state"]["settings"] == "Birch-Murnaghan, 7 volumes, lengths up to 2 % off"
    assert json.loads((here / "cu.validation.json").read_text())["rows"] == said["rows"]
    page = (here / "cu.validation.html").read_text()
    for text in ("Validated: cu.model", "Birch-Murnaghan, 7 volumes", f"{found['C11']['value']:.4g} GPa", 'id="eos"'):
        assert text in page
    assert sorted(path.name for path in here.iterdir()) == [
        "cu.extxyz", "cu.model", "cu.validation.html", "cu.validation.json",
    ]  # fmt: skip
    again = command("validate", model)
    assert (again.code, again.err) == (
        1, "mlff-curate: error: cu.validation.json: exists already: say --overwrite to replace it\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "verdict"),
    [('{"bulk_modulus": {"value": 134, "tolerance": 0.5}}', "pass"), ('{"bulk_modulus": 300}', "fail")],
)
def test_numbers_that_are_expected(command, put, model, text, verdict):
    put("x.json", text.encode())
    done = command("validate", model, "--quick", "--only", "equation-of-state", "--expected", "x.json", "--json")
    row = rows(done.json)["bulk_modulus"]
    assert (row["verdict"], row["source"]) == (verdict, "expected")
    assert done.code == (verdict == "fail")


def test_a_potential_against_itself_differs_by_nothing(command, model):
    only = ["--quick", "--only", "equation-of-state,surfaces"]
    done = command("validate", model, *only, "--reference", model)
    assert "within 10 % of " in done.out
    assert " failed" in done.out
    assert done.code == 0
    done = command("validate", model, *only, "--reference", model, "-o", "second", "--json")
    assert all(row["difference"] in (0, None) for row in done.json["rows"])


@pytest.mark.lammps
def test_the_whole_battery_on_a_potential_of_lammps(command, here, data):
    done = command("validate", COPPER, "--quick", "--structure", "fcc", "-o", "mishin", "--data", data, "-v")
    assert " 0 failed" in done.out
    assert "not run: pair distances: no ten frames of the data are this crystal in one cell" in done.out
    found = rows(json.loads((here / "mishin.json").read_text()))
    # Y. Mishin et al., Phys. Rev. B 63, 224106 (2001), EAM1 for copper: 3.615 A; 169.9, 122.6, 76.2 GPa
    assert found["lattice_constant"]["value"] == pytest.approx(3.615, abs=1e-3)
    for name, value in {"C11": 169.9, "C12": 122.6, "C44": 76.2, "bulk_modulus": 138.3}.items():
        assert found[name]["value"] == pytest.approx(value, rel=0.02)
    assert found["vacancy_energy"]["value"] == pytest.approx(1.27, abs=0.03)
    assert found["drift"]["value"] < 0.1
    page = (here / "mishin.html").read_text()
    for place in ("eos", "surfaces", "migration", "drift", "stability"):
        assert f'id="{place}"' in page


def test_an_alloy_is_tested_by_its_cell_and_what_is_skipped_is_said(command, here):
    frames, labels = [], []
    for k in range(24):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols[:2] = "Au"
        atoms.set_cell(atoms.cell * 1.06, scale_atoms=True)
        rng = np.random.default_rng(k)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) * rng.uniform(0.96, 1.04)), scale_atoms=True)
        atoms.rattle(0.05, seed=k)
        frames.append(atoms)
        copy = atoms.copy()
        copy.calc = EMT()
        labels.append(Labels(energy=copy.get_potential_energy(), forces=copy.get_forces(), stress=copy.get_stress()))
    size = {"channels": 8, "radial": 5, "angular": 4, "degree": 2, "convolutions": 1, "cutoff": 4.0}
    Potential(**size, epochs=120, batch_size=4, dtype="float64").fit(frames, labels).save(here / "cuau.model")
    write(here / "cuau.cif", frames[0])
    done = command("validate", "cuau.model")
    assert (done.code, done.err) == (
        2, "mlff-curate: error: --element: the potential knows Cu, Au: choose one, or give a crystal with --start\n",
    )  # fmt: skip
    done = command("validate", "cuau.model", "--start", "cuau.cif", "--quick", "--only", "vacancy,surfaces,stability")
    assert done.code == 1
    assert "not run: vacancy: of several elements, it depends on chemical potentials" in done.out
    assert "not run: surfaces: of several elements, it depends on how the crystal is cut" in done.out
    assert "not run: stability: no melting point is known: give one with --melting-point" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["cu.model", "--element", "Xx"], 2, "--element: 'Xx' is no chemical element"),
        (["cu.model", "--element", "Ag"], 1, "--element: the potential never saw Ag: it knows Cu"),
        (["cu.model", "--only", "phonons"], 2, "--only: 'phonons' is unknown; available: lattice, equation-of-state,"),
        (["cu.model", "--melting-point", "-3"], 2, "--melting-point: a temperature in K, got -3"),
        (["cu.model", "--start", "x.cif", "--element", "Cu"], 2, "--element: means nothing with --start x.cif"),
        (["cut.model"], 1, "cut.model: the model file is truncated: "),
        (["no.model"], 1, "no.model: no such file"),
        (["cu.model", "--reference", "no.snap"], 1, "no.snap: cannot be read (No such file or directory), and LAMMPS"),
        (["cu.model", "--expected", "bad.json"], 1, "bad.json: is no JSON: "),
        (["cu.model", "--expected", "name.json"], 1, "name.json: bulk: is unknown; available: lattice_constant,"),
        (["cu.model", "--expected", "word.json"], 1, "word.json: C11: must be a number, or numbers named value, tol"),
        (["cu.model", "--expected", "wish.json"], 1, "wish.json: C11: 'within' is none of value, tolerance, above, be"),
        (["cu.model", "--data", "silver.extxyz"], 1, "silver.extxyz: frame 0: the potential never saw Ag: it knows Cu"),
        (["cu.model", "-o", "nowhere/x"], 1, "nowhere/x.json: its folder does not exist"),
    ],
)
def test_what_cannot_be_tested_is_refused(command, put, here, model, arguments, code, message):
    put("cut.model", (here / model).read_bytes()[:-100])
    put("bad.json", b"{")
    put("name.json", b'{"bulk": 3}')
    put("word.json", b'{"C11": "three"}')
    put("wish.json", b'{"C11": {"within": 3}}')
    silver = bulk("Ag")
    silver.calc = EMT()
    silver.get_potential_energy()
    write(here / "silver.extxyz", silver)
    before = sorted(here.iterdir())
    done = command("validate", *arguments)
    assert done.code == code
    assert done.err.startswith(f"mlff-curate: error: {message}")
    assert done.err.count("\n") == 1
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize("key", ["MODEL", "--reference"])
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("pair_style zero; shell ls", "the line 'shell ls' is none of pair_style, "),
        ("pair_style zero ${r}", "a variable of 'pair_style zero ${r}' has no number"),
        ("pair_style zero 4", "no pair_coeff * * line ends in the symbols of elements"),
    ],
)
def test_lines_that_choose_no_potential_are_named_by_where_they_are_from(command, model, key, lines, message):
    done = command("validate", *([lines] if key == "MODEL" else [model, "--reference", lines]))
    assert done.code == 1
    assert done.err.startswith(f"mlff-curate: error: {key}: {message}")


@pytest.mark.lammps
def test_lammps_is_freed_after_each_test(command, monkeypatch):
    closed = []
    monkeypatch.setattr(LammpsCalculator, "close", lambda self: closed.append(self._session is not None))
    command("validate", COPPER, "--quick", "--only", "equation-of-state", "-o", "eos")
    assert closed == [True, True]


def test_without_lammps_its_potentials_are_not_there(command, model, monkeypatch):
    def missing():
        raise MissingDependencyError("LAMMPS cannot be loaded (gone); install it")

    monkeypatch.setattr(lammps_session, "import_lammps", missing)
    done = command("validate", model, "--reference", COPPER)
    assert (done.code, done.err) == (1, "mlff-curate: error: LAMMPS cannot be loaded (gone); install it\n")


def test_a_validation_that_was_ended_goes_on(command, here, model, monkeypatch):
    only = ["--quick", "--only", "equation-of-state,surfaces"]
    whole = command("validate", model, *only, "-o", "whole", "--json").json
    run_test, ran = battery.run_test, []

    def interrupted(name, bench):
        ran.append(name)
        if name == "surfaces" and len(ran) == 3:
            raise KeyboardInterrupt
        return run_test(name, bench)

    monkeypatch.setattr(workflow, "run_test", interrupted)
    stopped = command("validate", model, *only)
    assert stopped.code == 130
    assert stopped.err == "mlff-curate: interrupted: finished tests are kept, and the same command goes on from there\n"
    assert [path.name for path in here.iterdir() if "validation" in path.name] == ["cu.validation.partial.json"]
    assert "with other options" in command("validate", model, "--quick", "--only", "lattice").err
    done = command("validate", model, *only, "--seed", "1")
    assert done.code == 1
    assert done.err.startswith(
        "mlff-curate: error: cu.validation.partial.json: is of a validation that was ended, of an"
    )
    done = command("validate", model, *only, "--json")
    assert ran == ["lattice", "equation-of-state", "surfaces", "surfaces"]
    assert done.json["rows"] == whole["rows"]
    assert "goes on after model: lattice, model: equation-of-state" in done.json["notes"]
    assert not (here / "cu.validation.partial.json").exists()
    (here / "x.partial.json").write_text("{")
    done = command("validate", model, *only, "-o", "x")
    assert done.err == "mlff-curate: error: x.partial.json: is no validation that could go on: remove it\n"


def test_a_validation_that_was_ended_knows_its_data_and_threads(command, here, model, monkeypatch):
    def write_frames(energy):
        # as long as before and of the same time, as a file in a folder that is given whole
        atoms = bulk("Cu", cubic=True)
        atoms.info["energy"] = energy
        write(here / "one.extxyz", atoms)
        os.utime(here / "one.extxyz", (1, 1))

    run_test = battery.run_test

    def interrupted(name, bench):
        if name == "errors":
            raise KeyboardInterrupt
        return run_test(name, bench)

    given = ["validate", model, "--quick", "--only", "errors", "--data", "one.extxyz"]
    write_frames(-1.5)
    monkeypatch.setattr(workflow, "run_test", interrupted)
    assert command(*given).code == 130
    monkeypatch.setattr(workflow, "run_test", run_test)
    assert "is of a validation that was ended, of an" in command(*given, "--threads", "2").err
    write_frames(-1.6)
    assert "is of a validation that was ended, of an" in command(*given).err
    write_frames(-1.5)
    assert command(*given, "--json").json["notes"][-1].startswith("goes on after model: lattice")


def test_a_potential_that_makes_no_sense_fails_in_words(command, here):
    frames = [copper(k) for k in range(8)]
    noise = np.random.default_rng(0)
    labels = [Labels(energy=float(noise.normal(scale=50)), forces=noise.normal(size=(4, 3))) for _ in frames]
    size = {"channels": 4, "radial": 4, "angular": 2, "degree": 1, "convolutions": 1, "cutoff": 3.5}
    Potential(**size, epochs=2, dtype="float64").fit(frames, labels).save(here / "bad.model")
    done = command("validate", "bad.model", "--quick", "--only", "equation-of-state,elasticity,vacancy")
    assert done.code == 1
    assert "fail" in done.out
    assert (here / "bad.validation.html").exists()


def test_help_has_an_example(command):
    done = command("validate", "--help")
    assert "mlff-curate validate ta.model --reference Ta06A.snap --quick" in done.out
