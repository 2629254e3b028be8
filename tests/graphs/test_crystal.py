"""Crystal graphs: the nearest neighbours, whatever the cell, the order of atoms or the company."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from mlff_curate.graphs.crystal import TIE, crystal_graph


def perovskite():
    """O has 2 Ti near, then 4 Sr and 8 O at the same distance, for which 10 places are left."""
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    return Atoms("SrTiO3", scaled_positions=places, cell=[3.9] * 3, pbc=True)


def edges_of(graph, atom):
    rows = graph.centre == atom
    return graph.neighbour[rows], graph.distance[rows], graph.weight[rows]


def brute_force(atoms, atom, radius):
    """All neighbours of an atom, nearest first, by looking at every image."""
    reach = range(-4, 5)
    shifts = [np.array([a, b, c]) for a in reach for b in reach for c in reach] if atoms.pbc.all() else [np.zeros(3)]
    found = [
        (np.linalg.norm(atoms.positions[j] + shift @ atoms.cell.array - atoms.positions[atom]), j)
        for j in range(len(atoms))
        for shift in shifts
    ]
    return sorted((d, j) for d, j in found if 1e-8 < d <= radius)


@pytest.mark.parametrize("atoms", [bulk("Si") * 2, bulk("Fe") * 3, bulk("Ti") * 3, molecule("C6H6")], ids=len)
def test_nearest_twelve_of_rattled_atoms_are_those_of_a_search_through_all_images(atoms):
    atoms.rattle(0.1, seed=1)
    graph = crystal_graph([atoms])
    for atom in range(len(atoms)):
        neighbour, distance, weight = edges_of(graph, atom)
        found = brute_force(atoms, atom, 8.0)
        last = found[:12][-1][0]
        expected = [(d, j) for d, j in found if d <= last + TIE]
        assert neighbour.tolist() == [j for _, j in expected]
        assert distance == pytest.approx([d for d, _ in expected])
        assert weight.sum() == pytest.approx(min(12, len(found)))
        assert (weight[distance < last - TIE] == 1.0).all()


def test_neighbours_at_equal_distance_share_the_places_that_are_left():
    graph = crystal_graph([bulk("Fe")])
    _, distance, weight = edges_of(graph, 0)
    assert distance == pytest.approx([2.87 * 0.75**0.5] * 8 + [2.87] * 6)
    assert weight == pytest.approx([1.0] * 8 + [4 / 6] * 6)


def test_a_shell_of_several_elements_is_shared_by_all_of_it():
    atoms = perovskite()
    neighbour, _, weight = edges_of(crystal_graph([atoms]), 2)
    symbols = np.array(atoms.get_chemical_symbols())[neighbour]
    assert weight.sum() == pytest.approx(12)
    assert weight[symbols == "Ti"].tolist() == [1.0, 1.0]
    assert weight[symbols == "Sr"] == pytest.approx([10 / 12] * 4)
    assert weight[symbols == "O"] == pytest.approx([10 / 12] * 8)


def test_rounded_coordinates_leave_equal_distances_equal():
    atoms = perovskite()
    atoms.positions += np.random.default_rng(0).uniform(-1, 1, (5, 3)) * TIE / 12
    assert (edges_of(crystal_graph([atoms]), 2)[2] < 1).sum() == 12


def test_distances_that_differ_a_little_are_told_apart_in_padded_graphs_as_by_the_authors_program():
    atoms = perovskite()
    atoms.positions += np.random.default_rng(0).uniform(-1, 1, (5, 3)) * TIE / 12
    found = brute_force(atoms, 2, 8.0)
    last = found[11][0]
    neighbour, distance, weight = edges_of(crystal_graph([atoms], padded=True), 2)
    expected = [(d, j) for d, j in found if d <= last + 1e-5]
    assert len(expected) < 14  # all of the shell
    assert sorted(neighbour.tolist()) == sorted(j for _, j in expected)
    assert distance == pytest.approx([d for d, _ in expected])
    assert (weight < 1).sum() == sum(d >= last - 1e-5 for d, _ in expected)
    assert weight.sum() == pytest.approx(12)


def test_equal_distances_share_places_in_padded_graphs_too():
    plain, padded = (edges_of(crystal_graph([perovskite()], padded=padded), 2) for padded in (False, True))
    assert padded[2] == pytest.approx(plain[2])
    assert padded[0].tolist() == plain[0].tolist()


def test_padded_graphs_take_rounded_thirds_for_thirds():
    exact, rounded = bulk("ZnS", "wurtzite", a=3.82, c=6.26), bulk("ZnS", "wurtzite", a=3.82, c=6.26)
    places = rounded.get_scaled_positions()
    places[:, :2] = places[:, :2].round(4)
    rounded.set_scaled_positions(places)
    assert np.abs(rounded.positions - exact.positions).max() > 1e-5
    before = rounded.positions.copy()
    expected, found, plain = (
        crystal_graph([atoms], padded=padded) for atoms, padded in ((exact, True), (rounded, True), (rounded, False))
    )
    assert found.distance == pytest.approx(expected.distance, abs=1e-9)
    assert found.weight == pytest.approx(expected.weight)
    assert np.abs(plain.distance - expected.distance).max() > 1e-5
    assert np.array_equal(rounded.positions, before)


@pytest.mark.parametrize("padded", [False, True])
def test_an_atom_without_neighbours_has_no_edges_unless_padded(padded):
    graph = crystal_graph([Atoms("He"), Atoms("He", cell=[30] * 3, pbc=True)], padded=padded)
    assert graph.frames == 2
    assert len(graph.centre) == (24 if padded else 0)
    if padded:
        assert graph.neighbour.tolist() == graph.centre.tolist() == [0] * 12 + [1] * 12
        assert graph.distance.tolist() == [9.0] * 24


def test_padding_goes_to_the_first_atom_of_the_frame_one_angstrom_beyond_the_radius():
    water = molecule("H2O")
    graph = crystal_graph([bulk("Si"), water], padded=True)
    for atom in (2, 3, 4):
        neighbour, distance, weight = edges_of(graph, atom)
        assert sorted(neighbour[:2].tolist()) == sorted({2, 3, 4} - {atom})
        assert neighbour[2:].tolist() == [2] * 10
        assert distance[2:].tolist() == [9.0] * 10
        assert weight.tolist() == [1.0] * 12
    assert np.all(np.diff(graph.centre) >= 0)


def test_radius_and_number_of_neighbours_are_what_is_asked_for():
    graph = crystal_graph([bulk("Cu")], neighbours=18, radius=3.0)
    assert len(graph.centre) == 12
    graph = crystal_graph([bulk("Cu")], neighbours=6, radius=3.0)
    assert len(graph.centre) == 12
    assert graph.weight == pytest.approx([0.5] * 12)


def test_frames_are_disjoint_parts_and_come_apart_as_they_went_in():
    frames = [bulk("Si"), molecule("H2O"), Atoms("He"), bulk("Fe", cubic=True) * 2]
    whole = crystal_graph(frames)
    assert whole.atoms.tolist() == [2, 3, 1, 16]
    assert np.array_equal(whole.frame[whole.centre], whole.frame[whole.neighbour])
    for order in ([0], [1, 2], [3, 1, 3], [2]):
        part, alone = whole.part(np.array(order)), crystal_graph([frames[i] for i in order])
        for name in ("numbers", "frame", "centre", "neighbour", "distance", "weight"):
            assert np.array_equal(getattr(part, name), getattr(alone, name)), name
        assert part.frames == len(order)
        assert np.array_equal(whole.numbers[whole.nodes_of(np.array(order))], part.numbers)


def test_graphs_do_not_depend_on_how_many_frames_are_searched_at_a_time(monkeypatch):
    frames = [bulk("Si", a=5 + i / 10) * (1 + i % 2, 1, 1) for i in range(7)]
    whole = crystal_graph(frames)
    monkeypatch.setattr("mlff_curate.graphs.crystal._CHUNK_ATOMS", 3)
    told = []
    apart = crystal_graph(frames, progress=lambda done, all_: told.append((done, all_)))
    assert np.array_equal(whole.neighbour, apart.neighbour)
    assert np.array_equal(whole.distance, apart.distance)
    assert told[-1] == (7, 7)


def test_no_frames_make_an_empty_graph():
    graph = crystal_graph([])
    assert (graph.frames, len(graph.numbers), len(graph.centre)) == (0, 0, 0)
