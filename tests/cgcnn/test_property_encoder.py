"""`CGCNN` on the states of atoms in an encoder: what physics demands, what is trained, and what a file holds."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from scipy.spatial.transform import Rotation

from mlff_curate import CGCNN
from mlff_curate.cgcnn import training
from mlff_curate.cgcnn.encoder import Encoder
from mlff_curate.cgcnn.model_file import KIND, to_bytes
from mlff_curate.cgcnn.node_encoder import NodeEncoder, TunedNetwork
from mlff_curate.cgcnn.potential_network import PotentialNetwork, PotentialSizes
from mlff_curate.cgcnn.potential_share import in_parts
from mlff_curate.cgcnn.property_network import NetworkSizes, PropertyNetwork
from mlff_curate.cgcnn.training import Examples
from mlff_curate.data.checkpoints import Checkpoint, checkpoint_bytes, read_checkpoint
from mlff_curate.errors import DataError, UsageError
from mlff_curate.graphs.crystal import crystal_graph
from mlff_curate.graphs.vectors import vector_graph

SMALL = {"channels": 8, "hidden": 8, "convolutions": 1, "epochs": 3, "batch_size": 8}
SIZES = PotentialSizes(
    (13, 28, 29), cutoff=4.0, channels=6, radial=5, convolutions=2, angular=4, degree=2, neighbours=30.0
)
WAYS = [(encoding, frozen) for encoding in ("elements", "one-hot", "none") for frozen in (True, False)]


def encoder_of(dtype=torch.float32):
    """An encoder with weights that nothing taught."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = PotentialNetwork(SIZES).to(dtype)
    return Encoder(SIZES, network.state_dict(), None, None)


def crystals(n=16):
    """Copper and nickel cells of different size, rattled, with the lattice constant as target."""
    frames, target = [], np.random.default_rng(0).uniform(3.4, 3.8, n)
    for i, a in enumerate(target):
        frames.append(bulk(("Cu", "Ni")[i % 2], a=a, cubic=True))
        frames[-1].rattle(0.05, seed=i)
    return frames, target


FRAMES, TARGET = crystals()


def fitted(encoding="elements", frozen=True, encoder=None, **parameters):
    encoder = encoder or encoder_of()
    return CGCNN(**{**SMALL, **parameters}, encoding=encoding).fit(
        FRAMES, TARGET, encoder=encoder, freeze_encoder=frozen
    )


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: f"{way[0]}-{'frozen' if way[1] else 'tuned'}")
def model(request):
    return fitted(*request.param)


def weights_of(model):
    return model.fitted_.encoder.trunk.state_dict()


def test_prediction_depends_on_the_structure_alone(model):
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.symbols[1] = "Ni"
    atoms.rattle(0.08, seed=40)
    before = model.predict([atoms])[0]
    turn = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    turned = Atoms(atoms.numbers, atoms.positions @ turn.T + 3.1, cell=atoms.cell.array @ turn.T, pbc=True)
    mirrored = Atoms(atoms.numbers, atoms.positions * [-1, 1, 1], cell=atoms.cell.array * [-1, 1, 1], pbc=True)
    shuffled = atoms[[2, 0, 3, 1]]
    larger = make_supercell(atoms, [[2, 0, 0], [0, 1, 0], [1, 0, 2]])
    others = [turned, mirrored, shuffled, larger, atoms * (1, 2, 1)]
    assert model.predict(others) == pytest.approx(np.full(5, before), abs=1e-5)
    moved = atoms.copy()
    moved.positions[0] += 0.2
    assert abs(model.predict([moved])[0] - before) > 1e-4


def test_a_frozen_encoder_keeps_its_bits_and_one_that_is_not_does_not():
    begin = encoder_of()
    given = {name: value.clone() for name, value in begin.weights.items()}
    frozen, tuned = fitted(frozen=True, encoder=begin), fitted(frozen=False, encoder=begin)
    assert all(torch.equal(value, given[name]) for name, value in weights_of(frozen).items())
    assert all(torch.equal(value, given[name]) for name, value in begin.weights.items())  # the caller's own
    moved = {name for name, value in weights_of(tuned).items() if not torch.equal(value, given[name])}
    trained = {name for name, _ in PotentialNetwork(SIZES).named_parameters() if not name.startswith("energy.")}
    assert moved == trained


