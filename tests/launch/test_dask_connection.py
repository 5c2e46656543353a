"""What becomes of a study when Dask's scheduler, or its workers, come and go, or were never there."""

import gc
import threading
from contextlib import closing

import pytest
from dask_cluster import WAITS, cluster_in

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.base import Exited, Gone, Loss
from crayai.hpo.launch.dask import connection, launcher
from crayai.hpo.launch.dask.launcher import DaskLauncher
from crayai.hpo.launch.dask.settings import Dask
from crayai.hpo.testing.launchers import ends_of, make_task, wait_until

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Dask leaves sockets to the garbage collector


@pytest.fixture
def cluster(tmp_path):
    """Return a cluster without anything."""
    with cluster_in(tmp_path) as made:
        yield made
    gc.collect()


@pytest.fixture
def threads():
    """Return a function that makes a cluster of threads, which starts at once."""
    made = []

    def of(workers, **options):
        made.append(
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=False,
                protocol="tcp://",
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                **options,
            )
        )
        return made[-1]

    yield of
    for one in made:
        one.close()
    gc.collect()


@pytest.mark.fault(
    "Dask's scheduler is killed and started again", "what ran with it is lost, and runs again; the rest goes on"
)
def test_a_scheduler_that_is_started_again(cluster, tmp_path, monkeypatch):
    """What is submitted meanwhile begins when it is back, and the user knows."""
    monkeypatch.setattr(connection, "_BACK_OFF_SECONDS", 0.5)
    scheduler, worker = cluster.start_scheduler(), cluster.start_worker()
    port = int(cluster.address.rpartition(":")[2])
    with closing(DaskLauncher(tmp_path, Dask(address=cluster.address))) as launcher:
        task, waiting, later = (make_task(tmp_path, n, ["sh", "-c", WAITS]) for n in range(3))
        launcher.submit(task)
        wait_until(launcher, (tmp_path / "log").exists, "it runs")
        launcher.submit(waiting)
        scheduler.kill()
        for process in (scheduler, worker):  # which ends then
            process.wait()
        told = []
        wait_until(launcher, lambda: told.extend(launcher.notices()) or "does not answer" in str(told), "an outage")
        assert launcher.find(waiting)
        launcher.submit(later)
        launcher.withdraw()
        launcher.forget([later.tag])
        launcher.submit(later)
        cluster.start_scheduler(port)
        cluster.start_worker()
        (tmp_path / "go").touch()
        first, *others = ends_of(launcher, [task, later])
        assert isinstance(first, Gone)
        assert first.loss is Loss.PREEMPTED
        assert others == [Exited(0)]
        assert "Dask's scheduler answers again" in launcher.notices()


@pytest.mark.fault("Dask's scheduler dies for good", "the study waits, and ends without a crash when it is told to")
def test_a_scheduler_that_is_gone(cluster, tmp_path, monkeypatch):
    """A client that has given up is as good as any other."""
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 1)
    monkeypatch.setattr(connection, "_RECONNECT_SECONDS", 0.2)
    monkeypatch.setattr(connection, "_BACK_OFF_SECONDS", 0.1)
    scheduler = cluster.start_scheduler()
    with closing(DaskLauncher(tmp_path, Dask(address=cluster.address))) as launcher:
        task = make_task(tmp_path, 0, ["true"])
        launcher.submit(task)
        threads = threading.active_count()
        scheduler.kill()
        scheduler.wait()
        client = launcher._connection._client
        told = []
        wait_until(launcher, lambda: told.extend(launcher.notices()) or told, "it is told")
        wait_until(launcher, lambda: client.status == "closed", "it has given up")
        for _ in range(3):
            launcher.wait(0.2)
        assert threading.active_count() <= threads, "each try leaves a thread"
        assert launcher.waiting() == {task.tag}
        assert launcher.find(task)


def test_a_scheduler_that_moves(cluster, tmp_path):
    """Where its file says another address, that one is used."""
    first = cluster.start_scheduler()
    with closing(DaskLauncher(tmp_path, Dask(scheduler_file=str(cluster.file)))) as launcher:
        task = make_task(tmp_path, 0, ["true"])
        launcher.submit(task)
        first.kill()
        first.wait()
        cluster.start_scheduler()
        cluster.start_worker()
        assert launcher.find(task)
        assert ends_of(launcher, [task]) == [Exited(0)]


