"""What all tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:  # processes that each use all cores stand in each other's way
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def pytest_addoption(parser):
    parser.addoption("--strict-data", action="store_true", help="fail instead of skip where the real data are missing")


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def examples(root):
    """The example trajectories that ship with the project."""
    return root / "examples"


@pytest.fixture(scope="session")
def real_data(request):
    """The folder with the real DFT sets of Ta, Nb and Fe, which do not belong to the project."""
    folder = Path(os.environ.get("MLFF_CURATE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "ta_jcp2014.extxyz").is_file():
        message = f"no real DFT sets at {folder}: set MLFF_CURATE_DATA to their folder to run this test"
        if request.config.getoption("--strict-data"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
