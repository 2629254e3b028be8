"""OUT in another format: whole and with its labels, or refused."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_curate.data.conversion import convert_texts, require_format
from mlff_curate.data.formatting import format_frame
from mlff_curate.errors import DataError, UsageError


def texts(*, labels, count=3, cell=True):
    made = []
    for seed in range(count):
        atoms = bulk("W", cubic=True)
        atoms.rattle(0.1, seed=seed)
        if not cell:
            atoms.cell, atoms.pbc = None, False
        if labels:
            rng = np.random.default_rng(seed)
            atoms.calc = SinglePointCalculator(
                atoms, energy=rng.normal(), forces=rng.normal(size=(2, 3)), stress=rng.normal(size=6)
            )
            atoms.info["REF_energy"] = rng.normal()
        made.append(format_frame(atoms))
    return made


def test_extxyz_passes_through_bit_for_bit():
    odd = [b"1\r\n\r\nFe\t0  0 0\r\n", b"anything"]
    assert list(convert_texts(odd, "extxyz")) == odd


def test_traj_keeps_every_bit_and_label(tmp_path):
    made = texts(labels=True)
    (tmp_path / "out.traj").write_bytes(b"".join(convert_texts(made, "traj")))
    back = ase.io.read(tmp_path / "out.traj", ":")
    assert [format_frame(atoms) for atoms in back] == made


def test_traj_is_the_same_bytes_each_time():
    made = texts(labels=True)
    assert list(convert_texts(made, "traj")) == list(convert_texts(made, "traj"))


@pytest.mark.parametrize(
    ("to", "lost"),
    [
        ("vasp-xdatcar", "REF_energy, energy, forces, stress"),
        ("xyz", "cell, pbc, REF_energy, energy, forces, stress"),
        ("xsf", "REF_energy, energy, stress"),
    ],
)
def test_format_that_loses_labels_is_refused(to, lost):
    message = f"^frame 0: --to: {to} cannot hold {lost}: nothing is dropped in silence, use extxyz or traj$"
    with pytest.raises(DataError, match=message):
        list(convert_texts(texts(labels=True), to))


@pytest.mark.parametrize("to", ["vasp-xdatcar", "xsf", "db", "json"])
def test_format_without_labels_takes_frames_without_labels(tmp_path, to):
    path = tmp_path / f"out.{to}"
    path.write_bytes(b"".join(convert_texts(texts(labels=False), to)))
    assert len(list(ase.io.iread(path, ":", format=to))) == 3


def test_format_that_loses_the_cell_is_refused():
    with pytest.raises(DataError, match=r"^frame 0: --to: xyz cannot hold cell, pbc: nothing is dropped"):
        list(convert_texts(texts(labels=False), "xyz"))
    assert list(convert_texts(texts(labels=False, cell=False), "xyz"))


@pytest.mark.parametrize("to", ["nosuch", "cif", "mysql", "bundletrajectory", "py", "mp4", ""])
def test_unknown_format_is_wrong_usage_and_the_others_are_listed(to):
    with pytest.raises(UsageError, match=rf"^--to: '{to}' cannot hold several frames or is unknown; available: .*traj"):
        require_format(to)


@pytest.mark.parametrize("to", ["extxyz", "traj", "vasp-xdatcar", "xyz"])
def test_known_format_has_a_suffix(to):
    assert require_format(to).isascii()
