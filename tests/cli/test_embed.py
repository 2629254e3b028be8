"""`mlff-curate embed`, end to end on a few atoms: the command-line contract of docs/architecture.md."""

import gzip
import os
import pickle
import signal

import h5py
import numpy as np
import pytest

KEYS = {
    *("frames", "environments", "clusters", "outliers", "new", "embedding_size", "descriptor", "descriptor_size"),
    "descriptor_settings",
    *("training_epochs", "held_out_loss_first", "held_out_loss_best", "link", "seconds", "peak_memory_mb"),
    *("output", "model", "notes"),
}
DATA_SETS = {
    *(f"environments/{name}" for name in ("frame", "atom", "species", "descriptor", "embedding", "cluster")),
    "environments/outlier_score",
    *(f"frames/{name}" for name in ("source", "index", "sha256", "group", "n_atoms")),
}
DUMP = "".join(
    f"ITEM: TIMESTEP\n{i}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 3.3\n0 3.3\n0 3.3\n"
    f"ITEM: ATOMS id type x y z\n1 1 0 0 {i / 70!r}\n2 1 1.65 1.65 1.65\n"
    for i in range(4)
).encode()


@pytest.fixture
def embed(command):
    """Run ``mlff-curate embed`` in the current folder, quickly."""

    def run(*arguments):
        quick = [] if {"--model", "--epochs"} & set(arguments) else ["--epochs", "1"]
        return command("embed", *arguments, *quick)

    return run


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def read(path):
    with h5py.File(path) as file:
        names = []
        file.visit(names.append)
        return {name: file[name][()] for name in names if isinstance(file[name], h5py.Dataset)}


def test_output_has_the_data_sets_of_the_contract(embed, put, iron, trajectory, here):
    put("b.extxyz", [iron(50, size=(2, 1, 1)), iron(51)])
    done = embed(trajectory, "b.extxyz", "-o", "out.h5")
    assert (done.code, done.err) == (0, "")
    assert listing(here) == ["b.extxyz", "md.extxyz", "out.h5"]
    found = read("out.h5")
    assert set(found) >= DATA_SETS
    assert found["environments/frame"].tolist() == [*np.repeat(range(12), 2), *[12] * 4, *[13] * 2]
    assert found["environments/atom"].tolist() == [*[0, 1] * 12, 0, 1, 2, 3, 0, 1]
    assert set(found["environments/species"]) == {26}
    assert found["frames/source"].tolist() == [b"md.extxyz"] * 12 + [b"b.extxyz"] * 2
    assert found["frames/index"].tolist() == [*range(12), 0, 1]
    assert found["frames/n_atoms"].tolist() == [2] * 12 + [4, 2]
    assert found["frames/group"].tolist() == [b"a", b"b"] * 6 + [b"none"] * 2
    for name in ("descriptor", "embedding", "cluster", "outlier_score"):
        assert len(found[f"environments/{name}"]) == 30
        assert np.isfinite(found[f"environments/{name}"]).all()


def test_units_and_options_are_attributes(embed, trajectory):
    embed(trajectory, "-o", "out.h5", "--seed", 7, "--kernels", 2, "--workers", 1, "--group-by", "step")
    with h5py.File("out.h5") as file:
        rows = file["environments"]
        assert file.attrs["command"] == "mlff-curate embed md.extxyz --kernels 2 --epochs 1 --seed 7 --group-by step"
        assert (file.attrs["seed"], file.attrs["group_key"]) == (7, "step")
        assert file.attrs["position_unit"] == rows["descriptor"].attrs["cutoff_unit"] == "Angstrom"
        assert rows["descriptor"].attrs["name"] == "power-spectrum"
        assert "standardised" in rows["descriptor"].attrs["scaled"]
        assert rows["embedding"].attrs["kernels"] == 2
        assert rows["embedding"].attrs["unit"] == "standard deviation of the thermal noise"
        assert rows["cluster"].attrs["link_length"] > 0
        assert "1 is ordinary" in rows["outlier_score"].attrs["description"]
        assert len(file["training/training_loss"]) == file["training"].attrs["epochs"] == 1
        assert len(file["training/held_out_loss"]) == 2


