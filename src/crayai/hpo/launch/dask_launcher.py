"""Each evaluation a task of Dask, on any cluster of workers that see the study's directory.

A task runs in the same script as a job of a batch system (see `proof`), so its own record says what became of it. A
*ticket* is a file that a worker removes before it runs the script, and that the driver takes away to take the task
back; only one of them can. So a task never runs twice, though Dask runs tasks of lost workers again, and workers begin
with what the scheduler has forgotten. A key that the scheduler does not know, and that has left no end, was lost.

    dask/<name>.task         limit of time, ticket and tag of a task that is not forgotten
    dask/<name>.withdrawn    the ticket of one that was taken back
"""

import secrets
import shlex
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crayai.hpo.errors import LaunchError, SettingsError
from crayai.hpo.launch import dask_worker
from crayai.hpo.launch.base import Alive, Gone, JobStatus, Loss, NotStarted, Task, Withdrawn
from crayai.hpo.launch.proof import End, Proofs, name_of, script_of

_LOOK_SECONDS = 0.02
_SETTLE_SECONDS = 10.0
"""How long a proof may take to be seen here."""
_POLL_SECONDS = 1.0
_CONNECT_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Dask:
    """Which cluster of Dask, and what an evaluation needs of it.

    Attributes:
        address: Of the scheduler, such as ``tcp://node1:8786``; empty: not by its address.
        scheduler_file: The file that the scheduler has written; empty, as the address: workers on this machine.
        resources: Of a worker, that an evaluation takes, such as ``GPU=1``.
        slots: How many at once; None: as many as the workers have threads, or resources.

    Raises:
        SettingsError: A setting that cannot be.
    """

    address: str = ""
    scheduler_file: str = ""
    resources: str = ""
    slots: int | None = None

    def __post_init__(self) -> None:
        if self.address and self.scheduler_file:
            raise SettingsError(
                f"dask_address and dask_scheduler_file name one scheduler each, give one of them: got {self.address!r} "
                f"and {self.scheduler_file!r}"
            )
        if not all(self.needs.values()):
            raise SettingsError(f"dask_resources must be NAME=NUMBER with commas between, got {self.resources!r}")

    @property
    def is_local(self) -> bool:
        """Whether the workers are our own."""
        return not (self.address or self.scheduler_file)

    @property
    def needs(self) -> dict[str, float]:
        """How much an evaluation takes of each resource; 0: it does not say."""
        pairs = (part.partition("=") for part in self.resources.split(",") if part.strip())
        return {name.strip(): _number(text) for name, _, text in pairs}


