"""Descriptors that are handed in: what stored models say of them, and what they are made of."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint
from mlff_curate.data.features import FeatureReader
from mlff_curate.data.formatting import format_frame
from mlff_curate.errors import DataError
from mlff_curate.meagraph.checkpoint import KIND
from mlff_curate.pretraining.model import Pretraining
from mlff_curate.workflows.descriptor_choice import choose_descriptor, encoder_file
from mlff_curate.workflows.embed import EmbedOptions, embed
from mlff_curate.workflows.embed_files import embed_files
from mlff_curate.workflows.embedder import Embedder


def alloy(seed):
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[1] = "Au"
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Frames ``md.extxyz``, with features ``own``; an ``encoder``; models ``m`` and ``a`` by each."""
    path = tmp_path_factory.mktemp("choice")
    frames = [*(alloy(k) for k in range(8)), Atoms("Cu", cell=[20, 20, 20], pbc=True)]
    for atoms in frames:
        atoms.arrays["own"] = np.random.default_rng(len(atoms)).normal(size=(len(atoms), 3))
    (path / "md.extxyz").write_bytes(b"".join(format_frame(atoms) for atoms in frames))
    sizes = {"channels": 8, "angular": 4, "degree": 2, "cutoff": 4.0, "epochs": 1, "dtype": "float64"}
    Pretraining(**sizes).fit([*frames[:8], bulk("Ag")]).save(path / "encoder")
    for word, name in ((path / "encoder", "m"), ("array:own", "a")):
        options = EmbedOptions(descriptor=word, epochs=1)
        embed_files([path / "md.extxyz"], path / f"{name}.h5", options, save_model=path / name)
    return path


def test_descriptors_are_the_representation_scaled(folder):
    result = embed(folder / "md.extxyz", descriptor=folder / "encoder", layers="21", epochs=1)
    model = Pretraining.load(folder / "encoder")
    frames = [alloy(k) for k in range(3)]
    raw = model.representation(frames, "21")
    expected = result.environments.scaling.transform(raw)
    np.testing.assert_allclose(result.environments.X[:12], expected, atol=1e-4)
    assert result.embedder.descriptor.species == (29, 79)  # silver the encoder knows as well


def test_a_stored_model_embeds_bit_for_bit_as_the_training_run_did(folder):
    for name, word in (("m", folder / "encoder"), ("a", "array:own")):
        trained = embed(folder / "md.extxyz", descriptor=word, epochs=1)
        again = embed(folder / "md.extxyz", model=folder / name)
        assert trained.embedding.tobytes() == again.embedding.tobytes()
        assert trained.embedder.descriptor.settings() == again.embedder.descriptor.settings()
        stored = Embedder.read(folder / name)
        assert stored.to_bytes() == (folder / name).read_bytes()


def changed(folder, name, changes):
    stored = read_checkpoint(folder / name, KIND)
    settings = dict(stored.settings)
    for part, values in changes.items():
        settings[part] = None if values is None else {**settings.get(part, {}), **values}
        if values is None:
            del settings[part]
    path = folder / "changed"
    path.write_bytes(checkpoint_bytes(KIND, stored.arrays, settings))
    return path


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("m", {"descriptor": {"layers": "3"}}, "the descriptor's layers is '3'"),
        ("m", {"descriptor": {"layers": "0"}}, "the descriptor's layers is '0'"),
        ("m", {"descriptor": {"layers": 1}}, "the descriptor's layers is '1'"),
        ("m", {"descriptor": {"sha256": "abc"}}, "the descriptor's sha256 is 'abc'"),
        ("m", {"descriptor": {"cutoff": 1.0}}, "the descriptor's cutoff is '1.0'"),
        ("m", {"descriptor": {"species": [29, 80]}}, r"the descriptor's species is '\[29, 80\]'"),
        ("m", {"descriptor": {"more": None}}, "the descriptor's more is 'None'"),
        ("m", {"descriptor": {"layers": "12"}}, "the array mean has the shape"),
        ("m", {"encoder": {"dtype": "float16"}}, "the setting dtype is 'float16'"),
        ("m", {"encoder": {"dtype": "float32"}}, "holds float64, not float32"),
        ("m", {"encoder": {"sizes": {}}}, "the setting sizes.elements is missing"),
        ("m", {"encoder": None}, "the descriptor's "),
        ("a", {"descriptor": {"key": ""}}, "the descriptor's key is ''"),
        ("a", {"descriptor": {"size": 0}}, "the descriptor's size is '0'"),
        ("a", {"descriptor": {"size": 4}}, "the array mean has the shape"),
        ("a", {"descriptor": {"species": []}}, r"the descriptor's species is '\[\]'"),
        ("a", {"descriptor": {"cutoff": 5.0}}, "the descriptor's cutoff is '5.0'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(folder, name, changes, message):
    with pytest.raises(DataError, match=f"changed: was written by another state of mlff-curate .*{message}"):
        Embedder.read(changed(folder, name, changes))


def test_a_known_name_is_no_file_even_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bispectrum").write_bytes(b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert encoder_file("bispectrum") is None
    assert encoder_file("plain") is not None
    assert choose_descriptor("bispectrum").network is None


def test_a_column_without_width_is_one_feature():
    reader = FeatureReader("charge")
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2]])
    atoms.arrays["charge"] = np.array([1, 2])
    assert reader.read(atoms).tolist() == [[1.0], [2.0]]
    assert reader.width == 1
