"""`mlff-curate train` and `evaluate` of properties, end to end on a few atoms: the contract of docs/architecture.md."""

import csv
import re
import warnings

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from mlff_curate import CGCNN, read_frames
from mlff_curate.cgcnn.training import split

TRAINED = {
    *("task", "conv", "target", "frames", "validation_frames", "epochs", "best_epoch", "ended"),
    *("train_mae", "train_rmse", "validation_mae", "validation_rmse", "seconds", "peak_memory_mb", "output", "notes"),
    "warnings",
}
EVALUATED = {
    *("model", "task", "target", "frames", "compared", "all", "groups", "group_key", "predictions"),
    *("seconds", "peak_memory_mb", "notes"),
}


@pytest.fixture
def train(command):
    """Run ``mlff-curate train`` in the current folder, quickly."""
    quick = ("--epochs", "2", "--channels", "8", "--hidden", "8")
    return lambda *arguments: command("train", *arguments, *quick)


@pytest.fixture
def gaps(put):
    """Twenty cells of copper in two groups, with a gap and a class."""
    frames = []
    for i in range(20):
        atoms = bulk("Cu", a=3.4 + 0.02 * i, cubic=True)
        atoms.rattle(0.03, seed=i)
        atoms.info.update(gap=0.1 * i, metal=i < 12, config_type="ab"[i % 2])
        frames.append(atoms)
    return put("gaps.extxyz", frames)


@pytest.fixture
def cifs(here):
    (here / "cifs").mkdir()
    for i in range(8):
        write(here / "cifs" / f"c{i}.cif", bulk("Cu", a=3.4 + 0.05 * i))
    (here / "cifs" / "id_prop.csv").write_text("".join(f"c{i},{i / 10}\n" for i in range(8)))
    return "cifs"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_train_writes_one_file_at_exactly_the_path_and_says_what_it_did(train, gaps, here):
    done = train(gaps, "-o", "gap", "--task", "regression", "--target", "gap", "--json")
    assert (done.code, set(done.json)) == (0, TRAINED)
    assert names(here) == ["gap", "gaps.extxyz"]
    assert (done.json["frames"], done.json["validation_frames"], done.json["epochs"]) == (20, 2, 2)
    assert done.json["output"] == "gap"
    model = CGCNN.load("gap")
    assert (model.fitted_.target, model.conv, model.channels) == ("gap", "gated", 8)
    found, true = model.predict(read_frames(gaps)), 0.1 * np.arange(20)
    held_out = list(model.training_.validation_frames)
    assert done.json["validation_mae"] == pytest.approx(np.abs(found - true)[held_out].mean())


def test_equal_seeds_write_equal_bytes(train, gaps, here):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert train(gaps, "-o", name, "--task", "regression", "--target", "gap", "--seed", seed, "-q").code == 0
    files = [(here / name).read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("conv", ["gated", "shared", "none"])
@pytest.mark.parametrize("encoding", ["elements", "one-hot"])
def test_each_convolution_and_encoding_trains(train, gaps, conv, encoding):
    options = ("--task", "classification", "--target", "metal", "--conv", conv, "--encoding", encoding)
    done = train(gaps, "-o", "m", *options)
    assert done.code == 0
    assert done.out.startswith(f"m: classification of metal, {conv} convolution, trained on 18 frames\n")
    assert "validation: accuracy " in done.out
    assert CGCNN.load("m").conv == conv


def test_quiet_prints_nothing_and_verbose_tells_the_stages(train, gaps):
    options = (gaps, "-o", "m", "--task", "regression", "--target", "gap", "--overwrite")
    assert train(*options, "-q")[1:] == ("", "")
    done = train(*options, "-v")
    assert "read ...\ntrain ...\n" in done.err
    assert "seconds: read " in done.err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "--target: name the property to learn: an info key of the frames"),
        (("--target", "gape"), 1, "gaps.extxyz: gape: no frame has this key; available: gap, metal"),
        (
            ("--target", "config_type"),
            1,
            "gaps.extxyz: frame 0: config_type: one number per frame is wanted, found 'a'",
        ),
        (
            (".",),
            2,
            "--target: name the property to learn: an info key of the frames; . is a folder without *.cif",
        ),
        (
            ("--target", "gap", "--csv", "t.csv"),
            2,
            "--csv: a table goes with a folder of CIF files, and no input is one",
        ),
        (
            ("--target", "gap", "--learning-rate", "0"),
            2,
            "--learning-rate: a number from 1e-12 to 1e+06 is wanted, got 0",
        ),
        (("--target", "gap", "--group-by", "x"), 1, "--group-by x: no frame has this info key"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_written(train, gaps, here, options, code, message):
    done = train(gaps, "-o", "m", "--task", "regression", *options)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"mlff-curate: error: {message}")
    assert names(here) == ["gaps.extxyz"]


