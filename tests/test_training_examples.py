"""The examples of population based training: windows by hand, and whole studies with a smaller budget."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from crayai.hpo.store.query import Reader

EXAMPLES = Path(__file__).parents[1] / "examples"


class Example(NamedTuple):
    """A program, the flags of its two paths, its step size, and what it needs."""

    name: str
    program: tuple[str, ...]
    load: str
    save: str
    rate: str
    needs: str = ""


def python(name):
    """Return how a Python program is started."""
    return (sys.executable, f"examples/{name}")


SHELL = Example("pbt_shell", ("sh", "examples/pbt_shell/descend.sh"), "--load={}", "--save={}", "--lr={}")
SKLEARN = Example(
    "pbt_sklearn", python("pbt_sklearn/train_sklearn.py"), "--load={}", "--save={}", "--eta0={}", "sklearn"
)
PYTORCH = Example("pbt_pytorch", python("pbt_pytorch/train_pytorch.py"), "--load={}", "--save={}", "--lr={}", "torch")
KERAS = Example(
    "pbt_keras", python("pbt_keras/train_keras.py"), "--output-dir={}", "--output-dir={}", "--lr={}", "tensorflow"
)
INSTALL = {"torch": "make torch", "tensorflow": "make test-tensorflow", "sklearn": "pip install 'crayai[examples]'"}


@pytest.fixture(params=[SHELL, SKLEARN, PYTORCH, KERAS], ids=lambda example: example.name)
def example(request):
    """Return an example of which all that it needs is installed."""
    needs = request.param.needs
    if needs and importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed: {INSTALL[needs]}")
    return request.param


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Go to a directory that holds a copy of the examples, as the root of the repository does."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("run", "run.*", "*.log"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRAYAI_SEED", "1")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def printed(*words):
    """Return what a command prints on standard output."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def window(example, load, save, rate):
    """Train for one window; return the last line, which holds the figure of merit."""
    paths = dict.fromkeys([example.load.format(load), example.save.format(save)])  # one of them if they are the same
    return printed(*example.program, *paths, example.rate.format(rate)).splitlines()[-1]


def test_windows_by_hand(example):
    """A window trains on from the one before, with its own step size; without one it starts anew."""
    first = window(example, "none", "first", 0.01)
    assert window(example, "none", "anew", 0.01) == first, "the same window, and the same seed"
    if example.load == example.save:
        for copy in ("second", "other"):
            shutil.copytree("first", copy)
        second, other = (window(example, name, name, rate) for name, rate in (("second", 0.01), ("other", 0.3)))
    else:
        second, other = (window(example, "first", name, rate) for name, rate in (("second", 0.01), ("other", 0.3)))
    assert second != first, "what was loaded makes a difference"
    assert other != second, "so does the step size, after loading"


def test_the_study(example):
    """The study finds a model that has trained for more than one window, and keeps it."""
    budget = ["--pop-size", "4", "--windows", "3", "--quiet", "--dir", "found"]
    crayai = [sys.executable, "-m", "crayai"]
    printed(*crayai, "run", f"examples/{example.name}/study.toml", *budget)
    with Reader(Path("found", "study.db")) as reader:
        losses = [(one.outcome.loss, one.generation) for one in reader.evaluations()]
    assert min(losses)[1] > 0, "the best has trained for more than one window"
    path = Path(printed(*crayai, "best", "found", "--checkpoint").strip())
    assert list(path.parent.glob(f"{path.name}*")), f"the best model is at {path}"
