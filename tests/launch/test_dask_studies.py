"""Whole studies on Dask."""

import gc
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from dask_cluster import has_ended

from crayai import hpo
from crayai.hpo.engine.provenance import SETTING
from crayai.hpo.records import Completed, Told
from crayai.hpo.store.sqlite import SqliteLog

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Dask leaves sockets to the garbage collector

PROGRAM = "sh -c 'echo FoM: ${1#*=}' program"
SPACE = [["--lr", 0.1, (1e-4, 1.0)], ["--n", 4, (1, 16)]]


@pytest.fixture
def threads():
    """Return how many a worker has."""
    return 1


@pytest.fixture
def scheduler(threads):
    """Return the address of a scheduler with two workers."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=threads, host="127.0.0.1", dashboard_address="127.0.0.1:0"
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


@pytest.mark.parametrize(("slots", "shown"), [((), "with 6 at once"), (("--slots", "4"), "with 4 at once")])
@pytest.mark.parametrize("threads", [3])
def test_an_estimate(scheduler, tmp_path, slots, shown):
    """It reckons with the workers of the moment, unless their number is a setting."""
    words = ["--dir", str(tmp_path), "--launcher", "dask", "--dask-address", scheduler, *slots, "--minutes", "1"]
    words = [sys.executable, "-m", "crayai", "estimate", *words, "--strategy", "random", "--param", "--x=0..1"]
    said = subprocess.run([*words, "--", "true"], capture_output=True, text=True, check=True).stdout
    assert shown in said
    assert re.search(r"node-hours +1\.7", said)  # of 100 evaluations


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


def started(directory, program, *options):
    """Start a study on workers of its own, as the leader of a group as a shell does."""
    words = ["--launcher", "dask", "--slots", "2", "--strategy", "random", "--num-iters", "4", *options]
    words += ["--dir", str(directory / "study"), "--param", "--lr=0.01..1", "--", "sh", "-c", program]
    command = [sys.executable, "-W", "ignore", "-m", "crayai", "run", "-q", *words]
    return subprocess.Popen(command, start_new_session=True, cwd=directory, stderr=subprocess.PIPE, text=True)


def wait_for(path, driver):
    """Wait until a program of a study has made a file."""
    while not path.exists():
        assert driver.poll() is None, driver.stderr.read()
        time.sleep(0.02)


def test_an_interrupt_from_the_terminal(tmp_path):
    """What runs on workers of its own may finish, as on this machine: only the driver hears of it."""
    driver = started(
        tmp_path, f"cd {tmp_path}; touch at.$CRAYAI_EVALUATION; while [ ! -e go ]; do sleep 0.05; done; echo FoM: 1"
    )
    for number in (0, 1):
        wait_for(tmp_path / f"at.{number}", driver)
    os.killpg(driver.pid, signal.SIGINT)
    (tmp_path / "go").touch()
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == 130, said
    with SqliteLog(tmp_path / "study" / "study.db") as log:
        assert len([e for e in log.events() if isinstance(e, Told) and isinstance(e.outcome, Completed)]) == 2


def test_a_program_that_ignores_sigterm(tmp_path):
    """The driver ends all the same, in its time of grace."""
    driver = started(
        tmp_path, f"trap '' TERM; echo $$ > {tmp_path}/runs; while :; do sleep 0.05; done", "--grace-seconds", "8"
    )
    wait_for(tmp_path / "runs", driver)
    os.killpg(driver.pid, signal.SIGTERM)
    driver.communicate(timeout=20)
    assert driver.returncode == 143
    assert has_ended(int((tmp_path / "runs").read_text()))


def test_a_script_without_a_guard(tmp_path):
    """Workers of its own need no second Python that would import the script."""
    script = tmp_path / "search.py"
    how = {"launcher": "dask", "num_parallel_evals": 2, "run_path": str(tmp_path / "study")}
    script.write_text(
        "from crayai import hpo\n"
        f"evaluator = hpo.Evaluator({PROGRAM!r}, **{how})\n"
        "optimizer = hpo.RandomOptimizer(evaluator, num_iters=4, seed=1)\n"
        f"optimizer.optimize(hpo.Params({SPACE!r}))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--launcher", "dask", "--nodes", "2"], "nodes does not belong to the launcher 'dask'"),
        (["--launcher", "dask", "--gpus", "0,1"], "gpus"),
        (["--launcher", "dask", "--cores-per-eval", "2"], "cores_per_eval"),
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
