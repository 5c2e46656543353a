"""Each evaluation a job of a batch system, for any dialect.

Jobs outlive the driver, and a later one finds all of them in the study's directory (see `spool`). A job's own proof
says what became of it (see `proof`). What the batch system says only counts where a job has left none, or was killed
from outside: one that does not answer, or does not list a job any more, has said nothing about it.
"""

import shlex
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.base import Gone, JobStatus, Task, Withdrawn
from crayai.hpo.launch.batch.dialect import Dialect, Queue, Seen, Standing
from crayai.hpo.launch.batch.scheduler import Scheduler
from crayai.hpo.launch.batch.spool import Job, Spool, Submission
from crayai.hpo.launch.batch.verdicts import Verdicts
from crayai.hpo.launch.proof import BY_HAND, DRIVER

_LOOK_SECONDS = 0.1
_CANCEL_SECONDS = 60.0
"""After that a job that still runs is cancelled again: a node's daemon may not have answered."""


class BatchLauncher:
    """Runs each task as a job.

    Args:
        directory: Of the study.
        name: Of all jobs of the study.
        dialect: Of the batch system.
        jobs: How many may be in the queue at once, running or waiting.
        arguments: Of the command that submits, as the user has given them.
        prefix: The words before each command, such as those of a parallel launcher.
        most_together: How many jobs the batch system takes in one submission; None: as the dialect says.
        poll_seconds: How often it is asked, at most.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        dialect: Dialect,
        *,
        jobs: int,
        arguments: Sequence[str] = (),
        prefix: Sequence[str] = (),
        most_together: int | None = None,
        poll_seconds: float = 5.0,
    ) -> None:
        self.capacity = jobs
        self._root = directory.absolute() / "jobs"
        self._prefix = list(prefix)
        self._spool = Spool(self._root)
        self._verdicts = Verdicts(self._spool.proofs, dialect)
        self._scheduler = Scheduler(dialect, name, arguments, most_together=most_together, poll_seconds=poll_seconds)
        self._unsent: deque[Task] = deque()
        self._unnamed = deque(one for one in self._spool.submissions if not one.id)
        self._looked_for_since = time.monotonic() if self._unnamed else None
        self._looked_at = -1
        self._has_heard = not self._spool.jobs
        self._reasons: set[str] = set()
        taken = [job for job in self._spool.jobs.values() if self._spool.proofs.owner(job.name) == DRIVER]
        self._withdrawn = {job.tag for job in taken}
        self._drop(taken)  # what an earlier driver has taken back; it may not have lived to say so

    def submit(self, task: Task) -> None:
        """Take `task` along with the next submission."""
        self._unsent.append(task)

    def rehearse(self, tasks: Sequence[Task]) -> str:
        """Return what would be submitted for `tasks`: the command, and its scripts, of several only the first."""
        path, dialect = self._spool.next, self._scheduler.dialect
        argv = self._scheduler.words(path / "submit", len(tasks), tasks[0].time_limit_seconds)
        files = {"submit": dialect.script(path, len(tasks)), "0": self._spool.script(tasks[0], 0, self._prefix)}
        shown = "\n".join(f"{path / name}:\n{text}" for name, text in files.items())
        return f"{shlex.join(argv)}\n\n{shown}"

    def find(self, task: Task) -> bool:
        """Return whether an earlier driver has written down that it submits the task: it did, or this one will."""
        return task.tag in self._spool.jobs

    def poll(self, tags: Collection[str]) -> Mapping[str, JobStatus]:
        """Return what is proven, or known for certain."""
        ended = self._spool.proofs.ended()
        told: dict[str, JobStatus] = {}
        for tag in tags:
            job = self._spool.jobs.get(tag)
            if tag in self._withdrawn:
                told[tag] = Withdrawn()
            elif job is not None:
                end = self._spool.proofs.end(job.name) if job.name in ended else None
                if (status := self._verdicts.of(job, end)) is not None:
                    told[tag] = status
                if isinstance(status, Gone) and job.seen is None and job.cancelled_at < 0:
                    self._drop([job])  # if it is there all the same, it must not go on
        return told

    def waiting(self) -> Collection[str]:
        """Return the jobs that were not seen to run, as far as is known."""
        is_waiting = {
            tag for tag, job in self._spool.jobs.items() if job.seen is None or job.seen.standing is Standing.WAITS
        }
        return is_waiting | {task.tag for task in self._unsent}

    def wait(self, seconds: float) -> None:
        """Return when a job has left an end, the batch system has answered, or there is something to tell."""
        deadline = time.monotonic() + seconds
        while True:
            self._send()
            queue = self._scheduler.listen(self._spool) if self._spool.jobs else None
            if queue is not None:
                self._hear(queue)
            changed, self._looked_at = self._looked_at, self._spool.proofs.changed()
            left = deadline - time.monotonic()
            if queue is not None or changed != self._looked_at or self._scheduler.notices or left <= 0:
                return
            time.sleep(min(_LOOK_SECONDS, left))

    def notices(self) -> list[str]:
        """Return what the user should know, and was not told before."""
        return self._scheduler.notices.take()

    def forget(self, tags: Collection[str]) -> None:
        """Remove what is kept of jobs that are on record."""
        for tag in tags:
            self._withdrawn.discard(tag)
            self._spool.forget(tag)
        self._scheduler.room_made()

    def reason_not_to_launch(self, usual_seconds: float) -> str:  # noqa: ARG002 - each job has its own time
        """Return nothing: a queue takes any job."""
        return ""

    def withdraw(self) -> None:
        """Take back what no job has claimed."""
        self._take_back([*self._spool.jobs, *(task.tag for task in self._unsent)])

    def cancel(self, tags: Collection[str]) -> None:
        """End these jobs; what has not begun never will."""
        self._take_back(tags)
        running = [
            job
            for tag in tags
            if (job := self._spool.jobs.get(tag)) and tag not in self._withdrawn and not job.is_cancelled
        ]
        for job in running:
            self._spool.proofs.cancel(job.name)
            job.is_cancelled = True
        self._drop(running)
        self._scheduler.ask_soon()

    def is_idle(self) -> bool:
        """Return whether everything is submitted and heard of, as far as the batch system answers, and takes jobs."""
        if self._scheduler.is_in_trouble:
            return True
        is_sent = not self._unsent and not self._unnamed
        is_heard = self._has_heard and all(job.over_since is None for job in self._spool.jobs.values())
        return is_sent and is_heard

    def leave(self) -> bool:
        """Leave all jobs to a later driver."""
        self._scheduler.close()
        return True

    def close(self) -> None:
        """End whatever is left, and forget all."""
        self.cancel(list(self._spool.jobs))
        self._unsent.clear()
        self._scheduler.close()
        self._spool.clear()

    def _name(self, job: Job) -> str:
        return job.twin or self._scheduler.dialect.job(job.submission.id, job.place)

    def _drop(self, jobs: Collection[Job]) -> None:
        """Have the batch system end jobs."""
        for job in jobs:
            job.cancelled_at = time.monotonic()
        self._scheduler.cancel([self._name(job) for job in jobs if job.submission.id])

    def _take_back(self, tags: Collection[str]) -> None:
        """Claim what nobody has claimed, and have the batch system drop it."""
        wanted = set(tags)
        self._withdrawn.update(task.tag for task in self._unsent if task.tag in wanted)
        self._unsent = deque(task for task in self._unsent if task.tag not in wanted)
        jobs = [job for tag, job in self._spool.jobs.items() if tag in wanted and tag not in self._withdrawn]
        taken = [job for job in jobs if self._spool.proofs.claim(job.name) == DRIVER]
        self._withdrawn.update(job.tag for job in taken)
        self._drop(taken)

    def _send(self) -> None:
        """Submit what waits, all of it together, but not too often."""
        self._unnamed = deque(one for one in self._unnamed if one.jobs)  # all may have ended, or been taken back
        if not self._unnamed:
            self._looked_for_since = None
        if self._looked_for_since is not None or not (self._unnamed or self._unsent):
            return
        if not self._scheduler.may_submit(len(self._spool.jobs)):
            return
        if not self._unnamed:
            count = min(self._scheduler.most_together, len(self._unsent))
            tasks = [self._unsent.popleft() for _ in range(count)]
            self._unnamed.append(self._spool.write(tasks, self._prefix, self._scheduler.dialect))
        if self._unnamed[0].count > (most := self._scheduler.most_together):
            self._unnamed.insert(1, self._spool.split(self._unnamed[0], most, self._scheduler.dialect))
        if self._scheduler.submit(self._unnamed[0]):
            self._unnamed.popleft()
        else:
            self._looked_for_since = time.monotonic()

    def _hear(self, queue: Queue) -> None:
        """Take in what the batch system says, also of what was submitted although nobody was told so."""
        for submission in list(self._unnamed):
            if name := queue.submitted.get(self._scheduler.sign(submission)) or self._claimant(submission):
                submission.know(name)
                self._unnamed.remove(submission)
        if self._looked_for_since is not None and self._scheduler.asked_at > self._looked_for_since:
            self._looked_for_since = None  # what was submitted without an answer would have been seen
        self._has_heard = True
        missing = [
            job
            for job in self._spool.jobs.values()
            if job.submission.id and job.submission.known_at < self._scheduler.asked_at and not self._find(job, queue)
        ]
        self._look_back(missing)
        late = time.monotonic() - _CANCEL_SECONDS
        self._drop([job for job in self._spool.jobs.values() if job.is_cancelled and job.cancelled_at < late])
        self._tell_reasons()

    def _claimant(self, submission: Submission) -> str:
        """Return the batch system's name for a submission, by what has claimed one of its jobs; empty: nothing has."""
        owners = map(self._owner, submission.jobs)
        return next((self._scheduler.dialect.submission_of(owner) for owner in owners if owner), "")

    def _owner(self, job: Job) -> str:
        """Return the job that has claimed what a job is to run, by its own name; empty: none has."""
        owner = self._spool.proofs.owner(job.name)
        return "" if owner in (DRIVER, BY_HAND) else owner

    def _find(self, job: Job, queue: Queue) -> bool:
        """Learn what the queue says of a job; return whether it does.

        A job that is over may have had nothing to do, for another one was first: its script was submitted twice, and
        only one of the two answers was heard. The other one is asked for from now on.
        """
        seen = queue.jobs.get(self._name(job))
        is_over = seen is None or seen.standing is Standing.OVER
        if is_over and (owner := self._owner(job)) not in ("", self._name(job)):
            job.twin = owner
            if (seen := queue.jobs.get(owner)) is None:
                return True
        if seen is not None:
            self._learn(job, seen)
        return seen is not None

    def _tell_reasons(self) -> None:
        """Tell once for which reasons jobs wait.

        Raises:
            LaunchError: One would wait for ever.
        """
        seen = [job.seen for job in self._spool.jobs.values() if job.seen is not None]
        waiting = [one for one in seen if one.standing is Standing.WAITS and one.reason]
        for one in waiting:
            if self._scheduler.dialect.is_hopeless(one.reason):
                raise LaunchError(f"a job would wait in the queue for ever: the batch system says {one.reason}")
        if not any(one.standing is Standing.RUNS for one in seen):
            for reason in {one.reason for one in waiting} - self._reasons:
                self._reasons.add(reason)
                self._scheduler.notices.tell(f"jobs that wait in the queue: {len(waiting)}, because of {reason}")

    def _look_back(self, missing: Sequence[Job]) -> None:
        """Ask once more for what the queue does not list."""
        past = self._scheduler.past([self._name(job) for job in missing]) if missing else None
        if past is not None:
            for job in missing:
                self._learn(job, past.get(self._name(job)))

    @staticmethod
    def _learn(job: Job, seen: Seen | None) -> None:
        """Take note of what was heard of a job; None: nothing, though it should have been.

        What is known of why it ends outlives the batch system's memory of it.
        """
        if seen is None and job.seen is not None and (job.seen.limit or job.seen.loss):
            seen = replace(job.seen, standing=Standing.OVER)
        job.seen = seen
        if seen is not None and seen.standing is not Standing.OVER:
            job.over_since, job.times_over = None, 0
            return
        job.times_over += 1
        if job.over_since is None:
            job.over_since = time.monotonic()
