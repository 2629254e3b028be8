"""JSON lists of pymatgen structures: labels wherever an entry has them, VASP's stress, one entry at a time."""

import gzip
import json
import random
import re

import numpy as np
import pytest
from ase import units
from format_frames import assert_same_labels, peak_memory, read_all

from mlff_curate import read_frames
from mlff_curate.data.labels import labels_of
from mlff_curate.errors import DataError

KBAR = 1e8 * units.Pascal
STRUCTURE = {
    "@module": "pymatgen.core.structure",
    "@class": "Structure",
    "charge": None,
    "lattice": {"matrix": [[3.1, 0.2, 0.0], [0.0, 3.2, 0.0], [0.1, 0.0, 3.3]], "a": 3.1, "volume": 32.7},
    "sites": [
        {"species": [{"element": "Ta", "occu": 1}], "abc": [0, 0, 0], "xyz": [0.0, 0.0, 0.0], "label": "Ta"},
        {"species": [{"element": "Nb", "occu": 1}], "abc": [0.5, 0.5, 0.5], "xyz": [1.6, 1.7, 1.65], "label": "Nb"},
    ],
}
LABELS = {"energy": -12.5, "forces": [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]], "stress": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
ENTRY = {"_id": "abc", "tags": ["Strain"], "group": "Nb", "structure": STRUCTURE, "num_atoms": 2, "outputs": LABELS}


def write(folder, value, name="set.json"):
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def sites(**changes):
    """The entry with its first site changed."""
    return {**ENTRY, "structure": {**STRUCTURE, "sites": [{**STRUCTURE["sites"][0], **changes}, STRUCTURE["sites"][1]]}}


def test_labels_units_order_and_sign(tmp_path):
    (frame,) = read_frames(write(tmp_path, [ENTRY]))
    labels = labels_of(frame.atoms)
    assert labels.energy == -12.5
    np.testing.assert_array_equal(labels.forces, LABELS["forces"])
    # VASP: xx yy zz xy yz zx; ASE: xx yy zz yz xz xy, and the other sign
    np.testing.assert_allclose(labels.stress, -KBAR * np.array([1, 2, 3, 5, 6, 4]), rtol=1e-15)
    np.testing.assert_array_equal(frame.atoms.cell.array, STRUCTURE["lattice"]["matrix"])
    assert frame.atoms.info == {"config_type": "Strain", "_id": "abc", "tags": ["Strain"], "group": "Nb"}
    assert frame.origins["stress"] == "outputs.stress: kbar, positive under compression, in VASP's order"
    (remark,) = frame.remarks
    assert (remark.rule, remark.severity) == ("units-assumed", "note")


