"""Waiting for room: a full disk pauses a study, and ends nothing."""

from collections.abc import Callable

from crayai.hpo.engine.interrupts import Interrupts
from crayai.hpo.engine.search import Search
from crayai.hpo.errors import StoreFull

_PAUSE_SECONDS = 5.0


class Room:
    """The room for files that a driver needs.

    Args:
        is_there: Returns whether files can grow.
        interrupts: End the waiting.
        sleep: Waits for seconds.
        notice: Tells the user.

    Attributes:
        pauses: How often there was none.
    """

    def __init__(
        self,
        is_there: Callable[[], bool],
        interrupts: Interrupts,
        sleep: Callable[[float], None],
        notice: Callable[[str], None],
    ) -> None:
        self.pauses = 0
        self._is_there = is_there
        self._interrupts = interrupts
        self._sleep = sleep
        self._notice = notice

    def commit(self, search: Search) -> None:
        """Make what was appended durable; a full disk is waited for.

        Raises:
            StoreFull: There is no room, and a second request to stop.
        """
        while True:
            try:
                search.commit()
            except StoreFull as error:
                if self._interrupts.count > 1:
                    raise
                self.wait(str(error))
            else:
                return

    def wait(self, reason: str) -> None:
        """Pause until there is room for files, or a stop is asked for."""
        self.pauses += 1
        self._notice(f"paused: {reason}; going on by itself when there is room")
        self._pause()
        while not self._is_there() and not self._interrupts.count:
            self._pause()
        self._notice("going on: there is room again" if not self._interrupts.count else "stopping, without room")

    def _pause(self) -> None:
        self._interrupts.wait(self._interrupts.count, lambda: self._sleep(_PAUSE_SECONDS))
        self._interrupts.look()
