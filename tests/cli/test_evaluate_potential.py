"""`evaluate` of potentials: frames with predictions beside their labels, and committees."""

import gzip
import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from scipy.stats import spearmanr

from mlff_curate.cgcnn.potential import Potential
from mlff_curate.data.labels import Labels
from mlff_curate.data.reading import read_frames

NEW = {"model_energy", "model_forces", "model_stress"}


def crystals(n, first=0, amplitude=0.1):
    made = []
    for k in range(first, first + n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(amplitude, seed=k)
        atoms.calc = EMT()
        made.append(atoms)
    return made


def labelled(frames):
    for k, atoms in enumerate(frames):
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.info["virial"] = -atoms.get_volume() * atoms.get_stress(voigt=False)
        atoms.info["config_type"] = "ab"[k % 2]
        atoms.calc = None
    return frames


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    frames = crystals(10)
    labels = [Labels(energy=a.get_potential_energy(), forces=a.get_forces(), stress=a.get_stress()) for a in frames]
    size = {"channels": 8, "radial": 5, "angular": 4, "degree": 2, "convolutions": 1, "cutoff": 3.5}
    for seed in range(3):
        Potential(**size, epochs=8, seed=seed).fit(frames, labels).save(folder / f"{seed}.model")
    return [str(folder / f"{seed}.model") for seed in range(3)]


@pytest.fixture
def frames(here):
    write(here / "cu.extxyz", labelled(crystals(8, first=100)))
    return "cu.extxyz"


def test_predictions_stand_beside_the_labels(command, models, frames, here):
    done = command("evaluate", models[0], frames, "--predictions", "p.extxyz")
    assert (done.code, done.err) == (0, "")
    assert "p.extxyz: 8 frames with model_energy, model_forces, model_stress\n" in done.out
    before, after = ([frame.atoms for frame in read_frames(name)] for name in (frames, "p.extxyz"))
    found = Potential.load(models[0]).predict(before)
    assert len(after) == 8
    for k, (old, new) in enumerate(zip(before, after, strict=True)):
        assert set(new.info) | set(new.arrays) == set(old.info) | set(old.arrays) | NEW
        for key, value in {**old.info, **old.arrays}.items():
            np.testing.assert_array_equal({**new.info, **new.arrays}[key], value)
        np.testing.assert_array_equal(new.cell.array, old.cell.array)
        assert new.info["model_energy"] == found.energy[k]
        np.testing.assert_array_equal(new.arrays["model_forces"], found.forces[4 * k : 4 * k + 4])
        stress = np.reshape(new.info["model_stress"], (3, 3))
        np.testing.assert_array_equal(stress[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)], found.stress[k])
    # a prediction is never taken for a label
    again = command("evaluate", models[0], "p.extxyz", "--json").json
    assert again["all"] == command("evaluate", models[0], frames, "--json").json["all"]
    words = "is a model's prediction, written by evaluate --predictions"
    assert f"model_energy {words}: it is not used (8 frames)" in again["notes"]
    named = command("evaluate", models[0], "p.extxyz", "--json", "--energy-key", "model_energy").json
    assert named["all"]["energy_mae"] < 1e-12
    said = "the energy is read from model_energy: a model's prediction, written by evaluate --predictions"
    assert said in named["notes"]
    done = command("evaluate", models[0], frames, "--predictions", "p.extxyz")
    assert (done.code, "p.extxyz: exists already: say --overwrite" in done.err) == (1, True)
    whole = (here / "p.extxyz").read_bytes()
    done = command("evaluate", models[0], frames, "--predictions", "p.extxyz.gz", "--json")
    assert done.json["predictions"] == "p.extxyz.gz"
    assert gzip.decompress((here / "p.extxyz.gz").read_bytes()) == whole


