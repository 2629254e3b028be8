"""`--descriptor ENCODER`, `--descriptor array:KEY` and `--layers`, as a user calls them."""

import hashlib

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.labels import Labels
from mlff_curate.pretraining.model import Pretraining

SIZES = {"channels": 8, "angular": 4, "degree": 2, "cutoff": 4.0, "convolutions": 2}
KINDS = "a potential (of train) or an encoder (of pretrain)"
NAMES = "power-spectrum, bispectrum, orbital-field-matrix, array:KEY, and files of pretrain or train"


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """The folder of an encoder and a potential of iron, hardly trained."""
    folder = tmp_path_factory.mktemp("encoders")
    some = []
    for k in range(6):
        atoms = bulk("Fe", cubic=True)
        atoms.arrays.pop("initial_magmoms", None)
        atoms.rattle(0.1, seed=k)
        some.append(atoms)
    Pretraining(**SIZES, epochs=1).fit(some).save(folder / "fe.encoder")
    labels = [Labels(energy=-8.0 - 0.01 * k, forces=np.zeros((2, 3))) for k in range(6)]
    Potential(**SIZES, epochs=1).fit(some, labels).save(folder / "fe.potential")
    return folder


@pytest.fixture
def encoder(here, encoders):
    (here / "fe.encoder").write_bytes((encoders / "fe.encoder").read_bytes())
    return "fe.encoder"


@pytest.fixture
def described(put, iron):
    """Twelve frames and a free atom, each with an array ``mace`` of five columns."""
    rng = np.random.default_rng(0)
    frames = [iron(k, amplitude=0.05 + 0.1 * (k % 2), config_type="ab"[k % 2]) for k in range(12)]
    frames.append(Atoms("Fe", cell=[20, 20, 20], pbc=True))
    for atoms in frames:
        atoms.arrays["mace"] = rng.normal(size=(len(atoms), 5))
    return put("mace.extxyz", frames)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_line(done, code, message):
    assert (done.code, done.out) == (code, "")
    assert done.err == f"mlff-curate: error: {message}\n"


# An encoder.


def test_embed_describes_by_the_encoder_and_says_so(command, trajectory, encoder, here):
    done = command("embed", trajectory, "-o", "out.h5", "--descriptor", encoder, "--epochs", 1, "--json")
    assert done.code == 0
    sha256 = digest(here / encoder)
    settings = {"name": "encoder", "species": [26], "cutoff": 8.0, "layers": "012", "file": encoder, "sha256": sha256}
    assert (done.json["descriptor"], done.json["descriptor_settings"]) == ("encoder", settings)
    with h5py.File("out.h5") as file:
        column = file["environments/descriptor"]
        assert {name: column.attrs[name] for name in ("name", "layers", "file", "sha256", "cutoff")} == {
            name: settings[name] for name in ("name", "layers", "file", "sha256", "cutoff")
        }
        assert column.attrs["unscaled_size"] == 3 * SIZES["channels"]
        assert file.attrs["command"] == f"mlff-curate embed md.extxyz --descriptor {encoder} --epochs 1"
        stored = column[:]
    assert np.isfinite(stored).all()
    assert stored.std(axis=0).min() > 0
    said = command("embed", trajectory, "-o", "two.h5", "--descriptor", encoder, "--layers", 1, "--epochs", 1)
    assert f"encoder {encoder}, layers 1, sha256 {sha256[:12]}, cutoff 4.00 A, 8 components to " in said.out


def test_layers_of_a_potential_describe_too(command, trajectory, encoders):
    path = encoders / "fe.potential"
    done = command("embed", trajectory, "-o", "out.h5", "--descriptor", path, "--layers", "21", "--epochs", 1, "--json")
    settings = done.json["descriptor_settings"]
    assert (settings["layers"], settings["file"], settings["sha256"]) == ("21", str(path), digest(path))


