"""The parent of all evaluations on this machine: starts them, waits for them, leaves nothing behind.

It is a program of its own, ``python -I -S keeper.py SOCKET DIRECTORY JOB``, that imports nothing from the package. It
outlives a driver that is killed: what runs then goes on to its end, and the end is written to an exit record beside
the output, where the next driver finds it. As long as the file that bears its name stands in ``keepers`` below
DIRECTORY, which is the study's and may be moved, and it is alive, jobs that it was given may still end. In that file
stand the batch JOB with which it dies, and at once every end (``+``) and what the driver has forgotten (``-``), so that
nothing that has ended is lost if both are killed.

From the driver it gets, each as a length and a marshalled tuple, first ("slots", [(cpus, environment), …]), then
    ("start", tag, argv, environment, directory, output, seconds, avoid)     ("withdraw",)
    ("cancel", tags)     ("forget", tags)     ("close",)
and it answers one byte when it is ready, then for each start, likewise, (tag, facts), and (None, text) for what the
user should know. The facts of an end, of which an exit record has one a line: "code", "limit" (the one that was
exceeded: "time" or "memory"), "seconds", "location"; or "error" where nothing was started. Without "code" and "error"
it was taken back: before it started, or by a cancel. What is to be started waits here for a free slot, so that a slot
never waits for the driver; where the machine has no room for another process it waits too.
"""

import contextlib
import ctypes
import errno
import marshal
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque, namedtuple
from collections.abc import Sequence
from functools import partial

KILL_AFTER_SECONDS = 5.0
LOOK_SECONDS = 1.0
NOTED_BYTES = 1 << 16
TIDIES = b"CRAYAI_TAG=tidies"
"""The mark of a guard that outlives its program to tidy up after it."""
_SHORTAGE = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
_KILLED = {-signal.SIGKILL, 128 + signal.SIGKILL}  # the latter is a shell's account of its child
_PR_SET_CHILD_SUBREAPER = 36
_DEFAULT_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD]

Facts = dict[str, int | float | str]
Start = namedtuple("Start", "tag argv environment directory output seconds avoid")  # noqa: PYI024 - typing imports slowly


class Job:
    """One process group that runs one attempt; `deadline` is when to do the next thing against it."""

    __slots__ = ("at_time_limit", "deadline", "is_ending", "output", "pid", "slot", "started", "tag")

    def __init__(self, tag: str, output: str, pid: int, slot: int, seconds: float | None) -> None:
        self.tag = tag
        self.output = output
        self.pid = pid
        self.slot = slot
        self.started = time.monotonic()
        self.deadline = None if seconds is None else self.started + seconds
        self.is_ending = False
        self.at_time_limit = False


