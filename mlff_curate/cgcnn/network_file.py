"""The network of a potential in a file, a potential's or an encoder's."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import torch

from mlff_curate.cgcnn.elements import LAST_ELEMENT
from mlff_curate.cgcnn.potential import DTYPES, MOST_CONVOLUTIONS, MOST_CUTOFF
from mlff_curate.cgcnn.potential_network import PotentialNetwork, PotentialSizes, require_surroundings
from mlff_curate.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from mlff_curate.data.checkpoints import Checkpoint, Shape

POTENTIAL_KIND = "cgcnn-potential"
ENCODER_KIND = "cgcnn-encoder"
ROWS = "readouts"
"""The array of an encoder's file with the rows of its readouts."""
_MOST = 2**20
_KINDS: dict[str, type] = {"elements": list, "cutoff": float, "neighbours": float, "layers": str}
"""Of sizes that are no whole numbers."""


def network_arrays(network: PotentialNetwork) -> dict[str, np.ndarray]:
    """Return the weights as arrays of a file."""
    return {f"network.{name}": value.detach().cpu().numpy() for name, value in network.state_dict().items()}


def sizes_setting(sizes: PotentialSizes) -> dict[str, Any]:
    """Return the sizes as a setting of a file."""
    return asdict(sizes) | {"elements": list(sizes.elements)}


def read_network(
    checkpoint: Checkpoint, dtype: str, more: dict[str, tuple[str, Shape]] | None = None
) -> PotentialNetwork:
    """Return the network in a file, in evaluation mode.

    Parameters
    ----------
    checkpoint
        What the file holds.
    dtype
        Of its numbers.
    more
        Arrays besides the network's, name to dtype and shape; a word in a shape, ``"elements"``, is their number.

    Raises
    ------
    DataError
        Sizes and arrays do not make a network, or there are other arrays; names array or setting.
    """
    sizes = _sizes(checkpoint)
    # settings could ask for a network of any size: none is made that the file cannot fill
    held = sum(array.size for array in checkpoint.arrays.values())
    shapes = (sizes.degree + 1) * sizes.angular * (sizes.angular + 2 * sizes.channels)
    least = sizes.convolutions * (sizes.channels * (sizes.channels + 2 * sizes.radial) + shapes)
    if least + len(sizes.elements) * sizes.channels > held:
        checkpoint.fail("the setting sizes does not fit the arrays")
    network = PotentialNetwork(sizes).to(DTYPES[dtype])
    own = network.state_dict()
    wanted: dict[str, tuple[str, Shape]] = {
        f"network.{name}": (dtype, tuple(value.shape)) for name, value in own.items()
    }
    wanted |= more or {}
    checkpoint.require_arrays(wanted, {"elements": len(sizes.elements)})
    checkpoint.require_no_more(wanted)
    network.load_state_dict({name: torch.from_numpy(checkpoint.arrays[f"network.{name}"]).clone() for name in own})
    network.eval()
    return network


def read_encoder_network(checkpoint: Checkpoint, dtype: str) -> tuple[PotentialNetwork, torch.Tensor | None]:
    """Return the network in an encoder's file, and the rows of its readouts, (R, H), if these were trained.

    Raises
    ------
    DataError
        See :func:`read_network`.
    """
    count = checkpoint.setting("readouts", int)
    if not 0 <= count < _MOST:
        checkpoint.fail("the setting readouts is out of range")
    if not count:
        return read_network(checkpoint, dtype), None
    channels = checkpoint.setting("sizes.channels", int)
    network = read_network(checkpoint, dtype, {ROWS: (dtype, (count, channels))})
    return network, torch.from_numpy(checkpoint.arrays[ROWS]).clone()


def _sizes(checkpoint: Checkpoint) -> PotentialSizes:
    values: dict[str, Any] = {}
    for field in fields(PotentialSizes):
        name = field.name
        values[name] = checkpoint.setting(f"sizes.{name}", _KINDS.get(name, int))
    elements = values["elements"]
    ascending = all(type(z) is int and 0 <= z <= LAST_ELEMENT for z in elements) and elements == sorted(set(elements))
    if not elements or not ascending:
        checkpoint.fail("the setting sizes.elements holds other than atomic numbers, ascending")
    whole = [values[name] for name in ("channels", "radial", "convolutions", "angular")]
    if not all(1 <= value < _MOST for value in whole) or values["convolutions"] > MOST_CONVOLUTIONS:
        checkpoint.fail("the setting sizes asks for a network of no sensible size")
    if not -1 <= values["degree"] <= 6 or not 0 < values["cutoff"] <= MOST_CUTOFF or not values["neighbours"] > 0:
        checkpoint.fail("the setting sizes is out of range")
    sizes = PotentialSizes(**{**values, "elements": tuple(elements)})
    try:
        require_surroundings(sizes.read)
    except UsageError:
        checkpoint.fail("the setting sizes.layers names layers that make no energies")
    return sizes
