"""Time and peak memory of a command."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Wall-clock seconds and peak resident memory, MB, of a finished process."""

    seconds: float
    megabytes: float


def cost_of(command: list[str], folder: str) -> Cost:
    """Run a command in a folder and return what it cost; stop if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{output[-3000:]}")
    return Cost(seconds, usage.ru_maxrss / 1024)
