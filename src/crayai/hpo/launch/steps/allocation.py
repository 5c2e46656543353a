"""An allocation of Slurm's in which steps run: found, or asked for and waited for; watched; released."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch.base import Exited, Gone, Task
from crayai.hpo.launch.batch.dialect import Answer, Trouble
from crayai.hpo.launch.batch.slurm import Slurm, limit_in
from crayai.hpo.launch.calls import KEPT, Call, ask
from crayai.hpo.launch.notices import FULL, OUTAGE, Notices
from crayai.hpo.launch.steps import slurm as words
from crayai.hpo.launch.steps.nodes import Shape

_ASK_SECONDS = 60.0
_RETRY_SECONDS = 5.0
_FIRST_LOOK_SECONDS = 1.0
_CANCEL_TRIES = 3
_KILL_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_SLURM = Slurm()


@dataclass
class Allocation:
    """Nodes that are held for the study.

    Attributes:
        name: By which an allocation that an earlier driver has made is found.
        nodes: How many.
        arguments: Of the command that asks for it, as the user has given them.
        job: Its number; empty: it is to be looked for, or made.
        is_own: Whether we make it, and so release it.
        reason: Why nothing can run in it any more; empty: something can.
        held: What Slurm last said of it.
        node_names: Of its nodes.
    """

    name: str
    nodes: int
    arguments: str
    job: str = ""
    is_own: bool = field(init=False)
    reason: str = ""
    held: words.Held | None = None
    node_names: frozenset[str] = frozenset()
    notices: Notices = field(default_factory=Notices)
    _call: Call | None = None
    _next_ask: float = 0.0
    _end: float = float("inf")
    _told: str = ""
    runs_everywhere: bool = True

    def __post_init__(self) -> None:
        """Take note whether it is given."""
        self.is_own = not self.job

    @property
    def is_ready(self) -> bool:
        """Whether steps can run in it."""
        return self.held is not None and not self.reason and self.held.state == "RUNNING"

    def seconds_left(self) -> float:
        """Return how long it lasts, as far as is known."""
        return max(0.0, self._end - time.monotonic())

    def look(self) -> None:
        """Ask for it, or how it is, when it is time to; nothing is waited for but an answer.

        Raises:
            LaunchError: It is refused, or an allocation that was named is over.
        """
        if self._call is not None:
            self._take_up(self._call.answer())
            self._look_at_queue()
        elif not self.reason and time.monotonic() >= self._next_ask:
            self._ask()

    def is_there(self) -> bool | None:
        """Return whether what ran in it may have ended by itself; None: nobody says so at present."""
        is_to_wait = OUTAGE in self.notices and time.monotonic() < self._next_ask
        if not self.reason and self._call is None and not is_to_wait:
            self._ask()
        if self.reason or self._call is not None:
            return False
        return None if OUTAGE in self.notices else True

    def ask_how_it_is(self) -> None:
        """Learn whether it is there, and how long it will be."""
        answer = ask(words.ask_held(self.job))
        rows = words.held(answer)
        if rows is None:
            self._outage(answer)
            return
        self.notices.end(OUTAGE, "Slurm answers again")
        self.held = rows[0] if rows else None
        if self.held is None or self.held.is_over:
            state = self.held.state if self.held else "not there any more"
            self.reason = f"the allocation {self.job} is {state}"
            return
        if self.held.seconds_left is not None:
            self._end = time.monotonic() + self.held.seconds_left
        if self.is_ready and not self.node_names:
            self.node_names = frozenset(ask(words.ask_names(self.held.node_list)).out.split())
        if not self.is_ready:
            self._next_ask = time.monotonic() + _RETRY_SECONDS

    def release(self) -> None:
        """Give it back if it is ours, also one that is still waited for."""
        if self._call is not None:
            self._call.stop()
            answer = self._call.wait()
            self.job, self._call = words.granted(answer), None
        if self.is_own:
            self._cancel()
        self.reason = self.reason or "the allocation was released"

    def requests(self) -> list[list[str]]:
        """Return the command that asks for it, unless it is there."""
        return [] if self.job else [words.allocate(self.name, self.nodes, self.arguments)]

    def prefix(self, shape: Shape) -> list[str]:  # noqa: ARG002 - srun runs on all nodes
        """Return nothing."""
        return []

    def step(self, task: Task, name: str, shape: Shape, script: Path) -> list[str]:
        """Return the ``srun`` of a step; of an allocation that is not there yet nobody knows the nodes."""
        held, cpus = self.held, None
        if shape.evals_per_node > 1:
            cpus = max(1, held.cpus // max(1, held.nodes) // shape.evals_per_node) if held else 1
        known = [node for node in task.avoid if node in self.node_names]
        avoid = known if held and len(known) + shape.nodes_per_eval <= held.nodes else ()
        command = ["/bin/sh", str(script)]
        argv = words.step(self.job or "JOB", name, shape.nodes_per_eval, shape.arguments, cpus, avoid, command)
        ours = [one for one in os.environ if one.startswith(("SLURM_", "CRAYAI_J")) and one not in KEPT]
        return ["env", *(f"--unset={one}" for one in ours), *argv] if ours else argv

    def avoid(self, locations: Sequence[str], shape: Shape) -> tuple[str, ...]:  # noqa: ARG002 - srun is told
        """Return nothing: no slot here has nodes of its own."""
        return ()

    def end_step(self, owner: str) -> None:
        """End a step that nobody keeps any more, and wait until it is over."""
        deadline = time.monotonic() + _KILL_SECONDS
        job, _, number = owner.partition(".")
        while number and time.monotonic() < deadline:
            ask(words.cancel([owner]))
            rows = words.steps(ask(words.ask_steps(job)))
            if rows is not None and owner not in rows.values():
                return
            time.sleep(_LOOK_SECONDS)

    def lost(self, said: str) -> Exited | Gone:
        """Return the end of a step of which ``srun`` has said this."""
        if limit := limit_in(said):
            return Exited(-9, limit)
        return Gone(f"its step has left no record of its end: {said}", *words.loss_in(said))

    def is_outage(self, said: str) -> bool:
        """Return whether nobody has answered ``srun``."""
        return _SLURM.trouble(Answer(1, "", said)) is Trouble.OUTAGE

    def _cancel(self) -> None:
        """End it, and any other of its name that a driver which died may have asked for."""
        for _ in range(_CANCEL_TRIES):
            one = [words.cancel([self.job])] if self.job else []
            answers = [ask(argv) for argv in (*one, words.cancel_named(self.name))]
            if not any(_SLURM.trouble(answer) is Trouble.OUTAGE for answer in answers):
                return

    def _ask(self) -> None:
        """Learn how it is, or look for it."""
        self._next_ask = time.monotonic() + (_ASK_SECONDS if self.is_ready else _RETRY_SECONDS)
        if not self.job:
            self._find()
        if self.job:
            self.ask_how_it_is()

    def _find(self) -> None:
        """Take up an allocation of this name that an earlier driver has left; if there is none, ask for one."""
        answer = ask(words.ask_named(self.name))
        rows = words.held(answer)
        if rows is None:
            self._outage(answer)
            return
        alive = [row for row in rows if not row.is_over]
        if alive:
            self.job = alive[0].job
            self.notices.tell(f"going on in the allocation {self.job}, which an earlier driver has left")
        else:
            self._next_ask = time.monotonic() + _FIRST_LOOK_SECONDS
            self._call = Call(words.allocate(self.name, self.nodes, self.arguments), float("inf"))

    def _look_at_queue(self) -> None:
        """Tell for which reason the allocation is waited for.

        Raises:
            LaunchError: It would be waited for for ever.
        """
        if self._call is None or time.monotonic() < self._next_ask:
            return
        self._next_ask = time.monotonic() + _ASK_SECONDS
        for row in words.held(ask(words.ask_named(self.name))) or []:
            if _SLURM.is_hopeless(row.reason):
                self.release()
                raise LaunchError(
                    f"the allocation would be waited for for ever: Slurm says {row.reason}\nThe command was: "
                    f"{' '.join(words.allocate(self.name, self.nodes, self.arguments))}"
                )
            if row.state == "PENDING" and row.reason != self._told:
                self._told = row.reason
                self.notices.tell(f"waiting in the queue for an allocation of {self.nodes} nodes: {row.reason}")

    def _take_up(self, answer: Answer | None) -> None:
        """Take up what was granted."""
        if answer is None:
            return
        self._call = None
        self.job = words.granted(answer)
        if self.job:
            self.notices.end(FULL)
            self.ask_how_it_is()
            return
        match _SLURM.trouble(answer):
            case Trouble.OUTAGE:
                self._outage(answer)
            case Trouble.FULL:
                self._next_ask = time.monotonic() + _ASK_SECONDS
                self.notices.begin(FULL, f"Slurm takes no more jobs at present: {answer.err}")
            case _:
                raise LaunchError(_SLURM.refusal(answer, words.allocate(self.name, self.nodes, self.arguments)))

    def _outage(self, answer: Answer) -> None:
        self._next_ask = time.monotonic() + _RETRY_SECONDS
        self.notices.begin(OUTAGE, f"Slurm does not answer, so this waits: {answer.err}")
