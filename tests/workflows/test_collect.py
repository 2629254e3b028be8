"""Inputs become records: groups, rules and labels of every frame."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from mlff_curate.data.formatting import format_frame
from mlff_curate.data.frames import Remark
from mlff_curate.errors import CurateError, DataError
from mlff_curate.workflows import collect as collecting
from mlff_curate.workflows.collect import collect


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def put(here):
    def write(name, *infos):
        frames = [Atoms("Fe", cell=[3, 3, 3 + 0.1 * i], pbc=True, info=info) for i, info in enumerate(infos)]
        (here / name).write_bytes(b"".join(map(format_frame, frames)))
        return name

    return write


def test_curated_frames_come_last_and_are_not_new(put):
    collection = collect([put("a", {}, {}), put("b", {})], against=[put("old", {}, {})])
    assert [(r.source, r.index, r.curated) for r in collection.records] == [
        ("a", 0, False),
        ("a", 1, False),
        ("b", 0, False),
        ("old", 0, True),
        ("old", 1, True),
    ]
    assert collection.new == 3
    assert len(collection.geometries) == 5
    assert not any(atoms.info for atoms in collection.geometries)


def test_groups_follow_the_inputs_alone(put):
    collection = collect([put("a", {"step": 1})], against=[put("old", {"config_type": "x"})])
    assert collection.group_key is None
    assert {r.group for r in collection.records} == {"none"}


@pytest.mark.parametrize(
    ("group_by", "key", "groups"),
    [
        (None, "config_type", ["x", "none", "y"]),
        ("config_type", "config_type", ["x", "none", "y"]),
        ("none", None, ["none"] * 3),
        ("step", "step", ["1", "2", "none"]),
    ],
)
def test_groups_are_named_as_in_the_file(put, group_by, key, groups):
    name = put("a", {"config_type": "x", "step": 1}, {"step": 2}, {"config_type": "y"})
    collection = collect([name], group_by=group_by)
    assert collection.group_key == key
    assert [r.group for r in collection.records] == groups


def test_rules_are_for_inputs_alone(put):
    put("a", {"good": True}, {"good": False}, {"step": 5})
    collection = collect(["a"], against=[put("old", {"good": True})], must_keep=["good"], exclude=["step=5"])
    assert [r.must_keep for r in collection.records] == [True, False, False, False]
    assert [r.excluded for r in collection.records] == [False, False, True, False]


def test_a_file_wins_over_a_key_of_its_name(put, tmp_path):
    put("a", {"good": True}, {"good": False})
    (tmp_path / "good").write_text("1\n")
    assert [r.must_keep for r in collect(["a"], must_keep=["good"]).records] == [False, True]


@pytest.mark.parametrize("line", ["one", "-1", "1.0", "1 2", "²", "0x1"])
def test_line_that_is_no_index_is_named(put, tmp_path, line):
    put("a", {})
    (tmp_path / "list").write_text(f"# indices\n{line}\n")
    with pytest.raises(DataError, match=rf"^list: --exclude: line 2 is no frame index: '{line}'$"):
        collect(["a"], exclude=["list"])


def test_label_keys_may_stand_in_any_frame(put):
    collection = collect([put("a", {}, {"REF_energy": 1.0})], label_keys={"energy": "REF_energy", "forces": None})
    assert [r.labels for r in collection.records] == [(), ("REF_energy",)]


def test_label_key_in_the_curated_set_is_none_of_the_inputs_business(put):
    put("a", {})
    put("old", {"E": 1.0})
    with pytest.raises(DataError, match=r"^E: --energy-key names a key that none of the 1 frames has"):
        collect(["a"], against=["old"], label_keys={"energy": "E"})


NAN = float("nan")


def test_a_label_that_cannot_be_used_vetoes_where_others_can(put):
    collection = collect([put("a", {"energy": -1.0}, {"energy": NAN}), put("b", {"energy": NAN}, {})])
    assert [r.rejected for r in collection.records] == [False, True, True, False]
    assert [(f.key, f.fault) for f in collection.records[1].faults] == [("energy", "holds NaN or infinity")]
    assert collection.notes == ()


def test_a_name_without_any_sound_label_vetoes_nothing_and_is_noted(put):
    collection = collect([put("a", {"energy": NAN}, {"energy": NAN, "REF_stress": [0.0] * 6})])
    assert not any(r.rejected for r in collection.records)
    assert collection.notes == ("no frame has a usable label under energy: taken as missing",)


def test_virials_without_a_cell_are_counted_unless_there_is_a_stress(here):
    infos = ({}, {}, {"stress": np.zeros((3, 3))})
    frames = [Atoms("Fe", positions=[[i, 0, 0]], info={"virial": np.eye(3), **info}) for i, info in enumerate(infos)]
    (here / "a").write_bytes(b"".join(map(format_frame, frames)))
    collection = collect(["a"])
    said = "virial makes no stress in 2 frames, as the cell has no volume: taken as missing"
    assert collection.notes == (said,)
    chosen = collect(["a"], label_keys={"stress": "virial"})
    assert chosen.notes == (said.replace("2 frames", "3 frames"),)


def test_the_curated_set_is_not_judged_and_does_not_judge(put):
    put("a", {"energy": NAN})
    collection = collect(["a"], against=[put("old", {"energy": -1.0}, {"energy": NAN})])
    assert not any(r.rejected for r in collection.records)


def test_when_every_frame_is_vetoed_one_is_named(put):
    put("a", {"energy": NAN, "stress": [0.0] * 6}, {"energy": -1.0, "stress": [NAN] * 6})
    message = r"^a: frame 0: energy: none of the 2 frames is left to keep: .*, as here: holds NaN or infinity$"
    with pytest.raises(DataError, match=message):
        collect(["a"])


def test_long_lists_of_values_are_cut(put):
    put("a", *({"step": i} for i in range(30)))
    with pytest.raises(CurateError, match=r"values of step are 0, 1, 10, .* and 10 more$"):
        collect(["a"], must_keep=["step=99"])


def test_progress_counts_frames(put):
    seen = []
    collect([put("a", {}, {})], progress=seen.append)
    assert seen == [1, 2]


def test_what_readers_noticed_is_told_once_for_each_rule(put, monkeypatch):
    remark = Remark("scf-unconverged", "error", "energy", "did not converge", "leave it out")
    read = collecting.read_frames

    def noticed(*args, **options):
        return (replace(frame, remarks=(remark,)) for frame in read(*args, **options))

    monkeypatch.setattr(collecting, "read_frames", noticed)
    notes = collect([put("a", {}, {}, {})]).notes
    assert "a: frame 0: did not converge (and 2 more remarks of this kind)" in notes
