"""A learning curve is flat where nothing larger is better: by chance neither, nor by much."""

import numpy as np
import pytest

from mlff_curate.validation.flatness import FEWEST, MARGIN, STEP, ladder, smallest_flat
from mlff_curate.validation.learning_curve import ALL, CurvePoint, Estimate, HeldOutError, LearningCurve

EASY_AND_HARD = np.array([0.6, 0.8, 1.0, 1.3, 1.6])
"""Splits differ by factors, all points of a curve alike."""


def ups_and_downs(k):
    """Five numbers of mean 0 and standard deviation 1, others for every k."""
    values = np.random.default_rng(k).normal(size=5)
    return (values - values.mean()) / values.std(ddof=1)


def made_up_curve(energy, forces, noise=0.03, splits=5, sample_of=0) -> LearningCurve:
    """A curve of one selector with 10, 20, ... and 100 frames; noise: relative, of each split and point."""

    def held(value, k):
        if value is None:
            return HeldOutError(*[Estimate(np.nan, np.nan)] * 3, "", (np.nan,) * splits)
        each = value * (EASY_AND_HARD * np.exp(noise * ups_and_downs(k)))[:splits]
        return HeldOutError(*[Estimate.of(each)] * 3, "g", tuple(each))

    fractions = [*(round(0.1 * (i + 1), 1) for i in range(len(energy) - 1)), 1.0]
    names = [*["ours"] * (len(energy) - 1), ALL]
    variety = [Estimate(0.0, 0.0)] * 3
    points = tuple(
        CurvePoint(n, f, round(100 * f), held(e, k), held(g, k + 1), held(None, k), *variety)
        for k, (n, f, e, g) in enumerate(zip(names, fractions, energy, forces, strict=True))
    )
    return LearningCurve(points, (), (), "made up", splits, 1.0, sample_of)


def test_the_fewest_frames_that_no_more_beat_in_energies_and_forces():
    flat = smallest_flat(made_up_curve([20, 10.1, 10.1, 10], [20, 15, 10.1, 10]), "ours")
    assert flat.frames == 30  # with 20 energies are flat, forces are not
    assert "with 30 frames in the fits (30 %) no larger number, up to all 100, is better by" in flat.why
    assert "or than 5 %, where that is more than 1 meV/atom or 0.005 eV/\u00c5: energies" in flat.why
    assert "forces 10.7" in flat.why
    assert "with 20, forces are +50" in flat.why


def test_a_fall_that_every_split_shows_is_not_hidden_by_what_splits_differ_by():
    curve = made_up_curve([12, 10], [1, 1])
    few, many = (point.energy.group_mean for point in curve.points)
    assert few.mean - many.mean < np.hypot(few.error, many.error)  # the error bars overlap
    flat = smallest_flat(curve, "ours")
    assert flat.frames is None
    assert "held-out errors still fall up to all 100 frames; with 10 and with all: energies 12" in flat.why


def test_a_test_that_sees_little_does_not_make_a_curve_flat():
    curve = made_up_curve([12, 10], [1, 1], noise=0.4)
    flat = smallest_flat(curve, "ours")
    assert flat.frames is None
    assert smallest_flat(made_up_curve([10, 10], [1, 1], noise=0.0), "ours").frames == 10


@pytest.mark.parametrize(
    ("excess", "noise", "frames"), [(0.04, 0.05, 10), (0.07, 0.1, None), (0.04, 0.01, None), (0.015, 0.001, 10)]
)
def test_neither_beyond_chance_nor_by_more_than_the_margin_unless_negligible(excess, noise, frames):
    flat = smallest_flat(made_up_curve([100 * (1 + excess), 100], [1, 1], noise=noise), "ours")
    assert flat.frames == frames
    assert excess < MARGIN or frames is None


def test_among_many_comparisons_one_chance_difference_does_not_count():
    # 4 % above the last in energies: beyond chance as one of two comparisons, not as one of four
    two, many = (made_up_curve([104, *[100] * n], [1] * (n + 1), noise=0.0125) for n in (1, 2))
    assert smallest_flat(two, "ours").frames is None
    assert smallest_flat(many, "ours").frames == 10


def test_a_dip_further_on_counts_as_a_larger_set_that_is_better():
    assert smallest_flat(made_up_curve([10, 10, 5, 10], [1, 1, 1, 1]), "ours").frames == 30


def test_errors_that_still_fall_are_not_flat_anywhere():
    flat = smallest_flat(made_up_curve([40, 30, 20, 10], [4, 3, 2, 1]), "ours")
    assert flat.frames is None
    assert flat.falls
    assert "with 30 and with all: energies 21.2" in flat.why


def test_a_sample_is_said_to_count_in_frames():
    why = smallest_flat(made_up_curve([10, 10], [1, 1], sample_of=5000), "ours").why
    assert "a sample of the 5000 usable frames: what counts is the number of frames in the fits, not their share" in why
    assert "more than 100 were not tried" in why


def test_energies_alone_do_not_decide():
    assert "energies and forces are needed" in smallest_flat(made_up_curve([1, 1], [None, None]), "ours").why


def test_one_split_does_not_decide():
    flat = smallest_flat(made_up_curve([1, 1], [1, 1], splits=1), "ours")
    assert flat.why == "one split has no error bars"
    assert not flat.falls


@pytest.mark.parametrize("frames", [1, 24, 25, 100, 290, 2014, 100_000])
def test_the_ladder_leads_in_even_steps_to_a_few_tens_of_frames(frames):
    fractions = ladder(frames)
    assert fractions[-1] == 1.0
    np.testing.assert_allclose(np.diff(np.log(fractions)), np.log(STEP))
    assert (
        min(frames, FEWEST)
        <= fractions[0] * frames * 1.001
        < max(FEWEST * STEP, frames + 1 if frames < FEWEST else 0) * 1.001
    )


@pytest.mark.parametrize(("energy", "forces", "frames"), [(0.9, 4e-3, 10), (1.2, 4e-3, None), (0.9, 6e-3, None)])
def test_what_labels_leave_open_is_no_difference(energy, forces, frames):
    """However large the ratio: cells that a fit reproduces to a tenth of that are reproduced."""
    curve = made_up_curve([0.1 + energy, 0.1], [1e-4 + forces, 1e-4], noise=1e-3)
    assert smallest_flat(curve, "ours").frames == frames


def test_a_curve_of_all_frames_alone_is_flat_nowhere():
    flat = smallest_flat(made_up_curve([1], [1]), "ours")
    assert (flat.frames, flat.falls) == (None, False)
    assert flat.why == "there is no smaller set in the curve to compare with"
