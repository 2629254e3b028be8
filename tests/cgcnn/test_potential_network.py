"""What a potential's network is made of, against others' formulas."""

import math

import numpy as np
import pytest
import torch
from e3nn import o3

from mlff_curate.cgcnn.potential_network import PotentialNetwork, PotentialSizes, RadialFunctions, SphericalHarmonics

SIZES = PotentialSizes((29, 79), cutoff=4.0, channels=6, radial=5, convolutions=2, angular=3, degree=3, neighbours=8.0)


@pytest.mark.parametrize("degree", range(-1, 7))
def test_harmonics_are_those_of_e3nn(degree):
    direction = torch.nn.functional.normalize(torch.randn(40, 3, dtype=torch.float64), dim=1)
    found = SphericalHarmonics(degree)(direction.T)
    assert found.shape == ((degree + 1) ** 2, 40)
    if degree >= 0:
        known = o3.spherical_harmonics(list(range(degree + 1)), direction, normalize=False, normalization="component")
        np.testing.assert_allclose(found.T, known, atol=1e-13)


def test_harmonics_are_exact_after_any_change_of_precision():
    direction = torch.nn.functional.normalize(torch.randn(40, 3, dtype=torch.float64), dim=1)
    known = o3.spherical_harmonics([0, 1, 2, 3], direction, normalize=False, normalization="component")
    network = PotentialNetwork(SIZES).to(torch.float64)
    np.testing.assert_allclose(network.harmonics(direction.T).T, known, atol=1e-13)


def test_radial_functions_are_exact_after_any_change_of_precision():
    distance = torch.linspace(0.3, 4.1, 50, dtype=torch.float64)[:, None]
    x, k = distance.numpy() / 4.3, np.arange(1, 9)
    inside = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    known = math.sqrt(2 / 4.3) * np.sin(k * np.pi * x) / distance.numpy() * inside
    functions = RadialFunctions(8, 4.3).to(torch.float32).to(torch.float64)
    np.testing.assert_allclose(functions(distance)[0], known, atol=1e-14)


def surroundings(seed, most):
    """Random edges, in no order: one atom hears `most` others, one hears none."""
    rng = np.random.default_rng(seed)
    counts = np.array([3, most, 0, 1, 5])
    centre = rng.permutation(np.repeat(np.arange(5), counts))
    vector = rng.normal(size=(len(centre), 3))
    vector *= rng.uniform(1.5, 3.9, size=(len(centre), 1)) / np.linalg.norm(vector, axis=1, keepdims=True)
    edges = torch.from_numpy(vector), torch.from_numpy(centre), torch.from_numpy(rng.integers(0, 5, len(centre)))
    return torch.tensor([0, 1, 0, 1, 1]), edges


def test_rows_that_are_not_full_say_nothing():
    torch.manual_seed(0)
    network = PotentialNetwork(SIZES).to(torch.float64)
    species, (vector, centre, neighbour) = surroundings(0, 6)
    vector.requires_grad_()
    energies = network(vector, species, centre, neighbour)
    (slope,) = torch.autograd.grad(energies.sum(), vector)
    assert torch.isfinite(slope).all()
    # beside an atom with many neighbours all other rows end in empty places
    more = torch.nn.functional.normalize(torch.randn(40, 3, dtype=torch.float64), dim=1) * 2.5
    wide = torch.cat([vector.detach(), more]).requires_grad_()
    crowd = torch.full((40,), 5)
    again = network(
        wide, torch.cat([species, torch.tensor([0])]), torch.cat([centre, crowd]), torch.cat([neighbour, crowd])
    )
    np.testing.assert_allclose(again[:5].detach(), energies.detach(), rtol=1e-12)
    (wide_slope,) = torch.autograd.grad(again[:5].sum(), wide)
    np.testing.assert_allclose(wide_slope[: len(slope)], slope, atol=1e-12)
    assert not wide_slope[len(slope) :].any()


def test_no_edge_at_all_is_fine():
    network = PotentialNetwork(SIZES).to(torch.float64)
    nobody = torch.zeros(0, dtype=torch.int64)
    energies = network(torch.zeros(0, 3, dtype=torch.float64), torch.tensor([0, 1]), nobody, nobody)
    assert torch.isfinite(energies).all()
