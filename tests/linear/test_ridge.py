"""The fit finds what is there, ignores what is missing, and its errors are means of the right things."""

import dataclasses

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.units import GPa

from mlff_curate.data.labels import Labels
from mlff_curate.errors import DataError
from mlff_curate.linear import ridge
from mlff_curate.linear.ridge import Design, LinearFit, design_of, errors, fit, predict
from mlff_curate.linear.snap import LinearSnap

K = 6


def made_up(F=40, species=2, noise=0.0, seed=0) -> Design:
    """Frames of one to four atoms whose labels are linear in the rows, up to noise."""
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 5, F)
    offset = np.concatenate([[0], np.cumsum(n)])
    composition = rng.dirichlet(np.ones(species), F)
    energy_rows = rng.normal(size=(F, K)) * 10.0 ** np.arange(-3, 3)
    force_rows = (rng.normal(size=(3 * offset[-1], K)) * 10.0 ** np.arange(-3, 3)).astype(np.float32)
    strain_rows = rng.normal(size=(F, 6, K)) * 10.0 ** np.arange(-3, 3)
    truth = rng.normal(size=K) / 10.0 ** np.arange(-3, 3)
    return Design(
        composition,
        energy_rows,
        force_rows,
        composition @ rng.normal(size=species) * 5 + energy_rows @ truth + noise * rng.normal(size=F),
        force_rows @ truth + noise * rng.normal(size=len(force_rows)),
        offset,
        strain_rows,
        strain_rows @ truth + noise * rng.normal(size=(F, 6)),
        np.full(F, 18.0),
        np.ones(F, dtype=bool),
    )


ALL = np.arange(40)


def predictions(design, frames=ALL, **changes):
    energy, forces, stress = predict(design, fit(dataclasses.replace(design, **changes), frames), ALL)
    return np.concatenate([energy, np.concatenate(forces).ravel(), stress.ravel()])


def test_labels_of_a_linear_model_are_recovered_on_frames_not_seen():
    design = made_up()
    result = errors(design, fit(design, ALL[:20]), ALL[20:], np.zeros(40, dtype=int))
    assert result.pooled.energy_rmse < 0.05  # meV/atom; the penalty is all that is left
    assert result.pooled.force_rmse < 1e-4
    assert result.pooled.stress_rmse < 1e-3  # GPa


def test_units_of_the_descriptor_do_not_matter():
    design = made_up(noise=0.3)
    scale = 10.0 ** np.array([6, -6, 3, 0, -3, 2])
    scaled = dataclasses.replace(
        design,
        energy_rows=design.energy_rows * scale,
        force_rows=(design.force_rows * scale).astype(np.float32),
        strain_rows=design.strain_rows * scale,
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
        design,
        composition=np.full((40, 2), 0.5),
        energy=design.energy_rows @ np.ones(K) - 3.0,
    )
    result = fit(design, ALL)
    assert np.isfinite(result.constants).all()
    assert result.constants.mean() == pytest.approx(-3.0, abs=0.05)


def test_a_missing_label_is_not_zero():
    design = made_up(noise=0.3)
    energy, forces, stress = design.energy.copy(), design.forces.copy(), design.stress.copy()
    energy[30:] = np.nan
    forces[design.offset[30] * 3 :] = np.nan
    stress[30:] = np.nan
    missing = predictions(design, energy=energy, forces=forces, stress=stress)
    # but for the penalty, whose unit is a mean over all labelled frames
    assert np.allclose(missing, predictions(design, ALL[:30]), rtol=1e-4)
    zeros = predictions(design, energy=energy, forces=forces, stress=np.nan_to_num(stress))
    assert not np.allclose(zeros, missing, rtol=1e-2)
    zeros = predictions(design, energy=np.nan_to_num(energy), forces=np.nan_to_num(forces), stress=stress)
    assert not np.allclose(zeros, missing, rtol=1e-2)