def _number(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0


@dataclass(slots=True)
class _Job:
    """A task that was handed to Dask.

    Attributes:
        name: Of its proofs.
        key: Of Dask's task.
        ticket: The path of the file without which it does not begin.
        limit_seconds: Of time; None: none.
        missing_since: When the scheduler was first heard not to know it.
        is_cancelled: Whether the driver wants it to end.
    """

    name: str
    key: str
    ticket: Path
    limit_seconds: float | None
    missing_since: float | None = None
    is_cancelled: bool = False


@dataclass
class DaskLauncher:
    """Runs each task on a worker of Dask.

    Args:
        directory: Of the study.
        dask: The cluster.

    Raises:
        LaunchError: There is no such cluster, or no Dask.
    """

    directory: Path
    dask: Dask
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _withdrawn: set[str] = field(default_factory=set)
    _notices: list[str] = field(default_factory=list)
    _asked_at: float = float("-inf")
    _looked_at: int = -1
    _is_out: bool = False

    def __post_init__(self) -> None:
        self._root = self.directory.absolute() / "dask"
        self._proofs = Proofs(self._root)
        self._cluster, self._client = _connected(self.dask)
        self.capacity = self.dask.slots or max(1, self._places())
        for path in sorted(self._root.glob("*.task")):
            limit, ticket, tag = path.read_text(encoding="utf-8").split(" ", 2)
            self._jobs[tag] = self._job(path.stem, tag, ticket, None if limit == "None" else float(limit))
            if (self._root / f"{path.stem}.withdrawn").exists():
                self._withdrawn.add(tag)

    def submit(self, task: Task) -> None:
        """Write `task` down, and hand it to the scheduler."""
        self._proofs.make()
        name, ticket = name_of(task), f"{name_of(task)}.{secrets.token_hex(8)}.ticket"
        (self._root / ticket).touch()
        part = self._root / f"{name}.task~"
        part.write_text(f"{task.time_limit_seconds} {ticket} {task.tag}", encoding="utf-8")
        part.rename(self._root / f"{name}.task")
        self._jobs[task.tag] = self._job(name, task.tag, ticket, task.time_limit_seconds)
        self._hand_over(task)

    def find(self, task: Task) -> bool:
        """Return whether an earlier driver has submitted it; where it has not begun, the scheduler may not know it."""
        job = self._jobs.get(task.tag)
        if job is not None and job.ticket.exists():
            self._hand_over(task)
        return job is not None

    def poll(self, tags: Collection[str]) -> Mapping[str, JobStatus]:
        """Return what is proven, or known for certain."""
        ended = self._proofs.ended()
        told: dict[str, JobStatus] = {}
        for tag in tags:
            job = self._jobs.get(tag)
            if tag in self._withdrawn:
                told[tag] = Withdrawn()
            elif job is not None:
                end = self._proofs.end(job.name) if job.name in ended else None
                status = self._lost(job) if end is None else self._proven(job, end)
                if not isinstance(status, Alive):
                    told[tag] = status
        return told

    def waiting(self) -> Collection[str]:
        """Return the tasks that no worker has begun."""
        return {tag for tag, job in self._jobs.items() if job.ticket.exists()}

    def wait(self, seconds: float) -> None:
        """Return when a task has left an end, or was lost."""
        deadline = time.monotonic() + seconds
        while True:
            has_heard = self._ask()
            changed, self._looked_at = self._looked_at, self._proofs.changed()
            left = deadline - time.monotonic()
            if has_heard or changed != self._looked_at or self._notices or left <= 0:
                return
            time.sleep(min(_LOOK_SECONDS, left))

    def notices(self) -> list[str]:
        """Return what the user should know, and was not told before."""
        told, self._notices = self._notices, []
        return told

    def forget(self, tags: Collection[str]) -> None:
        """Remove what is kept of tasks that are on record."""
        for tag in tags:
            if job := self._jobs.pop(tag, None):
                for kind in ("task", "withdrawn"):
                    (self._root / f"{job.name}.{kind}").unlink(missing_ok=True)
                self._proofs.forget(job.name)
            self._withdrawn.discard(tag)

    def reason_not_to_launch(self, usual_seconds: float) -> str:  # noqa: ARG002 - workers have no end that is known
        """Return nothing."""
        return ""

    def withdraw(self) -> None:
        """Take back what no worker has begun."""
        self._take_back(self._jobs)

    def cancel(self, tags: Collection[str]) -> None:
        """End these tasks; what has not begun never will."""
        self._take_back(tags)
        for tag in tags:
            job = self._jobs.get(tag)
            if job is not None and tag not in self._withdrawn:  # it runs
                job.is_cancelled = True
                self._proofs.cancel(job.name)

    def is_idle(self) -> bool:
        """Return whether all is with the scheduler."""
        return True

    def leave(self) -> bool:
        """Leave tasks to a later driver, unless the workers are our own."""
        if not self.dask.is_local:
            self._client.close()
            return True
        self._shut_down()
        return False

    def close(self) -> None:
        """End whatever is left, and forget all."""
        self.cancel(list(self._jobs))
        deadline = time.monotonic() + _SETTLE_SECONDS
        while len(self.poll(list(self._jobs))) < len(self._jobs) and time.monotonic() < deadline:
            self.wait(_POLL_SECONDS)
        self.forget(list(self._jobs))
        self._shut_down()

    def _shut_down(self) -> None:
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _job(self, name: str, tag: str, ticket: str, limit_seconds: float | None) -> _Job:
        key = f"crayai-{tag}-{ticket}"
        return _Job(name, key, self._root / ticket, limit_seconds, is_cancelled=self._proofs.is_cancelled(name))

    def _places(self) -> int:
        """Return how many evaluations the workers take at once."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        places = 0
        for worker in workers:
            enough = [worker.get("resources", {}).get(name, 0.0) // much for name, much in self.dask.needs.items()]
            places += int(min([float(worker["nthreads"]), *enough]))
        return places

    def _hand_over(self, task: Task) -> None:
        """Have a worker run the script of a task, also when nobody is here any more."""
        import distributed  # noqa: PLC0415 - as below

        name, job = name_of(task), self._jobs[task.tag]
        script = script_of(task, self._proofs.directory, self._root / name, shlex.join(task.argv))
        cancelled = str(self._root / f"{name}.cancelled")
        future = self._client.submit(
            dask_worker.run_script,
            script,
            str(job.ticket),
            cancelled,
            key=job.key,
            pure=False,
            resources=self.dask.needs or None,
        )
        distributed.fire_and_forget(future)  # a scheduler that is away hears of neither, and the task is lost
        job.missing_since = None

    def _take_back(self, tags: Collection[str]) -> None:
        self._withdrawn.update(tag for tag in tags if (job := self._jobs.get(tag)) and self._is_taken(job))

    def _is_taken(self, job: _Job) -> bool:
        """Take away the ticket of a task; return whether it was still there."""
        try:
            job.ticket.rename(self._root / f"{job.name}.withdrawn")
        except FileNotFoundError:
            return False
        return True

    def _ask(self) -> bool:
        """Ask the scheduler which tasks it knows, but not too often; return whether one is missing for long enough."""
        now = time.monotonic()
        keys = {job.key: job for job in self._jobs.values()}
        if now - self._asked_at < _POLL_SECONDS or not keys:
            return False
        self._asked_at = now
        try:
            known = self._client.run_on_scheduler(dask_worker.states_of, keys=list(keys))
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            if not self._is_out:
                self._notices.append(f"waiting for Dask's scheduler, which does not answer: {error}")
            self._is_out = True
            self._connect_again()
            return False
        if self._is_out:
            self._notices.append("Dask's scheduler answers again")
        self._is_out = False
        for key, job in keys.items():
            if known.get(key, "erred") in ("erred", "forgotten"):
                job.missing_since = now if job.missing_since is None else job.missing_since
            else:
                job.missing_since = None
        return any(_is_settled(job) for job in keys.values())

    def _connect_again(self) -> None:
        """Make a new client where the old one has given up."""
        if self._client.status == "closed" and not self.dask.is_local:
            with suppress(LaunchError):
                self._cluster, self._client = _connected(self.dask)

    def _proven(self, job: _Job, end: End) -> JobStatus:
        if job.is_cancelled:
            return Withdrawn(end.seconds, end.location)
        if end.error:
            return NotStarted(end.error)
        exited = end.exited(job.limit_seconds)
        if end.was_asked and exited.limit is None:
            return Gone("its worker was told to end", end.location, Loss.NODE_FAILURE)
        return exited

    def _lost(self, job: _Job) -> JobStatus:
        """Return the end of a task that has left none."""
        if not _is_settled(job):
            return Alive()
        if job.is_cancelled:
            return Withdrawn()
        if self._is_taken(job):
            reason = f"Dask lost it, or its worker found nothing in {self._root}: do all workers see this directory?"
            return Gone(reason, loss=Loss.NODE_FAILURE)
        return Gone("its worker was lost", loss=Loss.NODE_FAILURE)


def _is_settled(job: _Job) -> bool:
    return job.missing_since is not None and time.monotonic() - job.missing_since >= _SETTLE_SECONDS


def _connected(dask: Dask) -> tuple[Any, Any]:
    """Return a cluster of our own, or None, and the client.

    Raises:
        LaunchError: Nobody is there.
    """
    try:
        import cloudpickle  # noqa: PLC0415 - takes a second, and is there for those who want it alone
        import distributed  # noqa: PLC0415
    except ImportError as error:
        raise LaunchError("launcher='dask' needs Dask's distributed: pip install 'crayai[dask]'") from error
    cloudpickle.register_pickle_by_value(dask_worker)  # workers need not have crayai
    cluster = None
    try:
        if dask.is_local:
            options: dict[str, Any] = {"resources": dask.needs} if dask.needs else {}
            cluster = distributed.LocalCluster(
                n_workers=dask.slots, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", **options
            )
            return cluster, distributed.Client(cluster)
        if dask.scheduler_file:
            return None, distributed.Client(scheduler_file=dask.scheduler_file, timeout=_CONNECT_SECONDS)
        return None, distributed.Client(dask.address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        where = dask.scheduler_file or dask.address or "this machine"
        raise LaunchError(f"no scheduler of Dask answers at {where}: {error}; is it running?") from error
