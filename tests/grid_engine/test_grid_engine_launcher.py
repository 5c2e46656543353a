"""Jobs of a real Grid Engine keep the rules of launchers, and end in all of its ways."""

import signal
from pathlib import Path

import pytest

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.base import Exited, Gone, Limit, Loss
from crayai.hpo.launch.batch.grid_engine import GridEngine
from crayai.hpo.launch.batch.launcher import BatchLauncher
from crayai.hpo.testing.launchers import LauncherConformance, ends_of, make_task, wait_until

RUNS_ON = ["sh", "-c", "sleep 1000"]


def jobs(directory, slots=4, arguments=()):
    """Return a launcher of jobs."""
    return BatchLauncher(directory, "crayai-test", GridEngine(), jobs=slots, arguments=arguments, poll_seconds=0.3)


@pytest.fixture
def launcher(cell, tmp_path):
    """Return a launcher that is closed at the end."""
    made = jobs(tmp_path)
    yield made
    made.close()
    assert cell


@pytest.mark.usefixtures("cell")
class TestJobs(LauncherConformance):
    """Each task a job."""

    def launcher(self, directory, slots):
        """Return the one under test, which takes one more than there are slots."""
        return jobs(directory, slots + 1)

    def kill_driver(self, launcher):
        """Hear what it has asked and will not hear."""
        launcher._scheduler.close()


def started(launcher, task):
    """Submit a task, and wait until it runs; return its job."""
    launcher.submit(task)
    wait_until(launcher, lambda: launcher._spool.proofs.owner("0.1"), "the task runs")
    return launcher._spool.proofs.owner("0.1")


def test_several_are_an_array(launcher, tmp_path, monkeypatch):
    """What starts together is one submission; an end with 99 or 100 means nothing to us, and no value is odd."""
    monkeypatch.setenv("ODD", odd := "a 'b' \"c\"\n$(d)")
    where = tmp_path / "a directory, with: $HOME"
    where.mkdir()
    tasks = [make_task(where, number, ["sh", "-c", f'printf %s "$ODD"; exit {98 + number}']) for number in range(4)]
    for task in tasks:
        launcher.submit(task)
    assert ends_of(launcher, tasks) == [Exited(98 + number) for number in range(4)]
    assert [Path(task.stdout).read_text() for task in tasks] == [odd] * 4
    assert len(launcher._spool.submissions) == 1


@pytest.mark.fault("somebody deletes a job of Grid Engine", "the evaluation has failed: cancelled")
def test_a_job_that_somebody_deletes(cell, launcher, tmp_path):
    """A job that somebody else has ended is told so."""
    task = make_task(tmp_path, 0, RUNS_ON)
    cell.run("qdel", started(launcher, task))
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Gone), end
    assert end.loss is Loss.CANCELLED


def test_a_limit_of_time_of_the_job(cell, tmp_path):
    """The batch system's own limit is a limit of time."""
    launcher = jobs(tmp_path, arguments=["-l", "h_rt=2"])
    task = make_task(tmp_path, 0, RUNS_ON)
    launcher.submit(task)
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Exited), end
    assert end.limit is Limit.TIME
    launcher.close()
    assert cell


@pytest.mark.fault(
    "a node of Grid Engine crashes", "the evaluation is lost with it, or runs again where `-r y` is given"
)
@pytest.mark.parametrize("reruns", [False, True])
def test_a_node_that_crashes(reruns, cell, tmp_path):
    """A job whose node comes back without it is lost, unless it may run again."""
    launcher = jobs(tmp_path, arguments=["-r", "y" if reruns else "n"])
    count = 'echo again >> times; [ "$(wc -l < times)" = 2 ] || exec sleep 1000; exit 3'
    task = make_task(tmp_path, 0, ["sh", "-c", count])
    started(launcher, task)
    wait_until(launcher, (tmp_path / "times").exists, "the first run")
    cell.crash_node()
    cell.restart_node()
    (end,) = ends_of(launcher, [task])
    assert end == Exited(3) if reruns else isinstance(end, Gone) and end.loss is Loss.NODE_FAILURE, end
    launcher.close()


@pytest.mark.fault("the server of Grid Engine hangs", "what runs goes on, what ends is known, the rest waits")
def test_a_server_that_is_down(cell, launcher, tmp_path, monkeypatch):
    """What ends is known, and what is submitted waits."""
    monkeypatch.setattr("crayai.hpo.launch.calls.TIMEOUT_SECONDS", 2.0)
    first, second = (make_task(tmp_path, n, ["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"]) for n in (0, 1))
    started(launcher, first)
    cell.signal_server(signal.SIGSTOP)
    try:
        (tmp_path / "go").touch()
        assert ends_of(launcher, [first]) == [Exited(0)]
        launcher.submit(second)
        told = []
        wait_until(launcher, lambda: told.extend(launcher.notices()) or told, "the user is told")
        assert "does not answer" in told[0]
    finally:
        cell.signal_server(signal.SIGCONT)
    assert ends_of(launcher, [second]) == [Exited(0)]


def test_a_queue_that_is_full(cell, launcher, tmp_path):
    """No more than the server takes is submitted at once, and all of it is run."""
    cell.set("max_aj_tasks", "3")
    tasks = [make_task(tmp_path, number, ["true"]) for number in range(4)]
    for task in tasks:
        launcher.submit(task)
    try:
        assert ends_of(launcher, tasks) == [Exited(0)] * 4
    finally:
        cell.set("max_aj_tasks", "75000")
    assert len({path.name for path in launcher._root.glob("[0-9]*")}) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-q", "nosuch.q"], r"(?s)unknown queue.*speaks of: -q nosuch.q"),
        (["-l", "nosuch=1"], r"(?s)unknown resource.*speaks of: -l nosuch=1"),
        (["-pe", "nosuch", "2"], r"(?s)parallel environment.*speaks of: -pe nosuch"),
    ],
)
def test_what_is_refused(arguments, message, cell, tmp_path):
    """The message is passed on, with the argument that it speaks of."""
    launcher = jobs(tmp_path, arguments=arguments)
    launcher.submit(make_task(tmp_path, 0, ["true"]))
    with pytest.raises(LaunchError, match=message):
        launcher.wait(5)
    launcher.close()
    assert cell


@pytest.mark.fault("a job of Grid Engine is in the state of error", "the study stops, and says why")
def test_a_job_in_the_state_of_error(cell, tmp_path):
    """A job that would wait until somebody clears its error is told of, with the reason."""
    launcher = jobs(tmp_path, arguments=["-wd", "/nonexistent"])
    launcher.submit(make_task(tmp_path, 0, ["true"]))
    with pytest.raises(LaunchError, match=r"for ever: the batch system says Eqw .*/nonexistent"):
        wait_until(launcher, lambda: False, "it is told")
    launcher.close()
    assert cell
