"""`CGCNN`: what physics demands of its predictions, and what it promises to its user."""

import json
import struct

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from mlff_curate import CGCNN, __version__
from mlff_curate.cgcnn import training
from mlff_curate.cgcnn.model_file import KIND, to_bytes
from mlff_curate.cgcnn.training import split
from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint
from mlff_curate.errors import DataError, OutputError, UsageError

SMALL = {"channels": 8, "hidden": 8, "convolutions": 2, "epochs": 3}


def crystals(n=24, seed=0):
    """Copper and nickel cells of different size, rattled; the target is the lattice constant less a constant of Ni."""
    rng = np.random.default_rng(seed)
    frames, target = [], []
    for i in range(n):
        a = float(rng.uniform(3.3, 3.9))
        atoms = bulk(("Cu", "Ni")[i % 2], a=a, cubic=True)
        atoms.rattle(0.02, seed=i)
        frames.append(atoms)
        target.append(a - 0.3 * (i % 2))
    return frames, np.array(target)


OTHERS = Atoms("HHeCONaClTiFeSrPo", positions=np.outer(np.arange(10), [2.6, 0, 0]))
"""Elements that a model must have seen to speak of them."""


def fitted(**parameters):
    """Return a model that has seen them too."""
    frames, target = crystals()
    return CGCNN(**SMALL, **parameters).fit([*frames, OTHERS], [*target, 0.0])


@pytest.fixture(scope="module")
def frames():
    return crystals()[0]


@pytest.fixture(scope="module", params=["gated", "shared", "none"])
def model(request):
    return fitted(conv=request.param)


@pytest.fixture(scope="module")
def gated():
    return fitted()


ODD = {
    "crystal": bulk("NaCl", "rocksalt", a=5.6),
    "alloy": bulk("Cu", cubic=True) * (2, 1, 1),
    "molecule": molecule("CH3CH2OH"),
    "slab": Atoms("Ti3", positions=[[0, 0, 0], [0.1, 0, 2.6], [0, 0.3, 5.1]], cell=[2.9, 2.9, 9], pbc=[1, 1, 0]),
}
for _atoms in ODD.values():
    _atoms.rattle(0.07, seed=3)


@pytest.mark.parametrize("name", ODD)
def test_prediction_is_the_same_after_rotation_translation_and_permutation(model, name):
    atoms = ODD[name]
    before = model.predict([atoms])
    rotated = atoms.copy()
    rotated.rotate(37, (1, 2, 3), rotate_cell=True)
    moved = atoms.copy()
    moved.positions += [1.7, -0.4, 12.0]
    if atoms.pbc.all():
        moved.wrap()
    shuffled = atoms[np.random.default_rng(0).permutation(len(atoms))]
    mirrored = atoms.copy()
    mirrored.positions[:, 0] *= -1
    mirrored.cell[:, 0] *= -1
    assert model.predict([rotated, moved, shuffled, mirrored]) == pytest.approx(before.repeat(4), abs=1e-5)


@pytest.mark.parametrize("atoms", [bulk("Fe"), bulk("NaCl", "rocksalt", a=5.6), bulk("Ti"), ODD["alloy"]], ids=len)
def test_prediction_is_intensive(model, atoms):
    assert model.predict([atoms * (2, 1, 1), atoms * 3]) == pytest.approx(model.predict([atoms]).repeat(2), abs=1e-5)


def test_cell_vectors_may_be_chosen_differently(gated):
    cubic, primitive = bulk("Cu", a=3.6, cubic=True), bulk("Cu", a=3.6)
    assert gated.predict([cubic]) == pytest.approx(gated.predict([primitive]), abs=1e-5)


def test_equal_distances_are_shared_so_that_rotation_does_not_choose(gated):
    """The O of a cubic perovskite has 4 Sr and 8 O at one distance for 10 places: rounding would pick some of them."""
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    atoms = Atoms("SrTiO3", scaled_positions=places, cell=[3.9] * 3, pbc=True)
    turned = []
    for angle in range(0, 90, 15):
        turned.append(atoms.copy() * (1, 1, 2))
        turned[-1].rotate(angle, (1, 1, 2), rotate_cell=True)
    assert gated.predict(turned) == pytest.approx(gated.predict([atoms]).repeat(6), abs=1e-5)


