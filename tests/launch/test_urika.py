"""Studies whose evaluations run through `run_training`, for which a program of the shell stands in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crayai import hpo
from crayai.hpo.errors import LaunchError, SettingsError
from crayai.hpo.launch.urika import Urika

STAND_IN = """\
#!/bin/sh
# A stand-in for Cray Urika's run_training, after its documentation: it runs the command on this machine.
printf '%s|' "$@" >>"$HOME/calls"
echo >>"$HOME/calls"
while [ $# -gt 1 ]; do
  case $1 in
    -N | --ppn | -e) shift 2 ;;
    --no-node-list) shift ;;
    *) echo "run_training: unknown option $1" >&2; exit 2 ;;
  esac
done
exec env -i PATH="$PATH" /bin/sh -c "$1"
"""
SPACE = [["--lr", 0.1, (1e-4, 1.0)], ["--name", "a b", ["a b", "it's", "$HOME"]]]
PROGRAM = "sh -c 'echo \"$2\"; echo seed $CRAYAI_SEED; echo FoM: ${1#*=}' program"


@pytest.fixture(autouse=True)
def calls(tmp_path, monkeypatch):
    """Return the file in which the stand-in, which is on PATH, notes its arguments."""
    program = tmp_path / "bin" / "run_training"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "calls"


def searched(**how):
    """Return the best of a search."""
    evaluator = hpo.Evaluator(PROGRAM, run_path="study", keep_output=True, **how)
    optimizer = hpo.RandomOptimizer(evaluator, num_iters=6, seed=1)
    optimizer.optimize(hpo.Params(SPACE))
    return optimizer.best_fom, optimizer.best_params


def test_the_same_seed_finds_the_same(calls):
    """Every evaluation is a call with its nodes; values and variables arrive whole."""
    there = searched(launcher="urika", nodes=4, nodes_per_eval=2, urika_args="--no-node-list --ppn 3")
    said = Path("study/output/1.1.out").read_text()
    assert said.splitlines()[1].removeprefix("seed ").isdigit()
    Path("study").rename("before")
    assert searched(launcher="local") == there
    assert Path("study/output/1.1.out").read_text() == said
    lines = [line for line in calls.read_text().splitlines() if line.startswith("-N|2|--no-node-list|--ppn|3|env ")]
    assert len(lines) == 7, "one looks around, and six evaluate"


def test_a_conda_environment_is_its_own(calls, tmp_path):
    """It is handed over by its path."""
    (tmp_path / "env" / "conda-meta").mkdir(parents=True)
    (tmp_path / "env" / "bin").mkdir()
    searched(launcher="urika", conda_env="./env")
    assert calls.read_text().startswith(f"-N|1|-e|{tmp_path}/env|env ")


def test_the_command_line(calls):
    """It has the same launcher."""
    words = [
        "--launcher",
        "urika",
        "--nodes",
        "4",
        "--urika-args",
        "--ppn 2",
        "--strategy",
        "random",
        "--num-iters",
        "2",
    ]
    program = ["--param", "--lr=0.01..1", "--", "sh", "-c", "echo FoM: ${1#*=}", "x"]
    subprocess.run([sys.executable, "-m", "crayai", "run", "-q", *words, *program], check=True, capture_output=True)
    assert calls.read_text().startswith("-N|1|--ppn|2|env ")


def test_what_is_refused(monkeypatch, tmp_path):
    """A clear error before anything runs, which names what replaces it."""
    assert Urika(nodes=5, nodes_per_eval=2).slots == 2
    with pytest.raises(SettingsError, match="between 1 and nodes"):
        Urika(nodes=1, nodes_per_eval=2)
    with pytest.raises(SettingsError, match="urika_args"):
        Urika(arguments="'")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError, match=r"run_training, which is not on PATH.*container="):
        searched(launcher="urika")
