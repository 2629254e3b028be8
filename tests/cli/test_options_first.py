"""A wrong option is told before an output that exists: the next try would fail on it all the same."""

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from mlff_curate.cgcnn.potential import Potential
from mlff_curate.cgcnn.property_model import CGCNN
from mlff_curate.data.labels import Labels

SIZES = {"channels": 4, "radial": 4, "angular": 2, "degree": 1, "convolutions": 1, "cutoff": 3.5}
TRAIN = ("train", "cu.extxyz", "-o", "there")
PROPERTY = (*TRAIN, "--task", "regression")
EVALUATE = ("evaluate", "cu.model", "cu.extxyz", "--predictions", "there.extxyz")
GAP = ("evaluate", "gap.model", "cu.extxyz", "--predictions", "there")
MD = ("md", "cu.model", "cu.extxyz", "-o", "there.extxyz")
VALIDATE = ("validate", "cu.model", "-o", "there")


@pytest.fixture
def there(here):
    """Frames, a potential, a property model, and outputs of all commands."""
    frames = [bulk("Cu", cubic=True) for _ in range(4)]
    for k, atoms in enumerate(frames):
        atoms.info["gap"] = float(k)
    write("cu.extxyz", frames)
    labels = [Labels(energy=0.0, forces=np.zeros((4, 3)))] * 4
    Potential(**SIZES, epochs=1).fit(frames, labels).save("cu.model")
    CGCNN(task="regression", epochs=1).fit(frames, [0.0, 1, 2, 3]).save("gap.model")
    for name in ("there", "there.checkpoint", "there.extxyz", "there.thermo.csv", "there.json", "there.html"):
        (here / name).write_text("mine")
    return here


@pytest.mark.parametrize(
    ("line", "option", "message"),
    [
        (TRAIN, ["--device", "tpu"], "--device: 'tpu' is not supported"),
        (TRAIN, ["--workers", "0"], "--workers: must be at least 1, got 0"),
        (TRAIN, ["--checkpoint-every", "-1"], "--checkpoint-every: a number of seconds of at least 0, got -1.0"),
        (TRAIN, ["--type-map", "Cu,Xx"], "--type-map: 'Xx' is no chemical symbol"),
        (TRAIN, ["--encoder", "cu.model", "--channels", "8"], "--channels: the encoder has 4, got 8"),
        (PROPERTY, [], "--target: name the property to learn"),
        (PROPERTY, ["--target", "gap", "--units", "furlong"], "--units: "),
        (PROPERTY, ["--target", "gap", "--csv", "x.csv"], "--csv: a table goes with a folder of CIF files"),
        (EVALUATE, ["--device", "tpu"], "--device: 'tpu' is not supported"),
        (EVALUATE, ["--units", "furlong"], "--units: "),
        (GAP, ["--device", "tpu"], "--device: 'tpu' is not supported"),
        (GAP, ["--type-map", "Xx"], "--type-map: 'Xx' is no chemical symbol"),
        (MD, ["--device", "tpu"], "--device: 'tpu' is not supported"),
        (MD, ["--type-map", "Xx"], "--type-map: 'Xx' is no chemical symbol"),
        (MD, ["--timestep", "0"], "--timestep: a time above 0 fs, got 0"),
        (VALIDATE, ["--device", "tpu"], "--device: 'tpu' is not supported"),
        (VALIDATE, ["--structure", "bbc"], "--structure: 'bbc' is none of bcc"),
        (VALIDATE, ["--element", "Xx"], "--element: 'Xx' is no chemical element"),
        (VALIDATE, ["--start", "x.cif", "--element", "Cu"], "--element: means nothing with --start x.cif"),
        (VALIDATE, ["--data", "cu.extxyz", "--units", "furlong"], "--units: "),
        (VALIDATE, ["--type-map", "Cu"], "--type-map: means nothing without --data"),
        (VALIDATE, ["--units", "metal"], "--units: means nothing without --data"),
        (VALIDATE, ["--log", "log.lammps"], "--log: means nothing without --data"),
        (VALIDATE, ["--start", "cu.extxyz", "--energy-key", "E"], "--energy-key: means nothing without --data"),
        (VALIDATE, ["--group-by", "phase"], "--group-by: means nothing without --data"),
    ],
)
def test_a_wrong_option_is_told_before_an_output_that_exists(command, there, line, option, message):
    done = command(*line, *option)
    assert done.code == 2
    assert done.err.startswith(f"mlff-curate: error: {message}")
    assert (there / "there").read_text() == "mine"


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("line", [TRAIN, (*PROPERTY, "--target", "gap"), EVALUATE, GAP, MD, VALIDATE])
def test_an_output_that_exists_is_told_before_any_work(command, line):
    done = command(*line)
    assert done.code == 1
    assert "exists already: say --overwrite to replace it" in done.err
