"""The table of prune_quality.py over several sets: its baselines and `mlff-curate prune` with default options.

    prune_scores.py JUDGE DATA.extxyz... [--seeds 5] [--options '--group-by none'] [--folder scores]

JUDGE is prune_quality.py, run by `--python`, the interpreter of an environment that has what it needs (quests among
it). All methods are timed in the same run. The folder must not exist, so that no old score is taken for a new one.
Baselines know no options of ours: with `--baselines FOLDER` they are taken from an earlier run, of the same sets and as
many seeds, and only ours is judged anew. `--command` replaces `mlff-curate prune`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

BASELINES = ("random", "fps", "fpsenv", "direct", "msc", "kmeans")


def main() -> None:
    """Run the judge on each set and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judge", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--options", default="")
    parser.add_argument("--baselines", type=Path)
    parser.add_argument("--command", help="as for the judge, in place of `mlff-curate prune`")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--program", default=str(Path(sys.executable).with_name("mlff-curate")))
    parser.add_argument("--folder", type=Path, default=Path("scores"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    ours = (
        arguments.command
        or f"{arguments.program} prune {{pool}} --keep {{keep}} --seed {{seed}} -o {{out}} {arguments.options}"
    )
    results = {}
    for data in arguments.data:
        out = arguments.folder / f"{data.stem}.json"
        command = [arguments.python, str(arguments.judge), str(data), "--seeds", str(arguments.seeds)]
        command += ["--methods", "random"] if arguments.baselines else []
        subprocess.run([*command, "--command", ours, "--json", str(out)], check=True)
        results[data.stem] = json.loads(out.read_text())["methods"]
        if arguments.baselines:
            earlier = json.loads((arguments.baselines / out.name).read_text())["methods"]
            if earlier["random"]["errors"] != results[data.stem]["random"]["errors"]:
                sys.exit(f"{arguments.baselines} is of other splits: random frames have other errors there")
            results[data.stem] |= {name: earlier[name] for name in BASELINES if name in earlier}
    print_table(results)


def print_table(results: dict[str, dict[str, dict[str, object]]]) -> None:
    """Print a score per method and set, both over all cells, and the seconds per selection."""
    print("| method | " + " | ".join(results) + " | together | worst cell | s/selection |")
    print("|---" * (len(results) + 4) + "|")
    common = set.intersection(*(set(methods) for methods in results.values()))
    for method in (m for m in (*BASELINES, "ours") if m in common):
        logs, seconds = [], []
        for methods in results.values():
            fractions = methods[method]["errors"]
            best = {f: np.min([methods[b]["errors"][f] for b in BASELINES if b in methods], axis=0) for f in fractions}
            logs.append(np.array([np.log(np.array(fractions[f]) / best[f]) for f in fractions]))
            seconds.append(methods[method]["seconds"])
        cells = [f"{np.exp(r.mean()):.3f}" for r in logs]
        times = "/".join(f"{s:.1f}" for s in seconds)
        worst = max(float(np.exp(r.max())) for r in logs)
        print(f"| {method} | {' | '.join(cells)} | {np.exp(np.mean(logs)):.3f} | {worst:.2f} | {times} |")


if __name__ == "__main__":
    main()
