"""What KLIFF held of the pruned set and what its fit found: run by run_all.py in the folder of the page kliff.md."""

import json
from pathlib import Path

import numpy as np
from ase.io import read
from kliff.dataset import Dataset
from kliff.legacy.calculators import Calculator
from kliff.models import KIMModel

MODEL = "SNAP_ThompsonSwilerTrott_2015_Ta__MO_359768485367_000"

ours = read("ta.extxyz", ":")
# KLIFF sorts by path, and there is a folder per group; the files are numbered in the order of the frames.
theirs = sorted(Dataset.from_path("ta_kliff").get_configs(), key=lambda config: int(Path(config.identifier).stem))
assert len(theirs) == len(ours), f"{len(theirs)} of {len(ours)} frames arrived"
for a, b in zip(ours, theirs, strict=True):
    assert list(a.symbols) == list(b.species)
    np.testing.assert_array_equal(a.pbc, b.PBC)
    for one, other in (
        (a.cell.array, b.cell),
        (a.positions, b.coords),
        (a.get_potential_energy(), b.energy),
        (a.get_forces(), b.forces),
        (a.get_stress(), b.stress),
    ):
        np.testing.assert_allclose(other, one, rtol=1e-14, atol=1e-14)

model = KIMModel(MODEL)
calculator = Calculator(model)
calculator.create(theirs, use_energy=True, use_forces=True, use_stress=True)
worst = dict.fromkeys(("energy", "forces", "stress"), 0.0)
for config, arguments in zip(theirs, calculator.get_compute_arguments(), strict=True):
    results = calculator.compute(arguments)
    for name in worst:
        difference = np.abs(np.asarray(results[name]) - np.asarray(getattr(config, name))).max()
        worst[name] = max(worst[name], float(difference))
# The driver of KIM and LAMMPS differ in the last known digits of e^2 (ZBL), so not to the last bit.
assert worst["energy"] < 1e-4, worst
assert worst["forces"] < 1e-5, worst
assert worst["stress"] < 1e-6, worst

fit = json.loads(Path("fitted.json").read_text())
published = np.asarray(model.get_model_params()["coeffs"])
deviation = np.abs(np.asarray(fit["fitted"]) / published - 1).max()
assert fit["loss"][1] < 1e-6 * fit["loss"][0], fit["loss"]
assert deviation < 1e-3, deviation
print("largest differences between KIM's model and the labels as loaded:", worst)
print(
    f"{len(theirs)} frames with energies, forces and stresses as ours; loss {fit['loss'][0]:.1f} to "
    f"{fit['loss'][1]:.0e}; the 31 coefficients of the KIM model come back to {deviation:.0e}"
)
