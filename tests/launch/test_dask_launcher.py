"""The launcher of Dask, on real schedulers and workers of this machine."""

import gc
import os
import signal
from contextlib import closing
from pathlib import Path

import pytest
from dask_cluster import pid_in

from crayai.hpo.errors import SettingsError
from crayai.hpo.launch.base import Exited, Gone, Loss
from crayai.hpo.launch.dask.launcher import DaskLauncher
from crayai.hpo.launch.dask.settings import Dask
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
        pid = pid_in(tmp_path / "pids")
        worker = _worker_of(pid)
        os.kill(worker, signal.SIGKILL)
        (end,) = ends_of(launcher, [task])
        assert isinstance(end, Gone)
        assert end.loss is Loss.NODE_FAILURE
        wait_until(launcher, lambda: not Path(f"/proc/{pid}").exists(), "the program ends with its worker")
        assert (tmp_path / "pids").read_text() == f"{pid}\n"


def _worker_of(pid):
    """Return the process of Dask above a process."""
    while True:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid


def test_what_nannies_set(clusters, tmp_path):
    """Their numbers of threads, which suit tasks of Dask, do not reach the program."""
    with closing(DaskLauncher(tmp_path, Dask(address=clusters(1).scheduler_address))) as launcher:
        task = make_task(tmp_path, 0, ["sh", "-c", "echo ${OMP_NUM_THREADS-none} ${MKL_NUM_THREADS-none}"])
        launcher.submit(task)
        assert ends_of(launcher, [task]) == [Exited(0)]
        assert Path(task.stdout).read_text() == "none none\n"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"address": "tcp://a:1", "scheduler_file": "b"}, "give one of them"),
        ({"resources": "GPU"}, "NAME=NUMBER"),
        ({"resources": "GPU=many"}, "NAME=NUMBER"),
        ({"resources": "GPU=inf"}, "NAME=NUMBER"),
        ({"resources": "GPU=0"}, "NAME=NUMBER"),
    ],
)
def test_what_is_refused(how, words):
    """The message names the thing, the rule, the value."""
    with pytest.raises(SettingsError, match=words):
        Dask(**how)
