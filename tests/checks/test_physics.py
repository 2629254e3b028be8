"""Labels that break physics are found and named; labels that do not are left in peace."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read
from ase.units import Bohr, GPa, Hartree, kcal, mol

from mlff_curate.checks.frame import CheckedFrame
from mlff_curate.checks.physics import check_physics
from mlff_curate.data.frames import geometry
from mlff_curate.data.labels import Labels, labels_of

SINGLE = 31  # a displaced cell


def emt_frames() -> list[CheckedFrame]:
    """Copper: displaced cells at several volumes, and strained small cells."""
    rng = np.random.default_rng(7)
    frames = []
    for i in range(90):
        if i % 2:
            atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
            atoms.set_cell(atoms.cell[:] * rng.uniform(0.97, 1.04), scale_atoms=True)
            atoms.positions += rng.normal(scale=0.12, size=(len(atoms), 3))
        else:
            atoms = bulk("Cu", cubic=True)
            strain = rng.normal(scale=0.03, size=(3, 3))
            atoms.set_cell(atoms.cell[:] @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
            atoms.positions += rng.normal(scale=0.02, size=(4, 3))
        frames.append(_labelled(atoms, len(frames), "displaced" if i % 2 else "strained"))
    return frames


def _labelled(atoms: Atoms, index: int, group: str) -> CheckedFrame:
    atoms.calc = EMT()
    labels = Labels(
        energy=atoms.get_potential_energy(),
        forces=atoms.get_forces(),
        stress=atoms.get_stress(),
        energy_key="energy",
        forces_key="forces",
        stress_key="stress",
    )
    return CheckedFrame(
        "cu.extxyz", index, Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True), labels, group
    )


@pytest.fixture(scope="module")
def copper():
    return emt_frames()


def changed(frames, which, **change):
    """Change a label of some frames by a function of label and frame."""
    out = list(frames)
    for i in which:
        labels = frames[i].labels
        for name, function in change.items():
            labels = dataclasses.replace(labels, **{name: function(getattr(labels, name), frames[i].atoms)})
        out[i] = dataclasses.replace(frames[i], labels=labels)
    return out


FAULTS = {
    "energy-unit": ("energy", lambda e, _: e * mol / kcal),
    "energy-sign": ("energy", lambda e, a: 3.0 * len(a) - e),
    "force-unit": ("forces", lambda f, _: f * Bohr / Hartree),
    "force-sign": ("forces", lambda f, _: -f),
    "stress-unit": ("stress", lambda s, _: s / GPa),
    "stress-sign": ("stress", lambda s, _: -s),
    "stress-order": ("stress", lambda s, _: s[[0, 1, 2, 5, 3, 4]]),
    "stress-virial": ("stress", lambda s, a: -s * a.get_volume()),
}


def test_sound_labels_are_left_in_peace(copper):
    assert check_physics(copper) == []


@pytest.mark.parametrize("rule", FAULTS)
def test_a_fault_of_all_frames_is_told_once_with_its_correction(copper, rule):
    kind, function = FAULTS[rule]
    wrong = changed(copper, range(len(copper)), **{kind: function})
    (finding,) = check_physics(wrong)
    assert (finding.rule, finding.frame, finding.file, finding.severity) == (rule, None, "cu.extxyz", "error")
    assert finding.key == kind
    correction = finding.correction
    assert correction is not None
    for frame, was in zip(wrong, copper, strict=True):
        label = getattr(frame.labels, kind) * correction.factor
        if correction.order is not None:
            label = label[list(correction.order)]
        if correction.per_volume:
            label = label / frame.atoms.get_volume() ** correction.per_volume
        if rule != "energy-sign":  # a constant is nobody's business
            np.testing.assert_allclose(label, getattr(was.labels, kind), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("rule", "kind", "function"),
    [
        ("energy-unit", "energy", lambda e, a: (e - 3.0 * len(a)) * mol / kcal),
        ("force-unit", "forces", lambda f, _: f * Bohr / Hartree),
        ("force-sign", "forces", lambda f, _: -f),
        ("force-zero", "forces", lambda f, _: 0.0 * f),
        ("force-outlier", "forces", lambda f, _: f[::-1]),
        ("force-outlier", "forces", lambda f, _: f + 4.0 * np.eye(len(f))[2][:, None] * np.ones(3)),
        ("stress-unit", "stress", lambda s, _: s / GPa),
        ("stress-sign", "stress", lambda s, _: -s),
        ("energy-outlier", "energy", lambda e, a: e + 0.4 * len(a)),
    ],
)
def test_a_fault_of_one_frame_is_told_of_that_frame_alone(copper, rule, kind, function):
    frames = [
        dataclasses.replace(f, labels=dataclasses.replace(f.labels, energy=f.labels.energy - 3.0 * len(f.atoms)))
        for f in copper
    ]
    if rule == "energy-unit":
        frames = changed(frames, [SINGLE], energy=lambda e, _: e * mol / kcal)
    else:
        frames = changed(frames, [SINGLE], **{kind: function})
    findings = check_physics(frames)
    assert {f.frame for f in findings} == {SINGLE}
    assert rule in {f.rule for f in findings}


@pytest.mark.parametrize("kind", ["energy", "forces", "stress"])
def test_zeros_instead_of_missing_labels_are_found(copper, kind):
    rule = {"energy": "energy-zero", "forces": "force-zero", "stress": "stress-zero"}[kind]
    findings = check_physics(changed(copper, range(len(copper)), **{kind: lambda value, _: 0.0 * value}))
    assert (rule, None) in {(f.rule, f.frame) for f in findings}
    assert all(f.rule == rule for f in findings)


def test_frames_on_another_level_are_named_with_the_offset(copper):
    some = [3, 9, 23, 31, 45]
    findings = check_physics(changed(copper, some, energy=lambda e, a: e + 1.7 * len(a)))
    assert [f.frame for f in findings if f.rule == "energy-reference"] == some
    assert all(f.value == pytest.approx(1.7, abs=0.05) for f in findings)
    assert all("5 frames on levels of their own" in f.message for f in findings)


def test_a_group_of_another_unit_is_told_frame_by_frame_with_corrections_and_named(copper):
    frames = [dataclasses.replace(f, group="other" if i % 9 == 4 else f.group) for i, f in enumerate(copper)]
    some = [i for i, f in enumerate(frames) if f.group == "other"]
    findings = check_physics(changed(frames, some, stress=lambda s, _: s / GPa))
    assert [f.frame for f in findings] == some
    assert {f.rule for f in findings} == {"stress-unit"}
    assert all("group 'other'" in f.message for f in findings)
    assert all(f.correction is not None and f.correction.factor == pytest.approx(GPa) for f in findings)


@pytest.mark.parametrize(
    ("rule", "kind", "function", "factor"),
    [
        ("energy-unit", "energy", lambda e, _: e * mol / kcal, kcal / mol),
        ("force-unit", "forces", lambda f, _: f * mol / kcal, kcal / mol),
        ("force-sign", "forces", lambda f, _: -f, -1.0),
        ("stress-unit", "stress", lambda s, _: -10 * s / GPa, -0.1 * GPa),
    ],
)
def test_a_fault_of_a_large_group_is_not_taken_for_one_of_all(copper, rule, kind, function, factor):
    frames = [dataclasses.replace(f, group=f"{f.group} {i % 4 // 2}") for i, f in enumerate(copper)]
    some = [i for i, f in enumerate(frames) if f.group == "displaced 1"]
    findings = check_physics(changed(frames, some, **{kind: function}))
    assert {(f.rule, f.frame) for f in findings} == {(rule, i) for i in some}
    corrections = [f.correction.factor for f in findings if f.correction is not None]
    assert corrections == pytest.approx([factor] * len(corrections))


def test_half_of_two_files_in_another_unit_is_told_of_that_file(copper):
    frames = [dataclasses.replace(f, file="b.extxyz" if i % 4 > 1 else "a.extxyz") for i, f in enumerate(copper)]
    some = [i for i, f in enumerate(frames) if f.file == "b.extxyz"]
    findings = check_physics(changed(frames, some, energy=lambda e, _: e * mol / kcal))
    assert {f.file for f in findings} == {"b.extxyz"}
    assert {f.rule for f in findings} == {"energy-unit"}
    assert sorted(f.frame for f in findings) == some


def test_a_group_on_another_level_is_told_frame_by_frame(copper):
    frames = [dataclasses.replace(f, group=f"{f.group} {i % 3}") for i, f in enumerate(copper)]
    some = [i for i, f in enumerate(frames) if f.group == "displaced 1"]
    findings = check_physics(changed(frames, some, energy=lambda e, a: e + 0.3 * len(a)))
    assert {f.rule for f in findings} == {"energy-reference"}
    assert [f.frame for f in findings] == some
    assert all(f.value == pytest.approx(0.3, abs=0.02) for f in findings)
    assert {"displaced 1" in f.message for f in findings} == {True}


@pytest.mark.parametrize("groups", [4, 3])
def test_a_group_where_energies_of_a_known_unit_would_lie_is_told_and_mended(copper, groups):
    frames = [dataclasses.replace(f, group=str(i % groups)) for i, f in enumerate(copper)]
    some = [i for i, f in enumerate(frames) if f.group == "1"][:8]
    frames = [f for i, f in enumerate(frames) if f.group != "1" or i in some]
    some = [i for i, f in enumerate(frames) if f.group == "1"]
    findings = check_physics(changed(frames, some, energy=lambda e, _: e / Hartree))
    assert {f.rule for f in findings} == {"energy-unit"}
    assert len(findings) == len(some)
    assert all(f.correction is not None and f.correction.factor == pytest.approx(Hartree) for f in findings)


@pytest.mark.parametrize("offset", [0.8, 2.0, 7.0, 20.0])
def test_a_mere_shift_is_taken_for_no_unit(copper, offset):
    frames = [dataclasses.replace(f, group=str(i % 5)) for i, f in enumerate(copper)]
    some = [i for i, f in enumerate(frames) if f.group == "1"]
    findings = check_physics(changed(frames, some, energy=lambda e, a: e + offset * len(a)))
    assert {(f.rule, f.correction) for f in findings} == {("energy-reference", None)}
    assert [f.frame for f in findings] == some


def test_a_missing_energy_hides_no_fault_of_its_group_nor_makes_one_of_all(copper):
    frames = [dataclasses.replace(f, group="ab"[i % 2]) for i, f in enumerate(copper)]
    some = [i for i, f in enumerate(frames) if f.group == "b"]
    frames = changed(frames, some, energy=lambda e, _: e * mol / kcal)
    for i in (0, 1):
        frames[i] = dataclasses.replace(frames[i], labels=dataclasses.replace(frames[i].labels, energy=None))
    findings = check_physics(frames)
    assert {f.rule for f in findings} == {"energy-unit"}
    assert [f.frame for f in findings] == [i for i in some if i != 1]


def test_copies_bear_nothing_out_and_share_what_is_found(copper):
    assert check_physics([dataclasses.replace(copper[0], index=i) for i in range(80)]) == []
    twice = [dataclasses.replace(f, index=n) for n, f in enumerate([*copper, *[copper[0]] * 200])]
    assert check_physics(twice) == []
    wrong = changed(copper, [7], forces=lambda f, _: -f)
    both = [dataclasses.replace(f, index=n) for n, f in enumerate([*wrong, wrong[7]])]
    assert [(f.rule, f.frame) for f in check_physics(both)] == [("force-sign", 7), ("force-sign", len(wrong))]


def test_where_the_data_cannot_decide_nothing_is_said(copper):
    assert check_physics([]) == []
    assert check_physics(copper[:15]) == []
    shifted = changed(copper, range(len(copper)), energy=lambda e, a: e - 4_000.0 * len(a))
    assert check_physics(shifted) == []
    bare = [dataclasses.replace(f, labels=Labels()) for f in copper]
    assert check_physics(bare) == []


def test_the_same_frames_give_the_same_findings(copper):
    wrong = changed(copper, [5, 12, 40], forces=lambda f, _: -f, stress=lambda s, _: s / GPa)
    assert check_physics(wrong, seed=3) == check_physics(wrong, seed=3)


def test_free_atoms_that_do_not_go_with_the_bound_ones_are_named(copper):
    def free(energy):
        return CheckedFrame("cu.extxyz", 90, Atoms("Cu"), Labels(energy=energy, energy_key="energy"), "IsolatedAtom")

    assert check_physics([*copper, free(3.0)]) == []
    (finding,) = check_physics([*copper, free(-1_300.0)])
    assert (finding.rule, finding.frame) == ("isolated-atom-energy", 90)
    assert "cohesive energy of -1300 eV/atom" in finding.message


@pytest.mark.parametrize(
    ("kind", "function", "rule"),
    [("forces", lambda f, _: -f, "force-sign"), ("energy", lambda e, _: e * mol / kcal, "energy-unit")],
)
def test_frames_of_many_formulas_and_volumes_have_their_faults_told(kind, function, rule):
    """Within no formula and volume are there energies enough to compare forces with; the other way there are."""
    rng = np.random.default_rng(1)
    frames = []
    for i in range(70):
        atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
        atoms.symbols[:] = rng.choice(["Cu", "Ag", "Au", "Pd"], len(atoms))
        atoms.set_cell(atoms.cell.array * rng.uniform(1.02, 1.12), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.12, size=atoms.positions.shape)
        frame = _labelled(atoms, i, "")
        frames.append(dataclasses.replace(frame, labels=dataclasses.replace(frame.labels, stress=None)))
    assert check_physics(frames) == []
    findings = check_physics(changed(frames, range(70), **{kind: function}))
    assert [(f.rule, f.frame) for f in findings] == [(rule, None)]


def test_wrong_labels_that_look_most_alike_do_not_bear_each_other_out(copper):
    rng = np.random.default_rng(0)
    first = len(copper)
    copies = []
    for k in range(4):
        atoms = copper[7].atoms.copy()
        atoms.positions += rng.normal(scale=0.005, size=atoms.positions.shape)
        copies.append(_labelled(atoms, first + k, copper[7].group))
    frames = [*copper, *copies]
    wrong = [first + k for k in range(4)]
    findings = check_physics(changed(frames, wrong, stress=lambda s, _: s / GPa))
    assert {(f.rule, f.frame) for f in findings} == {("stress-unit", i) for i in wrong}


@pytest.mark.data
@pytest.mark.parametrize("name", ["ta_jcp2014", "nb_mvl2020"])
def test_published_sets_are_not_accused(real_data, name):
    assert check_physics(read_set(real_data / f"{name}.extxyz")) == []


# strained cells with tiny forces, a path through magnetic states, phases of which there are a few frames each: there
# fits to few labels of one kind say anything of the others
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "first", "count"),
    [
        ("ta_jcp2014", 9, 24),
        ("ta_jcp2014", 150, 25),
        ("ta_jcp2014", 160, 40),
        ("fe_npj2021", 62, 30),
        ("fe_npj2021", 124, 30),
        ("fe_npj2021", 620, 30),
        ("fe_npj2021", 2046, 30),
    ],
)
def test_few_frames_of_a_published_set_are_not_accused(real_data, name, first, count):
    assert check_physics(read_set(real_data / f"{name}.extxyz", first, count)) == []


@pytest.mark.data
@pytest.mark.parametrize("draw", range(4))
def test_a_rare_kind_of_frame_is_not_accused_because_others_look_alike(real_data, draw):
    frames = read_set(real_data / "ta_jcp2014.extxyz")
    some = np.sort(np.random.default_rng(draw).choice(len(frames), 120, replace=False))
    assert [f for f in check_physics([frames[i] for i in some]) if f.severity != "note"] == []


@pytest.mark.data
@pytest.mark.parametrize("many", [3, 5])
def test_a_part_of_a_group_in_another_unit_is_told_and_mended_alone(real_data, many):
    frames = read_set(real_data / "ta_jcp2014.extxyz")
    findings = check_physics(changed(frames, range(many), energy=lambda e, _: e * mol / kcal))
    assert {(f.rule, f.frame) for f in findings} == {("energy-unit", i) for i in range(many)}
    assert all(f.correction is not None and f.correction.factor == pytest.approx(kcal / mol) for f in findings)


def read_set(path, first=0, count=None):
    frames = read(path, slice(first, None if count is None else first + count))
    return [
        CheckedFrame(path.name, i, geometry(atoms), labels_of(atoms), atoms.info["config_type"])
        for i, atoms in enumerate(frames, first)
    ]
