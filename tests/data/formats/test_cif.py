"""CIF files, alone and as a folder."""

import warnings

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from mlff_curate import read_frames
from mlff_curate.data.formats import cif


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "cifs"
    place.mkdir()
    for symbol in ("Si", "Cu", "Al"):
        write(place / f"{symbol}.cif", bulk(symbol, cubic=True))
    return place


def test_a_folder_is_read_in_the_order_of_names_and_each_frame_tells_its_file(folder):
    frames = list(read_frames(folder))
    assert [frame.atoms.info["source"] for frame in frames] == ["Al", "Cu", "Si"]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert all(frame.atoms.pbc.all() for frame in frames)
    for frame in frames:
        alone = next(iter(read_frames(folder / f"{frame.atoms.info['source']}.cif")))
        np.testing.assert_array_equal(frame.atoms.positions, alone.atoms.positions)
    assert not any(frame.remarks for frame in frames)


def test_a_table_beside_them_is_told_to_be_unread(folder):
    (folder / "id_prop.csv").write_text("Si,1\n")
    remark = next(iter(read_frames(folder))).remarks[0]
    assert remark.rule == "files-unread"
    assert "taken for CIF files: 3 files of that format are read, 1 other not (id_prop.csv)" in remark.message


def test_what_ase_warns_of_is_a_remark_of_its_file(folder, monkeypatch, recwarn):
    real = cif.read_with_ase

    def doubtful(path, kind):
        if path.stem == "Cu":
            for _ in range(2):
                warnings.warn("odd setting", stacklevel=1)
        return real(path, kind)

    monkeypatch.setattr(cif, "read_with_ase", doubtful)
    told = [[remark.message for remark in frame.remarks] for frame in read_frames(folder)]
    assert told == [[], ["ASE warned while it read Cu.cif: odd setting"], []]
    assert len(recwarn) == 0


def test_a_crystal_without_the_suffix_is_known_by_its_text(folder):
    (folder / "Cu.cif").rename(folder.parent / "structure")
    assert next(iter(read_frames(folder.parent / "structure"))).atoms.get_chemical_formula() == "Cu4"
