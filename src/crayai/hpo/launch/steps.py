"""Each evaluation a step in an allocation that is held: Slurm's ``srun``, one process here for each.

The keeper of local processes (see `local`) runs the ``srun`` of each step, so what it can do holds here too: steps go
on when the driver dies, and a later one finds their ends. But ``srun`` is not believed: it ends with 0 when a node
fails. The program's own proof says what became of it (see `proof`), on each of its nodes.
"""

import os
import shlex
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from crayai.hpo.launch import slurm_steps as words
from crayai.hpo.launch.allocation import Allocation
from crayai.hpo.launch.base import Alive, Exited, Gone, JobStatus, Loss, NotStarted, Task, Withdrawn
from crayai.hpo.launch.calls import KEPT, ask
from crayai.hpo.launch.dialect import Trouble
from crayai.hpo.launch.local import LocalLauncher
from crayai.hpo.launch.proof import DRIVER, End, Proofs, name_of, script_of
from crayai.hpo.launch.slurm import limit_in, trouble_in

_LOOK_SECONDS = 0.1
_SPARE_SECONDS = 30.0
"""Between the limit of time that the node enforces, and the one of the process here."""
_KILL_SECONDS = 60.0
_PAUSE_SECONDS = 5.0
_LAST_WORDS = 500
_SIGNALLED = 128
"""Exit codes above it are a shell's account of a signal, as which one rank's end reaches the others."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How evaluations lie in an allocation.

    Attributes:
        nodes: Of the allocation.
        nodes_per_eval: Of each evaluation.
        evals_per_node: How many share a node; 1: an evaluation has its nodes for itself.
        arguments: Of the command that launches, as the user has given them.
    """

    nodes: int
    nodes_per_eval: int = 1
    evals_per_node: int = 1
    arguments: str = ""

    @property
    def slots(self) -> int:
        """How many run at once."""
        return self.nodes // self.nodes_per_eval * self.evals_per_node


