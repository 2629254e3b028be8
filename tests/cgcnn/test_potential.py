"""The energy model: symmetries, derivatives, smoothness, training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from scipy.spatial.transform import Rotation

from mlff_curate import CGCNN
from mlff_curate.cgcnn.encoder import Encoder
from mlff_curate.cgcnn.potential import Potential
from mlff_curate.cgcnn.potential_network import PotentialNetwork, envelope
from mlff_curate.data.checkpoints import checkpoint_bytes, read_checkpoint
from mlff_curate.data.labels import Labels
from mlff_curate.errors import DataError, OutputError, UsageError
from mlff_curate.graphs.vectors import vector_graph

SMALL = {"channels": 8, "radial": 5, "angular": 4, "degree": 3, "convolutions": 2, "cutoff": 4.0, "batch_size": 4}


def hot(seed: int, repeat=2) -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat((repeat, 1, 1))
    atoms.numbers[::3] = 29
    atoms.numbers[1::3] = 79
    atoms.rattle(0.15, seed=seed)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * np.random.default_rng(seed).normal(size=(3, 3))), True)
    return atoms


def labels_of(frames):
    out = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = EMT()
        out.append(
            Labels(energy=copy.get_potential_energy(), forces=copy.get_forces(), stress=copy.get_stress(voigt=True))
        )
    return out


@pytest.fixture(scope="module", params=[3, -1], ids=["angular", "distances"])
def potential(request):
    frames = [hot(k) for k in range(8)]
    model = Potential(**SMALL | {"degree": request.param}, epochs=3, dtype="float64")
    return model.fit(frames, labels_of(frames))


def moved(potential, atoms):
    return potential.predict([atoms])


def test_energies_are_invariant_and_forces_turn_with_the_frame(potential):
    atoms = hot(20)
    turn = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    turned = Atoms(atoms.numbers, atoms.positions @ turn.T + 3.1, cell=atoms.cell.array @ turn.T, pbc=True)
    here, there = moved(potential, atoms), moved(potential, turned)
    np.testing.assert_allclose(there.energies, here.energies, atol=1e-10)
    np.testing.assert_allclose(there.forces, here.forces @ turn.T, atol=1e-10)
    full = [[0, 5, 4], [5, 1, 3], [4, 3, 2]]
    np.testing.assert_allclose(there.stress[0][full], turn @ here.stress[0][full] @ turn.T, atol=1e-11)


def test_the_order_of_atoms_does_not_matter(potential):
    atoms = hot(21)
    order = np.random.default_rng(0).permutation(len(atoms))
    here, there = moved(potential, atoms), moved(potential, atoms[order])
    np.testing.assert_allclose(there.energies, here.energies[order], atol=1e-10)
    np.testing.assert_allclose(there.forces, here.forces[order], atol=1e-10)


def test_energies_are_extensive(potential):
    atoms = hot(22, repeat=1)
    whole = make_supercell(atoms, [[2, 0, 0], [0, 1, 0], [1, 0, 2]])
    here, there = moved(potential, atoms), moved(potential, whole)
    np.testing.assert_allclose(there.energy, 4 * here.energy, rtol=1e-11)
    np.testing.assert_allclose(there.stress, here.stress, atol=1e-12)
    far = atoms.positions + np.array([0, 0, 50.0])
    pair = Atoms([*atoms.numbers, *atoms.numbers], np.vstack([atoms.positions, far]))
    alone = Atoms(atoms.numbers, atoms.positions)
    np.testing.assert_allclose(moved(potential, pair).energy, 2 * moved(potential, alone).energy, rtol=1e-11)


def test_forces_are_the_slope_of_the_energy(potential):
    atoms, step = hot(23), 1e-4
    forces = moved(potential, atoms).forces
    numeric = np.zeros_like(forces)
    for i in range(len(atoms)):
        for k in range(3):
            energy = []
            for sign in (-2, -1, 1, 2):
                copy = atoms.copy()
                copy.positions[i, k] += sign * step
                energy.append(moved(potential, copy).energy[0])
            numeric[i, k] = -(energy[0] - 8 * energy[1] + 8 * energy[2] - energy[3]) / (12 * step)
    assert np.abs(numeric - forces).max() < 1e-6 * np.abs(forces).max()
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-11)


def test_stress_is_the_slope_by_strain(potential):
    atoms, step = hot(24), 1e-4
    stress = moved(potential, atoms).stress[0]
    numeric = np.zeros(6)
    for v, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energy = []
        for sign in (-2, -1, 1, 2):
            strain = np.eye(3)
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            copy = atoms.copy()
            copy.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energy.append(moved(potential, copy).energy[0])
        numeric[v] = (energy[0] - 8 * energy[1] + 8 * energy[2] - energy[3]) / (12 * step) / atoms.get_volume()
    assert np.abs(numeric - stress).max() < 1e-6 * np.abs(stress).max()


def test_nothing_jumps_where_an_atom_crosses_the_cutoff(potential):
    def three(x):
        return Atoms("CuAuCu", [[0, 0, 0], [2.4, 0, 0], [x, 0.3, 0]])

    edge = float(np.sqrt(16.0 - 0.3**2))
    changes = []
    for step in (1e-4, 1e-6):
        inside, outside = (moved(potential, three(edge + d)) for d in (-step, step))
        work = -(inside.forces[2, 0] + outside.forces[2, 0]) * step
        np.testing.assert_allclose(outside.energy - inside.energy, work, rtol=1e-4, atol=1e-12)
        changes.append(np.abs(inside.forces - outside.forces).max())
    assert changes[1] < 0.02 * changes[0] < 1e-2  # a slope, and no jump
    x = torch.tensor([1.0 - 1e-4, 1.0, 1.2], dtype=torch.float64)
    assert envelope(x)[0] < 1e-9
    assert envelope(x)[1:].tolist() == [0.0, 0.0]


def test_angles_are_told_only_with_harmonics():
    """Two trimers with the same distances from the centre atom, and the far ones out of each other's reach."""
    frames = [hot(k) for k in range(6)]

    def energies_of_centre(degree):
        model = Potential(**SMALL | {"degree": degree, "cutoff": 3.0}, epochs=1, dtype="float64")
        model.fit(frames, labels_of(frames))
        bent, straight = ([[0, 0, 0], [2.5, 0, 0], p] for p in ([-1.25, 1.25 * 3**0.5, 0], [-2.5, 0, 0]))
        return model.predict([Atoms("Cu3", bent), Atoms("Cu3", straight)]).energies[[0, 3]]

    one, other = energies_of_centre(-1)
    assert one == pytest.approx(other, abs=1e-12)
    one, other = energies_of_centre(2)
    assert abs(one - other) > 1e-7


