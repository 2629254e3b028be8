"""A stored model assigns what the trained one did, bit for bit; a damaged one is refused."""

from dataclasses import fields

import numpy as np
import pytest

from mlff_curate.data.checkpoints import Checkpoint, checkpoint_bytes, read_checkpoint
from mlff_curate.errors import DataError, UsageError
from mlff_curate.meagraph.checkpoint import KIND, pack, unpack
from mlff_curate.meagraph.inductive import Inductive
from mlff_curate.meagraph.model import MEAGraph


def environments(seed=0):
    rng = np.random.default_rng(seed)
    X = np.concatenate([rng.normal(size=(80, 10)), rng.normal(size=(80, 10)) + 9.0, rng.normal(size=(1, 10)) + 50.0])
    return X.astype(np.float32), np.repeat([73, 74], [120, 41])


@pytest.fixture(scope="module")
def trained():
    return MEAGraph(channels=[16, 8], kernels=2, anchors=64, epochs=2, neighbours=5).fit(*environments())


@pytest.fixture(scope="module")
def packed(trained):
    return pack(trained)


def test_restored_model_assigns_the_same_bits(trained, packed, tmp_path):
    (tmp_path / "m").write_bytes(checkpoint_bytes(KIND, *packed))
    restored = unpack(read_checkpoint(tmp_path / "m", KIND))
    for seed in (0, 1):
        before, after = trained.assign(*environments(seed)), restored.assign(*environments(seed))
        for field in fields(before):
            assert getattr(before, field.name).tobytes() == getattr(after, field.name).tobytes()
    assert restored.training_ == trained.training_
    assert restored.get_params() == {**trained.get_params(), "channels": (16, 8)}
    assert checkpoint_bytes(KIND, *pack(restored)) == (tmp_path / "m").read_bytes()


def test_all_that_a_fitted_model_holds_is_stored():
    """A field added to the model must be added to the file."""
    assert {field.name for field in fields(Inductive)} == {
        *("noise", "network", "stages", "anchor_species", "anchor_cluster"),
        *("neighbours", "link", "reach", "ordinary", "residual"),
    }


def test_published_mode_cannot_be_saved_and_says_why():
    model = MEAGraph(mode="published", rate=0.5, epochs=0).fit(environments()[0][:20])
    with pytest.raises(UsageError, match=r"^--save-model: .*published mode cannot be saved: .*depends on the others"):
        pack(model)


def test_untrained_model_cannot_be_saved():
    with pytest.raises(UsageError, match=r"the model is not trained"):
        pack(MEAGraph())


def without(mapping, *names):
    return {name: value for name, value in mapping.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, s: (without(a, "noise.axes"), s), "the array noise.axes is missing"),
        (lambda a, s: (without(a, "network.encoder.0.mix"), s), "the array network.encoder.0.mix is missing"),
        (lambda a, s: (a | {"network.encoder.9.mix": np.ones(1, np.float32)}, s), r"encoder\.9\.mix is not known"),
        (lambda a, s: (a | {"noise.ratio": np.ones(3)}, s), r"the array noise.ratio has the shape \(3,\), not"),
        (lambda a, s: (a | {"stage.0": a["stage.0"].astype(float)}, s), "the array stage.0 holds float64, not float32"),
        (
            lambda a, s: (a | {"anchor.species": np.zeros(5, np.int64)}, s),
            r"anchor.cluster has the shape \(64,\), not \(5,\)",
        ),
        (lambda a, s: (a | {"anchor.cluster": -a["anchor.cluster"]}, s), "anchor.cluster holds negative numbers"),
        (lambda a, s: (a, s | {"channels": [2]}), "the setting channels is too short"),
        (lambda a, s: (a, s | {"channels": [2.5, 8]}), "channels: a whole number of 1 or more is expected"),
        (lambda a, s: (a, s | {"channels": s["channels"][:-1]}), "network.decoder.0.mix has the shape"),
        (lambda a, s: (a, s | {"ordinary": 0}), "the setting ordinary is 0"),
        (lambda a, s: (a, s | {"neighbours": True}), "the setting neighbours is 'True'"),
        (lambda a, s: (a, without(s, "link")), "the setting link is missing"),
        (lambda a, s: (a, s | {"training": {}}), "the setting training.epochs is missing"),
        (lambda a, s: (a, s | {"training": s["training"] | {"train_loss": ["x"]}}), "train_loss is no list of numbers"),
        (lambda a, s: (a, s | {"parameters": s["parameters"] | {"kernels": 3}}), "kernels.2.beta is missing"),
        (lambda a, s: (a, s | {"parameters": s["parameters"] | {"kernels": 10**6}}), "does not fit the arrays"),
        (lambda a, s: (a, s | {"parameters": s["parameters"] | {"kernels": "x"}}), "a whole number is wanted"),
        (lambda a, s: (a, s | {"parameters": s["parameters"] | {"rate": 7.0}}), "parameter --rate: "),
        (lambda a, s: (a, s | {"parameters": s["parameters"] | {"odd": 1}}), "the parameter odd is not known"),
        (lambda a, s: (a, s | {"parameters": without(s["parameters"], "seed")}), "the parameter seed is missing"),
        (
            lambda a, s: (a, s | {"parameters": s["parameters"] | {"mode": "published", "rate": 0.5}}),
            "its mode is not inductive",
        ),
    ],
)
def test_what_makes_no_model_is_named(packed, change, message):
    with pytest.raises(DataError, match=rf"^m: was written by another state of mlff-curate .*{message}"):
        unpack(Checkpoint("m", *change(*packed)))


def test_settings_cannot_ask_for_a_network_that_the_file_does_not_hold(packed):
    """One anchor with a million channels is four megabytes; its network would be terabytes."""
    arrays, settings = packed
    wide = {"stage.1": np.zeros((1, 10**6), np.float32), "stage.2": np.zeros((1, 10**6), np.float32)}
    one = {"stage.0": arrays["stage.0"][:1], "anchor.species": np.array([73]), "anchor.cluster": np.array([0])}
    channels = [settings["channels"][0], 10**6, 10**6]
    with pytest.raises(DataError, match=r"the setting channels does not fit the arrays$"):
        unpack(Checkpoint("m", arrays | wide | one, settings | {"channels": channels}))
