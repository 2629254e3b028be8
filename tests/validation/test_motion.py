"""Drift, displacements and pair distances of series whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read
from ase.units import GPa, kB
from scipy.spatial.transform import Rotation

from mlff_curate.data.labels import Labels, labels_of
from mlff_curate.dynamics import Conditions
from mlff_curate.errors import DataError
from mlff_curate.validation.crystal_frames import (
    frames_in_motion,
    labelled_elasticity,
    labelled_equation_of_state,
    placement,
    strained_frames,
)
from mlff_curate.validation.crystals import Crystal, element_crystal, relaxed_crystal
from mlff_curate.validation.elasticity import elasticity
from mlff_curate.validation.equation_of_state import equation_of_state
from mlff_curate.validation.labelled import LabelledFrames, compare_distances, labelled_errors
from mlff_curate.validation.melting_points import MELTING_POINTS
from mlff_curate.validation.motion import drift, lindemann
from mlff_curate.validation.pair_distances import overlap, pair_distances
from mlff_curate.validation.short_runs import energy_drift, run_crystal, stability
from mlff_curate.workflows.validate import _linear


def test_the_drift_of_a_line_with_noise_is_found_within_its_error():
    rng = np.random.default_rng(0)
    times = np.linspace(0, 20, 1001)
    for slope in (0.0, 1e-4, -3e-4):
        found = drift(times, -4.0 + slope * times + rng.normal(scale=2e-3, size=1001))
        assert found.slope == pytest.approx(slope, abs=3 * found.error)
        assert found.error == pytest.approx(2e-3 / np.sqrt(1001) / times.std(), rel=0.1)
        assert found.noise == pytest.approx(2e-3, rel=0.1)


def test_an_oscillation_is_no_drift():
    times = np.linspace(0, 20, 2001)
    assert abs(drift(times, np.sin(2 * np.pi * 3 * times)).slope) < 2e-3


def test_displacements_are_measured_in_neighbours_and_without_the_shift_of_all():
    rng = np.random.default_rng(0)
    sites = rng.normal(size=(400, 3))
    moved = sites + rng.normal(scale=0.1, size=(5, 400, 3)) + [3.0, 0, 0]
    np.testing.assert_allclose(lindemann(moved, sites, 2.5), np.sqrt(3) * 0.1 / 2.5, rtol=0.05)
    np.testing.assert_allclose(lindemann(sites[None] + 1.0, sites, 2.5), 0, atol=1e-12)


def test_a_perfect_crystal_has_its_shells_and_nothing_between():
    found = pair_distances([bulk("Cu", a=3.6, cubic=True)], radius=4.5, width=0.05)
    shells = {round(3.6 * np.sqrt(k / 2), 3): n for k, n in ((1, 12), (2, 6), (3, 24))}
    for r, n in shells.items():
        assert found.counts[int(r / 0.05)] == 4 * n
    assert found.counts.sum() == 4 * sum(shells.values())


def test_an_ideal_gas_is_one_everywhere():
    rng = np.random.default_rng(0)
    frames = [Atoms("H300", rng.uniform(0, 12, (300, 3)), cell=[12] * 3, pbc=True) for _ in range(20)]
    g = pair_distances(frames, radius=8.0, width=0.5).g
    np.testing.assert_allclose(g[2:], 1.0, atol=0.03)


def test_overlap_is_one_for_the_same_and_nothing_for_strangers():
    def of(a):
        return pair_distances([bulk("Cu", a=a, cubic=True)], radius=4.0, width=0.05)

    assert overlap(of(3.6), of(3.6)) == pytest.approx(1)
    assert overlap(of(3.6), of(3.9)) == 0
    hot, cold = ([rattled(sigma, k) for k in range(20)] for sigma in (0.2, 0.1))
    between = overlap(*(pair_distances(some, radius=5.0, width=0.05) for some in (hot, cold)))
    assert 0.6 < between < 0.9


def rattled(sigma, seed, a=3.6):
    atoms = bulk("Cu", a=a, cubic=True) * (2, 2, 2)
    atoms.positions += np.random.default_rng(seed).normal(scale=sigma, size=atoms.positions.shape)
    return atoms


@pytest.fixture(scope="module")
def copper():
    return relaxed_crystal(element_crystal("Cu"), EMT(), fmax=1e-3, steps=200)


def labelled(atoms):
    copy = atoms.copy()
    copy.calc = EMT()
    return Labels(energy=copy.get_potential_energy(), forces=copy.get_forces(), stress=copy.get_stress())


def test_strained_frames_are_found_in_cells_of_any_repetition(copper):
    a = copper.constants()["a"]
    strain = np.array([[0.01, 0.004, 0], [0.004, -0.02, 0], [0, 0, 0.0]])
    frames = [bulk("Cu", a=a), bulk("Cu", a=a, cubic=True), bulk("Cu", a=a, cubic=True) * (2, 1, 1)]
    for frame in frames:
        frame.set_cell(frame.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
        frame.positions += 0.37
    found = strained_frames(frames, copper)
    assert set(found) == {0, 1, 2}
    for one in found.values():
        np.testing.assert_allclose(one, strain, atol=1e-9)
    vacancy = bulk("Cu", a=a, cubic=True) * (2, 2, 2)
    del vacancy[3]
    others = [vacancy, bulk("Cu", "bcc", a=2.87, cubic=True), rattled(0.2, 0), bulk("Ag", a=a), Atoms("Cu")]
    assert strained_frames(others, copper) == {}
    assert placement(rattled(0.1, 0), copper) is not None


def test_labelled_strains_tell_elastic_constants_and_the_equation_of_state(copper):
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(30):
        atoms = bulk("Cu", a=3.62, cubic=True)
        strain = rng.uniform(-0.01, 0.01, (3, 3))
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        frames.append(atoms)
    labels = [labelled(atoms) for atoms in frames]
    found = labelled_elasticity(labels, strained_frames(frames, copper), copper.axes)
    right = elasticity(copper, EMT(), strain=0.005, points=5, fmax=1e-3, steps=50).named
    assert (found.c11, found.c12, found.c44) == tuple(pytest.approx(right[c], rel=0.1) for c in ("C11", "C12", "C44"))
    assert found.stretch == pytest.approx(1, abs=2e-3)
    assert 0 < found.stretch_error < 1e-3
    assert found.inner == tuple(pytest.approx(c, rel=0.1) for c in (found.c11, found.c12, found.c44))
    volumes = [bulk("Cu", a=a, cubic=True) for a in np.linspace(3.45, 3.75, 9)]
    labels = [labelled(atoms) for atoms in volumes]
    eos = labelled_equation_of_state(volumes, labels, strained_frames(volumes, copper))
    own = equation_of_state(copper, EMT(), strain=0.02, points=7, fmax=1e-3, steps=50)
    assert eos.bulk_modulus == pytest.approx(own.bulk_modulus, rel=0.03)
    assert labelled_equation_of_state(volumes[:3], labels[:3], strained_frames(volumes[:3], copper)) is None
    assert labelled_elasticity(labels, strained_frames(volumes, copper), copper.axes) is None  # no shear among them


def test_strains_of_a_cube_in_any_orientation_tell_its_constants(copper):
    turn = Rotation.from_rotvec([0.3, -0.7, 1.1]).as_matrix()
    turned = copper.atoms.copy()
    turned.set_cell(turned.cell[:] @ turn.T, scale_atoms=True)
    crystal = Crystal(turned, "given")
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(30):
        strain = rng.uniform(-0.005, 0.005, (3, 3))
        frames.append(turned.copy())
        frames[-1].set_cell(turned.cell[:] @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    labels = [labelled(atoms) for atoms in frames]
    found = labelled_elasticity(labels, strained_frames(frames, crystal), crystal.axes)
    right = elasticity(copper, EMT(), strain=0.005, points=5, fmax=1e-3, steps=50).named
    assert (found.c11, found.c12, found.c44) == tuple(pytest.approx(right[c], rel=0.05) for c in ("C11", "C12", "C44"))


def test_a_response_that_is_not_linear_is_no_reference():
    rng = np.random.default_rng(0)
    strains, labels = {}, []
    for i in range(40):
        strain = rng.uniform(-0.014, 0.014, (3, 3)) * (1.0 if i % 2 else 0.4)
        strains[i] = e = (strain + strain.T) / 2
        shear = np.array([e[1, 2], e[0, 2], e[0, 1]])
        normal = 150 * np.diag(e) + 125 * np.trace(e)
        shears = 2 * 8 * shear * (1 + 4e4 * shear**2)  # C44 grows with the strain
        labels.append(Labels(stress=np.concatenate([normal, shears]) * GPa))
    elastic = labelled_elasticity(labels, strains, np.eye(3))
    found, notes = _linear(elastic)
    assert set(found) == {"C11", "C12", "bulk_modulus"}
    assert found["C11"].value == pytest.approx(275, rel=1e-3)
    assert len(notes) == 1
    assert notes[0].startswith("data: C44 is no reference: ")
    assert notes[0].endswith(" GPa by the half that is strained less, so stresses are not linear in the strain")
    found, notes = _linear(replace(elastic, inner=None))
    assert set(found) == {"C11", "C12", "C44", "bulk_modulus"}
    assert notes == ["data: whether stresses are linear in the strain is not known: they are too few"]


def test_frames_at_two_temperatures_are_two_groups(copper):
    def at_rest(atoms):
        return -1.0 * len(atoms)

    n = 32
    frames = [rattled(0.1, k) for k in range(24)] + [rattled(0.1, k, a=3.5) for k in range(3)]
    kelvin = [300.0] * 12 + [900.0] * 12 + [300.0] * 3
    labels = [Labels(energy=-n + 1.5 * kB * t * n) for t in kelvin]
    found = frames_in_motion(frames, labels, ["md"] * 27, copper, at_rest, 1300)
    assert [(len(one.frames), round(one.temperature)) for one in found] == [(12, 300), (12, 900)]
    assert len(frames_in_motion(frames, labels, ["md"] * 27, copper, at_rest, 500)) == 1


def test_energy_is_conserved_and_the_crystal_stays(copper):
    common = {"width": 7.0, "timestep": 2.0, "seed": 0}
    found = energy_drift(copper, EMT(), temperature=300, length=0.4, **common)
    assert found.atoms == 32
    assert abs(found.slope) < 1.0
    assert 200 < found.temperature < 400
    assert found.length == pytest.approx(0.4)
    again = energy_drift(copper, EMT(), temperature=300, length=0.4, **common)
    assert again == found
    held = stability(copper, EMT(), temperature=680, length=0.4, **common)
    assert not held.stopped
    assert held.lindemann < 0.15
    assert held.perfect == 12


def test_a_run_that_collapses_is_told(copper):
    class Attracting(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.results["forces"] = -3.0 * self.results["forces"]

    found = stability(copper, Attracting(), width=5, temperature=3000, timestep=4, length=1, seed=0)
    assert found.stopped.startswith("stopped at step ")
    with pytest.raises(DataError, match="stopped at step "):
        energy_drift(copper, Attracting(), width=5, temperature=3000, timestep=4, length=1, seed=0)


def test_a_run_that_cannot_begin_is_told(copper):
    class Blind(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            self.results["forces"] = np.full((len(atoms), 3), np.nan)

    for run in (stability, energy_drift):
        with pytest.raises(DataError, match=r"stopped at step 0 \(0 fs\): the force on atom 0 .* is not finite"):
            run(copper, Blind(), width=5, temperature=300, timestep=2, length=0.1, seed=0)


def test_a_potential_overlaps_with_its_own_motion(copper):
    sites = copper.supercell(7.0)
    run = run_crystal(sites, EMT(), Conditions("langevin", temperature=400, timestep=4, seed=5), length=1.2)
    frames = []
    for positions in run.positions[10:]:
        atoms = sites.copy()
        atoms.positions[:] = positions
        frames.append(atoms)
    data = LabelledFrames(frames, [labelled(atoms) for atoms in frames], ["md"] * len(frames))
    settings = {"hottest": 1358, "length": 1.0, "timestep": 4, "radius": 5, "width": 0.1, "seed": 0}
    (found,) = compare_distances(copper, EMT(), data, runs=1, **settings).runs
    assert 250 < found.temperature < 550
    assert found.overlap > 0.9
    assert 0.8 < found.itself <= 1
    errors = labelled_errors(EMT(), data)
    assert errors.frames == len(frames)
    assert errors.all["force_mae"] < 1e-9
    with pytest.raises(DataError, match="no ten frames of the data are this crystal"):
        compare_distances(copper, EMT(), LabelledFrames(frames[:3], data.labels[:3], ["md"] * 3), runs=1, **settings)


@pytest.mark.data
def test_real_sets_tell_of_their_crystals(real_data):
    def told(name, symbol):
        frames = list(read(real_data / name, ":"))
        labels = [labels_of(atoms) for atoms in frames]
        crystal = element_crystal(symbol)
        strained = strained_frames(frames, crystal)
        return frames, labels, crystal, strained, labelled_elasticity(labels, strained, crystal.axes)

    *_, crystal, strained, found = told("ta_jcp2014.extxyz", "Ta")
    assert len(strained) == 121  # Elastic_BCC and Volume_BCC, and no frame of fcc, A15, faults, surfaces and melt
    # Ta06A.snap, which was fitted to this set, has 3.316 A and 270, 156, 73 GPa by `elasticity`
    assert crystal.constants()["a"] * found.stretch == pytest.approx(3.316, abs=0.01)
    assert (found.c11, found.c12, found.c44) == tuple(pytest.approx(c, rel=0.1) for c in (270, 156, 73))
    frames, labels, crystal, strained, found = told("nb_mvl2020.extxyz", "Nb")
    assert len(strained) == 121
    assert crystal.constants()["a"] * found.stretch == pytest.approx(3.32, abs=0.01)
    assert set(_linear(found)[0]) == {"C11", "C12", "bulk_modulus"}  # C44: -2.6 to 6.4 GPa
    lowest = min(labels[i].energy / len(frames[i]) for i in strained)
    groups = [atoms.info["config_type"] for atoms in frames]
    motion = frames_in_motion(frames, labels, groups, crystal, lambda atoms: lowest * len(atoms), 2750)
    assert {one.group for one in motion} == {"AIMD"}
    assert [len(one.frames) for one in motion] == [40] * 4
    assert any(300 < one.temperature < 400 for one in motion)
    assert any(900 < one.temperature < 1000 for one in motion)


def test_melting_points_are_those_of_the_handbook():
    assert (MELTING_POINTS["Ta"], MELTING_POINTS["Nb"], MELTING_POINTS["Fe"], MELTING_POINTS["Cu"]) == (
        3290, 2750, 1811, 1358,
    )  # fmt: skip
    assert "C" not in MELTING_POINTS  # it does not melt at that pressure