def test_a_stored_model_holds_its_encoder(command, trajectory, encoder, here):
    options = ["--descriptor", encoder, "--layers", "12", "--epochs", 1]
    assert command("embed", trajectory, "-o", "old.h5", "--save-model", "m", *options).code == 0
    sha256 = digest(here / encoder)
    (here / encoder).unlink()
    done = command("embed", trajectory, "-o", "new.h5", "--model", "m", "--json")
    assert done.json["descriptor_settings"]["sha256"] == sha256
    with h5py.File("old.h5") as old, h5py.File("new.h5") as new:
        for name in ("descriptor", "embedding", "cluster", "outlier_score"):
            np.testing.assert_array_equal(old[f"environments/{name}"][:], new[f"environments/{name}"][:])
    one_line(
        command("embed", trajectory, "-o", "x.h5", "--model", "m", "--layers", "1"),
        2,
        "--model: a stored model has its own layers: leave out --layers",
    )


def test_workers_change_no_byte(command, trajectory, encoder, here):
    for name, workers in (("one", 1), ("two", 2)):
        options = ["--descriptor", encoder, "--epochs", 1, "--workers", workers]
        assert command("embed", trajectory, "-o", f"{name}.h5", "--save-model", f"{name}.m", *options).code == 0
    for end in ("h5", "m"):
        assert (here / f"one.{end}").read_bytes() == (here / f"two.{end}").read_bytes()


def test_prune_compares_by_the_encoder_alone_and_says_so(prune, trajectory, encoder, rows, here):
    done = prune(trajectory, "--keep", 4, "--descriptor", encoder, "--layers", "12", "--json")
    assert (done.code, done.json["kept"]) == (0, 4)
    sha256 = digest(here / encoder)
    assert done.json["descriptor"] == "encoder"
    assert done.json["descriptor_settings"]["sha256"] == sha256
    title = f"encoder {encoder}, layers 12, sha256 {sha256[:12]}"
    found = rows("md.pruned.manifest.csv")
    assert {row["descriptor"] for row in found} == {title}
    page = (here / "md.pruned.report.html").read_text()
    assert title in page
    assert sha256 in page
    prune(trajectory, "--keep", 4, "-o", "plain.extxyz")
    plain = rows("plain.manifest.csv")
    assert {row["descriptor"] for row in plain} == {"power-spectrum"}
    assert [row["distance"] for row in plain] != [row["distance"] for row in found]


def test_curated_frames_are_described_by_the_encoder_too(prune, trajectory, encoder, put, iron):
    put("old.extxyz", [iron(k) for k in range(40, 44)])
    done = prune(trajectory, "--against", "old.extxyz", "--keep", 3, "--descriptor", encoder, "--json")
    assert (done.code, done.json["kept"]) == (0, 3)


def test_an_element_that_the_encoder_never_saw_is_named(command, put, iron, encoder, here):
    alloy = iron(1)
    alloy.symbols[1] = "W"
    put("alloy.extxyz", [iron(0), alloy])
    said = f"alloy.extxyz: frame 1: holds W, which the encoder {encoder} never saw; it knows Fe"
    one_line(command("embed", "alloy.extxyz", "-o", "out.h5", "--descriptor", encoder), 1, said)
    one_line(command("prune", "alloy.extxyz", "--descriptor", encoder), 1, said)
    assert sorted(path.name for path in here.iterdir()) == ["alloy.extxyz", encoder]


