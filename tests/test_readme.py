"""The README does what it says."""

import re
import subprocess
import sys

import pytest


def blocks(root, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (root / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_first_bash_block_holds_two_commands_and_ci_runs_the_second_word_for_word(root):
    lines = blocks(root, "bash")[0].splitlines()
    assert len(lines) == 2
    assert "mlff-curate prune examples/ta_md.extxyz" in lines[0]
    assert "pytest" in lines[1]
    assert all("-c constraints.txt" in line and "shared" not in line for line in lines)
    assert lines[1] in (root / ".ci" / "run").read_text().splitlines()


SAID = ["20 frames kept in", "(120, 32) {"]
"""What each Python block prints."""


@pytest.mark.parametrize("number", range(len(SAID)))
def test_python_blocks_run(root, number):
    code = blocks(root, "python")[number]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert SAID[number] in done.stdout


def test_every_linked_file_exists(root):
    links = re.findall(r"\]\(([^)#]+)\)", (root / "README.md").read_text())
    assert links
    assert [link for link in links if not (root / link).exists()] == []


def test_every_python_block_is_tested(root):
    assert len(blocks(root, "python")) == len(SAID)
