"""Private Slurm clusters for the tests."""

import os

import pytest
from slurm_cluster import SlurmCluster, missing


@pytest.fixture(scope="session", autouse=True)
def _slurm_is_here():
    if problem := missing():
        pytest.skip(problem)


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory):
    """Return a cluster of four nodes that all tests share; it must be left as it was found."""
    with SlurmCluster(tmp_path_factory.mktemp("slurm") / "cluster") as cluster:
        yield cluster


@pytest.fixture
def slurm(shared_cluster, monkeypatch):
    """Return the shared cluster, to which Slurm's commands speak in this test."""
    use(shared_cluster, monkeypatch)
    yield shared_cluster
    shared_cluster.run("scancel", "--user=root", check=False)
    shared_cluster.wait(lambda: not shared_cluster.run("squeue", "-h"), "no job is left")


@pytest.fixture
def own_slurm(tmp_path, monkeypatch):
    """Return a function that starts a cluster of the test's own, with options."""
    started = []

    def start(**options):
        cluster = SlurmCluster(tmp_path / f"cluster{len(started)}", **options)
        started.append(cluster.__enter__())
        use(cluster, monkeypatch)
        return cluster

    yield start
    for cluster in started:
        cluster.__exit__()


def use(cluster, monkeypatch):
    """Let Slurm's commands speak to a cluster."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, text in cluster.environment.items():
        monkeypatch.setenv(name, text)
