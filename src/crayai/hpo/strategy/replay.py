"""Replay: trainings from scratch along a schedule and with constant values, to tell a good schedule from lucky weights.

The schedule is trained `seeds` times, each constant setting once, and the best of these as often as the schedule. The
training by which it was chosen counts, which favours the constant values: a schedule must be better than that.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crayai.hpo.errors import SettingsError
from crayai.hpo.records import Asked, Completed, Suggestion, Told, Value, Values
from crayai.hpo.space.base import Hyperparameter
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.base import History, check_at_least

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True, slots=True)
class ReplayState:
    """How many evaluations were asked for, and are over."""

    asked: int = 0
    told: int = 0


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Settings of a replay.

    Args:
        space: Of the search that is replayed.
        arms: What is trained with, window by window: the schedule, then the constant settings.
        seeds: How often the schedule, and the best constant setting, are trained.
        numbers: The number of each window, as the program is told; None: from 0.
        windows: How many windows there were in the search, as the program is told.
    """

    space: Space
    arms: Sequence[Sequence[Values]] = ()
    seeds: int = 5
    numbers: Sequence[int] | None = None
    windows: int = 1

    def __post_init__(self) -> None:
        check_at_least(1, seeds=self.seeds, windows=self.windows)
        lengths = {len(arm) for arm in self.arms} | ({len(self.numbers)} if self.numbers else set())
        if len(lengths) != 1 or 0 in lengths:
            raise SettingsError(
                f"a replay needs arms of as many windows each, at least one, got {sorted(lengths)}; "
                "crayai replay makes them from a study"
            )

    @property
    def length(self) -> int:
        """Windows of a training."""
        return len(self.arms[0])

    @property
    def evaluations(self) -> int:
        """How many there will be."""
        return self.length * (self._first + self._later)

    @property
    def _first(self) -> int:
        """Trainings that do not wait for others: of the schedule, and one of each constant setting."""
        return self.seeds + len(self.arms) - 1

    @property
    def _later(self) -> int:
        """Trainings of the best constant setting that come after."""
        return self.seeds - 1 if len(self.arms) > 1 else 0

    def start(self) -> ReplayState:
        """Return the state before the first event."""
        return ReplayState()

    def ask(self, state: ReplayState, history: History, rng: "Generator") -> Suggestion | None:  # noqa: ARG002
        """Return the next window of the next training, which goes on from the window before; nothing is random."""
        if state.asked == self.evaluations:
            return None
        training, window = self._split(state.asked)
        arm = self._arm(training, history)
        if arm is None:
            return None
        before = self._number(training, window - 1) if window else None
        number = self.numbers[window] if self.numbers else window
        return Suggestion(self.arms[arm][window], number, arm, () if before is None else (before,), before)

    def fold(self, state: ReplayState, event: Asked | Told) -> ReplayState:
        """Count."""
        if isinstance(event, Asked):
            return replace(state, asked=state.asked + 1)
        return replace(state, told=state.told + 1)

    def is_done(self, state: ReplayState) -> bool:
        """Return whether all is over."""
        return state.told == self.evaluations

    def resumable(self, state: ReplayState) -> range:
        """Return the last window of the trainings under way, and what was asked for since."""
        return range(max(0, state.asked - max(self._first, self._later)), state.asked)

    def losses(self, history: History, arm: int) -> list[float]:
        """Return the loss at the end of each training of an arm that is over; infinite where a window has failed."""
        found = (self._loss(history, t) for t in range(self._first + self._later) if self._arm(t, history) == arm)
        return [loss for loss in found if loss is not None]

    def best_constant(self, history: History) -> int | None:
        """Return the arm of the constant setting whose first training ended best; None: not all are over."""
        losses = [self._loss(history, training) for training in range(self.seeds, self._first)]
        known = [loss for loss in losses if loss is not None]
        return 1 + known.index(min(known)) if known and len(known) == len(losses) else None

    def _split(self, number: int) -> tuple[int, int]:
        """Return which training, and which of its windows, an evaluation is."""
        later = number - self.length * self._first
        if later < 0:
            window, training = divmod(number, self._first)
            return training, window
        window, training = divmod(later, self._later)
        return self._first + training, window

    def _number(self, training: int, window: int) -> int:
        """Return the number of an evaluation; window by window, so that trainings go on side by side."""
        if training < self._first:
            return window * self._first + training
        return self.length * self._first + window * self._later + training - self._first

    def _arm(self, training: int, history: History) -> int | None:
        """Return which arm a training is of; None: not known yet."""
        if training >= self._first:
            return self.best_constant(history)
        return max(0, training - self.seeds + 1)

    def _loss(self, history: History, training: int) -> float | None:
        """Return the loss at the end of a training, infinite if a window has failed; None: it is not over."""
        numbers = [self._number(training, window) for window in range(self.length)]
        outcomes = [history.outcome(number) if number < len(history) else None for number in numbers]
        if None in outcomes:
            return None
        losses = [outcome.loss for outcome in outcomes if isinstance(outcome, Completed)]
        return losses[-1] if len(losses) == self.length else math.inf


def constant_settings(space: Space, schedule: Sequence[Values]) -> list[dict[str, Value]]:
    """Return what a schedule is compared with: its first values, its last, and their mean; none if it is constant."""
    everywhere = [[values[h.flag] for values in schedule if h.flag in values] for h in space.hyperparameters]
    mean = space.only_active([_mean(h, values) for h, values in zip(space.hyperparameters, everywhere, strict=True)])
    first, last = dict(schedule[0]), dict(schedule[-1])
    if all(values == first for values in schedule):
        return []
    found = [first, last, mean]
    return [values for i, values in enumerate(found) if values not in found[:i]]


def _mean(hyperparameter: Hyperparameter, values: Sequence[Value]) -> Value:
    """Return the value in the middle of the places of `values`; of choices without an order the one met most often."""
    if not values:
        return hyperparameter.value(0.5)
    most = Counter(values).most_common(1)[0][0]
    if len(set(values)) == 1 or not hyperparameter.is_ordered:
        return most
    return hyperparameter.value(math.fsum(map(hyperparameter.place, values)) / len(values))
