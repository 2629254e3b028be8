"""Training learns what neighbours share, stops when there is no more, and keeps the best weights."""

import copy

import numpy as np
import pytest
import torch

from mlff_curate.meagraph import training as module
from mlff_curate.meagraph.layers import Edges
from mlff_curate.meagraph.network import AutoEncoder, calibrate
from mlff_curate.meagraph.training import _edges, _held_out_loss, _targets, train

D, K, A = 4, 8, 96
SPECIES = np.full(2000, 26)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sheet(size=400, seed=0):
    """Two sites, each a curve in noise: the best guess of an environment is its neighbours' mean."""
    rng = np.random.default_rng(seed)
    t, site = rng.uniform(-3, 3, size), rng.integers(2, size=size)
    clean = np.column_stack([6 * np.sin(t), 6 * np.cos(t), 20 * site, 0 * t])
    return torch.from_numpy((clean + rng.normal(size=(size, D))).astype(np.float32))


def noise_alone(size=400, columns=30):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(size, columns)).astype(np.float32))


def trained(X=None, epochs=5, seed=0, rate=None, held_out=80, channels=(D, 12, 12), **others):
    """The network, its record, and what it was trained on."""
    X = sheet() if X is None else X
    network = AutoEncoder(channels, 2, torch.Generator().manual_seed(seed))
    learnt, rest = X[: len(X) - held_out], X[len(X) - held_out :]
    species = SPECIES[: len(learnt)], SPECIES[: len(rest)]
    arguments = {"neighbours": K, "epochs": epochs, "rate": rate, "seed": seed, **others}
    record = train(network, X[:A], SPECIES[:A], learnt, species[0], rest, species[1], **arguments)
    return network, record, rest


def bits(network):
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values())


def loss_now(network, X, held_out):
    stages = calibrate(network, X[:A], SPECIES[:A], K)
    return _held_out_loss(network, stages, SPECIES[:A], held_out, SPECIES[: len(held_out)], K)


def test_the_held_out_loss_falls_on_data_with_structure():
    _, record, _ = trained(epochs=12)
    assert record.best < 0.9 * record.held_out_loss[0]
    assert record.train_loss[-1] < record.train_loss[0]


def test_the_record_is_of_the_epochs_run():
    _, record, _ = trained(epochs=4)
    assert record.epochs == len(record.train_loss) == 4
    assert len(record.held_out_loss) == 5


@pytest.mark.parametrize("epochs", [0, 3, 40])
def test_the_weights_returned_are_the_best(epochs):
    """Not the last: with a step so large, the loss goes up and down."""
    X = sheet()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LEARNING_RATE", 3e-2)
        patch.setattr(module, "_PATIENCE", 6)
        network, record, held_out = trained(X, epochs=epochs)
    assert loss_now(network, X, held_out) == pytest.approx(record.best, rel=1e-5)
    assert record.best == pytest.approx(min(record.held_out_loss), rel=2e-3)
    if epochs == 40:
        assert record.held_out_loss[-1] > 1.001 * record.best, "the last were not the best"


def test_training_stops_where_nothing_more_is_learnt(monkeypatch):
    monkeypatch.setattr(module, "_LEARNING_RATE", 0.0)
    _, record, _ = trained(epochs=50)
    assert record.epochs == 3
    assert record.best == record.held_out_loss[0]


def test_training_stops_early_on_noise():
    _, record, _ = trained(noise_alone(), channels=(30, 60), epochs=60)
    assert record.epochs < 30
    assert record.best > 0.6, "noise cannot be foretold but for the nearness of the nearest"


def test_no_epochs_leave_the_weights():
    fresh = AutoEncoder((D, 12, 12), 2, torch.Generator().manual_seed(0))
    network, record, _ = trained(epochs=0)
    assert (record.epochs, record.train_loss, len(record.held_out_loss)) == (0, (), 1)
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), network.parameters(), strict=True))


def test_rates_fixed_random_and_none_are_three_things():
    found = [
        bits(trained(epochs=1, **kind)[0])
        for kind in ({"rate": None}, {"rate": 0.5}, {"rate": 0.9}, {"pooling": False})
    ]
    assert len(set(found)) == 4


def test_a_rate_below_zero_pools_as_no_pooling_does():
    assert bits(trained(epochs=1, rate=-1.0)[0]) == bits(trained(epochs=1, rate=-1.0, pooling=False)[0])


def test_the_same_seed_gives_the_same_bits():
    assert bits(trained(epochs=2)[0]) == bits(trained(epochs=2)[0])
    assert trained(epochs=2)[1] == trained(epochs=2)[1]
    assert bits(trained(epochs=2)[0]) != bits(trained(epochs=2, seed=1)[0])


