"""The HDF5 file has the data sets of the contract, says what they are, and has the same bytes for the same table."""

import io
from dataclasses import replace

import h5py
import numpy as np
import pytest

from mlff_curate import __version__
from mlff_curate.data.store import EmbeddingTable, write_table

RNG = np.random.default_rng(0)
TABLE = EmbeddingTable(
    first=np.array([0, 2, 2, 5]),
    species=np.array([26, 74, 26, 26, 74]),
    descriptor=RNG.normal(size=(5, 3)).astype(np.float32),
    embedding=RNG.normal(size=(5, 2)).astype(np.float32),
    cluster=np.array([0, -1, 1, 0, 0]),
    outlier_score=RNG.random(5).astype(np.float32),
    source=["ä.xyz", "b\udcff.xyz", "ä.xyz"],
    index=[0, 3, 1],
    sha256=["a" * 64, "b" * 64, "c" * 64],
    group=["none", "größe", ""],
    attributes={"": {"seed": 4}, "descriptor": {"cutoff": 5.5, "species": [26, 74]}, "training": {"epochs": 2}},
    losses={"training_loss": [2.0, 1.5]},
)


def written(table):
    stream = io.BytesIO()
    write_table(stream, table)
    return stream.getvalue()


@pytest.fixture
def file():
    with h5py.File(io.BytesIO(written(TABLE))) as opened:
        yield opened


def test_environments_are_ordered_by_frame_and_atom(file):
    rows = file["environments"]
    assert rows["frame"][:].tolist() == [0, 0, 2, 2, 2]
    assert rows["atom"][:].tolist() == [0, 1, 0, 1, 2]
    for name in ("species", "descriptor", "embedding", "cluster", "outlier_score"):
        np.testing.assert_array_equal(rows[name][:], getattr(TABLE, name))
    assert {name: rows[name].dtype.str for name in rows} == {
        **dict.fromkeys(["frame", "atom", "species", "cluster"], "<i8"),
        **dict.fromkeys(["descriptor", "embedding", "outlier_score"], "<f4"),
    }


def test_frames_have_their_facts_in_utf8(file):
    frames = file["frames"]
    assert set(frames) == {"source", "index", "sha256", "group", "n_atoms"}
    assert frames["n_atoms"][:].tolist() == [2, 0, 3]
    assert frames["index"][:].tolist() == TABLE.index
    assert frames["group"].asstr()[:].tolist() == TABLE.group
    assert frames["sha256"].asstr()[:].tolist() == TABLE.sha256
    assert frames["source"][1] == b"b\xff.xyz", "a name that is not UTF-8 keeps its bytes"
    assert h5py.check_string_dtype(frames["source"].dtype).encoding == "utf-8"


def test_every_data_set_says_what_it_is(file):
    file.visititems(lambda name, node: name.startswith("training/") or node.attrs["description"])
    assert (file.attrs["program"], file.attrs["version"], file.attrs["seed"]) == ("mlff-curate", __version__, 4)
    assert file["environments/descriptor"].attrs["cutoff"] == 5.5
    assert file["environments/descriptor"].attrs["species"].tolist() == [26, 74]
    assert file["training"].attrs["epochs"] == 2
    assert file["training/training_loss"][:].tolist() == [2.0, 1.5]


def test_the_same_table_gives_the_same_bytes():
    assert written(TABLE) == written(TABLE)
    assert written(TABLE) != written(replace(TABLE, cluster=TABLE.cluster[::-1]))


def test_long_records_and_commands_have_room():
    """HDF5 allows 64 KiB per attribute: neither many epochs nor many inputs may meet that."""
    long = replace(TABLE, attributes={"": {"command": "x" * 10**6}}, losses={"training_loss": np.ones(10**5)})
    with h5py.File(io.BytesIO(written(long))) as file:
        assert len(file.attrs["command"]) == 10**6
        assert len(file["training/training_loss"]) == 10**5
