"""Each evaluation a task of Dask, on any cluster of workers that see the study's directory.

A task runs in the same script as a job of a batch system (see `proof`), so its own record says what became of it, and
its claim lets only one worker run it, though Dask runs tasks of lost workers again, and what the driver has claimed
none (see `worker`). Dask only counts where there is no record: a task that the scheduler does not have any more,
that beats no more and has left no end, was lost. Its claim is taken away before that is said, so that what might still
be there of it ends.
"""

import inspect
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from crayai.hpo.launch.base import Gone, JobStatus, Loss, NotStarted, Task, Withdrawn
from crayai.hpo.launch.dask import worker
from crayai.hpo.launch.dask.connection import Connection
from crayai.hpo.launch.dask.ledger import Job, Ledger
from crayai.hpo.launch.dask.settings import Dask
from crayai.hpo.launch.proof import DRIVER, End

_AHEAD = 1
"""How many evaluations wait for a worker, so that none waits for the driver, and an adaptive cluster grows."""
_LOOK_SECONDS = 0.02
_SETTLE_SECONDS = 10.0
"""How long a proof may take to be seen here."""
_SILENT_SECONDS = 30.0
"""After that a task has no pulse any more."""
_MOST_MISSED = 2
_SOURCE = inspect.getsource(worker)


