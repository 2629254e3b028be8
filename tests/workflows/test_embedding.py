"""What a stored model says of an environment is what it said in training, in any company."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint
from mlff_curate.data.formatting import format_frame
from mlff_curate.errors import DataError, UsageError
from mlff_curate.meagraph.checkpoint import KIND
from mlff_curate.workflows.embed import EmbedOptions, embed
from mlff_curate.workflows.embed_files import embed_files
from mlff_curate.workflows.embedder import Embedder

ISOLATED = Atoms("Fe", cell=[20, 20, 20], pbc=True)


def crystal(symbol, structure, a, seed):
    atoms = bulk(symbol, structure, a=a, cubic=True) * (2, 2, 2)
    atoms.arrays.pop("initial_magmoms", None)
    atoms.rattle(0.05, seed=seed)
    return atoms


def frames():
    """Twelve of bcc, eight of fcc iron, two with tungsten, a free atom."""
    bcc = [crystal("Fe", "bcc", 2.87, i) for i in range(12)]
    fcc = [crystal("Fe", "fcc", 3.6, i) for i in range(8)]
    alloy = [crystal("Fe", "bcc", 2.9, i + 50) for i in range(2)]
    for atoms in alloy:
        atoms.symbols[:2] = "W"
    return [*bcc, ISOLATED, *fcc, *alloy]


def put(path, some):
    path.write_bytes(b"".join(format_frame(atoms) for atoms in some))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("embed")


@pytest.fixture(scope="module")
def trained(folder):
    """The result of a training run, whose model lies in ``m``."""
    return embed_files(
        [put(folder / "md.extxyz", frames())], folder / "md.h5", EmbedOptions(epochs=2), save_model=folder / "m"
    ).result


def same(a, b):
    """Equal to 1e-5 of the root mean square: float32, in batches of other sizes."""
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.sqrt(np.mean(np.square(b))))


def test_stored_model_gives_the_training_run_again_bit_for_bit(folder, trained):
    again = embed(folder / "md.extxyz", model=folder / "m")
    assert (trained.trained, again.trained) == (True, False)
    for name in ("embedding", "cluster", "outlier_score"):
        assert getattr(again, name).tobytes() == getattr(trained, name).tobytes()
    assert again.environments.X.tobytes() == trained.environments.X.tobytes()
    assert (again.outliers, again.link) == (trained.outliers, trained.link)


@pytest.mark.parametrize("frame", [0, 12, 15, 21])
def test_a_frame_alone_is_embedded_as_in_the_full_run(folder, trained, frame):
    alone = embed(put(folder / "one.extxyz", frames()[frame : frame + 1]), model=folder / "m")
    rows = slice(*trained.environments.first[frame : frame + 2])
    same(alone.environments.X, trained.environments.X[rows])
    same(alone.embedding, trained.embedding[rows])
    same(alone.outlier_score, trained.outlier_score[rows])
    np.testing.assert_array_equal(alone.cluster, trained.cluster[rows])


def test_clusters_are_numbered_by_size(trained):
    sizes = np.bincount(trained.cluster[trained.cluster >= 0])
    assert (np.diff(sizes) <= 0).all()
    assert sizes.min() >= 1
    assert sizes.tolist() == trained.embedder.cluster_size[: len(sizes)].tolist()
    assert not trained.embedder.cluster_size[len(sizes) :].any()


def test_phases_and_elements_are_clusters_of_their_own(trained):
    first, cluster = trained.environments.first, trained.cluster
    fcc, bcc = cluster[first[13] : first[21]], cluster[: first[12]]
    assert (fcc == 0).mean() > 0.95
    assert (bcc == 1).mean() > 0.95
    tungsten = trained.environments.species == 74
    assert not set(cluster[tungsten]) & set(cluster[~tungsten]) - {-1}


def test_isolated_atoms_are_in_no_cluster(trained):
    assert trained.cluster[trained.environments.first[12]] == -1
    assert "1 isolated atom: in no cluster" in trained.notes


def test_what_the_model_has_not_seen_is_new(folder):
    crushed = bulk("Fe", "sc", a=1.6, cubic=True) * (3, 3, 3)
    crushed.arrays.pop("initial_magmoms", None)
    result = embed(put(folder / "odd.extxyz", [crushed, frames()[1]]), model=folder / "m")
    assert (result.cluster[:27] == -1).all()
    assert (result.cluster[27:] >= 0).all()
    assert result.outlier_score[:27].min() > 3 * result.outlier_score[27:].max()
    assert (result.new, result.outliers) == (27, 27)
    assert "27 environments farther off than almost all that the model was trained on: in no cluster" in result.notes


def test_an_environment_alone_in_its_cluster_stays_one_and_is_an_outlier(folder):
    """Unlike in prune: at a rate that links little, many are alone."""
    result = embed(put(folder / "few.extxyz", frames()[:4]), epochs=0, rate=0.9)
    sizes = np.bincount(result.cluster)
    assert result.new == 0
    assert result.outliers == result.alone == (sizes == 1).sum() > 1
    assert (np.diff(sizes) <= 0).all()


def test_one_frame_of_a_large_cluster_is_no_outlier(folder):
    """Even if it is the only environment of that cluster in the new data."""
    one = bulk("Fe", "bcc", a=2.87)
    one.arrays.pop("initial_magmoms", None)
    result = embed(put(folder / "primitive.extxyz", [one]), model=folder / "m")
    assert (len(result.cluster), result.cluster[0], result.outliers) == (1, 1, 0)


def test_an_unknown_element_is_said_with_file_and_frame(folder):
    strange = frames()[:3]
    strange[1].symbols[3] = "Cu"
    path = put(folder / "cu.extxyz", strange)
    with pytest.raises(DataError, match=r"cu.extxyz: frame 1: holds Cu, which .* not trained on; it knows Fe, W$"):
        embed(path, model=folder / "m")


def test_workers_do_not_change_the_result(folder, trained):
    two = embed(folder / "md.extxyz", epochs=2, workers=2)
    assert two.embedding.tobytes() == trained.embedding.tobytes()
    assert two.cluster.tobytes() == trained.cluster.tobytes()


@pytest.mark.lammps
def test_bispectrum_is_stored_too(folder):
    few = put(folder / "few.extxyz", frames()[:3])
    result = embed_files(
        [few], folder / "b.h5", EmbedOptions(descriptor="bispectrum", epochs=1), save_model=folder / "b"
    ).result
    again = embed(few, model=folder / "b")
    assert again.embedder.descriptor == result.embedder.descriptor
    assert again.embedding.tobytes() == result.embedding.tobytes()


def test_largest_clusters_name_their_groups(folder):
    some = frames()[:2] + frames()[13:16]
    for i, atoms in enumerate(some):
        atoms.info["config_type"] = "bcc" if i < 2 else "fcc"
    result = embed(put(folder / "groups.extxyz", some), epochs=1)
    (number, size, groups), *_ = result.largest(2, 2)
    assert (number, groups) == (0, [("fcc", size)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "m", "seed": 0}, "--model: a stored model has its own seed: leave out --seed"),
        ({"kernels": 0}, "--kernels: at least 1, got 0"),
        ({"rate": "much"}, "--rate: auto, or a number above 0 and below 1, got 'much'"),
        ({"rate": "1.5"}, "--rate: auto, or a number above 0 and below 1, got 1.5"),
        ({"mode": "other"}, "--mode: 'other' is unknown; available: inductive, published"),
        ({"mode": "published"}, "--rate: the published mode has no automatic rate"),
        ({"workers": 0}, "--workers: must be at least 1, got 0"),
    ],
)
def test_options_are_judged_before_any_file_is_read(options, message):
    with pytest.raises(UsageError, match=f"^{message}"):
        embed("nosuch.extxyz", **options)


def change(folder, name, **changes):
    """Write a model whose file says something else of its parts."""
    stored = read_checkpoint(folder / "m", KIND)
    arrays, settings = dict(stored.arrays), dict(stored.settings)
    for key, value in changes.items():
        if isinstance(value, np.ndarray):
            arrays[key.replace("__", ".")] = value
        else:
            settings[key] = {**settings[key], **value}
    path = folder / name
    path.write_bytes(checkpoint_bytes(KIND, arrays, settings))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"descriptor": {"name": "soap"}}, "the descriptor's "),
        ({"descriptor": {"cutoff": -1}}, "the descriptor's cutoff is '-1'"),
        ({"descriptor": {"species": [74, 26]}}, r"the descriptor's species is '\[74, 26\]'"),
        ({"descriptor": {"l_max": 99}}, "the descriptor's l_max is '99'"),
        ({"descriptor": {"more": 1}}, "the descriptor's more is '1'"),
        ({"descriptor": {"n_max": 5}}, "the array mean has the shape"),
        ({"descriptor": {"species": [26, 73]}}, "descriptor and anchors have different elements"),
        ({"scaling": {"radius": "x"}}, "the setting radius is 'x'"),
        ({"scaling__mean": np.zeros(3)}, "the array mean has the shape"),
        ({"scaling__odd": np.zeros(3)}, "the array odd is not known"),
        ({"odd": np.zeros(3)}, "the array odd is not known"),
        ({"clusters__environments": np.array([5])}, "does not fit the clusters of the anchors"),
    ],
)
@pytest.mark.usefixtures("trained")
def test_parts_that_do_not_fit_are_refused(folder, changes, message):
    with pytest.raises(DataError, match=f"changed: was written by another state of mlff-curate .*{message}"):
        Embedder.read(change(folder, "changed", **changes))


def test_published_mode_embeds_and_is_not_saved(folder):
    few = put(folder / "few.extxyz", frames()[:2])
    options = EmbedOptions(mode="published", rate=0.5, epochs=1)
    result = embed(few, options)
    assert result.link is None
    assert "published mode: an environment's embedding depends on the others in this run" in result.notes
    with pytest.raises(UsageError, match=r"^--save-model: a model of the published mode cannot be saved"):
        embed_files([few], folder / "p.h5", options, save_model=folder / "p")
    with pytest.raises(UsageError, match=r"^--save-model: nothing is trained with --model"):
        embed_files([few], folder / "p.h5", EmbedOptions(model=folder / "m"), save_model=folder / "p")
    assert not (folder / "p").exists()
