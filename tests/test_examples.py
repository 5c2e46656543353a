"""The examples are run as their readers run them, in a copy; studies that take long with a smaller budget."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def copy(tmp_path):
    """Return a directory that holds a copy of the examples, as the root of the repository does."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("run", "run.*", "*.log"))
    return tmp_path


def run(copy: Path, *words: str) -> str:
    """Run Python with `words` in the copy; return what it prints on standard output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, *words],
        cwd=copy,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_digits_as_a_study_file(copy):
    """The network on digits learns under `crayai run`, with a network that is better than guessing."""
    budget = ["--generations", "2", "--pop-size", "2"]
    printed = run(copy, "-m", "crayai", "run", "examples/digits/digits.toml", *budget, "--quiet")
    best = float(printed.partition("Best: ")[2].split()[0])
    assert 0 <= best < 0.5
    assert "--lr=" in printed


def test_digits_as_a_script(copy):
    """The script of twelve lines searches and prints the best."""
    script = copy / "examples" / "digits" / "search.py"
    script.write_text(script.read_text().replace("generations=4, pop_size=6", "generations=1, pop_size=2"))
    fom, params = run(copy, "examples/digits/search.py").splitlines()
    assert 0 <= float(fom) < 0.95
    assert "'--solver'" in params


def test_a_program_that_is_not_python(copy):
    """The awk program is searched to a better loss than its default."""
    printed = run(copy, "-m", "crayai", "run", "examples/not_python/study.toml", "--quiet")
    assert "better than the default point" in printed


@pytest.mark.parametrize("strategy", ["genetic", "random", "grid"])
def test_the_polynomial(copy, strategy):
    """Each driver of the polynomial evaluates some 130 points and prints the best."""
    fom, params = run(copy, f"examples/polynomial/{strategy}_example.py").splitlines()
    assert float(fom) < 7e6
    assert "'-g'" in params
    studies = list(copy.glob("examples/polynomial/run/*/study.db"))
    assert len(studies) == 1
    assert (copy / "genetic.log").exists() == (strategy == "genetic")
