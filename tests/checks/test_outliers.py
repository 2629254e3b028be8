"""What a label's residual means beside those of the frame's other labels."""

from dataclasses import replace

import numpy as np
import pytest

from mlff_curate.checks.known import Known
from mlff_curate.checks.local_model import Judgement, Residuals
from mlff_curate.checks.outliers import suspects

ATOMS = 8


def one_frame(energy=0.0, forces=0.0, stress=0.0, free=True, end=False) -> tuple[Known, Judgement]:
    """A frame whose labels are off by so many times what look-alikes are off by: 0.01 eV/atom, eV/Angstrom and eV."""
    rng = np.random.default_rng(0)
    predicted = rng.normal(size=(ATOMS, 3))
    predicted -= predicted.mean(axis=0)
    spread = np.ones((ATOMS, 3))
    spread[::2] = -1.0
    volume = 18.0 * ATOMS
    virial = np.array([0.5, 0.4, 0.6, 0.02, -0.03, 0.01])
    known = Known(
        offset=np.array([0, ATOMS]),
        volume=np.array([volume]),
        energy=np.array([-11.0 * ATOMS + 0.01 * energy * ATOMS]),
        forces=(predicted + 0.01 * forces * spread).ravel(),
        stress=(virial + 0.01 * stress)[None] / (volume / ATOMS),
    )

    def of(values: np.ndarray, size: float) -> Residuals:
        return Residuals(values, np.array([0.01 * size]), np.array([0.01]))

    return known, Judgement(
        energy=of(np.array([-11.0 * ATOMS]), energy),
        forces=of(predicted.ravel(), forces),
        stress=of(virial[None], stress),
        largest=of(predicted.ravel(), forces),
        shear=of(virial[None], stress),
        lean=np.array([0.01 * energy]),
        worst_atom=np.array([0]),
        free=np.array([free]),
        end=np.array([end]),
    )


def rules(known: Known, judgement: Judgement) -> list[str]:
    return [suspect.rule for suspect in suspects(known, judgement, 1e-6)]


def test_an_energy_is_told_earlier_where_forces_and_stress_are_as_predicted():
    assert rules(*one_frame(energy=7, forces=1, stress=1)) == ["energy-outlier"]
    assert rules(*one_frame(energy=6, forces=1, stress=1)) == []


@pytest.mark.parametrize("other", [{"forces": 2}, {"stress": 2}, {"free": False}, {"end": True}])
def test_where_they_do_not_bear_it_out_more_is_asked_for(other):
    assert rules(*one_frame(energy=11, **other)) == []
    assert rules(*one_frame(energy=17, **other)) == ["energy-outlier"]


def test_without_a_stress_the_forces_alone_bear_an_energy_out():
    known, judgement = one_frame(energy=7)
    nothing = Residuals(np.full((1, 6), np.nan), np.array([np.nan]), np.array([np.inf]))
    known = replace(known, stress=np.full((1, 6), np.nan))
    assert rules(known, replace(judgement, stress=nothing, shear=nothing)) == ["energy-outlier"]


def test_without_forces_nothing_bears_an_energy_out():
    known, judgement = one_frame(energy=7)
    nothing = Residuals(judgement.forces.predicted, np.array([np.nan]), np.array([np.inf]))
    known = replace(known, forces=np.full_like(known.forces, np.nan))
    assert rules(known, replace(judgement, forces=nothing, largest=nothing)) == []


def test_forces_are_told_earlier_where_energy_and_stress_are_as_predicted():
    assert rules(*one_frame(energy=1, forces=6, stress=1)) == ["force-outlier"]
    assert rules(*one_frame(energy=2, forces=6, stress=1)) == []


def test_at_an_end_a_stress_of_the_wrong_sign_is_told_and_a_mere_outlier_is_not():
    known, judgement = one_frame(stress=8, end=True)
    assert rules(known, judgement) == []
    opposite = replace(known, stress=-known.stress)
    size = np.sqrt(np.mean((opposite.stress * 18.0 - judgement.stress.predicted) ** 2, axis=1))
    off = replace(judgement.stress, size=size, scale=size / 8)
    assert rules(opposite, replace(judgement, stress=off)) == ["stress-sign"]
