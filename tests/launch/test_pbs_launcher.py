"""Jobs of PBS, TORQUE and Moab keep the rules of launchers, on stand-ins that queue and really run them."""

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.base import Exited, Gone, Loss, Withdrawn
from crayai.hpo.launch.batch import launcher as engine
from crayai.hpo.launch.batch import verdicts
from crayai.hpo.launch.batch.launcher import BatchLauncher
from crayai.hpo.launch.batch.moab import Moab
from crayai.hpo.launch.batch.pbs import Pbs
from crayai.hpo.launch.batch.torque import Torque
from crayai.hpo.launch.calls import Call
from crayai.hpo.testing.batch_stand_in import StandIn
from crayai.hpo.testing.batch_systems import BatchConformance
from crayai.hpo.testing.launchers import ends_of, make_task, wait_until

RUNS_ON = ["sh", "-c", "sleep 1000"]
DIALECTS = {"pbs": Pbs, "torque": Torque, "moab": Moab}


@pytest.fixture(params=DIALECTS)
def batch(request, tmp_path_factory, monkeypatch):
    """Return a batch system whose commands are on PATH."""
    with StandIn(tmp_path_factory.mktemp("batch"), request.param) as made:
        made.flavour = request.param
        monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
        yield made


def jobs(batch, directory, slots=4, arguments=()):
    """Return a launcher of jobs."""
    dialect = DIALECTS[batch.flavour]()
    return BatchLauncher(directory, "crayai-test", dialect, jobs=slots, arguments=arguments, poll_seconds=0.1)


@pytest.fixture
def launcher(batch, tmp_path):
    """Return a launcher that is closed at the end."""
    made = jobs(batch, tmp_path)
    yield made
    batch.refuse(connections=False)
    made.close()


class TestJobs(BatchConformance):
    """Each task a job, whatever is wrong with the batch system."""

    one_second = ("-l", "walltime=00:00:01")

    @pytest.fixture(autouse=True)
    def _batch(self, batch):
        self.system, self.dialect = batch, DIALECTS[batch.flavour]

    @pytest.mark.fault("somebody deletes a job of PBS, TORQUE or Moab", "the evaluation has failed: cancelled")
    def test_a_job_that_somebody_deletes(self, tmp_path, monkeypatch):
        """It counts as cancelled."""
        super().test_a_job_that_somebody_deletes(tmp_path, monkeypatch)

    @pytest.mark.fault("a node of PBS crashes", "the job is queued again, is waited for, and its second end counts")
    def test_a_node_that_crashes(self, tmp_path):
        """It is alive though it shows how its first run ended."""
        super().test_a_node_that_crashes(tmp_path)

    @pytest.mark.fault("the server forgets jobs as soon as they end", "their own records say how they ended")
    def test_ends_that_are_forgotten(self, tmp_path):
        """The record of the task decides."""
        super().test_ends_that_are_forgotten(tmp_path)

    @pytest.mark.fault("the driver dies while jobs of PBS run", "the next driver finds them, and submits none twice")
    def test_jobs_that_a_dead_driver_has_left(self, tmp_path):
        """A later driver adopts them."""
        super().test_jobs_that_a_dead_driver_has_left(tmp_path)

    @pytest.mark.fault("the driver dies while it takes jobs back", "the next one deletes them; they run again, later")
    def test_jobs_that_a_dead_driver_has_taken_back(self, tmp_path, monkeypatch):
        """They have no outcome."""
        super().test_jobs_that_a_dead_driver_has_taken_back(tmp_path, monkeypatch)


def started(launcher, task):
    """Submit a task, and wait until it runs; return its job."""
    launcher.submit(task)
    wait_until(launcher, lambda: launcher._spool.proofs.owner("0.1"), "the task runs")
    return launcher._spool.proofs.owner("0.1")


def test_several_are_an_array(batch, launcher, tmp_path):
    """What starts together is one submission, but for Moab."""
    tasks = [make_task(tmp_path, number, ["sh", "-c", f"exit {number}"]) for number in range(4)]
    for task in tasks:
        launcher.submit(task)
    assert ends_of(launcher, tasks) == [Exited(number) for number in range(4)]
    assert {job["number"] for job in batch.jobs} == ({0, 1, 2, 3} if batch.flavour == "moab" else {0})


