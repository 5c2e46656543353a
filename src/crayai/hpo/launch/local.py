"""Processes on this machine, through a keeper that outlives the driver.

Each task is a process group of its own. The keeper (see `keeper`) is started with the launcher, and tells about each
end at once over a socket, so that nobody polls. Jobs of an earlier driver end under the keeper of that time, which
leaves exit records.
"""

import marshal
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.base import Exited, Gone, JobStatus, Limit, NotStarted, Task, Withdrawn
from crayai.hpo.launch.gpus import share_gpus
from crayai.hpo.launch.notices import Notices
from crayai.hpo.processes import Process, own_job

_LOOK_SECONDS = 0.1
_AHEAD = 1
_CANCELLED = ".cancelled"
"""Suffix of the file that says that an adopted task was ended by us, whatever its keeper will write."""
_PASSES = 10
_LENGTH = struct.Struct("!I")


class LocalLauncher:
    """Runs tasks as processes of this machine.

    Args:
        directory: Of the study; keepers put up their names in ``keepers`` below it.
        slots: How many tasks run at once.
        gpus: The GPUs for the slots to share; empty: GPUs are left alone.
        cores_per_slot: Cores to bind each slot to; None: cores are left alone.

    Raises:
        LaunchError: There are too few cores for the slots.
    """

    def __init__(
        self, directory: Path, slots: int, gpus: Sequence[str] = (), cores_per_slot: int | None = None
    ) -> None:
        self._keepers = directory / "keepers"
        cores = _share_cores(slots, cores_per_slot)
        shares = share_gpus(gpus, slots)
        self._slots = [
            (cores[slot] if cores else None, {"CUDA_VISIBLE_DEVICES": shares[slot]} if shares else {})
            for slot in range(slots)
        ]
        self._ends: dict[str, JobStatus] = {}
        self._adopted: dict[str, Task] = {}
        self._dead: dict[Path, dict[str, JobStatus]] = {}
        self._confirmed: list[str] = []
        self._notices = Notices()
        self._received = bytearray()
        self._keeper: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._is_ready = False

    @property
    def capacity(self) -> int:
        """One more than there are slots, for a slot that is free to find work at once; not beside adopted jobs."""
        return len(self._slots) + (0 if self._adopted else _AHEAD)

    def submit(self, task: Task) -> None:
        """Hand `task` to the keeper."""
        environment, directory = dict(task.environment), str(task.directory)
        seconds, avoid = task.time_limit_seconds, list(task.avoid)
        self._send("start", task.tag, list(task.argv), environment, directory, task.output, seconds, avoid)

    def find(self, task: Task) -> bool:
        """Adopt the job of an earlier driver: it has ended, or its keeper may still run it."""
        if isinstance(self._status_of_adopted(task, kept=self._others()), Gone):
            return False
        self._adopted[task.tag] = task
        return True

    def poll(self, tags: Collection[str]) -> Mapping[str, JobStatus]:
        """Return the ends that were told or left behind."""
        self._receive()
        adopted = self._adopted.keys() & set(tags)
        kept = bool(adopted) and self._others()  # before the look at the records, which keepers leave before they end
        for tag in adopted:
            status = self._status_of_adopted(self._adopted[tag], kept=kept)
            if isinstance(status, Gone) and not Path(self._adopted[tag].stdout).exists():
                status = Withdrawn()  # it never began: the keeper makes that file first
            if status is not None:
                self._ends[tag] = status
        return {tag: self._ends[tag] for tag in tags if tag in self._ends}

    def waiting(self) -> Collection[str]:
        """Return that there is no such queue."""
        return ()

    def wait(self, seconds: float) -> None:
        """Sleep until the keeper speaks; adopted jobs are looked after now and then."""
        if self._adopted:
            seconds = min(seconds, _LOOK_SECONDS)
        select.select([self._socket] if self._socket and self._is_ready else [], [], [], seconds)

    def notices(self) -> list[str]:
        """Return what the keeper wants to be known."""
        return self._notices.take()

    def forget(self, tags: Collection[str]) -> None:
        """Let the keeper forget, and remove exit records."""
        for tag in tags:
            self._ends.pop(tag, None)
            adopted = self._adopted.pop(tag, None)
            if adopted is not None:
                for suffix in (".exit", _CANCELLED):
                    Path(adopted.output + suffix).unlink(missing_ok=True)
                self._forget_dead(tag)
            else:
                self._confirmed.append(tag)

    def reason_not_to_launch(self, usual_seconds: float) -> str:  # noqa: ARG002 - it ends when it likes
        """Return nothing: this machine is there."""
        return ""

    def withdraw(self) -> None:
        """Take back what waits for a slot."""
        self._send("withdraw")

    def cancel(self, tags: Collection[str]) -> None:
        """Ask the groups of these jobs to end; five seconds later they are killed."""
        self._send("cancel", list(tags))
        for tag in self._adopted.keys() & set(tags):
            Path(self._adopted[tag].output + _CANCELLED).touch()
            _kill_tagged(tag)

    def is_idle(self) -> bool:
        """Return that there is nobody else."""
        return False

    def leave(self) -> bool:
        """Return that processes of this machine do not go on: nobody should find them there later."""
        return False

    def close(self) -> None:
        """End the keeper, and with it whatever runs under it."""
        for path in self._dead:
            path.unlink(missing_ok=True)
        if self._keeper is None or self._socket is None:
            return
        with suppress(LaunchError):
            self._send("close")
        self._socket.shutdown(socket.SHUT_WR)
        self._keeper.wait()
        self._socket.close()
        self._keeper = self._socket = None
        self._is_ready = False

    def start(self) -> socket.socket:
        """Start the keeper, which otherwise starts with the first task; it is ready some time later."""
        self._keepers.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket, theirs = socket.socketpair()
        program = Path(__file__).with_name("keeper.py")
        with theirs:
            self._keeper = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", program, str(theirs.fileno()), self._keepers.parent.absolute(), own_job()],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._socket

    def _send(self, *message: object) -> None:
        messages: list[Any] = [("forget", self._confirmed), message] if self._confirmed else [message]
        connection = self._socket or self.start()
        if not self._is_ready:
            self._await_keeper(connection)
            messages.insert(0, ("slots", self._slots))
        data = b"".join(_LENGTH.pack(len(text)) + text for text in map(marshal.dumps, messages))
        try:
            while data:
                data = data[self._send_some(connection, data) :]
        except OSError as error:
            raise LaunchError(f"the keeper of the evaluations has died: {error}") from error
        self._confirmed = []

    def _send_some(self, connection: socket.socket, data: bytes) -> int:
        """Send what the keeper has room for, and listen where it has none: it may be waiting to be heard."""
        try:
            return connection.send(data)
        except BlockingIOError:
            self._receive()
            select.select([connection], [connection], [])
            return 0

    def _await_keeper(self, connection: socket.socket) -> None:
        """Wait until the keeper has put up its name, which it does before it takes its first task."""
        if not connection.recv(1):
            raise LaunchError(f"the keeper of the evaluations did not start: {sys.executable}")
        connection.setblocking(False)
        self._is_ready = True

    def _receive(self) -> None:
        """Take in the ends that the keeper has told."""
        if self._socket is None or not self._is_ready:
            return
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            raise LaunchError("the keeper of the evaluations has died; run the study again to go on with it")
        self._received += data
        while len(self._received) >= _LENGTH.size:
            size = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
            if len(self._received) < size:
                return
            tag, told = marshal.loads(bytes(self._received[_LENGTH.size : size]))  # noqa: S302 - from our own keeper
            if tag is None:
                self._notices.tell(told)
            else:
                self._ends[tag] = status_of(told)
            del self._received[:size]

    def _others(self) -> bool:
        """Return whether keepers of earlier drivers live; what the dead left is read."""
        own = (socket.gethostname(), None if self._keeper is None else self._keeper.pid)
        found = {path: _keeper_of(path) for path in self._keepers.glob("*")}
        living = {path: keeper for path, keeper in found.items() if _is_alive(path, keeper)}
        for path in found.keys() - living.keys() - self._dead.keys():
            self._dead[path] = _ends_in(path)
        return any((keeper.host, keeper.pid) != own for keeper in living.values())

    def _forget_dead(self, tag: str) -> None:
        """Remove an end from what a dead keeper left."""
        for path, ends in self._dead.items():
            if ends.pop(tag, None):
                with path.open("a", encoding="utf-8") as file:
                    file.write(f"-{tag}\n")

    def _status_of_adopted(self, task: Task, *, kept: bool) -> JobStatus | None:
        """Return the end that is on record; None: there is none, and a keeper of its time lives. Else it is killed."""
        if (record := Path(task.exit_record)).exists():
            return Withdrawn() if Path(task.output + _CANCELLED).exists() else read_exit_record(record)
        for ends in self._dead.values():
            if task.tag in ends:
                return ends[task.tag]
        if kept:
            return None
        _kill_tagged(task.tag)
        return Gone("the process that kept it is dead")


