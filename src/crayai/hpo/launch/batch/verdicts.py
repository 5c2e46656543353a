"""What became of a job: what it has proven itself, or else what the batch system says, and for how long it has said so.

What a job says of its own end is believed, unless something outside has ended it: why, only the batch system knows.
Where a job has left nothing, it is lost if the batch system says that it is over, or twice that it knows of none.
"""

import time
from dataclasses import dataclass

from crayai.hpo.launch.base import Exited, Gone, JobStatus, Limit, Loss, NotStarted, Withdrawn
from crayai.hpo.launch.batch.dialect import Dialect, Seen, Standing
from crayai.hpo.launch.batch.spool import Job
from crayai.hpo.launch.proof import DRIVER, SIGNALLED, End, Proofs

_SETTLE_SECONDS = 10.0
"""How long a proof may take to be seen here, and an accounting to hear of an end."""
_UNLISTED = Seen(Standing.OVER, "nothing of its job any more")
_ASKED = "it was told to end, and the batch system does not say by whom"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Judges jobs by their `proofs`, and by what is heard of them in a `dialect`."""

    proofs: Proofs
    dialect: Dialect

    def of(self, job: Job, end: End | None) -> JobStatus | None:
        """Return what became of a job that has left this end, or none yet; None: it may still go on.

        Of a job that has begun it must be heard twice that it is over, for one that is requeued may seem to be for a
        moment; one that was told to end though the batch system knows of nothing, is waited for longer. One that has
        not begun is claimed, so that it never will.
        """
        if end is not None and not end.was_asked and end.code < SIGNALLED:
            return _proven(job, end)
        if job.over_since is None:
            return None
        seen = job.seen or _UNLISTED
        is_settled = time.monotonic() - job.over_since >= _SETTLE_SECONDS and job.times_over > 1
        if end is not None:
            is_explained = seen.loss is not None or seen.limit is not None or not end.was_asked
            is_sure = job.seen is not None and job.times_over > 1 and is_explained
            return self._witnessed(job, end, seen) if is_sure or is_settled else None
        may_be_late = job.seen is None or self.proofs.claim(job.name) != DRIVER
        return None if may_be_late and not is_settled else self._unproven(job, seen)

    def _witnessed(self, job: Job, end: End, seen: Seen) -> JobStatus:
        """Return the end of a job that something outside has told to end, or killed."""
        exited = end.exited(job.limit_seconds)
        if job.is_cancelled:
            return Withdrawn(end.seconds, end.location)
        limit, loss = self._cause(job, seen)
        if limit := exited.limit or limit:
            return Exited(exited.code, limit, end.seconds, end.location)
        if loss := loss if end.was_asked else seen.loss:  # the log may still tell of an earlier run
            return Gone(_words(seen), end.location, loss)
        if end.was_asked:
            return Gone(_ASKED, end.location, _deletion(seen))
        return exited

    def _unproven(self, job: Job, seen: Seen) -> JobStatus:
        """Return the end of a job that is over, and has left nothing; one that has not begun never will."""
        owner = self.proofs.claim(job.name)
        if job.is_cancelled:
            return Withdrawn()
        limit, loss = self._cause(job, seen)
        if limit is not None:
            return Exited(-9, limit, None, seen.location)
        if loss is not None:
            return Gone(_words(seen), seen.location, loss)
        if self.proofs.was_asked(job.name):
            return Gone(_ASKED, seen.location, _deletion(seen))
        if owner == DRIVER and seen.location:
            return NotStarted(
                f"its job on {seen.location} ended ({seen.word}), and has left nothing in {self.proofs.directory}: do "
                f"the compute nodes see this directory? The job said: {job.words() or 'nothing'}"
            )
        was_deleted = owner == DRIVER and seen is not _UNLISTED
        loss = Loss.CANCELLED if was_deleted else Loss.UNKNOWN
        return Gone(f"{_words(seen)}, and it has left no record of its end", seen.location, loss)

    def _cause(self, job: Job, seen: Seen) -> tuple[Limit | None, Loss | None]:
        """Return by what a job was ended, as far as the batch system says so, in the job's log too."""
        said = self.dialect.cause_in(job.words())
        limit = said if isinstance(said, Limit) else None
        loss = said if isinstance(said, Loss) else None
        return seen.limit or limit, seen.loss or loss


def _proven(job: Job, end: End) -> JobStatus:
    if job.is_cancelled:
        return Withdrawn(end.seconds, end.location)
    return NotStarted(end.error) if end.error else end.exited(job.limit_seconds)


def _deletion(seen: Seen) -> Loss:
    """Return by what a job was lost that was told to end: one of which nothing is known any more was deleted."""
    return Loss.CANCELLED if seen is _UNLISTED else Loss.UNKNOWN


def _words(seen: Seen) -> str:
    """Return what the batch system has said of a job that was lost."""
    reason = f" ({seen.reason})" if seen.reason else ""
    return f"the batch system says {seen.word}{reason}"
