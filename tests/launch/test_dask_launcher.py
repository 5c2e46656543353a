"""The launcher of Dask, on real schedulers and workers of this machine."""

import gc
import json
import os
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from crayai.hpo.errors import LaunchError, SettingsError
from crayai.hpo.launch.base import Exited, Gone, Loss
from crayai.hpo.launch.dask_launcher import DaskLauncher
from crayai.hpo.launch.dask_settings import Dask
from crayai.hpo.testing.launchers import LauncherConformance, ends_of, make_task, wait_until

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Dask leaves sockets to the garbage collector


@pytest.fixture(autouse=True)
def _collected():
    """Have the garbage of Dask collected where it is not complained of."""
    yield
    gc.collect()


def cluster_of(workers, **options):
    """Return a cluster that is not the launcher's own, of processes."""
    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", **options
    )


@pytest.fixture(scope="module")
def clusters():
    """Return a function that makes one cluster of each size."""
    made = {}

    def of(workers):
        if workers not in made:
            made[workers] = cluster_of(workers)
        return made[workers]

    yield of
    for cluster in made.values():
        cluster.close()


class TestDask(LauncherConformance):
    """Every rule of launchers."""

    @pytest.fixture(autouse=True)
    def _clusters(self, clusters):
        self.clusters = clusters

    def launcher(self, directory, slots):
        """Return the one under test, on a cluster that outlives it."""
        return DaskLauncher(directory, Dask(address=self.clusters(slots).scheduler_address, slots=slots + 1))

    def kill_driver(self, launcher):
        """Let the scheduler see the connection go."""
        launcher._connection.close()


def test_a_worker_that_is_lost(tmp_path):
    """What it ran ends with it, and is lost; Dask's own second run of it runs nothing."""
    with cluster_of(2) as cluster, closing(DaskLauncher(tmp_path, Dask(address=cluster.scheduler_address))) as launcher:
        task = make_task(tmp_path, 0, ["sh", "-c", "echo $$ >> pids; sleep 1000"])
        launcher.submit(task)
        wait_until(launcher, (tmp_path / "pids").exists, "it runs")
        (pid,) = (int(line) for line in (tmp_path / "pids").read_text().splitlines())
        worker = _worker_of(pid)
        os.kill(worker, signal.SIGKILL)
        (end,) = ends_of(launcher, [task])
        assert isinstance(end, Gone)
        assert end.loss is Loss.NODE_FAILURE
        wait_until(launcher, lambda: not Path(f"/proc/{pid}").exists(), "the program ends with its worker")
        assert (tmp_path / "pids").read_text() == f"{pid}\n"


@pytest.mark.fault(
    "Dask's scheduler is killed and started again", "what ran with it is lost, and runs again; the rest goes on"
)
def test_a_scheduler_that_is_started_again(tmp_path):
    """What it knew of is lost, and later tasks run."""
    with (
        started_at(0, tmp_path) as (first, address),
        closing(DaskLauncher(tmp_path, Dask(address=address))) as launcher,
    ):
        task, later = (make_task(tmp_path, n, ["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"]) for n in (0, 1))
        launcher.submit(task)
        wait_until(launcher, lambda: not launcher.waiting(), "it runs")
        for process in first:
            process.kill()
            process.wait()
        with started_at(int(address.rpartition(":")[2]), tmp_path):
            (end,) = ends_of(launcher, [task])
            assert isinstance(end, Gone)
            (tmp_path / "go").touch()
            launcher.submit(later)
            assert ends_of(launcher, [later]) == [Exited(0)]


@contextmanager
def started_at(port, directory):
    """Start a scheduler and a worker as processes; yield them and the address."""
    file = directory / "scheduler.json"
    file.unlink(missing_ok=True)
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    words = [*dask, "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--scheduler-file", str(file)]
    scheduler = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not file.exists() or not file.read_text():
        assert scheduler.poll() is None
    address = json.loads(file.read_text())["address"]
    words = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        address,
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
    ]
    worker = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory)
    try:
        yield (scheduler, worker), address
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()


def _worker_of(pid):
    """Return the process of Dask above a process."""
    while True:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid


def test_resources(tmp_path):
    """As many run at once as there are of what each of them takes."""
    with cluster_of(3, resources={"GPU": 1}) as cluster:
        dask = Dask(address=cluster.scheduler_address, resources="GPU=1")
        with closing(DaskLauncher(tmp_path, dask)) as launcher:
            assert launcher.capacity == 4
            task = make_task(tmp_path, 0, ["true"])
            launcher.submit(task)
            assert ends_of(launcher, [task]) == [Exited(0)]
        with closing(DaskLauncher(tmp_path, Dask(address=cluster.scheduler_address, resources="GPU=2"))) as launcher:
            assert launcher.capacity == 1


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"address": "tcp://a:1", "scheduler_file": "b"}, "give one of them"),
        ({"resources": "GPU"}, "NAME=NUMBER"),
        ({"resources": "GPU=many"}, "NAME=NUMBER"),
    ],
)
def test_what_is_refused(how, words):
    """The message names the thing, the rule, the value."""
    with pytest.raises(SettingsError, match=words):
        Dask(**how)


def test_nobody_there(tmp_path, monkeypatch):
    """It is said at once, before anything runs."""
    monkeypatch.setattr("crayai.hpo.launch.dask_connection._CONNECT_SECONDS", 1)
    with pytest.raises(LaunchError, match=r"no scheduler of Dask answers at tcp://127\.0\.0\.1:1"):
        DaskLauncher(tmp_path, Dask(address="tcp://127.0.0.1:1"))