def test_stored_model_embeds_as_the_training_run_did(embed, trajectory, put, iron):
    assert embed(trajectory, "-o", "old.h5", "--save-model", "m").code == 0
    assert embed(trajectory, "-o", "again.h5", "--model", "m").code == 0
    old, again = read("old.h5"), read("again.h5")
    assert set(old) == set(again)
    for name, values in old.items():
        np.testing.assert_array_equal(values, again[name])
    put("one.extxyz", [iron(5, config_type="b", step=5)])
    assert embed("one.extxyz", "-o", "one.h5", "--model", "m").code == 0
    one = read("one.h5")
    for name in ("descriptor", "embedding", "cluster", "outlier_score"):
        np.testing.assert_allclose(one[f"environments/{name}"], old[f"environments/{name}"][10:12], atol=1e-4)


def test_same_input_options_and_seed_give_the_same_bytes(embed, trajectory, here):
    for name, more in (("a", []), ("b", ["--workers", 2]), ("c", ["--seed", 1])):
        assert embed(trajectory, "-o", f"{name}.h5", "--save-model", f"{name}.model", *more).code == 0
    a, b, c = ([(here / f"{name}.{end}").read_bytes() for end in ("h5", "model")] for name in "abc")
    assert a == b
    assert a[0] != c[0]
    assert a[1] != c[1]


def test_json_is_one_object_alone_on_stdout(embed, trajectory):
    done = embed(trajectory, "-o", "out.h5", "--save-model", "m", "--json", "-v")
    values = done.json
    assert set(values) == KEYS
    expected = {"frames": 12, "environments": 24, "new": 0, "embedding_size": 32, "training_epochs": 1}
    assert {key: values[key] for key in expected} == expected
    assert (values["output"], values["model"], values["descriptor"]) == ("out.h5", "m", "power-spectrum")
    assert "train MEAGraph ...\n" in done.err
    assert "peak memory" in done.err
    found = read("out.h5")["environments/cluster"]
    assert values["clusters"] == len(set(found))
    assert values["outliers"] == (np.bincount(found) == 1).sum()


def test_a_person_reads_where_it_is_and_what_was_found(embed, trajectory):
    done = embed(trajectory, "-o", "out.h5", "--save-model", "m")
    assert done.out.startswith("out.h5: 24 environments of 12 frames, embedded in 32 dimensions\n")
    assert "\ncluster 0: " in done.out
    assert "(a 50 %, b 50 %)" in done.out
    assert "neighbours searched exactly (recall 1)" in done.out
    assert done.out.endswith("to embed new frames as these: --model m\n")
    quiet = embed(trajectory, "-o", "again.h5", "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


# Inputs that are none.


def test_lammps_dump_needs_its_elements(embed, put, here):
    put("md.lammpstrj", DUMP)
    stopped = embed("md.lammpstrj", "-o", "out.h5")
    assert (stopped.code, stopped.out) == (1, "")
    assert "say --type-map, such as --type-map Ta,W" in stopped.err
    assert listing(here) == ["md.lammpstrj"]
    assert embed("md.lammpstrj", "-o", "out.h5", "--type-map", "Ta").code == 0
    assert set(read("out.h5")["environments/species"]) == {73}


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("nosuch.extxyz", None, "no such file"),
        ("empty.extxyz", b"", "the file is empty"),
        ("junk", b"\x00\x01junk", "the format is not recognised"),
        ("cut.extxyz", b'2\nLattice="3 0 0 0 3 0 0 0 3"\nFe 0 0 0\n', ""),
        ("cut.extxyz.gz", gzip.compress(b"1\n\nFe 0 0 0\n", mtime=0)[:-4], "the gzip data are damaged or truncated"),
    ],
)
def test_input_that_is_none_is_one_line_and_leaves_nothing(embed, trajectory, here, name, contents, message):
    if contents is not None:
        (here / name).write_bytes(contents)
    before = listing(here)
    done = embed(trajectory, name, "-o", "out.h5", "--save-model", "m")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"mlff-curate: error: {name}: ")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert listing(here) == before


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        (
            b"1\n\nFe 0 0 0\n",
            "is no model file but frames, as in extxyz: a model of embeddings (of embed --save-model) is wanted",
        ),
        (
            pickle.dumps({"a": 1}),
            (
                "is no model file but a pickle: such a file can run code and is never opened, but for those of CGCNN's "
                "authors by CGCNN.from_published"
            ),
        ),
    ],
)
def test_model_that_is_none_is_one_line(embed, trajectory, here, contents, message):
    if contents is not None:
        (here / "m").write_bytes(contents)
    before = listing(here)
    done = embed(trajectory, "-o", "out.h5", "--model", "m")
    assert (done.code, done.out, done.err) == (1, "", f"mlff-curate: error: m: {message}\n")
    assert listing(here) == before


