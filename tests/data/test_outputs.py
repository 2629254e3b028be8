"""Outputs appear whole, together, or not at all."""

import errno
import os
import signal
import threading
from pathlib import Path

import pytest

from mlff_curate.data.outputs import require_free, whole_files, whole_outputs
from mlff_curate.errors import OutputError


def test_files_appear_together_when_all_are_complete(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    with whole_files(one, two) as (first, second):
        first.write(b"1")
        second.write(b"2")
        assert not one.exists()
        assert not two.exists()
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")
    assert sorted(tmp_path.iterdir()) == [one, two]


def write_half(error, *paths):
    """Fail in the middle of writing, or be interrupted in it."""
    with whole_files(*paths) as streams:
        for _ in range(10**9):
            streams[0].write(b"half")
            streams[0].seek(0)
            if error is not None:
                raise error


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(143)])
def test_whatever_goes_wrong_leaves_no_file(tmp_path, error):
    with pytest.raises(type(error)):
        write_half(error, tmp_path / "one", tmp_path / "two")
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_when_something_goes_wrong(tmp_path):
    (tmp_path / "one").write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        write_half(KeyboardInterrupt(), tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_ctrl_c_while_writing_leaves_no_file(tmp_path):
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        write_half(None, tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_said_and_leaves_no_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    message = r"one: cannot be written \(No space left on device\)$"
    with pytest.raises(OutputError, match=message), whole_files(tmp_path / "one", tmp_path / "two") as (stream, _):
        stream.write(b"x")
    assert list(tmp_path.iterdir()) == []


def write_to_full_disk(path):
    with whole_files(path) as streams:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, streams[0].fileno())
        os.close(full)
        streams[0].write(b"x")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_disk_that_is_still_full_when_the_file_is_closed_leaves_no_file(tmp_path):
    with pytest.raises(OutputError, match="No space left"):
        write_to_full_disk(tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


def test_failure_to_place_the_last_file_takes_back_the_first(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"), whole_files(tmp_path / "one", tmp_path / "two"):
        (tmp_path / "two").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with whole_files(tmp_path / "one"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o640


def test_output_that_is_a_link_stays_one(tmp_path):
    (tmp_path / "real").write_bytes(b"before")
    (tmp_path / "link").symlink_to("real")
    with whole_files(tmp_path / "link") as (stream,):
        stream.write(b"after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"after"


def test_longest_names_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    with whole_files(path):
        pass
    assert path.exists()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.extxyz").write_bytes(b"")
    (tmp_path / "there").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("in.extxyz")
    return tmp_path


@pytest.mark.parametrize("name", ["in.extxyz", "./in.extxyz", "folder/../in.extxyz", "link", "{here}/in.extxyz"])
def test_input_is_never_replaced(place, name):
    path = Path(name.format(here=place))
    with pytest.raises(OutputError, match=r"is an input: an input is never replaced$"):
        require_free([path], [place / "in.extxyz"], overwrite=True)


def test_output_that_exists_needs_overwrite(place):
    with pytest.raises(OutputError, match=r"there: exists already: say --overwrite to replace it$"):
        require_free([place / "new", place / "there"], [], overwrite=False)
    require_free([place / "new", place / "there"], [], overwrite=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "is a folder$"),
        ("nosuch/out", "its folder does not exist$"),
        ("there/out", "its folder does not exist$"),
        ("n" * 300, r"cannot be written \(File name too long\)$"),
    ],
)
def test_place_that_cannot_hold_a_file_is_said(place, name, message):
    with pytest.raises(OutputError, match=f"{name}: {message}"):
        require_free([place / name], [], overwrite=True)


def test_two_outputs_in_one_place_are_refused(place):
    with pytest.raises(OutputError, match=r"would be written twice$"):
        require_free([place / "out", place / "folder" / ".." / "out"], [], overwrite=True)


def make_folder(place, names, *, overwrite=False):
    require_free([place], [], overwrite=overwrite, folders=[place])
    with whole_outputs(place) as (part,):
        part.mkdir()
        for name in names:
            (part / name).parent.mkdir(exist_ok=True)
            (part / name).write_text(name)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_folder_appears_whole_and_lists_its_files(tmp_path):
    make_folder(tmp_path / "set", ["a", "sub/b"])
    assert files(tmp_path) == ["set/.mlff-curate-files", "set/a", "set/sub/b"]
    assert (tmp_path / "set" / ".mlff-curate-files").read_text() == "a\nsub/b\n"


def test_folder_of_ours_is_replaced_whole(tmp_path):
    make_folder(tmp_path / "set", ["a", "sub/b"])
    with pytest.raises(OutputError, match=r"set: exists already: say --overwrite to replace it$"):
        make_folder(tmp_path / "set", ["c"])
    make_folder(tmp_path / "set", ["c"], overwrite=True)
    assert files(tmp_path) == ["set/.mlff-curate-files", "set/c"]


@pytest.mark.parametrize("mine", ["mine", "sub/mine", ".mine"])
def test_folder_with_anything_of_the_user_is_never_replaced(tmp_path, mine):
    make_folder(tmp_path / "set", ["a", "sub/b"])
    (tmp_path / "set" / mine).write_text("precious")
    with pytest.raises(OutputError, match=rf"set: holds {mine}, which was not written here: only a folder of ours is"):
        make_folder(tmp_path / "set", ["c"], overwrite=True)
    assert (tmp_path / "set" / mine).read_text() == "precious"


def test_link_in_a_folder_is_the_users(tmp_path):
    make_folder(tmp_path / "set", ["a"])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match=r"set: holds link, which was not written here"):
        make_folder(tmp_path / "set", ["c"], overwrite=True)


def test_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "set").write_text("mine")
    with pytest.raises(OutputError, match=r"set: is a file, and a folder is to be written: remove it$"):
        make_folder(tmp_path / "set", ["a"], overwrite=True)


def write_half_a_folder(place, error):
    with whole_outputs(place) as (part,):
        part.mkdir()
        (part / "new").write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_folder_that_was_there_stays_when_something_goes_wrong(tmp_path, error):
    make_folder(tmp_path / "set", ["a"])
    with pytest.raises(type(error)):
        write_half_a_folder(tmp_path / "set", error)
    assert files(tmp_path) == ["set/.mlff-curate-files", "set/a"]


def write_three_and_block_the_last(folder, one, two):
    with whole_outputs(folder, one, two) as parts:
        parts[0].mkdir()
        parts[1].write_text("after")
        parts[2].write_text("after")
        two.mkdir()


def test_failure_to_place_the_last_gives_back_what_was_replaced(tmp_path):
    make_folder(tmp_path / "set", ["a"])
    (tmp_path / "one").write_text("before")
    with pytest.raises(OutputError, match="cannot be written"):
        write_three_and_block_the_last(tmp_path / "set", tmp_path / "one", tmp_path / "two")
    assert files(tmp_path) == ["one", "set/.mlff-curate-files", "set/a"]
    assert (tmp_path / "one").read_text() == "before"


def test_input_inside_a_folder_to_be_replaced_is_safe(tmp_path):
    make_folder(tmp_path / "set", ["a"])
    with pytest.raises(OutputError, match=r"set: holds an input: an input is never replaced$"):
        require_free([tmp_path / "set"], [tmp_path / "set" / "a"], overwrite=True, folders=[tmp_path / "set"])
    with pytest.raises(OutputError, match=r"set/new: lies in an input, which is never changed$"):
        require_free([tmp_path / "set" / "new"], [tmp_path / "set"], overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_regular_file_is_never_replaced(tmp_path, overwrite):
    """As a device: who is root would lose it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match=r"pipe: is no regular file, and is never replaced$"):
        require_free([pipe], [], overwrite=overwrite)
    link = tmp_path / "link"
    link.symlink_to(pipe)
    with pytest.raises(OutputError, match=r"link: is no regular file, and is never replaced$"):
        require_free([link], [], overwrite=overwrite)
