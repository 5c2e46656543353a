"""Requests to stop: Ctrl-C once lets running evaluations finish, twice ends them; batch systems grant some time.

SIGTERM and SIGUSR1 are what batch systems send before they kill. Running evaluations may finish while enough of the
grace time is left, and are ended then.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

GRACE_SECONDS = 10.0
"""What PBS Pro grants between SIGTERM and SIGKILL; Slurm grants 30."""

_ENDING_SECONDS = 6.0
"""For the evaluations to end, of which those that ignore SIGTERM are killed after five."""


class _Wake(BaseException):  # what catches every Exception must not catch it
    """A signal came while nothing was being done."""


class Interrupts:
    """Counts the requests to stop; a wait ends at once when one comes.

    Args:
        grace_seconds: How long after SIGTERM or SIGUSR1 the driver must have ended.
        clock: Seconds from any time on.

    Attributes:
        count: 1: running evaluations may finish; 2: they are to be ended.
        signal: The one that asked first; 0: none did.
    """

    def __init__(self, grace_seconds: float = GRACE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self.signal = 0
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._deadline = float("inf")
        self._waiting = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch the signals while the block runs; in other threads than the main one they cannot be caught."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        with ExitStack() as stack:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                stack.callback(signal.signal, number, signal.signal(number, self._handle))
            yield

    def look(self) -> None:
        """Ask for the end of running evaluations if the grace time demands it."""
        if self._clock() >= self._deadline:
            self.count = max(2, self.count)

    @property
    def seconds_left(self) -> float:
        """How long running evaluations may go on; infinite: as long as they like."""
        return max(0.0, self._deadline - self._clock()) if self.count < 2 else float("inf")  # noqa: PLR2004 - they end

    @property
    def is_machine(self) -> bool:
        """Whether it was no person that asked, but a batch system or another program."""
        return self.signal not in (0, signal.SIGINT)

    @property
    def remark(self) -> str:
        """What the user is told about the end of running evaluations."""
        left = self.seconds_left
        return "; Ctrl-C again ends them" if left == float("inf") else f" for {left:.0f} s"

    def wait(self, seen: int, action: Callable[[], None]) -> None:
        """Do `action` until it ends or a request comes; not at all if more than `seen` came before.

        `action` may be broken off at any point.
        """
        self._waiting = True
        try:
            try:
                if self.count == seen:
                    action()
            finally:
                self._waiting = False
        except _Wake:
            pass

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.signal = self.signal or number
        if number == signal.SIGINT:
            self.count += 1
        else:
            self.count = max(1, self.count)
            self._deadline = min(self._deadline, self._clock() + max(0.0, self._grace_seconds - _ENDING_SECONDS))
        if self._waiting:
            raise _Wake
