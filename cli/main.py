"""The command `mlff-curate`."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mlff_curate import __version__
from mlff_curate.errors import CurateError

from .screen import INTERRUPTED

if TYPE_CHECKING:
    from types import FrameType

_COMMANDS = {
    "prune": "Keep the frames that train the same force field.",
    "check": "Find what is wrong with frames and their labels.",
    "convert": "Write frames in another format, and say what became of every label.",
    "embed": "Embed every environment: descriptor, embedding, cluster, outlier score.",
    "learning-curve": "Compare ways to choose frames by the force fields they train.",
    "pretrain": "Learn an encoder from frames without labels.",
    "train": "Train a crystal graph network on what frames are labelled with.",
    "evaluate": "Compare what a trained model predicts with labels.",
    "md": "Run molecular dynamics with a trained potential.",
    "validate": "Test known physics with a trained potential.",
    "example": "Make real MD trajectories of Ta, Nb or Fe.",
}
"""Name to one line of help: a command's module is imported only when it is called, so that --help is fast."""

_TERMINATED = 143


class _Commands(click.Group):
    """A group whose commands live in modules of their own, imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f".{cmd_name.replace('-', '_')}", __package__)
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  mlff-curate prune traj.extxyz --keep 0.2",
)
@click.version_option(__version__, prog_name="mlff-curate")
def group() -> None:
    """Turn a pile of atomistic frames into the smallest set that trains the same force field."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 the data are not fit, 2 wrong usage."""
    signal.signal(signal.SIGTERM, _terminate)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        group.main(arguments, prog_name="mlff-curate", standalone_mode=False)
    except CurateError as error:
        _stop(f"mlff-curate: error: {error}", error.exit_status)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        words = str(error.__cause__ or error)  # click makes an Abort of every KeyboardInterrupt
        _stop(f"mlff-curate: interrupted: {words or 'nothing was written'}", INTERRUPTED)
    except Exception as error:
        if {"-v", "--verbose"} & set(arguments):
            raise
        words = " ".join(str(error).split())
        _stop(
            f"mlff-curate: unexpected {type(error).__name__}: {words}: this is a bug; repeat with -v for the traceback",
            1,
        )
    sys.exit(0)


def _stop(line: str, status: int) -> NoReturn:
    click.echo(line, err=True)
    sys.exit(status)


def _terminate(number: int, frame: FrameType | None) -> Any:  # noqa: ARG001
    """Leave as by an exception, so that half-written files are removed: schedulers end jobs with SIGTERM."""
    sys.exit(_TERMINATED)