def test_a_free_atom_has_an_energy_and_no_force(potential):
    alone = moved(potential, Atoms("Cu", cell=[30, 30, 30], pbc=True))
    assert np.isfinite(alone.energy).all()
    assert not alone.forces.any()
    assert np.isnan(moved(potential, Atoms("Cu")).stress).all()


def test_training_learns_and_gives_the_same_bits_again():
    frames = [hot(k) for k in range(20)]
    labels = labels_of(frames)
    start, end = (Potential(**SMALL, epochs=n, validation=0.2).fit(frames, labels) for n in (1, 40))
    assert end.training_.force_mae[-1] < 0.7 * start.training_.force_mae[0]
    assert end.training_.energy_mae[-1] < 0.5 * start.training_.energy_mae[0]
    again = Potential(**SMALL, epochs=40, validation=0.2).fit(frames, labels)
    for one, other in zip(
        end.fitted_.network.state_dict().values(), again.fitted_.network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


@pytest.fixture(scope="module")
def begins():
    """What a training may begin from: random weights, a potential, and an encoder that learned without labels."""
    frames = [hot(k) for k in range(40, 44)]
    of_labels = Encoder.of(Potential(**SMALL, epochs=1).fit(frames, labels_of(frames)))
    rows = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    return {"none": None, "potential": of_labels, "encoder": replace(of_labels, level=None, scale=None, rows=rows)}


@pytest.mark.parametrize("begin", ["none", "potential", "encoder"])
def test_labels_held_out_change_nothing_that_training_begins_with(begins, begin):
    """Neither energies of free atoms, nor the unit, nor the sum of readouts: the last is of the network's weights."""
    frames = [hot(k) for k in range(10)]
    labels = labels_of(frames)

    def spoiled(where):
        wild = Labels(energy=1e9, forces=np.full((8, 3), 1e9), stress=np.full(6, 1e9))
        return [wild if k in where else item for k, item in enumerate(labels)]

    def fitted(some):
        model = Potential(**SMALL, epochs=1, learning_rate=1e-30, validation=0.2)
        model.fit(frames, some, encoder=begins[begin])
        assert model.took_readout_ == (begin != "none")
        return model

    model = fitted(labels)
    held_out = model.training_.validation_frames
    assert len(held_out) == 2
    again = fitted(spoiled(held_out)).fitted_
    np.testing.assert_array_equal(again.level, model.fitted_.level)
    assert again.scale == model.fitted_.scale
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, model.fitted_.network.state_dict()[name]), name
    other = fitted(spoiled([min(set(range(10)) - set(held_out))])).fitted_  # of one that is learned from
    assert np.abs(other.level - model.fitted_.level).max() > 1e6
    assert (other.scale == model.fitted_.scale) == (begin == "potential")
    row = "energy.2.weight"
    same = torch.equal(other.network.state_dict()[row], model.fitted_.network.state_dict()[row])
    assert same == (begin != "encoder")


@pytest.mark.parametrize("kinds", [("energy",), ("forces",), ("stress",), ("energy", "forces")])
def test_any_of_the_labels_will_do_and_none_counts_as_zero(kinds):
    frames = [hot(k) for k in range(6)]
    labels = [Labels(**{kind: getattr(item, kind) for kind in kinds}) for item in labels_of(frames)]
    labels[0] = Labels()
    model = Potential(**SMALL, epochs=2, validation=0.0).fit(frames, labels)
    assert np.isfinite(model.predict(frames).forces).all()
    assert np.isfinite(model.training_.loss).all()


