"""What importing costs, and what it gives."""

import json
import subprocess
import sys

import crayai
from crayai import hpo

HEAVY = ["numpy", "rich", "click", "pandas", "networkx", "scipy", "optuna", "multiprocessing", "asyncio", "crayai.cli"]


def test_import_is_light() -> None:
    """Importing the names for scripts imports no NumPy, no command line and nothing that only some studies need."""
    text = f"import json, sys; from crayai import hpo; print(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_import_does_nothing(tmp_path) -> None:
    """Importing prints nothing, writes nothing, and leaves signals as they are."""
    text = (
        "import signal; before = [signal.getsignal(n) for n in (2, 15, 17)]\n"
        "from crayai import hpo\n"
        "assert before == [signal.getsignal(n) for n in (2, 15, 17)]\n"
    )
    done = subprocess.run([sys.executable, "-B", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_all_is_what_is_documented() -> None:
    """`__all__` holds the historic names, the new ones and the errors, sorted, each there and none twice."""
    assert set(hpo.__all__) == {
        *("Params", "Evaluator", "GeneticOptimizer", "RandomOptimizer", "GridOptimizer", "PBTOptimizer"),
        *("params", "evaluator", "genetic", "random", "grid", "pbt", "errors"),
        *("Search", "Evaluation", "Float", "Int", "Choice", "Constant", "Container"),
        *("CrayaiError", "LaunchError", "SettingsError", "SpaceError", "StoreError", "StoreFull"),
        *("StudyChanged", "StudyFailed", "StudyLocked"),
    }
    assert hpo.__all__ == sorted(set(hpo.__all__))
    assert all(hasattr(hpo, name) for name in hpo.__all__)


def test_nothing_else_is_public() -> None:
    """Besides `__all__` the module holds private names and the rooms of the package alone."""
    others = {name for name in vars(hpo) if not name.startswith("_")} - set(hpo.__all__)
    rooms = {name.removeprefix("crayai.hpo.") for name in sys.modules if name.startswith("crayai.hpo.")}
    assert others <= rooms


def test_every_error_is_a_crayai_error() -> None:
    """One `except hpo.CrayaiError` catches every error of the package."""
    errors = [value for name in hpo.__all__ if isinstance(value := getattr(hpo, name), type)]
    errors = [error for error in errors if issubclass(error, Exception)]
    assert len(errors) == 9
    assert all(issubclass(error, hpo.CrayaiError) for error in errors)


def test_version_is_the_distributions() -> None:
    """`crayai.__version__` is three numbers, and the one that the command line prints."""
    assert all(part.isdigit() for part in crayai.__version__.split("."))
    assert crayai.__version__.count(".") == 2
    done = subprocess.run([sys.executable, "-m", "crayai", "--version"], capture_output=True, text=True, check=True)
    assert crayai.__version__ in done.stdout
