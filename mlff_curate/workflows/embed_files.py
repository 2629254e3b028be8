"""``embed`` from files to files."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_curate.data.outputs import require_free, whole_files
from mlff_curate.data.store import EmbeddingTable, write_table
from mlff_curate.errors import OutputError, UsageError
from mlff_curate.meagraph.checkpoint import require_savable
from mlff_curate.meagraph.inductive import Inductive
from mlff_curate.wording import counted
from mlff_curate.workflows.descriptor_choice import encoder_file
from mlff_curate.workflows.embed import MODEL_OPTIONS, EmbedOptions, EmbedResult, embed, require_options
from mlff_curate.workflows.telling import peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.descriptors.base import Descriptor
    from mlff_curate.workflows.embed import Progress

_CLUSTERS_SHOWN = 3
_GROUPS_SHOWN = 3
_LEAST_SHARE = 0.01
_NOISE_UNIT = "standard deviation of the thermal noise"


@dataclass(frozen=True)
class EmbedDone:
    """A finished ``embed``.

    Attributes
    ----------
    result
        What was found.
    output
        Where it lies.
    model
        The model file written or read, or None.
    """

    result: EmbedResult
    output: Path
    model: Path | None

    @property
    def seconds(self) -> dict[str, float]:
        """Stage to seconds."""
        return self.result.seconds

    def summary(self, seconds: float) -> dict[str, object]:
        """Return what ``--json`` prints."""
        result = self.result
        training = result.embedder.model.training_
        return {
            "frames": len(result.records),
            "environments": len(result.cluster),
            "clusters": result.clusters,
            "outliers": result.outliers,
            "new": result.new,
            "embedding_size": result.embedding.shape[1],
            "descriptor": result.embedder.descriptor.name,
            "descriptor_settings": result.embedder.descriptor.settings(),
            "descriptor_size": result.environments.X.shape[1],
            "training_epochs": training.epochs,
            "held_out_loss_first": training.held_out_loss[0],
            "held_out_loss_best": training.best,
            "link": result.link,
            "seconds": round(seconds, 3),
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "output": str(self.output),
            "model": None if self.model is None else str(self.model),
            "notes": list(result.notes),
        }

    def lines(self) -> list[str]:
        """Return what a person reads."""
        result = self.result
        descriptor, training = result.embedder.descriptor, result.embedder.model.training_
        if result.trained:
            came = f"trained {counted(training.epochs, 'epoch')}, held-out loss {training.held_out_loss[0]:.3f} to "
            came += f"{training.best:.3f} {_loss_unit(result)}"
        else:
            came = f"stored model {self.model}"
        lines = [
            (
                f"{self.output}: {counted(len(result.cluster), 'environment')} of "
                f"{counted(len(result.records), 'frame')}, embedded in {result.embedding.shape[1]} dimensions"
            ),
            (
                f"{counted(result.clusters, 'cluster')}, {counted(result.outliers, 'outlier')} "
                f"({result.alone} alone in a cluster{'' if result.trained else ' of the training data'}, "
                f"{result.new} in none)"
            ),
        ]
        for number, size, groups in result.largest(_CLUSTERS_SHOWN, _GROUPS_SHOWN):
            names = ", ".join(f"{name} {100 * n / size:.0f} %" for name, n in groups if n >= _LEAST_SHARE * size)
            lines.append(f"cluster {number}: {size}" + (f" ({names})" if result.group_key else ""))
        lines.append(
            f"{descriptor.title}, {_seen(descriptor)}{descriptor.size} components to "
            f"{result.environments.X.shape[1]}; neighbours searched exactly (recall 1); {came}"
        )
        lines += [f"note: {note}" for note in result.notes]
        if result.trained and self.model is not None:
            lines.append(f"to embed new frames as these: --model {self.model}")
        return lines


def embed_files(
    inputs: Sequence[str | Path],
    output: str | Path,
    options: EmbedOptions | None = None,
    *,
    save_model: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EmbedDone:
    """Embed the environments of files, and write what was found and, if asked for, the model.

    Parameters
    ----------
    inputs
        Files to embed.
    output
        OUT, HDF5; see :mod:`mlff_curate.data.store`.
    options
        See :class:`EmbedOptions`.
    save_model
        Where the trained model goes.
    overwrite
        Replace outputs that exist.
    progress
        See :func:`embed`.

    Raises
    ------
    CurateError
        As :func:`embed`; also outputs that exist or cannot be written. Nothing is written then.
    """
    options = options or EmbedOptions()
    mode = require_options(options).mode
    if save_model is not None:
        if options.model is not None:
            raise UsageError("nothing is trained with --model: there is no new model to save", key="--save-model")
        require_savable(mode)
    outputs = [Path(path) for path in (output, save_model) if path is not None]
    for path in outputs:
        if not path.name:
            raise OutputError("is a folder", file=str(path))
    stored = [] if options.model is None else [Path(options.model)]
    encoder = [path for path in [encoder_file(options.descriptor)] if path is not None]
    read = [*(Path(path) for path in (*inputs, *options.files)), *stored, *encoder]
    require_free(outputs, read, overwrite=overwrite)
    result = embed(inputs, options, progress=progress)
    start = time.perf_counter()
    model = result.embedder.to_bytes() if save_model is not None else b""
    with whole_files(*outputs) as streams:
        write_table(streams[0], table_of(result, inputs, options))
        if save_model is not None:
            streams[1].write(model)
    result.seconds["write"] = time.perf_counter() - start
    return EmbedDone(result, outputs[0], outputs[1] if save_model is not None else next(iter(stored), None))


def table_of(result: EmbedResult, inputs: Sequence[str | Path], options: EmbedOptions) -> EmbeddingTable:
    """Return what is stored: columns, units, and how to get the same again."""
    embedder, fitted = result.embedder, result.embedder.model.fitted_
    training = embedder.model.training_
    parameters = {
        name: value if isinstance(value, (int, float, str)) else str(value)
        for name, value in embedder.model.get_params().items()
        if value is not None
    }
    descriptor = embedder.descriptor.settings()
    embedding: dict[str, Any] = {
        **parameters,
        "unit": _NOISE_UNIT if isinstance(fitted, Inductive) else "1",
        "recall": "exact neighbour search",
    }
    cluster: dict[str, Any] = {"numbered": "from the largest in the training data; a stored model keeps its numbers"}
    score: dict[str, Any] = {}
    if isinstance(fitted, Inductive):
        cluster |= {"link_length": fitted.link, "reach": fitted.reach, "link_unit": _NOISE_UNIT}
        score |= {"ordinary_distance": fitted.ordinary, "ordinary_distance_unit": _NOISE_UNIT}
    records = result.records
    return EmbeddingTable(
        first=result.environments.first,
        species=result.environments.species,
        descriptor=result.environments.X,
        embedding=result.embedding,
        cluster=result.cluster,
        outlier_score=result.outlier_score,
        source=[record.source for record in records],
        index=[record.index for record in records],
        sha256=[record.sha256 for record in records],
        group=[record.group for record in records],
        attributes={
            "": {
                "command": _command(inputs, options),
                "seed": embedder.model.seed,
                "group_key": result.group_key or "",
                "position_unit": "Angstrom",
            },
            "descriptor": {
                **descriptor,
                "cutoff_unit": "Angstrom",
                "unscaled_size": embedder.descriptor.size,
                "scaled": "standardised, extremes drawn in, turned to principal axes",
                "unit": "standard deviation of a component",
            },
            "embedding": embedding,
            "cluster": cluster,
            "outlier_score": score,
            "training": {
                "epochs": training.epochs,
                "held_out_loss_first": training.held_out_loss[0],
                "held_out_loss_best": training.best,
                "loss_unit": _loss_unit(result).strip("()"),
            },
        },
        losses={"training_loss": training.train_loss, "held_out_loss": training.held_out_loss},
    )


def _seen(descriptor: Descriptor) -> str:
    """Return how far a descriptor sees, where that is known."""
    return "" if descriptor.cutoff is None else f"cutoff {descriptor.cutoff:.2f} A, "


def _loss_unit(result: EmbedResult) -> str:
    inductive = isinstance(result.embedder.model.fitted_, Inductive)
    return "(noise alone: 1)" if inductive else "(of the input's variance)"


def _command(inputs: Sequence[str | Path], options: EmbedOptions) -> str:
    """Return a command that gives the same numbers: without what has no say in them, such as OUT and workers."""
    words = ["mlff-curate", "embed", *map(str, inputs)]
    for name in ("model", *MODEL_OPTIONS, "group_by"):
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    if options.type_map:
        words += ["--type-map", ",".join(options.type_map)]
    if options.units is not None:
        words += ["--units", options.units]
    if options.log is not None:
        words += ["--log", str(options.log)]
    if options.device != "cpu":
        words += ["--device", options.device]
    return shlex.join(words)
