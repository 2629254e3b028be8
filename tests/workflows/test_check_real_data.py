"""`check` on a real DFT set: what is wrong is named, mended, and not found again."""

import tracemalloc
from collections import Counter

import ase.io
import numpy as np
import pytest
from ase.units import GPa

from mlff_curate.data.formatting import format_frame
from mlff_curate.data.labels import labels_of
from mlff_curate.workflows.check import CheckOptions, check
from mlff_curate.workflows.check_files import check_files

pytestmark = pytest.mark.data
VASP = [0, 1, 2, 5, 3, 4]
"""Places of xx yy zz xy yz zx among ASE's."""
NO_COPIES = CheckOptions(skip=["duplicate-exact", "duplicate-near", "duplicate-twin", "duplicate-conflict"])


@pytest.fixture(scope="module")
def tantalum(real_data):
    return ase.io.read(real_data / "ta_jcp2014.extxyz", ":")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write frames to ``md.extxyz`` with their labels changed."""
    monkeypatch.chdir(tmp_path)

    def write(frames, change):
        texts = []
        for i, atoms in enumerate(frames):
            new = atoms.copy()
            energy, forces, stress = change(i, labels_of(atoms))
            new.info |= {"energy": energy, "stress": stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)}
            new.arrays["forces"] = forces
            texts.append(format_frame(new))
        (tmp_path / "md.extxyz").write_bytes(b"".join(texts))

    return write


def require_mended(frames):
    done = check_files(["md.extxyz"], NO_COPIES, fix="out.extxyz", no_report=True)
    assert done.status == 1
    rules = {f.rule for f in done.result.findings if f.severity == "error"}
    assert not rules & {f.rule for f in check(["out.extxyz"], NO_COPIES).findings}
    for atoms, back in zip(frames, ase.io.iread("out.extxyz"), strict=True):
        a, b = labels_of(atoms), labels_of(back)
        assert b.energy == pytest.approx(a.energy, rel=1e-12)
        assert np.allclose(b.forces, a.forces, rtol=1e-12)
        assert np.allclose(b.stress, a.stress, rtol=1e-12)
    return rules


def test_stress_as_vasp_prints_it_is_told_and_mended(tantalum, write):
    write(tantalum, lambda _, a: (a.energy, a.forces, -a.stress[VASP] / (0.1 * GPa)))
    assert require_mended(tantalum) >= {"stress-unit"}


def test_energies_per_atom_are_told_and_mended(tantalum, write):
    write(tantalum, lambda _, a: (a.energy / len(a.forces), a.forces, a.stress))
    assert require_mended(tantalum) == {"energy-unit"}


def test_a_few_forces_that_are_gradients_are_told_frame_by_frame(tantalum, write):
    shown = [i for i, atoms in enumerate(tantalum) if atoms.info["config_type"].startswith("Displaced")][::5]
    write(tantalum, lambda i, a: (a.energy, a.forces * (-1 if i in shown else 1), a.stress))
    findings = check(["md.extxyz"], NO_COPIES).findings
    told = {f.frame for f in findings if f.rule == "force-sign"}
    assert told == set(shown)


@pytest.mark.parametrize("seed", [0, 1])
def test_sound_labels_are_left_in_peace_whichever_frames_are_missing(tantalum, write, seed):
    """Its series of volumes then end elsewhere, where no fit knows what comes next."""
    kept = np.random.default_rng(seed).random(len(tantalum)) > 0.06
    write(
        [atoms for atoms, keep in zip(tantalum, kept, strict=True) if keep], lambda _, a: (a.energy, a.forces, a.stress)
    )
    assert {f.rule for f in check(["md.extxyz"], NO_COPIES).findings} <= {"label-precision"}


def test_energies_that_hide_each_other_in_one_group_are_told(tantalum, write):
    shown = [i for i, atoms in enumerate(tantalum) if atoms.info["config_type"] == "GSF_112"][::5]
    off = {i: (0.15 + 0.04 * k) * (-1) ** k for k, i in enumerate(shown)}
    write(tantalum, lambda i, a: (a.energy + off.get(i, 0.0) * len(a.forces), a.forces, a.stress))
    found = [f for f in check(["md.extxyz"], NO_COPIES).findings if f.severity != "note"]
    assert {f.frame: f.rule for f in found} == dict.fromkeys(shown, "energy-outlier")
    assert all(abs(f.value) > 12 for f in found)


def test_forces_of_other_atoms_and_zeros_are_told(tantalum, write):
    planar = [i for i, atoms in enumerate(tantalum) if atoms.info["config_type"] == "GSF_110"]
    rolled, zeroed = planar[3:13:9], planar[6::9]

    def change(i, a):
        forces = np.roll(a.forces, 1, axis=0) if i in rolled else 0 * a.forces if i in zeroed else a.forces
        return a.energy, forces, a.stress

    write(tantalum, change)
    found = [f for f in check(["md.extxyz"], NO_COPIES).findings if f.severity != "note"]
    assert {f.frame for f in found if f.rule == "force-zero"} == set(zeroed)
    assert {f.frame for f in found} == {*zeroed, *rolled}


def test_the_set_as_published_has_repeats_and_nothing_else(real_data):
    findings = check([real_data / "ta_jcp2014.extxyz"]).findings
    assert {f.rule for f in findings if f.severity != "note"} == {"duplicate-exact"}


REPEATS = [f"duplicate-{kind}" for kind in ("exact", "near", "twin", "conflict")]


@pytest.mark.parametrize(
    ("name", "counts"),
    [("ta_jcp2014", (4, 4, 5, 0)), ("nb_mvl2020", (0, 0, 90, 0)), ("fe_npj2021", (38, 30, 15, 327))],
)
def test_published_sets_hold_the_repeats_that_the_pages_tell(real_data, name, counts):
    found = Counter(f.rule for f in check([real_data / f"{name}.extxyz"], CheckOptions(only=REPEATS)).findings)
    assert tuple(found[rule] for rule in REPEATS) == counts


def test_what_is_held_grows_by_no_more_than_the_pages_say(real_data, tmp_path):
    """0.2 kB for an atom of a frame of 54."""
    text = (real_data / "nb_mvl2020.extxyz").read_bytes()
    frames = list(ase.io.iread(real_data / "nb_mvl2020.extxyz"))
    peaks = []
    for times in (1, 3):
        (tmp_path / "md.extxyz").write_bytes(times * text)
        tracemalloc.start()
        check([tmp_path / "md.extxyz"], CheckOptions(only=["cell-flat"]))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert 56 < (peaks[1] - peaks[0]) / (2 * sum(map(len, frames))) < 250
