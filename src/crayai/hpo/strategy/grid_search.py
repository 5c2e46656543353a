"""Grid search: the default point, then every point of an N-dimensional matrix."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from crayai.hpo.records import Asked, Suggestion, Told
from crayai.hpo.space.space import Grid, Space
from crayai.hpo.strategy.base import History, check_at_least
from crayai.hpo.strategy.operators import uniform_point

if TYPE_CHECKING:
    from numpy.random import Generator

_COUNT_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class GridState:
    """How far the search is.

    Attributes:
        asked: Evaluations asked for.
        told: Evaluations that are over.
        digits: The next place in the matrix; None: all were asked for.
    """

    asked: int
    told: int
    digits: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class GridSearch:
    """Settings of grid search.

    Args:
        space: Where to search.
        grid_size: Points a range; choices are taken in full.
        chunk_size: Points that make one generation in the records; None: all.
    """

    space: Space
    grid_size: int = 3
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        check_at_least(1, grid_size=self.grid_size, chunk_size=self.chunk_size)

    @cached_property
    def matrix(self) -> Grid:
        """The points, walked lazily."""
        return self.space.grid(self.grid_size)

    @cached_property
    def evaluations(self) -> int | None:
        """The default point and the matrix; None where conditions make a large matrix uncountable."""
        count = self.matrix.count(_COUNT_LIMIT)
        return None if count is None else count + 1

    def start(self) -> GridState:
        """Return the state before the first event."""
        return GridState(0, 0, self.matrix.first)

    def ask(self, state: GridState, history: History, rng: "Generator") -> Suggestion | None:  # noqa: ARG002
        """Return the default point first, then the matrix in order."""
        if state.digits is None:
            return None
        if state.asked == 0:
            return Suggestion(self.space.start(uniform_point(self.space, rng)))
        generation = (state.asked - 1) // self.chunk_size if self.chunk_size else 0
        return Suggestion(self.matrix.values(state.digits), generation)

    def fold(self, state: GridState, event: Asked | Told) -> GridState:
        """Move on in the matrix with each asking but the first."""
        if isinstance(event, Told):
            return replace(state, told=state.told + 1)
        digits = state.digits if event.number == 0 or state.digits is None else self.matrix.after(state.digits)
        return GridState(state.asked + 1, state.told, digits)

    def is_done(self, state: GridState) -> bool:
        """Return whether all is over."""
        return state.digits is None and state.told == state.asked

    def resumable(self, state: GridState) -> tuple[int, ...]:  # noqa: ARG002 - no state has any
        """Return none: every evaluation trains from scratch."""
        return ()
