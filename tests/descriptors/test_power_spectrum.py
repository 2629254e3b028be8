"""The power spectrum is a smooth function of the environment alone, and tells apart what differs.

"The same" means to 2e-6 of the largest component: vectors are computed in float64 and stored as float32, whose
rounding is 6e-8.
"""

import itertools
import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.data import chemical_symbols

from mlff_curate.descriptors.power_spectrum import PowerSpectrum
from mlff_curate.descriptors.registry import detailed_descriptor, make_descriptor
from mlff_curate.errors import UsageError
from mlff_curate.graphs.neighbours import default_cutoff, neighbour_list


def same(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * np.abs(b).max())


def differ(a, b, by=0.05):
    assert np.linalg.norm(a - b) > by * np.linalg.norm(b)


def alloy_in_a_skewed_cell():
    atoms = bulk("Ta") * (2, 2, 1)
    atoms.numbers[[0, 3]] = 74
    atoms.rattle(0.15, seed=3)
    strain = np.eye(3) + 0.1 * np.random.default_rng(1).normal(size=(3, 3))
    atoms.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
    return atoms


def high_entropy_alloy():
    atoms = bulk("W", cubic=True) * (3, 3, 3)
    symbols = np.array(["V", "Nb", "Mo", "Ta", "W"])
    atoms.set_chemical_symbols(symbols[np.random.default_rng(0).permutation(len(atoms)) % 5])
    atoms.rattle(0.1, seed=0)
    return atoms


def slab():
    atoms = fcc111("Al", (2, 2, 3), vacuum=6.0)
    atoms.rattle(0.1, seed=4)
    return atoms


def open_alloy():
    atoms = alloy_in_a_skewed_cell() * (2, 1, 1)
    atoms.pbc = (False, True, False)
    return atoms


STRUCTURES = {
    "alloy in a skewed cell": alloy_in_a_skewed_cell(),
    "one-atom cell": bulk("Fe"),
    "diamond": bulk("Si"),
    "slab": slab(),
    "molecule": molecule("CH3CH2OH"),
    "open in two directions": open_alloy(),
    "high-entropy alloy": high_entropy_alloy(),
}


@pytest.fixture(params=STRUCTURES.values(), ids=STRUCTURES)
def atoms(request):
    return request.param.copy()


def describe(*frames):
    return PowerSpectrum(np.concatenate([frame.numbers for frame in frames])).compute(frames)


def turned(atoms, matrix):
    out = atoms.copy()
    out.positions = atoms.positions @ matrix
    out.cell[:] = atoms.cell[:] @ matrix
    return out


@pytest.mark.parametrize("seed", range(3))
def test_rotation_changes_nothing(atoms, seed):
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    q *= np.sign(np.linalg.det(q))
    same(describe(turned(atoms, q)), describe(atoms))


@pytest.mark.parametrize("matrix", [-np.eye(3), np.diag([1, 1, -1]), np.eye(3)[[1, 0, 2]]], ids=["i", "z", "xy"])
def test_reflection_changes_nothing(atoms, matrix):
    assert np.linalg.det(matrix) < 0
    same(describe(turned(atoms, matrix)), describe(atoms))


def test_translation_changes_nothing(atoms):
    moved = atoms.copy()
    moved.positions += (1.3, -20.7, 41.9)
    same(describe(moved), describe(atoms))


def test_wrapping_changes_nothing(atoms):
    moved = atoms.copy()
    shifts = np.random.default_rng(0).integers(-3, 4, (len(atoms), 3)) * atoms.pbc
    moved.positions += shifts @ atoms.cell[:]
    same(describe(moved), describe(atoms))
    moved.wrap()
    same(describe(moved), describe(atoms))


def test_permuting_atoms_permutes_environments(atoms):
    order = np.random.default_rng(1).permutation(len(atoms))
    same(describe(atoms[order]), describe(atoms)[order])


def test_a_supercell_repeats_its_environments(atoms):
    repeat = np.where(atoms.pbc, [2, 1, 3], 1)
    same(describe(atoms * repeat), np.tile(describe(atoms), (int(repeat.prod()), 1)))


def test_the_lattice_may_be_named_by_other_vectors():
    atoms = alloy_in_a_skewed_cell()
    a, b, c = atoms.cell[:].copy()
    other = atoms.copy()
    other.cell[:] = [b, a + 7 * b, c - 9 * a + 4 * b]
    same(describe(other), describe(atoms))


