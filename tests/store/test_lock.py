"""One driver at a time on a study."""

import fcntl
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest

from crayai.hpo.errors import StoreError, StudyLocked
from crayai.hpo.processes import Process
from crayai.hpo.store import lock as lock_module
from crayai.hpo.store.lock import StudyLock, holder

HOLD = """
import sys
from pathlib import Path
from crayai.hpo.store.lock import StudyLock
lock = StudyLock(Path(sys.argv[1]))
print("held", lock.has_locks, flush=True)
sys.stdin.read()
lock.release()
"""
FREE = "import sys; from pathlib import Path; from crayai.hpo.store.lock import StudyLock; StudyLock(Path(sys.argv[1]))"
HOST = socket.gethostname()
ROUNDS = 1000
KILLS = 200

ELSEWHERE = Process("node7", "0a1b2c3d-0000-4000-8000-000000000000", 4711, "99", "1", "pbs 12.pbs0")


@pytest.fixture
def path(tmp_path):
    """Return where the lock is."""
    return tmp_path / "study.lock"


@pytest.fixture
def chain(monkeypatch):
    """Let this process and its children see a file system whose locks do not reach other machines."""
    monkeypatch.setattr(lock_module, "has_shared_locks", lambda _: False)


@pytest.fixture(params=["lock", "chain"])
def either(request):
    """Run a test with the lock and with the chain of files."""
    if request.param == "chain":
        request.getfixturevalue("chain")
    return request.param


@pytest.fixture
def other(path):
    """Return a process that holds the lock until its input is closed."""
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held True\n"
        yield process
        process.kill()


def name(process):
    """Return how people are told of a process of this machine."""
    return f"process {process.pid} on {HOST}"


def test_a_second_holder_is_refused(path, other):
    """A second driver is refused with process and host of the first, and what to do; the first does not notice."""
    for _ in range(2):
        with pytest.raises(StudyLocked, match=rf"{path.parent} is in use by {name(other)}; wait until"):
            StudyLock(path)
    assert holder(path) == name(other)


def test_a_lock_in_the_same_process_is_refused_too(path, either):
    """Two studies of one process exclude each other as well."""
    lock = StudyLock(path)
    assert lock.has_locks is (either == "lock")
    with pytest.raises(StudyLocked, match=f"process {os.getpid()} on "):
        StudyLock(path)
    lock.release()
    StudyLock(path).release()


@pytest.mark.fault("kill -9 of the driver that holds the lock", "the lock is free")
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
        assert holder(path) == f"process {os.getpid()} on {HOST}"
        lock.release()
        assert holder(path) == ""


@pytest.mark.usefixtures("either")
def test_to_ask_for_the_holder_disturbs_nobody(path):
    """Asking neither takes the lock nor makes files."""
    assert holder(path) == ""
    assert not list(path.parent.iterdir())
    lock = StudyLock(path)
    files = set(path.parent.iterdir())
    assert holder(path) == f"process {os.getpid()} on {HOST}"
    assert set(path.parent.iterdir()) == files
    lock.release()
    assert holder(path) == ""
    StudyLock(path).release()


def test_a_longer_name_is_written_over(path):
    """The name of an earlier holder does not show through."""
    path.write_text("process 123456789 on a-machine-with-a-very-long-name.example.org, and more than that" * 9)
    lock = StudyLock(path)
    assert path.read_text() == f"{Process.own().record}\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 in (0, 0o044)  # as it was before
    lock.release()


