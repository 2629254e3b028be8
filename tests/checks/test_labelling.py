"""Which labels are there, which are not and which cannot be used is said by name; nothing is dropped quietly."""

import hashlib

import numpy as np
import pytest
from ase import Atoms

from mlff_curate.checks.labelling import LabelCensus
from mlff_curate.data.frames import Frame
from mlff_curate.data.reading import read_frames

RNG = np.random.default_rng(0)
STRESS = np.array([0.012345678, 0.02, 0.03, 0.004, 0.005, 0.006])


def frame(index, info=None, arrays=None, file="set.xyz", pbc=True, n=2):
    positions = [[0, 0, 2.8 * k] for k in range(n)]
    atoms = Atoms(f"Ta{n}", positions, cell=[4.0, 5.0, 6.0], pbc=pbc, info=info)
    for key, value in (arrays or {}).items():
        atoms.arrays[key] = np.asarray(value)
    return Frame(atoms, file, index, hashlib.sha256(bytes([index % 256])).hexdigest(), None)


def whole(index, energy="energy", forces="forces", stress="stress", file="set.xyz"):
    rng = np.random.default_rng(index)
    info = {energy: round(-23.0 + rng.normal(), 8)}
    if stress:
        info[stress] = STRESS
    return frame(index, info, {forces: rng.normal(size=(2, 3)).round(8)} if forces else {}, file)


def census(frames, **keys):
    taken = LabelCensus(**keys)
    for item in frames:
        taken.add(item)
    return taken.findings()


def told(findings):
    return [(finding.rule, finding.severity, finding.frame, finding.key) for finding in findings]


def test_sound_labels_are_no_finding():
    assert census(whole(k) for k in range(20)) == []


def test_the_labels_that_can_be_used_come_back():
    item = whole(0)
    item.atoms.arrays["forces"] = np.zeros((2, 2))
    labels = LabelCensus().add(item)
    assert labels.energy == item.atoms.info["energy"]
    assert labels.forces is None


class TestMissing:
    def test_in_all_frames_what_could_be_it_is_named(self):
        frames = [frame(k, {"energy": -23.123456, "time": 0.5 * k}, {"frc": RNG.normal(size=(2, 3))}) for k in range(3)]
        forces, stress = census(frames)
        assert told([forces]) == [("label-missing", "warning", None, None)]
        assert told([stress]) == [("label-missing", "note", None, None)]
        assert forces.message == (
            "forces: no frame has forces, and it counts as missing, never as zero; what is there of its shape: frc"
        )
        assert forces.fix == "if it is the forces, say so with --forces-key frc"
        assert stress.message.startswith("stress: no frame has a stress")

    @pytest.mark.parametrize("gone", [[3], [3, 5, 8], [1, 2, 3, 4, 5, 6, 7]])
    def test_in_some_frames_it_is_a_warning_that_names_the_first(self, gone):
        frames = [whole(k, forces=None if k in gone else "forces") for k in range(10)]
        (found,) = census(frames)
        assert told([found]) == [("label-missing", "warning", gone[0] if len(gone) == 1 else None, None)]
        assert found.value == len(gone)
        shown = ", ".join(map(str, gone[:5])) + (" ..." if len(gone) > 5 else "")
        assert f"{len(gone)} of 10 frames have no forces (frame{'s' * (len(gone) > 1)} {shown})" in found.message

    def test_what_to_do_about_several_is_said_once(self):
        found = census(frame(k, {}) for k in range(4))
        assert [item.message.split(":")[0] for item in found] == ["energy", "forces", "stress"]
        options = "--energy-key, --forces-key, --stress-key"
        assert {item.fix for item in found} == {f"name them with {options}, if they are there under another name"}

    def test_what_some_frames_lack_and_what_all_lack_are_told_apart(self):
        frames = [whole(k, forces=None if k == 2 else "forces", stress=None) for k in range(4)]
        forces, stress = census(frames)
        assert forces.fix == "leave these frames out of fits that need it, calculate it, or name it with --forces-key"
        assert stress.fix == "name it with --stress-key, if it is there under another name"

    def test_a_molecule_lacks_no_stress_and_a_free_atom_no_forces(self):
        molecule = frame(1, {"energy": -23.12345678}, {"forces": RNG.normal(size=(2, 3))}, pbc=False)
        atom = frame(2, {"energy": -11.12345678}, pbc=False, n=1)
        assert census([whole(0), molecule, atom]) == []

    def test_a_free_atom_in_a_periodic_box_lacks_neither_forces_nor_stress(self):
        atom = frame(1, {"energy": -11.12345678}, n=1)
        atom.atoms.set_cell([15.0, 15.0, 15.0])
        assert census([whole(0), atom]) == []
        atom.atoms.set_cell([3.0, 3.0, 3.0])  # a crystal of one atom
        assert [found.message.split(":")[0] for found in census([whole(0), atom])] == ["forces", "stress"]

    def test_file_by_file(self):
        found = census([whole(0), whole(0, stress=None, file="other.xyz")])
        assert [(item.file, item.rule, item.severity) for item in found] == [("other.xyz", "label-missing", "note")]

    def test_what_has_the_shape_of_forces_and_no_known_name_is_warned_of(self):
        frames = [whole(k, forces=None) for k in range(4)]
        for item in frames:
            item.atoms.arrays["frces"] = np.full((2, 3), 0.25)
        assert told(census(frames)) == [("label-missing", "warning", None, None)]

    @pytest.mark.parametrize(("name", "severity"), [("E0", "warning"), ("TOTEN", "warning"), ("time", "note")])
    def test_what_is_called_as_energies_are_is_warned_of(self, name, severity):
        frames = [whole(k, energy=name) for k in range(4)]
        assert told(census(frames)) == [("label-missing", severity, None, None)]


