"""What a launcher is: the one who runs tasks and says what became of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Task:
    """What a launcher is to run: one attempt at one evaluation.

    Attributes:
        tag: Names the attempt for ever: study, evaluation, attempt. A later driver finds the job by it.
        argv: The program and its arguments.
        environment: Variables to add to the driver's own.
        directory: Where the program starts.
        output: The path that, with ``.out``, ``.err`` and ``.exit`` appended, names the files of the attempt.
        time_limit_seconds: After that it is ended; None: never.
        avoid: Locations, as of earlier ends, where it should not run if others are free.
    """

    tag: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    output: str
    time_limit_seconds: float | None = None
    avoid: tuple[str, ...] = ()

    @property
    def stdout(self) -> str:
        """The file of the program's standard output."""
        return self.output + ".out"

    @property
    def stderr(self) -> str:
        """The file of the program's standard error."""
        return self.output + ".err"

    @property
    def exit_record(self) -> str:
        """The file in which its end is written down if the driver cannot be told."""
        return self.output + ".exit"


class Limit(StrEnum):
    """What a program may use up."""

    TIME = "time"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Exited:
    """The program ended by itself, by a signal, or at a limit; equal ends may have been at other times and places.

    Attributes:
        code: The exit code; negative: the signal that ended it.
        limit: The limit for which it was ended.
        seconds: How long it ran; None: not known.
        location: Where it ran; empty: not known.
    """

    code: int
    limit: Limit | None = None
    seconds: float | None = field(default=None, compare=False)
    location: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The program could not be started."""

    reason: str


class Loss(StrEnum):
    """By what a job was lost."""

    UNKNOWN = "unknown"
    NODE_FAILURE = "node failure"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Gone:
    """The job is dead for certain, and the program had no end of its own.

    Attributes:
        reason: What is known, for people.
        location: Where it ran; empty: not known.
        loss: By what it was lost.
    """

    reason: str
    location: str = field(default="", compare=False)
    loss: Loss = Loss.UNKNOWN


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The job was taken back, before it started or by a cancel: it has no outcome.

    Attributes:
        seconds: How long it ran; None: it did not, or it is not known.
        location: Where it ran; empty: not known.
    """

    seconds: float | None = field(default=None, compare=False)
    location: str = field(default="", compare=False)


JobStatus = Exited | NotStarted | Gone | Withdrawn


class Launcher(Protocol):
    """Runs tasks; one for a driver."""

    @property
    def capacity(self) -> int:
        """How many tasks it takes at once; those without a slot wait for one."""

    def submit(self, task: Task) -> None:
        """Start `task`, or have it started; from now on its tag names it."""

    def find(self, task: Task) -> bool:
        """Take over the job that an earlier driver may have submitted as `task`; False: there is none, for certain."""

    def poll(self, tags: Collection[str]) -> Mapping[str, JobStatus]:
        """Return how jobs with these tags ended; one that is left out waits, runs, or has an end that is not proven."""

    def waiting(self) -> Collection[str]:
        """Return the tags of the jobs that were submitted, and wait in a queue of somebody else's."""

    def wait(self, seconds: float) -> None:
        """Return when something may have ended, after `seconds` at the latest."""

    def notices(self) -> list[str]:
        """Return what the user should know, and was not told before."""

    def forget(self, tags: Collection[str]) -> None:
        """Take note that the ends of these jobs are on record."""

    def reason_not_to_launch(self, usual_seconds: float) -> str:
        """Return why no task that takes so long can end any more where tasks run; empty: one can."""

    def withdraw(self) -> None:
        """Take back what has not started; `poll` tells."""

    def cancel(self, tags: Collection[str]) -> None:
        """End these jobs, and all that they started; `poll` tells when they are over."""

    def is_idle(self) -> bool:
        """Return whether all is handed over to somebody else, and nothing is to be heard before something happens."""

    def leave(self) -> bool:
        """Let a later driver go on with what was submitted; return whether it will all go on without a driver."""

    def close(self) -> None:
        """End whatever is left, and release what is held."""