def test_free_atoms_one_atom_cells_and_molecules_are_frames_as_others(model):
    odd = [Atoms("He"), Atoms("He", cell=[40] * 3, pbc=True), bulk("Po", "sc", a=3.3), molecule("H2")]
    found = model.predict(odd)
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_free_atoms_can_be_trained_on():
    frames = [Atoms(symbol) for symbol in ("H", "He", "Li", "Be", "B", "C")]
    model = CGCNN(**SMALL).fit(frames, np.arange(6.0))
    assert np.isfinite(model.predict(frames)).all()


def test_one_frame_can_be_trained_on():
    model = CGCNN(**SMALL).fit([bulk("Cu")], [2.0])
    assert model.fitted_.std == 1.0
    assert model.training_.validation_frames == ()
    assert np.isfinite(model.predict([bulk("Cu")])).all()


def test_prediction_of_a_frame_does_not_depend_on_its_company(gated, frames, monkeypatch):
    alone = np.concatenate([gated.predict([atoms]) for atoms in frames])
    assert gated.predict(frames) == pytest.approx(alone, abs=1e-6)
    monkeypatch.setattr("mlff_curate.cgcnn.property_model._ATOMS_AT_ONCE", 9)
    told = []
    assert gated.predict(frames, progress=lambda done, _: told.append(done)) == pytest.approx(alone, abs=1e-6)
    assert told == [*range(2, 25, 2)]


def test_no_frames_have_no_predictions(gated):
    assert gated.predict([]).shape == (0,)


@pytest.mark.parametrize("conv", ["gated", "shared"])
def test_a_property_of_neighbours_is_learned(conv):
    frames, target = crystals(120)
    model = CGCNN(conv=conv, channels=16, hidden=16, epochs=60, seed=1).fit(frames[:100], target[:100])
    error = np.abs(model.predict(frames[100:]) - target[100:]).mean()
    assert error < 0.25 * np.abs(target[100:] - target[:100].mean()).mean()


def test_without_neighbours_only_the_composition_is_learned():
    frames, target = crystals(60)
    model = CGCNN(conv="none", **{**SMALL, "epochs": 40}).fit(frames, target)
    found = model.predict(frames)
    assert found[::2] == pytest.approx(found[0].repeat(30), abs=1e-6)
    assert abs(found[0] - found[1]) > 0.05


def test_classes_are_learned_as_probabilities():
    frames, target = crystals(100)
    classes = (target > np.median(target)).astype(int)
    model = CGCNN(task="classification", channels=16, hidden=16, epochs=60).fit(frames[:80], classes[:80])
    probability = model.predict(frames[80:])
    assert ((probability > 0) & (probability < 1)).all()
    assert ((probability > 0.5) == classes[80:]).mean() > 0.85


def test_targets_of_any_unit_are_learned_alike():
    frames, target = crystals()
    one = CGCNN(**SMALL).fit(frames, target)
    other = CGCNN(**SMALL).fit(frames, 1e6 * target - 3e7)
    assert other.predict(frames) == pytest.approx(1e6 * one.predict(frames) - 3e7, rel=1e-4)


def test_equal_seeds_give_equal_bytes_whatever_torch_was_doing(tmp_path):
    frames, target = crystals()
    classes = (target > 3.5).astype(int)
    for i in range(2):
        torch.manual_seed(i)
        torch.set_num_threads(1 + i)
        state = torch.random.get_rng_state()
        CGCNN(task="classification", **SMALL, seed=7).fit(frames, classes).save(tmp_path / f"{i}.model")
        assert torch.equal(torch.random.get_rng_state(), state)
    CGCNN(task="classification", **SMALL, seed=8).fit(frames, classes).save(tmp_path / "other.model")
    files = [(tmp_path / name).read_bytes() for name in ("0.model", "1.model", "other.model")]
    assert files[0] == files[1] != files[2]