@pytest.mark.fault("the next driver is given another cluster of Dask", "what runs on the first one ends there, once")
def test_another_cluster(threads, tmp_path, monkeypatch):
    """Its scheduler knows nothing of what has begun elsewhere, and begins what has not."""
    monkeypatch.setattr(launcher, "_SETTLE_SECONDS", 0.2)
    first = DaskLauncher(tmp_path, Dask(address=threads(1).scheduler_address))
    tasks = [make_task(tmp_path, number, ["sh", "-c", WAITS]) for number in range(2)]
    for task in tasks:
        first.submit(task)
    wait_until(first, (tmp_path / "log").exists, "one runs")
    first.leave()
    with closing(DaskLauncher(tmp_path, Dask(address=threads(1).scheduler_address))) as second:
        assert all(map(second.find, tasks))
        jobs = second._ledger.jobs.values()
        wait_until(second, lambda: any(job.beat for job in jobs), "a beat is heard of what nobody here has")
        assert second.poll([task.tag for task in tasks]) == {}
        (tmp_path / "go").touch()
        assert ends_of(second, tasks) == [Exited(0)] * 2
    assert sorted((tmp_path / "log").read_text().split()) == ["+", "+", "-", "-"]


def test_workers_that_come(threads, tmp_path):
    """Whoever comes later is used too, and until somebody does, the user knows why nothing runs."""
    cluster = threads(0)
    with closing(DaskLauncher(tmp_path, Dask(address=cluster.scheduler_address))) as launcher:
        assert launcher.capacity == 1
        assert launcher.notices() == ["no worker has come to Dask's scheduler yet: evaluations wait for one"]
        cluster.scale(2)
        wait_until(launcher, lambda: launcher.capacity == 3, "two workers and one ahead")


def test_a_cluster_that_adapts(threads, tmp_path):
    """It grows with what waits, one more at a time, up to what it may have."""
    cluster = threads(0)
    cluster.adapt(minimum=0, maximum=2, interval="100 ms", target_duration="1 ms")
    with closing(DaskLauncher(tmp_path, Dask(address=cluster.scheduler_address))) as launcher:
        tasks = []

        def is_grown():
            while len(tasks) < launcher.capacity:
                tasks.append(make_task(tmp_path, len(tasks), ["sh", "-c", WAITS]))
                launcher.submit(tasks[-1])
            launcher.notices()
            return launcher.capacity == 3

        wait_until(launcher, is_grown, "two workers")
        (tmp_path / "go").touch()
        assert ends_of(launcher, tasks) == [Exited(0)] * len(tasks)


def test_resources(threads, tmp_path):
    """As many run at once as there are of what each of them takes; nobody that has enough is told."""
    address = threads(3, resources={"GPU": 1}).scheduler_address
    with closing(DaskLauncher(tmp_path, Dask(address=address, resources="GPU=1"))) as launcher:
        assert launcher.capacity == 4
        task = make_task(tmp_path, 0, ["true"])
        launcher.submit(task)
        assert ends_of(launcher, [task]) == [Exited(0)]
    with closing(DaskLauncher(tmp_path, Dask(address=address, resources="GPU=2"))) as launcher:
        assert launcher.notices() == ["no worker has GPU=2: evaluations wait for one"]


def test_what_workers_do_not_see(threads, tmp_path):
    """It is said before anything runs."""
    address = threads(1).scheduler_address
    with pytest.raises(LaunchError, match=r"cannot work for this study: .*nowhere.*; workers must see"):
        DaskLauncher(tmp_path, Dask(address=address), [tmp_path / "nowhere"])


@pytest.mark.parametrize("text", [None, "{}", "no JSON", "[1]"])
def test_a_scheduler_file_that_is_none(text, tmp_path):
    """The message names it."""
    file = tmp_path / "scheduler.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(LaunchError, match=r"dask_scheduler_file must be .*scheduler\.json"):
        DaskLauncher(tmp_path, Dask(scheduler_file=str(file)))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tls://127.0.0.1:1", "nonsense://127.0.0.1:1"])
def test_nobody_there(address, tmp_path, monkeypatch):
    """It is said at once, before anything runs."""
    monkeypatch.setattr(connection, "_CONNECT_SECONDS", 1)
    with pytest.raises(LaunchError, match=f"no scheduler of Dask answers at {address}"):
        DaskLauncher(tmp_path, Dask(address=address))


def test_a_leftover(threads, tmp_path):
    """What another version has left of a task is passed over."""
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask" / "0.1.task").write_text("None 0.1.0123.ticket study:0:1")
    (tmp_path / "dask" / "1.1.task").write_text("")
    task = make_task(tmp_path, 0, ["true"])
    with closing(DaskLauncher(tmp_path, Dask(address=threads(1).scheduler_address))) as launcher:
        assert not launcher.find(task)
        launcher.submit(task)
        assert ends_of(launcher, [task]) == [Exited(0)]


def test_resources_of_our_own(tmp_path):
    """Workers of our own have what as many evaluations take as run at once."""
    with closing(DaskLauncher(tmp_path, Dask(resources="GPU=0.5", slots=2))) as launcher:
        tasks = [make_task(tmp_path, number, ["sh", "-c", WAITS]) for number in range(2)]
        for task in tasks:
            launcher.submit(task)
        wait_until(launcher, lambda: not launcher.waiting(), "both run")
        (tmp_path / "go").touch()
        assert ends_of(launcher, tasks) == [Exited(0)] * 2
