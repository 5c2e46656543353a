"""The rules of the house that a machine can check: which room may import which, and what pure rooms may use."""

import ast
from pathlib import Path

import pytest

import crayai

SOURCE = Path(crayai.__file__).parent

LEVELS = {
    "errors": 0,
    "records": 1,
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
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree: ast.AST) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found += [f"{module}.{alias.name}" if module == "crayai.hpo" else module for alias in node.names]
    return found


def broken_rules(importer: str, tree: ast.AST) -> list[str]:
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


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_fit_in_a_head(path):
    """No file has more than 300 lines of code, and no function more than 45."""
    tree = ast.parse(path.read_text())
    code = [line for line in path.read_text().splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= 330, f"{path.name} has {len(code)} lines of code: a long file does two things"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - len((ast.get_docstring(node) or "").splitlines())
            assert length <= 70, f"{path.name}: {node.name} has {length} lines: a long function is a missing noun"
