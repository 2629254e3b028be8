"""n2p2's input.data: no units, no stress, no way to say that a label is missing."""

import random

import numpy as np
import pytest
from ase import Atoms
from format_frames import assert_nothing_lost, assert_same_labels, crystal, free_atom, peak_memory, read_all, rich

from mlff_curate import read_frames
from mlff_curate.data.frames import calculator_results, with_results
from mlff_curate.data.labels import labels_of
from mlff_curate.errors import DataError

BLOCK = """begin
comment step 10, set A
lattice 3.1 0.2 0.0
lattice 0.0 3.2 0.0
lattice 0.1 0.0 3.3
atom 0.0 0.0 0.0 Ta 0.5 0.0 0.1 0.2 0.3
atom 1.6 1.7 1.65 Nb -0.5 0.0 -0.1 -0.2 -0.3
energy -12.5
charge 0.0
end
"""


def write(folder, text):
    path = folder / "input.data"
    path.write_text(text)
    return path


def test_a_file_is_read_and_its_unknown_units_told(tmp_path):
    molecule = "begin\natom 0 0 0 Ta 0 0 0 0 0\natom 0 0 2.5 Ta 0 0 1e-3 0 0\nenergy -3\ncharge 1\nend\n"
    crystal_, free = read_frames(write(tmp_path, BLOCK + "\n" + molecule))
    labels = labels_of(crystal_.atoms)
    assert labels.energy == -12.5
    np.testing.assert_array_equal(labels.forces, [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
    assert labels.stress is None
    np.testing.assert_array_equal(crystal_.atoms.cell.array, [[3.1, 0.2, 0], [0, 3.2, 0], [0.1, 0, 3.3]])
    np.testing.assert_array_equal(crystal_.atoms.arrays["initial_charges"], [0.5, -0.5])
    assert crystal_.atoms.info == {"comment": "step 10, set A"}
    assert [(r.rule, r.severity) for r in crystal_.remarks] == [("units-assumed", "note")]
    assert crystal_.atoms.pbc.all()
    assert not free.atoms.pbc.any()
    assert free.atoms.info == {"charge": 1.0}


def test_hartree_and_bohr_are_converted_on_request(tmp_path):
    path = write(tmp_path, BLOCK)
    (frame,) = read_frames(path, units="electron")
    assert not frame.remarks
    labels = labels_of(frame.atoms)
    assert labels.energy == pytest.approx(-12.5 * 27.2114, rel=1e-6)
    np.testing.assert_allclose(labels.forces[0], np.array([0.1, 0.2, 0.3]) * 51.4221, rtol=1e-6)
    np.testing.assert_allclose(frame.atoms.cell.array[2], np.array([0.1, 0, 3.3]) * 0.529177, rtol=1e-6)
    np.testing.assert_allclose(frame.atoms.positions[1], np.array([1.6, 1.7, 1.65]) * 0.529177, rtol=1e-6)
    (plain,) = read_frames(path, units="metal")
    assert labels_of(plain.atoms).energy == -12.5
    assert not plain.remarks
    with pytest.raises(
        DataError, match=r"input\.data: --units: n2p2's files are in metal or electron units, not in 'si'"
    ):
        list(read_frames(path, units="si"))


def test_zeros_that_stand_for_no_label_are_not_taken_for_labels(tmp_path):
    zero = "begin\natom 0 0 0 Ta 0 0 0 0 0\natom 0 0 2.5 Ta 0 0 0 0 0\nenergy 0.0\nend\n"
    no_energy = BLOCK.replace("energy -12.5\n", "")
    first, second = read_frames(write(tmp_path, zero + no_energy))
    assert labels_of(first.atoms).present == ()
    assert [r.rule for r in first.remarks] == ["labels-all-zero"]
    assert labels_of(second.atoms).energy is None
    assert labels_of(second.atoms).forces is not None


def test_zero_forces_beside_an_energy_are_taken_for_missing_and_told(tmp_path):
    pair = "begin\natom 0 0 0.1 Ta 0 0 0 0 0\natom 0 0 2.5 Ta 0 0 0 0 0\nenergy -23.1\nend\n"
    single = "begin\natom 0 0 0 Ta 0 0 0 0 0\nenergy -8.1\nend\n"
    first, free = read_frames(write(tmp_path, pair + single))
    assert labels_of(first.atoms).present == ("energy",)
    (told,) = [r for r in first.remarks if r.rule == "labels-all-zero"]
    assert (told.key, told.severity) == ("forces", "warning")
    assert told.message == "forces are all exactly zero: taken for missing, since the format cannot say so"
    np.testing.assert_array_equal(labels_of(free.atoms).forces, np.zeros((1, 3)))  # zero by symmetry
    assert all(r.rule != "labels-all-zero" for r in free.remarks)


@pytest.mark.parametrize("energy", [-23.1, 0.0])
def test_forces_that_are_zero_in_earnest_come_back(store, energy):
    (frame,), _, _ = store("n2p2", [with_results(crystal(2), energy=energy, forces=np.zeros((2, 3)))])
    assert not frame.remarks
    assert labels_of(frame.atoms).energy == energy
    np.testing.assert_array_equal(labels_of(frame.atoms).forces, np.zeros((2, 3)))


def test_what_n2p2_does_not_know_is_kept_and_label_like_words_are_told(tmp_path):
    text = BLOCK.replace("energy", "stress 1 2 3\nweight 2\nenergy").replace("Ta 0.5 0.0", "Ta 0.5 -6.5")
    (frame,) = read_frames(write(tmp_path, text))
    assert frame.atoms.info["n2p2.weight"] == "2"
    names = {"n2p2.stress", "n2p2.unused_energies"}
    assert {r.key for r in frame.remarks if r.rule == "label-unknown"} == names
    assert set(labels_of(frame.atoms).unknown) == names


def test_everything_comes_back_or_is_named(store):
    slab = crystal(3)
    slab.pbc = (True, False, True)
    charged = crystal(4)
    charged.arrays["initial_charges"] = np.array([0.1, -0.2])
    charged.info["charge"] = -0.1
    molecule = with_results(Atoms("Ta2", positions=[[0, 0, 0], [0, 0, 2.5]]), energy=-1.0, forces=np.eye(3)[:2])
    frames = [rich(), crystal(2), free_atom(), slab, charged, molecule]
    after, lost, _ = store("n2p2", frames)
    assert [set(names) for names in lost] == [
        {"object", "initial_magmoms", "momenta", "mask", "stress", "free_energy"},
        {"stress"},
        set(),
        {"stress"},
        {"stress"},
        set(),
    ]
    for atoms, frame, names in zip(frames, after, lost, strict=True):
        back = frame.atoms
        assert not frame.remarks  # our own files say their units
        assert_nothing_lost(atoms, back, names)
        if labels_of(atoms).stress is not None:
            back.calc.results["stress"] = atoms.calc.results["stress"]
        assert_same_labels(atoms, back, 0)
    assert set(calculator_results(after[2].atoms)) == {"energy"}


@pytest.mark.parametrize("kept", ["energy", "forces"])
def test_frames_that_n2p2_would_take_for_zero_are_refused(store, kept):
    missing = {"energy": "forces", "forces": "energy"}[kept]
    with pytest.raises(DataError, match=f"in.extxyz: frame 0: {missing}: the frame has no {missing}, and n2p2 would"):
        store("n2p2", [crystal(labels=(kept, "stress"))])


@pytest.mark.data
def test_a_published_set_survives(real_data, store):
    before = [f.atoms for f in read_frames(real_data / "nb_mvl2020.extxyz")]
    after, lost, _ = store("n2p2", before)
    assert set(lost) == {("stress",)}
    for atoms, frame in zip(before, after, strict=True):
        assert_nothing_lost(atoms, frame.atoms, ("stress",))
        assert labels_of(frame.atoms).energy == labels_of(atoms).energy
        np.testing.assert_array_equal(labels_of(frame.atoms).forces, labels_of(atoms).forces)


BROKEN = {
    "two vectors": (BLOCK.replace("lattice 0.1 0.0 3.3\n", ""), "lattice: has 2 vectors instead of 3 or none"),
    "no force": (BLOCK.replace(" 0.1 0.2 0.3", ""), "line 16 has 6 columns after 'atom' instead of 9"),
    "word": (BLOCK.replace("-12.5", "low"), "line 18 is to have 1 number, has 'low'"),
    "element": (BLOCK.replace("Nb", "Q"), "line 17 has the unknown element 'Q'"),
    "energy twice": (BLOCK.replace("charge 0.0", "energy 1"), "energy: line 19 gives it a second time"),
    "no end": (BLOCK.replace("end\n", ""), "line 20 has 'begin' instead of 'end' before the next 'begin'"),
    "no begin": (BLOCK.replace("begin\n", ""), "line 11 has 'comment' instead of 'begin'"),
    "nan": (BLOCK.replace("1.65", "nan"), "positions: atom 1 has a position that is not a number"),
    "ours": (
        BLOCK.replace("step 10, set A", '{"mlff_curate": 3}'),
        "comment: what mlff-curate noted is no JSON object",
    ),
    "ours cut": (BLOCK.replace("step 10, set A", '{"mlff_curate": '), "comment: is no JSON, or truncated"),
    "no atoms": ("begin\nenergy 1\nend\n", "the frame has no atoms"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_frames_are_refused_in_one_line(tmp_path, name):
    text, message = BROKEN[name]
    found = read_all(write(tmp_path, BLOCK + text + BLOCK))
    assert isinstance(found, DataError)
    assert f"frame 1: {message}" in str(found)


def test_files_cut_anywhere_are_refused(tmp_path):
    for end in range(12, len(BLOCK) - 2):
        found = read_all(write(tmp_path, BLOCK + BLOCK[:end]))
        assert isinstance(found, DataError), BLOCK[:end]
        assert "frame 1" in str(found)


def test_twisted_lines_never_end_in_a_traceback(tmp_path):
    generator = random.Random(0)
    ours = '{"mlff_curate": {"info": {"a": {"@array": [1], "@dtype": "int64"}}, "cell": [[1,0,0],[0,1,0],[0,0,1]]}}'
    for _ in range(300):
        text = list(BLOCK.replace("step 10, set A", ours))
        for _ in range(3):
            text[generator.randrange(6, len(text))] = generator.choice('x9-\n {}[]".é\0')
        read_all(write(tmp_path, "".join(text)))


def test_memory_does_not_grow_with_the_file(tmp_path):
    block, count = BLOCK.replace("step", "x" * 200000), 60
    assert peak_memory(write(tmp_path, block * count)) < 0.2 * count * len(block)
