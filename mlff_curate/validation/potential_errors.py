"""How far predicted energies, forces and stresses are from labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlff_curate.cgcnn.potential import Predicted
    from mlff_curate.data.labels import Labels


_LEAST_FRAMES, _LEAST_COMPONENTS = 5, 30
"""Labels that errors are judged by: of fewer, chance decides."""
_NO_ENERGY = 1e-3
"""eV/atom: frames that are all but copies, whose mean says as much as any potential."""

_NO_FORCE = 1e-3
"""eV/Angstrom: forces of crystals at rest, which zeros predict better than any potential."""


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


def errors_without_neighbours(
    frames: Sequence[Atoms], labels: Sequence[Labels], learned: np.ndarray, judged: np.ndarray
) -> dict[str, float]:
    """Return the mean absolute errors of what anybody could guess: energies by elements alone, and no forces.

    Parameters
    ----------
    frames, labels
        F frames.
    learned
        Indices of frames that the energy of each element is fitted to, by least squares; with one element their mean.
    judged
        Indices of frames that errors are of.

    Returns
    -------
    dict
        ``energy_mae`` in eV/atom and ``force_mae`` in eV/Angstrom; what is left out has too few labels to be judged by,
        or energies or forces that are all but what anybody could guess.
    """
    out = {}
    fitted, held_out = ([i for i in some.tolist() if labels[i].energy is not None] for some in (learned, judged))
    if len(held_out) >= _LEAST_FRAMES and fitted:
        shares, energies = _by_elements(frames, labels)
        level = np.linalg.lstsq(shares[fitted], energies[fitted], rcond=None)[0]
        off = float(np.abs(shares[held_out] @ level - energies[held_out]).mean())
        if off > _NO_ENERGY:
            out["energy_mae"] = off
    forces = [known.ravel() for i in judged.tolist() if (known := labels[i].forces) is not None]
    sizes = np.abs(np.concatenate(forces)) if forces else np.zeros(0)
    if len(sizes) >= _LEAST_COMPONENTS and sizes.mean() > _NO_FORCE:
        out["force_mae"] = float(sizes.mean())
    return out


def _by_elements(frames: Sequence[Atoms], labels: Sequence[Labels]) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of elements in each frame, (F, S), and energies per atom, (F,); nan where there is none."""
    elements = np.unique(np.concatenate([atoms.numbers for atoms in frames]))
    shares = np.array([[np.mean(atoms.numbers == z) for z in elements] for atoms in frames])
    energies = [
        np.nan if known.energy is None else known.energy / len(a) for a, known in zip(frames, labels, strict=True)
    ]
    return shares, np.array(energies)


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
        name: {**potential_errors(predicted, labels, n_atoms, some), "frames": len(some)}
        for name, some in of_name.items()
    }