def test_an_environment_alone_is_the_one_among_many():
    """More than one internal batch, frames of all sizes around it."""
    crowd = [alloy_in_a_skewed_cell() * (n, n, n) for n in (1, 2, 4, 1, 5, 3)]
    for seed, frame in enumerate(crowd):
        frame.rattle(0.1, seed=seed)
    assert sum(map(len, crowd)) > 600
    descriptor = PowerSpectrum([73, 74])
    together = descriptor.compute(crowd)
    same(np.concatenate([descriptor.compute([frame]) for frame in crowd]), together)
    backwards = descriptor.compute(crowd[::-1])
    same(backwards[-len(crowd[0]) :], together[: len(crowd[0])])


def test_the_same_frames_have_the_same_bits():
    frames = [alloy_in_a_skewed_cell(), alloy_in_a_skewed_cell() * (2, 2, 2)]
    assert describe(*frames).tobytes() == describe(*frames).tobytes()


def trimer(distance, number=29):
    """An atom at ``distance`` from the first, which has another neighbour at 2 Angstrom."""
    return Atoms([29, 29, number], [[0, 0, 0], [2.0, 0, 0], [0, distance, 0]])


def test_an_atom_enters_and_leaves_without_a_jump_or_a_kink():
    descriptor = PowerSpectrum([29], cutoff=4.0)

    def centre(distance):
        return descriptor.compute([trimer(distance)])[0].astype(np.float64)

    outside = centre(4.001)
    np.testing.assert_array_equal(centre(4.5), outside)
    step = 0.01
    for inside in (3.999, 3.99, 3.98):
        slope = (centre(inside) - centre(inside - step)) / step
        assert np.abs(centre(inside) - outside).max() < 1e-6 * np.abs(outside).max()
        assert np.abs(slope).max() < 1e-4 * np.abs(outside).max()
    differ(centre(3.0), outside)


def test_a_lone_neighbour_fades_smoothly_too():
    """The vector's length is divided out by a root: nothing may blow up where the length goes to zero."""
    descriptor = PowerSpectrum([29], cutoff=4.0)
    pairs = [Atoms("Cu2", [[0, 0, 0], [d, 0, 0]]) for d in np.arange(3.5, 4.05, 0.01)]
    length = np.linalg.norm(descriptor.compute(pairs)[::2].astype(np.float64), axis=1)
    assert np.isfinite(length).all()
    assert np.all(np.diff(length) <= 0)
    assert length[0] > 0.01
    assert length[-1] == 0
    assert np.abs(np.diff(length, 2)).max() < 0.005 * length[0], "no kink anywhere"


def test_no_neighbours_no_density():
    descriptor = PowerSpectrum([26])
    frames = [Atoms("Fe"), bulk("Fe"), Atoms("Fe", cell=[30] * 3, pbc=True), Atoms("Fe2", [[0, 0, 0], [0, 0, 40]])]
    out = descriptor.compute(frames)
    np.testing.assert_array_equal(out.any(axis=1), [False, True, False, False, False])
    assert np.isfinite(out).all()


def test_no_frames_give_no_rows():
    assert PowerSpectrum([26]).compute([]).shape == (0, PowerSpectrum([26]).size)


def test_neighbours_of_another_element_are_another_environment():
    pure, dissolved, swapped = (bulk("Nb", cubic=True) * (2, 2, 2) for _ in range(3))
    dissolved.numbers[1:] = 73
    swapped.numbers[1] = 73
    descriptor = PowerSpectrum([41, 73])
    rows = [descriptor.compute([atoms])[0] for atoms in (pure, dissolved, swapped)]
    for a, b in itertools.combinations(rows, 2):
        differ(a, b, by=0.02)


def test_the_same_crystal_of_another_element_differs():
    descriptor = PowerSpectrum([41, 73])
    niobium, tantalum = bulk("Nb", "bcc", a=3.3), bulk("Ta", "bcc", a=3.3)
    a, b = descriptor.compute([niobium])[0], descriptor.compute([tantalum])[0]
    differ(a, b, by=0.5)
    assert np.linalg.norm(a) == pytest.approx(np.linalg.norm(b), rel=1e-6)


