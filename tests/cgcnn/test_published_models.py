"""The authors' files: read without running them, and giving the authors' own predictions."""

import collections
import csv
import json
import os
import pickle

import cgcnn_formulas as formulas
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from mlff_curate import CGCNN, read_frames
from mlff_curate.cgcnn.elements import published_encoding
from mlff_curate.errors import DataError, UsageError
from mlff_curate.graphs.crystal import crystal_graph

NAMES = ("band-gap", "formation-energy-per-atom", "semi-metal-classification")
FRAMES = [bulk("NaCl", "rocksalt", a=5.6), molecule("H2O"), Atoms("He")]


@pytest.fixture
def folder(real_data):
    return real_data / "cgcnn"


def reference(folder, name):
    with (folder / f"reference_{name}.csv").open(newline="") as stream:
        return {row[0]: float(row[2]) for row in csv.reader(stream)}


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:crystal system")
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_published_models_predict_what_the_authors_program_predicts(folder, name, given):
    expected = reference(folder, name)
    encoding = folder / "sample" / "atom_init.json" if given else None
    model = CGCNN.from_published(folder / f"{name}.pth.tar", encoding)
    frames = list(read_frames(folder / "sample" / f"{one}.cif" for one in expected))
    assert len(frames) == 10
    assert model.predict(frames) == pytest.approx(list(expected.values()), abs=1e-5)


@pytest.mark.data
def test_published_models_have_the_sizes_that_their_files_tell(folder):
    model = CGCNN.from_published(folder / "band-gap.pth.tar")
    sizes = model.fitted_.network.sizes
    assert (sizes.convolutions, sizes.channels, sizes.hidden, sizes.edge_size) == (4, 64, 32, 41)
    assert (model.fitted_.target, model.fitted_.radius, model.fitted_.padded) == ("band_gap", 8.0, True)
    assert (model.task, model.conv, model.convolutions, model.training_) == ("regression", "gated", 4, None)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:crystal system")
def test_a_published_model_is_saved_as_one_of_ours(folder, tmp_path):
    model = CGCNN.from_published(folder / "semi-metal-classification.pth.tar")
    model.save(tmp_path / "metal.model")
    again = CGCNN.load(tmp_path / "metal.model")
    frames = [*read_frames(sorted((folder / "sample").glob("*.cif"))[:3])]
    assert np.array_equal(model.predict(frames), again.predict(frames))
    assert again.fitted_.padded


def contents_of(*, task="regression", channels=5, hidden=7, convolutions=2, hidden_layers=1, node_size=92, radius=8.0):
    """What the authors' program would have saved, with weights drawn."""
    generator = torch.Generator().manual_seed(0)
    edge_size = round(radius / 0.2) + 1
    shapes = {"embedding": (channels, node_size)}
    for k in range(convolutions):
        shapes |= {f"convs.{k}.fc_full": (2 * channels, 2 * channels + edge_size)}
        shapes |= {f"convs.{k}.bn1": (2 * channels,), f"convs.{k}.bn2": (channels,)}
    shapes |= {"conv_to_fc": (hidden, channels)}
    shapes |= {f"fcs.{k}": (hidden, hidden) for k in range(hidden_layers - 1)}
    shapes |= {"fc_out": (2 if task == "classification" else 1, hidden)}
    weights = collections.OrderedDict()
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = 0.4 * torch.randn(shape, generator=generator)
        weights[f"{name}.bias"] = 0.4 * torch.randn(shape[:1], generator=generator)
        if ".bn" in name:
            weights[f"{name}.running_mean"] = torch.randn(shape, generator=generator)
            weights[f"{name}.running_var"] = torch.rand(shape, generator=generator) + 0.5
            weights[f"{name}.num_batches_tracked"] = torch.tensor(3)
    args = {"task": task, "atom_fea_len": channels, "h_fea_len": hidden, "n_conv": convolutions, "n_h": hidden_layers}
    normalizer = {"mean": torch.tensor(-1.5), "std": torch.tensor(2.0)}
    best = np.float64(0.25)
    return {"epoch": 3, "state_dict": weights, "best_mae_error": best, "normalizer": normalizer, "args": args}


@pytest.fixture
def put(tmp_path):
    def write(contents, **options):
        torch.save(contents, tmp_path / "model.pth.tar", **options)
        return tmp_path / "model.pth.tar"

    return write


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"hidden_layers": 3, "convolutions": 1},
        {"task": "classification", "hidden_layers": 2, "channels": 9},
        {"radius": 6.0},
    ],
)
def test_models_of_other_sizes_are_those_of_the_formulas(put, sizes, zipped):
    contents = contents_of(**sizes)
    model = CGCNN.from_published(put(contents, _use_new_zipfile_serialization=zipped))
    graph = crystal_graph(FRAMES, radius=sizes.get("radius", 8.0), padded=True)
    out = formulas.predicted(model.fitted_.network, graph, published_encoding().features(graph.numbers))
    expected = np.exp(out[:, 1]) if "task" in sizes else 2.0 * out[:, 0] - 1.5
    assert model.predict(FRAMES) == pytest.approx(expected, abs=1e-4)


