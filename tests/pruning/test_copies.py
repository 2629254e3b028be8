"""Near copies: what a proof must not train on."""

import numpy as np
import pytest

from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.descriptors.scaling import Scaling
from mlff_curate.pruning.copies import near_copies
from mlff_curate.pruning.problem import Pool


def pool_of(X, sizes):
    first = np.concatenate([[0], np.cumsum(sizes)])
    frames = len(sizes)
    return Pool(
        np.asarray(X, np.float32),
        first,
        np.zeros(frames, int),
        np.zeros(len(X), int),
        np.zeros(frames, bool),
        np.ones(frames, bool),
    )


def test_frames_with_the_same_environments_in_another_order_are_copies():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 8, 5))
    pool = pool_of(np.concatenate([a, b, a[::-1], b + 1e-6]), [8] * 4)
    copies = near_copies(pool)
    assert copies[0] == copies[2]
    assert copies[1] == copies[3]
    assert copies[0] != copies[1]


def test_a_hot_crystal_a_femtosecond_later_is_no_rounding_copy():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(8, 5))
    copies = near_copies(pool_of(np.concatenate([a, a + 0.05 * rng.normal(size=a.shape), 3 * a]), [8] * 3))
    assert len(set(copies.tolist())) == 3


def test_a_part_of_a_pool_is_the_pool_of_these_frames_alone():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(9, 3)).astype(np.float32)
    whole = Pool(
        X,
        np.array([0, 2, 5, 9]),
        np.array([4, 1, 4]),
        np.arange(9),
        np.array([True, False, False]),
        np.array([False, True, True]),
        detail=X[:, :2],
        same=np.array([3, 5, 3]),
    )
    part = whole.part(np.array([0, 2]))
    assert np.array_equal(part.detail, X[[0, 1, 5, 6, 7, 8], :2])
    assert part.same.tolist() == [3, 3]
    assert np.array_equal(part.X, X[[0, 1, 5, 6, 7, 8]])
    assert part.first.tolist() == [0, 2, 6]
    assert part.group.tolist() == [0, 0]
    assert part.cluster.tolist() == [0, 1, 5, 6, 7, 8]
    assert part.eligible.all()
    assert not part.given.any()


@pytest.mark.data
def test_the_ninety_rotated_twins_among_the_strain_cells_of_niobium_are_found(real_data):
    from ase.io import read  # noqa: PLC0415

    frames = [a for a in read(real_data / "nb_mvl2020.extxyz", ":") if a.info["config_type"] == "Elastic"]
    raw = PowerSpectrum([41]).compute(frames)
    copies = near_copies(pool_of(Scaling.fit(raw).transform(raw), [len(a) for a in frames]))
    assert len(frames) == 121
    assert len(set(copies.tolist())) == 121 - 90
