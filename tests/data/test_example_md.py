"""The example sets are what they say: consistent labels, a liquid melt, a real surface, the same bytes each time."""

import itertools
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.geometry import find_mic

from mlff_curate.data.example_md import METALS, STAGES, make_example, sample_frames
from mlff_curate.errors import OutputError, UsageError
from mlff_curate.lammps_session import LammpsSession

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
GROUPS = {stage.name for stage in STAGES}


@pytest.fixture(scope="module")
def committed():
    return {symbol: ase.io.read(EXAMPLES / f"{symbol.lower()}_md.extxyz", ":") for symbol in METALS}


@pytest.fixture(scope="module")
def iron():
    return sample_frames("Fe", frames=40, seed=7)


def group(frames, name):
    return [frame for frame in frames if frame.info["config_type"] == name]


def largest_bragg_peak(frames):
    """Largest structure factor over N, averaged over frames: 1 for a perfect crystal in any orientation."""
    waves = np.array([k for k in itertools.product(range(-7, 8), repeat=3) if any(k)])
    peaks = [np.abs(np.exp(2j * np.pi * frame.get_scaled_positions() @ waves.T).mean(axis=0)) ** 2 for frame in frames]
    return np.mean(peaks, axis=0).max()


def mean_square_displacement(frames):
    """From the first frame to the last, in Angstrom^2, without the drift of the whole."""
    path = sum(find_mic(b.positions - a.positions, a.cell)[0] for a, b in itertools.pairwise(frames))
    return ((path - path.mean(axis=0)) ** 2).sum(axis=1).mean()


def energy_of(session, metal, frame):
    session.load(frame, [metal.number], metal.commands())
    session.run(0)
    return session.energy()


