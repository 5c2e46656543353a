"""The rules of the house that a machine can check: which room may import which, and what pure rooms may use."""

import ast
from pathlib import Path

import pytest

import crayai

SOURCE = Path(crayai.__file__).parent

LEVELS = {
    "errors": 0,
    "records": 1,
    "processes": 1,
    "space": 2,
    "strategy": 3,
    "launch": 3,
    "store": 3,
    "engine": 4,
    "report": 4,
    "face": 5,
    "testing": 5,
    "cli": 5,
}
IMPURE = {
    "os", "io", "pathlib", "sqlite3", "subprocess", "time", "datetime", "random", "threading", "asyncio", "logging",
}  # fmt: skip
MODULES = sorted(SOURCE.rglob("*.py"))


def room_of(module: str) -> str | None:
    """Return the room of a dotted module of the package; None: the bare package, which holds the version."""
    parts = module.split(".")
    if parts[:2] == ["crayai", "hpo"]:
        return parts[2] if len(parts) > 2 and parts[2] in LEVELS else "face"
    return "cli" if len(parts) > 1 else None


def name_of(path: Path) -> str:
    """Return the dotted name of a module."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree: ast.AST) -> list[str]:
    """Return the dotted names that a module imports, inside functions too."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found += [f"{module}.{alias.name}" if module == "crayai.hpo" else module for alias in node.names]
    return found


def broken_rules(importer: str, tree: ast.AST) -> list[str]:
    """Return every import that breaks a rule, in words."""
    room = room_of(importer)
    broken = []
    for imported in imports_of(tree):
        other = room_of(imported) if imported.split(".")[0] == "crayai" else None
        if room and other and other != room and LEVELS[other] >= LEVELS[room]:
            broken.append(f"{importer} ({room}) imports {imported} ({other})")
        if room in {"space", "strategy"} and imported.split(".")[0] in IMPURE:
            broken.append(f"{importer} ({room}) is pure and imports {imported}")
    return broken


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_downwards_only(path):
    """A room imports only rooms below it, and the pure rooms nothing of the world."""
    assert broken_rules(name_of(path), ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    ("importer", "text"),
    [
        ("crayai.hpo.space.space", "from crayai.hpo.strategy.base import History"),
        ("crayai.hpo.store.sqlite", "import crayai.hpo.launch.base"),
        ("crayai.hpo.engine.loop", "from crayai.hpo import Evaluator"),
        ("crayai.hpo.errors", "from crayai.hpo.records import Asked"),
        ("crayai.hpo.strategy.genetic", "def ask():\n    import os.path"),
        ("crayai.cli.run", "from crayai.hpo.evaluator import Evaluator"),
    ],
)
def test_the_rule_bites(importer, text):
    """Each kind of forbidden import is found, inside functions too."""
    assert len(broken_rules(importer, ast.parse(text))) == 1


def code_lines(node: ast.AST) -> int:
    """Return how many lines hold code: blank lines, comments and docstrings do not count."""
    statements = {n.lineno for n in ast.walk(node) if isinstance(n, ast.expr | ast.stmt)}
    docstrings = {
        line
        for n in ast.walk(node)
        if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) and isinstance(n.value.value, str)
        for line in range(n.lineno, (n.end_lineno or n.lineno) + 1)
    }
    return len(statements - docstrings)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_fit_in_a_head(path):
    """No file has more than 300 lines of code, and no function more than 45; the keeper cannot import a second file."""
    tree = ast.parse(path.read_text())
    assert code_lines(tree) <= (350 if path.name == "keeper.py" else 300), f"{path.name}: a long file does two things"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert code_lines(node) <= 45, f"{path.name}, {node.name}: a long function is a missing noun"