def test_truncated_model_is_said(embed, trajectory, here):
    embed(trajectory, "-o", "out.h5", "--save-model", "m")
    (here / "m").write_bytes((here / "m").read_bytes()[:-1])
    done = embed(trajectory, "-o", "new.h5", "--model", "m")
    assert done.code == 1
    assert done.err.startswith("mlff-curate: error: m: the model file is truncated: ")


def test_element_that_the_model_does_not_know_is_said(embed, trajectory, put, iron, here):
    embed(trajectory, "-o", "out.h5", "--save-model", "m")
    alloy = iron(3)
    alloy.symbols[1] = "W"
    put("new.extxyz", [iron(1), alloy])
    done = embed("new.extxyz", "-o", "new.h5", "--model", "m")
    assert done.code == 1
    assert done.err == (
        "mlff-curate: error: new.extxyz: frame 1: holds W, which the model was not trained on; it knows Fe\n"
    )
    assert "new.h5" not in listing(here)


# Options.


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--descriptor", "power-spectrum"),
        ("--kernels", 3),
        ("--rate", "auto"),
        ("--mode", "inductive"),
        ("--epochs", 12),
        ("--seed", 0),
    ],
)
def test_what_a_stored_model_has_cannot_be_given_again(embed, trajectory, here, option, value):
    """Not even with the default's value."""
    done = embed(trajectory, "-o", "out.h5", "--model", "m", option, value)
    name = option.removeprefix("--")
    message = f"--model: a stored model has its own {name}: leave out {option}"
    assert (done.code, done.out, done.err) == (2, "", f"mlff-curate: error: {message}\n")
    assert listing(here) == [trajectory]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--descriptor", "soap"], "--descriptor: 'soap' is unknown; available: power-spectrum, bispectrum"),
        (["--kernels", 0], "--kernels: at least 1, got 0"),
        (["--rate", "x"], "--rate: auto, or a number above 0 and below 1, got 'x'"),
        (["--epochs", -1], "--epochs: at least 0, got -1"),
        (["--mode", "published", "--rate", 0.5, "--save-model", "m"], "--save-model: a model of the published mode"),
        (["--model", "m", "--save-model", "n"], "--save-model: nothing is trained with --model"),
        (["--type-map", "Qq"], "--type-map: 'Qq' is no chemical symbol"),
        (["--device", "nosuch"], "--device: 'nosuch' is not supported; available: cpu, cuda"),
    ],
)
def test_option_that_no_data_could_make_right_is_wrong_usage(embed, trajectory, here, options, message):
    done = embed(trajectory, "-o", "out.h5", *options)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"mlff-curate: error: {message}")
    assert done.err.count("\n") == 1
    assert listing(here) == [trajectory]


def test_output_is_wanted(embed, trajectory):
    done = embed(trajectory)
    assert done.code == 2
    assert "Missing option '-o'" in done.err


# Outputs.


