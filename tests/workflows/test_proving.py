"""`--prove`: a fit on what is kept, on random frames and on all."""

import re

import pytest
from ase.io import read, write

from mlff_curate.errors import DataError
from mlff_curate.pruning.selectors import SELECTORS
from mlff_curate.workflows import proving
from mlff_curate.workflows.proving import prove_pruning
from mlff_curate.workflows.prune import PruneOptions, prune
from mlff_curate.workflows.prune_files import prune_files


def test_the_proof_stands_in_the_summary_the_lines_and_the_report(examples, tmp_path):
    done = prune_files([examples / "ta_md.extxyz"], tmp_path / "out.extxyz", PruneOptions(keep=0.3), prove=True)
    rows = {row["method"]: row for row in done.summary(1.0)["proof"]}
    assert set(rows) == {"ours", "random", "all data"}
    assert rows["ours"]["frames"] == rows["random"]["frames"] < rows["all data"]["frames"]
    assert all(0 < row["energy_mae"] < 1000 and 0 < row["force_mae"] < 2 for row in rows.values())
    assert any(line.startswith("ours") and "meV/atom" in line for line in done.lines())
    page = (tmp_path / "out.report.html").read_text()
    assert "Proof by fit" in page
    assert "all data" in page


def test_held_out_frames_take_no_part_in_the_selection_and_the_result_is_reproducible(examples, monkeypatch):
    options = PruneOptions(keep=0.3, seed=5)
    path = examples / "fe_md.extxyz"
    result = prune(path, options)
    sizes = []

    def spy(pool, count, rng):
        sizes.append(pool.frames)
        return SELECTORS["coverage"](pool, count, rng)

    monkeypatch.setattr(proving, "SELECTORS", {"coverage": spy})
    first, second = (prove_pruning([path], result, options) for _ in range(2))
    assert len(sizes) == 6
    assert max(sizes) <= 80
    assert first == second
    assert any(re.search("holds out 2. frames", note) for note in first.notes)


def test_unlabelled_frames_prove_nothing_and_nothing_is_written(examples, tmp_path):
    frames = read(examples / "ta_md.extxyz", ":30")
    for atoms in frames:
        atoms.calc = None
    write(tmp_path / "bare.extxyz", frames)
    with pytest.raises(DataError, match="labelled"):
        prune_files([tmp_path / "bare.extxyz"], tmp_path / "out.extxyz", PruneOptions(keep=10), prove=True)
    assert [p.name for p in tmp_path.iterdir()] == ["bare.extxyz"]