def test_atoms_in_one_place_are_told_by_file_and_frame(command, put, iron, encoder):
    crushed = iron(2)
    crushed.positions[1] = crushed.positions[0]
    put("good.extxyz", [iron(k) for k in range(3)])
    put("bad.extxyz", [iron(3), crushed])
    one_line(
        command("embed", "good.extxyz", "bad.extxyz", "-o", "out.h5", "--descriptor", encoder),
        1,
        "bad.extxyz: frame 1: positions: atoms 0 and 1 are in one place",
    )


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--descriptor", "nosuch.encoder"], 1, "nosuch.encoder: no such file"),
        (["--descriptor", "sub/nosuch"], 1, "sub/nosuch: no such file"),
        (["--descriptor", "."], 1, ".: is a folder, not a file"),
        (
            ["--descriptor", "md.extxyz"],
            1,
            f"md.extxyz: is no model file but frames, as in extxyz: {KINDS} is wanted",
        ),
        (
            ["--descriptor", "soap"],
            2,
            f"--descriptor: 'soap' is unknown; available: {NAMES}",
        ),
        (["--layers", "1"], 2, "--layers: an encoder has layers, power-spectrum has none"),
        (["--descriptor", "array:x", "--layers", "1"], 2, "--layers: an encoder has layers, array:x has none"),
        (
            ["--descriptor", "fe.encoder", "--layers", "13"],
            2,
            "--layers: there is no layer 3: the encoder's are 0 to 2",
        ),
        (
            ["--descriptor", "fe.encoder", "--layers", "one"],
            2,
            "--layers: digits such as 012 are expected, each once, got 'one'",
        ),
        (
            ["--descriptor", "fe.encoder", "--layers", "0"],
            2,
            "--layers: layer 0 knows the element of an atom and nothing of its surroundings",
        ),
        (["--descriptor", "array:"], 2, "--descriptor: array:KEY is expected, with the name of an array of the frames"),
        (
            ["--descriptor", "array:positions"],
            2,
            "--descriptor: positions of atoms say nothing of their surroundings: no features",
        ),
    ],
)
@pytest.mark.parametrize("arguments", [["embed", "-o", "out.h5"], ["prune"], ["learning-curve"]])
@pytest.mark.usefixtures("encoder")
def test_what_is_no_descriptor_is_one_line(command, trajectory, here, arguments, options, code, message):
    before = sorted(path.name for path in here.iterdir())
    one_line(command(arguments[0], trajectory, *arguments[1:], *options), code, message)
    assert sorted(path.name for path in here.iterdir()) == before


def test_a_damaged_encoder_is_one_line(prune, trajectory, encoder, here):
    (here / encoder).write_bytes((here / encoder).read_bytes()[:-1])
    done = prune(trajectory, "--descriptor", encoder)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"mlff-curate: error: {encoder}: the model file is truncated: ")


def test_the_encoder_is_an_input_and_never_replaced(command, trajectory, encoder, here):
    before = (here / encoder).read_bytes()
    message = f"{encoder}: is an input: an input is never replaced"
    given = [trajectory, "--descriptor", encoder, "--overwrite", "-o", encoder]
    for name in ("embed", "prune", "learning-curve"):
        one_line(command(name, *given), 1, message)
    assert (here / encoder).read_bytes() == before


# Features from elsewhere.


def test_features_of_the_frames_take_the_place_of_a_descriptor(command, described):
    done = command("embed", described, "-o", "out.h5", "--descriptor", "array:mace", "--epochs", 1, "--json")
    settings = {"name": "array", "species": [26], "key": "mace", "size": 5}
    assert (done.json["descriptor"], done.json["descriptor_settings"]) == ("array", settings)
    assert done.json["environments"] == 25
    with h5py.File("out.h5") as file:
        assert file["environments/descriptor"].attrs["key"] == "mace"
        assert file["environments/descriptor"].shape == (25, 5)
    said = command("embed", described, "-o", "two.h5", "--descriptor", "array:mace", "--epochs", 1)
    assert "\narray:mace, 5 components to 5; " in said.out


def test_prune_goes_by_the_features_and_leaves_them_in_the_kept_frames(prune, described, rows, here, split):
    assert prune(described, "--keep", 5, "--descriptor", "array:mace").code == 0
    found = rows("mace.pruned.manifest.csv")
    assert {row["descriptor"] for row in found} == {"array:mace", ""}  # the free atom is compared with nothing
    before = split((here / described).read_bytes())
    after = split((here / "mace.pruned.extxyz").read_bytes())
    assert after == [before[int(row["index"])] for row in found if row["decision"] == "kept"]
    assert "array:mace" in (here / "mace.pruned.report.html").read_text()


