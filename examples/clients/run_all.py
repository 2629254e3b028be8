"""Run the pages of docs/feeding/ with the fitting codes themselves, and check what arrived there.

Every page says how to prune, feed and fit with one code. This script makes its environment or brings it up to date (the
commands of the page's section "Environment"), runs all other commands of the page word for word in an empty folder,
and then `check_<client>.py` in the client's own environment: it compares what the client holds in memory with what
we wrote, and its fit with what is known. Nothing but the standard library is used here.

    python examples/clients/run_all.py --environments ~/clients

Exit status: 0 all clients passed; 1 at least one did not; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGES = ROOT / "docs" / "feeding"
CLIENTS = {"fitsnap": "fitsnap3", "kliff": "kliff", "mace": "mace-torch", "nequip": "nequip"}
"""Name of the page -> of the package."""
SETTING_UP = "Environment"
LINES_OF_A_FAILURE = 25


@dataclass(frozen=True)
class Outcome:
    """How it went with one client.

    Attributes
    ----------
    client
        Its name, and its version where it is installed.
    seconds
        Wall time of the commands and the check, without setting up.
    proven
        What the check says was shown; empty where something failed.
    """

    client: str
    seconds: float
    proven: str


def main() -> int:
    """Run the clients that the command line names, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"of {', '.join(CLIENTS)}; default: all")
    parser.add_argument("--environments", type=Path, required=True, help="folder of .venv-CLIENT; made where missing")
    parser.add_argument("--keep", type=Path, help="empty or new folder to leave all files in; default: none is left")
    options = parser.parse_args()
    unknown = sorted(set(options.clients) - set(CLIENTS))
    if unknown:
        parser.error(f"unknown client {', '.join(unknown)}; available: {', '.join(CLIENTS)}")
    with tempfile.TemporaryDirectory() as scratch:
        work = (options.keep or Path(scratch)).resolve()
        outcomes = [
            run_client(client, options.environments.absolute(), work / client)
            for client in (options.clients or CLIENTS)
        ]
    print("\n| client | | s | shown |\n|---|---|---|---|")
    for outcome in outcomes:
        verdict = "passed" if outcome.proven else "FAILED"
        print(f"| {outcome.client} | {verdict} | {outcome.seconds:.0f} | {outcome.proven} |")
    return 0 if all(outcome.proven for outcome in outcomes) else 1


def run_client(client: str, environments: Path, work: Path) -> Outcome:
    """Set up, run the page's commands in a new folder, and check."""
    print(f"== {client}", flush=True)
    blocks = blocks_by_section(PAGES / f"{client}.md", environments)
    python = environments / f".venv-{client}" / "bin" / "python"
    # Quick where nothing is missing; KLIFF's environment holds a copy of mlff-curate, which is to be that of today.
    if not all(run(block, ROOT) for block in blocks.pop(SETTING_UP)):
        return Outcome(client, 0.0, "")
    work.mkdir(parents=True)
    (work / "examples").symlink_to(ROOT / "examples")  # the commands are written for the root of a clone
    start = time.perf_counter()
    commands = [block for section in blocks.values() for block in section]
    commands.append(f"{python} examples/clients/check_{client}.py")
    said = [""]
    for command in commands:
        # mlff-curate is that of the environment that runs this script
        said = run(command, work, Path(sys.executable).parent)
        if not said:
            break
    name = f"{client} {version(python, CLIENTS[client])}"
    return Outcome(name, time.perf_counter() - start, said[-1] if said else "")


def blocks_by_section(page: Path, environments: Path) -> dict[str, list[str]]:
    """Return the bash blocks of a page under each of its headings, with the environments where they really are."""
    blocks: dict[str, list[str]] = {}
    for section in re.split(r"^## ", page.read_text(), flags=re.MULTILINE)[1:]:
        found = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        blocks[section.split("\n", 1)[0]] = [block.replace(".venv-", f"{environments}/.venv-") for block in found]
    return blocks


def version(python: Path, package: str) -> str:
    """Return the version of a package in an environment, empty where one or the other is not there."""
    ask = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    if not python.exists():
        return ""
    done = subprocess.run([python, "-c", ask, package], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def run(commands: str, folder: Path, *tools: Path) -> list[str]:
    """Run commands, with the programs of some folders first; return what they printed.

    Returns
    -------
    lines
        At least one; none if a command failed, after showing why.
    """
    print("  $ " + commands.strip().replace("\n", "\n    "), flush=True)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join([*map(str, tools), os.environ["PATH"]])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    if done.returncode:
        print("\n".join(lines[-LINES_OF_A_FAILURE:]), file=sys.stderr, flush=True)
        return []
    return lines or [""]


if __name__ == "__main__":
    sys.exit(main())
