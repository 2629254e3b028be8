"""Folders: what they are taken for, and that what is not read of them is told."""

import pytest
from format_frames import crystal, normal

from mlff_curate import read_frames
from mlff_curate.data.formats import FORMATS
from mlff_curate.data.formats.base import WriteOptions
from mlff_curate.data.outputs import whole_outputs

FOLDERS = [form for form in FORMATS if form.read and form.write and not form.suffix]


def put(form, path, count=2):
    with whole_outputs(path) as (part,):
        writer = form.write(part, WriteOptions())
        for seed in range(count):
            writer.add(normal(crystal(seed), seed))
        writer.close()
    return path


def told(path):
    return [(index, remark) for index, frame in enumerate(read_frames(path)) for remark in frame.remarks]


def unread(path):
    return [(index, remark) for index, remark in told(path) if remark.rule == "files-unread"]


@pytest.mark.parametrize("form", FOLDERS, ids=lambda form: form.name)
def test_a_set_that_was_written_here_holds_nothing_unread(tmp_path, form):
    folder = put(form, tmp_path / "set")
    (folder / ".hidden").write_text("")
    assert unread(folder) == []


@pytest.mark.parametrize("form", FOLDERS, ids=lambda form: form.name)
def test_other_files_are_counted_at_the_first_frame_and_the_format_named(tmp_path, form):
    folder = put(form, tmp_path / "set")
    for i in range(7):
        (folder / f"notes_{i}.txt").write_text("")
    ((index, remark),) = unread(folder)
    assert (index, remark.severity, remark.key) == (0, "note", None)
    assert remark.message.startswith(f"the folder is taken for {form.title}: ")
    assert remark.message.endswith(
        " of that format are read, 7 others not (notes_0.txt, notes_1.txt, notes_2.txt, notes_3.txt, notes_4.txt, ...)"
    )
    assert remark.fix == "name the files, or the folder, that are meant, if these are not"


def test_the_folder_above_a_fitsnap_set_is_told_for_what_it_is(tmp_path):
    (fitsnap,) = [form for form in FOLDERS if form.name == "fitsnap"]
    (tmp_path / "runs").mkdir()
    put(fitsnap, tmp_path / "runs" / "set", 1)
    ((_, remark),) = unread(tmp_path / "runs")
    assert remark.message == (
        "the folder is taken for FitSNAP's JSON in folders: 1 file of that format is read, 2 others not "
        "(set/README.txt, set/fitsnap.in)"
    )