VIRIAL = {"virial_stress" if key == "stress" else key: value for key, value in LABELS.items()}
FULL = [[1.0, 4.0, 6.0], [4.0, 2.0, 5.0], [6.0, 5.0, 3.0]]
LAYOUTS = {
    "outputs, virial_stress": {"structure": STRUCTURE, "outputs": VIRIAL},
    "flat": {"structure": STRUCTURE, **LABELS},
    "data": {"structure": STRUCTURE, "data": LABELS},
    "full tensor": {"structure": STRUCTURE, "output": {**LABELS, "stress": FULL}},
    "force": {"structure": STRUCTURE, "energy": -12.5, "force": LABELS["forces"], "stress": FULL},
    "per atom": {"structure": STRUCTURE, **LABELS, "energy": None, "energy_per_atom": -6.25},
    "twice": {"structure": STRUCTURE, **LABELS, "energy": -12.5, "energy_per_atom": -6.25, "outputs": LABELS},
    "entry": {
        "@module": "pymatgen.entries.computed_entries",
        "@class": "ComputedStructureEntry",
        "energy": -12.5,
        "correction": 0.0,
        "structure": STRUCTURE,
        "data": {"forces": LABELS["forces"], "stress": LABELS["stress"]},
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_of_the_family_give_the_same_labels(tmp_path, layout):
    first, second = read_frames(write(tmp_path, [ENTRY, LAYOUTS[layout]]))
    assert_same_labels(first.atoms, second.atoms)
    np.testing.assert_array_equal(first.atoms.positions, second.atoms.positions)


def test_an_entry_alone_and_a_zipped_list_are_read(tmp_path):
    (alone,) = read_frames(write(tmp_path, {**LAYOUTS["entry"]}))
    path = tmp_path / "list.json.gz"
    path.write_bytes(gzip.compress(json.dumps([ENTRY]).encode()))
    (zipped,) = read_frames(path)
    assert_same_labels(alone.atoms, zipped.atoms)


def test_bare_structures_are_frames_without_labels(tmp_path):
    molecule = {**STRUCTURE, "@class": "Molecule"}
    del molecule["lattice"]
    crystal, free = read_frames(write(tmp_path, [STRUCTURE, molecule]))
    assert crystal.atoms.pbc.all()
    assert not free.atoms.pbc.any()
    for frame in (crystal, free):
        assert labels_of(frame.atoms).present == ()
        assert not frame.remarks


def test_fractions_lengths_and_angles_will_do(tmp_path):
    lattice = {"a": 3.0, "b": 3.0, "c": 4.0, "alpha": 90.0, "beta": 90.0, "gamma": 60.0, "pbc": [True, True, False]}
    entry = {
        "structure": {"lattice": lattice, "sites": [{"species": [{"element": "Ta", "occu": 1}], "abc": [0, 0, 0.5]}]}
    }
    (frame,) = read_frames(write(tmp_path, [entry]))
    np.testing.assert_allclose(frame.atoms.cell.cellpar(), [3, 3, 4, 90, 90, 60])
    np.testing.assert_allclose(frame.atoms.positions, [[0, 0, 2.0]], atol=1e-15)
    assert list(frame.atoms.pbc) == [True, True, False]


def test_what_looks_like_a_label_and_is_not_known_is_named_and_never_used(tmp_path):
    entry = {
        "structure": STRUCTURE,
        "virial": [1.0] * 6,
        "data": {"free_energy": -3.0, "band_gap": 0.5},
        "dft_energy": 1.0,
    }
    (frame,) = read_frames(write(tmp_path, [entry]))
    names = {"entry.virial", "data.free_energy", "entry.dft_energy"}
    assert {r.key for r in frame.remarks if r.rule == "label-unknown"} == names
    labels = labels_of(frame.atoms)
    assert set(labels.unknown) == names
    assert labels.energy is labels.stress is None
    assert frame.atoms.info["data.band_gap"] == 0.5


def test_moments_and_other_properties_of_sites_are_kept(tmp_path):
    entry = json.loads(json.dumps(ENTRY))
    for number, site in enumerate(entry["structure"]["sites"]):
        site["properties"] = {"magmom": 2.0 - number, "selective_dynamics": [True, False, True], "none": None}
        site["species"][0]["oxidation_state"] = number
    (frame,) = read_frames(write(tmp_path, [entry]))
    np.testing.assert_array_equal(labels_of(frame.atoms).magmoms, [2.0, 1.0])
    np.testing.assert_array_equal(frame.atoms.arrays["selective_dynamics"], [[True, False, True]] * 2)
    np.testing.assert_array_equal(frame.atoms.arrays["oxidation_state"], [0, 1])


def test_a_correction_is_not_added_and_told(tmp_path):
    (frame,) = read_frames(write(tmp_path, [{**LAYOUTS["entry"], "correction": -0.5}]))
    assert labels_of(frame.atoms).energy == -12.5
    (remark,) = (r for r in frame.remarks if r.rule == "energy-correction")
    assert "a correction of -0.5 eV, which is not added" in remark.message


@pytest.mark.data
@pytest.mark.parametrize(("name", "count"), [("Nb_Elastic", 121), ("Nb_Surface", 13)])
def test_published_lists_agree_with_their_extxyz_in_every_frame(real_data, name, count):
    known = {f.atoms.info["source"]: f.atoms for f in read_frames(real_data / "nb_mvl2020.extxyz")}
    frames = list(read_frames(real_data / "raw" / f"{name}.json"))
    assert len(frames) == count
    for frame in frames:
        other = known[f"{name}.json#{frame.index}"]
        np.testing.assert_array_equal(frame.atoms.numbers, other.numbers)
        np.testing.assert_allclose(frame.atoms.positions, other.positions, rtol=0, atol=5e-9)  # it has 8 decimals
        np.testing.assert_array_equal(frame.atoms.cell.array, other.cell.array)
        assert_same_labels(other, frame.atoms)


BROKEN = {
    "mixed": (
        sites(species=[{"element": "Ta", "occu": 0.5}, {"element": "W", "occu": 0.5}]),
        "sites: site 0 is to have one",
    ),
    "vacant": (sites(species=[{"element": "Ta", "occu": 0.5}]), "sites: site 0 is occupied by 0.5 of an atom"),
    "element": (sites(species=[{"element": "Q"}]), "sites: site 0 is of the unknown element 'Q'"),
    "position": (sites(xyz=None, abc=None), "sites: site 0 has no xyz"),
    "nan": (sites(xyz=[0, float("nan"), 0]), "positions: atom 0 has a position that is not a number"),
    "property": (sites(properties={"magmom": 1}), "sites: the property 'magmom' of the sites is not one value"),
    "count": ({**ENTRY, "num_atoms": 3}, "num_atoms: differs from the 2 sites"),
    "twice": ({**ENTRY, "energy": -12.4}, "outputs.energy: differs from energy of the same entry"),
    "forces": ({**ENTRY, "outputs": {"forces": [[0, 0, 0]]}}, "outputs.forces: is to have shape (2, 3), got (1, 3)"),
    "stress": ({**ENTRY, "outputs": {**LABELS, "stress": [1] * 5}}, "outputs.stress: is to have shape (6,), got (5,)"),
    "words": ({**ENTRY, "outputs": {"energy": "low"}}, "outputs.energy: is to hold numbers of shape (), got 'low'"),
    "no-structure": ({"energy": 1.0}, "structure: an entry is to have a structure"),
    "cell": ({"structure": {**STRUCTURE, "lattice": {"matrix": [[1, 2], [3, 4]]}}}, "lattice: is to have shape (3, 3)"),
    "angles": ({"structure": {**STRUCTURE, "lattice": {"a": 1}}}, "lattice: is to hold numbers of shape (6,)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_entries_are_refused_in_one_line_with_their_frame(tmp_path, name):
    entry, message = BROKEN[name]
    found = read_all(write(tmp_path, [ENTRY, entry]))
    assert isinstance(found, DataError)
    assert re.search("frame 1: " + re.escape(message), str(found)), str(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{} 3]", "frame 0: structure"),
        (json.dumps([ENTRY])[:-1] + " 3]", "frame 1: the JSON has '3' instead of ',' or ']'"),
        (json.dumps([ENTRY])[:-1] + ", 3]", "frame 1: the JSON has '3' instead of an object"),
        (json.dumps([ENTRY]) + "x", "frame 1: the JSON has 'x' instead of the end of the file"),
        (json.dumps([ENTRY])[:-1], "frame 1: the JSON ends before ',' or ']': truncated"),
        ('[{"structure": ' + "[" * 100000, "frame 0: is no JSON that can be read: brackets within brackets"),
        ('[{"a": "\\ud800"}]', "frame 0: is no JSON: the text is not UTF-8"),
        ('[{"a": 1 2 ' + " " * 300000 + "}]", "frame 0: is no JSON, or truncated: Expecting ',' delimiter"),
    ],
)
def test_broken_lists_are_refused_where_they_break(tmp_path, text, message):
    assert message in str(read_all(write(tmp_path, text)))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "set.json"
    path.write_bytes(b'[{"structure": "\xff\xfe"}]')
    assert "is no JSON: the text is not UTF-8" in str(read_all(path))


def test_lists_cut_anywhere_are_refused_after_the_whole_entries(tmp_path):
    text = json.dumps([ENTRY, ENTRY])
    for end in range(20, len(text) - 1, 11):
        found = read_all(write(tmp_path, text[:end]))
        assert isinstance(found, DataError), end
        assert f"frame {int(end > len(json.dumps([ENTRY])) - 2)}" in str(found)
    zipped = gzip.compress(text.encode())
    for end in range(20, len(zipped) - 1, 11):
        (tmp_path / "cut.json.gz").write_bytes(zipped[:end])
        assert isinstance(read_all(tmp_path / "cut.json.gz"), DataError), end


def test_twisted_values_never_end_in_a_traceback(tmp_path):
    junk = [None, True, -1, 1e308, "x", [], {}, [[]], [None], [1, "a"], {"a": 1}]
    generator = random.Random(0)
    for _ in range(400):
        twisted = json.loads(json.dumps(ENTRY))
        twisted["structure"]["sites"][0]["properties"] = {"magmom": 1.0}
        twisted["structure"]["sites"][1]["properties"] = {"magmom": 1.0}
        place = twisted
        while True:
            key = generator.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if isinstance(place[key], (dict, list)) and place[key] and generator.random() < 0.7:
                place = place[key]
                continue
            place[key] = generator.choice(junk)
            break
        read_all(write(tmp_path, [twisted]))


def test_a_long_list_is_read_one_entry_at_a_time(tmp_path):
    text, count = json.dumps({**ENTRY, "notes": "x" * 200000}), 60
    path = write(tmp_path, "[" + ",\n".join([text] * count) + "]")
    assert peak_memory(path) < 0.25 * count * len(text)