def test_the_order_of_elements_does_not_matter():
    atoms = alloy_in_a_skewed_cell()
    np.testing.assert_array_equal(
        PowerSpectrum([74, 73, 74]).compute([atoms]), PowerSpectrum([73, 74]).compute([atoms])
    )


def test_which_shell_holds_which_element_matters():
    """B2 and B32 have the same number of A and B neighbours in the two first shells of bcc taken together."""
    sites = bulk("Nb", cubic=True) * (2, 2, 2)
    place = np.round(2 * sites.get_scaled_positions() * 2).astype(int)
    b2, b32 = sites.copy(), sites.copy()
    b2.numbers[place[:, 0] % 2 == 1] = 73
    b32.numbers[(place.sum(axis=1) // 2 + place[:, 0]) % 2 == 1] = 73
    descriptor = PowerSpectrum([41, 73])
    differ(descriptor.compute([b2])[0], descriptor.compute([b32])[0])


@pytest.mark.parametrize("strain", [-0.05, -0.01, 0.01, 0.05])
def test_volume_shows(strain):
    a, b = bulk("Ta", a=3.3), bulk("Ta", a=3.3 * (1 + strain))
    differ(describe(b), describe(a), by=0.3 * abs(strain))


def test_angles_show():
    """Same distances from the centre, other angles."""
    bent = Atoms("Cu3", [[0, 0, 0], [2, 0, 0], [0, 2, 0]])
    straight = Atoms("Cu3", [[0, 0, 0], [2, 0, 0], [-2, 0, 0]])
    differ(describe(bent)[0], describe(straight)[0])


def test_crystals_of_equal_density_differ():
    crystals = [bulk("Fe", s, a=a) for s, a in (("bcc", 2.0 ** (1 / 3)), ("fcc", 4.0 ** (1 / 3)), ("sc", 1.0))]
    for atoms in crystals:
        atoms.set_cell(atoms.cell * 2.3, scale_atoms=True)
        assert atoms.get_volume() == pytest.approx(2.3**3)
    rows = PowerSpectrum([26]).compute(crystals)
    for a, b in itertools.combinations(rows, 2):
        differ(a, b)


@pytest.mark.parametrize(
    ("species", "n_max", "l_max", "size"),
    [
        ([26], 6, 4, 5 * 21),
        ([26, 41], 6, 4, 5 * 36 * 2),
        ([26, 41, 73], 6, 4, 5 * 36 * 3),
        ([26, 41, 73, 74], 6, 4, 5 * 36 * 4),
        ([23, 41, 42, 73, 74], 6, 4, 5 * 36 * 5),
        ([26], 3, 2, 3 * 6),
        ([26, 41], 3, 0, 1 * 9 * 2),
        ([26], 1, 1, 2),
    ],
)
def test_size_grows_with_the_number_of_elements_and_not_with_its_square(species, n_max, l_max, size):
    descriptor = PowerSpectrum(species, n_max=n_max, l_max=l_max)
    assert descriptor.size == size
    out = descriptor.compute([bulk(chemical_symbols[species[0]], "bcc", a=3.0) * (2, 1, 1)])
    assert out.shape == (2, size)
    assert out.dtype == np.float32


def test_an_element_it_was_not_made_for_is_refused():
    with pytest.raises(ValueError, match=r"elements \[26\] are not among the descriptor's \[41, 73\]"):
        PowerSpectrum([73, 41]).compute([bulk("Fe")])


def test_it_is_the_formula_of_its_docstring():
    """Against explicit sums over neighbours, with Legendre polynomials for the sums over m."""
    from e3nn.math import soft_one_hot_linspace  # noqa: PLC0415
    from scipy.special import eval_legendre  # noqa: PLC0415
    from torch import from_numpy  # noqa: PLC0415

    atoms = molecule("CH3CH2OH")
    descriptor = PowerSpectrum([1, 6, 8], cutoff=3.0, n_max=3, l_max=2)
    out = descriptor.compute([atoms])
    for centre in range(len(atoms)):
        others = [j for j in range(len(atoms)) if 0 < atoms.get_distance(centre, j) < 3.0 and j != centre]
        vector = atoms.positions[others] - atoms.positions[centre]
        distance = np.linalg.norm(vector, axis=1)
        radial = soft_one_hot_linspace(from_numpy(distance), 0.0, 3.0, 3, basis="smooth_finite", cutoff=True).numpy()
        cosine = np.clip((vector @ vector.T) / np.outer(distance, distance), -1, 1)
        wanted = []
        for degree, n, s, m in itertools.product(range(3), range(3), (1, 6, 8), range(3)):
            of_element = atoms.numbers[others] == s
            # addition theorem, component normalisation: sum_m Y_lm(a) Y_lm(b) = (2 l + 1) P_l(a.b)
            pairs = radial[:, n, None] * radial[None, :, m] * eval_legendre(degree, cosine) * (2 * degree + 1) ** 0.5
            wanted.append(pairs[:, of_element].sum())
        wanted = np.array(wanted)
        same(out[centre], wanted / np.linalg.norm(wanted) ** 0.5)


def test_default_radius_is_that_of_the_elements():
    assert PowerSpectrum([26, 41]).cutoff == default_cutoff([26, 41])
    assert PowerSpectrum([26], cutoff=3.5).cutoff == 3.5


def test_survives_the_way_to_another_process():
    descriptor = pickle.loads(pickle.dumps(PowerSpectrum([73, 74])))
    atoms = alloy_in_a_skewed_cell()
    np.testing.assert_array_equal(descriptor.compute([atoms]), PowerSpectrum([73, 74]).compute([atoms]))


def test_by_name():
    descriptor = make_descriptor("power-spectrum", [74, 73])
    assert (descriptor.name, descriptor.species) == ("power-spectrum", (73, 74))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"--descriptor: 'soap' is unknown; available: power-spectrum, bispectrum"):
        make_descriptor("soap", [26])


# Order: the power of the density that the numbers grow with.


class Scaled(PowerSpectrum):
    """A descriptor whose density is so many times as large."""

    times = 1.0

    def invariants(self, density):
        return super().invariants(self.times * density)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_numbers_grow_with_the_density_to_the_order(order):
    atoms = alloy_in_a_skewed_cell()
    plain, twice = (Scaled([73, 74], order=order) for _ in range(2))
    twice.times = 2.0
    same(twice.compute([atoms]), 2.0**order * plain.compute([atoms]))


@pytest.mark.parametrize("order", [2, 3])
def test_an_order_changes_lengths_alone(atoms, order):
    """And lengths l of the first order to l^order: the power spectrum has l^2."""
    plain = describe(atoms).astype(np.float64)
    other = PowerSpectrum(atoms.numbers, order=order).compute([atoms]).astype(np.float64)
    length = np.linalg.norm(plain, axis=1, keepdims=True)
    same(other, plain * length ** (order - 1))


def test_the_order_is_one_unless_asked_for():
    atoms = alloy_in_a_skewed_cell()
    one = PowerSpectrum([73, 74], order=1)
    assert one.compute([atoms]).tobytes() == describe(atoms).tobytes()


@pytest.mark.parametrize("order", [2, 3])
def test_any_order_is_invariant(atoms, order):
    q = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    descriptor = PowerSpectrum(atoms.numbers, order=order)
    turning = turned(atoms, q)
    turning.positions += (0.3, -7.1, 2.2)
    backwards = np.arange(len(atoms))[::-1]
    same(descriptor.compute([turning[backwards]])[backwards], descriptor.compute([atoms]))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_free_atom_has_the_zero_vector_in_any_order(order):
    out = PowerSpectrum([26], order=order).compute([Atoms("Fe"), bulk("Fe")])
    np.testing.assert_array_equal(out.any(axis=1), [False, True])
    assert np.isfinite(out).all()


def test_neighbours_that_are_known_need_not_be_searched(monkeypatch):
    atoms = alloy_in_a_skewed_cell()
    descriptor = PowerSpectrum([73, 74])
    known = neighbour_list([atoms, atoms], descriptor.cutoff)
    wanted = descriptor.compute([atoms, atoms])
    monkeypatch.delattr("mlff_curate.descriptors.power_spectrum.neighbour_list")
    assert descriptor.compute([atoms, atoms], known).tobytes() == wanted.tobytes()


def test_the_detailed_descriptor_is_cubic_and_finer():
    detailed, plain = detailed_descriptor([74, 73]), PowerSpectrum([73, 74])
    assert (detailed.order, detailed.species, detailed.cutoff) == (3, plain.species, plain.cutoff)
    assert detailed.n_max > plain.n_max