def test_existing_output_is_replaced_only_if_asked(embed, trajectory, here):
    for name in ("out.h5", "m"):
        (here / name).write_bytes(b"before")
        done = embed(trajectory, "-o", "out.h5", "--save-model", "m")
        assert (done.code, done.out) == (1, "")
        assert done.err == f"mlff-curate: error: {name}: exists already: say --overwrite to replace it\n"
        assert (here / name).read_bytes() == b"before"
        (here / name).unlink()
    (here / "out.h5").write_bytes(b"before")
    assert embed(trajectory, "-o", "out.h5", "--overwrite").code == 0
    assert len(read("out.h5")["environments/cluster"]) == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "md.extxyz"], "md.extxyz: is an input: an input is never replaced"),
        (["-o", "out.h5", "--save-model", "./md.extxyz"], "md.extxyz: is an input: an input is never replaced"),
        (["-o", "out.h5", "--save-model", "./out.h5"], "out.h5: would be written twice"),
        (["-o", "stored", "--model", "stored"], "stored: is an input: an input is never replaced"),
        (["-o", "sub"], "sub: is a folder"),
        (["-o", ""], ".: is a folder"),
        (["-o", "out.h5", "--save-model", "sub"], "sub: is a folder"),
        (["-o", "nosuch/out.h5"], "nosuch/out.h5: its folder does not exist"),
    ],
)
def test_output_that_has_no_place_is_said(embed, trajectory, here, options, message):
    (here / "sub").mkdir()
    (here / "stored").write_bytes(b"x")
    before = (here / trajectory).read_bytes()
    done = embed(trajectory, *options, "--overwrite")
    assert (done.code, done.out, done.err) == (1, "", f"mlff-curate: error: {message}\n")
    assert listing(here) == ["md.extxyz", "stored", "sub"]
    assert (here / trajectory).read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_cannot_be_written_to_is_said(embed, trajectory, here):
    (here / "sub").mkdir(mode=0o500)
    done = embed(trajectory, "-o", "sub/out.h5")
    assert (done.code, done.err) == (1, "mlff-curate: error: sub/out.h5: its folder cannot be written to\n")


def test_full_disk_is_one_line_and_leaves_nothing(embed, trajectory, here, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = embed(trajectory, "-o", "out.h5", "--save-model", "m")
    assert (done.code, done.out) == (1, "")
    assert done.err == "mlff-curate: error: out.h5: cannot be written (No space left on device)\n"
    assert listing(here) == [trajectory]


RUN = """
import sys, time
from mlff_curate.workflows import embed as job, embed_files
from mlff_curate_cli.main import main

where = sys.argv.pop(1)

def wait(*_, **__):
    print("now", flush=True)
    time.sleep(60)

setattr(*((embed_files, "table_of", wait) if where == "writing" else (job, "describe", wait)))
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("where", ["computing", "writing"])
def test_signal_leaves_no_file(signalled, trajectory, here, number, status, where):
    arguments = ["embed", trajectory, "-o", "out.h5", "--save-model", "m", "--epochs", "1"]
    files, done = signalled(number, RUN, where, *arguments)
    assert files == (3 if where == "writing" else 1)
    assert (done.code, done.out) == (status, "")
    assert "Traceback" not in done.err
    assert listing(here) == [trajectory]


# The real sets.


@pytest.mark.data
def test_tantalum_crystals_are_one_cluster_each(embed, real_data):
    """At full size; a test of its own measures the clusters against the truth."""
    values = embed(real_data / "ta_jcp2014.extxyz", "-o", "ta.h5", "--epochs", 4, "--json").json
    assert (values["frames"], values["environments"]) == (363, 4224)
    assert values["held_out_loss_best"] < values["held_out_loss_first"]
    found = read("ta.h5")
    group = np.repeat(found["frames/group"], found["frames/n_atoms"])
    cluster = found["environments/cluster"]
    crystals = [group == name for name in (b"Displaced_BCC", b"Displaced_FCC")]
    own = [np.bincount(cluster[crystal & (cluster >= 0)]) for crystal in crystals]
    assert all(sizes.max() > 0.95 * crystal.sum() for sizes, crystal in zip(own, crystals, strict=True))
    assert own[0].argmax() != own[1].argmax()
