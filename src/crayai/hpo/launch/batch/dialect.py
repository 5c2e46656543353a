"""What a batch system's dialect is: text in, text out; what can fail is done once, in `batch`, for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from crayai.hpo.launch.base import Limit, Loss


class Standing(Enum):
    """Where a job is."""

    WAITS = auto()
    RUNS = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a batch system says of a job.

    Attributes:
        standing: Where it is; what is not understood counts as running.
        word: The batch system's own word for that.
        reason: Why it waits, or what it was ended for.
        location: The nodes.
        limit: The limit at which it was ended.
        loss: By what it was lost.
    """

    standing: Standing
    word: str
    reason: str = ""
    location: str = ""
    limit: Limit | None = None
    loss: Loss | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command has answered; `code` is None if it did not within its time."""

    code: int | None
    out: str
    err: str


class Trouble(Enum):
    """Why a command was of no use."""

    OUTAGE = auto()
    """Nobody answered; what was asked for may have been done."""
    FULL = auto()
    """No more jobs are taken at present."""
    TOO_LARGE = auto()
    """No array of this size is ever taken, or none at all."""
    REFUSED = auto()
    """It would be refused again."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What a batch system says of all jobs of a study.

    Attributes:
        jobs: By the names of jobs.
        submitted: The jobs by the sign of their submission, for those that show it.
    """

    jobs: Mapping[str, Seen]
    submitted: Mapping[str, str]


class Dialect(Protocol):
    """A batch system. A submission is a script that runs as `count` jobs; each job is named by it and its place.

    Attributes:
        retrying: What a command says that cannot do something now, and would try for ever; empty: none does.
        passes_environment: Whether a job finds the environment of who has submitted it; else its script reads
            ``directory/environment``.
        most_together: How many jobs a submission may have, at most.
        lists_all: Whether `queue` tells of all jobs of the user, and not of those that were asked for alone.
    """

    retrying: str
    passes_environment: bool
    most_together: int
    lists_all: bool = False

    def script(self, directory: Path, count: int) -> str:
        """Return the script of a submission, whose jobs run ``directory/0``, ``directory/1``, … in the shell."""

    def sign(self, name: str, script: Path) -> str:  # noqa: ARG002 - for those that go by names
        """Return by what `queue` knows a submission of a script under this name: by the path of the script."""
        return str(script)

    def submit(self, script: Path, name: str, count: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits, with the user's own arguments."""

    def submit_driver(self, script: Path, name: str, log: Path, minutes: int, arguments: Sequence[str]) -> list[str]:
        """Return the command that submits one job, which a failing node starts again, with its limit of time."""

    def nodes(self, count: int, arguments: Sequence[str]) -> list[str]:
        """Return what asks for so many nodes for each job, where the user's own `arguments` do not."""

    def launch(self, nodes: int, arguments: Sequence[str]) -> list[str]:
        """Return the words before a command that is to run on all nodes of its job, or has arguments to be run with."""

    def limit(self, seconds: float | None, arguments: Sequence[str]) -> list[str]:
        """Return what limits the time of a job that is to end by itself after `seconds`, unless `arguments` do."""

    def submission(self, answer: Answer) -> str:
        """Return the name of what was submitted; empty: it was not."""

    def job(self, submission: str, place: int) -> str:
        """Return the name of a job, as `queue` and the job itself name it."""

    def submission_of(self, job: str) -> str:
        """Return the name of the submission that a job belongs to."""

    def ask(self, name: str, known: Sequence[str]) -> list[str]:
        """Return the command that asks for all jobs of a study: of this name, and the `known` submissions and jobs."""

    def queue(self, answer: Answer) -> Queue | None:
        """Return what it answered; None: not about all of them, so a job that is left out may still be there."""

    def ask_past(self, jobs: Sequence[str]) -> list[str]:  # noqa: ARG002 - for those that have an accounting
        """Return the command that asks for jobs that the queue has left out; empty: there is none."""
        return []

    def past(self, answer: Answer) -> Mapping[str, Seen] | None:  # noqa: ARG002 - likewise
        """Return what it answered; None: nothing that can be relied on."""
        return {}

    def cancel(self, jobs: Sequence[str]) -> list[str]:
        """Return the command that ends jobs."""

    def is_hopeless(self, reason: str) -> bool:
        """Return whether a job that waits for this reason would wait for ever."""

    def cause_in(self, said: str) -> Limit | Loss | None:  # noqa: ARG002 - for those that say it there
        """Return by what a job was ended, if the batch system has said so in the job's log; None: it has not."""
        return None

    def refusal(self, answer: Answer, argv: Sequence[str]) -> str:
        """Return what is to be told about a command that was refused."""

    def trouble(self, answer: Answer) -> Trouble:
        """Return why a command that failed did."""
