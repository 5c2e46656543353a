"""What watches a search: displays and log files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from crayai.hpo.engine.search import Search
from crayai.hpo.records import Event


class Observer(Protocol):
    """Watches a search; what it does changes nothing."""

    def begin(self, search: Search, *, was_resumed: bool, checkpoints: Path) -> None:
        """Take note that work on `search` begins, or goes on; `checkpoints` is the directory of its checkpoints."""

    def event(self, event: Event, search: Search) -> None:
        """Take note of `event`, which `search` has taken in."""

    def notice(self, text: str) -> None:
        """Take note of something that the user should know."""

    def end(self, search: Search) -> None:
        """Take note that work on `search` has ended, for now or for ever."""


class Observers:
    """Several that watch as one."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def begin(self, search: Search, *, was_resumed: bool, checkpoints: Path) -> None:
        """Tell all that work begins."""
        for observer in self._observers:
            observer.begin(search, was_resumed=was_resumed, checkpoints=checkpoints)

    def event(self, event: Event, search: Search) -> None:
        """Tell all of an event."""
        for observer in self._observers:
            observer.event(event, search)

    def notice(self, text: str) -> None:
        """Tell all what the user should know."""
        for observer in self._observers:
            observer.notice(text)

    def end(self, search: Search) -> None:
        """Tell all that work has ended."""
        for observer in self._observers:
            observer.end(search)
