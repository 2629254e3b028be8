"""Labels are found under the names people use, and what is missing or ambiguous is never made up."""

import io

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress

from mlff_curate.data.hints import likely_labels
from mlff_curate.data.labels import LabelFault, label_soundness, labels_of, labels_of_frames, usable_labels
from mlff_curate.errors import DataError

FORCES = np.array([[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]])
STRESS = np.array([0.01, 0.02, 0.03, 0.004, 0.005, 0.006])


def dimer(info=None, arrays=None, **results) -> Atoms:
    atoms = Atoms("Ta2", [[0, 0, 0], [0, 0, 2.8]], cell=[4.0, 5.0, 6.0], pbc=True, info=info)
    for key, value in (arrays or {}).items():
        atoms.arrays[key] = np.asarray(value)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@pytest.mark.parametrize("prefix", ["", "REF_", "ref_", "dft_", "DFT_", "vasp_", "target_"])
def test_usual_names_are_found_in_info_and_arrays(prefix):
    atoms = dimer({f"{prefix}energy": -23.5, f"{prefix}stress": STRESS}, {f"{prefix}forces": FORCES})
    labels = labels_of(atoms)
    assert labels.energy == -23.5
    assert np.array_equal(labels.forces, FORCES)
    assert np.array_equal(labels.stress, STRESS)
    assert (labels.energy_key, labels.forces_key, labels.stress_key) == (
        f"{prefix}energy",
        f"{prefix}forces",
        f"{prefix}stress",
    )


@pytest.mark.parametrize("suffix", ["_dft", "_DFT", "_qm", "_vasp", "_pbe"])
def test_names_that_end_with_the_method_are_found(suffix):
    atoms = dimer({f"energy{suffix}": -23.5, f"stress{suffix}": STRESS}, {f"forces{suffix}": FORCES})
    labels = labels_of(atoms)
    assert (labels.energy_key, labels.forces_key, labels.stress_key) == (
        f"energy{suffix}",
        f"forces{suffix}",
        f"stress{suffix}",
    )
    assert labels.unknown == ()


def test_an_energy_that_may_be_a_reference_level_is_no_label():
    assert labels_of(dimer({"energy_ref": -23.5})).unknown == ("energy_ref",)


@pytest.mark.parametrize("key", ["virials", "REF_virials"])
def test_virials_as_mace_calls_them_are_a_virial(key):
    labels = labels_of(dimer({key: -STRESS * 120.0}))
    assert np.allclose(labels.stress, STRESS)
    assert (labels.from_virial, labels.unknown) == (True, ())


def test_calculator_results_are_labels():
    labels = labels_of(dimer(energy=-23.5, forces=FORCES, stress=STRESS))
    assert labels.energy == -23.5
    assert np.array_equal(labels.forces, FORCES)
    assert np.array_equal(labels.stress, STRESS)


def test_what_ase_reads_back_from_extxyz_has_the_same_labels():
    text = io.StringIO()
    write(text, dimer({"REF_energy": -23.5, "REF_stress": STRESS}, {"REF_forces": FORCES}), format="extxyz")
    labels = labels_of(read(io.StringIO(text.getvalue()), format="extxyz"))
    assert labels.energy == -23.5
    assert np.allclose(labels.forces, FORCES)
    assert np.allclose(labels.stress, STRESS)


def test_missing_labels_are_none_not_zero():
    labels = labels_of(dimer())
    assert labels.energy is None
    assert labels.forces is None
    assert labels.stress is None


def test_a_zero_label_is_a_label():
    labels = labels_of(dimer(energy=0.0, forces=np.zeros((2, 3))))
    assert labels.energy == 0.0
    assert labels.forces is not None


def test_predictions_of_other_models_are_not_labels():
    assert labels_of(dimer({"MACE_energy": -1.0}, {"MACE_forces": FORCES})).energy is None


class TestSeveralEnergies:
    def test_different_values_ask_for_the_key_and_name_the_candidates(self):
        with pytest.raises(DataError, match=r"REF_energy \(-23 eV\), energy \(-23\.5 eV\).*--energy-key"):
            labels_of(dimer({"REF_energy": -23.0}, energy=-23.5))

    def test_the_key_settles_it(self):
        assert labels_of(dimer({"REF_energy": -23.0}, energy=-23.5), energy_key="REF_energy").energy == -23.0

    def test_equal_values_are_no_conflict_and_the_plain_name_is_used(self):
        labels = labels_of(dimer({"REF_energy": -23.5}, energy=-23.5))
        assert (labels.energy, labels.energy_key) == (-23.5, "energy")

    def test_the_free_energy_beside_the_energy_is_no_conflict(self):
        assert labels_of(dimer(energy=-23.5, free_energy=-23.6)).energy == -23.5

    def test_the_free_energy_alone_is_the_energy(self):
        assert labels_of(dimer(free_energy=-23.6)).energy_key == "free_energy"

    def test_different_forces_ask_for_the_key(self):
        atoms = dimer(arrays={"REF_forces": FORCES, "dft_forces": -FORCES})
        with pytest.raises(DataError, match=r"REF_forces, dft_forces.*--forces-key"):
            labels_of(atoms)


