"""What each part of the default selection is worth: `prune` with one part changed at a time, judged as prune_scores.py.

    ablation_prune.py JUDGE SCORES DATA.extxyz... [--seeds 5] [--variants 'default,no floor']

JUDGE is prune_quality.py, imported for its problem, fit and errors (its design rows are read from --cache); SCORES the
folder that prune_scores.py left for the same sets and number of seeds, which has the baselines. Frames are described
once per split and variant of the description, with the split's number as seed.

Besides the score, each variant is compared with the default split by split: the mean logarithm of the ratio of errors
over all cells, as a factor, and its standard error over splits of all sets. Below 1 the variant is better.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.io import write
from prune_scores import BASELINES

from mlff_curate.pruning import information
from mlff_curate.pruning.selectors import SELECTORS
from mlff_curate.workflows.survey import SurveyOptions, read_pile, survey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from mlff_curate.pruning.problem import Pool

FRACTIONS = (0.05, 0.1, 0.2, 0.5)
CONSTANTS = {name: getattr(information, name) for name in ("LIKENESS", "ENERGY_NOISE", "FORCE_NOISE", "OFFSET")}


@dataclass(frozen=True)
class Variant:
    """One part changed.

    Attributes
    ----------
    embedding, meagraph
        See :class:`SurveyOptions`.
    views
        Descriptions that the objective sees: ``both``, ``first`` or ``second``.
    floor
        Whether clusters are represented, and groups.
    constants
        Of the objective.
    selector
        One of SELECTORS.
    """

    embedding: str = "descriptor"
    meagraph: dict[str, Any] = field(default_factory=dict)
    views: str = "both"
    floor: str = "clusters and groups"
    constants: dict[str, float] = field(default_factory=dict)
    selector: str = "coverage"

    def seen(self, pool: Pool) -> Pool:
        """Return what the selector is shown."""
        if self.views == "first":
            pool = replace(pool, detail=None)
        if self.views == "second":
            pool = replace(pool, X=pool.detail, detail=None)
        return replace(pool, cluster=np.full_like(pool.cluster, -1)) if self.floor != "clusters and groups" else pool

    def choose(self, pool: Pool, count: int, seed: int) -> np.ndarray:
        """Return indices of frames."""
        for name, value in {**CONSTANTS, **self.constants}.items():
            setattr(information, name, value)
        chosen: np.ndarray = SELECTORS[self.selector](count, seed=seed).fit(self.seen(pool)).selection_.chosen
        return chosen


def _noise(times: float) -> dict[str, float]:
    return {name: times * CONSTANTS[name] for name in ("ENERGY_NOISE", "FORCE_NOISE")}


VARIANTS = {
    "default": Variant(),
    "floor of groups alone": Variant(floor="groups"),
    "mean energy held for known": Variant(constants={"OFFSET": 0.0}),
    "no likeness": Variant(constants={"LIKENESS": 0.0}),
    "likeness halved": Variant(constants={"LIKENESS": 0.05}),
    "likeness doubled": Variant(constants={"LIKENESS": 0.2}),
    "noise halved": Variant(constants=_noise(0.5)),
    "noise doubled": Variant(constants=_noise(2.0)),
    "noise ten times": Variant(constants=_noise(10.0)),
    "first view alone": Variant(views="first"),
    "second view alone": Variant(views="second"),
    "embedding as first view": Variant(embedding="meagraph"),
    "embedding alone": Variant(embedding="meagraph", views="first"),
    "embedding alone untrained": Variant(embedding="meagraph", views="first", meagraph={"epochs": 0}),
    "embedding alone 1 kernel": Variant(embedding="meagraph", views="first", meagraph={"kernels": 1}),
    "embedding alone no edge pooling": Variant(embedding="meagraph", views="first", meagraph={"training_rate": None}),
    "farthest points": Variant(selector="fps"),
    "quests-style cover": Variant(selector="quests"),
    "stratified": Variant(selector="stratified"),
    "cluster quota": Variant(selector="cluster-quota"),
}


def splits(problem: Any, seeds: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield seed, pool and held-out frames, as the judge draws them."""
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        groups = (np.flatnonzero(problem.group == name) for name in np.unique(problem.group))
        held_out = np.concatenate([rng.permutation(rows)[: max(1, len(rows) // 5)] for rows in groups])
        yield seed, np.setdiff1d(np.arange(len(problem.n)), held_out), held_out


def surveyed(problem: Any, pool: np.ndarray, variant: Variant, seed: int) -> Pool:
    """Return the pool of a variant's selector."""
    frames = []
    for i in pool:
        frames.append(problem.frames[i].copy())
        frames[-1].calc = problem.frames[i].calc
    options = SurveyOptions(embedding=variant.embedding, meagraph=variant.meagraph, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "pool.extxyz"), frames)
        return survey(read_pile(Path(folder, "pool.extxyz"), options), options).pool


def errors(judge: ModuleType, path: Path, names: list[str], seeds: int, cache: str) -> np.ndarray:
    """Return held-out errors of energies and forces, (V, J, fractions, 2)."""
    problem = judge.Problem(str(path), cache)
    out = np.empty((len(names), seeds, len(FRACTIONS), 2))
    for seed, pool, held_out in splits(problem, seeds):
        pools: dict[str, Pool] = {}
        for v, name in enumerate(names):
            variant = VARIANTS[name]
            key = f"{variant.embedding} {variant.meagraph}"
            if key not in pools:
                pools[key] = surveyed(problem, pool, variant, seed)
            for k, fraction in enumerate(FRACTIONS):
                chosen = variant.choose(pools[key], max(5, round(fraction * len(pool))), seed)
                out[v, seed, k] = problem.errors(problem.fit(pool[chosen]), held_out)
    return out


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judge", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--cache", default=str(Path.home() / ".cache/prune_quality"))
    arguments = parser.parse_args()
    spec = importlib.util.spec_from_file_location("judge", arguments.judge)
    assert spec is not None
    assert spec.loader is not None
    judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(judge)
    names = list(dict.fromkeys(["default", *arguments.variants.split(",")]))
    logs, against = [], []
    for path in arguments.data:
        found = np.log(errors(judge, path, names, arguments.seeds, arguments.cache))
        methods = json.loads((arguments.scores / f"{path.stem}.json").read_text())["methods"]
        best = np.array([np.min([methods[b]["errors"][str(f)] for b in BASELINES], axis=0) for f in FRACTIONS])
        logs.append(found.mean(axis=1) - np.log(best))  # (V, fractions, 2)
        against.append((found - found[0]).mean(axis=(2, 3)))  # (V, J)
        print(path.stem, "done", flush=True)
    per_split = np.concatenate(against, axis=1)
    print("| variant | " + " | ".join(p.stem for p in arguments.data) + " | together | worst cell | against default |")
    print("|---" * (len(arguments.data) + 4) + "|")
    for v, name in enumerate(names):
        cells = " | ".join(f"{np.exp(part[v].mean()):.3f}" for part in logs)
        together, worst = np.exp(np.mean([part[v] for part in logs])), np.exp(max(part[v].max() for part in logs))
        factor = np.exp(per_split[v].mean())
        error = factor * per_split[v].std(ddof=1) / np.sqrt(per_split.shape[1])
        print(f"| {name} | {cells} | {together:.3f} | {worst:.2f} | {factor:.3f} \u00b1 {error:.3f} |")


if __name__ == "__main__":
    main()