@pytest.fixture
def _hasty(monkeypatch):
    """Let what nothing is heard of be lost as soon as possible."""
    monkeypatch.setattr(verdicts, "_SETTLE_SECONDS", 0.3)


def heard(launcher, often):
    """Wait until the batch system has been asked so often once more."""
    seen, calls = [], launcher._scheduler.asked_at
    while len(seen) < often:
        launcher.wait(0.05)
        if launcher._scheduler.asked_at != calls:
            calls = launcher._scheduler.asked_at
            seen.append(calls)


def test_a_job_that_is_forgotten_soon(batch, launcher, tmp_path, monkeypatch):
    """What was heard of an end counts, though nothing is heard of it any more."""
    task = make_task(tmp_path, 0, RUNS_ON)
    batch.delete(owner := started(launcher, task))
    job = launcher._spool.jobs[task.tag]
    wait_until(launcher, lambda: job.seen and job.seen.loss and batch.jobs[0]["state"] == "F", "its end is heard of")
    monkeypatch.setattr(verdicts, "_SETTLE_SECONDS", 0.3)
    proofs = launcher._spool.proofs
    for left in ("end", "asked"):
        (proofs.directory / f"{job.name}.{left}").unlink(missing_ok=True)
    batch.purge(owner)
    heard(launcher, 2)
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Gone), end
    assert end.loss is Loss.CANCELLED


@pytest.mark.fault("the daemon of a node of PBS dies alone", "what runs on goes on, and counts; nothing runs twice")
def test_a_node_whose_daemon_dies(batch, launcher, tmp_path):
    """The job that is queued again waits for the program of the first one, and leaves it at that."""
    waits = "echo once >> times; while [ ! -e go ]; do sleep 0.05; done; exit 3"
    task = make_task(tmp_path, 0, ["sh", "-c", waits])
    started(launcher, task)
    wait_until(launcher, (tmp_path / "times").exists, "it runs")
    batch.fail_node(daemon_alone=True)
    wait_until(launcher, lambda: batch.jobs[0]["runs"] == 2, "the job is started again")
    (tmp_path / "go").touch()
    assert ends_of(launcher, [task]) == [Exited(3)]
    assert (tmp_path / "times").read_text() == "once\n"


@pytest.mark.parametrize("batch", ["pbs"], indirect=True)
@pytest.mark.parametrize("has_history", [True, False])
@pytest.mark.usefixtures("_hasty")
def test_several_submissions_at_once(batch, launcher, tmp_path, has_history):
    """All are heard of in one answer, also from a server that keeps no ended jobs, as PBS's does unless told to."""
    if not has_history:
        batch.keep_no_history()
    tasks = [make_task(tmp_path, n, ["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"]) for n in (0, 1, 2)]
    started(launcher, tasks[0])
    for task in tasks[1:]:
        launcher.submit(task)
    wait_until(launcher, lambda: len(batch.jobs) == 3, "all are there")
    heard(launcher, 10)
    assert launcher.poll([task.tag for task in tasks]) == {}
    assert [job.seen.word for job in launcher._spool.jobs.values()] == ["R"] * 3
    (tmp_path / "go").touch()
    assert ends_of(launcher, tasks) == [Exited(0)] * 3


@pytest.mark.parametrize("batch", ["torque"], indirect=True)
@pytest.mark.usefixtures("_hasty")
def test_an_answer_that_breaks_off(batch, launcher, tmp_path):
    """What TORQUE's qstat could not ask for any more is not lost."""
    tasks = [make_task(tmp_path, number, ["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"]) for number in (0, 1)]
    started(launcher, tasks[0])
    launcher.submit(tasks[1])
    wait_until(launcher, lambda: len(batch.jobs) == 2, "both are there")
    batch.break_off(after_first=True)
    heard(launcher, 10)
    assert launcher.poll([task.tag for task in tasks]) == {}
    batch.break_off(after_first=False)
    (tmp_path / "go").touch()
    assert ends_of(launcher, tasks) == [Exited(0)] * 2


