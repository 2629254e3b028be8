"""Each rule that the code can tell of is in the table of rules and on docs/checks.md, and the other way round."""

import ast
import re

import pytest

from mlff_curate.checks.finding import SEVERITIES
from mlff_curate.checks.rules import REMARKS, RULES, require_rules
from mlff_curate.errors import UsageError

ROW = re.compile(r"^\| `([a-z-]+)` \| ([^|]*) \|", re.MULTILINE)
WORDS = "file|frame|label|cell|pbc|volume|atoms|contact|duplicate|energy|force|stress|isolated"
RULE = re.compile(rf"(?:{WORDS})(?:-[a-z]+)+")


def strings(path):
    """The string constants of a module, its docstrings left out."""
    tree = ast.parse(path.read_text())
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and isinstance(node.body[0], ast.Expr)
    }
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {node.value for node in constants if id(node) not in documents}


def modules(root):
    """The code that makes findings."""
    return [path for path in (root / "mlff_curate" / "checks").glob("*.py") if path.name != "rules.py"]


def told(root):
    """What looks like a rule there."""
    return {text for path in modules(root) for text in strings(path) if RULE.fullmatch(text)}


def composed(root):
    """Patterns of the rules that are put together there, such as ``f"{word}-unit"``."""
    for path in modules(root):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[-1], ast.Constant):
                word, end = node.values[:-1], node.values[-1].value
                if len(word) == 1 and re.fullmatch("-[a-z]+", end):
                    yield re.compile(f"[a-z]+{end}")


def remarked(root):
    """The rules of remarks, which are given first."""
    for path in (root / "mlff_curate" / "data").rglob("*.py"):
        calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        first = (node.args[0] for node in calls if getattr(node.func, "id", "") == "Remark" and node.args)
        yield from (node.value for node in first if isinstance(node, ast.Constant))


def test_every_rule_in_the_code_is_in_the_table(root):
    assert told(root) | set(remarked(root)) <= set(RULES)


def test_every_rule_in_the_table_is_in_the_code(root):
    patterns = list(composed(root))
    lost = set(RULES) - set(REMARKS) - told(root)
    assert not [rule for rule in lost if not any(pattern.fullmatch(rule) for pattern in patterns)]


def test_the_page_has_all_rules_with_their_severities(root):
    rows = dict(ROW.findall((root / "docs" / "checks.md").read_text()))
    assert rows.keys() == RULES.keys()
    for name, words in rows.items():
        assert {word for word in SEVERITIES if word in words} in (set(RULES[name].severities), set()), name
        assert set(words.split()) & {*SEVERITIES, "as"}, name


def test_severities_stand_from_the_gravest_on():
    for rule in RULES.values():
        assert list(rule.severities) == [severity for severity in SEVERITIES if severity in rule.severities]


def test_a_rule_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match=r"--skip: .force-signs. is no rule; available: .*duplicate-exact, "):
        require_rules(["duplicate-exact", "force-signs"], "--skip")
