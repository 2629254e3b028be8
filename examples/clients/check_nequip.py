"""What NequIP held of the pruned set and what it learned: run by run_all.py in the folder of docs/feeding/nequip.md."""

import csv
from pathlib import Path

import numpy as np
import torch
from ase.io import read
from nequip.data.dataset import ASEDataset

torch.set_default_dtype(torch.float64)
ours = read("ta.extxyz", ":")
theirs = ASEDataset("ta_nequip.extxyz")
assert len(theirs) == len(ours), f"{len(theirs)} of {len(ours)} frames arrived"
for index, atoms in enumerate(ours):
    data = theirs[index]
    for one, other in (
        (atoms.positions, data["pos"]),
        (atoms.cell.array, data["cell"][0]),
        (atoms.get_potential_energy(), data["total_energy"][0, 0]),
        (atoms.get_forces(), data["forces"]),
        (atoms.get_stress(voigt=False), data["stress"][0]),
    ):
        np.testing.assert_allclose(np.asarray(other), one, rtol=1e-12, atol=1e-12)

with next(Path("nequip_run").glob("log/*/metrics.csv")).open() as file:
    rows = list(csv.DictReader(file))
losses = [float(row["train_loss_epoch/weighted_sum"]) for row in rows if row["train_loss_epoch/weighted_sum"]]
assert len(losses) == 2, losses
assert losses[1] < losses[0], losses
assert all(row["val0_epoch/stress_rmse"] or row["train_loss_epoch/stress_mse"] for row in rows), "no stress was fitted"

print(f"{len(ours)} frames with energies, forces and stresses as ours; two epochs, the loss falls")
