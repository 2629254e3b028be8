"""How far predicted energies, forces and stresses are from labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlff_curate.cgcnn.potential import Predicted
    from mlff_curate.data.labels import Labels


def potential_errors(
    predicted: Predicted, labels: Sequence[Labels], n_atoms: np.ndarray, frames: np.ndarray
) -> dict[str, float]:
    """Return mean absolute and root mean square errors over some frames.

    Parameters
    ----------
    predicted
        Of F frames.
    labels
        (F,).
    n_atoms
        (F,) atoms of each.
    frames
        Which ones count; errors of a kind of label that none of them has are left out.

    Returns
    -------
    dict
        ``energy_mae``, ``energy_rmse`` in eV/atom, over frames; ``force_...`` in eV/Angstrom, over components;
        ``stress_...`` in eV/Angstrom^3, over components.
    """
    first = np.concatenate([[0], np.cumsum(n_atoms)])
    off: dict[str, list[np.ndarray]] = {"energy": [], "force": [], "stress": []}
    for i in frames.tolist():
        label = labels[i]
        if label.energy is not None:
            off["energy"].append(np.atleast_1d((predicted.energy[i] - label.energy) / n_atoms[i]))
        if label.forces is not None:
            off["force"].append((predicted.forces[first[i] : first[i + 1]] - label.forces).ravel())
        if label.stress is not None and np.isfinite(predicted.stress[i]).all():
            off["stress"].append(predicted.stress[i] - label.stress)
    out = {}
    for kind, parts in off.items():
        if parts:
            values = np.concatenate(parts)
            out[f"{kind}_mae"] = float(np.abs(values).mean())
            out[f"{kind}_rmse"] = float(np.sqrt(np.mean(values**2)))
    return out


def errors_of_groups(
    predicted: Predicted, labels: Sequence[Labels], n_atoms: np.ndarray, groups: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return :func:`potential_errors` of each group, in the order of names, and its number of ``frames``.

    Parameters
    ----------
    predicted, labels, n_atoms
        Of F frames.
    groups
        (F,) names.
    """
    names = np.array(groups)
    of_name = {name: np.flatnonzero(names == name) for name in sorted(set(groups))}
    return {
        name: {**potential_errors(predicted, labels, n_atoms, some), "frames": float(len(some))}
        for name, some in of_name.items()
    }