class TestUnusable:
    @pytest.mark.parametrize(
        ("where", "value", "rule", "message"),
        [
            ("energy", np.nan, "label-nan", "holds NaN or infinity"),
            ("forces", [[0.1, 0.2, 0.3], [0.1, np.inf, 0.3]], "label-nan", "holds NaN or infinity at atom 1"),
            ("stress", [np.nan] * 6, "label-nan", "holds NaN or infinity"),
            ("energy", [1.0, 2.0], "label-shape", "an energy is one number per frame, got shape (2,)"),
            ("forces", [[0.1, 0.2], [0.3, 0.4]], "label-shape", "forces have shape (atoms, 3) = (2, 3)"),
            ("stress", [1.0] * 5, "label-shape", "a stress has shape (6,) or (3, 3), got (5,)"),
            ("energy", "minus ten", "label-shape", "is not numeric: 'minus ten'"),
        ],
    )
    @pytest.mark.parametrize("bad", [[4], [1, 9, 17], list(range(20))])
    def test_frame_by_frame_with_the_reason(self, where, value, rule, message, bad):
        frames = [whole(k) for k in range(20)]
        for k in bad:
            (frames[k].atoms.arrays if where == "forces" else frames[k].atoms.info)[where] = (
                np.asarray(value) if where == "forces" else value
            )
        found = census(frames)
        assert told(found) == [(rule, "error", k, where) for k in bad]
        assert found[0].message.startswith(message)

    def test_candidates_that_differ_are_named_and_none_is_taken(self):
        item = frame(0, {"energy": -23.5, "REF_energy": -23.0})
        taken = LabelCensus()
        assert taken.add(item).energy is None
        found = taken.findings()[0]
        assert told([found]) == [("label-ambiguous", "error", 0, None)]
        assert "REF_energy (-23 eV), energy (-23.5 eV)" in found.message
        assert "--energy-key" in found.fix

    def test_naming_the_key_settles_it(self):
        items = [frame(k, {"energy": -23.5, "REF_energy": -23.0}) for k in range(3)]
        assert "label-ambiguous" not in {finding.rule for finding in census(items, energy_key="REF_energy")}


class TestVirial:
    VIRIAL = -STRESS * 120.0  # the volume of the cell

    def test_without_a_cell_it_is_told(self):
        items = [whole(k, stress="virial") for k in range(2)]
        items[1].atoms.cell, items[1].atoms.pbc = np.zeros((3, 3)), False
        assert told(census(items)) == [("label-cell", "warning", 1, "virial")]

    def with_virial(self, virial):
        item = whole(0)
        item.atoms.info["virial"] = virial
        return item

    def test_one_that_agrees_is_no_finding(self):
        assert census([self.with_virial(self.VIRIAL * 1.0001)]) == []

    @pytest.mark.parametrize(("factor", "shown"), [(-1.0, "-1 times the stress"), (160.2, "160.2 times the stress")])
    def test_a_factor_between_them_is_named(self, factor, shown):
        (found,) = census([self.with_virial(factor * self.VIRIAL)])
        assert told([found]) == [("label-virial-stress", "warning", 0, "stress")]
        assert shown in found.message


class TestNames:
    def test_a_label_under_two_names_is_a_warning(self):
        frames = [whole(k, energy="REF_energy" if k in (2, 5) else "energy") for k in range(10)]
        (found,) = census(frames)
        assert told([found]) == [("label-names", "warning", None, "energy")]
        assert found.message.startswith("the label has several names (")
        assert "REF_energy in 2 frames, energy in 8 frames; REF_energy first in frame 2" in found.message

    def test_across_files_too(self):
        (found,) = census([whole(0), whole(0, energy="dft_energy", file="other.xyz")])
        assert (found.file, found.rule) == (None, "label-names")
        assert "dft_energy first in frame 0 of other.xyz" in found.message

    def test_moments_that_come_and_go_are_a_note(self):
        frames = [whole(k) for k in range(4)]
        frames[2].atoms.arrays["magmoms"] = np.ones(2)
        (found,) = census(frames)
        assert told([found]) == [("label-names", "note", None, "magmoms")]
        assert "1 of 4 frames have them; without: frames 0, 1, 3" in found.message