class TestOtherKinds:
    def test_energies_and_moments_of_atoms(self):
        labels = labels_of(dimer(arrays={"initial_magmoms": [2.0, 2.1]}, energies=[-1.0, -2.0], magmoms=[2.2, 2.3]))
        assert list(labels.energies) == [-1.0, -2.0]
        assert (list(labels.magmoms), labels.magmoms_key) == ([2.2, 2.3], "magmoms")

    def test_the_moments_that_a_calculation_began_with_where_there_are_no_others(self):
        assert labels_of(dimer(arrays={"initial_magmoms": [2.0, 2.1]})).magmoms_key == "initial_magmoms"

    def test_which_energy_it_is_where_the_name_says_so(self):
        labels = labels_of(dimer({"free_energy": -1.0, "energy_without_entropy": -1.1}))
        assert (labels.energy, labels.energy_kind) == (-1.0, "free")
        assert labels_of(dimer({"energy": -1.0})).energy_kind is None

    def test_a_name_that_looks_like_a_label_and_is_not_known_is_named(self):
        atoms = dimer({"energy": -1.0, "free_energy": -1.1, "MACE_energy": -1.0}, {"frces_force": FORCES})
        assert labels_of(atoms).unknown == ("MACE_energy", "frces_force")

    def test_what_models_predicted_is_no_label_unless_it_is_named(self):
        atoms = dimer({"model_energy": -1.0, "model_energy_std": 0.1}, {"model_forces": FORCES})
        labels = labels_of(atoms)
        assert (labels.energy, labels.forces, labels.unknown) == (None, None, ())
        assert labels.predicted == ("model_energy", "model_energy_std", "model_forces")
        assert likely_labels(atoms, (), {}) == []
        labels = labels_of(atoms, energy_key="model_energy")
        assert (labels.energy, labels.predicted) == (-1.0, ("model_energy_std", "model_forces"))
        with pytest.raises(DataError, match="nothing that looks like a label"):
            labels_of_frames([atoms], energy_key="my_energy")

    def test_a_stress_from_a_virial_is_told(self):
        assert labels_of(dimer({"virial": np.eye(3)})).from_virial


class TestGivenKey:
    def test_a_frame_without_it_has_no_label_even_if_another_name_is_there(self):
        labels = labels_of_frames([dimer({"my_energy": -1.0}), dimer({"energy": -2.0})], energy_key="my_energy")
        assert [item.energy for item in labels] == [-1.0, None]

    def test_no_frame_has_it_is_an_error_that_lists_what_is_there(self):
        frames = [dimer({"REF_energy": -1.0}), dimer(arrays={"REF_forces": FORCES})]
        with pytest.raises(DataError, match=r"dft_forces: --forces-key.*none of the 2 frames.*REF_energy, REF_forces"):
            labels_of_frames(frames, forces_key="dft_forces")

    def test_no_labels_at_all_is_said(self):
        with pytest.raises(DataError, match="nothing that looks like a label"):
            labels_of_frames([dimer()], stress_key="stress")

    def test_a_key_that_holds_only_nan_is_there(self):
        (labels,) = labels_of_frames([dimer({"dft_energy": np.nan})], energy_key="dft_energy")
        assert labels.energy is None


class TestNotFinite:
    def test_nan_energy_is_missing_and_named(self):
        labels = labels_of_frames([dimer(energy=np.nan, forces=FORCES), dimer(energy=-1.0, forces=FORCES)])
        assert labels[0].energy is None
        assert labels[0].not_finite == ("energy",)
        assert labels[1].energy == -1.0

    def test_one_nan_component_takes_the_forces_of_the_frame(self):
        forces = FORCES.copy()
        forces[1, 2] = np.nan
        labels = labels_of(dimer(forces=forces))
        assert labels.forces is None
        assert labels.not_finite == ("forces",)

    def test_a_finite_label_under_another_name_is_used(self):
        labels = labels_of(dimer({"energy": np.nan, "REF_energy": -1.0}))
        assert (labels.energy, labels.not_finite) == (-1.0, ("energy",))


