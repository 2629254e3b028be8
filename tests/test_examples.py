"""The notebooks in `examples/` were executed, and their code runs."""

import json
import re
import shlex

import matplotlib as mpl
import pytest
from mlff_curate_cli.main import group

NOTEBOOKS = ["pretraining.ipynb"]
SMALL = {
    "SIZES": {"cutoff": 3.2, "channels": 4, "angular": 2, "degree": 1},
    "FRAMES": 2,
    "HELD_OUT": 1,
    "INTERVAL": 1,
    "PRETRAINING_STEPS": 8,
    "STEPS": 4,
}
"""In place of the parameters of the notebook."""


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def text(cell):
    return "".join(cell["source"])


def test_every_notebook_is_tested(examples):
    assert sorted(path.name for path in examples.glob("*.ipynb")) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_was_executed_from_top_to_bottom_without_errors(examples, name):
    code = cells(examples / name, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = [(output["output_type"], output.get("name")) for cell in code for output in cell["outputs"]]
    assert set(kinds) == {("stream", "stdout"), ("display_data", None)}
    assert sum("image/png" in output.get("data", {}) for cell in code for output in cell["outputs"]) == 2


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_small_and_says_nothing_of_the_machine_that_ran_it(examples, name):
    content = (examples / name).read_text()
    assert len(content) < 300_000
    for cell in json.loads(content)["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
        shown = text(cell) + json.dumps([output.get("text", []) for output in cell.get("outputs", [])])
        assert re.findall(r"(?<![\w.])/(?:tmp|root|home|work|usr|Users)\b", shown) == []
    assert json.loads(content)["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_file_that_a_notebook_links_to_exists(examples, name):
    links = [link for cell in cells(examples / name, "markdown") for link in re.findall(r"\]\(([^)#]+)", text(cell))]
    assert links
    assert [link for link in links if not (examples / link).exists()] == []


def test_the_code_and_the_commands_on_pretraining_run(examples, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    names = {"__name__": "__main__"}
    for cell in cells(examples / "pretraining.ipynb", "code"):
        exec(compile(text(cell), "pretraining.ipynb", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []):
            sizes = names["SIZES"], names["PRETRAINING_STEPS"], names["STEPS"]
            assert set(SMALL) <= set(names)
            names |= SMALL
    said = capsys.readouterr().out
    assert "20 frames without labels, 10 held out" in said
    assert re.search(r"^encoder, all steps +[\d.]+ +[\d.]+ +[\d.]+$", said, re.MULTILINE)
    assert "few.extxyz held_out.extxyz unlabelled.extxyz" in said

    (block,) = [b for cell in cells(examples / "pretraining.ipynb", "markdown") for b in blocks(text(cell))]
    folder, *commands = block.splitlines()
    monkeypatch.chdir(tmp_path / shlex.split(folder)[1])
    assert [shlex.split(line)[:2] for line in commands] == [
        ["mlff-curate", word] for word in ("pretrain", "train", "train", "evaluate", "evaluate")
    ]
    for line in commands:
        words = shlex.split(line)[1:]
        for option, value, small in options(words, *sizes):
            assert words[words.index(option) + 1] == str(value)  # the same as in the notebook's code
            words[words.index(option) + 1] = str(small)
        group.main(words, standalone_mode=False)
    assert "forces" in capsys.readouterr().out


def blocks(markdown):
    return re.findall(r"^```bash\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL)


def options(words, sizes, pretraining_steps, steps):
    """Yield options that are in the words, the notebook's value, and a small one."""
    for name, value in sizes.items():
        if f"--{name}" in words:
            yield f"--{name}", value, SMALL["SIZES"][name]
    if "--steps" in words:
        yield "--steps", pretraining_steps, SMALL["PRETRAINING_STEPS"]
    if "--epochs" in words:
        yield "--epochs", steps * 5 // 10, 1  # ten frames, five per step
