"""FitSNAP's JSON: units and sign as the file says, groups by folder, and a folder that FitSNAP reads."""

import configparser
import gzip
import io
import json
import random
import re
import tarfile

import numpy as np
import pytest
from ase import Atoms, units
from format_frames import (
    assert_nothing_lost,
    assert_same_labels,
    crystal,
    format_of,
    free_atom,
    normal,
    peak_memory,
    read_all,
    rich,
)

from mlff_curate import read_frames
from mlff_curate.data.formats.base import WriteOptions
from mlff_curate.data.frames import calculator_results, with_results
from mlff_curate.data.labels import labels_of
from mlff_curate.errors import DataError

BAR = 1e5 * units.Pascal
STYLES = {
    "EnergyStyle": "electronvolt",
    "StressStyle": "bar",
    "AtomTypeStyle": "chemicalsymbol",
    "PositionsStyle": "angstrom",
    "ForcesStyle": "electronvoltperangstrom",
    "LatticeStyle": "angstrom",
}
ENTRY = {
    "NumAtoms": 2,
    "Lattice": [[3.1, 0.2, 0.0], [0.0, 3.2, 0.0], [0.1, 0.0, 3.3]],
    "Positions": [[0.0, 0.0, 0.0], [1.5, 1.6, 1.7]],
    "AtomTypes": ["Ta", "Nb"],
    "Energy": -12.5,
    "Forces": [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]],
    "Stress": [[100.0, 4.0, 5.0], [4.0, 200.0, 6.0], [5.0, 6.0, 300.0]],
}


def dataset(entry=None, comment="# QM data\n", **header):
    styles = {key: value for key, value in {**STYLES, **header}.items() if value is not None}
    entries = entry if isinstance(entry, list) else [ENTRY if entry is None else entry]
    return comment + json.dumps(
        {"Dataset": {**styles, "Label": "Example containing 1 configurations", "Data": entries}}
    )


