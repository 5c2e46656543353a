"""What is asked for and not running: ready to be launched, or to be tried again after a pause."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

from crayai.hpo.records import Asked


class Queue:
    """Evaluations that wait to be launched.

    Args:
        waiting: The first ones, in order.
    """

    def __init__(self, waiting: Iterable[Asked] = ()) -> None:
        self._ready = deque(waiting)
        self._paused: list[tuple[float, int, Asked]] = []

    def __len__(self) -> int:
        """Return how many are ready."""
        return len(self._ready)

    def __iter__(self) -> Iterator[Asked]:
        """Return those that are ready, in order."""
        return iter(tuple(self._ready))

    def add(self, asked: Asked) -> None:
        """Append a new one."""
        self._ready.append(asked)

    def again(self, asked: Asked) -> None:
        """Put one before all others."""
        self._ready.appendleft(asked)

    def pause(self, asked: Asked, until: float) -> None:
        """Put one before all others from the time `until` on."""
        heapq.heappush(self._paused, (until, asked.number, asked))

    def pop(self) -> Asked:
        """Take the first one that is ready."""
        return self._ready.popleft()

    def remove(self, asked: Asked) -> None:
        """Take one that is ready."""
        self._ready.remove(asked)

    def wake(self, now: float) -> None:
        """Make those ready whose pause is over."""
        while self._paused and self._paused[0][0] <= now:
            self.again(heapq.heappop(self._paused)[2])

    @property
    def next_wake(self) -> float | None:
        """When the next pause is over; None: there is none."""
        return self._paused[0][0] if self._paused else None
