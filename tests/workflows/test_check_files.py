"""`check` on files: what is told, on the screen, as JSON and on a page, and what `--fix` makes of it."""

import csv
import gzip
import json
import warnings
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import Hartree, kcal, mol

from mlff_curate.checks.finding import Correction, Finding
from mlff_curate.checks.rules import REMARKS, RULES
from mlff_curate.data.formatting import format_frame
from mlff_curate.data.labels import labels_of
from mlff_curate.errors import DataError, OutputError, UsageError
from mlff_curate.workflows import check as workflow
from mlff_curate.workflows.check import CHECKS, Check, CheckOptions, check
from mlff_curate.workflows.check_files import check_files
from mlff_curate.workflows.fix import FixOutputs

FRAMES = 8


def labelled(seed, **names):
    """Two rattled iron atoms with made-up labels."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Fe", cubic=True)
    del atoms.arrays["initial_magmoms"]
    atoms.rattle(0.1, seed=seed)
    atoms.info[names.get("energy", "energy")] = float(rng.normal(-16, 1))
    atoms.arrays[names.get("forces", "forces")] = rng.normal(size=(2, 3))
    tensor = rng.normal(size=(3, 3))
    atoms.info[names.get("stress", "stress")] = 0.01 * (tensor + tensor.T)
    return atoms


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def put(here):
    def write(name, frames):
        (here / name).write_bytes(b"".join(map(format_frame, frames)))
        return name

    return write


@pytest.fixture
def told(monkeypatch):
    """Have a check that finds what the test says."""

    def install(*findings, rules=("force-sign",), lacking=None):
        item = Check("told", "what the test says", rules, lambda *_: list(findings), lambda _: lacking)
        monkeypatch.setattr(workflow, "CHECKS", (item,))

    return install


def sound_copper():
    """Displaced and strained copper with the labels of one energy surface, under plain names."""
    rng = np.random.default_rng(5)
    frames = []
    for _ in range(40):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.1, size=(4, 3))
        atoms.calc = EMT()
        labels = {"energy": atoms.get_potential_energy(), "stress": atoms.get_stress(voigt=False)}
        arrays = {"forces": atoms.get_forces()}
        atoms.calc = None
        atoms.info |= labels
        atoms.arrays |= arrays
        frames.append(atoms)
    return frames


@pytest.fixture(autouse=True)
def no_other_checks(monkeypatch):
    monkeypatch.setattr(workflow, "CHECKS", ())


def finding(frame=0, rule="force-sign", severity="error", correction=None, key="forces", file="md.extxyz", value=-1.0):
    return Finding(file, frame, key, rule, severity, value, f"points uphill by {frame}", "turn it", correction)


def fixes(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


# What is read, and what is said of it


def test_a_sound_file_has_no_finding_and_status_0(put, here):
    done = check_files([put("md.extxyz", [labelled(0)])])
    assert (done.status, done.result.findings) == (0, ())
    assert "md.extxyz: 1 frame: nothing found" in done.lines()
    assert (here / "md.check.html").is_file()


def test_bad_frames_and_files_are_findings_and_the_rest_is_checked(put, here):
    put("md.extxyz", [labelled(i) for i in range(3)])
    text = (here / "md.extxyz").read_bytes().splitlines(keepends=True)
    text[6] = text[6].replace(b"0.", b"x.")
    (here / "md.extxyz").write_bytes(b"".join(text))
    (here / "empty.extxyz").write_bytes(b"")
    done = check_files(["md.extxyz", "missing.extxyz", "empty.extxyz"])
    found = [(f.file, f.frame, f.rule, f.severity) for f in done.result.findings]
    assert found == [
        ("md.extxyz", 1, "frame-unreadable", "error"),
        ("missing.extxyz", None, "file-unreadable", "error"),
        ("empty.extxyz", None, "file-unreadable", "error"),
    ]
    assert [frame.index for frame in done.result.material.frames] == [0, 2]
    assert done.status == 1


def test_remarks_on_a_whole_file_name_no_frame(put, here):
    (here / "set").mkdir()
    put("set/0.xyz", [labelled(0)])
    (here / "set" / "notes.txt").write_text("")
    lines = check_files(["set"], CheckOptions(type_map=("Fe",)), no_report=True).lines()
    assert lines[:6] == [
        "note: files-unread: set",
        (
            "    the folder is taken for folders of extended XYZ files for KLIFF: 1 file of that format is read, "
            "1 other not (notes.txt)"
        ),
        "    to do: name the files, or the folder, that are meant, if these are not",
        "note: option-unused: set",
        "    --type-map means nothing to this format",
        "    to do: leave it out, unless it is meant for another input",
    ]


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("missing.extxyz", "correct the name, or leave it out"),
        ("folder", "name the files that are meant, or leave it out"),
        ("md.data", "see to --type-map, or leave the file out"),
        ("empty.extxyz", "mend the file, or leave it out"),
    ],
)
def test_what_to_do_about_an_unread_file_is_of_use(here, name, fix):
    (here / "folder").mkdir()
    (here / "empty.extxyz").write_text("")
    (here / "md.data").write_text(
        "\n\n1 atoms\n1 atom types\n0 9 xlo xhi\n0 9 ylo yhi\n0 9 zlo zhi\n\nAtoms # atomic\n\n1 1 0 0 0\n"
    )
    (found,) = check([name]).findings
    assert (found.rule, found.fix) == ("file-unreadable", f"{fix}: what was not read was not checked either")


def test_what_follows_a_cut_is_said_to_be_unread(put, here):
    put("md.extxyz", [labelled(i) for i in range(3)])
    text = (here / "md.extxyz").read_bytes()
    (here / "md.extxyz").write_bytes(text[: text.rindex(b"Fe")])
    (found,) = check(["md.extxyz"]).findings
    assert (found.frame, found.rule) == (2, "file-unreadable")
    assert "the file ends after 1 of 2 atoms" in found.message
    assert found.message.endswith("nothing from there on was read")


def test_a_last_line_without_an_end_is_noted(put, here):
    put("md.extxyz", [labelled(0)])
    (here / "md.extxyz").write_bytes((here / "md.extxyz").read_bytes().rstrip(b"\n"))
    done = check_files(["md.extxyz"])
    assert [(f.frame, f.rule, f.severity) for f in done.result.findings] == [(None, "file-open-end", "note")]
    assert done.status == 0


def test_labels_are_counted_by_name_and_unknown_names_told(put):
    frames = [labelled(0), labelled(1, energy="REF_energy", stress="virial"), labelled(2, forces="my_forces")]
    lines = check_files([put("md.extxyz", frames)], no_report=True).lines()
    (census,) = [line for line in lines if line.startswith("labels")]
    assert census == (
        "labels, in how many of 3 frames: energy from energy (2), REF_energy (1); forces from forces (2); stress from "
        "stress (2), virial (1); not used, though they look like labels: my_forces (1)"
    )


def test_of_files_without_a_frame_nothing_is_said_to_be_checked(here):
    (here / "empty.extxyz").write_bytes(b"")
    assert check_files(["empty.extxyz", "missing.extxyz"], no_report=True).lines()[-2:] == [
        "2 files: 0 frames: 2 errors",
        "nothing was checked: no frame could be read",
    ]


def test_a_check_without_anything_to_go_by_is_told_from_a_silent_one(put, told):
    told(lacking="no frame has forces")
    done = check_files([put("md.extxyz", [labelled(0)])])
    assert "not checked: what the test says: no frame has forces" in done.lines()
    assert done.summary(1.0)["not_checked"] == {"what the test says": "no frame has forces"}
    assert "Not checked: what the test says: no frame has forces." in done.report.read_text()


def test_a_file_given_twice_is_read_once(put):
    put("md.extxyz", [labelled(0)])
    result = check(
        ["md.extxyz", "./md.extxyz"], CheckOptions(train=["md.extxyz"], test=[put("t.extxyz", [labelled(1)])])
    )
    assert [(count.file, count.frames) for count in result.material.files] == [("md.extxyz", 1), ("t.extxyz", 1)]
    assert (result.material.train, result.material.test) == (("md.extxyz",), ("t.extxyz",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (CheckOptions(train=["a"]), "--train: needs --test as well"),
        (CheckOptions(train=["a"], test=["./a"]), "--test: a is given as --train too"),
        (CheckOptions(), "INPUT: name a file to check"),
        (CheckOptions(train=["a"], test=["b"], skip=["force-signs"]), "--skip: 'force-signs' is no rule; available: "),
    ],
)
def test_wrong_usage_is_refused_before_reading(options, message):
    with pytest.raises(UsageError, match=message):
        check([], options)


def test_a_key_that_no_frame_has_is_refused(put):
    put("md.extxyz", [labelled(0)])
    with pytest.raises(
        DataError, match="E: --energy-key names a key that none of the 1 frames has; what is there: energy"
    ):
        check(["md.extxyz"], CheckOptions(label_keys={"energy": "E"}))
    with pytest.raises(DataError, match="--group-by phase: no frame has this info key; available: "):
        check(["md.extxyz"], CheckOptions(group_by="phase"))


def test_rules_can_be_silenced_or_chosen(put, told):
    put("md.extxyz", [labelled(0)])
    told(finding(), finding(rule="file-unreadable"), rules=("force-sign", "file-unreadable"))
    assert [f.rule for f in check(["md.extxyz"], CheckOptions(skip=["file-unreadable"])).findings] == ["force-sign"]
    assert [f.rule for f in check(["md.extxyz"], CheckOptions(only=["file-unreadable"])).findings] == [
        "file-unreadable"
    ]


# Severity, screen, page


@pytest.mark.parametrize(("severity", "status"), [("note", 0), ("warning", 1), ("error", 1)])
def test_the_status_is_1_from_warning_up(put, told, severity, status):
    told(finding(severity=severity))
    assert check_files([put("md.extxyz", [labelled(0)])]).status == status


def test_frames_with_the_same_fault_are_one_paragraph(put, told):
    told(*(replace(finding(i), value=np.int64(i)) for i in range(FRAMES)), finding(3, severity="note"))
    done = check_files([put("md.extxyz", [labelled(i) for i in range(FRAMES)])])
    assert len(json.loads(json.dumps(done.summary(1.0)))["findings"]) == FRAMES + 1
    lines = done.lines()
    assert lines[:5] == [
        "error: force-sign: 8 frames of md.extxyz (0, 1, 2, 3, 4, ...)",
        "    frame 0: forces: points uphill by 0",
        "    to do: turn it",
        "note: force-sign: frame 3 of md.extxyz",
        "    forces: points uphill by 3",
    ]
    assert "md.extxyz: 8 frames: 8 errors, 1 note" in lines


def test_verbose_prints_a_line_for_every_finding(put, told):
    told(*(finding(i) for i in range(FRAMES)))
    lines = check_files([put("md.extxyz", [labelled(i) for i in range(FRAMES)])], every=True).lines()
    assert "error: md.extxyz: frame 7: forces: force-sign: points uphill by 7 (to do: turn it)" in lines


def test_the_screen_is_short_however_many_rules_are_broken(put, told):
    told(*(finding(0, f"rule-{i}") for i in range(50)), rules=("force-sign",))
    lines = check_files([put("md.extxyz", [labelled(0)])]).lines()
    assert len(lines) < 45
    assert any(line.startswith("and 38 findings more (rule-") for line in lines)


def test_the_page_holds_some_of_every_rule_and_says_what_it_lacks(put, told):
    many = [finding(i, "force-sign", "error") for i in range(5000)]
    told(*many, finding(1, "force-balance", "note"))
    page = check_files([put("md.extxyz", [labelled(0)])]).report.read_text()
    assert page.count('<tr><td><span class="severity error">') == 1 + 1999
    assert "3001 more are not on the page" in page
    assert page.count("force-balance") >= 3


def test_the_page_names_the_frames_of_examples_and_keeps_numbers_whole(put, told):
    near = replace(finding(5), rule="duplicate-near", message="holds the structure of 1", value="md.extxyz:1", fix="")
    told(*(replace(finding(i), value=1234.5678 * i) for i in (2, 3)), near, rules=("force-sign",))
    page = check_files([put("md.extxyz", [labelled(i) for i in range(6)])]).report.read_text()
    assert "<br>frame 2: forces: points uphill by 2<br><em>To do: turn it</em></td></tr>" in page
    assert '<td class="n">2469.14</td>' in page
    assert '<td class="file">md.extxyz:1</td>' in page
    assert "td.n { white-space: nowrap; }" in page
    assert "<br>forces: holds the structure of 1</td></tr>" in page
    assert page.count("<em>To do: ") == 3


def test_markup_in_names_and_messages_stays_text(put, told):
    evil = "</script><script>alert(1)</script>"
    told(replace(finding(), message=evil, key=evil))
    page = check_files([put("md.extxyz", [labelled(0)])]).report.read_text()
    assert "alert(1)" in page
    assert evil not in page


def test_a_page_of_the_default_name_is_written_anew_for_the_same_inputs(put, told):
    name = put("<md> & x.extxyz", [labelled(0)])
    first = check_files([name]).report.read_text()
    told(finding())
    done = check_files([f"./{name}"])
    assert str(done.report) == "<md> & x.check.html"
    assert "points uphill" not in first
    assert "points uphill" in done.report.read_text()
    with pytest.raises(OutputError, match="exists already: say --overwrite"):
        check_files([name], report=done.report)


def test_a_page_of_the_default_name_that_is_of_other_inputs_stays(put, here):
    put("md.extxyz", [labelled(0)])
    put("md.xyz", [labelled(1)])
    page = check_files(["md.extxyz"]).report.read_bytes()
    done = check_files(["md.xyz"])
    assert done.report is None
    assert done.lines()[-1] == (
        "no page was written: md.check.html: is the page of another check (Checked: md.extxyz): name another with -o, "
        "or say --overwrite"
    )
    assert (here / "md.check.html").read_bytes() == page
    assert check_files(["md.xyz"], overwrite=True).report is not None


def test_what_is_no_page_of_check_is_never_replaced(put, here):
    put("md.extxyz", [labelled(0)])
    (here / "md.check.html").write_text('<meta name="generator" content="mlff-curate 0.1.0">\n<title>Kept: x</title>')
    assert check_files(["md.extxyz"]).report is None
    (here / "md.check.html").unlink()
    (here / "md.check.html").mkdir()
    assert check_files(["md.extxyz"]).lines()[-1] == "no page was written: md.check.html: is a folder"


def test_a_page_of_the_default_name_is_not_in_the_way(put, here):
    put("md.extxyz", [labelled(0)])
    (here / "md.check.html").write_text("mine")
    done = check_files(["md.extxyz"])
    assert (done.status, done.report) == (0, None)
    assert done.lines()[-1] == (
        "no page was written: md.check.html: exists already, and is no page of check: say --overwrite to replace it"
    )
    assert (here / "md.check.html").read_text() == "mine"
    with pytest.raises(OutputError, match="exists already"):
        check_files(["md.extxyz"], report="md.check.html")
    assert check_files(["md.extxyz"], overwrite=True).report.read_text() != "mine"


# The checks together


@pytest.fixture
def all_checks(monkeypatch):
    monkeypatch.setattr(workflow, "CHECKS", CHECKS)


@pytest.mark.usefixtures("all_checks")
def test_what_fix_has_mended_is_not_found_again(put):
    frames = [labelled(i) for i in (0, 1, 0, 2, 1)]
    put("md.extxyz", frames)
    rules = [f.rule for f in check_files(["md.extxyz"], fix="out.extxyz").result.findings]
    assert rules.count("duplicate-exact") == 2
    assert "duplicate-exact" not in [f.rule for f in check(["out.extxyz"]).findings]


def test_copies_are_compared_by_labels_that_are_put_right(put, told, monkeypatch):
    frames = [labelled(0), labelled(0)]
    frames[1].arrays["forces"] = -2.0 * frames[1].arrays["forces"]
    put("md.extxyz", frames)
    told(finding(1, "force-unit", correction=Correction("forces", -0.5)), rules=("force-unit",))
    repeats = [item for item in CHECKS if item.name == "duplicates"]
    monkeypatch.setattr(workflow, "CHECKS", (*workflow.CHECKS, *repeats))
    result = check_files(["md.extxyz"], fix="out.extxyz").result
    assert [f.rule for f in result.findings if not f.rule.startswith("label")] == ["force-unit", "duplicate-exact"]
    assert len(ase.io.read("out.extxyz", ":")) == 1
    assert result.material.frames[1].labels.forces == pytest.approx(frames[1].arrays["forces"]), "as they are"
    unmended = check(["md.extxyz"], CheckOptions(skip=["force-unit"])).findings
    assert "duplicate-conflict" in [f.rule for f in unmended]


@pytest.mark.usefixtures("all_checks")
def test_test_frames_that_were_trained_on_are_told_once(put):
    put("train.extxyz", [labelled(i) for i in (0, 1, 1)])
    put("test.extxyz", [labelled(i) for i in (1, 2)])
    findings = check([], CheckOptions(train=["train.extxyz"], test=["test.extxyz"])).findings
    told = [(f.file, f.frame, f.rule, f.value) for f in findings if f.rule.startswith("duplicate")]
    assert told == [
        ("train.extxyz", 2, "duplicate-exact", "train.extxyz:1"),
        ("test.extxyz", 0, "duplicate-train-test", "train.extxyz:1"),
    ]


@pytest.mark.usefixtures("all_checks")
def test_sets_that_cannot_be_read_are_not_said_to_share_nothing(put):
    put("test.extxyz", [labelled(1)])
    result = check([], CheckOptions(train=["missing.extxyz"], test=["test.extxyz"]))
    assert ("test frames that are in the training set", "no frame of --train could be read") in result.unchecked


@pytest.mark.usefixtures("all_checks")
def test_every_rule_of_a_check_is_known_and_every_known_rule_has_a_check():
    told = [rule for item in CHECKS for rule in item.rules]
    assert len(told) == len(set(told))
    reading = [rule for rule in RULES if rule.startswith(("file-", "frame-", "label-"))]
    assert set(told) | set(reading) | set(REMARKS) == set(RULES)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.usefixtures("all_checks")
@pytest.mark.parametrize(
    ("kind", "rule"), [("energy", "energy-outlier"), ("forces", "force-outlier"), ("stress", "stress-outlier")]
)
def test_one_absurd_number_hides_nothing_else(put, kind, rule):
    """A label times 1e200 in one frame: the unit of all other energies, or else forces, is still told."""
    frames = sound_copper()
    other, fault = ("forces", "force-unit") if kind == "energy" else ("energy", "energy-unit")
    for atoms in frames:
        at = atoms.arrays if other == "forces" else atoms.info
        at[other] = at[other] * (mol / kcal if other == "forces" else 1000.0)
    holder = frames[3].arrays if kind == "forces" else frames[3].info
    holder[kind] = holder[kind] * 1e200
    frames.append(frames[3].copy())
    found = check([put("cu.extxyz", frames)]).findings
    told = {(f.rule, f.frame) for f in found}
    assert {(rule, 3), (rule, len(frames) - 1), (fault, None)} <= told
    assert ("duplicate-exact", len(frames) - 1) in {(f.rule, f.frame) for f in found}


@pytest.mark.usefixtures("all_checks")
@pytest.mark.parametrize(("key", "size"), [("magmoms", 1e200), ("energies", 1e308)])
def test_absurd_numbers_beside_the_labels_stop_no_check(put, key, size):
    frames = sound_copper()
    for atoms in frames:
        atoms.arrays[key] = np.ones((4, 3)) if key == "magmoms" else np.full(4, atoms.info["energy"] / 4)
    frames.append(frames[3].copy())
    frames[3].arrays[key] = np.full_like(frames[3].arrays[key], size)
    frames[-1].info["energy"] += 1.0
    name = put("cu.extxyz", frames)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        result = check([name])
    assert result.failed == ()
    assert [title for title, _ in result.unchecked] == ["labels against those of frames that look alike"]
    assert ("duplicate-conflict", len(frames) - 1) in {(f.rule, f.frame) for f in result.findings}


def test_a_check_that_fails_is_said_and_loses_no_finding_of_the_others(put, told, monkeypatch):
    def broken(*_):
        raise ValueError("array must not contain\ninfs or NaNs")

    told(finding(0, severity="note"))
    fails = Check("broken", "what breaks", ("energy-unit",), broken, lambda _: None)
    monkeypatch.setattr(workflow, "CHECKS", (fails, *workflow.CHECKS))
    done = check_files([put("md.extxyz", [labelled(0), labelled(1)])], no_report=True)
    assert done.status == 1
    values = done.summary(0.0)
    assert [f["rule"] for f in values["findings"]] == ["force-sign"]
    reason = values["not_checked"]["what breaks"]
    assert reason.startswith("the check failed, please report it (ValueError: array must not contain infs or NaNs; ")
    assert f"not checked: what breaks: {reason}" in done.lines()


# --fix

SIGN = Correction("forces", -1.0)


def test_fix_turns_the_sign_and_leaves_every_other_byte(put, here, told):
    frames = [labelled(i) for i in range(3)]
    put("md.extxyz", frames)
    told(finding(1, correction=SIGN))
    done = check_files(["md.extxyz"], fix="out.extxyz")
    assert done.status == 1, "it is the input that is judged"
    before, after = ((here / name).read_bytes().splitlines() for name in ("md.extxyz", "out.extxyz"))
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert changed == [6, 7], "the two atoms' lines of the second frame"
    assert np.array_equal(ase.io.read("out.extxyz", 1).get_forces(), -frames[1].arrays["forces"])
    (row,) = fixes(here / "out.fixes.csv")
    assert (row["frame"], row["key"], row["rule"], row["done"]) == ("1", "forces", "force-sign", "corrected")
    assert row["detail"] == "multiplied by -1"
    assert float(row["before"].split()[0]) == -float(row["after"].split()[0])


def test_fix_mends_a_stress_in_units_sign_order_and_per_cell_at_once(put, here, told):
    sound = [labelled(i) for i in range(2)]
    right = [labels_of(atoms).stress for atoms in sound]
    spoilt = []
    for atoms, stress in zip(sound, right, strict=True):
        wrong = -stress[[0, 1, 2, 5, 3, 4]] * atoms.get_volume() * 7.0
        copy = atoms.copy()
        copy.info["stress"] = np.array([[wrong[0], wrong[5], wrong[4]], [0, wrong[1], wrong[3]], [0, 0, wrong[2]]])
        copy.info["stress"] += np.triu(copy.info["stress"], 1).T
        spoilt.append(copy)
    put("md.extxyz", spoilt)
    mend = Correction("stress", -1 / 7, order=(0, 1, 2, 4, 5, 3), per_volume=1)
    told(finding(None, "stress-unit", key="stress", correction=mend))
    check_files(["md.extxyz"], fix="out.extxyz")
    for atoms, stress in zip(ase.io.iread("out.extxyz"), right, strict=True):
        assert np.allclose(labels_of(atoms).stress, stress, rtol=1e-13)
    assert [row["frame"] for row in fixes(here / "out.fixes.csv")] == ["0", "1"]


def test_fix_corrects_a_label_under_all_of_its_names(put, told):
    atoms = labelled(0)
    atoms.info["REF_energy"] = atoms.info["energy"]
    atoms.info["free_energy"] = 5.0
    put("md.extxyz", [atoms])
    told(finding(0, "energy-unit", key="energy", correction=Correction("energy", 0.5)))
    check_files(["md.extxyz"], fix="out.extxyz")
    values = ase.io.read("out.extxyz")
    assert labels_of(values).energy == 0.5 * atoms.info["energy"]
    assert values.info["REF_energy"] == 0.5 * atoms.info["energy"]
    assert values.calc.results["free_energy"] == 5.0


def test_fix_takes_along_what_holds_the_same_in_the_same_unit(put, here, told):
    """Energies in kcal/mol: the free energy and those of the atoms are so too; one in eV is right already."""
    atoms = labelled(0)
    energy = atoms.info["energy"] = -400.0
    atoms.info |= {"free_energy": energy - 0.3, "dft_energy_without_entropy": 0.5 * energy}
    atoms.info |= {"energy_per_atom": energy / 2, "ZPE_energy": 1.0, "energy_unit": "kcal/mol"}
    atoms.arrays["energies"] = np.array([energy / 2 - 1, energy / 2 + 1])
    put("md.extxyz", [atoms])
    told(finding(0, "energy-unit", key="energy", correction=Correction("energy", 0.5)))
    done = check_files(["md.extxyz"], fix="out.extxyz")
    now = ase.io.read("out.extxyz")
    values = {**now.info, **now.calc.results, **now.arrays}
    assert values["energy"] == -200.0
    assert values["free_energy"] == -200.15
    assert values["energy_per_atom"] == -100.0
    assert values["energies"].tolist() == [-100.5, -99.5]
    assert values["dft_energy_without_entropy"] == -200.0, "it was right already"
    assert values["ZPE_energy"] == 1.0
    unfixed, corrected = fixes(here / "out.fixes.csv")
    assert (corrected["key"], corrected["done"]) == ("energy", "corrected")
    assert corrected["detail"] == "multiplied by 0.5; also energies, energy_per_atom, free_energy"
    assert (unfixed["key"], unfixed["done"]) == ("ZPE_energy", "not fixed")
    assert unfixed["detail"] == "energy is corrected, and this is another value: look at its unit"
    assert any("ZPE" in line or "1 finding not fixed: energy-unit" in line for line in done.lines())


def test_fix_takes_a_virial_along_with_a_stress_of_the_wrong_sign(put, told):
    both, right = labelled(0), labelled(1)
    volume = both.get_volume()
    both.info["virial"] = -both.info["stress"] * volume
    right.info["virial"] = right.info["stress"] * right.get_volume()
    put("md.extxyz", [both, right])
    told(*(finding(i, "stress-sign", key="stress", correction=Correction("stress", -1.0)) for i in range(2)))
    check_files(["md.extxyz"], fix="out.extxyz")
    first, second = ase.io.iread("out.extxyz")
    assert np.allclose(labels_of(first, stress_key="virial").stress, labels_of(first).stress, rtol=1e-12)
    assert np.array_equal(second.info["virial"], right.info["virial"]), "it was right already"


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (mol / kcal, "kcal/mol beside eV"),
        (1000.0, "meV beside eV"),
        (1 / Hartree, "Hartree beside eV"),
        (kcal / mol, "eV beside kcal/mol"),
        (-1.0, "the opposite sign"),
        (0.5, "an atom's beside the cell's"),
        (1e200, "beyond anything physical"),
    ],
)
def test_energies_of_one_frame_in_two_units_are_told(put, factor, said):
    atoms = labelled(0)
    atoms.info["free_energy"] = factor * (atoms.info["energy"] - 0.01)
    (told,) = check([put("md.extxyz", [atoms])]).findings
    assert (told.rule, told.severity, told.frame, told.key) == ("label-energies", "warning", 0, "free_energy")
    assert told.message.endswith(f"times energy: {said}")


@pytest.mark.parametrize("free", [-16.05, -15.0, -8.9, -40.0])
def test_energies_that_differ_by_no_unit_are_no_finding(put, free):
    atoms = labelled(0)
    atoms.info |= {"energy": -16.0, "free_energy": free}
    assert check([put("md.extxyz", [atoms])]).findings == ()


@pytest.mark.usefixtures("all_checks")
@pytest.mark.parametrize(
    ("count", "judged", "short"),
    [
        (13, "sums of forces", {"labels against each other": 20, "labels against those of frames that look alike": 60}),
        (20, "labels against each other", {"labels against those of frames that look alike": 60}),
    ],
)
def test_what_so_few_frames_cannot_tell_is_named_as_not_checked(put, count, judged, short):
    result = check([put("md.extxyz", [labelled(i) for i in range(count)])])
    assert judged in result.checked
    named = {title: why for title, why in result.unchecked if "labels" in title}
    assert named == {title: f"{count} frames with labels, and it takes {n}" for title, n in short.items()}


def test_what_waits_for_a_fault_of_all_frames_is_said_to_wait(put, here, told):
    put("md.extxyz", [labelled(i) for i in range(2)])
    shared = finding(None, "stress-unit", key="stress", correction=Correction("stress", factor=2.0))
    told(shared, finding(1, "energy-unit", key="energy"), finding(0, "force-outlier", "warning"))
    check_files(["md.extxyz"], fix="out.extxyz")
    details = {row["rule"]: row["detail"] for row in fixes(here / "out.fixes.csv") if row["done"] == "not fixed"}
    assert details == {
        "energy-unit": "held back until what all frames share is right: check what is written, with --fix again",
        "force-outlier": "no correction is certain",
    }


def test_fix_leaves_copies_and_unreadable_frames_out_and_says_so(put, here, told):
    put("md.extxyz", [labelled(i) for i in (0, 1, 0, 2)])
    text = (here / "md.extxyz").read_bytes().splitlines(keepends=True)
    text[14] = text[14].replace(b"0.", b"x.")
    (here / "md.extxyz").write_bytes(b"".join(text))
    told(finding(2, "duplicate-exact", "warning", key=None, value="md.extxyz:0"), finding(1, "force-outlier"))
    done = check_files(["md.extxyz"], fix="out.extxyz")
    assert (here / "out.extxyz").read_bytes() == b"".join(text[:8])
    rows = [(row["frame"], row["rule"], row["done"], row["detail"]) for row in fixes(here / "out.fixes.csv")]
    assert rows == [
        ("1", "force-outlier", "not fixed", "no correction is certain"),
        ("2", "duplicate-exact", "left out", "a copy of md.extxyz:0, which stays"),
        ("3", "frame-unreadable", "left out", "it cannot be read"),
    ]
    said = "duplicate-exact (1): a copy of md.extxyz:0, which stays; frame-unreadable (1): it cannot be read"
    assert f"  2 frames left out: {said}" in done.lines()


def test_fix_drops_no_label_with_a_copy(put, here, told):
    frames = [labelled(0), labelled(0), labelled(0)]
    del frames[0].arrays["forces"]
    frames[2].info["my_energy"] = 1.0
    put("md.extxyz", frames)
    told(*(finding(i, "duplicate-exact", "warning", key=None, value=f"md.extxyz:{i - 1}") for i in (1, 2)))
    check_files(["md.extxyz"], fix="out.extxyz")
    assert (here / "out.extxyz").read_bytes() == (here / "md.extxyz").read_bytes()
    rows = [row for row in fixes(here / "out.fixes.csv") if row["rule"] == "duplicate-exact"]
    assert [(row["done"], row["detail"]) for row in rows] == [
        ("not fixed", "it has labels that the first of its copies lacks (forces)"),
        ("not fixed", "it has labels that the first of its copies lacks (my_energy)"),
    ]


def test_fix_does_not_choose_between_corrections(put, here, told):
    put("md.extxyz", [labelled(0)])
    told(finding(0, correction=SIGN), finding(0, "force-unit", correction=Correction("forces", 2.0)))
    check_files(["md.extxyz"], fix="out.extxyz")
    assert (here / "out.extxyz").read_bytes() == (here / "md.extxyz").read_bytes()
    (row,) = fixes(here / "out.fixes.csv")
    assert (row["rule"], row["done"]) == ("force-sign;force-unit", "not fixed")
    assert row["detail"] == "several corrections are possible (multiplied by -1 or multiplied by 2)"


def test_an_order_and_a_factor_of_one_stress_go_together(put, told):
    atoms = labelled(0)
    right = labels_of(atoms).stress
    wrong = right[[0, 1, 2, 5, 3, 4]] * 160.0
    atoms.info["stress"] = wrong[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    put("md.extxyz", [atoms])
    told(
        finding(None, "stress-unit", key="stress", correction=Correction("stress", 1 / 160)),
        finding(None, "stress-order", key="stress", correction=Correction("stress", order=(0, 1, 2, 4, 5, 3))),
    )
    check_files(["md.extxyz"], fix="out.extxyz")
    assert np.allclose(labels_of(ase.io.read("out.extxyz")).stress, right, rtol=1e-14)


def test_an_energy_per_atom_becomes_that_of_the_cell(put, told):
    frames = [labelled(0), labelled(1) * (2, 1, 1)]
    frames[1].info["energy"] = -8.0
    put("md.extxyz", frames)
    told(finding(None, "energy-unit", key="energy", correction=Correction("energy", per_atom=True)))
    check_files(["md.extxyz"], fix="out.extxyz")
    energies = [labels_of(atoms).energy for atoms in ase.io.iread("out.extxyz")]
    assert energies == [2 * frames[0].info["energy"], 4 * -8.0]


def test_a_frame_that_is_off_in_another_way_is_not_mended_with_the_others(put, here, told):
    frames = [labelled(i) for i in range(3)]
    put("md.extxyz", frames)
    told(
        finding(None, "force-unit", correction=Correction("forces", 2.0)),
        finding(1, "force-sign"),
        finding(2, "force-outlier", "warning"),
    )
    check_files(["md.extxyz"], fix="out.extxyz")
    forces = [atoms.get_forces() for atoms in ase.io.iread("out.extxyz")]
    factors = [(new / atoms.arrays["forces"]).mean() for new, atoms in zip(forces, frames, strict=True)]
    assert np.allclose(factors, [2, 1, 2])
    details = [row["detail"] for row in fixes(here / "out.fixes.csv") if row["rule"] == "force-unit"]
    assert details[1] == "what all frames share would be mended, but force-sign was found of this frame besides"


def test_two_findings_of_one_fault_correct_it_once(put, told):
    atoms = labelled(0)
    put("md.extxyz", [atoms])
    told(finding(0, correction=SIGN), finding(None, correction=SIGN))
    check_files(["md.extxyz"], fix="out.extxyz")
    assert np.array_equal(ase.io.read("out.extxyz").get_forces(), -atoms.arrays["forces"])


def test_fix_writes_nothing_where_an_input_cannot_be_read_to_its_end(put, here):
    done = check_files([put("md.extxyz", [labelled(0)]), "missing.extxyz"], fix="out.extxyz")
    assert "fix: nothing written: missing.extxyz cannot be read to its end (no such file)" in done.lines()
    assert done.summary(1.0)["fix"]["output"] is None
    assert not list(here.glob("out*"))


def test_fix_reads_gzipped_and_other_formats(put, here, told):
    put("md", [labelled(0)])
    (here / "md.extxyz.gz").write_bytes(gzip.compress((here / "md").read_bytes()))
    ase.io.write(here / "b.traj", ase.io.read(here / "md", format="extxyz"))
    told(finding(0, correction=SIGN, file="md.extxyz.gz"), finding(0, correction=SIGN, file="b.traj"))
    check_files(["md.extxyz.gz", "b.traj"], fix="out.extxyz")
    forces = [atoms.get_forces() for atoms in ase.io.iread("out.extxyz")]
    assert np.array_equal(forces[0], -labelled(0).arrays["forces"])
    assert np.array_equal(forces[1], forces[0])


def test_silence_about_a_rule_does_not_make_fix_silent(put, here):
    put("md.extxyz", [labelled(i) for i in range(2)])
    text = (here / "md.extxyz").read_bytes().splitlines(keepends=True)
    text[2] = text[2].replace(b"0.", b"x.")
    (here / "md.extxyz").write_bytes(b"".join(text))
    done = check_files(["md.extxyz"], CheckOptions(skip=["frame-unreadable"]), fix="out.extxyz")
    assert (done.status, [row["done"] for row in fixes(here / "out.fixes.csv")]) == (0, ["left out"])


def test_fix_that_cannot_be_written_is_a_failure_and_the_findings_are_told(put, here, told, monkeypatch):
    put("md.extxyz", [labelled(i) for i in range(2)])
    told(finding(0, severity="note"))

    def change(*_):
        put("md.extxyz", [labelled(i) for i in (0, 5)])
        return [finding(0, severity="note")]

    monkeypatch.setattr(workflow, "CHECKS", (replace(workflow.CHECKS[0], run=change),))
    done = check_files(["md.extxyz"], fix="out.extxyz")
    assert done.status == 1
    said = "fix: nothing written: md.extxyz: frame 1: the file changed while it was being checked"
    assert (said in done.lines(), "note: force-sign: frame 0 of md.extxyz" in done.lines()) == (True, True)
    assert sorted(path.name for path in here.iterdir()) == ["md.check.html", "md.extxyz"]


def test_fix_refuses_what_it_cannot_write(put, here):
    put("md.extxyz", [labelled(0)])
    put("t.extxyz", [labelled(1)])
    with pytest.raises(OutputError, match=r"out\.traj: frames are written as extxyz"):
        FixOutputs.at("out.traj")
    with pytest.raises(OutputError, match="is an input"):
        check_files(["md.extxyz"], fix="md.extxyz", overwrite=True)
    with pytest.raises(UsageError, match="--fix: writes one set"):
        check_files([], CheckOptions(train=["md.extxyz"], test=["t.extxyz"]), fix="out.extxyz")
    (here / "out.fixes.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"out\.fixes\.csv: exists already"):
        check_files(["md.extxyz"], fix="out.extxyz")