class Keeper:
    """The jobs by process, the ends that the driver has not confirmed, and the loop."""

    def __init__(self, driver: socket.socket, study: str) -> None:
        self.study_name = study
        self.study = os.open(study, os.O_RDONLY | os.O_DIRECTORY)
        self.driver: socket.socket | None = driver
        self.slots: list[tuple[list[int] | None, dict[str, str]]] = []
        self.free: list[int] = []
        self.queue: deque[Start] = deque()
        self.jobs: dict[int, Job] = {}
        self.unwritten: dict[str, str] = {}
        self.unconfirmed: dict[str, tuple[str, Facts]] = {}
        self.memory_kills = MemoryKills()
        self.is_short = False
        self.received = bytearray()
        self.poller = select.poll()
        self.environment = dict(os.environb)
        self.cpus = os.sched_getaffinity(0)
        self.directory = ""
        self.name = -1
        self.noted = 0
        self.next_look = time.monotonic()
        self.closing = False

    def run(self) -> None:
        """Serve until the driver closes, or has died and the last job is over."""
        wake, wake_end = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(wake_end, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poller.register(wake, select.POLLIN)
        if self.driver is not None:
            self.poller.register(self.driver, select.POLLIN)
            with contextlib.suppress(OSError):  # it may have died meanwhile, which is heard below
                self.driver.send(b"!")
        while self.jobs or self.unwritten or (self.driver is not None and not self.closing):
            ready = [file for file, _ in self.poller.poll(self.milliseconds_to_deadline())]
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
                self.reap()
            if self.driver is not None and self.driver.fileno() in ready:
                self.receive(self.driver)
            self.act_on_deadlines()
        self.end_all_strangers()

    def send(self, tag: str | None, told: Facts | str) -> None:
        """Tell the driver; a driver that is gone finds the exit records."""
        if self.driver is None:
            return
        data = marshal.dumps((tag, told))
        try:
            self.driver.sendall(struct.pack("!I", len(data)) + data)
        except OSError:
            self.lose_driver()

    def receive(self, driver: socket.socket) -> None:
        """Act on what the driver says; its death is heard as an end of file."""
        try:
            data = driver.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self.lose_driver()
            return
        self.received += data
        while len(self.received) >= 4:  # noqa: PLR2004 - the size of a length
            size = 4 + struct.unpack_from("!I", self.received)[0]
            if len(self.received) < size:
                return
            message = marshal.loads(bytes(self.received[4:size]))
            del self.received[:size]
            getattr(self, "do_" + message[0])(*message[1:])

    def lose_driver(self) -> None:
        """Write down what the driver may not have taken in; from now on every end is written down."""
        if self.driver is not None:
            self.poller.unregister(self.driver)
        self.driver = None
        for end in self.unconfirmed.values():
            self.write_exit_record(*end)
        self.do_withdraw()

    def do_slots(self, slots: list[tuple[list[int] | None, dict[str, str]]]) -> None:
        """Learn how many jobs may run at once, and the cores and variables of each slot."""
        self.slots = slots
        self.free = list(range(len(slots)))

    def do_start(self, *start: object) -> None:
        """Start a job as soon as there is a slot."""
        self.queue.append(Start(*start))
        self.fill_slots()

    def fill_slots(self) -> None:
        """Start what waits, in order, each in the lowest free slot that it does not avoid."""
        while self.queue and self.free:
            start = self.queue.popleft()
            slot = min(self.free, key=lambda slot: (location_of(slot) in start.avoid, slot))
            try:
                pid = self.start(start, slot)
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno in _SHORTAGE:
                    self.fall_short(start, error)
                    return
                self.ended(start.tag, start.output, {"error": describe(error, start)})
            else:
                self.free.remove(slot)
                self.jobs[pid] = Job(start.tag, start.output, pid, slot, start.seconds)
                self.is_short &= bool(self.free)

    def fall_short(self, start: Start, error: OSError) -> None:
        """Let a start wait until there is room for another process."""
        self.queue.appendleft(start)
        if not self.is_short:
            self.send(None, f"no room for another process ({error.strerror}): {len(self.jobs)} evaluations at once")
        self.is_short = True

    def start(self, start: Start, slot: int) -> int:
        """Start a job in a process group of its own; return the process."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, start.output + ".out", flags, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, start.output + ".err", flags, 0o600),
        ]
        cpus, bound = self.slots[slot]
        added = {**start.environment, "CRAYAI_SLOT": str(slot), **bound}
        environment = self.environment | {os.fsencode(name): os.fsencode(text) for name, text in added.items()}
        if start.directory != self.directory:
            os.chdir(start.directory)
            self.directory = start.directory
        if cpus:
            os.sched_setaffinity(0, cpus)
        try:
            return self.spawn(start.argv, environment, files)
        finally:
            if cpus:
                os.sched_setaffinity(0, self.cpus)

    def spawn(self, argv: list[str], environment: dict[bytes, bytes], files: Sequence[tuple[object, ...]]) -> int:
        """Return the process; a script without ``#!`` is the shell's, as in a shell."""
        spawn = partial(os.posix_spawnp, file_actions=files, setpgroup=0, setsigmask=(), setsigdef=_DEFAULT_SIGNALS)
        try:
            return spawn(argv[0], argv, environment)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            return spawn("/bin/sh", ["/bin/sh", *argv], environment)

    def do_withdraw(self, tags: list[str] | None = None) -> None:
        """Take back what has not started: these, or all."""
        waiting, self.queue = self.queue, deque()
        for start in waiting:
            if tags is None or start.tag in tags:
                self.ended(start.tag, start.output, {})
            else:
                self.queue.append(start)

    def do_cancel(self, tags: list[str]) -> None:
        """Ask the groups to end; those that do not are killed."""
        self.do_withdraw(tags)
        for job in self.jobs.values():
            if job.tag in tags and not job.is_ending:
                self.ask_to_end(job)

    def do_forget(self, tags: list[str]) -> None:
        """The driver has these ends on record."""
        for tag in tags:
            if self.unconfirmed.pop(tag, None):
                self.note(f"-{tag}")
        if not self.unconfirmed and self.noted > NOTED_BYTES:
            os.ftruncate(self.name, 0)
            self.noted = 0
            self.note(sys.argv[3])

    def do_close(self) -> None:
        """End everything."""
        self.closing = True
        self.queue.clear()
        self.unconfirmed.clear()
        self.do_cancel([job.tag for job in self.jobs.values()])

    def ask_to_end(self, job: Job) -> None:
        """Send SIGTERM, and let the deadline send SIGKILL."""
        signal_group(job.pid, signal.SIGTERM)
        job.deadline = time.monotonic() + KILL_AFTER_SECONDS
        job.is_ending = True

    def act_on_deadlines(self) -> None:
        """Ask jobs past their time to end, kill those that were asked before, and look for strangers."""
        now = time.monotonic()
        for job in self.jobs.values():
            if job.deadline is None or job.deadline > now:
                continue
            if job.is_ending:
                signal_group(job.pid, signal.SIGKILL)
                job.deadline = now + KILL_AFTER_SECONDS
            else:
                job.at_time_limit = True
                self.ask_to_end(job)
        if now > self.next_look:
            self.next_look = now + LOOK_SECONDS
            self.end_strangers()
            self.write_exit_records()
            self.fill_slots()

    def milliseconds_to_deadline(self) -> float:
        """Return how long nothing needs to be done."""
        deadlines = [job.deadline for job in self.jobs.values() if job.deadline is not None]
        return 1000 * max(0.0, min([self.next_look, *deadlines]) - time.monotonic())

    def reap(self) -> None:
        """Take in every process that has ended."""
        while (pid := ended_child()) is not None:
            job = self.jobs.pop(pid, None)
            if job is not None:
                signal_group(pid, signal.SIGKILL)  # before its number is free for another process
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if job is not None:
                self.free.append(job.slot)
                self.fill_slots()
                self.ended(job.tag, job.output, self.end_of(job, code))

    def end_of(self, job: Job, code: int) -> Facts:
        """Return the facts of an end; one that was cancelled has no code."""
        facts: Facts = {"seconds": time.monotonic() - job.started, "location": location_of(job.slot)}
        if job.at_time_limit:
            facts["limit"] = "time"
        elif job.is_ending:
            return facts
        elif code and self.memory_kills.has_new(is_killed=code in _KILLED):
            facts["limit"] = "memory"
        return {"code": code, **facts}

    def ended(self, tag: str, output: str, facts: Facts) -> None:
        """Tell the driver, or the one after it."""
        self.unconfirmed[tag] = (output, facts)
        self.note("\t".join([f"+{tag}", *(f"{name} {fact}" for name, fact in facts.items())]))
        self.send(tag, facts)
        if self.driver is None:
            self.write_exit_record(output, facts)

    def note(self, line: str) -> None:
        """Add a line to our name; without room the driver, or an exit record, has to do."""
        with contextlib.suppress(OSError):
            self.noted += os.write(self.name, line.encode() + b"\n")

    def write_exit_record(self, output: str, facts: Facts) -> None:
        """Write the end beside the output, whole or not at all; what a close has ended has no outcome."""
        if self.closing:
            return
        lines = [f"{name} {fact}\n" for name, fact in facts.items()]
        self.unwritten[os.path.relpath(output, self.study_name) + ".exit"] = "".join(lines)
        self.write_exit_records()

    def write_exit_records(self) -> None:
        """Write what is to be written; what cannot be, for want of room, is tried again later."""
        for record, text in list(self.unwritten.items()):
            with contextlib.suppress(OSError):
                with open(record + "~", "w", encoding="utf-8", opener=self.opener) as file:
                    file.write(text)
                os.rename(record + "~", record, src_dir_fd=self.study, dst_dir_fd=self.study)
                del self.unwritten[record]

    def opener(self, path: str, flags: int) -> int:
        """Open a file below the study's directory, wherever that has been moved."""
        return os.open(path, flags, 0o600, dir_fd=self.study)

    def end_strangers(self) -> None:
        """Kill what left its group and was handed to us, unless the attempt that it belongs to still runs."""
        tags = {b"CRAYAI_TAG=" + job.tag.encode() for job in self.jobs.values()}
        for pid in set(children()) - self.jobs.keys():
            marks = [mark for mark in environment_of(pid) if mark.startswith(b"CRAYAI_TAG=")]
            is_spared = marks == [TIDIES] or not tags.isdisjoint(marks)
            if not is_spared and (marks or not tags):  # without a mark it may belong to what runs
                for victim in [pid, *descendants(pid)]:
                    with contextlib.suppress(OSError):
                        os.kill(victim, signal.SIGKILL)

    def end_all_strangers(self) -> None:
        """Kill until none is left, for the death of one may hand us others; what withstands is left."""
        give_up = time.monotonic() + KILL_AFTER_SECONDS
        while children() and time.monotonic() < give_up:
            self.end_strangers()
            self.reap()
            time.sleep(0.005)


class MemoryKills:
    """How often the kernel has killed processes here for want of memory.

    It counts for each control group (``memory.events``, before version 2 ``memory.oom_control``), and for the machine.
    """

    def __init__(self) -> None:
        self.file = self.find_file()
        self.seen = self.count()

    def has_new(self, is_killed: bool) -> bool:
        """Return whether there are kills that nobody has accounted for, and account for one or, if not killed, all."""
        count = self.count()
        if count <= self.seen:
            return False
        self.seen = self.seen + 1 if is_killed else count
        return True

    def count(self) -> int:
        """Return the kernel's count; 0 where it does not tell."""
        with contextlib.suppress(OSError, ValueError), open(self.file, encoding="ascii") as file:
            for line in file:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0

    @staticmethod
    def find_file() -> str:
        """Return the file with the count of our control group, else that of the machine."""
        with contextlib.suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                _, controllers, group = line.rstrip("\n").split(":", 2)
                root = "/sys/fs/cgroup" + ("" if controllers == "" else "/" + controllers)
                name = "memory.events" if controllers == "" else "memory.oom_control"
                if controllers in ("", "memory") and os.path.exists(path := f"{root}{group}/{name}"):
                    return path
        return "/proc/vmstat"


def location_of(slot: int) -> str:
    """Return what a slot is called in records."""
    return f"slot {slot}"


def ended_child() -> int | None:
    """Return a child that has ended, and leave it as it is; None: there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def children(pid: int | str = "self") -> list[int]:
    """Return the processes whose parent is `pid`, whichever of its threads started them."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes that `pid` started, and those that they started."""
    return [one for child in children(pid) for one in (child, *descendants(child))]


def environment_of(pid: int) -> list[bytes]:
    """Return the environment with which `pid` was started; empty if it has ended."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def signal_group(pid: int, number: int) -> None:
    """Send a signal to the group of `pid`; one that has ended needs none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def describe(error: Exception, start: Start) -> str:
    """Return what was wrong with a start, for people."""
    if not os.path.isdir(start.directory):
        return f"there is no directory {start.directory}"
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return f"{start.argv[0]}: {reason}".replace("\n", " ")


def own_name() -> str:
    """Return host, boot, process and time of its start, which no other process ever shares."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        started = file.read().rsplit(")", 1)[1].split()[19]
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read(8)
    return f"{socket.gethostname()}.{boot}.{os.getpid()}.{started}"


def main() -> None:
    """Leave the terminal's session, adopt orphans, put up the name, and serve."""
    driver = socket.socket(fileno=int(sys.argv[1]))
    driver.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    keeper = Keeper(driver, sys.argv[2])
    name = "keepers/" + own_name()
    keeper.name = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600, dir_fd=keeper.study)
    keeper.note(sys.argv[3])
    try:
        keeper.run()
    finally:
        os.unlink(name, dir_fd=keeper.study)


if __name__ == "__main__":
    main()