def test_predictions_are_never_proposed_as_labels(command, models, here):
    write(here / "bare.extxyz", crystals(3, first=50, amplitude=0.05))
    bare = read("bare.extxyz", ":")
    for atoms in bare:
        atoms.calc = None
    write("bare.extxyz", bare)
    assert command("evaluate", models[0], "bare.extxyz", "--predictions", "p.extxyz").code == 0
    words = "model_energy is a model's prediction, written by evaluate --predictions"
    for args in (["evaluate", models[0]], ["train", "-o", "new.model"], ["check"], ["prune", "--keep", 2]):
        done = command(*args, "p.extxyz")
        assert "-key model_" not in done.out + done.err, args
    assert f"{words}: it is not used (3 frames)" in done.out
    done = command("convert", "p.extxyz", "out.extxyz")
    assert "warning: model_energy (3 frames) is a model's prediction: passed on as it is" in done.out
    done = command("check", "p.extxyz", "--json", "--energy-key", "energy")
    assert "model_" not in done.err
    done = command("prune", "p.extxyz", "--keep", 2, "--energy-key", "model_energy", "--overwrite")
    assert f"the energy is read from {words.replace(' is', ':', 1)}" in done.out
    done = command("convert", "p.extxyz", "again.extxyz", "--energy-key", "model_energy")
    assert "energy: model_energy in 3 frames (a model's prediction)" in done.out


def test_frames_of_all_kinds_are_predicted_without_labels(command, models):
    dimer = Atoms("Cu2", [(0, 0, 0), (0, 0, 2.4)])
    write("bare.extxyz", [dimer, bulk("Cu")])
    done = command("evaluate", models[0], "bare.extxyz", "--predictions", "p.extxyz", "--json")
    assert (done.code, done.json["all"], done.json["groups"]) == (0, {}, {})
    one, other = read("p.extxyz", ":")
    assert {"model_energy", "model_stress"} & set(one.info) == {"model_energy"}
    assert {"model_energy", "model_stress"} & set(other.info) == {"model_energy", "model_stress"}
    write("dimer.extxyz", dimer)
    done = command("evaluate", models[0], "dimer.extxyz", "--predictions", "p.extxyz", "--overwrite")
    assert "p.extxyz: 1 frame with model_energy, model_forces\n" in done.out


def test_results_of_a_calculator_keep_their_names(command, models):
    (atoms,) = crystals(1)
    atoms.get_potential_energy()
    write("emt.extxyz", atoms)
    command("evaluate", models[0], "emt.extxyz", "--predictions", "p.extxyz")
    before, after = read("emt.extxyz"), read("p.extxyz")
    assert after.get_potential_energy() == before.get_potential_energy()
    np.testing.assert_array_equal(after.get_forces(), before.get_forces())
    np.testing.assert_array_equal(after.get_stress(), before.get_stress())
    assert after.info["model_energy"] != after.get_potential_energy()


@pytest.mark.parametrize("key", ["model_energy", "model_forces", "model_stress", "model_forces_std"])
def test_a_value_under_a_name_of_ours_is_not_replaced(command, models, frames, here, key):
    some = read(frames, ":")
    (some[3].arrays if "forces" in key else some[3].info)[key] = np.ones(4)
    write("some.extxyz", some)
    done = command("evaluate", models[0], "some.extxyz", "--predictions", "p.extxyz")
    assert done.code == 1
    assert done.err == (
        f"mlff-curate: error: some.extxyz: frame 3: {key}: stands there already and would be replaced: rename it, or "
        "take it out\n"
    )
    assert not (here / "p.extxyz").exists()
    assert command("evaluate", models[0], "some.extxyz").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cu.extxyz", "--predictions", "cu.extxyz"], "cu.extxyz: is an input: an input is never replaced"),
        (["cu.extxyz", "--predictions", "p.csv"], "p.csv: a potential's predictions are written as extxyz: end"),
        (["cu.extxyz", "--predictions", ""], ".: is a folder"),
        (["cu.extxyz", "--predictions", "no/p.xyz"], "no/p.xyz: its folder does not exist"),
    ],
)
def test_predictions_that_cannot_be_written(command, models, frames, here, words, message):
    assert frames
    before = sorted(here.iterdir())
    done = command("evaluate", models[0], *words)
    assert done.code == 1
    assert message in done.err
    assert sorted(here.iterdir()) == before