def test_the_gradient_of_the_encoder_is_that_of_the_whole_by_finite_differences():
    nodes = NodeEncoder.of(encoder_of(torch.float64), "02", "cpu")
    nodes.features(FRAMES, np.arange(len(FRAMES) * 4))
    whole = TunedNetwork(nodes, PropertyNetwork(NetworkSizes("regression", "shared", nodes.size, 41, 5, 1, 5, 1)))
    graph, seen = crystal_graph(FRAMES[:3]), vector_graph(FRAMES[:3], SIZES.cutoff)
    examples = Examples(graph, np.zeros((len(graph.numbers), 0), np.float32), TARGET[:3], seen)
    batch = examples.batch(np.array([2, 0]), whole, "cpu")
    whole(batch).sum().backward()
    weight = nodes.trunk.convolutions[0].heard.weight
    found = weight.grad.clone()
    largest = float(found.abs().max())
    for place in np.argwhere(found.abs().numpy() > 0.3 * largest)[:4]:
        said = []
        for step in (0.01, -0.01):
            with torch.no_grad():
                weight[tuple(place)] += step
                said.append(whole(batch).sum().item())
                weight[tuple(place)] -= step
        assert (said[0] - said[1]) / 0.02 == pytest.approx(found[tuple(place)].item(), rel=0.03)


def test_a_batch_is_seen_in_parts_with_the_same_states(monkeypatch):
    """A dense frame makes the rows of neighbours of all beside it long."""
    nodes = NodeEncoder.of(encoder_of(torch.float64), None, "cpu")
    whole = TunedNetwork(nodes, PropertyNetwork(NetworkSizes("regression", "none", nodes.size, 41, 5, 1, 5, 1)))
    frames = [*FRAMES[:4], bulk("Cu", a=2.4, cubic=True)]
    seen, chosen = vector_graph(frames, SIZES.cutoff), np.array([4, 0, 3])
    graph = crystal_graph(frames)
    examples = Examples(graph, np.zeros((len(graph.numbers), 0), np.float32), np.zeros(5), seen)
    found = []
    for places, parts in ((10**6, 1), (500, 2), (1, 3)):
        monkeypatch.setattr(training, "in_parts", lambda *which, most=places: in_parts(*which, places=most))
        batch = examples.batch(chosen, whole, "cpu")
        assert len(batch.surroundings) == parts
        found.append(whole(batch).detach().numpy())
    assert found[1:] == pytest.approx(np.stack([found[0]] * 2), abs=1e-6)


def test_the_encoder_moves_at_its_own_rate():
    """The first step of Adam moves every weight by the rate, whatever the gradient."""
    once = {"epochs": 1, "batch_size": 99, "learning_rate": 1e-2, "validation": 0.0}  # the last epoch has a tenth of it
    begin = encoder_of()
    for rate in (0.1, 0.5):
        model = fitted("none", frozen=False, encoder=begin, encoder_rate=rate, **once)
        moved = weights_of(model)["convolutions.0.heard.bias"] - begin.weights["convolutions.0.heard.bias"]
        assert moved.abs().numpy() == pytest.approx(np.full(6, rate * 1e-3), rel=1e-2)


def test_states_are_in_units_of_what_is_learned_from():
    model = fitted("none", validation=0.25)
    learned = np.setdiff1d(np.arange(len(FRAMES)), model.training_.validation_frames)
    states = model.fitted_.encoder.features([FRAMES[i] for i in learned])
    assert states.mean(axis=0) == pytest.approx(np.zeros(18), abs=1e-5)
    assert ((states.std(axis=0) < 1) & (states.std(axis=0) > 0.3)).all()


def test_layers_are_those_asked_for():
    model = fitted("none", layers="20")
    assert (model.fitted_.encoder.layers, model.fitted_.network.sizes.node_size) == ("20", 12)
    assert fitted("elements").fitted_.network.sizes.node_size == 92 + 18
    alone = fitted("none", conv="none", layers="0")  # elements, and nothing of their surroundings
    assert alone.predict(FRAMES[::2]) == pytest.approx(alone.predict(FRAMES[:1]).repeat(8), abs=1e-6)


@pytest.mark.parametrize(("frozen", "share"), [(True, 0.6), (False, 0.2)])
def test_a_property_is_learned_from_the_states_alone(frozen, share):
    """Atoms that hear no neighbour know the lattice by their encoder's states, the more so if these may change."""
    frames, target = crystals(60)
    model = CGCNN(conv="none", encoding="none", channels=16, hidden=16, epochs=200, batch_size=16, learning_rate=0.01)
    model.fit(frames[:50], target[:50], encoder=encoder_of(), freeze_encoder=frozen)
    error = np.abs(model.predict(frames[50:]) - target[50:]).mean()
    assert error < share * np.abs(target[50:] - target[:50].mean()).mean()


def test_classes_are_learned_too():
    found = CGCNN("classification", **SMALL).fit(FRAMES, np.arange(16) % 2, encoder=encoder_of()).predict(FRAMES)
    assert ((found > 0) & (found < 1)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("encoding", "frozen"), [("elements", True), ("none", False)])
