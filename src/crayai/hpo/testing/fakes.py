"""Fakes: a launcher that runs no process and a log that can be full. Nothing here is for real studies.

Time is a number that `FakeLauncher.wait` moves on, so that a test of hours takes milliseconds and none needs to sleep.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from crayai.hpo.errors import StoreFull
from crayai.hpo.launch.base import Exited, Gone, JobStatus, Limit, NotStarted, Task, Withdrawn
from crayai.hpo.records import Event
from crayai.hpo.store.base import MemoryLog

_SIGTERM = -15


@dataclass(frozen=True, slots=True)
class End:
    """What becomes of a fake job.

    Attributes:
        status: How it ends.
        stdout: What it has printed by then.
        stderr: What it has said on standard error by then.
        seconds: How long it takes in virtual time; None: the launcher draws it; infinite: until it is cancelled.
    """

    status: Exited | NotStarted | Gone | Withdrawn = field(default_factory=lambda: Exited(0))
    stdout: str = ""
    stderr: str = ""
    seconds: float | None = None


Program = Callable[[Task], End] | Mapping[str, End]
"""Decides what becomes of a task: a function, or the ends by tag."""


@dataclass(slots=True)
class _Job:
    task: Task
    end: End
    since: float
    over_at: float


class FakeMachine:
    """Where fake jobs run; it outlives the drivers, so that a later one finds the jobs of an earlier one.

    Args:
        program: Decides what becomes of each task.
        slots: How many tasks run at once.
        random: Draws how long a task takes where its end does not say, and so the order of the ends; None: a second.

    Attributes:
        now: The virtual time in seconds.
        started: The tags of the tasks that began to run, in order.
        most_running: How many ran at once at most.
        notices: What its launcher is to tell the user.
        seconds_left: How long tasks can run there.
        closing: Why it is not longer.
        queued: The tags of jobs that wait in a queue of somebody else's.
        is_batch: Whether what it was given goes on without a driver.
    """

    def __init__(self, program: Program, slots: int = 1, random: Random | None = None) -> None:
        self.program = program
        self.slots = slots
        self.random = random
        self.now = 0.0
        self.started: list[str] = []
        self.most_running = 0
        self.notices: list[str] = []
        self.seconds_left = float("inf")
        self.closing = "the machine goes away"
        self.is_batch = False
        self.queued: set[str] = set()
        self.queue: list[Task] = []
        self.running: dict[str, _Job] = {}
        self.ends: dict[str, JobStatus] = {}

    def fill_slots(self) -> None:
        """Start what waits, in order."""
        while self.queue and len(self.running) < self.slots:
            task = self.queue.pop(0)
            end = self.program(task) if callable(self.program) else self.program[task.tag]
            if isinstance(end.status, NotStarted):
                self.ends[task.tag] = end.status
                continue
            seconds = self._seconds(end)
            if task.time_limit_seconds is not None and seconds > task.time_limit_seconds:
                end = End(Exited(_SIGTERM, Limit.TIME, seconds=task.time_limit_seconds), end.stdout, end.stderr)
                seconds = task.time_limit_seconds
            self.running[task.tag] = _Job(task, end, self.now, self.now + seconds)
            self.started.append(task.tag)
            self.most_running = max(self.most_running, len(self.running))

    def pass_time(self, seconds: float) -> None:
        """Move on to the next end, or by `seconds` if nothing ends before."""
        first = min(self.running.values(), key=lambda job: job.over_at, default=None)
        if first is None or first.over_at > self.now + seconds:
            self.now += seconds
            return
        self.now = first.over_at
        self.finish(first.task.tag, first.end)

    def finish(self, tag: str, end: End) -> None:
        """End the running job `tag` like `end`, and start the next one."""
        job = self.running.pop(tag)
        Path(job.task.stdout).write_text(end.stdout, encoding="utf-8")
        Path(job.task.stderr).write_text(end.stderr, encoding="utf-8")
        status = end.status
        if isinstance(status, Exited | Withdrawn) and status.seconds is None:
            status = replace(status, seconds=self.now - job.since)
        self.ends[tag] = status
        self.fill_slots()

    def withdraw(self, tags: Collection[str]) -> None:
        """Take back those of `tags` that have not started."""
        self.ends |= {task.tag: Withdrawn() for task in self.queue if task.tag in tags}
        self.queue = [task for task in self.queue if task.tag not in tags]

    def cancel(self, tags: Collection[str]) -> None:
        """End the jobs of `tags`, without an outcome."""
        self.withdraw(tags)
        for tag in [tag for tag in self.running if tag in tags]:
            self.finish(tag, End(Withdrawn()))

    def _seconds(self, end: End) -> float:
        if end.seconds is not None:
            return end.seconds
        return 1.0 if self.random is None else self.random.uniform(0.5, 20)


class FakeLauncher:
    """A launcher that runs no process: each task ends, in virtual time, as its machine's program says.

    Args:
        machine: Where the jobs run; the launcher of a later driver is one with the same machine.
    """

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        self._submitted: set[str] = set()
        self._adopted: set[str] = set()

    @property
    def capacity(self) -> int:
        """One more than there are slots, as of the local launcher."""
        return self.machine.slots + 1

    def submit(self, task: Task) -> None:
        """Start `task` if there is a slot, else let it wait for one."""
        self._submitted.add(task.tag)
        self.machine.queue.append(task)
        self.machine.fill_slots()

    def find(self, task: Task) -> bool:
        """Take over a job that the machine has."""
        tags = {*self.machine.ends, *self.machine.running, *(waiting.tag for waiting in self.machine.queue)}
        if task.tag in tags:
            self._adopted.add(task.tag)
        return task.tag in tags

    def poll(self, tags: Collection[str]) -> Mapping[str, JobStatus]:
        """Return the ends so far."""
        return {tag: self.machine.ends[tag] for tag in self._of(tags) if tag in self.machine.ends}

    def wait(self, seconds: float) -> None:
        """Let virtual time pass until something ends."""
        self.machine.pass_time(seconds)

    def notices(self) -> list[str]:
        """Return what a test wants the user to know."""
        told, self.machine.notices = self.machine.notices, []
        return told

    def forget(self, tags: Collection[str]) -> None:
        """Forget these ends."""
        for tag in tags:
            self.machine.ends.pop(tag, None)

    def reason_not_to_launch(self, usual_seconds: float) -> str:
        """Return what the machine says."""
        return self.machine.closing if usual_seconds > self.machine.seconds_left else ""

    def is_idle(self) -> bool:
        """Return whether the machine is one of a batch system."""
        return self.machine.is_batch

    def waiting(self) -> Collection[str]:
        """Return what the machine says."""
        return self.machine.queued

    def leave(self) -> bool:
        """Return whether the machine is one of a batch system."""
        return self.machine.is_batch

    def withdraw(self) -> None:
        """Take back what waits for a slot."""
        self.machine.withdraw(self._submitted)

    def cancel(self, tags: Collection[str]) -> None:
        """End these jobs."""
        self.machine.cancel(self._of(tags))

    def die(self) -> None:
        """Do what the death of the driver does: what runs goes on, what waits is taken back."""
        self.withdraw()

    def close(self) -> None:
        """End what this driver submitted, and forget it; what it took over goes on, as with the local launcher."""
        self.machine.cancel(self._submitted)
        self.forget(self._submitted)

    def _of(self, tags: Collection[str]) -> list[str]:
        """Return those of `tags` that are this driver's, in their order."""
        return [tag for tag in tags if tag in self._submitted or tag in self._adopted]


class FakeFullLog(MemoryLog):
    """A log in memory that tells what was committed when, and whose disk can be full.

    Args:
        happened: Gets ``("commit", events)`` for each commit of something.
        refusals: How many commits find no room.
    """

    def __init__(self, happened: list[tuple[str, object]] | None = None, refusals: int = 0) -> None:
        super().__init__()
        self.happened = [] if happened is None else happened
        self.refusals = refusals
        self._turn: list[Event] = []

    def append(self, event: Event) -> None:
        """Add `event` to the turn."""
        self._turn.append(event)

    def commit(self) -> None:
        """Make the turn last.

        Raises:
            StoreFull: Refusals are left.
        """
        if self.refusals:
            self.refusals -= 1
            raise StoreFull("no room to write the log")
        if self._turn:
            self.happened.append(("commit", tuple(self._turn)))
        for event in self._turn:
            super().append(event)
        self._turn = []

    def close(self) -> None:
        """Drop the turn, as the death of the driver does."""
        self._turn = []
