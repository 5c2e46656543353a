"""Every point several times, for a noisy figure of merit: the strategy inside sees the mean."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from crayai.hpo.records import Asked, Completed, Failed, Outcome, Suggestion, Told, Values
from crayai.hpo.strategy.base import History, Strategy, check_at_least

if TYPE_CHECKING:
    from numpy.random import Generator

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class RepeatedState(Generic[S]):
    """What is remembered of the repeats.

    Attributes:
        inner: The state of the strategy inside.
        asked: Evaluations asked for.
        open: Outcomes of points that are not over: point, number, outcome.
    """

    inner: S
    asked: int = 0
    open: tuple[tuple[int, int, Outcome], ...] = ()


@dataclass(frozen=True)
class RepeatedHistory:
    """The history with the repeats of a point as one evaluation."""

    history: History
    repeats: int

    def __len__(self) -> int:
        return len(self.history) // self.repeats

    def suggestion(self, number: int) -> Suggestion:
        """Return point `number`."""
        return self.history.suggestion(number * self.repeats)

    def outcome(self, number: int) -> Outcome | None:
        """Return the mean outcome of point `number`; None: not all repeats are over."""
        first = number * self.repeats
        outcomes = [self.history.outcome(n) for n in range(first, first + self.repeats)]
        done = [outcome for outcome in outcomes if outcome is not None]
        return mean_outcome(done) if len(done) == self.repeats else None

    def was_asked(self, values: Values) -> bool:
        """Return whether just these values were asked before."""
        return self.history.was_asked(values)


@dataclass(frozen=True)
class Repeated(Generic[S]):
    """Evaluates what `strategy` suggests `repeats` times, one number after the other."""

    strategy: Strategy[S]
    repeats: int

    def __post_init__(self) -> None:
        check_at_least(1, repeats=self.repeats)

    @property
    def evaluations(self) -> int | None:
        """How many there will be."""
        points = self.strategy.evaluations
        return None if points is None else points * self.repeats

    def start(self) -> RepeatedState[S]:
        """Return the state before the first event."""
        return RepeatedState(self.strategy.start())

    def ask(self, state: RepeatedState[S], history: History, rng: "Generator") -> Suggestion | None:
        """Return the point of the repeat before, or a new one."""
        if state.asked % self.repeats:
            return history.suggestion(state.asked - 1)
        suggestion = self.strategy.ask(state.inner, RepeatedHistory(history, self.repeats), rng)
        if suggestion is None:
            return None
        return replace(suggestion, parents=tuple(parent * self.repeats for parent in suggestion.parents))

    def fold(self, state: RepeatedState[S], event: Asked | Told) -> RepeatedState[S]:
        """Pass on the first asking and the mean outcome of each point."""
        point = event.number // self.repeats
        if isinstance(event, Asked):
            inner = state.inner
            if event.number % self.repeats == 0:
                parents = tuple(parent // self.repeats for parent in event.suggestion.parents)
                inner = self.strategy.fold(inner, Asked(point, replace(event.suggestion, parents=parents)))
            return replace(state, inner=inner, asked=state.asked + 1)
        told = (*state.open, (point, event.number, event.outcome))
        of_point = sorted((number, outcome) for p, number, outcome in told if p == point)
        if len(of_point) < self.repeats:
            return replace(state, open=told)
        mean = mean_outcome([outcome for _, outcome in of_point])
        rest = tuple(entry for entry in told if entry[0] != point)
        return replace(state, inner=self.strategy.fold(state.inner, Told(point, mean)), open=rest)

    def is_done(self, state: RepeatedState[S]) -> bool:
        """Return whether all is over."""
        return not state.open and self.strategy.is_done(state.inner)

    def resumable(self, state: RepeatedState[S]) -> tuple[int, ...]:  # noqa: ARG002 - no state has any
        """Return none: what trains on is not repeated."""
        return ()


def mean_outcome(outcomes: list[Outcome]) -> Outcome:
    """Return the mean loss; a point that failed once has failed, for its mean is not known."""
    failed = next((outcome for outcome in outcomes if isinstance(outcome, Failed)), None)
    if failed is not None:
        return failed
    losses = [outcome.loss for outcome in outcomes if isinstance(outcome, Completed)]
    try:
        return Completed(math.fsum(losses) / len(losses))
    except OverflowError:  # huge losses: divided first, they lose a digit, but not their mean
        return Completed(math.fsum(loss / len(losses) for loss in losses))
