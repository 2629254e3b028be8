"""Distances as numbers that a network can use: Gaussians on a grid."""

from __future__ import annotations

import torch

STEP = 0.2
"""Angstrom: between the Gaussians' centres, and their width."""


def gaussian_centres(longest: float, step: float = STEP) -> torch.Tensor:
    """Return the centres 0, step ... longest, (D,): 41 of them for 8 Angstrom."""
    return torch.arange(round(longest / step) + 1, dtype=torch.float64) * step


def gaussian_expansion(distance: torch.Tensor, centres: torch.Tensor, width: float = STEP) -> torch.Tensor:
    """Return ``exp(-(r - mu)^2 / width^2)``, (E, D) float32.

    Parameters
    ----------
    distance
        (E,) r, Angstrom.
    centres
        (D,) mu, Angstrom.
    width
        Angstrom.
    """
    return torch.exp(-((distance.to(torch.float64)[:, None] - centres) ** 2) / width**2).to(torch.float32)
