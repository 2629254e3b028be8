"""What MACE held of the pruned set and what it learned: run by run_all.py in the folder of docs/feeding/mace.md."""

import re
from pathlib import Path

import numpy as np
import torch
from ase.io import read
from mace.calculators import MACECalculator
from mace.data import AtomicData, KeySpecification, load_from_xyz
from mace.tools import AtomicNumberTable

NAMES = ("energy", "forces", "stress")
STRAIN = 1e-4  # of the finite difference

ours = [atoms for atoms in read("ta.extxyz", ":") if atoms.pbc.any()]
free = [atoms for atoms in read("ta.extxyz", ":") if not atoms.pbc.any()]
keys = KeySpecification(
    info_keys={"energy": "REF_energy", "stress": "REF_stress", "head": "head"}, arrays_keys={"forces": "REF_forces"}
)
energies, theirs = load_from_xyz("ta_mace.extxyz", keys, extract_atomic_energies=True)
assert len(theirs) == len(ours), f"{len(theirs)} of {len(ours)} frames arrived"
assert energies == {73: free[0].get_potential_energy()}, energies
torch.set_default_dtype(torch.float64)
for atoms, configuration in zip(ours, theirs, strict=True):
    data = AtomicData.from_config(configuration, z_table=AtomicNumberTable([73]), cutoff=4.7)
    assert {name: float(data[f"{name}_weight"].max()) for name in NAMES} == dict.fromkeys(NAMES, 1.0)
    for one, other in (
        (atoms.get_potential_energy(), data.energy.item()),
        (atoms.get_forces(), data.forces.numpy()),
        (atoms.get_stress(voigt=False), data.stress.numpy()[0]),
    ):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)

for log, zero, frames in (("free", "-8.37439", len(ours)), ("average", "-11.4", len(read("ta_bulk.extxyz", ":")))):
    text = next(Path("logs").glob(f"ta_{log}*.log")).read_text()
    found = re.search(r"Total Training set \[energy: (\d+), stress: (\d+),.* forces: (\d+),", text)
    assert found, "MACE does not say how many labels it found"
    assert found.groups() == (str(frames),) * 3, found.group()
    assert re.search(r"Atomic Energies used .*\{73: " + re.escape(zero), text), f"{log}: not the E0 expected"
    losses = [float(loss) for loss in re.findall(r"(?:Initial|Epoch \d+):.* loss=([\d.]+)", text)]
    assert len(losses) == 3, losses
    assert losses[-1] < losses[0], losses

# The sign of a stress is what MACE says it is: dE/d(strain) / V, positive under tension.
calculator = MACECalculator(model_paths="ta_free.model", device="cpu", default_dtype="float64")
atoms = ours[0].copy()
atoms.calc = calculator
stress = atoms.get_stress()[0]
energy = []
for strain in (STRAIN, -STRAIN):
    strained = ours[0].copy()
    strained.set_cell(strained.cell.array @ np.diag([1 + strain, 1, 1]), scale_atoms=True)
    strained.calc = calculator
    energy.append(strained.get_potential_energy())
slope = (energy[0] - energy[1]) / (2 * STRAIN) / atoms.get_volume()
assert abs(slope - stress) < 1e-4 * abs(stress) + 1e-9, (slope, stress)

print(
    f"{len(ours)} frames with energies, forces and stresses as ours, its stress has our sign; the free atom's energy, "
    "or the average, as zero; two epochs each, the loss falls"
)