class DaskLauncher:
    """Runs each task on a worker of Dask.

    Args:
        directory: Of the study.
        dask: The cluster.
        others: Directories that workers must see besides.

    Raises:
        LaunchError: There is no such cluster, or no Dask, or its workers do not see the directories.
    """

    def __init__(self, directory: Path, dask: Dask, others: Sequence[Path] = ()) -> None:
        self._dask = dask
        self._ledger = Ledger(directory.absolute() / "dask")
        self._connection = Connection(dask, _call("check", str(self._ledger.root), [str(path) for path in others]))
        self._looked_at = -1
        self._settled: dict[str, JobStatus] = {
            tag: Withdrawn() for tag, job in self._ledger.jobs.items() if self._owner(job) == DRIVER
        }

    @property
    def capacity(self) -> int:
        """How many tasks it takes at once, which may change as workers come and go."""
        return self._dask.slots or self._connection.places + _AHEAD

    def submit(self, task: Task) -> None:
        """Write `task` down, and hand it to the scheduler."""
        self._hand_over(self._ledger.write(task))

    def find(self, task: Task) -> bool:
        """Return whether an earlier driver has submitted it; where it has not begun, the scheduler may not know it."""
        job = self._ledger.jobs.get(task.tag)
        if job is not None and not self._owner(job):
            self._hand_over(job)
        return job is not None

    def poll(self, tags: Collection[str]) -> Mapping[str, JobStatus]:
        """Return what is proven, or known for certain."""
        ended = self._ledger.proofs.ended()
        told: dict[str, JobStatus] = {}
        for tag in tags:
            job = self._ledger.jobs.get(tag)
            if tag in self._settled:
                told[tag] = self._settled[tag]
            elif job is not None and job.name in ended and (end := self._ledger.proofs.end(job.name)):
                told[tag] = self._proven(job, end)
        return told

    def waiting(self) -> Collection[str]:
        """Return the tasks that no worker has begun."""
        return {tag for tag, job in self._ledger.jobs.items() if not self._owner(job)}

    def wait(self, seconds: float) -> None:
        """Return when a task has left an end, or was lost, or there is something to tell."""
        deadline = time.monotonic() + seconds
        while True:
            has_heard = self._connection.is_due() and self._ask()
            changed, self._looked_at = self._looked_at, self._ledger.proofs.changed()
            left = deadline - time.monotonic()
            if has_heard or changed != self._looked_at or self._connection.notices or left <= 0:
                return
            time.sleep(min(_LOOK_SECONDS, left))

    def notices(self) -> list[str]:
        """Return what the user should know, and was not told before."""
        return self._connection.notices.take()

    def forget(self, tags: Collection[str]) -> None:
        """Remove what is kept of tasks that are on record."""
        for tag in tags:
            self._ledger.forget(tag)
            self._settled.pop(tag, None)

    def reason_not_to_launch(self, usual_seconds: float) -> str:  # noqa: ARG002 - workers have no end that is known
        """Return nothing."""
        return ""

    def withdraw(self) -> None:
        """Take back what no worker has begun."""
        self._take_back(list(self._ledger.jobs))

    def cancel(self, tags: Collection[str]) -> None:
        """End these tasks; what has not begun never will."""
        self._take_back(tags)
        for tag in tags:
            job = self._ledger.jobs.get(tag)
            if job is not None and tag not in self._settled:  # it runs
                job.is_cancelled = True
                self._ledger.proofs.cancel(job.name)

    def is_idle(self) -> bool:
        """Return whether all is with the scheduler."""
        return True

    def leave(self) -> bool:
        """Leave tasks to a later driver, unless the workers are our own."""
        if self._dask.is_local:
            return False
        self._connection.close()
        return True

    def close(self) -> None:
        """End whatever is left, and forget all."""
        jobs = self._ledger.jobs
        self.cancel(list(jobs))
        deadline = time.monotonic() + _SETTLE_SECONDS
        while len(self.poll(list(jobs))) < len(jobs) and time.monotonic() < deadline:
            self.wait(_LOOK_SECONDS)
        self.forget(list(jobs))
        self._connection.close()

    def _owner(self, job: Job) -> str:
        return self._ledger.proofs.owner(job.name)

    def _hand_over(self, job: Job) -> None:
        """Have a worker run the script of a task, also when nobody is here any more."""
        self._connection.submit(job.key, _call("run_task", self._ledger.path(job)))
        job.missing_since = None

    def _take_back(self, tags: Collection[str]) -> None:
        """Claim what nobody has claimed, and have the scheduler drop it."""
        jobs = [self._ledger.jobs[tag] for tag in tags if tag in self._ledger.jobs and tag not in self._settled]
        taken = [job for job in jobs if self._ledger.proofs.claim(job.name) == DRIVER]
        self._settled.update((job.tag, Withdrawn()) for job in taken)
        self._connection.drop([job.key for job in taken])

    def _ask(self) -> bool:
        """Ask the scheduler which tasks it has; return whether one is known to be lost by that."""
        ended, settled = self._ledger.proofs.ended(), len(self._settled)
        jobs = [job for tag, job in self._ledger.jobs.items() if tag not in self._settled and job.name not in ended]
        states = self._connection.states([job.key for job in jobs])
        now = time.monotonic()
        for job in jobs:
            state = "runs" if states is None else states.get(job.key)
            if state == "runs" or (state == "waits" and not self._owner(job)):
                job.missing_since = None
            elif job.missing_since is None:  # or it waits to run again, and will not
                job.missing_since = job.beat_at = now
            elif now - job.missing_since >= _SETTLE_SECONDS:
                self._miss(job)
        return len(self._settled) > settled

    def _miss(self, job: Job) -> None:
        """Find out about a task that the scheduler does not have: it may be elsewhere, or begin again, or is lost."""
        proofs = self._ledger.proofs
        owner = proofs.owner(job.name)
        if not owner and job.times_missed < _MOST_MISSED:
            job.times_missed += 1
            job.key += "-"  # the scheduler may have kept the other one
            self._hand_over(job)
        elif not owner:
            self._give_up(job, f"workers of Dask found nothing in {self._ledger.root}: do all see this directory?")
        elif not self._ledger.has_pulse(job, _SILENT_SECONDS):
            self._give_up(job, "its worker was lost")

    def _give_up(self, job: Job, reason: str) -> None:
        """Take a task away from whoever has it, and settle that it is lost, unless it has ended just now."""
        self._ledger.proofs.take(job.name)
        self._connection.drop([job.key])
        if self._ledger.proofs.end(job.name) is None:
            is_unwanted = job.is_cancelled
            self._settled[job.tag] = Withdrawn() if is_unwanted else Gone(reason, loss=Loss.NODE_FAILURE)

    def _proven(self, job: Job, end: End) -> JobStatus:
        """Return what a task itself says."""
        if job.is_cancelled:
            return Withdrawn(end.seconds, end.location)
        if end.error:
            return NotStarted(end.error)
        exited = end.exited(job.limit_seconds)
        if not end.was_asked or exited.limit is not None:
            return exited
        if self._ledger.was_left(job):
            return Gone("its worker was told to end", end.location, Loss.PREEMPTED)
        return Gone("its worker was lost", end.location, Loss.NODE_FAILURE)


def _call(function: str, *arguments: object) -> str:
    """Return a program that calls a function of `worker`."""
    return f"{_SOURCE}\n\n{function}(*{arguments!r})\n"
