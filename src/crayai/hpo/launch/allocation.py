"""An allocation of Slurm's in which steps run: found, or asked for and waited for; watched; released."""

import time
from dataclasses import dataclass, field

from crayai.hpo.errors import LaunchError
from crayai.hpo.launch import slurm_steps as words
from crayai.hpo.launch.calls import Call, ask
from crayai.hpo.launch.dialect import Answer, Trouble
from crayai.hpo.launch.slurm import is_hopeless, refusal, trouble_in

_ASK_SECONDS = 60.0
_RETRY_SECONDS = 5.0
_FIRST_LOOK_SECONDS = 1.0
_CANCEL_TRIES = 3


@dataclass
class Allocation:
    """Nodes that are held for the study.

    Attributes:
        name: By which an allocation that an earlier driver has made is found.
        nodes: How many.
        arguments: Of the command that asks for it, as the user has given them.
        job: Its number; empty: it is not granted yet.
        is_own: Whether we made it, and so release it.
        reason: Why nothing can run in it any more; empty: something can.
        held: What Slurm last said of it.
        node_names: Of its nodes.
    """

    name: str
    nodes: int
    arguments: str
    job: str = ""
    is_own: bool = True
    reason: str = ""
    held: words.Held | None = None
    node_names: frozenset[str] = frozenset()
    notices: list[str] = field(default_factory=list)
    _call: Call | None = None
    _next_ask: float = 0.0
    _end: float = float("inf")
    _told: str = ""

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
            self._next_ask = time.monotonic() + (_ASK_SECONDS if self.is_ready else _RETRY_SECONDS)
            if self.job or self._find():
                self.ask_how_it_is()
            elif self.is_own and self._call is None:
                self._next_ask = time.monotonic() + _FIRST_LOOK_SECONDS
                self._call = Call(words.allocate(self.name, self.nodes, self.arguments), float("inf"))

    def ask_how_it_is(self) -> None:
        """Learn whether it is there, and how long it will be."""
        answer = ask(words.ask_held(self.job))
        rows = words.held(answer)
        if rows is None:
            self._outage(answer)
            return
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

    def _cancel(self) -> None:
        """End it, and any other of its name that a driver which died may have asked for."""
        for _ in range(_CANCEL_TRIES):
            one = [words.cancel([self.job])] if self.job else []
            answers = [ask(argv) for argv in (*one, words.cancel_named(self.name))]
            if not any(answer.code is None or trouble_in(answer.err) is Trouble.OUTAGE for answer in answers):
                return

    def _find(self) -> bool:
        """Take up an allocation of this name that an earlier driver has left."""
        if not self.is_own:
            return False
        rows = words.held(ask(words.ask_named(self.name)))
        if rows is None:
            return True
        alive = [row for row in rows if not row.is_over]
        if alive:
            self.job = alive[0].job
            self.notices.append(f"going on in the allocation {self.job}, which an earlier driver has left")
        return bool(alive)

    def _look_at_queue(self) -> None:
        """Tell for which reason the allocation is waited for.

        Raises:
            LaunchError: It would be waited for for ever.
        """
        if self._call is None or time.monotonic() < self._next_ask:
            return
        self._next_ask = time.monotonic() + _ASK_SECONDS
        for row in words.held(ask(words.ask_named(self.name))) or []:
            if is_hopeless(row.reason):
                self.release()
                raise LaunchError(
                    f"the allocation would be waited for for ever: Slurm says {row.reason}\nThe command was: "
                    f"{' '.join(words.allocate(self.name, self.nodes, self.arguments))}"
                )
            if row.state == "PENDING" and row.reason != self._told:
                self._told = row.reason
                self.notices.append(f"waiting in the queue for an allocation of {self.nodes} nodes: {row.reason}")

    def _take_up(self, answer: Answer | None) -> None:
        """Take up what was granted."""
        if answer is None:
            return
        self._call = None
        self.job = words.granted(answer)
        if self.job:
            self.ask_how_it_is()
        elif answer.code is not None and trouble_in(answer.err) is Trouble.REFUSED:
            raise LaunchError(refusal(answer, words.allocate(self.name, self.nodes, self.arguments)))
        else:
            self._outage(answer)

    def _outage(self, answer: Answer) -> None:
        self.notices.append(f"Slurm does not answer, so this waits: {answer.err}")
