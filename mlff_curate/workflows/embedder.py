"""A trained pipeline from frames to clusters, and the one file that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_curate.data.checkpoints import Checkpoint, checkpoint_bytes, read_checkpoint
from mlff_curate.descriptors.registry import restore_descriptor
from mlff_curate.descriptors.scaling import Scaling
from mlff_curate.meagraph.checkpoint import KIND, pack, unpack

if TYPE_CHECKING:
    from pathlib import Path

    from mlff_curate.descriptors.base import Descriptor
    from mlff_curate.meagraph.model import MEAGraph

    Shapes = dict[str, tuple[str, tuple[int | str, ...]]]

_SCALING: Shapes = {
    "mean": ("float64", ("D",)),
    "inverse": ("float64", ("D",)),
    "axes": ("float64", ("D", "d")),
}
_ENCODER = "encoder"
_SIZES: Shapes = {"environments": ("int64", ("C",))}


@dataclass(frozen=True)
class Embedder:
    """All that is needed to embed new frames as the old were.

    Attributes
    ----------
    descriptor, scaling
        Frames to scaled descriptors.
    model
        Trained; its clusters are numbered by size.
    cluster_size
        (C,) environments of the training data in each cluster.
    """

    descriptor: Descriptor
    scaling: Scaling
    model: MEAGraph
    cluster_size: np.ndarray

    def to_bytes(self) -> bytes:
        """Return the model file.

        Raises
        ------
        UsageError
            The model is of the published mode.
        """
        arrays, settings = pack(self.model)
        scaling = self.scaling
        encoder = _packed_encoder(self.descriptor)
        return checkpoint_bytes(
            KIND,
            {
                **{f"{_ENCODER}.{name}": array for name, array in encoder[0].items()},
                **{f"model.{name}": array for name, array in arrays.items()},
                **{f"scaling.{name}": getattr(scaling, name).astype(np.float64) for name in _SCALING},
                "clusters.environments": self.cluster_size.astype(np.int64),
            },
            {
                "model": settings,
                "descriptor": self.descriptor.settings(),
                **({_ENCODER: encoder[1]} if encoder[1] else {}),
                "scaling": {"radius": float(scaling.radius)},
                "clusters": {},
            },
        )

    @classmethod
    def read(cls, path: str | Path, device: str = "cpu") -> Embedder:
        """Read a model file, for use on a torch device.

        Raises
        ------
        DataError
            It is not there, damaged, or none of ours.
        """
        checkpoint = read_checkpoint(path, KIND)
        parts = {name: checkpoint.part(name) for name in ("model", "scaling", "clusters")}
        if _ENCODER in checkpoint.settings:
            parts[_ENCODER] = checkpoint.part(_ENCODER)
        try:
            descriptor = _restored(checkpoint.setting("descriptor", dict), parts.get(_ENCODER))
        except ValueError as error:
            checkpoint.fail(str(error))
        model = unpack(parts["model"], device)
        sizes = {"D": descriptor.size, "d": len(parts["model"].arrays["noise.mean"])}
        scaling = _take(parts["scaling"], _SCALING, sizes)
        cluster_size = _take(parts["clusters"], _SIZES, {})["environments"]
        checkpoint.require_no_more(
            {f"{name}.{array}": None for name, part in parts.items() for array in part.arrays},
        )
        anchors = parts["model"].arrays
        if set(anchors["anchor.species"].tolist()) != set(descriptor.species):
            checkpoint.fail("descriptor and anchors have different elements")
        if (anchors["anchor.cluster"] >= len(cluster_size)).any() or (cluster_size < 0).any():
            checkpoint.fail("the array clusters.environments does not fit the clusters of the anchors")
        radius = parts["scaling"].setting("radius", float)
        return cls(
            descriptor, Scaling(scaling["mean"], scaling["inverse"], radius, scaling["axes"]), model, cluster_size
        )


def _packed_encoder(descriptor: Descriptor) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and settings of an encoder that describes; nothing of another descriptor.

    A model that named a file would embed otherwise once that is gone or trained anew.
    """
    if descriptor.name != _ENCODER:
        return {}, {}
    from mlff_curate.cgcnn.network_file import network_arrays, sizes_setting
    from mlff_curate.pretraining.descriptor import EncoderDescriptor

    assert isinstance(descriptor, EncoderDescriptor)
    network = descriptor.network
    dtype = str(network.embedding.weight.dtype).removeprefix("torch.")
    return network_arrays(network), {"sizes": sizes_setting(network.sizes), "dtype": dtype}


def _restored(settings: dict[str, Any], encoder: Checkpoint | None) -> Descriptor:
    if encoder is None:
        return restore_descriptor(settings)
    from mlff_curate.cgcnn.network_file import read_network
    from mlff_curate.cgcnn.potential import DTYPES
    from mlff_curate.pretraining.descriptor import EncoderDescriptor

    dtype = encoder.setting("dtype", str)
    if dtype not in DTYPES:
        encoder.fail(f"the setting dtype is {dtype[:40]!r}")
    return EncoderDescriptor.restore(read_network(encoder, dtype), settings)


def _take(part: Checkpoint, wanted: Shapes, sizes: dict[str, int]) -> dict[str, Any]:
    part.require_arrays(wanted, sizes)
    part.require_no_more(wanted)
    return {name: part.arrays[name] for name in wanted}
