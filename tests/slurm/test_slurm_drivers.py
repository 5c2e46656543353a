"""Drivers that need not stay: jobs that submit themselves again, single turns, and none at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import processes, wait_until

from crayai.hpo.errors import StoreError
from crayai.hpo.store.query import Reader

EVALUATIONS = 12
CRAYAI = [sys.executable, "-m", "crayai"]
STUDY = """
[study]
command = "sh program.sh"
seed = 1
[strategy]
name = "random"
num_iters = 12
[params]
"-x" = {low = 0.0, high = 1.0}
[launcher]
name = "slurm"
nodes = 4
poll_seconds = 0.5
job_minutes = 1
"""


@pytest.fixture
def place(slurm, tmp_path, monkeypatch):
    """Return a directory with a program and a study, to which we go."""
    monkeypatch.chdir(tmp_path)
    Path("program.sh").write_text("while [ -e hold ]; do sleep 0.05; done\necho FoM: ${1#*=}\n")
    Path("study.toml").write_text(STUDY)
    assert slurm
    return tmp_path


def crayai(*words):
    """Return what a command prints, which must end well."""
    done = subprocess.run([*CRAYAI, *words], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def outcomes():
    """Return how many evaluations are over, and how many attempts there were."""
    if not Path("run", "study.db").exists():
        return 0, 0
    try:
        with Reader(Path("run", "study.db")) as reader:
            evaluations = list(reader.evaluations())
    except StoreError:
        return 0, 0  # it has just begun
    return sum(one.outcome is not None for one in evaluations), sum(one.attempt or 0 for one in evaluations)


def driver_pids(place):
    """Return the processes that are drivers of the study."""
    return [
        pid for pid in processes()
        if b"crayai\0run\0" in _words(pid) and not _words(pid).startswith(b"timeout") and _cwd(pid) == str(place)
    ]  # fmt: skip


def _words(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _cwd(pid):
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def test_single_turns(place, slurm):
    """Each turn takes in what has ended and submits what is next, and leaves; the last one says the best."""
    (place / "hold").touch()
    for _ in range(2):
        assert "go on without a driver" in crayai("tick", "study.toml", "--mode", "jobs")
    assert len(slurm.run("squeue", "-h", "-r", "-t", "running,pending").splitlines()) == 4
    (place / "hold").unlink()
    turns = 0
    while "Best: " not in crayai("tick", "-q", "study.toml", "--mode", "jobs"):
        turns += 1
        slurm.wait(lambda: slurm.run("squeue", "-h") == "", "the jobs are over")
    assert turns <= 3
    assert outcomes() == (EVALUATIONS, EVALUATIONS)


def test_a_turn_while_nobody_answers(place, own_slurm):
    """A turn does not wait for a controller that does not answer, and nothing is lost."""
    cluster = own_slurm(nodes=1)
    (place / "hold").touch()
    crayai("tick", "study.toml", "--mode", "jobs", "--nodes", "2")
    cluster.signal_controller(signal.SIGKILL)
    text = crayai("tick", "study.toml", "--mode", "jobs", "--nodes", "2")
    assert "does not answer" in text
    assert "go on without a driver" in text


def test_a_turn_of_steps_is_refused(place):
    """Steps would end with the driver, so a single turn makes no sense."""
    done = subprocess.run([*CRAYAI, "tick", "study.toml"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--mode jobs" in done.stderr
    assert not (place / "run").exists()


@pytest.mark.parametrize("mode", ["jobs", "steps"])
@pytest.mark.fault("a driver that is a job is killed", "it submits itself again, and goes on")
def test_a_driver_that_is_a_job(mode, place, slurm):
    """A driver that is a job goes on in another one when it is killed, and ends with the study."""
    (place / "hold").touch()
    said = crayai("run", "study.toml", "--mode", mode, "--as-job")
    assert "submitted the driver as job" in said
    again = subprocess.run(
        [*CRAYAI, "run", "study.toml", "--mode", mode, "--as-job"], capture_output=True, text=True, check=False
    )
    assert "has a driver that is a job already" in again.stderr
    log = place / "run" / "driver" / "log"
    wait_until(lambda: outcomes()[1] >= 1, "it has begun")
    name = "--name=" + next(name for name in slurm.run("squeue", "-h", "-o%j").split() if "driver" in name)
    slurm.wait(lambda: slurm.run("squeue", "-h", "-o%M", name) > "0:07", "it has worked for a tenth of its time")
    (pid,) = driver_pids(place)
    os.kill(pid, signal.SIGKILL)
    slurm.wait(lambda: slurm.run("squeue", "-h"), "something is in the queue")
    (place / "hold").unlink()
    slurm.wait(lambda: "Best: " in log.read_text() or slurm.run("squeue", "-h") == "", "all is over")
    assert "Best: " in log.read_text()
    assert outcomes()[0] == EVALUATIONS
    slurm.wait(lambda: slurm.run("squeue", "-h") == "", "nothing is left in the queue")


def test_a_driver_that_fails_as_a_job(place, slurm):
    """A driver that ends with an error is not submitted again."""
    Path("program.sh").write_text("exit 5\n")
    crayai("run", "study.toml", "--as-job")
    slurm.wait(lambda: slurm.run("squeue", "-h") == "", "the job is over")
    text = (place / "run" / "driver" / "log").read_text()
    assert "all of the first 5 evaluations failed" in text
    assert "submitted again" not in text


@pytest.mark.parametrize("mode", ["jobs", "steps"])
def test_what_would_be_submitted(mode, place, slurm):
    """A dry run prints commands and scripts which do what they say, and leaves nothing."""
    text = crayai("run", "study.toml", "--mode", mode, "--dry-run", "--alloc-args", "-p main")
    assert "-p main" in text
    assert ("sbatch" if mode == "jobs" else "srun --jobid=JOB") in text
    assert "export CRAYAI_EVALUATION=0" in text
    assert not (place / "run").exists()
    text = crayai("run", "study.toml", "--mode", mode, "--dry-run", "--as-job")
    assert "run study.toml --mode" in text
    assert "--dry-run" not in text
    assert not (place / "run").exists()
    assert slurm.run("squeue", "-h") == ""
