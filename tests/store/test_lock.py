"""One driver at a time on a study."""

import os
import socket
import stat
import subprocess
import sys

import pytest

from crayai.hpo.errors import StudyLocked
from crayai.hpo.store.lock import StudyLock, holder

HOLD = """
import sys, time
from pathlib import Path
from crayai.hpo.store.lock import StudyLock
lock = StudyLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
lock.release()
"""


@pytest.fixture
def path(tmp_path):
    """Return where the lock is."""
    return tmp_path / "study.lock"


@pytest.fixture
def other(path):
    """Return a process that holds the lock until its input is closed."""
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_holder_is_refused(path, other):
    """A second driver is refused with process and host of the first, and what to do; the first does not notice."""
    for _ in range(2):
        with pytest.raises(
            StudyLocked, match=rf"{path.parent} is in use by process {other.pid} on {socket.gethostname()}; wait until"
        ):
            StudyLock(path)
    assert holder(path) == f"process {other.pid} on {socket.gethostname()}"


def test_a_lock_in_the_same_process_is_refused_too(path):
    """Two studies of one process exclude each other as well."""
    lock = StudyLock(path)
    with pytest.raises(StudyLocked, match=f"process {os.getpid()} on "):
        StudyLock(path)
    lock.release()


def test_the_death_of_the_holder_frees_the_lock(path, other):
    """After kill -9 of the holder the lock is free, though the file still names the dead."""
    other.kill()
    other.wait()
    assert holder(path) == ""
    StudyLock(path).release()


def test_a_released_lock_is_free(path, other):
    """After a release the lock is free, here and elsewhere, and names nobody."""
    other.communicate()
    assert path.read_text() == ""
    for _ in range(2):
        lock = StudyLock(path)
        assert holder(path) == f"process {os.getpid()} on {socket.gethostname()}"
        lock.release()
        assert holder(path) == ""


def test_to_ask_for_the_holder_disturbs_nobody(path):
    """Asking neither takes the lock nor makes the file."""
    assert holder(path) == ""
    assert not path.exists()
    StudyLock(path).release()
    assert holder(path) == ""
    StudyLock(path).release()


def test_a_longer_name_is_written_over(path):
    """The name of an earlier holder does not show through."""
    path.write_text("process 123456789 on a-machine-with-a-very-long-name.example.org, and more than that\n")
    lock = StudyLock(path)
    assert path.read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 in (0, 0o044)  # as it was before
    lock.release()


def test_the_lock_is_for_its_user_alone(path):
    """A new lock file is not for others."""
    StudyLock(path).release()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_children_do_not_inherit_the_lock(path):
    """A program that a driver started does not hold the lock for it after its death."""
    text = HOLD.replace(
        'print("held"', 'import subprocess; print(subprocess.Popen(["sleep", "1000"], stdout=2).pid'
    ).replace(", flush=True)", ', "held", flush=True)')
    with subprocess.Popen([sys.executable, "-c", text, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline().split()[0])
        process.kill()
        process.wait()
        try:
            StudyLock(path).release()
        finally:
            os.kill(child, 9)
