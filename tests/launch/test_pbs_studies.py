"""Whole studies as jobs of PBS, TORQUE and Moab, on stand-ins that queue and really run them."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from crayai import hpo
from crayai.hpo.engine.clusters import manager_here
from crayai.hpo.engine.provenance import SETTING
from crayai.hpo.errors import LaunchError
from crayai.hpo.store.sqlite import SqliteLog
from crayai.hpo.testing.batch_stand_in import StandIn

PROGRAM = "sh -c 'echo FoM: ${1#*=}' program"
SPACE = [["--lr", 0.1, (1e-4, 1.0)], ["--n", 4, (1, 16)]]


@pytest.fixture(params=["pbs", "torque", "moab"])
def batch(request, tmp_path_factory, monkeypatch):
    """Return a batch system whose commands are on PATH."""
    with StandIn(tmp_path_factory.mktemp("batch"), request.param) as made:
        made.flavour = request.param
        monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
        yield made


def searched(tmp_path, **how):
    """Return the best of a search, and all of its points."""
    evaluator = hpo.Evaluator(PROGRAM, run_path=str(tmp_path), poll_seconds=0.1, **how)
    optimizer = hpo.RandomOptimizer(evaluator, num_iters=10, seed=1)
    optimizer.optimize(hpo.Params(SPACE))
    return optimizer.best_fom, optimizer.best_params


def test_the_same_seed_finds_the_same(batch, tmp_path):
    """A study on PBS or TORQUE is the study on this machine, and its first job tells what there is."""
    here = searched(tmp_path / "here", launcher="local", num_parallel_evals=2)
    there = searched(tmp_path / "there", launcher="wlm", workload_manager=batch.flavour, nodes=4)
    assert here == there
    assert len(batch.jobs) == 10
    with SqliteLog(tmp_path / "there" / "study.db") as log:
        assert "python" in log.settings()[SETTING][0]["seen"]


def test_which_of_those_that_have_the_same_command_is_here(batch, monkeypatch):
    """PBS and TORQUE are told apart by their version; Moab submits by a command of its own."""
    monkeypatch.setenv("PATH", str(batch.bin))
    assert manager_here(None, "nodes=2") == batch.flavour
    assert manager_here(batch.flavour, "nodes=2") == batch.flavour
    with pytest.raises(LaunchError, match="srun not found"):
        manager_here("slurm", "nodes=2")


def test_slurm_goes_first(batch, monkeypatch):
    """Where Slurm's own commands are, those of another batch system's names are taken to be in front of it."""
    (batch.bin / "srun").write_text("#!/bin/sh\n")
    (batch.bin / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(batch.bin))
    assert manager_here(None, "nodes=2") == "slurm"


def test_a_driver_that_is_killed(batch, tmp_path):
    """The next driver goes on with the jobs of the one that was killed, and runs nothing twice."""
    waits = f"echo ran >> {tmp_path}/runs; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo FoM: 1"
    options = f"--launcher {batch.flavour} --nodes 2 --strategy random --num-iters 6 --seed 1 --poll-seconds 0.1"
    words = [sys.executable, "-m", "crayai", "run", "-q", "--dir", str(tmp_path / "study"), *options.split()]
    words += ["--param", "--lr=0.01..1", "--", "sh", "-c", waits]
    driver = subprocess.Popen(words)
    while not (tmp_path / "runs").exists():
        assert driver.poll() is None
    driver.kill()
    driver.wait()
    (tmp_path / "go").touch()
    assert subprocess.run(words, timeout=60, check=False).returncode == 0
    assert (tmp_path / "runs").read_text() == 6 * "ran\n"


def checks_of(batch, directory, *words):
    """Return what the doctor says of each check."""
    options = f"--launcher {batch.flavour} --nodes 2 --strategy random --num-iters 4 --poll-seconds 0.1".split()
    line = [sys.executable, "-m", "crayai", "doctor", "--json", *options, "--param", "--lr=0.01..1", *words]
    done = subprocess.run(
        [*line, "--", *shlex.split(PROGRAM)], capture_output=True, text=True, check=False, cwd=directory
    )
    return {check["name"]: (check["verdict"], check["seen"]) for check in json.loads(done.stdout)["checks"]}


def test_the_doctor(batch, tmp_path):
    """The doctor runs its points as jobs, and says what there is; what cannot be is found before that."""
    there = {
        "pbs": "workq: 2 nodes, 2 of them idle (2 of 8 CPUs, 16384 MB, 2 GPUs)",
        "torque": "workq: 2 nodes, 2 of them idle (2 of 8 CPUs, 16384 MB)",
        "moab": "all queues: 2 nodes, 2 of them idle (2 of 8 CPUs)",
    }
    assert checks_of(batch, tmp_path, "--nodes-per-eval", "3", "--nodes", "3")["queue"][0] == "problem"
    if batch.flavour != "moab":
        assert checks_of(batch, tmp_path, "--alloc-args", "-q nosuch")["queue"][0] == "problem"
        assert checks_of(batch, tmp_path, "--alloc-args", "-l walltime=30:00:00")["limit of time"][0] == "problem"
    assert not batch.jobs
    checks = checks_of(batch, tmp_path)
    assert checks["queue"] == ("ok", there[batch.flavour])
    assert checks["program"][0] == "ok"
    assert ("GPUs" in checks) == (batch.flavour == "pbs")
    batch.refuse(connections=True)
    assert checks_of(batch, tmp_path)["cluster"][0] == "problem"
