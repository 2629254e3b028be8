"""A fitted model on a GPU."""

import dataclasses

import numpy as np
import pytest
import torch

from mlff_curate.devices import require_device
from mlff_curate.errors import UsageError
from mlff_curate.meagraph.model import MEAGraph

TOLERANCE = 1e-3
"""Of the embedding's standard deviation, as docs/usage.md states it."""


def cloud():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 20)).astype(np.float32)
    X[1500:, :3] += 12.0
    return X, np.full(len(X), 73)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_a_gpu_embeds_as_the_cpu_does():
    X, species = cloud()
    model = MEAGraph(anchors=256, neighbours=16, epochs=3).fit(X, species)
    there = model.embed(X, species)
    model.fitted_.network.to("cuda")
    model.fitted_ = dataclasses.replace(model.fitted_, stages=tuple(stage.to("cuda") for stage in model.fitted_.stages))
    assert np.abs(model.embed(X, species) - there).max() < TOLERANCE * there.std()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_a_gpu_trains():
    X, species = cloud()
    model = MEAGraph(anchors=256, neighbours=16, epochs=3, device="cuda").fit(X, species)
    assert np.isfinite(model.training_.held_out_loss).all()
    assert len(set(model.clusters(X, species)[[0, 1500]])) == 2


@pytest.mark.parametrize("name", ["nosuch", "meta", "mps", ""])
def test_a_device_of_another_kind_is_wrong_usage(name):
    with pytest.raises(UsageError, match=r"--device: .* is not supported; available: cpu, cuda"):
        require_device(name)


@pytest.mark.parametrize("name", ["cuda:99", "cuda:x"])
def test_a_device_that_is_not_there_is_wrong_usage(name):
    with pytest.raises(UsageError, match=r"--device: .* cannot be used"):
        require_device(name)


def test_the_cpu_can_be_used():
    require_device("cpu")
