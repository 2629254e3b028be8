"""Held-out errors of potentials from few labelled frames: from scratch, and begun from encoders without labels.

    few_labels.py DATA.extxyz... --results FILE [--labelled 10 20 50 100 200] [--seeds 0 1 2 3 4]
        [--tasks cohesion] [--tasks denoise distance] [--steps 2000] [--train-steps 1000]
        [--ways plain random frozen snap] [--layers 012] [--encoders FOLDER] [--apart] [--chosen]
    few_labels.py --results FILE... [--figure FILE]

Frames, split and errors are those of `potential_accuracy.py`. Encoders learn from all frames that are not held out,
without labels; `--tasks` may be given several times, one encoder each. A potential begins from each of these with its
readout as it is (plain), with a random one, or with all but the readout frozen; snap is the linear force field of the
checks, fitted to the same labels. `--layers '' 012` makes energies from the last states of atoms, then from several.
`--apart` leaves frames out that are all but copies of held-out ones, to about 0.01 A: an encoder might know these.
`--chosen` has labels on frames that `prune` keeps, not on random ones. None of the labelled frames is held out from
training, so all train for as many steps.

Each error is a line of FILE, and encoders lie in FOLDER; what is there is not done again, so a run that was stopped
goes on (another state of the code needs others). At the end, or without DATA, what FILEs hold is printed as a table
and drawn: means over seeds with standard errors (Nadeau and Bengio's, for splits that overlap, a fifth of the frames
held out of each).
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from ase.io import write

mpl.use("Agg")
from matplotlib import pyplot as plt
from potential_accuracy import Material, potential, snap

from mlff_curate.cgcnn.potential import Potential
from mlff_curate.pretraining.model import Pretraining
from mlff_curate.validation.families import families
from mlff_curate.validation.learning_curve import Estimate
from mlff_curate.workflows.prune import prune

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ase import Atoms

    from mlff_curate.cgcnn.encoder import Encoder

SCRATCH = "scratch"
SNAP = "quadratic SNAP"
KEY = ("set", "seed", "labelled", "way", "pretraining", "steps")


class Beginning(Potential):
    """A potential that is trained from an encoder."""

    begin: Encoder | None = None
    frozen = False

    def fit(self, frames, labels, **options):  # noqa: ANN001, ANN003, ANN201
        """Train from there."""
        return super().fit(frames, labels, encoder=self.begin, freeze_encoder=self.frozen, **options)


def parser_of(words: str | None) -> argparse.ArgumentParser:
    """Return what is asked of a comparison with few labels: frames, how many have labels, and encoders."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--labelled", type=int, nargs="+", default=[20])
    parser.add_argument("--steps", type=int, default=6000, help="of pretraining")
    parser.add_argument("--tasks", nargs="+", action="append", help="several times: several encoders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--apart", action="store_true", help="no frame is a copy of a held-out one")
    parser.add_argument("--chosen", action="store_true", help="prune says which frames have labels")
    parser.add_argument("--encoders", type=Path, metavar="FOLDER", help="where encoders are kept")
    return parser


@dataclass(frozen=True, eq=False)
class Case:
    """A split of a set: frames of which some have labels."""

    name: str
    seed: int
    material: Material
    order: np.ndarray
    """Frames that may be learned from; the first so many have labels."""
    held_out: np.ndarray
    steps: int
    folder: Path | None = None
    """Where encoders are kept."""
    chosen: bool = False
    """Whether frames with labels are those that are kept by `prune`, not random ones."""
    encoders: dict[str, Encoder] = field(default_factory=dict)
    kept: dict[int, np.ndarray] = field(default_factory=dict)
    """Number of labels to the frames that `prune` keeps."""

    @property
    def title(self) -> str:
        """The set, and what is asked of the frames."""
        return f"{self.name}, chosen" if self.chosen else self.name

    def labelled(self, count: int) -> np.ndarray:
        """Return the frames that have labels."""
        if not self.chosen:
            return self.order[:count]
        if count not in self.kept:
            self.kept[count] = self._kept(count)
        return self.kept[count]

    def _kept(self, count: int) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "frames.extxyz"
            frames = self._unlabelled()
            for atoms, i in zip(frames, np.sort(self.order), strict=True):
                atoms.info["config_type"] = str(self.material.group[i])
            write(path, frames)
            kept = prune(path, keep=count, seed=self.seed).kept
        return np.sort(self.order)[[record.index for record in kept]]

    def _unlabelled(self) -> list[Atoms]:
        """Return the frames that may be learned from."""
        return [self.material.frames[i].copy() for i in np.sort(self.order)]

    def encoder(self, tasks: str) -> Encoder:
        """Return what frames without labels teach; it is learned when it is first asked for."""
        if tasks not in self.encoders:
            path = self.folder and self.folder / f"{self.name}-{self.seed}-{self.steps}-{tasks}.encoder"
            if path and path.exists():
                model = Pretraining.load(path)
            else:
                start = time.perf_counter()
                model = Pretraining(tasks=tuple(tasks.split("+")), steps=self.steps, seed=self.seed)
                model.fit(self._unlabelled())
                print(f"{self.name} {self.seed}: encoder {tasks}, {time.perf_counter() - start:.0f} s", flush=True)
                if path:
                    model.save(path)
            self.encoders[tasks] = model.encoder()
        return self.encoders[tasks]


def cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Read the sets and split them for each seed."""
    if arguments.encoders is not None:
        arguments.encoders.mkdir(parents=True, exist_ok=True)
    for path in arguments.data:
        material = Material.read(path)
        for seed in arguments.seeds:
            learned, held_out = material.split(seed)
            kin = families(material.frames, scaled=False)
            near = np.isin(kin[learned], kin[held_out])
            share = np.isin(kin[held_out], kin[learned]).mean()
            print(f"{path.stem} {seed}: {100 * share:.0f} % of the held-out frames have copies among the others")
            name = path.stem
            if arguments.apart:
                learned, name = learned[~near], f"{name}, apart"  # never taken for one that may know copies
            order = np.random.default_rng([seed, 1]).permutation(learned)
            yield Case(name, seed, material, order, held_out, arguments.steps, arguments.encoders, arguments.chosen)


def tasks_of(arguments: argparse.Namespace) -> list[str]:
    """Return the tasks of each encoder."""
    return ["+".join(tasks) for tasks in arguments.tasks or [["cohesion"]]]


def lines_of(paths: list[Path]) -> list[dict]:
    """Return the errors in files of results."""
    return [json.loads(line) for path in paths if path.exists() for line in path.read_text().splitlines()]


def run(case: Case, count: int, way: str, train_steps: int) -> dict:
    """Train a potential; return how far it is off."""
    tasks, *how = way.split(", ")
    begin = None if tasks in (SCRATCH, SNAP) else case.encoder(tasks)
    labelled = case.labelled(count)
    start = time.perf_counter()
    if way == SNAP:
        off = snap(case.material, labelled, case.held_out)
    else:
        layers = next((part.removeprefix("layers ") for part in how if part.startswith("layers")), None)
        model = Beginning(epochs=math.ceil(train_steps / math.ceil(count / 5)), seed=case.seed, layers=layers)
        if layers and begin is None:  # nothing is behind them that an encoder might have filled
            model.convolutions = max(map(int, layers))
        model.begin = replace(begin, rows=None) if begin and "random readout" in how else begin
        model.frozen = "frozen" in how
        off = potential(case.material, labelled, case.held_out, model)
    seconds = time.perf_counter() - start
    energy, forces = off.means(case.material.group[case.held_out])
    return {
        "set": case.title,
        "seed": case.seed,
        "labelled": count,
        "way": way,
        "pretraining": 0 if begin is None else case.steps,
        "steps": 0 if way == SNAP else train_steps,
        "energy": energy,
        "forces": forces,
        "pooled": float(np.abs(np.concatenate(off.forces)).mean()),
        "seconds": round(seconds),
    }


def print_table(lines: list[dict], labelled: list[int]) -> None:
    """Print means over seeds and their standard errors."""
    for name in sorted({line["set"] for line in lines}):
        ways = list(dict.fromkeys(line["way"] for line in lines if line["set"] == name))
        for kind, unit in (("forces", "eV/A"), ("energy", "meV/atom")):
            for way in ways:
                cells = [_cell(lines, name, count, way, kind) for count in labelled]
                print(f"| {name} | {kind}, {unit} | {way} | {' | '.join(cells)} |")


def _values(lines: list[dict], name: str, count: int, way: str, kind: str) -> dict[int, float]:
    """Return the errors by seed."""
    of = (line for line in lines if (line["set"], line["labelled"], line["way"]) == (name, count, way))
    return {line["seed"]: line[kind] for line in of}


def _cell(lines: list[dict], name: str, count: int, way: str, kind: str) -> str:
    """Return mean and standard error over splits, how many, and the mean of the logarithm of the ratio to scratch.

    That is scratch with the same layers.
    """
    alike = SCRATCH + "".join(f", {part}" for part in way.split(", ") if part.startswith("layers"))
    found, scratch = (_values(lines, name, count, which, kind) for which in (way, alike))
    if not found:
        return ""
    mean = Estimate.of(np.array(list(found.values())))
    digits = 4 if kind == "forces" else 1
    words = f"{mean.mean:.{digits}f} +- {mean.error:.{digits}f} ({len(found)})"
    both = sorted(found.keys() & scratch.keys())
    if way == alike or not both:
        return words
    ratio = Estimate.of(np.log([found[seed] / scratch[seed] for seed in both]))
    factor = math.exp(ratio.mean)
    return f"{words}, {100 * (factor - 1):+.0f} +- {100 * factor * ratio.error:.0f} %"


def draw(lines: list[dict], labelled: list[int], path: Path) -> None:
    """Draw forces and energies over the number of labels, a column for each set."""
    names = sorted({line["set"] for line in lines})
    ways = list(dict.fromkeys(line["way"] for line in lines))
    figure, axes = plt.subplots(2, len(names), figsize=(3.4 * len(names), 5.6), sharex=True, squeeze=False)
    for column, name in enumerate(names):
        for row, (kind, words) in enumerate([("forces", "force MAE, eV/A"), ("energy", "energy MAE, meV/atom")]):
            for way in ways:
                at = [count for count in labelled if _values(lines, name, count, way, kind)]
                points = [Estimate.of(np.array(list(_values(lines, name, count, way, kind).values()))) for count in at]
                if at:
                    means, errors = ([getattr(point, what) for point in points] for what in ("mean", "error"))
                    axes[row, column].errorbar(at, means, np.nan_to_num(errors), marker="o", capsize=3, label=way)
            axes[row, column].set(xscale="log", title=name if row == 0 else "")
            axes[row, column].set_ylim(bottom=0)
            axes[row, column].set_xticks(labelled, [str(count) for count in labelled], minor=False)
            axes[row, column].minorticks_off()
            axes[row, 0].set_ylabel(words)
        axes[1, column].set_xlabel("labelled frames")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper center", ncols=len(ways))
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run what is not in the results, or print what is."""
    parser = parser_of(__doc__)
    parser.add_argument("--train-steps", type=int, default=1000, help="of the potentials")
    parser.add_argument("--ways", nargs="+", default=["plain"], choices=["plain", "random", "frozen", "snap"])
    parser.add_argument("--layers", nargs="+", default=[""], help="that energies are made from; '': the last")
    parser.add_argument("--results", type=Path, nargs="+", required=True, help="JSON lines; written to the first")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    ends = {"plain": "", "random": ", random readout", "frozen": ", frozen"}
    begun = [f"{tasks}{ends[how]}" for tasks in tasks_of(arguments) for how in arguments.ways if how in ends]
    read = [f", layers {digits}" if digits else "" for digits in arguments.layers]
    ways = [*dict.fromkeys([SCRATCH, *(SCRATCH + of for of in read)]), *([SNAP] if "snap" in arguments.ways else [])]
    ways += [way + of for way in begun for of in read]
    every = list(cases(arguments))
    for count in arguments.labelled:
        for case in every:
            for way in ways:
                pretraining = 0 if way.startswith((SCRATCH, SNAP)) else case.steps
                steps = 0 if way == SNAP else arguments.train_steps
                key = (case.title, case.seed, count, way, pretraining, steps)
                if key in {tuple(line[name] for name in KEY) for line in lines_of(arguments.results)}:
                    continue
                line = run(case, count, way, arguments.train_steps)
                print(line, flush=True)
                with arguments.results[0].open("a") as file:
                    file.write(json.dumps(line) + "\n")
    lines = lines_of(arguments.results)
    for way in {line["way"] for line in lines}:
        settings = {(line["pretraining"], line["steps"]) for line in lines if line["way"] == way}
        if len(settings) > 1:
            parser.error(f"{way}: there are results of several numbers of steps, {sorted(settings)}: keep them apart")
    labelled = sorted({line["labelled"] for line in lines})
    print_table(lines, labelled)
    if arguments.figure is not None:
        draw(lines, labelled, arguments.figure)


if __name__ == "__main__":
    main()
