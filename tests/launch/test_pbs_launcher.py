"""Jobs of PBS, TORQUE and Moab keep the rules of launchers, on stand-ins that queue and really run them."""

import os
from pathlib import Path

import pytest

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.base import Exited, Gone, Limit, Loss, Withdrawn
from crayai.hpo.launch.batch import launcher as engine
from crayai.hpo.launch.batch import verdicts
from crayai.hpo.launch.batch.dialect import Answer
from crayai.hpo.launch.batch.driver_job import DriverJob
from crayai.hpo.launch.batch.launcher import BatchLauncher
from crayai.hpo.launch.batch.moab import Moab
from crayai.hpo.launch.batch.pbs import Pbs
from crayai.hpo.launch.batch.torque import Torque
from crayai.hpo.launch.calls import Call, ask
from crayai.hpo.testing.batch_stand_in import StandIn
from crayai.hpo.testing.launchers import LauncherConformance, ends_of, make_task, wait_until

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


class TestJobs(LauncherConformance):
    """Each task a job."""

    @pytest.fixture(autouse=True)
    def _batch(self, batch):
        self.batch = batch

    def launcher(self, directory, slots):
        """Return the one under test, which takes one more than there are slots."""
        return jobs(self.batch, directory, slots + 1)

    def kill_driver(self, launcher):
        """Hear what it has asked and will not hear."""
        launcher._scheduler.close()


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


def test_the_environment_of_the_driver(launcher, tmp_path, monkeypatch):
    """A job finds what the driver has, with whatever values."""
    monkeypatch.setenv("ODD", odd := "a 'b' \"c\"\n$(d)")
    ours = dict.fromkeys(("name", "place", "node", "code", "first"), "of the user")
    for name, text in ours.items():
        monkeypatch.setenv(name, text)
    tasks = [
        make_task(tmp_path, n, ["sh", "-c", f'printf %s "$ODD{"".join(map("${}".format, ours))}"']) for n in (0, 1)
    ]
    for task in tasks:
        launcher.submit(task)
    assert ends_of(launcher, tasks) == [Exited(0)] * 2
    assert [Path(task.stdout).read_text() for task in tasks] == [odd + "".join(ours.values())] * 2


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


@pytest.mark.fault("somebody deletes a job of PBS, TORQUE or Moab", "the evaluation has failed: cancelled")
@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.usefixtures("_hasty")
def test_a_job_that_somebody_deletes(batch, launcher, tmp_path, forgets):
    """A job that somebody else has ended is told so, also by a server that keeps nothing of it."""
    if forgets:
        batch.forget_ends()
    task = make_task(tmp_path, 0, RUNS_ON)
    batch.delete(started(launcher, task))
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Gone), end
    assert end.loss is Loss.CANCELLED


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


@pytest.mark.fault("a node of PBS crashes", "the job is queued again, is waited for, and its second end counts")
def test_a_node_that_crashes(batch, launcher, tmp_path):
    """A job that is queued again is alive, though it shows how its first run ended."""
    count = 'echo again >> times; [ "$(wc -l < times)" = 2 ] || exec sleep 1000; exit 3'
    task = make_task(tmp_path, 0, ["sh", "-c", count])
    started(launcher, task)
    wait_until(launcher, (tmp_path / "times").exists, "the first run")
    batch.fail_node()
    assert ends_of(launcher, [task]) == [Exited(3)]
    assert (tmp_path / "times").read_text() == "again\nagain\n"


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


@pytest.mark.parametrize("batch", ["pbs", "torque"], indirect=True)
@pytest.mark.usefixtures("_hasty")
def test_a_waiting_job_of_an_array_that_somebody_deletes(batch, tmp_path):
    """A job that never ran was cancelled, whatever exit status the array shows for it."""
    launcher = jobs(batch, tmp_path, slots=8)
    tasks = [make_task(tmp_path, number, RUNS_ON) for number in range(6)]
    for task in tasks:
        launcher.submit(task)
    wait_until(launcher, lambda: sum(job["state"] == "R" for job in batch.jobs) == 4, "four run")
    waiting = next(job for job in batch.jobs if job["state"] == "Q")
    batch.delete(waiting["id"])
    (end,) = ends_of(launcher, [tasks[waiting["index"]]])
    assert isinstance(end, Gone), end
    assert end.loss is Loss.CANCELLED
    launcher.close()


