"""How many evaluations run at once where the machine has no room for all."""

import math


class Throttle:
    """A limit that falls when evaluations fail for want of processes or files, and slowly rises again.

    It grows by one for each round of successes, as the window of TCP does (Jacobson 1988, "Congestion avoidance and
    control").
    """

    def __init__(self) -> None:
        self._limit = math.inf

    @property
    def most(self) -> float:
        """How many may run at once."""
        return math.floor(self._limit) if math.isfinite(self._limit) else self._limit

    def shortage(self, running: int) -> None:
        """Take note that one of `running` evaluations had no room: there is room for one fewer."""
        self._limit = max(1.0, min(self._limit, running) - 1)

    def success(self) -> None:
        """Take note that an evaluation had room."""
        self._limit += 1 / self._limit
