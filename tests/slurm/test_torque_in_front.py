"""Jobs by TORQUE's commands in front of a real Slurm, as Debian's slurm-wlm-torque has them."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import debian
import pytest

from crayai import hpo
from crayai.hpo.engine.clusters import manager_here
from crayai.hpo.launch.base import Exited, Gone, Withdrawn
from crayai.hpo.launch.batch.dialect import Answer, Standing
from crayai.hpo.launch.batch.launcher import BatchLauncher
from crayai.hpo.launch.batch.torque_on_slurm import TorqueOnSlurm, is_here
from crayai.hpo.testing.launchers import LauncherConformance, ends_of, make_task, wait_until

LIBRARIES = ["libslurm-perl", "libslurmdb-perl", "libswitch-perl"]
ROW = "41                   root     main     c1234abcd.17         {0}        1     1     --  30:00 {1} 00:00\n"
"""A line of ``qstat -u root``, as recorded."""


@pytest.fixture(scope="session")
def commands(tmp_path_factory):
    """Return a directory for PATH with TORQUE's commands, which look for Slurm's beside themselves."""
    directory = tmp_path_factory.mktemp("torque")
    if why := debian.refusal(LIBRARIES):
        pytest.skip(f"TORQUE's commands for Slurm are not here: {why}")
    if not debian.install(LIBRARIES) or not debian.unpack(["slurm-wlm-torque"], directory):
        pytest.skip("TORQUE's commands for Slurm cannot be had here")
    there = directory / "usr/bin"
    for name in ("sbatch", "srun", "salloc", "scontrol", "squeue", "scancel"):
        (there / name).symlink_to(shutil.which(name))
    return there


@pytest.fixture(autouse=True)
def _in_front(commands, slurm, monkeypatch):
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    assert slurm


def jobs(directory, slots=4):
    """Return a launcher of jobs."""
    return BatchLauncher(directory, "crayai-test", TorqueOnSlurm(), jobs=slots, poll_seconds=0.5)


class TestJobs(LauncherConformance):
    """Each task a job."""

    def launcher(self, directory, slots):
        """Return the one under test, which takes one more than there are slots."""
        return jobs(directory, slots + 1)

    def kill_driver(self, launcher):
        """Hear what it has asked and will not hear."""
        launcher._scheduler.close()


@pytest.fixture
def launcher(tmp_path):
    """Return a launcher that is closed at the end."""
    made = jobs(tmp_path)
    yield made
    made.close()


def test_ends(launcher, tmp_path):
    """Each task's own record says how it ended, for qstat does not."""
    tasks = [make_task(tmp_path, number, ["sh", "-c", f"exit {number}"]) for number in range(3)]
    for task in tasks:
        launcher.submit(task)
    assert ends_of(launcher, tasks) == [Exited(number) for number in range(3)]


def test_a_job_that_somebody_deletes(launcher, tmp_path):
    """A job that qdel has killed is lost, or has ended by the signal; by whom, nobody says."""
    task = make_task(tmp_path, 0, ["sh", "-c", "sleep 1000"])
    launcher.submit(task)
    wait_until(launcher, lambda: launcher._spool.proofs.owner("0.1"), "the task runs")
    subprocess.run(["qdel", launcher._spool.proofs.owner("0.1")], check=True)
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Gone) or end == Exited(128 + signal.SIGTERM), end


def test_a_job_that_we_delete(launcher, tmp_path):
    """What the driver ends has no outcome."""
    task = make_task(tmp_path, 0, ["sh", "-c", "sleep 1000"])
    launcher.submit(task)
    wait_until(launcher, lambda: launcher._spool.proofs.owner("0.1"), "the task runs")
    launcher.cancel([task.tag])
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Withdrawn), end


def test_an_answer_that_was_lost(launcher, tmp_path):
    """A job that was submitted without anybody being told is found by its name."""
    task = make_task(tmp_path, 0, ["sh", "-c", "echo once >> times; while [ ! -e go ]; do sleep 0.05; done"])
    launcher.submit(task)
    launcher.wait(0.0)
    (submission,) = launcher._spool.submissions
    (submission.directory / "id").unlink()
    launcher._scheduler.close()
    second = jobs(tmp_path)
    wait_until(second, lambda: all(one.id for one in second._spool.submissions), "it is found")
    (tmp_path / "go").touch()
    assert ends_of(second, [task]) == [Exited(0)]
    assert (tmp_path / "times").read_text() == "once\n"
    second.close()


def test_a_study(tmp_path):
    """A study is the same as on this machine; which of the two stands behind qsub, is seen."""
    assert is_here()
    assert manager_here("torque", "nodes=2") == "torque"
    found = []
    for where in ({"launcher": "local", "num_parallel_evals": 2}, {"workload_manager": "torque", "nodes": 4}):
        evaluator = hpo.Evaluator(
            "sh -c 'echo FoM: ${1#*=}' program",
            run_path=str(tmp_path / f"run{len(found)}"),
            **({"launcher": "wlm", "poll_seconds": 0.5} | where if "nodes" in where else where),
        )
        optimizer = hpo.RandomOptimizer(evaluator, num_iters=6, seed=1)
        optimizer.optimize(hpo.Params([["--lr", 0.1, (1e-4, 1.0)], ["--n", 4, (1, 16)]]))
        found.append((optimizer.best_fom, optimizer.best_params))
    assert found[0] == found[1]


def test_what_cannot_be_read():
    """Lines that are no jobs are passed over, states that are not known run, and no answer is none."""
    queue = TorqueOnSlurm().queue(Answer(0, "\nhost:\nJob id   Username\n" + ROW.format("  ", "U"), ""))
    assert queue is not None
    assert queue.jobs["41"].standing is Standing.RUNS
    assert queue.submitted == {"c1234abcd.17": "41"}
    assert TorqueOnSlurm().queue(Answer(255, "", "Problem loading jobs.")) is None


def test_the_command_line(tmp_path):
    """The doctor asks it for its queues and nodes, and runs its points as jobs."""
    words = [sys.executable, "-m", "crayai", "doctor", "--launcher", "torque", "--nodes", "2", "--strategy", "random"]
    words += ["--num-iters", "4", "--poll-seconds", "0.5", "--quick", "--param", "--lr=0.01..1", "--"]
    words += ["sh", "-c", "echo FoM: ${1#*=}", "program"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "main: 4 nodes" in done.stdout, done.stdout + done.stderr
    assert not Path(tmp_path, "run").exists()