def test_an_array_whose_answer_is_lost(batch, launcher, tmp_path):
    """An array is found as well as a single job, though TORQUE does not find it by its name."""
    batch.lose_answer()
    program = 'echo "$0" >> times; while [ ! -e go ]; do sleep 0.05; done'
    tasks = [make_task(tmp_path, number, ["sh", "-c", program, str(number)]) for number in range(3)]
    for task in tasks:
        launcher.submit(task)
    wait_until(launcher, lambda: all(one.id for one in launcher._spool.submissions), "it is found")
    (tmp_path / "go").touch()
    assert ends_of(launcher, tasks) == [Exited(0)] * 3
    assert len(batch.jobs) == 3
    assert sorted((tmp_path / "times").read_text().split()) == ["0", "1", "2"]


def test_an_array_that_waits_whose_answer_is_lost(batch, launcher, tmp_path):
    """An array of which nothing has begun is found, too."""
    before = [make_task(tmp_path, number, RUNS_ON) for number in range(4)]
    for task in before:
        launcher.submit(task)
    wait_until(launcher, lambda: all(job["state"] == "R" for job in batch.jobs) and batch.jobs, "all slots are taken")
    batch.lose_answer()
    for number in range(4, 7):
        launcher.submit(make_task(tmp_path, number, ["true"]))
    wait_until(launcher, lambda: len(batch.jobs) > 4, "it is submitted")
    wait_until(launcher, lambda: all(one.id for one in launcher._spool.submissions), "it is found")
    assert len(batch.jobs) == 7 or batch.flavour == "moab"


@pytest.mark.usefixtures("_hasty")
def test_a_job_that_another_one_was_faster_than(batch, launcher, tmp_path):
    """Where a script was submitted twice, and only the job is known that had nothing to do, the other one counts."""
    task = make_task(tmp_path, 0, ["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done; exit 3"])
    first = started(launcher, task)
    (submission,) = launcher._spool.submissions
    answer = ask(launcher._scheduler.words(submission.script, 1, None))
    submission.know(launcher._scheduler.dialect.submission(answer))
    wait_until(launcher, lambda: batch.jobs[1]["state"] == "F", "the second one has nothing to do")
    heard(launcher, 10)
    assert launcher.poll([task.tag]) == {}
    assert launcher._spool.jobs[task.tag].twin == first
    (tmp_path / "go").touch()
    assert ends_of(launcher, [task]) == [Exited(3)]


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


def test_a_limit_of_time_of_the_job(batch, tmp_path):
    """The batch system's own limit is a limit of time."""
    launcher = jobs(batch, tmp_path, arguments=["-l", "walltime=00:00:01"])
    task = make_task(tmp_path, 0, RUNS_ON)
    launcher.submit(task)
    (end,) = ends_of(launcher, [task])
    assert isinstance(end, Exited), end
    assert end.limit is Limit.TIME
    launcher.close()


@pytest.mark.fault("the server forgets jobs as soon as they end", "their own records say how they ended")
def test_ends_that_the_server_forgets(batch, launcher, tmp_path):
    """The record of the task decides."""
    batch.forget_ends()
    tasks = [make_task(tmp_path, number, ["sh", "-c", f"exit {number}"]) for number in range(3)]
    for task in tasks:
        launcher.submit(task)
    assert ends_of(launcher, tasks) == [Exited(number) for number in range(3)]


def test_an_answer_that_is_lost(batch, launcher, tmp_path):
    """What was submitted without anybody being told is found, and not submitted twice."""
    batch.lose_answer()
    task = make_task(tmp_path, 0, ["sh", "-c", "echo once >> times; while [ ! -e go ]; do sleep 0.05; done"])
    launcher.submit(task)
    wait_until(launcher, lambda: any(one.id for one in launcher._spool.submissions), "it is found")
    (tmp_path / "go").touch()
    assert ends_of(launcher, [task]) == [Exited(0)]
    assert len(batch.jobs) == 1
    assert (tmp_path / "times").read_text() == "once\n"


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


def test_a_server_that_nobody_reaches(batch, launcher, tmp_path):
    """What runs goes on, what ends is known, and what is submitted waits."""
    first, second = (make_task(tmp_path, n, ["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"]) for n in (0, 1))
    started(launcher, first)
    batch.refuse(connections=True)
    (tmp_path / "go").touch()
    assert ends_of(launcher, [first]) == [Exited(0)]
    launcher.submit(second)
    told = []
    wait_until(launcher, lambda: told.extend(launcher.notices()) or told, "the user is told")
    assert "does not answer" in told[0]
    batch.refuse(connections=False)
    assert ends_of(launcher, [second]) == [Exited(0)]