def read_exit_record(path: Path) -> JobStatus:
    """Return the end that a keeper left, a fact a line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return status_of(dict(line.split(" ", 1) for line in lines))


def status_of(facts: Mapping[str, Any]) -> JobStatus:
    """Return the end that a keeper tells with these facts, see there."""
    if "error" in facts:
        return NotStarted(facts["error"])
    seconds, location = float(facts["seconds"]) if "seconds" in facts else None, facts.get("location", "")
    if "code" not in facts:
        return Withdrawn(seconds, location)
    limit = Limit(facts["limit"]) if "limit" in facts else None
    return Exited(int(facts["code"]), limit, seconds, location)


def _ends_in(path: Path) -> dict[str, JobStatus]:
    """Return the ends that a dead keeper noted and no driver has forgotten."""
    ends: dict[str, JobStatus] = {}
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []  # it may have ended in order just now
    for line in lines[1:-1]:  # behind the last one may be a part of another
        tag, *facts = line[1:].split("\t")
        if line.startswith("+"):
            ends[tag] = status_of(dict(fact.split(" ", 1) for fact in facts))
        else:
            ends.pop(tag, None)
    return ends


def _keeper_of(path: Path) -> Process:
    """Return the keeper that put up this name, in which there may be the batch job that it ran in."""
    host, boot, pid, start = path.name.rsplit(".", 3)
    try:
        job = path.read_text(encoding="utf-8").partition("\n")[0]
    except FileNotFoundError:
        job = ""  # it has ended, and taken its name down
    return Process(host, boot, int(pid), start, job=job)


def _is_alive(path: Path, keeper: Process) -> bool:
    """Return whether the keeper that put up this name lives.

    Raises:
        LaunchError: It is on another machine, so that nobody here can know.
    """
    has_ended = keeper.has_ended()
    if has_ended is None:
        raise LaunchError(
            f"evaluations of an earlier driver may still run on {keeper.host}: resume the study there, "
            f"or remove {path} if that machine has been restarted"
        )
    return not has_ended


def _kill_tagged(tag: str) -> None:
    """Kill every process of mine that was started for the attempt `tag`, wherever it went."""
    for _ in range(_PASSES):  # one that is just being started may be overlooked
        if not _kill_found(f"CRAYAI_TAG={tag}".encode()):
            return


def _kill_found(mark: bytes) -> bool:
    """Kill the processes that have `mark` in their environment; return whether there were any."""
    found = False
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (directory / "environ").read_bytes().split(b"\0"):
                os.kill(int(directory.name), signal.SIGKILL)
                found = True
        except OSError:
            continue  # it has ended, or is somebody else's
    return found


def _share_cores(slots: int, cores_per_slot: int | None) -> list[list[int]]:
    """Return the cores of each slot; none where cores are left alone."""
    if cores_per_slot is None:
        return []
    cores = sorted(os.sched_getaffinity(0))
    if slots * cores_per_slot > len(cores):
        raise LaunchError(
            f"{slots} slots of {cores_per_slot} cores are more than the {len(cores)} cores that this machine grants"
        )
    return [cores[i * cores_per_slot : (i + 1) * cores_per_slot] for i in range(slots)]