@pytest.mark.parametrize("label", ["energy", "forces", "stress"])
def test_one_kind_of_label_is_enough(label):
    design = made_up()
    none = {
        name: np.full_like(getattr(design, name), np.nan) for name in ("energy", "forces", "stress") if name != label
    }
    only = dataclasses.replace(design, **none)
    result = errors(only, fit(only, ALL[:30]), ALL[30:], np.zeros(40, dtype=int)).group_mean
    found = {"energy": result.energy_mae, "forces": result.force_mae, "stress": result.stress_mae}
    assert found.pop(label) < {"energy": 1.0, "forces": 1e-2, "stress": 1e-2}[label]
    assert np.isnan(list(found.values())).all()


def test_stresses_alone_do_not_fix_the_energies_of_the_species():
    design = made_up()
    only = dataclasses.replace(
        design, energy=np.full_like(design.energy, np.nan), forces=np.full_like(design.forces, np.nan)
    )
    assert (fit(only, ALL).constants == 0.0).all()


def test_no_labels_at_all_is_an_error():
    design = made_up()
    bare = dataclasses.replace(
        design,
        energy=np.full(40, np.nan),
        forces=np.full(len(design.forces), np.nan),
        stress=np.full((40, 6), np.nan),
    )
    with pytest.raises(DataError, match="none of the frames"):
        fit(bare, ALL)


def test_a_column_of_zeros_gets_no_weight():
    design = made_up()
    design.energy_rows[:, 2] = 0.0
    design.force_rows[:, 2] = 0.0
    design.strain_rows[:, :, 2] = 0.0
    assert fit(design, ALL).coefficients[2] == 0.0


def test_what_a_fit_hardly_sees_is_not_blown_up_on_frames_that_show_it():
    # as a basis function of short distances is: 1e-7 in the frames of the fit, 1 in a held-out one
    design = made_up(noise=0.3)
    rng = np.random.default_rng(1)
    for rows in (design.energy_rows, design.strain_rows):
        rows[:, 3] = rng.normal(size=rows[:, 3].shape)
        rows[:30, ..., 3] *= 1e-7
    design.force_rows[:, 3] = rng.normal(size=len(design.force_rows))
    design.force_rows[: 3 * design.offset[30], 3] *= 1e-7
    assert abs(fit(design, ALL[:30]).coefficients[3]) < 1.0
    assert errors(design, fit(design, ALL[:30]), ALL[30:], np.zeros(40, dtype=int)).pooled.force_mae < 2.0


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
        strain_rows=np.zeros((3, 6, 1)),
        # 1 and 3 GPa in every component of 10 and 20 Angstrom^3 per atom; the last frame is not periodic
        stress=np.array([[1.0 * GPa * 10] * 6, [3.0 * GPa * 20] * 6, [np.nan] * 6]),
        volume=np.array([10.0, 20.0, np.nan]),
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
    assert result.groups[0].stress_mae == pytest.approx(2.0)  # GPa
    assert np.isnan(result.groups[1].stress_mae)
    assert result.group_mean.stress_mae == pytest.approx(2.0)  # groups without stress do not count
    assert result.pooled.stress_rmse == pytest.approx(np.sqrt(5.0))


@pytest.mark.lammps
def test_stress_of_a_lennard_jones_crystal_is_learned_from_strained_cells():
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(40):
        atoms = bulk("Ar", a=5.26, cubic=True)
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.05, rng=rng)
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=6.0, smooth=True)
        frames.append(atoms)
    labels = [Labels(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()) for atoms in frames]
    design = design_of(frames, labels, LinearSnap([18], 6.0, quadratic=False))
    held_out = np.arange(30, 40)
    spread = np.abs([label.stress for label in labels]).mean() / GPa
    found = errors(design, fit(design, np.arange(30)), held_out, np.zeros(40, dtype=int)).pooled
    assert found.stress_mae < 0.05 * spread
    flipped = [dataclasses.replace(label, stress=-label.stress) for label in labels]
    wrong = design_of(frames, flipped, LinearSnap([18], 6.0, quadratic=False))
    assert errors(wrong, fit(wrong, np.arange(30)), held_out, np.zeros(40, dtype=int)).pooled.stress_mae > 0.5 * spread