class StepLauncher:
    """Runs each task as a step.

    Args:
        directory: Of the study.
        shape: How evaluations lie in an allocation.
        allocate: Returns an allocation that is to be asked for.
        most: How many allocations there may be, one after another.
    """

    def __init__(self, directory: Path, shape: Shape, allocate: Callable[[], Allocation], most: int = 1) -> None:
        self._root = directory.absolute() / "jobs"
        self._proofs = Proofs(self._root / "proofs")
        self._shape = shape
        self._allocate = allocate
        self._allocation: Allocation | None = allocate()
        self._left = most - 1
        self._local = LocalLauncher(directory, shape.slots, ())
        self._tasks: dict[str, Task] = {}
        self._held: list[Task] = []
        self._running: set[str] = set()
        self._ended: dict[str, JobStatus] = {}
        self._notices: list[str] = []
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
        task, allocation = tasks[0], self._allocation or self._allocate()
        made = [] if allocation.job else [words.allocate(allocation.name, allocation.nodes, allocation.arguments)]
        lines = [shlex.join(argv) for argv in (*made, self._words(task, allocation))]
        return "\n".join(lines) + f"\n\n{self._script(task)}:\n{self._text(task)}"

    def find(self, task: Task) -> bool:
        """Adopt a step whose ``srun`` an earlier keeper may still keep, or that has left its proof; end any other."""
        name = name_of(task)
        self._tasks[task.tag] = task
        if self._local.find(task):
            self._running.add(task.tag)
            return True
        if self._proofs.end(name) is not None:
            self._ended[task.tag] = self._judge(task, Exited(0))
            return True
        if (owner := self._proofs.claim(name)) != DRIVER:
            self._end_step(owner)
        del self._tasks[task.tag]
        return False

    def poll(self, tags: Collection[str]) -> Mapping[str, JobStatus]:
        """Return what is proven, or known for certain."""
        for tag, status in self._local.poll(tags).items():
            if tag not in self._ended and not isinstance(status, Alive):
                self._ended[tag] = self._judge(self._tasks[tag], status)
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
        told, self._notices = self._notices, []
        if self._allocation is not None:
            told += self._allocation.notices
            self._allocation.notices = []
        return told + self._local.notices()

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
            if task := self._tasks.pop(tag, None):
                self._proofs.forget(name_of(task), self._shape.nodes_per_eval)
                self._script(task).unlink(missing_ok=True)

    def withdraw(self) -> None:
        """Take back what has not started."""
        self._drop({task.tag for task in self._held})
        self._local.withdraw()

    def cancel(self, tags: Collection[str]) -> None:
        """End these steps."""
        self._drop(tags)
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
        old.release()
        self._is_short = False
        self._left -= 1
        self._allocation = self._allocate() if self._left >= 0 else None
        self._end_reason = old.reason
        self._notices.append(f"{old.reason}; " + ("asking for the next one" if self._allocation else "the study stops"))

    def _start(self, task: Task) -> None:
        """Have the keeper run ``srun``."""
        allocation = self._allocation
        if allocation is None or allocation.held is None:
            return
        self._running.add(task.tag)
        path = self._script(task)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._proofs.make()
        path.write_text(self._text(task), encoding="utf-8")
        argv = self._words(task, allocation)
        unset = [
            f"--unset={name}" for name in os.environ if name.startswith(("SLURM_", "CRAYAI_J")) and name not in KEPT
        ]
        limit = task.time_limit_seconds
        self._local.submit(
            replace(
                task,
                argv=tuple(["env", *unset, *argv] if unset else argv),
                directory=self._root,
                time_limit_seconds=None if limit is None else limit + _SPARE_SECONDS,
                avoid=(),
            )
        )

    def _text(self, task: Task) -> str:
        """Return the script that a step runs."""
        return script_of(task, self._proofs.directory, self._script(task), shlex.join(task.argv), writes=False)

    def _words(self, task: Task, allocation: Allocation) -> list[str]:
        """Return the command that runs a step; of an allocation that is not there yet nobody knows the nodes."""
        shape, held = self._shape, allocation.held
        cpus = None
        if shape.evals_per_node > 1:
            cpus = max(1, held.cpus // max(1, held.nodes) // shape.evals_per_node) if held else 1
        known = [node for node in task.avoid if node in allocation.node_names]
        avoid = known if held and len(known) + shape.nodes_per_eval <= held.nodes else ()
        script = ["/bin/sh", str(self._script(task))]
        job = allocation.job or "JOB"
        return words.step(job, name_of(task), shape.nodes_per_eval, shape.arguments, cpus, avoid, script)

    def _judge(self, task: Task, status: JobStatus) -> JobStatus:
        """Return what became of a step whose ``srun`` has ended so."""
        if isinstance(status, Withdrawn):
            return Withdrawn(status.seconds)  # the location is a slot of this machine, and no node
        if isinstance(status, NotStarted):
            return status
        name = name_of(task)
        names = [name, *(f"{name}.{node}" for node in range(1, self._shape.nodes_per_eval))]
        ends = [end for end in map(self._proofs.end, names) if end is not None]
        if len(ends) == len(names):
            return self._proven(task, ends, status)
        if isinstance(status, Gone) or status == Exited(-9):
            self._end_step(self._proofs.owner(name))
        if not self._has_allocation():
            return Withdrawn()
        if isinstance(status, Exited) and status.limit is not None:
            return replace(status, location="")
        return self._unproven(task)

    def _unproven(self, task: Task) -> JobStatus:
        """Return the end of a step that has left no proof on some node, though the allocation is there."""
        said = _tail(task.stderr)
        if self._proofs.owner(name_of(task)):
            if limit := limit_in(said):
                return Exited(-9, limit)
            return Gone(f"its step has left no record of its end: {said}", *words.loss_in(said))
        if trouble_in(said) is Trouble.OUTAGE:
            self._pause_until = time.monotonic() + _PAUSE_SECONDS
            self._notices.append(f"Slurm does not answer, so the study waits for it: {said}")
            return Withdrawn()
        return NotStarted(said or "srun has said nothing")

    def _proven(self, task: Task, ends: Sequence[End], status: JobStatus) -> JobStatus:
        """Return the end of a step that has left its proof on all nodes."""
        first = ends[0]
        if first.error:
            return NotStarted(first.error)
        own = sorted((end for end in ends if not end.is_terminated), key=lambda end: end.code > _SIGNALLED)
        bad = next((end for end in own if end.code), None)
        if bad is None and len(own) < len(ends):
            if not self._has_allocation():
                return Withdrawn(first.seconds, first.location)
            return Gone("its step was told to end by somebody else", first.location, Loss.CANCELLED)
        end = (bad or first).exited(task.time_limit_seconds)
        code = end.code or (status.code if isinstance(status, Exited) else 0)
        return Exited(code, end.limit, first.seconds, (bad or first).location)

    def _has_allocation(self) -> bool:
        """Return whether the allocation is there still, for certain."""
        if self._allocation is not None and not self._allocation.reason:
            self._allocation.ask_how_it_is()
        return self._allocation is not None and not self._allocation.reason

    def _end_step(self, owner: str) -> None:
        """End a step that nobody keeps any more, and wait until it is over."""
        deadline = time.monotonic() + _KILL_SECONDS
        job, _, number = owner.partition(".")
        while number and time.monotonic() < deadline:
            ask(words.cancel([owner]))
            rows = words.steps(ask(words.ask_steps(job)))
            if rows is not None and owner not in rows.values():
                return
            time.sleep(_LOOK_SECONDS)


def _tail(path: str) -> str:
    """Return the last words of a file."""
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()[-_LAST_WORDS:]
    return ""