def write_file(folder, text, name="config_1.json"):
    path = folder / "bulk" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def archive(path, members, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize("comment", ["", "# a comment\n"])
def test_a_file_is_read_with_its_units_and_compression_positive(tmp_path, comment):
    (frame,) = read_frames(write_file(tmp_path, dataset(comment=comment)))
    labels = labels_of(frame.atoms)
    assert labels.energy == -12.5
    np.testing.assert_allclose(labels.stress, -BAR * np.array([100, 200, 300, 6, 5, 4]), rtol=1e-15)
    np.testing.assert_array_equal(frame.atoms.cell.array, ENTRY["Lattice"])  # vectors are rows
    assert frame.atoms.info == {"config_type": "bulk", "source": "config_1.json"}
    assert frame.origins["stress"].startswith("Stress in bar, its sign turned")
    assert not frame.remarks


@pytest.mark.parametrize(
    ("style", "word", "factor"),
    [
        ("StressStyle", "kB", 1e3 * BAR),
        ("StressStyle", "kbar", 1e3 * BAR),
        ("StressStyle", "GPa", units.GPa),
        ("EnergyStyle", "Hartree", units.Hartree),
        ("EnergyStyle", "Ry", units.Rydberg),
        ("ForcesStyle", "hartree/bohr", units.Hartree / units.Bohr),
        ("PositionsStyle", "bohr", units.Bohr),
        ("LatticeStyle", "bohr", units.Bohr),
    ],
)
def test_style_words_scale_what_they_name_and_nothing_else(tmp_path, style, word, factor):
    (frame,) = read_frames(write_file(tmp_path, dataset(**{style: word})))
    labels = labels_of(frame.atoms)
    scale = {**dict.fromkeys(STYLES, 1.0), "StressStyle": BAR, style: factor}
    assert labels.energy == pytest.approx(-12.5 * scale["EnergyStyle"], rel=1e-15)
    assert labels.forces[0, 0] == pytest.approx(0.1 * scale["ForcesStyle"], rel=1e-15)
    assert labels.stress[0] == pytest.approx(-100 * scale["StressStyle"], rel=1e-15)
    assert frame.atoms.positions[1, 0] == pytest.approx(1.5 * scale["PositionsStyle"], rel=1e-15)
    assert frame.atoms.cell.array[2, 2] == pytest.approx(3.3 * scale["LatticeStyle"], rel=1e-15)


@pytest.mark.parametrize("style", ["StressStyle", "EnergyStyle", "ForcesStyle", "LatticeStyle", "PositionsStyle"])
def test_an_unknown_style_is_refused_and_a_missing_one_is_told(tmp_path, style):
    with pytest.raises(DataError, match=rf"config_1.json: frame 0: {style}: 'furlong' is unknown; known: metal"):
        list(read_frames(write_file(tmp_path, dataset(**{style: "furlong"}))))
    (frame,) = read_frames(write_file(tmp_path, dataset(**{style: None})))
    (remark,) = frame.remarks
    assert (remark.rule, remark.severity, remark.key) == ("units-assumed", "warning", style.removesuffix("Style"))
    assert f"the file has no {style}: " in remark.message
    (same,) = read_frames(write_file(tmp_path, dataset()))
    assert_same_labels(same.atoms, frame.atoms, 0)


def test_what_is_not_labelled_is_not_there(tmp_path):
    bare = {key: value for key, value in ENTRY.items() if key not in ("Energy", "Forces", "Stress")} | {"Energy": None}
    (frame,) = read_frames(write_file(tmp_path, dataset(bare)))
    labels = labels_of(frame.atoms)
    assert labels.energy is labels.forces is labels.stress is None
    assert not frame.remarks  # no unit is missed where there is no number


def test_other_fields_are_kept_and_label_like_ones_are_told(tmp_path):
    entry = {**ENTRY, "Charges": [[0.5], [-0.5]], "Temperature": 300, "Virial": [1, 2, 3], "numbers": [1, 1]}
    (frame,) = read_frames(write_file(tmp_path, dataset(entry)))
    np.testing.assert_array_equal(frame.atoms.arrays["Charges"], [[0.5], [-0.5]])
    assert frame.atoms.info["Temperature"] == 300
    assert list(frame.atoms.symbols) == ["Ta", "Nb"]
    assert [(r.rule, r.key) for r in frame.remarks] == [("label-unknown", "Data.Virial")]
    assert labels_of(frame.atoms).unknown == ("Data.Virial",)


def test_spins_are_moments_along_an_axis_or_vectors(tmp_path):
    def moments(spins):
        entry = {**ENTRY, "Spins": spins}
        (frame,) = read_frames(write_file(tmp_path, dataset(entry, SpinsStyle="total x y z")))
        np.testing.assert_array_equal(frame.atoms.arrays["Spins"], spins)
        return labels_of(frame.atoms).magmoms

    np.testing.assert_allclose(moments([[2.0, 0, 0, -1], [2.5, 0, 0, 1]]), [-2.0, 2.5])
    np.testing.assert_allclose(moments([[2.0, 0, 0, 1], [2.5, 0, 1, 0]]), [[0, 0, 2.0], [0, 2.5, 0]])
    assert moments([[2.0, 0, 0, 0], [2.5, 0, 1, 0]]) is None  # a moment without a direction


def test_types_that_are_numbers_need_a_type_map(tmp_path):
    path = write_file(tmp_path, dataset({**ENTRY, "AtomTypes": [2, 1]}))
    with pytest.raises(DataError, match=r"frame 0: AtomTypes: '2' is no chemical symbol; numbers from 1 need"):
        list(read_frames(path))
    (frame,) = read_frames(path, type_map=["Nb", "Ta"])
    assert list(frame.atoms.symbols) == ["Ta", "Nb"]


def test_a_folder_is_read_in_natural_order_with_its_folders_as_groups(tmp_path):
    root = tmp_path / "set"
    for group, names in {"B": ["c_10.json", "c_2.json", "README.md"], "A": ["x_1.json"]}.items():
        (root / "JSON" / group).mkdir(parents=True)
        for name in names:
            (root / "JSON" / group / name).write_text(dataset())
    found = [(f.atoms.info["config_type"], f.atoms.info["source"], f.index) for f in read_frames(root)]
    assert found == [("A", "x_1.json", 0), ("B", "c_2.json", 1), ("B", "c_10.json", 2)]


def test_frames_of_interleaved_groups_come_back_in_their_order(store):
    frames = []
    for index in range(12):
        frames.append(crystal(index))
        frames[-1].info = {"config_type": "ba"[index % 2], "number": index, "source": f"c_{30 - index}.json"}
    after, _, path = store("fitsnap", frames)
    assert [f.atoms.info["number"] for f in after] == list(range(12))
    (path / "JSON" / "a" / "c_27.json").unlink()  # number 3: those left keep their order
    assert [f.atoms.info["number"] for f in read_frames(path)] == [0, 1, 2, *range(4, 12)]
    other = path / "JSON" / "c" / "c_1.json"
    other.parent.mkdir()
    for text in (dataset(), (path / "JSON" / "b" / "c_30.json").read_text()):  # tells no place, or that of another
        other.write_text(text)
        groups = [f.atoms.info["config_type"] for f in read_frames(path)]
        assert groups == ["a"] * 5 + ["b"] * 6 + ["c"]


def test_an_archive_streams_and_odd_members_are_refused(tmp_path):
    path = archive(
        tmp_path / "set.tar.gz", {"JSON/B/c_1.json": dataset(), "JSON/README": "x", "JSON/A/c_2.json": dataset()}
    )
    found = [(f.atoms.info["config_type"], f.atoms.info["source"]) for f in read_frames(path)]
    assert found == [("B", "c_1.json"), ("A", "c_2.json")]
    for name in ("/etc/c.json", "../c.json", "a/../../c.json"):
        odd = archive(tmp_path / "odd.tar.gz", {name: dataset()})
        with pytest.raises(DataError, match="has a name that leads out of the archive"):
            list(read_frames(odd))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        odd = archive(tmp_path / "odd.tar.gz", {"a/c.json": ""}, kind)
        with pytest.raises(DataError, match=r"member 'a/c.json' is a link or a device"):
            list(read_frames(odd))


@pytest.mark.data
@pytest.mark.parametrize(
    ("raw", "same", "count"),
    [
        ("ta_jcp2014_fitsnap_json.tar.gz", "ta_jcp2014.extxyz", 363),
        ("fe_npj2021_fitsnap_json_sample.tar.gz", "fe_npj2021.extxyz", 58),
    ],
)
def test_published_sets_agree_with_their_extxyz_in_every_frame(real_data, raw, same, count):
    known = {(f.atoms.info["config_type"], f.atoms.info["source"]): f.atoms for f in read_frames(real_data / same)}
    frames = [frame.atoms for frame in read_frames(real_data / "raw" / raw)]
    assert len(frames) == count
    for atoms in frames:
        other = known[atoms.info["config_type"], atoms.info["source"]]
        np.testing.assert_array_equal(atoms.numbers, other.numbers)
        np.testing.assert_array_equal(atoms.positions, other.positions)
        np.testing.assert_array_equal(atoms.cell.array, other.cell.array)
        assert_same_labels(other, atoms)
        if "initial_magmoms" in other.arrays:  # the extxyz has the sizes, with 8 decimals; the JSON directions too
            moments = atoms.arrays["initial_magmoms"].reshape(len(atoms), -1)
            sizes = np.abs(other.arrays["initial_magmoms"])
            np.testing.assert_allclose(np.linalg.norm(moments, axis=1), sizes, atol=1e-8)


@pytest.mark.data
def test_the_ta_set_survives_being_written_for_fitsnap(real_data, store):
    before = [f.atoms for f in read_frames(real_data / "ta_jcp2014.extxyz")]
    after, lost, path = store("fitsnap", before)
    assert not any(lost)
    assert {p.name for p in (path / "JSON").iterdir()} == {a.info["config_type"] for a in before}
    found = {(f.atoms.info["config_type"], f.atoms.info["source"]): f.atoms for f in after}
    for atoms in before:
        back = found[atoms.info["config_type"], atoms.info["source"]]
        assert_nothing_lost(atoms, back, ())
        assert_same_labels(atoms, back)


def test_everything_comes_back_or_is_named(store):
    frames = [rich(), crystal(2, "NbTa"), free_atom()]
    after, lost, _ = store("fitsnap", frames)
    assert lost == [("object",), (), ()]
    by_energy = {labels_of(f.atoms).energy: f.atoms for f in after}
    for atoms, names in zip(frames, lost, strict=True):
        back = by_energy[labels_of(atoms).energy]
        assert_nothing_lost(atoms, back, names)
        assert_same_labels(atoms, back)


def test_fields_are_what_fitsnap_takes(store):
    """Facts of its scraper: one configuration, no name twice, three-by-three stress in bar, no NaN."""
    _, _, path = store("fitsnap", [crystal(3)])
    (file,) = path.glob("JSON/bulk/*.json")
    dataset = json.loads(file.read_text(), parse_constant=pytest.fail)["Dataset"]
    (entry,) = dataset.pop("Data")
    assert not set(dataset) & set(entry)
    assert {key: dataset[key] for key in dataset if key != "mlff_curate"} == STYLES
    assert not [key for key in dataset["mlff_curate"] if "Style" in key]
    assert set(entry) == {"NumAtoms", "AtomTypes", "Lattice", "Positions", "Energy", "Forces", "Stress"}
    stress = np.array(entry["Stress"])
    np.testing.assert_array_equal(stress, stress.T)
    voigt = stress[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    np.testing.assert_allclose(voigt, -crystal(3).get_stress() / BAR, rtol=1e-14)


def test_left_handed_cells_are_the_same_lattice_with_vectors_in_another_order(store):
    atoms = crystal(4)
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    after, _, path = store("fitsnap", [atoms])
    (file,) = path.glob("JSON/bulk/*.json")
    written = np.array(json.loads(file.read_text())["Dataset"]["Data"][0]["Lattice"])
    assert np.linalg.det(written) > 0
    assert {tuple(row) for row in written} == {tuple(row) for row in atoms.cell.array}
    np.testing.assert_array_equal(after[0].atoms.cell.array, atoms.cell.array)


def test_a_free_atom_has_zero_forces_by_symmetry_no_weight_and_no_forces_when_read_back(store):
    after, _, path = store("fitsnap", [crystal(5), free_atom()])
    (file,) = path.glob("JSON/IsolatedAtom/*.json")
    entry = json.loads(file.read_text())["Dataset"]["Data"][0]
    assert entry["Forces"] == [[0, 0, 0]]
    assert min(np.linalg.norm(entry["Lattice"], axis=1)) >= 20  # FitSNAP repeats it without end
    groups = deck(path)["GROUPS"]
    assert groups["IsolatedAtom"].split()[2:] == ["100.0", "0.0", "0.0"]
    assert json.loads(file.read_text())["Dataset"]["mlff_curate"]["unlabelled"] == ["forces", "stress"]
    said = " ".join((path / "README.txt").read_text().split())
    assert "Where a free atom came without forces or stress, the zeros that symmetry asks for stand here" in said
    assert "No other label is made up." in said
    back = next(f.atoms for f in after if len(f.atoms) == 1)
    assert set(calculator_results(back)) == {"energy"}
    assert not back.pbc.any()
    assert not back.cell.array.any()


def test_labels_that_some_frames_lack_are_refused_and_those_that_all_lack_are_switched_off(store):
    with pytest.raises(
        DataError, match=r"in.extxyz: frame 1: stress: the frame has no stress, frame 0 of in.extxyz has: F"
    ):
        store("fitsnap", [crystal(6), crystal(7, labels=("energy", "forces"))])


def test_a_label_that_no_frame_has_is_switched_off(store):
    frames = [crystal(seed, labels=("energy", "forces")) for seed in (8, 9)]
    after, _, path = store("fitsnap", frames)
    assert {**deck(path)["CALCULATOR"]} | {"energy": "1", "force": "1", "stress": "0"} == {**deck(path)["CALCULATOR"]}
    assert all(labels_of(f.atoms).stress is None for f in after)


def test_a_label_that_the_first_frame_lacks_is_refused(store):
    with pytest.raises(DataError, match=r"frame 1: stress: the frame has stress, frame 0 of in.extxyz has not"):
        store("fitsnap", [crystal(7, labels=("energy", "forces")), crystal(6)])


def test_a_frame_without_energy_is_refused(store):
    with pytest.raises(DataError, match="frame 0: energy: the frame has no energy, and FitSNAP needs one"):
        store("fitsnap", [crystal(7, labels=("forces",))])


def test_what_is_not_periodic_gets_vacuum_unless_its_stress_forbids_it(store):
    molecule = with_results(Atoms("Ta2", positions=[[0, 0, 0], [0, 0, 2.5]]), energy=-1.0, forces=np.zeros((2, 3)))
    slab = crystal(10, labels=("energy", "forces"))
    slab.pbc = (True, True, False)
    after, _, path = store("fitsnap", [molecule, slab])
    for file in path.glob("JSON/*/*.json"):
        entry = json.loads(file.read_text())["Dataset"]["Data"][0]
        lattice, positions = np.array(entry["Lattice"]), np.array(entry["Positions"])
        normal_ = np.cross(lattice[0], lattice[1]) / np.linalg.norm(np.cross(lattice[0], lattice[1]))
        assert abs(lattice[2] @ normal_) - np.ptp(positions @ normal_) >= 10
    assert sorted(f.atoms.pbc.sum() for f in after) == [0, 2]


def test_a_slab_with_a_stress_and_no_vacuum_is_refused(store):
    slab = crystal(10)
    slab.pbc = (True, True, False)
    with pytest.raises(DataError, match="frame 0: cell: is not periodic and has less than 10 Angstrom of vacuum"):
        store("fitsnap", [slab])


def deck(path):
    parser = configparser.ConfigParser(inline_comment_prefixes="#")  # as FitSNAP reads it
    parser.optionxform = str
    parser.read(path / "fitsnap.in")
    return parser


def test_the_deck_names_groups_elements_and_pairs(store):
    groups = ["bulk", "a b=c: d", "a b?c: d", "group_types", "boltz", "[x]", "#x", "../up", "BULK", "ünd"]
    _, _, path = store("fitsnap", [crystal(seed, group=group) for seed, group in enumerate(groups)])
    parsed = deck(path)
    settings = {"group_sections", "group_types", "smartweights", "random_sampling"}
    folders = {p.name for p in (path / "JSON").iterdir()}
    assert set(parsed["GROUPS"]) - settings == folders
    assert len({f.lower() for f in folders}) == len(groups)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", folder) for folder in folders)
    assert parsed["BISPECTRUM"]["type"] == "Nb Ta"
    assert parsed["BISPECTRUM"]["numTypes"] == "2"
    assert dict(parsed["ESHIFT"]) == {"Nb": "0.0", "Ta": "0.0"}  # FitSNAP 3.1 does not start without
    assert "EXTRAS" in parsed  # nor end without
    pairs = [parsed["REFERENCE"][f"pair_coeff{i}"] for i in range(2, 5)]
    assert pairs == ["1 1 zbl 41 41", "1 2 zbl 41 73", "2 2 zbl 73 73"]
    assert "python -m fitsnap3 fitsnap.in" in (path / "README.txt").read_text()


def test_the_type_map_orders_the_elements_of_the_deck(store):
    _, _, path = store("fitsnap", [crystal()], WriteOptions(type_map=("Ta", "Nb", "W")))
    assert deck(path)["BISPECTRUM"]["type"] == "Ta Nb"
    writer = format_of("fitsnap").write(path / "more", WriteOptions(type_map=("Ta",)))
    writer.add(normal(crystal()))
    with pytest.raises(DataError, match="the type map lacks Nb"):
        writer.close()


BROKEN = {
    "no-dataset": ('{"Data": []}', None),
    "no-list": ('{"Dataset": {"Data": 3}}', r'frame 0: Dataset: is no FitSNAP file: \{"Dataset"'),
    "not-an-object": ('{"Dataset": {"Data": [3]}}', "frame 0: Data: a configuration is a JSON object"),
    "no-positions": (dataset({**ENTRY, "Positions": None}), "frame 0: Positions: is missing"),
    "count": (dataset({**ENTRY, "NumAtoms": 3}), "frame 0: NumAtoms: differs from the 2 atoms of AtomTypes"),
    "forces-short": (dataset({**ENTRY, "Forces": [[0, 0, 0]]}), r"Forces: is to have shape \(2, 3\), got \(1, 3\)"),
    "ragged": (dataset({**ENTRY, "Forces": [[0, 0, 0], [0]]}), r"Forces: is to hold numbers of shape \(2, 3\), got"),
    "words": (dataset({**ENTRY, "Energy": "-1.0"}), r"Energy: is to hold numbers of shape \(\), got '-1.0'"),
    "truth": (dataset({**ENTRY, "Energy": True}), "Energy: is to hold numbers"),
    "stress-voigt": (
        dataset({**ENTRY, "Stress": [1, 2, 3, 4, 5, 6]}),
        r"Stress: is to have shape \(3, 3\), got \(6,\)",
    ),
    "type": (dataset({**ENTRY, "AtomTypes": ["Ta", "Xx"]}), "AtomTypes: 'Xx' is no chemical symbol"),
    "type-style": (dataset(AtomTypeStyle="mass"), "AtomTypeStyle: 'mass' is unknown; known: chemicalsymbol"),
    "nan-position": (dataset({**ENTRY, "Positions": [[0, 0, float("nan")], [1, 1, 1]]}), "frame 0: positions: atom 0"),
    "deep": ('{"Dataset": ' + "[" * 100000, "is no JSON that can be read: brackets within brackets"),
    "half-character": (
        dataset({**ENTRY, "Note": "\\ud800"}).replace("\\\\", "\\"),
        "is no JSON: the text is not UTF-8",
    ),
    "digits": (
        dataset({**ENTRY, "Energy": 1}).replace('"Energy": 1', '"Energy": ' + "1" * 5000),
        "is no JSON that can be",
    ),
    "second": (
        dataset([ENTRY, {**ENTRY, "Energy": []}]),
        "frame 1: Energy: is to have shape|frame 1: Energy: is to hold",
    ),
    "ours": (dataset({**ENTRY, "mlff_curate": {"arrays": {"numbers": 3}}}), "mlff_curate: its array 'numbers'"),
    "ours-result": (dataset({**ENTRY, "mlff_curate": {"results": {"energy": 3}}}), "mlff_curate: its result 'energy'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_one_line(tmp_path, name):
    text, message = BROKEN[name]
    found = read_all(write_file(tmp_path, text))
    assert isinstance(found, DataError)
    assert message is None or re.search(message, str(found)), str(found)


def test_files_cut_anywhere_are_refused(tmp_path):
    text = dataset(ENTRY)
    for end in range(len("# QM data\n") + 15, len(text) - 1, 7):
        found = read_all(write_file(tmp_path, text[:end]))
        assert isinstance(found, DataError), end
    packed = archive(tmp_path / "set.tar.gz", {f"JSON/A/c_{i}.json": dataset() for i in range(4)}).read_bytes()
    plain = gzip.decompress(packed)
    for data in [packed[:end] for end in range(200, len(packed) - 1, 13)] + [plain[:e] for e in range(512, 6000, 256)]:
        (tmp_path / "cut.tar").write_bytes(data)
        found = read_all(tmp_path / "cut.tar")
        assert isinstance(found, DataError), len(data)


def test_twisted_values_never_end_in_a_traceback(tmp_path):
    junk = [None, True, -1, 1e308, "x", [], {}, [[]], [None], {"@array": [[1], [2, 3]], "@dtype": "int64"}, [1, "a"]]
    entry = {
        **ENTRY,
        "Spins": [[1, 0, 0, 1]] * 2,
        "mlff_curate": {
            "info": {"a": 1},
            "arrays": {"b": {"@array": [1, 2], "@dtype": "int64"}},
            "results": {},
            "pbc": [],
        },
    }
    generator = random.Random(0)
    for _ in range(400):
        twisted = json.loads(json.dumps(entry))
        place = twisted
        while True:
            key = generator.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if isinstance(place[key], (dict, list)) and place[key] and generator.random() < 0.6:
                place = place[key]
                continue
            place[key] = generator.choice(junk)
            break
        read_all(write_file(tmp_path, dataset(twisted, SpinsStyle="total x y z")))


def test_memory_stays_flat_however_many_members_an_archive_has(tmp_path):
    text, count = dataset({**ENTRY, "Note": "x" * 200000}), 60
    path = archive(tmp_path / "set.tar.gz", {f"A/c_{i}.json": text for i in range(count)})
    assert peak_memory(path) < 0.2 * count * len(text)
