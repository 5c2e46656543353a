"""Whole studies on Slurm, as their users run them: to the end, killed, and by old scripts."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from slurm_cluster import wait_until

from crayai.hpo.store.query import Reader

EVALUATIONS = 16
PROGRAM = """
echo "begin $CRAYAI_EVALUATION $CRAYAI_ATTEMPT" >> trace
while [ -e hold ]; do sleep 0.05; done
echo "end $CRAYAI_EVALUATION $CRAYAI_ATTEMPT" >> trace
echo FoM: ${1#*=}
"""
OLD_SCRIPT = """
from crayai import hpo

params = hpo.Params([["-a", 1.0, (-1.0, 1.0)], ["-b", -1.0, (-1.0, 1.0)]])
evaluator = hpo.Evaluator("sh program.sh", nodes=4, launcher="wlm", alloc_args="-J hpo -t 10:00", launch_args="-u",
                          verbose=True)
optimizer = hpo.GeneticOptimizer(evaluator, generations=2, pop_size=4, num_demes=2, mutation_rate=0.4, verbose=True,
                                 log_fn="pop.log")
optimizer.optimize(params)
print(optimizer.best_fom, optimizer.best_params)
del evaluator
"""


@pytest.fixture
def place(slurm, tmp_path, monkeypatch):
    """Return a directory with a program, to which we go."""
    monkeypatch.chdir(tmp_path)
    Path("program.sh").write_text(PROGRAM)
    Path("trace").touch()
    assert slurm
    return tmp_path


def driver(mode, *options):
    """Start a driver."""
    launcher = ["--launcher", "slurm", "--mode", mode, "--nodes", "4", "--poll-seconds", "0.5", *options]
    study = ["--strategy", "random", "--num-iters", str(EVALUATIONS), "--param", "-x=0.0..1.0", "--seed", "1"]
    words = [sys.executable, "-m", "crayai", "run", "--quiet", *study, *launcher, "--", "sh", "program.sh"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """Wait for a driver that must end well; return what it has printed."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def traces(word):
    """Return how often each attempt did something."""
    rows = (line.split() for line in Path("trace").read_text().splitlines())
    return Counter((number, attempt) for what, number, attempt in rows if what == word)


def expect_all_once():
    """Every evaluation has begun and ended once; one that was taken back before it began may have another attempt."""
    with Reader(Path("run", "study.db")) as reader:
        assert [one.outcome is not None for one in reader.evaluations()] == [True] * EVALUATIONS
    assert sorted(int(number) for number, _ in traces("begin").elements()) == list(range(EVALUATIONS))


@pytest.mark.parametrize("mode", ["jobs", "steps"])
def test_a_study(mode, place, slurm):
    """A study runs each evaluation once, and leaves neither jobs nor an allocation."""
    assert "Best: " in finish(driver(mode))
    expect_all_once()
    slurm.wait(lambda: slurm.run("squeue", "-h") == "", "nothing is left in the queue")
    assert not (place / "run" / "jobs").exists()


@pytest.mark.fault("the driver is killed while jobs of Slurm run", "the next driver adopts them")
@pytest.mark.parametrize("mode", ["jobs", "steps"])
def test_a_driver_that_is_killed(mode, place, slurm):
    """What runs when the driver is killed goes on, and the next driver takes it over: nothing runs twice."""
    for number in range(3):
        (place / "hold").touch()
        killed = driver(mode)
        wait_until(lambda least=4 * number: traces("begin").total() > least, "something runs")
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        killed.stdout.close()
        killed.stderr.close()  # which the keeper of the steps still has
        (place / "hold").unlink()
        wait_until(lambda: traces("end") == traces("begin"), "what ran has ended")
    finish(driver(mode))
    expect_all_once()
    slurm.wait(lambda: slurm.run("squeue", "-h") == "", "nothing is left in the queue")


@pytest.mark.fault("the driver of jobs of Slurm gets SIGTERM", "it leaves at once; the jobs go on, and are adopted")
def test_a_driver_that_is_asked_to_end(place, slurm):
    """A driver of jobs that gets SIGTERM ends at once, and leaves its jobs to the next one."""
    (place / "hold").touch()
    first = driver("jobs")
    wait_until(lambda: traces("begin").total() == 4, "four run")
    first.terminate()
    first.communicate(timeout=60)
    assert first.returncode == 128 + signal.SIGTERM
    assert slurm.run("squeue", "-h", "-t", "RUNNING")
    (place / "hold").unlink()
    finish(driver("jobs"))
    expect_all_once()


@pytest.mark.parametrize("mode", ["jobs", "steps"])
def test_ctrl_c_twice(mode, place, slurm):
    """Ctrl-C twice ends what runs, and gives everything back."""
    (place / "hold").touch()
    process = driver(mode)
    wait_until(lambda: traces("begin").total() == 4, "four run")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "stopping" in process.stderr.readline(), "it has heard")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    slurm.wait(lambda: slurm.run("squeue", "-h") == "", "nothing is left in the queue")
    (place / "hold").unlink()
    finish(driver(mode))
    with Reader(Path("run", "study.db")) as reader:
        assert all(one.outcome is not None for one in reader.evaluations())


def test_an_old_script(place, slurm):
    """A script of Cray's crayai runs unchanged, on four nodes of an allocation that is released at the end."""
    (place / "program.sh").write_text(
        'echo "FoM: $(hostname | wc -c)"; echo $SLURM_JOB_NODELIST; echo $SLURMD_NODENAME\n'
    )
    (place / "old.py").write_text(OLD_SCRIPT)
    done = subprocess.run([sys.executable, "old.py"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {line for line in done.stdout.splitlines() if line in slurm.nodes} == set(slurm.nodes)
    assert (place / "pop.log").exists()
    slurm.wait(lambda: slurm.run("squeue", "-h") == "", "nothing is left in the queue")


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (["--alloc-args", "-p nosuch"], ["nosuch", "The argument that it speaks of: -p nosuch"]),
        (["--nodes", "40", "--nodes-per-eval", "40"], ["for ever"]),
        (["--alloc-args", "--gres=gpu:1"], ["--gres=gpu:1"]),
        (["--alloc-args", "--mem=100000000"], ["--mem=100000000"]),
    ],
)
@pytest.mark.parametrize("mode", ["jobs", "steps"])
def test_what_slurm_refuses(mode, options, messages, place, slurm):
    """What Slurm refuses ends the study at once with its message and the argument that caused it; nothing is left."""
    process = driver(mode, *options)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    for message in messages:
        assert message in err
    assert traces("begin") == {}
    slurm.wait(lambda: slurm.run("squeue", "-h") == "", "nothing is left in the queue")
    assert place


def test_an_allocation_that_is_over(place, slurm):
    """An allocation that was named and is over is refused with its state."""
    job = slurm.run("sh", "-c", "salloc --no-shell 2>&1").split()[-1]
    slurm.run("scancel", job)
    process = driver("steps", "--alloc-jobid", job)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"the allocation {job} is" in err
    assert place
