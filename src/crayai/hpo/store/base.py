"""What a log is, and the one that lives in memory."""

from collections.abc import Iterator
from typing import Protocol

from crayai.hpo.records import Event


class Log(Protocol):
    """The durable history of one study: events in their order, by one writer."""

    def events(self) -> Iterator[Event]:
        """Return all committed events in the order in which they were appended."""

    def append(self, event: Event) -> None:
        """Add `event` to the turn that the next `commit` makes durable."""

    def commit(self) -> None:
        """Make the appended events durable, all or none.

        Raises:
            StoreFull: There is no room; the events are kept, and the commit may be tried again.
        """

    def close(self) -> None:
        """Release what the log holds; uncommitted events are gone."""


class MemoryLog:
    """A log that lasts as long as the process."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def events(self) -> Iterator[Event]:
        """Return all events."""
        return iter(tuple(self._events))

    def append(self, event: Event) -> None:
        """Add `event`."""
        self._events.append(event)

    def commit(self) -> None:
        """Do nothing: nothing is durable here."""

    def close(self) -> None:
        """Do nothing: nothing is held."""