def test_the_seed_of_training_is_not_that_of_the_weights_alone():
    """Batches, targets and rates have it too."""
    network = AutoEncoder((D, 12), 1, torch.Generator().manual_seed(0))
    X, found = sheet(), []
    for seed in (0, 1):
        other = copy.deepcopy(network)
        arguments = {"neighbours": K, "epochs": 1, "rate": 0.5, "seed": seed}
        train(other, X[:A], SPECIES[:A], X[:300], SPECIES[:300], X[300:], SPECIES[:100], **arguments)
        found.append(bits(other))
    assert found[0] != found[1]


def test_the_callers_random_numbers_are_neither_used_nor_moved():
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        states = torch.get_rng_state().clone(), np.random.get_state()[1].copy()  # noqa: NPY002
        found.append(bits(trained(epochs=1)[0]))
        assert torch.equal(torch.get_rng_state(), states[0])
        np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert found[0] == found[1]


def test_targets_are_neighbours_and_never_the_environment_itself():
    anchors = sheet()[:A]
    x = torch.cat([anchors[:50], sheet(seed=5)[:50]])
    index = torch.from_numpy(np.random.default_rng(0).integers(A, size=(100, K)))
    index[:50, 0] = torch.arange(50)
    mask = torch.from_numpy(np.random.default_rng(1).random((100, K)) < 0.8)
    rng = np.random.default_rng(2)
    seen, wanted = {}, {}
    for _ in range(60):
        target, there = _targets(x, Edges(index, mask), anchors, rng)
        assert target.shape == (100, 4, D)
        for i, t in np.argwhere(there.numpy()):
            seen.setdefault(int(i), set()).add(target[i, t].numpy().tobytes())
    for i in range(100):
        allowed = {
            int(j) for j, kept in zip(index[i], mask[i], strict=True) if kept and not torch.equal(anchors[j], x[i])
        }
        wanted[i] = {anchors[j].numpy().tobytes() for j in allowed}
    assert seen == {i: rows for i, rows in wanted.items() if rows}, "all of them are drawn, and nothing else"


def test_the_held_out_loss_is_the_mean_over_neighbours():
    X = sheet()
    X[200] = X[3]  # one that is an anchor too
    held_out = X[200:260]
    network = AutoEncoder((D, 12, 12), 2, torch.Generator().manual_seed(0))
    stages = calibrate(network, X[:A], SPECIES[:A], K)
    species = np.where(np.arange(A) < 3, 74, 26)
    own = np.where(np.arange(60) == 59, 74, 26)  # of an element with three anchors
    layers = network.encode(held_out, own, stages, species, K)[1]
    out = network.reconstruct(held_out, layers, stages, None).detach()
    errors = []
    for i in range(60):
        for j, kept in zip(layers[0].index[i].tolist(), layers[0].mask[i].tolist(), strict=True):
            if kept and not torch.equal(X[j], held_out[i]):
                errors.append(float(((out[i] - X[j]) ** 2).mean()))
    assert len(errors) == 59 * K - 1 + 3
    assert _held_out_loss(network, stages, species, held_out, own, K) == pytest.approx(np.mean(errors), rel=1e-5)


def test_without_held_out_environments_the_anchors_stand_in():
    X = sheet()
    network, record, held_out = trained(X, held_out=0, epochs=2)
    assert len(held_out) == 0
    assert record.best == pytest.approx(loss_now(network, X, X[:A]), rel=1e-5)


def test_one_environment_alone_trains_without_a_target():
    X = sheet()[:1]
    network = AutoEncoder((D, 12), 1, torch.Generator().manual_seed(0))
    arguments = {"neighbours": K, "epochs": 2, "rate": None, "seed": 0}
    record = train(network, X, SPECIES[:1], X, SPECIES[:1], X[:0], SPECIES[:0], **arguments)
    assert record.best == 0.0
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


def test_edges_do_not_depend_on_the_parts_in_which_they_are_found(monkeypatch):
    X = sheet()
    network = AutoEncoder((D, 12, 12), 2, torch.Generator().manual_seed(0))
    stages = calibrate(network, X[:A], SPECIES[:A], K)
    whole = _edges(network, X, SPECIES[: len(X)], stages, SPECIES[:A], K)
    monkeypatch.setattr(module, "_ENCODED", 33)
    parts = _edges(network, X, SPECIES[: len(X)], stages, SPECIES[:A], K)
    for a, b in zip(whole, parts, strict=True):
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.mask, b.mask)


def test_progress_is_told():
    told = []
    trained(epochs=2, progress=lambda *step: told.append(step))
    assert [step[:2] for step in told] == [(0, 2), (1, 2), (2, 2)]
    assert told[0][2].startswith("held-out loss ")
    assert told[2][2].startswith("training loss ")
