"""What workers of Dask do with a task, each a process without crayai, under schedulers of this machine."""

import gc
import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
from dask_cluster import WAITS, cluster_in, has_ended, pid_in

from crayai.hpo.launch.base import Exited, Gone, Loss, NotStarted, Withdrawn
from crayai.hpo.launch.dask import launcher as module
from crayai.hpo.launch.dask.launcher import DaskLauncher
from crayai.hpo.launch.dask.settings import Dask
from crayai.hpo.testing.launchers import ends_of, make_task, wait_until

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Dask leaves sockets to the garbage collector


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """Return a cluster of one worker, which is the second rank on the second node of a step of Slurm."""
    with cluster_in(tmp_path_factory.mktemp("cluster")) as made:
        made.start_scheduler()
        made.start_worker(SLURM_NODEID="1", SLURM_LOCALID="1", SLURM_PROCID="3", PMI_RANK="3")
        yield made
    gc.collect()


@pytest.fixture
def launcher(ranked, tmp_path):
    """Return one on that cluster."""
    with closing(DaskLauncher(tmp_path, Dask(address=ranked.address))) as made:
        yield made


@pytest.fixture
def cluster(tmp_path):
    """Return a cluster without anything, and let programs of the test end."""
    with cluster_in(tmp_path) as made:
        yield made
    gc.collect()


def begun(launcher, directory, program=WAITS, number=0, **how):
    """Return a task that has begun."""
    task = make_task(directory, number, ["sh", "-c", program], **how)
    launcher.submit(task)
    wait_until(launcher, (directory / "log").exists, "it runs")
    launcher.notices()
    return task


def test_a_worker_that_has_nothing_of_ours(launcher, tmp_path):
    """Neither crayai nor a pidfd need be there, and no rank of the worker's reaches the program."""
    task = make_task(tmp_path, 0, ["sh", "-c", "echo ${SLURM_PROCID-none} ${PMI_RANK-none}"])
    launcher.submit(task)
    assert ends_of(launcher, [task]) == [Exited(0)]
    assert Path(task.stdout).read_text() == "none none\n"


def test_a_directory_that_is_not_there(launcher, tmp_path):
    """Where a worker does not see where the program starts, it says so."""
    (tmp_path / "start").mkdir()
    task = make_task(tmp_path / "start", 0, ["true"])
    (tmp_path / "start").rmdir()
    launcher.submit(task)
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, NotStarted)
    assert "does not see the directory" in end.reason


@pytest.mark.fault("a program on a worker of Dask ignores SIGTERM when it is cancelled", "it is killed soon")
def test_a_program_that_ignores_sigterm(launcher, tmp_path, monkeypatch):
    """A cancel is over as soon as it was killed."""
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 1000.0)
    task = begun(launcher, tmp_path, "trap '' TERM; echo $$ > log; while :; do sleep 0.05; done")
    pid = pid_in(tmp_path / "log")
    launcher.cancel([task.tag])
    assert ends_of(launcher, [task]) == [Withdrawn()]
    wait_until(launcher, lambda: has_ended(pid), "it is killed")


def test_what_a_program_leaves_behind(launcher, tmp_path):
    """Its children end with it, also those in sessions of their own, and under a limit of time."""
    leaves = "setsid sh -c 'echo $$ > pid; exec sleep 1000' & while [ ! -s pid ]; do sleep 0.02; done"
    task = make_task(tmp_path, 0, ["sh", "-c", leaves], seconds=100)
    launcher.submit(task)
    assert ends_of(launcher, [task]) == [Exited(0)]
    wait_until(launcher, lambda: has_ended(pid_in(tmp_path / "pid")), "the child ends")


def test_a_task_that_is_forgotten(launcher, tmp_path):
    """What runs of it ends, though nobody waits for that, and leaves nothing."""
    task = begun(launcher, tmp_path, "echo $$ > log; exec sleep 1000")
    launcher.forget([task.tag])
    wait_until(launcher, lambda: has_ended(pid_in(tmp_path / "log")), "it ends")
    wait_until(launcher, lambda: not list((tmp_path / "dask").iterdir()), "its files are removed")