def test_frames_with_equal_features_are_alike_whatever_their_atoms(prune, put, iron, rows):
    """So it is the features that decide: two frames differ in them, and both are kept."""
    frames = [iron(k, amplitude=0.2) for k in range(8)]
    for k, atoms in enumerate(frames):
        atoms.arrays["own"] = np.full((2, 3), float(k in (2, 5)) * (k - 3.0))
    put("own.extxyz", frames)
    assert prune("own.extxyz", "--keep", 3, "--descriptor", "array:own").code == 0
    kept = {int(row["index"]) for row in rows("own.pruned.manifest.csv") if row["decision"] == "kept"}
    assert {2, 5} <= kept


def test_a_stored_model_wants_the_features_it_was_trained_on(command, described, put, iron):
    options = ["--descriptor", "array:mace", "--epochs", 1]
    assert command("embed", described, "-o", "old.h5", "--save-model", "m", *options).code == 0
    assert command("embed", described, "-o", "again.h5", "--model", "m").code == 0
    with h5py.File("old.h5") as old, h5py.File("again.h5") as new:
        np.testing.assert_array_equal(old["environments/embedding"][:], new["environments/embedding"][:])
    narrow = iron(3)
    narrow.arrays["mace"] = np.ones((2, 4))
    put("narrow.extxyz", [narrow])
    one_line(
        command("embed", "narrow.extxyz", "-o", "new.h5", "--model", "m"),
        1,
        "narrow.extxyz: frame 0: mace: 4 numbers for each atom, 5 are expected: all frames have to have as many",
    )


def _without(atoms):
    del atoms.arrays["mace"]
    atoms.arrays["other"] = np.ones((len(atoms), 2))


def _wider(atoms):
    atoms.arrays["mace"] = np.ones((len(atoms), 6))


def _nan(atoms):
    atoms.arrays["mace"][1, 2] = np.nan


def _beyond(atoms):
    atoms.arrays["mace"][0, 4] = 1e200


def _words(atoms):
    atoms.arrays["mace"] = np.array(["a", "b"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without, "the frame has no array of this name; there are: other"),
        (_wider, "6 numbers for each atom, 5 are expected: all frames have to have as many"),
        (_nan, "the features of atom 1 are not all finite numbers"),
        (_beyond, "the features of atom 0 are not all finite numbers"),
        (_words, "the array holds other than numbers: no features"),
    ],
)
def test_features_that_cannot_be_used_are_told_by_file_frame_and_key(
    command, described, put, iron, here, spoil, message
):
    frames = [iron(k) for k in range(3)]
    for atoms in frames:
        atoms.arrays["mace"] = np.ones((2, 5))
    spoil(frames[2])
    put("more.extxyz", frames)
    said = f"more.extxyz: frame 2: mace: {message}"
    one_line(command("embed", described, "more.extxyz", "-o", "out.h5", "--descriptor", "array:mace"), 1, said)
    one_line(command("prune", described, "--against", "more.extxyz", "--descriptor", "array:mace"), 1, said)
    assert sorted(path.name for path in here.iterdir()) == [described, "more.extxyz"]


# A learning curve.


def test_a_learning_curve_is_described_as_prune_is(command, here, put, encoders):
    frames = []
    for k in range(30):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=k)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        atoms.arrays["own"] = np.linalg.norm(atoms.get_forces(), axis=1)[:, None] * [1.0, 0.5]
        frames.append(atoms)
    put("cu.extxyz", frames)
    quick = ["--seeds", 1, "--fractions", "0.3", "--selectors", "coverage,random", "--model", "power-spectrum"]
    done = command("learning-curve", "cu.extxyz", *quick, "--descriptor", "array:own", "--json")
    assert done.code == 0
    assert done.json["descriptor_settings"] == {"name": "array", "species": [29], "key": "own", "size": 2}
    assert "array:own" in (here / "cu.learning-curve.html").read_text()
    one_line(
        command("learning-curve", "cu.extxyz", *quick, "-o", "b.html", "--descriptor", encoders / "fe.encoder"),
        1,
        f"cu.extxyz: frame 0: holds Cu, which the encoder {encoders / 'fe.encoder'} never saw; it knows Fe",
    )
