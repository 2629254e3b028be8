"""One fault per file: the message names file, frame and key, the status is 1, and nothing is written."""

import json
import os
import shlex
import shutil
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import pytest
from mlff_curate_cli.main import main

from mlff_curate import read_frames
from mlff_curate.errors import DataError

FOLDER = Path(__file__).parent / "invalid"
FAULTS = sorted(path.name.removesuffix(".message") for path in FOLDER.glob("*.message"))


class Expected(NamedTuple):
    """What is to be said of a file; see the README beside the files."""

    file: str
    words: str
    whole: bool
    options: list[str]

    def is_said_by(self, line):
        message = f"{self.file}: {self.words}"
        return line == message if self.whole else line.startswith(message) and "\n" not in line


def expected_of(name):
    message, *options = (FOLDER / f"{name}.message").read_text(encoding="utf-8").splitlines()
    inside, _, words = message.partition(": ") if message.startswith("/") else ("", "", message)
    return Expected(
        f"{name}{inside}", words.removesuffix(" ..."), not words.endswith(" ..."), shlex.split(" ".join(options))
    )


def reading_options(words):
    """Options of the command line as arguments of `read_frames`."""
    given = dict(zip(words[::2], words[1::2], strict=True))
    options = {"type_map": given.pop("--type-map", "").split(",") if "--type-map" in given else ()}
    return {**options, **{key.removeprefix("--").replace("-", "_"): value for key, value in given.items()}}


def test_every_file_has_its_message_and_every_message_its_file():
    there = {path.name for path in FOLDER.iterdir()} - {"README.md"}
    assert there == {*FAULTS, *(f"{name}.message" for name in FAULTS)}


@pytest.mark.parametrize("name", FAULTS)
def test_message_names_the_fault_and_its_place(monkeypatch, name):
    monkeypatch.chdir(FOLDER)
    expected = expected_of(name)
    with pytest.raises(DataError) as raised:
        list(read_frames(name, **reading_options(expected.options)))
    assert expected.is_said_by(str(raised.value)), str(raised.value)


@pytest.mark.parametrize("name", FAULTS)
def test_prune_stops_with_one_line_and_writes_nothing(bad_file, tmp_path, capsys, name):
    expected = expected_of(name)
    bad_file("good.extxyz", GOOD)
    source = FOLDER / name
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main(["prune", "good.extxyz", name, "--keep", "1", *expected.options])
    out, err = capsys.readouterr()
    assert stopped.value.code == 1
    assert out == ""
    assert err.endswith("\n")
    assert err.startswith("mlff-curate: error: ")
    assert expected.is_said_by(err.removeprefix("mlff-curate: error: ").removesuffix("\n")), err
    assert sorted(tmp_path.rglob("*")) == before


CELL = 'Lattice="3 0 0 0 3 0 0 0 3"'
GOOD = f"2\n{CELL} Properties=species:S:1:pos:R:3\nFe 0.0 0.0 0.0\nFe 1.5 1.5 1.5\n"


@pytest.mark.parametrize("name", FAULTS)
def test_check_goes_on_and_tells_it_as_a_finding(monkeypatch, capsys, name):
    monkeypatch.chdir(FOLDER)
    expected = expected_of(name)
    with pytest.raises(SystemExit) as stopped:
        main(["check", name, "--json", "--no-report", "-q", *expected.options])
    assert stopped.value.code == 1
    said = json.loads(capsys.readouterr().out)["findings"]
    said = [f for f in said if f["file"] == expected.file]
    places = [(f"frame {f['frame']}" if f["frame"] is not None else "", f["key"] or "", f["message"]) for f in said]
    errors = [": ".join(filter(None, place)) for place, f in zip(places, said, strict=True) if f["severity"] == "error"]
    assert any(error.startswith(expected.words) for error in errors)


def frame(*atoms, count=None):
    """The text of a frame with these lines."""
    head = [str(len(atoms) if count is None else count), f"{CELL} Properties=species:S:1:pos:R:3"]
    return "\n".join([*head, *atoms, ""])


FIXED = frame(*(f"Fe {0.5 * i:12.8f} {0.0:12.8f} {0.0:12.8f}" for i in range(6)))


@pytest.fixture
def bad_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return write


def test_no_cut_inside_a_frame_goes_unnoticed(bad_file):
    # the example files have fixed columns, as ASE writes them
    text = (FIXED + FIXED).encode()
    first = len(FIXED)
    for length in range(first + 1, len(text) - 1):
        name = bad_file("cut.extxyz", text[:length])
        with pytest.raises(DataError, match=r"^cut\.extxyz: frame 1: .*(truncated|ASE cannot read it)"):
            list(read_frames(name))
    assert len(list(read_frames(bad_file("whole.extxyz", text[:-1])))) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nosuch.extxyz", "no such file"),
        ("nosuch/md.extxyz", "no such file"),
        ("n" * 300, r"cannot be read \(File name too long\)"),
        (".", "is a folder, not a file, and not laid out as .*"),
    ],
)
def test_what_is_no_file_is_said(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"^{name}: {message}$"):
        list(read_frames(name))


def test_pipe_is_refused_before_any_work():
    reading, writing = os.pipe()
    try:
        with pytest.raises(DataError, match=rf"^/dev/fd/{reading}: is no regular file: files are read twice"):
            list(read_frames(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)
        os.close(writing)


def test_file_without_permission_is_said(bad_file, tmp_path):
    name = bad_file("secret.extxyz", GOOD)
    (tmp_path / name).chmod(0)
    try:
        (tmp_path / name).read_bytes()
    except PermissionError:
        with pytest.raises(DataError, match=r"^secret\.extxyz: cannot be read \(Permission denied\)$"):
            list(read_frames(name))
    else:
        pytest.skip("this user may read everything")


def test_memory_does_not_follow_the_count_in_the_file(bad_file):
    name = bad_file("huge.extxyz", frame("Fe 0 0 0", count=10**15))
    tracemalloc.start()
    with pytest.raises(DataError, match="of 1000000000000000 atoms"):
        list(read_frames(name))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20
