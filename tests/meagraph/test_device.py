"""A fitted model on a GPU."""

import numpy as np
import pytest
import torch

from mlff_curate.errors import UsageError
from mlff_curate.meagraph.model import MEAGraph, require_device

TOLERANCE = 1e-3
"""Of the embedding's standard deviation, as docs/usage.md states it."""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_a_gpu_embeds_as_the_cpu_does():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 20)).astype(np.float32)
    species = np.full(len(X), 73)
    model = MEAGraph(anchors=256, neighbours=16, epochs=20).fit(X, species)
    there = model.embed(X, species)
    model.network_.to("cuda")
    model.states_ = [state.to("cuda") for state in model.states_]
    assert np.abs(model.embed(X, species) - there).max() < TOLERANCE * there.std()


@pytest.mark.parametrize("name", ["nosuch", "cuda:99", ""])
def test_a_device_that_is_not_there_is_wrong_usage(name):
    with pytest.raises(UsageError, match=r"--device: .* cannot be used"):
        require_device(name)
