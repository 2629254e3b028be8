"""The fit finds what is there, ignores what is missing, and its errors are means of the right things."""

import dataclasses

import numpy as np
import pytest

from mlff_curate.errors import DataError
from mlff_curate.linear import ridge
from mlff_curate.linear.ridge import Design, LinearFit, errors, fit, predict

K = 6


def made_up(F=40, species=2, noise=0.0, seed=0) -> Design:
    """Frames of one to four atoms whose labels are linear in the rows, up to noise."""
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 5, F)
    offset = np.concatenate([[0], np.cumsum(n)])
    composition = rng.dirichlet(np.ones(species), F)
    energy_rows = rng.normal(size=(F, K)) * 10.0 ** np.arange(-3, 3)
    force_rows = (rng.normal(size=(3 * offset[-1], K)) * 10.0 ** np.arange(-3, 3)).astype(np.float32)
    truth = rng.normal(size=K) / 10.0 ** np.arange(-3, 3)
    return Design(
        composition,
        energy_rows,
        force_rows,
        composition @ rng.normal(size=species) * 5 + energy_rows @ truth + noise * rng.normal(size=F),
        force_rows @ truth + noise * rng.normal(size=len(force_rows)),
        offset,
        np.ones(F, dtype=bool),
    )


ALL = np.arange(40)


def predictions(design, frames=ALL, **changes):
    energy, forces = predict(design, fit(dataclasses.replace(design, **changes), frames), ALL)
    return np.concatenate([energy, np.concatenate(forces).ravel()])


def test_labels_of_a_linear_model_are_recovered_on_frames_not_seen():
    design = made_up()
    result = errors(design, fit(design, ALL[:20]), ALL[20:], np.zeros(40, dtype=int))
    assert result.pooled.energy_rmse < 0.05  # meV/atom; the penalty is all that is left
    assert result.pooled.force_rmse < 1e-4


def test_units_of_the_descriptor_do_not_matter():
    design = made_up(noise=0.3)
    scale = 10.0 ** np.array([6, -6, 3, 0, -3, 2])
    scaled = dataclasses.replace(
        design, energy_rows=design.energy_rows * scale, force_rows=(design.force_rows * scale).astype(np.float32)
    )
    assert np.allclose(predictions(scaled), predictions(design), atol=1e-5)


def test_the_same_frames_twice_give_the_same_fit():
    design = made_up(noise=0.3)
    twice = fit(design, np.concatenate([ALL, ALL]))
    assert np.allclose(twice.coefficients, fit(design, ALL).coefficients, rtol=1e-9)


def test_the_order_of_frames_does_not_matter():
    design = made_up(noise=0.3)
    assert np.allclose(predictions(design, ALL[::-1]), predictions(design), rtol=1e-9)


def test_the_zero_of_energy_is_free():
    design = made_up(noise=0.3)
    shift = design.composition @ [1e5, -1e5]  # eV/atom
    a, b = fit(design, ALL), fit(dataclasses.replace(design, energy=design.energy + shift), ALL)
    assert np.allclose(b.coefficients, a.coefficients, rtol=1e-5)
    assert np.allclose(b.constants - a.constants, [1e5, -1e5])


def test_one_stoichiometry_leaves_the_constants_open_but_not_the_energies():
    design = made_up()
    design = dataclasses.replace(
        design, composition=np.full((40, 2), 0.5), energy=design.energy_rows @ np.ones(K) - 3.0
    )
    result = fit(design, ALL)
    assert np.isfinite(result.constants).all()
    assert result.constants.mean() == pytest.approx(-3.0, abs=0.05)


def test_a_missing_label_is_not_zero():
    design = made_up(noise=0.3)
    energy, forces = design.energy.copy(), design.forces.copy()
    energy[30:] = np.nan
    forces[design.offset[30] * 3 :] = np.nan
    missing = predictions(design, energy=energy, forces=forces)
    assert np.allclose(missing, predictions(design, ALL[:30]), rtol=1e-9)
    zeros = predictions(design, energy=np.nan_to_num(energy), forces=np.nan_to_num(forces))
    assert not np.allclose(zeros, missing, rtol=1e-2)


@pytest.mark.parametrize("label", ["energy", "forces"])
def test_one_kind_of_label_is_enough(label):
    design = made_up()
    other = {"energy": "forces", "forces": "energy"}[label]
    half = dataclasses.replace(design, **{other: np.full(len(getattr(design, other)), np.nan)})
    result = errors(half, fit(half, ALL[:30]), ALL[30:], np.zeros(40, dtype=int))
    assert result.pooled.energy_mae < 1.0 if label == "energy" else np.isnan(result.pooled.energy_mae)
    assert result.group_mean.force_mae < 1e-3 if label == "forces" else np.isnan(result.group_mean.force_mae)


def test_no_labels_at_all_is_an_error():
    design = made_up()
    bare = dataclasses.replace(design, energy=np.full(40, np.nan), forces=np.full(len(design.forces), np.nan))
    with pytest.raises(DataError, match="none of the frames"):
        fit(bare, ALL)


def test_a_column_of_zeros_gets_no_weight():
    design = made_up()
    design.energy_rows[:, 2] = 0.0
    design.force_rows[:, 2] = 0.0
    assert fit(design, ALL).coefficients[2] == 0.0


def test_blocks_of_rows_add_up(monkeypatch):
    design = made_up(noise=0.3)
    whole = predictions(design)
    monkeypatch.setattr(ridge, "_VALUES_AT_ONCE", 7 * K)
    assert np.allclose(predictions(design), whole, rtol=1e-9)


def test_errors_by_hand():
    # three frames of one atom; the model predicts zero, so the errors are the labels
    design = Design(
        composition=np.ones((3, 1)),
        energy_rows=np.zeros((3, 1)),
        force_rows=np.zeros((9, 1), dtype=np.float32),
        energy=np.array([0.001, -0.003, 0.010]),
        forces=np.array([1.0, 1, 1, 3, 3, 3, -6, 0, 0]),
        offset=np.arange(4),
        sound=np.ones(3, dtype=bool),
    )
    result = errors(design, LinearFit(np.zeros(1), np.zeros(1)), np.arange(3), np.array([0, 0, 1]))
    assert result.groups[0].energy_mae == pytest.approx(2.0)  # meV/atom
    assert result.groups[1].energy_mae == pytest.approx(10.0)
    assert result.group_mean.energy_mae == pytest.approx(6.0)
    assert result.pooled.energy_mae == pytest.approx(14 / 3)
    assert result.pooled.energy_rmse == pytest.approx(np.sqrt((1 + 9 + 100) / 3))
    assert result.group_mean.force_mae == pytest.approx((2.0 + 2.0) / 2)
    assert result.groups[1].force_rmse == pytest.approx(np.sqrt(36 / 3))
    assert result.pooled.force_mae == pytest.approx(2.0)