def test_a_queue_that_is_full(batch, launcher, tmp_path):
    """No more than the queue takes is submitted, and all of it is run."""
    batch.limit(2)
    tasks = [make_task(tmp_path, number, ["true"]) for number in range(4)]
    for task in tasks:
        launcher.submit(task)
    assert ends_of(launcher, tasks) == [Exited(0)] * 4


@pytest.mark.parametrize("limit", ["of the site", "-r n"])
def test_arrays_that_are_too_large(batch, tmp_path, limit):
    """Their size is learnt once; nothing is told, for nothing is wrong."""
    if limit == "of the site":
        batch.limit_arrays(2)
    launcher = jobs(batch, tmp_path, slots=16, arguments=[] if limit == "of the site" else limit.split())
    for first in (0, 4, 8):
        tasks = [make_task(tmp_path, number, ["true"]) for number in range(first, first + 4)]
        for task in tasks:
            launcher.submit(task)
        assert ends_of(launcher, tasks) == [Exited(0)] * 4
    assert launcher.notices() == []
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


@pytest.mark.fault("the driver dies while jobs of PBS run", "the next driver finds them, and submits none twice")
def test_jobs_that_a_dead_driver_has_left(batch, tmp_path):
    """A later driver adopts them."""
    first = jobs(batch, tmp_path)
    running, taken = (make_task(tmp_path, n, ["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"]) for n in (0, 1))
    started(first, running)
    first.submit(taken)
    wait_until(first, lambda: len(batch.jobs) == 2, "both are there")
    first._scheduler.close()
    second = jobs(batch, tmp_path)
    assert second.find(running)
    assert second.find(taken)
    (tmp_path / "go").touch()
    assert ends_of(second, [running, taken]) == [Exited(0)] * 2
    assert len(batch.jobs) == 2
    second.close()


@pytest.mark.fault("the driver dies while it takes jobs back", "the next driver deletes them; they run again, later")
def test_jobs_that_a_dead_driver_has_taken_back(batch, tmp_path, monkeypatch):
    """They have no outcome, whether the batch system has heard of it or not."""
    first = jobs(batch, tmp_path, slots=8)
    tasks = [make_task(tmp_path, number, RUNS_ON) for number in range(5)]
    for task in tasks:
        first.submit(task)
    wait_until(first, lambda: sorted(job["state"] for job in batch.jobs) == ["Q", *"RRRR"], "one waits")
    heard(first, 1)
    monkeypatch.setattr(first._scheduler, "cancel", lambda _: None)
    first.withdraw()
    first._scheduler.close()
    second = jobs(batch, tmp_path, slots=8)
    assert all(second.find(task) for task in tasks)
    (waiting,) = [number for number, job in enumerate(batch.jobs) if job["state"] != "R"]
    assert ends_of(second, [tasks[waiting]]) == [Withdrawn()]
    wait_until(second, lambda: batch.jobs[waiting]["state"] == "F", "it is deleted")
    assert second.poll([task.tag for task in tasks]).keys() == {tasks[waiting].tag}
    second.close()


def test_a_driver_that_is_a_job(batch, tmp_path):
    """It is submitted once, whatever other jobs the user has."""
    other = tmp_path / "other"
    other.write_text("sleep 1000\n")
    dialect = DIALECTS[batch.flavour]()
    submit = "msub" if batch.flavour == "moab" else "qsub"
    assert ask([submit, "-N", "other", "-o", str(tmp_path / "out"), str(other)]).code == 0
    driver = DriverJob(
        directory=tmp_path, caller=tmp_path, command=["sleep", "1000"], name="crayai-driver-1234567", minutes=9
    )
    assert dialect.submission(Answer(0, driver.start(dialect), ""))
    with pytest.raises(LaunchError, match="has a driver that is a job already"):
        driver.start(dialect)


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
    call = Call(["sh", "-c", f"(echo > {tmp_path}/began; read x < {tmp_path}/never) & wait"], 1.0)
    assert call.wait().code is None
    assert (tmp_path / "began").exists()
    with pytest.raises(OSError, match="No such device"):
        os.open(tmp_path / "never", os.O_WRONLY | os.O_NONBLOCK)