def test_what_cannot_be_learned_from_or_predicted_is_refused(potential):
    with pytest.raises(DataError, match="no frame has an energy, forces or a stress"):
        Potential(**SMALL).fit([hot(0)], [Labels()])
    with pytest.raises(DataError, match="frame 1: the model never saw Fe, Ni"):
        potential.predict([hot(0), Atoms("FeNi", positions=[[0, 0, 0], [0, 0, 2]])])
    with pytest.raises(UsageError, match="--degree: an integer of at least -1"):
        Potential(degree=-2).require_parameters()
    with pytest.raises(UsageError, match="--dtype: 'half' is unknown; available: float32, float64"):
        Potential(dtype="half").require_parameters()
    with pytest.raises(ValueError, match="not trained"):
        Potential().predict([hot(0)])


def test_a_part_of_a_graph_is_the_graph_of_that_part():
    frames = [hot(0), hot(1, repeat=1), Atoms("Cu"), hot(2)]
    whole = vector_graph(frames, 4.0)
    some, alone = whole.part(np.array([3, 1])), vector_graph([frames[3], frames[1]], 4.0)
    for name in ("numbers", "frame", "centre", "neighbour", "vector"):
        np.testing.assert_array_equal(getattr(some, name), getattr(alone, name))


def test_a_network_without_edges_is_fine():
    model = Potential(**SMALL, epochs=1, validation=0.0)
    atoms = [Atoms("Cu", cell=[40, 40, 40], pbc=True), Atoms("Au", cell=[40, 40, 40], pbc=True)]
    model.fit(atoms, [Labels(energy=-1.0), Labels(energy=-2.0)])
    assert isinstance(model.fitted_.network, PotentialNetwork)
    np.testing.assert_allclose(model.fitted_.level, [-1.0, -2.0])


def test_a_saved_potential_says_the_same_and_has_the_same_bytes(potential, tmp_path):
    potential.save(tmp_path / "cu.model")
    potential.save(tmp_path / "again.model")
    assert (tmp_path / "cu.model").read_bytes() == (tmp_path / "again.model").read_bytes()
    loaded = Potential.load(tmp_path / "cu.model")
    for name in ("energy", "energies", "forces", "stress"):
        one, other = (getattr(model.predict([hot(30)]), name) for model in (potential, loaded))
        np.testing.assert_array_equal(one, other)
    assert repr(loaded.training_) == repr(potential.training_)  # nan is not equal to itself
    assert loaded.get_params() == potential.get_params()
    with pytest.raises(OutputError, match=r"cu\.model: exists"):
        potential.save(tmp_path / "cu.model")


def test_a_damaged_file_makes_no_potential(potential, tmp_path):
    potential.save(tmp_path / "cu.model")
    whole = (tmp_path / "cu.model").read_bytes()
    (tmp_path / "cut.model").write_bytes(whole[:-100])
    with pytest.raises(DataError, match="truncated"):
        Potential.load(tmp_path / "cut.model")
    settings = read_checkpoint(tmp_path / "cu.model", "cgcnn-potential")
    for name, value, words in [
        ("degree", 9, "out of range"),
        ("channels", 2**19, "does not fit the arrays"),
        ("elements", [79, 29], "atomic numbers, ascending"),
    ]:
        changed = {**settings.settings, "sizes": {**settings.settings["sizes"], name: value}}
        (tmp_path / "odd.model").write_bytes(checkpoint_bytes("cgcnn-potential", settings.arrays, changed))
        with pytest.raises(DataError, match=words):
            Potential.load(tmp_path / "odd.model")
    with pytest.raises(DataError, match=r"is a potential \(of train\): a model of a property .* is wanted$"):
        CGCNN.load(tmp_path / "cu.model")


def test_a_perfect_crystal_gives_sound_numbers():
    """All its atoms are alike: what does not vary is not blown up."""
    perfect = [bulk("Cu", cubic=True)]
    model = Potential(**SMALL, epochs=20, validation=0.0).fit(perfect, labels_of(perfect))
    (truth,) = labels_of(perfect)
    said = model.predict(perfect)
    assert abs(said.energy[0] - truth.energy) < 1.0
    rattled = perfect[0].copy()
    rattled.rattle(0.05, seed=0)
    assert np.abs(model.predict([rattled]).forces).max() < 100


def test_frames_with_atoms_in_one_place_are_refused_by_name():
    frames = [hot(k) for k in range(3)]
    labels = labels_of(frames)
    frames[1].positions[2] = frames[1].positions[0]
    with pytest.raises(DataError, match=r"frame 1: positions: atoms \d+ and \d+ are in one place"):
        Potential(**SMALL, epochs=1).fit(frames, labels)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("cutoff", np.inf, "--cutoff: a number above 0, up to 100"),
        ("learning_rate", np.inf, "--learning-rate: a finite number above 0"),
        ("energy_weight", np.inf, "--energy-weight: a finite number"),
        ("channels", 2_000_000, "--channels: at most 4096"),
    ],
)
def test_parameters_out_of_range_are_refused(name, value, words):
    with pytest.raises(UsageError, match=words):
        Potential(**{name: value}).require_parameters()