def test_processes_that_would_do_nothing_are_refused(train, gaps, here, monkeypatch):
    line = (gaps, "-o", "m", "--task", "regression", "--target", "gap")
    message = "mlff-curate: error: --workers: one process trains a property, not 3: leave this out\n"
    assert train(*line, "--workers", "3")[::2] == (2, message)
    assert train(*line, "--workers", "1", "-q").code == 0
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "3",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "x",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert train(*line, "--overwrite")[::2] == (2, message)
    assert names(here) == ["gaps.extxyz", "m"]


def test_a_class_that_is_none_is_named_with_file_frame_and_key(train, gaps, put):
    odd = bulk("Cu")
    odd.info["metal"] = 2
    put("odd.extxyz", [bulk("Cu"), odd])
    done = train(gaps, "odd.extxyz", "-o", "m", "--task", "classification", "--target", "metal")
    assert done.err == "mlff-curate: error: odd.extxyz: frame 1: metal: is 2: the classes are 0 and 1\n"


def test_frames_without_the_target_are_left_out_and_told(train, gaps, put):
    put("more.extxyz", [bulk("Cu"), bulk("Ag")])
    done = train(gaps, "more.extxyz", "-o", "m", "--task", "regression", "--target", "gap", "--json")
    assert done.json["frames"] == 20
    assert done.json["notes"][0] == "2 frames without gap left out, the first more.extxyz: frame 0"
    assert re.fullmatch(r"2 frames held out tell little: mae \S+, by the mean of the others \S+", done.json["notes"][1])


def test_an_energy_of_frames_of_several_sizes_is_remarked_on(train, put):
    frames = []
    for i in range(8):
        frames.append(bulk("Cu", cubic=True) * (1 + i % 2, 1, 1))
        frames[-1].info["energy"] = -3.5 * len(frames[-1])
    done = train(put("e.extxyz", frames), "-o", "m", "--task", "regression", "--target", "energy")
    assert done.code == 0
    assert "note: energy is the energy of a whole frame and frames differ in size: a prediction is made of" in done.out


def test_an_existing_model_and_an_input_are_not_replaced(train, gaps, here):
    (here / "m").write_text("mine")
    done = train(gaps, "-o", "m", "--task", "regression", "--target", "gap")
    assert (done.code, done.err) == (1, "mlff-curate: error: m: exists already: say --overwrite to replace it\n")
    done = train(gaps, "-o", gaps, "--task", "regression", "--target", "gap", "--overwrite")
    assert done.err == "mlff-curate: error: gaps.extxyz: is an input: an input is never replaced\n"
    assert (here / "m").read_text() == "mine"


@pytest.mark.filterwarnings("ignore:crystal system")
def test_a_folder_of_cif_files_is_trained_on_with_its_table(train, command, cifs, here):
    done = train(cifs, "-o", "m", "--task", "regression", "--json")
    assert (done.code, done.json["frames"], done.json["target"]) == (0, 8, "target")
    found = command("evaluate", "m", cifs, "--json").json
    assert (found["compared"], found["target"]) == (8, "target")
    (here / "t.csv").write_text("name,gap,dense\n" + "".join(f"c{i},{i / 7},{i % 2}\n" for i in range(6)))
    options = ("--task", "classification", "--csv", "t.csv", "--target", "dense")
    done = train(cifs, "-o", "n", *options, "--json")
    assert (done.json["frames"], done.json["target"]) == (6, "dense")
    assert done.json["notes"][0] == "2 CIF files of cifs not in t.csv, left out (c6, c7)"
    assert done.json["notes"][1].startswith("1 frame held out tells little: log-loss ")
    found = command("evaluate", "n", cifs, "--csv", "t.csv", "--target", "dense", "--predictions", "p.csv", "--json")
    assert (found.code, found.json["compared"]) == (0, 6)
    again = command("evaluate", "n", cifs, "--csv", "t.csv", "--json")
    assert (again.code, again.json["target"], again.json["all"]) == (0, "dense", found.json["all"])
    done = command("evaluate", "m", cifs, "--csv", "t.csv")
    assert (done.code, done.err) == (
        2,
        "mlff-curate: error: t.csv: --target: which column is the target is not said; available: gap, dense\n",
    )