def test_a_committee_is_judged_by_its_mean_and_its_disagreement(command, models, frames):
    more = ["--committee", models[1], "--committee", models[2]]
    done = command("evaluate", models[0], frames, *more, "--predictions", "p.extxyz", "--json")
    assert done.code == 0
    said = done.json
    truth = read(frames, ":")
    each = [Potential.load(path).predict(truth) for path in models]
    forces = np.array([one.forces for one in each])
    off = forces.mean(axis=0) - np.concatenate([atoms.arrays["REF_forces"] for atoms in truth])
    assert said["committee"] == models[1:]
    assert said["all"]["force_mae"] == pytest.approx(np.abs(off).mean(), rel=1e-6)
    spread = np.sqrt(forces.var(axis=0, ddof=1).sum(axis=1))
    told = said["disagreement"]
    assert (told["force_mean"], told["force_max"]) == pytest.approx((spread.mean(), spread.max()))
    assert told["force_spearman"] == pytest.approx(spearmanr(spread, np.linalg.norm(off, axis=1)).statistic)
    energy = np.array([one.energy for one in each]) / 4
    wrong = np.abs(energy.mean(axis=0) - [atoms.info["REF_energy"] / 4 for atoms in truth])
    of_energy = energy.std(axis=0, ddof=1)
    assert (told["energy_mean"], told["energy_max"]) == pytest.approx((of_energy.mean(), of_energy.max()))
    assert told["energy_spearman"] == pytest.approx(spearmanr(of_energy, wrong).statistic)
    after = read("p.extxyz", ":")
    assert np.concatenate([atoms.arrays["model_forces_std"] for atoms in after]) == pytest.approx(spread)
    assert [atoms.info["model_energy_std"] for atoms in after] == pytest.approx(4 * of_energy)
    assert [atoms.info["model_energy"] for atoms in after] == pytest.approx(4 * energy.mean(axis=0))
    lines = done.err.splitlines()
    assert any(
        line.startswith("standard deviation of 3 models: energy ")
        and line.endswith(f"force {1e3 * spread.mean():.4g} meV/A (at most {1e3 * spread.max():.4g})")
        for line in lines
    )
    assert (
        "rank correlation (Spearman) of standard deviation and true error: "
        f"{told['energy_spearman']:.2f} for energies of frames, {told['force_spearman']:.2f} for forces on atoms"
    ) in lines


def test_what_a_committee_cannot_tell_is_null(command, models):
    write("one.extxyz", labelled(crystals(1)))
    done = command("evaluate", models[0], "one.extxyz", "--committee", models[1], "--json")
    assert done.json["disagreement"]["energy_spearman"] is None
    assert done.json["disagreement"]["force_spearman"] is not None
    assert "energies of frames" not in done.err
    single = command("evaluate", models[0], "one.extxyz", "--json").json
    assert (single["committee"], single["disagreement"], single["predictions"]) == ([], None, None)


def test_a_model_given_twice_is_no_committee(command, models, frames, here):
    shutil.copy(models[1], here / "copy.model")
    (here / "p.extxyz").touch()
    done = command(
        "evaluate", models[0], frames, "--committee", models[1], "--committee", "copy.model",
        "--predictions", "p.extxyz",
    )  # fmt: skip
    said = f"copy.model holds the same bytes as {models[1]}: a model cannot disagree with itself"
    assert (done.code, done.err) == (2, f"mlff-curate: error: --committee: {said}\n")
    done = command("evaluate", models[0], frames, "--committee", models[0])
    assert (done.code, f"--committee: {models[0]} is given twice: a model cannot" in done.err) == (2, True)


def test_a_member_is_asked_before_all_frames_are_read(command, models, here):
    write(here / "mixed.extxyz", labelled(crystals(2)))
    with (here / "mixed.extxyz").open("a") as stream:
        stream.write('1\nProperties=species:S:1:pos:R:3 pbc="F F F"\nAg 0 0 0\nno frame\n')
    done = command("evaluate", models[0], "mixed.extxyz", "--committee", models[1])
    assert (done.code, done.err) == (
        1, f"mlff-curate: error: mixed.extxyz: frame 2: {models[0]}: the model never saw Ag\n",
    )  # fmt: skip


def test_a_member_that_never_saw_an_element_is_named(command, models, frames):
    nickel = bulk("Ni", cubic=True)
    size = {"channels": 4, "radial": 4, "angular": 2, "degree": 1, "convolutions": 1, "cutoff": 3.5}
    Potential(**size, epochs=1).fit([nickel] * 2, [Labels(energy=0.0, forces=np.zeros((4, 3)))] * 2).save("ni.model")
    done = command("evaluate", models[0], frames, "--committee", "ni.model")
    assert (done.code, done.err) == (
        1, "mlff-curate: error: cu.extxyz: frame 0: ni.model: the model never saw Cu\n",
    )  # fmt: skip
