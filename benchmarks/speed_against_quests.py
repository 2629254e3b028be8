"""Time and memory of `mlff-curate prune --keep 0.1` and of `quests compress -m msc -s 0.1`, taking turns in one run.

    speed_against_quests.py DATA.extxyz --quests /path/to/quests [--runs 3]

quests pins other versions of what we use: give it an environment of its own.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from measure import Cost, cost_of


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--quests", default=shutil.which("quests"), help="the quests command")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    if not arguments.quests:
        raise SystemExit("quests is not on the path: say --quests")
    data = str(arguments.data.resolve())
    ours = str(Path(sys.executable).with_name("mlff-curate"))
    costs: dict[str, list[Cost]] = {"mlff-curate": [], "quests": []}
    for run in range(arguments.runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            pair = {
                "mlff-curate": cost_of([ours, "prune", data, "--keep", "0.1", "-o", "kept.extxyz"], folder),
                "quests": cost_of(
                    [arguments.quests, "compress", data, "-m", "msc", "-s", "0.1", "-o", "q.xyz"], folder
                ),
            }
        if run:  # the first run warms caches and compiles quests' kernels
            for name, cost in pair.items():
                costs[name].append(cost)
        print(run, {name: f"{c.seconds:.1f} s {c.megabytes:.0f} MB" for name, c in pair.items()}, flush=True)
    ratios = [a.seconds / b.seconds for a, b in zip(costs["mlff-curate"], costs["quests"], strict=True)]
    for name, runs in costs.items():
        seconds = statistics.median(c.seconds for c in runs)
        print(f"{name:12s} {seconds:6.1f} s  {statistics.median(c.megabytes for c in runs):6.0f} MB (medians)")
    print(f"time ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
