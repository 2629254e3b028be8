"""A GPU, where there is one, predicts what the CPU predicts."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from mlff_curate import CGCNN
from mlff_curate.pretraining.model import Pretraining

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def test_predictions_agree_within_rounding(tmp_path):
    frames = [bulk("Cu", a=3.4 + 0.02 * i, cubic=True) for i in range(20)]
    CGCNN(epochs=5).fit(frames, np.arange(20.0)).save(tmp_path / "m")
    cpu, gpu = CGCNN.load(tmp_path / "m"), CGCNN.load(tmp_path / "m", device="cuda")
    assert gpu.predict(frames) == pytest.approx(cpu.predict(frames), rel=1e-4, abs=1e-3)


def test_training_runs_there_and_the_model_is_read_anywhere(tmp_path):
    frames = [bulk("Cu", a=3.4 + 0.02 * i, cubic=True) for i in range(20)]
    model = CGCNN(epochs=5, device="cuda").fit(frames, np.arange(20.0))
    model.save(tmp_path / "m")
    assert CGCNN.load(tmp_path / "m").predict(frames) == pytest.approx(model.predict(frames), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("frozen", [True, False])
def test_an_encoder_goes_there_too(tmp_path, frozen):
    frames = [bulk("Cu", a=3.4 + 0.02 * i, cubic=True) for i in range(20)]
    encoder = Pretraining(("distance",), channels=8, angular=4, epochs=1).fit(frames).encoder()
    model = CGCNN(epochs=5, device="cuda").fit(frames, np.arange(20.0), encoder=encoder, freeze_encoder=frozen)
    model.save(tmp_path / "m")
    assert CGCNN.load(tmp_path / "m").predict(frames) == pytest.approx(model.predict(frames), rel=1e-3, abs=1e-2)
