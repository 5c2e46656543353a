"""What is asked for and not running: ready to be launched, to be tried again after a pause, or waiting for another."""

import heapq
from collections.abc import Callable, Iterator

from crayai.hpo.records import Asked


class Queue:
    """Evaluations that wait to be launched; those that are ready are in the order of their numbers.

    Args:
        is_over: Returns whether an evaluation is over, so that another may train on from it.
    """

    def __init__(self, is_over: Callable[[int], bool]) -> None:
        self._is_over = is_over
        self._ready: list[tuple[int, Asked]] = []
        self._paused: list[tuple[float, int, Asked]] = []
        self._waiting: dict[int, list[Asked]] = {}

    def __len__(self) -> int:
        """Return how many are ready."""
        return len(self._ready)

    def __iter__(self) -> Iterator[Asked]:
        """Return those that are ready, in order."""
        return (asked for _, asked in sorted(self._ready))

    def add(self, asked: Asked) -> None:
        """Add one that is ready, or will be when the evaluation that it trains on from is over."""
        source = asked.suggestion.resume_from
        if source is None or self._is_over(source):
            heapq.heappush(self._ready, (asked.number, asked))
        else:
            self._waiting.setdefault(source, []).append(asked)

    def over(self, number: int) -> None:
        """Make those ready that wait for evaluation `number`."""
        for asked in self._waiting.pop(number, ()):
            heapq.heappush(self._ready, (asked.number, asked))

    def pause(self, asked: Asked, until: float) -> None:
        """Add one that is ready from the time `until` on."""
        heapq.heappush(self._paused, (until, asked.number, asked))

    def pop(self) -> Asked:
        """Take the first one that is ready."""
        return heapq.heappop(self._ready)[1]

    def remove(self, asked: Asked) -> None:
        """Take one that is ready."""
        self._ready.remove((asked.number, asked))
        heapq.heapify(self._ready)

    def wake(self, now: float) -> None:
        """Make those ready whose pause is over."""
        while self._paused and self._paused[0][0] <= now:
            self.add(heapq.heappop(self._paused)[2])

    @property
    def next_wake(self) -> float | None:
        """When the next pause is over; None: there is none."""
        return self._paused[0][0] if self._paused else None
