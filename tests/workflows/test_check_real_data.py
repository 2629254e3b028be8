"""`check` on a real DFT set: what is wrong is named, mended, and not found again."""

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


def test_the_set_as_published_has_repeats_and_nothing_else(real_data):
    findings = check([real_data / "ta_jcp2014.extxyz"]).findings
    assert {f.rule for f in findings if f.severity != "note"} == {"duplicate-exact"}
