"""What stands in a study's directory of jobs that were, or are about to be, submitted.

    jobs/proofs/          what jobs leave, see `proof`
    jobs/3/               a submission
        jobs              place, name, limit of time in seconds and tag of each job, a line each
        0, 1, …           the script of each job that is not forgotten
        submit            the script that the batch system runs
        environment       the driver's, for a batch system that does not pass it on
        id                the batch system's name for it, as soon as that is known

A submission appears whole, before anything is submitted, so a later driver knows of everything that may run.
"""

import shlex
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from crayai.hpo.launch.base import Task
from crayai.hpo.launch.batch.dialect import Dialect, Seen
from crayai.hpo.launch.batch.inherited import exports
from crayai.hpo.launch.proof import Proofs, name_of, script_of

_LAST_WORDS = 500


@dataclass(slots=True)
class Job:
    """An attempt that was handed to the batch system.

    Attributes:
        tag: Of the attempt.
        name: Of its proofs.
        limit_seconds: Of time; None: none.
        submission: With which it is, or will be, submitted.
        place: Among the jobs of the submission.
        twin: The job of a second submission of the same script, of which nobody heard, that runs it; empty: none does.
        seen: What was last heard of it.
        over_since: When it was first heard to be over, or not listed.
        times_over: How often it was heard since.
        is_cancelled: Whether the driver wants it to end.
        cancelled_at: When the batch system was last told so, on the monotonic clock.
    """

    tag: str
    name: str
    limit_seconds: float | None
    submission: "Submission"
    place: int
    twin: str = ""
    seen: Seen | None = None
    over_since: float | None = None
    times_over: int = 0
    is_cancelled: bool = False
    cancelled_at: float = float("-inf")

    def words(self) -> str:
        """Return the last that the batch system's own part of the job has said."""
        for name in (f"log.{self.place}", f"log-{self.place}"):
            with suppress(OSError):
                text = (self.submission.directory / name).read_text(encoding="utf-8", errors="replace")
                return text.strip()[-_LAST_WORDS:]
        return ""


@dataclass(slots=True)
class Submission:
    """Jobs that are submitted together.

    Attributes:
        directory: Its own.
        id: The batch system's name for it; empty: not known.
        known_at: When that was known, on the monotonic clock; questions that were asked before may not be about it.
        jobs: Those that are not forgotten.
    """

    directory: Path
    id: str = ""
    known_at: float = float("-inf")
    jobs: list[Job] = field(default_factory=list)

    @property
    def script(self) -> Path:
        """What the batch system runs."""
        return self.directory / "submit"

    def know(self, name: str) -> None:
        """Write down the batch system's name for it."""
        part = self.directory / "id~"
        part.write_text(name, encoding="utf-8")
        part.rename(self.directory / "id")
        self.id, self.known_at = name, time.monotonic()

    @property
    def count(self) -> int:
        """How many places it has."""
        return 1 + max(job.place for job in self.jobs)

    @property
    def limit_seconds(self) -> float | None:
        """The limit of time of the job that has the longest; None: one has none."""
        limits = [job.limit_seconds for job in self.jobs]
        return None if None in limits else max((limit for limit in limits if limit is not None), default=None)


class Spool:
    """The jobs of a study, by tag, and their files.

    Args:
        root: The directory.

    Attributes:
        proofs: What jobs leave.
        jobs: All that are known, by tag.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.proofs = Proofs(root / "proofs")
        self.jobs: dict[str, Job] = {}
        self._last = 0
        for path in sorted(root.glob("[0-9]*"), key=lambda path: int(path.name)):
            self._load(path)

    @property
    def submissions(self) -> list[Submission]:
        """Those of which a job is not forgotten, the oldest first."""
        return list({id(job.submission): job.submission for job in self.jobs.values()}.values())

    @property
    def known(self) -> list[str]:
        """The batch system's names for them, and for jobs that run what one of them was to run."""
        return [one.id for one in self.submissions if one.id] + [job.twin for job in self.jobs.values() if job.twin]

    @property
    def next(self) -> Path:
        """The directory that the next submission will have."""
        return self._root / str(self._last + 1)

    def write(self, tasks: Sequence[Task], prefix: Sequence[str], dialect: Dialect) -> Submission:
        """Write down that `tasks` are submitted together, with the words of `prefix` before their commands."""
        rows = [f"{name_of(task)} {task.time_limit_seconds} {task.tag}" for task in tasks]
        return self._make(rows, [self.script(task, place, prefix) for place, task in enumerate(tasks)], dialect)

    def script(self, task: Task, place: int, prefix: Sequence[str]) -> str:
        """Return the script of a task at a place of the next submission."""
        command = shlex.join([*prefix, *task.argv])
        return script_of(task, self.proofs.directory, self.next / str(place), command, is_restarted=True)

    def split(self, submission: Submission, count: int, dialect: Dialect) -> Submission:
        """Leave the first `count` jobs where they are; return a new submission with the others."""
        moved = submission.jobs[count:]
        files = [submission.directory / str(job.place) for job in moved]
        rows = [f"{job.name} {job.limit_seconds} {job.tag}" for job in moved]
        rest = self._make(rows, [file.read_text(encoding="utf-8") for file in files], dialect)
        del submission.jobs[count:]
        for file in files:
            file.unlink()
        return rest

    def _make(self, rows: Sequence[str], scripts: Sequence[str], dialect: Dialect) -> Submission:
        """Make a submission, all of it at once."""
        self.proofs.make()
        part, path = self._root / "part", self.next
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        for place, script in enumerate(scripts):
            (part / str(place)).write_text(script, encoding="utf-8")
        lines = [f"{place} {row}\n" for place, row in enumerate(rows)]
        (part / "jobs").write_text("".join(lines), encoding="utf-8")
        (part / "submit").write_text(dialect.script(path, len(scripts)), encoding="utf-8")
        if not dialect.passes_environment:
            (part / "environment").write_text(exports(), encoding="utf-8")
        part.rename(path)
        return self._load(path)

    def forget(self, tag: str) -> None:
        """Remove what is there of a job, its script first (see `proof`), and the submission with its last one."""
        job = self.jobs.pop(tag, None)
        if job is None:
            return
        (job.submission.directory / str(job.place)).unlink(missing_ok=True)
        self.proofs.forget(job.name)
        job.submission.jobs.remove(job)
        if not job.submission.jobs:
            shutil.rmtree(job.submission.directory, ignore_errors=True)

    def clear(self) -> None:
        """Remove everything."""
        self.jobs.clear()
        shutil.rmtree(self._root, ignore_errors=True)

    def _load(self, path: Path) -> Submission:
        self._last = max(self._last, int(path.name))
        submission = Submission(path)
        with suppress(FileNotFoundError):
            submission.id = (path / "id").read_text(encoding="utf-8")
        there = {entry.name for entry in path.iterdir()}
        for line in (path / "jobs").read_text(encoding="utf-8").splitlines():
            place, name, limit, tag = line.split(" ", 3)
            if place in there:
                job = Job(tag, name, None if limit == "None" else float(limit), submission, int(place))
                job.is_cancelled = self.proofs.is_cancelled(name)
                submission.jobs.append(job)
                self.jobs[tag] = job
        return submission