@pytest.mark.filterwarnings("ignore:crystal system")
def test_folders_whose_targets_have_other_names_are_not_mixed(train, cifs, here):
    (here / "more").mkdir()
    write(here / "more" / "c.cif", bulk("Cu"))
    for text in ("id,energy_meV\nc,900\n", "c,900\n"):
        (here / cifs / "id_prop.csv").write_text("id,band_gap\n" + "".join(f"c{i},{i}\n" for i in range(8)))
        (here / "more" / "id_prop.csv").write_text(text)
        done = train(cifs, "more", "-o", "m", "--task", "regression")
        name = "energy_meV" if "energy" in text else "target"
        assert (done.code, done.err) == (
            1,
            (
                f"mlff-curate: error: more: the targets are called {name}, those read before band_gap: name one with "
                "--target\n"
            ),
        )
    done = train(cifs, "more", "-o", "m", "--task", "regression", "--target", "band_gap", "--json")
    assert (done.code, done.json["frames"]) == (0, 9)


def test_a_folder_without_files_called_cif_says_so(train, cifs, here):
    for i in range(8):
        (here / cifs / f"c{i}.cif").rename(here / cifs / f"c{i}.CIF")
    done = train(cifs, "-o", "m", "--task", "regression", "--target", "gap")
    assert (done.code, done.err) == (1, "mlff-curate: error: cifs: no *.cif was found there, only c0.CIF\n")
    for path in (here / cifs).glob("*.CIF"):
        path.unlink()
    done = train(cifs, "-o", "m", "--task", "regression", "--csv", "t.csv")
    assert (done.code, done.err) == (1, "mlff-curate: error: cifs: no *.cif was found there, only id_prop.csv\n")


@pytest.mark.parametrize(
    ("task", "name", "values"),
    [("regression", "mae", [-1.0, 0.0, 0.0, 1.0]), ("classification", "log-loss", [0, 1, 0, 1])],
)
def test_a_model_that_knows_no_more_than_the_mean_is_remarked_on(train, put, task, name, values):
    """Of equal frames all are given one number, and none beats the mean where both parts have the same values."""
    target = np.zeros(40)
    for part in split(40, 0.5, 0):
        target[part] = np.tile(values, 5)
    equal, unlike = [], []
    for i in range(40):
        equal.append(bulk("Cu", cubic=True))
        equal[-1].info["target"] = float(target[i])
        unlike.append(bulk(("Cu", "Ni")[i % 2], cubic=True))
        unlike[-1].info["target"] = float(i % 2)
    put("equal.extxyz", equal)
    put("unlike.extxyz", unlike)
    options = ("--task", task, "--target", "target", "--validation", "0.5", "--overwrite")
    done = train("equal.extxyz", "-o", "m", *options)
    assert f"note: of the frames held out the model knows no more than a guess: {name} " in done.out
    assert "note" not in train("unlike.extxyz", "-o", "m", *options).out


@pytest.fixture
def trained(train, gaps, here):
    """A model of the gaps in ``m``, another of the classes in ``c``."""
    assert train(gaps, "-o", "m", "--task", "regression", "--target", "gap", "-q").code == 0
    assert train(gaps, "-o", "c", "--task", "classification", "--target", "metal", "-q").code == 0
    return here


