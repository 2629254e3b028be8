"""Frames that repeat a structure are told, and whether their labels agree in what no rotation changes."""

from collections import Counter

import numpy as np
import pytest
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from made_frames import checked, hot_crystal, nudged, shuffled, turned

from mlff_curate.checks.duplicates import duplicates, shared_with_training
from mlff_curate.checks.frame import CheckedFrame
from mlff_curate.data.frames import geometry
from mlff_curate.data.labels import labels_of
from mlff_curate.data.reading import read_frames

STRESS = np.array([0.01, 0.02, 0.03, 0.004, 0.005, 0.006])


def labelled(seed, index, energy=0.0, file="set.xyz"):
    atoms = hot_crystal(seed)
    forces = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    return checked(atoms, index, file, energy=-11.8 * len(atoms) + energy, forces=forces, stress=STRESS)


def twin_of(frame, index, rng):
    """Rotate structure and labels together."""
    atoms, order = shuffled(frame.atoms, rng)
    atoms, q = turned(atoms, rng)
    stress = full_3x3_to_voigt_6_stress(q.T @ voigt_6_to_full_3x3_stress(frame.labels.stress) @ q)
    return checked(atoms, index, energy=frame.labels.energy, forces=frame.labels.forces[order] @ q, stress=stress)


@pytest.fixture
def frames():
    return [labelled(seed, seed) for seed in range(30)]


def rules(findings):
    return [(finding.rule, finding.severity, finding.frame, finding.value) for finding in findings]


def test_distinct_frames_are_no_finding(frames):
    assert duplicates(frames) == []


@pytest.mark.parametrize("which", [[4], [4, 17], list(range(30))])
def test_exact_copies_are_warnings_that_name_the_original(frames, which):
    found = duplicates(frames + [labelled(k, 30 + place) for place, k in enumerate(which)])
    assert rules(found) == [("duplicate-exact", "warning", 30 + place, f"set.xyz:{k}") for place, k in enumerate(which)]
    assert "holds the structure of frame 4 atom upon atom (within 0.0001 Angstrom)" in found[which.index(4)].message
    assert "their labels agree (energies by 0 meV/atom" in found[which.index(4)].message


def test_near_copies_and_rotated_twins_are_notes(frames):
    rng = np.random.default_rng(0)
    near = labelled(3, 30)
    near = checked(nudged(near.atoms, rng, 5e-4), 30, energy=near.labels.energy, forces=near.labels.forces + 0.01)
    found = duplicates([*frames, near, twin_of(frames[5], 31, rng)])
    assert rules(found) == [
        ("duplicate-near", "note", 30, "set.xyz:3"),
        ("duplicate-twin", "note", 31, "set.xyz:5"),
    ]


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("energy", "energies by 5 meV/atom"),
        ("forces", "forces by 0.1 eV/Angstrom"),
        ("stress", "stresses by 1.6 GPa"),
    ],
)
@pytest.mark.parametrize("turn", [False, True])
def test_labels_that_differ_are_a_conflict(frames, kind, shown, turn):
    other = twin_of(frames[5], 30, np.random.default_rng(0)) if turn else labelled(5, 30)
    changed = {name: getattr(other.labels, name) for name in ("energy", "forces", "stress")}
    if kind == "energy":
        changed["energy"] += 0.005 * len(other.atoms)
    elif kind == "forces":
        lengths = np.linalg.norm(changed["forces"], axis=1)
        longest = lengths.argmax()
        changed["forces"] = changed["forces"].copy()
        changed["forces"][longest] *= 1 + 0.1 / lengths[longest]
    else:
        changed["stress"] = changed["stress"] + 0.01 * np.array([1, 1, 1, 0, 0, 0])
    (found,) = duplicates([*frames, checked(other.atoms, 30, **changed)])
    assert rules([found]) == [("duplicate-conflict", "warning", 30, "set.xyz:5")]
    assert found.key == kind
    assert "but their labels differ (energies by" in found.message
    assert shown in found.message


def test_another_magnetic_state_is_named(frames):
    atoms = frames[0].atoms
    ones = np.ones(len(atoms))
    pair = [
        checked(atoms, 0, energy=-1.0, magmoms=2.2 * ones),
        checked(atoms, 1, energy=-2.0, magmoms=-0.5 * ones),
    ]
    (found,) = duplicates(pair)
    assert "so do their magnetic moments (by 1.7 Bohr magnetons): a model without spin" in found.message


def test_unlabelled_copies_are_copies_all_the_same(frames):
    (found,) = duplicates([frames[0], checked(frames[0].atoms, 1)])
    assert found.rule == "duplicate-exact"
    assert found.message.endswith("they have no labels in common")


def test_a_test_frame_that_is_in_the_training_set_is_a_warning(frames):
    rng = np.random.default_rng(0)
    twin = twin_of(frames[2], 1, rng)
    test = [labelled(100, 0, file="test.xyz"), checked(twin.atoms, 1, "test.xyz", energy=twin.labels.energy)]
    (found,) = shared_with_training(test, frames)
    assert (found.file, found.frame, found.rule, found.severity, found.value) == (
        "test.xyz",
        1,
        "duplicate-train-test",
        "warning",
        "set.xyz:2",
    )
    assert "holds the structure of frame 2 of set.xyz, rotated, reflected" in found.message


def pairs_of_groups(path):
    """Count findings by rule, group of the original and group of the copy."""
    read = list(read_frames(path))
    frames = [
        CheckedFrame(f.source, f.index, geometry(f.atoms), labels_of(f.atoms), f.atoms.info["config_type"])
        for f in read
    ]
    return Counter(
        (found.rule, frames[int(found.value.rsplit(":", 1)[1])].group, frames[found.frame].group)
        for found in duplicates(frames)
    )


@pytest.mark.data
class TestPublishedSets:
    def test_niobium_has_its_ninety_twins_among_the_strain_cells(self, real_data):
        assert pairs_of_groups(real_data / "nb_mvl2020.extxyz") == {("duplicate-twin", "Elastic", "Elastic"): 90}

    def test_tantalum_repeats_some_stacking_faults(self, real_data):
        assert pairs_of_groups(real_data / "ta_jcp2014.extxyz") == {
            ("duplicate-exact", "GSF_110", "GSF_110"): 1,
            ("duplicate-exact", "GSF_112", "GSF_112"): 1,
            ("duplicate-exact", "GSF_110", "Surface"): 1,
            ("duplicate-exact", "GSF_112", "Surface"): 1,
            ("duplicate-near", "GSF_110", "GSF_110"): 2,
            ("duplicate-near", "GSF_112", "GSF_112"): 2,
            ("duplicate-twin", "GSF_110", "GSF_110"): 5,
        }

    def test_iron_repeats_one_equation_of_state_with_other_settings(self, real_data):
        elastic = "CCMC-bcc-hcp-elastic_Jun2020"
        assert pairs_of_groups(real_data / "fe_npj2021.extxyz") == {
            ("duplicate-conflict", "EOS_001_Jun2020", "EOS_100"): 313,
            ("duplicate-exact", "EOS_001_Jun2020", "EOS_001_Jun2020"): 20,
            ("duplicate-exact", "EOS_100", "EOS_100"): 8,
            ("duplicate-conflict", "BCC-HCP-transition", "BCC-HCP-transition"): 14,
            ("duplicate-exact", "BCC-HCP-transition", "BCC-HCP-transition"): 3,
            ("duplicate-exact", elastic, elastic): 7,
            ("duplicate-near", elastic, elastic): 30,
            ("duplicate-twin", elastic, elastic): 15,
        }
