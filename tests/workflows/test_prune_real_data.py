"""`prune` on the real DFT sets of Ta, Nb and Fe."""

import csv

import pytest

from mlff_curate.data.extxyz import split_frames
from mlff_curate.workflows.prune import PruneOptions, prune
from mlff_curate.workflows.prune_files import prune_files

SETS = {"ta_jcp2014": (363, 4224, 12), "nb_mvl2020": (334, 11346, 3), "fe_npj2021": (2517, 62932, 8)}


@pytest.mark.data
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("keep", ["auto", "0.2"])
def test_kept_frames_are_the_files_own_bytes_and_every_group_stays(real_data, tmp_path, name, keep):
    frames, environments, groups = SETS[name]
    path = real_data / f"{name}.extxyz"
    out = tmp_path / "kept.extxyz"
    done = prune_files([path], out, PruneOptions(keep=keep))
    summary = done.summary(0.0)
    assert (summary["frames"], summary["environments"]) == (frames, environments)
    assert summary["kept"] == round(0.2 * frames) if keep == "0.2" else 10 < summary["kept"] < 0.5 * frames
    with (tmp_path / "kept.manifest.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    kept = [int(row["index"]) for row in rows if row["decision"] == "kept"]
    with path.open("rb") as stream:
        texts = {part.index: part.text for part in split_frames(stream, str(path))}
    assert out.read_bytes() == b"".join(texts[i] for i in kept)
    assert len({row["group"] for row in rows if row["decision"] == "kept"}) == groups
    assert summary["clusters"] > 1


@pytest.mark.data
def test_a_set_pruned_against_what_was_kept_of_it_has_nothing_new(real_data, tmp_path):
    path, kept = real_data / "ta_jcp2014.extxyz", tmp_path / "kept.extxyz"
    first = prune_files([path], kept, PruneOptions()).result
    again = prune(path, against=(kept,))
    assert first.count("kept") > 10
    assert again.count("kept") == 0
    assert (again.cluster_sizes == first.cluster_sizes).all(), "a frame that is there twice counts once"
    assert prune(path, against=(kept,), seed=1).count("kept") <= 3, "clusters differ somewhat from seed to seed"