def test_the_big_matrix_is_cut_in_the_order_centre_neighbour_edge(put):
    contents = contents_of()
    model = CGCNN.from_published(put(contents))
    first = model.fitted_.network.convolutions[0]
    parts = [first.centre_weight, first.neighbour_weight, first.edge_weight]
    assert torch.equal(torch.cat(parts, dim=1), contents["state_dict"]["convs.0.fc_full.weight"])


def test_numbers_of_numpy_are_read_as_numbers(put):
    contents = contents_of()
    contents["normalizer"] = {"mean": np.float64(0.125), "std": np.float32(3.0)}
    model = CGCNN.from_published(put(contents))
    assert (model.fitted_.mean, model.fitted_.std) == (0.125, 3.0)


def test_weights_of_data_parallel_and_files_without_args_are_read(put):
    contents = contents_of(hidden_layers=2)
    expected = CGCNN.from_published(put(contents)).predict(FRAMES)
    contents["state_dict"] = {f"module.{name}": value for name, value in contents["state_dict"].items()}
    del contents["args"]
    assert CGCNN.from_published(put(contents)).predict(FRAMES).tolist() == expected.tolist()


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harm",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_with_code_is_refused_and_nothing_of_it_runs(put, monkeypatch, tmp_path, zipped):
    monkeypatch.chdir(tmp_path)
    path = put({**contents_of(), "extra": Harmful()}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"model.pth.tar: holds \w+.system, which is no plain number or array"):
        CGCNN.from_published(path)
    assert not (tmp_path / "harm").exists()


def test_a_plain_pickle_with_code_is_refused_and_nothing_of_it_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pth.tar").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(DataError, match=r"model.pth.tar: "):
        CGCNN.from_published("model.pth.tar")
    assert not (tmp_path / "harm").exists()


def test_what_others_allow_torch_to_read_is_not_allowed_here_and_is_left_as_it_was(put):
    own = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([os.path.join])
    try:
        path = put({**contents_of(), "extra": os.path.join})
        with pytest.raises(DataError, match=r"holds posixpath.join, which is no plain number or array"):
            CGCNN.from_published(path)
        assert set(torch.serialization.get_safe_globals()) == {*own, os.path.join}
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(own)


def without(key):
    def change(contents):
        del contents["state_dict"][key]

    return change