class TestUnknown:
    def test_beside_a_known_label_it_is_a_note(self):
        frames = [whole(k) for k in range(3)]
        for item in frames:
            item.atoms.info["MACE_energy"] = -1.0
        (found,) = census(frames)
        assert told([found]) == [("label-unknown", "note", None, "MACE_energy")]
        assert "the energy is read from another name (in all frames)" in found.message

    def test_where_that_label_is_missing_it_is_a_warning_that_says_how_to_name_it(self):
        frames = [whole(k, forces="my_forces") for k in range(3)]
        missing, unknown = census(frames)
        assert told([missing, unknown]) == [
            ("label-missing", "note", None, None),
            ("label-unknown", "warning", None, "my_forces"),
        ]
        assert unknown.fix == "if it is the forces, say so with --forces-key my_forces"

    def test_forcing_it_settles_it(self):
        assert census([whole(k, forces="my_forces") for k in range(3)], forces_key="my_forces") == []


class TestPrecision:
    @pytest.mark.parametrize("bad", [[3], [1, 2, 3], list(range(30))])
    def test_frames_with_fewer_decimals_are_a_note(self, bad):
        frames = [whole(k) for k in range(60)]
        for k in bad:
            frames[k].atoms.arrays["forces"] = frames[k].atoms.arrays["forces"].round(3)
        (found,) = census(frames)
        assert told([found]) == [("label-precision", "note", bad[0] if len(bad) == 1 else None, "forces")]
        assert (
            f"the forces of {len(bad)} of 60 frames are rounded to 3 decimals where others have 8 decimals"
            in found.message
        )

    def test_one_decimal_is_no_plural(self):
        frames = [whole(k) for k in range(60)]
        frames[7].atoms.info["energy"] = -23.5
        (found,) = census(frames)
        assert found.message.startswith("the energies of 1 of 60 frames are rounded to 1 decimal where others have ")

    def test_numbers_of_32_bits_among_others(self):
        frames = [whole(k) for k in range(30)]
        for item in frames[:7]:
            item.atoms.info["energy"] = float(np.float32(item.atoms.info["energy"]))
        (found,) = census(frames)
        assert told([found]) == [("label-precision", "note", None, "energy")]
        assert "the energies of 7 of 30 frames are 32-bit numbers where others have more digits" in found.message

    def test_nothing_is_lost_where_the_others_were_converted(self):
        frames = [whole(k) for k in range(20)]
        for item in frames[:12]:
            item.atoms.info["energy"] = round(item.atoms.info["energy"], 4)
        (found,) = census(frames)
        assert "where the others were converted from another unit" in found.fix

    def test_an_energy_that_ends_in_zeros_by_chance_is_none(self):
        frames = [whole(k) for k in range(200)]
        frames[11].atoms.info["energy"] = -23.12345  # three zeros among two hundred
        assert census(frames) == []

    def test_forces_that_symmetry_makes_zero_are_none(self):
        frames = [whole(k) for k in range(20)]
        frames[4].atoms.arrays["forces"] = np.zeros((2, 3))
        assert census(frames) == []

    def test_equal_precision_is_none_whatever_it_is(self):
        frames = [whole(k) for k in range(20)]
        for item in frames:
            item.atoms.info["energy"] = round(item.atoms.info["energy"], 3)
        assert census(frames) == []


@pytest.mark.data
@pytest.mark.parametrize("name", ["ta_jcp2014", "nb_mvl2020", "fe_npj2021"])
def test_the_published_sets_are_labelled_throughout(real_data, name):
    assert census(read_frames(real_data / f"{name}.extxyz")) == []


class TestPredictions:
    def predicted(self, **named):
        values = {"info": {"model_energy": -1.5, "model_stress": STRESS}, "arrays": {"model_forces": np.ones((2, 3))}}
        return [frame(k, values["info"] | named, values["arrays"]) for k in range(2)]

    def test_they_are_told_as_what_they_are_and_never_proposed(self):
        found = census(self.predicted())
        assert [(f.rule, f.severity, f.key) for f in found] == [
            *[("label-missing", "note", None)] * 3,
            ("label-predicted", "note", "model_energy"),
            ("label-predicted", "note", "model_forces"),
            ("label-predicted", "note", "model_stress"),
        ]
        assert not any("key model_" in f.fix for f in found)
        assert not any("model_" in f.message for f in found[:3])
        assert found[3].message == (
            "model_energy is a model's prediction, written by evaluate --predictions: it is not used (in all frames)"
        )

    def test_naming_one_is_a_warning(self):
        found = [f for f in census(self.predicted(), energy_key="model_energy") if f.rule == "label-predicted"]
        assert (found[0].severity, found[0].key) == ("warning", "model_energy")
        assert found[0].message == (
            "the energy is read from model_energy: a model's prediction, written by evaluate --predictions "
            "(in all frames)"
        )
        assert found[0].fix.startswith("name calculated energies with --energy-key")
