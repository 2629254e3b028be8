"""`prune` from files to files: names of outputs, and what is never replaced."""

import os
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write

from mlff_curate.errors import BudgetError, OutputError
from mlff_curate.validation import splitting
from mlff_curate.workflows import survey
from mlff_curate.workflows.prune import PruneOptions, prune
from mlff_curate.workflows.prune_files import prune_files


@pytest.fixture
def pile(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = [bulk("Ta", cubic=True) * (1 + i % 2, 1, 1) for i in range(6)]
    for i, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=i)
    write("pile.extxyz", frames)
    return "pile.extxyz"


@pytest.mark.parametrize(
    ("name", "to", "message"),
    [
        (".", "extxyz", "is a folder"),
        ("kept.traj", "extxyz", "the name says traj, what is to be written is extxyz: say --to traj"),
        ("kept.extxyz", "traj", "the name says extxyz, what is to be written is traj: say --to extxyz"),
        ("kept.traj.gz", "traj", "traj is not written as .gz: leave the suffix out"),
        ("kept.extxyz.xz", "extxyz", "extxyz is not written as .xz: leave the suffix out"),
    ],
)
def test_a_name_that_lies_about_the_format_is_refused(pile, name, to, message):
    with pytest.raises(OutputError, match=message):
        prune_files([pile], name, PruneOptions(keep=2), to=to)
    assert [p.name for p in Path().iterdir()] == [pile]


@pytest.mark.parametrize("name", ["kept", "kept.xyz", "kept.dat"])
def test_a_name_that_says_nothing_else_holds_extxyz(pile, name):
    prune_files([pile], name, PruneOptions(keep=2))
    assert len(read(name, ":", format="extxyz")) == 2


def test_a_file_of_indices_is_an_input_and_never_replaced(pile, tmp_path):
    (tmp_path / "which.txt").write_text("0\n")
    with pytest.raises(OutputError, match="an input is never replaced"):
        prune_files([pile], "which.txt", PruneOptions(keep=2, must_keep=("which.txt",)), overwrite=True)
    assert (tmp_path / "which.txt").read_text() == "0\n"


def test_a_file_name_need_not_be_text(pile):
    odd = os.fsdecode(b"\xff.extxyz")
    Path(pile).rename(odd)
    prune_files([odd], "kept.extxyz", PruneOptions(keep=2))
    assert b"\xff.extxyz,0," in open("kept.manifest.csv", "rb").read()  # noqa: PTH123, SIM115


@pytest.mark.parametrize(("keep", "kept"), [(0.5, 3), (1, 1), (1.0, 6), ("2", 2)])
def test_python_numbers_mean_what_they_mean_on_the_command_line(pile, keep, kept):
    assert prune(pile, keep=keep).count("kept") == kept


def test_everything_but_the_rejected_is_said_to_be_kept(pile, tmp_path):
    (tmp_path / "which.txt").write_text("3\n")
    result = prune(pile, keep=1.0, exclude=("which.txt",))
    assert result.count("kept") == 5
    assert result.notes == ("--keep 1.0: all frames are kept but the 1 rejected (5)",)


def test_frames_that_a_curated_set_holds_are_not_kept_again(pile):
    frames = read(pile, ":")
    write("curated.extxyz", frames[:3])
    result = prune(pile, against=("curated.extxyz",), keep=3)
    assert [d.record.index for d in result.decisions if d.decision == "kept"] == [3, 4, 5]
    assert {d.reason for d in result.decisions[:3]} == {"exact copy of a curated frame"}
    assert prune(pile, against=(pile,)).count("kept") == 0


@pytest.mark.parametrize("prove", [False, True])
def test_a_budget_that_cannot_be_met_is_refused_before_the_work(pile, monkeypatch, prove):
    monkeypatch.setattr(survey, "describe", None)
    monkeypatch.setattr(splitting, "require_enough", lambda *_: None)
    with pytest.raises(BudgetError, match="only 6 of 6 can be kept"):
        prune_files([pile], options=PruneOptions(keep=7), prove=prove)


def test_a_frame_that_nothing_kept_is_like_is_not_said_to_be_represented(pile, tmp_path):
    crystal = [bulk("Ta", cubic=True) * (2, 2, 1) for _ in range(20)]
    for i, atoms in enumerate(crystal):
        atoms.rattle(0.05, seed=i)
    write(pile, [*crystal, bulk("Ta", "fcc", a=4.2, cubic=True)])
    (tmp_path / "which.txt").write_text("0\n")
    result = prune(pile, keep=1, must_keep=("which.txt",))
    *like, odd = result.decisions[1:]
    assert {d.reason for d in like} == {"represented by kept frames"}
    assert max(d.distance for d in like) < 2 < odd.distance
    assert (odd.decision, odd.reason, odd.represented_by) == ("dropped", "unlike every kept frame", f"{pile}#0")
    assert "1 dropped frame unlike all that is kept (distance above 2 in the manifest)" in result.notes[-1]
    assert not any("unlike" in note for note in prune(pile, keep=1.0).notes)


def test_what_is_excluded_is_not_learned_from(pile, tmp_path):
    """Neither scaling nor MEAGraph see it."""
    frames = read(pile, ":")
    junk = [atoms.copy() for atoms in frames[:3]]
    for atoms in junk:
        atoms.set_cell(0.8 * atoms.cell, scale_atoms=True)
    write("junk.extxyz", [*frames, *junk])
    (tmp_path / "which.txt").write_text("6\n7\n8\n")
    alone, beside = prune(pile, keep=3), prune("junk.extxyz", keep=3, exclude=("which.txt",))
    n = alone.survey.environments.first[-1]
    np.testing.assert_array_equal(beside.survey.environments.X[:n], alone.survey.environments.X)
    np.testing.assert_allclose(beside.survey.embedding[:n], alone.survey.embedding, atol=1e-5)
    assert [r.index for r in beside.kept] == [r.index for r in alone.kept]
