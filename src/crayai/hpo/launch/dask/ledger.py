"""What stands in a study's directory of tasks of Dask, and the little that has to be remembered of each.

    dask/<name>.task    the script; its last line is a comment: the limit of time, Dask's key, and the tag
    dask/<name>.…       what the task leaves, see `proof` and `worker`

Without its script a task does not run any more, wherever the scheduler still knows of it.
"""

import secrets
import shlex
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from crayai.hpo.launch.base import Task
from crayai.hpo.launch.proof import Proofs, name_of, script_of

_FACTS = "# crayai"


@dataclass(slots=True)
class Job:
    """A task that was handed to Dask.

    Attributes:
        tag: Of the attempt.
        name: Of its files.
        key: Of Dask's task.
        limit_seconds: Of time; None: none.
        is_cancelled: Whether the driver wants it to end.
        missing_since: When the scheduler was first heard not to have it, on the monotonic clock; None: it has it.
        times_missed: How often it was handed over again since it was lost before it began.
        beat: What was last read of the number in its file.
        beat_at: When that was new, on the monotonic clock.
    """

    tag: str
    name: str
    key: str
    limit_seconds: float | None
    is_cancelled: bool = False
    missing_since: float | None = None
    times_missed: int = 0
    beat: str = ""
    beat_at: float = float("-inf")


class Ledger:
    """The tasks of a study, by tag, and their files.

    Args:
        root: The directory.

    Attributes:
        root: The directory.
        proofs: What tasks leave.
        jobs: All that are known, by tag.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.proofs = Proofs(root)
        self.proofs.make()
        self.jobs: dict[str, Job] = {}
        for path in sorted(root.glob("*.task")):
            self._load(path)

    def path(self, job: Job) -> str:
        """Return the path that, with suffixes, names the files of a task."""
        return str(self.root / job.name)

    def write(self, task: Task) -> Job:
        """Write down a task that is about to be handed over."""
        name, key = name_of(task), f"crayai-{task.tag}-{secrets.token_hex(8)}"
        self._remove(name)
        path, part = self.root / f"{name}.task", self.root / f"{name}.task~"
        script = script_of(task, self.root, path, shlex.join(task.argv), is_told_alone=False)
        part.write_text(f"{script}{_FACTS} {task.time_limit_seconds} {key} {task.tag}\n", encoding="utf-8")
        part.rename(path)
        self._load(path)
        return self.jobs[task.tag]

    def forget(self, tag: str) -> None:
        """Remove what is there of a task; if it runs, it ends."""
        job = self.jobs.pop(tag, None)
        if job is not None:
            self._remove(job.name)

    def has_pulse(self, job: Job, seconds: float) -> bool:
        """Return whether the file of a task has had another number within the last `seconds` of looking."""
        beat = ""
        with suppress(FileNotFoundError):
            beat = (self.root / f"{job.name}.beat").read_text(encoding="utf-8")
        if beat != job.beat:
            job.beat, job.beat_at = beat, time.monotonic()
        return time.monotonic() - job.beat_at < seconds

    def was_left(self, job: Job) -> bool:
        """Return whether the worker of a task has ended it because it was told to end itself."""
        return (self.root / f"{job.name}.leaving").exists()

    def _remove(self, name: str) -> None:
        (self.root / f"{name}.task").unlink(missing_ok=True)  # first: nobody can claim it for long from now on
        self.proofs.forget(name)
        for suffix in ("beat", "leaving"):
            (self.root / f"{name}.{suffix}").unlink(missing_ok=True)

    def _load(self, path: Path) -> None:
        """Take in a task; what is no script of ours is passed over."""
        *_, facts = ["", *path.read_text(encoding="utf-8").splitlines()]
        if not facts.startswith(_FACTS):
            return
        limit, key, tag = facts.removeprefix(_FACTS).split(maxsplit=2)
        job = Job(tag, path.stem, key, None if limit == "None" else float(limit))
        job.is_cancelled = self.proofs.is_cancelled(job.name)
        self.jobs[tag] = job