def test_node_features_take_the_place_of_the_elements():
    frames, target = crystals()
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(len(atoms), 5)) for atoms in frames]
    model = CGCNN(**SMALL).fit(frames, target, node_features=given)
    assert model.fitted_.network.sizes.node_size == 5
    found = model.predict(frames, node_features=given)
    assert found == pytest.approx(
        np.concatenate([model.predict([f], node_features=[x]) for f, x in zip(frames, given, strict=True)]), abs=1e-6
    )
    odd = model.predict([Atoms("X")], node_features=[np.ones((1, 5))])  # elements do not matter
    assert np.isfinite(odd).all()
    with pytest.raises(ValueError, match="the model was trained on node_features: they are needed to predict"):
        model.predict(frames)
    with pytest.raises(ValueError, match=r"node_features of frame 0: \(4, 5\) is wanted, got \(4, 6\)"):
        model.predict(frames[:1], node_features=[np.ones((4, 6))])
    with pytest.raises(ValueError, match="node_features of 2 frames are wanted, got 1"):
        model.predict(frames[:2], node_features=given[:1])


def test_node_features_are_refused_where_the_elements_have_their_own(gated, frames):
    with pytest.raises(ValueError, match="the model has features of its own: it takes no node_features"):
        gated.predict(frames[:1], node_features=[np.ones((4, 92))])


def test_one_hot_knows_the_elements_of_the_training_data_only(frames):
    target = np.arange(len(frames))
    model = CGCNN(encoding="one-hot", **SMALL).fit(frames, target)
    assert model.fitted_.network.sizes.node_size == 2
    with pytest.raises(DataError, match=r"^frame 1: no features for O, Mg in the elements of the training data$"):
        model.predict([frames[0], bulk("MgO", "rocksalt", a=4.2)])


def test_elements_that_were_not_in_the_training_data_are_told_and_refused(gated, tmp_path):
    frames = [bulk("Cu"), bulk("MgO", "rocksalt", a=4.2), Atoms("SiAu", positions=[[0, 0, 0], [0, 0, 2]])]
    assert gated.unseen(frames) == ["Mg", "Si", "Au"]
    gated.save(tmp_path / "m")
    for model in (gated, CGCNN.load(tmp_path / "m")):
        with pytest.raises(DataError, match=r"^frame 1: the model was trained without Mg$"):
            model.predict(frames)
        with pytest.raises(DataError, match=r"^frame 0: the model was trained without Si, Au$"):
            model.predict(frames[2:])


def test_what_is_no_element_is_refused_with_its_frame(gated):
    frames, target = crystals(6)
    frames[4] = Atoms("CuX", positions=[[0, 0, 0], [0, 0, 2]])
    for call in (lambda: CGCNN(**SMALL).fit(frames, target), lambda: gated.predict(frames)):
        with pytest.raises(DataError, match=r"^frame 4: no features for X in the element tables$"):
            call()


def test_targets_are_taken_from_the_frames_by_their_key():
    frames, target = crystals(8)
    for atoms, value in zip(frames, target, strict=True):
        atoms.info["a0"] = value
    model = CGCNN(**SMALL).fit(frames, "a0")
    assert model.fitted_.target == "a0"
    assert np.array_equal(model.predict(frames), CGCNN(**SMALL).fit(frames, target).predict(frames))
    del frames[3].info["a0"]
    with pytest.raises(
        DataError, match=r"^frame 3: a0: the frame has no such target; there is no number under any name$"
    ):
        CGCNN(**SMALL).fit(frames, "a0")


@pytest.mark.parametrize(
    ("task", "targets", "error", "message"),
    [
        ("regression", [1.0], ValueError, "one target per frame is wanted, got (1,) for 3 frames"),
        ("regression", [1.0, np.nan, 2.0], DataError, "frame 1: a target must be finite"),
        ("classification", [0, 1, 2], DataError, "frame 2: is 2: the classes are 0 and 1"),
        ("classification", [1, 1, 1], DataError, "all frames are of class 1: there is nothing to tell apart"),
    ],
)
def test_targets_that_cannot_be_learned_are_refused(task, targets, error, message):
    with pytest.raises(error) as caught:
        CGCNN(task=task, **SMALL).fit([bulk("Cu")] * 3, targets)
    assert str(caught.value) == message


