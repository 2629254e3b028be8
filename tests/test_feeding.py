"""The pages on feeding a fitting code hold what `examples/clients/run_all.py` runs; running it needs the codes."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

CLIENTS = ("fitsnap", "kliff", "mace", "nequip")


@pytest.fixture(scope="module")
def run_all(root):
    spec = importlib.util.spec_from_file_location("run_all", root / "examples" / "clients" / "run_all.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_client_has_a_page_a_check_and_pinned_versions(root, run_all):
    assert tuple(run_all.CLIENTS) == CLIENTS
    for client in CLIENTS:
        assert (root / "docs" / "feeding" / f"{client}.md").is_file()
        assert (root / "examples" / "clients" / f"check_{client}.py").is_file()
        pins = (root / "examples" / "clients" / "constraints" / f"{client}.txt").read_text()
        assert "torch==2.13.0" in pins.splitlines()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_page_says_how_to_prune_feed_and_fit(root, run_all, client, tmp_path):
    blocks = run_all.blocks_by_section(root / "docs" / "feeding" / f"{client}.md", tmp_path)
    assert list(blocks) == ["Environment", "Prune", "Feed", "Fit", "What to know"]
    assert f"constraints/{client}.txt" in blocks["Environment"][0]
    assert "mlff-curate prune examples/ta_md.extxyz" in blocks["Prune"][0]
    assert f"--to {client}" in blocks["Feed"][0]
    assert f"{tmp_path}/.venv-{client}/bin/" in blocks["Fit"][0]
    assert blocks["What to know"] == []


def test_every_linked_file_exists(root):
    pages = [*(root / "docs" / "feeding").glob("*.md"), root / "examples" / "clients" / "README.md"]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)\)", page.read_text())]
    assert links
    assert [str(link) for page, link in links if not (page.parent / link).exists()] == []


def test_what_is_not_installed_has_no_version(run_all, tmp_path):
    assert run_all.version(Path(sys.executable), "pytest") == pytest.__version__
    assert run_all.version(Path(sys.executable), "no-such-package") == ""
    assert run_all.version(tmp_path / "python", "pytest") == ""


def test_a_command_that_fails_is_told(run_all, tmp_path, capsys):
    assert run_all.run("echo one\necho two", tmp_path) == ["one", "two"]
    assert run_all.run("echo before\nfalse\necho after", tmp_path) == []
    told = capsys.readouterr().err
    assert "before" in told
    assert "after" not in told
