"""Fit the coefficients of a KIM model to a folder of frames: `python kliff_fit.py FOLDER FITTED.json`.

The model is SNAP for tantalum, the one that labelled the example frames. The fit starts with every coefficient off by
up to 20 %, so that it can be seen whether it finds them again.
"""

import json
import sys
from pathlib import Path

import numpy as np
from kliff.dataset import Dataset
from kliff.legacy.calculators import Calculator
from kliff.legacy.loss import Loss
from kliff.models import KIMModel

MODEL = "SNAP_ThompsonSwilerTrott_2015_Ta__MO_359768485367_000"

folder, fitted = sys.argv[1:]
frames = Dataset.from_path(folder).get_configs()
model = KIMModel(MODEL)
published = model.get_model_params()["coeffs"].copy()
start = published * np.random.default_rng(0).uniform(0.8, 1.2, len(published))
model.set_opt_params(coeffs=[[value] for value in start])

calculator = Calculator(model)
calculator.create(frames, use_energy=True, use_forces=True)
loss = Loss(calculator, residual_data={"normalize_by_natoms": True})
# The model is linear in its coefficients, so that a few Gauss-Newton steps are enough.
result = loss.minimize(method="lm", max_nfev=3 * (len(start) + 1))
first = 0.5 * np.sum(loss._get_residual(start) ** 2)  # noqa: SLF001
calculator.update_model_params(result.x)

print(f"{len(frames)} frames, loss {first:.3g} at the start, {result.cost:.3g} at the end")
Path(fitted).write_text(json.dumps({"start": list(start), "fitted": list(result.x), "loss": [first, result.cost]}))
