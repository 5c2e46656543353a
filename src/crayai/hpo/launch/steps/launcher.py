"""Each evaluation a step in an allocation that is held: by Slurm's ``srun``, or what else there is (see `nodes`).

The keeper of local processes (see `local`) runs the command of each step, so what it can do holds here too: steps go
on when the driver dies, and a later one finds their ends. But the command is not believed: ``srun`` ends with 0 when a
node fails. The program's own proof says what became of it (see `proof`), on each node on which its script runs.
"""

import shlex
import shutil
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from crayai.hpo.launch.base import Exited, Gone, JobStatus, Loss, NotStarted, Task, Withdrawn
from crayai.hpo.launch.local import LocalLauncher
from crayai.hpo.launch.notices import OUTAGE, Notices
from crayai.hpo.launch.proof import DRIVER, SIGNALLED, End, Proofs, name_of, script_of
from crayai.hpo.launch.steps.nodes import Nodes, Shape

_LOOK_SECONDS = 0.1
_SPARE_SECONDS = 30.0
"""Between the limit of time that the node enforces, and the one of the process here."""
_PAUSE_SECONDS = 5.0
_LAST_WORDS = 500


class StepLauncher:
    """Runs each task as a step.

    Args:
        directory: Of the study.
        shape: How evaluations lie in an allocation.
        allocate: Returns an allocation that is to be asked for.
        most: How many allocations there may be, one after another.
    """

    def __init__(self, directory: Path, shape: Shape, allocate: Callable[[], Nodes], most: int = 1) -> None:
        self._root = directory.absolute() / "jobs"
        self._proofs = Proofs(self._root / "proofs")
        self._shape = shape
        self._allocate = allocate
        self._allocation: Nodes | None = allocate()
        self._left = most - 1
        self._local = LocalLauncher(directory, shape.slots, ())
        self._tasks: dict[str, Task] = {}
        self._held: list[Task] = []
        self._running: set[str] = set()
        self._unwanted: set[str] = set()
        self._ended: dict[str, JobStatus] = {}
        self._notices = Notices()
        self._end_reason = ""
        self._is_short = False
        self._pause_until = 0.0

    @property
    def capacity(self) -> int:
        """As many as there are slots, and what waits for one."""
        return self._local.capacity

    def submit(self, task: Task) -> None:
        """Run `task` as soon as there is an allocation."""
        self._tasks[task.tag] = task
        self._held.append(task)
        self._watch()

    def rehearse(self, tasks: Sequence[Task]) -> str:
        """Return what would be run for the first of `tasks`: the commands, and the script."""
        task, script = tasks[0], self._script(tasks[0])
        allocation = self._allocation or self._allocate()
        step = allocation.step(task, name_of(task), self._shape, script)
        lines = [shlex.join(argv) for argv in (*allocation.requests(), step)]
        return "\n".join(lines) + f"\n\n{script}:\n{self._text(task, allocation)}"

    def find(self, task: Task) -> bool:
        """Adopt a step whose command an earlier keeper may still keep, or that has left its proof; end any other."""
        name = name_of(task)
        self._tasks[task.tag] = task
        if self._local.find(task):
            self._running.add(task.tag)
            return True
        if self._proofs.end(name) is not None:
            self._ended[task.tag] = self._judge(task, Exited(0)) or Withdrawn()
            return True
        self._end_on_nodes(task)
        del self._tasks[task.tag]
        return False

    def poll(self, tags: Collection[str]) -> Mapping[str, JobStatus]:
        """Return what is proven, or known for certain."""
        for tag, status in self._local.poll(tags).items():
            if tag in self._ended:
                continue
            judged = self._judge(self._tasks[tag], status) or (Withdrawn() if tag in self._unwanted else None)
            if judged is not None:
                self._ended[tag] = judged
                self._running.discard(tag)
        return {tag: self._ended[tag] for tag in tags if tag in self._ended}

    def waiting(self) -> Collection[str]:
        """Return the steps that wait for an allocation."""
        return [task.tag for task in self._held]

    def wait(self, seconds: float) -> None:
        """Return when a step may have ended, or the allocation is there."""
        deadline = time.monotonic() + seconds
        while True:
            self._watch()
            left = max(0.0, deadline - time.monotonic())
            is_ready = self._is_ready and not self._held
            self._local.wait(left if is_ready else min(_LOOK_SECONDS, left))
            if is_ready or self._running or time.monotonic() >= deadline:
                return

    def notices(self) -> list[str]:
        """Return what the user should know, and was not told before."""
        of_nodes = self._allocation.notices.take() if self._allocation is not None else []
        return [*self._notices.take(), *of_nodes, *self._local.notices()]

    def reason_not_to_launch(self, usual_seconds: float) -> str:
        """Return why a task that takes so long could not end in the allocations that there may be."""
        if self._allocation is None:
            return self._end_reason
        if self._allocation.seconds_left() >= usual_seconds:
            return ""
        self._is_short = True
        if self._left > 0:
            return ""
        left = self._allocation.seconds_left()
        return f"the allocation ends in {left:.0f} s, and an evaluation takes {usual_seconds:.0f} s"

    def forget(self, tags: Collection[str]) -> None:
        """Remove what is kept of steps that are on record."""
        self._local.forget(tags)
        for tag in tags:
            self._ended.pop(tag, None)
            self._unwanted.discard(tag)
            if task := self._tasks.pop(tag, None):
                self._script(task).unlink(missing_ok=True)
                self._proofs.forget(name_of(task), self._records)

    def withdraw(self) -> None:
        """Take back what has not started."""
        self._drop({task.tag for task in self._held})
        self._local.withdraw()

    def cancel(self, tags: Collection[str]) -> None:
        """End these steps."""
        self._drop(tags)
        self._unwanted.update(tags)
        self._local.cancel(tags)

    def is_idle(self) -> bool:
        """Return that there is nobody else who could start what is to be started."""
        return False

    def leave(self) -> bool:
        """Return that steps do not go on: the allocation is given back."""
        return False

    def close(self) -> None:
        """End what runs, and give the allocation back."""
        self._held.clear()
        self._local.close()
        if self._allocation is not None:
            self._allocation.release()
            self._allocation = None
        shutil.rmtree(self._root, ignore_errors=True)

    @property
    def _records(self) -> int:
        """How many records a step leaves."""
        is_everywhere = self._allocation is None or self._allocation.runs_everywhere
        return self._shape.nodes_per_eval if is_everywhere else 1

    @property
    def _is_ready(self) -> bool:
        return self._allocation is not None and self._allocation.is_ready and time.monotonic() >= self._pause_until

    def _script(self, task: Task) -> Path:
        return self._root / "steps" / name_of(task)

    def _drop(self, tags: Collection[str]) -> None:
        """Take back what waits for an allocation."""
        self._ended.update({task.tag: Withdrawn() for task in self._held if task.tag in tags})
        self._held = [task for task in self._held if task.tag not in tags]

    def _watch(self) -> None:
        """See to it that there is an allocation, and start what waits for it."""
        if self._allocation is None:
            self._drop({task.tag for task in self._held})
            return
        self._allocation.look()
        if self._held and not self._running and (self._allocation.reason or self._is_short):
            self._renew()
        if self._is_ready and not self._is_short:
            held, self._held = self._held, []
            for task in held:
                self._start(task)

    def _renew(self) -> None:
        """Give the allocation back, and ask for the next one, if there may be one."""
        old = self._allocation
        if old is None:
            return
        too_short = f"an evaluation is longer than the {old.seconds_left():.0f} s that are left of the allocation"
        reason = old.reason or too_short
        old.release()
        self._is_short = False
        self._left -= 1
        self._allocation = self._allocate() if self._left >= 0 else None
        self._end_reason = reason
        self._notices.tell(f"{reason}; " + ("asking for the next one" if self._allocation else "the study stops"))

    def _start(self, task: Task) -> None:
        """Have the keeper run the command of a step."""
        allocation = self._allocation
        if allocation is None:
            return
        self._running.add(task.tag)
        path = self._script(task)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._proofs.make()
        path.write_text(self._text(task, allocation), encoding="utf-8")
        limit = task.time_limit_seconds
        self._local.submit(
            replace(
                task,
                argv=tuple(allocation.step(task, name_of(task), self._shape, path)),
                directory=self._root,
                time_limit_seconds=None if limit is None else limit + _SPARE_SECONDS,
                avoid=allocation.avoid(task.avoid, self._shape),
            )
        )

    def _end_on_nodes(self, task: Task) -> None:
        """End what there may be of a step whose command nobody keeps, and which has left no end."""
        name = name_of(task)
        if self._proofs.end(name) is None and (owner := self._proofs.claim(name)) != DRIVER and self._allocation:
            self._allocation.end_step(owner)

    def _text(self, task: Task, allocation: Nodes) -> str:
        """Return the script that a step runs."""
        command = shlex.join([*allocation.prefix(self._shape), *task.argv])
        writes = not allocation.runs_everywhere
        return script_of(task, self._proofs.directory, self._script(task), command, writes=writes)

    def _judge(self, task: Task, status: JobStatus) -> JobStatus | None:
        """Return what became of a step whose command has ended so; None: that is not known as long as nobody answers.

        What ends with its allocation has no outcome.
        """
        if isinstance(status, Withdrawn):
            self._end_on_nodes(task)
            return Withdrawn(status.seconds)  # the location is a slot of this machine, and no node
        if isinstance(status, NotStarted):
            return status
        name = name_of(task)
        names = [name, *(f"{name}.{node}" for node in range(1, self._records))]
        ends = [end for end in map(self._proofs.end, names) if end is not None]
        if len(ends) == len(names):
            self._notices.end(OUTAGE, "the batch system answers again")
            return self._proven(task, ends, status)
        allocation, is_there = self._allocation, self._is_there()
        if allocation is None or not is_there:
            return None if is_there is None else Withdrawn()
        if isinstance(status, Gone) or status == Exited(-9):
            allocation.end_step(self._proofs.owner(name))
        if isinstance(status, Exited) and status.limit is not None:
            return replace(status, location="")
        return self._unproven(task, allocation, status)

    def _unproven(self, task: Task, allocation: Nodes, status: JobStatus) -> JobStatus:
        """Return the end of a step that has left no proof on some node, though the allocation is there.

        A command that was told to end before it had heard of that, as by a driver that has died since, ran nothing.
        """
        said = _tail(task.stderr)
        ask = self._proofs.claim if status == Exited(-signal.SIGTERM) else self._proofs.owner
        owner = ask(name_of(task))
        if owner == DRIVER:
            return Withdrawn()
        if owner:
            return allocation.lost(said)
        if allocation.is_outage(said):
            self._pause_until = time.monotonic() + _PAUSE_SECONDS
            self._notices.begin(OUTAGE, f"the batch system does not answer, so the study waits for it: {said}")
            return Withdrawn()
        return NotStarted(said or "the command of its step has said nothing")

    def _proven(self, task: Task, ends: Sequence[End], status: JobStatus) -> JobStatus | None:
        """Return the end of a step that has left its proof on all nodes; None: that is not known yet."""
        first = ends[0]
        if first.error:
            return NotStarted(first.error)
        own = sorted((end for end in ends if not end.is_terminated), key=lambda end: end.code > SIGNALLED)
        bad = next((end for end in own if end.code), None)
        if bad is None and len(own) < len(ends):
            if not (is_there := self._is_there()):
                return None if is_there is None else Withdrawn(first.seconds, first.location)
            return Gone("its step was told to end by somebody else", first.location, Loss.CANCELLED)
        end = (bad or first).exited(task.time_limit_seconds)
        code = end.code or (status.code if isinstance(status, Exited) else 0)
        return Exited(code, end.limit, first.seconds, (bad or first).location)

    def _is_there(self) -> bool | None:
        """Return whether steps may have ended by themselves, and not with their allocation; None: nobody says so."""
        return self._allocation is not None and self._allocation.is_there()


def _tail(path: str) -> str:
    """Return the last words of a file."""
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()[-_LAST_WORDS:]
    return ""