@pytest.mark.usefixtures("either")
def test_the_lock_is_for_its_user_alone(path):
    """New files are not for others."""
    StudyLock(path).release()
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_children_do_not_inherit_the_lock(path):
    """A program that a driver started does not hold the lock for it after its death."""
    text = HOLD.replace(
        'print("held", lock.has_locks', 'import subprocess; print(subprocess.Popen(["sleep", "1000"], stdout=2).pid'
    ).replace(", flush=True)", ', "held", flush=True)')
    with subprocess.Popen([sys.executable, "-c", text, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline().split()[0])
        process.kill()
        process.wait()
        try:
            StudyLock(path).release()
        finally:
            os.kill(child, 9)


def test_a_holder_that_cannot_be_named(path, monkeypatch):
    """A forked child of a dead driver keeps the lock; it is refused without a name, and not with that of the dead."""
    monkeypatch.setattr(lock_module, "_NAME_SECONDS", 0.05)
    door, end = os.pipe()
    driver = os.fork()
    if not driver:
        os.close(end)
        StudyLock(path)
        if not os.fork():
            os.read(door, 1)
        os._exit(0)
    os.waitpid(driver, 0)
    assert holder(path) == "another process"
    with pytest.raises(StudyLocked, match="is in use by another process; wait"):
        StudyLock(path)
    os.close(end)
    os.close(door)


def test_where_all_see_the_lock_it_is_proof(path):
    """A name that was left by whomever does not matter where the lock tells that its owner is gone."""
    path.write_text(f"{ELSEWHERE.record}\n")
    assert holder(path) == ""
    StudyLock(path).release()


class TestChain:
    """Where locks do not reach other machines, or there are none."""

    pytestmark = pytest.mark.usefixtures("chain")

    def test_each_holder_is_the_next_link(self, path):
        """Links are numbered, bear the name of their owner, are emptied by a release, and are never removed."""
        for number in range(1, 12):
            lock = StudyLock(path)
            assert path.with_name(f"study.lock.{number}").read_text() == f"{Process.own().record}\n"
            lock.release()
        assert {file.name: file.read_text() for file in path.parent.iterdir()} == {
            f"study.lock.{number}": "" for number in range(1, 12)
        }

    def test_a_dead_holder_is_followed(self, path):
        """The link of a dead driver is followed, and emptied: what was proof here might be none elsewhere."""
        path.with_name("study.lock.7").write_text(f"{replace(Process.own(), start='1').record}\n")
        assert holder(path) == ""
        lock = StudyLock(path)
        assert path.with_name("study.lock.7").read_text() == ""
        assert path.with_name("study.lock.8").read_text() == f"{Process.own().record}\n"
        lock.release()

    @pytest.mark.parametrize("place", ["study.lock", "study.lock.3"])
    def test_nobody_can_know(self, path, place):
        """A driver on another machine is respected; the message names it, its job, and the file to remove."""
        named = path.with_name(place)
        named.write_text(f"{ELSEWHERE.record}\n")
        assert holder(path) == "process 4711 on node7, unless that has died"
        with pytest.raises(
            StudyLocked,
            match=rf"{path.parent} was in use by process 4711 on node7, in PBS job 12.pbs0, and nobody on {HOST} can "
            rf"know whether that still works: look there, and if it has ended, remove {named}$",
        ):
            StudyLock(path)
        named.unlink()
        StudyLock(path).release()

    def test_a_name_that_is_none(self, path):
        """A file that somebody filled with something else is not passed over."""
        path.with_name("study.lock.1").write_text("mine!\n")
        with pytest.raises(StudyLocked, match=r"was in use by somebody, .* remove .*study\.lock\.1$"):
            StudyLock(path)

    def test_a_job_that_has_ended(self, path, tmp_path, monkeypatch):
        """A driver on another machine is followed once its batch job has ended."""
        fake = tmp_path / "qstat"
        fake.write_text(
            "#!/bin/sh\n# A fake qstat, whose job has ended.\necho 'qstat: Unknown Job Id 12.pbs0' >&2\nexit 153\n"
        )
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        path.with_name("study.lock.1").write_text(f"{ELSEWHERE.record}\n")
        assert holder(path) == ""
        StudyLock(path).release()
        assert path.with_name("study.lock.1").read_text() == ""

    def test_a_file_system_without_links(self, path, monkeypatch):
        """Where there are neither locks nor links, a study is refused with what to do."""
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
        with pytest.raises(StoreError, match=rf"{path.parent} is on a file system \(.*\) with neither locks nor links"):
            StudyLock(path)
        assert not list(path.parent.iterdir())

    def test_what_else_is_wrong_with_links_is_told(self, path, monkeypatch):
        """Another error of the file system is not taken for a lack of links."""
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            StudyLock(path)
        assert not list(path.parent.iterdir())

    def test_a_server_that_was_asked_again(self, path, monkeypatch):
        """A link that was made, though the server says that it exists, is ours."""
        real = os.link

        def link_twice(*files):
            real(*files)
            real(*files)

        monkeypatch.setattr(os, "link", link_twice)
        lock = StudyLock(path)
        with pytest.raises(StudyLocked, match=f"process {os.getpid()}"):
            StudyLock(path)
        lock.release()


@pytest.mark.fault("the file system has no locks", "a chain of files keeps drivers apart; a dead one is proven dead")
def test_a_file_system_without_locks(path, without_locks):
    """Where no lock can be had, whatever the error, drivers exclude each other all the same, and are followed."""
    command = [sys.executable, "-c", HOLD, path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": without_locks}
    with subprocess.Popen(command, **pipes) as first:
        assert first.stdout.readline() == b"held False\n"
        second = subprocess.run([sys.executable, "-c", FREE, path], **{**pipes, "stdin": None}, check=False)
        assert f"is in use by {name(first)}; wait".encode() in second.stderr
        with pytest.raises(StudyLocked, match=f"is in use by {name(first)}; wait"):
            StudyLock(path)  # this process sees locks
        first.kill()
        first.wait()
    StudyLock(path).release()
    assert subprocess.run([sys.executable, "-c", FREE, path], **{**pipes, "stdin": None}, check=False).returncode == 0


def read(file, size):
    """Return what comes within a minute."""
    ready, _, _ = select.select([file], [], [], 60)
    assert ready, "nobody says anything"
    return os.read(file, size)


class Contender:
    """A forked process that takes the lock when `gate` is closed, and says how it went."""

    def __init__(self, path, gate, *, has_locks=None):
        self._answers, answers = os.pipe()
        orders, self._orders = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(gate[1])
            os.close(self._orders)
            try:
                if has_locks is not None:
                    lock_module.has_shared_locks = lambda _: has_locks
                self._contend(path, gate[0], orders, answers)
            finally:
                os._exit(0)
        os.close(answers)
        self._read_end = orders

    @staticmethod
    def _contend(path, gate, orders, answers):
        os.read(gate, 1)
        try:
            lock = StudyLock(path)
        except StudyLocked as error:
            os.write(answers, json.dumps(str(error)).encode())
            return
        os.write(answers, b"true")
        os.read(orders, 1)
        lock.release()

    def answer(self):
        """Return True if it got the lock, or what it was told."""
        return json.loads(read(self._answers, 1000))

    def end(self, *, by_kill):
        """End it, and return when it is dead; a killed one stays a zombie for a while."""
        if by_kill:
            os.kill(self.pid, signal.SIGKILL)
        os.write(self._orders, b"!")  # closing is not enough: a later contender may have it too
        os.close(self._orders)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        os.close(self._answers)
        os.close(self._read_end)

    def bury(self):
        """Let its number go."""
        os.waitpid(self.pid, 0)


def run_round(path, seeded, sights):
    """Let contenders start together, one a sight; return how many held the lock, once all have ended."""
    gate = os.pipe()
    contenders = [Contender(path, gate, has_locks=has_locks) for has_locks in sights]
    os.close(gate[0])
    os.close(gate[1])
    answers = {contender.pid: contender.answer() for contender in contenders}
    holders = [contender for contender in contenders if answers[contender.pid] is True]
    for contender in contenders:
        if answers[contender.pid] is not True and len(holders) == 1:
            assert f"is in use by {name(holders[0])};" in answers[contender.pid]
    for contender in contenders:
        contender.end(by_kill=seeded.random() < 0.5)
    for contender in contenders:
        contender.bury()
    return len(holders)


@pytest.mark.fault(
    "two drivers start together, a thousand times, some are killed",
    "just one works on the study each time, and the other names it",
)
@pytest.mark.usefixtures("either")
def test_two_that_start_together(path, seeded, monkeypatch):
    """A thousand times, of two drivers that start together one holds the study, and the other is told which.

    Half of the holders are killed, so that in half of the rounds the two race for the place of a dead one.
    """
    monkeypatch.setattr(lock_module, "_NAME_SECONDS", 60.0)
    for _ in range(ROUNDS):
        assert run_round(path, seeded, [None, None]) == 1


def test_two_that_see_different_locks(path, seeded):
    """Of two drivers of which one sees no locks, never both hold the study, though both may give way."""
    held = [run_round(path, seeded, seeded.sample([True, False], 2)) for _ in range(ROUNDS // 4)]
    assert max(held) == 1


class Worker:
    """A forked process that holds the lock again and again until it is killed, and rings each time.

    Inside it takes another lock, which is free if nobody else is inside; a process that dies gives that back first.
    """

    def __init__(self, path, bell):
        self.pid = os.fork()
        if self.pid:
            return
        try:
            self._work(path, os.open(path.with_name("inside"), os.O_RDWR | os.O_CREAT), bell)
        except BlockingIOError:
            os.write(bell, b"two are inside\n")
        finally:
            os._exit(1)

    @staticmethod
    def _work(path, inside, bell):
        while True:
            with suppress(StudyLocked):
                lock = StudyLock(path)
                fcntl.flock(inside, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(bell, b".")
                fcntl.flock(inside, fcntl.LOCK_UN)
                lock.release()

    def kill(self):
        """Kill it, wherever it is."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.mark.usefixtures("either")
def test_drivers_that_die_anywhere(path, seeded):
    """Of drivers that are killed at any moment, also while they take the lock, the others go on, and one at a time."""
    heard, bell = os.pipe()
    workers = [Worker(path, bell) for _ in range(4)]
    try:
        for _ in range(KILLS):
            for _ in range(seeded.randint(1, 4)):
                assert read(heard, 1) == b".", read(heard, 100)
            victim = seeded.randrange(4)
            workers[victim].kill()
            workers[victim] = Worker(path, bell)
    finally:
        for worker in workers:
            worker.kill()
        os.close(heard)
        os.close(bell)
