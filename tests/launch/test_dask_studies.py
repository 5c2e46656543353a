"""Whole studies on Dask."""

import gc
import subprocess
import sys

import pytest

from crayai import hpo
from crayai.hpo.engine.provenance import SETTING
from crayai.hpo.store.sqlite import SqliteLog

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Dask leaves sockets to the garbage collector

PROGRAM = "sh -c 'echo FoM: ${1#*=}' program"
SPACE = [["--lr", 0.1, (1e-4, 1.0)], ["--n", 4, (1, 16)]]


@pytest.fixture
def scheduler():
    """Return the address of a scheduler with two workers."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address
    gc.collect()


def searched(tmp_path, **how):
    """Return the best of a search, and all of its points."""
    optimizer = hpo.RandomOptimizer(hpo.Evaluator(PROGRAM, run_path=str(tmp_path), **how), num_iters=8, seed=1)
    optimizer.optimize(hpo.Params(SPACE))
    return optimizer.best_fom, optimizer.best_params


def test_the_same_seed_finds_the_same(scheduler, tmp_path):
    """A study on Dask is the study on this machine."""
    there = searched(tmp_path / "there", launcher="dask", dask_address=scheduler)
    assert searched(tmp_path / "here", launcher="local", num_parallel_evals=2) == there
    with SqliteLog(tmp_path / "there" / "study.db") as log:
        assert "python" in log.settings()[SETTING][0]["seen"]


def test_workers_of_its_own(tmp_path):
    """Without an address, workers on this machine are started, and end with the study."""
    words = [
        "--launcher",
        "dask",
        "--slots",
        "2",
        "--strategy",
        "random",
        "--num-iters",
        "4",
        "--dir",
        str(tmp_path / "s"),
    ]
    program = ["--param", "--lr=0.01..1", "--", "sh", "-c", "echo FoM: ${1#*=}", "x"]
    command = [sys.executable, "-m", "crayai", "run", "-q", *words, *program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Best" in done.stdout


def test_a_driver_that_is_killed(scheduler, tmp_path):
    """The next driver goes on with the tasks of the one that was killed, and runs nothing twice."""
    waits = f"echo ran >> {tmp_path}/runs; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo FoM: 1"
    options = f"--launcher dask --dask-address {scheduler} --strategy random --num-iters 6 --seed 1"
    words = [sys.executable, "-m", "crayai", "run", "-q", "--dir", str(tmp_path / "study"), *options.split()]
    words += ["--param", "--lr=0.01..1", "--", "sh", "-c", waits]
    driver = subprocess.Popen(words)
    while not (tmp_path / "runs").exists():
        assert driver.poll() is None
    driver.kill()
    driver.wait()
    (tmp_path / "go").touch()
    assert subprocess.run(words, timeout=100, check=False).returncode == 0
    assert (tmp_path / "runs").read_text() == 6 * "ran\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--launcher", "dask", "--nodes", "2"], "nodes does not belong to the launcher 'dask'"),
        (["--dask-resources", "GPU=1"], "dask_resources belongs to the launcher 'dask'"),
        (["--launcher", "dask", "--dask-address", "a", "--dask-scheduler-file", "b"], "give one of them"),
    ],
)
def test_what_is_refused(words, said, tmp_path):
    """A clear message before anything runs."""
    command = [sys.executable, "-m", "crayai", "run", "--dir", str(tmp_path / "s"), *words, "--param", "--lr=0..1"]
    done = subprocess.run([*command, "--", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "s").exists()
