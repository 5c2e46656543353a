"""Ctrl-C: once to stop asking and let running evaluations finish, twice to end them."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class _Wake(Exception):  # noqa: N818 - no error: it ends a wait
    """A signal came while nothing was being done."""


class Interrupts:
    """Counts the requests to stop; a wait ends at once when one comes."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch Ctrl-C while the block runs; in other threads than the main one signals cannot be caught."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

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

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self._waiting:
            raise _Wake