def test_a_stored_model_needs_no_other_file_and_predicts_the_same_bits(tmp_path, encoding, frozen, dtype):
    model = fitted(encoding, frozen=frozen, encoder=encoder_of(dtype), layers="12")
    model.save(tmp_path / "a.model")
    again = CGCNN.load(tmp_path / "a.model")
    assert np.array_equal(again.predict(FRAMES), model.predict(FRAMES))
    assert again.get_params() == model.get_params()
    assert again.fitted_.encoder.layers == "12"
    again.save(tmp_path / "b.model")
    assert (tmp_path / "a.model").read_bytes() == (tmp_path / "b.model").read_bytes()
    assert all(torch.equal(value, weights_of(again)[name]) for name, value in weights_of(model).items())


class StoppedError(Exception):
    pass


def stopped_after(epochs, model, *data, **more):
    """Return what is kept of a training that ends after some epochs."""
    kept = []

    def keep(state):
        arrays, settings = state.pack()
        settings = json.loads(json.dumps(settings))
        kept.append(Checkpoint("kept", {name: value.copy() for name, value in arrays.items()}, settings))
        if state.epochs == epochs:
            raise StoppedError

    with pytest.raises(StoppedError):
        model.fit(*data, **more, keep=keep)
    return kept[-1]


@pytest.mark.parametrize(
    ("parameters", "more"),
    [
        ({}, {}),
        ({"optimiser": "sgd", "learning_rate": 1e-3}, {"encoder": encoder_of()}),
        ({"validation": 0.0, "layers": "1"}, {"encoder": encoder_of(torch.float64)}),  # nothing is made of layer 2
        ({"task": "classification", "validation": 0.3}, {"encoder": encoder_of(), "freeze_encoder": True}),
    ],
)
@pytest.mark.parametrize("epochs", [1, 4, 5])
def test_a_training_broken_off_goes_on_to_the_same_bytes(parameters, more, epochs):
    parameters = {**SMALL, "epochs": 5, "patience": 3, **parameters}
    data = FRAMES, np.arange(16) % 2 if "task" in parameters else TARGET
    whole = CGCNN(**parameters).fit(*data, **more)
    kept = stopped_after(min(epochs, whole.training_.epochs), CGCNN(**parameters), *data, **more)
    told = []
    again = CGCNN(**parameters).fit(*data, **more, resume=kept, progress=lambda *words: told.append(words[0]))
    assert to_bytes(again) == to_bytes(whole)
    assert told[0] == kept.settings["epochs"]


def test_a_state_of_another_training_is_refused():
    kept = stopped_after(1, CGCNN(**SMALL), FRAMES, TARGET, encoder=encoder_of())
    for arrays, settings, message in [
        ({}, {"best_epoch": 2}, "the setting best_epoch is no epoch"),
        ({}, {"train_loss": [1.0, 2.0]}, "the setting train_loss holds other than one number per epoch"),
        ({"optimiser.0.more": np.zeros(2, np.float32)}, {}, "the array optimiser.0.more is not known"),
        ({"best.network.output.bias": np.zeros(2, np.float32)}, {}, "the array best.network.output.bias has the shape"),
    ]:
        other = Checkpoint("kept", {**kept.arrays, **arrays}, {**kept.settings, **settings})
        with pytest.raises(DataError, match=f"^kept: was written by .*; what does not fit: {message}"):
            CGCNN(**SMALL).fit(FRAMES, TARGET, encoder=encoder_of(), resume=other)
    with pytest.raises(DataError, match=r"the array \S+ is missing$"):
        CGCNN(**SMALL).fit(FRAMES, TARGET, encoder=encoder_of(), freeze_encoder=True, resume=kept)


def test_equal_seeds_give_equal_bytes_whatever_torch_was_doing(tmp_path):
    for i in range(2):
        torch.manual_seed(i)
        state = torch.random.get_rng_state()
        fitted(frozen=False, seed=7).save(tmp_path / str(i))
        assert torch.equal(torch.random.get_rng_state(), state)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()


def test_prediction_of_a_frame_does_not_depend_on_its_company(monkeypatch):
    model = fitted(frozen=False)
    alone = np.concatenate([model.predict([atoms]) for atoms in FRAMES])
    monkeypatch.setattr("mlff_curate.cgcnn.property_model._ATOMS_AT_ONCE", 9)
    assert model.predict(FRAMES) == pytest.approx(alone, abs=1e-5)
    doubled = FRAMES[7].copy()
    doubled += Atoms("Ni", positions=[doubled.positions[2]])
    with pytest.raises(DataError, match=r"^frame 16: positions: atoms 2 and 4 are in one place$"):
        model.predict([*FRAMES, doubled])


def test_progress_tells_what_is_done_before_training():
    told = []
    CGCNN(**SMALL).fit(FRAMES, TARGET, encoder=encoder_of(), progress=lambda *words: told.append(words[2]))
    assert [words for words in told if words.endswith("16 of 16 frames")] == [
        "neighbours of 16 of 16 frames",
        "states of 16 of 16 frames",
        "surroundings of 16 of 16 frames",
    ]


