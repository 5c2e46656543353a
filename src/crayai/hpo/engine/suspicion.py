"""Is the evaluation at fault, or the set-up? Failures are held back until that is clear.

If nothing but failures came from the start, the set-up is at fault. If the same error comes again and again, an
evaluation that completed before is tried once more, as a *control*: if it fails as well, the set-up is at fault; if
not, these points are bad, and the next control waits for twice as many failures.
"""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

FIRST_FAILURES = 5
"""So many failures before any success, and the set-up is at fault."""

SAME_FAILURES = 8
"""So many failures with the same error, and a control is made."""

T = TypeVar("T")


class Verdict(Enum):
    """What to do next."""

    GO_ON = auto()
    CONTROL = auto()
    STOP = auto()


@dataclass
class Suspicion(Generic[T]):
    """Holds failures back.

    Attributes:
        held: What is held back, in order.
        streak: How often the last error came, without a success or another error between.
    """

    held: list[T] = field(default_factory=list)
    streak: int = 0
    _error: str = ""
    _threshold: int = SAME_FAILURES
    _has_control: bool = False

    def failed(self, failure: T, error: str, *, has_completed: bool) -> tuple[list[T], Verdict]:
        """Hold `failure` back; return what is not held any more, and what to do."""
        released = self.release() if has_completed and error != self._error and not self._has_control else []
        self.streak = self.streak + 1 if error == self._error else 1
        self._error = error
        self.held.append(failure)
        if not has_completed:
            return [], Verdict.STOP if len(self.held) >= FIRST_FAILURES else Verdict.GO_ON
        if self.streak < self._threshold or self._has_control:
            return released, Verdict.GO_ON
        self._has_control = True
        return released, Verdict.CONTROL

    def succeeded(self) -> list[T]:
        """Forget all suspicion; return what was held."""
        self.streak, self._error = 0, ""
        return self.release()

    def controlled(self, *, has_failed: bool) -> tuple[list[T], Verdict]:
        """Take in how a control ended; return what is not held any more, and what to do."""
        self._has_control = False
        if has_failed:
            return [], Verdict.STOP
        self._threshold *= 2
        return self.release(), Verdict.GO_ON

    def control_lost(self) -> None:
        """Take in that a control has no end: the next failure makes another."""
        self._has_control = False

    def release(self) -> list[T]:
        """Return what is held, and hold it no more."""
        released, self.held = self.held, []
        return released