def assert_labels_are_derivatives(frame, metal, h=1e-4):
    """Compare the labels with the energy of neighbouring frames, along one random direction and strain."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(len(frame), 3))
    strain = rng.normal(size=(3, 3))
    strain = 0.5 * (strain + strain.T)
    energies = {"move": [], "strain": []}
    with LammpsSession() as session:
        assert energy_of(session, metal, frame) == pytest.approx(frame.get_potential_energy(), abs=1e-8)
        for step in (h, -h):
            moved, strained = frame.copy(), frame.copy()
            moved.positions += step * direction
            strained.set_cell(frame.cell[:] @ (np.eye(3) + step * strain), scale_atoms=True)
            energies["move"].append(energy_of(session, metal, moved))
            energies["strain"].append(energy_of(session, metal, strained))
    by_moving = -np.subtract(*energies["move"]) / (2 * h)
    assert by_moving == pytest.approx((frame.get_forces() * direction).sum(), abs=2e-4)
    by_straining = np.subtract(*energies["strain"]) / (2 * h) / frame.get_volume()
    assert by_straining == pytest.approx((frame.get_stress(voigt=False) * strain).sum(), abs=2e-5)


@pytest.mark.parametrize("symbol", METALS)
@pytest.mark.parametrize("name", sorted(GROUPS))
def test_labels_in_the_files_are_derivatives_of_the_energy(committed, symbol, name):
    assert_labels_are_derivatives(group(committed[symbol], name)[0], METALS[symbol])


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_labels_of_new_frames_are_derivatives_of_the_energy(iron, name):
    assert_labels_are_derivatives(group(iron, name)[0], METALS["Fe"])


@pytest.mark.parametrize("symbol", METALS)
def test_files_hold_what_the_readme_says(committed, symbol):
    frames = committed[symbol]
    counts = {name: len(group(frames, name)) for name in GROUPS}
    assert counts == {"bcc_300K": 65, "bcc_hot": 8, "melt": 8, "vacancy": 7, "surface": 6, "strained": 6}
    assert (EXAMPLES / f"{symbol.lower()}_md.extxyz").stat().st_size <= 620_000
    assert {frame.get_chemical_formula(empirical=True) for frame in frames} == {symbol}


@pytest.mark.parametrize("symbol", METALS)
def test_melt_is_molten_and_the_crystals_are_not(committed, symbol):
    melt, hot = group(committed[symbol], "melt"), group(committed[symbol], "bcc_hot")
    assert largest_bragg_peak(melt) < 0.3
    assert largest_bragg_peak(hot) > 0.7
    assert mean_square_displacement(melt) > 1.0
    assert mean_square_displacement(hot) < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_melt_of_iron_is_molten_for_other_seeds_too(seed):
    melt = group(sample_frames("Fe", frames=30, seed=seed), "melt")
    assert largest_bragg_peak(melt) < 0.6  # few frames average less


@pytest.mark.parametrize("symbol", METALS)
def test_surface_has_a_vacuum_wider_than_the_cutoff(committed, symbol):
    for slab in group(committed[symbol], "surface"):
        z = np.sort(slab.get_scaled_positions()[:, 2])
        gaps = np.diff(np.append(z, z[0] + 1.0)) * slab.cell[2, 2]
        assert gaps.max() > 10.0


@pytest.mark.parametrize("symbol", METALS)
def test_vacancy_lacks_one_atom_of_the_crystal(committed, symbol):
    assert {len(frame) for frame in group(committed[symbol], "vacancy")} == {53}
    assert {len(frame) for frame in group(committed[symbol], "bcc_300K")} == {54}


@pytest.mark.parametrize("symbol", METALS)
def test_frames_at_room_temperature_are_near_copies_but_not_copies(committed, symbol):
    frames = group(committed[symbol], "bcc_300K")
    steps = [
        np.sqrt((find_mic(b.positions - a.positions, a.cell)[0] ** 2).mean()) for a, b in itertools.pairwise(frames)
    ]
    assert min(steps) > 0.005
    assert max(steps) < 0.2  # Angstrom; neighbours are 2.5 apart


def test_file_is_the_same_for_the_same_seed_and_another_for_another(tmp_path):
    texts = [
        make_example("Fe", tmp_path / str(i), frames=12, seed=seed).path.read_bytes()
        for i, seed in enumerate((3, 3, 4))
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_written_file_holds_the_sampled_frames_exactly(tmp_path, iron):
    read = ase.io.read(make_example("fe", tmp_path, frames=40, seed=7).path, ":")
    assert len(read) == len(iron)
    for a, b in zip(iron, read, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
        np.testing.assert_array_equal(a.cell[:], b.cell[:])
        np.testing.assert_array_equal(a.get_forces(), b.get_forces())
        np.testing.assert_array_equal(a.get_stress(), b.get_stress())
        assert a.get_potential_energy() == b.get_potential_energy()


@pytest.mark.parametrize("frames", [12, 50, 137])
def test_number_of_frames_is_the_number_asked_for_and_no_group_is_missing(frames):
    made = sample_frames("Fe", frames=frames)
    assert len(made) == frames
    assert {frame.info["config_type"] for frame in made} == GROUPS


def test_progress_rises_to_its_total():
    calls = []
    sample_frames("Fe", frames=12, progress=lambda *call: calls.append(call))
    done, totals, stages = zip(*calls, strict=True)
    assert list(done) == sorted(set(done))
    assert set(totals) == {done[-1]}
    assert set(stages) == GROUPS - {"strained"}  # those take no MD


def test_existing_file_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "fe_md.extxyz"
    path.write_text("precious")
    with pytest.raises(OutputError, match=r"fe_md\.extxyz: exists already; use --overwrite"):
        make_example("Fe", tmp_path, frames=12)
    assert path.read_text() == "precious"
    make_example("Fe", tmp_path, frames=12, overwrite=True)
    assert len(ase.io.read(path, ":")) == 12
    assert [child.name for child in tmp_path.iterdir()] == ["fe_md.extxyz"]  # no temporary left


def test_interrupted_run_leaves_nothing(tmp_path):
    def stop(_done, _total, stage):
        if stage == "melt":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_example("Fe", tmp_path / "new", frames=12, progress=stop)
    assert not (tmp_path / "new").exists()


def test_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        make_example("Fe", tmp_path / "file", frames=12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"element": "Cu"}, "no example for 'Cu'; available: Ta, Nb, Fe"),
        ({"frames": 5}, "at least 12 frames, got 5"),
        ({"seed": -1}, "from 0 on, got -1"),
    ],
)
def test_wrong_options_name_the_rule_and_the_value(tmp_path, wrong, message):
    with pytest.raises(UsageError, match=message):
        make_example(**{"element": "Fe", "directory": tmp_path, **wrong})