def with_(where, key, value):
    def change(contents):
        (contents[where] if where else contents)[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_("", "state_dict", 1), "is no model of the CGCNN authors: it has no state_dict"),
        (without("embedding.weight"), "state_dict: the weights do not make a CGCNN: embedding.weight is missing"),
        (without("convs.1.bn2.bias"), "state_dict: the weights do not make a CGCNN: convolutions.1.node_norm.bias is"),
        (
            with_("state_dict", "odd.weight", torch.ones(2)),
            "state_dict: the weights do not make a CGCNN: odd.weight is not",
        ),
        (
            with_("state_dict", "fc_out.bias", torch.ones(2)),
            "state_dict: the weights do not fit together: output.bias has",
        ),
        (with_("state_dict", "fc_out.bias", torch.tensor([torch.nan])), "state_dict: fc_out.bias is not finite"),
        (with_("state_dict", "fc_out.bias", "x"), "state_dict: fc_out.bias is no array of numbers"),
        (with_("state_dict", "embedding.weight", torch.ones(3, 92)), "args: atom_fea_len: is 5, the weights have 3"),
        (with_("args", "n_conv", 4), "args: n_conv: is 4, the weights have 2"),
        (with_("args", "task", "ranking"), "args: task: 'ranking' is unknown; available: regression, classification"),
        (with_("", "args", 3), "args: is no table of settings"),
        (with_("", "normalizer", None), "normalizer: is missing: the predictions have no unit without it"),
        (with_("normalizer", "std", float("inf")), "normalizer: std is no finite number"),
        (with_("normalizer", "mean", "a"), "normalizer: mean is no finite number"),
        (with_("normalizer", "mean", 10**400), "normalizer: mean is no finite number"),
        (with_("normalizer", "mean", torch.ones(1, device="meta")), "normalizer: mean is no finite number"),
        (with_("normalizer", "mean", torch.ones(2)), "normalizer: mean is no finite number"),
        (with_("normalizer", "std", torch.tensor(0.0)), "normalizer: std is 0: a spread is above 0"),
        (with_("normalizer", "std", -2.0), "normalizer: std is -2: a spread is above 0"),
        (with_("args", "n_conv", torch.ones(3)), "args: n_conv: is tensor([1., 1., 1.]), the weights have 2"),
        (with_("args", "task", torch.ones(3)), "args: task: 'tensor([1., 1., 1.])' is unknown; available: regression"),
        (
            with_("state_dict", f"convs.{'9' * 5000}.bn1.bias", torch.ones(2)),
            f"state_dict: the weights do not make a CGCNN: convolutions.{'9' * 5000}.edge_norm.bias is not known",
        ),
        (
            with_("state_dict", "fc_out.bias", torch.ones(1, device="meta")),
            "state_dict: fc_out.bias is no array of numbers",
        ),
        (
            with_("state_dict", "fc_out.bias", torch.ones(1).to(torch.float8_e5m2)),
            "state_dict: fc_out.bias is no array of numbers",
        ),
        (
            with_("state_dict", "fc_out.bias", torch.tensor([1e300], dtype=torch.float64)),
            "state_dict: fc_out.bias is not finite",
        ),
        (
            with_("state_dict", "embedding.weight", torch.ones(1, 1).expand(10**6, 10**5)),
            "state_dict: embedding.weight has more numbers than the file holds",
        ),
        (
            with_("state_dict", "embedding.weight", torch.ones(5, 0)),
            "state_dict: the weights do not make a CGCNN",
        ),
    ],
)
def test_what_is_no_such_model_is_refused_with_the_reason(put, change, message):
    contents = contents_of()
    change(contents)
    path = put(contents)
    with pytest.raises(DataError) as caught:
        CGCNN.from_published(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_matrix_that_the_file_does_not_hold_takes_no_memory(put):
    """Its sides are in the file, 300 000 each; the network would have 360 gigabytes."""
    contents = contents_of(hidden_layers=2)
    del contents["args"]
    contents["state_dict"]["conv_to_fc.weight"] = torch.ones(300_000, 5)
    contents["state_dict"]["conv_to_fc.bias"] = torch.ones(300_000)
    with pytest.raises(DataError, match=r"the weights do not fit together: hidden\.0\.weight has the shape \(7, 7\)"):
        CGCNN.from_published(put(contents))


@pytest.mark.parametrize(("radius", "found"), [(100.0, 100.0), (100.2, None), (0.4, 0.4), (0.2, None)])
def test_the_radius_is_one_that_our_own_models_may_have(put, tmp_path, radius, found):
    path = put(contents_of(radius=radius))
    if found is not None:
        model = CGCNN.from_published(path)
        model.save(tmp_path / "m")
        assert CGCNN.load(tmp_path / "m").fitted_.radius == model.fitted_.radius == found
        return
    with pytest.raises(DataError, match=r"neighbours within 100\.2 Angstrom, 100 is the most|do not make a CGCNN"):
        CGCNN.from_published(path)


@pytest.mark.parametrize("part", ["_weights", "_sizes", "_normalizer"])
def test_whatever_else_fails_is_the_fault_of_the_file(put, monkeypatch, part):
    def fail(*_):
        message = "internal assert failed"
        raise RuntimeError(message)

    monkeypatch.setattr(f"mlff_curate.cgcnn.published.{part}", fail)
    with pytest.raises(DataError, match=r"model\.pth\.tar: is no model of the CGCNN authors, or damaged: it cannot be"):
        CGCNN.from_published(put(contents_of()))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut off"])
def test_what_torch_cannot_read_is_refused(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(DataError, match="m: is no model of the CGCNN authors"):
        CGCNN.from_published(tmp_path / "m")


def test_a_file_cut_off_is_refused(put):
    path = put(contents_of())
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="is no model of the CGCNN authors"):
        CGCNN.from_published(path)


def test_missing_files_are_named(tmp_path, put):
    with pytest.raises(DataError, match=r"none.tar: no such file"):
        CGCNN.from_published(tmp_path / "none.tar")
    with pytest.raises(DataError, match=r"none.json: no such file"):
        CGCNN.from_published(put(contents_of()), tmp_path / "none.json")


def test_an_encoding_that_does_not_fit_the_model_is_refused(put, tmp_path):
    (tmp_path / "init.json").write_text(json.dumps({"1": [1, 2, 3]}))
    with pytest.raises(DataError, match=r"init.json: the elements have 3 features, the model .* was trained on 92"):
        CGCNN.from_published(put(contents_of()), tmp_path / "init.json")


def test_an_element_that_the_encoding_lacks_is_named_with_the_frame(put, tmp_path):
    encoding = {z: [1.0] * 92 for z in (1, 8)}
    (tmp_path / "init.json").write_text(json.dumps(encoding))
    model = CGCNN.from_published(put(contents_of()), tmp_path / "init.json")
    assert model.predict([molecule("H2O")]).shape == (1,)
    with pytest.raises(DataError, match=r"^frame 1: no features for C, Si in .*init.json$"):
        model.predict([molecule("H2O"), Atoms("SiC", positions=[[0, 0, 0], [0, 0, 2]])])


def test_an_odd_device_is_refused(put):
    with pytest.raises(UsageError, match="--device: 'tpu' is not supported"):
        CGCNN.from_published(put(contents_of()), device="tpu")