def test_frames_that_cannot_be_learned_are_refused():
    with pytest.raises(ValueError, match="there is no frame to learn from"):
        CGCNN().fit([], [])
    with pytest.raises(DataError, match=r"^frame 1: the frame has no atoms$"):
        CGCNN().fit([bulk("Cu"), Atoms()], [1, 2])
    lost = bulk("Cu")
    lost.positions[0, 0] = np.nan
    with pytest.raises(DataError, match=r"^frame 0: positions or cell are not finite$"):
        CGCNN().fit([lost], [1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"task": "ranking"}, "--task: 'ranking' is unknown; available: regression, classification"),
        ({"conv": "dense"}, "--conv: 'dense' is unknown; available: gated, shared, none"),
        ({"encoding": "x"}, "--encoding: 'x' is unknown; available: elements, one-hot, none"),
        ({"optimiser": "lbfgs"}, "--optimiser: 'lbfgs' is unknown; available: adam, sgd"),
        ({"channels": 0}, "--channels: at least 1, got 0"),
        ({"epochs": 2.5}, "--epochs: a whole number is wanted, got 2.5"),
        ({"validation": 1.0}, "--validation: a number from 0 to 0.9 is wanted, got 1.0"),
        ({"learning_rate": 0.0}, "--learning-rate: a number from 1e-12 to 1e+06 is wanted, got 0.0"),
        ({"learning_rate": float("nan")}, "--learning-rate: a number from 1e-12 to 1e+06 is wanted, got nan"),
        ({"seed": -1}, "--seed: at least 0, got -1"),
        ({"device": "tpu"}, "--device: 'tpu' is not supported; available: cpu, cuda, cuda:0 ..."),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, message):
    with pytest.raises(UsageError) as caught:
        CGCNN(**parameters).fit([bulk("Cu")], [1.0])
    assert str(caught.value) == message


def test_parameters_are_read_and_set_by_name():
    model = CGCNN(conv="shared").set_params(channels=16)
    assert model.get_params()["conv"] == "shared"
    assert (model.channels, model.epochs) == (16, 200)
    with pytest.raises(ValueError, match="unknown parameter 'kernels'; available: task, conv"):
        model.set_params(kernels=3)


def test_an_unfitted_model_says_so(tmp_path):
    with pytest.raises(ValueError, match="not fitted yet: call fit, load or from_published first"):
        CGCNN().predict([bulk("Cu")])
    with pytest.raises(ValueError, match="the model is not trained: there is nothing to save yet"):
        CGCNN().save(tmp_path / "m")


def test_a_share_of_the_frames_is_held_out():
    learned, held_out = split(100, 0.1, 0)
    assert len(held_out) == 10
    assert sorted([*learned, *held_out]) == list(range(100))
    assert split(100, 0.1, 1)[1].tolist() != held_out.tolist()
    assert [len(split(n, 0.1, 0)[1]) for n in (4, 5, 14, 16)] == [0, 1, 1, 2]
    assert len(split(50, 0.0, 0)[1]) == 0


def test_the_weights_of_the_best_epoch_are_kept_and_training_stops_when_none_is_better():
    frames = crystals(20)[0]
    noise = np.random.default_rng(0).normal(size=20)
    model = CGCNN(channels=8, hidden=8, epochs=500, patience=5, validation=0.3).fit(frames, noise)
    record = model.training_
    assert record.ended == "early"
    assert record.epochs == len(record.validation_error) == len(record.train_loss) < 500
    assert record.epochs == record.best_epoch + 5
    assert min(record.validation_error) == record.validation_error[record.best_epoch - 1]
    held_out = list(record.validation_frames)
    found = model.predict([frames[i] for i in held_out])
    error = np.abs((found - noise[held_out]) / model.fitted_.std).mean()
    assert error == pytest.approx(min(record.validation_error), rel=1e-4)
    assert model.fitted_.mean == pytest.approx(np.delete(noise, held_out).mean())


def test_the_rate_falls_to_a_tenth_after_four_fifths_of_the_epochs(frames, monkeypatch):
    rates = []
    monkeypatch.setattr(training, "_set_rate", lambda _, rate: rates.append(rate))
    CGCNN(**{**SMALL, "epochs": 10}).fit(frames, np.arange(len(frames)))
    assert rates == pytest.approx([3e-3] * 8 + [3e-4] * 2)


@pytest.mark.parametrize("value", [0.1, -7.3e5, 0.0])
def test_equal_targets_have_a_spread_of_1_whatever_their_rounding(value):
    model = CGCNN(**SMALL).fit([bulk("Cu", a=3.5 + 0.01 * i) for i in range(12)], np.full(12, value))
    assert model.fitted_.std == 1.0