@pytest.mark.parametrize(
    ("info", "arrays", "message"),
    [
        ({"energy": [1.0, 2.0]}, {}, r"^energy: an energy is one number per frame, got shape \(2,\)"),
        ({"REF_energy": "low"}, {}, r"^REF_energy: is not numeric: 'low'"),
        ({}, {"forces": np.zeros(2)}, r"^forces: forces have shape \(atoms, 3\) = \(2, 3\), got \(2,\)"),
        ({"dft_forces": np.zeros((3, 3))}, {}, r"^dft_forces: .*got \(3, 3\)"),
        ({"stress": np.zeros(5)}, {}, r"^stress: a stress has shape \(6,\) or \(3, 3\), got \(5,\)"),
    ],
)
def test_a_wrong_shape_names_the_key(info, arrays, message):
    with pytest.raises(DataError, match=message):
        labels_of(dimer(info, arrays))


def test_errors_over_many_frames_carry_the_index():
    with pytest.raises(DataError, match=r"^frame 1: energy: "):
        labels_of_frames([dimer(energy=-1.0), dimer({"energy": [1.0, 2.0]})])


class TestStress:
    def test_a_matrix_becomes_ases_voigt_order(self):
        matrix = voigt_6_to_full_3x3_stress(STRESS)
        assert np.allclose(labels_of(dimer({"stress": matrix})).stress, STRESS)
        assert np.allclose(labels_of(dimer({"stress": matrix.ravel()})).stress, STRESS)

    def test_a_virial_is_a_stress_times_minus_the_volume(self):
        virial = -120.0 * voigt_6_to_full_3x3_stress(STRESS)  # the cell is 4 x 5 x 6
        labels = labels_of(dimer({"REF_virial": virial}))
        assert np.allclose(labels.stress, STRESS)
        assert labels.stress_key == "REF_virial"

    def test_a_stress_goes_before_a_virial(self):
        assert labels_of(dimer({"virial": np.eye(3), "stress": STRESS})).stress_key == "stress"

    @pytest.mark.parametrize("key", ["REF_stress", "virial"])
    @pytest.mark.parametrize("flat", [False, True])
    def test_a_matrix_that_lacks_a_triangle_is_refused(self, key, flat):
        full = np.array([[1.0, 0.4, 0.2], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
        for value in (full, full.T):
            atoms = dimer({key: value.ravel() if flat else value})
            with pytest.raises(DataError, match=f"{key}: is not symmetric, one triangle is zero"):
                labels_of(atoms)
            labels, (told,) = usable_labels(atoms)
            assert labels.stress is None
            assert (told.kind, told.fault, told.key) == ("stress", "shape", key)

    def test_a_matrix_that_is_no_stress_is_refused_with_the_difference(self):
        with pytest.raises(DataError, match=r"REF_stress: .* differs from its transpose by up to 0\.02 eV"):
            labels_of(dimer({"REF_stress": np.array([[0.1, 0.04, 0], [0.02, 0.1, 0], [0, 0, 0.1]])}))

    @pytest.mark.parametrize("key", ["REF_stress", "virial"])
    def test_the_noise_of_a_code_is_no_asymmetry(self, key):
        value = np.array([[0.1, 0.02001, 0.0], [0.02, 0.1, 0.000004], [0.0, 0.0, 0.1]])
        scale = 120.0 if key == "virial" else 1.0  # the volume
        assert np.abs(labels_of(dimer({key: value * scale})).stress)[5] == pytest.approx(0.020005, rel=1e-9)

    def test_a_virial_without_a_cell_gives_no_stress(self):
        atom = Atoms("Ta", info={"virial": np.eye(3)})
        assert labels_of(atom).stress is None
        assert labels_of(atom).without_cell == ("virial",)
        _, (told,) = usable_labels(atom)
        assert (told.kind, told.fault, told.key) == ("stress", "cell", "virial")


@pytest.mark.data
@pytest.mark.parametrize("name", ["ta_jcp2014", "nb_mvl2020", "fe_npj2021"])
def test_every_frame_of_the_real_sets_has_all_three(real_data, name):
    frames = read(real_data / f"{name}.extxyz", "::50")
    for labels in labels_of_frames(frames):
        assert all(value is not None for value in (labels.energy, labels.forces, labels.stress))
        assert labels.not_finite == labels.unknown == ()


# Which labels can be used at all.

NAN = float("nan")


@pytest.mark.parametrize(
    ("atoms", "key", "fault"),
    [
        (dimer({"REF_energy": NAN}), "REF_energy", "holds NaN or infinity"),
        (dimer({"energy": "none"}), "energy", "is not numeric: 'none'"),
        (dimer({"energy": [1.0, 2.0]}), "energy", "an energy is one number per frame, got shape (2,)"),
        (dimer(arrays={"forces": [[0, 0, 0], [0, np.inf, 0]]}), "forces", "holds NaN or infinity"),
        (dimer(arrays={"forces": [1.0, 2.0]}), "forces", "forces have shape (atoms, 3) = (2, 3), got (2,)"),
        (dimer({"stress": [NAN, 0, 0, 0, 0, 0]}), "stress", "holds NaN or infinity"),
        (dimer({"virial": [1.0, 2.0]}), "virial", "a stress has shape (6,) or (3, 3), got (2,)"),
    ],
)
def test_a_label_that_cannot_be_used_is_named_and_nothing_is_raised(atoms, key, fault):
    found = label_soundness(atoms)
    assert found.faults == (LabelFault(key, fault),)
    assert found.sound == ()


def test_sound_labels_have_no_faults():
    found = label_soundness(dimer({"REF_energy": -1.0, "note": "nan", "virial": np.eye(3)}, {"REF_forces": FORCES}))
    assert (set(found.sound), found.faults) == ({"REF_energy", "virial", "REF_forces"}, ())
    assert label_soundness(dimer()).sound == label_soundness(dimer()).faults == ()


def test_another_name_for_the_same_label_makes_up_for_one_that_cannot_be_used():
    found = label_soundness(dimer({"energy": NAN, "REF_energy": -2.0, "free_energy": -2.1}))
    assert found.faults == ()
    assert set(found.sound) == {"REF_energy", "free_energy"}


def test_labels_that_differ_are_sound_each():
    """Which one is meant is a question of fitting, not of pruning."""
    found = label_soundness(dimer({"energy": -1.0, "dft_energy": -9.0}))
    assert found.faults == ()


def test_a_value_per_atom_is_no_label_of_the_frame():
    assert label_soundness(dimer(arrays={"energy": [NAN, 1.0], "stress": np.full((2, 6), NAN)})).faults == ()


def test_a_frame_that_is_not_periodic_has_no_stress_to_be_judged():
    atoms = dimer({"stress": [NAN] * 6})
    atoms.pbc = (True, True, False)
    assert label_soundness(atoms).faults == ()


def test_only_the_name_that_the_user_gives_is_judged():
    atoms = dimer({"energy": NAN, "E": -1.0})
    assert label_soundness(atoms, energy_key="E").faults == ()
    assert label_soundness(dimer({"energy": -1.0, "E": NAN}), energy_key="E").faults[0].key == "E"


class TestUsable:
    def test_sound_labels_are_those_of_labels_of(self):
        atoms = dimer({"REF_energy": -23.5}, {"REF_forces": FORCES}, stress=STRESS)
        labels, unusable = usable_labels(atoms)
        plain = labels_of(atoms)
        assert (labels.energy, labels.energy_key) == (plain.energy, plain.energy_key)
        assert np.array_equal(labels.forces, plain.forces)
        assert np.array_equal(labels.stress, plain.stress)
        assert unusable == ()

    def test_one_that_cannot_be_used_takes_none_of_the_others(self):
        labels, (fault,) = usable_labels(dimer({"energy": -23.5}, {"forces": FORCES[:, :2]}))
        assert (labels.energy, labels.forces) == (-23.5, None)
        assert (fault.kind, fault.fault, fault.key) == ("forces", "shape", "forces")
        assert fault.message == "forces have shape (atoms, 3) = (2, 3), got (2, 2)"

    def test_a_sound_one_is_taken_beside_one_that_is_not(self):
        labels, (fault,) = usable_labels(dimer({"REF_energy": np.nan, "energy": -23.5}))
        assert (labels.energy_key, fault.key, fault.fault) == ("energy", "REF_energy", "nan")

    def test_the_atom_with_nan_is_named(self):
        _, (fault,) = usable_labels(dimer(arrays={"forces": [[np.nan, 0, 0], [np.inf, 0, 0]]}))
        assert fault.message == "holds NaN or infinity at atom 0, and 1 more"

    def test_of_candidates_that_differ_none_is_taken(self):
        labels, (fault,) = usable_labels(dimer({"REF_energy": -23.0, "energy": -23.5}))
        assert (labels.energy, fault.fault, fault.key) == (None, "ambiguous", None)
        assert "several labels could be the energy and differ" in fault.message


def test_a_label_that_stands_in_two_places_has_one_fault():
    # as ASE 3.22 reads extxyz
    atoms = Atoms("Ta", info={"energy": np.nan})
    atoms.calc = SinglePointCalculator(atoms, energy=np.nan)
    assert label_soundness(atoms).faults == (LabelFault("energy", "holds NaN or infinity"),)