@pytest.mark.parametrize(
    ("parameters", "encoder", "frozen", "message"),
    [
        ({}, False, True, "--freeze-encoder: means nothing without --encoder"),
        ({"layers": "1"}, False, False, "--layers: means nothing without --encoder"),
        ({"encoding": "none"}, False, False, "--encoding: none leaves nothing to tell atoms by without --encoder"),
        ({"layers": "13"}, True, False, "--layers: there is no layer 3: the encoder's are 0 to 2"),
        ({"layers": 12}, True, True, "--layers: digits such as 012 are expected, each once, got 12"),
        ({"encoder_rate": 0.0}, True, False, "--encoder-rate: a number from 1e-12 to 1e+06 is wanted, got 0.0"),
    ],
)
def test_parameters_that_an_encoder_does_not_fit_are_refused(parameters, encoder, frozen, message):
    with pytest.raises(UsageError) as caught:
        CGCNN(**parameters).fit(FRAMES, TARGET, encoder=encoder_of() if encoder else None, freeze_encoder=frozen)
    assert str(caught.value) == message


@pytest.mark.parametrize("frozen", [True, False])
def test_elements_that_the_encoder_never_saw_are_refused_by_name(frozen):
    frames = [*FRAMES, bulk("AgAl", "cesiumchloride", a=3.2), bulk("Au")]
    with pytest.raises(DataError, match=r"^frame 16: --encoder: the encoder never saw Ag$"):
        CGCNN(**SMALL).fit(frames, np.arange(18), encoder=encoder_of(), freeze_encoder=frozen)
    with pytest.raises(DataError, match=r"^frame 1: the model was trained without Al$"):  # though the encoder knows it
        fitted(frozen=frozen).predict([FRAMES[0], bulk("Al")])


def test_features_of_the_users_go_with_no_encoder():
    given = [np.ones((len(atoms), 3)) for atoms in FRAMES]
    with pytest.raises(ValueError, match="node_features take the place of an encoder: give one of the two"):
        CGCNN(**SMALL).fit(FRAMES, TARGET, node_features=given, encoder=encoder_of())
    with pytest.raises(ValueError, match="the model has features of its own: it takes no node_features"):
        fitted("none").predict(FRAMES, node_features=given)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("encoder.sizes.channels", 2**19, "the setting sizes does not fit the arrays"),
        ("encoder.sizes.channels", 7, "the array network."),
        ("encoder.sizes.elements", [29, 13, 28], "the setting sizes.elements holds other than atomic numbers"),
        ("encoder.layers", "9", "the setting encoder.layers: there is no layer 9"),
        ("encoder.layers", "01", "the arrays encoder.mean and encoder.spread do not fit the layers"),
        ("encoder.dtype", "int8", "the setting encoder.dtype is 'int8'"),
        ("encoder", None, "the array encoding.rows has the shape (118, 92), not (118, 110)"),
        ("sizes.channels", 2**20, "the setting sizes does not fit the arrays"),
        ("sizes.node_size", 17, "the setting sizes.node_size does not fit the encoder"),
        ("sizes.node_size", 109, "the array encoding.rows has the shape (118, 92), not (118, 91)"),
        ("encoding", None, "the setting sizes.node_size does not fit the encoder"),
    ],
)
def test_settings_that_do_not_make_a_model_are_refused(tmp_path, path, value, message):
    (tmp_path / "good").write_bytes(to_bytes(fitted()))
    good = read_checkpoint(tmp_path / "good", KIND)
    settings = json.loads(json.dumps(good.settings))
    *way, last = path.split(".")
    part = settings
    for key in way:
        part = part[key]
    part[last] = value
    (tmp_path / "bad").write_bytes(checkpoint_bytes(KIND, good.arrays, settings))
    with pytest.raises(DataError) as caught:
        CGCNN.load(tmp_path / "bad")
    assert "bad: was written by another state of mlff-curate" in str(caught.value)
    assert f"; what does not fit: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder.more": np.zeros(2, np.float32)}, "the array more is not known"),
        ({"encoder.spread": np.zeros(18, np.float32)}, "the arrays encoder.mean and encoder.spread do not fit the"),
        ({"encoder.mean": np.zeros(17, np.float32)}, "the array spread has the shape (18,), not (17,)"),
    ],
)
def test_arrays_that_do_not_make_an_encoder_are_refused(tmp_path, change, message):
    (tmp_path / "m").write_bytes(to_bytes(fitted()))
    good = read_checkpoint(tmp_path / "m", KIND)
    (tmp_path / "m").write_bytes(checkpoint_bytes(KIND, {**good.arrays, **change}, good.settings))
    with pytest.raises(DataError) as caught:
        CGCNN.load(tmp_path / "m")
    assert message in str(caught.value)
