"""What a study may use, and what it has used."""

import math
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from crayai.hpo.engine.search import Search
from crayai.hpo.strategy.base import check_above, check_at_least

_MINUTE = 60.0
_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a study may use, all its drivers together; None: any amount. May be changed from driver to driver.

    Attributes:
        max_evaluations: Evaluations that are asked for.
        max_wall_minutes: Minutes that drivers work.
        max_node_hours: Nodes times the hours for which evaluations use them; slots share a machine in equal parts.
        target_fom: A figure of merit that is good enough.

    Raises:
        SettingsError: A limit that is not above 0, or a target that is no number.
    """

    max_evaluations: int | None = None
    max_wall_minutes: float | None = None
    max_node_hours: float | None = None
    target_fom: float | None = None

    def __post_init__(self) -> None:
        check_at_least(1, max_evaluations=self.max_evaluations)
        check_above(0, max_wall_minutes=self.max_wall_minutes, max_node_hours=self.max_node_hours)
        check_above(-math.inf, target_fom=self.target_fom)


class Account:
    """What a study has used of its budget, now.

    Args:
        budget: What it may use.
        search: Knows how long attempts ran.
        slots: How many evaluations run at once; others that are launched wait for them.
        nodes_per_evaluation: How many nodes an evaluation has, or which part of one.
        worked_seconds: How long earlier drivers worked.
        clock: Seconds from any time on.
    """

    def __init__(
        self,
        budget: Budget,
        search: Search,
        *,
        slots: int = 1,
        nodes_per_evaluation: float = 1.0,
        worked_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._search = search
        self._slots = slots
        self._nodes = nodes_per_evaluation
        self._clock = clock
        self._started = clock() - worked_seconds
        self._is_unlimited = budget == Budget(max_evaluations=budget.max_evaluations)
        self._starts: dict[str, float] = {}
        self._waiting: deque[str] = deque()

    def launched(self, tag: str) -> None:
        """Take note that the attempt `tag` was launched: it runs as soon as there is a slot."""
        if len(self._starts) < self._slots:
            self._starts[tag] = self._clock()
        else:
            self._waiting.append(tag)

    def ended(self, tag: str) -> None:
        """Take note that the attempt `tag` has ended, or was taken back."""
        if self._starts.pop(tag, None) is None:
            self._waiting.remove(tag)
        elif self._waiting:
            self._starts[self._waiting.popleft()] = self._clock()

    def still_wait(self, tags: Callable[[], Collection[str]]) -> None:
        """Take note that these attempts were launched, but use nothing as yet."""
        if not self._is_unlimited:
            now = self._clock()
            self._starts.update({tag: now for tag in tags() if tag in self._starts})

    def reason_not_to_ask(self) -> str:
        """Return why no more evaluation may be asked for; empty: one may."""
        most = self._budget.max_evaluations
        is_reached = most is not None and len(self._search.record) >= most
        return f"the max_evaluations of {most} are reached" if is_reached else ""

    def reason_not_to_launch(self) -> str:
        """Return why no more may be launched; empty: one may.

        None is launched that could not end within the budget if all took as long as usual.
        """
        if self._is_unlimited or not self._search.ended:
            return self.reason_to_end()
        now, usual, launched = self._clock(), self._search.usual_seconds, len(self._waiting) + 1
        starts = sorted(self._starts.values())
        start = now if len(starts) < self._slots else max(now, starts[min(launched, len(starts)) - 1] + usual)
        return self._exhausted(start + usual, sum(max(now - start, usual) for start in starts) + launched * usual)

    def reason_to_end(self) -> str:
        """Return why those that run are to be ended; empty: they may go on."""
        return "" if self._is_unlimited else self._exhausted(self._clock(), self._running_seconds())

    def seconds_left(self) -> float:
        """Return how long those that run may go on; infinite: as long as they like."""
        budget, left = self._budget, [math.inf]
        if budget.max_wall_minutes is not None:
            left.append(self._started + budget.max_wall_minutes * _MINUTE - self._clock())
        if budget.max_node_hours is not None and self._starts:
            used = self._search.seconds + self._running_seconds()
            left.append((budget.max_node_hours * _HOUR / self._nodes - used) / len(self._starts))
        return max(0.0, min(left))

    def _running_seconds(self) -> float:
        """Return for how long those that run do so, all together."""
        now = self._clock()
        return sum(now - start for start in self._starts.values())

    def _exhausted(self, now: float, running_seconds: float) -> str:
        """Return what is used up at the time `now` if those that run use so much; empty: nothing."""
        budget, search = self._budget, self._search
        target, minutes, hours = budget.target_fom, budget.max_wall_minutes, budget.max_node_hours
        if target is not None and search.best_loss is not None and search.best_loss <= search.study.loss(target):
            return f"the target_fom of {target:g} is reached"
        if minutes is not None and now - self._started >= minutes * _MINUTE:
            return f"the max_wall_minutes of {minutes:g} allow no more"
        if hours is not None and (search.seconds + running_seconds) * self._nodes >= hours * _HOUR:
            return f"the max_node_hours of {hours:g} allow no more"
        return ""