@pytest.mark.fault("a worker of Dask is told to end", "what it runs is ended first, and runs again elsewhere")
def test_a_worker_that_is_told_to_end(cluster, tmp_path):
    """The attempt has ended when it is said to be lost, and no other one ran beside it."""
    cluster.start_scheduler()
    workers = [cluster.start_worker(), cluster.start_worker()]
    with closing(DaskLauncher(tmp_path, Dask(address=cluster.address))) as launcher:
        task = begun(launcher, tmp_path, f"echo $PPID > parent; {WAITS}")
        workers[_place_of(workers, pid_in(tmp_path / "parent"))].terminate()
        (end,) = ends_of(launcher, [task])
        assert isinstance(end, Gone)
        assert end.loss is Loss.PREEMPTED
        again = make_task(tmp_path, 0, ["sh", "-c", WAITS], attempt=2)
        (tmp_path / "go").touch()
        launcher.submit(again)
        assert ends_of(launcher, [again]) == [Exited(0)]
        assert (tmp_path / "log").read_text() == "+\n-\n" * 2


def test_a_worker_that_dies_while_its_task_ends(cluster, tmp_path):
    """A program that was told to end, and is at it, is not told a second time, though its worker has gone."""
    cluster.start_scheduler()
    worker = cluster.start_worker()
    with closing(DaskLauncher(tmp_path, Dask(address=cluster.address))) as launcher:
        tidies = "while [ ! -e gone ]; do sleep 0.05; done; echo . >> log; exit 1"
        task = begun(launcher, tmp_path, WAITS.replace("exit 1", tidies))
        worker.terminate()
        wait_until(launcher, lambda: "-" in (tmp_path / "log").read_text(), "it is told to end")
        worker.kill()
        worker.wait()
        (tmp_path / "gone").touch()
        (end,) = ends_of(launcher, [task])
        assert end == Gone(end.reason, end.location, Loss.PREEMPTED)
        assert (tmp_path / "log").read_text() == "+\n-\n.\n"


@pytest.mark.fault(
    "a worker of Dask hangs, and its scheduler gives it up", "the evaluation goes on, and its end counts"
)
def test_a_worker_that_hangs(cluster, tmp_path, monkeypatch):
    """No second attempt begins while the first one beats."""
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 0.2)
    cluster.start_scheduler(DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="1s")
    worker = cluster.start_worker()
    with closing(DaskLauncher(tmp_path, Dask(address=cluster.address))) as launcher:
        task = begun(launcher, tmp_path)
        job = launcher._ledger.jobs[task.tag]
        worker.send_signal(signal.SIGSTOP)
        wait_until(launcher, lambda: job.missing_since and time.monotonic() - job.missing_since > 3, "it is missed")
        assert launcher.poll([task.tag]) == {}
        (tmp_path / "go").touch()
        assert ends_of(launcher, [task]) == [Exited(0)]
        assert (tmp_path / "log").read_text() == "+\n-\n"


@pytest.mark.fault("a node of Dask hangs, and comes back later", "its evaluation is lost; what is left of it ends")
def test_a_node_that_hangs(cluster, tmp_path, monkeypatch):
    """Without a pulse it is given up, and does not go on when the node does."""
    monkeypatch.setattr(module, "_SETTLE_SECONDS", 0.2)
    monkeypatch.setattr(module, "_SILENT_SECONDS", 3.0)
    cluster.start_scheduler(DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="1s")
    worker = cluster.start_worker()
    with closing(DaskLauncher(tmp_path, Dask(address=cluster.address))) as launcher:
        task = begun(launcher, tmp_path, f"echo $$ > pid; {WAITS}")
        pid = pid_in(tmp_path / "pid")
        worker.send_signal(signal.SIGSTOP)
        os.killpg(os.getpgid(pid), signal.SIGSTOP)
        assert ends_of(launcher, [task]) == [Gone("its worker was lost", loss=Loss.NODE_FAILURE)]
        os.killpg(os.getpgid(pid), signal.SIGCONT)
        wait_until(launcher, lambda: has_ended(pid), "it ends")
        assert (tmp_path / "log").read_text() == "+\n"


def _place_of(workers, pid):
    """Return which of the workers is above a process."""
    pids = [worker.pid for worker in workers]
    while pid not in pids:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pids.index(pid)
