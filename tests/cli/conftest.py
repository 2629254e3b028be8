"""Trajectories of a few atoms, and the command run on them in this process."""

import csv
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import pytest
from ase.build import bulk
from mlff_curate_cli.main import main

from mlff_curate.data.formatting import format_frame


class Run(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def read_manifest(path):
    """The rows of a manifest."""
    with Path(path).open(newline="") as stream:
        return list(csv.DictReader(stream))


def make_iron(seed=0, *, size=(1, 1, 1), amplitude=0.05, **info):
    """A rattled cube of two iron atoms, or a supercell of it."""
    atoms = bulk("Fe", cubic=True) * size
    atoms.arrays.pop("initial_magmoms", None)
    atoms.rattle(amplitude, seed=seed)
    atoms.info.update(info)
    return atoms


def split_frames(text):
    """The frames' own bytes."""
    lines = text.splitlines(keepends=True)
    frames = []
    while lines:
        count = int(lines[0]) + 2
        frames.append(b"".join(lines[:count]))
        lines = lines[count:]
    return frames


@pytest.fixture
def iron():
    return make_iron


@pytest.fixture
def rows():
    return read_manifest


@pytest.fixture
def split():
    return split_frames


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def put(here):
    """Write frames, or bytes, to a file of the current folder and return its name."""

    def write(name, frames):
        if not isinstance(frames, bytes):
            frames = b"".join(format_frame(atoms) for atoms in frames)
        (here / name).write_bytes(frames)
        return name

    return write


@pytest.fixture
def trajectory(put):
    """Twelve frames of two groups in ``md.extxyz``."""
    return put("md.extxyz", [make_iron(i, config_type="ab"[i % 2], step=i) for i in range(12)])


@pytest.fixture
def command(here, capsys):
    """Run ``mlff-curate`` in the current folder."""
    assert Path.cwd() == here
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(list(map(str, arguments)))
        return Run(stopped.value.code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def prune(command):
    """Run ``mlff-curate prune`` in the current folder."""
    return lambda *arguments: command("prune", *arguments)


@pytest.fixture
def signalled(here):
    """Send a signal to a script when it says ``now``; -> the number of files at that moment, and what it left."""

    def run(number, script, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        guard = threading.Timer(60, process.kill)
        guard.daemon = True
        guard.start()
        assert process.stdout.readline() == "now\n"
        files = len(list(here.iterdir()))
        process.send_signal(number)
        out, err = process.communicate()
        guard.cancel()
        return files, Run(process.returncode, out, err)

    return run
