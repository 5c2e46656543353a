"""Talks with a batch system: not too often, not too much, and with patience when nobody answers."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.batch.dialect import Answer, Dialect, Queue, Seen, Trouble
from crayai.hpo.launch.batch.spool import Spool, Submission
from crayai.hpo.launch.calls import Call, ask
from crayai.hpo.launch.notices import FULL, OUTAGE, Notices

_MOST_BACK_OFF_SECONDS = 60.0
_MOST_GATHER_SECONDS = 10.0
_GATHER_SECONDS_PER_JOB = 0.01
"""With a thousand jobs, what is to be submitted is gathered for ten seconds, with ten for a tenth of one."""
_CANCELLED_TOGETHER = 500


class Scheduler:
    """A batch system that others use too.

    Args:
        dialect: How it is spoken to.
        name: Of all jobs of the study.
        arguments: Of the command that submits, as the user has given them.
        most_together: How many jobs it takes in one submission; None: as the dialect says.
        poll_seconds: Between two questions, at least.

    Attributes:
        most_together: How many jobs to submit at once, at most; fewer after it took no more.
        asked_at: When the last question was asked, on the monotonic clock.
        notices: What the user is told.
    """

    def __init__(
        self, dialect: Dialect, name: str, arguments: Sequence[str], *, most_together: int | None, poll_seconds: float
    ) -> None:
        self.dialect = dialect
        self.notices = Notices()
        self.most_together = self._most_together = most_together or dialect.most_together
        self._name, self._arguments = name, list(arguments)
        self._poll_seconds = poll_seconds
        self._asking: Call | None = None
        self.asked_at = self._submitted_at = float("-inf")
        self._pause_seconds = 0.0
        self._to_cancel: list[str] = []

    @property
    def is_in_trouble(self) -> bool:
        """Whether it did not answer when it was last asked, or took no more jobs."""
        return OUTAGE in self.notices or FULL in self.notices

    def may_submit(self, jobs: int) -> bool:
        """Return whether it is time for a submission, with so many jobs in the queue."""
        gather = min(_MOST_GATHER_SECONDS, _GATHER_SECONDS_PER_JOB * jobs) if self._most_together > 1 else 0.0
        return time.monotonic() - self._submitted_at >= max(gather, self._pause_seconds)

    def submit(self, submission: Submission) -> bool:
        """Submit, and have the name written down; return whether that was successful, else it is tried again later.

        Raises:
            LaunchError: It is refused, and would be again.
        """
        argv = self.words(submission.script, submission.count, submission.limit_seconds)
        answer = self._answer(argv)
        self._submitted_at = time.monotonic()
        if name := self.dialect.submission(answer):
            submission.know(name)
            self._pause_seconds = 0.0
            self.most_together = min(self._most_together, 2 * self.most_together)
            self._recovered()
            self.notices.end(FULL)
            return True
        self._pause_seconds = min(_MOST_BACK_OFF_SECONDS, max(1.0, 2 * self._pause_seconds))
        match self.dialect.trouble(answer):
            case Trouble.OUTAGE:
                self._outage(answer)
            case Trouble.FULL:
                self.most_together = max(1, submission.count // 2)
                self.notices.begin(FULL, f"no more jobs are taken at present: {answer.err}")
            case Trouble.TOO_LARGE if submission.count > 1:
                self.most_together = self._most_together = submission.count // 2
                self._pause_seconds = 0.0
            case Trouble.TOO_LARGE | Trouble.REFUSED:
                raise LaunchError(self.dialect.refusal(answer, argv))
        return False

    def room_made(self) -> None:
        """Take note that it has fewer of our jobs than before."""
        if FULL in self.notices:
            self._pause_seconds = min(1.0, self._pause_seconds)

    def sign(self, submission: Submission) -> str:
        """Return by what the queue shows a submission."""
        return self.dialect.sign(self._name, submission.script)

    def words(self, script: Path, count: int, limit_seconds: float | None) -> list[str]:
        """Return the command that submits a script as so many jobs."""
        arguments = [*self._arguments, *self.dialect.limit(limit_seconds, self._arguments)]
        return self.dialect.submit(script, self._name, count, arguments)

    def cancel(self, jobs: Sequence[str]) -> None:
        """Ask for the end of jobs, now, or as soon as somebody answers."""
        self._to_cancel += jobs
        while self._to_cancel:
            some = self._to_cancel[:_CANCELLED_TOGETHER]
            answer = self._answer(self.dialect.cancel(some))
            if answer.code != 0 and self.dialect.trouble(answer) is Trouble.OUTAGE:
                self._outage(answer)
                return
            del self._to_cancel[: len(some)]

    def listen(self, spool: Spool) -> Queue | None:
        """Return what it says of all jobs of `spool`; None: nothing at present. It is asked in the background."""
        if self._asking is None:
            if time.monotonic() - self.asked_at >= self._poll_seconds:
                self.asked_at = time.monotonic()
                self._asking = Call(self.dialect.ask(self._name, spool.known))
            return None
        answer = self._asking.answer()
        if answer is None:
            return None
        self._asking = None
        queue = self.dialect.queue(answer)
        if queue is None:
            self._outage(answer)
            return None
        self._recovered()
        self.cancel(())
        return queue

    def ask_soon(self) -> None:
        """Ask at the next opportunity, for there is something to know."""
        self.asked_at = min(self.asked_at, time.monotonic() - self._poll_seconds)

    def past(self, jobs: Sequence[str]) -> Mapping[str, Seen] | None:
        """Return what else there is to hear about jobs that it has left out; None: nobody answers."""
        argv = self.dialect.ask_past(jobs)
        if not argv:
            return {}
        answer = self._answer(argv)
        past = self.dialect.past(answer)
        if past is None:
            self.notices.begin("accounting", f"waiting for the accounting, which does not answer: {answer.err}")
        else:
            self.notices.end("accounting", "the accounting answers again")
        return past

    def close(self) -> None:
        """Wait for an answer that is awaited."""
        if self._asking is not None:
            self._asking.wait()
            self._asking = None

    def _answer(self, argv: Sequence[str]) -> Answer:
        return ask(argv, self.dialect.retrying)

    def _outage(self, answer: Answer) -> None:
        self.notices.begin(OUTAGE, f"waiting for the batch system, which does not answer: {answer.err}")

    def _recovered(self) -> None:
        self.notices.end(OUTAGE, "the batch system answers again")
