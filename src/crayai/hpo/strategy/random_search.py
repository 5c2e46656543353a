"""Random search: the default point, then independent random ones."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crayai.hpo.records import Asked, Suggestion, Told
from crayai.hpo.space.space import Space
from crayai.hpo.strategy.base import History, check_at_least
from crayai.hpo.strategy.operators import unasked, uniform_point

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True, slots=True)
class RandomState:
    """How far the search is."""

    asked: int = 0
    told: int = 0


@dataclass(frozen=True, kw_only=True)
class RandomSearch:
    """Settings of random search (Bergstra and Bengio 2012).

    Args:
        space: Where to search.
        num_iters: Evaluations, the default point included.
    """

    space: Space
    num_iters: int = 100

    def __post_init__(self) -> None:
        check_at_least(1, num_iters=self.num_iters)

    @property
    def evaluations(self) -> int:
        """How many there will be."""
        return self.num_iters

    def start(self) -> RandomState:
        """Return the state before the first event."""
        return RandomState()

    def ask(self, state: RandomState, history: History, rng: "Generator") -> Suggestion | None:
        """Return the default point first, then random ones that were not asked before."""
        if state.asked == self.num_iters:
            return None
        if state.asked == 0:
            return Suggestion(self.space.start(uniform_point(self.space, rng)))
        draw = lambda _: self.space.values(uniform_point(self.space, rng))  # noqa: E731 - one line, used once
        return Suggestion(unasked(self.space, history, draw, rng))

    def fold(self, state: RandomState, event: Asked | Told) -> RandomState:
        """Count."""
        if isinstance(event, Asked):
            return replace(state, asked=state.asked + 1)
        return replace(state, told=state.told + 1)

    def is_done(self, state: RandomState) -> bool:
        """Return whether all is over."""
        return state.told == self.num_iters

    def resumable(self, state: RandomState) -> tuple[int, ...]:  # noqa: ARG002 - no state has any
        """Return none: every evaluation trains from scratch."""
        return ()
