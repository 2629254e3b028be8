"""Time of spherical harmonics with their derivative: e3nn's own function and the recursion that potentials use.

harmonics.py [--edges 7400] [--degree 4] [--repeats 200]
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import torch
from e3nn.o3 import spherical_harmonics

from mlff_curate.cgcnn.potential_network import SphericalHarmonics

if TYPE_CHECKING:
    from collections.abc import Callable


def nanoseconds(function: Callable[[torch.Tensor], torch.Tensor], direction: torch.Tensor, repeats: int) -> float:
    """Return the least time per edge of values and derivative of their sum, on one thread."""
    best = float("inf")
    for _ in range(repeats):
        direction = direction.detach().requires_grad_()
        start = time.process_time()
        torch.autograd.grad(function(direction).sum(), direction)
        best = min(best, time.process_time() - start)
    return 1e9 * best / max(direction.shape)


def main() -> None:
    """Print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, default=7400)
    parser.add_argument("--degree", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(arguments.edges, 3), dim=1)
    degrees = list(range(arguments.degree + 1))
    own = SphericalHarmonics(arguments.degree)
    off = (
        own(direction.T).T - spherical_harmonics(degrees, direction, normalize=False, normalization="component")
    ).abs()
    for name, function, values in (
        ("e3nn", lambda x: spherical_harmonics(degrees, x, normalize=False, normalization="component"), direction),
        ("recursion", own, direction.T.contiguous()),
    ):
        print(f"{name}: {nanoseconds(function, values, arguments.repeats):.0f} ns per edge")
    print(f"largest difference {float(off.max()):.1e}")


if __name__ == "__main__":
    main()