def test_a_cancel_that_nobody_obeys(batch, launcher, tmp_path, monkeypatch):
    """What a node does not end, though the batch system said that it would, is cancelled again."""
    monkeypatch.setattr(engine, "_CANCEL_SECONDS", 0.3)
    task = make_task(tmp_path, 0, RUNS_ON)
    started(launcher, task)
    batch.refuse(connections=True)
    launcher.cancel([task.tag])
    launcher._scheduler._to_cancel.clear()  # it was told, and has not done it
    batch.refuse(connections=False)
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Withdrawn), end


def test_a_lost_answer_about_what_ended_meanwhile(batch, launcher, tmp_path):
    """What ended before anybody learnt its name keeps nothing back: the next is submitted."""
    batch.lose_answer()
    first, second = (make_task(tmp_path, number, ["true"]) for number in range(2))
    launcher.submit(first)
    launcher.wait(0.0)
    while not Path(tmp_path, "jobs", "proofs", "0.1.end").exists():
        pass
    assert launcher.poll([first.tag]) == {first.tag: Exited(0)}
    launcher.forget([first.tag])
    launcher.submit(second)
    assert ends_of(launcher, [second]) == [Exited(0)]


@pytest.mark.parametrize("limit", ["of the site", "-r n"])
def test_arrays_that_are_too_large(batch, tmp_path, limit):
    """Their size is learnt once; nothing is told, for nothing is wrong."""
    if limit == "of the site":
        batch.limit_arrays(2)
    launcher = jobs(batch, tmp_path, slots=16, arguments=[] if limit == "of the site" else limit.split())
    for first in (0, 5, 10):
        tasks = [make_task(tmp_path, number, ["true"]) for number in range(first, first + 5)]
        for task in tasks:
            launcher.submit(task)
        assert ends_of(launcher, tasks) == [Exited(0)] * 5
    assert launcher.notices() == []
    sizes = Counter(job["number"] for job in batch.jobs)
    if batch.flavour != "moab" and limit == "of the site":
        assert max(sizes.values()) == 2
    launcher.close()


def test_what_is_refused(batch, tmp_path):
    """The message is passed on, with the argument that it speaks of."""
    launcher = jobs(batch, tmp_path, arguments=["-q", "nosuch"])
    launcher.submit(make_task(tmp_path, 0, ["true"]))
    with pytest.raises(LaunchError, match=r"(?s)Unknown queue.*speaks of: -q nosuch"):
        launcher.wait(5)
    launcher.close()


def test_a_request_that_can_never_be_met(batch, tmp_path):
    """A job that would wait for ever is told of; Moab holds it, and somebody may still let it go."""
    size = "select=1:ncpus=64" if batch.flavour == "pbs" else "nodes=64:ppn=8"
    launcher = jobs(batch, tmp_path, arguments=["-l", size])
    launcher.submit(make_task(tmp_path, 0, ["true"]))
    if batch.flavour == "moab":
        told = []
        wait_until(launcher, lambda: told.extend(launcher.notices()) or told, "it is told")
        assert "because of BatchHold" in told[0]
    else:
        with pytest.raises(LaunchError, match=r"wait in the queue for ever|cannot locate feasible nodes"):
            wait_until(launcher, lambda: False, "it is told")
    launcher.close()


def test_jobs_that_are_cancelled(launcher, tmp_path):
    """What the driver ends has no outcome."""
    task = make_task(tmp_path, 0, RUNS_ON)
    started(launcher, task)
    launcher.cancel([task.tag])
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Withdrawn), end


def test_a_command_that_never_answers_leaves_nothing_behind(tmp_path):
    """What a command has started ends with it."""
    os.mkfifo(tmp_path / "never")
    call = Call(["sh", "-c", f"(echo > {tmp_path}/began; read x < {tmp_path}/never) & wait"])
    while not (tmp_path / "began").exists():
        assert call.answer() is None
    call._deadline = 0.0
    assert call.wait().code is None
    deadline = time.monotonic() + 60

    def open_while_somebody_reads():
        while time.monotonic() < deadline:
            os.close(os.open(tmp_path / "never", os.O_WRONLY | os.O_NONBLOCK))

    with pytest.raises(OSError, match="No such device"):
        open_while_somebody_reads()
