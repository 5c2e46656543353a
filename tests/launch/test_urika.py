"""Studies whose evaluations run through `run_training`, for which a program of the shell stands in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crayai import hpo
from crayai.hpo.engine.doctor.estimate import Estimate, Rounds, nodes_of
from crayai.hpo.engine.evaluation_settings import EvaluationSettings
from crayai.hpo.errors import LaunchError, SettingsError
from crayai.hpo.launch.urika import Urika

STAND_IN = """\
#!/bin/sh
# A stand-in for Cray Urika's run_training, after its documentation: it runs the command on this machine.
printf '%s|' "$@" >>"$HOME/calls"
echo "job $SLURM_JOB_ID$PBS_JOBID$MOAB_JOBID" >>"$HOME/calls"
while [ $# -gt 1 ]; do
  case $1 in
    -N | --ppn | -e) shift 2 ;;
    --no-node-list) shift ;;
    *) echo "run_training: unknown option $1" >&2; exit 2 ;;
  esac
done
cd / && exec env -i PATH="$PATH" /bin/sh -c "$1"
"""
SPACE = [["--lr", 0.1, (1e-4, 1.0)], ["--name", "a b", ["a b", "it's", "$HOME"]]]
PROGRAM = "sh -c 'echo \"$2\"; echo seed $CRAYAI_SEED; echo at $PWD; echo FoM: ${1#*=}' program"
JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "MOAB_JOBID")


@pytest.fixture(autouse=True)
def calls(tmp_path, monkeypatch):
    """Return the file in which the stand-in, which is on PATH, notes its arguments."""
    program = tmp_path / "bin" / "run_training"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in JOBS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
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
    assert said.splitlines()[2] == f"at {Path.cwd()}"
    Path("study").rename("before")
    assert searched(launcher="local") == there
    assert Path("study/output/1.1.out").read_text() == said
    lines = [line for line in calls.read_text().splitlines() if line.startswith("-N|2|--no-node-list|--ppn|3|cd ")]
    assert len(lines) == 7, "one looks around, and six evaluate"


def test_a_conda_environment_is_its_own(calls, tmp_path):
    """It is handed over by its path."""
    (tmp_path / "env" / "conda-meta").mkdir(parents=True)
    (tmp_path / "env" / "bin").mkdir()
    searched(launcher="urika", conda_env="./env")
    assert calls.read_text().startswith(f"-N|1|-e|{tmp_path}/env|cd ")


def test_the_command_line(calls):
    """It has the same launcher."""
    words = [
        "--launcher",
        "urika",
        "--nodes",
        "4",
        "--alloc-jobid",
        "4711",
        "--urika-args",
        "--ppn 2",
        "--strategy",
        "random",
        "--num-iters",
        "2",
    ]
    program = ["--param", "--lr=0.01..1", "--", "sh", "-c", "echo FoM: ${1#*=}", "x"]
    subprocess.run([sys.executable, "-m", "crayai", "run", "-q", *words, *program], check=True, capture_output=True)
    said = calls.read_text()
    assert said.startswith("-N|1|--ppn|2|cd ")
    assert said.endswith("|job 4711\n")


@pytest.mark.parametrize("name", JOBS)
def test_the_job_that_we_are_in(calls, monkeypatch, name):
    """It is found under Slurm, PBS and Moab."""
    monkeypatch.delenv("SLURM_JOB_ID")
    monkeypatch.setenv(name, "12.server")
    searched(launcher="urika")
    assert calls.read_text().splitlines()[-1].endswith("|job 12.server")


def test_the_job_that_is_named(calls, monkeypatch):
    """Every call is told, and nobody else."""
    monkeypatch.delenv("SLURM_JOB_ID")
    searched(launcher="urika", alloc_jobid=4711)
    assert calls.read_text().splitlines()[-1].endswith("|job 4711")
    assert "SLURM_JOB_ID" not in os.environ


def test_node_hours():
    """They are those of the allocation: eight hours, one after another on two nodes, are sixteen."""
    settings = EvaluationSettings(urika=Urika(nodes=2, nodes_per_eval=2))
    assert settings.nodes_per_evaluation == 2
    held, each = nodes_of(settings)
    costs = Estimate(
        rounds=Rounds(8, 1), slots=settings.capacity, seconds=[3600], log_bytes=0, nodes_held=held, nodes_each=each
    )
    assert costs.node_hours == 16


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