@pytest.mark.usefixtures("trained")
def test_evaluate_gives_errors_of_all_and_of_each_group(command, gaps):
    done = command("evaluate", "m", gaps, "--json")
    assert (done.code, set(done.json)) == (0, EVALUATED)
    error = CGCNN.load("m").predict(read_frames(gaps)) - 0.1 * np.arange(20)
    assert done.json["all"] == pytest.approx({"mae": np.abs(error).mean(), "rmse": (error**2).mean() ** 0.5})
    assert set(done.json["groups"]) == {"a", "b"}
    assert done.json["groups"]["b"] == pytest.approx(
        {"mae": np.abs(error[1::2]).mean(), "rmse": (error[1::2] ** 2).mean() ** 0.5, "frames": 10}
    )
    lines = command("evaluate", "m", gaps).out.splitlines()
    assert lines[0].startswith("regression of gap, 20 frames: mae ")
    assert lines[1].startswith("a, 10 frames: mae ")
    assert len(command("evaluate", "m", gaps, "--group-by", "none").out.splitlines()) == 1


@pytest.mark.usefixtures("trained")
def test_evaluate_of_a_classifier_gives_accuracy_and_area(command, gaps):
    done = command("evaluate", "c", gaps, "--json")
    probability, true = CGCNN.load("c").predict(read_frames(gaps)), np.arange(20) < 12
    assert done.json["all"]["accuracy"] == pytest.approx(((probability > 0.5) == true).mean())
    assert set(done.json["all"]) == {"accuracy", "auc"}


@pytest.mark.usefixtures("trained")
def test_a_group_of_one_class_has_no_area_and_json_says_null(command, put):
    frames = [bulk("Cu", cubic=True) for _ in range(3)]
    for atoms in frames:
        atoms.info["metal"] = True
    done = command("evaluate", "c", put("one.extxyz", frames), "--json")
    assert done.json["all"]["auc"] is None
    assert command("evaluate", "c", "one.extxyz").out.splitlines()[0].startswith("classification of metal, 3 frames: ")
    assert "nan" not in command("evaluate", "c", "one.extxyz").out


def test_predictions_are_a_table_and_need_no_targets(trained, command, put):
    labelled = bulk("Cu")
    labelled.info["gap"] = 0.5
    put("new.extxyz", [bulk("Cu", a=3.9), labelled])
    done = command("evaluate", "m", "new.extxyz", "--predictions", "p.csv")
    assert done.code == 0
    assert "p.csv: 2 predictions" in done.out
    assert "note: 1 frame without gap predicted and not compared, the first new.extxyz: frame 0\n" in done.out
    with (trained / "p.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["file"], row["frame"], row["group"], row["gap"]) for row in rows] == [
        ("new.extxyz", "0", "none", ""),
        ("new.extxyz", "1", "none", "0.5"),
    ]
    found = CGCNN.load("m").predict([bulk("Cu", a=3.9), bulk("Cu")])
    assert [float(row["prediction"]) for row in rows] == pytest.approx(found)
    put("bare.extxyz", [bulk("Cu")])
    assert command("evaluate", "m", "bare.extxyz", "--predictions", "q.csv", "--json").json["all"] == {}


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("one-hot", "no features for Ni in the elements of the training data"),
        ("elements", "the model was trained without Ni"),
    ],
)
def test_an_element_that_the_model_never_saw_is_named_with_its_file_and_frame(
    train, command, gaps, put, here, encoding, message
):
    train(gaps, "-o", "m", "--task", "regression", "--target", "gap", "--encoding", encoding, "-q")
    put("new.extxyz", [bulk("Cu"), bulk("Ni")])
    done = command("evaluate", "m", "new.extxyz", "--predictions", "p.csv")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"mlff-curate: error: new.extxyz: frame 1: {message}\n"
    assert not (here / "p.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("m", "bare.extxyz"), 1, "bare.extxyz: gap: no frame has this key; there is no number under any name"),
        (("none", "gaps.extxyz"), 1, "none: no such file"),
        (("gaps.extxyz", "gaps.extxyz"), 1, "gaps.extxyz: is no model file"),
        (("m", "gaps.extxyz", "--predictions", "m"), 1, "m: is an input: an input is never replaced"),
        (("c", "gaps.extxyz", "--target", "gap"), 1, "gaps.extxyz: frame 1: gap: is 0.1: the classes are 0 and 1"),
        (("m", "gaps.extxyz", "--device", "tpu"), 2, "--device: 'tpu' is not supported"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_and_nothing_is_written(trained, command, put, arguments, code, message):
    put("bare.extxyz", [bulk("Ni")])
    before = names(trained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = command("evaluate", *arguments)
    assert done.code == code
    assert done.err.startswith(f"mlff-curate: error: {message}")
    assert names(trained) == before