def test_a_small_spread_on_a_large_target_is_kept():
    target = -7.3e5 + 1e-4 * np.arange(12)
    model = CGCNN(**SMALL).fit([bulk("Cu", a=3.5 + 0.01 * i) for i in range(12)], target)
    assert model.fitted_.std == pytest.approx(3.5e-4, rel=0.2)


def test_no_batch_is_a_small_rest_of_the_others(monkeypatch):
    """A last batch of one frame would count as much as a full one, most of all in the statistics of the batch norms."""
    frames, target = crystals(37)
    sizes, real = [], training.batch_of
    monkeypatch.setattr(training, "batch_of", lambda graph, *rest: (sizes.append(graph.frames), real(graph, *rest))[1])
    model = CGCNN(**{**SMALL, "epochs": 1}).fit(frames, target)
    assert len(model.training_.validation_frames) == 4
    assert sizes == [17, 16, 17, 16, 4]  # learned from, for the statistics, held out


def test_progress_is_told_after_each_epoch(frames):
    told = []
    CGCNN(**SMALL).fit(frames, np.arange(len(frames)), progress=lambda *words: told.append(words))
    assert [(done, all_) for done, all_, _ in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert told[0][2] == "neighbours of 24 of 24 frames"
    assert told[-1][2].startswith("training loss ")
    assert ", validation error " in told[-1][2]


def test_training_that_diverges_at_once_is_refused(frames, monkeypatch):
    monkeypatch.setattr(training.functional, "mse_loss", lambda out, wanted: (out - wanted).mean() * float("nan"))
    with pytest.raises(DataError, match=r"^training diverged in its first epoch: a smaller --learning-rate may help"):
        CGCNN(**SMALL).fit(frames, np.arange(len(frames)))


def test_training_that_diverges_later_keeps_the_last_good_weights(frames, monkeypatch):
    real, calls = training.functional.mse_loss, []

    def failing(out, wanted):
        calls.append(1)
        return real(out, wanted) * (float("nan") if len(calls) > 3 else 1.0)  # after three epochs of one step

    monkeypatch.setattr(training.functional, "mse_loss", failing)
    model = CGCNN(**{**SMALL, "epochs": 9}).fit(frames, np.arange(len(frames)))
    assert (model.training_.ended, model.training_.epochs) == ("diverged", 3)
    assert np.isfinite(model.predict(frames)).all()


def test_sgd_trains_too(frames):
    record = CGCNN(optimiser="sgd", learning_rate=0.02, **SMALL).fit(frames, np.arange(len(frames))).training_
    assert record.train_loss[-1] < record.train_loss[0]


def test_a_stored_model_predicts_the_same_bits(model, frames, tmp_path):
    model.save(tmp_path / "a.model")
    again = CGCNN.load(tmp_path / "a.model")
    assert np.array_equal(again.predict(frames), model.predict(frames))
    assert again.get_params() == model.get_params()
    assert again.training_ == model.training_
    assert again.fitted_.elements == tuple(sorted({28, 29, *OTHERS.numbers.tolist()}))
    again.save(tmp_path / "b.model")
    assert (tmp_path / "a.model").read_bytes() == (tmp_path / "b.model").read_bytes()


def test_a_model_file_is_safetensors_with_its_settings_as_json(gated, tmp_path):
    gated.save(tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    about = json.loads(header["__metadata__"]["mlff_curate"])
    assert about["kind"] == "cgcnn-property"
    assert about["settings"]["sizes"]["conv"] == "gated"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_model_of_node_features_is_stored_without_an_encoding(frames, tmp_path):
    given = [np.ones((len(atoms), 3)) * i for i, atoms in enumerate(frames)]
    model = CGCNN(**SMALL).fit(frames, np.arange(len(frames)), node_features=given)
    model.save(tmp_path / "m")
    again = CGCNN.load(tmp_path / "m")
    assert again.fitted_.encoding is None
    assert np.array_equal(again.predict(frames, node_features=given), model.predict(frames, node_features=given))


def test_an_existing_file_is_replaced_only_when_asked(gated, tmp_path):
    (tmp_path / "m").write_text("mine")
    with pytest.raises(OutputError, match="exists already: say --overwrite to replace it"):
        gated.save(tmp_path / "m")
    assert (tmp_path / "m").read_text() == "mine"
    gated.save(tmp_path / "m", overwrite=True)
    assert CGCNN.load(tmp_path / "m").conv == "gated"


def change(settings, path, value):
    *way, last = path.split(".")
    for key in way:
        settings = settings[key]
    settings[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sizes.channels", 10**9, "the setting sizes.channels is 1000000000"),
        ("sizes.channels", 2**20, "the setting sizes does not fit the arrays"),
        ("sizes.hidden", 4, "the array network.pooled.weight has the shape"),
        ("sizes.node_size", 91, "the array encoding.rows has the shape (118, 92), not (118, 91)"),
        ("sizes.convolutions", 1, "the array network.convolutions.1."),
        ("sizes.convolutions", 65, "the setting sizes asks for too many layers"),
        ("sizes.edge_size", 2**23, "the setting sizes.edge_size does not fit the radius"),
        ("sizes.conv", "none", "the setting sizes.conv is not the parameter"),
        ("parameters.conv", "dense", "parameter --conv: 'dense' is unknown"),
        ("parameters.channels", "8", "parameter --channels: a whole number is wanted"),
        ("std", 0.0, "the setting std, radius or neighbours is out of range"),
        ("radius", 1e9, "the setting std, radius or neighbours is out of range"),
        ("elements", ["Cu"], "the setting elements holds other than atomic numbers"),
        ("padded", 1, "the setting padded is '1'"),
        ("target", 3, "the setting target is '3'"),
        ("training.epochs", "x", "the setting training.epochs is 'x'"),
        ("training.train_loss", ["x"], "the setting training.train_loss is no list of numbers"),
    ],
)
def test_settings_that_do_not_make_a_model_are_refused(gated, tmp_path, path, value, message):
    (tmp_path / "good").write_bytes(to_bytes(gated))
    good = read_checkpoint(tmp_path / "good", KIND)
    settings = json.loads(json.dumps(good.settings))
    change(settings, path, value)
    (tmp_path / "bad").write_bytes(checkpoint_bytes(KIND, good.arrays, settings))
    with pytest.raises(DataError) as caught:
        CGCNN.load(tmp_path / "bad")
    assert str(caught.value).startswith(
        f"{tmp_path / 'bad'}: was written by another state of mlff-curate {__version__}: "
    )
    assert f"; what does not fit: {message}" in str(caught.value)


def test_the_size_of_edges_fits_the_radius_also_where_no_array_tells_it(tmp_path):
    frames, target = crystals(6)
    (tmp_path / "good").write_bytes(to_bytes(CGCNN(conv="none", **SMALL).fit(frames, target)))
    good = read_checkpoint(tmp_path / "good", KIND)
    for name, value in (("sizes.edge_size", 10**6), ("radius", 7.0)):
        settings = json.loads(json.dumps(good.settings))
        change(settings, name, value)
        (tmp_path / "bad").write_bytes(checkpoint_bytes(KIND, good.arrays, settings))
        with pytest.raises(DataError, match=r"the setting sizes\.edge_size does not fit the radius$"):
            CGCNN.load(tmp_path / "bad")


def test_a_model_of_the_authors_is_pointed_to_its_reader(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "x.pth.tar")
    with pytest.raises(
        DataError, match=r"the CGCNN authors' models are read by CGCNN\.from_published, and saved as one"
    ):
        CGCNN.load(tmp_path / "x.pth.tar")
    with pytest.raises(DataError, match=r"none\.pth\.tar: no such file$"):
        CGCNN.load(tmp_path / "none.pth.tar")


def test_files_of_others_are_refused(tmp_path):
    (tmp_path / "m").write_bytes(checkpoint_bytes("meagraph", {"a": np.ones(2)}, {}))
    with pytest.raises(
        DataError, match=r"is a model of embeddings \(of embed --save-model\): a model of a property .* wanted$"
    ):
        CGCNN.load(tmp_path / "m")
    torch.save({"state_dict": {}}, tmp_path / "pickle")
    with pytest.raises(DataError, match=r"is no model file but a zip archive, as torch\.save writes"):
        CGCNN.load(tmp_path / "pickle")
