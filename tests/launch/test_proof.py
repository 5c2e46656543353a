"""What the script of a task does when it is started, once more, or in vain; it needs nothing but a plain shell."""

import fcntl
import os
import shlex
import signal
import subprocess
from contextlib import contextmanager

import pytest

from crayai.hpo.launch import proof
from crayai.hpo.launch.proof import DRIVER, Proofs, name_of, script_of
from crayai.hpo.testing.launchers import make_task


@pytest.fixture
def task(tmp_path):
    """Return a task that notes that it runs."""
    return make_task(tmp_path, 0, ["sh", "-c", "echo ran >> runs; exit 3"])


@pytest.fixture
def proofs(tmp_path):
    """Return where its records are."""
    made = Proofs(tmp_path / "proofs")
    made.make()
    return made


def written(task, proofs, **how):
    """Write the script of a task; return its path."""
    script = proofs.directory / f"script.{name_of(task)}"
    script.write_text(script_of(task, proofs.directory, script, shlex.join(task.argv), **how))
    return script


def started(script, job="7.pbs0"):
    """Start a script as a job, in a group of its own."""
    own = {"PATH": "/usr/bin:/bin", "CRAYAI_JOB": job}
    return subprocess.Popen(["sh", script], env=own, start_new_session=True)


@contextmanager
def waiting(task, proofs):
    """Yield a script, and a job of it that waits, until the block is over, for a run elsewhere."""
    script = written(task, proofs, is_restarted=True)
    with script.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        job = started(script)
        while not proofs.owner(name_of(task)):
            assert job.poll() is None
        yield script, job


def run(task, proofs, job="7.pbs0"):
    """Run the script of a task as a job; return its exit code, and how often its program has run by now."""
    code = started(written(task, proofs, is_restarted=True), job).wait()
    runs = proofs.directory.parent / "runs"
    return code, len(runs.read_text().split()) if runs.exists() else 0


def test_a_job_that_is_started_again_after_the_end(task, proofs):
    """An end is final, also where the batch system has not heard of it and starts the job again."""
    assert run(task, proofs) == (3, 1)
    assert run(task, proofs) == (0, 1)
    end = proofs.end(name_of(task))
    assert end is not None
    assert end.code == 3


def test_a_job_that_is_started_again_after_it_was_told_to_end(task, proofs):
    """One that was told to end has not ended by itself."""
    assert run(task, proofs) == (3, 1)
    with (proofs.directory / f"{name_of(task)}.end").open("a") as file:
        file.write("asked yes\n")
    assert run(task, proofs) == (3, 2)


def test_a_job_that_is_told_to_end_before_it_begins(task, proofs):
    """It waits for the lock of a run before it; what it is told meanwhile counts, and its program does not run."""
    with waiting(task, proofs) as (_, job):
        job.terminate()
        assert job.wait(60) == 143
    end = proofs.end(name_of(task))
    assert end is not None
    assert end.was_asked


def test_a_job_that_still_runs_elsewhere(task, proofs, monkeypatch):
    """It is not started a second time, however long that lasts; nor does it say how the other one ends."""
    monkeypatch.setattr(proof, "_PATIENCE_SECONDS", 1)
    with written(task, proofs).open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert run(task, proofs) == (1, 0)
    assert proofs.end(name_of(task)) is None


def test_a_job_whose_other_run_was_recorded_while_it_waited(tmp_path, task, proofs):
    """It does not run: what is on record has no script any more, and that goes before its proofs do."""
    with waiting(task, proofs) as (script, job):
        script.unlink()
        proofs.forget(name_of(task))
    assert job.wait(60) == 0
    assert not (tmp_path / "runs").exists()
    assert list(proofs.directory.iterdir()) == []


def test_a_job_that_is_killed_soon_after_it_was_told_to_end(tmp_path, proofs):
    """It has left a mark, which goes away when it is started again."""
    task = make_task(tmp_path, 0, ["sh", "-c", "trap : TERM; echo on >> runs; while :; do sleep 0.1; done"])
    script = written(task, proofs)
    for runs in (1, 2):
        job = started(script)
        while not (tmp_path / "runs").exists() or len((tmp_path / "runs").read_text().split()) < runs:
            assert job.poll() is None
        assert not proofs.was_asked(name_of(task))
        job.terminate()
        while not proofs.was_asked(name_of(task)):
            assert job.poll() is None
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        assert proofs.end(name_of(task)) is None
    proofs.forget(name_of(task))
    assert not proofs.was_asked(name_of(task))


@pytest.mark.parametrize(("limit", "alone", "tells"), [(None, True, True), (None, False, False), (60, False, True)])
def test_who_tells_the_program_to_end(tmp_path, proofs, limit, alone, tells):
    """The script does, unless the program is told with it; timeout(1) has a group of its own."""
    begins = "until grep -q 'State:.S' /proc/$PPID/status; do :; done; : > on"  # who has started it waits for it
    program = f'trap "echo told > log; exit 1" TERM; {begins}; while [ ! -e go ]; do sleep 0.02; done'
    task = make_task(tmp_path, 0, ["sh", "-c", program], seconds=limit)
    job = started(written(task, proofs, is_told_alone=alone))
    while not (tmp_path / "on").exists():
        assert job.poll() is None
    job.terminate()
    while not proofs.was_asked(name_of(task)) and job.poll() is None:
        pass
    if not tells:
        (tmp_path / "go").touch()
    job.wait()
    assert (tmp_path / "log").exists() == tells
    assert proofs.end(name_of(task)).was_asked


def test_the_code_of_a_program_that_ends_as_soon_as_it_is_told(tmp_path, proofs):
    """It is kept, also where the shell hears of the signal and of the end at once."""
    (tmp_path / "at").mkdir()
    jobs = {}
    for number in range(30):
        program = f'trap "exit 7" TERM; : > at/{number}; while :; do sleep 0.02; done'
        task = make_task(tmp_path, number, ["sh", "-c", program])
        jobs[name_of(task)] = started(written(task, proofs), f"{number}.pbs0")
    while len(list((tmp_path / "at").iterdir())) < len(jobs):
        assert all(job.poll() is None for job in jobs.values())
    for job in jobs.values():
        os.killpg(job.pid, signal.SIGTERM)
        job.wait()
    assert {name: proofs.end(name).code for name in jobs} == dict.fromkeys(jobs, 7)


def test_a_job_that_is_cancelled(task, proofs):
    """What the driver has given up does not run, also where nobody could tell the batch system."""
    proofs.cancel(name_of(task))
    assert run(task, proofs) == (0, 0)


def test_a_second_job(task, proofs):
    """What a job has claimed no other one runs."""
    assert run(task, proofs) == (3, 1)
    assert run(task, proofs, job="8.pbs0") == (0, 1)


def test_what_is_taken_away(proofs):
    """A claim that is taken away is the driver's, whoever had it, and also where nobody had."""
    for number, owner in enumerate(["", "job"]):
        if owner:
            (proofs.directory / f"{number}.claim").symlink_to(owner)
        proofs.take(str(number))
        assert proofs.owner(str(number)) == DRIVER
