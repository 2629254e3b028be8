"""`mlff-curate check`, end to end: the command-line contract of docs/architecture.md."""

import json

import pytest

FINDING = ["file", "frame", "key", "rule", "severity", "value", "message", "fix"]


@pytest.fixture
def check(command):
    return lambda *arguments: command("check", *arguments)


@pytest.fixture
def cut(put, here, trajectory):
    """A trajectory whose last line is missing."""
    text = (here / trajectory).read_bytes().splitlines(keepends=True)
    return put("cut.extxyz", b"".join(text[:-1]))


def test_a_trajectory_without_labels_is_sound(check, trajectory, here):
    run = check(trajectory)
    assert run.code == 0
    assert "md.extxyz: 12 frames: 3 notes\n" in run.out
    assert "energy: no frame has an energy, and it counts as missing, never as zero" in run.out
    assert "no energy; no forces; no stress" in run.out
    assert run.out.endswith("all of it on a page: md.check.html\n")
    assert (here / "md.check.html").is_file()


def test_json_is_one_object_with_every_finding(check, cut):
    run = check(cut, "--json", "--no-report")
    assert run.code == 1
    assert (len(run.out.splitlines()), run.json["report"], run.json["frames"]) == (1, None, 11)
    found, *notes = run.json["findings"]
    assert {note["rule"] for note in notes} == {"label-missing"}
    assert list(found) == FINDING
    assert (found["file"], found["frame"], found["rule"]) == ("cut.extxyz", 11, "file-unreadable")
    assert run.json["counts"] == {"error": 1, "warning": 0, "note": 3}
    assert {"seconds", "peak_memory_mb", "labels", "checked", "not_checked", "files"} <= set(run.json)
    assert "error: file-unreadable: frame 11 of cut.extxyz" in run.err


@pytest.mark.usefixtures("trajectory")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["missing.extxyz"], 1, "no such file"),
        (["n" * 300], 1, "    cannot be read (File name too long)\n    to do: correct the name"),
        (["."], 1, "is a folder, not a file"),
        ([], 2, "mlff-curate: error: INPUT: name a file to check"),
        (["--train", "md.extxyz"], 2, "--train: needs --test as well"),
        (["md.extxyz", "--skip", "nonsense"], 2, "--skip: 'nonsense' is no rule; available: "),
        (
            ["md.extxyz", "--skip", "force-unit", "--skip", "force-sign", "--only", "force-sign"],
            2,
            "mlff-curate: error: --skip: force-sign is given as --only too\n",
        ),
        (["md.extxyz", "--energy-key", "E"], 1, "E: --energy-key names a key that none of the 12 frames has"),
        (["md.extxyz", "-o", "n" * 300], 1, "n: cannot be written (File name too long)"),
        (["md.extxyz", "-o", "no/where.html"], 1, "no/where.html: its folder does not exist"),
    ],
)
def test_exit_status(check, arguments, code, said):
    run = check(*arguments)
    assert run.code == code
    assert said in run.out + run.err


def test_inputs_are_never_touched_and_the_page_is_the_only_output(check, trajectory, here):
    before = (here / trajectory).read_bytes()
    check(trajectory)
    check(trajectory, "--fix", "fixed.extxyz", "--no-report")
    assert (here / trajectory).read_bytes() == before == (here / "fixed.extxyz").read_bytes()
    assert sorted(p.name for p in here.iterdir()) == [
        *("fixed.extxyz", "fixed.fixes.csv", "md.check.html", "md.extxyz")
    ]


def test_checking_again_writes_the_page_anew(check, trajectory, here):
    assert check(trajectory).code == 0
    again = check(trajectory, "--skip", "label-missing")
    assert (again.code, again.out.splitlines()[-1]) == (0, "all of it on a page: md.check.html")
    assert '<td>skip</td><td class="name">label-missing</td>' in (here / "md.check.html").read_text()


def test_quiet_says_it_by_the_status_alone(check, cut):
    run = check(cut, "-q", "--no-report")
    assert run == (1, "", "")


def test_verbose_prints_findings_by_the_line(check, cut):
    assert "error: cut.extxyz: frame 11: file-unreadable: the file ends after 1 of 2 atoms" in check(cut, "-v").out


def test_pair_of_files_is_checked_without_inputs(check, put, iron):
    put("train.extxyz", [iron(0)])
    put("test.extxyz", [iron(1)])
    run = check("--train", "train.extxyz", "--test", "test.extxyz", "--json")
    assert (run.code, run.json["files"], run.json["report"]) == (
        0,
        {"train.extxyz": 1, "test.extxyz": 1},
        "train.check.html",
    )


def test_help_tells_the_exit_status(check):
    said = " ".join(check("--help").out.split())
    assert "1 a warning or an error was found (with --fix too: the inputs are judged, not what is written)" in said


def test_unreadable_inputs_of_json_are_findings_too(check):
    run = check("missing.extxyz", "--json", "--no-report")
    assert json.loads(run.out)["findings"][0]["rule"] == "file-unreadable"
