"""Whole studies as jobs of a real Grid Engine."""

import json
import subprocess
import sys

from crayai import hpo
from crayai.hpo.engine.clusters import manager_here
from crayai.hpo.store.query import Reader

PROGRAM = "sh -c 'echo FoM: ${1#*=}' program"
SPACE = [["--lr", 0.1, (1e-4, 1.0)], ["--n", 4, (1, 16)]]


def searched(directory, **how):
    """Return the best of a search, and all of its points."""
    evaluator = hpo.Evaluator(PROGRAM, run_path=str(directory), poll_seconds=0.3, **how)
    optimizer = hpo.RandomOptimizer(evaluator, num_iters=10, seed=1)
    optimizer.optimize(hpo.Params(SPACE))
    with Reader(next(directory.rglob("study.db"))) as reader:
        points = [(one.values, one.outcome.loss) for one in reader.evaluations()]
    assert len(points) == 10
    return optimizer.best_fom, optimizer.best_params, points


def test_the_same_seed_finds_the_same(cell, tmp_path):
    """A study on Grid Engine is the study on this machine."""
    here = searched(tmp_path / "here", launcher="local", num_parallel_evals=2)
    there = searched(tmp_path / "there", launcher="wlm", workload_manager="sge", nodes=4)
    assert here == there
    assert cell


def test_which_of_those_that_have_the_same_command_is_here(cell, monkeypatch):
    """Grid Engine is told apart from PBS and TORQUE, though Slurm goes first where it is, too."""
    monkeypatch.setattr("shutil.which", lambda name: str(cell.bin / name) if (cell.bin / name).exists() else None)
    assert manager_here(None, "nodes=2") == "sge"


def test_a_driver_that_is_killed(cell, tmp_path):
    """The next driver goes on with the jobs of the one that was killed, and runs nothing twice."""
    waits = f"echo ran >> {tmp_path}/runs; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo FoM: 1"
    options = "--launcher sge --nodes 2 --strategy random --num-iters 6 --seed 1 --poll-seconds 0.3"
    words = [sys.executable, "-m", "crayai", "run", "-q", "--dir", str(tmp_path / "study"), *options.split()]
    words += ["--param", "--lr=0.01..1", "--", "sh", "-c", waits]
    driver = subprocess.Popen(words)
    cell.wait(lambda: (tmp_path / "runs").exists() or driver.poll() is not None, "something runs")
    assert driver.poll() is None
    driver.kill()
    driver.wait()
    (tmp_path / "go").touch()
    assert subprocess.run(words, timeout=120, check=False).returncode == 0
    assert (tmp_path / "runs").read_text() == 6 * "ran\n"


def test_a_driver_that_is_a_job(cell, tmp_path):
    """A driver that runs as a job submits the jobs of its study from there."""
    words = [sys.executable, "-m", "crayai", "run", "--as-job", "--dir", str(tmp_path / "study"), "--launcher", "sge"]
    words += ["--strategy", "random", "--num-iters", "3", "--poll-seconds", "0.3", "--param", "--lr=0.01..1"]
    done = subprocess.run([*words, "--", "sh", "-c", "echo FoM: $JOB_ID"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    log = tmp_path / "study" / "driver" / "log"
    cell.wait(lambda: not cell.run("qstat"), "all is over")
    with Reader(tmp_path / "study" / "study.db") as reader:
        losses = [one.outcome.loss for one in reader.evaluations()]
    assert len(losses) == 3, log.read_text()
    assert min(map(abs, losses)) > 1, "the number of the driver is not that of its jobs"


def test_the_doctor(cell, tmp_path):
    """The doctor runs its points as jobs, and says what there is; what cannot be is found before that."""
    words = [sys.executable, "-m", "crayai", "doctor", "--json", "--launcher", "sge", "--nodes", "2", "--strategy"]
    words += ["random", "--num-iters", "3", "--poll-seconds", "0.3", "--param", "--lr=0.01..1"]

    def checks_of(*more):
        line = [*words, *more, "--", "sh", "-c", "echo FoM: 1"]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
        return {check["name"]: (check["verdict"], check["seen"]) for check in json.loads(done.stdout)["checks"]}

    assert checks_of("--alloc-args", "-q nosuch.q")["queue"][0] == "problem"
    assert not cell.run("qstat")
    checks = checks_of()
    assert checks["queue"][0] == "ok"
    assert checks["queue"][1].startswith("main.q: 8 slots, ")
    assert checks["program"][0] == "ok"
