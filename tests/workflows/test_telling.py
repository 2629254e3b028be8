"""What jobs of any kind say at their end; and that `check` and `convert` know nothing of what `prune` writes."""

import subprocess
import sys

import pytest

from mlff_curate.data.formats.extxyz import EXTXYZ
from mlff_curate.workflows.telling import loss_lines, peak_memory_mb


def test_what_a_format_cannot_hold_is_one_sentence():
    assert loss_lines(EXTXYZ, {}) == []
    assert loss_lines(EXTXYZ, {"stress": 1, "arrays": 3}) == ["extxyz cannot hold arrays (3 frames), stress (1 frame)"]


def test_peak_memory_is_in_megabytes():
    assert 30 < peak_memory_mb() < 100_000


@pytest.mark.parametrize("job", ["check_files", "convert"])
def test_a_job_loads_nothing_of_what_prune_writes(job):
    said = f"import sys, mlff_curate.workflows.{job}; print('mlff_curate.workflows.prune_outputs' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
