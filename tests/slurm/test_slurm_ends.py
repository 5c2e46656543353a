"""Ends that Slurm brings about, on a real one: limits, memory, preemption, drained nodes, full queues, GPUs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import missing

from crayai.hpo.launch.base import Exited, Gone, Limit, Loss, Withdrawn
from crayai.hpo.launch.batch.launcher import BatchLauncher
from crayai.hpo.launch.batch.slurm import Slurm
from crayai.hpo.launch.steps.allocation import Allocation
from crayai.hpo.launch.steps.launcher import StepLauncher
from crayai.hpo.launch.steps.nodes import Shape
from crayai.hpo.testing.launchers import ends_of, make_task, wait_until

FOREVER = ["sh", "-c", "sleep 1000"]
ONCE_FOREVER = ["sh", "-c", 'echo again >> times; [ "$(wc -l < times)" = 2 ] || sleep 1000; exit 3']


def jobs(directory, arguments=(), **options):
    """Return a launcher of jobs."""
    return BatchLauncher(
        directory, "crayai-test", Slurm(), **{"jobs": 4, "poll_seconds": 0.5, **options}, arguments=arguments
    )


def steps(directory, alloc_args="", **shape):
    """Return a launcher of steps."""
    of = Shape(**{"nodes": 1, **shape})
    return StepLauncher(directory, of, lambda: Allocation("crayai-test", of.nodes, alloc_args))


def runs(launcher, task, proofs):
    """Submit a task, and wait until it runs; return the name of its job."""
    launcher.submit(task)
    wait_until(launcher, lambda: proofs.owner("0.1"), "the task runs")
    return proofs.owner("0.1")


@pytest.mark.usefixtures("slurm")
@pytest.mark.fault("a job reaches its limit of time at Slurm", "the evaluation has failed: time limit")
def test_the_limit_of_a_job(tmp_path):
    """A job that Slurm ends at its limit of time has reached it."""
    launcher = jobs(tmp_path, ["--time=1"])
    task = make_task(tmp_path, 0, FOREVER)
    runs(launcher, task, launcher._spool.proofs)
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Exited)
    assert end.limit is Limit.TIME
    launcher.close()


@pytest.mark.fault("another partition takes the nodes of a job", "it is waited for, and its second end counts")
def test_a_job_that_is_preempted_and_requeued(own_slurm, tmp_path):
    """A job whose place is taken by another partition runs again, when there is room."""
    cluster = own_slurm(nodes=1, preempt=True)
    launcher = jobs(tmp_path)
    task = make_task(tmp_path, 0, ONCE_FOREVER)
    runs(launcher, task, launcher._spool.proofs)
    wait_until(launcher, (tmp_path / "times").exists, "the first run")
    cluster.run("sbatch", "-p", "high", "--exclusive", "--output=/dev/null", "--wrap", "true")
    cluster.wait(lambda: "PENDING" in cluster.run("squeue", "-h", "-p", "low", "-o", "%T"), "it is in the queue again")
    cluster.wait(lambda: not cluster.run("squeue", "-h", "-p", "high"), "the other one is over")
    cluster.wait(lambda: "idle" in cluster.run("sinfo", "-h", "-o", "%T"), "its node is free")
    for row in cluster.run("squeue", "-h", "-r", "-o", "%A").split():
        cluster.run("scontrol", "update", f"jobid={row}", "starttime=now", check=False)
    assert ends_of(launcher, [task]) == [Exited(3)]
    launcher.close()


@pytest.mark.fault("another partition takes the nodes of a job for good", "the evaluation runs again")
@pytest.mark.parametrize("kind", ["jobs", "steps"])
def test_a_job_that_is_preempted_for_good(kind, own_slurm, tmp_path):
    """What has no place any more is lost by preemption, or taken back with its allocation."""
    cluster = own_slurm(nodes=1, preempt=True)
    launcher = jobs(tmp_path, ["--no-requeue"]) if kind == "jobs" else steps(tmp_path)
    task = make_task(tmp_path, 0, FOREVER)
    runs(launcher, task, launcher._spool.proofs if kind == "jobs" else launcher._proofs)
    cluster.run("sbatch", "-p", "high", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1000")
    (end,) = ends_of(launcher, [task])
    if kind == "jobs":
        assert isinstance(end, Gone), end
        assert end.loss is Loss.PREEMPTED
    else:
        assert isinstance(end, Withdrawn), end
        assert "the allocation 1 is" in launcher._allocation.reason
    launcher.close()


@pytest.mark.fault("a node is drained while evaluations run", "they end as they do, and none are started there")
def test_a_node_that_is_drained(own_slurm, tmp_path):
    """What runs on a node that is drained goes on; what comes next goes elsewhere."""
    cluster = own_slurm(nodes=2)
    launcher = jobs(tmp_path, ["--exclusive"])
    first = make_task(tmp_path, 0, ["sh", "-c", "while [ ! -e go ]; do sleep 0.1; done"])
    runs(launcher, first, launcher._spool.proofs)
    node = cluster.run("squeue", "-h", "-t", "running", "-o", "%N")
    cluster.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=a test, and why")
    second = make_task(tmp_path, 1, ["true"])
    launcher.submit(second)
    (end,) = ends_of(launcher, [second])
    assert end == Exited(0)
    assert end.location != node
    (tmp_path / "go").touch()
    (end,) = ends_of(launcher, [first])
    assert (end, end.location) == (Exited(0), node)
    launcher.close()


@pytest.mark.fault("the queue takes no more jobs", "fewer are submitted, later; nothing has failed")
def test_a_queue_that_is_full(own_slurm, tmp_path):
    """Where Slurm takes so many jobs only, the others follow; no array is longer than it may be."""
    own_slurm(nodes=1, extra="MaxJobCount=6\nMinJobAge=2\n")
    launcher = jobs(tmp_path, jobs=12)
    tasks = [make_task(tmp_path, number, ["sh", "-c", "sleep 0.5"]) for number in range(12)]
    for task in tasks:
        launcher.submit(task)
    told = []
    wait_until(launcher, lambda: told.extend(launcher.notices()) or told, "the user is told")
    assert "no more jobs are taken" in told[0]
    assert ends_of(launcher, tasks) == [Exited(0)] * 12
    launcher.close()


def test_gpus(own_slurm, tmp_path):
    """Evaluations that share a node have a GPU each, and the doctor says so if nobody asks for them."""
    own_slurm(nodes=1, gpus=True)
    launcher = steps(tmp_path, "--gres=gpu:4", evals_per_node=4, arguments="--gres=gpu:1")
    meet = "echo $CUDA_VISIBLE_DEVICES; touch at.$0; while [ $(ls | grep -c '^at') -lt 4 ]; do sleep 0.05; done"
    tasks = [make_task(tmp_path, n, ["sh", "-c", meet, str(n)]) for n in range(4)]
    for task in tasks:
        launcher.submit(task)
    assert ends_of(launcher, tasks) == [Exited(0)] * 4
    assert sorted(Path(task.stdout).read_text() for task in tasks) == ["0\n", "1\n", "2\n", "3\n"]
    launcher.close()


@pytest.mark.fault("the queue has forgotten a job", "the accounting is asked for its end")
def test_accounting(own_slurm, tmp_path):
    """What the queue does not list any more is looked up; an accounting that lags is waited for."""
    if problem := missing(accounting=True):
        pytest.skip(problem)
    cluster = own_slurm(nodes=1, accounting=True, extra="MinJobAge=2\n")
    first = jobs(tmp_path)
    task = make_task(tmp_path, 0, FOREVER)
    job = runs(first, task, first._spool.proofs)
    first.leave()
    cluster.run("scancel", job)
    cluster.wait(lambda: not cluster.run("squeue", "-h", "--states=all"), "the queue has forgotten it")
    second = jobs(tmp_path)
    assert second.find(task)
    (end,) = ends_of(second, [task])
    assert isinstance(end, Gone), end
    assert end.loss is Loss.CANCELLED
    second.close()


DOCTOR = [
    *(sys.executable, "-m", "crayai", "doctor", "--json", "--param", "-x=0.0..1.0", "--launcher", "slurm"),
]


def doctor(*words):
    """Return what the doctor says of each check, and of the estimate."""
    program = ["--", "sh", "-c", 'sleep 0.1; echo "FoM: ${0#*=}"']
    done = subprocess.run([*DOCTOR, *words, *program], capture_output=True, text=True, check=False, timeout=100)
    said = json.loads(done.stdout)
    return {check["name"]: (check["verdict"], check["seen"]) for check in said["checks"]}, said["estimate"]


@pytest.mark.parametrize("mode", ["jobs", "steps"])
def test_the_doctor(mode, slurm, tmp_path, monkeypatch):
    """The doctor runs its points on the cluster, and says what it is like; nothing is left."""
    monkeypatch.chdir(tmp_path)
    checks, costs = doctor("--mode", mode, "--nodes", "2", "--num-iters", "7", "--strategy", "random")
    assert checks["partition"] == ("ok", "main: 4 nodes, 4 of them idle (4 of 4 CPUs, 4000 MB)")
    assert checks["program"][0] == "ok"
    assert costs["node_hours"] > 0
    assert not list(tmp_path.iterdir())
    slurm.wait(lambda: slurm.run("squeue", "-h") == "", "nothing is left in the queue")


def test_the_doctor_finds_what_cannot_be(own_slurm, tmp_path, monkeypatch):
    """What the cluster cannot give is a problem, found before anything is submitted."""
    monkeypatch.chdir(tmp_path)
    cluster = own_slurm(nodes=2, gpus=True, extra="PartitionName=short Nodes=ALL MaxTime=30 DefaultTime=10\n")
    assert doctor("--nodes", "3")[0]["partition"][0] == "problem"
    assert doctor("--alloc-args", "-p nosuch")[0]["partition"][0] == "problem"
    assert doctor("--alloc-args", "-p short -t 31")[0]["limit of time"][0] == "problem"
    checks, _ = doctor("--alloc-args", "-p short")
    assert checks["limit of time"] == (
        "note",
        "the allocation asks for none, and so gets the default one of short: 10 min",
    )
    assert checks["GPUs"][0] == "note"
    assert "GPUs" not in doctor("--alloc-args=-p short --gres=gpu:1 -t 5")[0]
    assert cluster.run("squeue", "-h") == ""


@pytest.mark.fault("Slurm ends a job for its memory", "the evaluation has failed: out of memory")
def test_the_memory_of_a_job(own_slurm, tmp_path):
    """A job that uses more memory than it was granted has run out of it."""
    gather = "JobAcctGatherType=jobacct_gather/linux\nJobAcctGatherFrequency=1\nJobAcctGatherParams=OverMemoryKill\n"
    own_slurm(nodes=1, memory=True, extra=gather)
    launcher = jobs(tmp_path, ["--mem=50"])
    task = make_task(
        tmp_path, 0, [sys.executable, "-c", "import time; much = bytearray(200_000_000); time.sleep(1000)"]
    )
    launcher.submit(task)
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Exited), end
    assert end.limit is Limit.MEMORY
    launcher.close()
