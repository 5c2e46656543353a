"""The table of faults in docs/faults.md, from the tests that inject them: ``python tests/faults.py`` writes it.

A test that injects a fault says so:

    @pytest.mark.fault("kill -9 of the driver between two commits", "the next driver goes on; nothing runs twice")
"""

import ast
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "faults.md"

_HEAD = """# Faults, and what becomes of a study

Every row is injected by a test, for real where that can be done on one machine, and the test fails if the outcome is
another. This page is made from the tests (`python tests/faults.py`), and a test compares the two.

| fault | outcome | test |
|---|---|---|
"""


class Fault(NamedTuple):
    """What a test injects, what becomes of it, and which test it is."""

    fault: str
    outcome: str
    test: str


def faults() -> list[Fault]:
    """Return the faults that the tests inject, by file and line."""
    return [fault for path in sorted(TESTS.rglob("test_*.py")) for fault in _faults_of(path)]


def page() -> str:
    """Return the text of the page."""
    rows = [f"| {fault} | {outcome} | `{test}` |\n" for fault, outcome, test in faults()]
    return _HEAD + "".join(rows)


def _faults_of(path: Path) -> list[Fault]:
    found = []
    for function in ast.walk(ast.parse(path.read_text())):
        for decorator in function.decorator_list if isinstance(function, ast.FunctionDef) else []:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
                fault, outcome = map(ast.literal_eval, decorator.args)
                found.append(Fault(fault, outcome, f"{path.relative_to(TESTS)}: {function.name}"))
    return found


if __name__ == "__main__":
    PAGE.write_text(page())
